//! Two requests have one key if and only if the backend would see one request (KP-06, KP-07, KP-11 to KP-13).

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::{compile, fields, only, strings};
use crate::policy::{
    CacheKey, Captures, HeaderEdits, KeyBuf, KeySettings, Policy, PolicySettings, Rewrite, RouteSettings, Target,
};
use crate::rfc::Reason;

fn key_of(policy: &Policy, target: &Target<'_>, headers: &HeaderMap) -> Result<(String, CacheKey), Reason> {
    let rule = policy.rules().last().unwrap();
    let forwarded = rule.forward_path(target, &Captures::default());
    let mut buffer = KeyBuf::new();
    rule.key(target, &Captures::default(), &forwarded, headers, &mut buffer)?;
    Ok((forwarded.into_owned(), buffer.to_key()))
}

#[test]
fn spellings_of_a_path_that_the_backend_could_tell_apart_have_keys_apart() {
    let policy = only(RouteSettings::default());
    let pairs = [
        ("/a/../b", "/b"),
        ("/a//b", "/a/b"),
        ("/a/./b", "/a/b"),
        ("/%61", "/a"),
        ("/a%2fb", "/a/b"),
        ("/a%2fb", "/a%2Fb"),
        ("/A", "/a"),
        ("/a;x=1", "/a"),
        ("/a?", "/a"),
        ("/?a=1&utm_content=x;a=evil", "/?a=1"),
        ("/?a=1&a=2", "/?a=2&a=1"),
        ("/?a[]=1", "/?a=1"),
        ("/?%61=1", "/?a=1"),
        ("/?a=1?utm=x", "/?a=1"),
        ("/?&&a=1", "/?a=1"),
    ];
    for (left, right) in pairs {
        let key = |path| key_of(&policy, &Target::new(true, "h", path), &HeaderMap::new()).unwrap();
        let (left_key, right_key) = (key(left), key(right));
        assert_eq!((left_key.0.as_str(), right_key.0.as_str()), (left, right), "forwarded as received");
        assert_ne!(left_key.1, right_key.1, "{left} {right}");
        assert_eq!(left_key.1, key(left).1, "{left}");
    }
}

#[test]
fn host_and_scheme_keep_answers_apart() {
    let policy = only(RouteSettings::default());
    let key =
        |policy: &Policy, secure, host| key_of(policy, &Target::new(secure, host, "/"), &HeaderMap::new()).unwrap().1;
    assert_ne!(key(&policy, true, "a"), key(&policy, true, "b"));
    assert_ne!(key(&policy, true, "a"), key(&policy, true, "a:8080"));
    assert_ne!(key(&policy, true, "a"), key(&policy, false, "a"));
    let blind = compile(PolicySettings { scheme_in_key: false, ..PolicySettings::default() });
    assert_eq!(key(&blind, true, "a"), key(&blind, false, "a"));
}

#[test]
fn headers_and_cookies_of_the_recipe_are_in_the_key_and_others_are_not() {
    let policy = only(RouteSettings {
        key: KeySettings {
            headers: vec![HeaderName::from_static("accept-language"), HeaderName::from_static("accept-language")],
            cookies: strings(&["theme"]),
            ..KeySettings::default()
        },
        ..RouteSettings::default()
    });
    for (lines, expected) in [
        (&[][..], "!accept-language !cookie:theme"),
        (&["accept-language: de", "x-other: 1"], "accept-language=de !cookie:theme"),
        (&["accept-language: "], "accept-language= !cookie:theme"),
        (&["accept-language: de", "accept-language: en"], "accept-language=de accept-language=en !cookie:theme"),
        (&["cookie: a=1; theme=dark;b=2"], "!accept-language cookie:theme=dark"),
        (&["cookie: theme=a; theme=b"], "!accept-language cookie:theme=a cookie:theme=b"),
        (&["cookie: a=1", "cookie: theme=x=y"], "!accept-language cookie:theme=x=y"),
        (&["cookie: theme"], "!accept-language cookie:theme="),
        (&["cookie: Theme=1; xtheme=2"], "!accept-language !cookie:theme"),
    ] {
        let (_, key) = key_of(&policy, &Target::new(false, "h", "/p"), &fields(lines)).unwrap();
        assert_eq!(key.to_string(), format!("default http h /p {expected}"), "{lines:?}");
    }
}

