//! The runs: which fault, over which Redis, and what must hold all the same.

use std::time::Duration;

use super::check::Rules;
use super::nemesis::Fault;
use super::world::{FLEET, Topology};

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What the table calls it, and what `FOREBAY_SCENARIO` looks for.
    pub name: &'static str,
    /// Which rows of the fault catalogue it belongs to.
    pub rows: &'static str,
    pub fault: Fault,
    topology: Topology,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// How many observations, at least.
    pub observations: u64,
    /// How often the fault strikes, at least.
    pub rounds: u32,
    /// The lease: how long a node may go on without having heard of its fleet.
    pub delta: Duration,
    /// The longest pause of a writer between two changes.
    pub pause: Duration,
    /// When a run that has not come to its end has failed.
    pub limit: Duration,
}

/// What a request, a purge or a lease may be under way: the budget for Redis, a slow backend, a busy machine.
pub const REQUEST: Duration = Duration::from_millis(750);

/// How long a subscription may be deaf before that is noticed.
const DEAF: Duration = Duration::from_secs(3);

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    run("healthy", "P-12, F-01 to F-07", Fault::Nothing, Topology::Single),
    run("Redis killed, restarted empty", "R-01, P-09", Fault::RedisKilled, Topology::Single),
    run("Redis restarted empty at once", "R-05", Fault::RedisEmptied, Topology::Single),
    run("Redis restarted from an old copy", "R-06", Fault::RedisOld, Topology::Single),
    run("Redis flushed", "R-05", Fault::RedisFlushed, Topology::Single),
    run("Redis paused", "R-02", Fault::RedisPaused, Topology::Single),
    run("Redis busy for 2 s", "R-15", Fault::RedisBusy, Topology::Single),
    run("Redis slow", "R-03", Fault::RedisSlow, Topology::Single),
    run("Redis replies late or cut", "R-04, R-14", Fault::RedisCut, Topology::Single),
    run("connections killed", "P-01", Fault::ConnectionsKilled, Topology::Single),
    run("one node cut off", "P-01, P-09", Fault::LinkRefused, Topology::Single),
    run("one node cut off silently", "P-02, R-13", Fault::LinkSilent, Topology::Single),
    run("one node deaf", "P-02", Fault::LinkDeaf, Topology::Single),
    run("gateway paused", "P-04, M-11", Fault::GatewayPaused, Topology::Single),
    run("gateway killed", "P-05, P-06", Fault::GatewayKilled, Topology::Single),
    run("backend slow", "F-01, F-03", Fault::BackendSlow, Topology::Single),
    run("backend fails", "S-04", Fault::BackendFails, Topology::Single),
    run("backend hangs", "S-06", Fault::BackendHangs, Topology::Single),
    run("failover by sentinels, replica behind", "R-07", Fault::FailoverBySentinel, Topology::Sentinel),
    run("failover in a cluster", "R-08", Fault::FailoverInCluster, Topology::Cluster),
];

const fn run(name: &'static str, rows: &'static str, fault: Fault, topology: Topology) -> Scenario {
    Scenario { name, rows, fault, topology }
}

impl Scenario {
    /// Those that can be run.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        SCENARIOS.iter().filter(|scenario| FLEET || !scenario.fault.needs_redis())
    }

    pub fn of(fault: Fault) -> &'static Self {
        SCENARIOS.iter().find(|scenario| scenario.fault == fault).expect("every fault has a scenario")
    }

    pub fn topology(&self) -> Topology {
        if FLEET { self.topology } else { Topology::Alone }
    }

    /// What must hold in a run of this length.
    ///
    /// What a node has acknowledged binds it at once, whatever breaks. What the fleet has acknowledged binds all nodes, at
    /// once while nothing is broken, and else no later than a lease lasts; that is also the time in which a node hears
    /// from the log what another one was asked. An event that is on its way while Redis or the way to it breaks is made up for
    /// when the loss of the subscription has been noticed.
    pub fn rules(&self, size: &Size, rounds: u32, length: Duration) -> Rules {
        let healthy = self.fault == Fault::Nothing;
        let lease = size.delta + REQUEST;
        let bound = if healthy { Duration::ZERO } else { lease };
        let leases = u64::try_from(length.as_millis() / size.delta.as_millis().max(1)).unwrap_or(u64::MAX);
        Rules {
            fleet: bound,
            here: Duration::ZERO,
            elsewhere: lease,
            event: if self.fault.needs_redis() { lease + DEAF } else { lease },
            monotonic: bound,
            freshness: REQUEST,
            backend_fails: matches!(self.fault, Fault::BackendFails | Fault::BackendHangs | Fault::BackendSlow),
            // Once for each lease while it is blind, and for each new life of the log and each gap a few times.
            validations: if healthy { 0 } else { leases + 5 * u64::from(rounds) },
            repeats: if self.fault.needs_redis() { 2 } else { 1 },
        }
    }
}
