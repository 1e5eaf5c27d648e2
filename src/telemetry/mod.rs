//! What the gateway says about itself.

mod timestamp;

pub use timestamp::timestamp;
