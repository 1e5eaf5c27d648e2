//! A stored answer: whole, immutable, and self-contained.
//!
//! What an entry says never changes; a 304 makes a new one. Two things about it are noted as it is used, and neither
//! changes what it says: at which generation of the ledger it was last found valid, and its body in other codings.
//!
//! *Self-contained* is what keeps the byte ceiling honest. Field values as they come from the network are slices of the
//! connection's read buffer, and one of them would keep all of it alive. So an entry copies them, all into one
//! allocation, and [`Entry::weight`] counts what is really held.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Born;
use crate::policy::key::CacheKey;
use crate::policy::tags::{TagHash, hash_tag};
use crate::rfc::{Coding, StoredFacts, VaryKey};

// The costs below were fitted to resident memory: 100,000 small entries each of 2, 6, 12 and 24 fields, within a tenth.

/// What an entry costs beyond what it holds: itself, its shelf, and the map's own books.
const OVERHEAD: usize = 800;

/// What each place of the fields' table costs, taken or not.
const FIELD_PLACE: usize = 112;

/// What a field costs beyond its place and its bytes: the allocation of a name that is not one of the well-known.
const FIELD_OVERHEAD: usize = 72;

/// What a tag costs beyond its name: the allocation's counters, the pointer, the hash.
const TAG_OVERHEAD: usize = 40;

/// What an entry is made of: see [`Entry::new`].
#[derive(Clone, Debug)]
pub struct EntryParts {
    /// The resource.
    pub key: CacheKey,
    /// Which of its variants: the request's values of the fields that the answer's Vary names.
    pub vary: VaryKey,
    /// The answer's status.
    pub status: StatusCode,
    /// The answer's fields as stored: no hop-by-hop fields, no Age, no framing but Content-Length.
    pub headers: HeaderMap,
    /// The whole body, in an allocation of its own and of its own size: never a slice of a network buffer.
    pub body: Bytes,
    /// What decides how long it may be used.
    pub facts: StoredFacts,
    /// Full names of the tags it counts as: its URL, its path's prefixes, the backend's and the rules' tags, its groups.
    pub tags: Box<[Arc<str>]>,
    /// What the ledger had applied when the backend request was sent.
    pub born: Born,
    /// How the body is coded.
    pub coding: Coding,
    /// Whether the body is worth encoding for those who accept it.
    pub compressible: bool,
}

/// A stored answer. Immutable; shared by all who are being served it.
#[derive(Debug)]
pub struct Entry {
    /// The resource.
    pub key: CacheKey,
    /// Which of its variants: the request's values of the fields that the answer's Vary names.
    pub vary: VaryKey,
    /// The answer's status.
    pub status: StatusCode,
    /// The answer's fields as stored: no hop-by-hop fields, no Age, no framing but Content-Length.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// What decides how long it may be used.
    pub facts: StoredFacts,
    /// Full names of the tags it counts as.
    pub tags: Box<[Arc<str>]>,
    /// The hashes of `tags`, in their order: what the ledger is asked about.
    pub marks: Box<[TagHash]>,
    /// What the ledger had applied when the backend request was sent.
    pub born: Born,
    /// How the body is coded.
    pub coding: Coding,
    /// Whether the body is worth encoding for those who accept it.
    pub compressible: bool,
    /// The ledger's generation at which it was last found valid; zero: never asked.
    checked: AtomicU64,
    /// The same answer in the codings that were asked for, in the order of [`DERIVED`].
    derived: [OnceLock<Arc<Entry>>; DERIVED.len()],
    /// A bit for each coding of [`DERIVED`] that somebody has begun to make.
    encoding: AtomicU8,
}

impl Entry {
    /// An entry of `parts`. Copies the field values, so that nothing of the network's buffers stays alive.
    pub fn new(parts: EntryParts) -> Self {
        let EntryParts { key, vary, status, headers, body, facts, tags, born, coding, compressible } = parts;
        let marks = tags.iter().map(|tag| hash_tag(tag)).collect();
        Self {
            key,
            vary,
            status,
            headers: pack(&headers),
            body,
            facts,
            tags,
            marks,
            born,
            coding,
            compressible,
            checked: AtomicU64::new(0),
            derived: Default::default(),
            encoding: AtomicU8::new(0),
        }
    }

    /// What this entry is made of, to make the next one from: after a 304, or in another coding.
    pub fn parts(&self) -> EntryParts {
        EntryParts {
            key: self.key.clone(),
            vary: self.vary.clone(),
            status: self.status,
            headers: self.headers.clone(),
            body: self.body.clone(),
            facts: self.facts.clone(),
            tags: self.tags.clone(),
            born: self.born,
            coding: self.coding,
            compressible: self.compressible,
        }
    }

    /// Claims the work of encoding the body in `coding`. True for the first who asks.
    pub fn begin_encoding(&self, coding: Coding) -> bool {
        let Some(slot) = slot(coding) else { return false };
        let bit = 1 << slot;
        self.encoding.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// Bytes of memory it holds, its overhead in the store included, its body in other codings not.
    pub fn weight(&self) -> u32 {
        let places = self.headers.capacity() * FIELD_PLACE;
        let fields: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD).sum();
        let tags: usize = self.tags.iter().map(|tag| tag.len() + TAG_OVERHEAD).sum();
        let total = self.key.bytes().len() + self.vary.weight() + places + fields + tags + self.body.len() + OVERHEAD;
        u32::try_from(total).unwrap_or(u32::MAX)
    }

