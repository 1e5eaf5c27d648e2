//! Which answers are worth compressing.

use super::problem::{Fault, Problems};
use super::settings::Compress;

impl Compress {
    /// Whether an answer of this Content-Type and size is compressed. `size`: the bytes of the body, `None` if unknown.
    ///
    /// `text/event-stream` has to be listed by its own name: `text/*` does not mean it, since events must not wait in a
    /// compressor.
    pub fn takes(&self, content_type: &str, size: Option<u64>) -> bool {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let large = size.is_none_or(|size| size >= self.min_size);
        self.enabled && large && self.types.iter().any(|wanted| type_matches(wanted, kind))
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
        for (kind, size, expected) in [
            ("application/json", Some(5000), true),
            ("application/json; charset=utf-8", None, true),
            ("Text/HTML", Some(1024), true),
            ("text/html", Some(1023), false),
            ("application/problem+json", None, true),
            ("image/png", None, false),
            ("text/event-stream", None, false),
            ("", None, false),
            ("é", None, false),
        ] {
            assert_eq!(compress.takes(kind, size), expected, "{kind}");
        }
        assert!(!Compress { enabled: false, ..compress.clone() }.takes("text/html", None));
        assert!(Compress { types: vec!["text/event-stream".to_owned()], ..compress }.takes("text/event-stream", None));
    }
}
