//! Why something shared could not be had.

use std::fmt;

/// What kept the fleet from answering. Nothing that is asked of it is more than an optimisation or a wait: no client sees
/// one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetError {
    /// It was not asked: it has failed too often lately, or there is no connection.
    Away,
    /// It did not answer in time. What was asked may still be carried out.
    Timeout,
    /// The connection broke while it was being asked.
    Broken(String),
    /// It answered with an error: READONLY, LOADING, OOM, NOAUTH, a wrong type.
    Refused(String),
    /// It answered something that makes no sense.
    Garbled(&'static str),
    /// Another node is the scribe.
    NotScribe,
    /// Too much is waiting for it already.
    Busy,
}

impl FleetError {
    /// Short and stable, for a metric's label.
    pub const fn code(&self) -> &'static str {
        match self {
            FleetError::Away => "away",
            FleetError::Timeout => "timeout",
            FleetError::Broken(_) => "broken",
            FleetError::Refused(_) => "refused",
            FleetError::Garbled(_) => "garbled",
            FleetError::NotScribe => "not-scribe",
            FleetError::Busy => "busy",
        }
    }

    /// Every code there is.
    pub const CODES: &'static [&'static str] =
        &["away", "timeout", "broken", "refused", "garbled", "not-scribe", "busy"];
}

impl fmt::Display for FleetError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FleetError::Away => out.write_str("Redis is away; it is tried again by itself"),
            FleetError::Timeout => out.write_str("Redis did not answer in time"),
            FleetError::Broken(what) => write!(out, "the connection to Redis broke: {what}"),
            FleetError::Refused(what) => write!(out, "Redis refused: {what}"),
            FleetError::Garbled(what) => write!(out, "Redis answered something else than {what}"),
            FleetError::NotScribe => out.write_str("another node is the scribe"),
            FleetError::Busy => out.write_str("too much is waiting for Redis already"),
        }
    }
}

impl std::error::Error for FleetError {}
