//! Which route is picked.

use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::{fields, policy, route};
use crate::policy::pattern::{Pattern, Shape};
use crate::policy::{Policy, RouteSettings, Target};

/// Rows: `METHOD host /path`, header lines, the name of the route and what it captures.
fn check(routes: &[&str], rows: &[(&str, &[&str], &str)]) {
    let policy = policy(routes.iter().map(|line| route(line)).collect());
    for (request, headers, expected) in rows {
        assert_eq!(routed(&policy, request, &fields(headers)), *expected, "{request} {headers:?}");
    }
}

fn routed(policy: &Policy, request: &str, headers: &HeaderMap) -> String {
    let mut words = request.split(' ');
    let method: Method = words.next().unwrap().parse().unwrap();
    let target = Target::new(true, words.next().unwrap(), words.next().unwrap());
    let found = policy.route(&method, &target, headers);
    let captured = found.rule.captured(&target, &found.captures).map(|(name, value)| format!(" {name}={value}"));
    format!("{}{}", found.rule.name, captured.collect::<String>())
}

#[test]
fn a_pattern_by_itself_captures_what_the_router_captures() {
    let paths = ["/", "/a", "/a/", "/a/b", "/a/b/", "/a//b", "/x-1.png", "/x-.png", "/a/b/c", "/b", "a", "*", ""];
    for pattern in ["/", "/a", "/a/", "/{x}", "/{x}/{y}", "/{*all}", "/a/{*rest}", "/x-{x}.png", "/a/{x}/c", "/{x}/"] {
        let alone = policy(vec![route(&format!("r | {pattern}"))]);
        for path in paths {
            let target = Target::new(true, "h", path);
            let found = alone.route(&Method::GET, &target, &HeaderMap::new());
            let expected = (&*found.rule.name == "r").then_some(found.captures);
            assert_eq!(Pattern::parse(pattern).unwrap().capture(path), expected, "{pattern} {path}");
        }
    }
}

#[test]
fn the_most_specific_path_wins_whatever_the_order_of_the_file() {
    let mut routes = [
        "rest | /{*rest}",
        "users | /api/users",
        "one | /api/users/{id}",
        "me | /api/users/me",
        "image | /api/users/{id}.png",
        "prefixed | /api/users/img-{id}.png",
        "deep | /api/users/{id}/posts/{post}",
        "api | /api/{*rest}",
        "slash | /api/users/",
        "root | /",
    ];
    for _ in 0..2 {
        check(
            &routes,
            &[
                ("GET h /", &[], "root"),
                ("GET h /api/users", &[], "users"),
                ("GET h /api/users/", &[], "slash"),
                ("GET h /api/users/me", &[], "me"),
                ("GET h /api/users/7", &[], "one id=7"),
                ("GET h /api/users/7.png", &[], "image id=7"),
                ("GET h /api/users/.png", &[], "one id=.png"),
                ("GET h /api/users/img-7.png", &[], "prefixed id=7"),
                ("GET h /api/users/img-.png", &[], "image id=img-"),
                ("GET h /api/users/7/posts/9?x=/y", &[], "deep id=7 post=9"),
                ("GET h /api/users/7/posts", &[], "api rest=users/7/posts"),
                ("GET h /api/", &[], "api rest="),
                ("GET h /api", &[], "rest rest=api"),
                ("GET h /x//y", &[], "rest rest=x//y"),
                ("OPTIONS h *", &[], "default"),
            ],
        );
        routes.reverse();
    }
}

#[test]
fn a_path_is_matched_by_its_bytes() {
    check(
        &["a | /a/{x}"],
        &[
            ("GET h /a/b%2Fc", &[], "a x=b%2Fc"),
            ("GET h /a/b;v=1", &[], "a x=b;v=1"),
            ("GET h /a/é", &[], "a x=é"),
            ("GET h /%61/b", &[], "default"),
            ("GET h /A/b", &[], "default"),
            ("GET h /a//b", &[], "default"),
            ("GET h /a/", &[], "default"),
            ("GET h /a/b/", &[], "default"),
        ],
    );
}