#[test]
fn a_key_above_the_limit_is_a_reason_to_pass() {
    let policy = compile(PolicySettings { max_key: 256, ..PolicySettings::default() });
    let key = |path: &str| key_of(&policy, &Target::new(true, "h", path), &HeaderMap::new()).map(|_| ());
    assert_eq!(key(&"/".repeat(200)), Ok(()));
    assert_eq!(key(&"/".repeat(256)), Err(Reason::KeyTooLong));
}

#[test]
fn a_refused_key_leaves_nothing_behind() {
    let policy = compile(PolicySettings { max_key: 256, ..PolicySettings::default() });
    let mut buffer = KeyBuf::new();
    let target = Target::new(true, "h", "/");
    let rule = policy.rules().last().unwrap();
    let none = Captures::default();
    assert_eq!(rule.key(&target, &none, "/", &HeaderMap::new(), &mut buffer), Ok(()));
    assert!(rule.key(&target, &none, &"/".repeat(256), &HeaderMap::new(), &mut buffer).is_err());
    assert!(buffer.as_slice().is_empty());
}

#[test]
fn a_rewrite_cannot_put_dot_segments_together() {
    let rewrite = Rewrite { replace: Some("/v2/{id}".to_owned()), ..Rewrite::default() };
    let route = RouteSettings { rewrite: Some(rewrite), ..super::route("r | /img-{id}") };
    let policy = super::policy(vec![route]);
    for (path, forwarded, refused) in [("/img-a", "/v2/a", false), ("/img-..", "/v2/..", true)] {
        let target = Target::new(true, "h", path);
        let found = policy.route(&http::Method::GET, &target, &HeaderMap::new());
        assert_eq!(found.rule.bypass(&target), None);
        assert_eq!(found.rule.forward_path(&target, &found.captures), forwarded);
        let key = found.rule.key(&target, &found.captures, forwarded, &HeaderMap::new(), &mut KeyBuf::new());
        assert_eq!(key, if refused { Err(Reason::DotSegments) } else { Ok(()) });
    }
}

#[test]
fn what_the_route_tells_the_backend_is_part_of_the_key() {
    let replace = |to: &str| Rewrite { replace: Some(to.to_owned()), ..Rewrite::default() };
    let set = |name: &'static str, value: &str| HeaderEdits {
        set: vec![(HeaderName::from_static(name), value.to_owned())],
        ..HeaderEdits::default()
    };
    let routes = vec![
        RouteSettings {
            rewrite: Some(replace("/x")),
            request_headers: set("x-tenant", "{tenant}"),
            ..super::route("tenants | /t/{tenant}/x")
        },
        RouteSettings {
            rewrite: Some(replace("/x")),
            request_headers: set("x-version", "1"),
            ..super::route("one | /v1/x")
        },
        RouteSettings {
            rewrite: Some(replace("/x")),
            request_headers: set("x-version", "2"),
            ..super::route("two | /v2/x")
        },
        super::route("beta | /x | header=x-beta"),
        super::route("plain | /x"),
    ];
    let policy = super::policy(routes);
    let mut keys: Vec<CacheKey> = Vec::new();
    for (path, lines) in [
        ("/t/a/x", &[][..]),
        ("/t/b/x", &[]),
        ("/v1/x", &[]),
        ("/v2/x", &[]),
        ("/x", &["x-beta: 1"]),
        ("/x", &["x-beta: 2"]),
        ("/x", &[]),
    ] {
        let (target, request) = (Target::new(true, "h", path), fields(lines));
        let found = policy.route(&http::Method::GET, &target, &request);
        let forwarded = found.rule.forward_path(&target, &found.captures);
        let mut key = KeyBuf::new();
        found.rule.key(&target, &found.captures, &forwarded, &request, &mut key).unwrap();
        assert_eq!(key.to_key().path(), "/x");
        assert!(!keys.contains(&key.to_key()), "{path} {lines:?} shares an entry");
        keys.push(key.to_key());
    }
    assert_eq!(keys[0].to_string(), "default https h /x set:x-tenant=a");
}

