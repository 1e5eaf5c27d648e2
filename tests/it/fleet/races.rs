//! Purges and writes on one node, fetches on another: who asks after the acknowledgement has been applied sees the new.

use forebay::changes::{Purge, Selector};

use crate::flights::{all, crowd};
use crate::talk::{Talk, millis, secs};

const FRESH: &str = "cache-control: max-age=600";
const TAG: &str = "cache-tag: t";

fn selectors() -> [Selector; 4] {
    [
        Selector::Url { host: None, path_and_query: String::from("/p") },
        Selector::Prefix { host: Some(String::from("example.com")), prefix: String::from("/") },
        Selector::Tag(String::from("t")),
        Selector::All,
    ]
}

/// Nothing of `old` is left anywhere: a node without memory does not find it either.
async fn is_gone(nodes: [&Talk; 2], old: &str) {
    for node in nodes {
        node.get("/p").await.is("v2");
    }
    let joining = nodes[0].joining("");
    joining.beat().await;
    let said = joining.get("/p").await;
    assert_ne!(String::from_utf8_lossy(&said.body), old, "{}", joining.transcript.text());
}

#[tokio::test(start_paused = true)]
async fn f_01_f_04_a_purge_on_one_node_during_a_fetch_on_the_other() {
    for selector in selectors() {
        for purge in [Purge::Hard, Purge::Soft] {
            let [a, b] = Talk::fleet("").await;
            let (first, second) = (a.origin("/p").holds(), a.origin("/p").holds());
            let before = crowd(&a, 5, "/p").await;
            b.purge(selector.clone(), purge).await;
            a.beat().await;
            let after = crowd(&a, 5, "/p").await;
            first.replies("v1", &[FRESH, TAG]);
            for said in all(before).await {
                said.is("v1");
            }
            a.settle().await;
            a.origin("/p").was_asked(2);
            second.replies("v2", &[FRESH, TAG]);
            for said in all(after).await {
                said.is("v2");
            }
            a.settle().await;
            is_gone([&a, &b], "v1").await;
            a.origin("/p").was_asked(2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f_03_a_refresh_that_ends_after_another_nodes_purge_brings_nothing_back() {
    for etag in ["etag: \"1\"", "x-no: validator"] {
        let [a, b] = Talk::fleet("").await;
        let briefly = "cache-control: max-age=1, stale-while-revalidate=60";
        a.origin("/p").replies("v1").with(briefly).with(etag);
        a.get("/p").await.is("v1");
        a.advance(millis(1500)).await;
        let held = a.origin("/p").holds();
        a.get("/p").await.is("v1").cache_has("detail=swr");
        a.settle().await;
        b.purge_url("/p").await;
        a.beat().await;
        held.released();
        a.settle().await;
        a.origin("/p").replies("v2").with(FRESH);
        is_gone([&a, &b], "v1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn f_06_a_purge_on_another_node_during_a_body_leaves_its_readers_alone() {
    let [a, b] = Talk::fleet("").await;
    let held = a.origin("/p").holds();
    let readers = crowd(&a, 100, "/p").await;
    let body = held.streams(&[FRESH, "content-length: 2"]);
    body.send(Ok("v".into())).unwrap();
    a.settle().await;
    b.purge_url("/p").await;
    a.beat().await;
    body.send(Ok("1".into())).unwrap();
    drop(body);
    for said in all(readers).await {
        said.is("v1");
    }
    a.settle().await;
    a.origin("/p").replies("v2").with(FRESH);
    is_gone([&a, &b], "v1").await;
    a.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn f_07_a_write_through_one_node_during_a_fetch_through_the_other() {
    let [a, b] = Talk::fleet("").await;
    let held = a.origin("/p").holds();
    let slow = a.get("/p").start();
    a.settle().await;
    a.origin("/p").replies("v2").with(FRESH);
    b.ask("PUT", "/p").body("v2").await;
    a.beat().await;
    held.replies("v1", &[FRESH]);
    slow.await.unwrap().is("v1");
    a.settle().await;
    a.origin("/p").replies("v2").with(FRESH);
    is_gone([&a, &b], "v1").await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_nodes_answer_is_told_by_when_it_asked() {
    let [a, b] = Talk::fleet("").await;
    let held = a.origin("/p").holds();
    let first = a.get("/p").start();
    a.settle().await;
    let before = b.get("/p").start();
    b.settle().await;
    // The other node has not heard of it, and shares what it has fetched: nobody takes it.
    b.purge_url("/p").await;
    let after = b.get("/p").start();
    b.settle().await;
    held.replies("v1", &[FRESH]);
    a.origin("/p").replies("v2").with(FRESH);
    first.await.unwrap();
    b.advance(secs(1)).await;
    before.await.unwrap().is("v2");
    after.await.unwrap().is("v2");
    b.get("/p").await.is("v2").cache_has("detail=memory");
}

#[tokio::test(start_paused = true)]
async fn l2_10_a_write_to_a_signed_url_leaves_its_secret_out_of_the_log_and_drops_what_is_kept_all_the_same() {
    let [a, b] = Talk::fleet("[[route]]\npath = \"/tidy\"\nkey = { ignore_query = [\"token\"] }\n").await;
    let newest = || a.gateway.bus().audit(1).into_iter().flat_map(|line| line.tags).collect::<Vec<_>>();
    for (path, changed) in [("/tidy", vec![String::from("url://example.com/tidy")]), ("/plain", Vec::new())] {
        a.origin(path).replies("v1").with(FRESH);
        a.get(path).await.is("v1");
        let before = newest();
        let signed = format!("{path}?token=s3cret");
        a.origin(&signed).replies("v2");
        let said = b.ask("PUT", &signed).body("v2").await;
        assert_eq!(said.text("forebay-seq").is_empty(), changed.is_empty(), "{path}");
        a.beat().await;
        if changed.is_empty() {
            assert_eq!(newest(), before, "nothing is kept under it, and /plain is another resource");
        } else {
            assert_eq!(newest(), changed);
            a.origin(path).replies("v2").with(FRESH);
            a.get(path).await.is("v2");
        }
    }
}
