//! Where a value stands in a message, and how it is written.
//!
//! Two notations: `data.userId` in templates, `/data/userId` (a JSON pointer, RFC 6901) for names with dots in them and
//! where a rule compares. A list on the way, or at its end, gives one value for each of its elements; a number in the
//! path picks one of them.

use std::borrow::Cow;

use serde_json::{Number, Value};

use crate::policy::Fault;

/// Deeper paths lead nowhere: no message is that deep.
const MAX_STEPS: usize = super::message::MAX_DEPTH;

/// From here on a floating-point number may be its neighbour.
const INEXACT: f64 = 9_007_199_254_740_992.0;

/// A path into a message, read. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldPath(Vec<Box<str>>);

/// What was found at a path.
#[derive(Debug, Default)]
pub(super) struct Found<'m> {
    /// The values as text; in the order of the message, none of them empty.
    pub(super) values: Vec<Cow<'m, str>>,
    /// Something on the way was absent, null, an object or an empty text.
    pub(super) missing: bool,
    /// A number was too large to be told from its neighbours.
    pub(super) inexact: bool,
}

impl FieldPath {
    /// Reads either notation.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if text.starts_with('/') {
            return Self::pointer(text);
        }
        let steps: Vec<&str> = text.split('.').collect();
        let odd = |step: &&str| step.is_empty() || step.contains(|c: char| c.is_whitespace() || c.is_control());
        if steps.iter().any(odd) {
            return Err(Fault::new(format!("`{{{}}}` is no path into a message", text.escape_debug()))
                .hint("write `{data.userId}`, or `{/data/user id}` for names with dots or spaces"));
        }
        Self::of(steps.into_iter().map(Box::from).collect())
    }

    /// Reads a JSON pointer.
    pub(super) fn pointer(text: &str) -> Result<Self, Fault> {
        let Some(inner) = text.strip_prefix('/').filter(|inner| !inner.is_empty()) else {
            return Err(Fault::new(format!("`{text}` is no JSON pointer"))
                .hint(format!("it begins with a slash: `/{}`", text.trim_matches('/').replace('.', "/"))));
        };
        Self::of(inner.split('/').map(|step| step.replace("~1", "/").replace("~0", "~").into()).collect())
    }

    fn of(steps: Vec<Box<str>>) -> Result<Self, Fault> {
        if steps.len() > MAX_STEPS {
            return Err(Fault::new(format!("a path into a message has at most {MAX_STEPS} steps")));
        }
        Ok(Self(steps))
    }

    /// All values at this path.
    pub(super) fn find<'m>(&self, message: &'m Value) -> Found<'m> {
        let mut found = Found::default();
        collect(message, &self.0, &mut found);
        found
    }

    /// The one text, number or boolean at this path, as it is written; `None` for anything else.
    pub(super) fn scalar<'m>(&self, message: &'m Value) -> Option<Cow<'m, str>> {
        let mut value = message;
        for step in &self.0 {
            value = match value {
                Value::Array(elements) => elements.get(step.parse::<usize>().ok()?)?,
                value => value.get(&**step)?,
            };
        }
        match value {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Number(number) => Some(Cow::Owned(number.to_string())),
            Value::Bool(value) => Some(Cow::Borrowed(word(*value))),
            _ => None,
        }
    }
}

/// One call deep per level of the message, which is bounded before.
fn collect<'m>(value: &'m Value, steps: &[Box<str>], found: &mut Found<'m>) {
    match (value, steps.split_first()) {
        (Value::Array(elements), Some((step, rest))) if is_index(step) => {
            match step.parse().ok().and_then(|index: usize| elements.get(index)) {
                Some(element) => collect(element, rest, found),
                None => found.missing = true,
            }
        }
        (Value::Array(elements), _) => elements.iter().for_each(|element| collect(element, steps, found)),
        (Value::Object(fields), Some((step, rest))) => match fields.get(&**step) {
            Some(field) => collect(field, rest, found),
            None => found.missing = true,
        },
        (Value::String(text), None) if !text.is_empty() => found.values.push(Cow::Borrowed(text)),
        (Value::Bool(value), None) => found.values.push(Cow::Borrowed(word(*value))),
        (Value::Number(number), None) if is_exact(number) => found.values.push(Cow::Owned(number.to_string())),
        (Value::Number(_), None) => found.inexact = true,
        _ => found.missing = true,
    }
}

fn is_index(step: &str) -> bool {
    step.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_exact(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|number| number.abs() < INEXACT)
}

fn word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_finds_values_and_says_what_is_missing() {
        let message = json!({
            "data": { "userId": "user-456", "n": 7, "cost": 3.0, "on": true, "off": null, "none": "", "big": 18_446_744_073_709_551_615_u64,
                      "huge": 1e23, "list": ["a", 2, null, { "x": 1 }], "a.b": "dotted", "c/d": "slashed" },
            "items": [{ "id": 1, "t": ["x", "y"] }, { "id": 2 }],
            "empty": [],
        });
        let check = |path: &str, values: &[&str], missing: bool, inexact: bool| {
            let found = FieldPath::parse(path).unwrap_or_else(|fault| panic!("{path}: {fault:?}")).find(&message);
            assert_eq!(
                (&found.values[..], found.missing, found.inexact),
                (&values.iter().map(|v| Cow::Borrowed(*v)).collect::<Vec<Cow<'_, str>>>()[..], missing, inexact),
                "{path}"
            );
        };
        check("data.userId", &["user-456"], false, false);
        check("/data/userId", &["user-456"], false, false);
        check("data.n", &["7"], false, false);
        check("data.cost", &["3.0"], false, false);
        check("data.on", &["true"], false, false);
        check("data.big", &["18446744073709551615"], false, false);
        check("data.huge", &[], false, true);
        check("data.off", &[], true, false);
        check("data.none", &[], true, false);
        check("data", &[], true, false);
        check("data.nope", &[], true, false);
        check("data.userId.x", &[], true, false);
        check("data.list", &["a", "2"], true, false);
        check("data.list.1", &["2"], false, false);
        check("data.list.9", &[], true, false);
        check("/data/a.b", &["dotted"], false, false);
        check("/data/c~1d", &["slashed"], false, false);
        check("items.id", &["1", "2"], false, false);
        check("items.1.id", &["2"], false, false);
        check("items.t", &["x", "y"], true, false);
        check("empty", &[], false, false);
    }

    #[test]
    fn what_is_compared_is_one_value() {
        let message = json!({ "a": "x", "n": 1, "b": false, "l": ["y"], "o": {} });
        for (pointer, expected) in [
            ("/a", Some("x")),
            ("/n", Some("1")),
            ("/b", Some("false")),
            ("/l/0", Some("y")),
            ("/l", None),
            ("/o", None),
            ("/nope", None),
            ("/a/b", None),
        ] {
            assert_eq!(FieldPath::pointer(pointer).unwrap().scalar(&message).as_deref(), expected, "{pointer}");
        }
    }

    #[test]
    fn a_path_that_cannot_be_meant_is_refused() {
        for text in ["", "a..b", ".a", "a.", "a b", "a\n", "/"] {
            assert!(FieldPath::parse(text).is_err(), "{text:?}");
        }
        assert!(FieldPath::pointer("a.b").is_err_and(|fault| fault.hint.unwrap_or_default().contains("`/a/b`")));
        assert!(FieldPath::parse(&"a.".repeat(MAX_STEPS).trim_end_matches('.').repeat(2)).is_err());
    }
}
