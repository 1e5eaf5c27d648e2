//! What is refused, and in which words.

use std::time::Duration;

use http::HeaderName;

use super::{route, strings};
use crate::policy::{Compress, HeaderEdits, KeySettings, Policy, PolicySettings, RateLimit, RouteSettings, Strict};
use crate::rfc::{StatusRange, Terms};

fn problems(settings: PolicySettings) -> Vec<String> {
    let Err(problems) = Policy::compile(settings) else { return Vec::new() };
    let place = |route: Option<usize>| route.map_or_else(|| "-".to_owned(), |route| route.to_string());
    problems.iter().map(|problem| format!("{} {problem}", place(problem.route))).collect()
}

fn check(routes: Vec<RouteSettings>, expected: &[&str]) {
    let found = problems(PolicySettings { routes, ..PolicySettings::default() });
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_the_routes() {
    let broken = RouteSettings {
        tags: strings(&["{nope}", "", "user:{userId}"]),
        max_concurrent: Some(0),
        hosts: strings(&["*", "https://x"]),
        ..route("b | /users/{userId}")
    };
    check(
        vec![route("a | /x/{y"), broken, route("a")],
        &[
            "0 path: a brace in `{y` has no partner (a brace that stands for itself",
            "1 max_concurrent: zero would refuse every request (leave it out for no limit)",
            "1 hosts: `*`: a star stands only for the first labels",
            "1 hosts: `https://x` is no host",
            "1 tags: `{nope}` names nothing that is known here (known are `{userId}`, `{query.NAME}`",
            "1 tags: an empty tag names nothing",
            "2 name: `a` is already the name of route 1",
        ],
    );
}

#[test]
fn names_are_unique_and_not_empty() {
    check(
        vec![route("a | /1"), route("| /2"), route("default | /3"), route("a | /4")],
        &["1 name: a route needs a name", "2 name: `default` is the name of the route", "3 name: `a` is already"],
    );
}

#[test]
fn a_route_that_can_never_match_is_told_by_the_one_that_takes_its_requests() {
    let never = "can never match: `a` takes all of its requests";
    for (first, second, shadowed) in [
        ("/p/{x}", "/p/{y}", true),
        ("/p/{x}", "/p/{*y}", false),
        ("/p/x", "/p/{x}", false),
        ("/p | method=GET,HEAD", "/p | method=GET", true),
        ("/p | method=GET", "/p | method=HEAD", true),
        ("/p | method=GET", "/p | method=GET,POST", false),
        ("/p | method=GET", "/p | method=POST", false),
        ("/p", "/p | method=GET", false),
        ("/p | priority=1", "/p | method=GET", true),
        ("/p | priority=1", "/p | host=x", true),
        ("/p | host=*.x", "/p | host=a.x", false),
        ("/p | host=*.x | priority=1", "/p | host=a.x", true),
        ("/p | host=a,b", "/p | host=b", true),
        ("/p | host=a", "/p | host=a,b", false),
        ("host=a", "host=a", true),
        ("header=x", "header=x=1", true),
        ("header=x=1*", "header=x=12", true),
        ("header=x=12", "header=x=1*", false),
        ("header=x", "header=y", false),
    ] {
        let routes = vec![route(&format!("a | {first}")), route(&format!("b | {second}"))];
        let found = problems(PolicySettings { routes, ..PolicySettings::default() });
        let told = found.iter().any(|one| one.starts_with("1 path") && one.contains(never));
        assert_eq!(told, shadowed, "{first} / {second}: {found:?}");
        assert_eq!(found.len(), usize::from(shadowed), "{first} / {second}: {found:?}");
    }
}

#[test]
fn lifetimes_must_not_contradict_each_other() {
    let secs = |n| Some(Duration::from_secs(n));
    let backwards = StatusRange { first: 299, last: 200 };
    for (terms, expected) in [
        (Terms { min_ttl: secs(2), max_ttl: secs(1), ..Terms::default() }, "0 min_ttl: `min_ttl` is above `max_ttl`"),
        (Terms { ttl: secs(2), max_ttl: secs(1), ..Terms::default() }, "0 ttl: `ttl` is above `max_ttl`"),
        (Terms { ttl: secs(1), min_ttl: secs(2), ..Terms::default() }, "0 ttl: `ttl` is below `min_ttl`"),
        (
            Terms { status_ttl: vec![(backwards, Duration::ZERO)], ..Terms::default() },
            "0 status_ttl: a range of statuses ends before it begins",
        ),
        (
            Terms { storable_status: Some(vec![backwards]), ..Terms::default() },
            "0 storable_status: a range of statuses ends before it begins",
        ),
        (
            Terms { storable_status: Some(Vec::new()), ..Terms::default() },
            "0 storable_status: with an empty list nothing can be stored",
        ),
    ] {
        check(vec![RouteSettings { terms, ..route("a | /a") }], &[expected]);
    }
    let fine = Terms { ttl: secs(2), min_ttl: secs(1), max_ttl: secs(2), ..Terms::default() };
    check(vec![RouteSettings { terms: fine, ..route("a | /a") }], &[]);
}

#[test]
fn a_template_must_not_read_what_the_key_leaves_out() {
    let set =
        |text: &str| HeaderEdits { set: vec![(HeaderName::from_static("x-to"), text.to_owned())], remove: Vec::new() };
    let key = KeySettings { ignore_query: strings(&["utm_*"]), ..KeySettings::default() };
    let base = RouteSettings { key, ..route("a | /a") };
    check(
        vec![RouteSettings {
            tags: strings(&["{query.utm_x}", "{query.id}"]),
            request_headers: set("{query.utm_y}"),
            ..base.clone()
        }],
        &["0 tags: `{query.utm_x}` is a parameter", "0 request_headers.set: `{query.utm_y}` is a parameter"],
    );
    let strict =
        RouteSettings { strict: Some(Strict::default()), request_headers: set("{header.x-a}"), ..base.clone() };
    check(vec![strict.clone()], &["0 request_headers.set: `{header.x-a}` is not part of the key"]);
    let key = KeySettings { headers: vec![HeaderName::from_static("x-a")], ..KeySettings::default() };
    check(vec![RouteSettings { key, ..strict }], &[]);
}

#[test]
fn values_that_mean_nothing_are_refused() {
    let rate = |requests, burst| RateLimit { requests, per: Duration::from_secs(1), burst };
    let key = |key| RouteSettings { key, ..route("a | /a") };
    for (route, expected) in [
        (RouteSettings { rate_limit: Some(rate(0, 1)), ..route("a | /a") }, "0 rate_limit: zero"),
        (RouteSettings { rate_limit: Some(rate(1, 0)), ..route("a | /a") }, "0 rate_limit: zero"),
        (RouteSettings { max_concurrent_per_client: Some(0), ..route("a | /a") }, "0 max_concurrent_per_client: zero"),
        (RouteSettings { origin: Some(String::new()), ..route("a | /a") }, "0 origin: the origin's name is empty"),
        (
            RouteSettings { deny: vec!["::ffff:10.0.0.0/104".parse().unwrap()], ..route("a | /a") },
            "0 deny: `::ffff:10.0.0.0/104` never matches: such addresses are compared as IPv4 (write `10.0.0.0/8`)",
        ),
        (
            RouteSettings {
                compress: Compress { types: strings(&["json"]), ..Compress::default() },
                ..route("a | /a")
            },
            "0 compress.types: `json` is no media type",
        ),
        (key(KeySettings { ignore_query: strings(&[""]), ..KeySettings::default() }), "0 key.ignore_query: an empty"),
        (key(KeySettings { only_query: Some(strings(&[""])), ..KeySettings::default() }), "0 key.only_query: an empty"),
        (key(KeySettings { cookies: strings(&["a b"]), ..KeySettings::default() }), "0 key.cookies: `a b` is no name"),
    ] {
        check(vec![route], &[expected]);
    }
}

#[test]
fn what_all_routes_share_is_checked_too() {
    let default_route = RouteSettings { tags: strings(&["{id}"]), ..route("default | /x | host=h") };
    let settings = PolicySettings { default_route, hosts: strings(&["a/b"]), max_key: 1, ..PolicySettings::default() };
    let found = problems(settings).join("\n");
    for expected in [
        "- max_key: 1 is not between 256 and 1048576 bytes",
        "- hosts: `a/b` is no host",
        "- path: the route for all the rest has no conditions",
        "- hosts: the route for all the rest has no conditions",
        "- tags: `{id}` names nothing that is known here",
    ] {
        assert!(found.contains(expected), "{expected}\n{found}");
    }
    assert!(problems(PolicySettings::default()).is_empty());
}
