//! What HTTP permits: the decisions of a shared cache, as pure functions.
//!
//! Nothing in this room does I/O, reads a clock or knows a configuration file. What it needs is handed in, the time too
//! (a [`Moment`]), so every rule can be tested in a table and `forebay explain` runs the very same functions as a request.
//!
//! An answer passes through in this order:
//!
//! 1. [`RequestFacts`] and [`ResponseFacts`] read what matters out of the fields of the two messages. Malformed input is
//!    no error here, it has a meaning, and that is always the careful one.
//! 2. [`storability`] says whether the answer may be kept (RFC 9111 §3): on which [`Ground`], or for which [`Reason`] not.
//! 3. [`StoredFacts`] is what stays known about a kept answer: a few numbers and flags, nothing to be parsed again.
//! 4. [`reuse`] says for each later request whether the kept answer may be served, as it is or after validation (§4), and
//!    [`permitted_on_error`] whether it may stand in when the backend fails (§4.2.4, RFC 5861).
//! 5. [`invalidated`] says what a write makes worthless (§4.4).
//!
//! [`Terms`] are what the operator adds to the RFC or takes from it; their default is the RFC as it stands. The standards
//! followed are RFC 9110 and 9111, with 5861 (`stale-*`), 8246 (`immutable`) and 9213 (targeted fields).
//!
//! Each decision is written in the order of its section, with the clause quoted above its `if`: `storability.rs` is the
//! one to read first, and to imitate.

mod cache_status;
mod coding;
mod conditional;
mod dates;
mod directives;
mod etag;
mod facts;
mod fields;
mod freshness;
mod groups;
mod invalidation;
mod members;
pub mod notation;
mod range;
mod reason;
mod reuse;
mod storability;
mod terms;
mod time;
mod update;
mod vary;

pub use cache_status::{CacheStatus, Forward};
pub use coding::{Accepted, Coding};
pub use conditional::{
    Precondition, Validators, if_range_matches, not_modified_headers, precondition, strip_conditionals,
};
pub use dates::{format_http_date, parse_http_date};
pub use directives::{MaxStale, RequestDirectives, ResponseDirectives};
pub use etag::{ETag, ETags, etags};
pub use facts::{KEPT_FOR_VALIDATION, RequestFacts, ResponseFacts, StoredFacts};
pub use fields::{
    append_cdn_loop, append_via, is_hop_by_hop, names_us, singleton, strip_hop_by_hop_request,
    strip_hop_by_hop_response,
};
pub use freshness::{age_at_receipt, cacheable_by_default, lifetime, stale_windows};
pub use groups::{Names, cache_tags, group_invalidation, groups, read_cache_tags, read_groups};
pub use invalidation::{invalidated, invalidates};
pub use range::{Multipart, Ranges, content_range, ranges, unsatisfied_range};
pub use reason::Reason;
pub use reuse::{Reuse, Trouble, permitted_on_error, reuse};
pub use storability::{Ground, LifetimeSource, Storability, storability};
pub use terms::{Beats, Heuristic, StatusRange, Terms};
pub use time::Moment;
pub use update::{HeadEffect, head_updates, merge, updates};
pub use vary::{Vary, VaryKey};