    /// The same answer with its body in `coding`, if that has been made.
    pub(super) fn derived(&self, coding: Coding) -> Option<&Arc<Entry>> {
        self.derived.get(slot(coding)?)?.get()
    }

    /// Keeps the same answer in another coding; the first one made stays.
    pub(super) fn keep_derived(&self, derived: Arc<Entry>) -> bool {
        let place = slot(derived.coding).and_then(|slot| self.derived.get(slot));
        place.is_some_and(|place| place.set(derived).is_ok())
    }

    /// Bytes of memory it holds, its body in other codings included.
    pub(super) fn full_weight(&self) -> u32 {
        let derived = self.derived.iter().filter_map(OnceLock::get).map(|entry| entry.weight());
        derived.fold(self.weight(), u32::saturating_add)
    }

    /// The ledger's generation at which it was last found valid; zero: never.
    pub(super) fn found_valid_at(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    // Relaxed is enough: whatever value a reader sees, a check at that generation really took place.
    pub(super) fn remember_valid_at(&self, generation: u64) {
        self.checked.store(generation, Ordering::Relaxed);
    }
}

/// The codings that a body is derived in.
const DERIVED: [Coding; 3] = [Coding::Gzip, Coding::Br, Coding::Zstd];

fn slot(coding: Coding) -> Option<usize> {
    DERIVED.iter().position(|derived| *derived == coding)
}

/// The same fields with all values in one allocation of their own.
fn pack(headers: &HeaderMap) -> HeaderMap {
    let mut all = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    for value in headers.values() {
        all.extend_from_slice(value.as_bytes());
    }
    let mut all = all.freeze();
    let mut packed = HeaderMap::try_with_capacity(headers.keys_len()).unwrap_or_default();
    for (name, value) in headers {
        let own = all.split_to(value.len());
        // The bytes are those of a value, so they make one.
        let mut own = HeaderValue::from_maybe_shared(own).unwrap_or_else(|_| value.clone());
        own.set_sensitive(value.is_sensitive());
        // Never fails: there are as many as there were.
        let _ = packed.try_append(name, own);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::super::samples::{entry, parts};
    use super::*;

    #[test]
    fn fields_are_copied_out_of_the_buffer_they_came_in() {
        let buffer = Bytes::from(vec![b'x'; 64 * 1024]);
        let mut parts = parts("/a", 0);
        let mut secret = HeaderValue::from_maybe_shared(buffer.slice(7..12)).expect("a value");
        secret.set_sensitive(true);
        parts.headers.append("x-many", HeaderValue::from_maybe_shared(buffer.slice(0..3)).expect("a value"));
        parts.headers.append("x-many", secret);
        parts.headers.append("x-empty", HeaderValue::from_static(""));
        let expected = parts.headers.clone();
        let entry = Entry::new(parts);
        assert_eq!(entry.headers, expected);
        let sensitive: Vec<bool> = entry.headers.get_all("x-many").iter().map(HeaderValue::is_sensitive).collect();
        assert_eq!(sensitive, [false, true]);
        drop(expected);
        assert!(buffer.is_unique(), "nothing holds the buffer but this test");
    }

    #[test]
    fn weight_counts_each_thing_held() {
        let base = entry("/a", 0).weight();
        let heavier = |change: &dyn Fn(&mut EntryParts)| {
            let mut parts = parts("/a", 0);
            change(&mut parts);
            Entry::new(parts).weight() - base
        };
        assert_eq!(heavier(&|_| ()), 0);
        assert_eq!(heavier(&|parts| parts.body = Bytes::from(vec![0; 1004])), 1000);
        assert!(heavier(&|parts| drop(parts.headers.insert("x-name", HeaderValue::from_static("value")))) > 11);
        assert!(heavier(&|parts| parts.tags = vec![Arc::from("tag:name"); 3].into()) > 8);
        let request = [("accept-language", "de")];
        assert!(heavier(&|parts| parts.vary = super::super::samples::vary(&request)) > 17);
    }

    #[test]
    fn a_body_in_another_coding_counts_once_and_the_first_stays() {
        let base = entry("/a", 0);
        let coded = |coding, length| {
            Arc::new(Entry::new(EntryParts { coding, body: Bytes::from(vec![0; length]), ..base.parts() }))
        };
        assert!(!base.keep_derived(coded(Coding::Identity, 1)), "the entry itself is not derived from itself");
        let (first, second) = (coded(Coding::Br, 10), coded(Coding::Br, 20));
        assert!(base.keep_derived(Arc::clone(&first)));
        assert!(!base.keep_derived(second));
        assert!(Arc::ptr_eq(base.derived(Coding::Br).expect("kept"), &first));
        assert!(base.derived(Coding::Gzip).is_none());
        assert_eq!(base.full_weight(), base.weight() + first.weight());
    }

    #[test]
    fn parts_make_the_same_entry_again() {
        let one = Entry::new(EntryParts { vary: super::super::samples::vary(&[("a", "b")]), ..parts("/a", 3) });
        let other = Entry::new(one.parts());
        assert_eq!(one.weight(), other.weight());
        assert_eq!((one.key, one.vary, one.headers, one.born), (other.key, other.vary, other.headers, other.born));
    }
}
