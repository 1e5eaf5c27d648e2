//! What clients do meanwhile, all of it on the record: reads on connections that stay open, and purges of what changes.
//!
//! Of a node's requests half are for pages that never change and are in memory, a fifth for pages that change and are
//! purged ten times a second through the nodes in turn, and the rest for pages that nobody asked this node for: what
//! another node has fetched, as far as there is any (about 15 %), and what nobody has (about 15 %).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::backend::{Backend, version_in};
use super::client::Client;
use super::gateway::Gateway;
use super::house::{House, operate};
use super::redis::Redis;

/// Connections to each node, and how often each of them asks.
const CLIENTS: usize = 4;
const EVERY: Duration = Duration::from_millis(25);
/// How often something changes and is purged.
const CHANGES: Duration = Duration::from_millis(100);
/// Pages that never change, and pages that do.
const HOT: usize = 30;
const TRUTH: usize = 10;
/// Within this an announcement holds on all nodes, whatever fails.
const ANNOUNCED: Duration = Duration::from_secs(5);
/// By then what was fetched has been written to Redis.
const WRITTEN: Duration = Duration::from_millis(150);

/// Stands for the node of what the backend has announced.
const NOBODY: usize = usize::MAX;

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    backend: Backend,
    record: Mutex<Record>,
    /// For each node what others have fetched, and when.
    fetched: Vec<Mutex<VecDeque<(Duration, String)>>>,
}

/// What has happened.
#[derive(Clone, Default)]
pub struct Record {
    pub seen: Vec<Seen>,
    pub changes: Vec<Changed>,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Memory,
    Shared,
    /// Stored, and used for another reason than that it is fresh.
    Stale,
    Fetched,
}

/// An answer, or none.
#[derive(Clone, Debug)]
pub struct Seen {
    pub node: usize,
    pub path: String,
    /// When it was asked for, on the backend's clock.
    pub asked: Duration,
    pub took: Duration,
    /// 0 if the connection ended before there was a head.
    pub status: u16,
    pub complete: bool,
    pub version: u64,
    pub how: How,
}

/// A change that was purged.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The node that acknowledged, or [`NOBODY`].
    pub node: usize,
    pub path: String,
    pub version: u64,
    /// When the purge was acknowledged.
    pub at: Duration,
    pub status: u16,
    pub body: String,
}

/// The longest time that something purged was still served after the acknowledgement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Staleness {
    /// On the node that acknowledged.
    pub here: Option<Duration>,
    /// On the others, of what was in the log.
    pub elsewhere: Option<Duration>,
    /// On the others, of what was queued.
    pub queued: Option<Duration>,
    /// On any node, of what the backend has announced.
    pub announced: Option<Duration>,
}

impl Load {
    /// Warms the nodes and begins.
    pub async fn start(house: &House) -> Self {
        let fetched = house.nodes.iter().map(|_| Mutex::default()).collect();
        let shared = Shared { backend: house.backend.clone(), record: Mutex::default(), fetched };
        let mut this = Self { shared: Arc::new(shared), stop: watch::Sender::new(false), tasks: Vec::new() };
        for gateway in &house.nodes {
            warm(gateway).await;
        }
        for (node, gateway) in house.nodes.iter().enumerate() {
            for number in 0..CLIENTS {
                let (client, shared) = (Client::connect(gateway.address()).await, Arc::clone(&this.shared));
                let reader = Reader { client, address: gateway.address(), node, number, shared };
                this.tasks.push(tokio::spawn(reader.run(this.stop.subscribe())));
            }
        }
        let mut operators = Vec::new();
        for gateway in &house.nodes {
            operators.push(Client::connect(gateway.admin).await);
        }
        this.tasks.push(tokio::spawn(change(operators, Arc::clone(&this.shared), this.stop.subscribe())));
        this
    }

    /// Goes on for so long; from when to when that was.
    pub async fn goes_on(&self, time: Duration) -> (Duration, Duration) {
        let began = self.now();
        sleep(time).await;
        (began, self.now())
    }

    pub fn now(&self) -> Duration {
        self.shared.backend.now().mono
    }

    /// Changes a page that changes, and purges it through a node.
    pub async fn purge(&self, house: &House, node: usize, number: usize) {
        let path = truth(number);
        let version = self.shared.backend.raise(&path);
        let purged = house.purge(node, &format!("{{\"url\":\"{path}\"}}")).await;
        let (status, body) = (purged.status, purged.body);
        self.shared.record.lock().unwrap().changes.push(Changed { node, path, version, at: self.now(), status, body });
    }

