//! Who may take the answer of a running fetch, and what a blind node may serve (`on_blind = "revalidate"`).
//!
//! One node, one key, one purge, one flight at a time, one waiter at a time. The lease lapses whenever it likes and comes
//! back once the purge, if there is one, has been applied, and once the node starts over in a new epoch; a purge is acknowledged when the node has applied it or has no
//! lease. Time passes in ticks, for the sake of Δ.
//!
//! Promised to a request that waits: an answer at least as new as what was acknowledged, or applied here, when it arrived.
//! Promised to a hit under a lease: the same. Promised to a hit on a blind node, and this is the bound that the
//! documentation states: at least as new as every purge appended before the node became blind, and as every purge
//! acknowledged more than Δ ago.

use crate::rules::{Rule, Rules};
use crate::search::{Label, Model};
use crate::{breaks, holds};

const WAITED: &str = "a waiter takes an answer older than what was acknowledged when it arrived";
const HIT: &str = "a hit under a lease is older than an acknowledged purge";
const BLIND: &str = "a hit on a blind node is older than documented";

/// Δ, in ticks.
const DELTA: u8 = 2;

/// What came, or will come, from one backend request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fetch {
    answer: Option<bool>,
    epoch: u8,
    born_after: bool,
    /// Ticks since the request was sent, up to one more than Δ.
    age: u8,
    /// Sent in this blindness.
    blind: bool,
    /// Sent after the waiter arrived.
    after_waiter: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Waiter {
    blind: bool,
    epoch: u8,
    /// Its arrival number: whether the purge had been applied.
    applied: bool,
    must_be_new: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    committed: bool,
    appended: bool,
    /// Ticks since the acknowledgement, up to one more than Δ.
    acknowledged: Option<u8>,
    lease: bool,
    epoch: u8,
    applied: bool,
    /// The purge was appended before the node became blind.
    appended_before_blind: bool,
    entry: Option<Fetch>,
    flight: Option<Fetch>,
    waiter: Option<Waiter>,
    waiter_got_old: bool,
}

struct Flights {
    rules: Rules,
    /// Whether a blind node is held to what binds the others.
    strict: bool,
}

type To<'a> = dyn FnMut(&'static str, State) + 'a;

impl Model for Flights {
    type State = State;

    fn initial(&self) -> State {
        State {
            committed: false,
            appended: false,
            acknowledged: None,
            lease: true,
            epoch: 1,
            applied: false,
            appended_before_blind: false,
            entry: None,
            flight: None,
            waiter: None,
            waiter_got_old: false,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
        let mut to = |text, after: State| next.push((Label(text, 0), after));
        if !state.committed {
            to("the backend commits a new version", State { committed: true, ..*state });
        } else if !state.appended {
            to("the tag is purged", State { appended: true, ..*state });
        }
        if state.appended && !state.applied {
            to("the node applies the purge", State { applied: true, ..*state });
        }
        if state.appended && state.acknowledged.is_none() && (state.applied || !state.lease) {
            to("the purge is acknowledged", State { acknowledged: Some(0), ..*state });
        }
        to("time passes", state.later());
        if state.lease {
            let before = |fetch: Fetch| Fetch { blind: false, ..fetch };
            let (entry, flight) = (state.entry.map(before), state.flight.map(before));
            let blind = State { lease: false, appended_before_blind: state.appended, entry, flight, ..*state };
            to("the lease lapses: the node is blind", blind);
        } else if state.applied || !state.appended {
            to("the lease is back", State { lease: true, ..*state });
        }
        if state.epoch == 1 {
            let over = State { epoch: 2, lease: true, applied: state.appended, ..*state };
            to("the node starts over in a new epoch", over);
        }
        self.fetch(state, &mut to);
        if state.waiter.is_none() && state.flight.is_some() {
            let must_be_new = state.acknowledged.is_some() || state.applied;
            let waiter = Waiter { blind: !state.lease, epoch: state.epoch, applied: state.applied, must_be_new };
            let flight = state.flight.map(|flight| Fetch { after_waiter: false, ..flight });
            to("a request arrives and waits", State { waiter: Some(waiter), flight, ..*state });
        }
    }

    fn violates(&self, state: &State) -> Option<&'static str> {
        if state.waiter_got_old {
            return Some(WAITED);
        }
        let valid = |entry: &Fetch| entry.epoch == state.epoch && (entry.born_after || !state.applied);
        let old = state.entry.filter(|entry| entry.answer == Some(false) && valid(entry))?;
        let acknowledged = state.acknowledged?;
        if state.lease {
            return Some(HIT);
        }
        let served = (old.blind || !self.rules.has(Rule::BlindSentAfter))
            && (old.age <= DELTA || !self.rules.has(Rule::BlindWithinDelta));
        let bound = self.strict || state.appended_before_blind || acknowledged > DELTA;
        (served && bound).then_some(BLIND)
    }
}

