//! What the nodes of a fleet share: a log of changes, in which every record has a number and no number is left out.
//!
//! The room carries bytes and knows nothing of what they mean. Whoever changes something appends; every node, the
//! appender too, reads the records in order and acts upon them. Numbers belong to an [`Epoch`], one life of one log: a
//! log that was lost and begun again counts from one and would give old numbers to other records, so numbers of
//! different epochs are never compared.
//!
//! [`Fleet`] is an enum and not a trait: the ways to share are few and known.

mod in_process;

use std::fmt;

use bytes::Bytes;
pub use in_process::InProcess;

/// One life of one log. Random, so that no two are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

/// Where a record came to stand in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The life of the log in which `number` counts.
    pub epoch: Epoch,
    /// The record's number; the first of an epoch is 1.
    pub number: u64,
}

/// The records asked for are no longer held: what they said is lost to this reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Number of the oldest record still held. Everything before it is gone.
    pub first: u64,
}

impl fmt::Display for Trimmed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the change log no longer holds what came before record {}", self.first)
    }
}

impl std::error::Error for Trimmed {}

/// The shared log of changes. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub enum Fleet {
    /// Shared within this process: a node on its own, or several in one test.
    InProcess(InProcess),
}

impl Fleet {
    /// A fleet within this process: clones of it are its nodes.
    pub fn in_process() -> Self {
        Fleet::InProcess(InProcess::new())
    }

    /// The life of the log that numbers are being given out in.
    pub fn epoch(&self) -> Epoch {
        match self {
            Fleet::InProcess(log) => log.epoch(),
        }
    }

    /// Appends `record`. When this returns, every reader will find it, at the number returned.
    pub async fn append(&self, record: Bytes) -> Appended {
        match self {
            Fleet::InProcess(log) => log.append(record).await,
        }
    }

    /// The records that follow `number`, in order and without a gap: a bounded page of them. Empty when there are none.
    ///
    /// # Errors
    /// [`Trimmed`] if the record after `number` was dropped to keep the log short.
    pub async fn read_after(&self, number: u64) -> Result<Vec<(u64, Bytes)>, Trimmed> {
        match self {
            Fleet::InProcess(log) => log.read_after(number).await,
        }
    }

    /// Returns once the log holds a record later than `after`: at once if it already does. Dropping it loses nothing.
    pub async fn changed(&self, after: u64) {
        match self {
            Fleet::InProcess(log) => log.changed(after).await,
        }
    }
}
