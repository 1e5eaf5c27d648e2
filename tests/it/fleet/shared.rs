//! What one node has fetched, on the others: found, judged, and refused.

use forebay::changes::{Published, Purge, Selector};
use forebay::serve::FleetSettings;
use forebay::store::SharedSettings;
use forebay::telemetry::Outcome;

use crate::flights::{all, crowd};
use crate::talk::{Talk, millis, secs};

const FRESH: &str = "cache-control: max-age=600";

fn url(path: &str) -> Selector {
    Selector::Url { host: None, path_and_query: path.to_owned() }
}

/// What the other nodes were told about their writes: kept, outranked, void, expired.
fn writes(t: &Talk) -> Vec<u64> {
    t.gateway.shared().unwrap().stats().writes().map(|(_, count)| count).collect()
}

#[tokio::test(start_paused = true)]
async fn what_one_node_has_fetched_is_a_hit_on_the_others() {
    let [a, b] = Talk::fleet("").await;
    a.origin("/p").replies("v1").with(FRESH).with("content-type: text/plain");
    a.get("/p").await.is("v1").cache("fwd=uri-miss; fwd-status=200; stored");
    a.advance(secs(1)).await;
    for said in all(crowd(&b, 3, "/p").await).await {
        said.code(200)
            .is("v1")
            .cache("hit; ttl=599; detail=shared")
            .header("age", "1")
            .header("content-type", "text/plain");
    }
    b.get("/p").await.is("v1").cache("hit; ttl=599; detail=memory");
    let c = a.joining("");
    c.beat().await;
    c.get("/p").with("range: bytes=1-").await.code(206).is("1").cache_has("detail=shared");
    a.origin("/p").was_asked(1);
    let totals = b.gateway.metrics().totals();
    assert_eq!(totals.requests(0, Outcome::SharedHit), 3);
    assert!(Outcome::SharedHit.is_hit());
    assert_eq!(b.gateway.shared().unwrap().stats().look_ups(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_varies_is_found_by_what_selects_it() {
    let [a, b] = Talk::fleet("").await;
    a.origin("/p").replies("hallo").with(FRESH).with("vary: accept-language");
    a.get("/p").with("accept-language: de").await.is("hallo");
    a.settle().await;
    b.get("/p").with("accept-language: de").await.is("hallo").cache_has("detail=shared");
    a.origin("/p").replies("bonjour").with(FRESH).with("vary: accept-language");
    b.get("/p").with("accept-language: fr").await.is("bonjour").cache_has("fwd=vary-miss");
    b.settle().await;
    // What selects is known by now.
    a.get("/p").with("accept-language: fr").await.is("bonjour").cache_has("detail=shared");
    b.get("/p").with("accept-language: de").await.is("hallo").cache_has("detail=memory");
    a.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn what_a_change_has_named_is_not_found() {
    for purge in [Purge::Hard, Purge::Soft] {
        let [a, b] = Talk::fleet("").await;
        a.origin("/p").replies("v1").with(FRESH).with("etag: \"1\"");
        a.origin("/q").replies("q").with(FRESH);
        a.get("/p").await.is("v1");
        a.get("/q").await.is("q");
        a.settle().await;
        a.purge(url("/p"), purge).await;
        a.origin("/p").replies("v2").with(FRESH);
        b.beat().await;
        b.get("/p").await.is("v2");
        b.get("/q").await.is("q").cache_has("detail=shared");
        // A body that is only soft is worth a question.
        let condition = if purge == Purge::Soft { "\"1\"" } else { "" };
        assert_eq!(a.origin("/p").asked_last().text("if-none-match"), condition, "{purge:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn p_05_a_joining_node_asks_the_log_about_what_is_older_than_its_own_view() {
    for (selector, purge, asked) in [
        (url("/other"), Purge::Hard, 1),
        (url("/p"), Purge::Hard, 2),
        (url("/p"), Purge::Soft, 2),
        (Selector::All, Purge::Soft, 2),
    ] {
        let [a] = Talk::fleet("").await;
        a.origin("/p").replies("v1").with(FRESH);
        a.get("/p").await.is("v1");
        a.settle().await;
        a.purge(selector.clone(), purge).await;
        a.origin("/p").replies("v2").with(FRESH);
        let c = a.joining("");
        c.beat().await;
        let expected = if asked == 1 { "v1" } else { "v2" };
        c.get("/p").await.is(expected);
        c.get("/p").await.is(expected).cache_has("detail=memory");
        a.origin("/p").was_asked(asked);
        // From here on its own ledger can tell.
        c.purge_url("/p").await;
        c.get("/p").await.is("v2");
        a.origin("/p").was_asked(asked + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn f_02_an_answer_that_another_node_purged_meanwhile_is_not_shared() {
    let [a, b] = Talk::fleet("").await;
    let held = a.origin("/p").holds();
    let slow = a.get("/p").start();
    a.settle().await;
    b.purge_url("/p").await;
    held.replies("v1", &[FRESH]);
    slow.await.unwrap().is("v1");
    a.settle().await;
    assert_eq!(writes(&a), [0, 0, 1, 0, 0]);
    a.origin("/p").replies("v2").with(FRESH);
    b.get("/p").await.is("v2");
    a.beat().await;
    a.get("/p").await.is("v2").cache_has("detail=shared");
    a.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn what_came_later_is_not_replaced_by_what_arrives_late() {
    let [a, b] = Talk::fleet("").await;
    // The first one's answer waits while its link is cut.
    let held = a.origin("/p").holds();
    let slow = a.get("/p").start();
    a.settle().await;
    b.purge_url("/q").await;
    a.origin("/p").replies("v2").with(FRESH);
    b.advance(secs(2)).await;
    b.beat().await;
    b.get("/p").await.is("v2");
    b.settle().await;
    a.beat().await;
    held.replies("v1", &[FRESH]);
    slow.await.unwrap().is("v1");
    a.settle().await;
    assert_eq!(writes(&a), [0, 1, 0, 0, 0], "it was born before the other one");
    let c = a.joining("");
    c.beat().await;
    c.get("/p").await.is("v2").cache_has("detail=shared");
}

#[tokio::test(start_paused = true)]
async fn some_answers_are_never_shared() {
    let small = SharedSettings { max_object: 8, ..SharedSettings::default() };
    let settings = FleetSettings { shared: small, ..FleetSettings::default() };
    let config = "[[route]]\nstore_set_cookie = true\n";
    for (body, field, shared) in [
        ("small", "x-nothing: special", true),
        ("too large for all", "x-nothing: special", false),
        ("small", "set-cookie: a=b", false),
        ("small", "cache-control: private", false),
        ("small", "cache-control: no-store", false),
    ] {
        let [a, b] = Talk::fleet_on(config, settings.clone()).await;
        a.origin("/p").replies(body).with(field).with(FRESH);
        a.get("/p").await.is(body);
        a.settle().await;
        let said = b.get("/p").await;
        said.is(body).cache_has(if shared { "detail=shared" } else { "fwd=uri-miss" });
        a.origin("/p").was_asked(if shared { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_shared_for_longer_than_the_operator_permits() {
    let short = SharedSettings { max_ttl: secs(10), ..SharedSettings::default() };
    let settings = FleetSettings { shared: short, ..FleetSettings::default() };
    let [a, b] = Talk::fleet_on("", settings).await;
    for path in ["/p", "/q"] {
        a.origin(path).replies("v1").with(FRESH);
        a.get(path).await.is("v1");
    }
    a.advance(millis(9_500)).await;
    b.beat().await;
    b.get("/p").await.is("v1").cache("hit; ttl=0; detail=shared");
    a.advance(millis(500)).await;
    b.get("/q").await.is("v1").cache_has("fwd=uri-miss");
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_spares_the_backend_a_body_or_stands_in_for_it() {
    let [a, b, c] = Talk::fleet("").await;
    let (briefly, tag) = ("cache-control: max-age=10, stale-if-error=600", "etag: \"1\"");
    a.origin("/p").replies("v1").with(briefly).with(tag);
    a.get("/p").await.is("v1");
    a.advance(secs(20)).await;
    b.beat().await;
    c.beat().await;
    a.origin("/p").refuses();
    c.get("/p").await.code(200).is("v1").cache("hit; ttl=-10; detail=sie");
    // Nor is a backend waited for that takes its time.
    let d = a.joining("");
    d.beat().await;
    a.origin("/p").hangs();
    let before = d.clock.now();
    d.get("/p").await.code(200).is("v1").cache_has("detail=sie");
    assert_eq!(d.clock.now().since(before), millis(900));
    a.origin("/p").replies("busy").code(503);
    b.get("/p").await.code(200).is("v1").cache("hit; ttl=-11; detail=sie");
    a.origin("/p").replies("v1").with(briefly).with(tag);
    b.get("/p").await.is("v1").cache_has("fwd-status=304");
    b.settle().await;
    c.get("/p").await.is("v1").cache_has("detail=shared");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_not_in_the_log_yet_holds_for_what_others_have_shared() {
    let [a, b] = Talk::fleet("").await;
    a.origin("/p").replies("v1").with(FRESH).with("cache-tag: p");
    b.get("/p").await.is("v1");
    b.settle().await;
    a.refuse();
    let published = a.publish(Selector::Tag(String::from("p")), Purge::Hard).await;
    assert!(matches!(published, Published::Queued(_)), "{published:?}");
    a.heal();
    a.origin("/p").replies("v2").with(FRESH).with("cache-tag: p");
    a.get("/p").await.is("v2").cache_has("fwd=uri-miss");
    a.beat().await;
    b.beat().await;
    b.get("/p").await.is("v2");
}

#[tokio::test(start_paused = true)]
async fn p_11_nodes_whose_clocks_differ_agree_on_an_answers_age() {
    let [a] = Talk::fleet("").await;
    a.origin("/p").replies("v1").with("cache-control: max-age=60");
    a.get("/p").await.is("v1");
    a.advance(secs(10)).await;
    // This one's clocks begin now: minutes apart on the wall, and ten seconds behind on the other.
    let b = a.joining_at("", secs(300));
    b.beat().await;
    b.get("/p").await.is("v1").cache("hit; ttl=50; detail=shared").header("age", "10");
    b.advance(secs(50)).await;
    b.beat().await;
    b.get("/p").await.cache_has("fwd=stale");
}

#[tokio::test(start_paused = true)]
async fn without_the_fleet_a_miss_is_a_miss() {
    let [a, b] = Talk::fleet("").await;
    a.origin("/p").replies("v1").with(FRESH);
    a.get("/p").await.is("v1");
    a.settle().await;
    b.refuse();
    b.get("/p").await.is("v1").cache("fwd=uri-miss; fwd-status=200; stored");
    let stats = b.gateway.shared().unwrap().stats();
    assert_eq!(stats.errors().filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [("away", 2)], "a look-up, a write");
    // Paused, not dead: it costs what is waited for at the most.
    let [_, c] = [b, a];
    c.cut();
    let before = c.clock.now();
    c.origin("/q").replies("q").with(FRESH);
    c.get("/q").await.is("q").cache_has("fwd=uri-miss");
    assert!(c.clock.now().since(before) <= millis(50), "{:?}", c.clock.now().since(before));
}

#[tokio::test(start_paused = true)]
async fn explain_says_what_another_node_has_and_whether_the_log_is_in_sight() {
    let [a, b] = Talk::fleet("").await;
    a.origin("/p").replies("v1").with("cache-control: max-age=60");
    a.get("/p").await.is("v1");
    a.advance(millis(500)).await;
    let said = b.explain("/p").await;
    assert_eq!((said.verdict, said.shared.map(|shared| shared.lifetime)), ("serve", Some(60)));
    assert!(said.stored.is_none() && said.blind_for.is_none());
    b.refuse();
    b.advance(secs(5)).await;
    let said = b.explain("/p").await;
    assert_eq!((said.verdict, said.blind_for), ("fetch", Some(3)));
    assert!(said.text().contains("log        out of sight for 3 s"), "{}", said.text());
    a.origin("/p").was_asked(1);
}
