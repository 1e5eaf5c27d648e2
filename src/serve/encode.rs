//! Compression: once per stored answer and coding, where the backend sent none.
//!
//! The encoded form is a representation of its own: it has its own length and a weak validator, and both forms say
//! `Vary: Accept-Encoding`. It hangs on the entry it was made from and goes when that goes.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::admit::Asked;
use crate::policy::Rule;
use crate::rfc::{Coding, ResponseDirectives};
use crate::store::{Entry, EntryParts, Store};

/// What the gateway can encode, best first.
pub const OFFERED: [Coding; 3] = [Coding::Br, Coding::Zstd, Coding::Gzip];

/// Bodies up to this are encoded while the first client that wants them waits, which takes about a millisecond; larger
/// ones behind it, and the first clients get them as they are.
const AT_ONCE: usize = 64 * 1024;

/// Whether answers like this one are encoded for those who accept it: not yet encoded, of a type that shrinks, large
/// enough, and free to be transformed (RFC 9111 §5.2.2.6).
pub fn compressible(rule: &Rule, status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> bool {
    rule.compress.enabled
        && status == StatusCode::OK
        && length.is_none_or(|length| length >= rule.compress.min_size)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && headers.get(header::CONTENT_TYPE).is_some_and(|value| rule.compress.covers(value.as_bytes()))
        && !ResponseDirectives::parse(headers).no_transform
}

/// Adds Accept-Encoding to Vary, for an answer that exists in several codings.
pub fn vary_on_coding(headers: &mut HeaderMap) {
    let named = headers
        .get_all(header::VARY)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("accept-encoding") || name.trim() == "*");
    if !named {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// The form of `entry` that suits what the client accepts; the entry itself where there is none, or none yet. Who wants a
/// part gets it of the entry itself, so that all parts are of one representation, whenever they are asked for.
pub fn suited(store: &Arc<Store>, entry: Arc<Entry>, asked: &Asked) -> Arc<Entry> {
    if !entry.compressible || asked.facts.range {
        return entry;
    }
    let coding = asked.accepted.best(&OFFERED);
    if coding == Coding::Identity {
        return entry;
    }
    if let Some(encoded) = store.encoded(&entry, coding) {
        return encoded;
    }
    // Once, also if nothing comes of it: a body that does not shrink would not do so the next time.
    if !entry.begin_encoding(coding) {
        return entry;
    }
    if entry.body.len() <= AT_ONCE {
        return encode_and_keep(store, &entry, coding).unwrap_or(entry);
    }
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let (store, base) = (Arc::clone(store), Arc::clone(&entry));
        runtime.spawn_blocking(move || encode_and_keep(&store, &base, coding));
    }
    entry
}

/// Hands the encoded forms of `old` on to `new`, which has the same body: a validation costs no encoding.
pub fn hand_on(store: &Store, old: &Arc<Entry>, new: &Arc<Entry>) {
    for coding in OFFERED {
        if let Some(encoded) = store.encoded(old, coding) {
            keep(store, new, coding, encoded.body.clone());
        }
    }
}

fn encode_and_keep(store: &Store, base: &Arc<Entry>, coding: Coding) -> Option<Arc<Entry>> {
    let body = encode(&base.body, coding)?;
    (body.len() < base.body.len()).then(|| keep(store, base, coding, body))
}

/// Keeps `body` as the form of `base` in this coding.
fn keep(store: &Store, base: &Arc<Entry>, coding: Coding, body: Bytes) -> Arc<Entry> {
    let mut headers = base.headers.clone();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    // Another sequence of bytes must not carry the same strong validator (RFC 9110 §8.8.3).
    if let Some(tag) = headers.get(header::ETAG)
        && !tag.as_bytes().starts_with(b"W/")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        headers.insert(header::ETAG, weak);
    }
    // Parts are cut from the form as it came, and digests were made of it.
    for name in NOT_OF_THE_ENCODED {
        headers.remove(name);
    }
    let derived = Arc::new(Entry::new(EntryParts { headers, body, coding, ..base.parts() }));
    store.keep_encoded(base, Arc::clone(&derived));
    derived
}

/// Fields that speak of the bytes of the body (RFC 9530, and what came before it).
const NOT_OF_THE_ENCODED: [HeaderName; 5] = [
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Encodes at a level that suits what is encoded once and served often.
fn encode(body: &[u8], coding: Coding) -> Option<Bytes> {
    let mut out = Vec::with_capacity(body.len() / 3);
    match coding {
        Coding::Identity => return None,
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(6));
            encoder.write_all(body).ok()?;
            out = encoder.finish().ok()?;
        }
        Coding::Br => {
            let parameters = brotli::enc::BrotliEncoderParams { quality: 5, ..Default::default() };
            brotli::BrotliCompress(&mut &body[..], &mut out, &parameters).ok()?;
        }
        Coding::Zstd => out = zstd::bulk::compress(body, 3).ok()?,
    }
    out.shrink_to_fit();
    Some(out.into())
}
