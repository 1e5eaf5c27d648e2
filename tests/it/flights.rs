//! One fetch for many askers: who joins, who reads along, who leaves, and who is told to fetch for itself.

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::task::JoinHandle;

use crate::talk::{Said, Talk, millis, secs};

/// Begins `count` requests for `path`, and lets each come as far as it can.
pub async fn crowd(t: &Talk, count: usize, path: &str) -> Vec<JoinHandle<Said>> {
    let askers = (0..count).map(|_| t.get(path).start()).collect();
    t.settle().await;
    askers
}

pub async fn all(askers: Vec<JoinHandle<Said>>) -> Vec<Said> {
    let mut answers = Vec::new();
    for asker in askers {
        let answer = tokio::time::timeout(secs(3_600), asker).await.expect("nobody waits for ever");
        answers.push(answer.expect("nobody who asks may fail"));
    }
    answers
}

/// S-01.
#[tokio::test(start_paused = true)]
async fn s_01_a_thousand_askers_of_a_cold_key_are_one_request() {
    let t = Talk::new();
    let held = t.origin("/p").replies("v1").with("cache-control: max-age=10").holds();
    let askers = crowd(&t, 1_000, "/p").await;
    t.origin("/p").was_asked(1);
    held.released();

    let before = t.clock.now();
    let answers = all(askers).await;
    assert_eq!(t.clock.now(), before, "nobody waited for a timer");
    let collapsed = answers.iter().filter(|said| said.text("cache-status").contains("collapsed")).count();
    assert_eq!(collapsed, 999);
    for said in &answers {
        said.is("v1").code(200);
    }
    t.origin("/p").was_asked(1);
    assert_eq!(t.gateway.flights_under_way(), 0);
}

/// S-02.
#[tokio::test(start_paused = true)]
async fn s_02_whoever_began_the_fetch_may_leave_at_any_point() {
    for (sent, name) in
        [(0, "before the head"), (0, "at the first byte"), (50, "half-way"), (99, "before the last byte")]
    {
        let t = Talk::new();
        let held = t.origin("/p").holds();
        let leader = tokio::spawn({
            let asking = t.get("/p");
            async move {
                let mut body = asking.begin().await.into_body();
                let mut read = 0;
                while read < sent {
                    read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
                }
                body
            }
        });
        let askers = crowd(&t, 10, "/p").await;
        if name == "before the head" {
            leader.abort();
            t.settle().await;
        }
        let pieces = held.streams(&["cache-control: max-age=10", "content-length: 100"]);
        for _ in 0..sent {
            pieces.send(Ok(Bytes::from_static(b"x"))).unwrap();
        }
        t.settle().await;
        drop(leader.await);
        t.settle().await;
        for _ in sent..100 {
            pieces.send(Ok(Bytes::from_static(b"x"))).unwrap();
        }
        drop(pieces);
        for said in all(askers).await {
            said.is(&"x".repeat(100));
        }
        t.get("/p").await.is(&"x".repeat(100)).cache("hit; ttl=10; detail=memory");
        t.origin("/p").was_asked(1);
        assert_eq!(t.gateway.flights_under_way(), 0, "{name}");
    }
}

/// S-03.
#[tokio::test(start_paused = true)]
async fn s_03_three_hundred_askers_may_leave_one_after_the_other() {
    let t = Talk::new();
    let held = t.origin("/p").replies("v1").with("cache-control: max-age=10").holds();
    for _ in 0..300 {
        let asker = t.get("/p").start();
        tokio::task::yield_now().await;
        asker.abort();
        assert!(asker.await.is_err(), "it left before it was answered");
    }
    let last = crowd(&t, 1, "/p").await;
    held.released();
    all(last).await[0].is("v1").cache_has("collapsed");
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_everybody_left_is_kept_all_the_same() {
    let t = Talk::new();
    let held = t.origin("/p").replies("v1").with("cache-control: max-age=10").holds();
    for asker in crowd(&t, 5, "/p").await {
        asker.abort();
    }
    held.released();
    t.settle().await;
    t.get("/p").await.is("v1").cache("hit; ttl=10; detail=memory");
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_the_body_streams_reads_it_from_its_first_byte() {
    let t = Talk::new();
    let held = t.origin("/p").holds();
    let first = crowd(&t, 1, "/p").await;
    let pieces = held.streams(&["cache-control: max-age=10"]);
    pieces.send(Ok(Bytes::from_static(b"one "))).unwrap();
    t.settle().await;
    let second = crowd(&t, 1, "/p").await;
    pieces.send(Ok(Bytes::from_static(b"two "))).unwrap();
    t.settle().await;
    let third = crowd(&t, 1, "/p").await;
    assert!(!third[0].is_finished(), "the body has no end yet");
    pieces.send(Ok(Bytes::from_static(b"three"))).unwrap();
    drop(pieces);
    for said in all([first, second, third].into_iter().flatten().collect()).await {
        said.is("one two three");
    }
    t.origin("/p").was_asked(1);
}

/// S-07.
#[tokio::test(start_paused = true)]
async fn s_07_a_client_that_reads_nothing_slows_nobody() {
    let t = Talk::new();
    let held = t.origin("/p").holds();
    let (first, second) = (tokio::spawn(t.get("/p").begin()), tokio::spawn(t.get("/p").begin()));
    let quick = crowd(&t, 10, "/p").await;
    let pieces = held.streams(&["cache-control: max-age=10"]);
    for _ in 0..1_000 {
        pieces.send(Ok(Bytes::from(vec![b'x'; 4096]))).unwrap();
    }
    drop(pieces);
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    for said in all(quick).await {
        assert_eq!((said.body.len(), &said.broken), (4096 * 1_000, &None));
    }
    t.get("/p").await.cache("hit; ttl=10; detail=memory");
    for slow in [first, second] {
        assert_eq!(slow.into_body().collect().await.unwrap().to_bytes().len(), 4096 * 1_000);
    }
    t.origin("/p").was_asked(1);
}

/// S-08.
#[tokio::test(start_paused = true)]
async fn s_08_a_thousand_readers_of_a_stale_key_are_one_refresh_and_nobody_waits() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=10, stale-while-revalidate=30").with("etag: \"1\"");
    t.get("/p").await.is("v1");

    t.advance(secs(11)).await;
    let held = t.origin("/p").holds();
    for said in all(crowd(&t, 1_000, "/p").await).await {
        said.is("v1").cache("hit; ttl=-1; detail=swr");
    }
    t.origin("/p").was_asked(2);
    held.released();
    t.settle().await;
    t.get("/p").await.is("v1").cache("hit; ttl=10; detail=memory");
    t.origin("/p").was_asked(2);
}

