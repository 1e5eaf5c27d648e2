//! What the fleet shares: `[redis]`.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use crate::fleet::{Credential, RedisSettings};
use crate::serve::{FleetSettings, OnBlind, Unverified};
use crate::store::{SealKeys, SharedSettings};

use super::outside::{Outside, Surroundings};
use super::problem::{Notes, Place, Wrong};
use super::reader::Reader;
use super::values::{LONGEST, duration_in, file, length_in, one_of, size_in, text, whole};

/// How this node is one of a fleet.
#[derive(Clone, Debug)]
pub struct RedisEntry {
    /// Where Redis is, and how long it is waited for.
    pub settings: RedisSettings,
    /// Δ: for how long a node goes on by what it knows without having heard of the log.
    pub delta: Duration,
    /// What this node is called among the others; without it, the machine's name. Something random is added.
    pub node: Option<String>,
}

/// The ways in which a URL says where Redis is.
const SCHEMES: [&str; 10] = [
    "redis://",
    "rediss://",
    "redis-cluster://",
    "rediss-cluster://",
    "redis-sentinel://",
    "rediss-sentinel://",
    "redis+unix://",
    "valkey://",
    "valkeys://",
    "valkey-cluster://",
];

/// Reads `[redis]`; without the table and without `--redis`, the node is on its own.
pub(super) fn redis(table: &Reader<'_>, around: Surroundings<'_>) -> (Option<RedisEntry>, FleetSettings) {
    let Surroundings { notes, overrides, outside } = around;
    let written = url(table, "url", outside);
    let url = match &overrides.redis {
        Some(given) => given.read(notes, |value| located(value.to_owned())),
        None => written,
    };
    let fleet = fleet(table, outside);
    let default = RedisSettings::new("");
    let settings = RedisSettings {
        ledger_url: self::url(table, "ledger", outside),
        namespace: table.take("namespace", namespace, default.namespace.clone()),
        username: table.read("username", text),
        password: password(table, outside),
        tls_ca: table.read("tls_ca", |value| outside.pem(&file(value)?)),
        read_timeout: table.take("read_timeout", patience(1..=10_000), default.read_timeout),
        command_timeout: table.take("command_timeout", patience(1..=60_000), default.command_timeout),
        pool: table.take("pool", whole(1..=64), default.pool),
        max_queue: table.take("max_queue", whole(16..=1_000_000), default.max_queue),
        log_retention: table.take("log_retention", whole(16..=100_000_000), default.log_retention),
        // Marks outlive every entry that they may be asked about, its stale time included, also one that is on its way.
        marks_ttl: (fleet.shared.max_ttl.saturating_mul(2) + Duration::from_mins(10)).max(default.marks_ttl),
        ..default
    };
    let delta = table.take("delta", patience(100..=60_000), Duration::from_secs(2));
    let node = table.read("node", namespace);
    if url.is_none() && table.exists() && !table.holds("url") && overrides.redis.is_none() {
        table.complain("", Wrong::new("[redis] needs `url`").hint("url = \"redis://HOST:6379\""));
    }
    let entry = url.map(|url| RedisEntry { settings: RedisSettings { url, ..settings }, delta, node });
    if let Some(entry) = &entry {
        usable(table, entry, notes, overrides.redis.as_ref().map(|given| given.source));
    }
    (entry, fleet)
}

/// What a node does as one of a fleet, whatever the fleet is.
fn fleet(table: &Reader<'_>, outside: &Outside) -> FleetSettings {
    let default = FleetSettings::default();
    let on_blind = one_of(&[("revalidate", OnBlind::Revalidate), ("serve", OnBlind::Serve)]);
    let unverified = one_of(&[("serve", Unverified::Serve), ("refuse", Unverified::Refuse)]);
    let fleet = FleetSettings {
        on_blind: table.take("on_blind", on_blind, default.on_blind),
        unverified: table.take("unverified", unverified, default.unverified),
        blind_lifetime: table.take("blind_lifetime", patience(0..=86_400_000), default.blind_lifetime),
        lease_wait: table.take("lease_wait", patience(0..=60_000), default.lease_wait),
        shared: shared(table, &default.shared, outside),
    };
    if fleet.on_blind == OnBlind::Serve {
        let wrong = Wrong::new("a node that has lost the log from sight serves what may have been purged");
        table.warn(
            "on_blind",
            wrong.hint("for at most `blind_lifetime` after it was fetched; \"revalidate\" asks the backend"),
        );
    }
    fleet
}

