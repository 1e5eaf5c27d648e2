//! An exhaustive search: breadth first over every state a model can reach, so that the first violation found is also a
//! shortest one.
//!
//! States are kept once, in the order in which they were found; a table from hash to index (with the state compared, not
//! only its hash) says which are known. A trace is not stored: each state knows its parent, and the labels are found by
//! taking the steps again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

/// What a step is called: a sentence, in which `#` stands for the number beside it.
#[derive(Clone, Copy, Debug)]
pub struct Label(pub &'static str, pub usize);

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace('#', &self.1.to_string()))
    }
}

/// A protocol, small enough to be looked at completely.
pub trait Model {
    /// All that matters at one instant.
    type State: Clone + Eq + Hash;

    /// Where it begins.
    fn initial(&self) -> Self::State;

    /// Everything that may happen next.
    fn steps(&self, state: &Self::State, next: &mut Vec<(Label, Self::State)>);

    /// The promise that this state breaks, if it breaks one.
    fn violates(&self, state: &Self::State) -> Option<&'static str>;
}

/// What a search found.
pub enum Outcome {
    /// No reachable state breaks a promise.
    Holds { states: usize, depth: usize },
    /// This promise is broken, by these steps; no shorter list of steps breaks one.
    Broken { promise: &'static str, trace: Vec<String>, states: usize },
}

/// More states than this mean that the bounds of a model are too wide for a test.
const TOO_MANY: usize = 2_000_000;
const NO_PARENT: u32 = u32::MAX;

/// Looks at every state that can be reached.
pub fn search<M: Model>(model: &M) -> Outcome {
    let mut known = Known { states: Vec::new(), parents: Vec::new(), index: HashMap::default() };
    let mut next = Vec::new();
    known.add(model.initial(), NO_PARENT);
    let (mut at, mut depth, mut end_of_level) = (0, 0, 1);
    while at < known.states.len() {
        if at == end_of_level {
            (depth, end_of_level) = (depth + 1, known.states.len());
        }
        let state = known.states[at].clone();
        if let Some(promise) = model.violates(&state) {
            return Outcome::Broken { promise, trace: trace(model, &known, at), states: known.states.len() };
        }
        model.steps(&state, &mut next);
        let parent = u32::try_from(at).expect("bounded below");
        for (_, state) in next.drain(..) {
            known.add(state, parent);
        }
        assert!(known.states.len() < TOO_MANY, "the bounds of this model are too wide: {TOO_MANY} states and no end");
        at += 1;
    }
    Outcome::Holds { states: known.states.len(), depth }
}

struct Known<S> {
    states: Vec<S>,
    parents: Vec<u32>,
    index: HashMap<u64, u32, FixedState>,
}

impl<S: Eq + Hash> Known<S> {
    fn add(&mut self, state: S, parent: u32) {
        let mut hash = FixedState::with_seed(1).hash_one(&state);
        loop {
            match self.index.entry(hash) {
                Entry::Vacant(free) => {
                    free.insert(u32::try_from(self.states.len()).expect("bounded by TOO_MANY"));
                    self.states.push(state);
                    self.parents.push(parent);
                    return;
                }
                Entry::Occupied(same) if self.states[*same.get() as usize] == state => return,
                // Two states with one hash: the second lives at the next free one.
                Entry::Occupied(_) => hash = hash.wrapping_add(1),
            }
        }
    }
}

/// The steps from the beginning to state `at`, in words.
fn trace<M: Model>(model: &M, known: &Known<M::State>, mut at: usize) -> Vec<String> {
    let mut words = Vec::new();
    let mut next = Vec::new();
    while known.parents[at] != NO_PARENT {
        let parent = known.parents[at] as usize;
        model.steps(&known.states[parent], &mut next);
        let taken = next.drain(..).find(|(_, state)| *state == known.states[at]);
        words
            .push(taken.map_or_else(|| "a step that cannot be taken twice".to_owned(), |(label, _)| label.to_string()));
        next.clear();
        at = parent;
    }
    words.reverse();
    words
}
