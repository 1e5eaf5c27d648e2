//! What is wrong with a configuration, said so that it can be mended: where, what, and what was probably meant.
//!
//! Reading never stops at the first mistake. Everything that reads writes into one [`Notes`]; at the end the notes
//! become [`Problems`], sorted by their place in the file, each with the line it is about.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// Whether the gateway may start with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is accepted; what it costs is said.
    Warning,
}

/// One problem and its place. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named, or the flag or variable that the value came from.
    pub file: String,
    /// The line; 0 when the problem lies in no line of a file.
    pub line: usize,
    /// The column; 0 when the problem lies in no line of a file.
    pub column: usize,
    /// The key with its tables, such as `route[2].ttl`; empty when it is about no key.
    pub key: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it, or what was probably meant.
    pub hint: Option<String>,
    /// Whether it prevents the start.
    pub severity: Severity,
    /// The line itself (a secret in it replaced by `…`) and how many characters the caret covers.
    source: Option<(String, usize)>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, hint, severity, source, key: _ } = self;
        let kind = if *severity == Severity::Warning { "warning: " } else { "" };
        if *line == 0 {
            write!(f, "{file}: {kind}{message}")?;
        } else {
            write!(f, "{file}:{line}:{column}: {kind}{message}")?;
        }
        if let Some((text, length)) = source {
            let number = line.to_string();
            let gutter = " ".repeat(number.len());
            let indent: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            write!(f, "\n  {number} | {text}\n  {gutter} | {indent}{}", "^".repeat(*length))?;
        }
        if let Some(hint) = hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// All problems of one configuration, in the order of the file. Printed with an empty line between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// How many of them prevent the start.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One problem that lies in no line: the file could not be read at all.
    pub(super) fn of_file(file: &str, message: String, hint: &str) -> Self {
        let note = Note {
            place: Place::Nowhere,
            key: String::new(),
            wrong: Wrong::new(message).hint(hint),
            severity: Severity::Error,
        };
        Self(vec![note.into_problem(file, "")])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// What is wrong with a value, before its place is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    message: String,
    hint: Option<String>,
    /// The value is a secret: it must not be repeated in the message's source line.
    conceal: bool,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, conceal: false }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn maybe(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    pub(super) fn concealed(self) -> Self {
        Self { conceal: true, ..self }
    }
}

/// Where a note belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// These bytes of the file.
    Span(Range<usize>),
    /// A flag or an environment variable.
    Flag(&'static str),
    /// The file as a whole.
    Nowhere,
}

/// The notes taken while a file is read. Shared by all readers of that file.
#[derive(Debug, Default)]
pub(super) struct Notes(RefCell<Vec<Note>>);

#[derive(Debug)]
struct Note {
    place: Place,
    key: String,
    wrong: Wrong,
    severity: Severity,
}

impl Notes {
    pub(super) fn error(&self, place: Place, key: impl Into<String>, wrong: Wrong) {
        self.0.borrow_mut().push(Note { place, key: key.into(), wrong, severity: Severity::Error });
    }

    pub(super) fn warning(&self, place: Place, key: impl Into<String>, wrong: Wrong) {
        self.0.borrow_mut().push(Note { place, key: key.into(), wrong, severity: Severity::Warning });
    }

    /// How many errors were noted so far: compared before and after, it tells whether a part was read without any.
    pub(super) fn errors(&self) -> usize {
        self.0.borrow().iter().filter(|note| note.severity == Severity::Error).count()
    }

    /// The notes as problems of `file`, whose content is `text`, in the order of the file.
    pub(super) fn into_problems(self, file: &str, text: &str) -> Problems {
        let mut notes = self.0.into_inner();
        notes.sort_by_key(|note| match &note.place {
            Place::Nowhere => (0, 0),
            Place::Flag(_) => (1, 0),
            Place::Span(span) => (2, span.start),
        });
        Problems(notes.into_iter().map(|note| note.into_problem(file, text)).collect())
    }
}

impl Note {
    fn into_problem(self, file: &str, text: &str) -> Problem {
        let Self { place, key, wrong: Wrong { message, hint, conceal }, severity } = self;
        let (file, spot) = match place {
            Place::Span(span) => (file.to_owned(), Some(Spot::find(text, &span, conceal))),
            Place::Flag(flag) => (flag.to_owned(), None),
            Place::Nowhere => (file.to_owned(), None),
        };
        let (line, column) = spot.as_ref().map_or((0, 0), |spot| (spot.line, spot.column));
        let source = spot.map(|spot| (spot.text, spot.length));
        Problem { file, line, column, key, message, hint, severity, source }
    }
}

/// A place in a text, for people.
struct Spot {
    line: usize,
    column: usize,
    text: String,
    length: usize,
}

impl Spot {
    fn find(text: &str, span: &Range<usize>, conceal: bool) -> Self {
        let start = floor(text, span.start);
        let from = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let to = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor(text, span.end.clamp(start, to));
        let content =
            if conceal { format!("{}…{}", &text[from..start], &text[end..to]) } else { text[from..to].to_owned() };
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[from..start].chars().count() + 1,
            text: content.trim_end().to_owned(),
            length: if conceal { 1 } else { text[start..end].trim_end().chars().count().max(1) },
        }
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Range<usize>, wrong: Wrong) -> String {
        let notes = Notes::default();
        notes.error(Place::Span(span), "", wrong);
        notes.into_problems("f", text).to_string()
    }

    #[test]
    fn the_caret_stands_under_what_is_meant() {
        assert_eq!(shown("a = 1\nbc = 22\n", 11..13, Wrong::new("no")), "f:2:6: no\n  2 | bc = 22\n    |      ^^");
        assert_eq!(shown("\tä = 1", 3..4, Wrong::new("no")), "f:1:3: no\n  1 | \tä = 1\n    | \t ^");
    }

    #[test]
    fn a_place_outside_the_text_is_harmless() {
        assert_eq!(shown("ä", 1..99, Wrong::new("no")), "f:1:1: no\n  1 | ä\n    | ^");
        assert_eq!(shown("", 7..9, Wrong::new("no")), "f:1:1: no\n  1 | \n    | ^");
    }

    #[test]
    fn a_secret_is_not_repeated() {
        let shown = shown("token = \"hunter2\" # x", 8..17, Wrong::new("no").concealed());
        assert_eq!(shown, "f:1:9: no\n  1 | token = … # x\n    |         ^");
    }
}
