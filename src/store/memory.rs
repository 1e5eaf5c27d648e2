//! The map from key to shelf, held within its bytes.
//!
//! moka weighs and evicts. It is not asked to expire: freshness is always computed from an entry's facts. Every change
//! of a shelf goes through one function, which moka serialises per key, so that two fills of one resource cannot undo
//! each other.
//!
//! moka evicts in batches behind the writers, from a queue of some hundred writes; with large bodies that queue alone
//! could outgrow the ceiling. So each writer adds up what it puts in, and whoever crosses a small share of the ceiling
//! has the evicting done there and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::sync::Cache;

use super::shelf::Shelf;
use crate::policy::key::CacheKey;

/// The map. Cheap to read from many threads.
#[derive(Debug)]
pub(super) struct Memory {
    map: Cache<CacheKey, Arc<Shelf>, foldhash::fast::RandomState>,
    capacity: u64,
    /// Bytes put in since the last eviction that was waited for.
    unsettled: AtomicU64,
    /// Shelves that had to make room.
    evictions: Arc<AtomicU64>,
}

impl Memory {
    /// A map that holds `capacity` bytes.
    pub(super) fn new(capacity: u64) -> Self {
        let evictions = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&evictions);
        let map = Cache::builder()
            .name("memory")
            .max_capacity(capacity)
            .weigher(|_: &CacheKey, shelf: &Arc<Shelf>| shelf.weight())
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self { map, capacity, unsettled: AtomicU64::new(0), evictions }
    }

    /// The ceiling, in bytes.
    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Shelves that had to make room, since the start.
    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// What is known of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<Arc<Shelf>> {
        self.map.get(key)
    }

    /// Replaces the shelf of `key` by what `edit` makes of it: nothing means that it stays as it is, an empty one that it
    /// goes. Nobody else edits the same shelf meanwhile. Says whether there was anything to replace it by.
    pub(super) fn edit(&self, key: CacheKey, edit: impl FnOnce(&Shelf) -> Option<Shelf>) -> bool {
        let (mut put, mut changed) = (0, true);
        let empty = Shelf::empty(key.clone());
        self.map.entry(key).and_compute_with(|found| {
            let before = found.map(moka::Entry::into_value);
            match edit(before.as_deref().unwrap_or(&empty)) {
                None => {
                    changed = false;
                    Op::Nop
                }
                Some(next) if next.is_empty() => Op::Remove,
                Some(next) => {
                    put = u64::from(next.weight());
                    Op::Put(Arc::new(next))
                }
            }
        });
        if self.unsettled.fetch_add(put, Ordering::Relaxed).saturating_add(put) > self.capacity / UNSETTLED_SHARE {
            self.settle();
        }
        changed
    }

    /// All shelves, in no order, without making any of them look popular.
    pub(super) fn shelves(&self) -> impl Iterator<Item = Arc<Shelf>> {
        self.map.iter().map(|(_, shelf)| shelf)
    }

    /// Bytes held, as of the last eviction.
    pub(super) fn weight(&self) -> u64 {
        self.map.weighted_size()
    }

    /// Resources held, as of the last eviction.
    pub(super) fn count(&self) -> u64 {
        self.map.entry_count()
    }

    /// Brings the books up to date and evicts what is too much.
    pub(super) fn settle(&self) {
        self.unsettled.store(0, Ordering::Relaxed);
        // One round evicts a limited number of shelves; a large one may have to take the place of many.
        for _ in 0..SETTLE_ROUNDS {
            self.map.run_pending_tasks();
            if self.map.weighted_size() <= self.capacity {
                return;
            }
        }
    }
}

/// The ceiling divided by this is what may be put in before evicting is waited for.
const UNSETTLED_SHARE: u64 = 64;

/// Rounds of eviction at most; whatever is left is the next writer's.
const SETTLE_ROUNDS: usize = 16;
