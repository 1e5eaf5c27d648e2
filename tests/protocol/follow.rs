//! What it means to have applied a number: one follower, a log, a failover, and an old master that can still be read.
//!
//! Time is left out: a lease is held or has lapsed, it lapses whenever it likes, and whoever acknowledges knows whether
//! it has. (The model `lease` does the opposite.) Changes are appended to the current master. After a failover the
//! follower's stream may still come from an old one; heartbeats go to the new one. A second failover may be to a replica of either. A failover to a replica that has no
//! record is a restart with an empty memory.
//!
//! Promised: a follower with a lease serves nothing older than a purge it has applied, in its numbering or by starting
//! over behind it, and nothing older than an acknowledged purge.

use crate::rules::{Rule, Rules};
use crate::search::{Label, Model};
use crate::{breaks, holds};

const OLD: &str = "an answer is older than a purge that its node has applied";
const UNHEARD: &str = "an answer is older than an acknowledged purge";

const LOG: usize = 4;
const VERSIONS: u8 = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Record {
    /// In which server's life it was written. With the number it is the record's nonce.
    life: u8,
    /// The version that it demands; 0 if it is no purge of the tag.
    demand: u8,
    /// The epoch that begins here, or 0.
    epoch: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Server {
    life: u8,
    epoch: u8,
    /// The `master_replid` to which the epoch belongs.
    rid: u8,
    log: [Record; LOG + 1],
    top: u8,
    trimmed: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Kept {
    version: u8,
    epoch: u8,
    born: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    epoch: u8,
    applied: u8,
    /// The life in which the newest applied record was written.
    nonce: u8,
    mark: u8,
    /// The local floor: what was born below must be validated.
    floor: u8,
    /// Its history is broken, or it has none: the next heartbeat starts over.
    lost: bool,
    lease: bool,
    /// What must have been applied before the last heartbeat counts: number and nonce.
    heard: Option<(u8, u8)>,
    /// What Redis knows of it, in the epoch of the current master.
    registered: Option<u8>,
    memory: Option<Kept>,
    bound: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    version: u8,
    servers: [Server; 3],
    /// Which server takes changes and heartbeats.
    master: usize,
    node: Node,
    /// A purge that waits for its acknowledgement: epoch, number, and what it demands.
    waiting: Option<(u8, u8, u8)>,
    acknowledged: u8,
}

struct Follow {
    rules: Rules,
    /// How many records a log may have, and how many failovers there may be.
    log: u8,
    failovers: usize,
}

type To<'a> = dyn FnMut(&'static str, usize, State) + 'a;

impl Model for Follow {
    type State = State;

    fn initial(&self) -> State {
        let server = Server { life: 1, epoch: 1, rid: 1, ..Server::default() };
        let node = Node { epoch: 1, lease: true, registered: Some(0), ..Node::default() };
        State {
            version: 1,
            servers: [server, Server::default(), Server::default()],
            master: 0,
            node,
            waiting: None,
            acknowledged: 0,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
        let mut to = |text, number, after: State| next.push((Label(text, number), after.without_the_newest()));
        if state.version < VERSIONS {
            to("the backend commits a new version", 0, State { version: state.version + 1, ..*state });
        }
        self.change_the_log(state, &mut to);
        self.acknowledge(state, &mut to);
        self.heartbeat(state, &mut to);
        for source in 0..=state.master {
            self.read_the_stream(state, source, &mut to);
        }
        self.live(state, &mut to);
    }

    fn violates(&self, state: &State) -> Option<&'static str> {
        let kept = state.node.memory.filter(|kept| state.node.lease && self.may_serve(&state.node, *kept))?;
        if kept.version < state.node.bound {
            return Some(OLD);
        }
        (kept.version < state.acknowledged).then_some(UNHEARD)
    }
}

impl Follow {
    fn may_serve(&self, node: &Node, kept: Kept) -> bool {
        let same_epoch = kept.epoch == node.epoch || !self.rules.has(Rule::OtherEpochsAreValidated);
        same_epoch && kept.born >= node.mark.max(node.floor)
    }

    /// The number of the new record; `None` where the model ends.
    fn record(&self, server: &mut Server, demand: u8, epoch: u8) -> Option<u8> {
        if server.top == self.log {
            return None;
        }
        server.top += 1;
        server.log[server.top as usize] = Record { life: server.life, demand, epoch };
        Some(server.top)
    }

    /// Every script first compares the server with the one that the epoch belongs to.
    fn script_begins(&self, state: &State) -> Option<State> {
        let mut after = *state;
        let server = &mut after.servers[state.master];
        if server.rid != server.life && self.rules.has(Rule::EpochBoundToReplid) {
            // Epochs are random, which here means: another one in each life. Counted, they would repeat.
            let epoch = if self.rules.has(Rule::EpochIsRandom) { server.life } else { server.epoch + 1 };
            (server.rid, server.epoch) = (server.life, epoch);
            self.record(server, 0, epoch)?;
            after.node.registered = None;
        }
        Some(after)
    }

    fn change_the_log(&self, state: &State, to: &mut To) {
        if let Some(begun) = self.script_begins(state) {
            let mut other = begun;
            if self.record(&mut other.servers[state.master], 0, 0).is_some() {
                to("another change is appended", 0, other);
            }
            let mut purge = begun;
            let new = state.waiting.is_none() && state.acknowledged < state.version && state.version > 1;
            if new && let Some(number) = self.record(&mut purge.servers[state.master], state.version, 0) {
                purge.waiting = Some((purge.servers[state.master].epoch, number, state.version));
                to("the tag is purged, as record #", number as usize, purge);
            }
        }
        let server = state.servers[state.master];
        let newest = if self.rules.has(Rule::NewestStays) { server.top.saturating_sub(1) } else { server.top };
        if server.trimmed < newest {
            let mut after = *state;
            after.servers[state.master].trimmed = newest;
            to("the log is trimmed up to #", newest as usize, after);
        }
        if state.master < self.failovers {
            let master = state.master + 1;
            for (from, server) in state.servers[..master].iter().enumerate() {
                for kept in 0..=server.top {
                    let mut after = State { master, ..*state };
                    after.servers[master] =
                        Server { life: state.servers[state.master].life + 1, ..server.replica(kept) };
                    let text = if from + 1 == master {
                        "failover to a replica that has # records"
                    } else {
                        "failover to a replica of the master before, that has # records"
                    };
                    to(text, kept as usize, after);
                }
            }
        }
    }

    fn acknowledge(&self, state: &State, to: &mut To) {
        let Some((epoch, number, demand)) = state.waiting else { return };
        // Whoever asks for the table asks by a script, and repeats the purge in another epoch.
        let Some(state) = self.script_begins(state) else { return };
        let current = state.servers[state.master].epoch;
        if current != epoch {
            let mut again = state;
            if let Some(number) = self.record(&mut again.servers[state.master], demand, 0) {
                again.waiting = Some((current, number, demand));
                to("the purge is repeated, as record #", number as usize, again);
            }
            return;
        }
        let node = &state.node;
        let holds_lease = node.lease || node.heard.is_some();
        let blocks = node.registered.is_some_and(|applied| applied < number) && holds_lease;
        // What `lease` models: in a new epoch the leases of the old one are waited for.
        let of_old_epoch = node.epoch != current && holds_lease;
        if !(blocks || of_old_epoch) || !self.rules.has(Rule::AckWaitsForLeases) {
            to("the purge # is acknowledged", number as usize, State { waiting: None, acknowledged: demand, ..state });
        }
    }

    fn heartbeat(&self, state: &State, to: &mut To) {
        let Some(mut after) = self.script_begins(state) else { return };
        let server = after.servers[state.master];
        // Number and nonce are those of the newest record that is there.
        let number = if server.trimmed < server.top { server.top } else { 0 };
        let nonce = server.log[number as usize].life;
        let node = &mut after.node;
        let chained = self.rules.has(Rule::NonceChain);
        let behind = number < node.applied || (number == node.applied && chained && nonce != node.nonce);
        if node.lost || server.epoch != node.epoch || behind {
            let before = *node;
            let demands = server.log[..=number as usize].iter().map(|record| record.demand);
            *node = Node { epoch: server.epoch, applied: number, nonce, mark: 0, lost: false, lease: true, ..before };
            node.heard = None;
            node.floor = if self.rules.has(Rule::StartOverRaisesFloor) { number } else { 0 };
            node.bound = demands.max().unwrap_or(0).max(before.bound);
            node.registered = self.rules.has(Rule::RegisterBeforeServing).then_some(number);
            to("the node starts over at #", number as usize, after);
            return;
        }
        node.registered = Some(node.applied);
        if number == node.applied || !self.rules.has(Rule::LeaseAfterApplied) {
            (node.lease, node.heard) = (true, None);
        } else {
            node.heard = Some((number, nonce));
        }
        to("a heartbeat tells the node of #", number as usize, after);
    }

    fn read_the_stream(&self, state: &State, source: usize, to: &mut To) {
        let (server, node) = (&state.servers[source], state.node);
        let number = (node.applied + 1).max(server.trimmed + 1);
        if node.lost || number > server.top {
            return;
        }
        let record = server.log[number as usize];
        let gap = number > node.applied + 1 && self.rules.has(Rule::GapStartsOver);
        let broken = server.log[number as usize - 1].life != node.nonce && self.rules.has(Rule::NonceChain);
        // A gap hides what the chain would show; a rule is removed alone.
        let broken = broken && number == node.applied + 1;
        let other_epoch = record.epoch != 0 && record.epoch != node.epoch;
        let text =
            if source == state.master { "the node reads # from the log" } else { "the node reads # from the old log" };
        if gap || broken || other_epoch {
            let lost = Node { lost: true, lease: false, heard: None, ..node };
            to(text, number as usize, State { node: lost, ..*state });
            return;
        }
        let mark = if record.demand > 0 { number } else { node.mark };
        let mut after =
            Node { applied: number, nonce: record.life, mark, bound: node.bound.max(record.demand), ..node };
        if node.heard.is_some_and(|(heard, nonce)| {
            heard == number && (nonce == record.life || !self.rules.has(Rule::NonceInHeartbeat))
        }) {
            (after.lease, after.heard) = (true, None);
        }
        to(text, number as usize, State { node: after, ..*state });
    }

    fn live(&self, state: &State, to: &mut To) {
        let node = state.node;
        let mut becomes = |text, node| to(text, 0, State { node, ..*state });
        let kept = Kept { version: state.version, epoch: node.epoch, born: node.applied };
        if node.epoch > 0 {
            becomes("the node fetches from the backend", Node { memory: Some(kept), ..node });
        }
        if node.lease || node.heard.is_some() {
            becomes("the lease lapses", Node { lease: false, heard: None, ..node });
        }
        becomes("the node crashes", Node { lost: true, bound: node.bound, ..Node::default() });
        if node.mark > 0 {
            let floor = if self.rules.has(Rule::FullMapRaisesFloor) { node.mark.max(node.floor) } else { node.floor };
            becomes("the map is full: the mark is dropped", Node { mark: 0, floor, ..node });
        }
    }
}

impl State {
    /// Forgets an entry that nothing can make old, so that fewer states differ.
    fn without_the_newest(mut self) -> Self {
        self.node.memory = self.node.memory.filter(|kept| kept.version < VERSIONS);
        self
    }
}

impl Server {
    /// What the replica has that received the first `kept` records.
    fn replica(&self, kept: u8) -> Self {
        let mut after = Server { top: kept, trimmed: self.trimmed.min(kept), ..*self };
        after.log[kept as usize + 1..].fill(Record::default());
        after
    }
}

fn model(rules: Rules) -> Follow {
    Follow { rules, log: 4, failovers: 1 }
}

fn two_failovers(rules: Rules) -> Follow {
    Follow { rules, log: 2, failovers: 2 }
}

#[test]
fn a_follower_serves_nothing_older_than_what_it_applied_or_what_was_acknowledged() {
    holds("follow", model);
    holds("follow, two failovers", two_failovers);
}

#[test]
fn without_the_epoch_check_a_failover_that_lost_the_log_tail_serves_an_old_answer() {
    breaks(Rule::EpochBoundToReplid, model, OLD);
}

#[test]
fn without_random_epochs_two_failovers_from_one_state_begin_the_same_epoch() {
    breaks(Rule::EpochIsRandom, two_failovers, UNHEARD);
}

#[test]
fn without_the_validation_of_other_epochs_an_old_birth_looks_new() {
    breaks(Rule::OtherEpochsAreValidated, model, OLD);
}

#[test]
fn without_the_nonce_chain_the_old_master_s_stream_is_taken_for_the_new_one_s() {
    breaks(Rule::NonceChain, model, UNHEARD);
}

/// The nonce in the heartbeat is a second lock on the same door: the chain in the stream, and epochs, have closed it.
#[test]
fn even_without_the_nonce_in_the_heartbeat_nothing_old_is_served() {
    holds("follow, no nonce in the heartbeat", |_| Follow { log: 3, ..model(Rules::without(Rule::NonceInHeartbeat)) });
}

#[test]
fn without_the_look_for_gaps_a_trimmed_purge_is_skipped() {
    breaks(Rule::GapStartsOver, model, UNHEARD);
}

#[test]
fn without_the_newest_record_a_heartbeat_has_no_number_to_tell() {
    breaks(Rule::NewestStays, model, OLD);
}

#[test]
fn without_the_floor_a_node_that_starts_over_keeps_what_was_purged_meanwhile() {
    breaks(Rule::StartOverRaisesFloor, model, OLD);
}

#[test]
fn without_the_floor_a_full_map_forgets_a_purge() {
    breaks(Rule::FullMapRaisesFloor, model, OLD);
}

#[test]
fn without_the_wait_for_its_number_a_heartbeat_gives_a_lease_to_a_node_that_is_behind() {
    breaks(Rule::LeaseAfterApplied, model, UNHEARD);
}

#[test]
fn without_registration_in_the_start_script_a_purge_is_acknowledged_around_a_joining_node() {
    breaks(Rule::RegisterBeforeServing, model, UNHEARD);
}

#[test]
fn without_the_wait_for_leases_a_purge_is_acknowledged_before_it_is_applied() {
    breaks(Rule::AckWaitsForLeases, model, UNHEARD);
}
