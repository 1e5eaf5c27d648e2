//! RS-01 to RS-16: backends that answer with nonsense, half of an answer, or more than one.

use super::backend::{Gate, Script, closes, holds, says};
use super::client::Client;
use super::house::House;

/// What the client gets of a backend's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// This status and body, whole.
    Whole(u16, &'static str),
    /// 502, and a whole answer that is not to be kept.
    BadGateway,
    /// Something that cannot be taken for whole: a transfer that breaks off, or 502.
    Broken,
}
use Gets::{BadGateway, Broken, Whole};

/// Asks for a path whose first answer is `script`, twice. `kept`: the second time it comes from the cache.
async fn check(house: &House, what: &str, method: &str, script: Script, gets: Gets, kept: bool) {
    let path = house.fresh("rs");
    let what = format!("{what} ({path})");
    house.backend.on(&path, script);
    let mut client = house.connect().await;
    client.ask(method, &path).await;
    match (gets, client.next(method).await) {
        (Whole(status, body), Some(answer)) => {
            assert_eq!((answer.status, &*answer.text(), answer.complete), (status, body, true), "{what}: {answer:?}");
            house.goes_on_or_closes(&what, &mut client).await;
        }
        (BadGateway, Some(answer)) => {
            assert!(answer.status == 502 && answer.complete, "{what}: {answer:?}");
            assert_eq!(answer.field("cache-control").as_deref(), Some("no-store"), "{what}: {answer:?}");
            house.goes_on_or_closes(&what, &mut client).await;
        }
        (Broken, Some(answer)) if answer.complete => assert_eq!(answer.status, 502, "{what}: {answer:?}"),
        (Broken, _) => {}
        (_, None) => panic!("{what}: no answer"),
    }
    let again = house.get(&path).await;
    assert!(again.complete && !again.head.contains("poison") && !again.text().contains("poison"), "{what}: {again:?}");
    let expected = if kept { (true, 1) } else { (false, 2) };
    assert_eq!((again.is_hit(), house.backend.asked(&path)), expected, "{what}: {again:?}");
    if !kept {
        assert_eq!((again.status, again.text()), (200, format!("GET {path}")), "{what}");
    }
    house.fence(&what).await;
    house.heard_since(0, &what);
    house.victim_is_unharmed(&what).await;
    house.gateway.is_well();
}

