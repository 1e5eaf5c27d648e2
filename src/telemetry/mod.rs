//! Metrics and logs.

mod settings;

pub use settings::{Access, LogFormat, LogSettings, LogTarget};
