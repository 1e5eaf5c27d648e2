//! A purge that is acknowledged when every node has applied it.
//!
//! After the record is in the log, whoever joins begins behind it, so only the nodes that are there now are waited for:
//! until each has said that it has applied the record, or until its lease and a margin for clocks that drift have run out,
//! after which it asks the backend anyway. A log that has just begun another life does not know the nodes of the life
//! before; they are given the time that their leases can last.

use std::time::Duration;

use super::bus::records;
use super::{Bus, BusError, Change, Published, Receipt};
use crate::clock::{Clock, Moment};
use crate::fleet::{FleetError, Members};
use crate::store::Record;
use crate::telemetry::FleetWork;

/// What became of changes that are to hold on all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "only `Applied` is a promise"]
pub enum Everywhere {
    /// They hold on every node.
    Applied(Receipt),
    /// They are in the log. These nodes had not applied them when patience ran out; a node that is cut off asks the
    /// backend once its lease has run out.
    Lagging(Receipt, Vec<String>),
    /// They are in the log, and nobody can say who has applied them.
    Unconfirmed(Receipt, FleetError),
    /// They hold here, and go into the log when it is back.
    Queued(FleetError),
}

impl Bus {
    /// Announces `changes`, and returns when they hold on every node, after `patience` at the latest.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_everywhere(
        &self,
        changes: &[Change],
        clock: &Clock,
        patience: Duration,
    ) -> Result<Everywhere, BusError> {
        super::bus::check(changes)?;
        let began = clock.now();
        let deadline = began.after(patience);
        loop {
            let now = clock.now();
            let announced = records(changes, now).map(|record| Record { report: true, ..record });
            let receipt = match self.announce(announced, now).await {
                Published::Logged(receipt) => receipt,
                Published::Queued(error) => return Ok(Everywhere::Queued(error)),
            };
            if let Some(done) = self.until_applied(receipt, clock, deadline).await {
                if let (Everywhere::Applied(_), Some(metrics)) = (&done, &self.metrics) {
                    metrics.shared(FleetWork::Acknowledged, clock.now().since(began));
                }
                return Ok(done);
            }
            // The log has begun another life, perhaps without the record: say it again.
        }
    }

    /// `None`: another epoch has begun.
    async fn until_applied(&self, receipt: Receipt, clock: &Clock, deadline: Moment) -> Option<Everywhere> {
        if let Err(error) = self.fleet.replicated(self.settings.delta.min(REPLICATION)).await {
            return Some(Everywhere::Unconfirmed(receipt, error));
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let members = match self.fleet.members().await {
                Ok(members) => members,
                Err(error) if clock.now() >= deadline => return Some(Everywhere::Unconfirmed(receipt, error)),
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            // In this process there is nobody to be told.
            if self.fleet.in_sight().is_some() {
                return Some(Everywhere::Applied(receipt));
            }
            if members.epoch != receipt.epoch {
                return if clock.now() < deadline { None } else { Some(Everywhere::Lagging(receipt, Vec::new())) };
            }
            let laggards = self.laggards(&members, receipt.number);
            // A list without this node itself has lost somebody, and perhaps others as well.
            let whole = members.nodes.iter().any(|member| member.node == self.settings.node);
            if whole && laggards.is_empty() && members.epoch_age >= self.lease_and_margin() {
                return Some(Everywhere::Applied(receipt));
            }
            if clock.now() >= deadline {
                return Some(Everywhere::Lagging(receipt, laggards));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn laggards(&self, members: &Members, number: u64) -> Vec<String> {
        let lags = |member: &&crate::fleet::Member| {
            member.applied < number && (!member.lease_left.is_zero() || member.lapsed < self.margin())
        };
        members.nodes.iter().filter(lags).map(|member| member.node.clone()).collect()
    }

    /// Clocks that count the same lease may differ a little in speed.
    fn margin(&self) -> Duration {
        self.settings.delta / 10
    }

    fn lease_and_margin(&self) -> Duration {
        self.settings.delta + self.margin()
    }
}

/// The first look comes soon: a node that is well applies a record within a few milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// How long a replica may take. Other changes of this node wait meanwhile.
const REPLICATION: Duration = Duration::from_millis(250);

const LONGEST_PAUSE: Duration = Duration::from_millis(50);
