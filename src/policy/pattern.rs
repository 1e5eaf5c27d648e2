//! Path patterns: `/api/users/{userId}`, `/img/{id}.png`, `/files/{*rest}`.
//!
//! A pattern is a list of segments. `{name}` takes one segment, at least one byte of it; text may stand before and
//! behind it. `{*name}` comes last and takes whatever is left, also nothing and also slashes. `{{` and `}}` are braces.
//! Everything else stands for itself, byte for byte: the path is matched as received, so `/%61` is not `/a`.

use super::problem::Fault;
use super::target::Captures;

/// Longer patterns are refused: matching goes one call deep per segment.
const MAX_SEGMENTS: usize = 64;

/// A pattern, read. Names are kept apart from shapes, so that `/a/{x}` and `/a/{y}` are one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) segments: Vec<Shape>,
    /// The names of the captures, in the order in which they are captured.
    pub(super) names: Vec<Box<str>>,
}

/// What one segment must look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Exactly this.
    Fixed(Box<str>),
    /// Captured between these two; not both are empty.
    Between(Box<str>, Box<str>),
    /// Captured, at least one byte.
    Any,
    /// Captured with all that follows. Only at the end.
    Rest,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, Fault> {
        let Some(inner) = text.strip_prefix('/') else {
            return Err(Fault::new(format!("the path `{text}` does not begin with a slash"))
                .hint(format!("write `/{}`", text.trim_start_matches('*'))));
        };
        check_characters(text)?;
        let pieces: Vec<&str> = inner.split('/').collect();
        if pieces.len() > MAX_SEGMENTS {
            return Err(Fault::new(format!("the path has more than {MAX_SEGMENTS} segments")));
        }
        let mut pattern = Pattern { segments: Vec::with_capacity(pieces.len()), names: Vec::new() };
        for piece in &pieces {
            if pattern.segments.last() == Some(&Shape::Rest) {
                return Err(Fault::new("`{*…}` takes the rest of the path, so it must come last"));
            }
            pattern.push(piece)?;
        }
        Ok(pattern)
    }

    /// What this pattern captures of a path, by itself; `None` if the path does not fit. The router finds the same, among
    /// many patterns at once.
    pub(super) fn capture(&self, path: &str) -> Option<Captures> {
        let mut captures = Captures::default();
        let mut at = Some(path.strip_prefix('/').map(|_| 1)?);
        for shape in &self.segments {
            let start = at?;
            let rest = path.get(start..)?;
            let length = rest.find('/').unwrap_or(rest.len());
            let segment = rest.get(..length)?;
            match shape {
                Shape::Rest => {
                    captures.push(start..path.len());
                    return Some(captures);
                }
                Shape::Fixed(text) if segment == &**text => {}
                Shape::Any if length > 0 => captures.push(start..start + length),
                Shape::Between(before, after)
                    if before.len() + after.len() < length
                        && segment.starts_with(&**before)
                        && segment.ends_with(&**after) =>
                {
                    captures.push(start + before.len()..start + length - after.len());
                }
                _ => return None,
            }
            at = (length < rest.len()).then_some(start + length + 1);
        }
        at.is_none().then_some(captures)
    }

    fn push(&mut self, piece: &str) -> Result<(), Fault> {
        let (before, name, after) = split_segment(piece)?;
        let Some(name) = name else {
            check_literal(&before)?;
            self.segments.push(Shape::Fixed(before.into()));
            return Ok(());
        };
        let (rest, name) = name.strip_prefix('*').map_or((false, name), |name| (true, name));
        check_name(name)?;
        if self.names.iter().any(|known| &**known == name) {
            return Err(Fault::new(format!("the name `{name}` is captured twice")));
        }
        self.names.push(name.into());
        self.segments.push(match (rest, before.is_empty() && after.is_empty()) {
            (true, true) => Shape::Rest,
            (true, false) => return Err(Fault::new(format!("`{{*{name}}}` must be a segment of its own"))),
            (false, true) => Shape::Any,
            (false, false) => Shape::Between(before.into(), after.into()),
        });
        Ok(())
    }
}

/// Splits `img-{id}.png` into text, name and text, with doubled braces made single.
fn split_segment(piece: &str) -> Result<(String, Option<&str>, String), Fault> {
    let (mut before, mut name, mut after) = (String::new(), None, String::new());
    for part in braces(piece)? {
        match part {
            Braced::Text(text) if name.is_none() => before.push_str(text),
            Braced::Text(text) => after.push_str(text),
            Braced::Name(_) if name.is_some() => {
                return Err(Fault::new(format!("the segment `{piece}` has two parameters"))
                    .hint("one per segment: where one ends and the next begins could not be told"));
            }
            Braced::Name(inner) => name = Some(inner),
        }
    }
    Ok((before, name, after))
}

