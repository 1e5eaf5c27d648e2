//! One rule, ready to be asked: does it hear a message, does it hold for it, what does it name?

use std::fmt;

use serde_json::Value;

use super::channel::ChannelPattern;
use super::field::FieldPath;
use super::message::{Message, read, read_record};
use super::target::{Given, Target};
use super::{Dropped, Skip, Subscription, Widened};
use crate::changes::{Purge, Selector};

/// Where a message names its kind, unless the rule says where: the first of these that is there.
pub(super) const EVENT_AT: [&str; 3] = ["/eventType", "/type", "/event"];

/// A rule, read.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: Box<str>,
    pub(super) feed: Feed,
    /// Empty: all kinds.
    pub(super) events: Vec<String>,
    /// The first that is there counts.
    pub(super) event_at: Vec<FieldPath>,
    pub(super) conditions: Vec<Condition>,
    pub(super) targets: Vec<(Target, Purge)>,
}

/// Where its messages come from.
#[derive(Clone, Debug)]
pub(super) enum Feed {
    Channel {
        pattern: ChannelPattern,
        /// The captures' own names in braces, for a message of no channel.
        sample: Vec<String>,
    },
    Stream {
        key: String,
        record_field: String,
    },
}

/// What must stand at one place of the message.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) written: Box<str>,
    pub(super) at: FieldPath,
    pub(super) value: String,
}

/// Why a rule does not hold for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It is about other channels, or about a stream.
    Channel,
    /// It is about other events.
    Event {
        /// What the message says it is, if it says so; at most 100 characters of it.
        found: Option<String>,
    },
    /// A condition of its `where` does not hold.
    Where {
        /// The condition's pointer.
        pointer: String,
    },
}

impl fmt::Display for Miss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Miss::Channel => out.write_str("it is about other channels"),
            Miss::Event { found: Some(found) } => write!(out, "it is about another event than {found:?}"),
            Miss::Event { found: None } => out.write_str("it is about one kind of event, and the message names none"),
            Miss::Where { pointer } => write!(out, "its condition at `{pointer}` does not hold"),
        }
    }
}

/// A rule that hears a message, and what it captured of the channel.
#[derive(Clone, Debug)]
pub(super) struct Heard<'r, 'm> {
    pub(super) rule: &'r Rule,
    captures: Vec<&'m str>,
}

/// What a rule names for a message.
#[derive(Debug, Default)]
pub(super) struct Named<'r> {
    pub(super) selectors: Vec<(Selector, Purge)>,
    pub(super) skipped: Vec<Skip<'r>>,
    pub(super) widened: Option<Widened>,
}

impl Rule {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The field of a record that holds the message; the same for all rules about channels.
    pub(super) fn record_field(&self) -> &str {
        match &self.feed {
            Feed::Channel { .. } => "",
            Feed::Stream { record_field, .. } => record_field,
        }
    }

    pub(super) fn subscription(&self) -> Subscription {
        match &self.feed {
            Feed::Channel { pattern, .. } if pattern.is_plain() => Subscription::Channel(pattern.as_redis()),
            Feed::Channel { pattern, .. } => Subscription::Pattern(pattern.as_redis()),
            Feed::Stream { key, .. } => Subscription::Stream(key.clone()),
        }
    }

    /// Whether messages from there are its own.
    pub(super) fn hears<'m>(&self, message: &Message<'m>) -> Option<Heard<'_, 'm>> {
        let captures = match (&self.feed, message) {
            (Feed::Channel { pattern, .. }, Message::Published { channel, .. }) => pattern.capture(channel)?,
            (Feed::Stream { key, .. }, Message::Recorded { stream, .. }) if key == stream => Vec::new(),
            _ => return None,
        };
        Some(Heard { rule: self, captures })
    }

    /// As if it had heard a message, wherever it came from.
    pub(super) fn hears_all(&self) -> Heard<'_, '_> {
        let captures = match &self.feed {
            Feed::Channel { sample, .. } => sample.iter().map(String::as_str).collect(),
            Feed::Stream { .. } => Vec::new(),
        };
        Heard { rule: self, captures }
    }

    /// The message as an object.
    pub(super) fn read(&self, message: &Message<'_>) -> Result<Value, Dropped<'static>> {
        match message {
            Message::Published { payload, .. } => read(payload),
            Message::Recorded { fields, .. } => read_record(fields, self.record_field()),
        }
    }

    /// Whether it holds for this message, wherever it came from.
    pub(super) fn fits(&self, message: &Value) -> Result<(), Miss> {
        if !self.events.is_empty() {
            let found = self.event_at.iter().find_map(|at| at.scalar(message));
            if !found.as_deref().is_some_and(|found| self.events.iter().any(|event| event == found)) {
                return Err(Miss::Event { found: found.map(|found| found.chars().take(100).collect()) });
            }
        }
        let unmet = self.conditions.iter().find(|wanted| wanted.at.scalar(message).as_deref() != Some(&wanted.value));
        unmet.map_or(Ok(()), |unmet| Err(Miss::Where { pointer: unmet.written.to_string() }))
    }

    /// How hard it hits at its hardest.
    fn hardest(&self) -> Purge {
        let hard = self.targets.iter().any(|(_, purge)| *purge == Purge::Hard);
        if hard { Purge::Hard } else { Purge::Soft }
    }
}

impl<'r> Heard<'r, '_> {
    /// What it names, at most `room` things; more, and it is everything that the rule governs.
    pub(super) fn draw(&self, message: &Value, room: usize) -> Named<'r> {
        let rule = self.rule;
        let given = Given { captures: &self.captures, message };
        let mut named = Named::default();
        for (target, purge) in &rule.targets {
            let drawn = target.draw(&given, room.saturating_sub(named.selectors.len()));
            named.skipped.extend(drawn.skipped);
            if drawn.widened.is_some() {
                let everything = (Selector::Governed(rule.name().to_owned()), rule.hardest());
                return Named { selectors: vec![everything], skipped: named.skipped, widened: drawn.widened };
            }
            named.selectors.extend(drawn.selectors.into_iter().map(|selector| (selector, *purge)));
        }
        named
    }
}
