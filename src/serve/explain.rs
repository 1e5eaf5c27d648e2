//! Why a URL is, or is not, answered from the cache.
//!
//! Runs steps 2 to 5 with the very functions that serve a request, and says what each of them found. Nothing is changed by
//! asking. Where nothing is stored the backend can be asked, to say what would be done with its answer.

use std::sync::Arc;

use http::{Request, StatusCode};
use serde::Serialize;

use super::admit::{self, Client};
use super::forward::Outbound;
use super::judge::{self, Fetch, Verdict};
use super::keep::{Candidate, Keep};
use super::{Gateway, Journey, keep};
use crate::policy::KeyBuf;
use crate::rfc::{Forward, Moment, Reason};
use crate::store::{Entry, Found, Sight, Standing, Wanted};

/// What would happen to a request, and why.
#[derive(Debug, Default, Serialize)]
pub struct Explanation {
    /// The request.
    pub request: String,
    /// What happens, in a word: `serve`, `serve-and-refresh`, `validate`, `fetch`, `pass`, `refuse`.
    pub verdict: &'static str,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Why>,
    /// The route that applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The backend it leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Path and query as the backend sees them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<String>,
    /// What it is kept under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
    /// What another node has fetched, where this one would look for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<Stored>,
    /// For how many seconds the log of changes has been out of sight, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blind_for: Option<u64>,
    /// What the backend answers now, and what would be done with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<Answered>,
}

/// A reason in full.
#[derive(Debug, Serialize)]
pub struct Why {
    /// The code that Cache-Status, log and metrics carry.
    pub code: &'static str,
    /// The source of the rule.
    pub clause: &'static str,
    /// For people.
    pub sentence: &'static str,
}

/// A stored answer, with the arithmetic of its lifetime. Times in seconds.
#[derive(Debug, Serialize)]
pub struct Stored {
    /// Its status.
    pub status: u16,
    /// Its age.
    pub age: u64,
    /// How long it is fresh from its origin.
    pub lifetime: u64,
    /// Where the lifetime comes from.
    pub lifetime_from: &'static str,
    /// What is left of it; negative when stale.
    pub left: i64,
    /// In words: `300 s (max-age) − 37 s (age) = 263 s`.
    pub arithmetic: String,
    /// How long it may be served stale while it is refreshed.
    pub stale_while_revalidate: u64,
    /// How long it may be served stale when the backend fails; `None` where nobody said.
    pub stale_if_error: Option<u64>,
    /// Whether it can be validated.
    pub validator: bool,
    /// What the ledger permits: `valid`, `soft`, `check`.
    pub standing: &'static str,
    /// The ledger's number it was fetched at.
    pub born: u64,
    /// What it can be purged by.
    pub tags: Vec<String>,
    /// The bytes of its body.
    pub bytes: usize,
}

/// The backend's answer, judged.
#[derive(Debug, Default, Serialize)]
pub struct Answered {
    /// Its status; `None` when it did not answer.
    pub status: Option<u16>,
    /// Whether it would be kept.
    pub kept: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Why>,
    /// For how long, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u64>,
    /// Where the lifetime comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime_from: Option<&'static str>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<Reason> for Why {
    fn from(reason: Reason) -> Self {
        Self { code: reason.code(), clause: reason.clause(), sentence: reason.sentence() }
    }
}

