//! RFC 9110 §14: parts of a stored whole; RG-01 to RG-06 of the catalogue of attacks.

use crate::talk::{Held, Said, Talk};

const TEN: &str = "0123456789";
const FIELDS: [&str; 3] = ["cache-control: max-age=60", "etag: \"1\"", "content-type: text/plain"];

/// A gateway that holds ten bytes under `/p`.
async fn holding_ten() -> Talk {
    let t = Talk::new();
    FIELDS.iter().fold(t.origin("/p").replies(TEN), |path, field| path.with(field));
    t.get("/p").await.is(TEN);
    t
}

async fn asked(range: &str) -> Said {
    let t = holding_ten().await;
    let said = t.get("/p").with(&format!("range: {range}")).await;
    t.origin("/p").was_asked(1);
    said.transcript.note(range);
    said
}

#[tokio::test(start_paused = true)]
async fn one_part_of_a_stored_whole_is_given_as_it_is() {
    for (range, body, described) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-100", TEN, "bytes 0-9/10"),
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=9-9", "9", "bytes 9-9/10"),
        ("bytes=5-100", "56789", "bytes 5-9/10"),
        ("bytes=0-18446744073709551615", TEN, "bytes 0-9/10"),
        ("bytes=-9223372036854775807", TEN, "bytes 0-9/10"),
        ("bytes=-99999999999999999999999999", TEN, "bytes 0-9/10"),
        ("Bytes=0-1", "01", "bytes 0-1/10"),
        ("bytes=2-3, 50-60", "23", "bytes 2-3/10"),
    ] {
        let said = asked(range).await;
        said.code(206).is(body).header("content-range", described).header("content-type", "text/plain");
        said.header("etag", "\"1\"").cache("hit; ttl=60; detail=memory");
    }
}

