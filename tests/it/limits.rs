//! How much a client and a route may ask for, and who may ask at all.

use http_body_util::BodyExt;

use crate::talk::{Talk, millis, secs};

const ANN: [u8; 4] = [198, 51, 100, 1];
const BOB: [u8; 4] = [198, 51, 100, 2];

#[tokio::test(start_paused = true)]
async fn a_client_over_its_rate_gets_429_and_is_told_when_to_come_again() {
    let t = Talk::with("[[route]]\npath = \"/p\"\nrate_limit = { requests = 2, per = \"10s\", burst = 2 }\n");
    t.origin("/p").replies("yes").with("cache-control: max-age=600");
    t.get("/p").from(ANN).await.code(200);
    t.get("/p").from(ANN).await.code(200);
    let said = t.get("/p").from(ANN).await;
    said.code(429).header("cache-control", "no-store").cache("detail=rate-limited");
    let wait = said.text("retry-after").parse().unwrap();

    // Neither another client nor another route pays for it.
    t.get("/p").from(BOB).await.code(200);
    t.get("/other").from(ANN).await.code(404);

    t.advance(secs(wait)).await;
    t.get("/p").from(ANN).await.code(200);
    t.get("/p").from(ANN).await.code(429);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_is_not_kept_out_longer_for_trying() {
    let t = Talk::with("[[route]]\npath = \"/p\"\nrate_limit = \"1/s\"\n");
    t.origin("/p").replies("yes");
    t.get("/p").await.code(200);
    for _ in 0..50 {
        t.get("/p").await.code(429).header("retry-after", "1");
    }
    t.advance(secs(1)).await;
    t.get("/p").await.code(200);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_counted_by_the_client_behind_a_trusted_proxy() {
    let t =
        Talk::with("[gateway]\ntrusted_proxies = [\"192.0.2.0/24\"]\n[[route]]\npath = \"/p\"\nrate_limit = \"1/s\"\n");
    t.origin("/p").replies("yes");
    t.get("/p").with("x-forwarded-for: 198.51.100.1").await.code(200);
    t.get("/p").with("x-forwarded-for: 198.51.100.2, 192.0.2.9").await.code(200);
    // What stands before the nearest untrusted hop is the client's invention.
    t.get("/p").with("x-forwarded-for: 203.0.113.7, 198.51.100.1").await.code(429);
    t.get("/p").with("x-forwarded-for: ::ffff:198.51.100.2").await.code(429);
    // Others are not believed at all.
    t.get("/p").from(ANN).with("x-forwarded-for: 203.0.113.8").await.code(429);
}

#[tokio::test(start_paused = true)]
async fn a_place_on_a_route_is_free_again_when_the_body_has_ended() {
    let t = Talk::with("[[route]]\npath = \"/p\"\nmax_concurrent = 1\n");
    let held = t.origin("/p").holds();
    let first = tokio::spawn(t.get("/p").begin());
    t.settle().await;
    let pieces = held.streams(&["cache-control: no-store"]);
    let mut first = first.await.unwrap();
    let refused = t.get("/p").from(BOB).await;
    refused.code(503).header("retry-after", "1").cache("detail=too-many");

    pieces.send(Ok("all of it".into())).unwrap();
    drop(pieces);
    assert_eq!(first.body_mut().collect().await.unwrap().to_bytes(), "all of it");
    t.origin("/p").replies("next");
    t.get("/p").from(BOB).await.is("next");
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_again_when_the_client_leaves_at_any_moment() {
    let t = Talk::with("[[route]]\npath = \"/p\"\nmax_concurrent = 1\n");
    // Before the head …
    let _held = t.origin("/p").holds();
    let waiting = tokio::spawn(t.get("/p").begin());
    t.settle().await;
    t.get("/p").await.code(503);
    waiting.abort();
    t.settle().await;
    // … and in the middle of the body.
    let held = t.origin("/p").holds();
    let reading = tokio::spawn(t.ask("POST", "/p").begin());
    t.settle().await;
    let _pieces = held.streams(&[]);
    let response = reading.await.unwrap();
    assert_eq!(response.status(), 200);
    t.get("/p").await.code(503);
    drop(response);
    t.origin("/p").replies("yes");
    t.ask("POST", "/p").await.is("yes");
}

#[tokio::test(start_paused = true)]
async fn a_hit_gives_its_place_back_as_well() {
    let t = Talk::with("[[route]]\npath = \"/p\"\nmax_concurrent = 1\n");
    t.origin("/p").replies("yes").with("cache-control: max-age=60");
    for _ in 0..5 {
        t.get("/p").await.is("yes");
        t.head("/p").await.code(200);
        t.get("/p").with("range: bytes=0-0").await.code(206);
    }
}

#[tokio::test(start_paused = true)]
async fn one_client_cannot_take_all_places_of_a_route() {
    let t = Talk::with("[[route]]\npath = \"/{*p}\"\nmax_concurrent = 3\nmax_concurrent_per_client = 2\n");
    let _held = [t.origin("/1").holds(), t.origin("/2").holds(), t.origin("/3").holds()];
    let _one = tokio::spawn(t.get("/1").from(ANN).begin());
    let _two = tokio::spawn(t.get("/2").from(ANN).begin());
    t.settle().await;
    // Refused for the client's sake, so the route's place that was free stays free.
    for _ in 0..5 {
        t.get("/4").from(ANN).await.code(503).cache("detail=too-many");
    }
    t.origin("/4").replies("yes");
    t.get("/4").from(BOB).await.is("yes");
    let _three = tokio::spawn(t.get("/3").from(BOB).begin());
    t.settle().await;
    t.get("/4").from(BOB).await.code(503);
    t.origin("/4").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn lists_of_addresses_let_in_and_keep_out() {
    let t = Talk::with("[[route]]\npath = \"/p\"\nallow = [\"198.51.100.0/24\"]\ndeny = [\"198.51.100.2\"]\n");
    t.origin("/p").replies("yes").with("cache-control: max-age=60");
    t.get("/p").from(ANN).await.is("yes");
    // What is stored is no way around the list.
    for stranger in [BOB, [203, 0, 113, 1]] {
        t.get("/p").from(stranger).await.code(403).cache("detail=address");
        t.get("/p").from(stranger).with("x-forwarded-for: 198.51.100.1").await.code(403);
    }
    t.get("/p").from(ANN).await.is("yes").cache_has("hit");
    t.get("/other").from(BOB).await.code(404);
}

#[tokio::test(start_paused = true)]
async fn behind_a_trusted_proxy_the_clients_own_address_counts() {
    let t = Talk::with(
        "[gateway]\ntrusted_proxies = [\"10.0.0.0/8\"]\n[[route]]\npath = \"/p\"\nallow = [\"198.51.100.0/24\", \"10.9.0.0/16\"]\n",
    );
    t.origin("/p").replies("yes");
    for (chain, status) in [
        ("198.51.100.1", 200),
        ("203.0.113.9, 198.51.100.1, 10.0.0.2", 200),
        ("198.51.100.1, 203.0.113.9", 403),
        ("198.51.100.1, garbage", 403),
        ("10.9.1.1", 200),
        ("10.8.1.1", 403),
    ] {
        t.get("/p").from([10, 0, 0, 1]).with(&format!("x-forwarded-for: {chain}")).await.code(status);
    }
    // On a pass the chain that the proxy vouches for goes on, and so do the fields it sets.
    t.ask("POST", "/p").from([10, 0, 0, 1]).with("x-forwarded-for: 198.51.100.1").with("x-forwarded-port: 8443").await;
    let asked = t.origin("/p").asked_last();
    assert_eq!(asked.text("x-forwarded-for"), "198.51.100.1, 10.0.0.1");
    assert_eq!(asked.text("x-forwarded-port"), "8443");
}

#[tokio::test(start_paused = true)]
async fn a_backend_has_a_bounded_queue() {
    let t = Talk::with(
        "[origin]\nurl = \"http://backend.test\"\nmax_concurrent = 1\nmax_queue = 1\nqueue_timeout = \"500ms\"\n",
    );
    let held = t.origin("/1").holds();
    let _first = t.get("/1").start();
    t.settle().await;
    let second = t.get("/2").start();
    t.settle().await;
    t.get("/3").await.code(503).header("retry-after", "1").cache("detail=saturated");
    t.advance(millis(500)).await;
    second.await.unwrap().code(503).cache("detail=saturated");
    held.replies("done", &[]);
    t.settle().await;
    t.origin("/4").replies("yes");
    t.get("/4").await.is("yes");
    t.origin("/2").was_asked(0);
}
