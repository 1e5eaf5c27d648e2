//! Backends.

mod settings;

pub use settings::{Endpoint, HealthSettings, OriginSettings, TlsSettings};
