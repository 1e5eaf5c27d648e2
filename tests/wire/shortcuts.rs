//! SM-18 to SM-20: bodies on requests that are answered without anybody reading them, and Expect.

use std::time::Duration;

use super::backend::closes;
use super::client::Client;
use super::house::{FORGIVING, House, IMPATIENT, Wants, attack, refusal};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";

fn length() -> String {
    format!("Content-Length: {}\r\n", SMUGGLED.len())
}

#[tokio::test]
async fn sm_18_a_body_on_a_hit_in_five_shapes() {
    let house = House::start().await;
    let chunked = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let head = |fields: &str| format!("GET /victim HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
    for (what, head, body) in [
        ("in one segment", head(&length()), SMUGGLED),
        ("in chunks", head("Transfer-Encoding: chunked\r\n"), &*chunked),
        ("in chunks of HEAD", head("Transfer-Encoding: chunked\r\n").replace("GET", "HEAD"), &*chunked),
    ] {
        let attack = attack(what, format!("{head}{body}"), Wants::Refused(&[400]));
        if what.contains("HEAD") {
            // The answer to HEAD has no body to check; that nothing else follows is what counts.
            let mut client = house.connect().await;
            client.send(&attack.bytes).await;
            assert_eq!(client.expect("HEAD").await.status, 400);
            assert!(client.is_closed().await);
        } else {
            house.withstands(&attack).await;
        }
    }
    // Later, byte by byte, and never.
    for pieces in [SMUGGLED.len(), 1, 0] {
        let mut client = house.connect().await;
        client.send(head(&length())).await;
        let answer = client.answer().await;
        refusal("a body that comes later", &answer, &[400]);
        for piece in SMUGGLED.as_bytes().chunks(pieces.max(1)).take(if pieces == 0 { 0 } else { usize::MAX }) {
            client.send(piece).await;
        }
        assert!(client.is_closed().await, "in pieces of {pieces}");
    }
    house.fence("bodies").await;
    house.heard_since(0, "bodies");
    house.victim_is_unharmed("bodies").await;
}

/// Sends a head, then a body that looks like a request: at once, later, and in chunks. There is one answer; then the
/// connection closes or goes on with the next question.
async fn short_cut(house: &House, head: &str, status: u16, prepare: impl Fn()) {
    let chunked = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    for (what, framing, body, later) in [
        ("at once", length(), SMUGGLED, false),
        ("later", length(), SMUGGLED, true),
        ("in chunks", "Transfer-Encoding: chunked\r\n".to_owned(), &*chunked, false),
    ] {
        prepare();
        let what = format!("{} {what}", head.escape_debug());
        let mut client = house.connect().await;
        let head = head.replace("\r\n\r\n", &format!("\r\n{framing}\r\n"));
        if later {
            client.send(head).await;
            tokio::task::yield_now().await;
            client.send(body).await;
        } else {
            client.send(format!("{head}{body}")).await;
        }
        let answer = client.answer().await;
        assert!(answer.status == status && answer.complete, "{what}: {answer:?}");
        house.goes_on_or_closes(&what, &mut client).await;
        house.fence(&what).await;
        house.heard_since(0, &what);
        house.victim_is_unharmed(&what).await;
    }
}

#[tokio::test]
async fn sm_19_bodies_on_every_short_cut() {
    let config = "[gateway]\nhosts = [\"t\"]\npurge_method = \"s3cret\"\n[[route]]\nname = \"limited\"\npath = \"/limited\"\n\
                  rate_limit = { requests = 1, per = \"1h\" }\n[[route]]\nname = \"denied\"\npath = \"/denied\"\n\
                  deny = [\"127.0.0.1/32\"]\n";
    let house = House::with(&format!("{IMPATIENT}{FORGIVING}{config}")).await;
    let etag = house.get("/victim").await.field("etag").unwrap();
    let nothing = || ();
    let request = |line: &str, fields: &str| format!("{line} HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
    short_cut(&house, &request("GET /victim", &format!("If-None-Match: {etag}\r\n")), 400, nothing).await;
    short_cut(&house, &request("POST /p", "Via: 1.1 forebay\r\n"), 508, nothing).await;
    short_cut(&house, &request("POST //p", ""), 400, nothing).await;
    short_cut(&house, &request("TRACE /p", ""), 405, nothing).await;
    short_cut(&house, &request("PURGE /p", ""), 401, nothing).await;
    short_cut(&house, &request("PURGE /p", "Authorization: Bearer s3cret\r\n"), 200, nothing).await;
    short_cut(&house, "POST /p HTTP/1.1\r\nHost: other\r\n\r\n", 421, nothing).await;
    short_cut(&house, &request("POST /denied", ""), 403, nothing).await;
    assert_eq!(house.get("/limited").await.status, 200);
    short_cut(&house, &request("POST /limited", ""), 429, nothing).await;
    short_cut(&house, &request("POST /broken", ""), 502, || house.backend.on("/broken", closes())).await;
}

#[tokio::test]
async fn sm_19_a_body_on_health() {
    let house = House::start().await;
    let mut client = Client::connect(house.gateway.admin).await;
    client.send(format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{}\r\n{SMUGGLED}", length())).await;
    assert_eq!(client.answer().await.status, 200);
    client.send("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    if let Some(answer) = client.next("GET").await {
        assert_eq!(answer.status, 404, "{answer:?}");
        client.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200, "the body was taken for a request");
    }
}

#[tokio::test]
async fn sm_20_expect() {
    let house = House::start().await;
    let post = |expect: &str| format!("POST /p HTTP/1.1\r\nHost: t\r\nExpect: {expect}\r\nContent-Length: 5\r\n\r\n");
    for expect in ["y 100-continue", "200-ok", "100-continue, x", "x"] {
        house.withstands(&attack(expect, post(expect), Wants::Refused(&[417]))).await;
    }
    // A miss that wants the body says 100, and then gets it.
    let mut client = house.connect().await;
    client.send(post("100-continue")).await;
    assert_eq!(client.head().await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello").await;
    assert_eq!(client.answer().await.text(), "POST /p with hello");
    house.goes_on_or_closes("Expect", &mut client).await;
    // The body comes without waiting.
    let mut client = house.connect().await;
    client.send(post("100-Continue") + "hello").await;
    assert_eq!(client.answer().await.text(), "POST /p with hello");
    house.goes_on_or_closes("Expect", &mut client).await;
    // Nobody wants the body: the final answer, no 100, and the end.
    for head in [
        "GET /victim HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        "POST /p HTTP/1.1\r\nHost: a b\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ] {
        let mut client = house.connect().await;
        client.send(head).await;
        let answer = client.answer().await;
        refusal(head, &answer, &[400]);
        assert!(answer.interim.is_empty() && client.is_closed().await, "{head}: {answer:?}");
    }
    // A hit without a body has nothing to wait for.
    let mut client = house.connect().await;
    client.send("GET /victim HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(answer.is_hit() && answer.interim.is_empty(), "{answer:?}");
    // The body never comes: 408 in time, and the backend has not waited for it.
    let before = house.backend.count();
    let mut client = house.connect().await;
    client.send(post("100-continue")).await;
    let answer = tokio::time::timeout(Duration::from_secs(5), client.answer()).await.expect("it waits for ever");
    refusal("a body that never comes", &answer, &[408]);
    house.fence("Expect").await;
    assert!(house.heard_since(before, "Expect").iter().all(|seen| !seen.complete));
    house.victim_is_unharmed("Expect").await;
}
