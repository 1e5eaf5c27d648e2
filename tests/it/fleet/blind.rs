//! A node that has lost the log from sight: what it may still use, and what it says about it.

use forebay::changes::{Published, Purge, Selector};
use forebay::serve::{FleetSettings, OnBlind, Unverified};

use crate::talk::{Talk, millis, secs};

const FRESH: &str = "cache-control: max-age=600";
const ETAG: &str = "etag: \"1\"";

/// A fleet of one node that has `/p` in memory and has lost sight of the log.
async fn blind(config: &str, settings: FleetSettings) -> Talk {
    let [t] = Talk::fleet_on(config, settings).await;
    t.origin("/p").replies("v1").with(FRESH).with(ETAG);
    t.get("/p").await.is("v1");
    t.advance(millis(1900)).await;
    t.get("/p").await.is("v1").cache_has("detail=memory");
    t.refuse();
    t.advance(millis(100)).await;
    t
}

#[tokio::test(start_paused = true)]
async fn once_the_lease_has_lapsed_each_key_is_confirmed_once_in_delta() {
    let t = blind("", FleetSettings::default()).await;
    t.origin("/p").was_asked(1);
    let held = t.origin("/p").holds();
    let askers: Vec<_> = (0..10).map(|_| t.get("/p").start()).collect();
    t.settle().await;
    t.origin("/p").was_asked(2);
    held.released();
    for (number, asker) in askers.into_iter().enumerate() {
        let said = asker.await.unwrap();
        said.is("v1").cache_has(if number == 0 {
            "fwd=stale; fwd-status=304; stored; detail=blind"
        } else {
            "collapsed"
        });
    }
    t.origin("/p").was_asked(2);
    assert_eq!(t.origin("/p").asked_last().text("if-none-match"), "\"1\"");
    t.get("/p").await.is("v1").cache_has("hit");
    t.advance(millis(1999)).await;
    t.get("/p").await.is("v1").cache_has("hit");
    t.advance(millis(1)).await;
    t.get("/p").await.is("v1").cache_has("detail=blind");
    t.origin("/p").was_asked(3);

    t.heal();
    t.beat().await;
    t.advance(millis(1999)).await;
    t.get("/p").await.is("v1").cache_has("hit");
    t.origin("/p").was_asked(3);
}

