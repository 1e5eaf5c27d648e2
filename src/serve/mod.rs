//! The request's path.

mod settings;

pub use settings::{GatewaySettings, Secret};
