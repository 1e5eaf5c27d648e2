//! The file as a whole: what is accepted, what is refused and in which words, and that the reference tells the truth.

use std::collections::BTreeSet;
use std::path::Path;

use super::reader::tests::KNOWN;
use super::*;

/// What every file below begins with.
const ORIGIN: &str = "[origin]\nurl = \"http://10.0.0.7:8080\"\n";

/// A world of two variables and two files.
const OUTSIDE: Outside = Outside {
    variable: |name| match name {
        "EMPTY" => Some(String::new()),
        "FOREBAY_ORIGIN" => None,
        _ => Some(format!("value-of-{name}")).filter(|_| name != "UNSET"),
    },
    file: |path| match path.to_str() {
        Some("missing") => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        Some("empty") => Ok(Vec::new()),
        _ => Ok(b"-----BEGIN CERTIFICATE-----".to_vec()),
    },
};

fn read(text: &str) -> Result<Config, Problems> {
    parse_in(text, "c", &Overrides::default(), &OUTSIDE)
}

fn accepted(text: &str) -> Config {
    read(text).unwrap_or_else(|problems| panic!("{text}\n\n{problems}"))
}

/// The problems of `text`, errors and warnings.
fn problems(text: &str) -> Problems {
    read(text).map_or_else(|problems| problems, |config| config.warnings)
}

/// Reads each text behind [`ORIGIN`] and compares its problems, one line each: `line:column message (hint)`.
fn check(rows: &[(&str, &[&str])]) {
    for (text, expected) in rows {
        let found: Vec<String> = problems(&format!("{text}\n{ORIGIN}"))
            .0
            .iter()
            .map(|problem| {
                let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                let warning = if problem.severity == Severity::Warning { "warning: " } else { "" };
                format!("{}:{} {warning}{}{hint}", problem.line, problem.column, problem.message)
            })
            .collect();
        assert_eq!(found, *expected, "\n{text}\n");
    }
}

