//! The cheap hit: readers that trust a generation, while a writer applies a change. Every load and store is a step.
//!
//! The writer applies one purge; then the map is full, and the mark is dropped in favour of the floor. Two readers look
//! at one entry, as often as they like.
//!
//! Promised: a read that begins after the writer has reported does not serve the entry.

use crate::rules::{Rule, Rules};
use crate::search::{Label, Model};
use crate::{breaks, holds};

const SERVED: &str = "a read that began after the report serves what was purged";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Idle,
    /// The generation it loaded; whether the change had been reported when it began.
    Loaded(u8, bool),
    /// Without one snapshot: the floor has been looked at, the map has not.
    Halfway(u8, bool),
    Found(u8, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    marked: bool,
    floor: bool,
    generation: u8,
    /// The next step of the writer.
    writer: u8,
    reported: bool,
    /// The generation at which the entry was last found valid.
    checked: u8,
    readers: [Reader; 2],
    served: bool,
}

struct Generation {
    rules: Rules,
}

impl Model for Generation {
    type State = State;

    fn initial(&self) -> State {
        State {
            marked: false,
            floor: false,
            generation: 1,
            writer: 0,
            reported: false,
            checked: 0,
            readers: [Reader::Idle; 2],
            served: false,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
        if let Some((text, after)) = self.write(state) {
            next.push((Label(text, 0), State { writer: state.writer + 1, ..after }));
        }
        for at in 0..state.readers.len() {
            self.read(state, at, &mut |text, after| next.push((Label(text, at), after)));
        }
    }

    fn violates(&self, state: &State) -> Option<&'static str> {
        state.served.then_some(SERVED)
    }
}

impl Generation {
    fn write(&self, state: &State) -> Option<(&'static str, State)> {
        let bump_last = self.rules.has(Rule::BumpLast);
        let floor_first = self.rules.has(Rule::FloorBeforeDrop);
        let bump = ("the writer bumps the generation", State { generation: state.generation + 1, ..*state });
        let mark = ("the writer marks the tag", State { marked: true, ..*state });
        let floor = ("the map is full: the writer raises the floor", State { floor: true, ..*state });
        let drop = ("the map is full: the writer drops the mark", State { marked: false, ..*state });
        Some(match state.writer {
            0 if bump_last => mark,
            0 | 5 => bump,
            1 if bump_last => bump,
            1 => mark,
            2 => ("the writer reports", State { reported: true, ..*state }),
            3 if floor_first => floor,
            3 => drop,
            4 if floor_first => drop,
            4 => floor,
            _ => return None,
        })
    }

    fn read(&self, state: &State, at: usize, to: &mut dyn FnMut(&'static str, State)) {
        let becomes = |reader| {
            let mut after = *state;
            after.readers[at] = reader;
            after
        };
        let void = |generation, bound| if state.marked { Reader::Idle } else { Reader::Found(generation, bound) };
        match state.readers[at] {
            Reader::Idle => {
                let loaded = becomes(Reader::Loaded(state.generation, state.reported));
                to("reader # loads the generation", loaded);
            }
            Reader::Loaded(generation, bound) if generation == state.checked => {
                let after = State { served: state.served || bound, ..becomes(Reader::Idle) };
                to("reader # serves the entry: nothing has changed", after);
            }
            Reader::Loaded(_, _) if state.floor => to("reader # finds the entry void", becomes(Reader::Idle)),
            Reader::Loaded(generation, bound) if self.rules.has(Rule::OneSnapshot) => {
                to("reader # looks at the ledger", becomes(void(generation, bound)));
            }
            Reader::Loaded(generation, bound) => {
                to("reader # looks at the floor", becomes(Reader::Halfway(generation, bound)));
            }
            Reader::Halfway(generation, bound) => to("reader # looks at the map", becomes(void(generation, bound))),
            Reader::Found(generation, bound) => {
                let checked = if self.rules.has(Rule::LoadFirst) { generation } else { state.generation };
                let served = state.served || bound;
                to("reader # notes the generation and serves", State { checked, served, ..becomes(Reader::Idle) });
            }
        }
    }
}

fn model(rules: Rules) -> Generation {
    Generation { rules }
}

#[test]
fn a_generation_can_be_trusted() {
    holds("generation", model);
}

#[test]
fn without_the_bump_at_the_end_a_reader_in_between_vouches_for_what_is_about_to_go() {
    breaks(Rule::BumpLast, model, SERVED);
}

#[test]
fn without_the_generation_loaded_first_a_reader_vouches_for_what_it_has_not_looked_at() {
    breaks(Rule::LoadFirst, model, SERVED);
}

#[test]
fn without_one_snapshot_a_mark_that_moves_into_the_floor_is_missed() {
    breaks(Rule::OneSnapshot, model, SERVED);
}

#[test]
fn without_the_floor_before_the_drop_a_reader_sees_neither() {
    breaks(Rule::FloorBeforeDrop, model, SERVED);
}