    /// Changes a page that changes, and has the backend announce it.
    pub async fn announce(&self, redis: &Redis, number: usize) {
        let path = truth(number);
        let version = self.shared.backend.raise(&path);
        redis.command(&["PUBLISH", "tenant:1:truth", &announcement(&(number % TRUTH).to_string())]).await.int();
        self.announced(path, version);
    }

    /// Changes all pages that change, which is then announced by `announces`.
    pub async fn announce_all(&self, announces: impl Future<Output = ()>) {
        let all: Vec<_> = (0..TRUTH).map(truth).map(|path| (self.shared.backend.raise(&path), path)).collect();
        announces.await;
        for (version, path) in all {
            self.announced(path, version);
        }
    }

    fn announced(&self, path: String, version: u64) {
        let (node, at, status, body) = (NOBODY, self.now(), 200, String::new());
        self.shared.record.lock().unwrap().changes.push(Changed { node, path, version, at, status, body });
    }

    /// Reads a page on a connection of its own, for the record.
    pub async fn read(&self, house: &House, node: usize, path: String) {
        let address = house.nodes[node].address();
        let shared = Arc::clone(&self.shared);
        Reader { client: Client::connect(address).await, address, node, number: 0, shared }.read(path).await;
    }

    /// Whether anything that was asked for in this time was answered with what another node had fetched.
    pub fn has_shared(&self, time: (Duration, Duration)) -> bool {
        self.shared.record.lock().unwrap().count(How::Shared, time) > 0
    }

    /// Ends, and says what has happened.
    pub async fn stop(self) -> Record {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.expect("a client");
        }
        self.shared.record.lock().unwrap().clone()
    }
}

async fn warm(gateway: &Gateway) {
    let mut client = Client::connect(gateway.address()).await;
    for path in (0..HOT).map(hot).chain((0..TRUTH).map(truth)) {
        assert_eq!(client.get(&path).await.status, 200, "{path}");
    }
}

fn hot(number: usize) -> String {
    format!("/hot/{}", number % HOT)
}

/// A page that changes.
pub fn truth(number: usize) -> String {
    format!("/truth/{}", number % TRUTH)
}

/// What the backend says when a page that changes has changed.
pub fn announcement(id: &str) -> String {
    format!("{{\"eventType\":\"changed\",\"data\":{{\"id\":\"{id}\"}}}}")
}

/// A client on a connection of its own.
struct Reader {
    client: Client,
    address: std::net::SocketAddr,
    node: usize,
    number: usize,
    shared: Arc<Shared>,
}

impl Reader {
    async fn run(mut self, stop: watch::Receiver<bool>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut count = self.number * 7;
        while !*stop.borrow() {
            ticks.tick().await;
            count += 1;
            let path = match count % 20 {
                0..10 => hot(count * 7 + self.number),
                10..14 => truth(count + self.number),
                14..18 => self.fetched_elsewhere().unwrap_or_else(|| self.new_page(count)),
                _ => self.new_page(count),
            };
            self.read(path).await;
        }
    }

    fn new_page(&self, count: usize) -> String {
        format!("/new/{}-{}-{count}", self.node, self.number)
    }

    fn fetched_elsewhere(&self) -> Option<String> {
        let mut fetched = self.shared.fetched[self.node].lock().unwrap();
        let old = self.shared.backend.now().mono.saturating_sub(WRITTEN);
        fetched.pop_front_if(|(at, _)| *at < old).map(|(_, path)| path)
    }

    async fn read(&mut self, path: String) {
        let asked = self.shared.backend.now().mono;
        self.client.ask("GET", &path).await;
        let answer = self.client.next("GET").await;
        let now = self.shared.backend.now().mono;
        let mut seen = Seen {
            node: self.node,
            asked,
            took: now.saturating_sub(asked),
            status: 0,
            complete: false,
            version: 0,
            how: How::Fetched,
            path,
        };
        if let Some(answer) = &answer {
            (seen.status, seen.complete) = (answer.status, answer.complete);
            let cache_status = answer.field("cache-status").unwrap_or_default();
            seen.how = match cache_status.split_once("; hit") {
                Some((_, rest)) if rest.contains("detail=memory") => How::Memory,
                Some((_, rest)) if rest.contains("detail=shared") => How::Shared,
                Some(_) => How::Stale,
                None => How::Fetched,
            };
            if answer.status == 200 {
                // Another page's body would be another's answer.
                seen.version = version_in(&answer.text(), &seen.path);
            }
        } else {
            self.client = Client::connect(self.address).await;
        }
        if seen.how == How::Fetched && seen.path.starts_with("/new/") {
            for (node, fetched) in self.shared.fetched.iter().enumerate() {
                // What is late is no longer interesting: after an outage there would be too much of it.
                if node != self.node && seen.status == 200 {
                    let mut fetched = fetched.lock().unwrap();
                    fetched.push_back((now, seen.path.clone()));
                    fetched.truncate(50);
                }
            }
        }
        self.shared.record.lock().unwrap().seen.push(seen);
    }
}

