//! Change notifications over pub/sub: one node appends what all hear, and nothing that anybody heard is lost.
//!
//! Two nodes, two messages, of the same content or not. Node 0 is the scribe until it crashes; then whoever takes the
//! token over is. A subscription is lost without anybody noticing; a message passes it by; later it is renewed. A
//! holder's 100 ms may end at any time, also before a record that is already in the log has been read here.
//!
//! Promised, where messages differ: what a living node heard is in the log, or in the hands of one who will append it.
//! Promised always: once every node is subscribed and there is a scribe, each message is in the log or a check mark behind
//! it, or in somebody's hands; also one that nobody heard.

use crate::rules::{Rule, Rules};
use crate::search::{Label, Model};
use crate::{breaks, cannot_promise, holds};

const DROPPED: &str = "a message that a living node heard is in nobody's hands";
const LOST: &str = "a message is lost";

const LOG: usize = 4;
const NODES: usize = 2;
const CHECK: u8 = 9;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Message {
    published: bool,
    /// The log has a record of it, or a check mark, that was appended since.
    recorded: bool,
    /// Bits of the nodes that heard it and live.
    heard: u8,
    /// Bits of the nodes that wait for its record.
    held: u8,
    /// Bits of the nodes that have appended it themselves.
    appended: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subscription {
    Lost,
    /// The wrong order: marked first, not yet subscribed.
    Checked,
    /// Subscribed, the check mark still to come.
    Unchecked,
    Good,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Node {
    up: bool,
    subscription: Subscription,
    applied: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    messages: [Message; 2],
    /// What the slower node has not read: the content of each record, or `CHECK`.
    log: [u8; LOG + 1],
    top: u8,
    nodes: [Node; NODES],
    scribe: Option<usize>,
}

/// What is searched, as the bounds of the promise ask for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    /// Messages differ; anything may fail.
    Distinct,
    /// Messages are alike; the scribe may die, but nobody is deaf or slow: holders append only what it left.
    AlikeInTime,
    /// Messages are alike; anything may fail.
    Alike,
}

struct Scribe {
    rules: Rules,
    case: Case,
    prompt: bool,
}

type To<'a> = dyn FnMut(&'static str, usize, State) + 'a;

impl Model for Scribe {
    type State = State;

    fn initial(&self) -> State {
        let node = Node { up: true, subscription: Subscription::Good, applied: 0 };
        State { messages: [Message::default(); 2], log: [0; LOG + 1], top: 0, nodes: [node; NODES], scribe: Some(0) }
    }

    fn steps(&self, state: &State, next: &mut Vec<(Label, State)>) {
        let mut to = |text, number, after: State| next.push((Label(text, number), after.without_what_all_have_read()));
        if state.messages.iter().all(|message| message.recorded) {
            return;
        }
        if let Some(number) = state.messages.iter().position(|message| !message.published) {
            to("message # is published", number, state.published(number));
        }
        for at in 0..NODES {
            if state.nodes[at].up {
                self.append(state, at, &mut to);
                self.apply(state, at, &mut to);
                self.subscribe(state, at, &mut to);
                self.take_over(state, at, &mut to);
                to("node # crashes", at, state.without(at));
            } else if self.case != Case::AlikeInTime {
                let mut after = *state;
                after.nodes[at] = Node { up: true, subscription: Subscription::Lost, applied: state.top };
                to("node # joins", at, after);
            }
        }
    }

    fn violates(&self, state: &State) -> Option<&'static str> {
        let up = || state.nodes.iter().filter(|node| node.up);
        let calm = state.scribe.is_some() && up().all(|node| node.subscription == Subscription::Good);
        for message in state.messages.iter().filter(|message| message.published) {
            let will_append = (0..NODES).any(|at| {
                let appends = self.rules.has(Rule::HoldersAppend) || state.scribe == Some(at);
                message.held & (1 << at) != 0 && appends
            });
            if self.prompt && message.heard != 0 && !message.recorded && !will_append {
                return Some(DROPPED);
            }
            if calm && !message.recorded && message.held == 0 {
                return Some(LOST);
            }
        }
        None
    }
}

impl Scribe {
    fn record(&self, state: &mut State, kind: u8) -> Option<u8> {
        if state.top as usize == LOG {
            return None;
        }
        state.top += 1;
        state.log[state.top as usize] = kind;
        for (number, message) in state.messages.iter_mut().enumerate() {
            message.recorded |= message.published && (kind == CHECK || kind == self.content(number));
        }
        Some(state.top)
    }

    /// From 1: 0 is no content.
    fn content(&self, message: usize) -> u8 {
        if self.case == Case::Distinct && message == 1 { 2 } else { 1 }
    }

    fn append(&self, state: &State, at: usize, to: &mut To) {
        let is_scribe = state.scribe == Some(at);
        for (number, message) in state.messages.iter().enumerate() {
            let waits = message.held & (1 << at) != 0 && message.appended & (1 << at) == 0;
            let is_late = state.scribe.is_none() && !message.recorded;
            let in_time = self.case != Case::AlikeInTime || is_scribe || is_late;
            if !waits || !in_time || !(is_scribe || self.rules.has(Rule::HoldersAppend)) {
                continue;
            }
            let mut after = *state;
            if self.record(&mut after, self.content(number)).is_some() {
                after.messages[number].appended |= 1 << at;
                to(if is_scribe { "scribe # appends" } else { "holder # appends after its 100 ms" }, at, after);
            }
        }
    }

