//! A house to break things in: gateways as processes, one versioned backend, and what they share.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::backend::{Backend, Setting};
use super::client::{Answer, Client};
use super::gateway::{Gateway, SOON};
use super::load::Load;

/// The bound of staleness between nodes: `redis.delta`.
pub const DELTA: Duration = Duration::from_secs(2);
/// What machines that run tests may take longer than promised.
pub const SLACK: Duration = Duration::from_secs(2);
/// What the backend takes for an answer.
pub const BACKEND: Duration = Duration::from_millis(20);
/// Requests that a gateway may have under way at the backend.
pub const AT_ONCE: usize = 32;

/// Gateways in front of one backend.
pub struct House {
    pub backend: Backend,
    pub nodes: Vec<Gateway>,
}

/// What a purge was answered.
#[derive(Clone, Debug)]
pub struct Purged {
    pub status: u16,
    pub body: String,
}

impl House {
    /// A gateway for each of these lines of `[redis]`, beginning with its URL, all of them ready.
    pub async fn start(redis: &[String]) -> Self {
        let backend = Backend::start().await;
        backend.set("/", Setting::default().cache_control("max-age=600").delayed(BACKEND));
        let mut this = Self { backend, nodes: Vec::new() };
        for lines in redis {
            this.add(lines).await;
        }
        for node in 0..redis.len() {
            this.ready(node).await;
        }
        this
    }

    /// Gateways that find Redis at one URL.
    pub async fn of(count: usize, url: &str) -> Self {
        Self::start(&vec![at(url); count]).await
    }

    /// One more gateway, which listens and may not be ready.
    pub async fn add(&mut self, redis: &str) {
        let config = format!(
            "[origin]\nmax_concurrent = {AT_ONCE}\n\n[redis]\n{redis}\nnode = \"n{}\"\n\n\
             [[change]]\nchannel = \"tenant:*:truth\"\npurge = [\"url:/truth/{{data.id}}\"]\n",
            self.nodes.len()
        );
        self.nodes.push(Gateway::start(&config, self.backend.address).await);
    }

    /// Waits until a node says that it is ready.
    pub async fn ready(&self, node: usize) {
        until("it is ready", async || self.operator(node, "GET", "/readyz", "").await.status == 200).await;
    }

    /// Asks the admin listener of a node.
    pub async fn operator(&self, node: usize, method: &str, target: &str, body: &str) -> Answer {
        let mut client = Client::connect(self.nodes[node].admin).await;
        operate(&mut client, method, target, body).await
    }

    /// Purges what the order names, through a node.
    pub async fn purge(&self, node: usize, order: &str) -> Purged {
        let answer = self.operator(node, "POST", "/v1/purge", order).await;
        Purged { status: answer.status, body: answer.text() }
    }

    /// The sum of a metric of a node over all its labels; of those that begin so, if `name` has some.
    pub async fn metric(&self, node: usize, name: &str) -> f64 {
        let text = self.operator(node, "GET", "/metrics", "").await.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.filter_map(|line| {
            let (full, value) = line.rsplit_once(' ')?;
            let fits = full == name || full.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
            fits.then(|| value.parse::<f64>().unwrap())
        });
        values.sum()
    }

    /// Errors of Redis of this kind that a node has counted.
    pub async fn errors(&self, node: usize, kind: &str) -> f64 {
        self.metric(node, &format!("forebay_redis_errors_total{{error=\"{kind}\"}}")).await
    }

    /// Waits until all nodes see the log and ask for entries; how long that took.
    pub async fn used_again(&self) -> Duration {
        let began = self.backend.now();
        for node in 0..self.nodes.len() {
            until("Redis is used again", async || {
                self.metric(node, "forebay_fleet_in_sight").await > 0.5
                    && self.metric(node, "forebay_redis_breaker_open").await < 0.5
                    && self.metric(node, "forebay_fleet_changes_queued").await < 0.5
            })
            .await;
        }
        self.backend.now().mono.saturating_sub(began.mono)
    }

    /// Begins the usual load on all nodes.
    pub async fn load(&self) -> Load {
        Load::start(self).await
    }

    /// The version of a page that a node serves.
    pub async fn version(&self, node: usize, path: &str) -> u64 {
        let answer = Client::connect(self.nodes[node].address()).await.get(path).await;
        super::backend::version_in(&answer.text(), path)
    }

    /// What a node's process has in memory, in KiB.
    pub fn resident(&self, node: usize) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.nodes[node].id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Fails if a gateway has ended or has panicked.
    #[track_caller]
    pub fn is_well(&self) {
        self.nodes.iter().for_each(Gateway::is_well);
    }
}

/// The line of `[redis]` that says where it is.
pub fn at(url: &str) -> String {
    format!("url = \"{url}\"")
}

/// Asks on a connection to an admin listener.
pub async fn operate(client: &mut Client, method: &str, target: &str, body: &str) -> Answer {
    let length = body.len();
    let fields = format!("Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    client.send(format!("{method} {target} HTTP/1.1\r\n{fields}\r\n{body}")).await;
    client.expect(method).await
}

/// Waits for something that comes about by itself.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(SOON, waiting).await.is_ok(), "in vain: {what}");
}
