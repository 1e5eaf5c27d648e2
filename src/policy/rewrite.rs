//! How a path changes on its way to the backend. The bytes that are not taken off or put on stay as received.

use std::borrow::Cow;

use super::pattern::{Braced, braces};
use super::problem::{Fault, Problems};
use super::settings::Rewrite;
use super::target::{Captures, Target};
use super::template::{Form, Part, Sources, Template};

/// A rewrite, read.
#[derive(Clone, Debug, Default)]
pub(super) enum PathRewrite {
    /// The path goes out as it came in.
    #[default]
    Keep,
    /// One prefix for another, both without a slash at the end; either may be empty.
    Prefix { strip: Box<str>, add: Box<str> },
    /// A whole new path.
    Replace(Template),
}

impl PathRewrite {
    pub(super) fn compile(rewrite: &Rewrite, captures: &[Box<str>], problems: &mut Problems) -> PathRewrite {
        let Rewrite { strip_prefix, add_prefix, replace } = rewrite;
        let prefixes = strip_prefix.is_some() || add_prefix.is_some();
        let Some(template) = replace else {
            let strip = prefix(strip_prefix.as_deref(), "rewrite.strip_prefix", problems);
            let add = prefix(add_prefix.as_deref(), "rewrite.add_prefix", problems);
            return if prefixes { PathRewrite::Prefix { strip, add } } else { PathRewrite::Keep };
        };
        let clash = "`replace` makes the whole path; `strip_prefix` and `add_prefix` have nothing left to do";
        problems.report_if(prefixes, "rewrite.replace", clash, "use either `replace` or the prefixes");
        let template = problems.keep("rewrite.replace", replacement(template, captures));
        template.map_or(PathRewrite::Keep, PathRewrite::Replace)
    }

    /// Whether the path goes out as it came in, always.
    pub(super) fn keeps(&self) -> bool {
        matches!(self, PathRewrite::Keep)
    }

    /// The path as it goes out. What does not begin with a slash (`OPTIONS *`) is left alone.
    pub(super) fn apply<'t>(&self, target: &Target<'t>, captures: &Captures) -> Cow<'t, str> {
        let path = target.path;
        if !path.starts_with('/') {
            return Cow::Borrowed(path);
        }
        match self {
            PathRewrite::Keep => Cow::Borrowed(path),
            PathRewrite::Prefix { strip, add } => {
                let stripped = path.strip_prefix(&**strip).filter(|rest| rest.is_empty() || rest.starts_with('/'));
                let rest = stripped.unwrap_or(path);
                match (add.is_empty(), rest.is_empty()) {
                    (true, true) => Cow::Borrowed("/"),
                    (true, false) => Cow::Borrowed(rest),
                    (false, _) => Cow::Owned([add, rest].concat()),
                }
            }
            PathRewrite::Replace(template) => {
                let sources = Sources { request: Some((target, captures)), headers: None };
                template.render(&sources, Form::Raw).map_or(Cow::Borrowed(path), Cow::Owned)
            }
        }
    }
}

fn prefix(text: Option<&str>, key: &'static str, problems: &mut Problems) -> Box<str> {
    let Some(text) = text else { return "".into() };
    let rooted = check_path(text, text);
    problems.keep(key, rooted).map_or("", |()| text.trim_end_matches('/')).into()
}

/// Only captures may stand in a path: they are part of the path that was asked for, so they are in the key as well, and
/// they cannot bring a query with them.
fn replacement(text: &str, captures: &[Box<str>]) -> Result<Template, Fault> {
    let literal: String = braces(text)?.iter().map(Braced::text).collect();
    check_path(text, &literal)?;
    let template = Template::parse(text, captures)?;
    if template.parts().iter().all(|part| matches!(part, Part::Text(_) | Part::Capture(_))) {
        return Ok(template);
    }
    Err(Fault::new("only what the route's path captures can stand in a path"))
}

