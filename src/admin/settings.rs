//! What an operator may say about the admin listener.

use std::net::SocketAddr;

use crate::serve::Secret;

/// The listener of the admin API, the metrics and the health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where it listens; `None`: there is none. Default 127.0.0.1:9090.
    pub listen: Option<SocketAddr>,
    /// The token that requests must carry as `Authorization: Bearer`; `/livez` and `/readyz` need none. Required if
    /// the address is not a loopback one. Default `None`.
    pub token: Option<Secret>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9090))), token: None }
    }
}
