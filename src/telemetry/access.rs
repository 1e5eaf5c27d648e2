//! The access log: one line per request.
//!
//! A record is one line of at most 8 KiB, and valid JSON, whatever the request held: see [`Line`] for how. Credentials
//! are not among the fields, and the values of query parameters that carry them are blanked.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::catalogue::Outcome;
use super::line::{Line, blank};
use super::lines::{Lines, LogError};
use super::settings::{Access, LogFormat, LogSettings};
use super::timestamp::timestamp;
use crate::rfc::Reason;

/// What there is to say of one answered request. The bytes are as received.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// When the answer was complete: wall time since the Unix epoch.
    pub time: Duration,
    /// Whose request it was.
    pub client: IpAddr,
    /// As sent.
    pub method: &'a str,
    /// As sent.
    pub host: &'a [u8],
    /// Path and query; the log blanks what is sensitive.
    pub path: &'a [u8],
    /// As answered.
    pub status: u16,
    /// Body bytes sent.
    pub bytes: u64,
    /// From the request's head to the end of the answer.
    pub duration: Duration,
    /// What the cache could do.
    pub outcome: Outcome,
    /// Why it could not do more.
    pub reason: Option<Reason>,
    /// What went wrong behind, for people; empty if nothing did.
    pub trouble: &'a str,
    /// The route's name; empty if it never got that far.
    pub route: &'a str,
    /// The answer's Cache-Status.
    pub cache_status: &'a [u8],
    /// How long the backend took, if it was asked.
    pub origin_duration: Option<Duration>,
    /// The request's identifier, if it has one; empty otherwise.
    pub request_id: &'a [u8],
    /// As sent; empty if it was not.
    pub user_agent: &'a [u8],
}

/// Writes records. Cheap to clone; clones share the log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    format: LogFormat,
    access: Access,
    redacted: Box<[String]>,
    lines: Lines,
}

impl AccessLog {
    /// Opens the log that the settings ask for. The values of query parameters with one of these names (in any case,
    /// percent-encoded or not) are blanked.
    pub fn open(settings: &LogSettings, redacted: &[String]) -> Result<Self, LogError> {
        if settings.access == Access::Off {
            return Ok(Self::off());
        }
        Ok(Self::on(settings, redacted, Lines::open(&settings.to)?))
    }

    /// A log whose lines go this way.
    pub fn on(settings: &LogSettings, redacted: &[String], lines: Lines) -> Self {
        let inner = Inner { format: settings.format, access: settings.access, redacted: redacted.into(), lines };
        Self { inner: Some(Arc::new(inner)) }
    }

    /// A log that says nothing.
    pub fn off() -> Self {
        Self { inner: None }
    }

    /// Whether a request with this outcome gets a line. Cheap, and to be asked once per request, before a record is
    /// made.
    pub fn wants(&self, outcome: Outcome) -> bool {
        self.inner.as_ref().is_some_and(|inner| match inner.access {
            Access::Sample(_) => inner.access.wants(outcome, roll()),
            access => access.wants(outcome, 0),
        })
    }

    /// Writes the record's line. Never waits; see [`Lines::send`].
    pub fn write(&self, record: &AccessRecord<'_>) {
        if let Some(inner) = &self.inner {
            inner.lines.send(match inner.format {
                LogFormat::Json => json_line(record, &inner.redacted),
                LogFormat::Text => text_line(record, &inner.redacted),
            });
        }
    }

    /// Lines written since the start.
    pub fn written(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.lines.written())
    }

    /// Lines dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.lines.dropped())
    }

    /// Waits for what is on its way; see [`Lines::flush`].
    pub async fn flush(&self, within: Duration) -> bool {
        match &self.inner {
            Some(inner) => inner.lines.flush(within).await,
            None => true,
        }
    }
}

impl Access {
    /// Whether a request with this outcome gets a line, given a number drawn evenly from all.
    #[allow(clippy::cast_precision_loss)] // A share of lines, not an account.
    pub fn wants(self, outcome: Outcome, drawn: u64) -> bool {
        match self {
            Self::Off => false,
            Self::All => true,
            Self::Misses => !outcome.is_hit(),
            Self::Sample(share) => !outcome.is_hit() || (drawn as f64) < share * 2.0_f64.powi(64),
        }
    }
}

