//! What is kept: entries, their variants, and the ledger that says which of them may still be used.
//!
//! Two questions are kept apart. *Is it there?* is answered by a map in memory, which may lose anything at any time to
//! make room. *May it be used?* has two halves: `rfc` judges freshness, and the [`Ledger`] judges whether a change has
//! named the entry since it was fetched. So a purge touches the ledger alone, in time that does not depend on how much is
//! stored; entries it voids are dropped when they are met, or by [`Store::sweep`].
//!
//! ```text
//! Store ── Memory: key → Shelf ── variants: Entry, Entry, …
//!   └───── Ledger: marks per tag, fed by changes::Bus from the fleet's log of Records
//! ```
//!
//! What nodes share has its form here too, as bytes in and bytes out: the record of an entry ([`codec`]), the name it goes
//! by ([`Names`]), and its seal ([`SealKeys`]). [`Shared`] is where such records are looked up and left.

pub mod codec;
mod entry;
mod ledger;
mod listing;
mod marks;
mod memory;
mod naming;
mod record;
#[cfg(test)]
mod samples;
mod seal;
mod shared;
mod shelf;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trials;

use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

pub use entry::{Entry, EntryParts};
use http::{HeaderMap, HeaderName};
pub use ledger::{Applied, Born, Epoch, Ledger, LedgerSettings, Sight};
pub use listing::{EntrySummary, Filter};
use memory::Memory;
pub use naming::{EntryName, Names, TagName};
pub use record::{EVERYTHING, Grade, Record};
pub use seal::{BadKey, SealKeys};
pub use shared::{Hold, Leased, Looked, Shared, SharedSettings, SharedStats, Wanted};
use shelf::Limits;
pub use shelf::Shelf;

use crate::policy::key::CacheKey;
use crate::rfc::{Coding, Moment, Reason};

/// How much memory the store may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySettings {
    /// Bytes of entries, all told.
    pub capacity: u64,
    /// Bytes of the largest body that is stored.
    pub max_object: u64,
    /// Variants of one resource.
    pub max_variants: usize,
    /// Tags that the ledger keeps marks for: see [`LedgerSettings::max_tags`].
    pub max_ledger_tags: usize,
}

impl MemorySettings {
    /// The ledger's part of these settings.
    pub fn ledger(&self) -> LedgerSettings {
        LedgerSettings { max_tags: self.max_ledger_tags }
    }
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            capacity: 512 * MIB,
            max_object: 8 * MIB,
            max_variants: 32,
            max_ledger_tags: LedgerSettings::default().max_tags,
        }
    }
}

const MIB: u64 = 1 << 20;

/// What the ledger permits of an entry, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// No change names it: freshness alone decides.
    Valid,
    /// It counts as stale: it may be served while one refresh runs behind it.
    Soft,
    /// Usable only after the backend confirmed it; never served meanwhile, not even stale.
    Check,
    /// It does not exist.
    Void,
}

/// What a look-up found.
#[derive(Clone, Debug)]
pub enum Found {
    /// The most recent variant that the request selects, and what the ledger permits of it: anything but
    /// [`Standing::Void`].
    Entry(Arc<Entry>, Standing),
    /// Variants are stored, but none that the request selects.
    OtherVariants,
    /// Nothing usable, and the last answer could not be shared: do not queue behind one another.
    KnownUncacheable(Reason),
    /// Nothing is stored.
    Nothing,
    /// There was one, and a hard change has named it since.
    Purged,
}

/// The node's own memory. Shared by all that serve and fill.
#[derive(Debug)]
pub struct Store {
    memory: Memory,
    ledger: Arc<Ledger>,
    max_object: u64,
    limits: Limits,
    sweep: Mutex<Sweep>,
}

impl Store {
    /// An empty store within `settings`, whose entries are checked against `ledger`.
    pub fn new(settings: MemorySettings, ledger: Arc<Ledger>) -> Self {
        let MemorySettings { capacity, max_object, max_variants, max_ledger_tags: _ } = settings;
        Self {
            memory: Memory::new(capacity),
            ledger,
            max_object,
            // One resource never takes more than half of it all, however many variants it has.
            limits: Limits { max_variants, max_weight: capacity / 2 },
            sweep: Mutex::default(),
        }
    }

