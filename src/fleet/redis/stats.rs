//! What the operator needs to know about the way to Redis: counters, and the last thing that went wrong.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::breaker::BreakerState;
use crate::fleet::FleetError;

/// The kinds of trouble that are counted. The words of the server are its own; the others are ours.
const CODES: &[&str] = &[
    "away",
    "timeout",
    "broken",
    "busy",
    "garbled",
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "OOM",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "WRONGTYPE",
    "BUSY",
    "MISCONF",
    "NOREPLICAS",
    "max-clients",
    "other",
];

/// The connections that are watched and made anew: by what they are for.
const LINKS: &[&str] = &["entries", "ledger", "appends", "watcher", "streams", "subscriber"];

/// Counted while running.
#[derive(Debug, Default)]
pub(super) struct Stats {
    errors: [AtomicU64; CODES.len()],
    rebuilds: [AtomicU64; LINKS.len()],
    pub(super) gaps: AtomicU64,
    pub(super) canaries_missed: AtomicU64,
    pub(super) subscriptions_refused: AtomicU64,
    pub(super) messages: AtomicU64,
    memory: AtomicU8,
    last_error: Mutex<Option<String>>,
}

/// A snapshot of what is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetStats {
    /// Errors by code: each code there is.
    pub errors: Vec<(&'static str, u64)>,
    /// How often each kind of connection was thrown away and made anew.
    pub rebuilds: Vec<(&'static str, u64)>,
    /// How often messages may have been missed.
    pub gaps: u64,
    /// Canaries that were published and not heard in time.
    pub canaries_missed: u64,
    /// Subscriptions that the server did not accept: the user may not listen to these channels.
    pub subscriptions_refused: u64,
    /// Messages heard, canaries apart.
    pub messages: u64,
    /// Whether the ledger's server may drop keys when it is full, so that the marks in it are not relied upon; not known
    /// before it has been asked.
    pub evicts: Option<bool>,
    /// Whether all connections are open: for entries, for the ledger, and the one that waits for its records.
    pub connected: bool,
    /// Whether the server of the entries is asked.
    pub entries: BreakerState,
    /// Whether the server of the ledger is asked.
    pub ledger: BreakerState,
    /// What went wrong last, with nothing secret in it.
    pub last_error: Option<String>,
}

/// The code for the first word of an error of the server, if it is one that is told apart.
pub(super) fn refusal(word: &str) -> Option<&'static str> {
    CODES.iter().copied().find(|code| *code == word && code.starts_with(|c: char| c.is_ascii_uppercase()))
}

impl Stats {
    /// Counts an error.
    pub(super) fn error(&self, code: &str, what: &FleetError) {
        let code = CODES.iter().position(|known| *known == code).unwrap_or(CODES.len() - 1);
        self.errors[code].fetch_add(1, Ordering::Relaxed);
        // That nobody is there says less than why, which was said before.
        if code > 0 {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(what.to_string());
        }
    }

    /// Whether the ledger's server may drop keys; `None` while that is not known.
    pub(super) fn evicts(&self) -> Option<bool> {
        match self.memory.load(Ordering::Relaxed) {
            0 => None,
            held => Some(held == 2),
        }
    }

    /// Notes whether it may; what was known before.
    pub(super) fn note_memory(&self, evicts: Option<bool>) -> Option<bool> {
        let before = self.evicts();
        self.memory.store(evicts.map_or(0, |evicts| 1 + u8::from(evicts)), Ordering::Relaxed);
        before
    }

    /// Counts a connection that is made anew.
    pub(super) fn rebuilt(&self, link: &str) {
        if let Some(link) = LINKS.iter().position(|known| *known == link) {
            self.rebuilds[link].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn snapshot(&self, connected: bool, entries: BreakerState, ledger: BreakerState) -> FleetStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FleetStats {
            errors: CODES.iter().copied().zip(self.errors.iter().map(read)).collect(),
            rebuilds: LINKS.iter().copied().zip(self.rebuilds.iter().map(read)).collect(),
            gaps: read(&self.gaps),
            canaries_missed: read(&self.canaries_missed),
            subscriptions_refused: read(&self.subscriptions_refused),
            messages: read(&self.messages),
            evicts: self.evicts(),
            connected,
            entries,
            ledger,
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl FleetStats {
    /// How many errors of that code.
    pub fn errors_of(&self, code: &str) -> u64 {
        self.errors.iter().find(|(known, _)| *known == code).map_or(0, |(_, count)| *count)
    }

    /// How often connections of that kind were made anew.
    pub fn rebuilds_of(&self, link: &str) -> u64 {
        self.rebuilds.iter().find(|(known, _)| *known == link).map_or(0, |(_, count)| *count)
    }
}
