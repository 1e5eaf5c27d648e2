//! Redis is away: a change is accepted here (202), pending until the log has it.
//!
//! One node that loses the ledger and finds it again; others go on appending and filling the shared tier. The node
//! accepts one change while it is away, queues it, and flushes it when it is back. The shared entries can be read
//! throughout: they may live on another instance.
//!
//! Promised: the node serves nothing older than the change it accepted, and nothing older than what it applied.

use crate::rules::{Rule, Rules};
use crate::search::{Label, Model};
use crate::{breaks, holds};

const ACCEPTED: &str = "an answer is older than a change that this node has accepted";
const APPLIED: &str = "an answer is older than a purge that its node has applied";

const LOG: usize = 3;
const VERSIONS: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kept {
    version: u8,
    born: u8,
    /// The local tick that a fill of this node noted; 0 for what others fetched.
    tick: u8,
}

/// A change accepted while Redis was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pending {
    Nothing,
    /// The number applied when it was accepted: what a mark without a tick would be set to.
    Queued {
        applied: u8,
    },
    Flushed {
        applied: u8,
        number: u8,
    },
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    version: u8,
    connected: bool,
    top: u8,
    /// Per record the version it demands; 0 if it is no purge of the tag.
    log: [u8; LOG + 1],
    shared: Option<(u8, u8)>,
    applied: u8,
    mark: u8,
    floor: u8,
    entry: Option<Kept>,
    flight: Option<Kept>,
    pending: Pending,
    accepted: u8,
    bound: u8,
}

struct Away {
    rules: Rules,
}

type To<'a> = dyn FnMut(&'static str, usize, State) + 'a;

impl Model for Away {
    type State = State;

    fn initial(&self) -> State {
        State {
            version: 1,
            connected: true,
            top: 0,
            log: [0; LOG + 1],
            shared: None,
            applied: 0,
            mark: 0,
            floor: 0,
            entry: None,
            flight: None,
            pending: Pending::Nothing,
            accepted: 0,
            bound: 0,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
        let mut to = |text, number, after: State| next.push((Label(text, number), after.without_the_newest()));
        if state.version < VERSIONS {
            to("the backend commits a new version", 0, State { version: state.version + 1, ..*state });
        }
        for (text, demand) in [("others purge, as record #", state.version), ("others append another change, #", 0)] {
            let mut after = *state;
            if let Some(number) = after.append(demand) {
                to(text, number as usize, after);
            }
        }
        for born in state.applied..=state.top {
            let shared = Some((state.version, born));
            to("another node fetches and shares, born at #", born as usize, State { shared, ..*state });
        }
        let text = if state.connected { "Redis is away" } else { "Redis is back" };
        to(text, 0, State { connected: !state.connected, ..*state });
        Self::follow(state, &mut to);
        self.accept(state, &mut to);
        self.fill(state, &mut to);
    }

    fn violates(&self, state: &State) -> Option<&'static str> {
        let kept = state.entry.filter(|kept| self.may_serve(state, *kept))?;
        if kept.version < state.accepted {
            return Some(ACCEPTED);
        }
        (kept.version < state.bound).then_some(APPLIED)
    }
}

impl Away {
    fn may_serve(&self, state: &State, kept: Kept) -> bool {
        let pending_since = match state.pending {
            Pending::Queued { applied } => Some(applied),
            Pending::Flushed { applied, .. } if self.rules.has(Rule::PendingUntilApplied) => Some(applied),
            _ => None,
        };
        let under_pending = pending_since.is_some_and(|applied| {
            let fetched_here = kept.tick > 0;
            match (fetched_here, self.rules.has(Rule::PendingTickInBirth)) {
                (true, true) => kept.tick < 2,
                (true, false) => kept.born < applied,
                (false, _) => self.rules.has(Rule::PendingCoversShared),
            }
        });
        kept.born >= state.mark.max(state.floor) && !under_pending
    }