impl Gateway {
    /// Explains what would happen to `request` now. `ask` also asks the backend when its answer would be needed.
    pub async fn explain(&self, client: Client, request: Request<super::body::Body>, ask: bool) -> Explanation {
        let mut said = Explanation { request: format!("{} {}", request.method(), request.uri()), ..Default::default() };
        let now = self.clock().now();
        let asked = match admit::admit(self.settings(), client, request) {
            Ok((asked, _)) => asked,
            Err((reason, _)) => return said.verdict("refuse", Some(reason)),
        };
        let policy = self.policy();
        let target = asked.target();
        let routed = policy.route(&asked.method, &target, &asked.headers);
        let forwarded = routed.rule.forward_path(&target, &routed.captures);
        said.route = Some(routed.rule.name.to_string());
        said.origin = Some(routed.rule.origin.to_string());
        said.forwarded = Some(forwarded.to_string());
        if let Some(reason) = super::refusal(&policy, routed.rule, &asked) {
            return said.verdict("refuse", Some(reason));
        }
        let outlook = self.outlook(now);
        let journey = Journey {
            asked: &asked,
            policy: &policy,
            routed: &routed,
            forwarded: &forwarded,
            arrival: self.arrival(&outlook, now),
            outlook,
            interim: &|| None,
        };
        if let Some(reason) = super::bypass(&journey) {
            return said.verdict("pass", Some(reason));
        }
        let mut key = KeyBuf::new();
        if let Err(reason) = routed.rule.key(&target, &routed.captures, &forwarded, &asked.headers, &mut key) {
            return said.verdict("pass", Some(reason));
        }
        said.key = Some(key.to_key().to_string());
        if let Sight::Blind { since } = journey.outlook.sight {
            said.blind_for = Some(now.mono.saturating_sub(since).as_secs());
        }
        let found = self.store().look_up(key.as_slice(), &asked.headers, now);
        if let Found::Entry(entry, standing) = &found {
            said.stored = Some(stored(entry, *standing, now));
        }
        let verdict = judge::judge(&found, &asked.facts, routed.rule, asked.forced, &journey.outlook, now);
        let fetches = matches!(&verdict, Verdict::Fetch(fetch) if fetch.share && fetch.forward != Forward::Request);
        if fetches && let Some((entry, standing)) = self.shared_copy(&journey, &key, now).await {
            said.shared = Some(stored(&entry, standing, now));
            let found = Found::Entry(entry, standing);
            let verdict = judge::judge(&found, &asked.facts, routed.rule, asked.forced, &journey.outlook, now);
            if matches!(verdict, Verdict::Serve(_)) {
                return said.judged(&found, verdict);
            }
        }
        if ask && matches!(verdict, Verdict::Fetch(_)) {
            said.backend = Some(self.ask(&journey).await);
        }
        said.judged(&found, verdict)
    }

    /// What a fill would find among the shared entries.
    async fn shared_copy(&self, journey: &Journey<'_>, key: &KeyBuf, now: Moment) -> Option<(Arc<Entry>, Standing)> {
        let shared = self.shared().filter(|_| !journey.outlook.wants_later())?;
        let (key, selecting) = (key.to_key(), self.store().variant_names(key.as_slice()));
        let wanted = Wanted { key: &key, request: &journey.asked.headers, selecting: &selecting };
        shared.look_up(wanted, self.store().ledger(), self.fleet_time(now), now).await.ok()?.found
    }

    /// Asks the backend as a fill would, and says what would be done with the answer. The answer is dropped.
    async fn ask(&self, journey: &Journey<'_>) -> Answered {
        let rule = journey.routed.rule;
        let nothing = |error: String| Answered { error: Some(error), ..Answered::default() };
        let Some(origin) = self.origin(&rule.origin) else { return nothing(String::from("no such origin")) };
        let outbound = match Outbound::fill(self.settings(), journey.asked, journey.routed, journey.forwarded) {
            Ok(outbound) => outbound,
            Err(reason) => return nothing(reason.sentence().to_owned()),
        };
        let fetched = match origin.fetch(outbound.empty(), true, None).await {
            Ok(fetched) => fetched,
            Err(error) => return nothing(error.to_string()),
        };
        let candidate = Candidate {
            asked: &journey.asked.facts,
            request: &journey.asked.headers,
            rule,
            outbound: &outbound,
            max_object: keep::max_object(rule, self.store()),
        };
        let said = Answered { status: Some(fetched.head.status.as_u16()), ..Answered::default() };
        match candidate.judge(&fetched) {
            Ok(Keep { ground, .. }) => Answered {
                kept: true,
                lifetime: Some(ground.lifetime.as_secs()),
                lifetime_from: Some(ground.source.name()),
                ..said
            },
            Err(reason) => Answered { reason: Some(reason.into()), ..said },
        }
    }
}

