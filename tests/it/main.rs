//! The gateway as a whole, in one process, on paused time, without sockets: see `talk`.

mod admin;
mod architecture;
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
mod reasons;
mod routes;
mod semantics;
mod start;
mod talk;
mod trouble;
