//! One run: a world, those who use it, who breaks it, and what was found afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::check::{Findings, Rules, check};
use super::clients::{Writer, auditor, reader};
use super::dice::Dice;
use super::history::{Got, History};
use super::scenarios::{Scenario, Size};
use super::world::World;

const READERS_PER_NODE: usize = 4;
const WRITERS: u64 = 4;

/// What came of a run.
pub struct Outcome {
    pub scenario: &'static Scenario,
    pub rules: Rules,
    pub found: Findings,
    pub rounds: u32,
    pub length: Duration,
    pub seed: u64,
}

/// Runs a scenario. With `lies`, writers say that they have purged when they have not.
pub async fn run(scenario: &'static Scenario, size: &Size, seed: u64, lies: bool) -> Outcome {
    let world = Arc::new(World::start(scenario.topology(), size.delta, seed).await);
    let began = world.now();
    let mut readers = JoinSet::new();
    for number in 0..READERS_PER_NODE * world.nodes.len() {
        readers.spawn(reader(world.clone(), number % world.nodes.len(), number as u64));
    }
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        writers.spawn(Writer::new(world.clone(), number, size.pause, lies).run());
    }
    let auditor = tokio::spawn(auditor(world.clone()));

    let mut dice = Dice::new(seed);
    let mut rounds = 0;
    while rounds < size.rounds || world.observed.load(Ordering::Relaxed) < size.observations {
        scenario.fault.round(&world, &mut dice).await;
        rounds += 1;
        let late = world.now() > began + size.limit;
        assert!(!late, "{}: not done in {:?}\n{}", scenario.name, size.limit, outputs(&world).await);
    }
    // Time for what was broken last to be noticed.
    sleep(world.delta).await;
    world.end();
    let mut history = History::default();
    while let Some(observations) = readers.join_next().await {
        history.observations.extend(observations.unwrap());
    }
    while let Some(purges) = writers.join_next().await {
        history.purges.extend(purges.unwrap());
    }
    history.trails = auditor.await.unwrap();
    history.keys = world.backend.pasts();
    history.lives = world.lives();
    history.length = world.now().saturating_sub(began);
    for node in &world.nodes {
        node.is_well().await;
    }
    let rules = scenario.rules(size, rounds, history.length);
    let found = check(&history, &rules);
    if let Err(few) = is_a_run(&history, size) {
        panic!("{}: only {few}\n{:#?}\n{}", scenario.name, found.reasons, outputs(&world).await);
    }
    Outcome { scenario, rules, found, rounds, length: history.length, seed }
}

/// Says what has happened if that is so little that nothing could have been found.
fn is_a_run(history: &History, size: &Size) -> Result<(), String> {
    let versions = history.observations.iter().filter(|one| matches!(one.got, Got::Version(_))).count() as u64;
    let updates: usize = history.keys.iter().map(|past| past.current_from.len() - 1).sum();
    let purges = history.purges.iter().filter(|purge| purge.seq.is_some()).count();
    let is_enough = versions >= size.observations / 2 && updates > 20 && purges > 20;
    if is_enough { Ok(()) } else { Err(format!("{versions} answers, {updates} updates and {purges} purges")) }
}

async fn outputs(world: &World) -> String {
    let mut outputs = String::new();
    for node in &world.nodes {
        outputs.push_str(&node.output().await);
    }
    outputs
}
