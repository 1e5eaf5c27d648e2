//! `GET /v1/stat` and `forebay stat`: the same numbers, for people and scripts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::catalogue::{FetchResult, Outcome, PurgeGrade, StatusClass};
use super::histogram::Histogram;
use super::metrics::{Metrics, Totals};
use crate::rfc::Reason;

/// What has been counted since the start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stat {
    /// Requests answered.
    pub requests: u64,
    /// The share of requests that the backend had nothing to do with, 0 to 1; what was refused at the front door is not
    /// counted. `None` before the first request.
    pub hit_ratio: Option<f64>,
    /// Requests by outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Answers by the class of their status.
    pub statuses: BTreeMap<&'static str, u64>,
    /// How long answers took, by outcome; only outcomes that occurred.
    pub latency: BTreeMap<&'static str, Latency>,
    /// One per route; the last one for requests without a route.
    pub routes: Vec<RouteStat>,
    /// One per backend.
    pub origins: Vec<OriginStat>,
    /// Why answers did not come from the cache or were not kept; only reasons that occurred.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Changes applied on this node, by grade.
    pub purges: BTreeMap<&'static str, u64>,
}

/// One route's share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteStat {
    /// As in the config.
    pub name: String,
    /// Requests answered.
    pub requests: u64,
    /// As in [`Stat::hit_ratio`].
    pub hit_ratio: Option<f64>,
    /// Body bytes sent.
    pub body_bytes: u64,
    /// Requests by outcome; only outcomes that occurred.
    pub outcomes: BTreeMap<&'static str, u64>,
}

/// One backend's share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OriginStat {
    /// As in the config.
    pub name: String,
    /// Requests that it answered, whatever the status.
    pub answered: u64,
    /// Requests that it did not.
    pub failed: u64,
    /// How long it took; `None` if it was never asked.
    pub latency: Option<Latency>,
}

/// Durations in milliseconds, estimated from buckets that double in size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// How many durations these are.
    pub count: u64,
    /// The average; exact.
    pub mean_ms: f64,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// Nine of ten took no longer.
    pub p90_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// 999 of 1,000 took no longer.
    pub p999_ms: f64,
}

impl Metrics {
    /// What has been counted so far.
    pub fn stat(&self) -> Stat {
        let totals = self.totals();
        let routes: Vec<RouteStat> =
            (0..totals.routes().len()).filter_map(|route| route_stat(&totals, route)).collect();
        let outcomes: BTreeMap<&'static str, u64> = Outcome::ALL
            .iter()
            .map(|outcome| {
                let requests = (0..totals.routes().len()).map(|route| totals.requests(route, *outcome)).sum();
                (outcome.code(), requests)
            })
            .collect();
        let latency = Outcome::ALL
            .iter()
            .filter_map(|outcome| Some((outcome.code(), latency(totals.request_durations(*outcome))?)))
            .collect();
        Stat {
            requests: outcomes.values().sum(),
            hit_ratio: hit_ratio(&outcomes),
            statuses: StatusClass::ALL.iter().map(|class| (class.code(), totals.responses(*class))).collect(),
            latency,
            routes,
            origins: (0..totals.origins().len()).filter_map(|origin| origin_stat(&totals, origin)).collect(),
            reasons: occurred(Reason::ALL.iter().map(|reason| (reason.code(), totals.reasons(*reason)))),
            purges: PurgeGrade::ALL.iter().map(|grade| (grade.code(), totals.purges(*grade))).collect(),
            outcomes,
        }
    }
}

fn route_stat(totals: &Totals<'_>, route: usize) -> Option<RouteStat> {
    let name = totals.routes().get(route)?.clone();
    let outcomes = occurred(Outcome::ALL.iter().map(|outcome| (outcome.code(), totals.requests(route, *outcome))));
    let hit_ratio = hit_ratio(&outcomes);
    Some(RouteStat { name, requests: outcomes.values().sum(), hit_ratio, body_bytes: totals.bytes(route), outcomes })
}

