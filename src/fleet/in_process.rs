//! A fleet within one process.
//!
//! [`InProcess::new`] serves a node on its own: the log is there and cannot be lost sight of, and nothing else is shared.
//! [`InProcess::network`] is what the conversations run on: several nodes over one store, each with a [`Link`] of its own
//! that can be cut, and with the store's accidents at hand: a restart that comes back empty, a failover that lost the end
//! of the log. Everything happens at once and in one order, under one lock; a script of Redis is one call here.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{
    Append, Appended, Beat, Beating, Epoch, FleetError, Heard, Kept, Lease, Logged, Member, Members, Name, Newest,
    PAGE, Place, Put, StreamRecord, TagMarks,
};
use crate::clock::Clock;

/// Records kept, unless told otherwise. A node that follows reads them within milliseconds.
const RETENTION: usize = 16_384;

/// How long a watcher waits for a record before it returns without one.
const WATCH: Duration = Duration::from_secs(1);

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a node that has gone is still listed.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Messages that a listener may be behind before it is told of a gap instead.
const BACKLOG: usize = 1_024;

/// One node's way to what is shared. Clones are the same node.
#[derive(Clone, Debug)]
pub struct InProcess {
    shared: Arc<Shared>,
    /// `None`: nothing can come between this node and the log.
    link: Option<Arc<Link>>,
}

/// One node's connection.
#[derive(Debug)]
struct Link {
    state: watch::Sender<LinkState>,
}

/// How one node's connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Everything gets through.
    Up,
    /// Nothing answers; whoever asks waits in vain.
    Silent,
    /// Whoever asks is told so at once.
    Down,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    /// Number of the newest record. Sent while the state is locked.
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// Whether marks, nodes and entries are kept: not for a node on its own.
    networked: bool,
    retention: usize,
    epoch: Epoch,
    since: Duration,
    /// The number of the newest record.
    number: u64,
    records: VecDeque<Logged>,
    floors: Newest,
    marks: HashMap<Name, Newest>,
    nodes: BTreeMap<String, (u64, Duration)>,
    scribe: Option<(String, Duration)>,
    entries: HashMap<Name, Stored>,
    leases: HashMap<Name, Held>,
    read: HashMap<String, String>,
    streams: HashMap<String, Vec<StreamRecord>>,
    listeners: Vec<Listener>,
}

#[derive(Debug)]
struct Stored {
    epoch: Epoch,
    born: u64,
    expires: Duration,
    bytes: Bytes,
}

#[derive(Debug)]
struct Held {
    /// `None`: it is of no use to ask.
    token: Option<u64>,
    until: Duration,
}

#[derive(Debug)]
struct Listener {
    link: Option<Arc<Link>>,
    patterns: Vec<String>,
    heard: mpsc::Sender<Heard>,
    /// Something could not be told.
    missed: bool,
}

impl InProcess {
    /// A node on its own, with an empty log in a new epoch.
    pub fn new() -> Self {
        Self::with_retention(RETENTION)
    }

    /// The same, with a log that keeps the newest `retention` records; at least one.
    pub fn with_retention(retention: usize) -> Self {
        Self { shared: Shared::new(false, retention.max(1)), link: None }
    }

    /// The first node of a network. The others are made by [`InProcess::another`].
    pub fn network() -> Self {
        Self { shared: Shared::new(true, RETENTION), link: Some(Link::new()) }
    }

