//! What a rule names: `tag:user:{data.userId}`, `url:/api/users/{data.userId}`. Read once into pieces.
//!
//! | target | selects |
//! |---|---|
//! | `tag:NAME` | what carries the name |
//! | `url:/path?query`, `url:https://host/path` | that URL, on all hosts or on one |
//! | `prefix:/path/`, `prefix:https://host/path/` | all paths below, by whole segments |
//! | `group:host/NAME` | the cache group of that host |
//! | `all` | everything |
//!
//! A value is never more than a value: nothing in it selects more than the one thing it names. In a tag or the name of a
//! group it stands as it is. In a host it must look like a part of one. In a path or query it is percent-encoded, so that
//! it ends where its place ends; a path is matched as clients send it, and they write some characters in two ways, so
//! both are named: with the fewest escapes that RFC 3986 permits (`a@b:c`), and as `encodeURIComponent` writes it
//! (`a%40b%3Ac`). A blank is `%20`, never `+`. No value is empty: `prefix:/api/{x}` would become the whole of `/api/`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use super::field::FieldPath;
use super::pieces::{Piece, Place, Spelling, join, split_group, split_url};
use super::{Skip, Widened};
use crate::changes::Selector;
use crate::policy::{Braced, Fault, braces, has_dot_segments};

/// The kinds of targets, as written before the first colon; `all` stands alone.
pub const TARGET_KINDS: [&str; 5] = ["tag", "url", "prefix", "group", "all"];

/// The longest name of a tag, in bytes. A longer one may not be carried by anything, so it widens the change.
const MAX_NAME: usize = 8 * 1024;

/// Stands for any value where a template becomes a pattern; no template holds it.
const ANY: &str = "\0";

/// A target, read.
#[derive(Clone, Debug)]
pub(super) struct Target {
    written: Box<str>,
    kind: Kind,
    /// Empty: on all hosts.
    host: Vec<Piece>,
    /// The name, or the path with the query.
    rest: Vec<Piece>,
    sources: Vec<Source>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tag,
    Url,
    Prefix,
    Group,
    All,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
struct Source {
    written: Box<str>,
    from: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    /// The capture of the channel with this index.
    Channel(usize),
    Message(FieldPath),
}

/// What a message says, as far as it concerns one rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'m> {
    pub(super) captures: &'m [&'m str],
    pub(super) message: &'m Value,
}

/// What a target came to.
#[derive(Debug, Default)]
pub(super) struct Drawn<'r> {
    pub(super) selectors: Vec<Selector>,
    /// Part of it could not be named, and nothing can carry that name.
    pub(super) skipped: Option<Skip<'r>>,
    /// It could not be named one by one.
    pub(super) widened: Option<Widened>,
}

impl Target {
    /// Reads a target of a rule whose channel captures these names.
    pub(super) fn parse(text: &str, captures: &[Box<str>]) -> Result<Self, Fault> {
        let (kind, body) = split_kind(text)?;
        check_text(body)?;
        let mut target = Self { written: text.into(), kind, host: Vec::new(), rest: Vec::new(), sources: Vec::new() };
        let pieces = target.read(body, captures)?;
        (target.host, target.rest) = match kind {
            Kind::All => (Vec::new(), Vec::new()),
            Kind::Tag => (Vec::new(), pieces),
            Kind::Group => split_group(pieces)?,
            Kind::Url | Kind::Prefix => split_url(pieces)?,
        };
        match kind {
            Kind::Url | Kind::Prefix => target.check_path()?,
            Kind::Tag | Kind::Group if target.rest.is_empty() => {
                return Err(Fault::new(format!("`{text}` names nothing")).hint("write the name behind the colon"));
            }
            _ => {}
        }
        Ok(target)
    }

    /// Whether it is everything.
    pub(super) fn is_all(&self) -> bool {
        self.kind == Kind::All
    }

    /// What every tag that it can ever name has in common: these texts in this order, with any values between them.
    pub(super) fn pattern(&self) -> Vec<Box<str>> {
        let any = vec![ANY; self.sources.len()];
        self.selector(&any, Spelling::Bare).tag().split(ANY).map(Box::from).collect()
    }

