//! The admin API.

mod settings;

pub use settings::AdminSettings;
