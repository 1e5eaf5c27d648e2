//! The checker: what a history may not contain. Pure, so that the tests below can show that it finds each kind of fault.
//!
//! 1. *No time travel after a purge.* An observation that began after the acknowledgement is at least the version that
//!    was current when the purge was sent: on every node if the fleet has acknowledged, on the node that was asked if that
//!    one has, elsewhere within the declared staleness.
//! 2. *Monotonic on each node.* Who has served a version serves no lower one later.
//! 3. *No invention.* Each answer is one that the backend has given, and not before it could.
//! 4. *Freshness.* A version that was replaced is not served longer than its lifetime allows.
//! 5. *Accounting.* The backend is asked no more than coalescing allows; what was acknowledged is in the audit trail; there
//!    is no error where a stored answer could have been served.
//!
//! Staleness counts from the acknowledgement to the *begin* of the request. So what the declared bound calls "plus one
//! request" is what a purge and a lease may be under way.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::history::{At, Got, History, Key, Life, Observation, Past, Promise, Purge, Version};

/// What must hold in a run.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The staleness after a purge that the fleet has acknowledged.
    pub fleet: Duration,
    /// After a purge on the node that was asked for it.
    pub here: Duration,
    /// On the other nodes, where the acknowledgement speaks of one node only.
    pub elsewhere: Duration,
    /// After an event that was heard.
    pub event: Duration,
    /// How long after a version a node may serve a lower one.
    pub monotonic: Duration,
    /// How much longer than its lifetime allows a version may be served.
    pub freshness: Duration,
    /// The backend fails at times, so what is stored may be served for as long as that allows.
    pub backend_fails: bool,
    /// How often, at most, a node may have had to validate everything: after a lost lease, a new epoch, a gap.
    pub validations: u64,
    /// How often one change may reach a node: twice, where a log that begins anew has the latest ones appended again.
    pub repeats: u64,
}

/// The bounds for which violations are reported besides the one that is judged, in milliseconds.
pub const BOUNDS: [u64; 4] = [0, 100, 1_000, 5_000];

/// The place, among the promises, of what a node has acknowledged itself.
const HERE: usize = 1;

/// What was found in a history.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub observations: u64,
    pub blind: u64,
    /// Answers that were neither 200 nor anything the backend could have said.
    pub errors: u64,
    /// Connections that ended without an answer.
    pub aborted: u64,
    pub fleet: Staleness,
    pub here: Staleness,
    pub elsewhere: Staleness,
    pub event: Staleness,
    pub monotonic: Staleness,
    pub freshness: Staleness,
    pub invented: u64,
    /// Keys for which the backend was asked more often than coalescing allows.
    pub overasked: u64,
    /// Acknowledged purges that are not in the audit trail.
    pub unaudited: u64,
    /// Errors where something stored could have been served.
    pub avoidable: u64,
    pub acknowledged: u64,
    pub queued: u64,
    /// Why purges promised less than they were asked for, and how often.
    pub reasons: BTreeMap<String, u64>,
    /// How long the fleet took to acknowledge: half of the purges, and all but one in a hundred.
    pub acknowledging: [Duration; 2],
    /// The first few violations, in words.
    pub examples: Vec<String>,
}

/// How far observations were behind what was promised.
#[derive(Clone, Copy, Debug, Default)]
pub struct Staleness {
    /// How many were beyond the bound that is judged.
    pub violations: u64,
    /// How many were beyond each of [`BOUNDS`].
    pub beyond: [u64; BOUNDS.len()],
    pub worst: Duration,
}

impl Findings {
    /// All violations of what must hold.
    pub fn violations(&self) -> u64 {
        let late = [self.fleet, self.here, self.elsewhere, self.event, self.monotonic, self.freshness];
        late.iter().map(|staleness| staleness.violations).sum::<u64>()
            + self.invented
            + self.overasked
            + self.unaudited
            + self.avoidable
    }

    fn example(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < 12 {
            self.examples.push(example());
        }
    }
}

impl Staleness {
    /// Counts an observation that is behind by this much; whether that is a violation.
    fn count(&mut self, behind: Option<Duration>, bound: Duration) -> bool {
        let Some(behind) = behind else { return false };
        self.worst = self.worst.max(behind);
        for (count, bound) in self.beyond.iter_mut().zip(BOUNDS) {
            *count += u64::from(behind > Duration::from_millis(bound));
        }
        self.violations += u64::from(behind > bound);
        behind > bound
    }
}

/// Checks a history.
pub fn check(history: &History, rules: &Rules) -> Findings {
    let mut found = Findings { observations: history.observations.len() as u64, ..Findings::default() };
    let promises = Promises::of(history);
    for observation in &history.observations {
        found.blind += u64::from(observation.blind);
        match observation.got {
            Got::Version(version) => judge(history, rules, &promises, observation, version, &mut found),
            Got::Invented => {
                found.invented += 1;
                found.example(|| format!("invented: {observation:?}"));
            }
            Got::Status(_) => found.errors += 1,
            Got::Nothing => found.aborted += 1,
        }
    }
    errors(history, rules, &mut found);
    accounts(history, rules, &mut found);
    found
}