    /// What it names for this message; at most `room` selectors, else none and a reason to widen.
    pub(super) fn draw<'r>(&'r self, given: &Given<'_>, room: usize) -> Drawn<'r> {
        let mut drawn = Drawn::default();
        let mut lists = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let (list, missing, inexact) = source.values(given);
            if missing {
                drawn.skipped = Some(Skip::Missing { target: &self.written, field: &source.written });
            }
            if inexact {
                drawn.widened = Some(Widened::InexactNumber);
            }
            lists.push(list);
        }
        let combinations = lists.iter().fold(1_usize, |product, list| product.saturating_mul(list.len()));
        if combinations > room {
            drawn.widened = Some(Widened::TooMany);
        }
        if drawn.widened.is_some() {
            return drawn;
        }
        for number in 0..combinations {
            let values = combination(&lists, number);
            match self.stray_host(&values) {
                Some(source) => {
                    drawn.skipped = Some(Skip::NoHost { target: &self.written, field: &source.written });
                }
                None => self.spell(&values, &mut drawn.selectors),
            }
        }
        if drawn.selectors.len() > room {
            drawn.widened = Some(Widened::TooMany);
        } else if drawn.selectors.iter().any(|selector| selector.tag().len() > MAX_NAME) {
            drawn.widened = Some(Widened::LongName);
        }
        drawn
    }

    /// The selector; of a path, in both spellings if they differ.
    fn spell(&self, values: &[&str], out: &mut Vec<Selector>) {
        let lean = self.selector(values, Spelling::Lean);
        if matches!(self.kind, Kind::Url | Kind::Prefix) {
            let component = self.selector(values, Spelling::Component);
            out.extend((component != lean).then_some(component));
        }
        out.push(lean);
    }

    fn selector(&self, values: &[&str], spelling: Spelling) -> Selector {
        let host = (!self.host.is_empty()).then(|| join(&self.host, values, spelling));
        let rest = join(&self.rest, values, spelling);
        match self.kind {
            Kind::Tag => Selector::Tag(rest),
            Kind::Url => Selector::Url { host, path_and_query: rest },
            Kind::Prefix => Selector::Prefix { host, prefix: rest },
            Kind::Group => Selector::Group { host: host.unwrap_or_default(), name: rest },
            Kind::All => Selector::All,
        }
    }

    /// The source of a value that stands in a host and can be no part of one.
    fn stray_host(&self, values: &[&str]) -> Option<&Source> {
        let part = |value: &str| value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        self.host.iter().find_map(|piece| match piece {
            Piece::Value(source, _) if !values.get(*source).is_some_and(|value| part(value)) => {
                self.sources.get(*source)
            }
            _ => None,
        })
    }

    /// The pieces of `text`, neighbouring texts joined; a name that stands twice is one source.
    fn read(&mut self, text: &str, captures: &[Box<str>]) -> Result<Vec<Piece>, Fault> {
        let mut pieces: Vec<Piece> = Vec::new();
        for part in braces(text)? {
            match (part, pieces.last_mut()) {
                (Braced::Text(text), Some(Piece::Text(before))) => before.push_str(text),
                (Braced::Text(text), _) => pieces.push(Piece::Text(text.to_owned())),
                (Braced::Name(name), _) => {
                    let known = self.sources.iter().position(|source| &*source.written == name);
                    let index = known.unwrap_or(self.sources.len());
                    if known.is_none() {
                        let from = match captures.iter().position(|capture| &**capture == name) {
                            Some(capture) => Origin::Channel(capture),
                            None => Origin::Message(FieldPath::parse(name)?),
                        };
                        self.sources.push(Source { written: name.into(), from });
                    }
                    pieces.push(Piece::Value(index, Place::Plain));
                }
            }
        }
        Ok(pieces)
    }

    /// What can be said of a path before its values are known.
    fn check_path(&self) -> Result<(), Fault> {
        let sample = join(&self.rest, &vec!["x"; self.sources.len()], Spelling::Bare);
        if !sample.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Fault::new("a path has visible ASCII characters only")
                .hint("write others percent-encoded, as clients send them"));
        }
        if sample.contains('#') {
            return Err(Fault::new("a fragment never reaches a server").hint("leave out what begins with `#`"));
        }
        if self.kind == Kind::Prefix && sample.contains('?') {
            return Err(Fault::new("a prefix has no query").hint("write `url:` for a URL with its query"));
        }
        if has_dot_segments(sample.split('?').next().unwrap_or_default()) {
            return Err(Fault::new("a path with dot segments is never answered from the cache"));
        }
        Ok(())
    }
}

