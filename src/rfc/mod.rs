//! What HTTP permits.
mod reason;
mod time;
pub use reason::Reason;
pub use time::Moment;