#[tokio::test(start_paused = true)]
async fn what_arrives_blind_takes_no_answer_that_was_asked_for_earlier() {
    let t = blind("", FleetSettings::default()).await;
    t.origin("/cold").replies("v2").with(FRESH);
    let early = t.origin("/cold").holds();
    let first = t.get("/cold").start();
    t.settle().await;
    t.advance(millis(10)).await;
    let late: Vec<_> = (0..5).map(|_| t.get("/cold").start()).collect();
    t.settle().await;
    t.origin("/cold").was_asked(1);
    // It takes longer than what was confirmed may be used.
    t.advance(secs(2)).await;
    early.streams(&[FRESH, "content-length: 2"]).send(Ok("v1".into())).unwrap();
    first.await.unwrap().is("v1");
    for asker in late {
        asker.await.unwrap().is("v2");
    }
    t.origin("/cold").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn a_purge_on_a_blind_node_binds_those_who_ask_after_it() {
    let t = blind("", FleetSettings::default()).await;
    let held = t.origin("/cold").holds();
    let before = t.get("/cold").start();
    t.settle().await;
    let published = t.publish(Selector::All, Purge::Hard).await;
    assert!(matches!(published, Published::Queued(_)), "{published:?}");
    let second = t.origin("/cold").holds();
    let after: Vec<_> = (0..5).map(|_| t.get("/cold").start()).collect();
    t.settle().await;
    held.replies("v1", &[FRESH]);
    before.await.unwrap().is("v1");
    t.settle().await;
    second.replies("v2", &[FRESH]);
    for asker in after {
        asker.await.unwrap().is("v2");
    }
    t.origin("/cold").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn where_the_backend_fails_as_well_what_is_stored_is_served_and_says_so() {
    let t = blind("", FleetSettings::default()).await;
    t.origin("/p").refuses();
    t.get("/p").await.code(200).is("v1").cache("hit; ttl=598; detail=blind");
    t.head("/p").await.code(200).cache_has("hit; ttl=598; detail=blind");
    t.origin("/p").replies("busy").code(503);
    t.get("/p").await.code(200).is("v1").cache_has("detail=blind");
    // Also where it would have been served stale in any case.
    t.advance(secs(600)).await;
    t.origin("/p").refuses();
    t.get("/p").await.code(200).is("v1").cache_has("detail=blind");
    t.heal();
    t.beat().await;
    t.get("/p").await.code(200).is("v1").cache_has("detail=sie");
}

#[tokio::test(start_paused = true)]
async fn beyond_the_concurrency_cap_what_is_stored_is_served_and_says_so() {
    let t =
        blind("[origin]\nurl = \"http://backend.test\"\nmax_concurrent = 1\nmax_queue = 0\n", FleetSettings::default())
            .await;
    t.origin("/slow").replies("slow");
    let held = t.origin("/slow").holds();
    let slow = t.get("/slow").start();
    t.settle().await;
    t.get("/p").await.code(200).is("v1").cache("hit; ttl=598; detail=blind");
    t.origin("/p").was_asked(1);
    held.released();
    slow.await.unwrap().is("slow");
    t.get("/p").await.is("v1").cache_has("fwd=stale");
}

#[tokio::test(start_paused = true)]
async fn nothing_unverified_is_served_where_the_operator_refuses_it() {
    let t = blind("", FleetSettings { unverified: Unverified::Refuse, ..FleetSettings::default() }).await;
    t.origin("/p").refuses();
    t.get("/p").await.code(502).cache_has("detail=connect");
    t.advance(secs(600)).await;
    t.get("/p").await.code(502);
    t.heal();
    t.beat().await;
    t.get("/p").await.code(200).is("v1").cache_has("detail=sie");
}

#[tokio::test(start_paused = true)]
async fn served_blindly_for_a_while_where_the_operator_says_so() {
    let t = blind("", FleetSettings { on_blind: OnBlind::Serve, ..FleetSettings::default() }).await;
    t.get("/p").await.is("v1").cache("hit; ttl=598; detail=blind");
    t.advance(millis(27_999)).await;
    t.get("/p").await.is("v1").cache_has("detail=blind");
    t.origin("/p").was_asked(1);
    t.advance(millis(1)).await;
    t.get("/p").await.is("v1").cache_has("fwd=stale");
    t.origin("/p").was_asked(2);
    // What was confirmed within Δ is not in doubt.
    t.get("/p").await.is("v1").cache_has("detail=memory");
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_a_blind_node_has_missed_is_seen_after_delta() {
    let [a, b] = Talk::fleet("").await;
    a.origin("/p").replies("v1").with(FRESH);
    b.get("/p").await.is("v1");
    b.refuse();
    a.origin("/p").replies("v2").with(FRESH);
    a.purge_url("/p").await;
    a.get("/p").await.is("v2");
    // Within Δ it cannot know.
    b.get("/p").await.is("v1");
    b.advance(secs(2)).await;
    b.get("/p").await.is("v2");
    // What it was told then may be older than the purge, as far as numbers tell. What the other one has is not.
    b.heal();
    b.beat().await;
    b.get("/p").await.is("v2").cache_has("detail=shared");
    b.get("/p").await.is("v2").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_never_heard_from_its_fleet_confirms_what_it_fetched_once_in_delta() {
    let [a] = Talk::fleet("").await;
    let b = a.joining("");
    a.origin("/p").replies("v1").with(FRESH).with(ETAG);
    b.get("/p").await.is("v1").cache("fwd=uri-miss; fwd-status=200; stored");
    b.get("/p").await.is("v1").cache_has("detail=memory");
    b.advance(secs(2)).await;
    b.get("/p").await.is("v1").cache_has("detail=blind");
    a.origin("/p").was_asked(2);
    // Heard from at last: what was fetched before is confirmed once more, for numbers begin to count now.
    b.beat().await;
    b.get("/p").await.is("v1").cache_has("fwd=stale; fwd-status=304; stored; detail=check");
    b.get("/p").await.is("v1").cache_has("detail=memory");
}

#[tokio::test(start_paused = true)]
async fn p_09_a_purge_without_the_log_holds_here_at_once_and_everywhere_when_it_is_back() {
    let [a, b] = Talk::fleet("").await;
    a.origin("/p").replies("v1").with(FRESH).with("cache-tag: p");
    a.get("/p").await.is("v1");
    b.get("/p").await.is("v1");
    a.refuse();
    a.origin("/p").replies("v2").with(FRESH).with("cache-tag: p");
    let published = a.publish(Selector::Tag(String::from("p")), Purge::Hard).await;
    assert!(matches!(published, Published::Queued(_)), "{published:?}");
    a.get("/p").await.is("v2");
    b.get("/p").await.is("v1").cache_has("hit");
    a.heal();
    a.beat().await;
    b.beat().await;
    a.get("/p").await.is("v2");
    b.get("/p").await.is("v2");
    assert_eq!(a.gateway.bus().queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn p_05_a_joining_node_is_bound_by_purges_from_its_first_heartbeat_on() {
    let [a] = Talk::fleet("").await;
    let b = a.joining("");
    a.origin("/p").replies("v1").with(FRESH);
    b.get("/p").await.is("v1");
    a.origin("/p").replies("v2").with(FRESH);
    a.purge_url("/p").await;
    b.get("/p").await.is("v1").cache_has("hit");
    b.beat().await;
    b.get("/p").await.is("v2");
    a.origin("/p").replies("v3").with(FRESH);
    a.purge_url("/p").await;
    b.beat().await;
    b.get("/p").await.is("v3");
}

#[tokio::test(start_paused = true)]
async fn r_05_a_log_that_comes_back_empty_costs_one_confirmation_of_what_is_used() {
    let [a, b] = Talk::fleet("").await;
    a.origin("/p").replies("v1").with(FRESH).with(ETAG);
    a.get("/p").await.is("v1");
    b.get("/p").await.is("v1");
    a.network().restart_empty();
    for (node, detail) in [(&a, "detail=check"), (&b, "detail=shared")] {
        node.beat().await;
        node.get("/p").await.is("v1").cache_has(detail);
        node.get("/p").await.is("v1").cache_has("detail=memory");
    }
    a.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn r_07_a_failover_that_lost_a_purge_does_not_undo_it_on_any_node() {
    let [a, b] = Talk::fleet("").await;
    a.origin("/p").replies("v1").with(FRESH).with(ETAG);
    a.get("/p").await.is("v1");
    b.get("/p").await.is("v1");
    a.origin("/p").replies("v2").with(FRESH).with("etag: \"2\"");
    a.purge_url("/p").await;
    a.network().fail_over(1);
    // The number of the lost purge is given to another change.
    a.beat().await;
    b.beat().await;
    a.get("/p").await.is("v2");
    b.get("/p").await.is("v2");
}

#[tokio::test(start_paused = true)]
async fn a_soft_purge_reaches_the_other_nodes() {
    let [a, b] = Talk::fleet("").await;
    a.origin("/p").replies("v1").with(FRESH);
    b.get("/p").await.is("v1");
    a.origin("/p").replies("v2").with(FRESH);
    a.purge(Selector::Url { host: None, path_and_query: String::from("/p") }, Purge::Soft).await;
    b.beat().await;
    b.get("/p").await.is("v1").cache_has("detail=soft-purged");
    b.settle().await;
    b.get("/p").await.is("v2").cache_has("hit");
}
