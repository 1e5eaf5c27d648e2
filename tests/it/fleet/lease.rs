//! One fetch per key across the fleet.

use forebay::serve::FleetSettings;

use crate::flights::{all, crowd};
use crate::talk::{Talk, millis, secs};

const FRESH: &str = "cache-control: max-age=600";

/// Asks for leases: granted, held, pointless, failed.
fn leases(t: &Talk) -> Vec<u64> {
    t.gateway.shared().unwrap().stats().leases().map(|(_, count)| count).collect()
}

#[tokio::test(start_paused = true)]
async fn s_09_askers_of_a_cold_key_on_two_nodes_are_one_request() {
    let [a, b] = Talk::fleet("").await;
    let held = a.origin("/p").holds();
    let here = crowd(&a, 100, "/p").await;
    let there = crowd(&b, 100, "/p").await;
    a.advance(millis(100)).await;
    a.origin("/p").was_asked(1);
    held.replies("v1", &[FRESH]);
    for said in all(here).await {
        said.is("v1");
    }
    for said in all(there).await {
        said.is("v1").cache("hit; ttl=599; detail=shared");
    }
    a.origin("/p").was_asked(1);
    assert_eq!((leases(&a)[0], leases(&b)[0]), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn s_09_when_the_holder_dies_the_next_one_fetches_after_the_leases_time() {
    let patient = FleetSettings { lease_wait: secs(10), ..FleetSettings::default() };
    let [a, b, c] = Talk::fleet_on("", patient).await;
    let held = a.origin("/p").holds();
    let dies = a.get("/p").start();
    a.settle().await;
    a.cut();
    a.origin("/p").replies("v2").with(FRESH);
    let (one, other) = (b.get("/p").start(), c.get("/p").start());
    b.advance(millis(999)).await;
    a.origin("/p").was_asked(1);
    b.advance(millis(100)).await;
    a.origin("/p").was_asked(2);
    one.await.unwrap().is("v2");
    other.await.unwrap().is("v2");
    a.origin("/p").was_asked(2);
    drop(held);
    dies.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_for_another_node_long_enough_fetches_for_itself() {
    let [a, b] = Talk::fleet("").await;
    let held = a.origin("/p").holds();
    let first = a.get("/p").start();
    a.settle().await;
    a.origin("/p").replies("v1").with(FRESH);
    let second = b.get("/p").start();
    b.settle().await;
    b.advance(millis(299)).await;
    a.origin("/p").was_asked(1);
    b.advance(millis(1)).await;
    a.origin("/p").was_asked(2);
    second.await.unwrap().is("v1").cache("fwd=uri-miss; fwd-status=200; stored");
    held.released();
    first.await.unwrap().is("v1");
}

#[tokio::test(start_paused = true)]
async fn a_slow_routes_followers_wait_as_long_as_is_usual_for_it() {
    let [a, b] = Talk::fleet("").await;
    let held = b.origin("/usual").holds();
    let usual = b.get("/usual").start();
    b.advance(secs(1)).await;
    held.replies("slow", &[FRESH]);
    usual.await.unwrap().is("slow");
    let held = a.origin("/p").holds();
    let first = a.get("/p").start();
    a.settle().await;
    a.beat().await;
    b.beat().await;
    let second = b.get("/p").start();
    b.settle().await;
    b.advance(millis(950)).await;
    a.origin("/p").was_asked(1);
    held.replies("v1", &[FRESH]);
    first.await.unwrap().is("v1");
    second.await.unwrap().is("v1").cache_has("detail=shared");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_for_one_keeps_no_other_node_waiting() {
    let [a, b] = Talk::fleet("").await;
    let private = "cache-control: private";
    let held = a.origin("/p").holds();
    let first = a.get("/p").start();
    a.settle().await;
    let second = b.get("/p").start();
    b.settle().await;
    a.origin("/p").was_asked(1);
    held.replies("yours", &[private]);
    first.await.unwrap().is("yours");
    // Told at its next look.
    b.advance(millis(50)).await;
    second.await.unwrap().is("yours");
    a.origin("/p").was_asked(2);
    let [c] = [a.joining("")];
    c.beat().await;
    let before = c.clock.now();
    c.get("/p").await.is("yours");
    assert_eq!((c.clock.now(), leases(&c)), (before, vec![0, 0, 1, 0]));
}

#[tokio::test(start_paused = true)]
async fn when_a_fetch_fails_it_is_the_next_nodes_turn() {
    let [a, b] = Talk::fleet("").await;
    let held = a.origin("/p").holds();
    let first = a.get("/p").start();
    a.settle().await;
    let second = b.get("/p").start();
    b.settle().await;
    drop(held);
    first.await.unwrap().code(502);
    a.origin("/p").replies("v1").with(FRESH);
    b.advance(millis(50)).await;
    second.await.unwrap().is("v1");
    a.origin("/p").was_asked(2);
    assert_eq!(leases(&b)[0], 1);
}

#[tokio::test(start_paused = true)]
async fn one_node_refreshes_what_is_stale_on_all() {
    let [a, b] = Talk::fleet("").await;
    let briefly = "cache-control: max-age=1, stale-while-revalidate=60";
    a.origin("/p").replies("v1").with(briefly);
    a.get("/p").await.is("v1");
    a.settle().await;
    b.get("/p").await.is("v1").cache_has("detail=shared");
    a.advance(millis(1500)).await;
    let held = a.origin("/p").holds();
    a.get("/p").await.is("v1").cache_has("detail=swr");
    b.get("/p").await.is("v1").cache_has("detail=swr");
    a.advance(millis(100)).await;
    a.origin("/p").was_asked(2);
    held.replies("v2", &[briefly]);
    a.settle().await;
    a.advance(millis(50)).await;
    a.get("/p").await.is("v2").cache_has("detail=memory");
    b.get("/p").await.is("v2").cache_has("detail=memory");
    a.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_another_node_that_serves_clients_of_another_kind() {
    let [a, b] = Talk::fleet("").await;
    let held = a.origin("/p").holds();
    let known = a.get("/p").with("authorization: Bearer x").start();
    a.settle().await;
    a.origin("/p").replies("v1").with(FRESH);
    b.get("/p").await.is("v1");
    held.released();
    known.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_wants_the_backends_word_is_not_told_another_nodes() {
    let [a, b] = Talk::fleet("[gateway]\nrefresh_token = { header = \"x-refresh\", token = \"s3cret\" }\n").await;
    a.origin("/p").replies("v1").with(FRESH);
    a.get("/p").await.is("v1");
    a.settle().await;
    a.origin("/p").replies("v2").with(FRESH);
    b.get("/p").with("x-refresh: s3cret").await.is("v2").cache_has("detail=forced");
    b.settle().await;
    // What it was told is the news of all.
    let c = a.joining("");
    c.beat().await;
    c.get("/p").await.is("v2").cache_has("detail=shared");
}
