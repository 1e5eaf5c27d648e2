//! The record of a shared entry: an [`Entry`] as the bytes that stand in Redis.
//!
//! Whatever comes out of Redis is somebody else's until it has been proved: another version's, another namespace's, half
//! of something, or an attacker's. So a record carries all that it claims to be (its name, namespace and full key), and
//! [`decode`] believes none of its lengths before they are checked. What is wrong in any way is refused for a
//! [`Refusal`], which is a miss and a count: a mistake on this side costs a fetch, on the other it would cost a wrong
//! answer. Nothing is deleted for it; a record that a newer node wrote is that node's to keep.
//!
//! ```text
//!  0  magic      4   "FBAY"
//!  4  version    1
//!  5  flags      1   1: header block and body are one zstd frame    2: sealed
//!  6  kind       1   1: an entry    2: a directory
//!  7  —          1   0
//!  8  epoch      8 ┐ born: in clear, so that a script which writes can compare it with what is there
//! 16  number     8 ┘
//! 24  metadata   4   its length in bytes
//! 28  fields     4   length of the header block, as it is before compression
//! 32  body       8   length of the body, as it is before compression
//! 40  payload    8   length of the payload
//! 48  key id     4 ┐ of the seal; 0 without
//! 52  nonce     12 ┘
//! 64  payload        metadata, then header block and body; with a seal all of it is ciphertext
//!     proof     16   the seal's tag; without a seal the first half of the SHA-256 of all that is before it
//! ```
//!
//! Numbers are big endian, *sized* is a length of 4 bytes and so many bytes. Durations are microseconds.
//!
//! ```text
//! metadata of both   the record's name (16), namespace (sized), key (sized)
//! … of an entry      vary (sized), status (2), flags (1), source of the lifetime (1), lifetime, age at receipt, time of
//!                    receipt, Date, stale-while-revalidate, stale-if-error, Last-Modified (8 each),
//!                    number of tags (4), each tag (sized)
//! … of a directory   number of names (4), each name (sized)
//! header block       number of fields (4), for each: flags (1), name (sized), value (sized)
//! ```
//!
//! The coding is what Content-Encoding says, and there is no Content-Length: what can be computed is not believed.
//!
//! **Two steps.** The first look for a resource goes to its primary name. If its answer does not vary, it is there. Else
//! there is a *directory*: the names of the request fields that select; with the request's values of those, the variant's
//! name can be computed, and the entry is there. See [`Names`](super::Names).
//!
//! **Time.** When the answer was received stands in the record on the fleet's clock (a [`Timebase`]), never on a node's
//! wall clock: two nodes whose clocks are minutes apart compute the same age. `Date` and Last-Modified are what the
//! backend said, and stay as they are.
//!
//! **To add a field**: write it at the end of the metadata in `metadata.rs`, raise [`VERSION`], hand the head's version on
//! to where it is read, with a default for the versions before, and add a record of the new version to `SAMPLES` in the
//! tests. None is taken away there before [`OLDEST`] has passed it. A node that does not know the new version refuses it as
//! [`Refusal::Newer`] and fetches; so a fleet may be upgraded node by node, and back.

mod head;
mod headers;
mod metadata;
mod packing;
mod reading;
mod refusal;
#[cfg(test)]
mod tests;
mod timebase;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use head::{CHECK, Flags, HEAD, Head, Kind, Lengths};
use http::HeaderName;
pub use refusal::Refusal;
pub use timebase::Timebase;

use super::seal::{NotOpened, SealKeys};
use super::{Born, Entry, EntryName, Epoch};
use crate::policy::key::CacheKey;
use crate::rfc::{Moment, StoredFacts};

/// The version that is written.
pub const VERSION: u8 = 1;

/// The oldest version that is still read.
pub const OLDEST: u8 = 1;

/// What records are wrapped in when they are written.
#[derive(Clone, Copy, Debug)]
pub struct Wrapping<'a> {
    /// The namespace they belong to.
    pub namespace: &'a str,
    /// Header block and body together are compressed from this many bytes on, if that makes them smaller:
    /// [`COMPRESS_ABOVE`] is a good number.
    pub compress_above: usize,
    /// The seal, if there is one.
    pub seal: Option<&'a SealKeys>,
}

