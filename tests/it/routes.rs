//! Routes: where a request goes, how it changes on the way there and back, and what its answer is kept under.

use crate::talk::{Talk, secs};

const FRESH: &str = "cache-control: max-age=60";

const ORIGINS: &str = r#"
[origins.main]
url = "http://main.test"
[origins.users]
url = "http://users.test"
[origins.beta]
url = "http://beta.test"
host = "beta.internal"
[defaults]
origin = "main"
[[route]]
path = "/users/{id}"
origin = "users"
[[route]]
path = "/users/{id}"
name = "writes"
method = "POST"
origin = "main"
[[route]]
path = "/feature"
header = { X-Beta = "1*" }
origin = "beta"
[[route]]
host = "*.beta.example"
origin = "beta"
"#;

#[tokio::test(start_paused = true)]
async fn host_method_path_and_header_choose_the_backend() {
    let t = Talk::with(ORIGINS);
    for (method, path, fields, origin) in [
        ("GET", "/users/7", &[][..], "users"),
        ("HEAD", "/users/7", &[], "users"),
        ("POST", "/users/7", &[], "main"),
        ("GET", "/users/7/posts", &[], "main"),
        ("GET", "/feature", &[], "main"),
        ("GET", "/feature", &["x-beta: 0"], "main"),
        ("GET", "/feature", &["x-beta: 17"], "beta"),
        ("GET", "/other", &["host: a.beta.example"], "beta"),
        ("GET", "/other", &["host: beta.example"], "main"),
    ] {
        t.origin(path).replies("yes");
        fields.iter().fold(t.ask(method, path), |asking, line| asking.with(line)).await.code(200);
        assert_eq!(t.origin(path).asked_last().origin, origin, "{method} {path} {fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_url_of_two_backends_is_two_entries() {
    let t = Talk::with(ORIGINS);
    t.origin("/feature").replies("main").with(FRESH);
    t.get("/feature").await.is("main");
    t.origin("/feature").replies("beta").with(FRESH);
    t.get("/feature").with("x-beta: 1").await.is("beta").cache("fwd=uri-miss; fwd-status=200; stored");
    t.get("/feature").await.is("main").cache("hit; ttl=60; detail=memory");
}

#[tokio::test(start_paused = true)]
async fn an_origin_may_ask_for_a_host_of_its_own() {
    let t = Talk::with(ORIGINS);
    t.origin("/other").replies("yes");
    t.get("/other").with("host: a.beta.example").await;
    let asked = t.origin("/other").asked_last();
    assert_eq!((asked.text("host"), asked.text("x-forwarded-host")), ("beta.internal".into(), "a.beta.example".into()));
}

#[tokio::test(start_paused = true)]
async fn a_route_by_header_on_one_backend_keeps_its_answers_apart() {
    let t = Talk::with("[[route]]\nname = \"two\"\npath = \"/p\"\nheader = { X-Api-Version = \"2\" }\n");
    t.origin("/p").replies("version 2").with(FRESH);
    t.get("/p").with("x-api-version: 2").await.is("version 2");
    t.origin("/p").replies("version 1").with(FRESH);
    t.get("/p").await.is("version 1");
    t.get("/p").with("x-api-version: 2").await.is("version 2").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn a_path_is_rewritten_by_prefix_or_as_a_whole() {
    let t = Talk::with(
        r#"
        [[route]]
        name = "stripped"
        path = "/api/{*rest}"
        rewrite = { strip_prefix = "/api", add_prefix = "/v2" }
        [[route]]
        name = "replaced"
        path = "/u/{id}/{part}"
        rewrite = { replace = "/users/{part}/{id}" }
        "#,
    );
    for (asked, seen) in [
        ("/api/users/1?q=1", "/v2/users/1?q=1"),
        ("/api", "/api"),
        ("/api/", "/v2/"),
        ("/apis", "/apis"),
        ("/u/7/posts", "/users/posts/7"),
        ("/u/7%2f8/posts?x", "/users/posts/7%2f8?x"),
    ] {
        t.origin(seen).replies(seen).with(FRESH);
        t.get(asked).await.is(seen);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_rewrite_makes_one_is_one_entry_unless_the_backend_is_told_a_difference() {
    let t = Talk::with(
        r#"
        [[route]]
        name = "alias"
        path = "/alias/{any}"
        rewrite = { replace = "/shared" }
        [[route]]
        name = "tenants"
        path = "/t/{tenant}/me"
        rewrite = { replace = "/me" }
        request_headers = { set = { X-Tenant = "{tenant}" } }
        "#,
    );
    t.origin("/shared").replies("the same").with(FRESH);
    t.get("/alias/a").await.is("the same");
    t.get("/alias/b").await.is("the same").cache_has("hit");

    for tenant in ["a", "b"] {
        t.origin("/me").replies(format!("{tenant}'s own")).with(FRESH);
        t.get(&format!("/t/{tenant}/me")).await.is(&format!("{tenant}'s own"));
    }
    t.get("/t/a/me").await.is("a's own").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn fields_are_set_and_removed_both_ways() {
    let t = Talk::with(
        r#"
        [defaults]
        request_headers = { set = { X-Client = "{header.X-Old}", X-Path = "{path}" }, remove = ["X-Old", "X-Debug"] }
        response_headers = { set = { X-Content-Type-Options = "nosniff", X-Was = "{header.X-Powered-By}" }, remove = ["X-Powered-By", "Set-Cookie"] }
        "#,
    );
    t.origin("/p").replies("yes").with(FRESH).with("x-powered-by: PHP").with("x-own: 1");
    for _ in ["filled", "hit"] {
        let said = t.get("/p").with("x-old: 7").with("x-debug: 1").with("x-client: forged").await;
        said.header("x-content-type-options", "nosniff").header("x-was", "PHP").header("x-own", "1");
        said.lacks("x-powered-by");
    }
    let asked = t.origin("/p").asked_last();
    let seen = ["x-client", "x-path", "x-old", "x-debug"].map(|name| asked.text(name));
    assert_eq!(seen, ["7", "/p", "", ""]);
    t.origin("/p").was_asked(1);
}

#[tokio::test(start_paused = true)]
async fn a_field_to_be_set_is_never_the_clients_even_when_there_is_nothing_to_set() {
    let t = Talk::with("[defaults]\nrequest_headers = { set = { X-User = \"{header.X-Absent}\" } }\n");
    t.origin("/p").replies("yes");
    t.ask("POST", "/p").with("x-user: admin").await;
    assert_eq!(t.origin("/p").asked_last().text("x-user"), "");
}

#[tokio::test(start_paused = true)]
async fn ignored_parameters_reach_neither_key_nor_backend() {
    let t = Talk::with("[defaults]\nkey = { ignore_query = [\"utm_*\", \"fbclid\"] }\n");
    t.origin("/p?a=1").replies("one").with(FRESH);
    t.get("/p?utm_source=x&a=1&fbclid=2").await.is("one");
    t.get("/p?a=1").await.is("one").cache_has("hit");
    t.get("/p?a=1&utm_medium=").await.is("one").cache_has("hit");
    t.origin("/p?a=1").was_asked(1);
    // Not the name that is ignored, as far as bytes go: another URL, for key and backend alike.
    t.origin("/p?a=1&%75tm_x=1").replies("other").with(FRESH);
    t.get("/p?a=1&%75tm_x=1").await.is("other");
}

#[tokio::test(start_paused = true)]
async fn only_listed_parameters_are_let_through_and_they_are_sorted_for_key_and_backend() {
    let t = Talk::with("[defaults]\nkey = { only_query = [\"page\", \"sort\"], sort_query = true }\n");
    t.origin("/p?page=2&sort=up").replies("page two").with(FRESH);
    t.get("/p?sort=up&x=1&page=2").await.is("page two");
    t.get("/p?page=2&sort=up").await.is("page two").cache_has("hit");
    // Which of two values counts is the backend's affair, so their order stays.
    t.origin("/p?page=2&page=1").replies("2, 1").with(FRESH);
    t.origin("/p?page=1&page=2").replies("1, 2").with(FRESH);
    t.get("/p?page=2&page=1").await.is("2, 1");
    t.get("/p?page=1&page=2").await.is("1, 2");
}

#[tokio::test(start_paused = true)]
async fn listed_fields_and_cookies_are_part_of_the_key() {
    let t = Talk::with("[defaults]\nkey = { headers = [\"X-Plan\"], cookies = [\"locale\"] }\n");
    for (plan, cookie, body) in
        [("free", "locale=de; id=1", "free de"), ("gold", "locale=de", "gold de"), ("free", "locale=fr", "free fr")]
    {
        t.origin("/p").replies(body).with(FRESH);
        t.get("/p").with(&format!("x-plan: {plan}")).with(&format!("cookie: {cookie}")).await.is(body);
    }
    t.get("/p").with("x-plan: free").with("cookie: id=2; locale=de").await.is("free de").cache_has("hit");
    t.origin("/p").was_asked(3);
}

const STRICT: &str = r#"
[defaults]
profile = "strict"
forward_headers = ["Accept-Language"]
key = { headers = ["X-Plan"], cookies = ["locale"] }
"#;

#[tokio::test(start_paused = true)]
async fn a_strict_route_lets_only_keyed_and_listed_fields_through() {
    let t = Talk::with(STRICT);
    t.origin("/p").replies("yes").with(FRESH);
    let said = t
        .get("/p")
        .with("user-agent: x")
        .with("accept: x/x")
        .with("origin: https://evil.example")
        .with("authorization: Bearer x")
        .with("x-plan: free")
        .with("cookie: id=1; locale = de ;locale=fr")
        .await;
    said.code(200);
    let asked = t.origin("/p").asked_last();
    for name in ["user-agent", "accept", "origin", "authorization"] {
        assert!(!asked.headers.contains_key(name), "{name} went through");
    }
    assert_eq!((asked.text("x-plan"), asked.text("cookie")), ("free".into(), "locale=de; locale=fr".into()));
}

#[tokio::test(start_paused = true)]
async fn a_strict_route_stores_no_answer_that_an_unkeyed_field_may_have_shaped() {
    let t = Talk::with(STRICT);
    t.origin("/p").replies("deutsch").with(FRESH);
    let refused = "fwd=uri-miss; fwd-status=200; detail=unkeyed-input";
    t.get("/p").with("accept-language: de").await.is("deutsch").cache(refused);
    t.origin("/p").replies("plain").with(FRESH);
    t.get("/p").await.is("plain").cache_has("stored");
    t.get("/p").with("accept-language: fr").await.is("plain").cache_has("hit");

    t.origin("/varied").replies("deutsch").with(FRESH).with("vary: accept-language");
    t.get("/varied").with("accept-language: de").await.is("deutsch").cache_has("stored");
    t.get("/varied").with("accept-language: de").await.is("deutsch").cache_has("hit");
}

#[tokio::test(start_paused = true)]
async fn a_strict_route_stores_only_statuses_that_speak_of_the_resource() {
    let t = Talk::with("[defaults]\nprofile = \"strict\"\n");
    for (status, stored) in
        [(200, true), (301, true), (404, true), (410, true), (400, false), (403, false), (429, false), (500, false)]
    {
        let path = format!("/{status}");
        t.origin(&path).replies("x").code(status).with(FRESH);
        t.get(&path).await.code(status);
        t.get(&path).await;
        t.origin(&path).was_asked(if stored { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_route_neither_looks_up_nor_stores() {
    let t = Talk::with("[[route]]\npath = \"/live/{*rest}\"\npass = true\n");
    t.origin("/live/p").replies("yes").with(FRESH).with("etag: \"1\"");
    for _ in 0..2 {
        t.get("/live/p").await.is("yes").cache("fwd=bypass; fwd-status=200; detail=route-pass");
    }
    t.origin("/live/p").was_asked(2);
    // The client's own condition goes to the backend, and its 304 to the client.
    let said = t.get("/live/p").with("if-none-match: \"1\"").await;
    said.code(304).header("etag", "\"1\"").cache("fwd=bypass; fwd-status=304; detail=route-pass");
    assert_eq!(t.origin("/live/p").asked_last().text("if-none-match"), "\"1\"");
}

#[tokio::test(start_paused = true)]
async fn a_sensitive_route_stores_nothing_whatever_the_answer_says() {
    let t = Talk::with("[[route]]\npath = \"/session/{*rest}\"\nsensitive = true\nttl = \"1h\"\nttl_override = true\n");
    t.origin("/session/me").replies("mine").with("cache-control: public, max-age=600");
    for _ in 0..2 {
        t.get("/session/me").await.is("mine").cache("fwd=bypass; fwd-status=200; detail=sensitive");
    }
    t.origin("/session/me").was_asked(2);
}

#[tokio::test(start_paused = true)]
async fn what_the_cdn_is_told_survives_the_age_of_the_answer() {
    let t = Talk::with("[defaults]\nttl = { memory = \"5m\", cdn = \"30s\" }\n");
    t.origin("/p").replies("yes");
    t.get("/p").await.header("cache-control", "s-maxage=30").lacks("age");
    t.advance(secs(100)).await;
    // A CDN subtracts Age from what it is told: 30 s are left of it.
    t.get("/p").await.header("cache-control", "s-maxage=130").header("age", "100").cache_has("hit; ttl=200");

    t.origin("/private").replies("mine").with("cache-control: private, max-age=60");
    t.get("/private").await.header("cache-control", "private, max-age=60");
}

#[tokio::test(start_paused = true)]
async fn a_cdn_that_is_not_told_the_age_is_told_the_plain_lifetime() {
    let t = Talk::with("[gateway]\nexpose_age = false\n[defaults]\nttl = { memory = \"5m\", cdn = \"30s\" }\n");
    t.origin("/p").replies("yes");
    t.get("/p").await;
    t.advance(secs(100)).await;
    t.get("/p").await.header("cache-control", "s-maxage=30").lacks("age");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_served_is_misdirected() {
    let t = Talk::with("[gateway]\nhosts = [\"example.com\", \"*.example.org\"]\n");
    t.origin("/p").replies("yes");
    for (host, status) in [
        ("example.com", 200),
        ("EXAMPLE.com.:80", 200),
        ("a.example.org", 200),
        ("example.org", 421),
        ("evil.test", 421),
    ] {
        t.get("/p").with(&format!("host: {host}")).await.code(status);
    }
}

#[tokio::test(start_paused = true)]
async fn options_of_the_whole_server_goes_through() {
    let t = Talk::with("[defaults]\nrewrite = { add_prefix = \"/v2\" }\n");
    t.origin("*").replies("").code(204).with("allow: GET");
    t.ask("OPTIONS", "*").await.code(204).header("allow", "GET").cache("fwd=method; fwd-status=204; detail=method");
}
