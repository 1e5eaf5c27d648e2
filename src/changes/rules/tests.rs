//! Messages and what they change: the shapes that backends send, what is refused, and what holds for any bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::changes::Purge;

/// A rule in one line: `channel | purge …`, words `event=…`, `at=…`, `where=/pointer=value`, `soften=…` and `name=…` where
/// needed; every other word is a target to purge. A channel that begins with `>` is a stream.
fn setting(line: &str) -> ChangeRuleSettings {
    let (from, words) = line.split_once(" | ").expect(line);
    let mut rule = ChangeRuleSettings::default();
    match from.strip_prefix('>') {
        Some(stream) => rule.stream = Some(stream.to_owned()),
        None if from.is_empty() => {}
        None => rule.channel = Some(from.to_owned()),
    }
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once('=').unwrap_or(("", word));
        match key {
            "event" => rule.event.push(value.to_owned()),
            "at" => rule.event_at = Some(value.to_owned()),
            "where" => {
                let (pointer, value) = value.split_once('=').expect(word);
                rule.conditions.push((pointer.to_owned(), value.to_owned()));
            }
            "name" => rule.name = Some(value.to_owned()),
            "field" => rule.record_field = value.to_owned(),
            "soften" => rule.soften.push(value.to_owned()),
            _ => rule.purge.push(word.to_owned()),
        }
    }
    rule
}

fn settings(lines: &[&str]) -> Vec<ChangeRuleSettings> {
    lines.iter().map(|line| setting(line)).collect()
}

fn rules(lines: &[&str]) -> ChangeRules {
    let said = |problems: Vec<RuleProblem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    ChangeRules::compile(&settings(lines)).unwrap_or_else(|problems| panic!("{}", said(problems)))
}

/// The changes as full names, soft ones with `~`; or why there are none.
fn shown(mapped: &Mapped<'_>) -> String {
    let change = |change: &Change| {
        let soft = if change.action == Action::Purge(Purge::Soft) { "~" } else { "" };
        assert_eq!(change.source, Source::Event);
        format!("{soft}{}", change.selector.tag())
    };
    match &mapped.dropped {
        Some(dropped) => dropped.code().to_owned(),
        None => mapped.changes.iter().map(change).collect::<Vec<_>>().join(" "),
    }
}

fn check(rules: &ChangeRules, rows: &[(&str, &str, &str)]) {
    for (channel, payload, expected) in rows {
        let mapped = rules.map(&Message::Published { channel, payload: payload.as_bytes() });
        assert_eq!(shown(&mapped), *expected, "{channel} {payload}");
        assert_eq!(mapped.dropped.is_some(), mapped.changes.is_empty());
    }
}

const PROFILE: &str = r#"{"eventType":"user-profile-changed","tenantId":"123","data":{"userId":"user-456","changedFields":["title","department"]}}"#;
const CREDIT: &str = r#"{"eventType":"credit-config-changed","tenantId":"123","data":{"operationCode":"crm.leads.create","changedFields":["credit_cost"],"newValue":3.0,"oldValue":2.5}}"#;

#[test]
fn the_messages_of_the_design_purge_what_they_name() {
    let rules = rules(&[
        "tenant:*:users | event=user-profile-changed tag:user:{data.userId} url:/api/users/{data.userId}",
        "tenant:{tenant}:credit-configs | event=credit-config-changed tag:credit-config:{data.operationCode} soften=tag:tenant:{tenant}",
    ]);
    check(
        &rules,
        &[
            ("tenant:123:users", PROFILE, "tag:user:user-456 url:/api/users/user-456"),
            ("tenant:123:credit-configs", CREDIT, "tag:credit-config:crm.leads.create ~tag:tenant:123"),
            ("tenant:123:users", CREDIT, "no-rule"),
            ("tenant:1:2:users", PROFILE, "no-rule"),
            ("users", PROFILE, "no-rule"),
        ],
    );
    let subscribed = |text: &str| Subscription::Pattern(text.to_owned());
    assert_eq!(rules.subscriptions(), [subscribed("tenant:*:credit-configs"), subscribed("tenant:*:users")]);
}