#[test]
fn among_routes_of_one_path_more_conditions_go_first_and_then_the_file() {
    check(
        &[
            "any | /p/{x}",
            "post | /p/{y} | method=POST",
            "host | /p/{z} | host=a.example",
            "both | /p/{x} | host=a.example | method=POST",
            "header | /p/{x} | host=a.example | header=x-v=2",
        ],
        &[
            ("GET b.example /p/1", &[], "any x=1"),
            ("POST b.example /p/1", &[], "post y=1"),
            ("GET a.example /p/1", &[], "host z=1"),
            ("POST a.example /p/1", &[], "both x=1"),
            ("POST a.example /p/1", &["x-v: 2"], "both x=1"),
            ("GET a.example /p/1", &["x-v: 2"], "header x=1"),
            ("GET a.example /p/1", &["x-v: 1", "x-v: 2"], "header x=1"),
        ],
    );
}

#[test]
fn priority_goes_before_the_number_of_conditions() {
    check(
        &[
            "more | /p | host=h | method=GET,POST",
            "first | /p | method=GET | priority=1",
            "last | /p | host=h | method=POST,PUT | header=x | priority=-1",
        ],
        &[("GET h /p", &[], "first"), ("POST h /p", &["x: 1"], "more"), ("PUT h /p", &["x: 1"], "last")],
    );
}

#[test]
fn a_route_whose_conditions_fail_leaves_the_request_to_less_specific_ones() {
    check(
        &[
            "write | /api/users/{id} | method=PUT",
            "either | /{any}/users/me",
            "rest | /api/{*rest}",
            "beta | header=x-beta",
        ],
        &[
            ("PUT h /api/users/me", &[], "write id=me"),
            ("GET h /api/users/7", &[], "rest rest=users/7"),
            ("GET h /v2/users/me", &[], "either any=v2"),
            ("GET h /other", &["x-beta: 1"], "beta"),
            ("GET h /other", &[], "default"),
        ],
    );
    // `/api/…` is more specific than `/{any}/…` from its first segment on, and the search comes back.
    check(
        &["write | /api/users/{id} | method=PUT", "either | /{any}/users/me"],
        &[("GET h /api/users/me", &[], "either any=api")],
    );
}

#[test]
fn hosts_go_by_name_then_by_the_longest_wildcard() {
    check(
        &[
            "wide | host=*.example.com",
            "narrow | host=*.eu.example.com",
            "name | host=api.eu.example.com",
            "two | host=x.example,y.example",
            "port | host=x.example:8080",
        ],
        &[
            ("GET api.eu.example.com /", &[], "name"),
            ("GET b.eu.example.com /", &[], "narrow"),
            ("GET eu.example.com /", &[], "wide"),
            ("GET example.com /", &[], "default"),
            ("GET y.example /", &[], "two"),
            ("GET x.example:9090 /", &[], "two"),
            ("GET x.example:8080 /", &[], "port"),
        ],
    );
}

#[test]
fn headers_are_matched_exactly_by_prefix_or_by_presence() {
    check(
        &["exact | header=x-a=1", "prefix | header=accept=application/*", "present | header=x-b"],
        &[
            ("GET h /", &["x-a: 1"], "exact"),
            ("GET h /", &["x-a: 11"], "default"),
            ("GET h /", &["accept: application/json"], "prefix"),
            ("GET h /", &["accept: text/html"], "default"),
            ("GET h /", &["x-b: "], "present"),
        ],
    );
}

#[test]
fn get_includes_head() {
    check(
        &["read | /p | method=GET", "head | /p"],
        &[("HEAD h /p", &[], "read"), ("GET h /p", &[], "read"), ("POST h /p", &[], "head")],
    );
}

#[test]
fn a_thousand_routes_on_one_path_are_told_apart_by_host() {
    let mut routes: Vec<RouteSettings> = (0..1000).map(|n| route(&format!("r{n} | /p | host=t{n}.example"))).collect();
    routes.extend((0..1000).map(|n| route(&format!("s{n} | /s{n}/{{id}}"))));
    let policy = policy(routes);
    for n in [0, 1, 499, 999] {
        assert_eq!(routed(&policy, &format!("GET t{n}.example /p"), &HeaderMap::new()), format!("r{n}"));
        assert_eq!(routed(&policy, &format!("GET h /s{n}/x"), &HeaderMap::new()), format!("s{n} id=x"));
    }
    assert_eq!(routed(&policy, "GET t1000.example /p", &HeaderMap::new()), "default");
    assert_eq!(policy.rules().len(), 2001);
    assert!(policy.rules().iter().enumerate().all(|(at, rule)| rule.id == at));
    assert!(policy.rules().iter().all(|rule| policy.rule(rule.id).name == rule.name));
    assert_eq!(&*policy.rule(9999).name, "default");
}

