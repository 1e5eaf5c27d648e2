//! RFC 9111 §3: which answers are stored.

use super::check;
use crate::talk::Talk;

#[tokio::test(start_paused = true)]
async fn an_answer_to_get_is_stored_and_one_to_head_is_not() {
    let t = Talk::new();
    t.origin("/p").replies("body").with("cache-control: max-age=60");
    t.head("/p").await.is("").header("content-length", "4").cache("fwd=uri-miss; fwd-status=200; detail=head");
    t.get("/p").await.is("body").cache("fwd=uri-miss; fwd-status=200; stored");
    t.head("/p").await.is("").header("content-length", "4").cache("hit; ttl=60; detail=memory");
    t.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn answers_to_other_methods_are_neither_stored_nor_given_from_the_cache() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "FROB"] {
        let t = Talk::new();
        t.origin("/p").replies("body").with("cache-control: max-age=60");
        t.ask(method, "/p").await.is("body").cache("fwd=method; fwd-status=200; detail=method");
        t.get("/p").await.is("body").cache("fwd=uri-miss; fwd-status=200; stored");
        t.ask(method, "/p").await.is("body").cache("fwd=method; fwd-status=200; detail=method");
        t.origin("/p").was_asked(3);
        assert_eq!(t.origin("/p").asked_last().method.as_str(), method);
    }
}

