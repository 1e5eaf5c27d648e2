//! The log of a node on its own, or of several nodes in one process.
//!
//! Records sit in a queue of bounded length; the number of the oldest is kept beside it, so a record's place is its
//! number less that one. The newest record is never dropped: a reader can always see how far the log has got.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Mutex, watch};

use super::{Appended, Epoch, Trimmed};

/// Records kept, unless told otherwise. A node that follows reads them within milliseconds.
const RETENTION: usize = 16_384;

/// Records handed out at once.
const PAGE: usize = 1_024;

/// A log shared by the clones of this value.
#[derive(Clone, Debug)]
pub struct InProcess(Arc<Log>);

#[derive(Debug)]
struct Log {
    epoch: Epoch,
    retention: usize,
    records: Mutex<Records>,
    /// Number of the newest record, zero while there is none.
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Records {
    /// Number of the record at the front of `kept`.
    first: u64,
    kept: VecDeque<Bytes>,
}

impl InProcess {
    /// An empty log in a new epoch.
    pub fn new() -> Self {
        Self::with_retention(RETENTION)
    }

    /// An empty log that keeps the newest `retention` records; at least one.
    pub fn with_retention(retention: usize) -> Self {
        // The standard library seeds this anew each time: randomness enough for a name.
        let epoch = Epoch(RandomState::new().hash_one("epoch"));
        Self(Arc::new(Log {
            epoch,
            retention: retention.max(1),
            records: Mutex::new(Records { first: 1, kept: VecDeque::new() }),
            newest: watch::Sender::new(0),
        }))
    }

    /// See [`Fleet::epoch`](super::Fleet::epoch).
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// See [`Fleet::append`](super::Fleet::append).
    pub async fn append(&self, record: Bytes) -> Appended {
        let mut records = self.0.records.lock().await;
        records.kept.push_back(record);
        while records.kept.len() > self.0.retention {
            records.kept.pop_front();
            records.first += 1;
        }
        let number = records.newest();
        // Told while the lock is held, so that the number only grows.
        self.0.newest.send_replace(number);
        Appended { epoch: self.0.epoch, number }
    }

    /// See [`Fleet::read_after`](super::Fleet::read_after).
    pub async fn read_after(&self, number: u64) -> Result<Vec<(u64, Bytes)>, Trimmed> {
        let records = self.0.records.lock().await;
        let wanted = number.saturating_add(1);
        let Some(skip) = wanted.checked_sub(records.first) else { return Err(Trimmed { first: records.first }) };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Ok((wanted..).zip(records.kept.iter().skip(skip).take(PAGE).cloned()).collect())
    }

    /// See [`Fleet::changed`](super::Fleet::changed).
    pub async fn changed(&self, after: u64) {
        // An error would mean that the sender is gone, and `self` holds it.
        let _ = self.0.newest.subscribe().wait_for(|newest| *newest > after).await;
    }
}

impl Default for InProcess {
    fn default() -> Self {
        Self::new()
    }
}

impl Records {
    fn newest(&self) -> u64 {
        self.first.saturating_add(self.kept.len() as u64) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn numbers_begin_at_one_and_leave_none_out() {
        let log = InProcess::new();
        assert_eq!(log.read_after(0).await, Ok(vec![]));
        for number in 1..=5 {
            let appended = log.append(Bytes::from(number.to_string())).await;
            assert_eq!(appended, Appended { epoch: log.epoch(), number });
        }
        assert_eq!(log.read_after(3).await, Ok(vec![(4, Bytes::from("4")), (5, Bytes::from("5"))]));
        assert_eq!(log.read_after(5).await, Ok(vec![]));
        assert_eq!(log.read_after(u64::MAX).await, Ok(vec![]));
    }

    #[tokio::test]
    async fn clones_share_one_log_and_two_logs_share_no_epoch() {
        let log = InProcess::new();
        log.clone().append(Bytes::from_static(b"x")).await;
        assert_eq!(log.read_after(0).await, Ok(vec![(1, Bytes::from_static(b"x"))]));
        assert_eq!(log.clone().epoch(), log.epoch());
        assert_ne!(InProcess::new().epoch(), log.epoch());
    }

    #[tokio::test]
    async fn a_reader_behind_the_oldest_record_is_told_so_and_the_newest_stays() {
        for (retention, first) in [(0, 10), (1, 10), (3, 8), (10, 1)] {
            let log = InProcess::with_retention(retention);
            for _ in 0..10 {
                log.append(Bytes::from_static(b"x")).await;
            }
            for number in 0..=10 {
                let read = log.read_after(number).await;
                if number + 1 < first {
                    assert_eq!(read, Err(Trimmed { first }), "after {number}, keeping {retention}");
                } else {
                    let numbers: Vec<u64> = read.expect("still held").iter().map(|(number, _)| *number).collect();
                    assert_eq!(numbers, (number + 1..=10).collect::<Vec<_>>(), "after {number}, keeping {retention}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_long_log_is_read_in_pages() {
        let log = InProcess::new();
        for _ in 0..PAGE + 3 {
            log.append(Bytes::from_static(b"x")).await;
        }
        let page = log.read_after(0).await.expect("still held");
        assert_eq!(page.len(), PAGE);
        let rest = log.read_after(page[PAGE - 1].0).await.expect("still held");
        assert_eq!(rest.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_wakes_when_a_later_record_comes_and_not_before() {
        let log = InProcess::new();
        log.append(Bytes::from_static(b"x")).await;
        log.changed(0).await;
        let waiter = tokio::spawn({
            let log = log.clone();
            async move { log.changed(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        log.append(Bytes::from_static(b"y")).await;
        waiter.await.expect("the waiter ends");
    }
}
