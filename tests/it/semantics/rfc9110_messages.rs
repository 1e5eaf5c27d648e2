//! RFC 9110 §6.5 and §15.2: trailers end here, interim answers pass.

use http_body_util::BodyExt;

use crate::talk::{Talk, Transcript, secs};

#[tokio::test(start_paused = true)]
async fn a_trailer_is_neither_passed_on_nor_stored() {
    for (fields, kept) in [("cache-control: max-age=60", true), ("cache-control: no-store", false)] {
        let t = Talk::new();
        let path = t.origin("/p").replies("body").chunked().with(fields).with("trailer: x-end, set-cookie");
        path.with_trailer("x-end: 1");
        for _ in 0..2 {
            let (head, body) = t.get("/p").begin().await.into_parts();
            assert!(!head.headers.contains_key("x-end") && !head.headers.contains_key("trailer"));
            let collected = body.collect().await.unwrap();
            assert!(collected.trailers().is_none());
            assert_eq!(collected.to_bytes(), "body");
            t.settle().await;
        }
        t.origin("/p").was_asked(if kept { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn interim_answers_are_passed_on_and_not_stored() {
    let t = Talk::new();
    let heard = Transcript::default();
    t.origin("/p")
        .answers("cache-control: max-age=60")
        .after_interim(103, "link: </a.css>")
        .after_interim(102, "x-a: 1");
    t.get("/p").hearing(&heard).await.code(200).is("body").cache("fwd=uri-miss; fwd-status=200; stored").lacks("link");
    assert_eq!(heard.text(), "\n  103 </a.css>\n  102 ");
    // From memory there is nothing to wait for.
    t.get("/p").hearing(&heard).await.is("body").cache("hit; ttl=60; detail=memory").lacks("link");
    assert_eq!(heard.text(), "\n  103 </a.css>\n  102 ");
}

#[tokio::test(start_paused = true)]
async fn interim_answers_pass_on_every_way_to_the_backend() {
    for method in ["GET", "HEAD", "POST"] {
        let t = Talk::new();
        let heard = Transcript::default();
        t.origin("/p").answers("cache-control: no-store").after_interim(103, "link: </a.css>");
        t.ask(method, "/p").hearing(&heard).await.code(200);
        assert_eq!(heard.text(), "\n  103 </a.css>", "{method}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interim_answer_comes_before_the_final_one_is_there() {
    let t = Talk::new();
    let heard = Transcript::default();
    t.origin("/p").answers("cache-control: max-age=60").after_interim(103, "link: </a.css>").hangs();
    let asking = t.get("/p").hearing(&heard).start();
    t.advance(secs(1)).await;
    assert_eq!(heard.text(), "\n  103 </a.css>");
    assert!(!asking.is_finished());
    t.advance(secs(10)).await;
    asking.await.unwrap().code(504);
}

#[tokio::test(start_paused = true)]
async fn a_validation_passes_them_on_too() {
    let t = Talk::new();
    let heard = Transcript::default();
    t.origin("/p").answers("cache-control: max-age=0 | etag: \"1\"");
    t.get("/p").await.is("body");
    t.origin("/p").answers("304 | etag: \"1\"").after_interim(103, "link: </a.css>");
    t.get("/p").hearing(&heard).await.is("body").cache("fwd=stale; fwd-status=304; stored; detail=stale");
    assert_eq!(heard.text(), "\n  103 </a.css>");
}

/// RFC 9110 §15.2.1: 100 is for one hop.
#[tokio::test(start_paused = true)]
async fn a_100_is_not_passed_on() {
    let t = Talk::new();
    let heard = Transcript::default();
    t.origin("/p").answers("cache-control: max-age=60").after_interim(100, "x-a: 1");
    t.ask("POST", "/p").body("x").hearing(&heard).await.code(200);
    assert_eq!(heard.text(), "");
}

/// RS-09: interim answers without end.
#[tokio::test(start_paused = true)]
async fn too_many_interim_answers_are_an_error() {
    let t = Talk::new();
    let heard = Transcript::default();
    let path = t.origin("/p").answers("cache-control: max-age=60");
    (0..20).fold(path, |path, _| path.after_interim(103, "link: </a.css>"));
    t.get("/p").hearing(&heard).await.code(502).cache("detail=broken");
    assert_eq!(heard.text(), "\n  103 </a.css> ×8");
}
