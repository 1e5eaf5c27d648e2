//! From what the operator wrote to what runs, once per config. All problems are found in one go: reading continues
//! after a mistake with whatever is least likely to cause more.

use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;
use ipnet::IpNet;

use super::Policy;
use super::edits::{Edits, Side};
use super::hosts::HostPattern;
use super::pattern::Pattern;
use super::problem::{Fault, PolicyProblem, Problems};
use super::query::{QueryRecipe, Sensitive};
use super::rewrite::PathRewrite;
use super::router::{Matcher, Router};
use super::rule::{Recipe, Rule, SharedRecipe};
use super::settings::{KeySettings, PolicySettings, RouteSettings};
use super::template::{Part, Template};
use crate::rfc::{StatusRange, Terms};

/// Bounds of `max_key`, in bytes: a shorter one would refuse everything, a longer one is a way to fill the memory.
const MAX_KEY: std::ops::RangeInclusive<usize> = 256..=1024 * 1024;

pub(super) fn compile(settings: PolicySettings) -> Result<Policy, Vec<PolicyProblem>> {
    let PolicySettings { routes, default_route, hosts, default_origin, scheme_in_key, sensitive_query, max_key } =
        settings;
    let mut problems = Problems::default();
    let bounds = format!("{max_key} is not between {} and {} bytes", MAX_KEY.start(), MAX_KEY.end());
    problems.report_if(!MAX_KEY.contains(&max_key), "max_key", &bounds, "the default is 8 KiB");
    let hosts = read_hosts(&hosts, &mut problems).unwrap_or_default().into_iter().map(|pattern| pattern.0).collect();
    check_names(&routes, &default_route, &mut problems);

    let common = Common {
        origin: default_origin.into(),
        recipe: Arc::new(SharedRecipe { scheme: scheme_in_key, max_key, sensitive: Sensitive::new(&sensitive_query) }),
    };
    let mut rules = Vec::with_capacity(routes.len() + 1);
    let mut matchers = Vec::with_capacity(routes.len());
    for (id, route) in routes.into_iter().enumerate() {
        problems.at(Some(id));
        check_values(&route, &mut problems);
        let hosts = read_hosts(&route.hosts, &mut problems);
        // Without a readable path, every template that names a capture would be one more complaint about it.
        let Some(pattern) = read_path(route.path.as_deref(), &mut problems) else { continue };
        let captures = pattern.as_ref().map_or(Vec::new(), |pattern| pattern.names.clone());
        matchers.extend(hosts.map(|hosts| matcher(id, pattern, hosts, &route)));
        rules.push(compile_rule(id, route, captures, &common, &mut problems));
    }
    let router = Router::new(matchers);
    report_shadowed(&router, &rules, &mut problems);

    problems.at(None);
    check_default(&default_route, &mut problems);
    check_values(&default_route, &mut problems);
    let default = compile_rule(rules.len(), default_route, Vec::new(), &common, &mut problems);
    rules.push(default.clone());
    problems.into_result(Policy { rules, default, router, hosts })
}

/// What all routes share.
struct Common {
    origin: Arc<str>,
    recipe: Arc<SharedRecipe>,
}

fn check_names(routes: &[RouteSettings], default: &RouteSettings, problems: &mut Problems) {
    let mut seen: HashMap<&str, usize> = HashMap::default();
    for (id, route) in routes.iter().enumerate() {
        problems.at(Some(id));
        let name = route.name.as_str();
        if name.is_empty() {
            problems.report("name", Fault::new("a route needs a name: metrics and log lines carry it"));
        } else if name == default.name {
            let fault = Fault::new(format!("`{name}` is the name of the route for all the rest"));
            problems.report("name", fault.hint("choose another one"));
        } else if let Some(first) = seen.insert(name, id) {
            problems.report("name", Fault::new(format!("`{name}` is already the name of route {}", first + 1)));
        }
    }
    problems.at(None);
}

/// All hosts, or `None` if one of them cannot be read.
fn read_hosts(hosts: &[String], problems: &mut Problems) -> Option<Vec<HostPattern>> {
    let read: Vec<_> = hosts.iter().map(|host| problems.keep("hosts", HostPattern::parse(host))).collect();
    read.into_iter().collect()
}