/// What the nodes share of their entries.
fn shared(table: &Reader<'_>, default: &SharedSettings, outside: &Outside) -> SharedSettings {
    SharedSettings {
        max_object: table.take("max_object", size_in(1..=64 << 20), default.max_object),
        max_ttl: table.take("max_ttl", duration_in(Duration::from_secs(1)..=LONGEST), default.max_ttl),
        compress_above: table.take("compress_above", length_in(0..=1 << 30), default.compress_above),
        max_waiting: table.take("max_waiting", whole(1..=1_000_000), default.max_waiting),
        max_waiting_bytes: table.take("max_waiting_bytes", size_in(1 << 10..=16 << 30), default.max_waiting_bytes),
        seal: seal(table, outside),
    }
}

/// The keys that records are sealed with: the first seals, each of them opens.
fn seal(table: &Reader<'_>, outside: &Outside) -> Option<SealKeys> {
    let keys = table.list("seal", |value| outside.text(&text(value)?))?;
    if keys.iter().any(|(_, in_clear)| *in_clear) {
        let wrong = Wrong::new("this secret stands in the file in the clear");
        table.warn("seal", wrong.hint("write \"env:NAME\" or \"file:PATH\" and keep the secret there").concealed());
    }
    let keys: Vec<String> = keys.into_iter().map(|(key, _)| key).collect();
    match SealKeys::parse(&keys) {
        Ok(keys) => Some(keys),
        Err(problem) => {
            table.complain("seal", Wrong::new(problem.to_string()).concealed());
            None
        }
    }
}

/// A URL that says where Redis is, in the file or in what it names: there may be a password in it.
fn url(table: &Reader<'_>, key: &'static str, outside: &Outside) -> Option<String> {
    table.read(key, |value| located(outside.text(&text(value)?)?.0))
}

fn located(url: String) -> Result<String, Wrong> {
    if SCHEMES.iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme)) {
        return Ok(url);
    }
    Err(Wrong::new("this does not say where Redis is")
        .hint("write redis://HOST:6379, rediss:// for TLS, redis-cluster://, redis-sentinel:// or redis+unix:///PATH")
        .concealed())
}

/// A password; one in a file is read anew for each connection, so that it can be changed.
fn password(table: &Reader<'_>, outside: &Outside) -> Option<Credential> {
    let written = table.read("password", text)?;
    if let Some(path) = written.strip_prefix("file:") {
        // Read once now: what cannot be read is better known before the start.
        table.read("password", |value| outside.text(&text(value)?))?;
        return Some(Credential::File(PathBuf::from(path)));
    }
    let (password, in_clear) = table.read("password", |value| outside.text(&text(value)?))?;
    if in_clear {
        let wrong = Wrong::new("this secret stands in the file in the clear");
        table.warn("password", wrong.hint("write \"env:NAME\" or \"file:PATH\" and keep the secret there").concealed());
    }
    Some(Credential::Text(password))
}

fn namespace(value: &DeValue<'_>) -> Result<String, Wrong> {
    let written = text(value)?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}');
    if (1..=64).contains(&written.len()) && written.bytes().all(plain) {
        return Ok(written);
    }
    Err(Wrong::new("1 to 64 printable characters, no blanks and no braces").hint("forebay-staging"))
}

fn patience(millis: std::ops::RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<Duration, Wrong> {
    duration_in(Duration::from_millis(*millis.start())..=Duration::from_millis(*millis.end()))
}

/// Lets the room that connects judge the settings as a whole.
fn usable(table: &Reader<'_>, entry: &RedisEntry, notes: &Notes, flag: Option<&'static str>) {
    let Err(problem) = entry.settings.check() else { return };
    let wrong = Wrong::new(problem.to_string()).concealed();
    match flag {
        Some(flag) => notes.error(Place::Flag(flag), "redis.url", wrong),
        None => table.complain("url", wrong),
    }
}
