//! Figures of a fleet at its best: how soon a purge holds on another node, and what a shared hit takes. They are printed;
//! what is asserted is that each of them was really one.
//!
//! `make faults` prints them in the release build.

use std::io::Write as _;
use std::time::Duration;

use super::backend::{Backend, Setting, version_in};
use super::client::Client;
use super::contract::instant;
use super::gateway::Gateway;
use super::redis::Redis;

/// Times, and how to print them.
struct Times(Vec<Duration>);

impl Times {
    fn print(mut self, what: &str) {
        self.0.sort_unstable();
        let at = |share: f64| {
            // A share of a length is an index into it.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let index = ((self.0.len() - 1) as f64 * share) as usize;
            self.0[index].as_secs_f64() * 1_000.0
        };
        say(&format!("| {what} | {} | {:.3} | {:.3} | {:.3} |", self.0.len(), at(0.5), at(0.99), at(1.0)));
    }
}

/// On standard output, and at the end of a file beside the one that `make faults` collects rows in.
fn say(line: &str) {
    println!("{line}");
    if let Some(path) = std::env::var_os("FOREBAY_FAULTS") {
        let path = std::path::PathBuf::from(path).with_extension("figures.md");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

pub async fn pair(backend: &Backend, redis: &Redis, more: &str) -> (Gateway, Gateway) {
    let config = format!("[redis]\nurl = \"{}\"\n{more}", redis.url());
    let one = Gateway::start(&config, backend.address).await;
    let two = Gateway::start(&config, backend.address).await;
    for node in [&one, &two] {
        let mut admin = Client::connect(node.admin).await;
        while admin.get("/readyz").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    (one, two)
}

pub fn purge(path: &str, wait: &str) -> String {
    let body = format!("{{\"url\":\"{path}\"{wait}}}");
    let length = body.len();
    format!(
        "POST /v1/purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn figures_of_a_purge_on_its_way_to_another_node() {
    let backend = Backend::start().await;
    backend.set("/", Setting::default());
    let redis = Redis::start().await;
    let (one, two) = pair(&backend, &redis, "").await;
    let mut admin = Client::connect(one.admin).await;
    let mut reader = Client::connect(two.address()).await;
    let (mut from_sent, mut from_acknowledged, mut everywhere) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let old = version_in(&reader.get("/p").await.text(), "/p");
        assert!(reader.get("/p").await.is_hit());
        backend.raise("/p");
        let sent = instant();
        let (acknowledged, seen) = tokio::join!(
            async {
                admin.send(purge("/p", "")).await;
                assert_eq!(admin.answer().await.status, 200);
                instant()
            },
            async {
                loop {
                    let asked = instant();
                    if version_in(&reader.get("/p").await.text(), "/p") > old {
                        return asked;
                    }
                }
            },
        );
        from_sent.push(seen.saturating_duration_since(sent));
        from_acknowledged.push(seen.saturating_duration_since(acknowledged));
    }
    for _ in 0..rounds() {
        let old = version_in(&reader.get("/p").await.text(), "/p");
        backend.raise("/p");
        let sent = instant();
        admin.send(purge("/p", ",\"wait\":\"fleet\"")).await;
        assert_eq!(admin.answer().await.status, 200);
        everywhere.push(sent.elapsed());
        assert!(version_in(&reader.get("/p").await.text(), "/p") > old, "acknowledged for the fleet");
    }
    say("\n| figure | n | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|");
    Times(from_sent).print("purge sent to one node → holds on the other");
    Times(from_acknowledged).print("purge acknowledged by one node → holds on the other");
    Times(everywhere).print("purge with wait=fleet → acknowledged");
}

#[tokio::test]
async fn figures_of_a_shared_hit() {
    let backend = Backend::start().await;
    backend.set("/", Setting::default());
    let redis = Redis::start().await;
    let (one, two) = pair(&backend, &redis, "").await;
    let (mut first, mut second) = (Client::connect(one.address()).await, Client::connect(two.address()).await);
    let (mut shared, mut memory) = (Vec::new(), Vec::new());
    for round in 0..rounds() {
        let path = format!("/{round}");
        assert_eq!(first.get(&path).await.status, 200);
        // The write is off the request's path; it is there within a moment.
        tokio::time::sleep(Duration::from_millis(3)).await;
        let asked = instant();
        let answer = second.get(&path).await;
        let took = asked.elapsed();
        let status = answer.field("cache-status").unwrap_or_default();
        if status.contains("detail=shared") {
            shared.push(took);
        }
        let asked = instant();
        assert!(second.get(&path).await.field("cache-status").unwrap_or_default().contains("detail=memory"));
        memory.push(asked.elapsed());
    }
    assert!(shared.len() * 10 >= rounds() * 9, "{} of {} were shared", shared.len(), rounds());
    say("\n| figure | n | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|");
    Times(shared).print("shared hit, whole request");
    Times(memory).print("memory hit, whole request");
}

/// Few in the suite, more where figures are wanted.
fn rounds() -> usize {
    if std::env::var_os("FOREBAY_FAULTS").is_some() { 1_000 } else { 40 }
}
