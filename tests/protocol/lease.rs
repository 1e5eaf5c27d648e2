//! Time: when may a purge be acknowledged, and how long may a node that was cut off go on serving?
//!
//! One node with one entry, one purge, and two masters: after a failover the old one still takes writes for a moment, and
//! the node's heartbeats and whoever purges may reach either. A tick of the world may be missed by the node's clock, once per
//! lease: that is what the margin is for. Heartbeats are sent, processed, answered, lost, each as late as it likes.
//!
//! Promised: once the purge is acknowledged, the node serves nothing older without asking.

use crate::rules::{Rule, Rules};
use crate::search::{Label, Model};
use crate::{breaks, holds};

const UNHEARD: &str = "an answer is older than an acknowledged purge";

/// Δ, in ticks.
const DELTA: u8 = 2;
/// What a slow clock may miss within Δ.
const MARGIN: u8 = 1;
/// For how long an old master takes writes beside the new one (`min-replicas-max-lag`).
const OVERLAP: u8 = 2;

/// What is left of a time, on a clock that may miss one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Timer {
    left: u8,
    slipped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Sent,
    /// The master's epoch, and whether its log has the purge.
    Answered(u8, bool),
    /// Received: it counts once the purge has been applied.
    Heard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Heartbeat {
    since_sent: Timer,
    /// Epoch of the node, and whether it had applied the purge, at the time of sending.
    epoch: u8,
    applied: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kept {
    new: bool,
    epoch: u8,
    born_after: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Node {
    epoch: u8,
    applied: bool,
    entry: Option<Kept>,
    lease: Timer,
    heartbeat: Option<Heartbeat>,
    /// Whether the lease was good when some worker last looked at the clock.
    looked: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Registered {
    left: u8,
    applied: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Master {
    /// Its log has the purge.
    purged: bool,
    node: Option<Registered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purge {
    NotYet,
    /// Appended in this epoch.
    Waits(u8),
    Acknowledged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    committed: bool,
    masters: [Master; 2],
    replicated: bool,
    failed_over: bool,
    /// For how much longer the old master takes writes after the failover.
    overlap: u8,
    /// Since the new epoch began: what is left of the wait for the leases of the old one.
    new_epoch: Option<u8>,
    node: Node,
    purge: Purge,
}

struct Lease {
    rules: Rules,
}

type To<'a> = dyn FnMut(&'static str, usize, State) + 'a;

impl Model for Lease {
    type State = State;

    fn initial(&self) -> State {
        let node = Node {
            epoch: 1,
            applied: false,
            entry: None,
            lease: Timer { left: DELTA, slipped: false },
            heartbeat: None,
            looked: false,
        };
        let registered = Some(Registered { left: self.lease_in_redis(), applied: false });
        State {
            committed: false,
            masters: [Master { purged: false, node: registered }, Master::default()],
            replicated: false,
            failed_over: false,
            overlap: OVERLAP,
            new_epoch: None,
            node,
            purge: Purge::NotYet,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
        let mut to = |text, number, after: State| next.push((Label(text, number), after));
        if !state.committed {
            to("the backend commits a new version", 0, State { committed: true, ..*state });
        }
        if !state.failed_over {
            let mut after = State { failed_over: true, ..*state };
            after.masters[1].purged = state.masters[0].purged && state.replicated;
            to("failover", 0, after);
            if state.masters[0].purged && !state.replicated {
                to("the replica has the purge", 0, State { replicated: true, ..*state });
            }
        }
        self.tick(state, &mut to);
        for master in state.reachable() {
            self.purge(state, master, &mut to);
            self.process(state, master, &mut to);
        }
        self.node(state, &mut to);
    }

    fn violates(&self, state: &State) -> Option<&'static str> {
        let node = &state.node;
        let kept = node.entry?;
        let looked = node.looked && !self.rules.has(Rule::ClockAfterHead);
        let serves = (node.lease.left > 0 || looked) && kept.epoch == node.epoch && (kept.born_after || !node.applied);
        (serves && !kept.new && state.purge == Purge::Acknowledged).then_some(UNHEARD)
    }
}

impl Lease {
    fn lease_in_redis(&self) -> u8 {
        DELTA + if self.rules.has(Rule::AckMargin) { MARGIN } else { 0 }
    }

    fn tick(&self, state: &State, to: &mut To) {
        let mut after = *state;
        after.new_epoch = state.new_epoch.map(|left| left.saturating_sub(1));
        if state.failed_over {
            after.overlap = state.overlap.saturating_sub(1);
        }
        for registered in after.masters.iter_mut().filter_map(|master| master.node.as_mut()) {
            registered.left = registered.left.saturating_sub(1);
        }
        let timers = [state.node.lease, state.node.heartbeat.map_or(Timer::default(), |sent| sent.since_sent)];
        let may_slip = timers.iter().all(|timer| timer.left == 0 || !timer.slipped);
        let stands_still = !self.rules.has(Rule::ClockGoesOn);
        if (may_slip || stands_still) && timers.iter().any(|timer| timer.left > 0) {
            let mut slow = after;
            slow.node.lease.slipped |= slow.node.lease.left > 0;
            if let Some(sent) = slow.node.heartbeat.as_mut() {
                sent.since_sent.slipped = true;
            }
            to("time passes, but not on the node's clock", 0, slow);
        }
        after.node.lease = state.node.lease.ticked();
        after.node.heartbeat = state.node.heartbeat.and_then(|sent| {
            let since_sent = sent.since_sent.ticked();
            (since_sent.left > 0).then_some(Heartbeat { since_sent, ..sent })
        });
        to("time passes", 0, after);
    }

    /// Whichever script is the first on the new master begins the new epoch.
    fn script_begins(&self, state: &State, master: usize) -> State {
        let mut after = *state;
        if master == 1 && after.new_epoch.is_none() {
            let overlap = if self.rules.has(Rule::OldMasterStops) { OVERLAP } else { 0 };
            let wait = if self.rules.has(Rule::AckInNewEpochWaits) { DELTA + MARGIN + overlap } else { 0 };
            after.new_epoch = Some(wait);
        }
        after
    }

    fn purge(&self, state: &State, master: usize, to: &mut To) {
        let epoch = epoch_of(master);
        let appended = || {
            let mut after = self.script_begins(state, master);
            after.masters[master].purged = true;
            after.purge = Purge::Waits(epoch);
            after
        };
        let repeats = |appended_in| appended_in != epoch && self.rules.has(Rule::AppendRepeated);
        match state.purge {
            Purge::NotYet if state.committed && state.takes_writes(master) => {
                to("the tag is purged on master #", master + 1, appended());
            }
            Purge::Waits(appended_in) if !repeats(appended_in) => {
                // Numbers of another epoch say nothing; without the rule they are compared.
                let applied = |node: Registered| node.applied || appended_in != epoch;
                let registered = state.masters[master].node;
                let nobody_is_behind = registered.is_none_or(|node| applied(node) || node.left == 0);
                let replicated = master == 1 || state.replicated || !self.rules.has(Rule::WaitForReplica);
                let waited = master == 0 || state.new_epoch == Some(0);
                if nobody_is_behind && replicated && waited {
                    to(
                        "master #'s table permits: acknowledged",
                        master + 1,
                        State { purge: Purge::Acknowledged, ..*state },
                    );
                }
            }
            Purge::Waits(_) if state.takes_writes(master) => {
                to("another epoch: the purge is repeated on master #", master + 1, appended());
            }
            _ => {}
        }
    }

    fn process(&self, state: &State, master: usize, to: &mut To) {
        let Some(sent) = state.node.heartbeat.filter(|sent| sent.stage == Stage::Sent) else { return };
        if !state.takes_writes(master) {
            return;
        }
        let mut after = self.script_begins(state, master);
        let epoch = epoch_of(master);
        let purged = after.masters[master].purged;
        let reported = sent.epoch == epoch && sent.applied;
        let applied = if self.rules.has(Rule::RegisteredAsReported) { reported } else { purged };
        after.masters[master].node = Some(Registered { left: self.lease_in_redis(), applied });
        after.node.heartbeat = Some(Heartbeat { stage: Stage::Answered(epoch, purged), ..sent });
        to("the heartbeat reaches master #", master + 1, after);
    }

    fn node(&self, state: &State, to: &mut To) {
        let node = state.node;
        let mut becomes = |text, node| to(text, 0, State { node, ..*state });
        let renewed = |since_sent: Timer| {
            let full = Timer { left: DELTA, slipped: false };
            let lease = if self.rules.has(Rule::LeaseFromSend) { since_sent } else { full };
            if lease.left > node.lease.left { lease } else { node.lease }
        };
        match node.heartbeat {
            None => {
                let since_sent = Timer { left: DELTA, slipped: false };
                let sent = Heartbeat { since_sent, epoch: node.epoch, applied: node.applied, stage: Stage::Sent };
                becomes("the node sends a heartbeat", Node { heartbeat: Some(sent), ..node });
            }
            Some(Heartbeat { since_sent, stage: Stage::Answered(epoch, purged), .. }) => {
                if epoch != node.epoch {
                    let lease = renewed(since_sent);
                    let over = Node { epoch, applied: purged, heartbeat: None, lease, ..node };
                    becomes("the answer arrives: the node starts over in the other epoch", over);
                } else if purged && !node.applied {
                    let heard = node.heartbeat.map(|sent| Heartbeat { stage: Stage::Heard, ..sent });
                    becomes("the answer arrives: there is more to apply", Node { heartbeat: heard, ..node });
                } else {
                    let held = Node { lease: renewed(since_sent), heartbeat: None, ..node };
                    becomes("the answer arrives: the lease is renewed", held);
                }
            }
            Some(_) => {}
        }
        if node.heartbeat.is_some() {
            becomes("the heartbeat is lost", Node { heartbeat: None, ..node });
        }
        if state.masters[node.epoch as usize - 1].purged && !node.applied {
            let mut applied = Node { applied: true, ..node };
            if let Some(Heartbeat { since_sent, stage: Stage::Heard, .. }) = node.heartbeat {
                (applied.lease, applied.heartbeat) = (renewed(since_sent), None);
            }
            becomes("the node applies the purge", applied);
        }
        let fetched = Kept { new: state.committed, epoch: node.epoch, born_after: node.applied };
        becomes("the node fetches from the backend", Node { entry: Some(fetched).filter(|kept| !kept.new), ..node });
        if !self.rules.has(Rule::ClockAfterHead) && node.looked != (node.lease.left > 0) {
            becomes("a worker looks at the clock", Node { looked: node.lease.left > 0, ..node });
        }
    }
}

fn epoch_of(master: usize) -> u8 {
    if master == 0 { 1 } else { 2 }
}

impl State {
    fn reachable(&self) -> impl Iterator<Item = usize> + use<> {
        0..=usize::from(self.failed_over)
    }

    fn takes_writes(&self, master: usize) -> bool {
        master == 1 || !self.failed_over || self.overlap > 0
    }
}

impl Timer {
    fn ticked(self) -> Self {
        let left = self.left.saturating_sub(1);
        Self { left, slipped: self.slipped && left > 0 }
    }
}

fn model(rules: Rules) -> Lease {
    Lease { rules }
}

#[test]
fn an_acknowledged_purge_binds_every_node_that_holds_a_lease() {
    holds("lease", model);
}

#[test]
fn without_the_lease_from_the_send_time_a_slow_answer_outlives_the_lease_in_redis() {
    breaks(Rule::LeaseFromSend, model, UNHEARD);
}

#[test]
fn without_the_margin_a_slow_clock_outlives_the_lease_in_redis() {
    breaks(Rule::AckMargin, model, UNHEARD);
}

#[test]
fn without_a_clock_that_goes_on_in_suspension_a_node_wakes_up_with_a_lease() {
    breaks(Rule::ClockGoesOn, model, UNHEARD);
}

#[test]
fn without_the_clock_read_after_the_head_a_request_is_served_under_a_lease_that_has_run_out() {
    breaks(Rule::ClockAfterHead, model, UNHEARD);
}

#[test]
fn without_the_wait_in_a_new_epoch_a_purge_is_acknowledged_around_a_lease_of_the_old_one() {
    breaks(Rule::AckInNewEpochWaits, model, UNHEARD);
}

#[test]
fn without_an_end_to_the_old_master_s_writes_in_the_wait_a_lease_is_renewed_behind_the_new_epoch() {
    breaks(Rule::OldMasterStops, model, UNHEARD);
}

#[test]
fn without_the_repeated_append_numbers_of_two_epochs_are_compared() {
    breaks(Rule::AppendRepeated, model, UNHEARD);
}

#[test]
fn without_the_wait_for_a_replica_an_old_master_acknowledges_what_the_new_one_never_hears() {
    breaks(Rule::WaitForReplica, model, UNHEARD);
}

#[test]
fn without_the_node_s_own_report_it_counts_as_having_applied_what_it_is_about_to_be_told() {
    breaks(Rule::RegisteredAsReported, model, UNHEARD);
}
