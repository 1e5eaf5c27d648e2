//! The consistency checker: gateways as processes, a versioned backend, updates, purges and events at random, somebody who
//! breaks things, and readers who write down what they got. Afterwards [`check`] compares that with what was promised.
//!
//! `cargo test` makes a few short runs. `make consistency` makes all of them at length and prints a table;
//! `FOREBAY_OBSERVATIONS` is how many observations each run takes, `FOREBAY_SCENARIO` part of the name of the runs to
//! make, `FOREBAY_SEED` a seed that was printed. What is drawn is the same for the same seed; how the processes are timed
//! is not, so a seed brings back the plan of a run and not each of its steps.

// Helpers fail by panicking, like the tests they help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backend;
mod check;
mod clients;
mod dice;
mod history;
mod http;
mod nemesis;
mod report;
mod run;
mod scenarios;
mod world;

// The gateway's process, the servers and the proxy are those of other suites, which use more of them.
#[allow(dead_code)]
#[path = "../fleet/chaos.rs"]
mod chaos;
#[allow(dead_code)]
#[path = "../wire/gateway.rs"]
mod gateway;
#[allow(dead_code, unused_imports)]
#[path = "../fleet/redis/mod.rs"]
mod redis;

mod check_tests;

use std::time::Duration;

use nemesis::Fault;
use report::{complaints, table};
use run::run;
use scenarios::{Scenario, Size};

/// What `cargo test` has time for.
const QUICK: Size = Size {
    observations: 10_000,
    rounds: 2,
    delta: Duration::from_secs(1),
    pause: Duration::from_millis(100),
    limit: Duration::from_mins(2),
};

/// A short run finds nothing.
async fn holds(fault: Fault) {
    let outcome = run(Scenario::of(fault), &QUICK, seed(), false).await;
    let complaints = complaints(&outcome);
    assert!(complaints.is_empty(), "{complaints}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_12_readers_never_see_what_was_purged_while_all_is_well() {
    holds(Fault::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_04_a_gateway_that_was_paused_serves_nothing_that_was_purged_meanwhile() {
    holds(Fault::GatewayPaused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p_05_a_gateway_that_was_killed_and_started_again_serves_nothing_that_was_purged() {
    holds(Fault::GatewayKilled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_01_a_backend_that_hangs_delivers_nothing_that_was_purged_meanwhile() {
    holds(Fault::BackendHangs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purges_that_were_acknowledged_and_not_made_are_found() {
    let size = Size { observations: 5_000, ..QUICK };
    let outcome = run(Scenario::of(Fault::Nothing), &size, seed(), true).await;
    let found = &outcome.found;
    assert!(found.fleet.violations > 0 && found.here.violations > 0, "{found:?}");
}

/// All runs at length, for `make consistency`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make consistency"]
async fn the_table() {
    let observations = number("FOREBAY_OBSERVATIONS").unwrap_or(1_000_000);
    let wanted = std::env::var("FOREBAY_SCENARIO").unwrap_or_default();
    let limit = Duration::from_mins(15);
    let (delta, pause) = (Duration::from_secs(2), Duration::from_millis(25));
    let size = Size { observations, rounds: 6, delta, pause, limit };
    let mut outcomes = Vec::new();
    for scenario in Scenario::all().filter(|scenario| scenario.name.contains(&wanted)) {
        let outcome = run(scenario, &size, seed(), false).await;
        let (name, seed, length) = (scenario.name, outcome.seed, outcome.length);
        println!("{name}: {} observations in {length:.1?}, seed {seed}", outcome.found.observations);
        for (reason, times) in &outcome.found.reasons {
            println!("  {times} times {reason}");
        }
        print!("{}", complaints(&outcome));
        outcomes.push(outcome);
    }
    assert!(!outcomes.is_empty(), "no run is called {wanted:?}");
    let table = table(&outcomes);
    println!("\n{table}");
    let target = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    std::fs::create_dir_all(&target).unwrap();
    std::fs::write(target.join("consistency.md"), &table).unwrap();
    let violations: u64 = outcomes.iter().map(|outcome| outcome.found.violations()).sum();
    assert_eq!(violations, 0, "violations; the table says where");
}

/// The seed of a run: the one that was asked for, or a new one.
fn seed() -> u64 {
    let wall = forebay::clock::Clock::system().now().wall;
    let seed = number("FOREBAY_SEED").unwrap_or(u64::from(wall.subsec_nanos()));
    println!("FOREBAY_SEED={seed}");
    seed
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}