#[test]
fn a_url_is_purged_in_every_form_that_a_backend_may_know_it_by() {
    let strip = Rewrite { strip_prefix: Some("/api".to_owned()), ..Rewrite::default() };
    let replace = Rewrite { replace: Some("/v2/users/{id}".to_owned()), ..Rewrite::default() };
    let ignoring = KeySettings { ignore_query: strings(&["utm_*"]), sort_query: true, ..KeySettings::default() };
    let policy = super::policy(vec![
        RouteSettings { rewrite: Some(strip), ..super::route("on a host | /api/{*rest} | host=a.example") },
        RouteSettings { rewrite: Some(replace), ..super::route("posts | /api/users/{id} | method=POST") },
        RouteSettings { key: ignoring, ..super::route("tidy | /api/users/{id} | header=x-tidy") },
    ]);
    let forms = policy.forwarded_forms(&Target::new(false, "", "/api/users/7?utm_x=1&b=2&a=1"));
    let query = "?utm_x=1&b=2&a=1";
    let expected = [
        String::from("/api/users/7?a=1&b=2"),
        format!("/api/users/7{query}"),
        format!("/users/7{query}"),
        format!("/v2/users/7{query}"),
    ];
    assert_eq!(forms, expected);
    assert_eq!(policy.forwarded_forms(&Target::new(false, "", "/other")), ["/other"]);
}

#[test]
fn a_url_with_a_signature_or_a_token_is_signed_whatever_rule_it_takes() {
    let policy = super::policy(vec![super::route("any | /a | method=POST")]);
    for (url, signed) in [
        ("/a", false),
        ("/token", false),
        ("/a?", false),
        ("/a?b=token", false),
        ("/a?token=1", true),
        ("/other?b=1&X-Amz-Signature=1", true),
        ("/a?b=1?token=1", true),
    ] {
        assert_eq!(policy.is_signed(url), signed, "{url}");
    }
}

/// All that a key is made of, as plain values.
#[derive(Clone, Debug, PartialEq)]
struct Parts {
    origin: &'static str,
    secure: Option<bool>,
    host: String,
    forwarded: String,
    extras: Vec<(bool, &'static str, Vec<String>)>,
}

fn extras() -> impl Strategy<Value = Vec<(bool, &'static str, Vec<String>)>> {
    let one = (any::<bool>(), prop::sample::select(vec!["a", "a__b", "b"]), prop::collection::vec(text(), 0..3));
    prop::collection::vec(one, 0..3).prop_map(|mut list| {
        list.sort();
        list.dedup_by(|left, right| (left.0, left.1) == (right.0, right.1));
        list
    })
}

/// Short, of few letters, so that equal ones come up; among them what the layout itself is made of.
fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "b", "ab", "a__b", "b__a", "\t", "  a", "/", "1"]).prop_map(str::to_owned)
}

fn parts() -> impl Strategy<Value = Parts> {
    let origin = prop::sample::select(vec!["o", "o__a", "oa"]);
    let path = prop::sample::select(vec!["/", "/a", "/a__b", "/__a", "/a?a", "/a?", "/\0\0\0\u{1}a", "/\u{1}"]);
    (origin, any::<Option<bool>>(), text(), path.prop_map(str::to_owned), extras())
        .prop_map(|(origin, secure, host, forwarded, extras)| Parts { origin, secure, host, forwarded, extras })
}