fn check_path(text: &str, literal: &str) -> Result<(), Fault> {
    if !text.starts_with('/') || text.starts_with("//") {
        return Err(Fault::new(format!("`{text}` does not begin with one slash")));
    }
    if literal.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#') {
        return Ok(());
    }
    Err(Fault::new(format!("`{text}` has characters that a path cannot have")).hint("write them percent-encoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<Box<str>> {
        vec!["id".into(), "rest".into()]
    }

    fn prefixes(strip: Option<&str>, add: Option<&str>) -> Rewrite {
        Rewrite { strip_prefix: strip.map(str::to_owned), add_prefix: add.map(str::to_owned), replace: None }
    }

    fn check(rewrite: &Rewrite, rows: &[(&str, &str)]) {
        let mut problems = Problems::default();
        let compiled = PathRewrite::compile(rewrite, &names(), &mut problems);
        assert_eq!(problems.into_result(()), Ok(()));
        for (path, expected) in rows {
            assert_eq!(compiled.apply(&Target::new(true, "h", path), &Captures::default()), *expected, "{path}");
        }
    }

    #[test]
    fn a_prefix_is_taken_off_by_whole_segments() {
        let rows = [
            ("/api/users/1", "/users/1"),
            ("/api", "/"),
            ("/api/", "/"),
            ("/apiary", "/apiary"),
            ("/x/api/y", "/x/api/y"),
            ("/api//x", "//x"),
            ("/api/%61", "/%61"),
            ("*", "*"),
        ];
        check(&prefixes(Some("/api"), None), &rows);
        check(&prefixes(Some("/api/"), None), &rows);
        check(&prefixes(Some("/"), None), &[("/a", "/a"), ("/", "/")]);
    }

    #[test]
    fn a_prefix_is_put_in_front_after_the_other_is_off() {
        check(&prefixes(None, Some("/v2")), &[("/", "/v2/"), ("/a", "/v2/a")]);
        check(&prefixes(Some("/api"), Some("/v2/")), &[("/api", "/v2"), ("/api/a", "/v2/a"), ("/b", "/v2/b")]);
        check(&prefixes(None, None), &[("/a", "/a")]);
    }

    #[test]
    fn a_replacement_is_filled_with_raw_captures() {
        let replace = Rewrite { replace: Some("/v2/users/{id}/x/{rest}".to_owned()), ..Rewrite::default() };
        let mut problems = Problems::default();
        let compiled = PathRewrite::compile(&replace, &names(), &mut problems);
        let target = Target::new(true, "h", "/u/a%2Fb/c/d?q=1");
        let mut captures = Captures::default();
        captures.push(3..8);
        captures.push(9..12);
        assert_eq!(compiled.apply(&target, &captures), "/v2/users/a%2Fb/x/c/d");
        // Without its captures it would be a guess.
        assert_eq!(compiled.apply(&target, &Captures::default()), "/u/a%2Fb/c/d");
    }

    #[test]
    fn a_rewrite_that_cannot_work_is_refused() {
        for (strip, add, replace, expected) in [
            (Some("api"), None, None, "rewrite.strip_prefix: `api` does not begin with one slash"),
            (None, Some("//evil"), None, "rewrite.add_prefix: `//evil` does not begin with one slash"),
            (None, Some("/a?b"), None, "rewrite.add_prefix: `/a?b` has characters"),
            (None, None, Some("v2"), "rewrite.replace: `v2` does not begin with one slash"),
            (None, None, Some("/{query.x}"), "rewrite.replace: only what the route's path captures"),
            (None, None, Some("/{host}"), "rewrite.replace: only what the route's path captures"),
            (None, None, Some("/{nope}"), "rewrite.replace: `{nope}` names nothing"),
            (None, None, Some("/{"), "rewrite.replace: a brace in `/{` has no partner"),
            (Some("/a"), None, Some("/b"), "rewrite.replace: `replace` makes the whole path"),
        ] {
            let rewrite = Rewrite { replace: replace.map(str::to_owned), ..prefixes(strip, add) };
            let mut problems = Problems::default();
            PathRewrite::compile(&rewrite, &names(), &mut problems);
            let found = problems.into_result(()).unwrap_err();
            assert!(found.iter().any(|one| one.to_string().starts_with(expected)), "{expected}: {found:?}");
        }
    }
}
