//! A message as it arrives, and reading it.
//!
//! Nothing of it is believed: it is measured before it is looked at, must be UTF-8, must not be deep, and must be a JSON
//! object. Its depth is counted on the bytes, so that nothing deep is ever built.

use ring::digest::{Context, SHA256};
use serde_json::{Map, Value};

use super::Dropped;

/// The longest message that is read, in bytes. A notification names what changed; it does not carry it.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// How deep lists and objects may stand inside one another.
pub const MAX_DEPTH: usize = 32;

/// What the backend announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// By PUBLISH.
    Published {
        /// The channel's own name, not the pattern that was subscribed to.
        channel: &'a str,
        /// The bytes that were published.
        payload: &'a [u8],
    },
    /// By XADD.
    Recorded {
        /// The stream's key.
        stream: &'a str,
        /// The record's fields, in its order.
        fields: &'a [(&'a [u8], &'a [u8])],
    },
}

impl Message<'_> {
    /// The bytes that count against [`MAX_MESSAGE`].
    pub(super) fn len(&self) -> usize {
        match self {
            Message::Published { payload, .. } => payload.len(),
            Message::Recorded { fields, .. } => fields.iter().map(|(name, value)| name.len() + value.len()).sum(),
        }
    }

    /// As [`message_id`]: equal exactly for messages of equal content on the same channel or stream.
    pub fn id(&self) -> String {
        match self {
            Message::Published { channel, payload } => message_id(channel, payload),
            Message::Recorded { stream, fields } => {
                let fields = fields.iter().flat_map(|(name, value)| [*name, *value]);
                digest("stream", [stream.as_bytes()].into_iter().chain(fields))
            }
        }
    }
}

/// What a published message is called: 32 hexadecimal digits, the same on every node that heard it. Two messages of the
/// same content on the same channel share it, as they change the same.
pub fn message_id(channel: &str, payload: &[u8]) -> String {
    digest("channel", [channel.as_bytes(), payload])
}

/// Each part goes in with its length, so that no two lists of parts look alike.
fn digest<'a>(kind: &'static str, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut context = Context::new(&SHA256);
    for part in std::iter::once(kind.as_bytes()).chain(parts) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let digest = context.finish();
    let (half, _) = digest.as_ref().split_at(16);
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    half.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The object that `bytes` are.
pub(super) fn read(bytes: &[u8]) -> Result<Value, Dropped<'static>> {
    if bytes.len() > MAX_MESSAGE {
        return Err(Dropped::TooLarge { bytes: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Dropped::NotUtf8 { at: error.valid_up_to() })?;
    if depth(text.as_bytes()) > MAX_DEPTH {
        return Err(Dropped::TooDeep);
    }
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => Ok(object),
        Ok(_) => Err(Dropped::NotAnObject),
        Err(error) => Err(Dropped::NotJson { line: error.line(), column: error.column() }),
    }
}

/// The object that a record holds: the JSON in `field`, or, where there is no such field, all fields as texts.
pub(super) fn read_record(fields: &[(&[u8], &[u8])], field: &str) -> Result<Value, Dropped<'static>> {
    if let Some((_, json)) = fields.iter().find(|(name, _)| *name == field.as_bytes()) {
        return read(json);
    }
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(Dropped::NotUtf8 { at: error.valid_up_to() }),
    };
    let pairs = fields.iter().map(|(name, value)| Ok((text(name)?, Value::String(text(value)?))));
    Ok(Value::Object(pairs.collect::<Result<Map<_, _>, _>>()?))
}

/// How deep brackets stand in one another, outside of strings. Of text that is no JSON, some number.
fn depth(text: &[u8]) -> usize {
    let (mut now, mut most, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> String {
        // The object itself is one level.
        format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1))
    }

    #[test]
    fn ps_01_a_message_is_an_object_of_bounded_size_and_depth_or_nothing() {
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_MESSAGE - 8));
        let brackets = "[{".repeat(MAX_MESSAGE / 2);
        for (bytes, expected) in [
            (&b"{}"[..], "read"),
            (b" {\"a\":\"[[[[\\\"[[[[\"}\n", "read"),
            (large.as_bytes(), "read"),
            (&[large.as_bytes(), b" "].concat(), "too-large"),
            (&b"\xff"[..], "not-utf8"),
            (b"{\"a\":\"\xc3\"}", "not-utf8"),
            (nested(MAX_DEPTH).as_bytes(), "read"),
            (nested(MAX_DEPTH + 1).as_bytes(), "too-deep"),
            (brackets.as_bytes(), "too-deep"),
            (b"", "not-json"),
            (b"purge", "not-json"),
            (b"{\"a\":1", "not-json"),
            (b"{\"a\":1}{", "not-json"),
            (b"{\"a\":1e999}", "not-json"),
            (b"\xef\xbb\xbf{}", "not-json"),
            (b"[]", "not-an-object"),
            (b"null", "not-an-object"),
            (b"\"x\"", "not-an-object"),
        ] {
            let said = read(bytes).map_or_else(|dropped| dropped.code(), |_| "read");
            assert_eq!(said, expected, "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(40)]));
        }
    }

    #[test]
    fn a_record_holds_json_in_a_field_or_is_flat() {
        let json: &[(&[u8], &[u8])] = &[(b"kind", b"x"), (b"data", b"{\"a\":1}")];
        assert_eq!(read_record(json, "data").unwrap(), serde_json::json!({ "a": 1 }));
        assert_eq!(read_record(json, "body").unwrap(), serde_json::json!({ "kind": "x", "data": "{\"a\":1}" }));
        assert_eq!(read_record(json, "kind").unwrap_err().code(), "not-json");
        assert_eq!(read_record(&[(b"a", b"\xff")], "data").unwrap_err().code(), "not-utf8");
    }

    #[test]
    fn a_message_is_named_by_its_channel_and_its_content() {
        let id = message_id("a:b", b"{}");
        assert_eq!((id.len(), id.bytes().all(|b| b.is_ascii_hexdigit())), (32, true));
        assert_eq!(id, Message::Published { channel: "a:b", payload: b"{}" }.id());
        let others = [
            message_id("a", b":b{}"),
            message_id("a:b", b"{} "),
            message_id("a:b{}", b""),
            Message::Recorded { stream: "a:b", fields: &[] }.id(),
            Message::Recorded { stream: "a:b", fields: &[(b"{}", b"")] }.id(),
            Message::Recorded { stream: "a:b", fields: &[(b"", b"{}")] }.id(),
        ];
        for (at, other) in others.iter().enumerate() {
            assert!(*other != id && !others[..at].contains(other), "{at}");
        }
    }
}