    /// What the entries are checked against.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What is stored for `key` that `request` selects. Allocates nothing, unless something void has to be dropped.
    pub fn look_up(&self, key: &[u8], request: &HeaderMap, now: Moment) -> Found {
        let Some(kept) = self.memory.get(key) else { return Found::Nothing };
        let mut purged = false;
        for entry in kept.matching(request) {
            match self.ledger.standing(entry) {
                Standing::Void => purged = true,
                standing => return Found::Entry(Arc::clone(entry), standing),
            }
        }
        if purged {
            self.drop_void(kept.key(), now);
        }
        match kept.uncacheable(now) {
            Some(reason) => Found::KnownUncacheable(reason),
            None if purged => Found::Purged,
            None if kept.variants().is_empty() => Found::Nothing,
            None => Found::OtherVariants,
        }
    }

    /// Why the last answer for `key` could not be shared, if that was lately. [`Store::look_up`] says so only when
    /// nothing is stored; this also tells when something stale is.
    pub fn known_uncacheable(&self, key: &[u8], now: Moment) -> Option<Reason> {
        self.memory.get(key)?.uncacheable(now)
    }

    /// Stores `entry` in place of the same variant, and forgets that its resource was uncacheable. It may be evicted at
    /// any time, also at once.
    ///
    /// # Errors
    /// [`Reason::TooLarge`] if its body is larger than one may be; [`Reason::NotAdmitted`] if it is heavier than all of
    /// the memory; [`Reason::PurgedMeanwhile`] if a hard change has named it since it was born, or if what is stored was
    /// born later.
    pub fn keep(&self, entry: Arc<Entry>) -> Result<(), Reason> {
        if entry.body.len() as u64 > self.max_object {
            return Err(Reason::TooLarge);
        }
        if u64::from(entry.weight()) > self.memory.capacity() {
            return Err(Reason::NotAdmitted);
        }
        let kept = self.memory.edit(entry.key.clone(), move |shelf| match self.ledger.standing(&entry) {
            Standing::Void => None,
            _ => shelf.with(entry, &self.limits),
        });
        if kept { Ok(()) } else { Err(Reason::PurgedMeanwhile) }
    }

    /// Stores what another node has fetched, unless something newer of the same variant is there by now: it may have been
    /// long on its way.
    ///
    /// # Errors
    /// As [`Store::keep`]; [`Reason::PurgedMeanwhile`] also for what is no longer the newest.
    pub fn promote(&self, entry: Arc<Entry>) -> Result<(), Reason> {
        if entry.body.len() as u64 > self.max_object {
            return Err(Reason::TooLarge);
        }
        if u64::from(entry.weight()) > self.memory.capacity() {
            return Err(Reason::NotAdmitted);
        }
        let kept = self.memory.edit(entry.key.clone(), move |shelf| match self.ledger.standing(&entry) {
            Standing::Void => None,
            _ if shelf.has_newer(&entry) => None,
            _ => shelf.with(entry, &self.limits),
        });
        if kept { Ok(()) } else { Err(Reason::PurgedMeanwhile) }
    }

    /// Remembers until `until_mono` (on the monotonic clock) that answers for `key` cannot be shared. What is stored
    /// stays.
    pub fn remember_uncacheable(&self, key: CacheKey, reason: Reason, until_mono: Duration) {
        self.memory.edit(key, |shelf| Some(shelf.with_uncacheable(reason, until_mono)));
    }

    /// The answer of `base` with its body in `coding`, if that was made and kept. As valid as `base` is.
    pub fn encoded(&self, base: &Arc<Entry>, coding: Coding) -> Option<Arc<Entry>> {
        base.derived(coding).cloned()
    }

    /// Keeps `derived`, the answer of `base` in another coding, for as long as `base` itself is kept. Of two made at the
    /// same time the first stays.
    pub fn keep_encoded(&self, base: &Arc<Entry>, derived: Arc<Entry>) {
        if u64::from(base.full_weight()) + u64::from(derived.weight()) > self.limits.max_weight {
            return;
        }
        // The same shelf once more, to be weighed again.
        self.memory
            .edit(base.key.clone(), |shelf| (shelf.holds(base) && base.keep_derived(derived)).then(|| shelf.clone()));
    }

    /// Drops all that is stored for `key`. To make room, not to invalidate: a fetch under way is not hindered.
    pub fn forget(&self, key: &[u8]) {
        if let Some(shelf) = self.memory.get(key) {
            self.memory.edit(shelf.key().clone(), |shelf| Some(Shelf::empty(shelf.key().clone())));
        }
    }