    fn follow(state: &State, to: &mut To) {
        if !state.connected || state.applied == state.top {
            return;
        }
        let mut after = State { applied: state.applied + 1, ..*state };
        let demand = state.log[after.applied as usize];
        if demand > 0 {
            after.mark = after.applied;
            after.bound = after.bound.max(demand);
        }
        to("the node applies #", after.applied as usize, after.settled());
        let demands = state.log.iter().copied().max().unwrap_or(0);
        let over = State { applied: state.top, floor: state.top, mark: 0, bound: state.bound.max(demands), ..*state };
        to("the node has fallen off the log and starts over at #", state.top as usize, over.settled());
    }

    fn accept(&self, state: &State, to: &mut To) {
        match state.pending {
            Pending::Nothing if !state.connected && state.version > 1 => {
                let pending = Pending::Queued { applied: state.applied };
                to("the node accepts a change and queues it", 0, State { pending, accepted: state.version, ..*state });
            }
            Pending::Queued { applied } if state.connected => {
                let caught_up = state.applied == state.top || !self.rules.has(Rule::FlushAfterCatchUp);
                let mut after = *state;
                if caught_up && let Some(number) = after.append(state.accepted) {
                    after.pending = Pending::Flushed { applied, number };
                    to("the node flushes its queue, as record #", number as usize, after);
                }
            }
            _ => {}
        }
    }

    fn fill(&self, state: &State, to: &mut To) {
        match state.flight {
            None => {
                // 1 before the change was accepted, 2 since.
                let tick = if state.pending == Pending::Nothing { 1 } else { 2 };
                let flight = Some(Kept { version: 0, born: state.applied, tick });
                to("the node asks the backend", 0, State { flight, ..*state });
            }
            Some(flight) if flight.version == 0 => {
                let flight = Some(Kept { version: state.version, ..flight });
                to("the backend answers", 0, State { flight, ..*state });
            }
            Some(flight) => to("the node stores the answer", 0, State { entry: Some(flight), flight: None, ..*state }),
        }
        if let Some((version, born)) = state.shared {
            let kept = Kept { version, born, tick: 0 };
            if self.may_serve(state, kept) {
                to("the node takes the shared entry", 0, State { entry: Some(kept), ..*state });
            }
        }
    }
}

impl State {
    fn append(&mut self, demand: u8) -> Option<u8> {
        if self.top as usize == LOG {
            return None;
        }
        self.top += 1;
        self.log[self.top as usize] = demand;
        Some(self.top)
    }

    /// Forgets entries that nothing can make old, so that fewer states differ.
    fn without_the_newest(mut self) -> Self {
        self.entry = self.entry.filter(|kept| kept.version < VERSIONS);
        self.shared = self.shared.filter(|(version, _)| *version < VERSIONS);
        self
    }

    /// Once the record has been applied, nothing is pending.
    fn settled(mut self) -> Self {
        if matches!(self.pending, Pending::Flushed { number, .. } if number <= self.applied) {
            self.pending = Pending::Done;
        }
        self
    }
}

fn model(rules: Rules) -> Away {
    Away { rules }
}

#[test]
fn a_change_accepted_without_redis_holds_here_at_once() {
    holds("pending", model);
}

#[test]
fn without_the_tick_in_births_what_was_fetched_before_the_change_looks_newer() {
    breaks(Rule::PendingTickInBirth, model, ACCEPTED);
}

#[test]
fn without_waiting_for_the_record_a_flushed_change_is_forgotten_until_it_comes_back() {
    breaks(Rule::PendingUntilApplied, model, ACCEPTED);
}

#[test]
fn without_pending_over_shared_entries_the_old_answer_comes_back_from_redis() {
    breaks(Rule::PendingCoversShared, model, ACCEPTED);
}

/// Order of catching up and flushing costs a duplicate, not an old answer: what is pending stays so until it is applied.
#[test]
fn even_a_flush_before_catching_up_serves_nothing_old() {
    holds("pending, flushed first", |_| model(Rules::without(Rule::FlushAfterCatchUp)));
}
