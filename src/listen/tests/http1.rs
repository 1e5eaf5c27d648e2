use super::*;

/// Sends `bytes` on a new connection: seconds until the other side has closed and let go of it, what came, and the counter
/// that moved.
async fn check(bytes: &str, seconds: u64, answer: &str, counter: &str) {
    let shown = &bytes[..bytes.len().min(100)];
    let room = Room::new();
    let mut client = room.connect();
    let began = room.house.clock.now();
    client.sends(bytes).await;
    let (text, _) = client.reads_to_the_end().await;
    assert!(text.contains(answer) && text.is_empty() == answer.is_empty(), "{shown:?} got {text:?}");
    room.house.tasks.close();
    room.house.tasks.wait().await;
    assert_eq!(room.house.clock.now().since(began).as_secs(), seconds, "{shown:?}");
    assert_eq!((room.count(counter), room.count("open")), (1, 0), "{counter} {shown:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_has_so_much_time() {
    check("", 10, "", "first_byte_timeouts").await;
    check("G", 10, "", "head_timeouts").await;
    check("GET / HTTP/1.1\r\nHost: t\r\nA: b\r\n", 10, "", "head_timeouts").await;
    check("GET /a HTTP/1.1\r\nHost: t\r\n\r\n", 60, "/a", "idle_timeouts").await;
    // A body that never comes is answered for, and then the connection lingers a moment.
    check("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nabc", 11, "408 Request Timeout", "body_timeouts")
        .await;
}

/// The client sees the end at once; the second is what we linger for it.
#[tokio::test(start_paused = true)]
async fn hyper_refuses_malformed_heads_at_our_limits() {
    let get = "GET / HTTP/1.1\r\nHost: t\r\n";
    check("GET  / HTTP/1.1\r\n\r\n", 1, "400 Bad Request", "malformed").await;
    check(&format!("{get}a : b\r\n\r\n"), 1, "400 Bad Request", "malformed").await;
    check(&format!("{get}{}\r\n", "a: b\r\n".repeat(100)), 1, "431 Request Header", "malformed").await;
    check(&format!("{get}a: {}\r\n\r\n", "b".repeat(33_000)), 1, "431 Request Header", "malformed").await;
    check(&format!("GET /{}", "a".repeat(40_000)), 1, "431 Request Header", "malformed").await;
}

#[tokio::test(start_paused = true)]
async fn a_trickling_head_gets_no_more_time() {
    let room = Room::new();
    let mut client = room.connect();
    let clock = Clock::starting_at(Duration::ZERO);
    client.sends("GET / HTTP/1.1\r\nHost: t\r\nA: ").await;
    while client.0.write_all(b"a").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((10..=12).contains(&clock.now().mono.as_secs()), "{:?}", clock.now());
    assert_eq!(room.count("head_timeouts"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_trickling_body_is_too_slow() {
    let room = Room::new();
    let mut client = room.connect();
    client.sends("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n").await;
    let clock = Clock::starting_at(Duration::ZERO);
    let (mut reading, mut writing) = tokio::io::split(client.0);
    let trickle = tokio::spawn(async move {
        while writing.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
    let mut text = String::new();
    reading.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 408 ") && text.ends_with("too slowly"), "{text}");
    assert!((10..=12).contains(&clock.now().mono.as_secs()), "{:?}", clock.now());
    trickle.abort();
}

#[tokio::test(start_paused = true)]
async fn a_slow_service_is_not_the_clients_fault() {
    let room = Room::new();
    let mut client = room.connect();
    client.sends("POST /hold HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc").await;
    room.probe.held().await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    room.probe.release();
    assert!(client.reads_until("held").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_is_cut() {
    let room = Room::new();
    let mut client = room.connect_with_buffer(64 * 1024);
    client.gets("/long").await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(room.count("open"), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((room.count("open"), room.count("write_timeouts")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_is_not() {
    let room = Room::new();
    let mut client = room.connect_with_buffer(64 * 1024);
    client.gets("/long").await;
    let mut total = 0;
    let mut piece = vec![0; 1024 * 1024];
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        total += client.0.read(&mut piece).await.unwrap();
    }
    assert!(total > 20 * 60_000, "{total}");
    assert_eq!((room.count("open"), room.count("write_timeouts")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_order() {
    let room = Room::new();
    let mut client = room.connect();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n");
    client.sends(&format!("{}{}{}{}", get("/1"), get("/2"), "GET /3\r\n\r\n", get("/4"))).await;
    let (text, _) = client.reads_to_the_end().await;
    let heads: Vec<_> =
        text.split("HTTP/1.1 ").skip(1).map(|part| (&part[..3], part.lines().last().unwrap())).collect();
    assert_eq!(heads, [("200", "/1"), ("200", "/2"), ("400", "")]);
    assert_eq!(room.count("requests"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_close_closes() {
    let room = Room::new();
    let mut client = room.connect();
    client.sends("GET /close HTTP/1.1\r\nHost: t\r\n\r\nGET /next HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let (text, took) = client.reads_to_the_end().await;
    assert!(text.contains("connection: close") && !text.contains("/next"), "{text}");
    assert_eq!(took, 0);
}

/// SM-18: a body that nobody reads is never taken for a request.
#[tokio::test(start_paused = true)]
async fn an_unread_body_is_drained_or_the_connection_closes() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n";
    let long = smuggled.repeat(2000);
    let check = async |framing: &str, body: &str, later: &str, stays_open: bool| {
        let room = Room::new();
        let mut client = room.connect();
        client.sends(&format!("GET /a HTTP/1.1\r\nHost: t\r\n{framing}\r\n\r\n{body}")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        // The other side may have closed already.
        let _ = client.0.write_all(later.as_bytes()).await;
        let (text, took) = client.reads_to_the_end().await;
        assert!(text.starts_with("HTTP/1.1 200 ") && text.matches("HTTP/1.1").count() == 1, "{framing}: {text}");
        assert_eq!((room.count("requests"), took > 50), (1, stays_open), "{framing}");
        // Closed for the client, but we linger lest a reset overtakes the answer.
        assert!(stays_open || room.count("open") == 1, "{framing}");
    };
    let length = format!("Content-Length: {}", smuggled.len());
    let chunked = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    check(&length, smuggled, "", true).await;
    check(&length, "", smuggled, false).await;
    check(&length, &smuggled[..10], &smuggled[10..], false).await;
    check(&length, "", "", false).await;
    check(&format!("Content-Length: {}", long.len()), &long, "", false).await;
    check("Transfer-Encoding: chunked", &chunked, "", true).await;
    check(&format!("{length}\r\nExpect: 100-continue"), "", "", false).await;
}

#[tokio::test(start_paused = true)]
async fn request_trailers_are_dropped() {
    let room = Room::new();
    let mut client = room.connect();
    let body = "3\r\nabc\r\n0\r\nHost: evil\r\nContent-Length: 9\r\n\r\n";
    client.sends(&format!("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).await;
    assert!(client.reads_until("abc").await.starts_with("HTTP/1.1 200 "));
    client.gets("/next").await;
    client.reads_until("/next").await;
}

#[tokio::test(start_paused = true)]
async fn an_http2_preface_in_the_clear_is_no_http1() {
    let room = Room::new();
    let mut client = room.connect();
    client.sends("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let (text, took) = client.reads_to_the_end().await;
    assert!((text.is_empty() || text.starts_with("HTTP/1.1 400")) && took <= 1, "{text} {took}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_is_in_flight_and_says_close() {
    let room = Room::new();
    let (mut idle, mut busy) = (room.connect(), room.connect());
    idle.gets("/a").await;
    idle.reads_until("/a").await;
    busy.gets("/hold").await;
    room.probe.held().await;

    room.drain().begin();
    idle.gets("/b").await;
    let text = idle.reads_until("/b").await;
    assert!(text.contains("connection: close"), "{text}");
    assert_eq!(idle.reads_to_the_end().await.1, 0);

    room.drain().advance(super::super::drain::Stage::Stopping);
    room.probe.release();
    let (text, _) = busy.reads_to_the_end().await;
    assert!(text.contains("connection: close") && text.ends_with("held"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn when_accepting_stops_idle_connections_close_and_new_ones_have_a_moment() {
    let room = Room::new();
    let (mut idle, mut early, mut silent) = (room.connect(), room.connect(), room.connect());
    idle.gets("/a").await;
    idle.reads_until("/a").await;
    room.drain().begin();
    room.drain().advance(super::super::drain::Stage::Stopping);
    assert_eq!(idle.reads_to_the_end().await, (String::new(), 0));
    tokio::time::sleep(Duration::from_millis(500)).await;
    early.gets("/b").await;
    let (text, took) = early.reads_to_the_end().await;
    assert!(text.contains("connection: close") && text.ends_with("/b") && took == 0, "{text}");
    assert_eq!(silent.reads_to_the_end().await.0, "");
}

#[tokio::test(start_paused = true)]
async fn the_cut_ends_everything_at_once() {
    let room = Room::new();
    let mut busy = room.connect();
    busy.gets("/hold").await;
    room.probe.held().await;
    room.drain().begin();
    room.drain().begin();
    assert_eq!(busy.reads_to_the_end().await, (String::new(), 0));
    assert_eq!(room.count("cut"), 1);
}
