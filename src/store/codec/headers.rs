//! The header block: the fields of a stored answer, and what no stored answer may say.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::Refusal;
use super::reading::{Reader, put_count, put_sized};
use crate::rfc::is_hop_by_hop;

/// Bytes of the longest header block.
pub(super) const MAX_LENGTH: usize = 256 * 1024;

/// Fields of one answer.
const MAX_FIELDS: usize = 1024;

/// Bytes that a field takes at least: flags, the two lengths, a name.
const LEAST: usize = 10;

/// Never to be indexed by HPACK.
const SENSITIVE: u8 = 1;

/// The header block of `headers`.
pub(super) fn write(headers: &HeaderMap) -> Result<Vec<u8>, Refusal> {
    let sent = || headers.iter().filter(|(name, _)| *name != header::CONTENT_LENGTH);
    let (count, bytes) = sent().fold((0, 4), |(count, bytes), (name, value)| {
        (count + 1, bytes + LEAST - 1 + name.as_str().len() + value.len())
    });
    if count > MAX_FIELDS || bytes > MAX_LENGTH {
        return Err(Refusal::TooLarge);
    }
    let mut out = Vec::with_capacity(bytes);
    put_count(&mut out, count);
    for (name, value) in sent() {
        permitted(name)?;
        put_field(&mut out, u8::from(value.is_sensitive()) * SENSITIVE, name.as_str().as_bytes(), value.as_bytes());
    }
    Ok(out)
}

pub(super) fn put_field(out: &mut Vec<u8>, flags: u8, name: &[u8], value: &[u8]) {
    out.push(flags);
    put_sized(out, name);
    put_sized(out, value);
}

/// The fields of a header block, for a body of that many bytes.
pub(super) fn read(block: &Bytes, body: usize) -> Result<HeaderMap, Refusal> {
    let mut rest = Reader::new(block);
    let count = rest.count(MAX_FIELDS, LEAST)?.ok_or(Refusal::Field)?;
    let mut headers = HeaderMap::try_with_capacity(count).map_err(|_| Refusal::Field)?;
    for _ in 0..count {
        let flags = rest.byte()?;
        if flags & !SENSITIVE != 0 {
            return Err(Refusal::Malformed);
        }
        let name = HeaderName::from_lowercase(rest.sized()?).map_err(|_| Refusal::Field)?;
        // The entry that is made of it packs them into one allocation.
        let value = block.slice_ref(rest.sized()?);
        let mut value = HeaderValue::from_maybe_shared(value).map_err(|_| Refusal::Field)?;
        permitted(&name)?;
        if name == header::CONTENT_LENGTH {
            // Never believed, and never kept: whoever sends the answer computes it.
            if value.as_bytes() != body.to_string().as_bytes() {
                return Err(Refusal::Framing);
            }
            continue;
        }
        value.set_sensitive(flags & SENSITIVE != 0);
        headers.try_append(name, value).map_err(|_| Refusal::Field)?;
    }
    if rest.is_empty() { Ok(headers) } else { Err(Refusal::Malformed) }
}

/// May a shared answer have a field of this name?
fn permitted(name: &HeaderName) -> Result<(), Refusal> {
    match name.as_str() {
        "set-cookie" | "set-cookie2" => Err(Refusal::SetCookie),
        // Announces what follows the body; and what the cache itself computes.
        "trailer" | "age" => Err(Refusal::Framing),
        name if is_hop_by_hop(name) => Err(Refusal::Framing),
        _ => Ok(()),
    }
}
