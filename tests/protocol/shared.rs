//! Fills, purges and reads over memory and the shared tier, with late writes, crashes and a failover.
//!
//! One key under one tag; two nodes; a log whose records are purges of the tag or something else. A write to the shared
//! tier arrives as late as it likes, also after its node has crashed. Failover replaces the log's tail: its numbers are
//! used again, and the marks `t:` go back with it, while the entries (they may live on another instance) stay.
//!
//! Promised: an answer is at least as new as every purge that its node has applied, in whichever life, and as every purge
//! that was acknowledged by the fleet. When a node joins, "applied" includes all that it skipped.

use crate::rules::{Rule, Rules};
use crate::search::{Label, Model};
use crate::{breaks, holds};

const OLD: &str = "an answer is older than a purge that its node has applied";
const BACK: &str = "a late write puts back what a newer birth had replaced";

const NODES: usize = 2;
const LOG: u8 = 3;
const VERSIONS: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Kept {
    version: u8,
    epoch: u8,
    born: u8,
}

/// A request to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Flight {
    epoch: u8,
    born: u8,
    answer: Option<u8>,
}

/// A read of the shared tier, under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Lookup {
    entry: Option<Kept>,
    /// What the script returned: epoch, newest number of the log, newest mark of the tag.
    marks: Option<(u8, u8, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Node {
    up: bool,
    epoch: u8,
    applied: u8,
    base: u8,
    mark: u8,
    memory: Option<Kept>,
    flight: Option<Flight>,
    late: Option<Kept>,
    lookup: Option<Lookup>,
    /// The version that its applied purges demand.
    bound: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    version: u8,
    epoch: u8,
    /// What scripts believe to be the newest number.
    seq: u8,
    /// What the log holds; ahead of `seq` if a script died.
    top: u8,
    /// Per record: the version that it demands, 0 if it is no purge of the tag.
    log: [u8; LOG as usize + 1],
    /// `t:` of the tag, on the master and on its replica.
    mark: u8,
    replica_mark: u8,
    redis: Option<Kept>,
    nodes: [Node; NODES],
    served_old: bool,
    went_back: bool,
}

struct Shared {
    rules: Rules,
}

impl Model for Shared {
    type State = State;

    fn initial(&self) -> State {
        let node = Node {
            up: true,
            epoch: 1,
            applied: 0,
            base: 0,
            mark: 0,
            memory: None,
            flight: None,
            late: None,
            lookup: None,
            bound: 0,
        };
        State {
            version: 1,
            epoch: 1,
            seq: 0,
            top: 0,
            log: [0; LOG as usize + 1],
            mark: 0,
            replica_mark: 0,
            redis: None,
            nodes: [node; NODES],
            served_old: false,
            went_back: false,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
        let mut to = |text, node, after: State| next.push((Label(text, node), after.with_nodes_in_order()));
        if state.version < VERSIONS {
            to("the backend commits a new version", 0, State { version: state.version + 1, ..*state });
        }
        self.appends(state, &mut to);
        self.time(state, &mut to);
        for at in 0..NODES {
            let node = state.nodes[at];
            if let Some(write) = node.late {
                to("the late write of node # arrives", at, self.write_arrives(state, at, write));
            }
            if node.up {
                self.follow(state, at, &mut to);
                self.fill(state, at, &mut to);
                self.read(state, at, &mut to);
                let lost = Node { up: false, memory: None, flight: None, lookup: None, ..node };
                to("node # crashes", at, state.with(at, lost));
            } else {
                to("node # joins", at, state.with(at, Node { up: true, ..state.joined(node) }));
            }
        }
    }

    fn violates(&self, state: &State) -> Option<&'static str> {
        let old = |node: &Node| {
            node.up && node.memory.is_some_and(|kept| self.may_serve(node, kept) && kept.version < node.bound)
        };
        if state.served_old || state.nodes.iter().any(old) {
            return Some(OLD);
        }
        state.went_back.then_some(BACK)
    }
}

impl Shared {
    fn appends(&self, state: &State, to: &mut impl FnMut(&'static str, usize, State)) {
        if state.top < LOG {
            // A script that finds a record beyond the counter completes it first.
            let mut ready = *state;
            if ready.top > ready.seq && self.rules.has(Rule::HalfAppendIsCompleted) {
                ready.complete();
            }
            let mut other = ready;
            other.record(0);
            other.complete();
            to("another change is appended", 0, other);
            let mut purge = ready;
            purge.record(state.version);
            if state.log.iter().all(|demand| *demand != state.version) && state.version > 1 {
                to("a script dies after its XADD", 0, purge);
                purge.complete();
                to("the tag is purged", 0, purge);
            }
        }
        if state.replica_mark != state.mark {
            to("the replica catches up", 0, State { replica_mark: state.mark, ..*state });
        }
        if state.epoch == 1 && state.top == state.seq && state.seq > 0 {
            for kept in 0..state.seq {
                to("failover to a replica that has # records", kept as usize, state.failover(kept));
            }
        }
    }

    /// Lifetimes end: entries and marks expire, the marks last.
    fn time(&self, state: &State, to: &mut impl FnMut(&'static str, usize, State)) {
        if !self.rules.has(Rule::MarksOutliveEntries) && state.mark > 0 {
            to("the mark expires before the entries", 0, State { mark: 0, replica_mark: 0, ..*state });
        }
        if state.mark > 0 {
            let mut later = State { mark: 0, replica_mark: 0, redis: None, ..*state };
            for node in &mut later.nodes {
                (node.memory, node.flight, node.lookup) = (None, None, None);
                if self.rules.has(Rule::ExpiryFromAnswer) {
                    node.late = None;
                }
            }
            to("all lifetimes end", 0, later);
        }
    }

    fn write_arrives(&self, state: &State, at: usize, write: Kept) -> State {
        let mut after = state.with(at, Node { late: None, ..state.nodes[at] });
        let higher = |there: &Kept| (there.epoch, there.born) > (write.epoch, write.born);
        if state.redis.as_ref().is_some_and(higher) {
            if self.rules.has(Rule::HigherBirthStays) {
                return after;
            }
            after.went_back = true;
        }
        after.redis = Some(write);
        after
    }

    fn follow(&self, state: &State, at: usize, to: &mut impl FnMut(&'static str, usize, State)) {
        let node = state.nodes[at];
        if node.epoch != state.epoch {
            let mut joined = state.joined(node);
            if !self.rules.has(Rule::OtherEpochsAreValidated) {
                joined.mark = node.mark;
            }
            to("node # hears of the new epoch and starts over", at, state.with(at, joined));
        } else if node.applied < state.top {
            let applied = node.applied + 1;
            let demand = state.log[applied as usize];
            let mark = if demand > 0 { applied } else { node.mark };
            let after = Node { applied, mark, bound: node.bound.max(demand), ..node };
            to("node # applies the next record", at, state.with(at, after));
        }
    }

    fn fill(&self, state: &State, at: usize, to: &mut impl FnMut(&'static str, usize, State)) {
        let node = state.nodes[at];
        match node.flight {
            None => {
                let flight = Flight { epoch: node.epoch, born: node.applied, answer: None };
                to("node # asks the backend", at, state.with(at, Node { flight: Some(flight), ..node }));
            }
            Some(Flight { answer: None, epoch, born }) => {
                let flight = Flight { answer: Some(state.version), epoch, born };
                to("the backend answers node #", at, state.with(at, Node { flight: Some(flight), ..node }));
            }
            Some(Flight { answer: Some(version), epoch, born }) => {
                let (epoch, born) =
                    if self.rules.has(Rule::BornBeforeSending) { (epoch, born) } else { (node.epoch, node.applied) };
                let kept = Kept { version, epoch, born };
                let late = node.late.or(Some(kept));
                let after = Node { flight: None, memory: Some(kept), late, ..node };
                to("node # stores the answer", at, state.with(at, after));
            }
        }
    }

    fn read(&self, state: &State, at: usize, to: &mut impl FnMut(&'static str, usize, State)) {
        let node = state.nodes[at];
        let master = self.rules.has(Rule::LookUpOnMaster);
        let marks = Some((state.epoch, state.seq, if master { state.mark } else { state.replica_mark }));
        let get_first = self.rules.has(Rule::LookUpAfterGet);
        let step = |lookup| state.with(at, Node { lookup: Some(lookup), ..node });
        match node.lookup {
            None if get_first => {
                if state.redis.is_some() {
                    to("node # gets the shared entry", at, step(Lookup { entry: state.redis, marks: None }));
                }
            }
            None => to("node # looks up the marks", at, step(Lookup { entry: None, marks })),
            Some(Lookup { entry: None, marks }) => {
                if state.redis.is_some() {
                    to("node # gets the shared entry", at, step(Lookup { entry: state.redis, marks }));
                }
            }
            Some(Lookup { entry, marks: None }) => {
                to("node # looks up the marks", at, step(Lookup { entry, marks }));
            }
            Some(Lookup { entry: Some(kept), marks: Some(marks) }) => {
                let mut after = state.with(at, Node { lookup: None, ..node });
                if let Some(promoted) = self.judge(&node, kept, marks) {
                    after.served_old = promoted.version < node.bound;
                    after.nodes[at].memory = Some(promoted);
                }
                to("node # judges the shared entry", at, after);
            }
        }
    }

    /// A shared entry that may be served goes into memory, born again at the number at which its marks were looked up.
    fn judge(&self, node: &Node, kept: Kept, (epoch, number, mark): (u8, u8, u8)) -> Option<Kept> {
        let validates = self.rules.has(Rule::OtherEpochsAreValidated);
        if validates && (kept.epoch != node.epoch || epoch != node.epoch) {
            return None;
        }
        if self.rules.has(Rule::OldBirthsLookUp) && kept.born < node.base {
            let promoted = Kept { born: number.max(kept.born), ..kept };
            return (kept.born >= mark && kept.born >= node.mark).then_some(promoted);
        }
        (kept.born >= node.mark).then_some(kept)
    }

    fn may_serve(&self, node: &Node, kept: Kept) -> bool {
        (kept.epoch == node.epoch || !self.rules.has(Rule::OtherEpochsAreValidated)) && kept.born >= node.mark
    }
}

impl State {
    fn with(&self, at: usize, node: Node) -> Self {
        let mut after = *self;
        after.nodes[at] = node;
        after
    }

    /// Nodes are alike: which is the first does not matter.
    fn with_nodes_in_order(mut self) -> Self {
        if self.nodes[0] > self.nodes[1] {
            self.nodes.swap(0, 1);
        }
        self
    }

    fn record(&mut self, demand: u8) {
        self.top += 1;
        self.log[self.top as usize] = demand;
    }

    /// What an append writes after its XADD.
    fn complete(&mut self) {
        self.seq = self.top;
        if self.log[self.seq as usize] > 0 {
            self.mark = self.seq;
        }
    }

    fn newest_mark(&self) -> u8 {
        (1..=self.seq).rev().find(|number| self.log[*number as usize] > 0).unwrap_or(0)
    }

    fn failover(&self, kept: u8) -> Self {
        let mut after = State { epoch: 2, seq: kept, top: kept, ..*self };
        for demand in &mut after.log[kept as usize + 1..] {
            *demand = 0;
        }
        after.mark = after.newest_mark().min(self.mark);
        after.replica_mark = after.mark;
        after.record(0);
        after.complete();
        after
    }

    /// The node after the start script: at the log's number, knowing nothing of what came before.
    fn joined(&self, node: Node) -> Node {
        let demand = self.log[..=self.seq as usize].iter().copied().max().unwrap_or(0);
        let bound = node.bound.max(demand);
        Node { epoch: self.epoch, applied: self.seq, base: self.seq, mark: 0, lookup: None, bound, ..node }
    }
}

fn model(rules: Rules) -> Shared {
    Shared { rules }
}

#[test]
fn shared_entries_obey_every_purge_that_a_node_has_applied() {
    holds("shared", model);
}

#[test]
fn without_the_birth_before_sending_a_running_fetch_outlives_the_purge() {
    breaks(Rule::BornBeforeSending, model, OLD);
}

#[test]
fn without_the_validation_of_other_epochs_reused_numbers_revive_an_old_answer() {
    breaks(Rule::OtherEpochsAreValidated, model, OLD);
}

#[test]
fn without_the_look_up_of_old_births_a_joining_node_serves_what_was_purged_before_it_came() {
    breaks(Rule::OldBirthsLookUp, model, OLD);
}

#[test]
fn without_the_look_up_after_the_get_a_purge_between_the_two_is_missed() {
    breaks(Rule::LookUpAfterGet, model, OLD);
}

#[test]
fn without_the_look_up_on_the_master_a_lagging_replica_hides_the_mark() {
    breaks(Rule::LookUpOnMaster, model, OLD);
}

#[test]
fn without_marks_that_outlive_entries_an_expired_mark_revives_an_entry() {
    breaks(Rule::MarksOutliveEntries, model, OLD);
}

#[test]
fn without_an_expiry_counted_from_the_answer_a_late_write_outlives_the_mark() {
    breaks(Rule::ExpiryFromAnswer, model, OLD);
}

#[test]
fn without_the_comparison_of_births_a_late_write_replaces_a_newer_entry() {
    breaks(Rule::HigherBirthStays, model, BACK);
}

#[test]
fn without_the_completion_of_a_half_append_a_joining_node_never_learns_of_it() {
    breaks(Rule::HalfAppendIsCompleted, model, OLD);
}
