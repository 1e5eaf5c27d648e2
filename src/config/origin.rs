//! The backends: `[origin]` and `[origins.NAME]`.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::breaker::BreakerSettings;
use crate::upstream::{Endpoint, HealthSettings, OriginSettings, TlsSettings};

use super::outside::{Outside, Override, Surroundings};
use super::problem::{Notes, Place, Wrong};
use super::reader::Reader;
use super::values::{duration_in, field_value, file, flag, length_in, parse_name, statuses, text, url_path, whole};

/// The name of the backend in `[origin]`.
pub(super) const DEFAULT: &str = "default";

const PATIENCE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);

/// One backend.
#[derive(Clone, Debug)]
pub struct OriginEntry {
    /// The name that routes use; `default` for the one in `[origin]`.
    pub name: String,
    /// What it is.
    pub kind: OriginKind,
}

/// What a backend is.
#[derive(Clone, Debug)]
pub enum OriginKind {
    /// The sample backend inside this program.
    Demo,
    /// A backend that speaks HTTP.
    Http(Box<OriginSettings>),
}

impl OriginEntry {
    /// The settings of the fetches it is asked with, whatever it is.
    pub fn settings(&self) -> OriginSettings {
        match &self.kind {
            OriginKind::Demo => OriginSettings { name: self.name.clone(), ..OriginSettings::default() },
            OriginKind::Http(settings) => (**settings).clone(),
        }
    }
}

/// Reads all backends. An override replaces the URL of the default one. `own` are the addresses we listen at.
pub(super) fn origins(file: &Reader<'_>, own: &[SocketAddr], around: Surroundings<'_>) -> Vec<OriginEntry> {
    let Surroundings { notes, overrides, outside } = around;
    let mut entries = Vec::new();
    let single = file.table("origin");
    if single.exists() || overrides.origin.is_some() {
        let given = overrides.origin.as_ref().map(|given| Given { given, notes });
        entries.push(entry(DEFAULT, &single, given.as_ref(), own, outside));
    }
    let named = file.named_tables("origins");
    for (name, table) in &named {
        if let Err(wrong) = parse_name(name) {
            table.complain("", wrong);
        }
        if name == DEFAULT && single.exists() {
            table.complain(
                "",
                Wrong::new("[origin] and [origins.default] are the same origin").hint("keep one of them"),
            );
        }
        entries.push(entry(name, table, None, own, outside));
    }
    if !single.exists() && named.is_empty() && overrides.origin.is_none() {
        let wrong = Wrong::new("there is no origin");
        notes.error(
            Place::Nowhere,
            "origin",
            wrong.hint("add [origin] with url = \"http://HOST:PORT\" or url = \"demo\""),
        );
    }
    entries
}

/// The URL from the command line, and where to note what is wrong with it.
struct Given<'a> {
    given: &'a Override,
    notes: &'a Notes,
}

/// One backend. If its URL is wrong, that has been noted; it is kept without endpoints, so that routes may name it.
fn entry(
    name: &str,
    table: &Reader<'_>,
    given: Option<&Given<'_>>,
    own: &[SocketAddr],
    outside: &Outside,
) -> OriginEntry {
    let written = table.list("url", |value| parse_url(&text(value)?));
    let weights = table.list("weights", whole(1..=1000));
    let settings = settings(name, table, outside);
    let complain = |wrong: Wrong| match given {
        Some(Given { given, notes }) => notes.error(Place::Flag(given.source), "origin.url", wrong),
        None => table.complain("url", wrong),
    };

    if given.is_none() && !table.holds("url") {
        let hint = "write url = \"http://HOST:PORT\", a list of such URLs, or \"demo\"";
        table.complain("", Wrong::new(format!("the origin \"{name}\" has no `url`")).hint(hint));
    }
    let urls = match given {
        Some(Given { given, notes }) => given.read(notes, parse_url).into_iter().collect(),
        None => written.unwrap_or_default(),
    };
    let several = urls.len() > 1;
    let Some(mut endpoints) = urls.into_iter().collect::<Option<Vec<Endpoint>>>() else {
        if several {
            complain(Wrong::new("\"demo\" stands alone; it cannot be one of several endpoints"));
        }
        return OriginEntry { name: name.to_owned(), kind: OriginKind::Demo };
    };
    if let Some(weights) = weights.filter(|_| given.is_none()) {
        weigh(table, &mut endpoints, &weights);
    }
    for endpoint in &endpoints {
        if let Some(address) = own.iter().find(|own| is_at(endpoint, own)) {
            let wrong = Wrong::new(format!("{} is this gateway itself, which listens at {address}", endpoint.url()));
            complain(wrong.hint("name the address of the backend"));
        }
    }
    let settings = OriginSettings { endpoints, ..settings };
    OriginEntry { name: name.to_owned(), kind: OriginKind::Http(Box::new(settings)) }
}

fn weigh(table: &Reader<'_>, endpoints: &mut [Endpoint], weights: &[u32]) {
    if weights.len() != endpoints.len() {
        let wrong = Wrong::new(format!("{} weights for {} endpoints", weights.len(), endpoints.len()));
        table.complain("weights", wrong.hint("one weight for each endpoint in `url`, in the same order"));
    }
    for (endpoint, weight) in endpoints.iter_mut().zip(weights) {
        endpoint.weight = *weight;
    }
}

