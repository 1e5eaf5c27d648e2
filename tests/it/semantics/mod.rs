//! What the standards ask for, clause by clause.

mod request_directives;
mod rfc5861_stale;
mod rfc9110_conditional;
mod rfc9110_messages;
mod rfc9110_proxies;
mod rfc9110_ranges;
mod rfc9111_bodies;
mod rfc9111_freshness;
mod rfc9111_invalidation;
mod rfc9111_storing;
mod rfc9111_terms;
mod rfc9111_validation;
mod rfc9111_vary;
mod rfc9211_cache_status;
mod rfc9213_targeted;
mod rfc9875_groups;

use crate::talk::{Asking, Path, Talk};

/// Asks twice for `/p`, and compares what became of the backend's answer.
///
/// `asked` and `answer` are fields between bars; `answer` may begin with a status. `expected` is `hit` if the second
/// asking must be answered from memory, `validate` if the backend must be asked whether the stored answer still holds,
/// `stored` if only that matters, and otherwise the reason why nothing is kept: then the backend is asked for the whole
/// again.
async fn check(config: &str, asked: &str, answer: &str, expected: &str) {
    let case = format!("{config:?} {asked:?} {answer:?}");
    let t = Talk::with(config);
    t.transcript.note(&case);
    t.origin("/p").answers(answer);
    let first = t.get("/p").with_all(asked).await;
    let second = t.get("/p").with_all(asked).await;
    let (first, second) = (first.text("cache-status"), second.text("cache-status"));
    let whole = t.transcript.text();
    match expected {
        "hit" => {
            assert!(first.ends_with("; stored"), "not stored: {whole}");
            assert!(second.contains("; hit; "), "not a hit: {whole}");
            t.origin("/p").was_asked(1);
        }
        "validate" => {
            assert!(first.ends_with("; stored"), "not stored: {whole}");
            assert!(second.contains("; fwd=stale; fwd-status=304; stored"), "not validated: {whole}");
            t.origin("/p").was_asked(2);
        }
        "stored" => assert!(first.ends_with("; stored"), "not stored: {whole}"),
        reason => {
            for status in [first, second] {
                assert!(status.ends_with(&format!("; detail={reason}")), "not refused for {reason}: {whole}");
                assert!(!status.contains("; stored"), "stored: {whole}");
            }
            t.origin("/p").was_asked(2);
        }
    }
}

impl Path {
    /// An answer written as one line: an optional status, then fields, between bars.
    fn answers(self, line: &str) -> Self {
        let mut path = self.replies("body");
        for part in line.split('|').map(str::trim).filter(|part| !part.is_empty()) {
            path = match part.parse() {
                Ok(status) => path.code(status),
                Err(_) => path.with(part),
            };
        }
        path
    }
}

impl Asking {
    /// Fields between bars.
    fn with_all(self, line: &str) -> Self {
        line.split('|').map(str::trim).filter(|part| !part.is_empty()).fold(self, Asking::with)
    }
}
