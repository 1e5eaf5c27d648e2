//! Setting and removing header fields, in requests and answers.
//!
//! Values are read before anything is changed, so `set = { X-Client = "{header.X-Old}" }` with `remove = ["X-Old"]`
//! renames a field. A field to set is always taken out first: what a client sent in its place never goes through, also
//! when the template's value is missing.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use super::problem::{Fault, Problems};
use super::settings::HeaderEdits;
use super::template::{Form, Part, Sources, Template};

/// Edits, read.
#[derive(Clone, Debug, Default)]
pub(super) struct Edits {
    set: Vec<(HeaderName, Value)>,
    remove: Vec<HeaderName>,
}

#[derive(Clone, Debug)]
enum Value {
    Fixed(HeaderValue),
    Made(Template),
}

/// Which side is edited. An answer is kept for many requests, so nothing of one of them may go into it.
pub(super) enum Side<'a> {
    /// With the names that the route's path captures.
    Request(&'a [Box<str>]),
    Answer,
}

impl Edits {
    pub(super) fn compile(edits: &HeaderEdits, side: &Side<'_>, problems: &mut Problems) -> Edits {
        let (set_key, remove_key) = match side {
            Side::Request(_) => ("request_headers.set", "request_headers.remove"),
            Side::Answer => ("response_headers.set", "response_headers.remove"),
        };
        for name in &edits.remove {
            problems.keep(remove_key, check_name(name));
        }
        let set = edits.set.iter().filter_map(|(name, text)| {
            problems.keep(set_key, check_name(name))?;
            let value = problems.keep(set_key, Value::read(name, text, side))?;
            Some((name.clone(), value))
        });
        Edits { set: set.collect(), remove: edits.remove.clone() }
    }

    /// The templates, for checking which sources are used.
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.set.iter().filter_map(|(_, value)| match value {
            Value::Made(template) => Some(template),
            Value::Fixed(_) => None,
        })
    }

    /// Hands out what will be set, in order, as [`Edits::apply`] would set it.
    pub(super) fn values<'e>(
        &'e self,
        sources: Sources<'e>,
    ) -> impl Iterator<Item = (&'e HeaderName, Option<HeaderValue>)> {
        self.set.iter().map(move |(name, value)| (name, value.make(&sources)))
    }

    /// `request` as in [`Sources`]; header values come from `headers` itself.
    pub(super) fn apply(&self, headers: &mut HeaderMap, request: &Sources<'_>) {
        if self.set.is_empty() && self.remove.is_empty() {
            return;
        }
        let sources = Sources { headers: Some(headers), ..*request };
        let values: SmallVec<[Option<HeaderValue>; 4]> =
            self.set.iter().map(|(_, value)| value.make(&sources)).collect();
        for name in self.remove.iter().chain(self.set.iter().map(|(name, _)| name)) {
            headers.remove(name);
        }
        for ((name, _), value) in self.set.iter().zip(values) {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }
}

impl Value {
    fn read(name: &HeaderName, text: &str, side: &Side<'_>) -> Result<Value, Fault> {
        let captures = match side {
            Side::Request(captures) => captures,
            Side::Answer => &[][..],
        };
        let template = Template::parse(text, captures)?;
        let fixed = template.parts().iter().all(|part| match (part, side) {
            (Part::Text(_) | Part::Header(_), _) | (_, Side::Request(_)) => true,
            (_, Side::Answer) => false,
        });
        if !fixed {
            return Err(Fault::new(format!("`{name}`: an answer serves many requests, so it holds nothing of one"))
                .hint("plain text, or `{header.NAME}` of the answer"));
        }
        let Some(text) = template.literal() else { return Ok(Value::Made(template)) };
        let value = HeaderValue::from_str(&text);
        value.map(Value::Fixed).map_err(|_| Fault::new(format!("`{name}` cannot have this value")))
    }

    /// `None` if something is missing or would not be a legal value.
    fn make(&self, sources: &Sources<'_>) -> Option<HeaderValue> {
        match self {
            Value::Fixed(value) => Some(value.clone()),
            Value::Made(template) => HeaderValue::try_from(template.render(sources, Form::Raw)?).ok(),
        }
    }
}

