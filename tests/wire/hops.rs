//! HB-01 to HB-04: what is said to one hop only, and loops.

use super::backend::Seen;
use super::house::{FORGIVING, House, IMPATIENT, Wants, attack};

const BAD: Wants = Wants::Refused(&[400]);

/// Sends a GET for a new path with these fields, and gives the request as the backend saw it.
async fn sent_on(house: &House, fields: &str) -> Seen {
    let path = house.fresh("hop");
    let mut client = house.connect().await;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n{fields}\r\n")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text()), (200, format!("GET {path}")), "{fields}");
    let seen = house.backend.until_asked(&path).await;
    assert_eq!(seen.oddity(), None, "{fields}");
    seen
}

#[tokio::test]
async fn hb_01_02_connection_takes_fields_off_but_not_ours() {
    let secret = "[[route]]\nname = \"all\"\nrequest_headers.set = { X-Gateway-Secret = \"ours\" }\n";
    let house = House::with(&format!("{IMPATIENT}{FORGIVING}{secret}")).await;
    let seen = sent_on(&house, "Connection: close, X-Forwarded-For\r\nX-Forwarded-For: 6.6.6.6\r\n").await;
    assert_eq!(seen.values("x-forwarded-for"), ["127.0.0.1"]);
    let seen = sent_on(&house, "Connection: X-Gateway-Secret\r\nX-Gateway-Secret: evil-guess\r\n").await;
    assert_eq!(seen.values("x-gateway-secret"), ["ours"]);
    let seen =
        sent_on(&house, "Connection: X-A\r\nConnection: X-B , ,x-c\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\nX-D: 4\r\n").await;
    for (name, values) in [("x-a", vec![]), ("x-b", vec![]), ("x-c", vec![]), ("x-d", vec!["4"])] {
        assert_eq!(seen.values(name), values, "{name}");
    }
    house.victim_is_unharmed("Connection").await;
}

#[tokio::test]
async fn hb_01_02_connection_that_names_what_all_must_see_is_refused() {
    let names = [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Authorization",
        "Cookie",
        "Cache-Control",
        "Range",
        "If-None-Match",
        "Via",
        "cOOKIE",
    ];
    let house = House::start().await;
    for name in names {
        let bytes = format!("GET /p HTTP/1.1\r\nHost: t\r\nConnection: close, {name}\r\n\r\n");
        house.withstands(&attack(name, bytes, BAD)).await;
    }
    let many = |option: &str| format!("GET /p HTTP/1.1\r\nHost: t\r\nConnection: {}\r\n\r\n", option.repeat(1000));
    house.withstands(&attack("1,000 options", many("x,"), BAD)).await;
    house.withstands(&attack("1,000 times close", many("close,"), BAD)).await;
    // Bytes that are no token name no field.
    let odd = b"GET /p HTTP/1.1\r\nHost: t\r\nConnection: \xff\xfe, \xc3\xa4, @\r\n\r\n".as_slice();
    house.withstands(&attack("options that are no tokens", odd, Wants::Either)).await;
}

#[tokio::test]
async fn hb_03_fields_for_one_hop_are_neither_sent_on_nor_keyed() {
    let house = House::start().await;
    let fields = "TE: gzip\r\nProxy-Authorization: Basic x\r\nProxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\
                  Upgrade: x\r\nTrailer: X\r\n";
    let seen = sent_on(&house, fields).await;
    let mut client = house.connect().await;
    client.send(format!("GET {} HTTP/1.1\r\nHost: t\r\nTE: trailers\r\n\r\n", seen.target())).await;
    assert!(client.answer().await.is_hit());
}

#[tokio::test]
async fn hb_04_a_request_that_comes_back_is_refused() {
    let house = House::start().await;
    let looped = Wants::Refused(&[508]);
    for field in
        ["Via: 1.1 forebay", "Via: 1.0 a, 2 Forebay (x)", "CDN-Loop: forebay", "CDN-Loop: a; b=c, FOREBAY; x=y"]
    {
        house.withstands(&attack(field, format!("GET /p HTTP/1.1\r\nHost: t\r\n{field}\r\n\r\n"), looped)).await;
    }
    // What it sends on says that it was here, so that the above can happen.
    let seen = sent_on(&house, "Via: 1.1 other\r\nCDN-Loop: other\r\n").await;
    assert!(seen.values("via").join(", ").contains("1.1 forebay"), "{}", seen.head);
    assert!(seen.values("cdn-loop").join(", ").contains("forebay"), "{}", seen.head);
}
