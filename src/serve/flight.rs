//! One fetch for many askers.
//!
//! A *flight* is a fetch that is under way for a key. The first asker that finds none begins one; the fetch runs in a task
//! of its own, so whoever leaves, the first asker included, cancels nobody. Everyone else joins and waits for the flight
//! to reach a stage it can use. Each stage says what may be looked at, and carries exactly that.
//!
//! ```text
//!             ┌──▶ Streaming(draft) ──▶ Landed(entry)
//!   Asked ────┼──▶ Confirmed(entry)                       a 304 kept what was stored
//!             ├──▶ Shared(entry)                          another node has fetched it
//!             ├──▶ NotShareable(reason)                   each asker fetches for itself
//!             ├──▶ Erred(error)                           a 5xx for whoever began it; the others try once, together
//!             ├──▶ Failed(error)                          the same error for all: no convoy of attempts
//!             └──▶ Abandoned                              the task ended without a word: a failure too
//! ```
//!
//! What keeps answers of one user from another: a flight is joined only by requests of the same credential class
//! ([`Class`]), and only a stage that `rfc::storability` permitted to be shared hands its answer to more than one asker.
//! What keeps purged answers out: a flight knows the ledger number it was [born](Flight::born) at, and an asker that
//! arrived later takes its answer only if nothing since then names it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

use super::growing::{Follow, Growing};
use super::outlook::Arrival;
use crate::policy::CacheKey;
use crate::rfc::{Reason, RequestFacts};
use crate::store::{Born, Entry};
use crate::upstream::{FetchError, FetchErrorKind, Fetched};

/// The credential class of a request. Requests of different classes never share a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// Carries Authorization.
    pub authorization: bool,
    /// Carries Cookie.
    pub cookie: bool,
}

impl Class {
    /// The class of this request.
    pub fn of(facts: &RequestFacts) -> Self {
        Self { authorization: facts.authorization, cookie: facts.cookie }
    }
}

/// What is being fetched: a key, the credential class, and the values of the fields that are known to select a variant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlightKey {
    /// The cache key.
    pub key: CacheKey,
    /// Whose answer it may be.
    pub class: Class,
    /// The selecting fields, as far as earlier answers taught them; empty for a key never seen.
    pub variant: Vec<u8>,
}

/// How far a fetch has come.
#[derive(Clone, Debug)]
pub enum Stage {
    /// The backend has been asked. Nothing may be looked at.
    Asked,
    /// The head is here and may be shared; the body is growing.
    Streaming(Arc<Draft>),
    /// A whole answer, usable by all who may see it.
    Landed(Arc<Entry>),
    /// The same, and its body is the one that was stored before: the backend has confirmed it.
    Confirmed(Arc<Entry>),
    /// A whole answer that another node had fetched. The backend was not asked.
    Shared(Arc<Entry>),
    /// The answer is for whoever began the flight, who finds it with [`Flight::take`].
    NotShareable(Reason),
    /// The backend answered with an error that may not be shared; whoever began the flight finds it with
    /// [`Flight::take`]. It may be that asker's own fault, so it says little to the others. With why it is not shared.
    Erred(FetchError, Reason),
    /// The backend could not be asked, or its answer cannot be used. The same for everybody who waited.
    Failed(FetchError),
    /// The fetch ended without reaching any other stage.
    Abandoned,
}

/// An entry whose body has not arrived in full.
#[derive(Debug)]
pub struct Draft {
    /// The entry as it will be kept, without its body.
    pub head: Arc<Entry>,
    /// The body, as far as it has come.
    pub body: Arc<Growing>,
}

/// A fetch under way.
#[derive(Debug)]
pub struct Flight {
    stage: watch::Sender<Stage>,
    born: OnceLock<Born>,
    waiting: AtomicUsize,
    private: Mutex<Option<Fetched>>,
    first: Mutex<First>,
    /// What can be served if the backend does not deliver.
    stand_in: OnceLock<Arc<Entry>>,
}

/// The place at the body that is kept for whoever began the flight, so that no piece can pass before it sits down.
#[derive(Debug)]
enum First {
    /// It is still waiting for the head.
    Expected,
    /// The head is here, and the body is coming.
    Ready(Arc<Draft>, Follow),
    /// It has taken its place, has left, or never was: a refresh has nobody who reads.
    Gone,
}