/// S-10.
#[tokio::test(start_paused = true)]
async fn s_10_get_head_and_range_of_one_cold_key_are_one_fetch_of_the_whole() {
    let t = Talk::new();
    let held = t.origin("/p").replies("0123456789").with("cache-control: max-age=10").with("etag: \"1\"").holds();
    let part = t.get("/p").with("range: bytes=2-4").start();
    t.settle().await;
    let askers = crowd(&t, 3, "/p").await;
    let top = t.head("/p").start();
    t.settle().await;
    let other = t.get("/p").with("range: bytes=-2").start();
    t.settle().await;
    held.released();

    for said in all(askers).await {
        said.is("0123456789").code(200);
    }
    part.await.unwrap().is("234").code(206).header("content-range", "bytes 2-4/10");
    other.await.unwrap().is("89").code(206).header("content-range", "bytes 8-9/10");
    top.await.unwrap().is("").code(200).header("content-length", "10");
    let mut methods = t.origin("/p").methods();
    methods.sort();
    assert_eq!(methods, ["GET", "HEAD"], "the whole was fetched once; a HEAD fetches no whole");
}

#[tokio::test(start_paused = true)]
async fn askers_of_several_variants_wait_once_and_then_by_variant() {
    let t = Talk::new();
    let fields = ["cache-control: max-age=10", "vary: accept-language"];
    let (first, second) = (t.origin("/p").holds(), t.origin("/p").holds());
    let mut german = Vec::new();
    let mut french = Vec::new();
    for _ in 0..20 {
        german.push(t.get("/p").with("accept-language: de").start());
        t.settle().await;
        french.push(t.get("/p").with("accept-language: fr").start());
    }
    t.settle().await;
    t.origin("/p").was_asked(1);
    first.replies("guten Tag", &fields);
    t.settle().await;
    t.origin("/p").was_asked(2);
    second.replies("bonjour", &fields);
    for said in all(german).await {
        said.is("guten Tag");
    }
    for said in all(french).await {
        said.is("bonjour");
    }
    t.origin("/p").was_asked(2);
}

