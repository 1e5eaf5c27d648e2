//! The routes: `[[route]]`, and `[defaults]` for what all routes share.
//!
//! What a route does not say, `[defaults]` says; what neither says is the policy's default. This holds key by key, also
//! inside tables: a route that sets `key.headers` keeps the defaults' `key.ignore_query`. A list replaces a list.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;
use toml::de::DeValue;

use crate::policy::{
    Compress, HeaderEdits, HeaderMatch, HeaderTest, KeySettings, RateLimit, Rewrite, RouteSettings, Strict,
};
use crate::rfc::{Beats, Heuristic, Terms};

use super::problem::Wrong;
use super::reader::Reader;
use super::values::{
    LONGEST, duration, duration_in, field_name, field_value, flag, method, network, off, one_of, parse_field_name,
    parse_statuses, rate, size_in, statuses, text, url_path, whole,
};

const ANY_TIME: RangeInclusive<Duration> = Duration::ZERO..=LONGEST;
const MANY: RangeInclusive<u32> = 1..=1_000_000;

/// Reads `[defaults]`: the options of a route, without its conditions.
pub(super) fn defaults(table: &Reader<'_>, base: RouteSettings) -> RouteSettings {
    options(table, base)
}

/// Reads one `[[route]]`, the `number`th of the file.
pub(super) fn route(table: &Reader<'_>, number: usize, defaults: &RouteSettings) -> RouteSettings {
    let path = table.read("path", url_path);
    let unnamed = || path.clone().unwrap_or_else(|| format!("route {number}"));
    let route = RouteSettings {
        name: table.read("name", label).unwrap_or_else(unnamed),
        hosts: table.list("host", super::node::host).unwrap_or_default(),
        methods: table.list("method", method).unwrap_or_default(),
        headers: table.pairs("header", parse_field_name, header_test).map(header_matches).unwrap_or_default(),
        priority: table.take("priority", whole(-1000..=1000), 0),
        path,
        ..defaults.clone()
    };
    options(table, route)
}

/// Reads what a route does. What the table does not say stays as it is in `base`.
fn options(table: &Reader<'_>, base: RouteSettings) -> RouteSettings {
    let _label = table.read("class", one_of(&[("reference", ())]));
    let (ttl, cdn_ttl) = lifetimes(table);
    let RouteSettings { name, path, hosts, methods, headers, priority, .. } = base;
    RouteSettings {
        name,
        path,
        hosts,
        methods,
        headers,
        priority,
        origin: table.read("origin", text).or(base.origin),
        pass: table.take("pass", flag, base.pass),
        terms: terms(table, ttl, base.terms),
        cdn_ttl: cdn_ttl.or(base.cdn_ttl),
        key: key(&table.table("key"), base.key),
        rewrite: rewrite(&table.table("rewrite")).or(base.rewrite),
        request_headers: edits(&table.table("request_headers"), base.request_headers),
        response_headers: edits(&table.table("response_headers"), base.response_headers),
        tags: table.list("tags", text).unwrap_or(base.tags),
        allow: table.list("allow", network).unwrap_or(base.allow),
        deny: table.list("deny", network).unwrap_or(base.deny),
        rate_limit: rate_limit(table, base.rate_limit),
        max_concurrent: table.take("max_concurrent", off(whole(MANY)), base.max_concurrent),
        max_concurrent_per_client: table.take(
            "max_concurrent_per_client",
            off(whole(MANY)),
            base.max_concurrent_per_client,
        ),
        compress: compress(table, base.compress),
        strict: strict(table, base.strict),
        sensitive: table.take("sensitive", flag, base.sensitive),
        max_object: table.read("max_object", size_in(1..=4 << 30)).or(base.max_object),
    }
}

