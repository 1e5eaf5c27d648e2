//! The log of the program itself: `tracing`, filtered, as JSON or for eyes, to standard error.
//!
//! It goes to standard error so that the access log has standard output to itself, and through [`Lines`], so that a
//! terminal or collector that stops reading does not stop the gateway.

use std::fmt;
use std::io;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use super::lines::{Lines, LogError};
use super::settings::{LogFormat, LogSettings, LogTarget};
use super::timestamp::timestamp;
use crate::clock::Clock;

/// Sets up the program's log, once per process. `settings.level` is a level (`info`) or a filter
/// (`warn,forebay::upstream=debug`). What is returned is for flushing before the process ends.
pub fn init(settings: &LogSettings, clock: Clock) -> Result<Lines, LogError> {
    let filter = filter(&settings.level)?;
    let lines = Lines::open(&LogTarget::Stderr)?;
    let subscriber = subscriber(settings.format, filter, clock, lines.clone());
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::AlreadySet)?;
    Ok(lines)
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder().parse(level).map_err(|error| LogError::Filter(error.to_string()))
}

fn subscriber(
    format: LogFormat,
    filter: EnvFilter,
    clock: Clock,
    lines: Lines,
) -> Box<dyn Subscriber + Send + Sync + 'static> {
    let base = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(Stamped(clock))
        .with_ansi(false)
        .with_writer(ToLines(lines));
    match format {
        LogFormat::Json => Box::new(base.json().flatten_event(true).finish()),
        LogFormat::Text => Box::new(base.finish()),
    }
}

/// Dates events by the gateway's clock.
struct Stamped(Clock);

impl FormatTime for Stamped {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.write_str(&timestamp(self.0.now().wall))
    }
}

/// Hands each event over as one line: the formatter writes an event in one piece.
#[derive(Clone)]
struct ToLines(Lines);

impl<'a> MakeWriter<'a> for ToLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for ToLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::lines::tests::Kept;

    async fn logged(format: LogFormat, level: &str) -> String {
        let kept = Kept::default();
        let lines = Lines::to_writer(Box::new(kept.clone())).unwrap();
        let clock = Clock::starting_at(Duration::from_secs(1_000_000_000));
        let subscriber = subscriber(format, filter(level).unwrap(), clock, lines.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(origin = "main\r\n\x1b[2J", "backend is \"down\"");
            tracing::debug!("a detail");
        });
        assert!(lines.flush(Duration::from_mins(1)).await);
        kept.text()
    }

    #[tokio::test]
    async fn an_event_is_one_json_line() {
        let text = logged(LogFormat::Json, "info").await;
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "backend is \"down\"");
        assert_eq!(line["origin"], "main\r\n\x1b[2J");
        assert!(line["timestamp"].as_str().unwrap().starts_with("2001-09-09T01:46:40."));
    }

    #[tokio::test]
    async fn an_event_for_eyes_cannot_steer_the_terminal() {
        let text = logged(LogFormat::Text, "info").await;
        assert!(text.contains("backend is \"down\""), "{text}");
        assert_eq!((text.lines().count(), text.contains('\x1b')), (1, false), "{text}");
    }

    #[tokio::test]
    async fn a_filter_names_rooms() {
        assert_eq!(logged(LogFormat::Json, "forebay::telemetry=debug").await.lines().count(), 2);
        assert_eq!(logged(LogFormat::Json, "info,forebay=error").await, "");
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_refused() {
        assert!(filter("info,forebay=loud").is_err());
    }
}
