//! Leaving without losing a request.
//!
//! First the clients are told (answers say `Connection: close`, HTTP/2 peers get GOAWAY) while new connections are still
//! accepted, so that balancers can look away. Then accepting stops, idle connections are closed and what is in flight
//! finishes. At the end of the grace period the rest is cut.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::pulse::Pulse;

/// How far the drain has come. Only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving,
    /// Not ready any more, but still accepting.
    Draining,
    /// Not accepting any more.
    Stopping,
    /// Everything still open is cut.
    Cut,
}

/// A handle to begin a drain and to wait for its end. Clones are the same drain.
///
/// It belongs to one [`Listeners::run`](super::Listeners::run).
#[derive(Clone, Debug)]
pub struct Drain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stage: watch::Sender<Stage>,
    /// The same, to be read on every poll of every connection without touching a shared lock.
    glance: AtomicU8,
    finished: watch::Sender<bool>,
    open: Mutex<HashMap<u64, Arc<Pulse>>>,
    next: AtomicU64,
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drain {
    /// A drain that has not begun.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            stage: watch::Sender::new(Stage::Serving),
            glance: AtomicU8::new(Stage::Serving as u8),
            finished: watch::Sender::new(false),
            open: Mutex::default(),
            next: AtomicU64::new(0),
        }))
    }

    /// Begins to drain. Called a second time it ends everything at once.
    pub fn begin(&self) {
        let next = if self.stage() == Stage::Serving { Stage::Draining } else { Stage::Cut };
        self.advance(next);
    }

    /// Whether it has begun: readiness is off from here on.
    pub fn has_begun(&self) -> bool {
        self.stage() > Stage::Serving
    }

    /// Waits until it has begun.
    pub async fn begun(&self) {
        self.reached(Stage::Draining).await;
    }

    /// Waits until every connection is closed and [`Listeners::run`](super::Listeners::run) has returned.
    pub async fn finished(&self) {
        // An error would mean that the sender is gone, and `self` holds it.
        let _ = self.0.finished.subscribe().wait_for(|finished| *finished).await;
    }

    pub(super) fn stage(&self) -> Stage {
        match self.0.glance.load(Ordering::Acquire) {
            0 => Stage::Serving,
            1 => Stage::Draining,
            2 => Stage::Stopping,
            _ => Stage::Cut,
        }
    }

    pub(super) async fn reached(&self, stage: Stage) {
        let _ = self.0.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// Moves on to `stage`, unless it is already further, and tells every connection.
    pub(super) fn advance(&self, stage: Stage) {
        self.0.stage.send_if_modified(|now| {
            let further = stage > *now;
            if further {
                *now = stage;
                self.0.glance.store(stage as u8, Ordering::Release);
            }
            further
        });
        for pulse in self.open().values() {
            pulse.wake();
        }
    }

    /// Counts a connection in, to be told of every stage until the place is dropped.
    pub(super) fn join(&self, pulse: &Arc<Pulse>) -> Place {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(number, Arc::clone(pulse));
        Place { drain: self.clone(), number }
    }

    /// Says that it is over when dropped.
    pub(super) fn finish_on_drop(&self) -> Finish {
        Finish(self.clone())
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Pulse>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's entry among those that are told.
pub(super) struct Place {
    drain: Drain,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.drain.open().remove(&self.number);
    }
}

pub(super) struct Finish(Drain);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.0.finished.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_begin_means_at_once() {
        let drain = Drain::new();
        assert!(!drain.has_begun());
        drain.begin();
        assert_eq!(drain.stage(), Stage::Draining);
        drain.begin();
        assert_eq!(drain.stage(), Stage::Cut);
        drain.begun().await;
    }

    #[test]
    fn it_never_goes_back() {
        let drain = Drain::new();
        drain.advance(Stage::Stopping);
        drain.advance(Stage::Draining);
        assert_eq!(drain.stage(), Stage::Stopping);
    }

    #[tokio::test]
    async fn it_is_finished_when_the_listeners_are_gone() {
        let drain = Drain::new();
        drop(drain.finish_on_drop());
        drain.finished().await;
    }
}
