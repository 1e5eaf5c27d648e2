//! Who is connected: at most so many, and at most so many from one client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ListenSettings;
use super::stats::ListenStats;

/// The places there are.
pub(super) struct Crowd {
    places: Arc<Semaphore>,
    per_client: usize,
    exempt: Vec<IpNet>,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

impl Crowd {
    pub(super) fn new(settings: &ListenSettings, places: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            per_client: settings.max_connections_per_client,
            exempt: settings.client_limit_exempt.clone(),
            clients: Mutex::default(),
        })
    }

    /// Waits for a place. None if there never will be one.
    pub(super) async fn place(&self, stats: &ListenStats) -> Option<OwnedSemaphorePermit> {
        if let Some(place) = self.try_place() {
            return Some(place);
        }
        ListenStats::count(&stats.refused_capacity);
        tracing::warn!("all connections are in use; accepting pauses (max_connections)");
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// A place, if there is one now.
    pub(super) fn try_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Lets a client in, unless it has too many connections already.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = address.to_canonical();
        if self.per_client == 0 || self.exempt.iter().any(|net| net.contains(&address)) {
            return Some(Seat(None));
        }
        let client = client(address);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = clients.entry(client).or_insert(0);
        if *connections >= self.per_client {
            return None;
        }
        *connections += 1;
        Some(Seat(Some((Arc::clone(self), client))))
    }
}

/// A client's claim on one connection, given back when dropped.
pub(super) struct Seat(Option<(Arc<Crowd>, IpAddr)>);

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((crowd, client)) = self.0.take() else { return };
        let mut clients = crowd.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connections) = clients.get_mut(&client) {
            *connections -= 1;
            if *connections == 0 {
                clients.remove(&client);
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 /64, which is what one customer is given.
fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_seats() {
        let settings = ListenSettings {
            max_connections_per_client: 2,
            client_limit_exempt: vec!["10.0.0.0/8".parse().unwrap()],
            ..ListenSettings::default()
        };
        let crowd = Crowd::new(&settings, 10);
        let mut seats = Vec::new();
        let mut check = |address: &str, admitted: bool| {
            let seat = crowd.admit(address.parse().unwrap());
            assert_eq!(seat.is_some(), admitted, "{address}");
            seats.extend(seat);
        };
        check("192.0.2.1", true);
        check("::ffff:192.0.2.1", true);
        check("192.0.2.1", false);
        check("192.0.2.2", true);
        check("2001:db8::1", true);
        check("2001:db8::ffff:2", true);
        check("2001:db8::3", false);
        check("2001:db8:0:1::3", true);
        for _ in 0..5 {
            check("10.1.2.3", true);
        }
        seats.clear();
        assert!(crowd.clients.lock().unwrap().is_empty());
        assert!(crowd.admit("192.0.2.1".parse().unwrap()).is_some());
    }
}