/// The pattern, `Some(None)` for any path, or `None` if it cannot be read.
#[allow(clippy::option_option, reason = "no pattern and no readable pattern are two things")]
fn read_path(path: Option<&str>, problems: &mut Problems) -> Option<Option<Pattern>> {
    match path {
        None => Some(None),
        Some(path) => problems.keep("path", Pattern::parse(path)).map(Some),
    }
}

fn matcher(id: usize, pattern: Option<Pattern>, hosts: Vec<HostPattern>, route: &RouteSettings) -> Matcher {
    let (methods, headers) = (route.methods.clone(), route.headers.clone());
    Matcher { id, pattern, hosts, methods, headers, priority: route.priority }
}

fn report_shadowed(router: &Router, rules: &[Rule], problems: &mut Problems) {
    let name = |id: usize| rules.iter().find(|rule| rule.id == id).map_or("", |rule| &*rule.name);
    for (late, early) in router.shadowed() {
        problems.at(Some(late));
        let message = format!("the route can never match: `{}` takes all of its requests", name(early));
        problems.report("path", Fault::new(message).hint("add a condition, or a higher `priority`, or remove it"));
    }
}

fn check_default(route: &RouteSettings, problems: &mut Problems) {
    let conditions = [
        ("path", route.path.is_some()),
        ("hosts", !route.hosts.is_empty()),
        ("methods", !route.methods.is_empty()),
        ("headers", !route.headers.is_empty()),
    ];
    for (key, present) in conditions {
        problems.report_if(present, key, "the route for all the rest has no conditions", "make it a [[route]]");
    }
}

fn compile_rule(
    id: usize,
    route: RouteSettings,
    captures: Vec<Box<str>>,
    common: &Common,
    problems: &mut Problems,
) -> Rule {
    // A request that takes another route for one of its fields asks another question: the backend sees the field, too.
    let conditions = route.headers.iter().map(|condition| condition.name.clone());
    let keyed: Vec<_> = route.key.headers.iter().cloned().chain(conditions).collect();
    let recipe = Recipe {
        query: QueryRecipe::new(&route.key),
        headers: distinct(&keyed),
        cookies: distinct(&route.key.cookies).into_iter().map(String::into_boxed_str).collect(),
        shared: Arc::clone(&common.recipe),
    };
    let tags = route.tags.iter().filter_map(|tag| problems.keep("tags", compile_tag(tag, &captures))).collect();
    let rule = Rule {
        id,
        name: route.name.into(),
        path: route.path.map(Arc::from),
        origin: route.origin.map_or_else(|| Arc::clone(&common.origin), Arc::from),
        terms: terms_of(route.terms, route.strict.is_some()),
        pass: route.pass,
        cdn_ttl: route.cdn_ttl,
        compress: route.compress,
        rate_limit: route.rate_limit,
        max_concurrent: route.max_concurrent,
        max_concurrent_per_client: route.max_concurrent_per_client,
        strict: route.strict,
        sensitive: route.sensitive,
        max_object: route.max_object,
        recipe,
        rewrite: route.rewrite.as_ref().map_or(PathRewrite::Keep, |one| PathRewrite::compile(one, &captures, problems)),
        tags,
        request_headers: Edits::compile(&route.request_headers, &Side::Request(&captures), problems),
        response_headers: Edits::compile(&route.response_headers, &Side::Answer, problems),
        allow: route.allow,
        deny: route.deny,
        captures,
    };
    check_sources(&rule, problems);
    rule
}

/// The strict profile stores only the statuses that speak of the resource rather than of the request that was made of it,
/// unless the operator lists them: an error that one client can provoke is not everybody's.
fn terms_of(terms: Terms, strict: bool) -> Terms {
    let listed = |status| StatusRange { first: status, last: status };
    let usual = || STRICT_STATUSES.map(listed).to_vec();
    Terms { storable_status: terms.storable_status.or_else(|| strict.then(usual)), ..terms }
}

/// See [`terms_of`].
const STRICT_STATUSES: [u16; 6] = [200, 203, 301, 308, 404, 410];

fn compile_tag(text: &str, captures: &[Box<str>]) -> Result<Template, Fault> {
    if text.is_empty() {
        return Err(Fault::new("an empty tag names nothing"));
    }
    Template::parse(text, captures)
}

