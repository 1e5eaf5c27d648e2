//! `GET /metrics`: the catalogue and its numbers in the text format that Prometheus scrapes
//! (`text/plain; version=0.0.4`).

use std::fmt::Write as _;
use std::time::Duration;

use super::catalogue::{self as names, FetchResult, Metric, Outcome, PurgeGrade, StatusClass};
use super::fleet::FleetGauges;
use super::histogram::{Histogram, bucket_end};
use super::metrics::{Metrics, Totals};
use crate::rfc::Reason;

/// The content type of what [`Metrics::render`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Numbers that other rooms keep and that are asked for when someone looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauges {
    /// What the entries in memory weigh, in bytes.
    pub memory_bytes: u64,
    /// Entries in memory.
    pub memory_entries: u64,
    /// What the entries in memory may weigh, in bytes.
    pub capacity: u64,
    /// Entries that had to make room, since the start.
    pub evictions: u64,
    /// Fetches under way.
    pub flights: u64,
    /// Client connections.
    pub open_connections: u64,
    /// Client connections accepted since the start.
    pub accepted: u64,
    /// Client connections closed at once because of a limit, since the start.
    pub refused_connections: u64,
    /// The number of the last change applied.
    pub ledger_applied: u64,
    /// Tags whose last change is remembered.
    pub ledger_tags: u64,
    /// Lines of the access log written since the start.
    pub log_written: u64,
    /// Lines of the access log dropped since the start.
    pub log_dropped: u64,
    /// Whether the node says that it wants traffic.
    pub ready: bool,
    /// How long the process has been running.
    pub uptime: Duration,
    /// One per backend.
    pub origins: Vec<OriginGauge>,
    /// What concerns the fleet; nothing where there is none.
    pub fleet: Option<FleetGauges>,
}

/// The state of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginGauge {
    /// As in the config.
    pub name: String,
    /// Whether at least one endpoint is thought to be healthy.
    pub healthy: bool,
    /// Requests that it is working on.
    pub in_flight: u64,
    /// Requests that wait for its concurrency cap.
    pub queue: u64,
    /// Whether it is being left alone after failures.
    pub breaker_open: bool,
}

impl Metrics {
    /// The whole page. The number of its lines depends on the config alone.
    pub fn render(&self, gauges: &Gauges) -> String {
        let totals = self.totals();
        let mut page = Page { text: String::with_capacity(32 * 1024) };
        page.requests(&totals);
        page.backends(&totals, &gauges.origins);
        page.node(gauges);
        if let Some(fleet) = &gauges.fleet {
            page.fleet(&totals, fleet);
        }
        page.text
    }
}

pub(super) struct Page {
    text: String,
}

impl Page {
    fn requests(&mut self, totals: &Totals<'_>) {
        self.family(&names::REQUESTS);
        for (route, label) in totals.routes().iter().enumerate() {
            for outcome in Outcome::ALL {
                self.number(&names::REQUESTS, &[label, outcome.code()], totals.requests(route, *outcome));
            }
        }
        self.family(&names::RESPONSES);
        for class in StatusClass::ALL {
            self.number(&names::RESPONSES, &[class.code()], totals.responses(*class));
        }
        self.family(&names::RESPONSE_BYTES);
        for (route, label) in totals.routes().iter().enumerate() {
            self.number(&names::RESPONSE_BYTES, &[label], totals.bytes(route));
        }
        self.family(&names::REQUEST_DURATION);
        for outcome in Outcome::ALL {
            self.histogram(&names::REQUEST_DURATION, &[outcome.code()], totals.request_durations(*outcome));
        }
        self.family(&names::REASONS);
        for reason in Reason::ALL {
            self.number(&names::REASONS, &[reason.code()], totals.reasons(*reason));
        }
        self.family(&names::PURGES);
        for grade in PurgeGrade::ALL {
            self.number(&names::PURGES, &[grade.code()], totals.purges(*grade));
        }
    }

    fn backends(&mut self, totals: &Totals<'_>, origins: &[OriginGauge]) {
        self.family(&names::BACKEND_REQUESTS);
        for (origin, label) in totals.origins().iter().enumerate() {
            for result in FetchResult::ALL {
                self.number(&names::BACKEND_REQUESTS, &[label, result.code()], totals.fetches(origin, *result));
            }
        }
        self.family(&names::BACKEND_DURATION);
        for (origin, label) in totals.origins().iter().enumerate() {
            self.histogram(&names::BACKEND_DURATION, &[label], totals.fetch_durations(origin));
        }
        self.states(&names::BACKEND_HEALTHY, origins, |origin| u64::from(origin.healthy));
        self.states(&names::BACKEND_IN_FLIGHT, origins, |origin| origin.in_flight);
        self.states(&names::BACKEND_QUEUE, origins, |origin| origin.queue);
        self.states(&names::BACKEND_BREAKER_OPEN, origins, |origin| u64::from(origin.breaker_open));
    }

