//! What concerns the fleet, on the page that Prometheus scrapes. A node on its own has none of it.

use std::time::Duration;

use super::catalogue::{self as names, FleetWork, Metric};
use super::exposition::{Page, seconds};
use super::metrics::Totals;

/// Numbers by the value of one label. Values come from the code that counts, never from a request.
pub type Counted = Vec<(&'static str, u64)>;

/// The node as one of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetGauges {
    /// Whether it knows what has changed.
    pub in_sight: bool,
    /// Changes not applied at the last heartbeat.
    pub lag: u64,
    /// Changes never seen.
    pub lost: u64,
    /// Times that the log began another life.
    pub epochs: u64,
    /// How long it has been blind.
    pub blind: Duration,
    /// Changes that wait for the log.
    pub queued: u64,
    /// Heartbeats not answered.
    pub heartbeats_missed: u64,
    /// Whether it appends what the backend announces.
    pub scribe: bool,
    /// Notifications by what became of them.
    pub messages: Counted,
    /// Times that notifications may have been missed.
    pub gaps: u64,
    /// Notifications appended in the scribe's place.
    pub taken_over: u64,
    /// Shared records not used, by why.
    pub refusals: Counted,
    /// Entries to be shared, by what became of them.
    pub writes: Counted,
    /// Leases asked for, by what came of it.
    pub leases: Counted,
    /// Failed calls of Redis.
    pub redis_errors: Counted,
    /// Clients of Redis built again.
    pub redis_rebuilds: Counted,
    /// 1 for each client of Redis that is not asked for the moment.
    pub redis_breakers: Counted,
    /// Whether the log may be evicted.
    pub eviction_risk: bool,
}

impl Page {
    pub(super) fn fleet(&mut self, totals: &Totals<'_>, fleet: &FleetGauges) {
        for (metric, work) in
            [(&names::SHARED_DURATION, FleetWork::SharedRead), (&names::PURGE_ACKNOWLEDGED, FleetWork::Acknowledged)]
        {
            self.family(metric);
            self.histogram(metric, &[], totals.fleet_durations(work));
        }
        for (metric, value) in [
            (&names::FLEET_IN_SIGHT, u64::from(fleet.in_sight)),
            (&names::FLEET_LEDGER_LAG, fleet.lag),
            (&names::FLEET_RECORDS_LOST, fleet.lost),
            (&names::FLEET_EPOCHS, fleet.epochs),
            (&names::FLEET_CHANGES_QUEUED, fleet.queued),
            (&names::FLEET_HEARTBEATS_MISSED, fleet.heartbeats_missed),
            (&names::FLEET_SCRIBE, u64::from(fleet.scribe)),
            (&names::SUBSCRIPTION_GAPS, fleet.gaps),
            (&names::MESSAGES_TAKEN_OVER, fleet.taken_over),
            (&names::REDIS_EVICTION_RISK, u64::from(fleet.eviction_risk)),
        ] {
            self.family(metric);
            self.number(metric, &[], value);
        }
        self.family(&names::FLEET_BLIND);
        self.sample(names::FLEET_BLIND.name, names::FLEET_BLIND.labels, &[], &seconds(fleet.blind));
        for (metric, counted) in [
            (&names::SHARED_REFUSALS, &fleet.refusals),
            (&names::SHARED_WRITES, &fleet.writes),
            (&names::LEASES, &fleet.leases),
            (&names::MESSAGES, &fleet.messages),
            (&names::REDIS_ERRORS, &fleet.redis_errors),
            (&names::REDIS_REBUILDS, &fleet.redis_rebuilds),
            (&names::REDIS_BREAKER_OPEN, &fleet.redis_breakers),
        ] {
            self.counted(metric, counted);
        }
    }

    fn counted(&mut self, metric: &Metric, counted: &Counted) {
        self.family(metric);
        for (label, number) in counted {
            self.number(metric, &[label], *number);
        }
    }
}
