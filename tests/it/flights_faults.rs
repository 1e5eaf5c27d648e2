//! One fetch for many askers, when it goes wrong: errors, silence, broken bodies, panics, and full queues.

use bytes::Bytes;

use crate::flights::{all, crowd};
use crate::talk::{Held, Said, Talk, millis, secs};

const STALE: &str = "cache-control: max-age=10, stale-if-error=600";

/// A gateway whose `/p` is stored and was fresh a second ago.
async fn with_something_stale() -> Talk {
    let t = Talk::new();
    t.origin("/p").replies("good").with(STALE);
    t.get("/p").await.is("good");
    t.advance(secs(11)).await;
    t
}

fn codes(answers: &[Said]) -> Vec<u16> {
    let mut codes: Vec<u16> = answers.iter().map(|said| said.parts.status.as_u16()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// S-04.
#[tokio::test(start_paused = true)]
async fn s_04_a_backend_that_refuses_is_asked_once_and_all_hear_of_it() {
    let t = Talk::new();
    let held = t.origin("/p").refuses().holds();
    let askers = crowd(&t, 1_000, "/p").await;
    held.released();
    for said in all(askers).await {
        said.code(502).cache("detail=connect").header("cache-control", "no-store");
    }
    t.origin("/p").was_asked(1);
    t.get("/p").await.code(502);
    t.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_never_answers_costs_all_the_same_time_and_one_request() {
    let t = Talk::with("[origin]\nurl = \"http://backend.test\"\nfirst_byte_timeout = \"3s\"\n");
    t.origin("/p").hangs();
    let before = t.clock.now();
    for said in all(crowd(&t, 1_000, "/p").await).await {
        said.code(504).cache("detail=timeout");
    }
    let waited = t.clock.now().since(before);
    assert!(waited >= secs(3) && waited < millis(3_100), "waited {waited:?}");
    t.origin("/p").was_asked(1);
}

/// A 500 is not to be shared (RFC 9111 §4), and may be the first asker's own fault: the others try once more, together.
#[tokio::test(start_paused = true)]
async fn s_04_a_backend_that_answers_500_is_asked_twice_for_a_thousand() {
    for status in [500, 502, 503, 504] {
        let t = Talk::new();
        let held = t.origin("/p").replies("oops").code(status).holds();
        let askers = crowd(&t, 1_000, "/p").await;
        held.released();
        let answers = all(askers).await;
        let own = answers.iter().filter(|said| said.body == "oops").count();
        assert_eq!((own, answers.len() - own), (2, 998), "who asked hears the backend, the others the gateway");
        for said in answers.iter().filter(|said| said.body != "oops") {
            said.code(502).cache("detail=broken");
        }
        t.origin("/p").was_asked(2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_first_asker_does_not_become_that_of_the_others() {
    let t = Talk::new();
    let held = t.origin("/p").replies("bad header").code(500).holds();
    let first = crowd(&t, 1, "/p").await;
    let others = crowd(&t, 100, "/p").await;
    let next = t.origin("/p").holds();
    held.released();
    t.settle().await;
    next.replies("fine", &["cache-control: max-age=10"]);
    // The reply was replaced, its status with it.
    all(first).await[0].is("bad header").code(500);
    for said in all(others).await {
        said.is("fine").code(200);
    }
    t.origin("/p").was_asked(2);
}

/// An error tells nothing about whether the answers of this key can be shared.
#[tokio::test(start_paused = true)]
async fn after_an_error_the_next_askers_share_a_fetch_again() {
    let t = Talk::new();
    t.origin("/p").replies("oops").code(500);
    t.get("/p").await.is("oops").code(500);
    let held = t.origin("/p").replies("fine").with("cache-control: max-age=10").holds();
    let askers = crowd(&t, 50, "/p").await;
    t.origin("/p").was_asked(2);
    held.released();
    for said in all(askers).await {
        said.is("fine");
    }
    t.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_hides_every_failure_from_all_who_ask() {
    for failure in ["refuses", "500", "503"] {
        let t = with_something_stale().await;
        let held = match failure {
            "refuses" => t.origin("/p").refuses().holds(),
            status => t.origin("/p").replies("oops").code(status.parse().unwrap()).holds(),
        };
        let askers = crowd(&t, 1_000, "/p").await;
        held.released();
        for said in all(askers).await {
            said.is("good").code(200).cache_has("detail=sie");
        }
        t.origin("/p").was_asked(2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_given_to_all_within_a_second_of_silence() {
    let t = with_something_stale().await;
    t.origin("/p").hangs();
    let before = t.clock.now();
    for said in all(crowd(&t, 1_000, "/p").await).await {
        said.is("good").cache_has("detail=sie");
    }
    assert!(t.clock.now().since(before) < secs(1));
    t.origin("/p").was_asked(2);
}

/// S-04, RS-04: the head was shared already, so the break is too.
#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_complete_for_nobody_and_not_stored() {
    let broken: [(&str, &[&str], bool); 4] = [
        ("reset, length known", &["cache-control: max-age=10", "content-length: 100"], true),
        ("reset, length unknown", &["cache-control: max-age=10"], true),
        ("ended too early", &["cache-control: max-age=10", "content-length: 100"], false),
        ("too long", &["cache-control: max-age=10", "content-length: 20"], false),
    ];
    for (name, fields, reset) in broken {
        let t = Talk::new();
        let held = t.origin("/p").holds();
        let early = crowd(&t, 50, "/p").await;
        let part = t.get("/p").with("range: bytes=0-9").start();
        t.settle().await;
        let pieces = held.streams(fields);
        pieces.send(Ok(Bytes::from(vec![b'x'; 15]))).unwrap();
        t.settle().await;
        let late = crowd(&t, 50, "/p").await;
        pieces.send(Ok(Bytes::from(vec![b'x'; 15]))).unwrap();
        if reset {
            pieces.send(Err("reset".into())).unwrap();
        }
        drop(pieces);
        for said in all(early.into_iter().chain(late).collect()).await {
            said.code(200).breaks_off();
        }
        part.await.unwrap().code(502);
        t.origin("/p").was_asked(1);
        t.origin("/p").replies("whole").with("cache-control: max-age=10");
        t.get("/p").await.is("whole").cache("fwd=uri-miss; fwd-status=200; stored");
        assert_eq!(t.gateway.flights_under_way(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_ends_for_all_who_read_it() {
    let t = Talk::new();
    let held = t.origin("/p").holds();
    let askers = crowd(&t, 10, "/p").await;
    let pieces = held.streams(&["cache-control: max-age=10"]);
    pieces.send(Ok(Bytes::from_static(b"half"))).unwrap();
    for said in all(askers).await {
        said.code(200).breaks_off();
    }
    assert!(pieces.is_closed(), "the backend's connection is given up");
    assert_eq!(t.gateway.flights_under_way(), 0);
}

/// S-06.
#[tokio::test(start_paused = true)]
async fn s_06_who_has_waited_too_long_asks_for_itself_within_the_backends_cap() {
    let t = Talk::with("[origin]\nurl = \"http://backend.test\"\nmax_concurrent = 8\nfirst_byte_timeout = \"1m\"\n");
    let stuck = t.origin("/p").replies("v1").with("cache-control: max-age=10").holds();
    let askers = crowd(&t, 100, "/p").await;
    let held: Vec<_> = (0..7).map(|_| t.origin("/p").holds()).collect();
    t.advance(millis(4_990)).await;
    t.origin("/p").was_asked(1);
    t.advance(millis(20)).await;
    t.origin("/p").was_asked(8);

    held.into_iter().for_each(Held::released);
    t.settle().await;
    assert_eq!(askers.iter().filter(|asker| !asker.is_finished()).count(), 1, "all but the first are served");
    stuck.released();
    for said in all(askers).await {
        said.is("v1");
    }
}

#[tokio::test(start_paused = true)]
async fn cache_status_says_who_waited_in_vain() {
    let t = Talk::new();
    let _stuck = t.origin("/p").replies("v1").with("cache-control: max-age=10").holds();
    let _first = crowd(&t, 1, "/p").await;
    t.get("/p").await.is("v1").cache("fwd=uri-miss; fwd-status=200; stored; detail=wait-timeout");
}

#[tokio::test(start_paused = true)]
async fn no_more_may_wait_than_there_are_seats() {
    let t = Talk::with("[gateway]\nmax_waiters = 3\n");
    let held = t.origin("/p").replies("v1").with("cache-control: max-age=10").holds();
    let seated = crowd(&t, 4, "/p").await;
    t.get("/p").await.code(503).cache("detail=too-many").header("retry-after", "1");

    // Who leaves makes room.
    seated[2].abort();
    let next = crowd(&t, 1, "/p").await;
    held.released();
    all(next).await[0].is("v1").cache_has("collapsed");
    t.origin("/p").was_asked(1);
}

/// S-11.
#[tokio::test(start_paused = true)]
async fn s_11_a_panic_in_the_fetch_is_an_error_for_all_and_leaves_nothing_behind() {
    let t = Talk::new();
    let held = t.origin("/p").panics().holds();
    let askers = crowd(&t, 1_000, "/p").await;
    held.released();
    let answers = all(askers).await;
    assert_eq!(codes(&answers), [500]);
    answers[0].cache("detail=internal");
    t.origin("/p").was_asked(1);
    assert_eq!(t.gateway.flights_under_way(), 0);

    t.origin("/p").replies("v1").with("cache-control: max-age=10");
    t.get("/p").await.is("v1").cache_has("stored");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_refreshing_is_hidden_by_what_is_stored() {
    let t = with_something_stale().await;
    let held = t.origin("/p").panics().holds();
    let askers = crowd(&t, 10, "/p").await;
    held.released();
    for said in all(askers).await {
        said.is("good").cache_has("detail=sie");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_middle_of_a_body_breaks_it_off_for_all() {
    let t = Talk::new();
    t.origin("/p").panics_after("half").with("cache-control: max-age=10");
    for said in all(crowd(&t, 10, "/p").await).await {
        said.breaks_off();
    }
    assert_eq!(t.gateway.flights_under_way(), 0);
}

/// S-12.
#[tokio::test(start_paused = true)]
async fn s_12_beyond_the_backends_cap_some_wait_and_the_rest_are_turned_away() {
    let t = Talk::with(
        "[origin]\nurl = \"http://backend.test\"\nmax_concurrent = 2\nmax_queue = 3\nqueue_timeout = \"1s\"\n",
    );
    let paths: Vec<String> = (0..10).map(|number| format!("/{number}")).collect();
    let mut held = Vec::new();
    let mut askers = Vec::new();
    for path in &paths {
        held.push(t.origin(path).replies("v").with("cache-control: max-age=10").holds());
        askers.push(t.get(path).start());
    }
    t.settle().await;
    let finished: Vec<_> = askers.iter().map(tokio::task::JoinHandle::is_finished).collect();
    assert_eq!(finished, [[false; 5], [true; 5]].concat(), "two are asked, three wait, five are turned away at once");
    for asker in askers.drain(5..) {
        asker.await.unwrap().code(503).cache("detail=saturated").header("retry-after", "1");
    }
    held.remove(0).released();
    t.settle().await;
    assert!(askers[0].is_finished());
    t.origin(&paths[2]).was_asked(1);
    t.advance(millis(1_001)).await;
    for waited in askers.drain(3..) {
        waited.await.unwrap().code(503).cache("detail=saturated");
    }
    held.into_iter().for_each(Held::released);
    for asker in askers {
        asker.await.unwrap().is("v").code(200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_at_the_backend_is_held_until_the_body_has_ended() {
    let t = Talk::with("[origin]\nurl = \"http://backend.test\"\nmax_concurrent = 1\nmax_queue = 0\n");
    let held = t.origin("/p").holds();
    let first = crowd(&t, 1, "/p").await;
    let pieces = held.streams(&["cache-control: max-age=10"]);
    t.settle().await;
    t.get("/other").await.code(503);
    drop(pieces);
    all(first).await[0].is("");
    t.get("/other").await.code(404);
}