    fn states(&mut self, metric: &Metric, origins: &[OriginGauge], state: fn(&OriginGauge) -> u64) {
        self.family(metric);
        for origin in origins {
            self.number(metric, &[&origin.name], state(origin));
        }
    }

    fn node(&mut self, gauges: &Gauges) {
        for (metric, value) in [
            (&names::MEMORY_BYTES, gauges.memory_bytes),
            (&names::MEMORY_CAPACITY, gauges.capacity),
            (&names::MEMORY_ENTRIES, gauges.memory_entries),
            (&names::MEMORY_EVICTIONS, gauges.evictions),
            (&names::FLIGHTS, gauges.flights),
            (&names::CONNECTIONS_OPEN, gauges.open_connections),
            (&names::CONNECTIONS_ACCEPTED, gauges.accepted),
            (&names::CONNECTIONS_REFUSED, gauges.refused_connections),
            (&names::LEDGER_APPLIED, gauges.ledger_applied),
            (&names::LEDGER_TAGS, gauges.ledger_tags),
            (&names::READY, u64::from(gauges.ready)),
        ] {
            self.family(metric);
            self.number(metric, &[], value);
        }
        self.family(&names::LOG_LINES);
        self.number(&names::LOG_LINES, &["written"], gauges.log_written);
        self.number(&names::LOG_LINES, &["dropped"], gauges.log_dropped);
        self.family(&names::UPTIME);
        self.sample(names::UPTIME.name, names::UPTIME.labels, &[], &seconds(gauges.uptime));
    }

    /// The two lines above a metric's samples. The sentences of the catalogue hold nothing that needs escaping.
    pub(super) fn family(&mut self, metric: &Metric) {
        self.push(format_args!("# HELP {} {}\n", metric.name, metric.help));
        self.push(format_args!("# TYPE {} {}\n", metric.name, metric.kind.word()));
    }

    pub(super) fn number(&mut self, metric: &Metric, values: &[&str], number: u64) {
        self.sample(metric.name, metric.labels, values, &number.to_string());
    }

    pub(super) fn histogram(&mut self, metric: &Metric, values: &[&str], histogram: Histogram<'_>) {
        let labels: Vec<&str> = metric.labels.iter().copied().chain(["le"]).collect();
        let name = format!("{}_bucket", metric.name);
        let mut reached = 0_u64;
        for (bucket, held) in histogram.buckets.iter().enumerate() {
            reached += held;
            let end = bucket_end(bucket).map_or_else(|| "+Inf".to_owned(), seconds);
            let values: Vec<&str> = values.iter().copied().chain([end.as_str()]).collect();
            self.sample(&name, &labels, &values, &reached.to_string());
        }
        self.sample(&format!("{}_sum", metric.name), metric.labels, values, &seconds(histogram.sum));
        self.sample(&format!("{}_count", metric.name), metric.labels, values, &reached.to_string());
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[&str], values: &[&str], number: &str) {
        self.text.push_str(name);
        for (index, (label, value)) in labels.iter().zip(values).enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            self.push(format_args!("{before}{label}=\"{}\"", Escaped(value)));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.push(format_args!(" {number}\n"));
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(text);
    }
}

/// A label's value with backslash, quote and line feed escaped.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => out.write_str("\\\\")?,
                '"' => out.write_str("\\\"")?,
                '\n' => out.write_str("\\n")?,
                other => out.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// Seconds as an exact decimal number without needless zeros.
