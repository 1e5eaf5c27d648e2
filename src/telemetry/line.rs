//! Writing what is not trusted to be text.
//!
//! What is no UTF-8 is replaced; what could end a line, end a string or steer a terminal is escaped, in the way of
//! JSON; and each piece has a budget, counted after escaping.

use std::borrow::Cow;
use std::io::Write as _;

/// A line in the making.
pub struct Line(Vec<u8>);

impl Line {
    /// An empty one.
    pub fn new() -> Self {
        Self(Vec::with_capacity(512))
    }

    /// Text that is known to be harmless.
    pub fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a Vec cannot fail.
        let _ = self.0.write_fmt(text);
    }

    /// The bytes of it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A member of the JSON object; nothing if there is nothing to say.
    pub fn member(&mut self, name: &str, value: &[u8], budget: usize) {
        if !value.is_empty() {
            self.push(format_args!(",\"{name}\":\""));
            self.escaped(value, budget);
            self.push(format_args!("\""));
        }
    }

    /// The text as the inside of a JSON string of at most `budget` bytes. What does not fit is cut off between two
    /// characters, and an ellipsis says so.
    pub fn escaped(&mut self, text: &[u8], budget: usize) {
        const ELLIPSIS: char = '…';
        let start = self.0.len();
        // Where an ellipsis would still fit.
        let mut last_safe = start;
        for character in String::from_utf8_lossy(text.get(..budget.saturating_add(1)).unwrap_or(text)).chars() {
            match character {
                '"' | '\\' => self.push(format_args!("\\{character}")),
                // Controls of both sets, and what some viewers take for the end of a line or for a change of direction.
                '\u{2028}'
                | '\u{2029}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' => {
                    self.push(format_args!("\\u{:04x}", u32::from(character)));
                }
                control if control.is_control() => self.push(format_args!("\\u{:04x}", u32::from(control))),
                plain => self.push(format_args!("{plain}")),
            }
            let used = self.0.len() - start;
            if used > budget {
                self.0.truncate(last_safe);
                self.push(format_args!("{ELLIPSIS}"));
                return;
            }
            if used + ELLIPSIS.len_utf8() <= budget {
                last_safe = self.0.len();
            }
        }
    }
}

/// The path with the values of sensitive query parameters replaced by three asterisks.
pub fn blank<'a>(path: &'a [u8], redacted: &[String]) -> Cow<'a, [u8]> {
    let Some(mark) = path.iter().position(|byte| *byte == b'?') else { return path.into() };
    let (before, query) = path.split_at(mark + 1);
    let is_separator = |byte: &u8| matches!(byte, b'&' | b';');
    let sensitive = |parameter: &[u8]| {
        let name = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
        let name = decoded(name);
        redacted.iter().any(|sensitive| sensitive.as_bytes().eq_ignore_ascii_case(&name))
    };
    if !query.split(is_separator).any(sensitive) {
        return path.into();
    }
    let mut blanked = before.to_vec();
    for parameter in query.split_inclusive(is_separator) {
        let (pair, separator) = match parameter.split_last() {
            Some((last, pair)) if is_separator(last) => (pair, Some(*last)),
            _ => (parameter, None),
        };
        let equals = pair.iter().position(|byte| *byte == b'=');
        match equals {
            Some(equals) if sensitive(pair) => {
                blanked.extend_from_slice(pair.get(..=equals).unwrap_or_default());
                blanked.extend_from_slice(b"***");
            }
            _ => blanked.extend_from_slice(pair),
        }
        blanked.extend(separator);
    }
    blanked.into()
}

/// A parameter's name without percent-encoding.
fn decoded(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
        let coded = match (first, hex(after.first()), hex(after.get(1))) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        plain.push(coded.unwrap_or(first));
        rest = if coded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_cut_between_characters_and_says_so() {
        for (text, budget, expected) in [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abc…"),
            ("ab\u{1}", 8, "ab\\u0001"),
            ("ab\u{1}c", 8, "ab…"),
            ("ééé", 6, "ééé"),
            ("éééé", 6, "é…"),
            ("", 6, ""),
        ] {
            let mut line = Line::new();
            line.escaped(text.as_bytes(), budget);
            assert_eq!(String::from_utf8(line.0).unwrap(), expected, "{text:?} in {budget}");
        }
    }

    /// LG-02 of the catalogue of faults, as far as the log decides it.
    #[test]
    fn sensitive_parameters_are_blanked() {
        let redacted = ["token".to_owned(), "X-Amz-Signature".to_owned()];
        for (path, expected) in [
            ("/a", "/a"),
            ("/a?b=1&c=2", "/a?b=1&c=2"),
            ("/a?token=secret", "/a?token=***"),
            ("/a?b=1&TOKEN=secret&c=2", "/a?b=1&TOKEN=***&c=2"),
            ("/a?b=1;token=secret;c=2", "/a?b=1;token=***;c=2"),
            ("/a?%74oken=secret", "/a?%74oken=***"),
            ("/a?x-amz-signature=a=b&token=", "/a?x-amz-signature=***&token=***"),
            ("/a?token", "/a?token"),
            ("/a?mytoken=1&b=token", "/a?mytoken=1&b=token"),
            ("/a?%zz=1&%7=2&token=s?x", "/a?%zz=1&%7=2&token=***"),
        ] {
            assert_eq!(String::from_utf8_lossy(&blank(path.as_bytes(), &redacted)), expected);
        }
    }
}
