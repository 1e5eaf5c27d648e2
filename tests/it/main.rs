//! The gateway as a whole, in one process, on paused time, without sockets: see `talk`.

mod flights;
mod flights_faults;
mod model;
mod purge;
mod purge_races;
mod semantics;
mod talk;
