//! One line of the fleet's log: which tags a change names, and how hard it hits them.
//!
//! Records are JSON, because they are few, short, and read by people when something went wrong:
//!
//! ```json
//! {"type":"mark","grade":"hard","tags":["tag:user:7"],"source":"api","id":"req-12","at":1754265600}
//! ```
//!
//! A reader may be older than the writer. It must not skip what it does not understand, for a change skipped is an old
//! answer served. So decoding never fails: what cannot be read counts as a hard mark on the record's tags, and if those
//! cannot be read either, on everything. The mistake then costs fetches, never a wrong answer. For the same reason a new
//! field needs no new version, and a new meaning needs a new `type`.

use bytes::Bytes;
use serde_json::{Map, Value};

pub use crate::fleet::Grade;

/// Names every entry there is.
pub const EVERYTHING: &str = "*";

/// What the log says about one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How hard.
    pub grade: Grade,
    /// Full names of the tags hit, or [`EVERYTHING`].
    pub tags: Vec<String>,
    /// Who asked for it; for the audit trail.
    pub source: String,
    /// The asker's own name for it, or empty; for the audit trail.
    pub id: String,
    /// When it was appended, in seconds since the Unix epoch; for the audit trail. Nothing is decided by it.
    pub at: u64,
    /// Somebody waits for all nodes to have applied it: each says so at once.
    pub report: bool,
}

impl Record {
    /// As it stands in the log.
    pub fn encode(&self) -> Bytes {
        let mut fields = Map::new();
        fields.insert("type".into(), MARK.into());
        fields.insert("grade".into(), self.grade.as_str().into());
        fields.insert("tags".into(), self.tags.iter().map(String::as_str).collect());
        fields.insert("source".into(), self.source.as_str().into());
        fields.insert("id".into(), self.id.as_str().into());
        fields.insert("at".into(), self.at.into());
        if self.report {
            fields.insert("report".into(), true.into());
        }
        Bytes::from(Value::Object(fields).to_string())
    }

    /// Reads a record. Whatever the bytes are, it means something: see the module's text.
    pub fn decode(bytes: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let text = |name| value.get(name).and_then(Value::as_str);
        let grade = if text("type") == Some(MARK) { read_grade(text("grade")) } else { Grade::Hard };
        Self {
            grade,
            tags: read_tags(value.get("tags")).unwrap_or_else(|| vec![EVERYTHING.to_owned()]),
            source: text("source").unwrap_or_default().to_owned(),
            id: text("id").unwrap_or_default().to_owned(),
            at: value.get("at").and_then(Value::as_u64).unwrap_or_default(),
            report: value.get("report").and_then(Value::as_bool).unwrap_or_default(),
        }
    }
}

/// The one type of record that is written today.
const MARK: &str = "mark";

/// What cannot be read is taken for the worst.
fn read_grade(text: Option<&str>) -> Grade {
    match text {
        Some("soft") => Grade::Soft,
        Some("check") => Grade::Check,
        _ => Grade::Hard,
    }
}

/// All of them or none: a list of which only a part can be read may have named anything.
fn read_tags(value: Option<&Value>) -> Option<Vec<String>> {
    value?.as_array()?.iter().map(|tag| tag.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_that_cannot_be_read_is_a_hard_mark_on_all_it_may_have_named() {
        let rows: &[(&str, Grade, &[&str])] = &[
            (r#"{"type":"mark","grade":"soft","tags":["a"]}"#, Grade::Soft, &["a"]),
            (r#"{"type":"mark","grade":"check","tags":["a","b"]}"#, Grade::Check, &["a", "b"]),
            (r#"{"type":"mark","grade":"hard","tags":["a"]}"#, Grade::Hard, &["a"]),
            (r#"{"type":"mark","grade":"soft","tags":[],"more":1}"#, Grade::Soft, &[]),
            (r#"{"type":"mark","grade":"softer","tags":["a"]}"#, Grade::Hard, &["a"]),
            (r#"{"type":"mark","grade":1,"tags":["a"]}"#, Grade::Hard, &["a"]),
            (r#"{"type":"mark","tags":["a"]}"#, Grade::Hard, &["a"]),
            (r#"{"type":"patch","grade":"soft","tags":["a"]}"#, Grade::Hard, &["a"]),
            (r#"{"grade":"soft","tags":["a"]}"#, Grade::Hard, &["a"]),
            (r#"{"type":"mark","grade":"hard","tags":["a",1]}"#, Grade::Hard, &["*"]),
            (r#"{"type":"mark","grade":"hard","tags":"a"}"#, Grade::Hard, &["*"]),
            (r#"{"type":"mark","grade":"hard"}"#, Grade::Hard, &["*"]),
            ("{", Grade::Hard, &["*"]),
            ("", Grade::Hard, &["*"]),
            ("null", Grade::Hard, &["*"]),
            ("\u{0}", Grade::Hard, &["*"]),
        ];
        for (text, grade, tags) in rows {
            let record = Record::decode(text.as_bytes());
            assert_eq!(
                (record.grade, record.tags),
                (*grade, tags.iter().map(|tag| (*tag).to_owned()).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_record_of_today_stays_readable() {
        let text = br#"{"type":"mark","grade":"check","tags":["tag:x"],"source":"api","id":"7","at":12,"report":true}"#;
        let grade = Grade::Check;
        let expected =
            Record { grade, tags: vec!["tag:x".into()], source: "api".into(), id: "7".into(), at: 12, report: true };
        assert_eq!(Record::decode(text), expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(
            grade in prop::sample::select(vec![Grade::Soft, Grade::Check, Grade::Hard]),
            tags in prop::collection::vec(".*", 0..5), source in ".*", id in ".*", at: u64, report: bool,
        ) {
            let record = Record { grade, tags, source, id, at, report };
            prop_assert_eq!(Record::decode(&record.encode()), record);
        }

        #[test]
        fn no_bytes_are_an_error(bytes: Vec<u8>) {
            let record = Record::decode(&bytes);
            prop_assert_eq!(record.grade, Grade::Hard);
            prop_assert_eq!(record.tags, vec![EVERYTHING.to_owned()]);
        }
    }
}
