//! Percent-encoding, read only where two spellings of one thing must be recognised as one. What is forwarded and keyed
//! is never decoded.

use std::borrow::Cow;

/// Decodes every valid escape. Text without escapes, and text that would not be UTF-8 afterwards, stays as it is.
pub(super) fn decode(raw: &str) -> Cow<'_, str> {
    if !raw.contains('%') {
        return Cow::Borrowed(raw);
    }
    let mut bytes = Vec::with_capacity(raw.len());
    decode_into(raw.as_bytes(), |byte| bytes.push(byte));
    String::from_utf8(bytes).map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// Hands out the decoded bytes one by one; a `%` that begins no escape is itself.
pub(super) fn decode_into(raw: &[u8], mut put: impl FnMut(u8)) {
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        if byte == b'%'
            && let Some(decoded) = escape_at(raw, at + 1)
        {
            put(decoded);
            at += 3;
        } else {
            put(byte);
            at += 1;
        }
    }
}

/// The byte that the two hex digits at `at` stand for.
pub(super) fn escape_at(raw: &[u8], at: usize) -> Option<u8> {
    let high = hex(*raw.get(at)?)?;
    let low = hex(*raw.get(at + 1)?)?;
    Some(high << 4 | low)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn escapes_are_decoded_once_and_broken_ones_left_alone() {
        for (raw, expected) in [
            ("plain", "plain"),
            ("a%20b", "a b"),
            ("%41%6a%6A", "Ajj"),
            ("%2541", "%41"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%c3%a9", "é"),
            ("%ff", "%ff"),
        ] {
            assert_eq!(decode(raw), expected, "{raw}");
        }
    }
}