#[test]
fn an_unknown_key_is_answered_with_what_was_meant() {
    check(&[
        (
            "[[route]]\npath = \"/\"\nstale_while_revalidat = \"30s\"",
            &["3:1 unknown key `stale_while_revalidat` (did you mean `stale_while_revalidate`?)"],
        ),
        ("[[route]]\npath = \"/\"\nkey = { header = [] }", &["3:9 unknown key `header` (did you mean `headers`?)"]),
        ("[lisetn]\nhttp = \"127.0.0.1:1\"", &["1:2 unknown key `lisetn` (did you mean `listen`?)"]),
        ("[memory]\nttl = \"1s\"", &["2:1 unknown key `ttl` (`ttl` belongs in [[route]] or [defaults])"]),
        ("[defaults]\npath = \"/\"", &["2:1 unknown key `path` (`path` belongs in [[route]])"]),
        ("[listen]\nkeepalive = true", &["2:1 unknown key `keepalive`"]),
        ("[defaults]\nttl = { shared = \"5m\" }", &["2:9 unknown key `shared` (not supported by this version)"]),
    ]);
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_file() {
    check(&[(
        "[listen]\nhttp = 80\n[[route]]\npath = 1\nttl = \"soon\"\n[[route]]\npath = \"/a\"\nttll = \"1s\"\n[log]\nformat = \"xml\"",
        &[
            "2:8 expected an address such as \"127.0.0.1:8080\", found a value of type integer",
            "4:8 expected a path such as \"/api\", found a value of type integer",
            "5:7 \"soon\" is no duration (write \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"1d\")",
            "8:1 unknown key `ttll` (did you mean `ttl`?)",
            "10:10 \"xml\" is none of the words that may stand here (write \"json\", \"text\")",
        ],
    )]);
}

#[test]
fn mistakes_in_the_syntax_are_told_at_once_too() {
    check(&[
        ("[listen\nhttp = :80", &["1:8 unclosed table, expected `]`"]),
        (
            "[memory]\ncapacity = 1GiB\n[listen]\nhttp = :80 90",
            &[
                "2:12 string values must be quoted, expected literal string",
                "4:8 string values must be quoted, expected literal string",
            ],
        ),
        ("[memory]\ncapacity = \"1GiB\"\ncapacity = \"2GiB\"", &["3:1 duplicate key"]),
    ]);
}

#[test]
fn tables_are_tables_and_lists_are_lists() {
    check(&[
        ("memory = \"1GiB\"", &["1:10 `memory` must be a table, not a value of type string"]),
        ("[route]\npath = \"/\"", &["1:1 `route` must be written [[route]], once for each"]),
        ("route = [1]", &["1:10 `route[1]` must be a table, not a value of type integer"]),
        ("[origins]\na = 1", &["2:5 `origins.a` must be a table, not a value of type integer"]),
        ("[defaults]\nkey = 1", &["2:7 `key` must be a table, not a value of type integer"]),
        (
            "[defaults]\ntags = [1, \"a\", true]",
            &[
                "2:9 expected a string, in quotes, found a value of type integer",
                "2:17 expected a string, in quotes, found a value of type boolean",
            ],
        ),
    ]);
}

#[test]
fn a_value_outside_its_bounds_is_refused_with_the_bounds() {
    check(&[
        ("[memory]\ncapacity = 0", &["2:12 must be from 1MiB to 1024TiB"]),
        ("[memory]\nmax_variants = -1", &["2:16 must be from 1 to 10000"]),
        ("[memory]\nmax_variants = 99999999999999999999", &["2:16 must be from 1 to 10000"]),
        ("[listen]\nhead_timeout = \"0s\"", &["2:16 must be from 10ms to 1h"]),
        ("[defaults]\nttl = \"4000d\"", &["2:7 must be from 0s to 3650d"]),
        (
            "[log]\nlevel = \"inf\"",
            &[
                "2:9 \"inf\" is no level (write one of off, error, warn, info, debug, trace, or a filter such as \"warn,forebay::upstream=debug\")",
            ],
        ),
        ("[log]\naccess = { sample = 2 }", &["2:21 must be from 0 to 1 (0.01 is one in a hundred)"]),
        ("[defaults]\nrate_limit = \"0/s\"", &["2:14 a rate of 0 admits nothing (to refuse clients, use `deny`)"]),
    ]);
}

#[test]
fn the_parts_must_fit_together() {
    check(&[
        (
            "[listen]\nhttps = \"127.0.0.1:8443\"",
            &["2:9 `https` needs a certificate (add [tls] with cert = \"FILE\" and key = \"FILE\")"],
        ),
        (
            "[tls]\ncert = \"c\"\nkey = \"k\"",
            &["2:8 warning: [tls] has no effect without `https` (add https = \"0.0.0.0:8443\" to [listen])"],
        ),
        (
            "[listen]\nhttps = \"[::1]:1\"\n[tls]\ncert = \"missing\"\nkey = \"empty\"",
            &[
                "4:8 the file missing cannot be read: entity not found",
                "5:7 the file empty holds nothing in PEM form (it should contain a line that begins with -----BEGIN)",
            ],
        ),
        (
            "[listen]\nhttps = \"[::1]:1\"\n[tls]\ncert = \"c\"",
            &["3:1 [tls] needs `key` (both `cert` and `key` name PEM files)"],
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:9090\"",
            &["2:10 whoever reaches 0.0.0.0:9090 could purge the cache: an admin token is needed \
             (add token = \"env:NAME\" to [admin], or listen on 127.0.0.1)"],
        ),
        ("[admin]\nlisten = \"0.0.0.0:9090\"\ntoken = \"env:T\"", &[]),
        (
            "[admin]\nlisten = \"127.0.0.1:8080\"",
            &["2:10 the admin listener needs an address of its own (clients must not reach the admin API)"],
        ),
        (
            "[listen]\ngrace = \"1s\"\ndrain_delay = \"1s\"",
            &[
                "3:15 `drain_delay` is part of `grace` and must be shorter (what is left after the delay is for the answers under way)",
            ],
        ),
        (
            "[memory]\ncapacity = \"2MiB\"",
            &["2:12 `max_object` is larger than `capacity`: such a body could never be kept"],
        ),
        (
            "[defaults]\nmin_ttl = \"1h\"\n[[route]]\npath = \"/\"\nmax_ttl = \"1m\"",
            &["3:1 `min_ttl` is above `max_ttl` (swap them)"],
        ),
        (
            "[[route]]\npath = \"/\"\norigin = \"defualt\"",
            &["3:10 there is no origin \"defualt\" (did you mean \"default\"?)"],
        ),
        (
            "[[route]]\npath = \"/\"\norigin = \"reports\"",
            &["3:10 there is no origin \"reports\" (add [origins.reports])"],
        ),
        (
            "[[route]]\nname = \"a\"\npath = \"/a\"\n[[route]]\nname = \"a\"\npath = \"/b\"",
            &["5:8 `a` is already the name of route 1"],
        ),
    ]);
}

#[test]
fn what_the_policy_finds_has_its_place_in_the_file() {
    check(&[
        (
            "[[route]]\nname = \"a\"\npath = \"/a/{x}\"\n[[route]]\nname = \"b\"\npath = \"/a/{y}\"",
            &["6:8 the route can never match: `a` takes all of its requests \
                 (add a condition, or a higher `priority`, or remove it)"],
        ),
        (
            "[[route]]\npath = \"/users/{userId}\"\ntags = [\"user:{userid}\"]\nttl = \"1s\"\nkey.cookies = \"a=b\"",
            &[
                "3:8 `{userid}` names nothing that is known here \
                 (known are `{userId}`, `{query.NAME}`, `{header.NAME}`, `{host}`, `{path}`)",
                "5:15 `a=b` is no name of a cookie (a name without spaces, `=` and `;`)",
            ],
        ),
        // Said once for the defaults, not again for each route that inherits them.
        (
            "[defaults]\nttl = \"1h\"\nmax_ttl = \"1m\"\n[[route]]\npath = \"/a\"\n[[route]]\npath = \"/b\"",
            &["2:7 `ttl` is above `max_ttl`, which cuts it (raise `max_ttl`)"],
        ),
        // A route with errors shadows nobody.
        (
            "[[route]]\nname = \"a\"\npath = \"/a\"\nmethod = \"get\"\n[[route]]\nname = \"b\"\npath = \"/a\"",
            &["4:10 methods are case-sensitive (write \"GET\")"],
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_change_rule_has_its_place_in_the_file() {
    let heard = "1:1 warning: [[change]] has no effect without [redis]: nothing is listened to (add [redis] with url = \"redis://HOST:6379\")";
    check(&[
        ("[[change]]\nchannel = \"a:{x}\"\nevent = \"e\"\npurge = \"tag:{x}:{data.id}\"", &[heard]),
        (
            "[[change]]\nname = \"n\"",
            &[
                "1:1 a change rule needs `channel` or `stream` (write channel = \"tenant:*:users\")",
                "1:1 a change rule needs `purge` or `soften` (write purge = [\"tag:user:{data.userId}\"])",
                heard,
            ],
        ),
        (
            "[[change]]\nchannel = \"a[b]\"\npurge = \"all\"\n[[change]]\nchannel = \"c\"\nstream = \"s\"\npurge = \"all\"",
            &[
                heard,
                "2:11 '[' cannot stand in the pattern of a channel (`*` and `{name}` take one segment between colons; everything else stands for itself)",
                "6:10 `channel` and `stream` exclude each other (write a rule for each)",
            ],
        ),
        (
            "[[change]]\nchannel = \"c\"\npurge = [\"tga:x\", \"tag:a b\", \"al\"]\nsoften = [\"user:{id}\"]",
            &[
                heard,
                "3:10 `tga:x` is no target (did you mean `tag:x`?)",
                "3:30 `al` is no target (did you mean `all`?)",
            ],
        ),
        (
            "[[change]]\nchannel = \"c\"\npurge = [\"tag:{data..id}\"]\nsoften = [\"user:{id}\"]",
            &[
                heard,
                "3:9 `{data..id}` is no path into a message (write `{data.userId}`, or `{/data/user id}` for names with dots or spaces)",
                "4:10 `user:{id}` is no target (write `tag:NAME`, `url:/PATH`, `prefix:/PATH/`, `group:HOST/NAME` or `all`)",
            ],
        ),
        (
            "[[change]]\nname = \"n\"\nchannel = \"c\"\nevent = \"a\"\nwhere = { \"/eventType\" = \"b\" }\npurge = \"all\"\n\
             [[change]]\nname = \"n\"\nchannel = \"c\"\nevent_at = \"/x\"\npurge = \"all\"",
            &[
                heard,
                "5:9 the rule can never match: `event` and the condition at `/eventType` exclude each other (leave out one of them)",
                "8:8 `n` is already the name of change rule 1",
                "10:12 `event_at` needs `event` (name the event, or leave out `event_at`)",
            ],
        ),
        (
            "[[change]]\nchannel = \"c\"\nrecord_field = \"x\"\nwhere = { \"a.b\" = 1, \"/c\" = 1.5, \"/d\" = true }\npurge = \"all\"\nevnt = \"x\"",
            &[
                heard,
                "3:16 `record_field` needs `stream` (a published message has no fields)",
                "4:11 `a.b` is no place in a message (a JSON pointer begins with a slash: \"/a/b\")",
                "4:29 expected a string, a whole number, true or false, found a value of type float",
                "6:1 unknown key `evnt` (did you mean `event`?)",
            ],
        ),
    ]);
    let text = "[[change]]\nchannel = \"c\"\nevent = [\"a\", \"b\"]\nwhere = { \"/v\" = 0x10, \"/w\" = false }\npurge = \"all\"\n";
    let [rule] = &accepted(&format!("{text}{ORIGIN}")).changes[..] else { panic!("one rule") };
    assert_eq!((rule.event.len(), rule.record_field.as_str()), (2, "data"));
    assert_eq!(rule.conditions, [("/v".to_owned(), "16".to_owned()), ("/w".to_owned(), "false".to_owned())]);
}

#[test]
fn an_origin_is_a_url_and_not_ourselves() {
    let rows = |url: &str| problems(&format!("[origin]\nurl = {url}")).to_string();
    for (url, expected) in [
        (
            "\"api:8080\"",
            "c:2:7: \"api:8080\" is no URL of a backend\n  2 | url = \"api:8080\"\n    |       ^^^^^^^^^^\n  hint: it needs http:// or https://: \"http://api:8080\"",
        ),
        (
            "\"http://127.0.0.1:8080\"",
            "c:2:7: http://127.0.0.1:8080 is this gateway itself, which listens at 127.0.0.1:8080\n  2 | url = \"http://127.0.0.1:8080\"\n    |       ^^^^^^^^^^^^^^^^^^^^^^^\n  hint: name the address of the backend",
        ),
        (
            "\"http://user:hunter2@api\"",
            "c:2:7: the URL of a backend holds no user and no password\n  2 | url = …\n    |       ^\n  hint: send credentials with request_headers = { set = { … } }",
        ),
        (
            "[\"demo\", \"http://a\"]",
            "c:2:7: \"demo\" stands alone; it cannot be one of several endpoints\n  2 | url = [\"demo\", \"http://a\"]\n    |       ^^^^^^^^^^^^^^^^^^^^",
        ),
    ] {
        assert_eq!(rows(url), expected);
    }
    for ourselves in ["http://localhost:9090", "http://[::1]:8080", "http://0.0.0.0:8080"] {
        assert!(rows(&format!("\"{ourselves}\"")).contains("is this gateway itself"), "{ourselves}");
    }
    for another in ["http://localhost:8081", "http://10.0.0.7:8080", "https://localhost"] {
        assert_eq!(rows(&format!("\"{another}\"")), "");
    }
    assert_eq!(
        problems("").to_string(),
        "c: there is no origin\n  hint: add [origin] with url = \"http://HOST:PORT\" or url = \"demo\""
    );
    assert_eq!(
        problems("[origin]\nhost = \"a\"").to_string(),
        "c:1:1: the origin \"default\" has no `url`\n  1 | [origin]\n    | ^^^^^^^^\n  hint: write url = \"http://HOST:PORT\", a list of such URLs, or \"demo\""
    );
}

#[test]
fn one_of_several_origins_is_the_default() {
    let [a, b] = ["[origins.a]\nurl = \"http://a\"\n", "[origins.b]\nurl = \"http://b\"\n"];
    assert_eq!(accepted(a).policy.default_origin, "a");
    assert_eq!(accepted(&format!("{a}{b}{ORIGIN}")).policy.default_origin, "default");
    assert_eq!(accepted(&format!("{a}{b}[defaults]\norigin = \"b\"")).policy.default_origin, "b");
    assert_eq!(
        problems(&format!("{a}{b}")).to_string(),
        "c: there are several origins and none of them is the default\n  hint: write [defaults] origin = \"a\""
    );
}

#[test]
fn what_is_risky_is_accepted_and_said() {
    check(&[
        (
            "[defaults]\nstore_set_cookie = true",
            &["2:20 warning: answers that set cookies are stored: every client may get the cookie of the first \
             (remove the cookie instead: response_headers = { remove = [\"Set-Cookie\"] })"],
        ),
        (
            "[defaults]\nttl_override = true\nttl_beats = [\"private\"]",
            &["3:13 warning: answers meant for one client may be stored and given to others \
             (make sure that the key tells the clients apart)"],
        ),
        (
            "[defaults]\nttl_beats = [\"private\"]",
            &["2:13 warning: `ttl_beats` has no effect without `ttl_override = true`"],
        ),
        (
            "[defaults]\nforward_headers = [\"Accept\"]",
            &["2:19 warning: `forward_headers` has no effect without `profile = \"strict\"`"],
        ),
        (
            "[gateway]\ntrusted_proxies = [\"0.0.0.0/0\"]",
            &["2:19 warning: everybody is trusted to say who they are and which host they asked for \
             (name the networks of your own proxies or of your CDN)"],
        ),
        (
            "[origins.b]\nurl = \"https://b\"\ntls.insecure = true",
            &["3:16 warning: any certificate is accepted: whoever sits between can read and change every answer \
             (name the backend's authority with `ca` instead)"],
        ),
    ]);
}

#[test]
fn a_secret_comes_from_outside_and_is_never_repeated() {
    check(&[
        (
            "[admin]\ntoken = \"env:UNSET\"",
            &["2:9 the environment variable UNSET is not set (set it before the start; in Kubernetes, from a Secret)"],
        ),
        ("[admin]\ntoken = \"env:EMPTY\"", &["2:9 the secret is empty (an empty secret would let everybody in)"]),
        ("[admin]\ntoken = \"file:missing\"", &["2:9 the file missing cannot be read: entity not found"]),
        (
            "[gateway]\nrefresh_token = { header = \"X\" }",
            &[
                "2:17 `refresh_token` needs `token` (write refresh_token = { header = \"Forebay-Refresh\", token = \"env:NAME\" })",
            ],
        ),
    ]);
    let config = accepted(&format!("{ORIGIN}[admin]\ntoken = \"hunter2\"\n[gateway]\npurge_method = \"env:P\""));
    assert!(config.admin.token.is_some_and(|token| token.is(b"hunter2")));
    assert!(config.gateway.purge_method.is_some_and(|token| token.is(b"value-of-P")));
    assert!(!config.warnings.to_string().contains("hunter2"), "{}", config.warnings);
    assert!(config.warnings.to_string().contains("this secret stands in the file in the clear"));
}

#[test]
fn a_route_says_what_the_defaults_do_not() {
    let config = accepted(&format!(
        "{ORIGIN}[defaults]\nttl = \"1m\"\nmax_ttl = \"1h\"\nkey = {{ ignore_query = [\"utm_*\"], sort_query = true }}\nrate_limit = \"5/s\"\n\
         [[route]]\npath = \"/a/{{id}}\"\nttl = {{ memory = \"2m\", cdn = \"30s\" }}\nkey = {{ headers = [\"accept-language\"] }}\nrate_limit = false\n\
         [[route]]\nname = \"b\"\nheader = {{ X-Beta = true, Accept = \"text/*\", X-Version = \"2\" }}\nheuristic = false\nprofile = \"strict\"\n"
    ));
    let [a, b] = &config.policy.routes[..] else { panic!("two routes") };
    let default = &config.policy.default_route;
    let minutes = |minutes: u64| Some(std::time::Duration::from_secs(60 * minutes));

    assert_eq!((default.name.as_str(), a.name.as_str(), b.name.as_str()), ("default", "/a/{id}", "b"));
    assert_eq!((default.terms.ttl, a.terms.ttl, b.terms.ttl), (minutes(1), minutes(2), minutes(1)));
    assert_eq!((a.terms.max_ttl, a.cdn_ttl, b.cdn_ttl), (minutes(60), Some(std::time::Duration::from_secs(30)), None));
    assert_eq!((&a.key.ignore_query[..], a.key.sort_query, a.key.headers.len()), (&["utm_*".to_owned()][..], true, 1));
    assert_eq!((a.rate_limit, b.rate_limit.map(|limit| limit.requests)), (None, Some(5)));
    assert_eq!((a.terms.heuristic.is_some(), b.terms.heuristic.is_some()), (true, false));
    assert_eq!((a.strict.is_some(), b.strict.is_some()), (false, true));
    assert_eq!(
        format!("{:?}", b.headers.iter().map(|test| &test.value).collect::<Vec<_>>()),
        r#"[Present, Prefix("text/"), Exact("2")]"#
    );
}

/// A world of one variable.
const ONE_SET: Outside =
    Outside { variable: |name| (name == "FOREBAY_LISTEN").then(|| "127.0.0.1:3".to_owned()), file: OUTSIDE.file };

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let file = "[listen]\nhttp = \"127.0.0.1:1\"\n[admin]\nlisten = \"127.0.0.1:2\"\n[origin]\nurl = \"http://a\"\nretries = 3";
    let with = |listen: Option<&str>, origin: Option<&str>| {
        let owned = |value: Option<&str>| value.map(str::to_owned);
        parse_in(
            file,
            "c",
            &Overrides::gather_in([owned(listen), owned(origin), Some("off".to_owned()), None], &ONE_SET),
            &OUTSIDE,
        )
    };

    let config = with(None, None).unwrap();
    assert_eq!(config.listen.http.map(|address| address.port()), Some(3));
    assert_eq!(config.admin.listen, None);
    let config = with(Some("127.0.0.1:4"), Some("https://b:8443")).unwrap();
    assert_eq!(config.listen.http.map(|address| address.port()), Some(4));
    let OriginKind::Http(origin) = &config.origins[0].kind else { panic!("an HTTP origin") };
    assert_eq!((origin.endpoints[0].url().as_str(), origin.retries), ("https://b:8443", 3));
    assert!(matches!(with(None, Some("demo")).unwrap().origins[0].kind, OriginKind::Demo));

    assert_eq!(
        with(Some("4"), Some("http://127.0.0.1:3/x"))
            .unwrap_err()
            .0
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [
            "--listen: \"4\" is no address to listen at\n  hint: an address is a number and a port: \"127.0.0.1:8080\" or \"[::1]:8080\"",
            "--origin: \"http://127.0.0.1:3/x\" has a path or query; a backend is a scheme, a host and perhaps a port",
        ]
    );
    let alone =
        Overrides { origin: Some(Override { value: "demo".to_owned(), source: "--origin" }), ..Overrides::default() };
    assert_eq!(parse_in("", "c", &alone, &OUTSIDE).unwrap().origins.len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let problems = load(Path::new("no/such/file.toml"), &Overrides::default()).unwrap_err();
    let said = problems.to_string();
    assert!(said.starts_with("no/such/file.toml: cannot be read: "), "{said}");
    assert!(said.ends_with("hint: name another file with --config"), "{said}");
}

#[test]
fn the_configuration_at_the_top_of_the_repository_is_accepted() {
    let shipped = include_str!("../../config.toml");
    assert!(accepted(shipped).warnings.is_empty());
    let routes: String = shipped
        .lines()
        .map(|line| {
            line.strip_prefix("# ").filter(|rest| rest.starts_with('[') || rest.contains(" = ")).unwrap_or(line)
        })
        .fold(String::new(), |text, line| text + line + "\n");
    let config = accepted(&routes);
    // The one thing to be said is that nobody listens yet.
    let unheard = config.warnings.0.iter().filter(|warning| warning.message.contains("without [redis]")).count();
    let counts = (config.policy.routes.len(), config.changes.len(), config.warnings.0.len() - unheard);
    assert_eq!(counts, (7, 5, 0), "{}", config.warnings);
}

/// A file in which a setting stands where it belongs, with the given value.
fn with(setting: &Setting, value: &str) -> String {
    let Setting { section, key, .. } = setting;
    let tls = if *section == "tls" { "" } else { "[tls]\ncert = \"a\"\nkey = \"b\"\n" };
    let listen = if *section == "listen" { "" } else { "[listen]\nhttps = \"[::1]:1\"\nhttp = \"127.0.0.1:8080\"\n" };
    let origin = if *section == "origin" { "url = \"http://a\"\n" } else { ORIGIN };
    match *section {
        "origin" if *key == "url" => format!("{tls}{listen}[origin]\nurl = {value}"),
        "origin" => format!("{tls}{listen}[origin]\n{origin}{key} = {value}"),
        "route" => format!("{tls}{listen}{ORIGIN}[[route]]\n{key} = {value}"),
        "change" => {
            let from = if setting.key == "record_field" { "stream = \"s\"" } else { "channel = \"c\"" };
            let rest = [("channel", from), ("purge", "purge = \"tag:x\""), ("event", "event = \"e\"")];
            let rest = rest.iter().filter(|(name, _)| name != key && (*name != "channel" || *key != "stream"));
            let rest: Vec<&str> = rest.map(|(_, line)| *line).collect();
            format!("{tls}{listen}{ORIGIN}[[change]]\n{}\n{key} = {value}", rest.join("\n"))
        }
        "defaults" if value.contains("{userId}") => {
            format!("{tls}{listen}{ORIGIN}[[route]]\npath = \"/users/{{userId}}\"\n{key} = {value}")
        }
        "redis" if *key != "url" => {
            format!("{tls}{listen}{ORIGIN}[redis]\nurl = \"redis://redis.internal:6379\"\n{key} = {value}")
        }
        section => format!("{tls}{listen}{ORIGIN}[{section}]\n{key} = {value}"),
    }
}

#[test]
fn every_example_of_the_reference_is_accepted() {
    for setting in SETTINGS {
        let text = with(setting, setting.example);
        for problem in problems(&text).0 {
            let partner_missing = problem.message.contains("needs `");
            assert!(problem.severity == Severity::Warning || partner_missing, "{text}\n{problem}");
            assert!(!problem.message.contains("unknown key"), "{text}\n{problem}");
        }
    }
}

#[test]
fn every_default_of_the_reference_is_the_one_that_runs() {
    for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
        let described = |value: &str| format!("{:?}", accepted(&with(setting, value)));
        let (said, without) = (described(setting.default), accepted(&without(setting)));
        assert_eq!(said, format!("{without:?}"), "{}.{}", setting.section, setting.key);
    }
}

/// The same file without the setting. `health` must be there for its keys to mean something.
fn without(setting: &Setting) -> String {
    let text = with(setting, "");
    let cut = text.trim_end().rsplit_once('\n').map_or("", |(before, _)| before).to_owned();
    if setting.key.starts_with("health.") { format!("{cut}\nhealth = {{}}") } else { cut }
}

#[test]
fn every_key_that_is_read_is_in_the_reference() {
    KNOWN.with_borrow_mut(BTreeSet::clear);
    for long in ["ttl", "heuristic", "rate_limit", "compress"] {
        problems(&format!("{ORIGIN}[[route]]\n{long} = {{}}"));
    }
    problems(&format!("{ORIGIN}[log]\naccess = {{}}\n[[change]]\n[redis]"));
    let tables = |key: &str| SETTINGS.iter().any(|setting| setting.key.starts_with(&format!("{key}.")));
    let sections: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.section).collect();
    KNOWN.with_borrow(|known| {
        assert!(known.len() > SETTINGS.len(), "{known:?}");
        for full in known {
            let Some((section, key)) = full.split_once('.') else {
                assert!(sections.contains(full.as_str()) || full == "origins", "{full}");
                continue;
            };
            let listed =
                |section: &str| SETTINGS.iter().any(|setting| (setting.section, setting.key) == (section, key));
            let found = match section {
                "route[1]" => listed("route") || listed("defaults"),
                "change[1]" => listed("change"),
                section => listed(section),
            };
            assert!(found || tables(key), "{full} is not in the reference");
        }
    });
}

#[test]
fn the_page_about_the_configuration_is_printed_from_the_reference() {
    let page = include_str!("../../docs/config.md");
    assert_eq!(page, reference(), "print the page again: cargo test print_the_page -- --ignored");
}

proptest::proptest! {
    /// Whatever stands in the file, reading it ends with a config or with problems.
    #[test]
    fn no_file_makes_the_reader_panic(
        section in 0..SETTINGS.len(),
        value in "[ -~äß\n\t]{0,12}|[0-9]{1,25}[a-zA-Z]{0,3}|\"[0-9a-z:/.*{}@%-]{0,12}\"|\\[[0-9\",]{0,8}\\]",
        cut in 0_usize..400,
    ) {
        let text = with(&SETTINGS[section], &value);
        let _ = problems(&text).to_string();
        let _ = problems(text.get(..cut).unwrap_or(&text)).to_string();
    }
}
#[test]
#[ignore = "writes docs/config.md: run it after a change of the reference"]
fn print_the_page_about_the_configuration() {
    std::fs::write("docs/config.md", reference()).unwrap();
}