#[test]
fn a_deep_path_costs_no_more_than_the_longest_pattern() {
    let deep = "/x".repeat(200_000);
    check(&["a | /x/{y}/{z}"], &[(&format!("GET h {deep}"), &[], "default")]);
    let rest = &deep[3..];
    check(&["a | /x/{*rest}"], &[(&format!("GET h {deep}"), &[], &format!("a rest={rest}"))]);
}

/// The same question answered the slow way: every pattern is tried, and the best of those that match is taken.
fn slowly<'r>(routes: &'r [RouteSettings], method: &Method, path: &str) -> &'r str {
    let best = routes.iter().enumerate().filter_map(|(at, route)| {
        let takes = route.methods.is_empty() || route.methods.contains(method);
        let shapes = Pattern::parse(route.path.as_deref()?).unwrap().segments;
        let ranks = fit(&shapes, &path.split('/').skip(1).collect::<Vec<_>>())?;
        takes.then_some(((ranks, route.methods.is_empty(), at), route))
    });
    best.min_by(|(left, _), (right, _)| left.cmp(right)).map_or("default", |(_, route)| &route.name)
}

/// How specific each segment of a pattern is that matches; smaller is more so. `None`: it does not match.
fn fit(shapes: &[Shape], segments: &[&str]) -> Option<Vec<(u8, usize, usize)>> {
    let Some((shape, more)) = shapes.split_first() else {
        return segments.is_empty().then(Vec::new);
    };
    let (segment, rest) = segments.split_first()?;
    let rank = match shape {
        Shape::Rest => return Some(vec![(3, 0, 0)]),
        Shape::Fixed(text) => (&**text == *segment).then_some((0, 0, 0)),
        Shape::Any => (!segment.is_empty()).then_some((2, 0, 0)),
        Shape::Between(before, after) => {
            let inner = segment.strip_prefix(&**before).and_then(|inner| inner.strip_suffix(&**after));
            let text = before.len() + after.len();
            inner.filter(|inner| !inner.is_empty()).map(|_| (1, 100 - text, 100 - before.len()))
        }
    };
    let mut ranks = vec![rank?];
    ranks.extend(fit(more, rest)?);
    Some(ranks)
}

fn a_pattern() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "", "{}", "a{}", "{}b", "a{}b", "aa{}"]);
    (prop::collection::vec(segment, 1..4), any::<bool>()).prop_map(|(segments, rest)| {
        let mut path = String::new();
        for (at, segment) in segments.iter().enumerate() {
            path = format!("{path}/{}", segment.replace("{}", &format!("{{p{at}}}")));
        }
        if rest { path + "/{*rest}" } else { path }
    })
}

fn a_path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "", "aab", "aaab", "c"]);
    prop::collection::vec(segment, 1..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #[test]
    fn the_tree_finds_what_trying_everything_finds(
        patterns in prop::collection::vec((a_pattern(), any::<bool>()), 1..12),
        paths in prop::collection::vec(a_path(), 1..20),
    ) {
        let mut routes: Vec<RouteSettings> = Vec::new();
        for (pattern, post) in patterns {
            let methods = if post { vec![Method::POST] } else { Vec::new() };
            let twin = routes.iter().any(|known| known.path.as_ref() == Some(&pattern) && known.methods == methods);
            if !twin {
                let name = format!("r{}", routes.len());
                routes.push(RouteSettings { name, path: Some(pattern), methods, ..RouteSettings::default() });
            }
        }
        let policy = policy(routes.clone());
        for path in &paths {
            for method in [Method::GET, Method::POST] {
                let target = Target::new(true, "h", path);
                let found = policy.route(&method, &target, &HeaderMap::new());
                prop_assert_eq!(&*found.rule.name, slowly(&routes, &method, path), "{} {}", method, path);
                // Putting the captures back into the pattern gives the path.
                if let Some(pattern) = &found.rule.path {
                    let mut again = pattern.to_string();
                    for (name, value) in found.rule.captured(&target, &found.captures) {
                        again = again.replace(&format!("{{{name}}}"), value).replace(&format!("{{*{name}}}"), value);
                    }
                    prop_assert_eq!(&again, path);
                }
            }
        }
    }
}
