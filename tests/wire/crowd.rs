//! A thousand clients who want the same thing that nobody has yet, and three hundred of them lose patience.

use tokio::task::JoinSet;

use super::backend::{Gate, holds};
use super::client::{Answer, Client};
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
    house.number_becomes("forebay_connections_open", |open| open >= f64::from(ALL)).await;
    for client in leaving {
        client.reset();
    }
    house.number_becomes("forebay_connections_open", |open| open <= f64::from(ALL - LEAVING)).await;
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