impl Source {
    /// Its values, each once; whether some were missing; whether some were inexact.
    fn values<'m>(&self, given: &Given<'m>) -> (Vec<Cow<'m, str>>, bool, bool) {
        match &self.from {
            Origin::Channel(index) => {
                let value = given.captures.get(*index).map(|value| Cow::Borrowed(*value));
                (value.into_iter().collect(), false, false)
            }
            Origin::Message(path) => {
                let found = path.find(given.message);
                let mut seen = BTreeSet::new();
                let values = found.values.into_iter().filter(|value| seen.insert(value.clone())).collect();
                (values, found.missing, found.inexact)
            }
        }
    }
}

/// One value of each list: the `number`th way of choosing.
fn combination<'v>(lists: &'v [Vec<Cow<'_, str>>], number: usize) -> Vec<&'v str> {
    let mut left = number;
    let choose = |list: &'v Vec<Cow<'_, str>>| {
        let value = list.get(left % list.len().max(1));
        left /= list.len().max(1);
        value.map_or("", |value| &**value)
    };
    lists.iter().map(choose).collect()
}

fn split_kind(text: &str) -> Result<(Kind, &str), Fault> {
    let kinds = "write `tag:NAME`, `url:/PATH`, `prefix:/PATH/`, `group:HOST/NAME` or `all`";
    if text == "all" {
        return Ok((Kind::All, ""));
    }
    let unknown = || Fault::new(format!("`{}` is no target", text.escape_debug())).hint(kinds);
    let (kind, body) = text.split_once(':').ok_or_else(unknown)?;
    let kind = match kind {
        "tag" => Kind::Tag,
        "url" => Kind::Url,
        "prefix" => Kind::Prefix,
        "group" => Kind::Group,
        _ => return Err(unknown()),
    };
    Ok((kind, body))
}

fn check_text(body: &str) -> Result<(), Fault> {
    if body.len() > MAX_NAME {
        return Err(Fault::new(format!("a target has at most {MAX_NAME} bytes")));
    }
    if body.contains(char::is_control) {
        return Err(Fault::new("a target holds no control characters"));
    }
    let literal: String = braces(body)?.iter().map(Braced::text).collect();
    if literal.contains('*') {
        return Err(Fault::new("`*` is no wildcard here")
            .hint("name a tag that all of them carry, or `prefix:` for all paths below one"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What the target names for the message below, or what is wrong; and the pattern of all it can name.
    fn check(text: &str, expected: &str, pattern: &str) {
        let message = json!({
            "id": "7", "mail": "a@b:c", "odd": "../x?y#z%2f *", "uni": "é\n", "form": "a+b&c=d", "list": ["1", "2"], "more": [3, 4],
            "big": 1e300, "host": "t1", "bad": "evil.com/", "none": null, "half": ["1", null], "nothing": [],
        });
        let target = Target::parse(text, &["tenant".into()]).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        let drawn = target.draw(&Given { captures: &["123"], message: &message }, 6);
        let mut said: Vec<String> = drawn.selectors.iter().map(Selector::tag).collect();
        said.extend(drawn.skipped.map(|skip| format!("({})", skip.code())));
        said.extend(drawn.widened.map(|widened| format!("({})", widened.code())));
        assert_eq!(said.join(" "), expected, "{text}");
        assert_eq!(target.pattern().join("…"), pattern, "{text}");
    }

    #[test]
    fn a_target_is_filled_in_from_the_message_and_the_channel() {
        check("all", "*", "*");
        check("tag:config", "tag:config", "tag:config");
        check("tag:t{tenant}:user:{id}", "tag:t123:user:7", "tag:t…:user:…");
        check("tag:{list}", "tag:1 tag:2", "tag:…");
        check("tag:{id}{{{id}}}", "tag:7{7}", "tag:…{…}");
        check("url:/api/users/{id}", "url:/api/users/7", "url:/api/users/…");
        check(
            "url:https://API.example:443/u/{id}?full=1",
            "url://api.example/u/7?full=1",
            "url://api.example/u/…?full=1",
        );
        check("url:http://h:443/{id}", "url://h:443/7", "url://h:443/…");
        check("url://h./", "url://h/", "url://h/");
        check("url:https://h", "url://h/", "url://h/");
        check("url:https://{host}.example/{id}", "url://t1.example/7", "url://….example/…");
        check("prefix:/api/users/{id}", "prefix:/api/users/7/", "prefix:/api/users/…/");
        check("prefix:https://h/{id}/x/", "prefix://h/7/x/", "prefix://h/…/x/");
        check("prefix:/", "prefix:/", "prefix:/");
        check("group:h.example/users-{id}", "group://h.example/users-7", "group://h.example/users-…");
        check("group:{host}.example/{id}", "group://t1.example/7", "group://….example/…");
    }

    #[test]
    fn two_lists_give_every_pair_and_one_list_twice_gives_its_own() {
        check("tag:{list}-{more}", "tag:1-3 tag:2-3 tag:1-4 tag:2-4", "tag:…-…");
        check("url:/{list}?of={list}", "url:/1?of=1 url:/2?of=2", "url:/…?of=…");
        check("tag:{nothing}", "", "tag:…");
    }

    #[test]
    fn what_cannot_be_named_is_told() {
        check("tag:{none}", "(missing-field)", "tag:…");
        check("tag:{nope.x}", "(missing-field)", "tag:…");
        check("tag:{half}", "tag:1 (missing-field)", "tag:…");
        check("tag:{big}", "(inexact-number)", "tag:…");
        check("url:https://{bad}.example/", "(no-host)", "url://….example/");
        check("group:{bad}/x", "(no-host)", "group://…/x");
        let long = Target::parse("tag:{id}", &[]).unwrap();
        let message = json!({ "id": "x".repeat(MAX_NAME) });
        let drawn = long.draw(&Given { captures: &[], message: &message }, 6);
        assert_eq!(drawn.widened, Some(Widened::LongName));
        let message = json!({ "id": (0..7).collect::<Vec<_>>() });
        let drawn = long.draw(&Given { captures: &[], message: &message }, 6);
        assert_eq!((drawn.widened, drawn.selectors.len()), (Some(Widened::TooMany), 0));
    }

    #[test]
    fn ps_06_a_value_is_literal_and_cannot_leave_its_place() {
        check("tag:{odd}", "tag:../x?y#z%2f *", "tag:…");
        check("url:/u/{odd}/x", "url:/u/..%2Fx%3Fy%23z%252f%20*/x", "url:/u/…/x");
        check("prefix:/u/{odd}/", "prefix:/u/..%2Fx%3Fy%23z%252f%20*/", "prefix:/u/…/");
        check("url:/u/{uni}", "url:/u/%C3%A9%0A", "url:/u/…");
        check("url:/u/{mail}", "url:/u/a%40b%3Ac url:/u/a@b:c", "url:/u/…");
        check("url:/u/{form}", "url:/u/a%2Bb%26c%3Dd url:/u/a+b&c=d", "url:/u/…");
        check("url:/u?q={form}", "url:/u?q=a%2Bb%26c%3Dd", "url:/u?q=…");
        check("group:h/{odd}", "group://h/../x?y#z%2f *", "group://h/…");
    }

    #[test]
    fn a_prefix_deeper_than_the_ledger_reads_is_cut_in_the_pattern_too() {
        let deep = "/x".repeat(20);
        check(
            &format!("prefix:{deep}/{{id}}/"),
            &format!("prefix:{}/", "/x".repeat(16)),
            &format!("prefix:{}/", "/x".repeat(16)),
        );
    }

    #[test]
    fn a_target_that_cannot_be_meant_is_refused() {
        for (text, expected) in [
            ("", "is no target"),
            ("user:{id}", "is no target"),
            ("ALL", "is no target"),
            ("all:x", "is no target"),
            ("tag:", "names nothing"),
            ("tag:user:*", "no wildcard"),
            ("url:/a/*", "no wildcard"),
            ("url:", "neither a path nor a URL"),
            ("url:a", "neither a path nor a URL"),
            ("url:{path}", "neither a path nor a URL"),
            ("url:https:///a", "host is missing"),
            ("url:https://a b/", "is no host"),
            ("url:https://u@h/", "is no host"),
            ("url:/a b", "visible ASCII"),
            ("url:/a#b", "fragment"),
            ("url:/a/../b", "dot segments"),
            ("prefix:/a?b", "no query"),
            ("group:h", "of one host"),
            ("group:h/", "of one host"),
            ("group:/g", "host is missing"),
            ("tag:{a b}", "no path into a message"),
            ("tag:{}", "no path into a message"),
            ("tag:{a", "no partner"),
            ("tag:a\u{0}", "control characters"),
        ] {
            let fault = Target::parse(text, &[]).expect_err(text);
            assert!(fault.message.contains(expected), "{text}: {}", fault.message);
        }
    }
}
