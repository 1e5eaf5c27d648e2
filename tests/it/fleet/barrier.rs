//! Forebay-Barrier: a client reads what it has written, on whichever node it asks.

use crate::talk::{Talk, secs};

const FRESH: &str = "cache-control: max-age=600";

/// `/p` is in memory on both nodes; then it is written to through the first one. The answer's Forebay-Seq.
async fn written([a, b]: &[Talk; 2]) -> String {
    a.origin("/p").replies("v1").with(FRESH);
    a.get("/p").await.is("v1");
    b.get("/p").await.is("v1");
    a.origin("/p").replies("v2").with(FRESH);
    a.ask("PUT", "/p").body("v2").await.code(200).text("forebay-seq")
}

#[tokio::test(start_paused = true)]
async fn who_names_a_write_reads_it_on_another_node() {
    let nodes = Talk::fleet("").await;
    let seq = written(&nodes).await;
    let [_, b] = &nodes;
    b.get("/p").await.is("v1").cache_has("hit");
    b.get("/p").with(&format!("forebay-barrier: {seq}")).await.is("v2");
    b.get("/p").with(&format!("forebay-barrier: {seq}")).await.is("v2").cache_has("hit");
    b.get("/p").await.is("v2").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn a_barrier_reaches_neither_the_backend_nor_the_key() {
    let nodes = Talk::fleet("[[route]]\nkey = { headers = [\"forebay-barrier\"] }\n").await;
    let seq = written(&nodes).await;
    let [a, b] = &nodes;
    b.get("/p").with(&format!("forebay-barrier: {seq}")).await.is("v2");
    assert_eq!(a.origin("/p").asked_last().text("forebay-barrier"), "");
    b.get("/p").await.is("v2").cache_has("hit");
    b.ask("POST", "/q").with(&format!("forebay-barrier: {seq}")).await;
    assert_eq!(a.origin("/q").asked_last().text("forebay-barrier"), "");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_barrier_or_lies_beyond_the_log_is_ignored() {
    let nodes = Talk::fleet("").await;
    let seq = written(&nodes).await;
    let [_, b] = &nodes;
    let (epoch, number) = seq.split_once('-').unwrap();
    let beyond = format!("{epoch}-{}", number.parse::<u64>().unwrap() + 1);
    b.get("/p").with(&format!("forebay-barrier: {beyond}")).await.is("v2");
    b.get("/p").with(&format!("forebay-barrier: {beyond}")).await.is("v2").cache_has("hit");
    b.get("/p").with("forebay-barrier: nonsense").await.is("v2").cache_has("hit");
    assert_eq!(b.gateway.metrics().totals().reasons(forebay::rfc::Reason::BadBarrier), 1);
}

#[tokio::test(start_paused = true)]
async fn where_it_cannot_be_shown_the_backend_is_asked_each_time() {
    let nodes = Talk::fleet("").await;
    let seq = written(&nodes).await;
    let [a, b] = &nodes;
    b.refuse();
    let barrier = format!("forebay-barrier: {seq}");
    let asked = a.origin("/p").asked().len();
    b.get("/p").with(&barrier).await.is("v2").cache("fwd=stale; fwd-status=200; stored; detail=barrier");
    b.get("/p").with(&barrier).await.is("v2").cache_has("detail=barrier");
    b.get("/p").await.is("v2").cache_has("hit");
    a.origin("/p").was_asked(asked + 2);
    // Old news would not be what the client asked for, so an error is the better answer.
    a.origin("/p").refuses();
    b.get("/p").with(&barrier).await.code(502);
    // The same for a life of the log that is not this one.
    b.heal();
    b.beat().await;
    b.get("/p").with("forebay-barrier: 0000000000000001-1").await.code(502);
    a.origin("/p").replies("v2").with(FRESH);
    b.get("/p").with(&barrier).await.is("v2").cache_has("fwd=uri-miss");
    b.get("/p").with(&barrier).await.is("v2").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn askers_with_the_same_barrier_share_a_fetch_that_was_sent_after_they_came() {
    let nodes = Talk::fleet("").await;
    let seq = written(&nodes).await;
    let [a, b] = &nodes;
    b.refuse();
    b.advance(secs(1)).await;
    let barrier = format!("forebay-barrier: {seq}");
    let asked = a.origin("/p").asked().len();
    let held = a.origin("/p").holds();
    let askers: Vec<_> = (0..5).map(|_| b.get("/p").with(&barrier).start()).collect();
    b.settle().await;
    a.origin("/p").was_asked(asked + 1);
    held.released();
    for asker in askers {
        asker.await.unwrap().is("v2");
    }
    a.origin("/p").was_asked(asked + 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_on_its_own_has_applied_its_own_writes() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with(FRESH);
    t.get("/p").await.is("v1");
    let seq = t.ask("PUT", "/p").await.text("forebay-seq");
    t.origin("/p").replies("v2").with(FRESH);
    t.get("/p").with(&format!("forebay-barrier: {seq}")).await.is("v2");
    t.get("/p").with(&format!("forebay-barrier: {seq}")).await.is("v2").cache_has("hit");
}
