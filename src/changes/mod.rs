//! Whatever alters the cache without a client asking for it.
//!
//! A [`Change`] says what is no longer what it was, and what to do about it. All changes end in the [`Bus`], whoever
//! announces them: the admin API, an unsafe method passing through, a field of an answer. The bus does one thing: it
//! appends to the fleet's log, and applies what the log says, in its order, to this node's ledger. Nothing else
//! invalidates, so nothing else has to be looked at to know what was, when, and why.
//!
//! What the backend announces in messages of its own becomes changes by [`rules`].

mod bus;
mod change;
mod everywhere;
mod hear;
mod held;
mod queue;
pub mod rules;
mod sight;
#[cfg(test)]
mod trials;

pub use bus::{AuditLine, Bus, BusError, BusSettings, Published, Reached, Receipt};
pub use change::{Action, Change, Purge, Selector, Source};
pub use everywhere::Everywhere;
pub use hear::{HeardStats, Hearing};
pub use rules::{ChangeRuleSettings, ChangeRules, RuleProblem, TARGET_KINDS};
pub use sight::SightStats;
