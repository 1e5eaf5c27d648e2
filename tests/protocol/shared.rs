//! Fills, purges and reads over memory and the shared tier, with late writes, crashes and a failover.
//!
//! One key under one tag; a log whose records are purges of the tag or something else. Node 0 fills; node 1 reads what the
//! shared tier has, keeps it in memory, crashes and joins again. A write to the shared tier arrives at once or as late as it
//! likes, so that it does not matter whether its node still lives. Failover replaces the log's tail: its numbers are used again, and the marks
//! `t:` go back with it, while the entries (they may live on another instance) stay.
//!
//! Promised: an answer is at least as new as every purge that its node has applied, in whichever life, and as every purge
//! that was acknowledged by the fleet. When a node joins, "applied" includes all that it skipped.

use crate::rules::{Rule, Rules};
use crate::search::{Label, Model};
use crate::{breaks, holds};

const OLD: &str = "an answer is older than a purge that its node has applied";
const BACK: &str = "a late write puts back what a newer birth had replaced";

const WRITER: usize = 0;
const READER: usize = 1;
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

/// What a look-up of `t:` returns: the epoch, the newest number of the log, the newest mark of the tag.
type Marks = (u8, u8, u8);

/// A read of the shared tier, under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Lookup {
    /// The entry has come, the look-up is next.
    Got(Kept),
    /// The wrong order.
    LookedUp(Marks),
    /// Nothing in Redis speaks against it; what this node has applied is asked last.
    Passed(Kept),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Node {
    epoch: u8,
    applied: u8,
    base: u8,
    mark: u8,
    memory: Option<Kept>,
    flight: Option<Flight>,
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
    /// A write that is still on its way.
    late: Option<Kept>,
    nodes: [Node; 2],
    served_old: bool,
    went_back: bool,
}

struct Shared {
    rules: Rules,
    /// Either one failover, or scripts that die and lifetimes that end: both at once are too many states.
    failover: bool,
}

impl Model for Shared {
    type State = State;

    fn initial(&self) -> State {
        let node = Node { epoch: 1, applied: 0, base: 0, mark: 0, memory: None, flight: None, lookup: None, bound: 0 };
        State {
            version: 1,
            epoch: 1,
            seq: 0,
            top: 0,
            log: [0; LOG as usize + 1],
            mark: 0,
            replica_mark: 0,
            redis: None,
            late: None,
            nodes: [node; 2],
            served_old: false,
            went_back: false,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
        let mut to = |text, node, after: State| next.push((Label(text, node), self.without_the_irrelevant(after)));
        if state.version < VERSIONS {
            to("the backend commits a new version", 0, State { version: state.version + 1, ..*state });
        }
        self.appends(state, &mut to);
        self.time(state, &mut to);
        if let Some(write) = state.late {
            to("the late write arrives", 0, self.write_arrives(&State { late: None, ..*state }, write));
        }
        for at in [WRITER, READER] {
            self.follow(state, at, &mut to);
        }
        self.fill(state, &mut to);
        self.read(state, &mut to);
        let restarted = self.script_begins(state);
        let joined = restarted.joined(state.nodes[READER]);
        if joined.base > state.nodes[READER].applied && !self.failover {
            to("node # falls off the log and starts over", READER, restarted.with(READER, joined));
        }
        let joined = Node { memory: None, lookup: None, ..joined };
        to("node # crashes and joins again", READER, restarted.with(READER, joined));
    }

    fn violates(&self, state: &State) -> Option<&'static str> {
        let reader = &state.nodes[READER];
        let old = |kept: Kept| self.may_serve(reader, kept) && kept.version < reader.bound;
        if state.served_old || reader.memory.is_some_and(old) {
            return Some(OLD);
        }
        state.went_back.then_some(BACK)
    }
}

