//! What the backend announces: from a message on a channel, or a record of a stream, to records of the log.
//!
//! ```text
//! channel ── every node hears ── rules ── hold ── the scribe appends at once ──▶ log
//!                                           └──── nobody has after 100 ms: append
//! stream ─── the scribe reads ── rules ── append, and note in the same step how far it was read ──▶ log
//! ```
//!
//! Whatever may have been missed is answered by validation. When a subscription has been proven to work again after it may
//! have been deaf, everything that its rules could name gets a *check* mark, which takes its number from the log like any
//! other. So does whoever becomes the scribe: the one before may have died with what it had heard. Only the first
//! subscription of a node that is not the scribe needs none while another node of the fleet goes on listening.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::bus::{Bus, records};
use super::rules::{ChangeRules, Message, Subscription};
use super::{Change, Selector};
use crate::clock::{Clock, Moment};
use crate::fleet::{FleetError, Heard, StreamRecord};
use crate::policy::{Policy, Target};
use crate::store::{Grade, Record};

/// Listens for what the backend announces.
#[derive(Debug)]
pub struct Hearing {
    bus: Arc<Bus>,
    rules: Arc<ChangeRules>,
    policy: Arc<Policy>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    mapped: AtomicU64,
    dropped: std::sync::Mutex<Vec<(&'static str, u64)>>,
    gaps: AtomicU64,
    taken_over: AtomicU64,
    proven: std::sync::atomic::AtomicBool,
}

/// What has been heard since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeardStats {
    /// Messages that changed something.
    pub mapped: u64,
    /// Messages that changed nothing, by why.
    pub dropped: Vec<(&'static str, u64)>,
    /// Times that messages may have been missed.
    pub gaps: u64,
    /// Records appended because the scribe had not.
    pub taken_over: u64,
}

/// Messages handled at once.
const BATCH: usize = 128;

/// How long to wait before a stream that cannot be read is read again.
const RETRY: Duration = Duration::from_millis(250);

impl Hearing {
    /// Hears by `rules`, and appends through `bus`. `policy` says in which forms a URL may have been forwarded.
    pub fn new(bus: Arc<Bus>, rules: Arc<ChangeRules>, policy: Arc<Policy>) -> Self {
        Self { bus, rules, policy, counts: Counts::default() }
    }

    /// What has been heard since the start.
    pub fn stats(&self) -> HeardStats {
        let dropped = self.counts.dropped.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        HeardStats {
            mapped: self.counts.mapped.load(Ordering::Relaxed),
            dropped,
            gaps: self.counts.gaps.load(Ordering::Relaxed),
            taken_over: self.counts.taken_over.load(Ordering::Relaxed),
        }
    }

    /// Whether the subscription has been proven to work at least once, or there is none.
    pub fn is_proven(&self) -> bool {
        self.rules.subscriptions().is_empty() || self.counts.proven.load(Ordering::Acquire)
    }

