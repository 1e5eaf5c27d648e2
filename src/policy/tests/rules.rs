//! What one rule says: bypass, forwarding, tags, edits, addresses.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method};

use super::{compile, fields, only, policy, route, strings};
use crate::policy::{Captures, HeaderEdits, KeySettings, PolicySettings, Rewrite, RouteSettings, Target};
use crate::rfc::Reason;

#[test]
fn what_must_not_be_cached_is_told_with_its_reason() {
    let plain = only(RouteSettings::default());
    let pass = only(RouteSettings { pass: true, ..RouteSettings::default() });
    let sensitive = only(RouteSettings { sensitive: true, ..RouteSettings::default() });
    for (policy, path, expected) in [
        (&plain, "/a/b?x=1", None),
        (&plain, "/account%2fx.css", None),
        (&plain, "/account;x.css", None),
        (&plain, "/a?x=../b", None),
        (&plain, "/static/..%2faccount", Some(Reason::DotSegments)),
        (&plain, "/static/..;/account", Some(Reason::DotSegments)),
        (&plain, "/account%2f..%2fstatic%2fx.js", Some(Reason::DotSegments)),
        (&plain, "/x?a=1&X-Amz-Signature=ab", Some(Reason::SignedUrl)),
        (&plain, "/x?ACCESS_TOKEN=1", Some(Reason::SignedUrl)),
        (&plain, "/x?tokens=1", None),
        (&pass, "/../x?sig=1", Some(Reason::RoutePass)),
        (&sensitive, "/x", Some(Reason::SensitivePath)),
    ] {
        let target = Target::new(true, "h", path);
        assert_eq!(policy.rules()[0].bypass(&target), expected, "{path}");
    }
}

#[test]
fn what_stays_unchanged_is_byte_exact_and_without_a_query_borrowed() {
    let recipe = KeySettings { ignore_query: strings(&["utm_*"]), sort_query: true, ..KeySettings::default() };
    let rewrite = Rewrite { strip_prefix: Some("/api".to_owned()), ..Rewrite::default() };
    let policy = only(RouteSettings { key: recipe, rewrite: Some(rewrite), ..RouteSettings::default() });
    for (received, forwarded, borrowed) in [
        ("/a", "/a", true),
        ("/a?", "/a?", false),
        ("/a?b=1&c=%2F", "/a?b=1&c=%2F", false),
        ("/%61//b/", "/%61//b/", true),
        ("/%61//b/?&", "/%61//b/?&", false),
        ("*", "*", true),
        ("/api/x", "/x", true),
        ("/api", "/", true),
        ("/api/x?b=1", "/x?b=1", false),
        ("/api/x?utm_a=1", "/x", true),
        ("/a?utm_a=1", "/a", true),
        ("/a?utm_a=1&c=2&b=1", "/a?b=1&c=2", false),
        ("/api?c&b?=x", "/?b?=x&c", false),
    ] {
        let target = Target::new(true, "h", received);
        let outcome = policy.rules()[0].forward_path(&target, &Captures::default());
        assert_eq!(outcome, forwarded, "{received}");
        assert_eq!(matches!(outcome, Cow::Borrowed(_)), borrowed, "{received}");
    }
}

#[test]
fn a_path_can_be_replaced_with_captures() {
    let rewrite = Rewrite { replace: Some("/v2/{kind}/{rest}".to_owned()), ..Rewrite::default() };
    let policy = policy(vec![RouteSettings { rewrite: Some(rewrite), ..route("r | /old/{kind}/{*rest}") }]);
    for (received, forwarded) in
        [("/old/u/1/2?q", "/v2/u/1/2?q"), ("/old/u/", "/v2/u/"), ("/old/a%2Fb/c", "/v2/a%2Fb/c")]
    {
        let target = Target::new(true, "h", received);
        let found = policy.route(&Method::GET, &target, &HeaderMap::new());
        assert_eq!(found.rule.forward_path(&target, &found.captures), forwarded);
    }
}

#[test]
fn tags_carry_their_ledger_names_and_miss_where_a_value_is_missing() {
    let tags = strings(&["user:{id}", "page:{query.page}", "tenant:{header.x-tenant}", "site:{host}", "users"]);
    let policy = policy(vec![RouteSettings { tags, ..route("r | /users/{id}") }]);
    for (path, headers, expected) in [
        ("/users/7?page=2", &["x-tenant: t"][..], "tag:user:7 tag:page:2 tag:tenant:t tag:site:h tag:users"),
        ("/users/a%40b", &[], "tag:user:a@b tag:site:h tag:users"),
        ("/users/a@b?page=", &[], "tag:user:a@b tag:page: tag:site:h tag:users"),
    ] {
        let target = Target::new(true, "h", path);
        let found = policy.route(&Method::GET, &target, &HeaderMap::new());
        let mut out = Vec::new();
        found.rule.tags(&target, &found.captures, &fields(headers), &mut out);
        assert_eq!(out.join(" "), expected, "{path}");
    }
}

