//! Patterns of channels: `tenant:{tenantId}:users`, `tenant:*:users`.
//!
//! A channel's name is a list of segments with `:` between them. `{name}` and `*` take one segment or the middle of one,
//! at least one character of it and never a `:`; what `{name}` took has that name in templates. Everything else stands
//! for itself. Redis reads patterns more loosely: its `*` also takes nothing, and also colons. So what arrives by a
//! subscription is held against the pattern once more.

use crate::policy::{Braced, Fault, braces, check_name};

/// Longer patterns are refused, in bytes.
const MAX_PATTERN: usize = 1024;

/// A pattern, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChannelPattern {
    segments: Vec<Segment>,
    /// The names of the captures, in the order in which they are captured.
    pub(super) names: Vec<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Fixed(Box<str>),
    /// At least one character between these two.
    Between {
        before: Box<str>,
        after: Box<str>,
        named: bool,
    },
}

impl ChannelPattern {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(Fault::new(format!("a channel's name has 1 to {MAX_PATTERN} bytes")));
        }
        if let Some(odd) = text.chars().find(|c| matches!(c, '?' | '[' | ']' | '\\') || c.is_control()) {
            return Err(Fault::new(format!("{odd:?} cannot stand in the pattern of a channel"))
                .hint("`*` and `{name}` take one segment between colons; everything else stands for itself"));
        }
        let mut pattern = Self { segments: Vec::new(), names: Vec::new() };
        let mut open = Open::default();
        for part in braces(text)? {
            match part {
                Braced::Name(name) => {
                    check_name(name)?;
                    if pattern.names.iter().any(|known| &**known == name) {
                        return Err(Fault::new(format!("the name `{name}` is captured twice")));
                    }
                    pattern.names.push(name.into());
                    open.wildcard(true)?;
                }
                Braced::Text(text) => {
                    for c in text.chars() {
                        match c {
                            ':' => pattern.segments.push(std::mem::take(&mut open).close()),
                            '*' => open.wildcard(false)?,
                            c => open.put(c),
                        }
                    }
                }
            }
        }
        pattern.segments.push(open.close());
        Ok(pattern)
    }

    /// What the named captures took, in the order of `names`; `None` if the channel does not fit.
    pub(super) fn capture<'c>(&self, channel: &'c str) -> Option<Vec<&'c str>> {
        let mut captures = Vec::with_capacity(self.names.len());
        let mut pieces = channel.split(':');
        for segment in &self.segments {
            let piece = pieces.next()?;
            match segment {
                Segment::Fixed(text) if **text == *piece => {}
                Segment::Between { before, after, named } => {
                    let taken = piece.strip_prefix(&**before)?.strip_suffix(&**after)?;
                    if taken.is_empty() {
                        return None;
                    }
                    captures.extend(named.then_some(taken));
                }
                Segment::Fixed(_) => return None,
            }
        }
        pieces.next().is_none().then_some(captures)
    }

    /// Whether it is one channel rather than many.
    pub(super) fn is_plain(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Fixed(_)))
    }

    /// As Redis is asked for it: the name of the channel, or a pattern that takes at least what this one takes.
    pub(super) fn as_redis(&self) -> String {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Fixed(text) => text.to_string(),
            Segment::Between { before, after, .. } => format!("{before}*{after}"),
        });
        segments.collect::<Vec<_>>().join(":")
    }
}

/// A segment that is being read.
#[derive(Default)]
struct Open {
    before: String,
    wildcard: Option<bool>,
    after: String,
}

impl Open {
    fn put(&mut self, c: char) {
        if self.wildcard.is_some() { self.after.push(c) } else { self.before.push(c) }
    }

    fn wildcard(&mut self, named: bool) -> Result<(), Fault> {
        if self.wildcard.replace(named).is_none() {
            return Ok(());
        }
        Err(Fault::new("a segment of a channel has two parameters")
            .hint("one between two colons: where one ends and the next begins could not be told"))
    }

    fn close(self) -> Segment {
        let Self { before, wildcard, after } = self;
        match wildcard {
            None => Segment::Fixed(before.into()),
            Some(named) => Segment::Between { before: before.into(), after: after.into(), named },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `None`: does not fit. Otherwise what was captured.
    fn check(pattern: &str, redis: &str, channels: &[(&str, Option<&[&str]>)]) {
        let read = ChannelPattern::parse(pattern).unwrap_or_else(|fault| panic!("{pattern}: {fault:?}"));
        assert_eq!(read.as_redis(), redis, "{pattern}");
        assert_eq!(read.is_plain(), !redis.contains('*'), "{pattern}");
        for (channel, expected) in channels {
            assert_eq!(read.capture(channel).as_deref(), *expected, "{pattern} {channel}");
        }
    }

    #[test]
    fn a_parameter_takes_one_segment_and_never_a_colon() {
        check(
            "cache.invalidate",
            "cache.invalidate",
            &[("cache.invalidate", Some(&[])), ("cacheXinvalidate", None), ("cache.invalidate:x", None)],
        );
        check(
            "tenant:*:users",
            "tenant:*:users",
            &[
                ("tenant:123:users", Some(&[])),
                ("tenant:*:users", Some(&[])),
                ("tenant::users", None),
                ("tenant:1:2:users", None),
                ("tenant:1:users:x", None),
                ("xtenant:1:users", None),
                ("tenant:1", None),
                ("", None),
            ],
        );
        check(
            "tenant:{tenantId}:{kind}",
            "tenant:*:*",
            &[
                ("tenant:123:users", Some(&["123", "users"])),
                ("tenant:../*:[a-z]+", Some(&["../*", "[a-z]+"])),
                ("tenant:1:", None),
            ],
        );
        check(
            "env-{env}.v1:*:{{x}}",
            "env-*.v1:*:{x}",
            &[("env-prod.v1:é:{x}", Some(&["prod"])), ("env-.v1:a:{x}", None), ("env-.v1.v1:a:{x}", Some(&[".v1"]))],
        );
        check("aXa{x}a", "aXa*a", &[("aXa", None), ("aXaa", None), ("aXa1a", Some(&["1"]))]);
    }

    #[test]
    fn what_redis_would_read_otherwise_is_refused() {
        for (text, expected) in [
            ("", "1 to 1024 bytes"),
            ("h?llo", "'?' cannot stand"),
            ("h[ae]llo", "'[' cannot stand"),
            ("a\\*", "cannot stand"),
            ("a\nb", "'\\n' cannot stand"),
            ("**", "two parameters"),
            ("{a}{b}", "two parameters"),
            ("{a}:{a}", "captured twice"),
            ("{}", "is no name"),
            ("{a.b}", "is no name"),
            ("{", "no partner"),
        ] {
            let fault = ChannelPattern::parse(text).expect_err(text);
            assert!(fault.message.contains(expected), "{text}: {}", fault.message);
        }
        assert!(ChannelPattern::parse(&"x".repeat(MAX_PATTERN + 1)).is_err());
    }
}
