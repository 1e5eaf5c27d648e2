//! What one connection is doing, noted by whoever sees it happen: the socket, the service, the bodies. The watch over
//! the connection (`watch.rs`) reads it and decides whether the client has used up its time.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::clock::Clock;

/// One connection's signs of life. Times are on the clock's `mono`.
#[derive(Debug)]
pub(super) struct Pulse {
    clock: Clock,
    /// Since when bytes of a request head are coming in.
    head_since: Since,
    /// Since when the socket has refused to take bytes.
    blocked_since: Since,
    /// Since when no request has been in flight.
    idle_since: Since,
    /// Requests whose answer is not yet handed over completely.
    in_flight: AtomicU32,
    /// Requests begun.
    requests: AtomicU64,
    /// Requests whose answer the client did not take to its end.
    abandoned: AtomicU64,
    /// Bytes the socket has taken.
    written: AtomicU64,
    /// A request body was dropped before its end, so the client may still be sending it.
    unread: AtomicBool,
    /// Wakes the connection's task.
    waker: Mutex<Option<Waker>>,
}

impl Pulse {
    pub(super) fn new(clock: Clock) -> Self {
        let pulse = Self {
            clock,
            head_since: Since::default(),
            blocked_since: Since::default(),
            idle_since: Since::default(),
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            written: AtomicU64::new(0),
            unread: AtomicBool::new(false),
            waker: Mutex::new(None),
        };
        pulse.restart();
        pulse
    }

    /// Begins the wait for the first byte (again: what a TLS handshake read does not count).
    pub(super) fn restart(&self) {
        self.head_since.clear();
        self.idle_since.set(self.now());
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.now().mono
    }

    /// Bytes came in.
    pub(super) fn heard(&self) {
        if self.in_flight() == 0 && self.head_since.get().is_none() {
            self.head_since.set(self.now());
        }
    }

    /// The socket took `bytes` bytes, perhaps none because none were offered.
    pub(super) fn took(&self, bytes: usize) {
        self.blocked_since.clear();
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The socket takes no bytes now.
    pub(super) fn blocked(&self) {
        if self.blocked_since.get().is_none() {
            self.blocked_since.set(self.now());
        }
    }

    /// A request head is complete.
    pub(super) fn begin(&self) {
        self.head_since.clear();
        // hyper came past whatever the request before left unread.
        self.unread.store(false, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    /// The answer has been handed over, or will never be.
    pub(super) fn end(&self, abandoned: bool) {
        if abandoned {
            self.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        self.idle_since.set(self.now());
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// A request body was left unread.
    pub(super) fn left_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether the client may be in the middle of sending something that nobody will read.
    pub(super) fn may_still_send(&self) -> bool {
        self.unread.load(Ordering::Relaxed) || self.head_since.get().is_some()
    }

    pub(super) fn head_since(&self) -> Option<Duration> {
        self.head_since.get()
    }

    pub(super) fn blocked_since(&self) -> Option<Duration> {
        self.blocked_since.get()
    }

    pub(super) fn idle_since(&self) -> Duration {
        self.idle_since.get().unwrap_or_default()
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Remembers how to wake the connection's task.
    pub(super) fn register(&self, waker: &Waker) {
        let mut slot = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Makes the connection's task look around.
    pub(super) fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A moment on `mono`, or none. Kept as nanoseconds plus one, so that zero means none.
#[derive(Debug, Default)]
pub(super) struct Since(AtomicU64);

impl Since {
    pub(super) fn set(&self, mono: Duration) {
        let nanos = u64::try_from(mono.as_nanos()).unwrap_or(u64::MAX - 1);
        self.0.store(nanos.saturating_add(1), Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Duration> {
        self.0.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_nanos)
    }
}