/// As Go's encoder writes the `InvalidationEvent` of document 002, which has no tags: names in capitals.
#[test]
fn the_keys_of_an_invalidation_event_are_tags_one_by_one() {
    let rules = rules(&["cache.invalidate | tag:{Keys}"]);
    let message = r#"{"Keys":["bid:123","bids:call:77","bids:buyer:9:active"],"Timestamp":"2025-01-15T10:30:00.123456789Z","Source":"update"}"#;
    check(
        &rules,
        &[
            ("cache.invalidate", message, "tag:bid:123 tag:bids:call:77 tag:bids:buyer:9:active"),
            ("cache.invalidate", r#"{"Keys":[],"Timestamp":"x","Source":"update"}"#, "nothing-named"),
            ("cache.invalidate", r#"{"Keys":null,"Timestamp":"x","Source":"update"}"#, "missing-field"),
            ("cache.invalidate", r#"{"keys":["bid:123"]}"#, "missing-field"),
            ("cacheXinvalidate", message, "no-rule"),
        ],
    );
    assert_eq!(rules.subscriptions(), [Subscription::Channel("cache.invalidate".into())]);
}

#[test]
fn a_record_of_a_stream_is_a_message_too() {
    let rules = rules(&[">changes | tag:user:{data.userId}", ">changes | field=body tag:b:{id}", ">other | tag:{id}"]);
    let record = |fields: &[(&[u8], &[u8])]| shown(&rules.map(&Message::Recorded { stream: "changes", fields }));
    assert_eq!(record(&[(b"data", PROFILE.as_bytes())]), "tag:user:user-456");
    assert_eq!(record(&[(b"data", PROFILE.as_bytes()), (b"body", b"{\"id\":1}")]), "tag:user:user-456 tag:b:1");
    assert_eq!(record(&[(b"id", b"7")]), "tag:b:7", "a flat one");
    assert_eq!(record(&[(b"data", b"\xff"), (b"id", b"7")]), "not-utf8", "no rule can read it");
    assert_eq!(record(&[(b"data", b"{}")]), "missing-field");
    assert_eq!(record(&[(b"data", &vec![b' '; MAX_MESSAGE])]), "too-large");
    check(&rules, &[("changes", PROFILE, "no-rule")]);
    assert_eq!((rules.subscriptions().len(), rules.streams().len()), (0, 2));
}

#[test]
fn the_event_is_where_the_message_or_the_rule_says() {
    let rules = rules(&["c | event=a event=b tag:any", "c | event=a at=/meta/kind tag:own", "d | event=7 tag:n"]);
    check(
        &rules,
        &[
            ("c", r#"{"eventType":"a"}"#, "tag:any"),
            ("c", r#"{"type":"b"}"#, "tag:any"),
            ("c", r#"{"event":"a","type":{}}"#, "tag:any"),
            ("c", r#"{"type":"x","event":"a"}"#, "no-rule"),
            ("c", r#"{"meta":{"kind":"a"}}"#, "tag:own"),
            ("c", r#"{"meta":{"kind":"a"},"type":"a"}"#, "tag:any tag:own"),
            ("c", r#"{"type":"A"}"#, "no-rule"),
            ("c", r"{}", "no-rule"),
            ("d", r#"{"type":7}"#, "tag:n"),
        ],
    );
}

#[test]
fn what_is_missing_costs_only_the_target_that_needs_it() {
    let rules = rules(&["c | tag:a:{a} tag:b:{b} soften=tag:c:{c}"]);
    check(
        &rules,
        &[
            ("c", r#"{"a":1}"#, "tag:a:1"),
            ("c", r#"{"b":"","c":true}"#, "~tag:c:true"),
            ("c", r#"{"b":{}}"#, "missing-field"),
        ],
    );
    let mapped = rules.map(&Message::Published { channel: "c", payload: br#"{"a":1}"# });
    let skipped: Vec<String> = mapped.matched[0].skipped.iter().map(ToString::to_string).collect();
    assert_eq!(
        skipped,
        ["the message has no value at `b`, for `tag:b:{b}`", "the message has no value at `c`, for `tag:c:{c}`"]
    );
}

#[test]
fn more_than_one_message_may_name_is_everything_the_rule_governs() {
    let rules =
        rules(&["c | name=many tag:{ids} soften=tag:x", "c | name=soft soften=tag:s:{ids}", "c | name=one tag:one"]);
    let ids = |count: usize| format!(r#"{{"ids":{:?}}}"#, (0..count).collect::<Vec<_>>());
    let mapped = |payload: &str| {
        let mapped = rules.map(&Message::Published { channel: "c", payload: payload.as_bytes() });
        assert!(mapped.changes.len() <= MAX_CHANGES);
        let widened: Vec<_> = mapped.matched.iter().map(|matched| (matched.widened, matched.changes)).collect();
        (shown(&mapped).split(' ').map(str::to_owned).collect::<BTreeSet<_>>(), widened)
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let many = Some(Widened::TooMany);

    assert_eq!(mapped(&ids(498)).1, [(None, 499), (None, 498), (None, 1)]);
    assert_eq!(mapped(&ids(501)).1, [(None, 502), (many, 1), (None, 1)]);
    assert!(mapped(&ids(501)).0.contains("~governed:soft"));
    assert_eq!(mapped(&ids(997)).1, [(None, 998), (many, 1), (None, 1)]);
    assert_eq!(mapped(&ids(999)).0, set(&["governed:many", "~governed:soft", "tag:one"]));
    assert_eq!(
        mapped(r#"{"ids":123456789012345678901234567890}"#).0,
        set(&["governed:many", "~governed:soft", "tag:one"])
    );
    // One and the same name a thousand times is one name.
    assert_eq!(mapped(&format!(r#"{{"ids":{:?}}}"#, vec![7; 5000])).1, [(None, 2), (None, 1), (None, 1)]);
}

#[test]
fn two_lists_in_one_target_cannot_make_it_work_for_long() {
    let rules = rules(&["c | name=r tag:{a}:{b}:{c}"]);
    let list = format!("{:?}", (0..5000).collect::<Vec<_>>());
    check(&rules, &[("c", &format!(r#"{{"a":{list},"b":{list},"c":7}}"#), "governed:r")]);
}

#[test]
fn ps_01_a_message_that_cannot_be_read_is_dropped_with_a_reason() {
    let rules = rules(&["c | where=/version=1 tag:{id}"]);
    let large = format!(r#"{{"id":"{}"}}"#, "x".repeat(1 << 20));
    let deep = format!(r#"{{"version":1,"id":{}1{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    check(
        &rules,
        &[
            ("c", r#"{"version":1,"id":7}"#, "tag:7"),
            ("c", r#"{"version":2,"id":7}"#, "no-rule"),
            ("c", r#"{"id":7}"#, "no-rule"),
            ("c", r#"{"version":1,"id":{"x":1}}"#, "missing-field"),
            ("c", r#"{"version":1,"#, "not-json"),
            ("c", r"[1]", "not-an-object"),
            ("c", "", "not-json"),
            ("c", &large, "too-large"),
            ("c", &deep, "too-deep"),
        ],
    );
    let invalid = rules.map(&Message::Published { channel: "c", payload: b"{\"version\":1,\"id\":\"\xff\"}" });
    assert_eq!(invalid.dropped.as_ref().map(Dropped::code), Some("not-utf8"));
    assert_eq!(
        invalid.dropped.map(|dropped| dropped.to_string()).as_deref(),
        Some("the message is not UTF-8, from byte 19 on")
    );
}

#[test]
fn ps_04_a_message_of_another_environment_or_namespace_changes_nothing() {
    let rules = rules(&["prod:*:users | tag:{id}", "users | where=/environment=prod where=/region=1 tag:{id}"]);
    check(
        &rules,
        &[
            ("prod:1:users", r#"{"id":1}"#, "tag:1"),
            ("staging:1:users", r#"{"id":1}"#, "no-rule"),
            ("users", r#"{"id":1,"environment":"prod","region":1}"#, "tag:1"),
            ("users", r#"{"id":1,"environment":"prod","region":"1"}"#, "tag:1"),
            ("users", r#"{"id":1,"environment":"staging","region":1}"#, "no-rule"),
            ("users", r#"{"id":1,"environment":["prod"],"region":1}"#, "no-rule"),
            ("users", r#"{"id":1,"region":1}"#, "no-rule"),
        ],
    );
}

#[test]
fn ps_06_what_a_message_says_selects_one_thing_only() {
    let rules = rules(&["{a}:{b} | tag:u:{id} prefix:/u/{id} url:/{a}/x"]);
    let named = |channel: &str, id: &str| {
        let payload = serde_json::json!({ "id": id }).to_string();
        shown(&rules.map(&Message::Published { channel, payload: payload.as_bytes() }))
    };
    assert_eq!(named("t:u", "*"), "tag:u:* prefix:/u/*/ url:/t/x");
    assert_eq!(named("t:u", "7/../.."), "tag:u:7/../.. prefix:/u/7%2F..%2F../ url:/t/x");
    assert_eq!(
        named("t:u", ".*|^$[a-z]"),
        "tag:u:.*|^$[a-z] prefix:/u/.*%7C%5E%24%5Ba-z%5D/ prefix:/u/.*%7C%5E$%5Ba-z%5D/ url:/t/x"
    );
    assert_eq!(named("/?:u", "{a}"), "tag:u:{a} prefix:/u/%7Ba%7D/ url:/%2F%3F/x");
    assert_eq!(named("t:u", ""), "url:/t/x", "and not the prefix of all users");
}

#[test]
fn ps_02_what_rules_say_of_everything_takes_a_rule_that_says_so() {
    let rules = rules(&["c | event=purge-all all", "c | tag:{id}"]);
    check(
        &rules,
        &[
            ("c", r#"{"event":"purge-all"}"#, "*"),
            ("c", r#"{"event":"x","id":"*","all":true,"purge":["all"]}"#, "tag:*"),
            ("c", r#"{"event":"x","id":["all"]}"#, "tag:all"),
        ],
    );
}

#[test]
fn without_a_channel_every_rule_is_tried() {
    let rules =
        rules(&["tenant:{tenant}:users | event=x tag:{tenant}:{id}", ">s | tag:s:{id}", "c | event=y tag:{id}"]);
    let mapped = rules.map_anywhere(br#"{"type":"x","id":1}"#);
    assert_eq!(shown(&mapped), "tag:{tenant}:1 tag:s:1");
    let misses = |channel| {
        rules.misses(channel, br#"{"type":"x","id":1}"#).into_iter().map(|(rule, miss)| format!("{rule}: {miss}"))
    };
    assert_eq!(misses(None).collect::<Vec<_>>(), ["c y: it is about another event than \"x\""]);
    assert_eq!(misses(Some("c")).count(), 3);
    assert!(rules.misses(None, b"{").is_empty());
    assert_eq!(rules.map_anywhere(b"{").dropped.map(|dropped| dropped.code()), Some("not-json"));
}

#[test]
fn a_rule_is_called_by_its_name_or_by_what_it_is_about() {
    let rules =
        rules(&["c | tag:a", "c | tag:b", "c (2) | tag:c", "c | event=x tag:d", ">s | tag:e", "d | name=c tag:f"]);
    assert_eq!(rules.names().collect::<Vec<_>>(), ["c (2)", "c (3)", "c (2) (2)", "c x", "stream s", "c"]);
}

#[test]
fn an_entry_is_governed_by_the_rules_that_could_name_it() {
    let rules = rules(&[
        "tenant:*:users | name=users tag:user:{data.userId} url:/api/users/{data.userId} prefix:/api/users/{data.userId}/",
        "c | name=host url:https://{t}.example/x group:h/{g}",
        "c | name=all all",
        ">s | name=stream tag:user:7",
    ]);
    let governed = |tags: &[&str]| {
        let mut out = vec!["kept".to_owned()];
        rules.governed_by(tags, &mut out);
        out.split_off(1).join(" ")
    };
    assert_eq!(governed(&["tag:user:8", "url:/x"]), "governed:users");
    assert_eq!(governed(&["url:/api/users/7", "url://h/api/users/7", "tag:user:7"]), "governed:users governed:stream");
    assert_eq!(governed(&["prefix:/", "prefix:/api/", "prefix:/api/users/", "prefix:/api/users/7/"]), "governed:users");
    assert_eq!(governed(&["prefix:/", "prefix:/api/", "prefix:/api/users/"]), "");
    assert_eq!(governed(&["url://a.example/x", "group://h/1"]), "governed:host");
    assert_eq!(governed(&["url://a.example/y", "group://i/1", "governed:users"]), "");

    let through = |subscription: Subscription| rules.governed_through(&subscription).join(" ");
    assert_eq!(through(Subscription::Pattern("tenant:*:users".into())), "governed:users");
    assert_eq!(through(Subscription::Channel("c".into())), "*");
    assert_eq!(through(Subscription::Stream("s".into())), "governed:stream");
    assert_eq!(through(Subscription::Channel("s".into())), "");
}

#[test]
fn what_is_wrong_with_rules_is_told_at_once() {
    let problems = |lines: &[&str]| {
        let problems = ChangeRules::compile(&settings(lines)).expect_err("refused");
        problems
            .iter()
            .map(|problem| format!("{}.{} {}", problem.rule, problem.key, problem.message))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        problems(&[
            " | tag:a",
            "c | event=x",
            "c[ | tag:{b} taag:{a}",
            "c | name=n tag:{a..b} tag:ok soften=x",
            "d | name=n tag:a at=/x"
        ]),
        [
            "0. a change rule needs `channel` or `stream`",
            "1. a change rule needs `purge` or `soften`",
            "2.channel '[' cannot stand in the pattern of a channel",
            "3.purge `{a..b}` is no path into a message",
            "3.soften `x` is no target",
            "4.name `n` is already the name of change rule 4",
            "4.event_at `event_at` needs `event`",
        ]
    );
    assert_eq!(
        problems(&[
            "c | event=a where=/eventType=b tag:x",
            "c | event=a at=/k where=/k=b tag:x",
            "c | event=a where=k=b tag:x",
            ">s* | tag:x"
        ]),
        [
            "0.where the rule can never match: `event` and the condition at `/eventType` exclude each other",
            "1.where the rule can never match: `event` and the condition at `/k` exclude each other",
            "2.where `k` is no JSON pointer",
            "3.stream a stream is one key of 1 to 1024 bytes",
        ]
    );
    let fine = ["c | event=a where=/eventType=a tag:x", "c | event=a where=/type=b tag:x"];
    assert!(ChangeRules::compile(&settings(&fine)).is_ok());
    let many = vec![setting("c | tag:a"); MAX_RULES];
    assert!(ChangeRules::compile(&many).is_ok());
    assert!(ChangeRules::compile(&[many, settings(&["c | tag:a"])].concat()).is_err());
}

/// Targets of every kind, with values in every kind of place.
const TARGETS: [&str; 10] = [
    "tag:{a}",
    "tag:u:{a}:{b}",
    "url:/x/{a}/y",
    "url:/x?q={a}&r={b}",
    "url:https://{a}.example/{b}",
    "prefix:/p/{a}",
    "prefix:/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/{a}/x",
    "group:h/{a}",
    "all",
    "tag:fixed",
];

/// Values in which something is always at stake.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        "[ -~]{0,6}".prop_map(serde_json::Value::from),
        "[a/?#%.*é\n\u{0}]{0,6}".prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(3, 40, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..40).prop_map(serde_json::Value::from),
            prop::collection::hash_map("[ab]", inner, 0..3).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    /// Whatever the bytes: no panic, bounded, and every change is one that the bus takes.
    #[test]
    fn any_bytes_come_to_bounded_changes_or_to_a_reason(
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[{}\\[\\]\":,ab0-9e.-]{0,60}".prop_map(String::into_bytes),
        ],
        channel in "[a:*{}]{0,8}",
    ) {
        let targets = TARGETS.join(" ");
        let rules = rules(&[&format!("a:{{b}} | {targets}"), "* | tag:{a}", "{x}:{a} | tag:{x}:{a} soften=all", ">a | tag:{a}"]);
        let fields: [(&[u8], &[u8]); 2] = [(b"data", &payload), (&payload, b"x")];
        for message in [
            Message::Published { channel: &channel, payload: &payload },
            Message::Recorded { stream: "a", fields: &fields },
            Message::Recorded { stream: "a", fields: &fields[1..] },
        ] {
            let mapped = rules.map(&message);
            prop_assert_eq!(mapped.dropped.is_some(), mapped.changes.is_empty());
            prop_assert!(mapped.changes.len() <= MAX_CHANGES);
            for change in &mapped.changes {
                prop_assert_eq!(change.selector.problem(), None);
                prop_assert!(change.selector.tag().len() <= 8 * 1024 + 16);
            }
        }
    }

    /// What a rule names, it governs; and what it names is named in full, whatever stands in the message.
    #[test]
    fn whatever_is_named_is_governed(which in prop::collection::vec(0..TARGETS.len(), 1..4), a in value(), b in value()) {
        let targets: Vec<&str> = which.iter().map(|index| TARGETS[*index]).collect();
        let rules = rules(&[&format!("c | name=r {}", targets.join(" "))]);
        let payload = serde_json::json!({ "a": a, "b": b }).to_string();
        let mapped = rules.map(&Message::Published { channel: "c", payload: payload.as_bytes() });
        prop_assert!(mapped.changes.len() <= MAX_CHANGES);
        for change in &mapped.changes {
            prop_assert_eq!(change.selector.problem(), None);
            let tag = change.selector.tag();
            if tag == EVERYTHING || tag == "governed:r" {
                continue;
            }
            let mut governed = Vec::new();
            rules.governed_by(&[&tag], &mut governed);
            prop_assert_eq!(governed, ["governed:r"], "{}", tag);
        }
    }

    /// A value in a path stays in its segment: the tag has as many slashes, question marks and hosts as the template.
    #[test]
    fn ps_06_no_value_leaves_its_segment(text in "[a-c/?#%.;:@*\\\\é\n\u{0} -]{1,12}") {
        let rules = rules(&["c | url:/x/{a}/y?z={a}", "c | prefix:/p/{a}/q"]);
        let payload = serde_json::json!({ "a": text }).to_string();
        let mapped = rules.map(&Message::Published { channel: "c", payload: payload.as_bytes() });
        for change in &mapped.changes {
            let tag = change.selector.tag();
            let (slashes, marks) = if tag.starts_with("url:") { (3, 1) } else { (4, 0) };
            let count = |c: char| tag.matches(c).count();
            prop_assert_eq!((count('/'), count('?'), count('#')), (slashes, marks, 0), "{}", tag);
            prop_assert!(tag.bytes().all(|byte| byte.is_ascii_graphic()), "{}", tag);
        }
    }

    /// The mapping has no memory: replayed, doubled and reordered, messages come to the same changes, record for record.
    #[test]
    fn ps_03_replay_doubling_and_reordering_change_nothing(
        messages in prop::collection::vec(value(), 1..8), order in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let rules = rules(&["c | tag:{a} url:/{a}", "c | soften=tag:s:{a.b}"]);
        let payloads: Vec<String> = messages.iter().map(|a| serde_json::json!({ "a": a }).to_string()).collect();
        let map = |payload: &String| rules.map(&Message::Published { channel: "c", payload: payload.as_bytes() });
        let first: Vec<Mapped<'_>> = payloads.iter().map(map).collect();
        for index in order {
            let again = map(index.get(&payloads));
            prop_assert_eq!(&again, index.get(&first));
            prop_assert!(again.changes.iter().all(|change| change.id == message_id("c", index.get(&payloads).as_bytes())));
        }
    }
}