    /// Another node of the same network, with a link of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), link: Some(Link::new()) }
    }

    /// Cuts this node off, or lets it back.
    pub fn connection(&self, state: LinkState) {
        if let Some(link) = &self.link {
            link.state.send_replace(state);
        }
        self.shared.lock().tell_gaps();
    }

    /// Everything is lost, and a new life begins.
    pub fn restart_empty(&self) {
        let mut state = self.shared.lock();
        let listeners = std::mem::take(&mut state.listeners);
        *state = State { listeners, ..State::new(state.networked, state.retention, self.now()) };
        self.shared.newest.send_replace(state.number);
    }

    /// A replica takes over that had not received the last `records` records, nor the marks that came with them; the nodes
    /// have to make themselves known again.
    pub fn fail_over(&self, records: usize) {
        let mut state = self.shared.lock();
        for _ in 0..records {
            if let Some(lost) = state.records.pop_back() {
                state.number = lost.place.number - 1;
            }
        }
        state.renew(self.now());
        self.shared.newest.send_replace(state.number);
    }

    /// Appends a record to a stream that the nodes may read.
    pub fn write_stream(&self, stream: &str, fields: Vec<(String, Bytes)>) {
        let mut state = self.shared.lock();
        let records = state.streams.entry(stream.to_owned()).or_default();
        let id = format!("{}-0", records.len() + 1);
        records.push(StreamRecord { id, fields });
    }

    /// See [`Fleet::in_sight`](super::Fleet::in_sight).
    pub fn in_sight(&self) -> Option<Place> {
        self.link.is_none().then(|| self.shared.lock().place())
    }

    /// See [`Fleet::shares_entries`](super::Fleet::shares_entries).
    pub fn shares_entries(&self) -> bool {
        self.link.is_some()
    }

    /// See [`Fleet::beat`](super::Fleet::beat).
    pub async fn beat(&self, beating: &Beating) -> Result<Beat, FleetError> {
        self.reach().await?;
        let now = self.now();
        let mut state = self.shared.lock();
        let place = state.place();
        // A node that does not know this life has applied nothing of it until it says so.
        let applied = beating.applied.filter(|applied| applied.epoch == place.epoch);
        let applied = applied.map_or(0, |applied| applied.number);
        state.nodes.retain(|_, (_, until)| *until + REMEMBERED > now);
        state.nodes.insert(beating.node.clone(), (applied, now + beating.lease));
        let scribe = match &state.scribe {
            Some((scribe, until)) if *until > now => *scribe == beating.node,
            _ => true,
        };
        if scribe {
            state.scribe = Some((beating.node.clone(), now + beating.lease));
        }
        Ok(Beat { place, scribe, time: now })
    }

    /// See [`Fleet::append`](super::Fleet::append).
    pub async fn append(&self, append: Append) -> Result<Appended, FleetError> {
        self.reach().await?;
        let now = self.now();
        let mut state = self.shared.lock();
        if let Some(node) = &append.as_scribe
            && !state.scribe.as_ref().is_some_and(|(scribe, until)| scribe == node && *until > now)
        {
            return Err(FleetError::NotScribe);
        }
        let place = state.push(append.record);
        if state.networked {
            for tag in &append.tags {
                state.marks.entry(*tag).or_default().raise(append.grade, place.number);
            }
        }
        if append.everything {
            state.floors.raise(append.grade, place.number);
        }
        if let Some((stream, id)) = append.read_up_to {
            state.read.insert(stream, id);
        }
        self.shared.newest.send_replace(place.number);
        Ok(Appended { place, replicas: 0 })
    }

    /// See [`Fleet::replicated`](super::Fleet::replicated).
    pub async fn replicated(&self, _: Duration) -> Result<usize, FleetError> {
        self.reach().await?;
        Ok(0)
    }

    /// See [`Fleet::read_after`](super::Fleet::read_after).
    pub async fn read_after(&self, number: u64) -> Result<Vec<Logged>, FleetError> {
        self.reach().await?;
        let state = self.shared.lock();
        let first = state.records.front().map_or(0, |record| record.place.number);
        let skip = usize::try_from(number.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        Ok(state.records.iter().skip(skip).take(PAGE).cloned().collect())
    }

    /// See [`Fleet::changed`](super::Fleet::changed).
    pub async fn changed(&self, after: u64) -> Result<(), FleetError> {
        self.reach().await?;
        let mut newest = self.shared.newest.subscribe();
        let later = newest.wait_for(|newest| *newest > after);
        match &self.link {
            // An error would mean that the sender is gone, and `self` holds it.
            None => drop(later.await),
            // A node that may be cut off looks again now and then.
            Some(_) => drop(tokio::time::timeout(WATCH, later).await),
        }
        Ok(())
    }

    /// See [`Fleet::members`](super::Fleet::members).
    pub async fn members(&self) -> Result<Members, FleetError> {
        self.reach().await?;
        let now = self.now();
        let state = self.shared.lock();
        let member = |(node, (applied, until)): (&String, &(u64, Duration))| Member {
            node: node.clone(),
            applied: *applied,
            lease_left: until.saturating_sub(now),
            lapsed: now.saturating_sub(*until),
        };
        let nodes = state.nodes.iter().map(member).collect();
        Ok(Members { epoch: state.epoch, epoch_age: now.saturating_sub(state.since), nodes })
    }

    /// See [`Fleet::get`](super::Fleet::get).
    pub async fn get(&self, name: Name, limit: usize) -> Result<Option<Bytes>, FleetError> {
        self.reach().await?;
        let now = self.now();
        let state = self.shared.lock();
        let stored = state.entries.get(&name).filter(|stored| stored.expires > now);
        Ok(stored.map(|stored| stored.bytes.slice(..stored.bytes.len().min(limit.saturating_add(1)))))
    }

    /// See [`Fleet::put`](super::Fleet::put).
    pub async fn put(&self, put: Put) -> Result<Kept, FleetError> {
        self.reach().await?;
        let now = self.now();
        let mut state = self.shared.lock();
        let Put { name, epoch, born, expires, bytes, tags } = put;
        if expires <= now {
            return Ok(Kept::Expired);
        }
        let voided = tags.iter().filter_map(|tag| state.marks.get(tag)).chain([&state.floors]);
        if epoch != state.epoch || voided.map(|newest| newest.hard).any(|hard| hard > born) {
            return Ok(Kept::Void);
        }
        let there = state.entries.get(&name).filter(|stored| stored.expires > now);
        if there.is_some_and(|stored| stored.epoch == epoch && stored.born > born) {
            return Ok(Kept::Outranked);
        }
        state.entries.insert(name, Stored { epoch, born, expires, bytes });
        Ok(Kept::Yes)
    }

    /// See [`Fleet::newest`](super::Fleet::newest).
    pub async fn newest(&self, tags: &[Name]) -> Result<TagMarks, FleetError> {
        self.reach().await?;
        let state = self.shared.lock();
        let tags = tags.iter().map(|tag| state.marks.get(tag).copied().unwrap_or_default()).collect();
        Ok(TagMarks { place: state.place(), floors: state.floors, tags })
    }

    /// See [`Fleet::lease`](super::Fleet::lease).
    pub async fn lease(&self, name: Name, token: u64, term: Duration) -> Result<Lease, FleetError> {
        self.reach().await?;
        let now = self.now();
        let mut state = self.shared.lock();
        if let Some(held) = state.leases.get(&name).filter(|held| held.until > now) {
            return Ok(if held.token.is_none() {
                Lease::Pointless
            } else {
                Lease::Held(held.until.saturating_sub(now))
            });
        }
        state.leases.insert(name, Held { token: Some(token), until: now + term });
        Ok(Lease::Granted)
    }

    /// See [`Fleet::release`](super::Fleet::release).
    pub async fn release(&self, name: Name, token: u64, pointless_for: Option<Duration>) -> Result<(), FleetError> {
        self.reach().await?;
        let now = self.now();
        let mut state = self.shared.lock();
        if state.leases.get(&name).is_some_and(|held| held.token == Some(token)) {
            match pointless_for {
                Some(time) => drop(state.leases.insert(name, Held { token: None, until: now + time })),
                None => drop(state.leases.remove(&name)),
            }
        }
        Ok(())
    }

    /// See [`Fleet::publish`](super::Fleet::publish).
    pub async fn publish(&self, channel: &str, payload: Bytes) -> Result<(), FleetError> {
        self.reach().await?;
        self.shared.lock().tell(channel, &payload);
        Ok(())
    }

    /// See [`Fleet::listen`](super::Fleet::listen).
    pub fn listen(&self, patterns: Vec<String>) -> mpsc::Receiver<Heard> {
        let (heard, receiver) = mpsc::channel(BACKLOG);
        let mut state = self.shared.lock();
        state.listeners.push(Listener { link: self.link.clone(), patterns, heard, missed: true });
        state.tell_gaps();
        drop(state);
        receiver
    }

    /// See [`Fleet::read_stream`](super::Fleet::read_stream).
    pub async fn read_stream(&self, stream: &str) -> Result<Vec<StreamRecord>, FleetError> {
        self.reach().await?;
        let found = {
            let mut state = self.shared.lock();
            let records = state.streams.get(stream).cloned().unwrap_or_default();
            match state.read.get(stream).cloned() {
                None => {
                    let last = records.last().map_or_else(|| String::from("0-0"), |record| record.id.clone());
                    state.read.insert(stream.to_owned(), last);
                    Vec::new()
                }
                Some(read) => {
                    let after = records.iter().position(|record| record.id == read).map_or(0, |at| at + 1);
                    records.into_iter().skip(after).take(PAGE).collect()
                }
            }
        };
        if found.is_empty() {
            tokio::time::sleep(WATCH).await;
        }
        Ok(found)
    }

    /// Fails while the link is cut.
    async fn reach(&self) -> Result<(), FleetError> {
        let Some(link) = &self.link else { return Ok(()) };
        let mut state = link.state.subscribe();
        let settled = state.wait_for(|state| *state != LinkState::Silent);
        match tokio::time::timeout(PATIENCE, settled).await {
            Err(_) => Err(FleetError::Timeout),
            Ok(Ok(state)) if *state == LinkState::Up => Ok(()),
            Ok(_) => Err(FleetError::Away),
        }
    }

    fn now(&self) -> Duration {
        self.shared.clock.now().mono
    }
}

