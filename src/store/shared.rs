//! What one node has fetched for all: entries in the fleet's own store, and whose turn it is to fetch the next one.
//!
//! Unlike memory it is far away, may not answer, and holds what others wrote. So whatever comes from there is proved
//! ([`codec`]), and then checked against the log: by this node's ledger if the entry was born within its view, else by the
//! log's own marks, asked for *after* the entry. What is valid by the latter is *born again* at the place of that answer,
//! since no change up to there names it; from then on this node's ledger can tell.
//!
//! Writes leave the request's path: they wait in a queue of bounded length, a few at a time are carried out, and what finds
//! the queue full is dropped and counted. A write that arrives late does no harm: it is refused if a change has voided the
//! entry or a later one is there, and it expires by the answer's own time.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use super::codec::{self, Decoded, Expected, Limits, Refusal, Timebase, Wrapping};
use super::{Born, Entry, EntryName, EntryParts, Ledger, Names, SealKeys, Standing};
use crate::fleet::{Fleet, FleetError, Kept, Lease, Name, Newest, Put, TagMarks};
use crate::policy::key::CacheKey;
use crate::rfc::{Moment, Vary, VaryKey};

#[cfg(test)]
mod tests;
mod writing;

pub use self::writing::SharedStats;
use self::writing::Waiting;

/// What an operator may say about shared entries.
#[derive(Clone, Debug)]
pub struct SharedSettings {
    /// Bytes of the largest body that is shared. Default 1 MiB.
    pub max_object: u64,
    /// No entry is shared, and none is used, for longer than this. Default 24 h.
    pub max_ttl: Duration,
    /// Header block and body are compressed from this many bytes on. Default 1 KiB.
    pub compress_above: usize,
    /// Entries that may wait to be written. Default 1,024.
    pub max_waiting: usize,
    /// Bytes of bodies that may wait to be written. Default 32 MiB.
    pub max_waiting_bytes: u64,
    /// With a key, records are sealed, and others are not believed. Default none.
    pub seal: Option<SealKeys>,
}

impl Default for SharedSettings {
    fn default() -> Self {
        Self {
            max_object: 1 << 20,
            max_ttl: Duration::from_hours(24),
            compress_above: codec::COMPRESS_ABOVE,
            max_waiting: 1_024,
            max_waiting_bytes: 32 << 20,
            seal: None,
        }
    }
}

/// The shared tier, as one node reaches it.
#[derive(Debug)]
pub struct Shared {
    fleet: Fleet,
    names: Names,
    tags: Names,
    settings: SharedSettings,
    waiting: Mutex<Waiting>,
    stats: SharedStats,
    random: RandomState,
    leases: AtomicU64,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The resource.
    pub key: &'a CacheKey,
    /// The request's fields.
    pub request: &'a HeaderMap,
    /// The fields that are known to select among its answers, sorted; none if none are known.
    pub selecting: &'a [HeaderName],
}

/// What was found.
#[derive(Debug, Default)]
pub struct Looked {
    /// The answer that the request selects, and what the log permits of it: anything but [`Standing::Void`].
    pub found: Option<(Arc<Entry>, Standing)>,
    /// This node's ledger can tell about the answer from now on. If not, it must not be kept in memory.
    pub known: bool,
    /// The fields that select, if the resource's answers vary.
    pub selecting: Option<Box<[HeaderName]>>,
}

/// What came of asking for a lease.
#[derive(Debug)]
pub enum Leased {
    /// It is this node's turn.
    Granted(Hold),
    /// It is another's, for so long at the most.
    Held(Duration),
    /// What is fetched cannot be shared.
    Pointless,
}

/// A lease that this node has. Unless given back it ends by itself.
#[derive(Debug)]
pub struct Hold {
    name: Name,
    token: u64,
}

impl Shared {
    /// What nodes share over `fleet` under `namespace`. Nodes of different `edition` share no entries, for they give them
    /// different tags; the log of changes, and what tags are called in it, they have in common.
    pub fn new(fleet: Fleet, namespace: &str, edition: &str, settings: SharedSettings) -> Arc<Self> {
        Arc::new(Self {
            names: Names::new(&[namespace, edition].concat(), settings.seal.as_ref()),
            tags: Names::new(namespace, None),
            fleet,
            settings,
            waiting: Mutex::default(),
            stats: SharedStats::default(),
            random: RandomState::new(),
            leases: AtomicU64::new(0),
        })
    }

