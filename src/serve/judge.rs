//! What is to be done with what was found: the RFC's verdict, the operator's allowance and the ledger's mark, joined.
//!
//! A pure function without `async`. `serve` acts on the verdict; `explain` prints it.

use std::sync::Arc;

use super::outlook::Outlook;
use crate::policy::Rule;
use crate::rfc::{self, Forward, Moment, Reason, RequestFacts, Reuse, Trouble};
use crate::store::{Entry, Found, Standing};

/// What to do about a request that was looked up.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Answer with this, as it stands.
    Serve(Arc<Entry>),
    /// Answer with this, and say that changes may have been missed.
    ServeUnverified(Arc<Entry>),
    /// Answer with this, and refresh it behind the client.
    ServeAndRefresh(Arc<Entry>, Reason),
    /// Ask the backend.
    Fetch(Fetch),
    /// Answer 504: the client wants a stored answer only.
    Refuse(Reason),
}

/// How the backend is to be asked, and what there is if it cannot be.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// As Cache-Status will put it.
    pub forward: Forward,
    /// Why what is stored does not do; `None` for a plain miss.
    pub reason: Option<Reason>,
    /// An answer to validate instead of fetching it again.
    pub validate: Option<Arc<Entry>>,
    /// An answer that may be served if the backend does not deliver.
    pub fallback: Option<Arc<Entry>>,
    /// Changes may have been missed that name the fallback: whoever is served it is told.
    pub unverified: bool,
    /// False where the last answer for this key could not be shared: nobody waits for anybody.
    pub share: bool,
}

/// Judges `found` for the request. `forced` is an authorised demand for a fresh answer.
pub fn judge(
    found: &Found,
    asked: &RequestFacts,
    rule: &Rule,
    forced: bool,
    outlook: &Outlook<'_>,
    now: Moment,
) -> Verdict {
    if forced {
        // What is stored is neither validated nor fallen back to, and no fetch that began before is joined: the client was
        // promised the backend's own word.
        let forward = if matches!(found, Found::Entry(..)) { Forward::Request } else { Forward::UriMiss };
        let reason = Some(Reason::ForcedRefresh);
        let nothing = Fetch { forward, reason, validate: None, fallback: None, unverified: false, share: false };
        return Verdict::Fetch(nothing);
    }
    let (entry, standing) = match found {
        Found::Entry(entry, standing) => (entry, *standing),
        Found::OtherVariants => return missed(asked, rule, Forward::VaryMiss, None),
        Found::Purged => return missed(asked, rule, Forward::UriMiss, Some(Reason::Purged)),
        Found::KnownUncacheable(reason) if concerns(*reason, asked) => {
            return alone(missed(asked, rule, Forward::UriMiss, None));
        }
        Found::KnownUncacheable(_) | Found::Nothing => return missed(asked, rule, Forward::UriMiss, None),
    };
    let verdict = by_mark(entry, standing, asked, rule, now);
    let Some(doubt) = outlook.doubt(entry, now) else { return verdict };
    match verdict {
        Verdict::Serve(entry) if outlook.serves_unverified(&entry, now) => Verdict::ServeUnverified(entry),
        Verdict::ServeAndRefresh(entry, _) if outlook.serves_unverified(&entry, now) => {
            Verdict::ServeAndRefresh(entry, doubt)
        }
        Verdict::Serve(_) | Verdict::ServeAndRefresh(..) => {
            unverified(validate(asked, rule, entry, standing, doubt, now), outlook)
        }
        other => unverified(other, outlook),
    }
}