impl Flight {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            stage: watch::Sender::new(Stage::Asked),
            born: OnceLock::new(),
            waiting: AtomicUsize::new(0),
            private: Mutex::new(None),
            first: Mutex::new(First::Gone),
            stand_in: OnceLock::new(),
        })
    }

    /// Keeps a place at the body for the caller, until what is returned is dropped.
    pub fn attend(self: &Arc<Self>) -> Attendance {
        *lock(&self.first) = First::Expected;
        Attendance(Arc::clone(self))
    }

    /// The ledger's number just before the backend was asked; `None` while it has not been.
    pub fn born(&self) -> Option<Born> {
        self.born.get().copied()
    }

    /// What was found on the way that can be served if the backend does not deliver.
    pub fn stand_in(&self) -> Option<&Arc<Entry>> {
        self.stand_in.get()
    }

    /// The stage it is in now.
    pub fn stage(&self) -> Stage {
        self.stage.borrow().clone()
    }

    /// Waits until `ready` says that the stage will do, and returns it.
    pub async fn reaches(&self, ready: impl FnMut(&Stage) -> bool) -> Stage {
        let mut stages = self.stage.subscribe();
        // The sender lives in `self`, which outlives the wait, so the error cannot occur; it would mean Abandoned.
        stages.wait_for(ready).await.map_or(Stage::Abandoned, |stage| stage.clone())
    }

    /// Counts one more who waits, unless `limit` already do.
    pub fn seat(self: &Arc<Self>, limit: usize) -> Option<Seat> {
        let seated = self.waiting.fetch_add(1, Ordering::Relaxed) + 1;
        let seat = Seat(Arc::clone(self));
        (seated <= limit).then_some(seat)
    }

    /// The answer that may not be shared. The first to ask gets it: whoever began the flight.
    pub fn take(&self) -> Option<Fetched> {
        lock(&self.private).take()
    }
}

/// A place among those who wait for a flight; given back when dropped.
#[derive(Debug)]
pub struct Seat(Arc<Flight>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The claim of whoever began a flight to read the body from its first byte.
#[derive(Debug)]
pub struct Attendance(Arc<Flight>);

impl Attendance {
    /// The head and the place at the body, once it is streaming; also after it has ended.
    pub fn sit(&self) -> Option<(Arc<Draft>, Follow)> {
        match std::mem::replace(&mut *lock(&self.0.first), First::Gone) {
            First::Ready(draft, follow) => Some((draft, follow)),
            First::Expected | First::Gone => None,
        }
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let left = std::mem::replace(&mut *lock(&self.0.first), First::Gone);
        // Dropped after the lock: leaving a body takes the body's own.
        drop(left);
    }
}

/// What came of looking for a flight.
#[derive(Debug)]
pub enum Boarding {
    /// There was none that would do: the caller's fetch is the one.
    Leads(Leader),
    /// Another fetch is under way.
    Joins(Arc<Flight>),
}

/// All fetches under way, found by their key.
#[derive(Debug)]
pub struct Flights {
    shards: Vec<Mutex<HashMap<FlightKey, Arc<Flight>>>>,
    hasher: foldhash::fast::RandomState,
}

impl Flights {
    /// None under way.
    pub fn new() -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, hasher: foldhash::fast::RandomState::default() })
    }

    /// Joins the flight for `key`, or begins one. A flight that was born before `not_before` will not do and is replaced:
    /// its answer is void for whoever arrived since.
    pub fn board(self: &Arc<Self>, key: &FlightKey, not_before: Option<Arrival>) -> Boarding {
        let mut flights = self.shard(key);
        if let Some(flight) = flights.get(key)
            && !(is_over(&flight.stage()) || too_early(flight, not_before))
        {
            return Boarding::Joins(Arc::clone(flight));
        }
        let flight = Flight::new();
        flights.insert(key.clone(), Arc::clone(&flight));
        Boarding::Leads(Leader { flights: Arc::clone(self), key: Some(key.clone()), flight, landed: false })
    }

    /// A flight that nobody can join: for an answer that is not shared.
    pub fn alone(self: &Arc<Self>) -> Leader {
        Leader { flights: Arc::clone(self), key: None, flight: Flight::new(), landed: false }
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard<K: Hash>(&self, key: &K) -> MutexGuard<'_, HashMap<FlightKey, Arc<Flight>>> {
        let hash = self.hasher.hash_one(key);
        // The remainder is below the number of shards.
        #[allow(clippy::cast_possible_truncation)]
        let index = (hash % self.shards.len() as u64) as usize;
        lock(&self.shards[index])
    }

    fn leave(&self, key: &FlightKey, flight: &Arc<Flight>) {
        let mut flights = self.shard(key);
        if flights.get(key).is_some_and(|present| Arc::ptr_eq(present, flight)) {
            flights.remove(key);
        }
    }
}

