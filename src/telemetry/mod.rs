<<<<<<< HEAD
//! Metrics and logs.

mod settings;

pub use settings::{Access, LogFormat, LogSettings, LogTarget};
=======
//! What the gateway says about itself.

mod timestamp;

pub use timestamp::timestamp;
>>>>>>> demo
