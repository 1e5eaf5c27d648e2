//! The catalogue of metrics: the only place that names one.
//!
//! A label's values come from this page, from the config, or from [`Reason`](crate::rfc::Reason): never from a request.
//! So the number of series is known when the config has been read, and no client can make it grow.

/// What kind of series a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; starts at zero with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by size: buckets, their sum and their number.
    Histogram,
}

impl Kind {
    /// The word on the `# TYPE` line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As scraped: counters end in `_total`, and a unit is part of the name.
    pub name: &'static str,
    /// What kind of series it is.
    pub kind: Kind,
    /// `seconds`, `bytes`, or nothing for plain numbers.
    pub unit: &'static str,
    /// The names of its labels, in the order in which they are written.
    pub labels: &'static [&'static str],
    /// One sentence for people.
    pub help: &'static str,
}

/// Defines the metrics and the list of them from one table.
macro_rules! metrics {
    ($($constant:ident, $name:literal, $kind:ident, $unit:literal, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help };
        )*

        /// All of them, in the order of the page.
        pub const ALL: &[Metric] = &[$($constant,)*];
    };
}

metrics! {
    REQUESTS, "forebay_requests_total", Counter, "", ["route", "outcome"],
        "Requests answered, by route and by what the cache could do for them.";
    RESPONSES, "forebay_responses_total", Counter, "", ["class"],
        "Answers by the class of their status.";
    RESPONSE_BYTES, "forebay_response_body_bytes_total", Counter, "bytes", ["route"],
        "Body bytes sent to clients.";
    REQUEST_DURATION, "forebay_request_duration_seconds", Histogram, "seconds", ["outcome"],
        "From the request's head to the end of its answer.";
    REASONS, "forebay_reasons_total", Counter, "", ["reason"],
        "Why answers did not come from the cache or were not kept.";
    PURGES, "forebay_purges_total", Counter, "", ["grade"],
        "Changes applied on this node, by how strongly they count.";
    BACKEND_REQUESTS, "forebay_backend_requests_total", Counter, "", ["origin", "result"],
        "Requests sent to backends, by how they ended.";
    BACKEND_DURATION, "forebay_backend_duration_seconds", Histogram, "seconds", ["origin"],
        "From sending a request to a backend to the head of its answer, or to its failure.";
    BACKEND_HEALTHY, "forebay_backend_healthy", Gauge, "", ["origin"],
        "1 while at least one endpoint of the backend is thought to be healthy.";
    BACKEND_IN_FLIGHT, "forebay_backend_in_flight", Gauge, "", ["origin"],
        "Requests that a backend is working on.";
    BACKEND_QUEUE, "forebay_backend_queue", Gauge, "", ["origin"],
        "Requests that wait for a backend's concurrency cap.";
    BACKEND_BREAKER_OPEN, "forebay_backend_breaker_open", Gauge, "", ["origin"],
        "1 while the backend is being left alone after failures.";
    MEMORY_BYTES, "forebay_memory_bytes", Gauge, "bytes", [],
        "What the entries in memory weigh.";
    MEMORY_CAPACITY, "forebay_memory_capacity_bytes", Gauge, "bytes", [],
        "What the entries in memory may weigh.";
    MEMORY_ENTRIES, "forebay_memory_entries", Gauge, "", [],
        "Entries in memory.";
    MEMORY_EVICTIONS, "forebay_memory_evictions_total", Counter, "", [],
        "Entries that had to make room.";
    FLIGHTS, "forebay_flights", Gauge, "", [],
        "Fetches under way, each for one or many askers.";
    CONNECTIONS_OPEN, "forebay_connections_open", Gauge, "", [],
        "Client connections.";
    CONNECTIONS_ACCEPTED, "forebay_connections_accepted_total", Counter, "", [],
        "Client connections accepted.";
    CONNECTIONS_REFUSED, "forebay_connections_refused_total", Counter, "", [],
        "Client connections closed at once because of a limit.";
    LEDGER_APPLIED, "forebay_ledger_applied", Gauge, "", [],
        "The number of the last change applied on this node.";
    LEDGER_TAGS, "forebay_ledger_tags", Gauge, "", [],
        "Tags whose last change this node remembers.";
    SHARED_DURATION, "forebay_shared_duration_seconds", Histogram, "seconds", [],
        "From asking for a shared entry to having it, or knowing that there is none.";
    SHARED_REFUSALS, "forebay_shared_refusals_total", Counter, "", ["reason"],
        "Shared records that were not used, by what is wrong with them.";
    SHARED_WRITES, "forebay_shared_writes_total", Counter, "", ["result"],
        "Entries handed over to be shared, by what became of them.";
    LEASES, "forebay_leases_total", Counter, "", ["result"],
        "Leases asked for so that one node fetches for all, by what came of it.";
    FLEET_IN_SIGHT, "forebay_fleet_in_sight", Gauge, "", [],
        "1 while this node knows what the fleet has changed; 0 while it is blind.";
    FLEET_LEDGER_LAG, "forebay_fleet_ledger_lag", Gauge, "", [],
        "Changes in the log that this node had not applied at its last heartbeat.";
    FLEET_RECORDS_LOST, "forebay_fleet_records_lost_total", Counter, "", [],
        "Changes that this node never saw; what they may have named was validated.";
    FLEET_EPOCHS, "forebay_fleet_epochs_total", Counter, "", [],
        "Times that the log began another life.";
    FLEET_BLIND, "forebay_fleet_blind_seconds_total", Counter, "seconds", [],
        "How long this node has been blind.";
    FLEET_CHANGES_QUEUED, "forebay_fleet_changes_queued", Gauge, "", [],
        "Changes that hold on this node and wait for the log.";
    FLEET_HEARTBEATS_MISSED, "forebay_fleet_heartbeats_missed_total", Counter, "", [],
        "Heartbeats that were not answered.";
    FLEET_SCRIBE, "forebay_fleet_scribe", Gauge, "", [],
        "1 on the node that appends what the backend announces.";
    PURGE_ACKNOWLEDGED, "forebay_purge_acknowledged_seconds", Histogram, "seconds", [],
        "From announcing a change to knowing that every node has applied it.";
    MESSAGES, "forebay_messages_total", Counter, "", ["result"],
        "Change notifications heard, by what became of them.";
    SUBSCRIPTION_GAPS, "forebay_subscription_gaps_total", Counter, "", [],
        "Times that notifications may have been missed; what they could have named was validated.";
    MESSAGES_TAKEN_OVER, "forebay_messages_taken_over_total", Counter, "", [],
        "Notifications that this node appended because the scribe had not.";
    REDIS_ERRORS, "forebay_redis_errors_total", Counter, "", ["error"],
        "Calls of Redis that failed, by how.";
    REDIS_REBUILDS, "forebay_redis_rebuilds_total", Counter, "", ["client"],
        "Clients of Redis that were thrown away and built again.";
    REDIS_BREAKER_OPEN, "forebay_redis_breaker_open", Gauge, "", ["client"],
        "1 while Redis is being left alone after failures.";
    REDIS_EVICTION_RISK, "forebay_redis_eviction_risk", Gauge, "", [],
        "1 while the Redis that holds the log may evict it.";
    LOG_LINES, "forebay_log_lines_total", Counter, "", ["result"],
        "Lines of the access log, by whether they were written or dropped because the log was not read fast enough.";
    READY, "forebay_ready", Gauge, "", [],
        "1 while the node says that it wants traffic.";
    UPTIME, "forebay_uptime_seconds", Gauge, "seconds", [],
        "How long the process has been running.";
}

