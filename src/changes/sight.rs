//! How a node keeps the log in sight.
//!
//! Every quarter of Δ it sends a heartbeat and hears where the log ends. If it has applied the log up to there, it may go
//! on by what it knows for Δ, counted from when the heartbeat was *sent*: the answer may have been long on its way. The
//! heartbeat is answered by the master, so it also shows what nothing else would: that the log has begun another life, or
//! that another log of the same length stands in its place.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Bus;
use crate::clock::{Clock, Moment};
use crate::fleet::{Beat, Beating, FleetError, Place};
use crate::store::{Grade, Record, Sight};

/// The pause between heartbeats before the first one is answered.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How well a node has kept the log in sight since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SightStats {
    /// Changes that it had not applied at its last heartbeat.
    pub lag: u64,
    /// Times that the log began another life.
    pub epochs: u64,
    /// How long it has been blind, as of its last heartbeat.
    pub blind: Duration,
    /// Heartbeats that were not answered.
    pub missed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    lag: AtomicU64,
    epochs: AtomicU64,
    blind_nanos: AtomicU64,
    missed: AtomicU64,
    /// Up to when blind time has been counted, in nanoseconds on the monotonic clock.
    counted: AtomicU64,
}

impl Counts {
    /// Adds the time until `now` for which the log was out of sight.
    fn count_blind(&self, sight: Sight, now: Moment) {
        let counted = Duration::from_nanos(self.counted.swap(nanos(now.mono), Ordering::Relaxed));
        if let Sight::Blind { since } = sight {
            self.blind_nanos.fetch_add(nanos(now.mono.saturating_sub(since.max(counted))), Ordering::Relaxed);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Bus {
    /// How well this node has kept the log in sight.
    pub fn sight_stats(&self) -> SightStats {
        let Counts { lag, epochs, blind_nanos, missed, counted: _ } = &self.counts;
        SightStats {
            lag: lag.load(Ordering::Relaxed),
            epochs: epochs.load(Ordering::Relaxed),
            blind: Duration::from_nanos(blind_nanos.load(Ordering::Relaxed)),
            missed: missed.load(Ordering::Relaxed),
        }
    }

    /// Sends heartbeats until `shutdown` ends. To be run once, for as long as the node serves. Not needed where the log
    /// cannot be lost from sight.
    pub async fn keep_in_sight(&self, clock: &Clock, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        loop {
            // Never dropped half-way: what was asked of the fleet would be carried out later.
            self.beat(clock).await;
            // Before the first answer the connection is only being made.
            let heard = self.heard.load(Ordering::Acquire);
            let pause = if heard { self.settings.delta / 4 } else { FIRST_PAUSE };
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(pause) => {}
                () = self.hurry.notified() => {}
            }
        }
    }

    /// One heartbeat, and all that follows from its answer.
    pub async fn beat(&self, clock: &Clock) {
        let mut beating = self.beating.lock().await;
        self.beat_now(clock, &mut beating).await;
    }

    /// Hears from the log's master once more, unless it was heard of by a heartbeat sent after `moment`. Says whether all
    /// that followed went well. A log in this process has no master to be asked.
    pub(super) async fn hear_after(&self, moment: Moment, clock: &Clock) -> bool {
        if self.fleet.in_sight().is_some() {
            return self.catch_up(clock.now()).await.is_ok();
        }
        let mut beating = self.beating.lock().await;
        beating.is_some_and(|sent| sent.mono > moment.mono) || self.beat_now(clock, &mut beating).await
    }

    /// Says whether it was answered, and all that followed went well.
    async fn beat_now(&self, clock: &Clock, last: &mut Option<Moment>) -> bool {
        let sent = clock.now();
        self.counts.count_blind(self.ledger.sight(sent), sent);
        let heard = self.heard.load(Ordering::Acquire);
        let applied = heard.then(|| self.ledger.place());
        let beating = Beating { node: self.settings.node.clone(), applied, lease: self.settings.delta };
        let answer = self.fleet.beat(&beating).await;
        let done = match answer {
            Ok(beat) => self.hear(&beat, sent, clock).await,
            Err(error) => {
                self.counts.missed.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        };
        let well = done.is_ok();
        if well {
            *last = Some(sent);
        }
        self.told(done);
        well
    }

    async fn hear(&self, beat: &Beat, sent: Moment, clock: &Clock) -> Result<(), FleetError> {
        let now = clock.now();
        self.timebase.learn(beat.time, sent, now);
        // In another life of the log, and after its time was over, it is a turn of its own.
        if self.ledger.epoch() != beat.place.epoch || self.ledger.sight(sent) != Sight::Clear {
            self.scribe.store(false, Ordering::Release);
        }
        if beat.scribe && !self.scribe.swap(true, Ordering::AcqRel) {
            self.scribe_turns.send_modify(|turns| *turns += 1);
        } else {
            self.scribe.store(beat.scribe, Ordering::Release);
        }
        {
            let _turn = self.turn.lock().await;
            self.reach(beat.place, now).await?;
            self.recent().in_contact(now);
        }
        let place = self.ledger.place();
        if place.epoch == beat.place.epoch && place.number >= beat.place.number {
            self.ledger.keep_in_sight(sent.mono.saturating_add(self.settings.delta));
        }
        self.flush(now).await
    }

    /// Applies the log up to `end`, where it ended a moment ago; or begins anew there if what is known does not lead there.
    async fn reach(&self, end: Place, now: Moment) -> Result<(), FleetError> {
        let first = !self.heard.swap(true, Ordering::AcqRel);
        let place = self.ledger.place();
        self.counts.lag.store(end.number.saturating_sub(place.number), Ordering::Relaxed);
        if place.epoch != end.epoch {
            self.broken.store(false, Ordering::Release);
            self.ledger.begin(end);
            // Whoever waits for all nodes waits for this one's word that it has begun.
            self.hurry.notify_one();
            self.counts.lag.store(0, Ordering::Relaxed);
            if !first {
                self.counts.epochs.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(epoch = %end.epoch, "the log of changes has begun another life; what is older is validated");
                self.append_again(now);
            }
            return Ok(());
        }
        if place.number < end.number {
            self.read_on(now).await?;
        }
        let place = self.ledger.place();
        let astray = place.number == end.number && place.nonce != end.nonce;
        if self.broken.swap(false, Ordering::AcqRel) || astray || place.number < end.number {
            tracing::warn!(at = place.number, "the log of changes does not follow; what is older is validated");
            self.count_lost(place.number.saturating_add(1), end.number.max(place.number.saturating_add(1)));
            self.ledger.begin(end);
        }
        Ok(())
    }

    /// The end of the old log may be lost: what was seen of it is appended again, as a purge. Until that has been done it
    /// waits with what could not be appended, and holds here.
    fn append_again(&self, now: Moment) {
        for grade in [Grade::Hard, Grade::Check] {
            let tags = self.recent().tags(grade, self.settings.delta * 2);
            for tags in tags.chunks(super::bus::RECORD_TAGS) {
                self.hold_back(Record {
                    grade,
                    tags: tags.to_vec(),
                    source: String::from("epoch"),
                    id: String::new(),
                    at: now.wall.as_secs(),
                    report: false,
                });
            }
        }
    }

    /// Appends what was queued while the log was out of reach. What was missed meanwhile has been applied before.
    async fn flush(&self, now: Moment) -> Result<(), FleetError> {
        if self.queue.is_empty() && !self.ledger.is_pending() {
            return Ok(());
        }
        while let Some(record) = self.queue.next(super::bus::RECORD_TAGS) {
            match self.append(&record, now).await {
                Ok(receipt) => self.queue.appended(receipt),
                Err(error) => {
                    self.queue.kept_back();
                    return Err(error);
                }
            }
        }
        let Some((tick, last)) = self.queue.flushed() else { return Ok(()) };
        self.catch_up(now).await?;
        // What is not known to have been applied goes on holding here. If the log begins another life before it has been,
        // it is among what is appended again then.
        let place = self.ledger.place();
        if last.is_none_or(|last| place.epoch == last.epoch && place.number >= last.number) {
            self.ledger.settled(tick);
        }
        Ok(())
    }

    fn told(&self, done: Result<(), FleetError>) {
        let well = done.is_ok();
        if self.well.swap(well, Ordering::AcqRel) != well {
            match done {
                Ok(()) => tracing::info!("the fleet's log is in sight"),
                Err(error) => tracing::warn!(%error, "the fleet's log cannot be reached"),
            }
        }
    }
}
