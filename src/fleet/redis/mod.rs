//! What a fleet shares, in Redis.
//!
//! ```text
//! settings  where it is               scripts   what is done there in one step, and *.lua
//! connect   how a connection is made  keeper    pings, and the replacing of what is dead
//! client    asking, and the breaker   watch     what comes next in the log
//! listen    subscriptions, proven     records   what streams answer
//! stats     what the operator sees    streams   what others write
//! ```
//!
//! Keys: `{namespace:inv}:…` is the ledger, in one slot of a cluster, so that a script sees all of it; `namespace:e:…` are
//! entries and `namespace:l:…` leases, each in a slot of its own. The ledger may be on a server of its own. Where it is on
//! the same one, a script that shares an entry also refuses what a change has voided; in a cluster, or with two servers,
//! it cannot see that, and the check of whoever reads the entry is the one that counts.
//!
//! Connections: some for entries and leases; one for the ledger; one for appends, because waiting for a replica holds up
//! what comes behind; one that waits for the log; one for subscriptions; one for each stream of others. Nothing of fred
//! shows outside.
//!
//! A user of Redis with rights of its own needs the keys `namespace:*`, `{namespace:inv}:*` and the streams that are read,
//! the channels `namespace:canary:*` and those that are listened to, and these commands: `auth client|id client|info del
//! eval evalsha get getrange hdel hello hget hgetall hmget hset hsetnx info pexpire ping psubscribe pttl publish set
//! subscribe time wait xadd xrange xread xrevrange`; in a cluster also `cluster`, under sentinels `role`.

mod client;
mod connect;
mod glob;
mod keeper;
mod keys;
mod listen;
mod records;
mod scripts;
mod settings;
mod stats;
mod streams;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use fred::interfaces::{ClientLike, KeysInterface, PubsubInterface, ServerInterface, StreamsInterface};
use fred::types::{Expiration, Key, Value};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub use self::settings::{Credential, RedisSettings, Unusable};
pub use self::stats::FleetStats;

use self::client::{Link, Role};
use self::connect::Plan;
use self::keys::Keys;
use self::listen::Ear;
use self::scripts::{Answer, Script, hex};
use self::stats::Stats;
use self::watch::Watcher;
use super::in_process::random;
use super::{
    Append, Appended, Beat, Beating, Epoch, FleetError, Grade, Heard, Kept, Lease, Logged, Member, Members, NEW_EPOCH,
    Name, Put, TagMarks,
};
use crate::clock::Clock;

/// Records handed out at once.
const PAGE: u64 = super::PAGE as u64;

/// How long a node that has gone is still listed.
const REMEMBERED: Duration = Duration::from_mins(1);

/// What stands before each entry: epoch, birth and eight bytes that are zero.
const PREFIX: usize = 24;

/// No more than this is ever read of one entry; a string of Redis is not larger.
const LARGEST: usize = 512 * 1024 * 1024;

