//! The gateway as a process, on real sockets: an echo backend behind it that logs every byte, raw clients before it.
//!
//! The names of tests carry the IDs of the attack catalogue (SM framing, PA heads, RS answers, HB hop by hop, DO denial of
//! service). Every attack is judged alike, in [`house`]: what the backend saw, what a bystander gets afterwards, and what
//! the attacker's own connection says next.

// Helpers fail by panicking, like the tests they help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backend;
mod client;
mod gateway;
mod house;

mod answers;
mod crowd;
mod events;
mod framing;
mod heads;
mod hops;
mod interim;
mod leaving;
mod patience;
mod queues;
mod shortcuts;
mod starting;
mod tls;
