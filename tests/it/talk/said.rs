//! An answer, and what a test expects of it.

use bytes::Bytes;
use http::response::Parts;

use super::Transcript;

/// An answer that has been read to its end.
pub struct Said {
    pub asked: String,
    pub parts: Parts,
    pub body: Bytes,
    pub broken: Option<String>,
    pub transcript: Transcript,
}

impl Said {
    pub fn line(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let short: String = body.chars().take(60).collect();
        let end = self.broken.as_ref().map_or(String::new(), |error| format!(" BROKEN: {error}"));
        format!(
            "client {} → {} {:?} [{}]{end}",
            self.asked,
            self.parts.status.as_u16(),
            short,
            self.text("cache-status")
        )
    }

    /// All lines of a field, joined by a comma.
    pub fn text(&self, name: &str) -> String {
        let lines: Vec<_> =
            self.parts.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        lines.join(", ")
    }

    #[track_caller]
    pub fn is(&self, body: &str) -> &Self {
        assert!(self.broken.is_none(), "the body broke off: {:?}{}", self.broken, self.transcript.text());
        assert_eq!(String::from_utf8_lossy(&self.body), body, "{}{}", self.asked, self.transcript.text());
        self
    }

    #[track_caller]
    pub fn code(&self, status: u16) -> &Self {
        assert_eq!(self.parts.status.as_u16(), status, "{}{}", self.asked, self.transcript.text());
        self
    }

    /// Our member of Cache-Status, without the name: `hit; ttl=6; detail=memory`.
    #[track_caller]
    pub fn cache(&self, expected: &str) -> &Self {
        assert_eq!(
            self.text("cache-status"),
            format!("forebay; {expected}"),
            "{}{}",
            self.asked,
            self.transcript.text()
        );
        self
    }

    /// The same, where only a part of it matters.
    #[track_caller]
    pub fn cache_has(&self, part: &str) -> &Self {
        let status = self.text("cache-status");
        assert!(status.contains(part), "{}: {status:?} has no {part:?}{}", self.asked, self.transcript.text());
        self
    }

    #[track_caller]
    pub fn header(&self, name: &str, expected: &str) -> &Self {
        assert_eq!(self.text(name), expected, "{name} of {}{}", self.asked, self.transcript.text());
        self
    }

    #[track_caller]
    pub fn lacks(&self, name: &str) -> &Self {
        assert!(!self.parts.headers.contains_key(name), "{} has {name}{}", self.asked, self.transcript.text());
        self
    }

    #[track_caller]
    pub fn breaks_off(&self) -> &Self {
        assert!(self.broken.is_some(), "{} ended as if it were complete{}", self.asked, self.transcript.text());
        self
    }
}