/// The next number of this thread: a Weyl sequence, scrambled. Even enough to sample by, and nobody's secret.
fn roll() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    let state = STATE.try_with(|state| {
        state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        state.get()
    });
    let state = state.unwrap_or(0);
    let mixed = (state ^ (state >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

/// Budgets in bytes after escaping. Together with what is around them they stay below 8 KiB, line feed included.
mod budget {
    pub(super) const METHOD: usize = 64;
    pub(super) const HOST: usize = 512;
    pub(super) const PATH: usize = 4096;
    pub(super) const ROUTE: usize = 256;
    pub(super) const CACHE_STATUS: usize = 1024;
    pub(super) const REQUEST_ID: usize = 256;
    pub(super) const USER_AGENT: usize = 1024;
}

fn json_line(record: &AccessRecord<'_>, redacted: &[String]) -> Vec<u8> {
    let mut line = Line::new();
    line.push(format_args!("{{\"time\":\"{}\",\"client\":\"{}\"", timestamp(record.time), record.client));
    line.member("method", record.method.as_bytes(), budget::METHOD);
    line.member("host", record.host, budget::HOST);
    line.member("path", &blank(record.path, redacted), budget::PATH);
    line.push(format_args!(",\"status\":{},\"bytes\":{}", record.status, record.bytes));
    line.push(format_args!(",\"duration_us\":{}", record.duration.as_micros()));
    line.push(format_args!(",\"outcome\":\"{}\"", record.outcome.code()));
    if let Some(reason) = record.reason {
        line.push(format_args!(",\"reason\":\"{}\"", reason.code()));
    }
    line.member("route", record.route.as_bytes(), budget::ROUTE);
    line.member("cache_status", record.cache_status, budget::CACHE_STATUS);
    line.member("trouble", record.trouble.as_bytes(), budget::CACHE_STATUS);
    if let Some(duration) = record.origin_duration {
        line.push(format_args!(",\"origin_duration_us\":{}", duration.as_micros()));
    }
    line.member("request_id", record.request_id, budget::REQUEST_ID);
    line.member("user_agent", record.user_agent, budget::USER_AGENT);
    line.push(format_args!("}}\n"));
    line.into_bytes()
}

/// For eyes: the parts that a person looks for, in a fixed order.
fn text_line(record: &AccessRecord<'_>, redacted: &[String]) -> Vec<u8> {
    let mut line = Line::new();
    line.push(format_args!("{} {} \"", timestamp(record.time), record.client));
    line.escaped(record.method.as_bytes(), budget::METHOD);
    line.push(format_args!(" "));
    line.escaped(record.host, budget::HOST);
    line.escaped(&blank(record.path, redacted), budget::PATH);
    line.push(format_args!("\" {} {}B {}us ", record.status, record.bytes, record.duration.as_micros()));
    line.push(format_args!("{} {}", record.outcome.code(), record.reason.map_or("-", Reason::code)));
    line.push(format_args!(" \""));
    line.escaped(record.cache_status, budget::CACHE_STATUS);
    line.push(format_args!("\" \""));
    line.escaped(record.user_agent, budget::USER_AGENT);
    line.push(format_args!("\"\n"));
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::Value;

    use super::*;
    use crate::telemetry::lines::tests::Kept;

    fn record() -> AccessRecord<'static> {
        AccessRecord {
            time: Duration::from_millis(1_000_000_000_250),
            client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            method: "GET",
            host: b"example.com",
            path: b"/api/users/1?x=1",
            status: 200,
            bytes: 345,
            duration: Duration::from_micros(17),
            outcome: Outcome::MemoryHit,
            reason: None,
            route: "users",
            cache_status: b"forebay; hit; ttl=37; detail=memory",
            trouble: "",
            origin_duration: None,
            request_id: b"",
            user_agent: b"curl/8",
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_record_is_one_json_object() {
        let line = String::from_utf8(json_line(&record(), &[])).unwrap();
        assert_eq!(
            line,
            concat!(
                r#"{"time":"2001-09-09T01:46:40.250Z","client":"192.0.2.7","method":"GET","host":"example.com","#,
                r#""path":"/api/users/1?x=1","status":200,"bytes":345,"duration_us":17,"outcome":"memory-hit","#,
                r#""route":"users","cache_status":"forebay; hit; ttl=37; detail=memory","user_agent":"curl/8"}"#,
                "\n"
            )
        );
        let missed = AccessRecord {
            outcome: Outcome::Miss,
            reason: Some(Reason::Stale),
            trouble: "",
            origin_duration: Some(Duration::from_millis(70)),
            request_id: b"r-1",
            ..record()
        };
        let line: Value = serde_json::from_slice(&json_line(&missed, &[])).unwrap();
        assert_eq!((line["reason"].as_str(), line["origin_duration_us"].as_u64()), (Some("stale"), Some(70_000)));
        assert_eq!((line["outcome"].as_str(), line["request_id"].as_str()), (Some("miss"), Some("r-1")));
    }

    #[test]
    fn a_text_line_is_for_eyes() {
        let missed = AccessRecord { outcome: Outcome::Miss, reason: Some(Reason::Stale), ..record() };
        assert_eq!(
            String::from_utf8(text_line(&missed, &[])).unwrap(),
            "2001-09-09T01:46:40.250Z 192.0.2.7 \"GET example.com/api/users/1?x=1\" 200 345B 17us miss stale \
             \"forebay; hit; ttl=37; detail=memory\" \"curl/8\"\n"
        );
    }

    /// LG-01 of the catalogue of faults.
    #[test]
    fn whatever_a_request_holds_its_record_is_one_line_of_at_most_8_kib() {
        let long = "a".repeat(100_000);
        let controls: String = (0..=0x9f).filter_map(char::from_u32).collect();
        let nasty: Vec<Vec<u8>> = vec![
            b"\r\n{\"status\":500}".to_vec(),
            b"\x1b[2J\x1b]0;owned\x07".to_vec(),
            "\u{9b}31m \u{202e}gnp.exe \u{2028}x".as_bytes().to_vec(),
            b"\"},{\"a\":\"\\".to_vec(),
            b"\xff\xfe\xc3(\xf0\x9f".to_vec(),
            long.into_bytes(),
            b"\x01".repeat(100_000),
            b"\xff".repeat(100_000),
            "😀".repeat(50_000).into_bytes(),
            b"\\".repeat(100_000),
            controls.repeat(200).into_bytes(),
        ];
        for bytes in &nasty {
            let text = String::from_utf8_lossy(bytes);
            let record = AccessRecord {
                method: &text,
                host: bytes,
                path: bytes,
                route: &text,
                cache_status: bytes,
                request_id: bytes,
                user_agent: bytes,
                bytes: u64::MAX,
                duration: Duration::MAX,
                trouble: "x",
                origin_duration: Some(Duration::MAX),
                reason: Some(Reason::PurgedMeanwhile),
                client: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
                ..record()
            };
            for (name, line) in [("json", json_line(&record, &[])), ("text", text_line(&record, &[]))] {
                assert!(line.len() <= 8_192, "{name}: {}", line.len());
                let line = String::from_utf8(line).unwrap();
                let body = line.strip_suffix('\n').unwrap();
                assert!(
                    !body.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}')),
                    "{name}: {body}"
                );
            }
            let line: Value = serde_json::from_slice(&json_line(&record, &[])).unwrap();
            assert_eq!(line["status"], 200);
            let host = line["host"].as_str().unwrap();
            assert!(text.starts_with(host.trim_end_matches('…')), "{host}");
        }
    }

    #[test]
    fn what_is_wanted_depends_on_the_outcome() {
        for (access, outcome, drawn, expected) in [
            (Access::Off, Outcome::Error, 0, false),
            (Access::All, Outcome::MemoryHit, u64::MAX, true),
            (Access::Misses, Outcome::MemoryHit, 0, false),
            (Access::Misses, Outcome::StaleHit, 0, false),
            (Access::Misses, Outcome::Revalidated, 0, true),
            (Access::Misses, Outcome::Error, 0, true),
            (Access::Sample(0.0), Outcome::MemoryHit, 0, false),
            (Access::Sample(0.0), Outcome::Error, u64::MAX, true),
            (Access::Sample(0.0), Outcome::Miss, u64::MAX, true),
            (Access::Sample(0.5), Outcome::MemoryHit, u64::MAX / 2 - 1024, true),
            (Access::Sample(0.5), Outcome::MemoryHit, u64::MAX / 2 + 1024, false),
            (Access::Sample(1.0), Outcome::MemoryHit, u64::MAX - 2048, true),
            (Access::Sample(f64::NAN), Outcome::MemoryHit, 0, false),
        ] {
            assert_eq!(access.wants(outcome, drawn), expected, "{access:?} {outcome:?} {drawn}");
        }
    }

    #[test]
    fn a_sample_is_about_as_large_as_asked() {
        let taken = (0..100_000).filter(|_| Access::Sample(0.1).wants(Outcome::MemoryHit, roll())).count();
        assert!((9_000..=11_000).contains(&taken), "{taken}");
    }

    #[tokio::test]
    async fn records_arrive_as_lines_and_are_counted() {
        let kept = Kept::default();
        let lines = Lines::to_writer(Box::new(kept.clone())).unwrap();
        let log = AccessLog::on(&LogSettings::default(), &names(&["token"]), lines);
        for _ in 0..10 {
            assert!(log.wants(Outcome::Miss));
            log.write(&AccessRecord { path: b"/?token=secret", ..record() });
        }
        assert!(log.flush(Duration::from_mins(1)).await);
        assert_eq!((log.written(), log.dropped()), (10, 0));
        let text = kept.text();
        assert_eq!(text.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(), 10);
        assert!(!text.contains("secret"));
    }

    #[tokio::test]
    async fn a_log_that_is_off_wants_nothing() {
        let settings = LogSettings { access: Access::Off, ..LogSettings::default() };
        let log = AccessLog::open(&settings, &[]).unwrap();
        log.write(&record());
        assert!(!log.wants(Outcome::Error) && log.flush(Duration::ZERO).await);
        assert_eq!(log.written(), 0);
    }
}