/// What the mark of the ledger leaves of the RFC's verdict, provided that the ledger knows all changes.
fn by_mark(entry: &Arc<Entry>, standing: Standing, asked: &RequestFacts, rule: &Rule, now: Moment) -> Verdict {
    match (rfc::reuse(asked, &entry.facts, &rule.terms, now), standing) {
        (Reuse::Fresh, Standing::Valid) => Verdict::Serve(Arc::clone(entry)),
        (Reuse::StaleWhileRevalidate, Standing::Valid) => {
            Verdict::ServeAndRefresh(Arc::clone(entry), Reason::StaleWhileRevalidate)
        }
        // A soft mark makes it stale: served once more while one refresh runs, unless stale answers are forbidden.
        (Reuse::Fresh | Reuse::StaleWhileRevalidate, Standing::Soft) => {
            if entry.facts.no_cache || entry.facts.must_revalidate {
                validate(asked, rule, entry, standing, Reason::SoftPurged, now)
            } else {
                Verdict::ServeAndRefresh(Arc::clone(entry), Reason::SoftPurged)
            }
        }
        // A check mark: changes may have been missed. Never served before the backend has said so, not even stale.
        (Reuse::Fresh | Reuse::StaleWhileRevalidate | Reuse::Validate(_), Standing::Check) => {
            validate(asked, rule, entry, standing, Reason::CheckMark, now)
        }
        (Reuse::Validate(reason), _) => validate(asked, rule, entry, standing, reason, now),
        (Reuse::Unusable(reason), _) => missed(asked, rule, Forward::Miss, Some(reason)),
        (_, Standing::Void) => missed(asked, rule, Forward::UriMiss, Some(Reason::Purged)),
    }
}

/// Whether the reason for which another request's answer could not be shared holds for this one's as well. Else a client
/// with credentials could take the shared fetch away from all those without.
pub(super) fn concerns(reason: Reason, asked: &RequestFacts) -> bool {
    match reason {
        Reason::Authorization => asked.authorization,
        Reason::RequestNoStore => asked.directives.no_store,
        Reason::UnkeyedInput => false,
        _ => true,
    }
}

fn validate(
    asked: &RequestFacts,
    rule: &Rule,
    entry: &Arc<Entry>,
    standing: Standing,
    reason: Reason,
    now: Moment,
) -> Verdict {
    if rule.terms.honour_request && asked.directives.only_if_cached {
        return Verdict::Refuse(Reason::OnlyIfCached);
    }
    let by_request = matches!(reason, Reason::RequestNoCache | Reason::RequestMaxAge | Reason::RequestMinFresh);
    let forward = if by_request { Forward::Request } else { Forward::Stale };
    let may_stand_in = match standing {
        Standing::Valid => true,
        // It counts as stale, also while its lifetime lasts.
        Standing::Soft => !entry.facts.must_revalidate,
        Standing::Check | Standing::Void => false,
    };
    let permitted =
        may_stand_in && rfc::permitted_on_error(asked, &entry.facts, &rule.terms, Trouble::Unreachable, now);
    Verdict::Fetch(Fetch {
        forward,
        reason: Some(reason),
        validate: entry.facts.has_validator.then(|| Arc::clone(entry)),
        fallback: permitted.then(|| Arc::clone(entry)),
        unverified: false,
        share: true,
    })
}

fn missed(asked: &RequestFacts, rule: &Rule, forward: Forward, reason: Option<Reason>) -> Verdict {
    if rule.terms.honour_request && asked.directives.only_if_cached {
        return Verdict::Refuse(Reason::OnlyIfCached);
    }
    Verdict::Fetch(Fetch { forward, reason, validate: None, fallback: None, unverified: false, share: true })
}

/// What can be served if the backend does not deliver has not been confirmed either.
fn unverified(verdict: Verdict, outlook: &Outlook<'_>) -> Verdict {
    match verdict {
        Verdict::Fetch(fetch) => {
            let fallback = fetch.fallback.filter(|_| outlook.falls_back_unverified());
            Verdict::Fetch(Fetch { fallback, unverified: true, ..fetch })
        }
        other => other,
    }
}

fn alone(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Fetch(fetch) => Verdict::Fetch(Fetch { share: false, ..fetch }),
        other => other,
    }
}