/// A cacheable 200 with these further lines and this body.
fn ok(fields: &str, body: &str) -> Script {
    says(format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{fields}\r\n{body}"))
}

#[tokio::test]
async fn rs_01_to_03_rs_11_framing_in_answers() {
    let house = House::start().await;
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    for (fields, body, gets, kept) in [
        ("Content-Length: 5\r\n", "hello", Whole(200, "hello"), true),
        ("Transfer-Encoding: chunked\r\n", chunks, Whole(200, "hello"), true),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunks, Whole(200, "hello"), false),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunks, Whole(200, "hello"), false),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!", BadGateway, false),
        ("Content-Length: 5x\r\n", "hello", BadGateway, false),
        ("Content-Length: +5\r\n", "hello", BadGateway, false),
        ("Content-Length: -5\r\n", "hello", BadGateway, false),
        ("Content-Length: 5, 5\r\n", "hello", Whole(200, "hello"), true),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello", Whole(200, "hello"), true),
        ("Transfer-Encoding: gzip, chunked\r\n", chunks, BadGateway, false),
        ("Transfer-Encoding: chunked, chunked\r\n", chunks, BadGateway, false),
        ("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "hello", BadGateway, false),
    ] {
        check(&house, &fields.escape_debug().to_string(), "GET", ok(fields, body), gets, kept).await;
    }
    // After two framings at once the connection is not used again.
    house.backend.on("/two", ok("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunks));
    assert_eq!(house.get("/two").await.text(), "hello");
    let connection = house.backend.until_asked("/two").await.connection;
    house.backend.until_closed(connection).await;
    check(&house, "TE: gzip", "GET", ok("Transfer-Encoding: gzip\r\n", "hello").then_closes(), BadGateway, false).await;
}

#[tokio::test]
async fn rs_04_to_06_answers_that_end_early() {
    let house = House::start().await;
    let half = || ok("Content-Length: 100\r\n", "only half of it");
    let chunk = || ok("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n");
    for (what, script, gets) in [
        ("a length and FIN", half().then_closes(), Broken),
        ("a length and RST", half().then_resets(), Broken),
        ("a length and nothing", ok("Content-Length: 100\r\n", "").then_closes(), Broken),
        ("chunks and FIN", chunk().then_closes(), Broken),
        ("chunks and RST", chunk().then_resets(), Broken),
        ("half a chunk and FIN", ok("Transfer-Encoding: chunked\r\n", "ff\r\nhello").then_closes(), Broken),
        ("an odd chunk", ok("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0x5\r\nworld\r\n0\r\n\r\n"), Broken),
        ("half a head", says("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX: ").then_closes(), BadGateway),
        ("the end of the connection as the end", ok("", "hello").then_closes(), Whole(200, "hello")),
    ] {
        check(&house, what, "GET", script, gets, false).await;
    }
    // Nothing at all on a new connection.
    let path = house.fresh("rs");
    for _ in 0..2 {
        house.backend.on(&path, closes());
    }
    assert_eq!(house.get(&path).await.status, 502);
}

#[tokio::test]
async fn rs_04_whoever_waits_for_half_an_answer_learns_of_it() {
    let house = House::start().await;
    let gate = Gate::new();
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n\r\nhalf of it";
    house.backend.on("/half", holds(&gate).then(head).then_closes());
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = house.connect().await;
        client.ask("GET", "/half").await;
        clients.push(client);
    }
    house.backend.until_asked("/half").await;
    gate.open();
    for client in &mut clients {
        // Each is told, or has been served by a further fetch of its own.
        if let Some(answer) = client.next("GET").await {
            let whole = answer.complete && answer.status == 200;
            assert!(!whole || answer.text() == "GET /half", "half an answer passes for a whole one: {answer:?}");
        }
    }
    assert_eq!(house.get("/half").await.text(), "GET /half");
    house.victim_is_unharmed("half").await;
}

#[tokio::test]
async fn rs_07_08_more_than_the_answer() {
    let house = House::start().await;
    let poison = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\npoison";
    let after = |head: &str, body: &str| says(format!("{head}\r\nCache-Control: max-age=60\r\n{body}{poison}"));
    for (what, method, script, gets, kept) in [
        ("a second answer", "GET", ok("Content-Length: 5\r\n", &format!("hello{poison}")), Whole(200, "hello"), true),
        (
            "a second answer after chunks",
            "GET",
            ok("Transfer-Encoding: chunked\r\n", &format!("5\r\nhello\r\n0\r\n\r\n{poison}")),
            Whole(200, "hello"),
            true,
        ),
        (
            "a body longer than its length",
            "GET",
            ok("Content-Length: 5\r\n", "hello, poison"),
            Whole(200, "hello"),
            true,
        ),
        ("a body after 204", "GET", after("HTTP/1.1 204 No Content", "\r\n"), Whole(204, ""), true),
        (
            "a length and a body after 204",
            "GET",
            after("HTTP/1.1 204 No Content", "Content-Length: 6\r\n\r\npoison"),
            Whole(204, ""),
            true,
        ),
        (
            "a body after the head for HEAD",
            "HEAD",
            after("HTTP/1.1 200 OK", "Content-Length: 6\r\n\r\npoison"),
            Whole(200, ""),
            false,
        ),
    ] {
        check(&house, what, method, script, gets, kept).await;
    }
}

#[tokio::test]
async fn rs_10_heads_that_are_none() {
    let house = House::start().await;
    let many = "X: y\r\n".repeat(300);
    let large = format!("X: {}\r\n", "y".repeat(1024 * 1024));
    for (what, script, gets) in [
        ("NUL in a value", ok("X: a\0b\r\nContent-Length: 0\r\n", ""), BadGateway),
        ("CR in a value", ok("X: a\rb\r\nContent-Length: 0\r\n", ""), BadGateway),
        ("a folded line", ok("X: a\r\n b\r\nContent-Length: 0\r\n", ""), BadGateway),
        ("a space before the colon", ok("X : a\r\nContent-Length: 0\r\n", ""), BadGateway),
        ("a space in a name", ok("X y: a\r\nContent-Length: 0\r\n", ""), BadGateway),
        ("300 fields", ok(&format!("{many}Content-Length: 0\r\n"), ""), BadGateway),
        ("1 MiB of head", ok(&format!("{large}Content-Length: 0\r\n"), ""), BadGateway),
        ("status 99", says("HTTP/1.1 99 Odd\r\nContent-Length: 0\r\n\r\n"), BadGateway),
        ("status 1000", says("HTTP/1.1 1000 Odd\r\nContent-Length: 0\r\n\r\n"), BadGateway),
        ("HTTP/3.7", says("HTTP/3.7 200 OK\r\nContent-Length: 0\r\n\r\n"), BadGateway),
        ("no HTTP at all", says("220 smtp.example.com ESMTP\r\n\r\n").then_closes(), BadGateway),
        (
            "101 unasked",
            says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
            BadGateway,
        ),
    ] {
        check(&house, what, "GET", script, gets, false).await;
    }
    // Control bytes in a reason phrase do no harm so long as nobody repeats them.
    let path = house.fresh("rs");
    house.backend.on(&path, says("HTTP/1.1 200 O\x07K\x1b[0m\r\nContent-Length: 2\r\n\r\nok"));
    let answer = house.get(&path).await;
    assert!(!answer.head.contains(['\x07', '\x1b']), "{answer:?}");
}

#[tokio::test]
async fn rs_12_13_trailers_and_fields_for_one_hop_stay_behind() {
    let house = House::start().await;
    let trailers = "Set-Cookie: poison=1\r\nETag: \"poison\"\r\nCache-Control: no-store\r\nX-Poison: 1\r\n";
    let script = ok("Transfer-Encoding: chunked\r\nTrailer: ETag\r\n", &format!("5\r\nhello\r\n0\r\n{trailers}\r\n"));
    check(&house, "trailers", "GET", script, Whole(200, "hello"), true).await;
    let path = house.fresh("rs");
    house.backend.on(
        &path,
        ok(
            "Connection: X-Internal, keep-alive\r\nX-Internal: secret\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
             Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTE: trailers\r\nX-Kept: yes\r\nContent-Length: 5\r\n",
            "hello",
        ),
    );
    for hit in [false, true] {
        let answer = house.get(&path).await;
        assert_eq!((answer.is_hit(), answer.field("x-kept").as_deref()), (hit, Some("yes")), "{answer:?}");
        for name in
            ["connection", "x-internal", "keep-alive", "proxy-authenticate", "proxy-connection", "upgrade", "te"]
        {
            assert_eq!(answer.field(name), None, "{name} in {answer:?}");
        }
    }
    // A field that decides about keeping cannot be talked away by naming it in Connection.
    let path = house.fresh("rs");
    house.backend.on(&path, ok("Connection: Cache-Control\r\nContent-Length: 5\r\n", "hello"));
    assert!(house.get(&path).await.field("cache-control").is_some());
}

#[tokio::test]
async fn rs_14_a_304_confirms_only_what_it_was_asked_about() {
    let house = House::start().await;
    let unasked = || says("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nCache-Control: max-age=60\r\n\r\n");
    // Asked again, for it cannot have been meant; but only once.
    for (times, status) in [(1, 200), (2, 502)] {
        let path = house.fresh("rs");
        for _ in 0..times {
            house.backend.on(&path, unasked());
        }
        let answer = house.get(&path).await;
        assert_eq!((answer.status, house.backend.asked(&path), answer.is_hit()), (status, 2, false), "{answer:?}");
    }
    // The entry "a" needs validation; a 304 that speaks weakly of "b" is no confirmation of it. (That one which says "b"
    // in the strong form is forgiven is decided in `rfc::updates`, against the letter of RFC 9111 §4.3.4.)
    let path = house.fresh("rs");
    let stale = "HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\nfirst";
    house.backend.on(&path, says(stale));
    house.backend.on(&path, says("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: W/\"b\"\r\n\r\n"));
    assert_eq!(house.get(&path).await.text(), "first");
    let second = house.get(&path).await;
    assert_eq!(
        (second.status, second.text(), house.backend.asked(&path)),
        (200, format!("GET {path}"), 3),
        "{second:?}"
    );
    let conditions: Vec<_> = house
        .backend
        .since(0)
        .iter()
        .filter(|seen| seen.target() == path)
        .map(|seen| seen.values("if-none-match").len())
        .collect();
    assert_eq!(conditions, [0, 1, 0]);
    // The right 304 refreshes, and the body is there again.
    let path = house.fresh("rs");
    house.backend.on(&path, says(stale));
    house.backend.on(&path, says("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: \"a\"\r\n\r\n"));
    for asked in [1, 2, 2] {
        let answer = house.get(&path).await;
        assert_eq!((answer.text().as_str(), house.backend.asked(&path)), ("first", asked), "{answer:?}");
    }
}

#[tokio::test]
async fn rs_15_ages_and_dates_that_cannot_be() {
    let house = House::start().await;
    for (fields, kept) in [
        ("Cache-Control: max-age=60\r\nAge: 99999999999\r\n", false),
        ("Cache-Control: max-age=60\r\nAge: 99999999999999999999999\r\n", false),
        ("Cache-Control: max-age=60\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n", false),
        ("Cache-Control: max-age=60\r\nDate: Fri, 01 Jan 2100 00:00:00 GMT\r\n", true),
        ("Expires: 0\r\n", false),
        ("Expires: Thu, 01 Jan 1970 00:00:00 GMT\r\n", false),
        ("Cache-Control: max-age=60\r\nCache-Control: max-age=0\r\n", false),
        ("Cache-Control: max-age=60\r\nCache-Control: no-store\r\n", false),
        ("Cache-Control: max-age=-1\r\n", false),
        ("Cache-Control: max-age=99999999999999999999\r\n", true),
        ("Cache-Control: max-age=60, private\r\n", false),
    ] {
        let path = house.fresh("rs");
        house.backend.on(&path, says(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 5\r\n\r\nhello")));
        assert_eq!(house.get(&path).await.text(), "hello", "{fields}");
        assert_eq!(house.get(&path).await.is_hit(), kept, "{fields}");
    }
}

#[tokio::test]
async fn rs_16_a_part_is_never_taken_for_the_whole() {
    let house = House::start().await;
    for range in ["bytes 0-4/100", "bytes 0-4/5", "bytes 95-99/100", "bytes 4-0/5", "items 0-4/5", ""] {
        let path = house.fresh("rs");
        let script = says(format!(
            "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nContent-Range: {range}\r\nContent-Length: 5\r\n\r\nhello"
        ));
        house.backend.on(&path, script.clone());
        house.backend.on(&path, script);
        let mut client: Client = house.connect().await;
        client.ask("GET", &path).await;
        let first = client.answer().await;
        assert_ne!(first.status, 200, "{range}: {first:?}");
        client.send(format!("GET {path} HTTP/1.1\r\nHost: t\r\nRange: bytes=0-1\r\n\r\n")).await;
        let second = client.answer().await;
        assert!(!second.is_hit(), "{range}: {second:?}");
        let third = house.get(&path).await;
        assert_eq!((third.status, third.text()), (200, format!("GET {path}")), "{range}");
    }
}