/// A fleet's way to Redis. Clones share it; with the last one, all connections end.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    settings: RedisSettings,
    stats: Arc<Stats>,
    keys: Keys,
    entries: Vec<Arc<Link>>,
    next: AtomicUsize,
    ledger: Arc<Link>,
    appends: Arc<Link>,
    watching: Arc<Link>,
    watcher: Arc<Watcher>,
    ear: Arc<Ear>,
    streams: Mutex<HashMap<String, Arc<Link>>>,
    /// Replicas that the last append saw.
    replicas: AtomicUsize,
    /// Entries and ledger are on one server, so that one script may see both.
    together: bool,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Redis {
    /// A way to Redis that connects by itself, now and whenever it has to. Must be called within a runtime.
    ///
    /// # Errors
    /// Settings that cannot be used. A server that is not there is no error: it is waited for in the background.
    pub fn start(settings: RedisSettings, clock: &Clock) -> Result<Self, Unusable> {
        settings.check()?;
        let keys = Keys::new(&settings.namespace);
        let stats = Arc::new(Stats::default());
        let plan = |url: &str| Plan::new(&settings, url, &keys.ledger[0], clock).map(Arc::new);
        let role = |plan| Role::new(plan, settings.breaker.clone(), clock, &stats);
        let of_entries = plan(&settings.url)?;
        let of_ledger = settings.ledger_url.as_deref().map_or_else(|| Ok(Arc::clone(&of_entries)), plan)?;
        let (shared, ledgers) = (role(of_entries), role(of_ledger));
        let together = settings.ledger_url.is_none() && !shared.plan.is_cluster();
        let entries: Vec<_> = (0..settings.pool).map(|_| Link::new("entries", &shared)).collect();
        let (ledger, appends) = (Link::new("ledger", &ledgers), Link::new("appends", &ledgers));
        let (watching, watcher) = (Link::new("watcher", &ledgers), Arc::new(Watcher::new()));
        let ear = Arc::new(Ear::new(&settings.namespace, &shared, Arc::clone(&entries[0])));
        let mut tasks: Vec<_> = entries
            .iter()
            .chain([&appends])
            .map(|link| tokio::spawn(keeper::keep(Arc::clone(link), true, false)).abort_handle())
            .collect();
        tasks.push(tokio::spawn(keeper::keep(Arc::clone(&ledger), true, true)).abort_handle());
        tasks.push(tokio::spawn(keeper::keep(Arc::clone(&watching), false, false)).abort_handle());
        tasks
            .push(tokio::spawn(Arc::clone(&watcher).run(Arc::clone(&watching), keys.ledger[3].clone())).abort_handle());
        tasks.push(tokio::spawn(Arc::clone(&ear).run()).abort_handle());
        let inner = Inner {
            next: AtomicUsize::new(0),
            streams: Mutex::default(),
            replicas: AtomicUsize::new(0),
            tasks: Mutex::new(tasks),
            settings,
            stats,
            keys,
            entries,
            ledger,
            appends,
            watching,
            watcher,
            ear,
            together,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether the ledger's server may drop keys when it is full: then its marks are not relied upon. `None` while that is
    /// not known, which is until it has been asked once on a connection.
    pub fn evicts(&self) -> Option<bool> {
        self.inner.stats.evicts()
    }

    /// What has been counted so far.
    pub fn stats(&self) -> FleetStats {
        let inner = &self.inner;
        let mut links = inner.entries.iter().chain([&inner.ledger, &inner.appends, &inner.watching]);
        let connected = links.all(|link| link.is_connected());
        inner.stats.snapshot(connected, inner.entries[0].role.breaker.state(), inner.ledger.role.breaker.state())
    }

    /// See [`Fleet::beat`](super::Fleet::beat).
    pub async fn beat(&self, beating: &Beating) -> Result<Beat, FleetError> {
        let (epoch, number) =
            beating.applied.map_or_else(Default::default, |applied| (hex(applied.epoch.0), applied.number.to_string()));
        let arguments = vec![
            beating.node.as_str().into(),
            epoch.into(),
            number.into(),
            millis(beating.lease).into(),
            millis(REMEMBERED).into(),
        ];
        let mut answer = self.ledger(&scripts::BEAT, &[], arguments, self.inner.settings.command_timeout).await?;
        let (place, scribe) = (answer.place()?, answer.number()? == 1);
        Ok(Beat { place, scribe, time: answer.millis()? })
    }

    /// See [`Fleet::append`](super::Fleet::append).
    pub async fn append(&self, append: Append) -> Result<Appended, FleetError> {
        let inner = &self.inner;
        let (stream, id) = append.read_up_to.unwrap_or_default();
        let arguments = vec![
            hex(random()).into(),
            append.record.into(),
            grade(append.grade).into(),
            u64::from(append.everything).to_string().into(),
            append.as_scribe.unwrap_or_default().into(),
            stream.into(),
            id.into(),
            inner.settings.log_retention.to_string().into(),
            millis(inner.settings.marks_ttl).into(),
        ];
        let (keys, arguments) = (inner.keys.with_marks(&append.tags), with_new_life(arguments));
        let options = inner.ledger.role.plan.options(inner.settings.command_timeout);
        let script: &'static Script = &scripts::APPEND;
        let answer = inner.appends.ask(options, move |client| script.run(client, keys, arguments)).await?;
        let mut answer = Answer::of(answer)?;
        if answer.text()? == "NOTSCRIBE" {
            return Err(FleetError::NotScribe);
        }
        let place = answer.place()?;
        let replicas = usize::try_from(answer.number()?).unwrap_or(usize::MAX);
        inner.replicas.store(replicas, Ordering::Relaxed);
        Ok(Appended { place, replicas })
    }

    /// See [`Fleet::replicated`](super::Fleet::replicated).
    pub async fn replicated(&self, patience: Duration) -> Result<usize, FleetError> {
        let inner = &self.inner;
        if inner.replicas.load(Ordering::Relaxed) == 0 {
            return Ok(0);
        }
        let options = inner.appends.role.plan.options_at_home(patience + inner.settings.command_timeout);
        // `WAIT` speaks of what its own connection has written, and on a new one of nothing. So something is written first,
        // in one go with it: what was appended before is then behind both.
        let key = format!("{{{}:inv}}:wait", inner.keys.namespace);
        let wait = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX).max(1);
        let asked = inner.appends.ask_patiently(options, move |client| async move {
            let pipeline = client.pipeline().with_options(client.options());
            let written: Value = pipeline.set(key, "", Some(Expiration::PX(60_000)), None, false).await?;
            let waited: Value = pipeline.wait(1, wait).await?;
            drop((written, waited));
            pipeline.all::<Value>().await
        });
        match asked.await? {
            Value::Array(answers) => answers
                .last()
                .and_then(Value::as_u64)
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(FleetError::Garbled("a count of replicas"))
                // There were replicas, and none has it.
                .and_then(|count| if count == 0 { Err(FleetError::Timeout) } else { Ok(count) }),
            _ => Err(FleetError::Garbled("a count of replicas")),
        }
    }

    /// See [`Fleet::read_after`](super::Fleet::read_after).
    pub async fn read_after(&self, number: u64) -> Result<Vec<Logged>, FleetError> {
        let inner = &self.inner;
        let options = inner.ledger.role.plan.options(inner.settings.command_timeout);
        let (log, from) = (inner.keys.ledger[3].clone(), format!("{}-0", number.saturating_add(1)));
        let asked = inner.ledger.ask(options, move |client| async move {
            client.xrange::<Value, _, _, _>(log, from, "+", Some(PAGE)).await
        });
        records::of_range(asked.await?)?.into_iter().map(records::logged).collect()
    }

    /// See [`Fleet::changed`](super::Fleet::changed).
    pub async fn changed(&self, after: u64) -> Result<(), FleetError> {
        self.inner.watcher.changed(after).await
    }

    /// See [`Fleet::members`](super::Fleet::members).
    pub async fn members(&self) -> Result<Members, FleetError> {
        let mut answer = self.ledger(&scripts::MEMBERS, &[], Vec::new(), self.inner.settings.command_timeout).await?;
        let (epoch, since, now) = (Epoch(answer.hex()?), answer.millis()?, answer.millis()?);
        let (mut listed, mut nodes) = (answer.list()?, Vec::new());
        while !listed.is_empty() {
            let (node, said) = (listed.text()?, listed.text()?);
            let said =
                said.split_once(':').and_then(|(applied, until)| Some((applied.parse().ok()?, until.parse().ok()?)));
            // What is not ours is nobody: the next heartbeat takes it out.
            let Some((applied, until)) = said else { continue };
            let until = Duration::from_millis(until);
            let (lease_left, lapsed) = (until.saturating_sub(now), now.saturating_sub(until));
            nodes.push(Member { node, applied, lease_left, lapsed });
        }
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(Members { epoch, epoch_age: now.saturating_sub(since), nodes })
    }

    /// See [`Fleet::get`](super::Fleet::get).
    pub async fn get(&self, name: Name, limit: usize) -> Result<Option<Bytes>, FleetError> {
        let inner = &self.inner;
        let link = self.entries();
        let options = link.role.plan.options(inner.settings.read_timeout);
        let (key, end) = (inner.keys.entry(name), limit.min(LARGEST) + PREFIX);
        let asked = link.ask(options, move |client| async move { client.getrange::<Value, _>(key, 0, end).await });
        let found = scripts::bytes(asked.await?)?;
        if found.is_empty() {
            return Ok(None);
        }
        // One that is shorter than what stands before a record is none; whoever reads it will say so.
        Ok(Some(found.slice(found.len().min(PREFIX)..)))
    }

    /// See [`Fleet::put`](super::Fleet::put).
    pub async fn put(&self, put: Put) -> Result<Kept, FleetError> {
        let inner = &self.inner;
        let mut value = BytesMut::with_capacity(PREFIX + put.bytes.len());
        value.put_u64(put.epoch.0);
        value.put_u64(put.born);
        value.put_u64(0);
        value.extend_from_slice(&put.bytes);
        let mut keys: Vec<Key> = vec![inner.keys.entry(put.name).into()];
        if inner.together {
            let [epoch, rid, _, _, _, floor, ..] = &inner.keys.ledger;
            keys.extend([epoch, rid, floor].map(Key::from));
            keys.extend(put.tags.iter().map(|tag| Key::from(inner.keys.mark(*tag))));
        }
        let arguments: Vec<Value> = vec![
            value.freeze().into(),
            millis(put.expires).into(),
            hex(put.epoch.0).into(),
            put.born.to_string().into(),
        ];
        let link = self.entries();
        let options = link.role.plan.options(inner.settings.command_timeout);
        let script: &'static Script = &scripts::PUT;
        let answer = link.ask(options, move |client| script.run(client, keys, arguments)).await?;
        match answer.as_str().as_deref() {
            Some("KEPT") => Ok(Kept::Yes),
            Some("OUTRANKED") => Ok(Kept::Outranked),
            Some("VOID") => Ok(Kept::Void),
            Some("EXPIRED") => Ok(Kept::Expired),
            _ => Err(FleetError::Garbled("what became of an entry")),
        }
    }

    /// See [`Fleet::newest`](super::Fleet::newest).
    pub async fn newest(&self, tags: &[Name]) -> Result<TagMarks, FleetError> {
        match self.evicts() {
            Some(false) => {}
            Some(true) => {
                let why = "the ledger's server may have forgotten changes: set `maxmemory-policy noeviction` there";
                return Err(FleetError::Refused(why.to_owned()));
            }
            // No connection has been there for long enough to ask.
            None => return Err(FleetError::Away),
        }
        let mut answer = self.ledger(&scripts::NEWEST, tags, Vec::new(), self.inner.settings.read_timeout).await?;
        let (place, floors, mut listed) = (answer.place()?, answer.marks()?, answer.list()?);
        let mut found = Vec::with_capacity(tags.len());
        while !listed.is_empty() {
            found.push(listed.marks()?);
        }
        if found.len() != tags.len() {
            return Err(FleetError::Garbled("a mark for each tag"));
        }
        Ok(TagMarks { place, floors, tags: found })
    }

    /// See [`Fleet::lease`](super::Fleet::lease).
    pub async fn lease(&self, name: Name, token: u64, term: Duration) -> Result<Lease, FleetError> {
        let arguments = vec![hex(token).into(), millis(term.max(Duration::from_millis(1))).into()];
        let mut answer = Answer::of(self.leases(&scripts::LEASE, name, arguments).await?)?;
        let (state, left) = (answer.text()?, answer.millis()?);
        match state.as_str() {
            "GRANTED" => Ok(Lease::Granted),
            "HELD" => Ok(Lease::Held(left)),
            "POINTLESS" => Ok(Lease::Pointless),
            _ => Err(FleetError::Garbled("what came of asking for a lease")),
        }
    }

    /// See [`Fleet::release`](super::Fleet::release).
    pub async fn release(&self, name: Name, token: u64, pointless_for: Option<Duration>) -> Result<(), FleetError> {
        let arguments = vec![hex(token).into(), millis(pointless_for.unwrap_or_default()).into()];
        self.leases(&scripts::RELEASE, name, arguments).await.map(drop)
    }

    /// See [`Fleet::publish`](super::Fleet::publish).
    pub async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), FleetError> {
        let link = self.entries();
        let options = link.role.plan.options(self.inner.settings.command_timeout);
        let channel = channel.to_owned();
        let asked =
            link.ask(options, move |client| async move { client.publish::<Value, _, _>(channel, payload).await });
        asked.await.map(drop)
    }

    /// See [`Fleet::listen`](super::Fleet::listen). A message that several patterns match is heard once for each of them.
    pub fn listen(&self, patterns: Vec<String>) -> mpsc::Receiver<Heard> {
        self.inner.ear.listen(patterns)
    }

    /// One of the connections for entries, each in its turn.
    fn entries(&self) -> &Arc<Link> {
        let turn = self.inner.next.fetch_add(1, Ordering::Relaxed);
        &self.inner.entries[turn % self.inner.entries.len()]
    }

    /// Runs a script of the ledger.
    async fn ledger(
        &self,
        script: &'static Script,
        tags: &[Name],
        arguments: Vec<Value>,
        timeout: Duration,
    ) -> Result<Answer, FleetError> {
        Answer::of(self.run(script, self.inner.keys.with_marks(tags), with_new_life(arguments), timeout).await?)
    }

    async fn run(
        &self,
        script: &'static Script,
        keys: Vec<Key>,
        arguments: Vec<Value>,
        timeout: Duration,
    ) -> Result<Value, FleetError> {
        let link = &self.inner.ledger;
        link.ask(link.role.plan.options(timeout), move |client| script.run(client, keys, arguments)).await
    }

    /// Runs a script about a lease.
    async fn leases(&self, script: &'static Script, name: Name, arguments: Vec<Value>) -> Result<Value, FleetError> {
        let link = self.entries();
        let options = link.role.plan.options(self.inner.settings.read_timeout);
        let keys = vec![self.inner.keys.lease(name).into()];
        link.ask(options, move |client| script.run(client, keys, arguments)).await
    }
}

/// What a new life begins with, should one have to, and behind it what the script is told.
fn with_new_life(arguments: Vec<Value>) -> Vec<Value> {
    let record = Value::Bytes(Bytes::from_static(NEW_EPOCH));
    [hex(random()).into(), hex(random()).into(), record].into_iter().chain(arguments).collect()
}

fn grade(grade: Grade) -> &'static str {
    match grade {
        Grade::Hard => "h",
        Grade::Check => "c",
        Grade::Soft => "s",
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({:?})", self.inner.settings)
    }
}
