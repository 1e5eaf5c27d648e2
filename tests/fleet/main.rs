//! A fleet, as its operator has it: gateways as processes, real Redis servers behind them, and a network that fails.
//!
//! [`redis`] starts the servers, alone, as a cluster, or under sentinels; [`chaos`] stands before them.

// Helpers fail by panicking, like the tests they help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod announcements;
mod backend;
mod chaos;
mod contract;
mod figures;
mod ledger;
mod outages;
mod records;
mod redis;

// The gateway's process and the raw client are those of the suite on the wire, which uses more of them.
#[allow(dead_code)]
#[path = "../wire/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../wire/gateway.rs"]
mod gateway;

mod faults;
mod house;
mod load;
mod report;
mod rows;
mod servers;
mod subscriptions;
mod tampered;
mod together;
mod topologies;
mod truth;
mod ways;
