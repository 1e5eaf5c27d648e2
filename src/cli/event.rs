//! `forebay explain --event FILE`: what a message of the backend would change.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};

use super::{ExplainArgs, Failure, say};
use crate::changes::rules::{MAX_MESSAGE, Mapped, Matched, Message, Miss};
use crate::changes::{Action, Change, ChangeRules, Purge};

/// Prints it. A message that would be dropped is a failure.
pub(super) fn explain(args: &ExplainArgs, file: &Path) -> Result<(), Failure> {
    let (_, config) = super::local::read(&args.run);
    let rules = ChangeRules::compile(&config.map_err(Failure::new)?.changes)
        .map_err(|problems| Failure::new(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let payload = payload(file)?;
    let told = Told::of(&rules, args.channel.as_deref(), &payload);
    if args.json {
        say(format_args!("{}", serde_json::to_string_pretty(&told.json()).map_err(Failure::new)?));
    } else {
        say(format_args!("{}", told.text()));
    }
    match &told.mapped.dropped {
        None => Ok(()),
        Some(dropped) => Err(Failure::new(format!("the message would be dropped: {dropped}"))),
    }
}

/// The bytes of the message, and one more than would be read if there are too many.
fn payload(file: &Path) -> Result<Vec<u8>, Failure> {
    let most = MAX_MESSAGE as u64 + 1;
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure { message: format!("{}: cannot be read: {error}", file.display()), code: 2 })?;
    Ok(bytes)
}

/// What there is to say about a message.
struct Told<'a> {
    channel: Option<&'a str>,
    bytes: usize,
    mapped: Mapped<'a>,
    misses: Vec<(&'a str, Miss)>,
}

impl<'a> Told<'a> {
    fn of(rules: &'a ChangeRules, channel: Option<&'a str>, payload: &[u8]) -> Self {
        let mapped = match channel {
            Some(channel) => rules.map(&Message::Published { channel, payload }),
            None => rules.map_anywhere(payload),
        };
        Self { channel, bytes: payload.len(), mapped, misses: rules.misses(channel, payload) }
    }

    /// Each rule that holds, with its part of the changes.
    fn matched(&self) -> impl Iterator<Item = (&Matched<'a>, &[Change])> {
        let mut left = &self.mapped.changes[..];
        self.mapped.matched.iter().map(move |matched| {
            let (own, others) = left.split_at(matched.changes.min(left.len()));
            left = others;
            (matched, own)
        })
    }

    fn text(&self) -> String {
        let mut out = match self.channel {
            Some(channel) => format!("message   {} bytes on {channel}", self.bytes),
            None => format!("message   {} bytes; no --channel is named, so every rule is tried", self.bytes),
        };
        for (matched, changes) in self.matched() {
            let _ = write!(out, "\nrule      {}", matched.rule);
            for change in changes {
                let _ = write!(out, "\n  {:<7} {}", verb(change), change.selector.tag());
            }
            if changes.is_empty() && matched.skipped.is_empty() {
                out.push_str("\n  nothing  that no rule before has named");
            }
            if let Some(widened) = matched.widened {
                let _ = write!(out, "\n  wide    all that the rule could name: {widened}");
            }
            for skip in &matched.skipped {
                let _ = write!(out, "\n  not     {skip}");
            }
        }
        for (rule, miss) in self.misses.iter().filter(|(_, miss)| *miss != Miss::Channel) {
            let _ = write!(out, "\nnot       {rule}: {miss}");
        }
        let elsewhere = self.misses.iter().filter(|(_, miss)| *miss == Miss::Channel).count();
        if elsewhere > 0 {
            let _ = write!(out, "\nnot       {elsewhere} rule(s) about other channels or streams");
        }
        out
    }

    fn json(&self) -> Value {
        let tags = |changes: &[Change], wanted: &str| -> Value {
            changes.iter().filter(|change| verb(change) == wanted).map(|change| change.selector.tag()).collect()
        };
        let rules = self.matched().map(|(matched, changes)| {
            json!({
                "rule": matched.rule,
                "purge": tags(changes, "purge"),
                "soften": tags(changes, "soften"),
                "widened": matched.widened.map(|widened| json!({ "code": widened.code(), "says": widened.to_string() })),
                "skipped": matched.skipped.iter().map(|skip| json!({ "code": skip.code(), "says": skip.to_string() })).collect::<Value>(),
            })
        });
        let others = self.misses.iter().map(|(rule, miss)| json!({ "rule": rule, "says": miss.to_string() }));
        json!({
            "channel": self.channel,
            "rules": rules.collect::<Value>(),
            "others": others.collect::<Value>(),
            "dropped": self.mapped.dropped.as_ref().map(|dropped| json!({ "code": dropped.code(), "says": dropped.to_string() })),
        })
    }
}

fn verb(change: &Change) -> &'static str {
    match change.action {
        Action::Purge(Purge::Hard) => "purge",
        Action::Purge(Purge::Soft) => "soften",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::ChangeRuleSettings;

    fn rules() -> ChangeRules {
        let rule = |channel: &str, event: &str, purge: &[&str], soften: &[&str]| ChangeRuleSettings {
            channel: Some(channel.to_owned()),
            event: vec![event.to_owned()],
            purge: purge.iter().map(|target| (*target).to_owned()).collect(),
            soften: soften.iter().map(|target| (*target).to_owned()).collect(),
            ..ChangeRuleSettings::default()
        };
        let settings = vec![
            rule("t:{t}:users", "changed", &["tag:user:{id}", "tag:{team}"], &["url:/{t}/users"]),
            rule("t:*:users", "changed", &["tag:user:{id}"], &[]),
            rule("t:*:users", "removed", &["all"], &[]),
            rule("other", "changed", &["tag:{list}"], &[]),
        ];
        ChangeRules::compile(&settings).expect("the rules are good")
    }

    fn check(channel: Option<&str>, payload: &str, expected: &[&str]) {
        let rules = rules();
        let told = Told::of(&rules, channel, payload.as_bytes());
        assert_eq!(told.text().lines().collect::<Vec<_>>(), expected, "{channel:?} {payload}");
    }

    #[test]
    fn what_a_message_would_change_is_said_rule_by_rule() {
        check(
            Some("t:1:users"),
            r#"{"type":"changed","id":7}"#,
            &[
                "message   25 bytes on t:1:users",
                "rule      t:{t}:users changed",
                "  purge   tag:user:7",
                "  soften  url:/1/users",
                "  not     the message has no value at `team`, for `tag:{team}`",
                "rule      t:*:users changed",
                "  nothing  that no rule before has named",
                "not       t:*:users removed: it is about another event than \"changed\"",
                "not       1 rule(s) about other channels or streams",
            ],
        );
        check(
            None,
            r#"{"type":"changed","list":123456789012345678901}"#,
            &[
                "message   47 bytes; no --channel is named, so every rule is tried",
                "rule      t:{t}:users changed",
                "  soften  url:/%7Bt%7D/users",
                "  not     the message has no value at `id`, for `tag:user:{id}`",
                "  not     the message has no value at `team`, for `tag:{team}`",
                "rule      t:*:users changed",
                "  not     the message has no value at `id`, for `tag:user:{id}`",
                "rule      other changed",
                "  purge   governed:other changed",
                "  wide    all that the rule could name: a number is too large to be exact",
                "not       t:*:users removed: it is about another event than \"changed\"",
            ],
        );
        check(Some("t:1:users"), "{", &["message   1 bytes on t:1:users"]);
    }

    #[test]
    fn the_same_is_said_in_json() {
        let rules = rules();
        let told = Told::of(&rules, Some("t:1:users"), br#"{"type":"changed","id":7}"#).json();
        assert_eq!(told["rules"][0]["purge"], json!(["tag:user:7"]));
        assert_eq!(told["rules"][0]["soften"], json!(["url:/1/users"]));
        assert_eq!(told["rules"][0]["skipped"][0]["code"], "missing-field");
        assert_eq!(told["rules"][1]["purge"], json!([]));
        assert_eq!(told["others"][1], json!({ "rule": "other changed", "says": "it is about other channels" }));
        assert_eq!(told["dropped"], Value::Null);
        let dropped = Told::of(&rules, None, b"[]").json();
        assert_eq!(dropped["dropped"]["code"], "not-an-object");
    }
}
