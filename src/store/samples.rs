//! Entries to test with.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Born, Entry, EntryParts, Epoch, Grade, Ledger, LedgerSettings, Record};
use crate::policy::key::CacheKey;
use crate::rfc::{Coding, LifetimeSource, Moment, StoredFacts, Vary, VaryKey};

/// The epoch of all samples.
pub(crate) fn epoch() -> Epoch {
    Epoch(7)
}

/// A birth in that epoch.
pub(crate) fn born(number: u64) -> Born {
    Born { epoch: epoch(), number, tick: 0, at: Duration::ZERO }
}

/// A ledger of that epoch.
pub(crate) fn ledger() -> Arc<Ledger> {
    Arc::new(Ledger::new(epoch(), LedgerSettings::default()))
}

/// So many seconds after the process started.
pub(crate) fn at(secs: u64) -> Moment {
    Moment { wall: Duration::from_secs(1_000_000 + secs), mono: Duration::from_secs(secs) }
}

/// A record of `grade` that names `tags`.
pub(crate) fn record(grade: Grade, tags: &[&str]) -> Record {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Record { grade, tags, source: String::new(), id: String::new(), at: 0, report: false }
}

/// A key for `path`.
pub(crate) fn key(path: &str) -> CacheKey {
    CacheKey::new(path.as_bytes())
}

/// The fields of a request.
pub(crate) fn request(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// The variant of an answer that varies by `fields`, asked for with these values.
pub(crate) fn vary(fields: &[(&'static str, &'static str)]) -> VaryKey {
    VaryKey::of(&Vary::Fields(fields.iter().map(|(name, _)| HeaderName::from_static(name)).collect()), &request(fields))
}

/// A small answer, received at second 0, fresh for 60 s, under the tags of its path and `tag:x`.
pub(crate) fn parts(path: &str, number: u64) -> EntryParts {
    EntryParts {
        key: key(path),
        vary: VaryKey::of(&Vary::None, &HeaderMap::new()),
        status: StatusCode::OK,
        headers: request(&[("content-type", "text/plain"), ("etag", "\"1\"")]),
        body: "body".into(),
        facts: facts(),
        tags: [Arc::from(format!("url:{path}")), Arc::from("tag:x")].into(),
        born: born(number),
        coding: Coding::Identity,
        compressible: false,
    }
}

/// The entry of [`parts`].
pub(crate) fn entry(path: &str, number: u64) -> Arc<Entry> {
    Arc::new(Entry::new(parts(path, number)))
}

fn facts() -> StoredFacts {
    StoredFacts {
        status: StatusCode::OK,
        lifetime: Duration::from_mins(1),
        source: LifetimeSource::MaxAge,
        age_at_receipt: Duration::ZERO,
        received: at(0),
        date: at(0).wall,
        stale_while_revalidate: Duration::from_secs(30),
        stale_if_error: None,
        no_cache: false,
        must_revalidate: false,
        immutable: false,
        last_modified: None,
        has_validator: true,
    }
}

/// Calls `run` with every order in which actors can take their steps: `steps[a]` is how many actor `a` has, and a
/// schedule names the actor of each turn.
pub(crate) fn interleave(steps: &[usize], run: &mut impl FnMut(&[usize])) {
    fn go(left: &mut [usize], schedule: &mut Vec<usize>, run: &mut impl FnMut(&[usize])) {
        if left.iter().all(|steps| *steps == 0) {
            return run(schedule);
        }
        for actor in 0..left.len() {
            if left[actor] > 0 {
                left[actor] -= 1;
                schedule.push(actor);
                go(left, schedule, run);
                schedule.pop();
                left[actor] += 1;
            }
        }
    }
    go(&mut steps.to_vec(), &mut Vec::new(), run);
}
