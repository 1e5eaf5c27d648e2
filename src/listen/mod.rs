//! Sockets, TLS, limits, drain.

mod settings;

pub use settings::{ListenSettings, TlsFiles};

/// Why there is no listening.
#[derive(Debug)]
pub enum ListenError {
    /// The settings make no sense.
    Settings(String),
}