/// Held by the task that fetches. Every way it can end is a stage: if it is dropped without one, by a panic, the flight is
/// [`Stage::Abandoned`], and a body that was streaming breaks off.
#[derive(Debug)]
pub struct Leader {
    flights: Arc<Flights>,
    key: Option<FlightKey>,
    flight: Arc<Flight>,
    landed: bool,
}

impl Leader {
    /// The flight, for those who wait.
    pub fn flight(&self) -> Arc<Flight> {
        Arc::clone(&self.flight)
    }

    /// Notes the ledger's number, just before the backend is asked. Later calls change nothing.
    pub fn sends(&self, born: Born) {
        let _ = self.flight.born.set(born);
    }

    /// The head is here and may be shared.
    pub fn streams(&self, draft: Arc<Draft>) {
        let mut first = lock(&self.flight.first);
        if matches!(*first, First::Expected)
            && let Some(follow) = draft.body.follow()
        {
            *first = First::Ready(Arc::clone(&draft), follow);
        }
        drop(first);
        self.flight.stage.send_replace(Stage::Streaming(draft));
    }

    /// Nobody may join any more; those who read go on reading. For a body that grew past what may be stored.
    pub fn closes(&mut self) {
        if let Some(key) = self.key.take() {
            self.flights.leave(&key, &self.flight);
        }
    }

    /// A whole answer is here.
    pub fn lands(self, entry: Arc<Entry>) {
        self.ends(Stage::Landed(entry));
    }

    /// Another node has fetched it.
    pub fn shares(self, entry: Arc<Entry>) {
        self.ends(Stage::Shared(entry));
    }

    /// Notes what can be served if the backend does not deliver. The first one stays.
    pub fn found(&self, entry: Arc<Entry>) {
        let _ = self.flight.stand_in.set(entry);
        // The stage is the same; those who wait for one look again.
        self.flight.stage.send_modify(|_| ());
    }

    /// What was stored is as good as new.
    pub fn confirms(self, entry: Arc<Entry>) {
        self.ends(Stage::Confirmed(entry));
    }

    /// The answer is for one asker only.
    pub fn lands_for_one(self, reason: Reason, fetched: Fetched) {
        *lock(&self.flight.private) = Some(fetched);
        self.ends(Stage::NotShareable(reason));
    }

    /// The backend's answer is an error, and not for everybody.
    pub fn errs(self, error: FetchError, reason: Reason, fetched: Fetched) {
        *lock(&self.flight.private) = Some(fetched);
        self.ends(Stage::Erred(error, reason));
    }

    /// The answer went to those who read it, and is not there for anybody else.
    pub fn keeps_nothing(self, reason: Reason) {
        self.ends(Stage::NotShareable(reason));
    }

    /// The fetch failed.
    pub fn fails(self, error: FetchError) {
        self.ends(Stage::Failed(error));
    }

    fn ends(mut self, stage: Stage) {
        self.landed = true;
        // First the stage, then the map: whoever finds no flight finds what it has kept.
        self.flight.stage.send_replace(stage);
        self.closes();
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.landed {
            let stage = self.flight.stage.send_replace(Stage::Abandoned);
            if let Stage::Streaming(draft) = stage {
                draft.body.broken(FetchError::new(FetchErrorKind::Closed, "the fetch ended without a word"));
            }
            self.closes();
        }
    }
}

fn is_over(stage: &Stage) -> bool {
    matches!(stage, Stage::NotShareable(_) | Stage::Erred(..) | Stage::Failed(_) | Stage::Abandoned)
}

/// A flight that has not asked the backend yet will be born later than any number there is now.
fn too_early(flight: &Flight, not_before: Option<Arrival>) -> bool {
    match (flight.born(), not_before) {
        (Some(born), Some(arrival)) => arrival.is_after(born),
        _ => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A power of two, enough that askers of different keys seldom meet.
const SHARDS: usize = 16;