/// What is not worth compressing because it is small, in bytes.
pub const COMPRESS_ABOVE: usize = 1024;

/// What a record has to be to be believed.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The namespace that this node belongs to.
    pub namespace: &'a str,
    /// The name that the record was found under.
    pub name: EntryName,
    /// The resource that was asked for.
    pub key: &'a CacheKey,
    /// The operator's limits.
    pub limits: Limits,
    /// The moment it is read.
    pub now: Moment,
    /// The fleet's clock.
    pub timebase: Timebase,
    /// The seal. With one, records without it are refused; without one, those that have it.
    pub seal: Option<&'a SealKeys>,
}

/// The operator's limits on what comes from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the largest body.
    pub max_object: u64,
    /// A longer lifetime is cut to this.
    pub max_ttl: Duration,
    /// Longer windows of staleness are cut to this.
    pub max_stale: Duration,
}

impl Limits {
    /// Bytes of the largest record that is not refused for its size: who reads need not fetch what is longer.
    pub fn max_record(&self) -> u64 {
        self.max_object.saturating_add((HEAD + CHECK + metadata::MAX_LENGTH + headers::MAX_LENGTH) as u64)
    }
}

/// What was found in a record.
#[derive(Debug)]
pub enum Decoded {
    /// An answer. Whether the ledger permits it, and whether its variant is the one asked for, is for the caller to see.
    Entry(Box<Entry>),
    /// The resource's answers vary.
    Directory {
        /// The request fields that select among them: lower-case, sorted, each once, at least one.
        names: Box<[HeaderName]>,
        /// The birth of the answer that named them.
        born: Born,
    },
}

/// `entry` as a record to be stored under `name`.
///
/// # Errors
/// What cannot be shared is refused for the same reason that a reader would have: Set-Cookie, a status that is not stored,
/// a connection's own fields, sizes beyond what is read; and [`Refusal::Randomness`] if there is none for the seal.
pub fn encode(entry: &Entry, name: EntryName, wrapping: &Wrapping<'_>, timebase: Timebase) -> Result<Bytes, Refusal> {
    let head = Blank { kind: Kind::Entry, born: entry.born, name };
    let metadata = metadata::write_entry(entry, name, wrapping.namespace, timebase)?;
    let fields = headers::write(&entry.headers)?;
    let compress = fields.len() + entry.body.len() >= wrapping.compress_above && packing::worthwhile(entry);
    wrap(&head, &metadata, &fields, &entry.body, compress, wrapping)
}

/// The directory of `key`, to be stored under its primary `name`: the fields that select among its answers, as the answer
/// born at `born` names them.
///
/// # Errors
/// [`Refusal::Directory`] if there are no names or too many, or if they are not sorted or not each once.
pub fn encode_directory(
    names: &[HeaderName],
    born: Born,
    key: &CacheKey,
    name: EntryName,
    wrapping: &Wrapping<'_>,
) -> Result<Bytes, Refusal> {
    let head = Blank { kind: Kind::Directory, born, name };
    let metadata = metadata::write_directory(names, name, wrapping.namespace, key)?;
    wrap(&head, &metadata, &[], &[], false, wrapping)
}

/// What `record` says, if it is what was expected.
///
/// Allocates no more than the record is long before it has been proved to be undamaged, and after that at most about one
/// MiB more than what is really in it, whatever its numbers say. Never panics.
///
/// # Errors
/// The first [`Refusal`] that applies: then it is as if nothing had been found.
pub fn decode(record: &[u8], expected: &Expected<'_>) -> Result<Decoded, Refusal> {
    let head = Head::read(record, &expected.limits)?;
    let payload = proved(record, &head, expected)?;
    let (metadata, content) = payload.split_at_checked(head.lengths.metadata).ok_or(Refusal::Malformed)?;
    let mut metadata = reading::Reader::new(metadata);
    metadata::belongs(&mut metadata, expected)?;
    let born = born(&head);
    match head.kind {
        Kind::Directory if head.flags.packed || !content.is_empty() => Err(Refusal::Directory),
        Kind::Directory => Ok(Decoded::Directory { names: metadata::read_directory(&mut metadata)?, born }),
        Kind::Entry => {
            let said = metadata::read_entry(&mut metadata, expected)?;
            let (fields, body) = if head.flags.packed {
                packing::unpack(content, head.lengths.fields, head.lengths.body)?
            } else {
                let (fields, body) = content.split_at_checked(head.lengths.fields).ok_or(Refusal::Malformed)?;
                (Bytes::copy_from_slice(fields), Bytes::copy_from_slice(body))
            };
            let headers = headers::read(&fields, body.len())?;
            Ok(Decoded::Entry(Box::new(said.into_entry(headers, body, born))))
        }
    }
}

