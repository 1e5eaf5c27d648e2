//! The gateway as a whole, in one process, on paused time, without sockets: see `talk`.

// Helpers fail by panicking, like the tests they help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin;
mod encoding;
mod flights;
mod flights_faults;
mod leakage;
mod limits;
mod model;
mod poisoning;
mod purge;
mod purge_method;
mod purge_races;
mod routes;
mod semantics;
mod start;
mod talk;
mod trouble;
