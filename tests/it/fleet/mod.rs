//! Several gateways, one backend, one log of changes. The network is in this process and time is paused; the same against
//! a real Redis is the consistency checker's.

mod barrier;
mod blind;
mod lease;
mod model;
mod races;
mod shared;
