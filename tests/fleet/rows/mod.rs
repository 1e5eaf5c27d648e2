//! The rows of the fault catalogue that speak of Redis and of purges, each with gateways as processes and under load.
//!
//! What is asserted is what becomes of clients and of purges; `make faults` prints how long things take.

mod away;
mod purges;
mod refused;
mod returns;
mod topology;

use std::time::Duration;

use super::chaos::Proxy;
use super::house::{self, DELTA, House, SLACK};
use super::load::{How, Load, Record};
use super::redis::Redis;
use super::report::{self, Span, lasting};

/// Long enough to see what is usual.
const USUAL: Duration = Duration::from_millis(800);
/// Within this a purge in the log holds on all nodes, whatever fails: Δ, one request, and what a busy machine adds.
const BOUND: Duration = Duration::from_millis(3_200);

/// Two nodes, each with a network of its own to one Redis.
async fn wired() -> (Redis, [Proxy; 2], House) {
    let redis = Redis::start().await;
    let proxies = [Proxy::start(redis.address()).await, Proxy::start(redis.address()).await];
    let urls = proxies.each_ref().map(|proxy| house::at(&format!("redis://{}", proxy.address)));
    let house = House::start(&urls).await;
    (redis, proxies, house)
}

/// What was usual, what happened under the fault, and what came after.
struct Course {
    before: Span,
    during: Span,
    back: Duration,
    record: Record,
}

/// Breaks something under load for so long and mends it.
async fn course(house: &House, time: Duration, breaks: impl AsyncFnOnce(), mends: impl AsyncFnOnce()) -> Course {
    let load = house.load().await;
    let before = load.goes_on(USUAL).await;
    breaks().await;
    let during = load.goes_on(time).await;
    mends().await;
    ended(house, load, before, during).await
}

/// Waits until Redis is used again, and a little longer.
async fn ended(house: &House, load: Load, before: Span, during: Span) -> Course {
    let back = house.used_again().await;
    // What is shared from now on is found: at once, on a machine that is not busy.
    let mut after = load.goes_on(Duration::from_millis(500)).await;
    while !load.has_shared(after) && after.1 < after.0 + SLACK {
        after.1 = load.goes_on(Duration::from_millis(100)).await.1;
    }
    let record = load.stop().await;
    house.is_well();
    assert!(back < Duration::from_secs(2) + SLACK, "Redis was used again after {back:?}");
    assert!(record.count(How::Shared, after) > 0, "what is shared is not found again");
    Course { before, during, back, record }
}

impl Course {
    /// No client has noticed, memory went on, and purges held.
    #[track_caller]
    fn is_well(&self) {
        self.record.is_clean();
        assert!(self.record.count(How::Memory, self.before) > 10, "nothing was in memory");
        assert!(self.record.count(How::Shared, self.before) > 0, "nothing was shared");
        assert!(self.record.count(How::Memory, self.during) > 20, "memory was not used any more");
        self.record.holds_within(BOUND);
    }

    /// All the while, but for the first moments, no purge was said to be in the log, and each was given a reason.
    #[track_caller]
    fn queues_all_purges(&self) {
        let (from, to) = self.during;
        let purges: Vec<_> = self.record.purges((from + Duration::from_millis(600), to)).collect();
        assert!(!purges.is_empty(), "nothing was purged");
        for purge in purges {
            assert!(purge.status == 202 && purge.body.contains("\"queued\":\""), "{purge:?}");
        }
        self.record.holds_for_queued_within(BOUND);
    }

    fn report(&self, id: &str, what: &str) {
        report::row(id, what, &self.record, self.before, self.during, Some(self.back));
    }
}