/// Defines an enum whose variants are the values of a label.
macro_rules! label {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its value as a label and in the log.
            pub const fn code(self) -> &'static str { match self { $(Self::$variant => $code,)* } }
        }
    };
}

label! {
    /// What the cache could do for a request.
    Outcome {
        /// Answered from memory, fresh.
        MemoryHit = "memory-hit",
        /// Answered with what another node of the fleet had fetched.
        SharedHit = "shared-hit",
        /// Answered from memory, stale and permitted.
        StaleHit = "stale-hit",
        /// The backend confirmed what was stored.
        Revalidated = "revalidated",
        /// Fetched from the backend.
        Miss = "miss",
        /// Answered by a fetch that another request had begun.
        Collapsed = "collapsed",
        /// Passed to the backend without asking the cache.
        Pass = "pass",
        /// Refused at the front door.
        Rejected = "rejected",
        /// Answered with an error of the gateway's own.
        Error = "error",
    }
}

impl Outcome {
    /// Whether the backend had nothing to do with the answer.
    pub const fn is_hit(self) -> bool {
        matches!(self, Self::MemoryHit | Self::SharedHit | Self::StaleHit)
    }
}

label! {
    /// How strongly a change counts.
    PurgeGrade {
        /// What was fetched before is gone.
        Hard = "hard",
        /// What was fetched before is stale.
        Soft = "soft",
        /// What was fetched before must be validated.
        Check = "check",
    }
}

label! {
    /// The first digit of a status.
    StatusClass {
        /// 1xx.
        Informational = "1xx",
        /// 2xx.
        Successful = "2xx",
        /// 3xx.
        Redirection = "3xx",
        /// 4xx.
        ClientError = "4xx",
        /// 5xx.
        ServerError = "5xx",
        /// Anything else.
        Other = "other",
    }
}

impl StatusClass {
    /// The class of a status.
    pub const fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Successful,
            3 => Self::Redirection,
            4 => Self::ClientError,
            5 => Self::ServerError,
            _ => Self::Other,
        }
    }
}

label! {
    /// What the fleet takes time for.
    FleetWork {
        /// Looking for a shared entry.
        SharedRead = "shared-read",
        /// Having a change applied by every node.
        Acknowledged = "acknowledged",
    }
}

label! {
    /// How a request to a backend ended.
    FetchResult {
        /// With an answer, whatever its status.
        Answered = "answered",
        /// Without one.
        Failed = "failed",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_say_their_kind_and_unit() {
        let mut seen = HashSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(seen.insert(name), "{name}");
            assert!(name.starts_with("forebay_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(name.trim_end_matches("_total").ends_with(metric.unit), "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{name}");
        }
    }
}
