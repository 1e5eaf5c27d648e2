//! Those who use the gateways, each on connections that it keeps: readers, writers, and one who reads the audit trails.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::backend::{GROUPS, KEYS, body, group, lives_short, path_of, version_of};
use super::dice::{Dice, Popularity};
use super::history::{Got, Key, Life, Observation, Promise, Purge, Trail, Version};
use super::http::{Connection, Message};
use super::world::{Place, World};

/// Reads on one node until the run is over.
pub async fn reader(world: Arc<World>, node: usize, number: u64) -> Vec<Observation> {
    let mut dice = Dice::new(world.seed.wrapping_add(number.wrapping_mul(0x1_0001)));
    let popularity = Popularity::of(KEYS);
    let requests: Vec<_> = (0..KEYS).map(|key| format!("GET {} HTTP/1.1\r\nHost: t\r\n\r\n", path_of(key))).collect();
    let mut observations = Vec::new();
    let mut open: Option<(Place, Connection)> = None;
    while !world.is_over() {
        let Some((place, connection)) = &mut open else {
            open = connect(&world, node).await;
            continue;
        };
        let key = popularity.pick(&mut dice);
        let started = world.now();
        let answer = connection.ask(requests[usize::from(key)].as_bytes()).await;
        let (got, blind) = answer.as_ref().map_or((Got::Nothing, false), |answer| (got(key, answer), is_blind(answer)));
        let (is_broken, closes) = match &answer {
            // A connection that was closed between two requests is nobody's failure.
            Err(error) => (true, matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)),
            Ok(answer) => (answer.field("connection") == Some("close"), false),
        };
        if !closes {
            observations.push(Observation { key, life: place.life, started, ended: world.now(), got, blind });
            world.observed.fetch_add(1, Ordering::Relaxed);
        }
        if is_broken {
            open = None;
        }
        if !matches!(got, Got::Version(_)) {
            // Whoever is refused does not insist.
            sleep(Duration::from_millis(5)).await;
        }
    }
    observations
}

async fn connect(world: &World, node: usize) -> Option<(Place, Connection)> {
    let place = world.nodes[node].place().await?;
    if let Ok(connection) = Connection::open(place.data).await {
        return Some((place, connection));
    }
    sleep(Duration::from_millis(10)).await;
    None
}

fn got(key: Key, answer: &Message) -> Got {
    if answer.status() != 200 {
        return Got::Status(answer.status());
    }
    match answer.field("etag").and_then(|etag| version_of(key, etag)) {
        Some(version) if answer.body == body(key, version).as_bytes() => Got::Version(version),
        _ => Got::Invented,
    }
}

/// Whether it comes from what is stored and could not be confirmed. What was confirmed by the backend is no hit.
fn is_blind(answer: &Message) -> bool {
    answer.field("cache-status").is_some_and(|status| status.contains("; hit") && status.contains("detail=blind"))
}

/// Changes things and says so, in all the ways there are.
pub struct Writer {
    world: Arc<World>,
    dice: Dice,
    popularity: Popularity,
    /// Connections to admin and data listeners, by life.
    open: HashMap<(Life, bool), Connection>,
    purges: Vec<Purge>,
    /// Says that it has purged, and has not: to see that the checker notices.
    lies: bool,
    /// The longest pause between two changes.
    pause: Duration,
}

impl Writer {
    pub fn new(world: Arc<World>, number: u64, pause: Duration, lies: bool) -> Self {
        let dice = Dice::new(world.seed.wrapping_mul(31).wrapping_add(number));
        Self { world, dice, popularity: Popularity::of(KEYS), open: HashMap::new(), purges: Vec::new(), lies, pause }
    }

    /// Writes until the run is over.
    pub async fn run(mut self) -> Vec<Purge> {
        while !self.world.is_over() {
            sleep(self.dice.below(self.pause)).await;
            let key = self.popularity.pick(&mut self.dice);
            let node = self.dice.up_to(self.world.nodes.len());
            match self.dice.up_to(100) {
                0..40 => self.purge(node, &[key], &json!({ "url": path_of(key), "wait": "fleet" })).await,
                40..50 => self.purge(node, &[key], &json!({ "url": path_of(key) })).await,
                50..60 => self.purge_group(node, group(key)).await,
                60..75 => self.put(node, key).await,
                75..88 => self.event(key).await,
                88..92 => self.purge(node, &[key], &json!({ "url": path_of(key), "soft": true })).await,
                92 => self.purge_everything(node).await,
                _ if lives_short(key) => {
                    self.world.backend.update(key);
                }
                _ => {}
            }
        }
        self.purges
    }

    async fn purge_group(&mut self, node: usize, group: Key) {
        let keys: Vec<Key> = (group..KEYS).step_by(usize::from(GROUPS)).collect();
        self.purge(node, &keys, &json!({ "tag": format!("group:{group}"), "wait": "fleet" })).await;
    }

    async fn purge_everything(&mut self, node: usize) {
        let keys: Vec<Key> = (0..KEYS).collect();
        let everything = if self.dice.one_in(2) { json!({ "all": true }) } else { json!({ "prefix": "/things/" }) };
        self.purge(node, &keys, &everything).await;
    }