fn key_of_parts(parts: &Parts) -> CacheKey {
    let header = |one: &&(bool, &'static str, Vec<String>)| one.0;
    let names = |list: &[(bool, &'static str, Vec<String>)], wanted: bool| -> Vec<&'static str> {
        list.iter().filter(|one| one.0 == wanted).map(|one| one.1).collect()
    };
    let policy = compile(PolicySettings {
        default_origin: parts.origin.to_owned(),
        scheme_in_key: parts.secure.is_some(),
        default_route: RouteSettings {
            name: "default".to_owned(),
            key: KeySettings {
                headers: names(&parts.extras, true).into_iter().map(HeaderName::from_static).collect(),
                cookies: strings(&names(&parts.extras, false)),
                ..KeySettings::default()
            },
            ..RouteSettings::default()
        },
        ..PolicySettings::default()
    });
    let mut request = HeaderMap::new();
    for (_, name, values) in parts.extras.iter().filter(header) {
        for value in values {
            request.append(*name, HeaderValue::from_str(value).unwrap());
        }
    }
    for (_, name, values) in parts.extras.iter().filter(|one| !header(one)) {
        for value in values {
            request.append("cookie", HeaderValue::from_str(&format!("{name}={value}")).unwrap());
        }
    }
    let target = Target::new(parts.secure.unwrap_or_default(), &parts.host, &parts.forwarded);
    let mut buffer = KeyBuf::new();
    policy.rules()[0].key(&target, &Captures::default(), &parts.forwarded, &request, &mut buffer).unwrap();
    buffer.to_key()
}

/// Spaces around a cookie's value are no part of it (RFC 6265 §5.2).
fn trimmed(parts: &Parts) -> Parts {
    let mut parts = parts.clone();
    for (_, _, values) in parts.extras.iter_mut().filter(|one| !one.0) {
        for value in values {
            *value = value.trim().to_owned();
        }
    }
    parts.extras.sort_by_key(|one| !one.0);
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn keys_are_equal_if_and_only_if_all_parts_are(all in prop::collection::vec(parts(), 2..8), again in any::<prop::sample::Index>()) {
        let mut all = all;
        all.push(all[again.index(all.len())].clone());
        for left in &all {
            for right in &all {
                prop_assert_eq!(key_of_parts(left) == key_of_parts(right), trimmed(left) == trimmed(right), "{:?} {:?}", left, right);
            }
        }
    }

    #[test]
    fn keys_are_equal_if_and_only_if_the_forwarded_bytes_are(
        targets in prop::collection::vec(("/[ab./%2fF;]{0,3}(api)?/?[ab]?", "[?]?([ab=&;?]|utm_x|%61){0,4}", "[hH]"), 2..12),
    ) {
        let recipe = KeySettings {
            ignore_query: strings(&["utm_*"]), sort_query: true, ..KeySettings::default()
        };
        let rewrite = Rewrite { strip_prefix: Some("/a".to_owned()), ..Rewrite::default() };
        let policies = [
            only(RouteSettings::default()),
            only(RouteSettings { key: recipe.clone(), ..RouteSettings::default() }),
            only(RouteSettings { key: recipe, rewrite: Some(rewrite), ..RouteSettings::default() }),
        ];
        for policy in &policies {
            let keyed: Vec<_> = targets.iter().filter_map(|(path, query, host)| {
                let whole = format!("{path}{query}");
                let (forwarded, key) = key_of(policy, &Target::new(true, host, &whole), &HeaderMap::new()).ok()?;
                assert_eq!((key.path_and_query(), key.host()), (forwarded.as_str(), host.as_str()));
                Some(((forwarded, host.clone()), key))
            }).collect();
            for (left, left_key) in &keyed {
                for (right, right_key) in &keyed {
                    prop_assert_eq!(left == right, left_key == right_key, "{:?} {:?}", left, right);
                }
            }
        }
    }
}
