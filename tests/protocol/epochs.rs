//! New epochs seen from afar: a change that only the old master's log has, and a node that never had an epoch.
//!
//! `reappend`: after a failover a node that still reaches only the old master appends a change there, while it takes writes;
//! then it is cut off, for as long as it likes, and comes to the new epoch. Another node has been there all the time.
//!
//! `private`: two nodes that have never heard from Redis store under epochs of their own, purge on their own account, and
//! share entries (the shared tier may be another instance); then they hear of the real epoch.

/// A change known only to the old epoch.
mod reappend {
    use crate::rules::{Rule, Rules};
    use crate::search::{Label, Model};
    use crate::{breaks, holds};

    const LOST: &str = "the new epoch never hears of a change that one of its nodes has appended";

    /// Δ, and for how long the old master takes writes after the failover, in ticks.
    const DELTA: u8 = 2;
    const OVERLAP: u8 = 3;
    const LONG: u8 = 2 * DELTA + OVERLAP;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct State {
        /// Ticks since the failover, up to the end of the overlap.
        now: u8,
        committed: bool,
        /// Ticks since the change was appended to the old log, and since the old epoch was last heard of, then.
        appended: Option<u8>,
        last_contact: u8,
        joined: bool,
        in_new_log: bool,
        /// The other node keeps what it fetched before the commit.
        other_is_old: bool,
    }

    struct Reappend {
        rules: Rules,
    }

    impl Model for Reappend {
        type State = State;

        fn initial(&self) -> State {
            State {
                now: 0,
                committed: false,
                appended: None,
                last_contact: 0,
                joined: false,
                in_new_log: false,
                other_is_old: false,
            }
        }

        fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
            let mut to = |text, after: State| next.push((Label(text, 0), after));
            let appended = state.appended.map(|age| (age + 1).min(LONG));
            let later = State { now: (state.now + 1).min(OVERLAP), appended, ..*state };
            to("time passes", State { last_contact: (state.last_contact + 1).min(LONG), ..later });
            if !state.committed {
                to("the other node fetches in the new epoch", State { other_is_old: true, ..*state });
                to("the backend commits a new version", State { committed: true, ..*state });
            }
            let reaches_old = state.now < OVERLAP && !state.joined;
            if reaches_old {
                to("the node hears from the old master", State { last_contact: 0, ..*state });
                if state.committed && state.appended.is_none() {
                    to(
                        "the node appends the change to the old log",
                        State { appended: Some(0), last_contact: 0, ..*state },
                    );
                }
            }
            if !state.joined {
                let window = 2 * DELTA;
                let from_contact = self.rules.has(Rule::ReappendFromLastContact);
                let is_recent = |age: u8| if from_contact { age - state.last_contact <= window } else { age <= window };
                let again = self.rules.has(Rule::ReappendOnNewEpoch) && state.appended.is_some_and(is_recent);
                let other_is_old = state.other_is_old && !again;
                to(
                    "the node comes to the new epoch",
                    State { joined: true, in_new_log: again, other_is_old, ..*state },
                );
            }
        }

        fn violates(&self, state: &State) -> Option<&'static str> {
            let lost = state.joined && state.appended.is_some() && !state.in_new_log && state.other_is_old;
            lost.then_some(LOST)
        }
    }

    fn model(rules: Rules) -> Reappend {
        Reappend { rules }
    }

    #[test]
    fn a_change_that_only_the_old_master_has_reaches_the_new_epoch() {
        holds("reappend", model);
    }

    #[test]
    fn without_the_repeated_changes_the_new_epoch_never_hears_of_what_the_old_master_took() {
        breaks(Rule::ReappendOnNewEpoch, model, LOST);
    }

    #[test]
    fn without_a_window_that_ends_at_the_last_contact_a_long_absence_forgets_the_change() {
        breaks(Rule::ReappendFromLastContact, model, LOST);
    }
}

/// Storing before Redis has ever been heard of.
mod private {
    use crate::rules::{Rule, Rules};
    use crate::search::{Label, Model};
    use crate::{breaks, holds};

    const ACCEPTED: &str = "an answer is older than a change that its node has accepted or skipped";

