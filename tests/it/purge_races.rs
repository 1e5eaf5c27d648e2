//! A purge is a promise, also to those who ask while something is being fetched, refreshed, streamed or written.

use bytes::Bytes;
use forebay::changes::{Purge, Selector};
use forebay::fleet::Fleet;

use crate::flights::{all, crowd};
use crate::talk::{Backend, Talk, millis, secs};

const FRESH: &str = "cache-control: max-age=100";

fn selectors() -> [Selector; 4] {
    [
        Selector::Url { host: None, path_and_query: "/p".to_owned() },
        Selector::Prefix { host: Some("example.com".to_owned()), prefix: "/".to_owned() },
        Selector::Tag("t".to_owned()),
        Selector::All,
    ]
}

/// F-01, F-04: nobody knows the tags of what is being fetched before its head arrives.
#[tokio::test(start_paused = true)]
async fn f_01_f_04_who_asks_after_the_purge_gets_what_was_fetched_after_it() {
    for selector in selectors() {
        for purge in [Purge::Hard, Purge::Soft] {
            let t = Talk::new();
            let (first, second) = (t.origin("/p").holds(), t.origin("/p").holds());
            let before = crowd(&t, 10, "/p").await;
            t.purge(selector.clone(), purge).await;
            let after = crowd(&t, 10, "/p").await;
            first.replies("v1", &[FRESH, "cache-tag: t"]);
            t.settle().await;
            for said in all(before).await {
                said.is("v1");
            }
            assert!(after.iter().all(|asker| !asker.is_finished()), "v1 was not for them");
            t.origin("/p").was_asked(2);
            second.replies("v2", &[FRESH, "cache-tag: t"]);
            for said in all(after).await {
                said.is("v2");
            }
            t.get("/p").await.is("v2").cache("hit; ttl=100; detail=memory");
            t.origin("/p").was_asked(2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_of_something_else_costs_no_second_fetch() {
    let t = Talk::new();
    let held = t.origin("/p").holds();
    let before = crowd(&t, 10, "/p").await;
    t.purge_tag("other").await;
    t.purge_url("/q").await;
    let after = crowd(&t, 10, "/p").await;
    held.replies("v1", &[FRESH, "cache-tag: t"]);
    for said in all(before.into_iter().chain(after).collect()).await {
        said.is("v1");
    }
    t.get("/p").await.cache_has("hit");
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn what_was_being_fetched_when_the_purge_came_is_not_stored() {
    let t = Talk::new();
    let held = t.origin("/p").holds();
    let asker = crowd(&t, 1, "/p").await;
    t.purge(Selector::All, Purge::Hard).await;
    held.replies("v1", &[FRESH]);
    all(asker).await[0].is("v1");
    t.origin("/p").replies("v2").with(FRESH);
    t.get("/p").await.is("v2").cache_has("stored");
}

/// The slower of two fetches, begun before the purge, ends last.
#[tokio::test(start_paused = true)]
async fn a_late_answer_does_not_replace_what_was_fetched_after_the_purge() {
    let t = Talk::new();
    let (first, second) = (t.origin("/p").holds(), t.origin("/p").holds());
    let before = crowd(&t, 1, "/p").await;
    t.purge_tag("t").await;
    let after = t.get("/p").with("cookie: of=another-class").start();
    t.settle().await;
    second.replies("v2", &[FRESH, "cache-tag: t"]);
    after.await.unwrap().is("v2");
    first.replies("v1", &[FRESH, "cache-tag: t"]);
    all(before).await[0].is("v1");
    t.get("/p").await.is("v2").cache_has("hit");
}

/// F-06.
#[tokio::test(start_paused = true)]
async fn f_06_a_purge_in_the_middle_of_a_body_leaves_its_readers_alone_and_admits_no_new_ones() {
    for selector in selectors() {
        let t = Talk::new();
        let held = t.origin("/p").holds();
        let readers = crowd(&t, 100, "/p").await;
        let pieces = held.streams(&[FRESH, "cache-tag: t"]);
        pieces.send(Ok(Bytes::from_static(b"v"))).unwrap();
        t.settle().await;
        t.purge(selector, Purge::Hard).await;
        t.origin("/p").replies("v2").with(FRESH);
        t.get("/p").await.is("v2").cache_has("stored");
        pieces.send(Ok(Bytes::from_static(b"1"))).unwrap();
        drop(pieces);
        for said in all(readers).await {
            said.is("v1");
        }
        t.get("/p").await.is("v2").cache_has("hit");
        t.origin("/p").was_asked(2);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_part_of_a_purged_body_is_told_by_when_it_asked() {
    let t = Talk::new();
    let (first, second) = (t.origin("/p").holds(), t.origin("/p").holds());
    let before = t.get("/p").with("range: bytes=0-1").start();
    t.settle().await;
    t.purge_url("/p").await;
    let after = t.get("/p").with("range: bytes=0-1").start();
    t.settle().await;
    first.replies("v1 whole", &[FRESH]);
    t.settle().await;
    second.replies("v2 whole", &[FRESH]);
    before.await.unwrap().is("v1").code(206);
    after.await.unwrap().is("v2").code(206);
}

/// F-03.
#[tokio::test(start_paused = true)]
async fn f_03_a_refresh_that_ends_after_the_purge_brings_nothing_back() {
    for answer in ["304", "200"] {
        let t = Talk::new();
        t.origin("/p").replies("v1").with("cache-control: max-age=10, stale-while-revalidate=60").with("etag: \"1\"");
        t.get("/p").await.is("v1");
        t.advance(secs(11)).await;
        let held = t.origin("/p").holds();
        t.get("/p").await.is("v1").cache_has("swr");
        t.settle().await;
        t.purge_url("/p").await;
        match answer {
            "304" => held.released(),
            _ => held.replies("v1 again", &[FRESH]),
        }
        t.settle().await;
        t.origin("/p").replies("v2").with(FRESH);
        t.get("/p").await.is("v2").cache_has("stored");
        t.origin("/p").was_asked(3);
    }
}

/// As F-03, where the one who validates waits for it.
#[tokio::test(start_paused = true)]
async fn a_validation_that_ends_after_the_purge_is_for_those_who_asked_before_it() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=10").with("etag: \"1\"");
    t.get("/p").await.is("v1");
    t.advance(secs(11)).await;
    let (first, second) = (t.origin("/p").holds(), t.origin("/p").holds());
    let before = crowd(&t, 5, "/p").await;
    t.purge(Selector::All, Purge::Hard).await;
    let after = crowd(&t, 5, "/p").await;
    first.released();
    t.settle().await;
    assert!(!t.origin("/p").asked_last().headers.contains_key("if-none-match"), "there is nothing to confirm");
    for said in all(before).await {
        said.is("v1");
    }
    second.replies("v2", &[FRESH]);
    for said in all(after).await {
        said.is("v2");
    }
    t.origin("/p").was_asked(3);
}

/// The stale answer is a fallback for those who could have had it when they asked, and for nobody else.
#[tokio::test(start_paused = true)]
async fn what_fails_after_the_purge_is_not_hidden_by_what_was_purged() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=10, stale-if-error=600");
    t.get("/p").await.is("v1");
    t.advance(secs(11)).await;
    let held = t.origin("/p").refuses().holds();
    let before = crowd(&t, 1, "/p").await;
    t.purge_url("/p").await;
    let after = crowd(&t, 1, "/p").await;
    held.released();
    all(before).await[0].is("v1").cache_has("sie");
    all(after).await[0].code(502);
}

/// F-07.
#[tokio::test(start_paused = true)]
async fn f_07_a_write_that_overtakes_a_fetch_wins() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "BREW"] {
        let t = Talk::new();
        let reading = t.origin("/p").holds();
        let before = crowd(&t, 3, "/p").await;
        t.origin("/p").replies("written").code(200);
        t.ask(method, "/p").await.is("written");
        let after = t.origin("/p").holds();
        let later = crowd(&t, 3, "/p").await;
        reading.replies("old", &[FRESH]);
        t.settle().await;
        for said in all(before).await {
            said.is("old");
        }
        after.replies("new", &[FRESH]);
        for said in all(later).await {
            said.is("new");
        }
        t.get("/p").await.is("new").cache_has("hit");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_backend_refused_changes_nothing() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with(FRESH);
    t.get("/p").await.is("v1");
    t.origin("/p").replies("no").code(403);
    t.ask("PUT", "/p").await.code(403);
    t.origin("/p").refuses();
    t.ask("PUT", "/p").await.code(502);
    t.get("/p").await.is("v1").cache_has("hit");
}

/// Nobody knows what became of it, so what is stored may be wrong.
#[tokio::test(start_paused = true)]
async fn a_write_whose_outcome_is_unknown_counts_as_done() {
    for trouble in ["no answer", "a broken answer", "the client left"] {
        let t = Talk::new();
        t.origin("/p").replies("v1").with(FRESH);
        t.get("/p").await.is("v1");
        match trouble {
            "no answer" => {
                t.origin("/p").hangs();
                t.ask("PUT", "/p").await.code(504);
            }
            "a broken answer" => {
                drop(t.origin("/p").holds());
                t.ask("PUT", "/p").await.code(502);
            }
            _ => {
                t.origin("/p").hangs();
                let writer = t.ask("PUT", "/p").start();
                t.settle().await;
                writer.abort();
                t.advance(secs(11)).await;
            }
        }
        t.origin("/p").replies("v2").with(FRESH);
        t.get("/p").await.is("v2").cache_has("detail=purged");
    }
}

#[tokio::test(start_paused = true)]
async fn what_became_of_a_write_is_heard_even_if_its_client_has_left() {
    for (status, expected) in [(200, "fwd=uri-miss"), (403, "hit")] {
        let t = Talk::new();
        t.origin("/p").replies("v1").with(FRESH);
        t.get("/p").await.is("v1");
        let held = t.origin("/p").holds();
        let writer = t.ask("DELETE", "/p").start();
        t.settle().await;
        writer.abort();
        t.origin("/p").replies("").code(status);
        held.released();
        t.settle().await;
        t.get("/p").await.cache_has(expected);
    }
}

/// RFC 9875 §3.
#[tokio::test(start_paused = true)]
async fn a_write_takes_the_groups_along_that_its_answer_names() {
    let t = Talk::new();
    t.origin("/list").replies("v1").with(FRESH).with("cache-groups: \"users\"");
    let held = t.origin("/slow").holds();
    t.get("/list").await.is("v1");
    let slow = crowd(&t, 1, "/slow").await;
    t.origin("/users").replies("made").with("cache-group-invalidation: \"users\"");
    t.ask("POST", "/users").await.is("made");
    held.replies("old", &[FRESH, "cache-groups: \"users\""]);
    all(slow).await[0].is("old");
    t.get("/list").await.cache_has("detail=purged");
    t.origin("/slow").replies("new").with(FRESH);
    t.get("/slow").await.is("new");
}

fn fleet() -> (Talk, Talk) {
    let (fleet, backend) = (Fleet::in_process(), Backend::default());
    (Talk::in_fleet("", fleet.clone(), backend.clone()).follows(), Talk::in_fleet("", fleet, backend).follows())
}

#[tokio::test(start_paused = true)]
async fn gateways_of_one_fleet_apply_each_others_purges() {
    for selector in selectors() {
        let (here, there) = fleet();
        here.origin("/p").replies("v1").with(FRESH).with("cache-tag: t");
        for t in [&here, &there] {
            t.get("/p").await.is("v1");
            t.get("/p").await.cache_has("hit");
        }
        here.purge(selector, Purge::Hard).await;
        here.origin("/p").replies("v2").with(FRESH);
        here.get("/p").await.is("v2");
        there.settle().await;
        there.get("/p").await.is("v2").cache_has("detail=purged");
        here.origin("/p").was_asked(4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_anywhere_reaches_the_fetches_of_every_node() {
    let (here, there) = fleet();
    let held = there.origin("/p").holds();
    let asker = crowd(&there, 1, "/p").await;
    here.purge_tag("t").await;
    there.settle().await;
    held.replies("v1", &[FRESH, "cache-tag: t"]);
    all(asker).await[0].is("v1");
    there.origin("/p").replies("v2").with(FRESH);
    there.get("/p").await.is("v2").cache_has("stored");
}

#[tokio::test(start_paused = true)]
async fn a_write_through_one_gateway_is_seen_through_the_other() {
    let (here, there) = fleet();
    here.origin("/p").replies("v1").with(FRESH);
    there.get("/p").await.is("v1");
    here.ask("PUT", "/p").await.code(200);
    here.origin("/p").replies("v2").with(FRESH);
    there.advance(millis(1)).await;
    there.get("/p").await.is("v2");
}

/// Found by the model: whoever had to look for another flight did not know yet by which fields flights are told apart.
#[tokio::test(start_paused = true)]
async fn those_who_ask_once_more_after_a_purge_share_their_fetch_with_those_who_come_then() {
    let t = Talk::new();
    let fields = [FRESH, "vary: accept-language"];
    let (first, second) = (t.origin("/p").holds(), t.origin("/p").holds());
    let _before = crowd(&t, 1, "/p").await;
    t.purge_url("/other").await;
    let waiting = crowd(&t, 1, "/p").await;
    t.purge(Selector::All, Purge::Soft).await;
    first.replies("v1", &fields);
    t.settle().await;
    t.origin("/p").was_asked(2);
    let later = t.get("/p").with("range: bytes=0-").start();
    t.settle().await;
    second.replies("v2", &fields);
    all(waiting).await[0].is("v2");
    later.await.unwrap();
    t.origin("/p").was_asked(2);
}