/// An endpoint, or `None` for "demo".
fn parse_url(written: &str) -> Result<Option<Endpoint>, Wrong> {
    if written == "demo" {
        return Ok(None);
    }
    if !written.contains("://") {
        let wrong = Wrong::new(format!("\"{written}\" is no URL of a backend"));
        return Err(wrong.hint(format!("it needs http:// or https://: \"http://{written}\"")));
    }
    // What comes before an @ may be a password; it must not reach the terminal or a log.
    if written.contains('@') {
        let wrong = Wrong::new("the URL of a backend holds no user and no password");
        return Err(wrong.hint("send credentials with request_headers = { set = { … } }").concealed());
    }
    Endpoint::parse(written).map(Some).map_err(Wrong::new)
}

fn settings(name: &str, table: &Reader<'_>, outside: &Outside) -> OriginSettings {
    let default = OriginSettings::default();
    OriginSettings {
        name: name.to_owned(),
        endpoints: Vec::new(),
        host: table.read("host", field_value),
        connect_timeout: table.take("connect_timeout", duration_in(PATIENCE), default.connect_timeout),
        first_byte_timeout: table.take("first_byte_timeout", duration_in(PATIENCE), default.first_byte_timeout),
        idle_body_timeout: table.take("idle_body_timeout", duration_in(PATIENCE), default.idle_body_timeout),
        max_concurrent: table.take("max_concurrent", whole(1..=100_000), default.max_concurrent),
        max_queue: table.take("max_queue", whole(0..=1_000_000), default.max_queue),
        queue_timeout: table.take("queue_timeout", duration_in(PATIENCE), default.queue_timeout),
        http2: table.take("http2", flag, default.http2),
        tls: tls(&table.table("tls"), outside),
        retries: table.take("retries", whole(0..=10), default.retries),
        retry_budget_percent: table.take("retry_budget_percent", whole(0..=100), default.retry_budget_percent),
        pool_idle_timeout: table.take("pool_idle_timeout", duration_in(PATIENCE), default.pool_idle_timeout),
        pool_max_idle: table.take("pool_max_idle", whole(0..=100_000), default.pool_max_idle),
        max_response_head: table.take("max_response_head", length_in(8 << 10..=1 << 20), default.max_response_head),
        max_response_fields: table.take("max_response_fields", whole(8..=1000), default.max_response_fields),
        health: health(&table.table("health")),
        breaker: breaker(&table.table("breaker")),
    }
}

fn tls(table: &Reader<'_>, outside: &Outside) -> TlsSettings {
    let insecure = table.take("insecure", flag, false);
    if insecure {
        let wrong = Wrong::new("any certificate is accepted: whoever sits between can read and change every answer");
        table.warn("insecure", wrong.hint("name the backend's authority with `ca` instead"));
    }
    TlsSettings {
        ca_file: table.read("ca", |value| outside.pem(&file(value)?)),
        server_name: table.read("server_name", super::node::host),
        insecure,
    }
}

fn health(table: &Reader<'_>) -> Option<HealthSettings> {
    let default = HealthSettings::default();
    let expect = table.read("expect", statuses).map_or(default.expect, |range| range.first..=range.last);
    let settings = HealthSettings {
        path: table.take("path", url_path, default.path),
        interval: table.take("interval", duration_in(PATIENCE), default.interval),
        timeout: table.take("timeout", duration_in(PATIENCE), default.timeout),
        healthy_after: table.take("healthy_after", whole(1..=100), default.healthy_after),
        unhealthy_after: table.take("unhealthy_after", whole(1..=100), default.unhealthy_after),
        expect,
    };
    table.exists().then_some(settings)
}

fn breaker(table: &Reader<'_>) -> BreakerSettings {
    let default = BreakerSettings::default();
    let settings = BreakerSettings {
        consecutive: table.take("consecutive", whole(1..=10_000), default.consecutive),
        failure_percent: table.take("failure_percent", whole(1..=101), default.failure_percent),
        min_outcomes: table.take("min_outcomes", whole(1..=100_000), default.min_outcomes),
        window: table.take("window", duration_in(PATIENCE), default.window),
        first_pause: table.take("first_pause", duration_in(PATIENCE), default.first_pause),
        max_pause: table.take("max_pause", duration_in(PATIENCE), default.max_pause),
        probes: table.take("probes", whole(1..=100), default.probes),
    };
    if settings.first_pause > settings.max_pause {
        table.complain("max_pause", Wrong::new("`max_pause` is shorter than `first_pause`"));
    }
    settings
}

/// Whether connecting to the endpoint would reach our own socket. Names other than localhost are not looked up.
fn is_at(endpoint: &Endpoint, own: &SocketAddr) -> bool {
    let Ok(authority) = endpoint.authority.parse::<http::uri::Authority>() else { return false };
    let port = authority.port_u16().unwrap_or(if endpoint.https { 443 } else { 80 });
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<IpAddr>().ok();
    let here =
        host.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.is_loopback() || ip.is_unspecified());
    port == own.port() && (address == Some(own.ip()) || here && (own.ip().is_loopback() || own.ip().is_unspecified()))
}