pub(super) fn seconds(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::telemetry::{FleetWork, NO_ROUTE};

    fn metrics() -> Metrics {
        Metrics::new(&["users".to_owned(), "a \"b\"\\\n".to_owned()], &["main".to_owned()])
    }

    fn gauges() -> Gauges {
        let origins = vec![OriginGauge { name: "main".to_owned(), healthy: true, in_flight: 3, ..Default::default() }];
        Gauges { memory_bytes: 77, uptime: Duration::from_millis(1_500), origins, ..Default::default() }
    }

    fn in_a_fleet() -> Gauges {
        let blind = Duration::from_millis(2_500);
        let fleet = FleetGauges { in_sight: true, blind, refusals: vec![("checksum", 4)], ..FleetGauges::default() };
        Gauges { fleet: Some(fleet), ..gauges() }
    }

    #[test]
    fn what_was_counted_can_be_read() {
        let metrics = metrics();
        metrics.served(0, Outcome::MemoryHit, 200, Duration::from_micros(2), 100);
        metrics.served(0, Outcome::MemoryHit, 304, Duration::from_micros(1), 0);
        metrics.served(1, Outcome::Miss, 503, Duration::from_secs(100), 5);
        metrics.reason(Reason::Stale);
        metrics.purged(PurgeGrade::Soft);
        metrics.fetched(0, FetchResult::Answered, Duration::from_millis(70));
        let page = metrics.render(&gauges());
        for line in [
            "# TYPE forebay_requests_total counter",
            r#"forebay_requests_total{route="users",outcome="memory-hit"} 2"#,
            r#"forebay_requests_total{route="a \"b\"\\\n",outcome="miss"} 1"#,
            r#"forebay_requests_total{route="(none)",outcome="rejected"} 0"#,
            r#"forebay_responses_total{class="3xx"} 1"#,
            r#"forebay_response_body_bytes_total{route="users"} 100"#,
            "# TYPE forebay_request_duration_seconds histogram",
            r#"forebay_request_duration_seconds_bucket{outcome="memory-hit",le="0.000001024"} 1"#,
            r#"forebay_request_duration_seconds_bucket{outcome="memory-hit",le="0.000002048"} 2"#,
            r#"forebay_request_duration_seconds_bucket{outcome="memory-hit",le="+Inf"} 2"#,
            r#"forebay_request_duration_seconds_sum{outcome="memory-hit"} 0.000003"#,
            r#"forebay_request_duration_seconds_count{outcome="memory-hit"} 2"#,
            r#"forebay_request_duration_seconds_bucket{outcome="miss",le="68.719476736"} 0"#,
            r#"forebay_request_duration_seconds_bucket{outcome="miss",le="+Inf"} 1"#,
            r#"forebay_reasons_total{reason="stale"} 1"#,
            r#"forebay_purges_total{grade="soft"} 1"#,
            r#"forebay_backend_requests_total{origin="main",result="answered"} 1"#,
            r#"forebay_backend_healthy{origin="main"} 1"#,
            r#"forebay_backend_in_flight{origin="main"} 3"#,
            "forebay_memory_bytes 77",
            "forebay_uptime_seconds 1.5",
        ] {
            assert!(page.lines().any(|written| written == line), "{line} is missing from\n{page}");
        }
    }

    #[test]
    fn a_node_on_its_own_has_no_fleet_to_tell_of() {
        let metrics = metrics();
        metrics.shared(FleetWork::Acknowledged, Duration::from_millis(3));
        let page = metrics.render(&in_a_fleet());
        for line in [
            "forebay_fleet_in_sight 1",
            "forebay_fleet_blind_seconds_total 2.5",
            r#"forebay_shared_refusals_total{reason="checksum"} 4"#,
            "forebay_purge_acknowledged_seconds_sum 0.003",
            "forebay_shared_duration_seconds_count 0",
        ] {
            assert!(page.lines().any(|written| written == line), "{line} is missing from\n{page}");
        }
        assert!(!metrics.render(&gauges()).contains("forebay_fleet"));
    }

    #[test]
    fn every_metric_of_the_catalogue_is_on_the_page_once_and_every_sample_in_the_catalogue() {
        let page = metrics().render(&in_a_fleet());
        for metric in names::ALL {
            let head = format!("# TYPE {} {}", metric.name, metric.kind.word());
            assert_eq!(page.lines().filter(|line| *line == head).count(), 1, "{head}");
        }
        let mut seen = HashSet::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (series, number) = line.rsplit_once(' ').unwrap();
            assert!(number.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(series.to_owned()), "{series} twice");
            let name = series.split('{').next().unwrap();
            let known = |suffix: &str| {
                name.strip_suffix(suffix).is_some_and(|name| names::ALL.iter().any(|metric| metric.name == name))
            };
            assert!(["", "_bucket", "_sum", "_count"].into_iter().any(known), "{line}");
        }
    }

    /// LG-03 of the catalogue of faults.
    #[test]
    fn the_number_of_series_does_not_depend_on_the_traffic() {
        let metrics = metrics();
        let before = metrics.render(&gauges()).lines().count();
        for number in 0..100_000_usize {
            let status = u16::try_from(number % 1_000).unwrap();
            let outcome = Outcome::ALL[number % Outcome::ALL.len()];
            let route = if number % 3 == 0 { NO_ROUTE } else { number };
            metrics.served(route, outcome, status, Duration::from_nanos(1 << (number % 60)), 1);
            metrics.reason(Reason::ALL[number % Reason::ALL.len()]);
            metrics.fetched(number, FetchResult::Failed, Duration::MAX);
        }
        assert_eq!(metrics.render(&gauges()).lines().count(), before);
    }

    #[test]
    fn seconds_are_exact() {
        for (nanos, expected) in
            [(0, "0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (10_000_000_000, "10"), (1_024, "0.000001024")]
        {
            assert_eq!(seconds(Duration::from_nanos(nanos)), expected);
        }
    }
}
