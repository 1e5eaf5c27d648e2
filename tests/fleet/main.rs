//! A fleet, as its operator has it: gateways as processes, real Redis servers behind them, and a network that fails.
//!
//! [`redis`] starts the servers, alone, as a cluster, or under sentinels.

// Helpers fail by panicking, like the tests they help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod redis;

mod servers;
mod topologies;
