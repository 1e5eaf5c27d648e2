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
