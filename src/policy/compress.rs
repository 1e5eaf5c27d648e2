//! Which answers are worth compressing.

use super::problem::{Fault, Problems};
use super::settings::Compress;

impl Compress {
    /// Whether answers of this Content-Type are worth it; parameters such as `charset` do not matter.
    ///
    /// `text/event-stream` has to be listed by its own name: `text/*` does not mean it, since events must not wait in a
    /// compressor.
    pub fn covers(&self, content_type: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(content_type) else { return false };
        let kind = text.split(';').next().unwrap_or_default().trim();
        self.types.iter().any(|wanted| type_matches(wanted, kind))
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        for kind in &self.types {
            let known = kind.starts_with('+') && kind.len() > 1
                || kind.split_once('/').is_some_and(|(main, sub)| !main.is_empty() && !sub.is_empty());
            if !known {
                let fault = Fault::new(format!("`{kind}` is no media type"));
                problems.report("compress.types", fault.hint("`application/json`, `text/*` or `+json`"));
            }
        }
    }
}

fn type_matches(wanted: &str, kind: &str) -> bool {
    if wanted.eq_ignore_ascii_case(kind) {
        return true;
    }
    if kind.eq_ignore_ascii_case("text/event-stream") {
        return false;
    }
    let begins = |text: &str| kind.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
    let ends = |text: &str| {
        let start = kind.len().checked_sub(text.len());
        start.and_then(|at| kind.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(text))
    };
    wanted.strip_suffix('*').is_some_and(begins) || (wanted.starts_with('+') && ends(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_compressed_and_packed_formats_are_not() {
        let compress = Compress::default();
        for (kind, expected) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Text/HTML", true),
            ("application/problem+json", true),
            ("image/png", false),
            ("text/event-stream", false),
            ("", false),
            ("é", false),
        ] {
            assert_eq!(compress.covers(kind.as_bytes()), expected, "{kind}");
        }
        assert!(!compress.covers(b"text/html\xff"));
        assert!(Compress { types: vec!["text/event-stream".to_owned()], ..compress }.covers(b"text/event-stream"));
    }
}