impl Flights {
    fn fetch(&self, state: &State, to: &mut To) {
        match state.flight {
            None => {
                let (born_after, blind) = (state.applied, !state.lease);
                let after_waiter = state.waiter.is_some();
                let flight = Fetch { answer: None, epoch: state.epoch, born_after, age: 0, blind, after_waiter };
                to("a flight asks the backend", State { flight: Some(flight), ..*state });
            }
            Some(flight @ Fetch { answer: None, .. }) => {
                let flight = Some(Fetch { answer: Some(state.committed), ..flight });
                to("the backend answers", State { flight, ..*state });
            }
            Some(flight) => {
                let mut after = State { entry: Some(flight), flight: None, ..*state };
                if let Some(waiter) = state.waiter.filter(|waiter| self.takes(state, *waiter, flight)) {
                    after.waiter = None;
                    after.waiter_got_old = waiter.must_be_new && flight.answer == Some(false);
                    to("the flight lands, the waiter takes the answer", after);
                } else {
                    to("the flight lands", after);
                }
            }
        }
    }

    fn takes(&self, state: &State, waiter: Waiter, flight: Fetch) -> bool {
        if waiter.blind && self.rules.has(Rule::BlindWaiterLaterFlight) {
            return flight.after_waiter;
        }
        let valid_now = flight.epoch == state.epoch && (flight.born_after || !state.applied);
        // Compared as numbers, those of another epoch may be higher.
        let late_enough = if flight.epoch == waiter.epoch {
            flight.born_after >= waiter.applied
        } else {
            !self.rules.has(Rule::WaiterSameEpoch)
        };
        valid_now || late_enough || !self.rules.has(Rule::WaiterByNumber)
    }
}

impl State {
    fn later(&self) -> Self {
        let older = |age: u8| (age + 1).min(DELTA + 1);
        let aged = |fetch: Fetch| Fetch { age: older(fetch.age), ..fetch };
        let (entry, flight) = (self.entry.map(aged), self.flight.map(aged));
        State { entry, flight, acknowledged: self.acknowledged.map(older), ..*self }
    }
}

fn model(rules: Rules) -> Flights {
    Flights { rules, strict: false }
}

fn strict(rules: Rules) -> Flights {
    Flights { rules, strict: true }
}

#[test]
fn waiters_and_hits_get_what_their_arrival_demands() {
    holds("flights", model);
}

#[test]
fn without_the_arrival_number_a_waiter_takes_a_fetch_that_began_before_the_purge() {
    breaks(Rule::WaiterByNumber, model, WAITED);
}

#[test]
fn without_the_epoch_of_its_arrival_a_waiter_takes_a_fetch_of_the_epoch_before() {
    breaks(Rule::WaiterSameEpoch, model, WAITED);
}

#[test]
fn without_a_later_flight_a_blind_waiter_takes_a_fetch_that_began_before_the_purge() {
    breaks(Rule::BlindWaiterLaterFlight, model, WAITED);
}

#[test]
fn without_a_request_sent_since_a_blind_node_serves_what_was_purged_before_it_became_blind() {
    breaks(Rule::BlindSentAfter, model, BLIND);
}

#[test]
fn without_the_limit_of_delta_a_blind_node_serves_an_old_answer_for_ever() {
    breaks(Rule::BlindWithinDelta, model, BLIND);
}

/// The documented bound is tight: a blind node may be behind an acknowledgement for up to Δ, with all rules in force.
#[test]
fn a_blind_node_may_be_behind_an_acknowledgement_by_up_to_delta() {
    crate::cannot_promise("a blind node that keeps every acknowledgement", strict, BLIND);
}