/// What the route adds to the RFC, or takes from it.
fn terms(table: &Reader<'_>, ttl: Option<Duration>, base: Terms) -> Terms {
    let status_ttl = table.pairs("status_ttl", parse_statuses, duration);
    let terms = Terms {
        ttl: ttl.or(base.ttl),
        ttl_override: table.take("ttl_override", flag, base.ttl_override),
        min_ttl: table.read("min_ttl", duration_in(ANY_TIME)).or(base.min_ttl),
        max_ttl: table.read("max_ttl", duration_in(ANY_TIME)).or(base.max_ttl),
        status_ttl: status_ttl.unwrap_or(base.status_ttl),
        beats: beats(table).unwrap_or(base.beats),
        store_set_cookie: table.take("store_set_cookie", flag, base.store_set_cookie),
        storable_status: table.list("storable_status", statuses).or(base.storable_status),
        heuristic: heuristic(table, base.heuristic),
        stale_while_revalidate: table.read("stale_while_revalidate", duration).or(base.stale_while_revalidate),
        stale_if_error: table.read("stale_if_error", duration).or(base.stale_if_error),
        honour_request: table.take("honour_request_directives", flag, base.honour_request),
        targets: table.list("targets", field_name).unwrap_or(base.targets),
    };
    warn_of_costs(table, &terms);
    terms
}

/// Says what the switches cost that make this cache do what a shared cache must not do by itself.
fn warn_of_costs(table: &Reader<'_>, terms: &Terms) {
    if table.holds("store_set_cookie") && terms.store_set_cookie {
        let wrong = Wrong::new("answers that set cookies are stored: every client may get the cookie of the first");
        table.warn(
            "store_set_cookie",
            wrong.hint("remove the cookie instead: response_headers = { remove = [\"Set-Cookie\"] }"),
        );
    }
    if table.holds("ttl_beats") && terms.beats != Beats::default() {
        let wrong = if terms.ttl_override {
            Wrong::new("answers meant for one client may be stored and given to others")
                .hint("make sure that the key tells the clients apart")
        } else {
            Wrong::new("`ttl_beats` has no effect without `ttl_override = true`")
        };
        table.warn("ttl_beats", wrong);
    }
}

/// `ttl = "1m"` or `ttl = { memory = "1m", cdn = "30s" }`.
fn lifetimes(table: &Reader<'_>) -> (Option<Duration>, Option<Duration>) {
    if !table.is_table("ttl") {
        return (table.read("ttl", duration), None);
    }
    let ttl = table.table("ttl");
    (ttl.read("memory", duration), ttl.read("cdn", duration))
}

fn beats(table: &Reader<'_>) -> Option<Beats> {
    let none = Beats::default();
    let words = one_of(&[
        ("private", Beats { private: true, no_store: false, authorization: false }),
        ("no-store", Beats { private: false, no_store: true, authorization: false }),
        ("authorization", Beats { private: false, no_store: false, authorization: true }),
    ]);
    let either = |all: Beats, one: Beats| Beats {
        private: all.private | one.private,
        no_store: all.no_store | one.no_store,
        authorization: all.authorization | one.authorization,
    };
    Some(table.list("ttl_beats", words)?.into_iter().fold(none, either))
}

/// `heuristic = false` or `heuristic = { percent = 10, max = "1d" }`.
fn heuristic(table: &Reader<'_>, base: Option<Heuristic>) -> Option<Heuristic> {
    if !table.is_table("heuristic") {
        let wrong = |_: &DeValue<'_>| Err(Wrong::new("expected false or { percent = …, max = … }"));
        return table.take("heuristic", off(wrong), base);
    }
    let usual = base.or(Terms::default().heuristic)?;
    let table = table.table("heuristic");
    Some(Heuristic {
        percent: table.take("percent", whole(1..=100), usual.percent),
        max: table.take("max", duration, usual.max),
    })
}

fn key(table: &Reader<'_>, base: KeySettings) -> KeySettings {
    KeySettings {
        ignore_query: table.list("ignore_query", text).unwrap_or(base.ignore_query),
        only_query: table.list("only_query", text).or(base.only_query),
        sort_query: table.take("sort_query", flag, base.sort_query),
        headers: table.list("headers", field_name).unwrap_or(base.headers),
        cookies: table.list("cookies", text).unwrap_or(base.cookies),
    }
}