impl Explanation {
    fn verdict(mut self, verdict: &'static str, reason: Option<Reason>) -> Self {
        self.verdict = verdict;
        self.reason = reason.map(Why::from);
        self
    }

    fn judged(self, found: &Found, verdict: Verdict) -> Self {
        match verdict {
            Verdict::Serve(_) => self.verdict("serve", None),
            Verdict::ServeUnverified(_) => self.verdict("serve", Some(Reason::Blind)),
            Verdict::ServeAndRefresh(_, reason) => self.verdict("serve-and-refresh", Some(reason)),
            Verdict::Refuse(reason) => self.verdict("refuse", Some(reason)),
            Verdict::Fetch(Fetch { validate, reason, .. }) => {
                let known = match found {
                    Found::KnownUncacheable(reason) => Some(*reason),
                    Found::OtherVariants => Some(Reason::VaryMismatch),
                    _ => None,
                };
                self.verdict(if validate.is_some() { "validate" } else { "fetch" }, reason.or(known))
            }
        }
    }

    /// The explanation for people: a line for each step.
    pub fn text(&self) -> String {
        let mut lines = vec![self.request.clone()];
        let mut line = |name: &str, text: &str| lines.push(format!("  {name:<10} {text}"));
        for (name, value) in
            [("route", &self.route), ("origin", &self.origin), ("forwarded", &self.forwarded), ("key", &self.key)]
        {
            if let Some(value) = value {
                line(name, value);
            }
        }
        if let Some(stored) = &self.stored {
            line(
                "stored",
                &format!("{}, {} bytes, born at {} ({})", stored.status, stored.bytes, stored.born, stored.standing),
            );
            line("lifetime", &stored.arithmetic);
            line("tags", &stored.tags.join(" "));
        }
        if let Some(shared) = &self.shared {
            let Stored { status, bytes, born, standing, .. } = shared;
            line("shared", &format!("{status}, {bytes} bytes, born at {born} ({standing})"));
            line("lifetime", &shared.arithmetic);
        }
        if let Some(secs) = self.blind_for {
            line("log", &format!("out of sight for {secs} s: what is stored is confirmed once in Δ"));
        }
        if let Some(backend) = &self.backend {
            line("backend", &backend.text());
            if let Some(why) = &backend.reason {
                line("", &format!("{} ({})", why.sentence, why.clause));
            }
        }
        line("verdict", self.verdict);
        if let Some(why) = &self.reason {
            line("because", &format!("{}: {} ({})", why.code, why.sentence, why.clause));
        }
        lines.join("\n")
    }
}

impl Answered {
    fn text(&self) -> String {
        if let Some(error) = &self.error {
            return format!("did not answer: {error}");
        }
        let status = self.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default();
        match (self.lifetime, self.lifetime_from) {
            (Some(lifetime), Some(from)) => format!("answers {status}; it would be kept for {lifetime} s ({from})"),
            _ => format!("answers {status}; it would not be kept"),
        }
    }
}

fn stored(entry: &Entry, standing: Standing, now: Moment) -> Stored {
    let facts = &entry.facts;
    let (age, lifetime, left) = (facts.age(now).as_secs(), facts.lifetime.as_secs(), facts.left(now));
    Stored {
        status: entry.status.as_u16(),
        age,
        lifetime,
        lifetime_from: facts.source.name(),
        left,
        arithmetic: format!("{lifetime} s ({}) − {age} s (age) = {left} s", facts.source.name()),
        stale_while_revalidate: facts.stale_while_revalidate.as_secs(),
        stale_if_error: facts.stale_if_error.map(|window| window.as_secs()),
        validator: facts.has_validator,
        standing: match standing {
            Standing::Valid => "valid",
            Standing::Soft => "soft",
            Standing::Check => "check",
            Standing::Void => "void",
        },
        born: entry.born.number,
        tags: entry.tags.iter().map(ToString::to_string).collect(),
        bytes: entry.body.len(),
    }
}
