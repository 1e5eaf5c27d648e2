//! The patterns of `PSUBSCRIBE`, as Redis matches them: which of our listeners a message is for.

/// Whether it stands for more than one channel.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether `pattern` matches all of `text`: `*`, `?`, `[a-c]`, `[^x]`, and `\` before what is meant literally.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Where the last star was, and how much of the text it stands for so far: on a mismatch it takes one byte more.
    let (mut at, mut read, mut star) = (0, 0, None);
    loop {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, read));
            at += 1;
            continue;
        }
        let next = text.get(read).map(|byte| one(&pattern[at..], *byte));
        match (next, star) {
            (None, _) if at == pattern.len() => return true,
            (Some(Some(used)), _) => (at, read) = (at + used, read + 1),
            (Some(None), Some((from, taken))) => {
                star = Some((from, taken + 1));
                (at, read) = (from + 1, taken + 1);
            }
            _ => return false,
        }
    }
}

/// How many bytes of the pattern stand for this byte; `None` if its beginning does not.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', class @ ..] => {
            let (inverted, mut class, mut used) = match class {
                [b'^', rest @ ..] => (true, rest, 2),
                rest => (false, rest, 1),
            };
            let mut found = false;
            loop {
                let step = match class {
                    // A class that is never closed ends with the pattern.
                    [] => break,
                    [b']', ..] => {
                        used += 1;
                        break;
                    }
                    [b'\\', escaped, ..] => {
                        found |= *escaped == byte;
                        2
                    }
                    [from, b'-', to, ..] => {
                        found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                        3
                    }
                    [plain, ..] => {
                        found |= *plain == byte;
                        1
                    }
                };
                class = &class[step..];
                used += step;
            }
            (found != inverted).then_some(used)
        }
        [plain, ..] => (*plain == byte).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        let rows = [
            ("tenant:*:users", "tenant:123:users", true),
            ("tenant:*:users", "tenant:1:2:users", true),
            ("tenant:*:users", "tenant:123:roles", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbYd", false),
            ("**", "anything", true),
            ("[a", "a", true),
            ("a\\", "a\\", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} and {text}");
        }
        assert!(!matches("*a".repeat(50).as_bytes(), "a".repeat(49).as_bytes()));
    }
}
