//! The members of a line of directives: `name`, `name=token` or `name="quoted string"`, separated by commas.
//!
//! The form is that of Cache-Control (RFC 9111 §5.2). All that a directive's argument can mean to this cache is a number
//! of seconds, so that is all an [`Argument`] can tell. Reading allocates nothing: requests are read this way too.

use std::time::Duration;

use http::HeaderValue;

/// The members of one line, in order; names as written.
pub(super) fn members(line: &HeaderValue) -> Members<'_> {
    Members { rest: line.as_bytes(), spoilt: false }
}

pub(super) struct Members<'a> {
    rest: &'a [u8],
    /// A quotation mark was never closed: from there on, arguments cannot be trusted.
    spoilt: bool,
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Argument);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let (member, rest) = self.split();
            self.rest = rest;
            let member = member.trim_ascii();
            if !member.is_empty() {
                return Some(self.read(member));
            }
        }
    }
}

impl<'a> Members<'a> {
    /// Cuts at the first comma outside a quoted string.
    fn split(&mut self) -> (&'a [u8], &'a [u8]) {
        let text = self.rest;
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            match byte {
                b',' => return (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
                b'"' if !self.spoilt => match closing_quote(text, at) {
                    Some(end) => at = end,
                    None => self.spoilt = true,
                },
                _ => {}
            }
            at += 1;
        }
        (text, &[])
    }

    fn read(&self, member: &'a [u8]) -> (&'a [u8], Argument) {
        let equals = member.iter().position(|byte| *byte == b'=');
        let name = member.get(..equals.unwrap_or(member.len())).unwrap_or_default();
        let argument = match equals {
            _ if self.spoilt => Argument::Other,
            None => Argument::Absent,
            // White space around "=" is not allowed: the directive is meant, its argument is malformed.
            Some(_) if name.trim_ascii_end() != name => Argument::Other,
            Some(equals) => Argument::of_text(member.get(equals + 1..).unwrap_or_default()),
        };
        (name.trim_ascii_end(), argument)
    }
}

/// Where the quoted string that opens at `open` ends.
fn closing_quote(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// What follows a directive's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    Absent,
    Seconds(Duration),
    /// Present, but no number of seconds.
    Other,
}

impl Argument {
    pub(super) fn is_absent(self) -> bool {
        self == Self::Absent
    }

    /// The number of seconds; zero if there is none where there should be one.
    pub(super) fn or_zero(self) -> Duration {
        if let Self::Seconds(seconds) = self { seconds } else { Duration::ZERO }
    }

    /// The argument as written after `=`: a token or a quoted string, both are accepted (§5.2).
    fn of_text(text: &[u8]) -> Self {
        let bare = match text {
            [b'"', inner @ .., b'"'] => inner,
            other => other,
        };
        delta_seconds(bare).map_or(Self::Other, Self::Seconds)
    }
}

/// 2^31 seconds: what every larger number counts as (RFC 9111 §1.2.2).
pub(super) const FOR_EVER: Duration = Duration::from_secs(1 << 31);

/// Reads delta-seconds ([RFC 9111 §1.2.2]): digits and nothing else, at most [`FOR_EVER`].
///
/// [RFC 9111 §1.2.2]: https://www.rfc-editor.org/rfc/rfc9111.html#section-1.2.2
pub(super) fn delta_seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = text.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(Duration::from_secs(seconds).min(FOR_EVER))
}

/// A directive's name in lower case. Names longer than any that is known come out as zeros, which match none.
pub(super) fn lower_case(name: &[u8]) -> NameBuffer {
    let mut bytes = [0; LONGEST_NAME];
    if let Some(target) = bytes.get_mut(..name.len()) {
        target.copy_from_slice(name);
        target.make_ascii_lowercase();
    }
    NameBuffer { bytes, length: name.len().min(LONGEST_NAME) }
}

const LONGEST_NAME: usize = "stale-while-revalidate".len();

pub(super) struct NameBuffer {
    bytes: [u8; LONGEST_NAME],
    length: usize,
}

impl std::ops::Deref for NameBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
