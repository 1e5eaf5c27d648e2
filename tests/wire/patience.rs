//! DO-01 to DO-06, scaled down: clients that take their time, and that send too much.

use std::time::Duration;

use forebay::clock::Clock;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use super::backend::says;
use super::client::Client;
use super::gateway::SOON;
use super::house::{FORGIVING, House, refusal};

/// How many there are of each kind.
const CROWD: usize = 200;

/// Longer than any timeout below on a busy machine, shorter than the default ones.
const IN_TIME: Duration = Duration::from_secs(4);

async fn house() -> House {
    let impatient = "[listen]\nfirst_byte_timeout = \"300ms\"\nhead_timeout = \"300ms\"\nidle_timeout = \"600ms\"\n\
                     body_timeout = \"300ms\"\nmin_body_rate = 500\nmin_body_rate_grace = \"600ms\"\nwrite_timeout = \"500ms\"\n";
    House::with(&format!("{impatient}{FORGIVING}[gateway]\nmax_request_body = \"64KiB\"\n")).await
}

/// A crowd of clients that say `first` and then `drip` every 50 ms: all are gone in time, a good client is served all the
/// while, and nothing is left open.
async fn check(first: &'static str, drip: Option<&'static str>, answered: Option<u16>) {
    let house = house().await;
    let files = house.gateway.open_files();
    let clock = Clock::system();
    let began = clock.now();
    let mut crowd = JoinSet::new();
    let mut all = Vec::new();
    for _ in 0..CROWD {
        let mut client = house.connect().await;
        client.send(first).await;
        all.push(client);
    }
    for mut client in all {
        crowd.spawn(async move {
            let dripping = async {
                let mut ticks = interval(Duration::from_millis(50));
                loop {
                    ticks.tick().await;
                    client.send(drip.unwrap_or_default()).await;
                    // Sending fails only some time after the other side has closed, and no answer comes before that.
                    if client.has_ended().await {
                        return client.next("POST").await;
                    }
                }
            };
            timeout(SOON, dripping).await.expect("a slow client is kept for ever")
        });
    }
    let mut good = 0;
    loop {
        tokio::select! {
            gone = crowd.join_next() => {
                let Some(answer) = gone else { break };
                let status = answer.unwrap().map(|answer| answer.status);
                assert!(status.is_none() || status == answered, "a slow client gets {status:?}");
            }
            () = house.victim_is_unharmed("a crowd") => good += 1,
        }
    }
    let took = clock.now().since(began);
    assert!(took < IN_TIME, "{first:?}: the crowd was there for {took:?}");
    assert!(good > 0, "nobody else was served");
    files_return_to(&house, files).await;
    house.gateway.is_well();
}

/// Waits until no more files are open than `files`, or a few of the pool.
async fn files_return_to(house: &House, files: usize) {
    let mut ticks = interval(Duration::from_millis(20));
    let few = files + 8;
    let back = async {
        while house.gateway.open_files() > few {
            ticks.tick().await;
        }
    };
    let back = timeout(SOON, back).await;
    assert!(back.is_ok(), "{} files are open, there were {files}", house.gateway.open_files());
}

#[tokio::test]
async fn do_01_heads_that_come_byte_by_byte() {
    check("GET /slow HTTP/1.1\r\nHost: t\r\nX: ", Some("y"), None).await;
}

#[tokio::test]
async fn do_02_clients_that_say_nothing() {
    check("", None, None).await;
}

#[tokio::test]
async fn do_03_bodies_that_come_byte_by_byte() {
    check("POST /slow HTTP/1.1\r\nHost: t\r\nContent-Length: 60000\r\n\r\n", Some("y"), Some(408)).await;
}

#[tokio::test]
async fn do_05_connections_that_stay_for_no_reason() {
    check("GET /victim HTTP/1.1\r\nHost: t\r\n\r\n", None, Some(200)).await;
}

#[tokio::test]
async fn do_04_a_client_that_does_not_read_holds_up_nobody() {
    let house = house().await;
    let size = 7 * 1024 * 1024;
    let head = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {size}\r\n\r\n");
    house.backend.on("/large", says(head).then("x".repeat(size)));
    // A small window, so that the kernels between the two do not take in everything.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut silent = Client::on(socket.connect(house.gateway.address()).await.unwrap());
    silent.ask("GET", "/large").await;
    let whole = house.get("/large").await;
    assert!(whole.complete && whole.body.len() == size, "{} bytes", whole.body.len());
    house.victim_is_unharmed("a client that does not read").await;
    house.number_becomes("forebay_connections_open", |open| open == 0.0).await;
    let answer = silent.answer().await;
    assert!(!answer.complete && answer.body.len() < size, "{} bytes", answer.body.len());
}

#[tokio::test]
async fn do_06_bodies_that_are_too_large() {
    let house = house().await;
    for (framing, complete) in [("Content-Length: 600000000", true), ("Transfer-Encoding: chunked", false)] {
        let mut client: Client = house.connect().await;
        client.send(format!("POST /large HTTP/1.1\r\nHost: t\r\n{framing}\r\n\r\n")).await;
        if !complete {
            // More than allowed, until the gateway has had enough.
            for _ in 0..8 {
                client.send(format!("4000\r\n{}\r\n", "x".repeat(0x4000))).await;
            }
        }
        refusal(framing, &client.answer().await, &[413]);
        assert!(client.is_closed().await);
    }
    house.victim_is_unharmed("large bodies").await;
}
