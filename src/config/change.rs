//! The change rules: `[[change]]`.

use toml::de::DeValue;

use crate::changes::{ChangeRuleSettings, ChangeRules, TARGET_KINDS};

use super::problem::{Notes, Wrong};
use super::reader::Reader;
use super::similar::most_similar;
use super::values::text;

/// Reads every `[[change]]`, and lets the rules be judged as a whole. Of a rule that could not be read, what is left could
/// only be misjudged.
pub(super) fn changes(tables: &[Reader<'_>], notes: &Notes) -> Vec<ChangeRuleSettings> {
    let mut rules = Vec::new();
    let mut intact = Vec::new();
    for table in tables {
        let errors_before = notes.errors();
        rules.push(change(table));
        table.finish();
        intact.push(notes.errors() == errors_before);
    }
    for problem in ChangeRules::compile(&rules).err().unwrap_or_default() {
        if let (Some(table), Some(true)) = (tables.get(problem.rule), intact.get(problem.rule)) {
            table.complain(problem.key, Wrong::new(problem.message).maybe(problem.hint));
        }
    }
    rules
}

/// Reads one `[[change]]`.
fn change(table: &Reader<'_>) -> ChangeRuleSettings {
    let default = ChangeRuleSettings::default();
    if table.holds("record_field") && !table.holds("stream") {
        table.complain(
            "record_field",
            Wrong::new("`record_field` needs `stream`").hint("a published message has no fields"),
        );
    }
    ChangeRuleSettings {
        name: table.read("name", text),
        channel: table.read("channel", text),
        stream: table.read("stream", text),
        record_field: table.take("record_field", text, default.record_field),
        event: table.list("event", text).unwrap_or(default.event),
        event_at: table.read("event_at", text),
        conditions: table.pairs("where", pointer, scalar).unwrap_or(default.conditions),
        purge: table.list("purge", target).unwrap_or(default.purge),
        soften: table.list("soften", target).unwrap_or(default.soften),
    }
}

/// A JSON pointer, such as "/environment".
fn pointer(written: &str) -> Result<String, Wrong> {
    if written.starts_with('/') {
        return Ok(written.to_owned());
    }
    Err(Wrong::new(format!("`{written}` is no place in a message"))
        .hint(format!("a JSON pointer begins with a slash: \"/{}\"", written.replace('.', "/"))))
}

/// A text, a whole number or a boolean, as it is written.
fn scalar(value: &DeValue<'_>) -> Result<String, Wrong> {
    let number = |number: &toml::de::DeInteger<'_>| i64::from_str_radix(number.as_str(), number.radix()).ok();
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Integer(written) => {
            number(written).map(|number| number.to_string()).ok_or_else(|| Wrong::new("the number is too large"))
        }
        other => {
            let kind = other.type_str();
            Err(Wrong::new(format!("expected a string, a whole number, true or false, found a value of type {kind}")))
        }
    }
}

/// A target, as far as its kind. What is wrong with the rest is found when the rule is read as a whole.
fn target(value: &DeValue<'_>) -> Result<String, Wrong> {
    let written = text(value)?;
    let (kind, rest) = written.split_once(':').map_or((written.as_str(), ""), |(kind, rest)| (kind, rest));
    match most_similar(kind, &TARGET_KINDS) {
        Some(meant) if meant != kind => {
            let colon = if meant == "all" { "" } else { ":" };
            let hint = format!("did you mean `{meant}{colon}{rest}`?");
            Err(Wrong::new(format!("`{written}` is no target")).hint(hint))
        }
        _ => Ok(written),
    }
}
