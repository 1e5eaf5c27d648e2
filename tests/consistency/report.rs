//! What was found, as a table.

use std::fmt::Write;
use std::time::Duration;

use super::check::{BOUNDS, Staleness};
use super::run::Outcome;

/// The table, in Markdown.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| Fault | Rows | Rounds | Observations | Violations | Bound | Worst after a fleet-acknowledged purge \
         | Worst elsewhere after a purge on one node | Worst after an event | Worst step back on a node \
         | Purges acknowledged / queued | Acknowledged by the fleet after p50 / p99 | Errors / avoidable | Aborted | Unverified |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for Outcome { scenario, rules, found, rounds, .. } in outcomes {
        let _ = writeln!(
            text,
            "| {} | {} | {rounds} | {} | {} | {} | {} | {} | {} | {} | {} / {} | {} / {} | {} / {} | {} | {} |",
            scenario.name,
            scenario.rows,
            found.observations,
            found.violations(),
            millis(rules.fleet),
            millis(found.fleet.worst),
            millis(found.elsewhere.worst),
            millis(found.event.worst),
            millis(found.monotonic.worst),
            found.acknowledged,
            found.queued,
            millis(found.acknowledging[0]),
            millis(found.acknowledging[1]),
            found.errors,
            found.avoidable,
            found.aborted,
            found.blind,
        );
    }
    text.push_str("\nObservations beyond a bound, per million: after fleet-acknowledged purges / after purges on one node.\n\n| Fault |");
    for bound in BOUNDS {
        let _ = write!(text, " {bound} ms |");
    }
    text.push_str(" the bound of the run |\n|---|");
    text.push_str(&"---|".repeat(BOUNDS.len() + 1));
    text.push('\n');
    for Outcome { scenario, found, .. } in outcomes {
        let _ = write!(text, "| {} |", scenario.name);
        let share = |count: u64| count * 1_000_000 / found.observations.max(1);
        let both = |count: &dyn Fn(&Staleness) -> u64| {
            format!("{} / {}", share(count(&found.fleet)), share(count(&found.elsewhere)))
        };
        for at in 0..BOUNDS.len() {
            let _ = write!(text, " {} |", both(&|staleness| staleness.beyond[at]));
        }
        let _ = writeln!(text, " {} |", both(&|staleness| staleness.violations));
    }
    text
}

/// What is wrong, in words; empty if nothing is.
pub fn complaints(outcome: &Outcome) -> String {
    let Outcome { scenario, found, seed, length, .. } = outcome;
    if found.violations() == 0 {
        return String::new();
    }
    let examples = found.examples.join("\n  ");
    format!(
        "{}: {} violations in {length:?}; again with FOREBAY_SEED={seed}\n  {examples}\n  {}\n",
        scenario.name,
        found.violations(),
        summary(outcome)
    )
}

fn summary(outcome: &Outcome) -> String {
    let found = &outcome.found;
    let late = [
        ("fleet", found.fleet),
        ("here", found.here),
        ("elsewhere", found.elsewhere),
        ("event", found.event),
        ("monotonic", found.monotonic),
        ("freshness", found.freshness),
    ];
    let mut text = String::new();
    for (what, Staleness { violations, worst, .. }) in late {
        let _ = write!(text, "{what} {violations} (worst {}), ", millis(worst));
    }
    let _ = write!(
        text,
        "invented {}, overasked {}, unaudited {}, avoidable {}",
        found.invented, found.overasked, found.unaudited, found.avoidable
    );
    text
}

fn millis(duration: Duration) -> String {
    format!("{} ms", duration.as_micros().div_ceil(1_000))
}