impl Shared {
    fn appends(&self, state: &State, to: &mut impl FnMut(&'static str, usize, State)) {
        if state.top < if self.failover { LOG - 1 } else { LOG } {
            let ready = self.script_begins(state);
            let mut other = ready;
            other.record(0);
            other.complete();
            to("another change is appended", 0, other);
            let mut purge = ready;
            purge.record(state.version);
            if state.log.iter().all(|demand| *demand != state.version) && state.version > 1 {
                if !self.failover {
                    to("a script dies after its XADD", 0, purge);
                }
                purge.complete();
                to("the tag is purged", 0, purge);
            }
        }
        if state.replica_mark != state.mark {
            to("the replica catches up", 0, State { replica_mark: state.mark, ..*state });
        }
        if self.failover && state.epoch == 1 {
            for kept in 0..state.seq {
                to("failover to a replica that has # records", kept as usize, state.failover(kept));
            }
        }
    }

    /// Whichever script finds a record beyond the counter first writes what that append left out.
    fn script_begins(&self, state: &State) -> State {
        let mut ready = *state;
        if ready.top > ready.seq && self.rules.has(Rule::HalfAppendIsCompleted) {
            ready.complete();
        }
        ready
    }

    /// Lifetimes end: entries and marks expire, the marks last.
    fn time(&self, state: &State, to: &mut impl FnMut(&'static str, usize, State)) {
        if !self.rules.has(Rule::MarksOutliveEntries) && state.mark > 0 {
            to("the mark expires before the entries", 0, State { mark: 0, replica_mark: 0, ..*state });
        }
        if state.mark > 0 && !self.failover {
            let mut later = State { mark: 0, replica_mark: 0, redis: None, ..*state };
            for node in &mut later.nodes {
                (node.memory, node.flight, node.lookup) = (None, None, None);
            }
            if self.rules.has(Rule::ExpiryFromAnswer) {
                later.late = None;
            }
            to("all lifetimes end", 0, later);
        }
    }

    fn write_arrives(&self, state: &State, write: Kept) -> State {
        let mut after = *state;
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
            let state = self.script_begins(state);
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

    fn fill(&self, state: &State, to: &mut impl FnMut(&'static str, usize, State)) {
        let node = state.nodes[WRITER];
        let fetching = |flight| state.with(WRITER, Node { flight, ..node });
        match node.flight {
            None => {
                let flight = Flight { epoch: node.epoch, born: node.applied, answer: None };
                to("node # asks the backend", WRITER, fetching(Some(flight)));
            }
            Some(Flight { answer: None, epoch, born }) => {
                let flight = Flight { answer: Some(state.version), epoch, born };
                to("the backend answers node #", WRITER, fetching(Some(flight)));
            }
            Some(Flight { answer: Some(version), epoch, born }) => {
                let (epoch, born) =
                    if self.rules.has(Rule::BornBeforeSending) { (epoch, born) } else { (node.epoch, node.applied) };
                let kept = Kept { version, epoch, born };
                let landed = fetching(None);
                to("node # stores the answer in Redis", WRITER, self.write_arrives(&landed, kept));
                if landed.late.is_none() {
                    to("node # writes the answer to Redis, slowly", WRITER, State { late: Some(kept), ..landed });
                }
            }
        }
    }

    fn read(&self, state: &State, to: &mut impl FnMut(&'static str, usize, State)) {
        let node = state.nodes[READER];
        let mark = if self.rules.has(Rule::LookUpOnMaster) { state.mark } else { state.replica_mark };
        let marks = (state.epoch, state.seq, mark);
        let mut step = |text, lookup| to(text, READER, state.with(READER, Node { lookup, ..node }));
        match (node.lookup, state.redis) {
            (None, _) if !self.rules.has(Rule::LookUpAfterGet) => {
                step("node # looks up the marks", Some(Lookup::LookedUp(marks)));
            }
            (None, Some(kept)) => step("node # gets the shared entry", Some(Lookup::Got(kept))),
            (Some(Lookup::LookedUp(marks)), Some(kept)) => {
                step("node # gets the shared entry", self.judge(&node, kept, marks).map(Lookup::Passed));
            }
            (Some(Lookup::Got(kept)), _) => {
                step("node # looks up the marks", self.judge(&node, kept, marks).map(Lookup::Passed));
            }
            (Some(Lookup::Passed(kept)), _) => {
                let mut after = state.with(READER, Node { lookup: None, ..node });
                if self.may_serve(&node, kept) {
                    after.served_old = kept.version < node.bound;
                    after.nodes[READER].memory = Some(kept);
                }
                to("node # serves the shared entry, if its own ledger permits", READER, after);
            }
            _ => {}
        }
    }

    /// A shared entry that Redis permits goes into memory, born again at the number at which its marks were looked up.
    fn judge(&self, node: &Node, kept: Kept, (epoch, number, mark): Marks) -> Option<Kept> {
        let validates = self.rules.has(Rule::OtherEpochsAreValidated);
        if validates && (kept.epoch != node.epoch || epoch != node.epoch) {
            return None;
        }
        if self.rules.has(Rule::OldBirthsLookUp) && kept.born < node.base {
            return (kept.born >= mark && kept.born >= node.mark).then_some(if self.rules.has(Rule::BornAtLookUp) {
                Kept { born: number, ..kept }
            } else {
                kept
            });
        }
        self.may_serve(node, kept).then_some(kept)
    }

    /// Forgets what can have no effect any more, so that fewer states differ.
    fn without_the_irrelevant(&self, mut state: State) -> State {
        if self.rules.has(Rule::LookUpOnMaster) {
            state.replica_mark = state.mark;
        }
        let writer = &mut state.nodes[WRITER];
        (writer.base, writer.mark, writer.bound) = (0, 0, 0);
        let reader = state.nodes[READER];
        let is_over = |kept: &Kept| kept.epoch < state.epoch && reader.epoch == state.epoch;
        if self.rules.has(Rule::OtherEpochsAreValidated) {
            state.redis = state.redis.filter(|kept| !is_over(kept));
            state.late = state.late.filter(|kept| !is_over(kept));
        }
        let is_void = |kept: Kept| reader.epoch == state.epoch && !self.may_serve(&reader, kept);
        // Nothing is newer than the newest.
        if reader.memory.is_some_and(|kept| kept.version == VERSIONS || is_void(kept)) {
            state.nodes[READER].memory = None;
        }
        state
    }

    fn may_serve(&self, node: &Node, kept: Kept) -> bool {
        // What a node skipped when it started over, it knows only from look-ups made since.
        let floor =
            if self.rules.has(Rule::OldBirthsLookUp) && self.rules.has(Rule::BornAtLookUp) { node.base } else { 0 };
        (kept.epoch == node.epoch || !self.rules.has(Rule::OtherEpochsAreValidated))
            && kept.born >= node.mark.max(floor)
    }
}

impl State {
    fn with(&self, at: usize, node: Node) -> Self {
        let mut after = *self;
        after.nodes[at] = node;
        after
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
        Node { epoch: self.epoch, applied: self.seq, base: self.seq, mark: 0, bound, ..node }
    }
}

fn model(rules: Rules) -> Shared {
    Shared { rules, failover: false }
}

fn with_failover(rules: Rules) -> Shared {
    Shared { rules, failover: true }
}

#[test]
fn shared_entries_obey_every_purge_that_a_node_has_applied() {
    holds("shared", model);
    holds("shared, with a failover", with_failover);
}

#[test]
fn without_the_birth_before_sending_a_running_fetch_outlives_the_purge() {
    breaks(Rule::BornBeforeSending, model, OLD);
}

#[test]
fn without_the_validation_of_other_epochs_reused_numbers_revive_an_old_answer() {
    breaks(Rule::OtherEpochsAreValidated, with_failover, OLD);
}

#[test]
fn without_the_look_up_of_old_births_a_joining_node_serves_what_was_purged_before_it_came() {
    breaks(Rule::OldBirthsLookUp, model, OLD);
}

#[test]
fn without_the_birth_at_the_look_up_an_entry_passes_although_its_node_has_started_over_since() {
    breaks(Rule::BornAtLookUp, model, OLD);
}

/// A look-up holds as of its number, whenever the entry comes: so it may be made first, or kept.
#[test]
fn with_the_birth_at_the_look_up_even_a_look_up_before_the_get_is_sound() {
    holds("shared, looked up before the get", |_| model(Rules::without(Rule::LookUpAfterGet)));
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