/// Unlike other tables, a rewrite replaces the defaults' as a whole: its parts make one rule.
fn rewrite(table: &Reader<'_>) -> Option<Rewrite> {
    let rewrite = Rewrite {
        strip_prefix: table.read("strip_prefix", url_path),
        add_prefix: table.read("add_prefix", url_path),
        replace: table.read("replace", url_path),
    };
    if rewrite.replace.is_some() && (rewrite.strip_prefix.is_some() || rewrite.add_prefix.is_some()) {
        table.complain("replace", Wrong::new("`replace` stands alone; it cannot be combined with prefixes"));
    }
    table.exists().then_some(rewrite)
}

fn edits(table: &Reader<'_>, base: HeaderEdits) -> HeaderEdits {
    HeaderEdits {
        set: table.pairs("set", parse_field_name, field_value).unwrap_or(base.set),
        remove: table.list("remove", field_name).unwrap_or(base.remove),
    }
}

/// `rate_limit = "100/s"`, `false`, or `{ requests = 100, per = "1s", burst = 200 }`.
fn rate_limit(table: &Reader<'_>, base: Option<RateLimit>) -> Option<RateLimit> {
    if !table.is_table("rate_limit") {
        return table.take("rate_limit", off(rate), base);
    }
    let table = table.table("rate_limit");
    let requests = table.read("requests", whole(MANY));
    let per =
        table.take("per", duration_in(Duration::from_millis(1)..=Duration::from_hours(24)), Duration::from_secs(1));
    let burst = table.read("burst", whole(MANY));
    if !table.holds("requests") {
        table.complain("", Wrong::new("`rate_limit` needs `requests`").hint("write { requests = 100, per = \"1s\" }"));
    }
    let requests = requests?;
    Some(RateLimit { requests, per, burst: burst.unwrap_or(requests) })
}

/// `compress = false`, `true`, or `{ min_size = "1KiB", types = ["text/*"] }`.
fn compress(table: &Reader<'_>, base: Compress) -> Compress {
    if !table.is_table("compress") {
        return Compress { enabled: table.take("compress", flag, base.enabled), ..base };
    }
    let table = table.table("compress");
    Compress {
        enabled: true,
        min_size: table.take("min_size", size_in(0..=1 << 30), base.min_size),
        types: table.list("types", text).unwrap_or(base.types),
    }
}

/// `profile = "strict"` and the request fields that it lets through.
fn strict(table: &Reader<'_>, base: Option<Strict>) -> Option<Strict> {
    let profile = table.read("profile", one_of(&[("strict", true), ("standard", false)]));
    let forward = table.list("forward_headers", field_name);
    if !profile.unwrap_or(base.is_some()) {
        if forward.is_some() {
            let wrong = Wrong::new("`forward_headers` has no effect without `profile = \"strict\"`");
            table.warn("forward_headers", wrong);
        }
        return None;
    }
    Some(Strict { forward_headers: forward.unwrap_or_else(|| base.unwrap_or_default().forward_headers) })
}

/// `true`: the field is there; "v1": it is exactly that; "v1*": it begins so.
fn header_test(value: &DeValue<'_>) -> Result<HeaderTest, Wrong> {
    if value.as_bool() == Some(true) {
        return Ok(HeaderTest::Present);
    }
    let wrong =
        |_| Wrong::new("expected true (the field is there) or a string").hint("a `*` at the end stands for any rest");
    let written = text(value).map_err(wrong)?;
    Ok(match written.strip_suffix('*') {
        Some("") => HeaderTest::Present,
        Some(start) => HeaderTest::Prefix(start.to_owned()),
        None => HeaderTest::Exact(written),
    })
}

fn header_matches(pairs: Vec<(HeaderName, HeaderTest)>) -> Vec<HeaderMatch> {
    pairs.into_iter().map(|(name, value)| HeaderMatch { name, value }).collect()
}

/// The name of a route: it labels metrics and log lines.
fn label(value: &DeValue<'_>) -> Result<String, Wrong> {
    let written = text(value)?;
    if written.trim().is_empty() || written.len() > 100 || written.chars().any(char::is_control) {
        return Err(Wrong::new("is no name for a route").hint("use 1 to 100 characters on one line"));
    }
    Ok(written)
}
