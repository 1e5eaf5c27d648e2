//! Several gateways over one backend and one network, each with a link that can be cut.

use std::sync::Arc;
use std::time::Duration;

use forebay::changes::{Change, Published, Purge, Selector, Source};
use forebay::fleet::{Fleet, InProcess, LinkState};

use forebay::clock::Clock;
use forebay::serve::FleetSettings;
use forebay::serve::admit::Client;
use forebay::serve::body::Body;
use forebay::serve::explain::Explanation;
use forebay::upstream::Transport;

use http::Request;

use super::{Backend, START, Talk};

impl Talk {
    /// So many nodes of one fleet, all of which have heard from it.
    pub async fn fleet<const NODES: usize>(config: &str) -> [Self; NODES] {
        Self::fleet_on(config, FleetSettings::default()).await
    }

    /// The same, on these terms.
    pub async fn fleet_on<const NODES: usize>(config: &str, settings: FleetSettings) -> [Self; NODES] {
        let (network, backend) = (InProcess::network(), Backend::default());
        let nodes = std::array::from_fn(|_| {
            let (fleet, clock, service) =
                (Fleet::InProcess(network.another()), Clock::starting_at(START), backend.clone());
            Self::assembled(config, fleet, settings.clone(), backend.clone(), clock, |origin| {
                Transport::service(service.clone().service(origin))
            })
        });
        for node in &nodes {
            node.beat().await;
        }
        nodes
    }

    /// Another node over the same backend and network, which has not heard from it yet.
    pub fn joining(&self, config: &str) -> Self {
        Self::in_fleet(config, Fleet::InProcess(self.network().another()), self.backend.clone())
    }

    /// The same with a wall clock that is ahead of this one's by `by`.
    pub fn joining_at(&self, config: &str, by: Duration) -> Self {
        let (fleet, service) = (Fleet::InProcess(self.network().another()), self.backend.clone());
        let clock = Clock::starting_at(self.clock.now().wall + by);
        Self::over(config, fleet, self.backend.clone(), clock, |origin| {
            Transport::service(service.clone().service(origin))
        })
    }

    /// The network, as this node reaches it.
    pub fn network(&self) -> &InProcess {
        match &self.fleet {
            Fleet::InProcess(network) => network,
            Fleet::Redis(_) => panic!("conversations need no Redis"),
        }
    }

    /// What would be done with a GET, and why.
    pub async fn explain(&self, path: &str) -> Explanation {
        let client = Client { address: ([192, 0, 2, 1], 40_000).into(), secure: false };
        let request = Request::builder().uri(path).header("host", "example.com").body(Body::empty()).unwrap();
        self.gateway.explain(client, request, false).await
    }

    /// One heartbeat, and what follows from it.
    pub async fn beat(&self) {
        self.gateway.bus().beat(&self.clock).await;
    }

    /// Sends heartbeats and follows the log by itself, from now on.
    pub fn lives(self) -> Self {
        let (bus, clock) = (Arc::clone(self.gateway.bus()), self.clock.clone());
        tokio::spawn(async move { bus.keep_in_sight(&clock, std::future::pending()).await });
        self.follows()
    }

    /// Nothing answers this node any more.
    pub fn cut(&self) {
        self.transcript.note("… a link is cut");
        self.network().connection(LinkState::Silent);
    }

    /// This node is told at once that nothing can be reached.
    pub fn refuse(&self) {
        self.transcript.note("… a link is down");
        self.network().connection(LinkState::Down);
    }

    /// The link is back. The node does not know yet.
    pub fn heal(&self) {
        self.transcript.note("… a link is back");
        self.network().connection(LinkState::Up);
    }

    /// Announces a purge, and says what became of it.
    pub async fn publish(&self, selector: Selector, purge: Purge) -> Published {
        self.transcript.note(format!("purge {purge:?} {selector:?}"));
        let change = Change::new(selector, purge, Source::Api);
        self.gateway.bus().publish(&[change], self.clock.now()).await.unwrap()
    }
}