    const LOCAL: u8 = 2;
    const REAL: u8 = 9;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    struct Kept {
        new: bool,
        epoch: u8,
        born: u8,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    struct Node {
        epoch: u8,
        /// The newest number of its own log, or of the real one.
        applied: u8,
        mark: u8,
        /// A change accepted alone, until the real log has it.
        pending: bool,
        entry: Option<Kept>,
        must_be_new: bool,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct State {
        committed: bool,
        nodes: [Node; 2],
        shared: Option<Kept>,
        /// Newest number of the real log; whether the purge is in it.
        real: u8,
        purged: bool,
    }

    struct Private {
        rules: Rules,
    }

    impl Private {
        /// Without randomness every node begins with the same.
        fn epoch_of(&self, at: usize) -> u8 {
            if self.rules.has(Rule::PrivateEpochIsRandom) && at == 1 { 2 } else { 1 }
        }

        fn may_serve(&self, node: Node, kept: Kept) -> bool {
            let same_epoch = kept.epoch == node.epoch || !self.rules.has(Rule::OtherEpochsAreValidated);
            let covered = node.pending && node.epoch == REAL && self.rules.has(Rule::PendingCoversShared);
            same_epoch && kept.born >= node.mark && !covered
        }
    }

    impl Model for Private {
        type State = State;

        fn initial(&self) -> State {
            let node = |at| Node {
                epoch: self.epoch_of(at),
                applied: 0,
                mark: 0,
                pending: false,
                entry: None,
                must_be_new: false,
            };
            State { committed: false, nodes: [node(0), node(1)], shared: None, real: 0, purged: false }
        }

        fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
            let mut to = |text, at, after: State| next.push((Label(text, at), after));
            if !state.committed {
                to("the backend commits a new version", 0, State { committed: true, ..*state });
            }
            if state.real < LOCAL {
                to("others append to the real log", 0, State { real: state.real + 1, ..*state });
            }
            for born in 0..=state.real {
                let shared = Some(Kept { new: state.committed, epoch: REAL, born });
                to("a node of the real epoch fetches and shares", 0, State { shared, ..*state });
            }
            for (at, node) in state.nodes.into_iter().enumerate() {
                let with = |node| {
                    let mut after = *state;
                    after.nodes[at] = node;
                    after
                };
                let fetched = Some(Kept { new: state.committed, epoch: node.epoch, born: node.applied });
                to("node # fetches", at, with(Node { entry: fetched, ..node }));
                if node.entry.is_some() {
                    to("node # shares its entry", at, State { shared: node.entry, ..*state });
                }
                if let Some(kept) = state.shared.filter(|kept| self.may_serve(node, *kept)) {
                    to("node # takes the shared entry", at, with(Node { entry: Some(kept), ..node }));
                }
                if node.epoch != REAL && node.applied < LOCAL {
                    let applied = node.applied + 1;
                    to("node # accepts another change", at, with(Node { applied, ..node }));
                    if state.committed {
                        let purged = Node { applied, mark: applied, pending: true, must_be_new: true, ..node };
                        to("node # accepts the purge, alone", at, with(purged));
                    }
                }
                if node.epoch != REAL {
                    let must_be_new = node.must_be_new || state.purged;
                    let joined = Node { epoch: REAL, applied: state.real, mark: 0, must_be_new, ..node };
                    to("node # hears of the real epoch", at, with(joined));
                } else if node.pending {
                    let number = state.real + 1;
                    let flushed = Node { applied: number, mark: number, pending: false, ..node };
                    to(
                        "node # flushes, and applies its record",
                        at,
                        State { real: number, purged: true, ..with(flushed) },
                    );
                }
            }
        }

        fn violates(&self, state: &State) -> Option<&'static str> {
            let old = |node: &Node| {
                node.must_be_new && node.entry.is_some_and(|kept| !kept.new && self.may_serve(*node, kept))
            };
            // What the real log has, a node that joined behind it looks up: see the model `shared`.
            state
                .nodes
                .iter()
                .filter(|node| node.epoch != REAL || !state.purged || node.mark > 0)
                .any(old)
                .then_some(ACCEPTED)
        }
    }

    fn model(rules: Rules) -> Private {
        Private { rules }
    }

    #[test]
    fn a_node_that_never_heard_from_redis_may_store_under_an_epoch_of_its_own() {
        holds("private", model);
    }

    #[test]
    fn without_a_random_private_epoch_two_nodes_take_each_other_s_births_for_their_own() {
        breaks(Rule::PrivateEpochIsRandom, model, ACCEPTED);
    }

    #[test]
    fn without_the_validation_of_other_epochs_what_was_stored_alone_is_served_in_the_real_epoch() {
        breaks(Rule::OtherEpochsAreValidated, model, ACCEPTED);
    }

    #[test]
    fn without_pending_over_shared_entries_the_real_epoch_brings_the_old_answer_back() {
        breaks(Rule::PendingCoversShared, model, ACCEPTED);
    }
}
