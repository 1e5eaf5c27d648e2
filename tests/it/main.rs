//! The gateway as a whole, in one process, on paused time, without sockets: see `talk`.

mod admin;
mod encoding;
mod leakage;
mod limits;
mod poisoning;
mod purge_method;
mod routes;
mod semantics;
mod start;
mod trouble;
mod talk;
