//! From a file to a gateway: what is wrong is a value with a place and a hint, and what will happen can be explained.

use std::net::SocketAddr;

use forebay::app::{App, AppError};
use forebay::clock::Clock;
use forebay::config::{self, Config, OriginKind, Override, Overrides};
use forebay::serve::admit::Client;
use forebay::serve::body::Body;
use forebay::telemetry::LogTarget;
use http::Request;

use crate::talk::{Talk, secs};

fn parsed(text: &str) -> Config {
    config::parse(text, "test.toml", &Overrides::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Each line must be among the problems that are found in one go.
#[track_caller]
fn refused(text: &str, overrides: &Overrides, lines: &[&str]) {
    let problems = config::parse(text, "test.toml", overrides).err().map(|problems| problems.to_string());
    let problems = problems.unwrap_or_else(|| panic!("accepted: {text}"));
    for line in lines {
        assert!(problems.contains(line), "{line:?} is not in\n{problems}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_place_and_a_hint() {
    refused(
        r#"
[origin]
url = "backend:8080"
[admin]
listen = "0.0.0.0:9090"
[memory]
capasity = "1GiB"
[[route]]
path = "/a"
ttl = "5 apples"
[[route]]
name = "early"
path = "/b/{x}"
[[route]]
name = "late"
path = "/b/{y}"
"#,
        &Overrides::default(),
        &[
            "test.toml:3",
            "http://backend:8080",
            "test.toml:5",
            "token",
            "test.toml:7",
            "did you mean `capacity`",
            "test.toml:10",
            "5 apples",
            "can never match",
        ],
    );
}

#[test]
fn what_the_command_line_says_is_checked_like_the_file() {
    let flag = |value: &str| Some(Override { value: value.to_owned(), source: "--flag" });
    for (overrides, part) in [
        (Overrides { origin: flag("nowhere"), ..Overrides::default() }, "http://nowhere"),
        (Overrides { listen: flag("8080"), ..Overrides::default() }, "8080"),
        (Overrides { admin: flag("0.0.0.0:9090"), ..Overrides::default() }, "token"),
    ] {
        refused("[origin]\nurl = \"demo\"\n", &overrides, &["--flag", part]);
    }
}

#[test]
fn without_an_origin_there_is_nothing_to_stand_in_front_of() {
    refused("", &Overrides::default(), &["there is no origin", "url = \"demo\""]);
}

#[tokio::test(start_paused = true)]
async fn what_only_building_can_find_is_a_value_too() {
    let build = |config: Config| App::build(config, Clock::starting_at(secs(1_900_000_000))).err();
    let wrong = |change: &dyn Fn(&mut Config)| {
        let mut config = parsed("[origin]\nurl = \"https://backend.test\"\n[[route]]\npath = \"/a\"\n");
        change(&mut config);
        let error = build(config).unwrap_or_else(|| panic!("it was built"));
        assert_eq!(error.exit_code(), 1);
        error
    };
    let twice = wrong(&|config| config.policy.routes.extend(config.policy.routes.clone()));
    assert!(matches!(&twice, AppError::Policy(_)) && twice.to_string().contains("already the name"), "{twice}");
    let untrusting = wrong(&|config| {
        if let Some(OriginKind::Http(settings)) = config.origins.first_mut().map(|entry| &mut entry.kind) {
            settings.tls.ca_file = Some(b"no certificate".to_vec());
        }
    });
    assert!(matches!(&untrusting, AppError::Origin(..)) && untrusting.to_string().contains("default"), "{untrusting}");
    let mute = wrong(&|config| config.log.to = LogTarget::File("/nonexistent/directory/access.log".into()));
    assert!(matches!(&mute, AppError::Log(_)), "{mute}");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_not_there_is_no_reason_not_to_start() {
    let config = parsed("[origin]\nurl = \"http://192.0.2.1:1\"\n");
    let app = App::build(config, Clock::starting_at(secs(1_900_000_000))).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(app.gateway().origins().len(), 1);
    assert!(app.gateway().origins()[0].state().is_healthy(), "nobody has asked it yet");
}

/// What `forebay explain` says of a request in a conversation.
async fn explained(t: &Talk, path: &str, fields: &[&str]) -> String {
    let mut request = Request::get(path).header("host", "example.com");
    for field in fields {
        let (name, value) = field.split_once(':').unwrap();
        request = request.header(name, value.trim());
    }
    let client = Client { address: SocketAddr::from(([127, 0, 0, 1], 0)), secure: false };
    t.gateway.explain(client, request.body(Body::empty()).unwrap(), true).await.text()
}

#[tokio::test(start_paused = true)]
async fn explain_tells_the_whole_way_of_a_stored_answer() {
    let t = Talk::with(
        "[[route]]\nname = \"users\"\npath = \"/api/{id}\"\nrewrite = { strip_prefix = \"/api\" }\ntags = [\"user:{id}\"]\nkey = { headers = [\"X-Plan\"] }\n",
    );
    t.origin("/7").replies("seven").with("cache-control: max-age=60").with("etag: \"1\"");
    t.get("/api/7").await;
    t.advance(secs(20)).await;
    let text = explained(&t, "/api/7", &[]).await;
    let expected = [
        "GET /api/7",
        "  route      users",
        "  origin     default",
        "  forwarded  /7",
        "  key        default http example.com /7 !x-plan",
        "  stored     200, 5 bytes, born at 0 (valid)",
        "  lifetime   60 s (max-age) − 20 s (age) = 40 s",
    ];
    assert!(text.starts_with(&expected.join("\n")), "{text}");
    assert!(text.contains("tag:user:7") && text.ends_with("\n  verdict    serve"), "{text}");

    t.advance(secs(60)).await;
    let text = explained(&t, "/api/7", &[]).await;
    assert!(text.contains("= -20 s") && text.contains("verdict    validate"), "{text}");
    assert!(text.contains("because    stale:") && text.contains("RFC 9111 §4.2"), "{text}");
}

/// What the answer is, and what `explain` says of it.
const ANSWERS: &[(&str, &[&str], &str)] = &[
    ("", &["cache-control: max-age=60"], "answers 200 OK; it would be kept for 60 s (max-age)"),
    ("", &["cache-control: s-maxage=5, max-age=60"], "kept for 5 s (s-maxage)"),
    ("", &["cdn-cache-control: max-age=7"], "kept for 7 s (targeted field)"),
    ("[defaults]\nttl = \"5m\"\n", &[], "kept for 300 s (ttl)"),
    ("", &["cache-control: private"], "would not be kept\n             The answer is for one user"),
    ("", &["set-cookie: a=1", "cache-control: max-age=60"], "(RFC 9111 §7.3)"),
    ("", &[], "neither a lifetime, nor a validator"),
    ("", &["content-type: text/event-stream", "cache-control: max-age=60"], "has no end to wait for"),
];

#[tokio::test(start_paused = true)]
async fn explain_asks_the_backend_what_would_become_of_its_answer() {
    for (config, fields, expected) in ANSWERS {
        let t = Talk::with(config);
        fields.iter().fold(t.origin("/p").replies("x"), |path, line| path.with(line));
        let text = explained(&t, "/p", &[]).await;
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        // It was only a question.
        t.get("/p").await.cache_has("fwd=uri-miss");
        t.origin("/p").was_asked(2);
    }
}

#[tokio::test(start_paused = true)]
async fn explain_names_the_rule_that_stands_in_the_way() {
    let t = Talk::with(
        r#"
        [gateway]
        hosts = ["example.com"]
        [[route]]
        path = "/live"
        pass = true
        [[route]]
        path = "/inside"
        allow = ["10.0.0.0/8"]
        [[route]]
        path = "/{name}.css"
        ttl = "1h"
        "#,
    );
    t.origin("/account.css").replies("page").with("content-type: text/html");
    t.origin("/down").refuses();
    for (path, fields, expected) in [
        ("/live", &[][..], &["verdict    pass", "because    route-pass:", "(policy)"][..]),
        ("/x/../y", &[], &["verdict    pass", "dot-segments:"]),
        ("/x?token=1", &[], &["verdict    pass", "signed-url:"]),
        ("/inside", &[], &["verdict    refuse", "address:"]),
        ("/p", &["upgrade: websocket"], &["verdict    refuse", "upgrade:", "RFC 9110 §7.8"]),
        (
            "/account.css",
            &[],
            &["verdict    fetch", "would not be kept", "extension and the answer's Content-Type disagree"],
        ),
        ("/down", &[], &["verdict    fetch", "did not answer: connect"]),
    ] {
        let text = explained(&t, path, fields).await;
        for part in expected {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