    /// What has been counted.
    pub fn stats(&self) -> &SharedStats {
        &self.stats
    }

    /// Looks for an answer. `ledger` must have the log in sight.
    ///
    /// # Errors
    /// [`FleetError`]: it is not known whether there is one.
    pub async fn look_up(
        &self,
        wanted: Wanted<'_>,
        ledger: &Ledger,
        timebase: Timebase,
        now: Moment,
    ) -> Result<Looked, FleetError> {
        let looked = self.look_again(wanted, ledger, timebase, now).await;
        if matches!(looked, Ok(Looked { found: None, .. })) {
            self.stats.missed();
        }
        looked
    }

    /// The same for who has found nothing a moment ago: to find nothing once more is not counted.
    ///
    /// # Errors
    /// As [`Shared::look_up`].
    pub async fn look_again(
        &self,
        wanted: Wanted<'_>,
        ledger: &Ledger,
        timebase: Timebase,
        now: Moment,
    ) -> Result<Looked, FleetError> {
        let looked = self.find(wanted, ledger, timebase, now).await;
        match &looked {
            Ok(Looked { found: Some(_), .. }) => self.stats.found(),
            Ok(_) => {}
            Err(error) => self.stats.failed(error),
        }
        looked
    }

    async fn find(
        &self,
        wanted: Wanted<'_>,
        ledger: &Ledger,
        timebase: Timebase,
        now: Moment,
    ) -> Result<Looked, FleetError> {
        let primary = self.names.primary(wanted.key);
        let guess = self.variant(wanted, wanted.selecting);
        let (first, guessed) = match guess {
            None => (self.get(primary).await?, None),
            Some(name) => {
                // It is known what selects: ask for both at once.
                let (first, second) = tokio::join!(self.get(primary), self.get(name));
                (first?, second?)
            }
        };
        let first = first.and_then(|record| self.decode(&record, primary, wanted, timebase, now));
        let (entry, selecting) = match first {
            Some(Decoded::Entry(entry)) => (Some(entry), None),
            Some(Decoded::Directory { names, .. }) => {
                let variant = self.variant(wanted, &names);
                let record = match variant {
                    Some(name) if variant == guess => guessed.map(|record| (record, name)),
                    Some(name) => self.get(name).await?.map(|record| (record, name)),
                    None => None,
                };
                (record.and_then(|(record, name)| self.entry(&record, name, wanted, timebase, now)), Some(names))
            }
            None => {
                let record = guessed.zip(guess);
                (record.and_then(|(record, name)| self.entry(&record, name, wanted, timebase, now)), None)
            }
        };
        let looked = Looked { selecting, ..Looked::default() };
        match entry.filter(|entry| entry.vary.matches(wanted.request)) {
            Some(entry) => self.check(*entry, looked, ledger).await,
            None => Ok(looked),
        }
    }

    /// What the log permits of `entry`.
    async fn check(&self, entry: Entry, looked: Looked, ledger: &Ledger) -> Result<Looked, FleetError> {
        if entry.born.epoch != ledger.epoch() || ledger.pending_standing(&entry.marks) != Standing::Valid {
            return Ok(looked);
        }
        if ledger.knows(entry.born) {
            let standing = ledger.standing_of(entry.born, &entry.marks);
            let found = (standing != Standing::Void).then(|| (Arc::new(entry), standing));
            return Ok(Looked { found, known: true, ..looked });
        }
        // Asked for after the entry was read: what is said now is said of this entry.
        let tags: Vec<Name> = entry.tags.iter().map(|tag| Name(*self.tags.tag(tag).bytes())).collect();
        let marks = self.fleet.newest(&tags).await?;
        let possible = entry.born.epoch == marks.place.epoch && entry.born.number <= marks.place.number;
        if !possible || marks.tags.len() != tags.len() {
            return Ok(looked);
        }
        match standing_by(&marks, entry.born) {
            Standing::Void => Ok(looked),
            Standing::Valid => {
                // No change up to that place names it.
                let born = Born::elsewhere(marks.place.epoch, marks.place.number);
                let entry = Entry::new(EntryParts { born, ..entry.parts() });
                Ok(Looked { found: Some((Arc::new(entry), Standing::Valid)), known: true, ..looked })
            }
            standing => Ok(Looked { found: Some((Arc::new(entry), standing)), ..looked }),
        }
    }