fn judge(
    history: &History,
    rules: &Rules,
    promises: &Promises,
    observation: &Observation,
    version: Version,
    found: &mut Findings,
) {
    let Observation { key, life, started, ended, .. } = *observation;
    let past = &history.keys[usize::from(key)];
    let born = version.checked_sub(1).and_then(|index| past.current_from.get(index as usize));
    if born.is_none_or(|&born| born > ended) {
        found.invented += 1;
        found.example(|| format!("before its time: {observation:?}"));
        return;
    }
    let since = |floors: Option<&Floors>| floors.and_then(|floors| floors.since(version, started));
    let late = [
        ("after a fleet-acknowledged purge", since(promises.fleet.get(&key)), rules.fleet),
        ("after a purge on this node", since(promises.here.get(&(life, key))), rules.here),
        ("after a purge on another node", since(promises.logged.get(&key)), rules.elsewhere),
        ("after an event", since(promises.heard.get(&key)), rules.event),
        ("after a higher version on this node", since(promises.served.get(&(life, key))), rules.monotonic),
        ("after the end of its life", outlived(past, rules, version, started), rules.freshness),
    ];
    let counts = [
        &mut found.fleet,
        &mut found.here,
        &mut found.elsewhere,
        &mut found.event,
        &mut found.monotonic,
        &mut found.freshness,
    ];
    let mut examples = Vec::new();
    for (number, ((what, behind, bound), count)) in late.into_iter().zip(counts).enumerate() {
        // An answer that says that it is unverified promises no more than to be true, and to heed what the node knows.
        if observation.blind && number != HERE {
            continue;
        }
        if count.count(behind, bound) {
            let behind = behind.unwrap_or_default();
            let broken = broken(history, key, started.saturating_sub(behind));
            examples.push(format!("{behind:?} {what}: {observation:?}{broken}"));
        }
    }
    for example in examples {
        found.example(|| example);
    }
}

/// The promise about this key that was given at that time, for whoever looks into it.
fn broken(history: &History, key: Key, at: At) -> String {
    let named = |purge: &&Purge| purge.answered == at && purge.floors.iter().any(|&(named, _)| named == key);
    history.purges.iter().find(named).map_or_else(String::new, |purge| {
        let Purge { sent, answered, life, promise, seq, ref floors, .. } = *purge;
        let floor = floors.iter().find(|(named, _)| *named == key).map(|(_, floor)| floor);
        format!(" against {promise:?} {seq:?} of life {life}, {sent:?} to {answered:?}, from version {floor:?} on")
    })
}

/// How long this version is served after the last moment at which it might have been.
fn outlived(past: &Past, rules: &Rules, version: Version, started: At) -> Option<Duration> {
    let replaced = *past.current_from.get(version as usize)?;
    let stale = if rules.backend_fails { past.revalidate.max(past.if_error) } else { past.revalidate };
    started.checked_sub(replaced + past.fresh + stale).filter(|behind| !behind.is_zero())
}

/// What must not be served any more, by whom, and since when.
struct Promises {
    fleet: HashMap<Key, Floors>,
    here: HashMap<(Life, Key), Floors>,
    logged: HashMap<Key, Floors>,
    heard: HashMap<Key, Floors>,
    /// What a life has served, since it was there.
    served: HashMap<(Life, Key), Floors>,
}

/// For each version, by its number: since when it is too old.
#[derive(Default)]
struct Floors(Vec<At>);

impl Floors {
    /// Everything below `floor` is too old since `at`.
    fn raise(&mut self, floor: Version, at: At) {
        let floor = floor as usize;
        if self.0.len() < floor {
            self.0.resize(floor, At::MAX);
        }
        // Below, the first who says so counts; and whoever said so of a higher floor said it of this one too.
        for since in self.0[..floor].iter_mut().rev() {
            if *since <= at {
                break;
            }
            *since = at;
        }
    }

    /// How long this version has been too old when something began.
    fn since(&self, version: Version, started: At) -> Option<Duration> {
        let since = *self.0.get(version as usize)?;
        started.checked_sub(since).filter(|behind| !behind.is_zero())
    }
}

impl Promises {
    fn of(history: &History) -> Self {
        let mut this = Self {
            fleet: HashMap::new(),
            here: HashMap::new(),
            logged: HashMap::new(),
            heard: HashMap::new(),
            served: HashMap::new(),
        };
        for purge in &history.purges {
            for &(key, floor) in &purge.floors {
                this.promise(purge, key, floor);
            }
        }
        for observation in &history.observations {
            if let Got::Version(version) = observation.got {
                this.served.entry((observation.life, observation.key)).or_default().raise(version, observation.ended);
            }
        }
        this
    }

