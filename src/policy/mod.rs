//! What the operator wants.
pub mod key;
pub mod tags;
