//! The protocol of the ledger, searched exhaustively for counterexamples.
//!
//! Nothing here runs the gateway: what is checked is the design. Each module models one part of it within small bounds,
//! says what that part promises, and is searched twice over: with all rules in force, which must hold, and without each
//! of them in turn, which must break. `docs/protocol.md` tells what goes wrong without which rule.
//!
//! `cargo test --test protocol -- --nocapture` prints the number of states and the shortest counterexamples.

// A test says what it expects by failing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rules;
mod search;

mod barrier;
mod epochs;
mod flights;
mod follow;
mod generation;
mod grades;
mod lease;
mod patch;
mod pending;
mod scribe;
mod shared;

use rules::{Rule, Rules};
use search::{Model, Outcome};

/// The whole protocol keeps its promises in every state that can be reached.
fn holds<M: Model>(name: &str, model: impl Fn(Rules) -> M) {
    match search::search(&model(Rules::all())) {
        Outcome::Holds { states, depth } => println!("{name}: holds in {states} states, {depth} steps deep"),
        Outcome::Broken { promise, trace, .. } => panic!("{name}: {promise}\n{}", trace.join("\n")),
    }
}

/// Without `rule` the search finds that this promise is broken.
fn breaks<M: Model>(rule: Rule, model: impl Fn(Rules) -> M, expected: &str) {
    match search::search(&model(Rules::without(rule))) {
        Outcome::Holds { states, .. } => panic!("without {rule:?} nothing breaks in {states} states: is it a rule?"),
        Outcome::Broken { promise, trace, states } => {
            println!("without {rule:?}: {promise} ({} steps, {states} states)\n{}\n", trace.len(), trace.join("\n"));
            assert_eq!(promise, expected, "without {rule:?}\n{}", trace.join("\n"));
        }
    }
}

/// Even with all rules in force this promise would be too much: the search shows what it costs.
fn cannot_promise<M: Model>(name: &str, model: impl Fn(Rules) -> M, expected: &str) {
    match search::search(&model(Rules::all())) {
        Outcome::Holds { states, .. } => panic!("{name}: holds in {states} states, so promise it"),
        Outcome::Broken { promise, trace, .. } => {
            println!("{name} cannot be promised: {promise} ({} steps)\n{}\n", trace.len(), trace.join("\n"));
            assert_eq!(promise, expected, "{name}\n{}", trace.join("\n"));
        }
    }
}

/// The page and the suite tell the same story: each rule is taken away by some test, and each test is on the page.
#[test]
fn every_rule_has_a_test_and_every_test_is_on_the_page() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    let page = read(root.join("docs/protocol.md"));
    let folder = std::fs::read_dir(root.join("tests/protocol")).unwrap();
    let suite: String = folder.map(|file| read(file.unwrap().path())).collect();

    let rules = read(root.join("tests/protocol/rules.rs"));
    let names = rules.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(','));
    for rule in names.filter(|name| name.chars().all(char::is_alphanumeric)) {
        let taken_away = [format!("breaks(Rule::{rule},"), format!("Rules::without(Rule::{rule})")];
        assert!(taken_away.iter().any(|form| suite.contains(form)), "no test takes {rule} away");
    }

    for test in suite.split("#[test]").skip(1).filter_map(|text| text.trim_start().strip_prefix("fn ")?.split_once('('))
    {
        let removes = test.0.starts_with("without_") || test.0.starts_with("even_") || test.0.starts_with("with_");
        assert!(!removes || page.contains(&format!("`{}`", test.0)), "{} is not on the page", test.0);
    }
    for name in page.split('`').filter(|name| name.starts_with("without_") && name.len() > 10) {
        assert!(name == "without_…" || suite.contains(&format!("fn {name}()")), "the page speaks of {name}");
    }
}
