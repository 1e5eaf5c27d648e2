//! A thousand clients who want the same thing that nobody has yet, and three hundred of them lose patience.

use tokio::task::JoinSet;

use super::backend::{Gate, holds};
use super::client::{Answer, Client};
use super::gateway::SOON;
use super::house::House;

const ALL: u32 = 1000;
const LEAVING: u32 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_askers_are_one_request_though_the_first_ones_leave() {
    let house = House::start().await;
    let gate = Gate::new();
    let body = "the one answer";
    let head = "HTTP/1.1 200 OK\r\nX-Origin-Seq: {seq}\r\nCache-Control: max-age=60\r\nContent-Length: 14\r\n\r\n";
    house.backend.on("/cold", holds(&gate).then(format!("{head}{body}")));
    let mut leaving = Vec::new();
    for _ in 0..LEAVING {
        leaving.push(asker(&house).await);
    }
    house.backend.until_asked("/cold").await;
    let mut staying = Vec::new();
    for _ in LEAVING..ALL {
        staying.push(asker(&house).await);
    }
    watch(&house, "forebay_connections_open", |open| open >= f64::from(ALL)).await;
    for client in leaving {
        client.reset();
    }
    watch(&house, "forebay_connections_open", |open| open <= f64::from(ALL - LEAVING)).await;
    gate.open();
    let mut answers = JoinSet::new();
    for mut client in staying {
        answers.spawn(async move { client.answer().await });
    }
    let answers: Vec<Answer> = answers.join_all().await;
    let seq = answers[0].seq();
    assert!(seq.is_some());
    for answer in &answers {
        assert_eq!(
            (answer.status, &*answer.text(), answer.seq(), answer.complete),
            (200, body, seq, true),
            "{answer:?}"
        );
    }
    assert_eq!((answers.len(), house.backend.asked("/cold")), ((ALL - LEAVING) as usize, 1));
    assert!(house.get("/cold").await.is_hit());
    house.victim_is_unharmed("a crowd").await;
    house.gateway.is_well();
}

async fn asker(house: &House) -> Client {
    let mut client = house.connect().await;
    client.ask("GET", "/cold").await;
    client
}

/// Reads one number of the metrics until it is as wanted.
async fn watch(house: &House, name: &str, wanted: impl Fn(f64) -> bool) {
    let mut client = Client::connect(house.gateway.admin).await;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
    let watching = async {
        loop {
            ticks.tick().await;
            client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            let text = client.answer().await.text();
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            if wanted(line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()) {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(SOON, watching).await.is_ok(), "{name} is never as wanted");
}