fn origin_stat(totals: &Totals<'_>, origin: usize) -> Option<OriginStat> {
    Some(OriginStat {
        name: totals.origins().get(origin)?.clone(),
        answered: totals.fetches(origin, FetchResult::Answered),
        failed: totals.fetches(origin, FetchResult::Failed),
        latency: latency(totals.fetch_durations(origin)),
    })
}

fn occurred(numbers: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<&'static str, u64> {
    numbers.filter(|(_, number)| *number > 0).collect()
}

#[allow(clippy::cast_precision_loss)] // A ratio for people.
fn hit_ratio(outcomes: &BTreeMap<&'static str, u64>) -> Option<f64> {
    let sum = |counts: fn(Outcome) -> bool| -> u64 {
        let counted = Outcome::ALL.iter().filter(|outcome| counts(**outcome));
        counted.filter_map(|outcome| outcomes.get(outcome.code())).sum()
    };
    let asked = sum(|outcome| outcome != Outcome::Rejected);
    (asked > 0).then(|| sum(Outcome::is_hit) as f64 / asked as f64)
}

#[allow(clippy::cast_precision_loss)] // An average for people.
fn latency(durations: Histogram<'_>) -> Option<Latency> {
    let count = durations.count();
    let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    let quantile = |share| durations.quantile(share).map(ms);
    Some(Latency {
        count,
        p50_ms: quantile(0.5)?,
        p90_ms: quantile(0.9)?,
        p99_ms: quantile(0.99)?,
        p999_ms: quantile(0.999)?,
        mean_ms: ms(durations.sum) / count as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::NO_ROUTE;

    #[test]
    fn the_hit_ratio_counts_hits_and_leaves_refusals_out() {
        let metrics = Metrics::new(&["users".to_owned(), "idle".to_owned()], &["main".to_owned()]);
        assert_eq!(metrics.stat().hit_ratio, None);
        for (outcome, times) in
            [(Outcome::MemoryHit, 6), (Outcome::StaleHit, 1), (Outcome::Miss, 2), (Outcome::Error, 1)]
        {
            (0..times).for_each(|_| metrics.served(0, outcome, 200, Duration::from_micros(3), 2));
        }
        (0..90).for_each(|_| metrics.served(NO_ROUTE, Outcome::Rejected, 400, Duration::ZERO, 0));
        let stat = metrics.stat();
        assert_eq!((stat.requests, stat.hit_ratio), (100, Some(0.7)));
        let [users, idle, none] = &stat.routes[..] else { panic!("{:?}", stat.routes) };
        assert_eq!((users.requests, users.hit_ratio, users.body_bytes), (10, Some(0.7), 20));
        assert_eq!((idle.requests, idle.hit_ratio), (0, None));
        assert_eq!((none.requests, none.hit_ratio), (90, None));
        assert_eq!(
            stat.latency.keys().copied().collect::<Vec<_>>(),
            ["error", "memory-hit", "miss", "rejected", "stale-hit"]
        );
    }

    #[test]
    fn it_is_written_as_json_without_nonsense_numbers() {
        let metrics = Metrics::new(&["users".to_owned()], &["main".to_owned()]);
        metrics.reason(Reason::NoCache);
        metrics.fetched(0, FetchResult::Failed, Duration::from_millis(5));
        let json = serde_json::to_value(metrics.stat()).unwrap();
        assert!(json["hit_ratio"].is_null());
        assert_eq!(json["reasons"], serde_json::json!({ "no-cache": 1 }));
        assert_eq!(json["origins"][0]["failed"], 1);
        assert_eq!(json["origins"][0]["latency"]["mean_ms"], 5.0);
        let p50 = json["origins"][0]["latency"]["p50_ms"].as_f64().unwrap();
        assert!((4.1..=8.4).contains(&p50), "{p50}");
    }
}