/// A piece of text with braces in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Braced<'a> {
    /// As it stands.
    Text(&'a str),
    /// What stood between braces.
    Name(&'a str),
}

impl<'a> Braced<'a> {
    /// What stands there whatever the values are.
    pub(crate) fn text(&self) -> &'a str {
        match self {
            Braced::Text(text) => text,
            Braced::Name(_) => "",
        }
    }
}

/// Splits text at `{…}`; `{{` and `}}` stand for single braces. Used by patterns and
/// templates alike, those of change rules among them.
pub(crate) fn braces(text: &str) -> Result<Vec<Braced<'_>>, Fault> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        if !before.is_empty() {
            parts.push(Braced::Text(before));
        }
        if let Some(after) = from.strip_prefix("{{") {
            parts.push(Braced::Text("{"));
            rest = after;
        } else if let Some(after) = from.strip_prefix("}}") {
            parts.push(Braced::Text("}"));
            rest = after;
        } else if let Some((name, after)) = from.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            parts.push(Braced::Name(name));
            rest = after;
        } else {
            return Err(Fault::new(format!("a brace in `{text}` has no partner"))
                .hint("a brace that stands for itself is doubled: `{{`"));
        }
    }
    if !rest.is_empty() {
        parts.push(Braced::Text(rest));
    }
    Ok(parts)
}

/// Whether a parameter may be called that.
pub(crate) fn check_name(name: &str) -> Result<(), Fault> {
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    if begins && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return Ok(());
    }
    Err(Fault::new(format!("`{name}` is no name for a parameter"))
        .hint("a letter or `_` first, then letters, digits, `_` and `-`"))
}

/// Text that other routers read as a parameter is refused rather than taken at its word.
fn check_literal(text: &str) -> Result<(), Fault> {
    if let Some(name) = text.strip_prefix(':').filter(|name| !name.is_empty()) {
        return Err(Fault::new(format!("`:{name}` is no parameter here")).hint(format!("write `{{{name}}}`")));
    }
    if text == "*" || text == "**" {
        return Err(Fault::new(format!("`{text}` is no wildcard here")).hint("write `{*rest}`"));
    }
    if text == "." || text == ".." {
        return Err(Fault::new("a path with dot segments is never answered from the cache"));
    }
    Ok(())
}

fn check_characters(text: &str) -> Result<(), Fault> {
    if text.contains(['?', '#']) {
        return Err(Fault::new("a path pattern has no query and no fragment").hint("see `key.only_query`"));
    }
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Fault::new(format!("the path `{text}` has characters that a request's path cannot have"))
        .hint("paths are matched as received: write such characters percent-encoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shapes in short: `=text`, `before*after`, `*`, `**`.
    fn show(pattern: &Pattern) -> String {
        let shapes = pattern.segments.iter().map(|shape| match shape {
            Shape::Fixed(text) => format!("={text}"),
            Shape::Between(before, after) => format!("{before}*{after}"),
            Shape::Any => "*".to_owned(),
            Shape::Rest => "**".to_owned(),
        });
        shapes.chain(pattern.names.iter().map(|name| format!("@{name}"))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_pattern_is_read_segment_by_segment() {
        for (text, expected) in [
            ("/", "="),
            ("/a/", "=a ="),
            ("/a//b", "=a = =b"),
            ("/api/users/{userId}", "=api =users * @userId"),
            ("/img-{id}.png", "img-*.png @id"),
            ("/{a}/{b-c}/{*rest}", "* * ** @a @b-c @rest"),
            ("/{{x}}", "={x}"),
            ("/v1/x:cancel", "=v1 =x:cancel"),
        ] {
            match Pattern::parse(text) {
                Ok(pattern) => assert_eq!(show(&pattern), expected, "{text}"),
                Err(fault) => panic!("{text}: {fault:?}"),
            }
        }
    }

    #[test]
    fn a_bad_pattern_is_refused_with_the_reason() {
        for (text, expected) in [
            ("", "does not begin with a slash"),
            ("api", "does not begin with a slash"),
            ("/{", "no partner"),
            ("/a}", "no partner"),
            ("/{}", "no name"),
            ("/{1a}", "no name"),
            ("/{a b}", "cannot have"),
            ("/{*}", "no name"),
            ("/{a}{b}", "two parameters"),
            ("/{a}/{a}", "captured twice"),
            ("/{*rest}/a", "must come last"),
            ("/x{*rest}", "segment of its own"),
            ("/users/:id", "no parameter here"),
            ("/static/*", "no wildcard here"),
            ("/a/../b", "dot segments"),
            ("/a?b=1", "no query"),
            ("/é", "cannot have"),
        ] {
            match Pattern::parse(text) {
                Ok(pattern) => panic!("{text} was read as {pattern:?}"),
                Err(fault) => assert!(fault.message.contains(expected), "{text}: {}", fault.message),
            }
        }
        assert!(Pattern::parse(&"/x".repeat(MAX_SEGMENTS + 1)).is_err());
    }
}
