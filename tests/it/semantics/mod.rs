//! What the standards ask for, clause by clause.

mod rfc5861_stale;