#[tokio::test(start_paused = true)]
async fn several_parts_are_given_as_a_multipart() {
    let said = asked("bytes=0-1, 4-5,-2").await;
    said.code(206).lacks("content-range");
    let kind = said.text("content-type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("a multipart");
    let part = |described: &str, bytes: &str| {
        format!("--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {described}/10\r\n\r\n{bytes}\r\n")
    };
    said.is(&[part("0-1", "01"), part("4-5", "45"), part("8-9", "89"), format!("--{boundary}--\r\n")].concat());
}

/// RG-02, and whatever else is no range: the whole is never wrong.
#[tokio::test(start_paused = true)]
async fn what_is_no_range_is_answered_with_the_whole() {
    for range in [
        "bytes=",
        "bytes=cow",
        "bytes=3-2",
        "bytes=-",
        "bytes",
        "",
        "cows=0-3",
        "bytes=0-3-4",
        "bytes=+1-2",
        "bytes=1-2;x",
    ] {
        asked(range).await.code(200).is(TEN).lacks("content-range");
    }
}

/// RG-06.
#[tokio::test(start_paused = true)]
async fn a_range_beyond_the_end_is_refused_with_416_that_nobody_keeps() {
    for range in ["bytes=10-", "bytes=10-20", "bytes=100-200, 300-", "bytes=-0"] {
        let said = asked(range).await;
        said.code(416).is("").header("content-range", "bytes */10").header("cache-control", "no-store");
        said.lacks("content-type").lacks("content-encoding").lacks("etag").lacks("expires");
    }
}

/// A cache in front must not be told to keep the 416 in place of the answer.
#[tokio::test(start_paused = true)]
async fn nor_is_the_cdn_told_to_keep_it() {
    let t = Talk::with("[defaults]\nttl = { cdn = \"30s\" }\n");
    t.origin("/p").replies(TEN).with("cache-control: max-age=60").with("cdn-cache-control: max-age=60");
    t.get("/p").await.header("cache-control", "max-age=60, s-maxage=30");
    let said = t.get("/p").with("range: bytes=10-").await;
    said.code(416).header("cache-control", "no-store").lacks("cdn-cache-control");
}

/// RG-01.
#[tokio::test(start_paused = true)]
async fn too_many_or_overlapping_parts_are_answered_with_the_whole() {
    let many = |count: usize| (0..count).map(|_| "0-0").collect::<Vec<_>>().join(",");
    for range in ["bytes=0-,0-", "bytes=0-5,5-9", "bytes=0-,-1"] {
        asked(range).await.code(200).is(TEN);
    }
    asked(&format!("bytes={}", many(1000))).await.code(200).is(TEN);

    // Sixteen that do not overlap are fine, and add up to no more than the body.
    let t = Talk::new();
    t.origin("/p").replies("x".repeat(100)).with("cache-control: max-age=60");
    t.get("/p").await;
    let parts = |count: usize| (0..count).map(|part| format!("{0}-{0}", part * 2)).collect::<Vec<_>>().join(",");
    t.get("/p").with(&format!("range: bytes={}", parts(16))).await.code(206);
    t.get("/p").with(&format!("range: bytes={}", parts(17))).await.code(200);
}

/// RG-04.
#[tokio::test(start_paused = true)]
async fn if_range_gives_the_part_only_of_what_the_client_has() {
    let modified = "last-modified: Sun, 17 Mar 2030 17:00:00 GMT";
    let weak = "last-modified: Sun, 17 Mar 2030 17:46:40 GMT";
    for (stored, condition, status) in [
        ("etag: \"1\"", "\"1\"", 206),
        ("etag: \"1\"", "\"2\"", 200),
        ("etag: \"1\"", "W/\"1\"", 200),
        ("etag: W/\"1\"", "W/\"1\"", 200),
        (modified, "Sun, 17 Mar 2030 17:00:00 GMT", 206),
        (modified, "Sun, 17 Mar 2030 17:00:01 GMT", 200),
        (modified, "Sun, 17 Mar 2030 16:00:00 GMT", 200),
        // Changed within the second it was sent in: the date is no strong validator.
        (weak, "Sun, 17 Mar 2030 17:46:40 GMT", 200),
        ("x-none: 1", "\"1\"", 200),
        ("x-none: 1", "nonsense", 200),
    ] {
        let t = Talk::new();
        t.transcript.note(format!("{stored} {condition}"));
        t.origin("/p").replies(TEN).with("cache-control: max-age=60").with(stored);
        t.get("/p").await;
        let said = t.get("/p").with("range: bytes=0-3").with(&format!("if-range: {condition}")).await;
        said.code(status).is(if status == 206 { "0123" } else { TEN });
        t.origin("/p").was_asked(1);
    }
}

#[tokio::test(start_paused = true)]
async fn conditions_are_evaluated_before_ranges() {
    let t = holding_ten().await;
    t.get("/p").with("range: bytes=0-3").with("if-none-match: \"1\"").await.code(304).is("");
    t.get("/p").with("range: bytes=0-3").with("if-none-match: \"2\"").await.code(206).is("0123");
}

#[tokio::test(start_paused = true)]
async fn a_range_means_nothing_to_a_head_or_an_answer_that_is_not_200() {
    let t = holding_ten().await;
    t.head("/p").with("range: bytes=0-3").await.code(200).header("content-length", "10").lacks("content-range");
    t.origin("/q").replies(TEN).code(404).with("cache-control: max-age=60");
    t.get("/q").await;
    t.get("/q").with("range: bytes=0-3").await.code(404).is(TEN).cache("hit; ttl=60; detail=memory");
}

/// RG-03, RG-05: what a client wants a part of is fetched whole, once, and kept as a whole.
#[tokio::test(start_paused = true)]
async fn a_range_on_a_miss_fetches_the_whole_once_for_everybody() {
    let t = Talk::new();
    FIELDS.iter().fold(t.origin("/p").replies(TEN), |path, field| path.with(field));
    let held = t.origin("/p").holds();
    let askers: Vec<_> = (0..100).map(|_| t.get("/p").with("range: bytes=2-4").start()).collect();
    let whole = t.get("/p").start();
    t.settle().await;
    held.released();
    for asker in askers {
        asker.await.unwrap().code(206).is("234").header("content-range", "bytes 2-4/10");
    }
    whole.await.unwrap().code(200).is(TEN);
    assert!(!t.origin("/p").asked_last().headers.contains_key("range"));
    t.origin("/p").was_asked(1);
    t.get("/p").await.code(200).is(TEN).cache("hit; ttl=60; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn a_part_of_something_too_large_to_keep_comes_from_the_backend_as_that_part() {
    for chunked in [false, true] {
        let t = Talk::with("[memory]\nmax_object = \"1KiB\"\n");
        let whole = t.origin("/p").replies("x".repeat(5000)).with("cache-control: max-age=60");
        if chunked {
            whole.chunked();
        }
        let first = t.origin("/p").holds();
        let second = t.origin("/p").holds();
        let asking = t.get("/p").with("range: bytes=0-3").start();
        t.settle().await;
        first.released();
        t.settle().await;
        let asked = t.origin("/p").asked_last();
        assert_eq!(asked.headers["range"], "bytes=0-3", "{}", t.transcript.text());
        t.origin("/p").replies("xxxx").code(206).with("content-range: bytes 0-3/5000");
        second.released();
        let said = asking.await.unwrap();
        said.code(206).is("xxxx").header("content-range", "bytes 0-3/5000").cache_has("detail=too-large");
        t.origin("/p").was_asked(2);

        // For a while that is remembered, and a part costs one request.
        t.get("/p").with("range: bytes=0-3").await.code(206).is("xxxx").cache_has("detail=too-large");
        t.origin("/p").was_asked(3);
    }
}

/// RG-03: egress of the backend for a hundred clients that want a part of something huge.
#[tokio::test(start_paused = true)]
async fn a_hundred_parts_of_something_huge_do_not_fetch_it_a_hundred_times() {
    let t = Talk::with("[memory]\nmax_object = \"1KiB\"\n");
    t.origin("/p").pieces(1000, 64 << 10).with("cache-control: max-age=60");
    let whole = t.origin("/p").holds();
    let parts: Vec<_> = (0..100).map(|_| t.origin("/p").holds()).collect();
    let askers: Vec<_> = (0..100).map(|_| t.get("/p").with("range: bytes=0-3").start()).collect();
    t.settle().await;
    t.origin("/p").was_asked(1);
    whole.released();
    t.settle().await;
    let taken = t.origin("/p").taken();
    assert!(taken <= 8, "{taken} pieces of the whole were fetched for clients that want four bytes");

    t.origin("/p").replies("xxxx").code(206).with("content-range: bytes 0-3/65536000");
    parts.into_iter().for_each(Held::released);
    for asker in askers {
        asker.await.unwrap().code(206).is("xxxx");
    }
    t.origin("/p").was_asked(101);
}

/// RG-05.
#[tokio::test(start_paused = true)]
async fn a_part_that_the_backend_sends_is_never_stored_as_the_whole() {
    let t = Talk::new();
    t.origin("/p").replies("0123").code(206).with("content-range: bytes 0-3/10").with("cache-control: max-age=60");
    t.get("/p").with("range: bytes=0-3").await.code(206).is("0123");
    t.origin("/p").replies(TEN).with("cache-control: max-age=60");
    t.get("/p").await.code(200).is(TEN).cache_has("stored");
}
