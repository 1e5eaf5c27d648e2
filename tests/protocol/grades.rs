//! Three grades of mark on tags and on everything, a map that overflows, and a subscription that was lost.
//!
//! A record is hard, check or soft, and names one of two tags or all. An entry under one tag or both may be born at any
//! number up to the log's newest, also beyond what this node has applied: others fetch too. One commit of the backend
//! is announced to nobody; the node that finds its subscription lost marks what it may have missed.
//!
//! Promised: what a hard or a check mark names is not served without asking the backend, and what a soft one names is
//! not served as fresh.

use crate::rules::{Rule, Rules};
use crate::search::{Label, Model};
use crate::{breaks, holds};

const UNASKED: &str = "an entry under a hard or check mark is served without asking";
const FRESH: &str = "an entry under a soft mark is served as fresh";
const MISSED: &str = "what a lost subscription may have missed is served without asking";

const LOG: usize = 3;
const SOFT: usize = 0;
const CHECK: usize = 1;
const HARD: usize = 2;
const TAGS: usize = 2;
/// The bits of a record that names everything, of an entry under both tags.
const ALL: u8 = 3;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Record {
    grade: u8,
    tags: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kept {
    tags: u8,
    born: u8,
    /// Fetched before the commit that nobody heard of.
    missed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subscription {
    Healthy,
    /// The backend has committed and announced, and nobody heard it.
    Deaf,
    /// Back, and the check mark has this number.
    Marked(u8),
}

/// Newest number per grade; without the rule one number, with the grade that it had.
type Marks = [u8; 3];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    top: u8,
    log: [Record; LOG + 1],
    applied: u8,
    marks: [Marks; TAGS],
    floors: Marks,
    entry: Option<Kept>,
    subscription: Subscription,
}

struct Grades {
    rules: Rules,
}

type To<'a> = dyn FnMut(&'static str, usize, State) + 'a;

impl Model for Grades {
    type State = State;

    fn initial(&self) -> State {
        State {
            top: 0,
            log: [Record::default(); LOG + 1],
            applied: 0,
            marks: [[0; 3]; TAGS],
            floors: [0; 3],
            entry: None,
            subscription: Subscription::Healthy,
        }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
        let mut to = |text, number, after: State| next.push((Label(text, number), after));
        for (grade, text) in [
            (SOFT, "a soft mark on # (1 and 2 are tags, 3 is all)"),
            (CHECK, "a check mark on # (1 and 2 are tags, 3 is all)"),
            (HARD, "a hard mark on # (1 and 2 are tags, 3 is all)"),
        ] {
            for tags in 1..=ALL {
                let mut after = *state;
                if after.append(grade, tags).is_some() {
                    to(text, tags as usize, after);
                }
            }
        }
        if state.applied < state.top {
            let mut after = State { applied: state.applied + 1, ..*state };
            let record = state.log[after.applied as usize];
            after.mark(record.grade as usize, record.tags, after.applied, self.rules);
            to("the node applies #", after.applied as usize, after);
        }
        if state.entry.is_none() {
            for tags in 1..=ALL {
                for born in 0..=state.top {
                    let missed = state.subscription == Subscription::Healthy;
                    let entry = Some(Kept { tags, born, missed });
                    to("an entry, born at #, is kept", born as usize, State { entry, ..*state });
                }
            }
        }
        self.lose_a_subscription(state, &mut to);
        self.overflow(state, &mut to);
    }

    fn violates(&self, state: &State) -> Option<&'static str> {
        let kept = state.entry?;
        let named = |record: &Record| record.tags & kept.tags != 0;
        let since = (kept.born + 1).min(state.applied + 1)..=state.applied;
        let demanded =
            since.map(|number| state.log[number as usize]).filter(named).map(|record| record.grade + 1).max();
        let verdict = state.verdict(kept);
        if verdict < Some(CHECK) {
            if demanded.map(usize::from) > Some(CHECK) {
                return Some(UNASKED);
            }
            let marked = matches!(state.subscription, Subscription::Marked(number) if state.applied >= number);
            if kept.missed && marked {
                return Some(MISSED);
            }
        }
        (verdict.is_none() && demanded.is_some()).then_some(FRESH)
    }
}

impl Grades {
    fn lose_a_subscription(&self, state: &State, to: &mut To) {
        if state.subscription == Subscription::Healthy {
            to("a change is announced and nobody hears it", 0, State { subscription: Subscription::Deaf, ..*state });
        }
        if state.subscription == Subscription::Deaf {
            let mut after = *state;
            let number = if self.rules.has(Rule::NumberFromAppend) {
                after.append(CHECK, ALL)
            } else {
                after.mark(CHECK, ALL, state.applied, self.rules);
                Some(state.applied)
            };
            if let Some(number) = number {
                after.subscription = Subscription::Marked(number);
                to("subscribed again: a check mark on all, with number #", number as usize, after);
            }
        }
    }

    /// The map is full: both tags are forgotten.
    fn overflow(&self, state: &State, to: &mut To) {
        let dropped = || state.marks.iter().flatten().copied().filter(|number| *number > 0);
        let (Some(lowest), Some(highest)) = (dropped().min(), dropped().max()) else { return };
        let floor = if self.rules.has(Rule::FloorCoversAllDropped) { highest } else { lowest };
        let mut after = State { marks: [[0; 3]; TAGS], ..*state };
        after.floors[CHECK] = after.floors[CHECK].max(floor);
        to("the map is full: all marks are dropped, the floor is #", floor as usize, after);
    }
}

impl State {
    fn append(&mut self, grade: usize, tags: u8) -> Option<u8> {
        if self.top as usize == LOG {
            return None;
        }
        self.top += 1;
        self.log[self.top as usize] = Record { grade: u8::try_from(grade).ok()?, tags };
        Some(self.top)
    }

    fn mark(&mut self, grade: usize, tags: u8, number: u8, rules: Rules) {
        let set = |marks: &mut Marks| {
            if !rules.has(Rule::GradesApart) {
                *marks = [0; 3];
            }
            marks[grade] = number;
        };
        match tags {
            ALL => set(&mut self.floors),
            tag => set(&mut self.marks[tag as usize - 1]),
        }
    }

    /// The strictest grade above the entry's birth, if there is one.
    fn verdict(&self, kept: Kept) -> Option<usize> {
        let tags = (0..TAGS).filter(|tag| kept.tags & (1 << tag) != 0).map(|tag| self.marks[tag]);
        let newest = |grade: usize| tags.clone().map(|marks| marks[grade]).chain([self.floors[grade]]).max();
        (SOFT..=HARD).rev().find(|grade| newest(*grade) > Some(kept.born))
    }
}

fn model(rules: Rules) -> Grades {
    Grades { rules }
}

#[test]
fn the_strictest_mark_above_a_birth_decides() {
    holds("grades", model);
}

#[test]
fn without_grades_kept_apart_a_later_soft_mark_hides_an_earlier_hard_one() {
    breaks(Rule::GradesApart, model, UNASKED);
}

#[test]
fn without_a_number_from_an_append_a_check_mark_misses_what_others_fetched() {
    breaks(Rule::NumberFromAppend, model, MISSED);
}

#[test]
fn without_a_floor_above_all_dropped_marks_the_higher_ones_are_forgotten() {
    breaks(Rule::FloorCoversAllDropped, model, FRESH);
}
