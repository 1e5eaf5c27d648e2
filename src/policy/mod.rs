//! What the operator wants, compiled once from the config and swapped whole.
//!
//! [`PolicySettings`] is what was written; [`Policy::compile`] checks all of it and builds what runs. A request meets
//! the policy in this order:
//!
//! 1. [`Policy::route`] picks one [`Rule`] and what its path captured;
//! 2. [`Rule::bypass`] says whether the cache must be left out;
//! 3. [`Rule::forward_path`] makes the URL that the backend will see;
//! 4. [`Rule::key`] makes the [cache key](key) from it;
//! 5. [`Rule::tags`] and [`tags`] name the entry for the ledger.
//!
//! Everything works on bytes as received, never on decoded ones: route, key and backend see the same path, so an answer
//! is never kept under a name that it was not asked by. This room does no I/O and reads no clock; it imports `rfc` alone.
//!
//! Which route is picked: the most specific path wins; among routes of one path, [`RouteSettings::priority`], then the
//! number of conditions, then the precision of the host, then the order of the file. Routes without a path come after
//! all that have one, in the same order among themselves; the default route comes last. If the conditions of a more
//! specific route do not hold, the less specific ones get their turn.

mod compile;
mod compress;
mod dots;
mod edits;
mod glob;
mod hosts;
pub mod key;
mod pattern;
mod percent;
mod problem;
mod query;
mod rewrite;
mod router;
mod rule;
pub mod settings;
pub mod tags;
mod target;
mod template;
#[cfg(test)]
mod tests;

use foldhash::HashSet;
use http::{HeaderMap, Method};

pub use dots::has_dot_segments;
pub use key::{CacheKey, KeyBuf};
pub(crate) use pattern::{Braced, braces, check_name};
pub(crate) use problem::Fault;
pub use problem::PolicyProblem;
pub use rule::Rule;
pub use settings::{
    Compress, HeaderEdits, HeaderMatch, HeaderTest, KeySettings, PolicySettings, RateLimit, Rewrite, RouteSettings,
    Strict,
};
pub use target::{Captures, Target};

/// Host patterns as [`hosts`] looks them up.
type Hosts = HashSet<Box<str>>;

/// All rules, ready to be asked. Immutable: a new config makes a new one.
#[derive(Debug)]
pub struct Policy {
    /// One per route, then the default one. Never empty.
    rules: Vec<Rule>,
    /// The last of them once more, so that there is one without asking whether there is.
    default: Rule,
    router: router::Router,
    hosts: Hosts,
}

/// Where a request belongs.
#[derive(Clone, Debug)]
pub struct Routed<'p> {
    /// The rule that holds for it.
    pub rule: &'p Rule,
    /// What the rule's path captured; only for the target that was routed.
    pub captures: Captures,
}

impl Policy {
    /// Checks the settings and builds what runs.
    ///
    /// # Errors
    /// All problems at once, in the order of the routes: patterns that cannot be read, names used twice, routes that can
    /// never match, templates that name something unknown, limits that contradict each other.
    pub fn compile(settings: PolicySettings) -> Result<Policy, Vec<PolicyProblem>> {
        compile::compile(settings)
    }

    /// Picks the rule for a request. Its cost depends on the path's length, not on the number of routes.
    pub fn route<'p>(&'p self, method: &Method, target: &Target<'_>, headers: &HeaderMap) -> Routed<'p> {
        let found = self.router.find(method, target, headers);
        let (id, captures) = found.unwrap_or_else(|| (self.default.id, Captures::default()));
        Routed { rule: self.rule(id), captures }
    }

    /// Every form in which a URL may reach a backend: path and query as each rule whose path fits forwards them, and as
    /// given. Which of the rules a request takes can also depend on its host, method and fields, and whoever purges a URL
    /// may know none of these. In no order, each once. Asks every rule: not for the data path.
    pub fn forwarded_forms(&self, target: &Target<'_>) -> Vec<String> {
        let as_given = target.query.map_or_else(|| target.path.to_owned(), |query| [target.path, "?", query].concat());
        let mut forms = vec![as_given];
        let routed = self.router.fitting(target.path).map(|(id, captures)| (self.rule(id), captures));
        for (rule, captures) in routed.chain([(&self.default, Captures::default())]) {
            forms.push(rule.forward_path(target, &captures).into_owned());
        }
        forms.sort_unstable();
        forms.dedup();
        forms
    }

    /// Whether an answer to this is never kept, whichever rule the request takes: a parameter of the query is a signature or
    /// a token.
    pub fn is_signed(&self, path_and_query: &str) -> bool {
        let query = path_and_query.split_once('?').map(|(_, query)| query);
        query.is_some_and(|query| self.default.recipe.shared.sensitive.is_in(query))
    }

    /// Whether this gateway answers for the host (normalised as in [`Target::host`]). If none are configured, for any.
    pub fn knows_host(&self, host: &str) -> bool {
        self.hosts.is_empty() || hosts::lookups(host).any(|key| self.hosts.contains(key))
    }

    /// The rule with this [`Rule::id`]; the default one for an id that this policy does not have.
    pub fn rule(&self, id: usize) -> &Rule {
        self.rules.get(id).unwrap_or(&self.default)
    }

    /// All rules in the order of the file, the default one last.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}
