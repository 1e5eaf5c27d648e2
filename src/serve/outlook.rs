//! Whether this node knows what has changed, as far as a request is concerned.
//!
//! What is stored may be used if the ledger says so and the ledger is up to date. Where it is not, because the log of
//! changes is out of sight or because the request names a change that this node cannot show to have applied, the backend
//! is asked: once in Δ for each key, together with all who want the same, and only by fetches sent after the request
//! arrived.

use std::time::Duration;

use super::settings::{FleetSettings, OnBlind, Unverified};
use crate::rfc::{Moment, Reason};
use crate::store::{Born, Entry, Ledger, Sight};

/// What is known of the log when a request is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Outlook<'a> {
    /// Whether the log is in sight. Asked for *before* the look-up: sight that is regained between the two would vouch for
    /// a ledger that the look-up has not seen.
    pub sight: Sight,
    /// The request wants to see a change that this node cannot show to have applied.
    pub barred: bool,
    /// Δ.
    pub delta: Duration,
    /// What the operator says about it.
    pub settings: &'a FleetSettings,
}

impl Outlook<'_> {
    /// Why `entry` is not to be used as it is, whatever ledger and lifetime say.
    pub fn doubt(&self, entry: &Entry, now: Moment) -> Option<Reason> {
        if self.barred {
            return Some(Reason::Barrier);
        }
        let Sight::Blind { since } = self.sight else { return None };
        let confirmed = entry.born.at >= since && entry.born.at.saturating_add(self.delta) > now.mono;
        (!confirmed).then_some(Reason::Blind)
    }

    /// Whether `entry` is used although it is in doubt.
    pub fn serves_unverified(&self, entry: &Entry, now: Moment) -> bool {
        !self.barred
            && self.settings.on_blind == OnBlind::Serve
            && now.since(entry.facts.received) < self.settings.blind_lifetime
    }

    /// Whether what is in doubt stands in for a backend that fails. Never where the client has named what it wants to see.
    pub fn falls_back_unverified(&self) -> bool {
        !self.barred && self.settings.unverified == Unverified::Serve
    }

    /// Whether only what the backend was asked for after the request's arrival will do.
    pub fn wants_later(&self) -> bool {
        self.barred || self.sight != Sight::Clear
    }
}

/// When a request arrived, for what it may be given of another one's fetch.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// What the ledger had applied, and when that was.
    pub place: Born,
    /// The ledger was not up to date, so its word alone is not enough: the backend must have been asked since.
    pub strict: bool,
}

impl Arrival {
    /// Whether the answer `head` can be given to the request.
    pub fn admits(&self, head: &Entry, ledger: &Ledger) -> bool {
        (!self.strict || head.born.at >= self.place.at) && ledger.admits_tagged(head.born, self.place, &head.marks)
    }

    /// Whether a fetch born at `born` was begun before, so that its answer may be older than what was known then.
    pub fn is_after(&self, born: Born) -> bool {
        let Born { epoch, number, tick, at } = self.place;
        born.epoch != epoch || born.number < number || born.tick < tick || (self.strict && born.at < at)
    }
}
