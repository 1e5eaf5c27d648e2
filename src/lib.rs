//! Forebay, a caching gateway for REST backends.

pub mod admin;
pub mod app;
pub mod breaker;
pub mod changes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod fleet;
pub mod listen;
pub mod policy;
pub mod rfc;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod upstream;
