//! What the listener counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start, and the one gauge `open`. Read them with [`ListenStats::read`] or one by one.
#[derive(Debug, Default)]
pub struct ListenStats {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
    /// Requests handed to the service.
    pub requests: AtomicU64,
    /// Spells in which accepting paused because `max_connections` were open.
    pub refused_capacity: AtomicU64,
    /// Connections closed at once because their client had too many.
    pub refused_client: AtomicU64,
    /// Connections closed because they sent nothing at all.
    pub first_byte_timeouts: AtomicU64,
    /// Connections closed because a request head did not end in time.
    pub head_timeouts: AtomicU64,
    /// Connections closed because no further request came.
    pub idle_timeouts: AtomicU64,
    /// Connections and HTTP/2 streams cut because the client did not accept the answer.
    pub write_timeouts: AtomicU64,
    /// Request bodies given up because they paused or trickled.
    pub body_timeouts: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub handshake_failures: AtomicU64,
    /// HTTP/1 connections closed over a head that could not be parsed or was too large; hyper answered 400, 414 or 431.
    pub malformed: AtomicU64,
    /// HTTP/2 connections closed because the client opened streams only to reset them.
    pub h2_floods: AtomicU64,
    /// Times that `accept` failed for lack of something, mostly file descriptors.
    pub accept_errors: AtomicU64,
    /// Connections cut at the end of the grace period.
    pub cut: AtomicU64,
}

impl ListenStats {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Every counter with its name, in the order of the fields.
    pub fn read(&self) -> [(&'static str, u64); 15] {
        [
            ("accepted", &self.accepted),
            ("open", &self.open),
            ("requests", &self.requests),
            ("refused_capacity", &self.refused_capacity),
            ("refused_client", &self.refused_client),
            ("first_byte_timeouts", &self.first_byte_timeouts),
            ("head_timeouts", &self.head_timeouts),
            ("idle_timeouts", &self.idle_timeouts),
            ("write_timeouts", &self.write_timeouts),
            ("body_timeouts", &self.body_timeouts),
            ("handshake_failures", &self.handshake_failures),
            ("malformed", &self.malformed),
            ("h2_floods", &self.h2_floods),
            ("accept_errors", &self.accept_errors),
            ("cut", &self.cut),
        ]
        .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
    }
}