    /// Updates one of the keys at the backend, or two, and tells a node about all of them.
    async fn purge(&mut self, node: usize, keys: &[Key], order: &Value) {
        for _ in 0..keys.len().min(2) {
            self.world.backend.update(keys[self.dice.up_to(keys.len())]);
        }
        let floors = self.floors(keys);
        let Some(place) = self.world.nodes[node].place().await else { return };
        let sent = self.world.now();
        let body =
            if self.lies { String::from("{\"url\":\"/elsewhere\",\"wait\":\"fleet\"}") } else { order.to_string() };
        let request = format!(
            "POST /v1/purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = ask(&mut self.open, place, true, &request).await;
        let (promise, seq, why) = answer.map_or((Promise::Nothing, None, String::new()), |answer| {
            let receipt: Value = serde_json::from_slice(answer.body).unwrap_or_default();
            (promised(answer.status(), &receipt, order), receipt["seq"].as_u64(), reason(&receipt))
        });
        self.purges.push(Purge { floors, sent, answered: self.world.now(), life: place.life, promise, seq, why });
    }

    /// Updates a key through a node.
    async fn put(&mut self, node: usize, key: Key) {
        let Some(place) = self.world.nodes[node].place().await else { return };
        let floors = self.floors(&[key]);
        let sent = self.world.now();
        let request = format!("PUT {} HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{{}}", path_of(key));
        let answer = ask(&mut self.open, place, false, &request).await;
        let done = answer.and_then(|answer| {
            let version = answer.field("x-version").and_then(|etag| version_of(key, etag))?;
            let seq = answer.field("forebay-seq").and_then(|seq| seq.rsplit('-').next()?.parse().ok());
            Some((version, seq))
        });
        let (floors, promise, seq, why) = match done {
            Some((version, Some(seq))) => (vec![(key, version)], Promise::Logged, Some(seq), ""),
            Some((version, None)) => (vec![(key, version)], Promise::Queued, None, "no Forebay-Seq"),
            None => (floors, Promise::Nothing, None, "no answer"),
        };
        let (answered, why) = (self.world.now(), why.to_owned());
        self.purges.push(Purge { floors, sent, answered, life: place.life, promise, seq, why });
    }

    /// Updates a key at the backend, which tells everybody who listens.
    async fn event(&mut self, key: Key) {
        self.world.backend.update(key);
        let floors = self.floors(&[key]);
        let sent = self.world.now();
        let message = json!({ "eventType": "thing-changed", "tenantId": "7", "data": { "id": format!("k{key}") } });
        let heard = self.world.publish("tenant:7:things", &message.to_string()).await;
        let promise = if heard > 0 { Promise::Heard } else { Promise::Nothing };
        let (answered, why) = (self.world.now(), String::new());
        self.purges.push(Purge { floors, sent, answered, life: Purge::NOBODY, promise, seq: None, why });
    }

    fn floors(&self, keys: &[Key]) -> Vec<(Key, Version)> {
        keys.iter().map(|&key| (key, self.world.backend.current(key))).collect()
    }
}

/// Asks a life on a connection that is kept; none if that fails.
async fn ask<'a>(
    open: &'a mut HashMap<(Life, bool), Connection>,
    place: Place,
    admin: bool,
    request: &str,
) -> Option<Message<'a>> {
    let whom = (place.life, admin);
    // What has failed once is not used again.
    let mut connection = match open.remove(&whom) {
        Some(connection) => connection,
        None => Connection::open(if admin { place.admin } else { place.data }).await.ok()?,
    };
    connection.ask(request.as_bytes()).await.ok()?;
    Some(open.entry(whom).insert_entry(connection).into_mut().last())
}

/// What an answer to a purge promises.
fn promised(status: u16, receipt: &Value, order: &Value) -> Promise {
    let logged = receipt["seq"].is_u64();
    match status {
        _ if order["soft"] == true => Promise::Nothing,
        200 if order["wait"] == "fleet" => Promise::Fleet,
        200 | 202 if logged => Promise::Logged,
        202 => Promise::Queued,
        _ => Promise::Nothing,
    }
}

/// Why a receipt promises less than was asked for.
fn reason(receipt: &Value) -> String {
    let text = |name: &str| receipt[name].as_str().map(|why| format!("{name}: {why}"));
    let laggards = receipt["laggards"].as_array().map(|_| String::from("laggards"));
    text("queued").or_else(|| text("unconfirmed")).or_else(|| text("error")).or(laggards).unwrap_or_default()
}

/// Reads the audit trails from time to time until the run is over, and then once more.
pub async fn auditor(world: Arc<World>) -> HashMap<Life, Trail> {
    let mut trails: HashMap<Life, Trail> = HashMap::new();
    let mut open = HashMap::new();
    loop {
        let last = world.is_over();
        for node in &world.nodes {
            let Some(place) = node.place().await else { continue };
            let request = "GET /v1/ledger?limit=400 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            if let Some(answer) = ask(&mut open, place, true, request).await {
                trails.entry(place.life).or_default().read(&numbers(answer.body));
            }
        }
        if last {
            return trails;
        }
        sleep(Duration::from_millis(250)).await;
    }
}

fn numbers(body: &[u8]) -> Vec<u64> {
    let ledger: Value = serde_json::from_slice(body).unwrap_or_default();
    let changes = ledger["changes"].as_array().map_or(&[][..], Vec::as_slice);
    changes.iter().filter_map(|change| change["seq"].as_u64()).collect()
}