    /// Drops `entry`, if it is still there. Because the backend has said something newer that cannot be kept; to
    /// invalidate is the ledger's business.
    pub fn drop_entry(&self, entry: &Arc<Entry>) {
        self.memory.edit(entry.key.clone(), |shelf| shelf.without_entry(entry));
    }

    /// The request fields that select among the variants stored for `key`, sorted: requests that agree in them can share
    /// one fetch.
    pub fn variant_names(&self, key: &[u8]) -> Vec<HeaderName> {
        self.memory.get(key).map(|shelf| shelf.variant_names()).unwrap_or_default()
    }

    /// Up to `limit` stored entries that `filter` admits, in no order. Walks all that is stored: not for the data path.
    pub fn list(&self, filter: &Filter, limit: usize) -> Vec<EntrySummary> {
        let mut list = Vec::new();
        for shelf in self.memory.shelves() {
            for entry in shelf.variants().iter().filter(|entry| filter.admits(entry)) {
                if list.len() == limit {
                    return list;
                }
                match self.ledger.standing(entry) {
                    Standing::Void => {}
                    standing => list.push(EntrySummary::of(entry, standing)),
                }
            }
        }
        list
    }

    /// The largest body that is stored, in bytes.
    pub fn max_object(&self) -> u64 {
        self.max_object
    }

    /// The ceiling, in bytes.
    pub fn capacity(&self) -> u64 {
        self.memory.capacity()
    }

    /// Resources that had to make room, since the start.
    pub fn evictions(&self) -> u64 {
        self.memory.evictions()
    }

    /// Bytes held.
    pub fn weight(&self) -> u64 {
        self.memory.weight()
    }

    /// Resources held, each with all its variants.
    pub fn count(&self) -> u64 {
        self.memory.count()
    }

    /// Looks at the next `budget` resources, and drops what is void and what is past all use. When the last one has been
    /// looked at, the ledger forgets what concerns no entry any more, and the next call begins anew.
    ///
    /// For a background task, every few seconds. A pass in slices walks over what earlier slices looked at, so let a
    /// slice be a good part of the whole.
    pub fn sweep(&self, now: Moment, budget: usize) -> Swept {
        let mut place = match self.sweep.try_lock() {
            Ok(place) => place,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Someone else is at it.
            Err(TryLockError::WouldBlock) => return Swept::default(),
        };
        let mut swept = Swept::default();
        if place.at == 0 {
            place.oldest = self.ledger.applied();
        }
        let mut shelves = self.memory.shelves().skip(place.at);
        for shelf in shelves.by_ref().take(budget) {
            swept.looked += 1;
            let kept = |entry: &Entry| self.ledger.standing(entry) != Standing::Void && !past_use(entry, now);
            if shelf.without(now, kept).is_some() {
                self.memory.edit(shelf.key().clone(), |shelf| shelf.without(now, kept));
                swept.dropped += 1;
            }
            let births = shelf.variants().iter().filter(|entry| entry.born.epoch == self.ledger.epoch() && kept(entry));
            place.oldest = births.map(|entry| entry.born.number).fold(place.oldest, u64::min);
        }
        swept.finished = swept.looked < budget || shelves.next().is_none();
        drop(shelves);
        if swept.finished {
            self.ledger.forget_until(place.oldest);
            *place = Sweep::default();
        } else {
            // What was dropped no longer counts; better to meet one twice than never.
            place.at += swept.looked - swept.dropped;
        }
        drop(place);
        self.memory.settle();
        swept
    }

    /// Takes what has been voided off the shelf of `key`.
    fn drop_void(&self, key: &CacheKey, now: Moment) {
        self.memory
            .edit(key.clone(), |shelf| shelf.without(now, |entry| self.ledger.standing(entry) != Standing::Void));
    }
}

/// What one call of [`Store::sweep`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Resources looked at.
    pub looked: usize,
    /// Resources of which something was dropped.
    pub dropped: usize,
    /// Was that the end of a pass?
    pub finished: bool,
}

/// How far the sweeping has got.
#[derive(Debug, Default)]
struct Sweep {
    /// Resources of this pass that were looked at and are still there.
    at: usize,
    /// The lowest birth seen in this pass.
    oldest: u64,
}

/// Can `entry` neither be served, fresh or stale, nor be validated to any purpose?
fn past_use(entry: &Entry, now: Moment) -> bool {
    entry.facts.age(now) > entry.facts.useful_for()
}