impl Default for InProcess {
    fn default() -> Self {
        Self::new()
    }
}

impl Link {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: watch::Sender::new(LinkState::Up) })
    }
}

impl Shared {
    fn new(networked: bool, retention: usize) -> Arc<Self> {
        let clock = Clock::starting_at(Duration::ZERO);
        let state = State::new(networked, retention, clock.now().mono);
        Arc::new(Self { clock, newest: watch::Sender::new(state.number), state: Mutex::new(state) })
    }

    // Nothing that holds it can panic half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(networked: bool, retention: usize, now: Duration) -> Self {
        let mut state = Self {
            networked,
            retention,
            epoch: Epoch(random()),
            since: now,
            number: 0,
            records: VecDeque::new(),
            floors: Newest::default(),
            marks: HashMap::new(),
            nodes: BTreeMap::new(),
            scribe: None,
            entries: HashMap::new(),
            leases: HashMap::new(),
            read: HashMap::new(),
            streams: HashMap::new(),
            listeners: Vec::new(),
        };
        if networked {
            // A life of a shared log begins with a record, as it does in Redis.
            state.push(Bytes::from_static(super::NEW_EPOCH));
        }
        state
    }

    /// A new epoch over what is left.
    fn renew(&mut self, now: Duration) {
        self.epoch = Epoch(random());
        self.since = now;
        self.records.clear();
        self.marks.clear();
        self.floors = Newest::default();
        self.nodes.clear();
        self.scribe = None;
        self.push(Bytes::from_static(super::NEW_EPOCH));
    }

    fn place(&self) -> Place {
        self.records
            .back()
            .map_or(Place { epoch: self.epoch, number: self.number, nonce: self.epoch.0 }, |newest| newest.place)
    }

    fn push(&mut self, bytes: Bytes) -> Place {
        let before = self.place();
        let place = Place { epoch: self.epoch, number: before.number + 1, nonce: random() };
        self.number = place.number;
        self.records.push_back(Logged { place, previous: before.nonce, bytes });
        while self.records.len() > self.retention {
            self.records.pop_front();
        }
        place
    }

    fn tell(&mut self, channel: &str, payload: &Bytes) {
        self.listeners.retain(|listener| !listener.heard.is_closed());
        for listener in &mut self.listeners {
            if !listener.patterns.iter().any(|pattern| glob(pattern.as_bytes(), channel.as_bytes())) {
                continue;
            }
            let message = Heard::Message { channel: channel.to_owned(), payload: payload.clone() };
            let deaf = listener.is_deaf();
            listener.missed |= deaf || listener.heard.try_send(message).is_err();
        }
        self.tell_gaps();
    }

    /// Tells those who can hear again that they have missed something.
    fn tell_gaps(&mut self) {
        for listener in &mut self.listeners {
            let deaf = listener.is_deaf();
            if listener.missed && !deaf && listener.heard.try_send(Heard::Gap).is_ok() {
                listener.missed = false;
            }
        }
    }
}

impl Listener {
    fn is_deaf(&self) -> bool {
        self.link.as_ref().is_some_and(|link| *link.state.borrow() != LinkState::Up)
    }
}

/// The standard library seeds this anew each time: randomness enough for a name.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one("name")
}

/// `*` stands for anything. The rest of Redis's pattern language is not needed here.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| glob(rest, &text[at..])),
        Some((byte, rest)) => text.split_first().is_some_and(|(first, text)| first == byte && glob(rest, text)),
    }
}
