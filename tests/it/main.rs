//! The gateway as a whole, in one process, on paused time, without sockets: see `talk`.

// A test says what it expects by failing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::similar_names, clippy::type_complexity, clippy::format_push_string, clippy::needless_for_each)]
#![allow(clippy::needless_pass_by_value, clippy::redundant_closure_for_method_calls)]

mod admin;
mod architecture;
mod encoding;
mod faults;
mod fleet;
mod flights;
mod flights_faults;
mod leakage;
mod limits;
mod model;
mod poisoning;
mod purge;
mod purge_method;
mod purge_races;
mod reasons;
mod routes;
mod semantics;
mod ship;
mod start;
mod talk;
mod trouble;