/// Changes pages and purges them, through the nodes in turn.
async fn change(mut operators: Vec<Client>, shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let mut ticks = interval(CHANGES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0;
    while !*stop.borrow() {
        ticks.tick().await;
        count += 1;
        // Each page through one node only, so that on the others nothing but the fleet ends what is stale.
        let (path, node) = (truth(count), count % operators.len());
        let version = shared.backend.raise(&path);
        let order = format!("{{\"url\":\"{path}\"}}");
        let answer = operate(&mut operators[node], "POST", "/v1/purge", &order).await;
        let at = shared.backend.now().mono;
        let (status, body) = (answer.status, answer.text());
        let changed = Changed { node, path, version, at, status, body };
        shared.record.lock().unwrap().changes.push(changed);
    }
}

impl Record {
    /// Fails if a client has seen an error or a transfer that was cut.
    #[track_caller]
    pub fn is_clean(&self) {
        let errors: Vec<_> = self.errors().collect();
        assert!(errors.is_empty(), "{} client errors of {}: {:?}", errors.len(), self.seen.len(), errors[0]);
        assert!(self.seen.len() > 100, "too little has happened: {}", self.seen.len());
    }

    pub fn errors(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(|seen| seen.status != 200 || !seen.complete)
    }

    /// The latencies of answers that came from there, of what was asked for in this time, in order.
    pub fn latencies(&self, how: How, (from, to): (Duration, Duration)) -> Vec<Duration> {
        let fits = |seen: &&Seen| seen.how == how && (from..to).contains(&seen.asked);
        let mut took: Vec<_> = self.seen.iter().filter(fits).map(|seen| seen.took).collect();
        took.sort();
        took
    }

    pub fn count(&self, how: How, time: (Duration, Duration)) -> usize {
        self.latencies(how, time).len()
    }

    /// Purges that were answered in this time.
    pub fn purges(&self, (from, to): (Duration, Duration)) -> impl Iterator<Item = &Changed> {
        self.changes.iter().filter(move |changed| (from..to).contains(&changed.at))
    }

    /// The worst of all reads.
    pub fn staleness(&self) -> Staleness {
        let mut worst = Staleness::default();
        for seen in self.seen.iter().filter(|seen| seen.status == 200 && seen.path.starts_with("/truth/")) {
            let missed = |changed: &&Changed| {
                changed.path == seen.path && changed.version > seen.version && changed.at < seen.asked
            };
            for changed in self.changes.iter().filter(missed) {
                let worst = match (changed.node == seen.node, changed.status) {
                    _ if changed.node == NOBODY => &mut worst.announced,
                    (true, 200 | 202) => &mut worst.here,
                    (false, 200) => &mut worst.elsewhere,
                    (false, 202) => &mut worst.queued,
                    _ => continue,
                };
                *worst = Some(worst.unwrap_or_default().max(seen.asked.saturating_sub(changed.at)));
            }
        }
        worst
    }

    /// Fails if something purged was served on the node that acknowledged it, or elsewhere for longer than `bound`.
    #[track_caller]
    pub fn holds_within(&self, bound: Duration) {
        let worst = self.staleness();
        assert_eq!(worst.here, None, "purged and served on the same node");
        assert!(worst.elsewhere.unwrap_or_default() <= bound, "{worst:?} and not {bound:?}");
        assert!(worst.announced.unwrap_or_default() <= ANNOUNCED, "{worst:?}");
        let odd = self.changes.iter().find(|changed| !matches!(changed.status, 200 | 202));
        assert!(odd.is_none(), "a purge was refused: {odd:?}");
        for changed in self.changes.iter().filter(|changed| changed.node != NOBODY) {
            let logged = changed.body.contains("\"seq\":");
            let queued = changed.body.contains("\"queued\":");
            assert!((changed.status == 200) == (logged && !queued), "{changed:?}");
        }
    }

    /// The same, and what was queued counts as well: no node could know the log meanwhile.
    #[track_caller]
    pub fn holds_for_queued_within(&self, bound: Duration) {
        self.holds_within(bound);
        let worst = self.staleness();
        assert!(worst.queued.unwrap_or_default() <= bound, "{worst:?} and not {bound:?}");
    }
}
