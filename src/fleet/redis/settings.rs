//! Where Redis is, who we are to it, and how long we wait for it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::breaker::BreakerSettings;

/// How to reach what the fleet shares.
#[derive(Clone)]
pub struct RedisSettings {
    /// Where entries, leases and messages are: `redis://host:port`, `rediss://…` for TLS, `redis-cluster://…?node=…`,
    /// `redis-sentinel://…?sentinelServiceName=…`, `redis+unix:///path`. May carry a user, a password and a database.
    pub url: String,
    /// Where the ledger is, if it is a server of its own: one that never evicts. Default: the same.
    pub ledger_url: Option<String>,
    /// What all keys and channels of ours begin with. Fleets with different ones do not see each other. 1 to 64
    /// characters, no braces. Default `forebay`.
    pub namespace: String,
    /// The user; goes before one in the URL. Default: none, or `default` where a password is given.
    pub username: Option<String>,
    /// The password; goes before one in the URL.
    pub password: Option<Credential>,
    /// Whom to trust instead of the system's authorities, as PEM, where the URL asks for TLS.
    pub tls_ca: Option<Vec<u8>>,
    /// How long a request waits: for an entry, a lease, the marks of tags. 1 ms to 10 s. Default 50 ms.
    pub read_timeout: Duration,
    /// How long everything else waits: heartbeats, appends, writing entries. 1 ms to 60 s. Default 500 ms.
    pub command_timeout: Duration,
    /// Connections for entries, each driven by one task. 1 to 64. Default 2.
    pub pool: usize,
    /// Commands that may wait in this process for one connection; more are refused. 16 to 1,000,000. Default 4,096.
    pub max_queue: usize,
    /// Records that the log keeps at the least. A node that was away for longer begins anew. 16 or more. Default 16,384.
    pub log_retention: u64,
    /// How long the marks of tags are kept: longer than any entry may live, fetching included. At least 1 s. Default 48 h.
    pub marks_ttl: Duration,
    /// When a server that fails is left alone. One breaker for entries, one for the ledger.
    pub breaker: BreakerSettings,
}

/// A password: as it is, or in a file that is read anew for each connection, so that it can be changed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// The password.
    Text(String),
    /// A file with the password; blank space at its end is not part of it.
    File(PathBuf),
}

/// Why these settings cannot be used. Holds nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(pub String);

impl RedisSettings {
    /// These defaults, and this URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ledger_url: None,
            namespace: "forebay".to_owned(),
            username: None,
            password: None,
            tls_ca: None,
            read_timeout: Duration::from_millis(50),
            command_timeout: Duration::from_millis(500),
            pool: 2,
            max_queue: 4_096,
            log_retention: 16_384,
            marks_ttl: Duration::from_hours(48),
            breaker: Self::breaker(),
        }
    }

    /// A breaker that gives way within half a second and is back within two: asking Redis again costs little.
    pub fn breaker() -> BreakerSettings {
        BreakerSettings {
            consecutive: 4,
            failure_percent: 50,
            min_outcomes: 10,
            window: Duration::from_secs(5),
            first_pause: Duration::from_millis(200),
            max_pause: Duration::from_millis(500),
            probes: 2,
        }
    }

    /// Whether all values are within their ranges. The URLs are looked at when they are used.
    ///
    /// # Errors
    /// The first value that is not, and what it may be.
    pub fn check(&self) -> Result<(), Unusable> {
        let namespace = (1..=64).contains(&self.namespace.len())
            && self.namespace.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'{' && byte != b'}');
        let millis = Duration::from_millis;
        let rules = [
            (namespace, "the namespace has 1 to 64 printable characters, no blanks and no braces"),
            (
                (millis(1)..=Duration::from_secs(10)).contains(&self.read_timeout),
                "the read timeout is between 1 ms and 10 s",
            ),
            (
                (millis(1)..=Duration::from_mins(1)).contains(&self.command_timeout),
                "the command timeout is between 1 ms and 60 s",
            ),
            ((1..=64).contains(&self.pool), "the pool has 1 to 64 connections"),
            ((16..=1_000_000).contains(&self.max_queue), "the queue has room for 16 to 1,000,000 commands"),
            (self.log_retention >= 16, "the log keeps 16 records or more"),
            (self.marks_ttl >= Duration::from_secs(1), "marks are kept for a second or more"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            None => Ok(()),
            Some((_, rule)) => Err(Unusable((*rule).to_owned())),
        }
    }
}

impl Credential {
    /// The password as it is now. Reads the file, if it is in one.
    ///
    /// # Errors
    /// Why the file cannot be read; never what is in it.
    pub fn read(&self) -> Result<String, String> {
        match self {
            Credential::Text(text) => Ok(text.clone()),
            Credential::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.trim_end().to_owned()),
                Err(error) => Err(format!("the password file {} cannot be read: {}", path.display(), error.kind())),
            },
        }
    }
}

/// Without what stands before the `@` or behind the `?`: there may be passwords.
pub(super) fn without_secrets(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => url.to_owned(),
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("url", &without_secrets(&self.url))
            .field("ledger_url", &self.ledger_url.as_deref().map(without_secrets))
            .field("namespace", &self.namespace)
            .field("username", &self.username)
            .field("password", &self.password)
            .field("read_timeout", &self.read_timeout)
            .field("command_timeout", &self.command_timeout)
            .field("pool", &self.pool)
            .field("max_queue", &self.max_queue)
            .field("log_retention", &self.log_retention)
            .field("marks_ttl", &self.marks_ttl)
            .field("breaker", &self.breaker)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Text(_) => f.write_str("Text(…)"),
            Credential::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_shown() {
        let mut settings = RedisSettings::new("rediss://user:s3cret@host:6379/1?sentinelPassword=s3cret");
        settings.ledger_url = Some("redis://:s3cret@other".to_owned());
        settings.password = Some(Credential::Text("s3cret".to_owned()));
        let shown = format!("{settings:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("rediss://…@host:6379/1") && shown.contains("redis://…@other"), "{shown}");
    }

    #[test]
    fn the_defaults_are_within_their_ranges_and_these_are_not() {
        let spoil: &[fn(&mut RedisSettings)] = &[
            |settings| settings.namespace.clear(),
            |settings| "a{b}".clone_into(&mut settings.namespace),
            |settings| settings.read_timeout = Duration::ZERO,
            |settings| settings.command_timeout = Duration::from_secs(61),
            |settings| settings.pool = 0,
            |settings| settings.max_queue = 1,
            |settings| settings.log_retention = 1,
            |settings| settings.marks_ttl = Duration::ZERO,
        ];
        assert_eq!(RedisSettings::new("redis://localhost").check(), Ok(()));
        for (index, spoil) in spoil.iter().enumerate() {
            let mut settings = RedisSettings::new("redis://localhost");
            spoil(&mut settings);
            assert!(settings.check().is_err(), "row {index}");
        }
    }

    #[test]
    fn a_password_file_is_read_without_the_end_of_its_line() {
        let path = std::env::temp_dir().join(format!("forebay-password-{}", std::process::id()));
        std::fs::write(&path, "s3cret\n").unwrap();
        let credential = Credential::File(path.clone());
        assert_eq!(credential.read().as_deref(), Ok("s3cret"));
        std::fs::write(&path, "changed\n").unwrap();
        assert_eq!(credential.read().as_deref(), Ok("changed"));
        std::fs::remove_file(&path).unwrap();
        assert!(credential.read().is_err());
    }
}