/// Framing and connection management belong to the gateway (RFC 9110 §7.6.1), the Host to the origin.
fn check_name(name: &HeaderName) -> Result<(), Fault> {
    const FRAMING: [HeaderName; 9] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("http2-settings"),
    ];
    if FRAMING.contains(name) {
        return Err(Fault::new(format!("`{name}` is the gateway's own: it frames the message")));
    }
    if *name == header::HOST {
        return Err(Fault::new("`host` is part of where the request goes").hint("set the origin's `host` instead"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::target::{Captures, Target};

    fn edits(set: &[(&'static str, &str)], remove: &[&'static str]) -> HeaderEdits {
        HeaderEdits {
            set: set.iter().map(|(name, text)| (HeaderName::from_static(name), (*text).to_owned())).collect(),
            remove: remove.iter().map(|name| HeaderName::from_static(name)).collect(),
        }
    }

    fn show(headers: &HeaderMap) -> String {
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}={}", value.as_bytes().escape_ascii())).collect();
        lines.sort();
        lines.join(" ")
    }

    fn check(settings: &HeaderEdits, before: &[(&'static str, &'static str)], expected: &str) {
        let mut problems = Problems::default();
        let edits = Edits::compile(settings, &Side::Request(&["id".into()]), &mut problems);
        assert_eq!(problems.into_result(()), Ok(()));
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let target = Target::new(true, "h", "/u/42?x=%0d%0aevil");
        let mut captures = Captures::default();
        captures.push(3..5);
        edits.apply(&mut headers, &Sources { request: Some((&target, &captures)), headers: None });
        assert_eq!(show(&headers), expected);
    }

    #[test]
    fn fields_are_set_and_removed() {
        check(&edits(&[], &[]), &[("a", "1")], "a=1");
        check(&edits(&[("x", "v")], &["a"]), &[("a", "1"), ("a", "2"), ("b", "3")], "b=3 x=v");
        check(&edits(&[("x", "u{id}"), ("y", "{host}")], &[]), &[], "x=u42 y=h");
    }

    #[test]
    fn a_field_can_be_renamed() {
        check(&edits(&[("new", "{header.old}")], &["old"]), &[("old", "1")], "new=1");
    }

    #[test]
    fn what_a_client_sent_never_stands_in_for_a_missing_value() {
        check(&edits(&[("x", "{header.none}")], &[]), &[("x", "forged")], "");
        check(&edits(&[("x", "{query.none}")], &[]), &[("x", "forged")], "");
    }

    #[test]
    fn a_value_from_the_query_cannot_break_the_line() {
        check(&edits(&[("x", "{query.x}")], &[]), &[], "x=%0d%0aevil");
    }

    #[test]
    fn edits_that_cannot_work_are_refused() {
        let rows = [
            (
                false,
                edits(&[("content-length", "1")], &[]),
                "request_headers.set: `content-length` is the gateway's own",
            ),
            (false, edits(&[], &["connection"]), "request_headers.remove: `connection` is the gateway's own"),
            (false, edits(&[("host", "x")], &[]), "request_headers.set: `host` is part of where"),
            (false, edits(&[("x", "a\nb")], &[]), "request_headers.set: `x` cannot have this value"),
            (false, edits(&[("x", "{nope}")], &[]), "request_headers.set: `{nope}` names nothing"),
            (true, edits(&[("x", "{id}")], &[]), "response_headers.set: `{id}` names nothing"),
            (true, edits(&[("x", "{query.a}")], &[]), "response_headers.set: `x`: an answer serves many requests"),
            (true, edits(&[("x", "{host}")], &[]), "response_headers.set: `x`: an answer serves many requests"),
        ];
        for (answer, settings, expected) in rows {
            let mut problems = Problems::default();
            let names = ["id".into()];
            let side = if answer { Side::Answer } else { Side::Request(&names) };
            Edits::compile(&settings, &side, &mut problems);
            let found = problems.into_result(()).unwrap_err();
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].to_string().starts_with(expected), "{}", found[0]);
        }
    }
}
