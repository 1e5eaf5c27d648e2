//! SM-21, 22 and 24 to 28: whose turn it is on a connection, before and behind the gateway.

use super::backend::{Gate, holds, says};
use super::house::{House, Wants, attack, refusal};

#[tokio::test]
async fn sm_21_22_no_upgrade_makes_a_tunnel() {
    let house = House::start().await;
    let second = "GET /second HTTP/1.1\r\nHost: t\r\n\r\n";
    for (number, fields) in [
        "Connection: Upgrade\r\nUpgrade: x\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
        "Upgrade: TLS/1.2\r\n",
    ]
    .iter()
    .enumerate()
    {
        let bytes = format!(
            "GET /u{number} HTTP/1.1\r\nHost: t\r\n{fields}\r\n{}",
            second.replace("second", &format!("s{number}"))
        );
        house.withstands(&attack(fields.escape_debug().to_string(), bytes, Wants::Served(2))).await;
    }
    let socket = "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let bytes = format!("GET /ws HTTP/1.1\r\nHost: t\r\n{socket}\r\n{}", second.replace("second", "smuggled"));
    house.withstands(&attack("a WebSocket", bytes, Wants::Refused(&[501]))).await;
    // A backend that switches protocols unasked is not followed.
    house.backend.on("/switch", says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"));
    let mut client = house.connect().await;
    client.send("GET /switch HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 502);
}

#[tokio::test]
async fn sm_24_a_pipeline_ends_at_the_first_malformed_request() {
    let house = House::start().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n");
    for malformed in ["GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", "G@T\t/x HTTP/1.1\r\n\r\n"] {
        let (one, two) = (house.fresh("pipe"), house.fresh("pipe"));
        let mut client = house.connect().await;
        client.send([get(&one), get(&two), malformed.to_owned(), get("/evil")].concat()).await;
        for path in [one, two] {
            assert_eq!(client.answer().await.text(), format!("GET {path}"));
        }
        refusal(malformed, &client.answer().await, &[400]);
        assert!(client.is_closed().await);
        house.fence(malformed).await;
        house.heard_since(0, malformed);
    }
    // Answers come in the order of the questions, whatever order the backend is done in.
    let (slow, fast) = (Gate::new(), house.fresh("fast"));
    house.backend.on("/slow", holds(&slow).then("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"));
    let mut client = house.connect().await;
    client.send([get("/slow"), get(&fast), get("/victim")].concat()).await;
    house.backend.until_asked("/slow").await;
    slow.open();
    for expected in ["slow", &format!("GET {fast}"), "GET /victim"] {
        assert_eq!(client.answer().await.text(), *expected);
    }
}

#[tokio::test]
async fn sm_25_a_client_that_resets_in_the_middle_of_its_body() {
    let house = House::start().await;
    let mut client = house.connect().await;
    client.send("POST /p HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nhalf of it").await;
    let seen = house.backend.until_asked("/p").await;
    client.reset();
    house.backend.until_closed(seen.connection).await;
    house.fence("a reset").await;
    assert!(house.backend.log(|log| log.seen.iter().all(|seen| seen.target() != "/p" || !seen.complete)));
    house.victim_is_unharmed("a reset").await;
}

#[tokio::test]
async fn sm_26_a_backend_that_answers_without_reading_the_body() {
    let house = House::start().await;
    let smuggled = "GET /hidden HTTP/1.1\r\nHost: t\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly";
    // Half of the body is still to come when the answer does: the connection cannot be used again.
    house.backend.on("/early", says(answer).without_reading_the_body());
    let mut client = house.connect().await;
    let (first, second) = smuggled.split_at(10);
    client.send(format!("POST /early HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{first}", smuggled.len())).await;
    let seen = house.backend.until_asked("/early").await;
    assert_eq!(client.answer().await.text(), "early");
    client.send(second).await;
    house.goes_on_or_closes("half a body", &mut client).await;
    house.fence("half a body").await;
    let users = |connection| {
        house.backend.log(|log| {
            log.seen
                .iter()
                .filter(|seen| seen.connection == connection && seen.target() != "/hidden")
                .map(|seen| seen.seq)
                .max()
        })
    };
    assert_eq!(users(seen.connection), Some(seen.seq), "the connection was used again");
    house.victim_is_unharmed("half a body").await;

    // The whole body is out, and the backend takes it for a request and answers that too: nobody gets that answer.
    house.backend.on("/whole", says(answer).without_reading_the_body());
    house
        .backend
        .on("/hidden", says("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\npoison"));
    let mut client = house.connect().await;
    client
        .send(format!("POST /whole HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()))
        .await;
    assert_eq!(client.answer().await.text(), "early");
    let connection = house.backend.until_asked("/whole").await.connection;
    house.backend.until_closed(connection).await;
    for _ in 0..3 {
        house.goes_on_or_closes("a whole body", &mut client).await;
        house.fence("a whole body").await;
    }
    house.victim_is_unharmed("a whole body").await;
}

#[tokio::test]
async fn sm_27_a_pause_between_head_and_body() {
    let house = House::start().await;
    let mut client = house.connect().await;
    client.send("POST /p HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\n").await;
    let answer = client.answer().await;
    refusal("a pause", &answer, &[408]);
    client.send("GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert!(client.is_closed().await);
    house.fence("a pause").await;
    let all = house.backend.since(0);
    if let Some(seen) = all.iter().find(|seen| seen.target() == "/p") {
        let connection = seen.connection;
        house.backend.until_closed(connection).await;
    }
    house.heard_since(0, "a pause");
    house.victim_is_unharmed("a pause").await;
}

#[tokio::test]
async fn sm_28_an_answer_that_comes_after_its_client_has_left() {
    let house = House::start().await;
    for method in ["POST", "GET", "DELETE", "OPTIONS"] {
        let (path, gate) = (house.fresh("late"), Gate::new());
        house.backend.on(
            &path,
            holds(&gate).then("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 4\r\n\r\nlate"),
        );
        let mut client = house.connect().await;
        client.ask(method, &path).await;
        let seen = house.backend.until_asked(&path).await;
        client.reset();
        if method == "OPTIONS" {
            // Nobody else can want it: the connection goes with the client. A fill and a write are heard of to their end.
            house.backend.until_closed(seen.connection).await;
        }
        gate.open();
        for _ in 0..3 {
            house.fence(method).await;
        }
        house.victim_is_unharmed(method).await;
    }
}