#[test]
fn requests_and_answers_are_edited() {
    let request_headers = HeaderEdits {
        set: vec![(HeaderName::from_static("x-user"), "{id}".to_owned())],
        remove: vec![HeaderName::from_static("cookie")],
    };
    let response_headers = HeaderEdits {
        set: vec![(HeaderName::from_static("x-served-by"), "{header.server}!".to_owned())],
        remove: vec![HeaderName::from_static("server")],
    };
    let settings = RouteSettings { request_headers, response_headers, ..route("r | /u/{id}") };
    let policy = policy(vec![settings]);
    let target = Target::new(true, "h", "/u/7");
    let found = policy.route(&Method::GET, &target, &HeaderMap::new());
    let mut request = fields(&["x-user: forged", "cookie: a=1", "accept: */*"]);
    found.rule.edit_request(&mut request, &target, &found.captures);
    assert_eq!(request, fields(&["accept: */*", "x-user: 7"]));
    let mut answer = fields(&["server: nginx"]);
    found.rule.edit_response(&mut answer);
    assert_eq!(answer, fields(&["x-served-by: nginx!"]));
}

#[test]
fn addresses_are_admitted_by_allow_and_refused_by_deny() {
    let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect::<Vec<_>>();
    for (allow, deny, address, expected) in [
        (&[][..], &[][..], "203.0.113.9", true),
        (&["10.0.0.0/8"], &[], "10.1.2.3", true),
        (&["10.0.0.0/8"], &[], "11.1.2.3", false),
        (&["10.0.0.0/8"], &[], "::ffff:10.1.2.3", true),
        (&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.2.3", false),
        (&[], &["10.1.0.0/16"], "::ffff:10.1.2.3", false),
        (&[], &["10.1.0.0/16"], "10.2.2.3", true),
        (&["2001:db8::/32"], &[], "2001:db8::1", true),
        (&["2001:db8::/32"], &[], "10.0.0.1", false),
    ] {
        let policy = only(RouteSettings { allow: nets(allow), deny: nets(deny), ..RouteSettings::default() });
        assert_eq!(
            policy.rules()[0].admits_address(address.parse().unwrap()),
            expected,
            "{allow:?} {deny:?} {address}"
        );
    }
}

#[test]
fn a_rule_knows_which_fields_its_key_holds() {
    let name = HeaderName::from_static;
    let key = KeySettings { headers: vec![name("x-tenant")], cookies: strings(&["theme"]), ..KeySettings::default() };
    let policy = only(RouteSettings { key, ..RouteSettings::default() });
    for (field, expected) in [("x-tenant", true), ("cookie", true), ("accept", false)] {
        assert_eq!(policy.rules()[0].keys_header(&name(field)), expected, "{field}");
        assert!(!only(RouteSettings::default()).rules()[0].keys_header(&name(field)));
    }
}

#[test]
fn cookies_can_be_trimmed_to_those_of_the_key() {
    let of = |headers: &[&'static str], cookies: &[&str]| {
        let headers = headers.iter().map(|name| HeaderName::from_static(name)).collect();
        let key = KeySettings { headers, cookies: strings(cookies), ..KeySettings::default() };
        only(RouteSettings { key, ..RouteSettings::default() })
    };
    let two = ["cookie: a=1; theme=dark;b=2", "cookie: theme; c=3", "x: y"];
    for (policy, expected) in [
        (of(&[], &["theme"]), &["x: y", "cookie: theme=dark; theme="][..]),
        (of(&[], &["c", "a"]), &["x: y", "cookie: c=3; a=1"]),
        (of(&[], &["none"]), &["x: y"]),
        (of(&[], &[]), &["x: y"]),
        (of(&["cookie"], &["a"]), &two),
    ] {
        let mut headers = fields(&two);
        policy.rules()[0].trim_cookies(&mut headers);
        assert_eq!(headers, fields(expected));
    }
}

#[test]
fn only_configured_hosts_are_known() {
    let hosts = strings(&["api.example.com", "*.cdn.example"]);
    let policy = compile(PolicySettings { hosts, ..PolicySettings::default() });
    for (host, expected) in
        [("api.example.com", true), ("a.cdn.example:8443", true), ("cdn.example", false), ("evil.example", false)]
    {
        assert_eq!(policy.knows_host(host), expected, "{host}");
        assert!(compile(PolicySettings::default()).knows_host(host));
    }
}