    fn apply(&self, state: &State, at: usize, to: &mut To) {
        let node = state.nodes[at];
        if node.applied == state.top {
            return;
        }
        let mut after = *state;
        after.nodes[at].applied += 1;
        let kind = state.log[after.nodes[at].applied as usize];
        for (number, message) in after.messages.iter_mut().enumerate() {
            // What the scribe has not appended yet, no record of somebody else can stand for.
            let is_open = state.scribe == Some(at) && message.appended & (1 << at) == 0;
            let kept = is_open && self.rules.has(Rule::ScribeAppendsAll);
            if kind == self.content(number) && message.held & (1 << at) != 0 && !kept {
                message.held &= !(1 << at);
                if self.rules.has(Rule::MatchedOneForOne) {
                    break;
                }
            }
        }
        to("node # reads the next record", at, after);
    }

    fn subscribe(&self, state: &State, at: usize, to: &mut To) {
        let mut becomes = |text, subscription, check: bool| {
            let mut after = *state;
            after.nodes[at].subscription = subscription;
            if !check || self.record(&mut after, CHECK).is_some() {
                to(text, at, after);
            }
        };
        let checks = self.rules.has(Rule::CheckOnSubscription);
        match state.nodes[at].subscription {
            Subscription::Good => {
                if self.case != Case::AlikeInTime {
                    becomes("the subscription of node # is lost", Subscription::Lost, false);
                }
            }
            Subscription::Lost if !checks => becomes("node # is subscribed again", Subscription::Good, false),
            Subscription::Lost if self.rules.has(Rule::SubscribedBeforeCheck) => {
                becomes("node # is subscribed again", Subscription::Unchecked, false);
            }
            Subscription::Lost => becomes("node # appends a check mark", Subscription::Checked, true),
            Subscription::Checked => becomes("node # is subscribed again", Subscription::Good, false),
            Subscription::Unchecked => becomes("node # appends a check mark", Subscription::Good, true),
        }
    }

    fn take_over(&self, state: &State, at: usize, to: &mut To) {
        if state.scribe.is_some() {
            return;
        }
        let mut after = State { scribe: Some(at), ..*state };
        if !self.rules.has(Rule::CheckOnTakeOver) || self.record(&mut after, CHECK).is_some() {
            to("node # takes the scribe's token over", at, after);
        }
    }
}

impl State {
    /// Forgets the records that every node has read, so that the log has no end and yet few states differ.
    fn without_what_all_have_read(mut self) -> Self {
        let read = self.nodes.iter().filter(|node| node.up).map(|node| node.applied).min().unwrap_or(self.top);
        self.log.copy_within(1 + read as usize.., 1);
        self.top -= read;
        self.log[self.top as usize + 1..].fill(0);
        for node in self.nodes.iter_mut().filter(|node| node.up) {
            node.applied -= read;
        }
        for message in &mut self.messages {
            message.appended &= message.held;
        }
        self
    }

    fn published(&self, number: usize) -> Self {
        let mut after = *self;
        let listening = |at: &usize| {
            let listens = matches!(self.nodes[*at].subscription, Subscription::Good | Subscription::Unchecked);
            self.nodes[*at].up && listens
        };
        let heard = (0..NODES).filter(listening).fold(0, |bits, at| bits | 1 << at);
        after.messages[number] = Message { published: true, recorded: false, heard, held: heard, appended: 0 };
        after
    }

    fn without(&self, at: usize) -> Self {
        let mut after = *self;
        after.nodes[at] = Node { up: false, subscription: Subscription::Lost, applied: 0 };
        after.scribe = self.scribe.filter(|scribe| *scribe != at);
        for message in &mut after.messages {
            message.heard &= !(1 << at);
            message.held &= !(1 << at);
        }
        after
    }
}

fn distinct(rules: Rules) -> Scribe {
    Scribe { rules, case: Case::Distinct, prompt: true }
}

fn alike_in_time(rules: Rules) -> Scribe {
    Scribe { rules, case: Case::AlikeInTime, prompt: true }
}

fn alike(rules: Rules) -> Scribe {
    Scribe { rules, case: Case::Alike, prompt: false }
}

#[test]
fn no_message_is_lost() {
    holds("scribe, messages that differ", distinct);
    holds("scribe, messages alike, in time", alike_in_time);
    holds("scribe, messages alike", alike);
}

/// Two messages alike, a late record of the first and a crash: the second is in nobody's hands until the take-over.
#[test]
fn of_two_messages_alike_the_second_may_have_to_wait_for_the_take_over() {
    let prompt = |rules| Scribe { rules, case: Case::Alike, prompt: true };
    cannot_promise("that messages alike are never dropped for one another", prompt, DROPPED);
}

#[test]
fn without_holders_that_append_a_crash_of_the_scribe_leaves_a_message_to_nobody() {
    breaks(Rule::HoldersAppend, distinct, DROPPED);
}

#[test]
fn without_one_record_for_one_message_two_alike_are_taken_for_one() {
    breaks(Rule::MatchedOneForOne, alike_in_time, DROPPED);
}

#[test]
fn without_a_check_mark_on_subscription_what_nobody_heard_is_lost() {
    breaks(Rule::CheckOnSubscription, distinct, LOST);
}

#[test]
fn without_the_subscription_before_the_check_mark_a_message_between_the_two_is_lost() {
    breaks(Rule::SubscribedBeforeCheck, distinct, LOST);
}

#[test]
fn without_a_check_mark_on_take_over_a_message_dropped_for_another_is_lost_with_the_scribe() {
    breaks(Rule::CheckOnTakeOver, alike, LOST);
}

#[test]
fn without_a_scribe_that_appends_all_it_drops_its_own_message_for_a_copy_of_another() {
    breaks(Rule::ScribeAppendsAll, alike, LOST);
}
