//! The gateway as a whole, in one process, on paused time, without sockets: see `talk`.

mod semantics;
mod talk;
