//! The world of a run: one backend, one Redis or several, and the gateways, each a process with its own way to Redis.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use forebay::clock::Clock;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use super::backend::Backend;
use super::chaos::Proxy;
use super::gateway::Gateway;
use super::history::{At, Life};
use super::http::Connection;
use super::redis::{Cluster, Redis, Reply, Sentinel};

/// How long a server may take for a message.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether gateways can share a Redis yet. Without it a run has one node, and only the faults that need no Redis.
pub const FLEET: bool = true;

/// What Redis calls everything that belongs to the runs.
pub const NAMESPACE: &str = "checker";

pub struct World {
    pub clock: Clock,
    pub seed: u64,
    pub delta: Duration,
    pub backend: Backend,
    pub nodes: Vec<Node>,
    pub shared: Shared,
    pub observed: AtomicU64,
    over: AtomicBool,
    lives: AtomicU16,
}

/// What the nodes share.
pub enum Shared {
    Nothing,
    Single(Redis),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

/// How the nodes share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    Alone,
    Single,
    Sentinel,
    Cluster,
}

/// A node's place, in which one process may follow another.
pub struct Node {
    config: String,
    /// Its way to Redis, where that is one server.
    pub link: Option<Proxy>,
    gateway: Mutex<Option<Gateway>>,
    place: watch::Sender<Option<Place>>,
}

/// Where a life is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub life: Life,
    pub data: std::net::SocketAddr,
    pub admin: std::net::SocketAddr,
}

impl World {
    /// Starts everything. To be called on the test's own thread, because Redis lives no longer than its thread.
    pub async fn start(topology: Topology, delta: Duration, seed: u64) -> Self {
        let clock = Clock::system();
        let shared = match topology {
            Topology::Alone => Shared::Nothing,
            Topology::Single => Shared::Single(Redis::start().await),
            Topology::Sentinel => Shared::Sentinel(Sentinel::start().await),
            Topology::Cluster => Shared::Cluster(Cluster::start().await),
        };
        let mut this = Self {
            backend: Backend::start(clock.clone(), seed).await,
            clock,
            seed,
            delta,
            nodes: Vec::new(),
            shared,
            observed: AtomicU64::new(0),
            over: AtomicBool::new(false),
            lives: AtomicU16::new(0),
        };
        let nodes = if topology == Topology::Alone { 1 } else { 2 };
        for _ in 0..nodes {
            let (link, url) = match &this.shared {
                Shared::Nothing => (None, None),
                Shared::Single(redis) => {
                    let link = Proxy::start(redis.address()).await;
                    let url = format!("redis://{}", link.address);
                    (Some(link), Some(url))
                }
                Shared::Sentinel(watched) => (None, Some(watched.url())),
                Shared::Cluster(cluster) => (None, Some(cluster.url())),
            };
            let config = config(url.as_deref(), delta);
            let node = Node { config, link, gateway: Mutex::default(), place: watch::Sender::new(None) };
            this.nodes.push(node);
        }
        for node in &this.nodes {
            node.start(&this).await;
        }
        this
    }

    pub fn now(&self) -> At {
        self.clock.now().mono
    }

    /// Tells everybody to come to an end.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// How many lives there have been.
    pub fn lives(&self) -> u16 {
        self.lives.load(Ordering::Relaxed)
    }

    /// Publishes a message, past all that stands between Redis and the nodes; how many subscribers were sent it, so far as
    /// the server knows that was asked: in a cluster those of one node.
    pub async fn publish(&self, channel: &str, message: &str) -> i64 {
        let servers: Vec<&Redis> = match &self.shared {
            Shared::Nothing => return 0,
            Shared::Single(redis) => vec![redis],
            // Only the master hands a message on; it is not known here which one that is.
            Shared::Sentinel(watched) => watched.servers.iter().filter(|server| server.is_running()).collect(),
            Shared::Cluster(cluster) => cluster.living().take(1).collect(),
        };
        let mut most = 0;
        for server in servers {
            if let Ok(Reply::Int(heard)) = server.try_command(&["PUBLISH", channel, message], PATIENCE).await {
                most = most.max(heard);
            }
        }
        most
    }
}

impl Node {
    /// Starts a gateway in this place.
    pub async fn start(&self, world: &World) {
        let gateway = Gateway::start(&self.config, world.backend.address).await;
        let life = world.lives.fetch_add(1, Ordering::Relaxed);
        let place = Place { life, data: gateway.address(), admin: gateway.admin };
        // Whoever sends it work before it says that it is ready must not wonder.
        let ready = timeout(Duration::from_secs(20), until_ready(place.admin)).await.is_ok();
        assert!(ready, "it does not become ready; it says:\n{}", gateway.output());
        *self.gateway.lock().await = Some(gateway);
        self.place.send_replace(Some(place));
    }

    /// Kills the gateway.
    pub async fn kill(&self) {
        self.place.send_replace(None);
        drop(self.gateway.lock().await.take());
    }

    /// Sends the gateway a signal, by its name.
    pub async fn signal(&self, name: &str) {
        if let Some(gateway) = self.gateway.lock().await.as_ref() {
            gateway.signal(name).await;
        }
    }

    /// Where it is found, once it is there. None if it takes too long.
    pub async fn place(&self) -> Option<Place> {
        let mut place = self.place.subscribe();
        let there = timeout(Duration::from_secs(20), place.wait_for(Option::is_some)).await;
        there.ok()?.ok().and_then(|place| *place)
    }

    /// Fails if it has ended by itself or has panicked.
    pub async fn is_well(&self) {
        if let Some(gateway) = self.gateway.lock().await.as_ref() {
            gateway.is_well();
        }
    }

    pub async fn output(&self) -> String {
        self.gateway.lock().await.as_ref().map_or_else(String::new, Gateway::output)
    }
}

async fn until_ready(admin: std::net::SocketAddr) {
    loop {
        if let Ok(mut connection) = Connection::open(admin).await {
            let asked = connection.ask(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            if asked.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

fn config(redis: Option<&str>, delta: Duration) -> String {
    // A backend that was away is asked again soon: runs are short.
    let alone = "[memory]\ncapacity = \"64MiB\"\n\n\
         [origin]\nfirst_byte_timeout = \"8s\"\nbreaker = { first_pause = \"100ms\", max_pause = \"500ms\" }\n\n\
         [[route]]\nname = \"things\"\npath = \"/things/{id}\"\ntags = [\"thing:{id}\"]\n";
    match redis {
        Some(url) => alone.to_owned() + &shares(url, delta),
        None => alone.to_owned(),
    }
}

/// What makes a gateway one of a fleet.
fn shares(url: &str, delta: Duration) -> String {
    format!(
        "\n[redis]\nurl = \"{url}\"\nnamespace = \"{NAMESPACE}\"\ndelta = \"{}ms\"\n\n\
         [[change]]\nchannel = \"tenant:{{tenantId}}:things\"\nevent = \"thing-changed\"\n\
         purge = [\"tag:thing:{{data.id}}\"]\n",
        delta.as_millis()
    )
}
