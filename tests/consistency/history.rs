//! What happened in a run, as far as anybody outside the gateways can know it: what the backend held and from when,
//! what was purged and how that was acknowledged, what readers got. All times are on one clock of one process.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// A time, since the run began.
pub type At = Duration;
/// A node from its start to its end. One that is started again is another life.
pub type Life = u16;
/// A key's number, counted from 0.
pub type Key = u16;
/// A key's version, counted from 1.
pub type Version = u32;

/// Everything that is known of a run.
#[derive(Default)]
pub struct History {
    /// By key.
    pub keys: Vec<Past>,
    pub observations: Vec<Observation>,
    pub purges: Vec<Purge>,
    /// What each life's audit trail was seen to hold.
    pub trails: HashMap<Life, Trail>,
    /// How many lives there were.
    pub lives: u16,
    pub length: Duration,
}

/// What the backend knows of a key.
#[derive(Clone, Default)]
pub struct Past {
    /// When version 1, 2, … became current.
    pub current_from: Vec<At>,
    /// How often the backend has said which version is current.
    pub fetches: u64,
    /// How long an answer may be used without asking: fresh.
    pub fresh: Duration,
    /// How long after that while one refresh runs.
    pub revalidate: Duration,
    /// How long after being fresh when the backend fails.
    pub if_error: Duration,
}

/// What a reader got.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    pub key: Key,
    pub life: Life,
    /// Just before the request was sent.
    pub started: At,
    /// When the answer was complete.
    pub ended: At,
    pub got: Got,
    /// The answer says itself that it could not be verified.
    pub blind: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    Version(Version),
    /// What looks like an answer of the backend, and no version of the key looks so.
    Invented,
    /// A status other than 200.
    Status(u16),
    /// No answer, or not the whole of it.
    Nothing,
}

/// A change that was announced: by the admin API, through an unsafe method, or as an event.
#[derive(Clone, Debug)]
pub struct Purge {
    /// What it names, and the versions that were current when it was sent: nothing older may be served later.
    pub floors: Vec<(Key, Version)>,
    pub sent: At,
    /// When the acknowledgement was there, or the end of waiting for one.
    pub answered: At,
    /// Who was asked; [`Purge::NOBODY`] for an event.
    pub life: Life,
    pub promise: Promise,
    /// Its number in the ledger.
    pub seq: Option<u64>,
    /// Why it promises less than it was asked for, as the answer says.
    pub why: String,
}

impl Purge {
    /// The life that stands for none: what was announced to whoever listens.
    pub const NOBODY: Life = Life::MAX;

    pub fn is_event(&self) -> bool {
        self.life == Self::NOBODY
    }
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Effective on all nodes.
    Fleet,
    /// Effective on the node that was asked, and in the log.
    Logged,
    /// Effective on the node that was asked, as long as it lives; in the log later.
    Queued,
    /// An event that at least one subscriber was sent.
    Heard,
    /// Nothing: a soft purge, an event that nobody heard, or no acknowledgement.
    Nothing,
}

/// An audit trail, as it was read from time to time.
#[derive(Clone, Default)]
pub struct Trail {
    pub numbers: BTreeSet<u64>,
    /// The first and the last number of each reading.
    pub readings: Vec<(u64, u64)>,
}

impl Trail {
    /// Takes note of one reading.
    pub fn read(&mut self, numbers: &[u64]) {
        if let (Some(&first), Some(&last)) = (numbers.iter().min(), numbers.iter().max()) {
            self.readings.push((first, last));
            self.numbers.extend(numbers);
        }
    }

    /// A reading should have shown this number, and none did.
    pub fn misses(&self, number: u64) -> bool {
        let was_due = self.readings.iter().any(|&(first, last)| (first..=last).contains(&number));
        was_due && !self.numbers.contains(&number)
    }
}
