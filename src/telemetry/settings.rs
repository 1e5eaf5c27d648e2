//! What an operator may say about the log.

use std::path::PathBuf;

/// The log of the program and the log of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// What the program says of itself: `info`, or a filter such as `warn,forebay::upstream=debug`.
    pub level: String,
    /// Which requests get a line.
    pub access: Access,
    /// Where the lines of requests go.
    pub to: LogTarget,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".to_owned(), access: Access::Sample(0.01), to: LogTarget::Stdout }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// For eyes.
    Text,
}

/// Which requests get a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Access {
    /// None.
    Off,
    /// All.
    All,
    /// Those not answered from the cache.
    Misses,
    /// This share, 0 to 1, of those answered from the cache, and all others.
    Sample(f64),
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to this file.
    File(PathBuf),
}
