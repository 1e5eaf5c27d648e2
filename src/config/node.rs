//! The node itself: `[memory]`, `[gateway]`, `[log]`.

use std::time::Duration;

use toml::de::DeValue;
use tracing_subscriber::EnvFilter;

use crate::policy::PolicySettings;
use crate::serve::{FleetSettings, GatewaySettings};
use crate::store::MemorySettings;
use crate::telemetry::{Access, LogFormat, LogSettings, LogTarget};

use super::doors::secret;
use super::outside::Outside;
use super::problem::Wrong;
use super::reader::Reader;
use super::values::{
    duration_in, field_name, file, flag, fraction, length_in, name, network, off, one_of, size_in, text, whole,
};

/// Reads `[memory]`.
pub(super) fn memory(table: &Reader<'_>) -> MemorySettings {
    let default = MemorySettings::default();
    MemorySettings {
        capacity: table.take("capacity", size_in(1 << 20..=1 << 50), default.capacity),
        max_object: table.take("max_object", size_in(1..=4 << 30), default.max_object),
        max_variants: table.take("max_variants", whole(1..=10_000), default.max_variants),
        max_ledger_tags: table.take("max_ledger_tags", whole(1000..=1_000_000_000), default.max_ledger_tags),
    }
}

/// Reads the part of `[gateway]` that concerns every request; [`keys`] reads the part that concerns keys and hosts.
pub(super) fn gateway(table: &Reader<'_>, max_uri: usize, outside: &Outside) -> GatewaySettings {
    let default = GatewaySettings::default();
    let patience = Duration::from_millis(1)..=Duration::from_mins(10);
    let trusted_proxies = table.list("trusted_proxies", network).unwrap_or(default.trusted_proxies);
    if trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
        let wrong = Wrong::new("everybody is trusted to say who they are and which host they asked for");
        table.warn("trusted_proxies", wrong.hint("name the networks of your own proxies or of your CDN"));
    }
    GatewaySettings {
        name: table.take("name", name, default.name),
        trusted_proxies,
        purge_method: secret(table, "purge_method", outside),
        refresh_token: refresh(table, outside),
        expose_age: table.take("expose_age", flag, default.expose_age),
        cache_status: table.take("cache_status", flag, default.cache_status),
        via: table.take("via", flag, default.via),
        max_uri,
        max_request_body: table.take("max_request_body", size_in(0..=1 << 40), default.max_request_body),
        waiter_timeout: table.take("waiter_timeout", duration_in(patience.clone()), default.waiter_timeout),
        max_waiters: table.take("max_waiters", whole(1..=1_000_000), default.max_waiters),
        stale_after: table.take("stale_after", duration_in(patience), default.stale_after),
        fleet: FleetSettings::default(),
    }
}

fn refresh(table: &Reader<'_>, outside: &Outside) -> Option<(http::HeaderName, crate::serve::Secret)> {
    let refresh = table.table("refresh_token");
    let (header, token) = (refresh.read("header", field_name), secret(&refresh, "token", outside));
    for key in ["header", "token"] {
        if refresh.exists() && !refresh.holds(key) {
            let hint = "write refresh_token = { header = \"Forebay-Refresh\", token = \"env:NAME\" }";
            refresh.complain("", Wrong::new(format!("`refresh_token` needs `{key}`")).hint(hint));
        }
    }
    Some((header?, token?))
}

/// Reads the part of `[gateway]` that the policy needs: hosts and what every key is made of. The routes are left empty.
pub(super) fn keys(table: &Reader<'_>) -> PolicySettings {
    let default = PolicySettings::default();
    PolicySettings {
        routes: Vec::new(),
        default_route: default.default_route,
        hosts: table.list("hosts", host).unwrap_or(default.hosts),
        default_origin: default.default_origin,
        scheme_in_key: table.take("scheme_in_key", flag, default.scheme_in_key),
        sensitive_query: table.list("sensitive_query", text).unwrap_or(default.sensitive_query),
        max_key: table.take("max_key", length_in(256..=1 << 20), default.max_key),
    }
}

/// A host, perhaps with `*.` in front or a port behind.
pub(super) fn host(value: &DeValue<'_>) -> Result<String, Wrong> {
    let written = text(value)?;
    if let Some((scheme, rest)) = written.split_once("://") {
        return Err(Wrong::new(format!("\"{written}\" is a URL, not a host"))
            .hint(format!("leave out \"{scheme}://\": \"{}\"", rest.trim_end_matches('/'))));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']');
    let bare = written.strip_prefix("*.").unwrap_or(&written);
    if bare.is_empty() || !bare.chars().all(plain) {
        return Err(
            Wrong::new(format!("\"{written}\" is no host")).hint("write \"api.example.com\" or \"*.example.com\"")
        );
    }
    Ok(written.to_ascii_lowercase())
}

/// Reads `[log]`.
pub(super) fn log(table: &Reader<'_>) -> LogSettings {
    let default = LogSettings::default();
    LogSettings {
        format: table.take("format", one_of(&[("json", LogFormat::Json), ("text", LogFormat::Text)]), default.format),
        level: table.take("level", level, default.level),
        access: access(table).unwrap_or(default.access),
        to: table.take("to", target, default.to),
    }
}

/// A level, or a filter of the kind that names modules.
fn level(value: &DeValue<'_>) -> Result<String, Wrong> {
    const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
    let written = text(value)?;
    let filter = written.contains(['=', ',']) && EnvFilter::try_new(&written).is_ok();
    if filter || LEVELS.contains(&written.as_str()) {
        return Ok(written);
    }
    let hint = format!("write one of {}, or a filter such as \"warn,forebay::upstream=debug\"", LEVELS.join(", "));
    Err(Wrong::new(format!("\"{written}\" is no level")).hint(hint))
}

fn access(table: &Reader<'_>) -> Option<Access> {
    if table.is_table("access") {
        return table.table("access").read("sample", fraction).map(Access::Sample);
    }
    let words = one_of(&[("all", Access::All), ("misses", Access::Misses), ("off", Access::Off)]);
    table.read("access", off(words)).map(|access| access.unwrap_or(Access::Off))
}

fn target(value: &DeValue<'_>) -> Result<LogTarget, Wrong> {
    match value.as_str() {
        Some("stdout") => Ok(LogTarget::Stdout),
        Some("stderr") => Ok(LogTarget::Stderr),
        _ => file(value).map(LogTarget::File),
    }
}
