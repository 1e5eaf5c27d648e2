//! The metadata of a record: whose it is, and what decides how it may be used.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};

use super::reading::{Reader, put_count, put_sized};
use super::{Expected, Refusal, Timebase};
use crate::policy::key::CacheKey;
use crate::rfc::{Coding, LifetimeSource, Moment, StoredFacts, VaryKey};
use crate::store::{Born, Entry, EntryName, EntryParts};

/// Bytes of the longest metadata.
pub(super) const MAX_LENGTH: usize = 256 * 1024;

/// Request fields that select among the answers of one resource.
const MAX_SELECTING: usize = 64;

/// Tags of one answer.
const MAX_TAGS: usize = 4096;

/// How far ahead of this node's idea of the shared clock another may be: what a heartbeat may be off by, generously.
const TOLERANCE: Duration = Duration::from_secs(2);

const COMPRESSIBLE: u8 = 1;
const NO_CACHE: u8 = 1 << 1;
const MUST_REVALIDATE: u8 = 1 << 2;
const IMMUTABLE: u8 = 1 << 3;
const HAS_VALIDATOR: u8 = 1 << 4;
const STALE_IF_ERROR: u8 = 1 << 5;
const LAST_MODIFIED: u8 = 1 << 6;

/// By the number that stands in a record. A new one comes to the end.
pub(super) const SOURCES: [LifetimeSource; 7] = [
    LifetimeSource::None,
    LifetimeSource::Operator,
    LifetimeSource::Targeted,
    LifetimeSource::SMaxAge,
    LifetimeSource::MaxAge,
    LifetimeSource::Expires,
    LifetimeSource::Heuristic,
];

/// What the metadata says of an entry.
pub(super) struct Said {
    key: CacheKey,
    vary: VaryKey,
    facts: StoredFacts,
    tags: Box<[Arc<str>]>,
    compressible: bool,
}

impl Said {
    pub(super) fn into_entry(self, headers: HeaderMap, body: Bytes, born: Born) -> Entry {
        let Said { key, vary, facts, tags, compressible } = self;
        // As a fill reads it.
        let coding = Coding::of(&headers).unwrap_or(Coding::Identity);
        let status = facts.status;
        Entry::new(EntryParts { key, vary, status, headers, body, facts, tags, born, coding, compressible })
    }
}

pub(super) fn write_entry(
    entry: &Entry,
    name: EntryName,
    namespace: &str,
    timebase: Timebase,
) -> Result<Vec<u8>, Refusal> {
    if entry.tags.len() > MAX_TAGS || entry.vary.names().count() > MAX_SELECTING {
        return Err(Refusal::TooLarge);
    }
    let mut out = written_for(name, namespace, &entry.key);
    let mut vary = Vec::new();
    entry.vary.write_to(&mut vary);
    put_sized(&mut out, &vary);
    out.extend_from_slice(&storable(entry.status.as_u16())?.as_u16().to_be_bytes());
    put_facts(&mut out, &entry.facts, entry.compressible, timebase);
    put_count(&mut out, entry.tags.len());
    for tag in &entry.tags {
        put_sized(&mut out, tag.as_bytes());
    }
    within_limit(out)
}

fn put_facts(out: &mut Vec<u8>, facts: &StoredFacts, compressible: bool, timebase: Timebase) {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(
        flag(compressible, COMPRESSIBLE)
            | flag(facts.no_cache, NO_CACHE)
            | flag(facts.must_revalidate, MUST_REVALIDATE)
            | flag(facts.immutable, IMMUTABLE)
            | flag(facts.has_validator, HAS_VALIDATOR)
            | flag(facts.stale_if_error.is_some(), STALE_IF_ERROR)
            | flag(facts.last_modified.is_some(), LAST_MODIFIED),
    );
    let source = SOURCES.iter().position(|source| *source == facts.source);
    out.push(source.and_then(|at| u8::try_from(at).ok()).unwrap_or_default());
    for time in [
        facts.lifetime,
        // Rounded up: never younger than it is.
        facts.age_at_receipt.saturating_add(Duration::from_nanos(999)),
        timebase.shared(facts.received.mono),
        facts.date,
        facts.stale_while_revalidate,
        facts.stale_if_error.unwrap_or_default(),
        facts.last_modified.unwrap_or_default(),
    ] {
        out.extend_from_slice(&u64::try_from(time.as_micros()).unwrap_or(u64::MAX).to_be_bytes());
    }
}

/// What follows [`belongs`] in the record of an entry.
pub(super) fn read_entry(rest: &mut Reader<'_>, expected: &Expected<'_>) -> Result<Said, Refusal> {
    let vary = VaryKey::read(rest.sized()?, MAX_SELECTING).ok_or(Refusal::Malformed)?;
    let status = storable(rest.u16()?)?;
    let (facts, compressible) = read_facts(rest, status, expected)?;
    let count = rest.count(MAX_TAGS, 4)?.ok_or(Refusal::Malformed)?;
    let mut tags = Vec::with_capacity(count);
    for _ in 0..count {
        tags.push(Arc::from(std::str::from_utf8(rest.sized()?).map_err(|_| Refusal::Malformed)?));
    }
    if !rest.is_empty() {
        return Err(Refusal::Malformed);
    }
    Ok(Said { key: expected.key.clone(), vary, facts, tags: tags.into(), compressible })
}

