//! SIGTERM: nothing is lost that was under way, nothing new comes in, and the process ends well.

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::backend::{Gate, holds};
use super::client::Client;
use super::gateway::SOON;
use super::house::{FORGIVING, House, IMPATIENT};

const FINAL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

async fn readiness(house: &House) -> u16 {
    let mut client = Client::connect(house.gateway.admin).await;
    client.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.answer().await.status
}

/// Waits until readiness is off.
pub async fn is_told(house: &House) {
    let mut ticks = interval(std::time::Duration::from_millis(10));
    let told = async {
        while readiness(house).await != 503 {
            ticks.tick().await;
        }
    };
    assert!(timeout(SOON, told).await.is_ok(), "readiness stays on");
}

#[tokio::test]
async fn a_drain_lets_what_is_under_way_finish_and_nothing_new_in() {
    let mut house = House::start().await;
    assert_eq!(readiness(&house).await, 200);
    let gate = Gate::new();
    house.backend.on("/held", holds(&gate).then(FINAL));
    let mut held = house.connect().await;
    held.ask("GET", "/held").await;
    house.backend.until_asked("/held").await;
    // A connection between two requests has nothing to finish.
    let mut idle = house.connect().await;
    idle.get("/victim").await;

    house.gateway.signal("TERM").await;
    is_told(&house).await;
    assert!(idle.is_closed().await);
    let refused = timeout(SOON, async {
        while TcpStream::connect(house.gateway.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    assert!(refused.await.is_ok(), "new connections are still accepted");

    gate.open();
    let answer = held.answer().await;
    assert_eq!((answer.status, &*answer.text(), answer.field("connection").as_deref()), (200, "hello", Some("close")));
    assert!(held.is_closed().await);
    assert_eq!(house.gateway.ended().await.code(), Some(0), "{}", house.gateway.output());
    assert!(TcpStream::connect(house.gateway.admin).await.is_err());
}

#[tokio::test]
async fn while_the_drain_waits_new_clients_are_served_and_sent_away() {
    let config = IMPATIENT.replace("[listen]", "[listen]\ndrain_delay = \"2s\"\ngrace = \"5s\"");
    let mut house = House::with(&format!("{config}{FORGIVING}")).await;
    let mut idle = house.connect().await;
    idle.get("/victim").await;
    house.gateway.signal("TERM").await;
    is_told(&house).await;
    for client in [&mut idle, &mut house.connect().await] {
        let answer = client.get("/victim").await;
        assert_eq!((answer.is_hit(), answer.field("connection").as_deref()), (true, Some("close")), "{answer:?}");
        assert!(client.is_closed().await);
    }
    assert_eq!(house.gateway.ended().await.code(), Some(0));
}

/// M-06, scaled down: clients who go where they are welcome and leave when they are told to lose nothing.
#[tokio::test]
async fn a_drain_under_load_loses_no_request() {
    let config = IMPATIENT.replace("[listen]", "[listen]\ndrain_delay = \"1s\"\ngrace = \"5s\"");
    let mut house = House::with(&format!("{config}{FORGIVING}")).await;
    let (address, looked_away) = (house.gateway.address(), watch::Sender::new(false));
    let mut clients = JoinSet::new();
    for number in 0..20 {
        let looked_away = looked_away.subscribe();
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            for count in 0u32.. {
                let path = if count % 10 == 0 { format!("/new-{number}-{count}") } else { "/victim".to_owned() };
                let answer = client.get(&path).await;
                assert_eq!((answer.status, answer.text(), answer.complete), (200, format!("GET {path}"), true));
                if answer.field("connection").as_deref() != Some("close") {
                    continue;
                }
                if *looked_away.borrow() {
                    return count;
                }
                client = Client::connect(address).await;
            }
            0
        });
    }
    for _ in 0..50 {
        house.victim_is_unharmed("load").await;
    }
    house.gateway.signal("TERM").await;
    is_told(&house).await;
    looked_away.send_replace(true);
    let counts = clients.join_all().await;
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert_eq!(house.gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_outlasts_the_grace_period_is_cut() {
    let config = IMPATIENT.replace("[listen]", "[listen]\ngrace = \"300ms\"");
    let mut house = House::with(&format!("{config}{FORGIVING}")).await;
    let gate = Gate::new();
    house.backend.on("/held", holds(&gate).then(FINAL));
    let mut held = house.connect().await;
    held.ask("GET", "/held").await;
    house.backend.until_asked("/held").await;
    house.gateway.signal("TERM").await;
    assert!(held.next("GET").await.is_none_or(|answer| answer.status >= 500));
    assert_eq!(house.gateway.ended().await.code(), Some(0));
    gate.open();
}

#[tokio::test]
async fn a_second_signal_is_obeyed_at_once() {
    let mut house = House::start().await;
    let gate = Gate::new();
    house.backend.on("/held", holds(&gate).then(FINAL));
    let mut held = house.connect().await;
    held.ask("GET", "/held").await;
    house.backend.until_asked("/held").await;
    house.gateway.signal("INT").await;
    is_told(&house).await;
    house.gateway.signal("INT").await;
    assert_eq!(house.gateway.ended().await.code(), Some(130));
}
