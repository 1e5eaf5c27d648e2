//! Compression: once per stored answer and coding, and never so that one representation passes for another.

use std::io::Read;

use bytes::Bytes;
use http_body_util::BodyExt;

use crate::talk::{Said, Talk, secs};

const JSON: [&str; 3] = ["content-type: application/json", "cache-control: max-age=60", "etag: \"v1\""];

/// Text that shrinks.
fn text(length: usize) -> String {
    "{\"name\": \"value\", \"number\": 12345}\n".chars().cycle().take(length).collect()
}

/// A gateway whose backend answers `/p` with `body` as JSON, and has been asked once.
async fn stored(body: &str) -> Talk {
    let t = Talk::new();
    JSON.iter().fold(t.origin("/p").replies(body.to_owned()), |path, line| path.with(line));
    t.get("/p").await.is(body);
    t
}

fn decoded(said: &Said) -> String {
    let mut plain = Vec::new();
    match said.text("content-encoding").as_str() {
        "br" => drop(brotli::BrotliDecompress(&mut &said.body[..], &mut plain)),
        "gzip" => drop(flate2::read::GzDecoder::new(&said.body[..]).read_to_end(&mut plain)),
        "zstd" => plain = zstd::decode_all(&said.body[..]).unwrap(),
        _ => plain = said.body.to_vec(),
    }
    String::from_utf8(plain).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_coding_decodes_to_the_original() {
    let body = text(4000);
    let t = stored(&body).await;
    for (accept, coding) in [
        ("br", "br"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip;q=1.0, zstd;q=0.1", "zstd"),
        ("*", "br"),
        ("br;q=0, *", "zstd"),
        ("identity", ""),
        ("deflate", ""),
        ("", ""),
    ] {
        let said = t.get("/p").with(&format!("accept-encoding: {accept}")).await;
        said.code(200).header("content-encoding", coding).cache_has("hit");
        assert_eq!(decoded(&said), body, "{accept}");
        assert!(coding.is_empty() || said.body.len() < body.len() / 4, "{accept}: {} bytes", said.body.len());
    }
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_encoded_once_and_shared_by_all() {
    let t = stored(&text(4000)).await;
    let mut bodies: Vec<Bytes> = Vec::new();
    for _ in 0..3 {
        let response = t.get("/p").with("accept-encoding: br").begin().await;
        let frame = response.into_body().frame().await.unwrap().unwrap();
        bodies.push(frame.into_data().unwrap());
    }
    assert!(bodies.iter().all(|body| body.as_ptr() == bodies[0].as_ptr()), "the same memory");
}

#[tokio::test(start_paused = true)]
async fn both_forms_say_that_they_differ_by_what_is_accepted() {
    let body = text(4000);
    let t = Talk::new();
    JSON.iter().fold(t.origin("/p").replies(body.clone()), |path, line| path.with(line)).with("vary: Origin");
    // Also the first answer.
    t.get("/p").with("accept-encoding: br").await.header("vary", "Origin, Accept-Encoding");
    t.get("/p").await.is(&body).header("vary", "Origin, Accept-Encoding").cache_has("hit");
    t.get("/p").with("accept-encoding: br").await.header("vary", "Origin, Accept-Encoding");
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn an_encoded_form_has_a_weak_tag_and_both_tags_confirm_it() {
    let t = stored(&text(4000)).await;
    t.get("/p").await.header("etag", "\"v1\"");
    t.get("/p").with("accept-encoding: br").await.header("etag", "W/\"v1\"");
    for accept in ["br", "identity"] {
        for tag in ["\"v1\"", "W/\"v1\"", "\"v0\", W/\"v1\"", "*"] {
            let asking = t.get("/p").with(&format!("accept-encoding: {accept}"));
            let said = asking.with(&format!("if-none-match: {tag}")).await;
            said.code(304).is("").header("vary", "Accept-Encoding");
        }
        t.get("/p").with(&format!("accept-encoding: {accept}")).with("if-none-match: \"v0\"").await.code(200);
    }
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn a_304_of_the_backend_with_a_vary_of_its_own_leaves_ours_in_place() {
    let body = text(4000);
    let t = stored(&body).await;
    t.advance(secs(61)).await;
    JSON.iter().fold(t.origin("/p").replies(body.clone()), |path, line| path.with(line)).with("vary: Origin");
    let said = t.get("/p").with("accept-encoding: zstd").await;
    said.cache_has("fwd-status=304").header("content-encoding", "zstd").header("vary", "Origin, Accept-Encoding");
    t.get("/p").await.header("vary", "Origin, Accept-Encoding");
    let said = t.get("/p").with("accept-encoding: gzip").await;
    assert_eq!((decoded(&said), said.text("content-encoding")), (body, "gzip".into()));
}

#[tokio::test(start_paused = true)]
async fn what_should_not_be_encoded_is_left_alone() {
    let long = text(4000);
    let cases: &[(&str, &str, &[&str])] = &[
        ("short", &long[..1023], &["content-type: application/json"]),
        ("an image", &long, &["content-type: image/png"]),
        ("no type", &long, &[]),
        ("no-transform", &long, &["content-type: text/plain", "cache-control: no-transform"]),
        ("an error", &long, &["content-type: text/plain", ":status 404"]),
    ];
    for (name, body, fields) in cases {
        let t = Talk::new();
        let mut path =
            t.origin("/p").replies((*body).to_owned()).with("cache-control: max-age=60").with("etag: \"v1\"");
        for line in *fields {
            path = if *line == ":status 404" { path.code(404) } else { path.with(line) };
        }
        t.get("/p").await;
        let said = t.get("/p").with("accept-encoding: br").await;
        said.is(body).lacks("content-encoding").lacks("vary").header("etag", "\"v1\"").cache_has("hit");
        assert_eq!(said.text("content-encoding"), "", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_body_of_unknown_length_is_left_alone_too() {
    let t = Talk::new();
    t.origin("/p").replies("short").chunked().with("content-type: text/plain").with("cache-control: max-age=60");
    t.get("/p").await.is("short");
    t.get("/p").with("accept-encoding: br").await.is("short").lacks("content-encoding").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn size_types_and_the_switch_are_the_operators() {
    let t = Talk::with(
        r#"
        [defaults]
        compress = { min_size = "100", types = ["application/x-own"] }
        [[route]]
        path = "/off/{*rest}"
        compress = false
        "#,
    );
    for (path, kind, coding) in
        [("/p", "application/x-own; v=1", "br"), ("/q", "text/plain", ""), ("/off/p", "application/x-own", "")]
    {
        let answer = t.origin(path).replies(text(200)).with("cache-control: max-age=60");
        answer.with(&format!("content-type: {kind}"));
        t.get(path).await;
        t.get(path).with("accept-encoding: br").await.header("content-encoding", coding).cache_has("hit");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_backend_has_encoded_is_never_encoded_again() {
    let t = Talk::new();
    let answer = t.origin("/p").replies(text(4000)).with("content-encoding: gzip").with("vary: accept-encoding");
    JSON.iter().fold(answer, |path, line| path.with(line));
    t.get("/p").with("accept-encoding: gzip, br").await;
    let said = t.get("/p").with("accept-encoding: br, gzip").await;
    said.is(&text(4000)).header("content-encoding", "gzip").header("etag", "\"v1\"").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn an_encoded_answer_that_forgot_its_vary_is_not_given_to_who_cannot_read_it() {
    let t = Talk::new();
    t.origin("/p").replies("gzipped").with("content-encoding: gzip").with("cache-control: max-age=60");
    t.get("/p").with("accept-encoding: gzip").await.is("gzipped").header("vary", "Accept-Encoding");
    t.origin("/p").replies("plain").with("cache-control: max-age=60");
    t.get("/p").await.is("plain").cache_has("fwd=vary-miss");
    assert_eq!(t.origin("/p").asked_last().text("accept-encoding"), "");
}

#[tokio::test(start_paused = true)]
async fn vb_04_accept_encoding_reaches_the_backend_in_one_of_few_forms() {
    let t = Talk::new();
    let many = vec!["gzip"; 5000].join(",");
    for (sent, seen) in [
        ("gzip, deflate, br", "br, gzip"),
        ("br;q=0.1,gzip;q=0.9", "br, gzip"),
        (",,,,,,,,,,,,,,,,,,gzip", "gzip"),
        (&many, "gzip"),
        ("gzip;q=0", ""),
        ("compress, x", ""),
    ] {
        t.origin("/p").replies("yes").with("vary: accept-encoding").with("cache-control: max-age=60");
        t.get("/p").with(&format!("accept-encoding: {sent}")).await.is("yes");
        assert_eq!(t.origin("/p").asked_last().text("accept-encoding"), seen, "{sent:.40}");
    }
    t.origin("/p").was_asked(3);
}

#[tokio::test(start_paused = true)]
async fn parts_are_always_cut_from_the_plain_form() {
    let body = text(4000);
    let t = stored(&body).await;
    for round in ["before the encoding", "after it"] {
        for accept in ["br", "identity"] {
            let asking = t.get("/p").with("range: bytes=10-19").with(&format!("accept-encoding: {accept}"));
            let said = asking.await;
            said.code(206).is(&body[10..20]).header("content-range", "bytes 10-19/4000").header("etag", "\"v1\"");
            assert_eq!(said.text("content-encoding"), "", "{round}");
        }
        t.get("/p").with("accept-encoding: br").await.header("content-encoding", "br").lacks("accept-ranges");
    }
    // Who holds a piece of the encoded form cannot mistake a plain one for its continuation.
    let said = t.get("/p").with("range: bytes=10-19").with("if-range: W/\"v1\"").with("accept-encoding: br").await;
    said.code(200);
    assert_eq!(decoded(&said), body);
}

#[tokio::test(start_paused = true)]
async fn digests_of_the_plain_bytes_do_not_go_with_encoded_ones() {
    let t = Talk::new();
    let answer = t.origin("/p").replies(text(4000)).with("content-digest: sha-256=:x:").with("accept-ranges: bytes");
    JSON.iter().fold(answer, |path, line| path.with(line));
    t.get("/p").await.header("content-digest", "sha-256=:x:");
    t.get("/p").await.header("content-digest", "sha-256=:x:").header("accept-ranges", "bytes");
    t.get("/p").with("accept-encoding: br").await.lacks("content-digest").lacks("accept-ranges");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_shrink_is_served_as_it_is() {
    let mut state = 1_u64;
    let noise: String = (0..3000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from_u32(0x4e00 + u32::try_from(state >> 50).unwrap()).unwrap()
        })
        .collect();
    let t = stored(&noise).await;
    let said = t.get("/p").with("accept-encoding: gzip").await;
    assert_eq!(decoded(&said), noise);
    assert!(said.body.len() <= noise.len());
}

/// Encoding a large body takes a thread's time, so the test waits for it in earnest: without paused time.
#[tokio::test]
async fn a_large_body_is_encoded_behind_the_first_clients() {
    let body = text(300_000);
    let t = stored(&body).await;
    t.get("/p").with("accept-encoding: br").await.is(&body).lacks("content-encoding").cache_has("hit");
    let encoded = loop {
        let said = t.get("/p").with("accept-encoding: br").await;
        if said.text("content-encoding") == "br" {
            break said;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(decoded(&encoded), body);
}

#[tokio::test(start_paused = true)]
async fn a_head_speaks_of_the_form_a_get_would_get() {
    let t = stored(&text(4000)).await;
    let get = t.get("/p").with("accept-encoding: br").await;
    let head = t.head("/p").with("accept-encoding: br").await;
    head.is("").header("content-encoding", "br").header("content-length", &get.body.len().to_string());
    t.head("/p").await.header("content-length", "4000").lacks("content-encoding");
}
