//! Free ports: below those the system hands out by itself, so that a server that was killed finds its port again.
//!
//! A cluster node also listens on its port + 10000. Servers get 10000 to 19999, and so their buses 20000 to 29999: no
//! server is in the way of another's bus. Two processes may still choose the same port at the same time; whoever starts
//! a server sees that it did not start, and asks for another port.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u16 = 10_000;
const COUNT: u16 = 10_000;
/// How far from its port a cluster node's bus is.
const BUS: u16 = 10_000;

/// A port that is free on the loopback, with its bus; no other call in this process gets it before all had their turn.
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes that were started one after the other begin far from each other.
    let start = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = start.wrapping_add(step) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or_default();
        if is_free(port) && is_free(port + BUS) {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}

/// A listener on such a port.
pub async fn listener() -> tokio::net::TcpListener {
    for _ in 0..20 {
        if let Ok(listener) = tokio::net::TcpListener::bind(loopback(free())).await {
            return listener;
        }
    }
    panic!("20 ports were taken between the look and the use")
}

/// The loopback address with this port.
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}