#[tokio::test(start_paused = true)]
async fn explicit_freshness_makes_every_final_status_storable() {
    let fresh = ["cache-control: max-age=60", "cache-control: s-maxage=60", "expires: Mon, 18 Mar 2030 00:00:00 GMT"];
    for status in [200, 201, 203, 204, 299, 300, 302, 307, 308, 400, 403, 404, 410, 418, 451, 500, 502, 503, 599] {
        for fields in fresh {
            check("", "", &format!("{status} | {fields}"), "hit").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_freshness_only_some_statuses_are_storable() {
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        check("", "", &format!("{status} | etag: \"1\""), "stored").await;
    }
    for status in [201, 202, 302, 303, 307, 400, 401, 403, 418, 429, 500, 502, 503] {
        check("", "", &format!("{status} | etag: \"1\""), "no-freshness").await;
        check("", "", &format!("{status} | etag: \"1\" | cache-control: public"), "stored").await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_neither_be_used_nor_validated_is_not_stored() {
    check("", "", "200", "no-freshness").await;
    check("", "", "200 | cache-control: public", "no-freshness").await;
    check("", "", "200 | cache-control: max-age=0", "no-freshness").await;
    check("", "", "200 | cache-control: no-cache, max-age=60", "no-cache").await;
    check("", "", "200 | expires: 0", "no-freshness").await;
}

#[tokio::test(start_paused = true)]
async fn what_can_be_validated_is_stored_for_that() {
    for fields in [
        "etag: \"1\"",
        "etag: W/\"1\"",
        "etag: \"1\" | cache-control: no-cache",
        "etag: \"1\" | cache-control: max-age=0",
        "etag: \"1\" | expires: 0",
        "last-modified: Sun, 17 Mar 2030 17:46:40 GMT",
    ] {
        check("", "", fields, "validate").await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_answers_own_prohibitions_are_obeyed() {
    for (fields, expected) in [
        ("cache-control: no-store", "no-store"),
        ("cache-control: no-store, max-age=60, public", "no-store"),
        ("cache-control: max-age=60 | cache-control: no-store", "no-store"),
        ("cache-control: NO-STORE", "no-store"),
        ("cache-control: private, max-age=60", "private"),
        ("cache-control: private=\"x-user\", max-age=60", "private"),
        ("cache-control: private, s-maxage=60", "private"),
        ("cache-control: max-age=60 | vary: *", "vary-star"),
        ("cache-control: max-age=60 | vary: accept, *", "vary-star"),
        ("cache-control: max-age=60 | set-cookie: a=b", "set-cookie"),
        ("206 | cache-control: max-age=60 | content-range: bytes 0-3/9", "partial"),
    ] {
        check("", "", fields, expected).await;
    }
}

/// §5.2.2.3: "SHOULD ignore the no-store directive" where the status is understood, and must not store where it is not.
#[tokio::test(start_paused = true)]
async fn must_understand_beats_no_store_for_statuses_that_are_understood() {
    let fields = "cache-control: must-understand, no-store, max-age=60";
    check("", "", fields, "hit").await;
    check("", "", &format!("404 | {fields}"), "hit").await;
    check("", "", &format!("299 | {fields}"), "must-understand").await;
    check("", "", "299 | cache-control: must-understand, max-age=60", "must-understand").await;
}

/// §3.5.
#[tokio::test(start_paused = true)]
async fn an_answer_to_credentials_is_shared_only_if_it_says_so() {
    let credentials = "authorization: Basic dTpw";
    for (fields, expected) in [
        ("cache-control: max-age=60", "authorization"),
        ("expires: Mon, 18 Mar 2030 00:00:00 GMT", "authorization"),
        ("cache-control: max-age=60, proxy-revalidate", "authorization"),
        ("cache-control: max-age=60, public", "hit"),
        ("cache-control: max-age=60, must-revalidate", "hit"),
        ("cache-control: s-maxage=60", "hit"),
        ("cache-control: s-maxage=60, private", "private"),
    ] {
        check("", credentials, fields, expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_one_user_is_not_there_for_the_next() {
    let t = Talk::new();
    t.origin("/me").replies("ann").with("cache-control: max-age=60");
    t.get("/me").with("authorization: Basic YW5u").await.is("ann");
    t.origin("/me").replies("bob").with("cache-control: max-age=60");
    t.get("/me").with("authorization: Basic Ym9i").await.is("bob");
    t.origin("/me").replies("nobody").with("cache-control: max-age=60");
    t.get("/me").await.is("nobody").cache("fwd=uri-miss; fwd-status=200; stored");
    t.origin("/me").was_asked(3);
}

/// Only storing is restricted by §3.5: what was fetched without credentials is there for everybody.
#[tokio::test(start_paused = true)]
async fn an_answer_for_everybody_is_given_to_a_client_with_credentials() {
    let t = Talk::new();
    t.origin("/p").replies("all").with("cache-control: max-age=60");
    t.get("/p").await.is("all");
    t.get("/p").with("authorization: Basic YW5u").await.is("all").cache("hit; ttl=60; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn a_cookie_is_replayed_only_where_the_route_says_so() {
    let answer = "set-cookie: a=b | cache-control: max-age=60, public";
    check("", "", answer, "set-cookie").await;
    check("", "cookie: c=d", "cache-control: max-age=60", "hit").await;

    let t = Talk::with("[defaults]\nstore_set_cookie = true\n");
    t.origin("/p").answers(answer);
    t.get("/p").await.header("set-cookie", "a=b");
    t.get("/p").await.header("set-cookie", "a=b").cache("hit; ttl=60; detail=memory");
}

/// §3.1: what speaks of one connection, or is the cache's own to write, is not stored.
#[tokio::test(start_paused = true)]
async fn fields_of_one_connection_are_not_replayed() {
    let t = Talk::new();
    t.origin("/p").answers(
        "cache-control: max-age=60 | connection: x-hop, close | x-hop: 1 | keep-alive: timeout=5 | proxy-connection: close \
         | proxy-authenticate: Basic | upgrade: h2c | te: gzip | trailer: x-sum | x-end: 1 | age: 7",
    );
    for _ in 0..2 {
        let said = t.get("/p").await;
        for name in
            ["x-hop", "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "upgrade", "te", "trailer"]
        {
            said.lacks(name);
        }
        said.header("x-end", "1").header("age", "7");
    }
}

/// An answer that has Connection name a field by which it is kept would otherwise be kept on better terms.
#[tokio::test(start_paused = true)]
async fn connection_cannot_take_a_prohibition_away() {
    check("", "", "cache-control: private, max-age=60 | connection: cache-control", "private").await;
    check("", "", "set-cookie: a=b | cache-control: max-age=60 | connection: set-cookie", "set-cookie").await;
    check("", "", "vary: * | cache-control: max-age=60 | connection: vary", "vary-star").await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_remembered_and_forgotten_once_the_answer_can_be_kept() {
    let t = Talk::new();
    t.origin("/p").replies("1").with("cache-control: no-store");
    t.get("/p").await.is("1").cache("fwd=uri-miss; fwd-status=200; detail=no-store");
    t.origin("/p").replies("2").with("cache-control: max-age=60");
    t.get("/p").await.is("2").cache("fwd=uri-miss; fwd-status=200; stored");
    t.get("/p").await.is("2").cache("hit; ttl=60; detail=memory");
}
