//! How entries are left for the other nodes: off the request's path, bounded, a few at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header;

use super::{Entry, FleetError, Hold, Kept, Lease, Name, Put, Refusal, Shared, Timebase, codec};

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    items: VecDeque<Item>,
    bytes: u64,
    /// Tasks that carry it out.
    writers: usize,
}

#[derive(Debug)]
struct Item {
    entry: Arc<Entry>,
    timebase: Timebase,
    /// Given back when the entry is there.
    hold: Option<Hold>,
}

/// Tasks that write at the same time.
const WRITERS: usize = 4;

/// Larger bodies are packed on a thread of their own: that takes more than a moment.
const AT_ONCE: usize = 64 * 1024;

impl Shared {
    /// Whether an answer like `entry` is shared at all: not if it sets a cookie or is too large.
    pub fn takes(&self, entry: &Entry) -> bool {
        entry.body.len() as u64 <= self.settings.max_object && !entry.headers.contains_key(header::SET_COOKIE)
    }

    /// Leaves `entry` for the other nodes as soon as possible, and then gives the lease back. If too much waits already,
    /// the entry is dropped and counted.
    pub fn write(self: &Arc<Self>, entry: Arc<Entry>, timebase: Timebase, hold: Option<Hold>) {
        let size = entry.body.len() as u64;
        let mut waiting = self.waiting();
        let full = waiting.items.len() >= self.settings.max_waiting
            || waiting.bytes.saturating_add(size) > self.settings.max_waiting_bytes;
        if full {
            drop(waiting);
            self.stats.dropped.fetch_add(1, Ordering::Relaxed);
            if let Some(hold) = hold {
                let shared = Arc::clone(self);
                tokio::spawn(async move { shared.release(hold, None).await });
            }
            return;
        }
        waiting.bytes += size;
        waiting.items.push_back(Item { entry, timebase, hold });
        if waiting.writers < WRITERS {
            waiting.writers += 1;
            tokio::spawn(Writer { shared: Arc::clone(self), at_work: true }.run());
        }
    }

    /// Entries that wait to be written.
    pub fn waiting_writes(&self) -> usize {
        self.waiting().items.len()
    }

    async fn carry_out(self: &Arc<Self>, item: Item) {
        let Item { entry, timebase, hold } = item;
        let records = if entry.body.len() > AT_ONCE {
            let (shared, entry) = (Arc::clone(self), Arc::clone(&entry));
            tokio::task::spawn_blocking(move || shared.records(&entry, timebase)).await.ok()
        } else {
            Some(self.records(&entry, timebase))
        };
        let mut pointless = None;
        match records {
            Some(Ok(records)) => self.put(&entry, records, timebase).await,
            Some(Err(refusal)) => {
                self.stats.refused(refusal);
                pointless = Some(POINTLESS_FOR);
            }
            None => {}
        }
        if let Some(hold) = hold {
            self.release(hold, pointless).await;
        }
    }

    /// The directory first, if the answer varies, then the entry: whoever finds the one may find the other missing, which
    /// is a miss.
    fn records(&self, entry: &Entry, timebase: Timebase) -> Result<Vec<(Name, Bytes)>, Refusal> {
        let primary = self.names.primary(&entry.key);
        let mut records = Vec::with_capacity(2);
        let mut name = primary;
        if !entry.vary.is_empty() {
            let names: Vec<_> = entry.vary.names().cloned().collect();
            let directory = codec::encode_directory(&names, entry.born, &entry.key, primary, &self.wrapping())?;
            records.push((Name(*primary.bytes()), directory));
            name = self.names.variant(&entry.key, &entry.vary);
        }
        let record = codec::encode(entry, name, &self.wrapping(), timebase)?;
        records.push((Name(*name.bytes()), record));
        Ok(records)
    }

    async fn put(&self, entry: &Entry, records: Vec<(Name, Bytes)>, timebase: Timebase) {
        let received = timebase.shared(entry.facts.received.mono);
        let latest = received.saturating_add(self.settings.max_ttl);
        let expires = codec::useful_until(&entry.facts, timebase).min(latest);
        let tags: Vec<Name> = entry.tags.iter().map(|tag| Name(*self.tags.tag(tag).bytes())).collect();
        for (name, bytes) in records {
            let (epoch, born) = (entry.born.epoch, entry.born.number);
            let put = Put { name, epoch, born, expires, bytes, tags: tags.clone() };
            match self.fleet.put(put).await {
                Ok(kept) => self.stats.put(kept),
                Err(error) => {
                    self.stats.puts[PUTS.len() - 1].fetch_add(1, Ordering::Relaxed);
                    return self.stats.failed(&error);
                }
            }
        }
    }
}