fn read_facts(
    rest: &mut Reader<'_>,
    status: StatusCode,
    expected: &Expected<'_>,
) -> Result<(StoredFacts, bool), Refusal> {
    let Expected { limits, now, .. } = expected;
    let flags = rest.byte()?;
    let source = *SOURCES.get(usize::from(rest.byte()?)).ok_or(Refusal::Malformed)?;
    let mut time = || rest.u64().map(Duration::from_micros);
    let (lifetime, age_then, shared, date) = (time()?, time()?, time()?, time()?);
    let (while_revalidate, if_error, last_modified) = (time()?, time()?, time()?);
    let has = |bit: u8| flags & bit != 0;
    let (received, age_at_receipt) = received(shared, age_then, expected)?;
    let facts = StoredFacts {
        status,
        // Who wrote the record may have had other limits, or none.
        lifetime: lifetime.min(limits.max_ttl),
        source,
        age_at_receipt,
        received,
        date,
        no_cache: has(NO_CACHE),
        must_revalidate: has(MUST_REVALIDATE),
        immutable: has(IMMUTABLE),
        stale_while_revalidate: while_revalidate.min(limits.max_stale),
        stale_if_error: has(STALE_IF_ERROR).then_some(if_error.min(limits.max_stale)),
        last_modified: has(LAST_MODIFIED).then_some(last_modified),
        has_validator: has(HAS_VALIDATOR),
    };
    if flags >= LAST_MODIFIED << 1 {
        return Err(Refusal::Malformed);
    }
    if facts.age(*now) > facts.useful_for() {
        return Err(Refusal::TooOld);
    }
    Ok((facts, has(COMPRESSIBLE)))
}

/// When something was received by this node's clocks that the shared one showed `shared` at, and the age it has from then.
///
/// This process's monotonic clock shows nothing from before its beginning. What was received then counts as received at the
/// beginning, and what is missing is added to its age: the age now is the same.
fn received(shared: Duration, age_then: Duration, expected: &Expected<'_>) -> Result<(Moment, Duration), Refusal> {
    let Expected { now, timebase, .. } = expected;
    let (mono, before) = match timebase.mono(shared) {
        Ok(mono) => (mono, Duration::ZERO),
        Err(before) => (Duration::ZERO, before),
    };
    if mono > now.mono.saturating_add(TOLERANCE) {
        return Err(Refusal::Future);
    }
    let mono = mono.min(now.mono);
    let wall = now.wall.saturating_sub(now.mono.saturating_sub(mono));
    Ok((Moment { wall, mono }, age_then.saturating_add(before)))
}

pub(super) fn write_directory(
    names: &[HeaderName],
    name: EntryName,
    namespace: &str,
    key: &CacheKey,
) -> Result<Vec<u8>, Refusal> {
    let sorted = names.is_sorted_by(|one, next| one.as_str() < next.as_str());
    if names.is_empty() || names.len() > MAX_SELECTING || !sorted {
        return Err(Refusal::Directory);
    }
    let mut out = written_for(name, namespace, key);
    put_count(&mut out, names.len());
    for name in names {
        put_sized(&mut out, name.as_str().as_bytes());
    }
    within_limit(out)
}

/// What follows [`belongs`] in the record of a directory.
pub(super) fn read_directory(rest: &mut Reader<'_>) -> Result<Box<[HeaderName]>, Refusal> {
    let count = rest.count(MAX_SELECTING, 5)?.ok_or(Refusal::Directory)?;
    let mut names: Vec<HeaderName> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = HeaderName::from_lowercase(rest.sized()?).map_err(|_| Refusal::Directory)?;
        if names.last().is_some_and(|last| last.as_str() >= name.as_str()) {
            return Err(Refusal::Directory);
        }
        names.push(name);
    }
    if names.is_empty() || !rest.is_empty() {
        return Err(Refusal::Directory);
    }
    Ok(names.into())
}

/// Reads whose record it is, and that it is the one expected.
pub(super) fn belongs(rest: &mut Reader<'_>, expected: &Expected<'_>) -> Result<(), Refusal> {
    let (name, namespace, key) = (rest.array()?, rest.sized()?, rest.sized()?);
    if namespace != expected.namespace.as_bytes() {
        return Err(Refusal::Namespace);
    }
    if name != *expected.name.bytes() || key != expected.key.bytes() {
        return Err(Refusal::Key);
    }
    Ok(())
}

/// The beginning of a record's metadata: what [`belongs`] reads.
fn written_for(name: EntryName, namespace: &str, key: &CacheKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + key.bytes().len());
    out.extend_from_slice(name.bytes());
    put_sized(&mut out, namespace.as_bytes());
    put_sized(&mut out, key.bytes());
    out
}

fn within_limit(metadata: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    if metadata.len() > MAX_LENGTH { Err(Refusal::TooLarge) } else { Ok(metadata) }
}

/// A status that answers are stored with: a final one that HTTP defines a class for, and not of a part or an update.
fn storable(status: u16) -> Result<StatusCode, Refusal> {
    match status {
        206 | 304 => Err(Refusal::Status),
        200..=599 => StatusCode::from_u16(status).map_err(|_| Refusal::Status),
        _ => Err(Refusal::Status),
    }
}