    fn promise(&mut self, purge: &Purge, key: Key, floor: Version) {
        let Purge { life, answered, promise, .. } = *purge;
        if matches!(promise, Promise::Fleet) {
            self.fleet.entry(key).or_default().raise(floor, answered);
        }
        if matches!(promise, Promise::Fleet | Promise::Logged | Promise::Queued) {
            self.here.entry((life, key)).or_default().raise(floor, answered);
        }
        if matches!(promise, Promise::Fleet | Promise::Logged) {
            self.logged.entry(key).or_default().raise(floor, answered);
        }
        if matches!(promise, Promise::Heard) {
            self.heard.entry(key).or_default().raise(floor, answered);
        }
    }
}

/// Errors while a stored answer was there to be served: the node had answered before, nothing has named the key since, and
/// what it had served was not too old.
fn errors(history: &History, rules: &Rules, found: &mut Findings) {
    if found.errors == 0 {
        return;
    }
    let mut purged: HashMap<Key, Vec<(At, At)>> = HashMap::new();
    for purge in &history.purges {
        for &(key, _) in &purge.floors {
            purged.entry(key).or_default().push((purge.sent, purge.answered));
        }
    }
    let mut served: HashMap<(Life, Key), Vec<(At, At)>> = HashMap::new();
    for one in history.observations.iter().filter(|one| matches!(one.got, Got::Version(_))) {
        served.entry((one.life, one.key)).or_default().push((one.ended, one.started));
    }
    for times in served.values_mut() {
        times.sort_unstable();
    }
    for error in history.observations.iter().filter(|one| matches!(one.got, Got::Status(_))) {
        let past = &history.keys[usize::from(error.key)];
        let avoidable = !rules.backend_fails || {
            let times = served.get(&(error.life, error.key)).map_or(&[][..], Vec::as_slice);
            let before = times.partition_point(|&(ended, _)| ended < error.started);
            times[..before].last().is_some_and(|&(_, since)| {
                let named = purged.get(&error.key).into_iter().flatten();
                // A purge is effective at some time between the two; events and other nodes' purges a little later.
                let margin = rules.elsewhere;
                let mut between = named.filter(|&&(sent, answered)| answered + margin >= since && sent <= error.ended);
                between.next().is_none() && error.ended < since + past.if_error
            })
        };
        if avoidable {
            found.avoidable += 1;
            found.example(|| format!("an avoidable error: {error:?}"));
        }
    }
}

/// What each node may ask for a key: once when it starts, once for each change that names it, once for each lifetime,
/// and once for each time that it had to validate everything. A retry is a further question, and there are a few. An
/// event may be appended twice, by the node that does so for all and by one that has not heard of it in time. Nothing
/// here grows with the number of readers: that is what coalescing is for.
fn accounts(history: &History, rules: &Rules, found: &mut Findings) {
    let by_fleet = history.purges.iter().filter(|purge| purge.promise == Promise::Fleet);
    let mut times: Vec<_> = by_fleet.map(|purge| purge.answered.saturating_sub(purge.sent)).collect();
    times.sort_unstable();
    found.acknowledging = [50, 99].map(|percent| times.get(times.len() * percent / 100).copied().unwrap_or_default());
    let mut changes: HashMap<Key, u64> = HashMap::new();
    for purge in &history.purges {
        found.acknowledged += u64::from(matches!(purge.promise, Promise::Fleet | Promise::Logged));
        found.queued += u64::from(purge.promise == Promise::Queued);
        if !purge.why.is_empty() {
            *found.reasons.entry(purge.why.clone()).or_default() += 1;
        }
        for &(key, _) in &purge.floors {
            *changes.entry(key).or_default() += if purge.is_event() { 2 } else { rules.repeats };
        }
        if let (Some(trail), Some(seq)) = (history.trails.get(&purge.life), purge.seq)
            && trail.misses(seq)
        {
            found.unaudited += 1;
            found.example(|| format!("not in the audit trail: {purge:?}"));
        }
    }
    for (number, past) in history.keys.iter().enumerate() {
        let named = Key::try_from(number).ok().and_then(|key| changes.get(&key)).copied().unwrap_or_default();
        let lifetimes = u64::try_from(history.length.as_nanos() / past.fresh.as_nanos().max(1)).unwrap_or(u64::MAX);
        let each = 1 + named + lifetimes + rules.validations;
        let allowed = u64::from(history.lives) * each * 11 / 10 + 3;
        if past.fetches > allowed {
            found.overasked += 1;
            found.example(|| format!("key {number} was fetched {} times, {allowed} would be many", past.fetches));
        }
    }
}
