//! What HTTP permits.
mod reason;
mod terms;
mod time;
pub use reason::Reason;
pub use terms::{Beats, Heuristic, StatusRange, Terms};
pub use time::Moment;
