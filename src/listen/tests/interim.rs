use super::super::interim::Lane;
use super::super::pulse::Pulse;
use super::*;

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_hint_goes_ahead_of_the_answer() {
    let room = Room::new();
    let mut client = room.connect();
    client.gets("/hint").await;
    room.probe.held().await;
    room.probe.release();
    room.probe.held().await;
    assert_eq!(client.reads_until("\r\n\r\n").await, HINT);
    room.probe.release();
    let text = client.reads_until("hinted").await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    client.gets("/next").await;
    assert!(client.reads_until("/next").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_hint_together_with_the_answer_goes_first() {
    let room = Room::new();
    let mut client = room.connect();
    client.gets("/hint").await;
    room.probe.held().await;
    room.probe.release();
    room.probe.release();
    let text = client.reads_until("hinted").await;
    assert!(text.starts_with(&format!("{HINT}HTTP/1.1 200 OK\r\n")), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_hint_before_the_last_answer_is_flushed_is_dropped() {
    let room = Room::new();
    let mut client = room.connect();
    client.sends("GET /a HTTP/1.1\r\nHost: t\r\n\r\nGET /hint-at-once HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let text = client.reads_until("hinted").await;
    assert_eq!(text.matches("HTTP/1.1 ").count(), 2, "{text}");
}

/// The pipe takes 7 bytes at a time, so that every write is partial.
#[tokio::test(start_paused = true)]
async fn a_hint_never_lands_inside_an_answer() {
    let room = Room::new();
    let client = room.connect_with_buffer(7);
    let long = "x".repeat(500);
    let probe = room.probe.clone();
    let script = tokio::spawn(async move {
        for _ in 0..2 {
            probe.held().await;
            probe.release();
        }
    });
    let requests =
        format!("GET /{long} HTTP/1.1\r\nHost: t\r\n\r\nGET /hint HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    let (mut reading, mut writing) = tokio::io::split(client.0);
    let sending = tokio::spawn(async move { writing.write_all(requests.as_bytes()).await });
    let mut text = String::new();
    reading.read_to_string(&mut text).await.unwrap();
    sending.await.unwrap().unwrap();
    script.await.unwrap();
    let (first, rest) = text.split_at(text.find(&long).unwrap() + long.len());
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
    assert!(rest.starts_with(&format!("{HINT}HTTP/1.1 200 OK\r\n")), "{rest}");
}

#[tokio::test(start_paused = true)]
async fn an_old_client_gets_no_hint() {
    let room = Room::new();
    let mut client = room.connect();
    client.sends("GET /hint HTTP/1.0\r\n\r\n").await;
    room.probe.held().await;
    room.probe.release();
    room.probe.held().await;
    room.probe.release();
    let (text, _) = client.reads_to_the_end().await;
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_kept_writer_falls_silent_with_its_request() {
    let room = Room::new();
    let mut client = room.connect();
    client.gets("/keep").await;
    client.reads_until("\r\n\r\n").await;
    let kept = room.probe.0.kept.lock().unwrap().take().unwrap();
    assert!(!kept.send(StatusCode::EARLY_HINTS, &HeaderMap::new()));
    client.gets("/hold").await;
    room.probe.held().await;
    assert!(!kept.send(StatusCode::EARLY_HINTS, &HeaderMap::new()));
    room.probe.release();
    assert!(client.reads_until("held").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn only_hints_may_be_sent_and_not_without_end() {
    let pulse = Arc::new(Pulse::new(Clock::starting_at(Duration::ZERO)));
    let lane = Lane::new(pulse);
    let writer = lane.writer();
    lane.begin(true);
    let check = |status: u16, taken: bool| {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(writer.send(status, &HeaderMap::new()), taken, "{status}");
    };
    check(100, false);
    check(101, false);
    check(102, true);
    check(103, true);
    check(199, true);
    check(200, false);
    let mut fields = HeaderMap::new();
    fields.insert("a", HeaderValue::from_str(&"b".repeat(10_000)).unwrap());
    assert!(writer.send(StatusCode::EARLY_HINTS, &fields));
    assert!(!writer.send(StatusCode::EARLY_HINTS, &fields));
}
