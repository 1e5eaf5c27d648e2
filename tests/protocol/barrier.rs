//! Read your writes: an unsafe method on one node, then a read on the same, or with `Forebay-Barrier` on another.
//!
//! The first node sends the unsafe request on, appends the change to the log of epoch 1 and answers `epoch-N`. The other
//! follows the same epoch with any delay, or is already in the next one, whose numbers may be higher. A barrier that a node
//! cannot honour is answered by validation.
//!
//! Promised: once the unsafe method has been answered, neither read gets the old version.

use crate::rules::{Rule, Rules};
use crate::search::{Label, Model};
use crate::{breaks, holds};

const HERE: &str = "a read on the node that answered the write gets the old version";
const THERE: &str = "a read with a barrier gets the old version";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Node {
    epoch: u8,
    applied: bool,
    /// The newest number that a heartbeat told includes the change.
    heard: bool,
    /// An entry with the old version: whether it was born after the change.
    old_entry: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    committed: bool,
    appended: bool,
    answered: bool,
    here: Node,
    there: Node,
}

struct Barrier {
    rules: Rules,
}

impl Model for Barrier {
    type State = State;

    fn initial(&self) -> State {
        let node = Node { epoch: 1, applied: false, heard: false, old_entry: None };
        State { committed: false, appended: false, answered: false, here: node, there: node }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
        let mut to = |text, after: State| next.push((Label(text, 0), after));
        let (here, there) = (state.here, state.there);
        if !state.committed {
            to("the backend commits the write", State { committed: true, ..*state });
            let fetched = |node: Node| Node { old_entry: Some(node.applied), ..node };
            to("the writer's node has fetched before", State { here: fetched(here), ..*state });
            to("the other node has fetched before", State { there: fetched(there), ..*state });
        } else if !state.appended {
            to("the change is appended as epoch-N", State { appended: true, ..*state });
        }
        if state.appended {
            to("the writer's node applies it", State { here: Node { applied: true, ..here }, ..*state });
            if here.applied || !self.rules.has(Rule::AnsweredAfterApplied) {
                to("the write is answered", State { answered: true, ..*state });
            }
            if there.epoch == 1 {
                to("the other node applies it", State { there: Node { applied: true, ..there }, ..*state });
                to("the other node hears of its number", State { there: Node { heard: true, ..there }, ..*state });
            }
        }
        if there.epoch == 1 {
            let over = Node { epoch: 2, applied: false, heard: false, old_entry: None };
            to("the other node starts over in the next epoch", State { there: over, ..*state });
        }
    }

    fn violates(&self, state: &State) -> Option<&'static str> {
        let serves_old = |node: &Node| node.old_entry.is_some_and(|born_after| born_after || !node.applied);
        if !state.answered {
            return None;
        }
        if serves_old(&state.here) {
            return Some(HERE);
        }
        (self.passes(state.there) && serves_old(&state.there)).then_some(THERE)
    }
}

impl Barrier {
    /// May a hit be served under the barrier `1-N` without asking the backend?
    fn passes(&self, node: Node) -> bool {
        if node.epoch != 1 {
            // Compared as numbers, those of a younger log may be higher.
            return !self.rules.has(Rule::BarrierComparesEpochs);
        }
        // A number beyond the log is an invention of the client; but only the master knows where the log ends.
        let beyond = !node.applied && !node.heard && !self.rules.has(Rule::BarrierLimitFromMaster);
        node.applied || beyond || !self.rules.has(Rule::BarrierWaits)
    }
}

fn model(rules: Rules) -> Barrier {
    Barrier { rules }
}

#[test]
fn a_write_that_was_answered_is_read_here_and_behind_a_barrier_everywhere() {
    holds("barrier", model);
}

#[test]
fn without_applying_before_the_answer_the_writer_reads_the_old_version() {
    breaks(Rule::AnsweredAfterApplied, model, HERE);
}

#[test]
fn without_waiting_at_the_barrier_a_node_that_is_behind_serves_the_old_version() {
    breaks(Rule::BarrierWaits, model, THERE);
}

#[test]
fn without_the_epoch_in_the_barrier_a_higher_number_of_another_epoch_passes() {
    breaks(Rule::BarrierComparesEpochs, model, THERE);
}

#[test]
fn without_the_master_s_word_a_number_that_is_news_looks_like_one_beyond_the_log() {
    breaks(Rule::BarrierLimitFromMaster, model, THERE);
}