/// For how long the next ones who ask for the lease are told that an answer like this cannot be shared.
const POINTLESS_FOR: Duration = Duration::from_secs(10);

/// A task that carries out what waits, until nothing does.
struct Writer {
    shared: Arc<Shared>,
    at_work: bool,
}

impl Writer {
    async fn run(mut self) {
        while let Some(item) = self.next() {
            self.shared.carry_out(item).await;
        }
    }

    /// The next one. Whoever finds none has left, in the same breath: nothing is queued behind its back.
    fn next(&mut self) -> Option<Item> {
        let mut waiting = self.shared.waiting();
        let item = waiting.items.pop_front();
        if let Some(item) = &item {
            waiting.bytes = waiting.bytes.saturating_sub(item.entry.body.len() as u64);
        } else {
            waiting.writers -= 1;
            self.at_work = false;
        }
        item
    }
}

/// A task that ended otherwise makes room for another one all the same.
impl Drop for Writer {
    fn drop(&mut self) {
        if self.at_work {
            self.shared.waiting().writers -= 1;
        }
    }
}

/// What has been counted about the shared tier since the start.
#[derive(Debug)]
pub struct SharedStats {
    found: AtomicU64,
    missed: AtomicU64,
    dropped: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    failed: [AtomicU64; FleetError::CODES.len()],
    puts: [AtomicU64; PUTS.len()],
    leases: [AtomicU64; LEASES.len()],
}

/// What became of entries that were written.
const PUTS: [&str; 5] = ["kept", "outranked", "void", "expired", "failed"];

/// What came of asking for leases.
const LEASES: [&str; 4] = ["granted", "held", "pointless", "failed"];

impl Default for SharedStats {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            found: zero(),
            missed: zero(),
            dropped: zero(),
            refused: std::array::from_fn(|_| zero()),
            failed: std::array::from_fn(|_| zero()),
            puts: std::array::from_fn(|_| zero()),
            leases: std::array::from_fn(|_| zero()),
        }
    }
}

impl SharedStats {
    /// Look-ups that found an answer, and look-ups that found none.
    pub fn look_ups(&self) -> (u64, u64) {
        (self.found.load(Ordering::Relaxed), self.missed.load(Ordering::Relaxed))
    }

    /// Entries that were not written because too much waited.
    pub fn dropped_writes(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Records that were not believed or could not be written, by [`Refusal::code`].
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        counts(Refusal::ALL.iter().map(|refusal| refusal.code()), &self.refused)
    }

    /// Questions without an answer, by [`FleetError::code`].
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        counts(FleetError::CODES.iter().copied(), &self.failed)
    }

    /// What became of the records that were written: `kept`, `outranked`, `void`, `expired`; `failed` if nobody took them.
    pub fn writes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        counts(PUTS.into_iter(), &self.puts)
    }

    /// What came of asking for leases: `granted`, `held`, `pointless`, `failed`.
    pub fn leases(&self) -> impl Iterator<Item = (&'static str, u64)> {
        counts(LEASES.into_iter(), &self.leases)
    }

    pub(super) fn found(&self) {
        self.found.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn missed(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    /// Says whether it is the first of its kind: logged once is enough.
    pub(super) fn refused(&self, refusal: Refusal) -> bool {
        let at = Refusal::ALL.iter().position(|one| *one == refusal);
        at.and_then(|at| self.refused.get(at)).is_some_and(|count| count.fetch_add(1, Ordering::Relaxed) == 0)
    }

    pub(super) fn failed(&self, error: &FleetError) {
        let at = FleetError::CODES.iter().position(|code| *code == error.code());
        count(&self.failed, at.unwrap_or(usize::MAX));
    }

    fn put(&self, kept: Kept) {
        count(
            &self.puts,
            match kept {
                Kept::Yes => 0,
                Kept::Outranked => 1,
                Kept::Void => 2,
                Kept::Expired => 3,
            },
        );
    }

    pub(super) fn leased(&self, asked: &Result<Lease, FleetError>) {
        count(
            &self.leases,
            match asked {
                Ok(Lease::Granted) => 0,
                Ok(Lease::Held(_)) => 1,
                Ok(Lease::Pointless) => 2,
                Err(_) => 3,
            },
        );
    }
}

fn count(counters: &[AtomicU64], at: usize) {
    if let Some(counter) = counters.get(at) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn counts<'a>(
    codes: impl Iterator<Item = &'static str> + 'a,
    counters: &'a [AtomicU64],
) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    codes.zip(counters).map(|(code, counter)| (code, counter.load(Ordering::Relaxed)))
}