/// A template must not read what the key ignores: the first client's value would end up in everybody's answer.
fn check_sources(rule: &Rule, problems: &mut Problems) {
    let tags = rule.tags.iter().map(|template| ("tags", template));
    let edits = rule.request_headers.templates().map(|template| ("request_headers.set", template));
    for (key, template) in tags.chain(edits) {
        for part in template.parts() {
            match part {
                Part::Query(name) if !rule.recipe.query.keeps(name) => {
                    let fault = Fault::new(format!("`{{query.{name}}}` is a parameter that the key leaves out"));
                    problems.report(key, fault.hint("see `key.ignore_query` and `key.only_query`"));
                }
                Part::Header(name) if rule.strict.is_some() && !rule.recipe.headers.contains(name) => {
                    let fault =
                        Fault::new(format!("`{{header.{name}}}` is not part of the key, and the profile is strict"));
                    problems.report(key, fault.hint("add it to `key.headers`"));
                }
                _ => {}
            }
        }
    }
}

fn check_values(route: &RouteSettings, problems: &mut Problems) {
    check_terms(&route.terms, problems);
    check_key(&route.key, problems);
    route.compress.check(problems);
    check_networks("allow", &route.allow, problems);
    check_networks("deny", &route.deny, problems);
    let nothing = "zero would refuse every request";
    let hint = "leave it out for no limit";
    problems.report_if(route.max_concurrent == Some(0), "max_concurrent", nothing, hint);
    problems.report_if(route.max_concurrent_per_client == Some(0), "max_concurrent_per_client", nothing, hint);
    if let Some(rate) = &route.rate_limit {
        let zero = rate.requests == 0 || rate.burst == 0 || rate.per == Duration::ZERO;
        problems.report_if(zero, "rate_limit", nothing, hint);
    }
    if route.origin.as_deref() == Some("") {
        problems.report("origin", Fault::new("the origin's name is empty").hint("leave it out for the default one"));
    }
}

fn check_terms(terms: &Terms, problems: &mut Problems) {
    let above = |low: Option<Duration>, high: Option<Duration>| low.zip(high).is_some_and(|(low, high)| low > high);
    let (ttl, min, max) = (terms.ttl, terms.min_ttl, terms.max_ttl);
    problems.report_if(above(min, max), "min_ttl", "`min_ttl` is above `max_ttl`", "swap them");
    problems.report_if(above(ttl, max), "ttl", "`ttl` is above `max_ttl`, which cuts it", "raise `max_ttl`");
    problems.report_if(above(min, ttl), "ttl", "`ttl` is below `min_ttl`, which raises it", "lower `min_ttl`");
    let backwards = terms.status_ttl.iter().any(|(range, _)| range.first > range.last);
    problems.report_if(backwards, "status_ttl", "a range of statuses ends before it begins", "`200-299`, `5xx`");
    let Some(storable) = &terms.storable_status else { return };
    let backwards = storable.iter().any(|range| range.first > range.last);
    problems.report_if(backwards, "storable_status", "a range of statuses ends before it begins", "`200-299`, `5xx`");
    let message = "with an empty list nothing can be stored";
    problems.report_if(storable.is_empty(), "storable_status", message, "say `pass = true` if that is meant");
}

fn check_key(key: &KeySettings, problems: &mut Problems) {
    let empty = |names: &[String]| names.iter().any(String::is_empty);
    let message = "an empty name matches no parameter worth naming";
    problems.report_if(empty(&key.ignore_query), "key.ignore_query", message, "remove it");
    problems.report_if(key.only_query.as_deref().is_some_and(empty), "key.only_query", message, "remove it");
    for name in &key.cookies {
        let token =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=' && byte != b';');
        let message = format!("`{name}` is no name of a cookie");
        problems.report_if(!token, "key.cookies", &message, "a name without spaces, `=` and `;`");
    }
}

/// Client addresses are compared as IPv4 where they are that; a network of mapped addresses would never match.
fn check_networks(key: &'static str, networks: &[IpNet], problems: &mut Problems) {
    for network in networks {
        if let IpNet::V6(six) = network
            && six.prefix_len() >= 96
            && let Some(four) = six.addr().to_ipv4_mapped()
        {
            let fault = Fault::new(format!("`{network}` never matches: such addresses are compared as IPv4"));
            problems.report(key, fault.hint(format!("write `{four}/{}`", six.prefix_len() - 96)));
        }
    }
}

fn distinct<T: Clone + PartialEq>(list: &[T]) -> Vec<T> {
    let mut kept = Vec::with_capacity(list.len());
    for one in list {
        if !kept.contains(one) {
            kept.push(one.clone());
        }
    }
    kept
}
