//! What became of a message.

use std::fmt;

use super::message::{MAX_DEPTH, MAX_MESSAGE};
use crate::changes::Change;

/// What a message amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapped<'r> {
    /// What changed, in the order of the rules, each once; at most [`MAX_CHANGES`](super::MAX_CHANGES).
    pub changes: Vec<Change>,
    /// The rules that hold for the message, in the order of the file.
    pub matched: Vec<Matched<'r>>,
    /// Why nothing changed; there exactly if `changes` is empty.
    pub dropped: Option<Dropped<'r>>,
}

/// One rule that holds for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched<'r> {
    /// The rule's name.
    pub rule: &'r str,
    /// How many of [`Mapped::changes`] came from it; those of the rules follow one another.
    pub changes: usize,
    /// Why the change became everything the rule governs.
    pub widened: Option<Widened>,
    /// What it would have named, too, if the message had said what.
    pub skipped: Vec<Skip<'r>>,
}

/// Why a message changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropped<'r> {
    /// Longer than [`MAX_MESSAGE`].
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// No text.
    NotUtf8 {
        /// The first byte that is none, from 0.
        at: usize,
    },
    /// No JSON.
    NotJson {
        /// The line of the mistake, from 1.
        line: usize,
        /// Its column, from 1.
        column: usize,
    },
    /// Deeper than [`MAX_DEPTH`].
    TooDeep,
    /// JSON, but not an object.
    NotAnObject,
    /// No rule is about it.
    NoRule,
    /// Rules are about it, but it lacks what they name; the first of it.
    Skipped(Skip<'r>),
    /// Rules are about it, and its lists are empty.
    NothingNamed,
}

/// A target that came to nothing, or to less than the message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip<'r> {
    /// What it names is absent, null, empty or an object.
    Missing {
        /// The target as written.
        target: &'r str,
        /// What stands in its braces.
        field: &'r str,
    },
    /// What it names as part of a host can be none.
    NoHost {
        /// The target as written.
        target: &'r str,
        /// What stands in its braces.
        field: &'r str,
    },
}

/// Why a change is wider than the message says: everything that the rule governs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Widened {
    /// More would have been named than one message may name.
    TooMany,
    /// A name would have been longer than names are.
    LongName,
    /// A number is too large for JSON to be told from its neighbours; identifiers like that are better sent as text.
    InexactNumber,
}

impl Dropped<'_> {
    /// For metrics and for counting kinds.
    pub fn code(&self) -> &'static str {
        match self {
            Dropped::TooLarge { .. } => "too-large",
            Dropped::NotUtf8 { .. } => "not-utf8",
            Dropped::NotJson { .. } => "not-json",
            Dropped::TooDeep => "too-deep",
            Dropped::NotAnObject => "not-an-object",
            Dropped::NoRule => "no-rule",
            Dropped::Skipped(skip) => skip.code(),
            Dropped::NothingNamed => "nothing-named",
        }
    }
}

impl fmt::Display for Dropped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dropped::TooLarge { bytes } => write!(out, "the message has {bytes} bytes; the limit is {MAX_MESSAGE}"),
            Dropped::NotUtf8 { at } => write!(out, "the message is not UTF-8, from byte {at} on"),
            Dropped::NotJson { line, column } => {
                write!(out, "the message is no JSON: see its line {line}, column {column}")
            }
            Dropped::TooDeep => write!(out, "the message is more than {MAX_DEPTH} levels deep"),
            Dropped::NotAnObject => out.write_str("the message is JSON, but no object"),
            Dropped::NoRule => out.write_str("no rule is about this message"),
            Dropped::Skipped(skip) => skip.fmt(out),
            Dropped::NothingNamed => out.write_str("the lists that the rule's targets name are empty"),
        }
    }
}

impl Skip<'_> {
    /// For metrics and for counting kinds.
    pub fn code(&self) -> &'static str {
        match self {
            Skip::Missing { .. } => "missing-field",
            Skip::NoHost { .. } => "no-host",
        }
    }
}

impl fmt::Display for Skip<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skip::Missing { target, field } => write!(out, "the message has no value at `{field}`, for `{target}`"),
            Skip::NoHost { target, field } => {
                write!(out, "the value at `{field}` is no part of a host, for `{target}`")
            }
        }
    }
}

impl Widened {
    /// For metrics and for counting kinds.
    pub fn code(self) -> &'static str {
        match self {
            Widened::TooMany => "too-many-changes",
            Widened::LongName => "long-name",
            Widened::InexactNumber => "inexact-number",
        }
    }
}

impl fmt::Display for Widened {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Widened::TooMany => "more would be named than one message may name",
            Widened::LongName => "a name would be longer than 8 KiB",
            Widened::InexactNumber => "a number is too large to be exact",
        })
    }
}