/// When an answer with these facts is past all use, on the fleet's clock: the moment at which its record may expire.
pub fn useful_until(facts: &StoredFacts, timebase: Timebase) -> Duration {
    let left = facts.useful_for().saturating_sub(facts.age_at_receipt);
    timebase.shared(facts.received.mono).saturating_add(left)
}

/// What a record says in its head before its lengths are known.
struct Blank {
    kind: Kind,
    born: Born,
    name: EntryName,
}

fn wrap(
    blank: &Blank,
    metadata: &[u8],
    fields: &[u8],
    body: &[u8],
    compress: bool,
    wrapping: &Wrapping<'_>,
) -> Result<Bytes, Refusal> {
    let packed = if compress { packing::pack(fields, body) } else { None };
    let content = packed.as_ref().map_or(fields.len() + body.len(), Vec::len);
    let Born { epoch: Epoch(epoch), number, .. } = blank.born;
    let head = Head {
        version: VERSION,
        flags: Flags { packed: packed.is_some(), sealed: wrapping.seal.is_some() },
        kind: blank.kind,
        epoch,
        number,
        lengths: Lengths {
            metadata: metadata.len(),
            fields: fields.len(),
            body: body.len(),
            payload: metadata.len() + content,
        },
        stamp: match wrapping.seal {
            Some(seal) => seal.stamp().ok_or(Refusal::Randomness)?,
            None => super::seal::Stamp::default(),
        },
    };
    let mut record = Vec::with_capacity(HEAD + head.lengths.payload + CHECK);
    head.write(&mut record);
    record.extend_from_slice(metadata);
    if let Some(packed) = &packed {
        record.extend_from_slice(packed);
    } else {
        record.extend_from_slice(fields);
        record.extend_from_slice(body);
    }
    let proof = match wrapping.seal {
        Some(seal) => {
            let (clear, payload) = record.split_at_mut(HEAD);
            seal.seal(head.stamp, blank.name, clear, payload).ok_or(Refusal::TooLarge)?
        }
        None => head::checksum(&record),
    };
    record.extend_from_slice(&proof);
    Ok(record.into())
}

/// The payload of `record`, if it is as it was written.
fn proved<'r>(record: &'r [u8], head: &Head, expected: &Expected<'_>) -> Result<Cow<'r, [u8]>, Refusal> {
    let (clear, sealed) = record.split_at_checked(HEAD).ok_or(Refusal::Truncated)?;
    match (expected.seal, head.flags.sealed) {
        (Some(_), false) => Err(Refusal::Unsealed),
        (None, true) => Err(Refusal::NoKey),
        (Some(seal), true) => match seal.open(head.stamp, expected.name, clear, sealed.to_vec()) {
            Ok(payload) => Ok(Cow::Owned(payload)),
            Err(NotOpened::UnknownKey) => Err(Refusal::NoKey),
            Err(NotOpened::Broken) => Err(Refusal::Seal),
        },
        (None, false) => {
            let (covered, proof) = record.split_last_chunk::<CHECK>().ok_or(Refusal::Truncated)?;
            let payload = covered.get(HEAD..).ok_or(Refusal::Truncated)?;
            if head::checksum(covered) == *proof { Ok(Cow::Borrowed(payload)) } else { Err(Refusal::Checksum) }
        }
    }
}

/// The record carries nothing else of a birth: what counts on one node only means nothing on another.
fn born(head: &Head) -> Born {
    Born::elsewhere(Epoch(head.epoch), head.number)
}
