//! Templates: `user:{userId}`. Read once into pieces; filling one in is joining strings.
//!
//! | in braces | is replaced by |
//! |---|---|
//! | `{userId}` | what the route's path captured under that name |
//! | `{query.NAME}` | the first query parameter of that name |
//! | `{header.NAME}` | the first field of that name, if it is visible ASCII |
//! | `{host}`, `{path}` | the host and the path, unless the path captures that name |
//!
//! A missing value is no empty value: the whole result is missing then.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

use super::pattern::{Braced, braces};
use super::percent::decode;
use super::problem::Fault;
use super::query::value_of;
use super::target::{Captures, Target};

/// A template, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// As it stands.
    Text(Box<str>),
    /// The capture with this index.
    Capture(usize),
    Query(Box<str>),
    Header(HeaderName),
    Host,
    Path,
}

/// Where the values come from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    /// `None` where an answer is edited, which may be used for many requests.
    pub(super) request: Option<(&'a Target<'a>, &'a Captures)>,
    pub(super) headers: Option<&'a HeaderMap>,
}

/// How values of captures and of the query are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As received.
    Raw,
    /// With escapes decoded, so that `/users/a%40b` and `/users/a@b` come to the same tag.
    Decoded,
}

impl Template {
    /// Reads a template of a route whose path captures these names.
    pub(super) fn parse(text: &str, captures: &[Box<str>]) -> Result<Template, Fault> {
        let parts = braces(text)?.into_iter().map(|part| match part {
            Braced::Text(text) => Ok(Part::Text(text.into())),
            Braced::Name(name) => source(name, captures),
        });
        Ok(Template { parts: parts.collect::<Result<_, _>>()? })
    }

    /// The pieces, for checking which sources are used.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text, if no value is needed.
    pub(super) fn literal(&self) -> Option<String> {
        let text = self.parts.iter().map(|part| match part {
            Part::Text(text) => Some(&**text),
            _ => None,
        });
        text.collect()
    }

    /// Fills it in; `None` if a value is missing.
    pub(super) fn render(&self, sources: &Sources<'_>, form: Form) -> Option<String> {
        let mut text = String::new();
        for part in &self.parts {
            text.push_str(&part.value(sources, form)?);
        }
        Some(text)
    }
}

impl Part {
    fn value<'a>(&'a self, sources: &Sources<'a>, form: Form) -> Option<Cow<'a, str>> {
        let spelled = |raw: &'a str| if form == Form::Decoded { decode(raw) } else { Cow::Borrowed(raw) };
        let request = sources.request;
        match self {
            Part::Text(text) => Some(Cow::Borrowed(text)),
            Part::Capture(index) => request.and_then(|(target, captures)| captures.get(*index, target)).map(spelled),
            Part::Query(name) => request.and_then(|(target, _)| value_of(target.query?, name)).map(spelled),
            Part::Header(name) => sources.headers?.get(name)?.to_str().ok().map(Cow::Borrowed),
            Part::Host => request.map(|(target, _)| Cow::Borrowed(target.host)),
            Part::Path => request.map(|(target, _)| spelled(target.path)),
        }
    }
}

fn source(name: &str, captures: &[Box<str>]) -> Result<Part, Fault> {
    if let Some(index) = captures.iter().position(|known| &**known == name) {
        return Ok(Part::Capture(index));
    }
    match name.split_once('.') {
        Some(("query", parameter)) if !parameter.is_empty() => return Ok(Part::Query(parameter.into())),
        Some(("header", field)) => {
            let field = HeaderName::try_from(field).map_err(|_| Fault::new(format!("`{field}` is no header name")))?;
            return Ok(Part::Header(field));
        }
        _ => {}
    }
    match name {
        "host" => Ok(Part::Host),
        "path" => Ok(Part::Path),
        _ => Err(Fault::new(format!("`{{{name}}}` names nothing that is known here")).hint(known(captures))),
    }
}

fn known(captures: &[Box<str>]) -> String {
    let own = captures.iter().map(|name| format!("`{{{name}}}`"));
    let common = ["`{query.NAME}`", "`{header.NAME}`", "`{host}`", "`{path}`"].map(str::to_owned);
    format!("known are {}", own.chain(common).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn values_come_from_path_query_header_and_host() {
        let target = Target::new(true, "h.example", "/users/a%40b?x=1&y=%20&z");
        let mut captures = Captures::default();
        captures.push(7..12);
        let mut headers = HeaderMap::new();
        headers.insert("x-tenant", http::HeaderValue::from_static("acme"));
        headers.insert("x-odd", http::HeaderValue::from_bytes(b"\xff").unwrap());
        let sources = Sources { request: Some((&target, &captures)), headers: Some(&headers) };
        for (text, raw, decoded) in [
            ("plain", Some("plain"), Some("plain")),
            ("user:{id}", Some("user:a%40b"), Some("user:a@b")),
            ("{{{id}}}", Some("{a%40b}"), Some("{a@b}")),
            ("{query.x}-{query.y}", Some("1-%20"), Some("1- ")),
            ("{query.z}", Some(""), Some("")),
            ("{query.none}", None, None),
            ("a{header.X-Tenant}b", Some("aacmeb"), Some("aacmeb")),
            ("{header.x-odd}", None, None),
            ("{header.none}", None, None),
            ("{host}{path}", Some("h.example/users/a%40b"), Some("h.example/users/a@b")),
        ] {
            let template = Template::parse(text, &names(&["id"])).unwrap();
            assert_eq!(template.render(&sources, Form::Raw).as_deref(), raw, "{text}");
            assert_eq!(template.render(&sources, Form::Decoded).as_deref(), decoded, "{text}");
        }
    }

    #[test]
    fn a_capture_goes_before_a_source_of_the_same_name() {
        let template = Template::parse("{host}", &names(&["host"])).unwrap();
        assert_eq!(template.parts(), [Part::Capture(0)]);
    }

    #[test]
    fn a_name_that_is_not_known_is_refused_with_those_that_are() {
        for (text, message, hint) in [
            ("user:{userID}", "`{userID}` names nothing that is known here", "known are `{userId}`, `{query.NAME}`"),
            ("{query.}", "`{query.}` names nothing that is known here", "known are"),
            ("{header.a b}", "`a b` is no header name", ""),
            ("{", "a brace in `{` has no partner", "doubled"),
            ("a}b", "a brace in `a}b` has no partner", "doubled"),
        ] {
            let fault = Template::parse(text, &names(&["userId"])).unwrap_err();
            assert_eq!(fault.message, message, "{text}");
            assert!(fault.hint.unwrap_or_default().contains(hint), "{text}");
        }
    }

    #[test]
    fn a_template_without_values_is_its_own_text() {
        assert_eq!(Template::parse("a{{b", &[]).unwrap().literal().as_deref(), Some("a{b"));
        assert_eq!(Template::parse("a{host}", &[]).unwrap().literal(), None);
    }
}
