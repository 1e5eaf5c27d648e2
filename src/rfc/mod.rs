//! What HTTP permits.
mod reason;
mod time;
pub use reason::Reason;
pub use time::Moment;
mod facts;
pub use facts::{LifetimeSource, StoredFacts};
mod vary;
pub use vary::{Vary, VaryKey};
mod coding;
pub use coding::Coding;