    /// Asks whether it is this node's turn to fetch what is `wanted`, and takes it for `term` at the most. Requests of
    /// different `class` do not wait for each other.
    ///
    /// # Errors
    /// [`FleetError`]: nobody can say.
    pub async fn lease(&self, wanted: Wanted<'_>, class: u8, term: Duration) -> Result<Leased, FleetError> {
        let name = self.variant(wanted, wanted.selecting).unwrap_or_else(|| self.names.primary(wanted.key));
        let mut name = Name(*name.bytes());
        // A digest is as good with a few bits turned.
        name.0[0] ^= class;
        let token = self.random.hash_one(self.leases.fetch_add(1, Ordering::Relaxed));
        let asked = self.fleet.lease(name, token, term).await;
        self.stats.leased(&asked);
        Ok(match asked? {
            Lease::Granted => Leased::Granted(Hold { name, token }),
            Lease::Held(left) => Leased::Held(left),
            Lease::Pointless => Leased::Pointless,
        })
    }

    /// Gives a lease back. With `pointless_for`, those who ask within that time are told that it is of no use.
    pub async fn release(&self, hold: Hold, pointless_for: Option<Duration>) {
        // If nobody hears it, the lease ends by itself.
        if let Err(error) = self.fleet.release(hold.name, hold.token, pointless_for).await {
            self.stats.failed(&error);
        }
    }

    async fn get(&self, name: EntryName) -> Result<Option<Bytes>, FleetError> {
        let limit = usize::try_from(self.limits().max_record()).unwrap_or(usize::MAX);
        self.fleet.get(Name(*name.bytes()), limit).await
    }

    /// Where the answer is that the request selects by these fields; `None` without any.
    fn variant(&self, wanted: Wanted<'_>, selecting: &[HeaderName]) -> Option<EntryName> {
        if selecting.is_empty() {
            return None;
        }
        let vary = VaryKey::of(&Vary::Fields(selecting.into()), wanted.request);
        Some(self.names.variant(wanted.key, &vary))
    }

    fn entry(
        &self,
        record: &[u8],
        name: EntryName,
        wanted: Wanted<'_>,
        timebase: Timebase,
        now: Moment,
    ) -> Option<Box<Entry>> {
        match self.decode(record, name, wanted, timebase, now)? {
            Decoded::Entry(entry) => Some(entry),
            Decoded::Directory { .. } => {
                self.stats.refused(Refusal::Directory);
                None
            }
        }
    }

    fn decode(
        &self,
        record: &[u8],
        name: EntryName,
        wanted: Wanted<'_>,
        timebase: Timebase,
        now: Moment,
    ) -> Option<Decoded> {
        let expected = Expected {
            namespace: self.names.namespace(),
            name,
            key: wanted.key,
            limits: self.limits(),
            now,
            timebase,
            seal: self.settings.seal.as_ref(),
        };
        match codec::decode(record, &expected) {
            Ok(decoded) => Some(decoded),
            Err(refusal) => {
                if self.stats.refused(refusal) {
                    tracing::warn!(reason = refusal.code(), "a shared record counts as absent: {refusal}");
                }
                None
            }
        }
    }

    fn limits(&self) -> Limits {
        let SharedSettings { max_object, max_ttl, .. } = self.settings;
        Limits { max_object, max_ttl, max_stale: max_ttl }
    }

    fn wrapping(&self) -> Wrapping<'_> {
        Wrapping {
            namespace: self.names.namespace(),
            compress_above: self.settings.compress_above,
            seal: self.settings.seal.as_ref(),
        }
    }

    // Nothing that holds it can panic half-way.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the log's own marks leave of an answer that was born at `born`, in the same epoch.
fn standing_by(marks: &TagMarks, born: Born) -> Standing {
    let hit =
        |newest: fn(&Newest) -> u64| marks.tags.iter().chain([&marks.floors]).any(|all| newest(all) > born.number);
    match () {
        () if hit(|newest| newest.hard) => Standing::Void,
        () if hit(|newest| newest.check) => Standing::Check,
        () if hit(|newest| newest.soft) => Standing::Soft,
        () => Standing::Valid,
    }
}