    /// Listens to all channels of the rules, until `shutdown` ends. To be run once.
    pub async fn listen(&self, clock: &Clock, shutdown: impl Future<Output = ()>) {
        let patterns: Vec<String> = self.rules.subscriptions().into_iter().filter_map(pattern).collect();
        tokio::pin!(shutdown);
        if patterns.is_empty() {
            return shutdown.await;
        }
        let mut heard = self.bus.fleet().listen(patterns);
        let mut turns = self.bus.scribe_turns.subscribe();
        let mut first = true;
        // When to look whether somebody else has listened before this node did.
        let mut look = None;
        loop {
            let due = self.bus.held().next_due();
            tokio::select! {
                () = &mut shutdown => return,
                () = at(clock, due) => self.append_held(clock.now()).await,
                Ok(()) = turns.changed() => self.missed(clock.now()).await,
                () = at(clock, look) => {
                    look = None;
                    self.mark_unless_others_listened(clock.now()).await;
                }
                next = heard.recv() => match next {
                    None => return shutdown.await,
                    Some(next) => {
                        if self.hear(next, &mut heard, clock.now()).await {
                            self.counts.proven.store(true, Ordering::Release);
                            if std::mem::replace(&mut first, false) {
                                look = Some(clock.now().mono + self.bus.settings().delta / 2);
                            } else {
                                self.missed(clock.now()).await;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Takes what has been heard so far, and says whether there was a gap in it.
    async fn hear(&self, first: Heard, more: &mut mpsc::Receiver<Heard>, now: Moment) -> bool {
        let mut gap = false;
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(heard) = next {
            match heard {
                Heard::Gap => gap = true,
                Heard::Message { channel, payload } => {
                    batch.extend(self.map(&Message::Published { channel: &channel, payload: &payload }, now));
                }
            }
            next = if batch.len() < BATCH { more.try_recv().ok() } else { None };
        }
        // Held before it is appended: the record that comes by answers it.
        for record in &batch {
            self.bus.held().hold(record.clone(), now);
        }
        if self.bus.is_scribe() && !batch.is_empty() {
            self.write(batch).await;
            // What cannot be read back stays on hold.
            let _ = self.bus.catch_up(now).await;
        }
        gap
    }

    /// Appends as the scribe, all at once: they may come to stand in any order, as purges do.
    async fn write(&self, batch: Vec<Record>) {
        let mut appends = JoinSet::new();
        for record in batch {
            let bus = Arc::clone(&self.bus);
            appends.spawn(async move { bus.append_as_scribe(&record, None).await });
        }
        while appends.join_next().await.is_some() {}
    }

    /// Appends what the scribe should have, and has not.
    async fn append_held(&self, now: Moment) {
        let due = self.bus.held().due(now, BATCH);
        if due.is_empty() {
            return;
        }
        self.counts.taken_over.fetch_add(due.len() as u64, Ordering::Relaxed);
        // As purges: what a late record was meant to refine may have been changed again meanwhile. And under a name of
        // their own, so that a late copy answers no later message of the same content.
        let late = |record: Record| Record { grade: Grade::Hard, id: format!("{}-late", record.id), ..record };
        let due = due.into_iter().map(late);
        // Queued or logged: either way it holds here and is not lost.
        let _ = self.bus.announce(due, now).await;
    }

    /// What a message changes, as records that every node would write alike.
    fn map(&self, message: &Message<'_>, now: Moment) -> Vec<Record> {
        let mapped = self.rules.map(message);
        if let Some(dropped) = &mapped.dropped {
            let (code, text) = (dropped.code(), dropped.to_string());
            if self.count_dropped(code) {
                tracing::warn!(reason = code, "a change notification was dropped: {text}");
            }
            return Vec::new();
        }
        self.counts.mapped.fetch_add(1, Ordering::Relaxed);
        let numbered = |(part, record): (usize, Record)| Record { id: format!("{}.{part}", record.id), ..record };
        let changes: Vec<Change> = mapped.changes.into_iter().flat_map(|change| self.forms(change)).collect();
        records(&changes, now).enumerate().map(numbered).collect()
    }

    /// A URL in every form in which a route may forward it: an ignored parameter is no part of what is stored.
    fn forms(&self, change: Change) -> Vec<Change> {
        let Selector::Url { host, path_and_query } = &change.selector else { return vec![change] };
        let target = Target::new(false, host.as_deref().unwrap_or_default(), path_and_query);
        let form = |path_and_query| Change {
            selector: Selector::Url { host: host.clone(), path_and_query },
            ..change.clone()
        };
        self.policy.forwarded_forms(&target).into_iter().map(form).collect()
    }

    /// True for the first of its kind.
    fn count_dropped(&self, code: &'static str) -> bool {
        let mut dropped = self.counts.dropped.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, count)) = dropped.iter_mut().find(|(known, _)| *known == code) {
            *count += 1;
            return false;
        }
        dropped.push((code, 1));
        true
    }

    /// Messages may have been missed: everything that they could have named is validated before its next use.
    async fn missed(&self, now: Moment) {
        self.validate_all(self.rules.subscriptions(), now).await;
    }

    /// Everything that could have been named through these is validated before its next use.
    async fn validate_all(&self, missed: impl IntoIterator<Item = Subscription>, now: Moment) {
        self.counts.gaps.fetch_add(1, Ordering::Relaxed);
        let mut tags: Vec<String> =
            missed.into_iter().flat_map(|through| self.rules.governed_through(&through)).collect();
        tags.sort_unstable();
        tags.dedup();
        tracing::warn!("change notifications may have been missed; what they could have named is validated");
        let record = record(Grade::Check, tags, "gap", now);
        // Queued or logged: either way it holds here and is not lost.
        let _ = self.bus.announce(std::iter::once(record), now).await;
    }

    /// This node has just begun to listen. If another has been heard of since, what was said before was heard by that one;
    /// but not if this one was to append it.
    async fn mark_unless_others_listened(&self, now: Moment) {
        if self.bus.is_scribe() {
            return self.missed(now).await;
        }
        let settings = self.bus.settings();
        let listens = |member: &crate::fleet::Member| {
            member.node != settings.node && member.lease_left >= settings.delta.saturating_sub(settings.delta / 2)
        };
        match self.bus.fleet().members().await {
            Ok(members) if members.nodes.iter().any(listens) => {}
            _ => self.missed(now).await,
        }
    }

    /// Reads all streams of the rules while this node is the scribe, until `shutdown` ends. To be run once.
    pub async fn read_streams(self: &Arc<Self>, clock: &Clock, shutdown: impl Future<Output = ()>) {
        let mut readers = JoinSet::new();
        for subscription in self.rules.streams() {
            let Subscription::Stream(stream) = subscription else { continue };
            let (hearing, clock) = (Arc::clone(self), clock.clone());
            readers.spawn(async move {
                // The turn as the scribe in which the stream was read last.
                let (mut turns, mut read_in) = (hearing.bus.scribe_turns.subscribe(), 0);
                loop {
                    let turn = *turns.borrow_and_update();
                    if !hearing.bus.is_scribe() {
                        tokio::time::sleep(hearing.bus.settings().delta / 4).await;
                    } else if hearing.read(&stream, clock.now()).await.is_err() {
                        tokio::time::sleep(RETRY).await;
                    } else if read_in != turn {
                        // It has a place from here on. What was written before may have been for nobody.
                        read_in = turn;
                        hearing.validate_all([Subscription::Stream(stream.clone())], clock.now()).await;
                    }
                }
            });
        }
        shutdown.await;
        // What was read and not noted is read again by the next scribe.
        readers.shutdown().await;
    }

    async fn read(&self, stream: &str, now: Moment) -> Result<(), FleetError> {
        let page = self.bus.fleet().read_stream(stream).await?;
        let mut noted = true;
        for StreamRecord { id, fields } in &page {
            let fields: Vec<(&[u8], &[u8])> =
                fields.iter().map(|(name, value): &(String, Bytes)| (name.as_bytes(), &**value)).collect();
            let mut records = self.map(&Message::Recorded { stream, fields: &fields }, now);
            let last = records.pop();
            noted = last.is_some();
            for record in records {
                self.bus.append_as_scribe(&record, None).await?;
            }
            // The last one notes how far the stream has been read: twice is possible, never is not.
            if let Some(last) = last {
                self.bus.append_as_scribe(&last, Some((stream, id))).await?;
            }
        }
        // What means nothing has been read too: else it would be read again for ever.
        if let (false, Some(StreamRecord { id, .. })) = (noted, page.last()) {
            let nothing = record(Grade::Soft, Vec::new(), "stream", now);
            self.bus.append_as_scribe(&nothing, Some((stream, id))).await?;
        }
        self.bus.catch_up(now).await
    }
}

fn record(grade: Grade, tags: Vec<String>, source: &str, now: Moment) -> Record {
    Record { grade, tags, source: source.to_owned(), id: String::new(), at: now.wall.as_secs(), report: false }
}

fn pattern(subscription: Subscription) -> Option<String> {
    match subscription {
        Subscription::Channel(pattern) | Subscription::Pattern(pattern) => Some(pattern),
        Subscription::Stream(_) => None,
    }
}

/// Waits until `due` on the monotonic clock; for ever, if there is nothing to wait for.
async fn at(clock: &Clock, due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep_until(clock.instant(due)).await,
        None => std::future::pending().await,
    }
}