/// S-05, LK-05.
#[tokio::test(start_paused = true)]
async fn s_05_an_answer_for_one_is_given_to_nobody_else_and_holds_nobody_up() {
    for refusal in ["cache-control: no-store", "cache-control: private, max-age=10", "set-cookie: id=1"] {
        let t = Talk::new();
        let first = t.origin("/p").holds();
        let leader = crowd(&t, 1, "/p").await;
        let rest = crowd(&t, 20, "/p").await;
        let others: Vec<_> = (0..20).map(|_| t.origin("/p").holds()).collect();
        first.replies("for the first", &[refusal, "cache-control: max-age=5"]);
        t.settle().await;
        all(leader).await[0].is("for the first");
        t.origin("/p").was_asked(21);

        others.into_iter().for_each(|held| held.replies("for another", &[refusal]));
        for said in all(rest).await {
            said.is("for another").cache_has("fwd=uri-miss");
            assert!(!said.text("cache-status").contains("collapsed"));
        }

        // It is remembered: later askers do not even wait for the head.
        let held: Vec<_> = (0..20).map(|_| t.origin("/p").holds()).collect();
        let later = crowd(&t, 20, "/p").await;
        t.origin("/p").was_asked(41);
        drop(held);
        drop(later);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_may_be_shared_again_is_shared_again() {
    let t = Talk::new();
    t.origin("/p").replies("mine").with("cache-control: no-store");
    t.get("/p").await.is("mine").cache("fwd=uri-miss; fwd-status=200; detail=no-store");
    t.origin("/p").replies("everybody's").with("cache-control: max-age=10");
    t.get("/p").await.is("everybody's").cache("fwd=uri-miss; fwd-status=200; stored");
    t.get("/p").await.is("everybody's").cache("hit; ttl=10; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_turned_private_while_stale_is_asked_for_in_parallel() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=10");
    t.get("/p").await.is("v1");
    t.advance(secs(11)).await;
    t.origin("/p").replies("mine").with("cache-control: private");
    t.get("/p").await.is("mine");

    let held: Vec<_> = (0..5).map(|_| t.origin("/p").holds()).collect();
    let askers = crowd(&t, 5, "/p").await;
    t.origin("/p").was_asked(7);
    held.into_iter().for_each(crate::talk::Held::released);
    for said in all(askers).await {
        said.is("mine");
    }
}

/// LK-06.
#[tokio::test(start_paused = true)]
async fn requests_with_and_without_credentials_never_share_a_fetch() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=10");
    let credentials: [&[&str]; 4] =
        [&[], &["authorization: Bearer a"], &["cookie: id=1"], &["authorization: Bearer a", "cookie: id=1"]];
    for round in credentials {
        let t = Talk::new();
        let held = t.origin("/p").holds();
        let _first = round.iter().fold(t.get("/p"), |asking, line| asking.with(line)).start();
        t.settle().await;
        for (number, other) in credentials.iter().filter(|other| **other != round).enumerate() {
            let holds = t.origin("/p").holds();
            let _asker = other.iter().fold(t.get("/p"), |asking, line| asking.with(line)).start();
            t.settle().await;
            t.origin("/p").was_asked(number + 2);
            std::mem::forget(holds);
        }
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn two_users_share_a_fetch_but_not_an_answer_that_is_for_one() {
    let t = Talk::new();
    let (first, second) = (t.origin("/p").holds(), t.origin("/p").holds());
    let alice = t.get("/p").with("authorization: Bearer alice").start();
    t.settle().await;
    let bob = t.get("/p").with("authorization: Bearer bob").start();
    t.settle().await;
    t.origin("/p").was_asked(1);
    first.replies("hello alice", &["cache-control: max-age=10"]);
    t.settle().await;
    assert_eq!(t.origin("/p").asked_last().headers["authorization"], "Bearer bob");
    second.replies("hello bob", &["cache-control: max-age=10"]);
    alice.await.unwrap().is("hello alice").cache_has("detail=authorization");
    bob.await.unwrap().is("hello bob").cache_has("detail=authorization");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_turns_out_too_large_reaches_all_who_read_it_and_is_not_kept() {
    let t = Talk::with("[memory]\nmax_object = \"8KiB\"\n");
    let held = t.origin("/p").holds();
    let readers = crowd(&t, 3, "/p").await;
    let pieces = held.streams(&["cache-control: max-age=10"]);
    for _ in 0..2 {
        pieces.send(Ok(Bytes::from(vec![b'x'; 4096]))).unwrap();
    }
    t.settle().await;
    let late = crowd(&t, 1, "/p").await;
    pieces.send(Ok(Bytes::from_static(b"y"))).unwrap();
    t.settle().await;
    let own = t.origin("/p").replies("own").with("cache-control: no-store").holds();
    let later = crowd(&t, 1, "/p").await;
    t.origin("/p").was_asked(2);
    own.released();
    all(later).await[0].is("own");

    drop(pieces);
    for said in all(readers.into_iter().chain(late).collect()).await {
        assert_eq!((said.body.len(), &said.broken), (8193, &None));
    }
    t.get("/p").await.is("own");
    t.origin("/p").was_asked(3);
}

#[tokio::test(start_paused = true)]
async fn a_body_too_large_to_keep_waits_for_its_slowest_reader() {
    let t = Talk::with("[memory]\nmax_object = \"8KiB\"\n");
    let held = t.origin("/p").holds();
    let slow = tokio::spawn(t.get("/p").begin());
    let quick = crowd(&t, 1, "/p").await;
    let pieces = held.streams(&["cache-control: max-age=10"]);
    let slow = slow.await.unwrap();
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    for _ in 0..100 {
        pieces.send(Ok(piece.clone())).unwrap();
    }
    t.settle().await;
    assert!(!quick[0].is_finished(), "more than a window ahead of the slowest would have to be held in memory");
    drop(pieces);
    let read = tokio::spawn(async move { slow.into_body().collect().await.unwrap().to_bytes().len() });
    assert_eq!(all(quick).await[0].body.len(), 6_400 * 1024);
    assert_eq!(read.await.unwrap(), 6_400 * 1024);
    t.advance(millis(1)).await;
    assert_eq!(t.gateway.flights_under_way(), 0);
}
