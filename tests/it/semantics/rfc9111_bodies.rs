//! RFC 9111 §3.3 and the limits of this gateway: what is not whole, or too large, is passed on and not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt;

use super::check;
use crate::talk::{Talk, secs};

const SMALL: &str = "[memory]\nmax_object = \"1KiB\"\n";

#[tokio::test(start_paused = true)]
async fn a_part_that_nobody_asked_for_is_passed_on_and_not_stored() {
    let t = Talk::new();
    t.origin("/p").answers("206 | cache-control: max-age=60 | content-range: bytes 0-3/9 | etag: \"1\"");
    t.get("/p").await.code(206).is("body").cache("fwd=uri-miss; fwd-status=206; detail=partial");
    t.origin("/p").replies("the whole").with("cache-control: max-age=60");
    t.get("/p").await.code(200).is("the whole").cache("fwd=uri-miss; fwd-status=200; stored");
}

/// Asks for `/p`, whose body comes in these pieces under these fields and then ends, or fails. The client must notice, and
/// nothing may be stored.
async fn is_not_whole(fields: &[&str], pieces: &[&'static str], fails: bool) {
    let t = Talk::new();
    t.transcript.note(format!("{fields:?} {pieces:?} {fails}"));
    let held = t.origin("/p").holds();
    let asking = t.get("/p").start();
    t.settle().await;
    let body = held.streams(fields);
    t.settle().await;
    for piece in pieces {
        body.send(Ok(Bytes::from_static(piece.as_bytes()))).unwrap();
    }
    if fails {
        body.send(Err("reset in the middle".into())).unwrap();
    }
    drop(body);
    asking.await.unwrap().code(200).breaks_off();
    t.origin("/p").replies("whole").with("cache-control: max-age=60");
    t.get("/p").await.is("whole").cache("fwd=uri-miss; fwd-status=200; stored");
    t.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_whole_breaks_off_and_is_not_stored() {
    let fresh = "cache-control: max-age=60";
    is_not_whole(&[fresh, "content-length: 8"], &["half"], false).await;
    is_not_whole(&[fresh, "content-length: 8"], &[], false).await;
    is_not_whole(&[fresh, "content-length: 8"], &["half"], true).await;
    is_not_whole(&[fresh, "content-length: 8"], &["a whole and more"], false).await;
    is_not_whole(&[fresh, "content-length: 8"], &["a whole!", "and more"], false).await;
    is_not_whole(&[fresh], &["half"], true).await;
    is_not_whole(&[fresh], &[], true).await;
    is_not_whole(&["cache-control: no-store", "content-length: 8"], &["half"], false).await;
    is_not_whole(&["cache-control: no-store"], &["half"], true).await;
}

/// Where the failure is known before the client has its head, it gets an error instead of half a body.
#[tokio::test(start_paused = true)]
async fn a_body_that_fails_at_once_is_an_error() {
    let t = Talk::new();
    t.origin("/p").breaks_after("half").with("cache-control: max-age=60").with("content-length: 8");
    t.get("/p").await.code(502).cache("detail=truncated");
    t.origin("/p").replies("whole").with("cache-control: max-age=60");
    t.get("/p").await.is("whole").cache("fwd=uri-miss; fwd-status=200; stored");
}

#[tokio::test(start_paused = true)]
async fn a_broken_body_does_not_cost_the_stored_one() {
    let t = Talk::new();
    t.origin("/p").replies("v1").with("cache-control: max-age=10, stale-if-error=600");
    t.get("/p").await.is("v1");
    t.advance(secs(11)).await;
    t.origin("/p").breaks_after("v2").with("cache-control: max-age=10").with("content-length: 8");
    t.get("/p").await.is("v1").cache("hit; ttl=-1; detail=sie");
    t.origin("/p").refuses();
    t.get("/p").await.is("v1").cache("hit; ttl=-1; detail=sie");
}

/// RFC 9112 §8: without a length, only the end of the connection says where such a body ends.
#[tokio::test(start_paused = true)]
async fn a_body_that_ends_with_the_connection_is_passed_on_and_not_stored() {
    let t = Talk::new();
    t.origin("/p").replies("body").chunked().in_http10().with("cache-control: max-age=60");
    for _ in 0..2 {
        t.get("/p").await.is("body").cache("fwd=uri-miss; fwd-status=200; detail=close-delimited");
    }
    t.origin("/p").was_asked(2);
    // With its length it is as good as any.
    t.origin("/q").replies("body").in_http10().with("cache-control: max-age=60");
    t.get("/q").await.is("body");
    t.get("/q").await.is("body").cache("hit; ttl=60; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn a_body_framed_in_two_ways_is_passed_on_and_not_stored() {
    check("", "", "cache-control: max-age=60 | transfer-encoding: chunked", "framing").await;
}

#[tokio::test(start_paused = true)]
async fn a_chunked_body_is_stored_once_it_has_ended() {
    let t = Talk::new();
    t.origin("/p").pieces(5, 10).with("cache-control: max-age=60");
    let whole = "x".repeat(50);
    t.get("/p").await.is(&whole).cache("fwd=uri-miss; fwd-status=200; stored");
    t.settle().await;
    t.get("/p").await.is(&whole).cache("hit; ttl=60; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_is_stored_too() {
    let t = Talk::new();
    t.origin("/p").replies("").with("cache-control: max-age=60");
    t.origin("/q").pieces(0, 0).with("cache-control: max-age=60");
    for path in ["/p", "/q"] {
        t.get(path).await.is("").cache("fwd=uri-miss; fwd-status=200; stored");
        t.settle().await;
        t.get(path).await.is("").cache("hit; ttl=60; detail=memory");
    }
}

#[tokio::test(start_paused = true)]
async fn the_largest_body_that_is_kept_is_exactly_max_object() {
    for (length, expected) in [(1024, true), (1025, false)] {
        for chunked in [false, true] {
            let t = Talk::with(SMALL);
            t.transcript.note(format!("{length} bytes, chunked: {chunked}"));
            let body = "x".repeat(length);
            let path = t.origin("/p").replies(body.clone()).with("cache-control: max-age=60");
            if chunked {
                path.chunked();
            }
            t.get("/p").await.is(&body);
            t.settle().await;
            t.get("/p").await.is(&body);
            t.origin("/p").was_asked(if expected { 1 } else { 2 });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_may_keep_less_but_not_more() {
    let config = format!(
        "{SMALL}[[route]]\npath = \"/less\"\nmax_object = \"10\"\n[[route]]\npath = \"/more\"\nmax_object = \"1MiB\"\n"
    );
    let t = Talk::with(&config);
    let body = "x".repeat(1000);
    t.origin("/less").replies(body.clone()).with("cache-control: max-age=60");
    t.get("/less").await.is(&body).cache("fwd=uri-miss; fwd-status=200; detail=too-large");
    t.origin("/more").replies("x".repeat(2000)).with("cache-control: max-age=60");
    t.get("/more").await.is(&"x".repeat(2000)).cache("fwd=uri-miss; fwd-status=200; detail=too-large");
}

/// The backend gives a piece only when somebody takes it: a client that does not read must stop the transfer.
#[tokio::test(start_paused = true)]
async fn a_body_that_turns_out_too_large_waits_for_its_reader() {
    const PIECE: usize = 64 << 10;
    const COUNT: usize = 1000;
    let t = Talk::with(SMALL);
    t.origin("/p").pieces(COUNT, PIECE).with("cache-control: max-age=60");
    let (head, mut body) = t.get("/p").begin().await.into_parts();
    assert_eq!(head.status, 200);
    t.settle().await;
    let taken = t.origin("/p").taken();
    assert!(taken * PIECE <= 512 << 10, "{taken} pieces were taken for a client that reads nothing");

    let (mut received, mut ahead) = (0, 0);
    while let Some(frame) = body.frame().await {
        received += frame.expect("no failure").into_data().expect("data").len();
        ahead = ahead.max(t.origin("/p").taken() * PIECE - received);
    }
    assert_eq!(received, COUNT * PIECE);
    assert!(ahead <= 512 << 10, "{ahead} bytes lay unread");
    t.get("/p").begin().await;
    t.origin("/p").was_asked(2);
}

/// How many bytes of a transfer are alive, wherever they are.
struct Counted(Bytes, Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn memory_stays_flat_while_a_body_of_any_size_passes() {
    const PIECE: usize = 64 << 10;
    for fields in [
        &["cache-control: max-age=60"][..],
        &["cache-control: no-store"],
        &["cache-control: max-age=60", "content-length: 26214400"],
    ] {
        let t = Talk::with(SMALL);
        let alive = Arc::new(AtomicUsize::new(0));
        let held = t.origin("/p").holds();
        let (asking, test) = (t.get("/p"), &t);
        let client = tokio::spawn(asking.begin());
        test.settle().await;
        let pieces = held.streams(fields);
        let mut body = client.await.expect("an answer").into_body();
        let mut most = 0;
        for _ in 0..400 {
            alive.fetch_add(PIECE, Ordering::Relaxed);
            let piece = Counted(Bytes::from(vec![0; PIECE]), Arc::clone(&alive));
            pieces.send(Ok(Bytes::from_owner(piece))).expect("the gateway reads");
            let read = body.frame().await.expect("a frame").expect("no failure").into_data().expect("data");
            assert_eq!(read.len(), PIECE);
            drop(read);
            tokio::task::yield_now().await;
            most = most.max(alive.load(Ordering::Relaxed));
        }
        drop(pieces);
        assert!(body.frame().await.is_none());
        assert!(most <= 512 << 10, "{most} bytes were alive at once, for {fields:?}");
    }
}
