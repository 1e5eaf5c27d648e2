//! The sockets: `[listen]`, `[tls]`, `[admin]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::admin::AdminSettings;
use crate::listen::{ListenSettings, TlsFiles};
use crate::serve::Secret;

use super::outside::{Outside, Surroundings};
use super::problem::Wrong;
use super::reader::Reader;
use super::values::{
    address, address_or_off, duration, duration_in, file, flag, length_in, network, parse_address,
    parse_address_or_off, size_in, text, whole,
};

/// Where the gateway listens when nobody says.
const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// How long a client may be silent: long enough for a slow network, short enough not to be a hoard.
const PATIENCE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);

/// Reads `[listen]` and `[tls]`.
pub(super) fn listen(table: &Reader<'_>, tls: &Reader<'_>, around: Surroundings<'_>) -> ListenSettings {
    let default = ListenSettings::default();
    let https = table.read("https", address);
    let http = table.read("http", address);
    let given = around.overrides.listen.as_ref().and_then(|given| given.read(around.notes, parse_address));
    let somewhere = http.is_some() || https.is_some() || table.holds("http") || table.holds("https");
    ListenSettings {
        http: given.or(http).or((!somewhere).then_some(HTTP)),
        https,
        tls: tls_files(tls, around.outside),
        h2c: table.take("h2c", flag, default.h2c),
        max_connections: table.take("max_connections", whole(1..=1_000_000), default.max_connections),
        max_connections_per_client: table.take(
            "max_connections_per_client",
            whole(0..=1_000_000),
            default.max_connections_per_client,
        ),
        client_limit_exempt: table.list("client_limit_exempt", network).unwrap_or(default.client_limit_exempt),
        first_byte_timeout: table.take("first_byte_timeout", duration_in(PATIENCE), default.first_byte_timeout),
        head_timeout: table.take("head_timeout", duration_in(PATIENCE), default.head_timeout),
        idle_timeout: table.take("idle_timeout", duration_in(PATIENCE), default.idle_timeout),
        body_timeout: table.take("body_timeout", duration_in(PATIENCE), default.body_timeout),
        min_body_rate: table.take("min_body_rate", size_in(0..=1 << 30), default.min_body_rate),
        min_body_rate_grace: table.take("min_body_rate_grace", duration, default.min_body_rate_grace),
        write_timeout: table.take("write_timeout", duration_in(PATIENCE), default.write_timeout),
        max_head: table.take("max_head", length_in(1 << 10..=1 << 20), default.max_head),
        max_headers: table.take("max_headers", whole(8..=1000), default.max_headers),
        max_uri: table.take("max_uri", length_in(256..=64 << 10), default.max_uri),
        h2_max_streams: table.take("h2_max_streams", whole(1..=1000), default.h2_max_streams),
        h2_max_header_list: table.take("h2_max_header_list", whole(4096..=1_048_576), default.h2_max_header_list),
        h2_ping_interval: table.take("h2_ping_interval", duration, default.h2_ping_interval),
        h2_ping_timeout: table.take("h2_ping_timeout", duration_in(PATIENCE), default.h2_ping_timeout),
        drain_delay: table.take("drain_delay", duration, default.drain_delay),
        grace: table.take("grace", duration, default.grace),
        backlog: table.take("backlog", whole(1..=65_535), default.backlog),
    }
}

fn tls_files(table: &Reader<'_>, outside: &Outside) -> Option<TlsFiles> {
    let readable = |key: &'static str| -> Option<PathBuf> {
        let path = table.read(key, file)?;
        if let Err(wrong) = outside.pem(&path) {
            table.complain(key, wrong);
        }
        Some(path)
    };
    let (cert, key) = (readable("cert"), readable("key"));
    for (name, found) in [("cert", table.holds("cert")), ("key", table.holds("key"))] {
        if table.exists() && !found {
            table
                .complain("", Wrong::new(format!("[tls] needs `{name}`")).hint("both `cert` and `key` name PEM files"));
        }
    }
    Some(TlsFiles { cert: cert?, key: key? })
}

/// Reads `[admin]`.
pub(super) fn admin(table: &Reader<'_>, around: Surroundings<'_>) -> AdminSettings {
    let written = table.read("listen", address_or_off);
    let given = around.overrides.admin.as_ref().and_then(|given| given.read(around.notes, parse_address_or_off));
    AdminSettings {
        listen: given.or(written).unwrap_or(AdminSettings::default().listen),
        token: secret(table, "token", around.outside),
    }
}

/// The secret that `key` names. One that stands in the file is accepted, but not in silence.
pub(super) fn secret(table: &Reader<'_>, key: &'static str, outside: &Outside) -> Option<Secret> {
    let (secret, in_clear) = table.read(key, |value| outside.secret(&text(value)?))?;
    if in_clear {
        let wrong = Wrong::new("this secret stands in the file in the clear");
        table.warn(key, wrong.hint("write \"env:NAME\" or \"file:PATH\" and keep the secret there").concealed());
    }
    Some(secret)
}
