//! What the gateway says about itself: numbers ([`catalogue`], [`Metrics`]), a line per request ([`AccessLog`]), and
//! the log of the program ([`init`]).
//!
//! Two rules. Saying something never holds up a request: counters are written without a lock, and a log that is not
//! read fast enough loses lines and counts them. And nothing that a client sends decides how much is said: the number
//! of series is fixed by the config, and a line is one line of at most 8 KiB whatever the request held.

mod access;
pub mod catalogue;
mod exposition;
mod fleet;
mod histogram;
mod line;
mod lines;
mod metrics;
mod settings;
mod setup;
mod stat;
mod timestamp;

pub use access::{AccessLog, AccessRecord};
pub use catalogue::{FetchResult, FleetWork, Outcome, PurgeGrade, StatusClass};
pub use exposition::{CONTENT_TYPE, Gauges, OriginGauge};
pub use fleet::{Counted, FleetGauges};
pub use histogram::{BUCKETS, Histogram, bucket_end};
pub use lines::{Lines, LogError};
pub use metrics::{Metrics, NO_ROUTE, Totals};
pub use settings::{Access, LogFormat, LogSettings, LogTarget};
pub use setup::init;
pub use stat::{Latency, OriginStat, RouteStat, Stat};
pub use timestamp::timestamp;
