//! The lines that `make faults` prints: what the assertions do not say, because it depends on the machine.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use super::load::{How, Record};

/// A file that the rows go to, if they are wanted.
const TO: &str = "FOREBAY_FAULTS";
const HEAD: &str = "\
| Row | What was done | Requests | Client errors | Memory hits before: p50 / p99 / max | during | Misses before: p99 | during | Redis used again | Worst staleness after a purge in the log | after a queued one | after an announcement |
|---|---|---:|---:|---|---|---:|---:|---:|---:|---:|---:|
";

/// A time to look at: from when to when.
pub type Span = (Duration, Duration);

/// How long a fault lasts: longer where latencies are measured.
pub fn lasting(seconds: u64) -> Duration {
    Duration::from_secs(if std::env::var_os(TO).is_some() { seconds * 3 } else { seconds })
}

/// Writes a line about what was done.
pub fn row(id: &str, what: &str, record: &Record, before: Span, during: Span, back: Option<Duration>) {
    let Some(path) = std::env::var_os(TO) else { return };
    let mut line = format!("| {id} | {what} | {} | {} |", record.seen.len(), record.errors().count());
    for span in [before, during] {
        let took = record.latencies(How::Memory, span);
        let (median, rare, most) = (part(&took, 50), part(&took, 99), part(&took, 100));
        let _ = write!(line, " {} / {} / {} |", millis(median), millis(rare), millis(most));
    }
    for span in [before, during] {
        let _ = write!(line, " {} |", millis(part(&record.latencies(How::Fetched, span), 99)));
    }
    let worst = record.staleness();
    let (logged, queued, announced) = (none(worst.elsewhere), none(worst.queued), none(worst.announced));
    let _ = writeln!(line, " {} | {logged} | {queued} | {announced} |", millis(back));
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    let is_new = file.metadata().unwrap().len() == 0;
    let text = if is_new { format!("{HEAD}{line}") } else { line };
    file.write_all(text.as_bytes()).unwrap();
}

/// So many percent took no longer than this.
fn part(took: &[Duration], percent: usize) -> Option<Duration> {
    took.get((took.len() * percent / 100).min(took.len().saturating_sub(1))).copied()
}

fn millis(time: Option<Duration>) -> String {
    time.map_or_else(|| "–".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
}

fn none(time: Option<Duration>) -> String {
    time.map_or_else(|| "none".to_owned(), |time| millis(Some(time)))
}
