//! Sections CD, CP and LK of the attack catalogue: what is one client's stays with it, and what one client provokes does
//! not become everybody's answer. Named by ID.

use crate::talk::{Talk, secs};

const FRESH: &str = "cache-control: max-age=60";

const STATIC: &str = r#"
[[route]]
name = "styles"
path = "/{name}.css"
ttl = "1h"
[[route]]
name = "nested styles"
path = "/{dir}/{name}.css"
ttl = "1h"
[[route]]
name = "static"
path = "/static/{*rest}"
ttl = "1h"
ttl_override = true
"#;

/// A victim's page, fetched with its cookie by a URL that looks like a file's, must not be there for the next.
async fn deceive(t: &Talk, path: &str, detail: &str) {
    t.origin(path).replies("the victim's page").with("content-type: text/html; charset=utf-8");
    let said = t.get(path).with("cookie: session=victim").await;
    said.is("the victim's page").cache_has(&format!("detail={detail}"));
    t.origin(path).replies("please log in").with("content-type: text/html").code(401);
    t.get(path).await.is("please log in");
    // The backend saw the very bytes that the route was chosen by.
    t.origin(path).was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn cd_01_cd_02_cd_03_a_lifetime_for_files_is_not_given_to_pages() {
    let t = Talk::with(STATIC);
    deceive(&t, "/account/x.css", "type-mismatch").await;
    deceive(&t, "/account.css", "type-mismatch").await;
    let delimiters = "; %3b %00 %0a %09 %20 %23 %3f %5c ! $ ~ , : @ %ff %2f %252f";
    for delimiter in delimiters.split_whitespace() {
        deceive(&t, &format!("/account{delimiter}x.css"), "type-mismatch").await;
    }
    // Nothing after a question mark makes a path a file's.
    deceive(&t, "/account?x.css", "no-freshness").await;
    deceive(&t, "/account/.css", "no-freshness").await;
}

#[tokio::test(start_paused = true)]
async fn cd_04_cd_05_cd_06_a_path_with_dot_segments_is_under_no_rule() {
    let t = Talk::with(STATIC);
    for path in [
        "/static/..%2faccount",
        "/static/%2e%2e/account",
        "/static/%2e%2e%2faccount",
        "/static/%252e%252e/account",
        "/static/..;/account",
        "/static/..;x=1/account",
        "/static/x/../../account",
        "/static/..%5caccount",
        "/account%2f..%2fstatic%2fx.css",
        "/account%2f..%2f..%2frobots.css",
    ] {
        deceive(&t, path, "dot-segments").await;
    }
}

#[tokio::test(start_paused = true)]
async fn cd_07_the_type_decides_also_when_the_backend_confirms_what_is_stored() {
    let t = Talk::with(STATIC);
    let page = |body: &'static str| t.origin("/account/x.css").replies(body).with("etag: \"1\"");
    page("the victim's page").with("content-type: text/html");
    // Kept for validation only: every use asks the backend, with the asker's own cookie.
    for _ in 0..3 {
        t.get("/account/x.css").with("cookie: session=victim").await.is("the victim's page").cache_has("fwd");
    }
    t.origin("/account/x.css").was_asked(3);

    t.origin("/real.css").replies("p {}").with("content-type: text/css");
    t.get("/real.css").await.is("p {}").cache_has("stored");
    t.get("/real.css").await.is("p {}").cache("hit; ttl=3600; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn cd_08_the_operators_lifetime_does_not_beat_what_protects_one_client() {
    let overriding = "[defaults]\nttl = \"1h\"\nttl_override = true\n";
    let beating = "[defaults]\nttl = \"1h\"\nttl_override = true\nttl_beats = [\"private\", \"no-store\", \"authorization\"]\nstore_set_cookie = true\n";
    for (asked, answered, reason) in [
        ("x-none: 1", "cache-control: private, max-age=5", "private"),
        ("x-none: 1", "cache-control: no-store", "no-store"),
        ("x-none: 1", "set-cookie: id=1", "set-cookie"),
        ("authorization: Bearer x", "x-none: 1", "authorization"),
    ] {
        for (config, stored) in [(overriding, false), (beating, true)] {
            let t = Talk::with(config);
            t.origin("/p").replies("yes").with(answered);
            let said = t.get("/p").with(asked).await;
            said.cache_has(if stored { "stored" } else { reason });
            t.get("/p").with(asked).await;
            t.origin("/p").was_asked(if stored { 1 } else { 2 });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cd_09_a_200_that_says_nothing_of_its_life_is_not_kept() {
    let t = Talk::new();
    for answer in ["x-none: 1", "cache-control: must-revalidate", "pragma: no-cache", "expires: 0"] {
        t.origin("/account/x.js").replies("an error page").with(answer);
        t.get("/account/x.js").await.is("an error page").cache_has("fwd=uri-miss");
        t.get("/account/x.js").await.cache_has("fwd=uri-miss");
    }
    t.origin("/account/x.js").was_asked(8);
}

/// Errors that one client can provoke, by length, by method or by any field.
const PROVOKED: &[u16] = &[
    400, 401, 403, 405, 406, 408, 412, 413, 414, 415, 416, 417, 421, 422, 425, 426, 428, 429, 431, 500, 502, 503, 504,
];

#[tokio::test(start_paused = true)]
async fn cp_01_cp_05_a_provoked_error_is_the_provokers_own() {
    for config in ["", "[defaults]\nttl = \"1h\"\n", "[defaults]\nttl = \"1h\"\nttl_override = true\n"] {
        let t = Talk::with(config);
        for status in PROVOKED {
            let path = format!("/{status}");
            t.origin(&path).replies("error").code(*status);
            t.get(&path).with(&format!("x-long: {}", "x".repeat(8192))).await.code(*status);
            t.origin(&path).replies("good").with(FRESH);
            t.get(&path).await.code(200).is("good");
            t.get(&path).await.is("good").cache_has("hit");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cp_04_whatever_field_a_client_sends_the_next_one_gets_its_200() {
    let t = Talk::new();
    for (number, line) in [
        "range: bytes=cow",
        "range: bytes=9999-",
        "if-none-match: *",
        "if-match: x",
        "if-unmodified-since: Thu, 01 Jan 1970 00:00:00 GMT",
        "expect: x",
        "upgrade: x",
        "upgrade: websocket",
        "accept: x/x",
        "content-type: x",
        "max-forwards: 0",
        "authorization: x",
        "accept-encoding: x",
        "accept-encoding: identity;q=0",
        "x-forwarded-port: 1",
        "x-amz-website-redirect-location: x",
        "connection: close, x-foo",
        "cookie: x",
        "transfer-encoding: x",
        "via: 1.1 forebay",
        "cdn-loop: forebay",
    ]
    .iter()
    .enumerate()
    {
        let path = format!("/{number}");
        // The backend would answer the attacker with an error, and with an empty answer if it could.
        t.origin(&path).replies("error").code(400);
        t.get(&path).with(line).await;
        t.origin(&path).replies("good").with(FRESH);
        t.get(&path).await.code(200).is("good");
        // What is stored now is safe from the same field, too.
        t.get(&path).with(line).await;
        t.get(&path).await.code(200).is("good").cache_has("hit");
    }
}

#[tokio::test(start_paused = true)]
async fn cp_07_what_the_gateway_says_itself_is_never_to_be_kept() {
    let t = Talk::with("[defaults]\nresponse_headers = { set = { Cache-Control = \"public, max-age=600\" } }\n");
    t.origin("/down").refuses();
    t.origin("/p").replies("yes");
    t.get("/p").await.header("cache-control", "public, max-age=600");
    t.get("/down").await.code(502).header("cache-control", "no-store");
    t.get("/p").with("host: a b").await.code(400).header("cache-control", "no-store");
    t.ask("PURGE", "/p").await.code(405).header("cache-control", "no-store");
    t.get("/p").with("upgrade: websocket").await.code(501).header("cache-control", "no-store");
}

#[tokio::test(start_paused = true)]
async fn cp_08_a_storm_of_errors_replaces_nothing_that_is_good() {
    let t = Talk::new();
    t.origin("/p").replies("good").with("cache-control: max-age=10, stale-if-error=600").with("etag: \"1\"");
    t.get("/p").await.is("good");
    for status in [500, 502, 503, 504] {
        t.advance(secs(30)).await;
        t.origin("/p").replies("bad").code(status).with("cache-control: max-age=600");
        t.get("/p").await.is("good").code(200).cache_has("detail=sie");
    }
    t.advance(secs(30)).await;
    t.origin("/p").replies("better").with(FRESH);
    t.get("/p").await.is("better");
}

/// What is asked with, what the answer says, and why it is not stored; nothing where it is.
const CREDENTIALS: &[(&str, &str, &str, &str)] = &[
    ("LK-01", "authorization: x", "cache-control: max-age=60", "authorization"),
    ("LK-01", "authorization: x", "cache-control: max-age=60, public", ""),
    ("LK-01", "authorization: x", "cache-control: max-age=60, must-revalidate", ""),
    ("LK-01", "authorization: x", "cache-control: s-maxage=60", ""),
    ("LK-01", "authorization: x", "cache-control: max-age=60, public, private", "private"),
    ("LK-02", "x-none: 1", "set-cookie: id=1", "set-cookie"),
    ("LK-02", "x-none: 1", "set-cookie: id=1\ncache-control: public, max-age=60, s-maxage=60", "set-cookie"),
    ("LK-03", "cookie: id=1", "cache-control: max-age=60", ""),
    ("LK-03", "cookie: id=1", "cache-control: private", "private"),
    ("LK-03", "cookie: id=1", "cache-control: max-age=60\nset-cookie: id=1", "set-cookie"),
    ("LK-04", "x-none: 1", "cache-control: private", "private"),
    ("LK-04", "x-none: 1", "cache-control: private=\"set-cookie\", max-age=60", "private"),
    ("LK-04", "x-none: 1", "cache-control: PRIVATE , max-age=60", "private"),
    ("LK-04", "x-none: 1", "cache-control: max-age=60\ncache-control: no-store", "no-store"),
    ("LK-04", "x-none: 1", "cache-control: no-store, max-age=60", "no-store"),
    ("LK-04", "x-none: 1", "cache-control: no-cache", "no-cache"),
    ("LK-04", "x-none: 1", "cache-control: no-cache=\"set-cookie\", max-age=60", "no-cache"),
];

#[tokio::test(start_paused = true)]
async fn lk_01_lk_02_lk_03_lk_04_one_clients_answer_is_not_stored() {
    for (id, asked, answered, reason) in CREDENTIALS {
        let t = Talk::new();
        answered.lines().fold(t.origin("/p").replies("hers"), |path, line| path.with(line));
        let said = t.get("/p").with(asked).await;
        let wanted = if reason.is_empty() { "stored".to_owned() } else { format!("detail={reason}") };
        assert!(said.text("cache-status").ends_with(&wanted), "{id} {asked} {answered}: {}", said.text("cache-status"));
        // LK-12: and nobody can tell by a hit that she was there.
        let other = t.get("/p").await;
        assert_eq!(other.text("cache-status").contains("hit"), reason.is_empty(), "{id} {asked} {answered}");
        t.origin("/p").was_asked(if reason.is_empty() { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn lk_03_in_the_strict_profile_the_backend_does_not_know_who_asks() {
    let t = Talk::with("[defaults]\nprofile = \"strict\"\n");
    t.origin("/p").replies("everybody's").with(FRESH);
    t.get("/p").with("cookie: id=1").with("authorization: Bearer x").await.is("everybody's");
    let asked = t.origin("/p").asked_last();
    assert_eq!((asked.text("cookie"), asked.text("authorization")), (String::new(), String::new()));
}

#[tokio::test(start_paused = true)]
async fn lk_06_one_client_with_credentials_does_not_part_those_without() {
    let t = Talk::new();
    t.origin("/p").replies("hers").with(FRESH);
    t.get("/p").with("authorization: Bearer x").await.cache_has("detail=authorization");
    let held = t.origin("/p").holds();
    let askers: Vec<_> = (0..20).map(|_| t.get("/p").start()).collect();
    t.settle().await;
    held.replies("everybody's", &[FRESH]);
    for asker in askers {
        asker.await.unwrap().is("everybody's");
    }
    t.origin("/p").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn lk_08_a_clients_conditions_stay_with_the_client() {
    let t = Talk::new();
    t.origin("/p")
        .replies("whole")
        .with(FRESH)
        .with("etag: \"1\"")
        .with("last-modified: Sun, 06 Nov 1994 08:49:37 GMT");
    let asking = t.get("/p").with("if-none-match: \"1\"").with("if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT");
    // The backend is asked for the whole, which is kept; the client learns that it has it already.
    asking.await.code(304).is("");
    let asked = t.origin("/p").asked_last();
    assert_eq!((asked.text("if-none-match"), asked.text("if-modified-since")), (String::new(), String::new()));
    t.get("/p").await.code(200).is("whole").cache_has("hit");
    t.get("/p").with("if-none-match: \"other\"").await.code(200).is("whole").cache_has("hit");
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn lk_09_signed_urls_and_tokens_pass_by_the_cache() {
    let t = Talk::new();
    for query in [
        "X-Amz-Signature=1",
        "x-amz-signature=1",
        "a=1&token=1",
        "access_token",
        "sig=1&b=2",
        "%73ig=1",
        "a=1;sig=2",
        "api_key=",
        "password=x",
    ] {
        let path = format!("/p?{query}");
        t.origin(&path).replies("hers").with("cache-control: public, max-age=600");
        for _ in 0..2 {
            t.get(&path).await.is("hers").cache("fwd=bypass; fwd-status=200; detail=signed-url");
        }
    }
    t.origin("/p?tokens=1").replies("all").with(FRESH);
    t.get("/p?tokens=1").await.cache_has("stored");
}

#[tokio::test(start_paused = true)]
async fn lk_09_which_parameters_are_tokens_is_the_operators() {
    let t = Talk::with("[gateway]\nsensitive_query = [\"key\"]\n");
    t.origin("/p?token=1").replies("all").with(FRESH);
    t.origin("/p?key=1").replies("hers").with(FRESH);
    t.get("/p?token=1").await.cache_has("stored");
    t.get("/p?key=1").await.cache_has("detail=signed-url");
}
