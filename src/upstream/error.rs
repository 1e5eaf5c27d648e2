//! How a fetch can fail.

use std::fmt;

use crate::breaker::Outcome;
use crate::rfc::Reason;

/// An error of any kind, boxed: what bodies and transports may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a fetch, or the body of its answer, came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// What happened, for decisions.
    pub kind: FetchErrorKind,
    /// What happened, for the log. Not for clients: it names addresses.
    pub detail: String,
}

/// The ways to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FetchErrorKind {
    /// No connection: refused, unreachable, an unknown name, or TLS that did not come about.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// The head of the answer did not come in time.
    FirstByteTimeout,
    /// The body paused for too long.
    IdleTimeout,
    /// The connection ended before the head of the answer was complete.
    Closed,
    /// The body ended before it was complete.
    Truncated,
    /// The answer breaks the protocol or a limit.
    BadResponse,
    /// The answer is an error, and a stored one is at hand to stand in for it.
    ErrorStatus,
    /// The request cannot be written in the backend's protocol: its Host is no authority, for example.
    BadRequest,
    /// The body of the request failed: the client's doing.
    RequestBody,
    /// The concurrency cap was reached, and the queue was full or too slow.
    Saturated,
    /// The backend has failed too often and is left alone for a moment.
    BreakerOpen,
    /// The backend has no endpoint.
    NoEndpoint,
}

impl FetchErrorKind {
    /// One word, for labels.
    pub const fn name(self) -> &'static str {
        match self {
            FetchErrorKind::Connect => "connect",
            FetchErrorKind::ConnectTimeout => "connect-timeout",
            FetchErrorKind::FirstByteTimeout => "first-byte-timeout",
            FetchErrorKind::IdleTimeout => "idle-timeout",
            FetchErrorKind::Closed => "closed",
            FetchErrorKind::Truncated => "truncated",
            FetchErrorKind::BadResponse => "bad-response",
            FetchErrorKind::ErrorStatus => "error-status",
            FetchErrorKind::BadRequest => "bad-request",
            FetchErrorKind::RequestBody => "request-body",
            FetchErrorKind::Saturated => "saturated",
            FetchErrorKind::BreakerOpen => "breaker-open",
            FetchErrorKind::NoEndpoint => "no-endpoint",
        }
    }
}

impl FetchError {
    /// An error with a sentence for the log.
    pub fn new(kind: FetchErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// The reason to report.
    pub fn reason(&self) -> Reason {
        match self.kind {
            FetchErrorKind::Connect | FetchErrorKind::NoEndpoint => Reason::BackendRefused,
            FetchErrorKind::ConnectTimeout | FetchErrorKind::FirstByteTimeout | FetchErrorKind::IdleTimeout => {
                Reason::BackendTimeout
            }
            FetchErrorKind::Closed | FetchErrorKind::BadResponse | FetchErrorKind::ErrorStatus => Reason::BackendBroken,
            FetchErrorKind::Truncated => Reason::Truncated,
            FetchErrorKind::Saturated => Reason::BackendSaturated,
            FetchErrorKind::BreakerOpen => Reason::BreakerOpen,
            FetchErrorKind::BadRequest => Reason::BadHost,
            FetchErrorKind::RequestBody => Reason::BadFraming,
        }
    }

    /// Was the backend out of reach, so that this cache counts as disconnected ([RFC 9111 §4.2.4])? Not if an answer had
    /// begun, and not if the request itself was at fault.
    ///
    /// [RFC 9111 §4.2.4]: https://www.rfc-editor.org/rfc/rfc9111#section-4.2.4
    pub fn unreachable(&self) -> bool {
        match self.kind {
            FetchErrorKind::Connect
            | FetchErrorKind::ConnectTimeout
            | FetchErrorKind::FirstByteTimeout
            | FetchErrorKind::Closed
            | FetchErrorKind::Saturated
            | FetchErrorKind::BreakerOpen
            | FetchErrorKind::NoEndpoint => true,
            FetchErrorKind::IdleTimeout
            | FetchErrorKind::Truncated
            | FetchErrorKind::BadResponse
            | FetchErrorKind::ErrorStatus
            | FetchErrorKind::BadRequest
            | FetchErrorKind::RequestBody => false,
        }
    }

    /// May the backend have acted upon the request, although no answer tells? Not if it was certainly never sent in full.
    pub fn may_have_acted(&self) -> bool {
        match self.kind {
            FetchErrorKind::FirstByteTimeout
            | FetchErrorKind::IdleTimeout
            | FetchErrorKind::Closed
            | FetchErrorKind::Truncated
            | FetchErrorKind::BadResponse
            | FetchErrorKind::ErrorStatus => true,
            FetchErrorKind::Connect
            | FetchErrorKind::ConnectTimeout
            | FetchErrorKind::BadRequest
            | FetchErrorKind::RequestBody
            | FetchErrorKind::Saturated
            | FetchErrorKind::BreakerOpen
            | FetchErrorKind::NoEndpoint => false,
        }
    }

    /// Does this count against the endpoint? Not if the request or this gateway brought it about.
    pub(super) fn is_endpoints_fault(&self) -> bool {
        match self.kind {
            FetchErrorKind::Connect
            | FetchErrorKind::ConnectTimeout
            | FetchErrorKind::FirstByteTimeout
            | FetchErrorKind::IdleTimeout
            | FetchErrorKind::Closed
            | FetchErrorKind::Truncated
            | FetchErrorKind::BadResponse
            | FetchErrorKind::ErrorStatus => true,
            FetchErrorKind::BadRequest
            | FetchErrorKind::RequestBody
            | FetchErrorKind::Saturated
            | FetchErrorKind::BreakerOpen
            | FetchErrorKind::NoEndpoint => false,
        }
    }

    /// What it says of the endpoint.
    pub(super) fn outcome(&self) -> Outcome {
        if self.is_unsent() { Outcome::Unreachable } else { Outcome::Poor }
    }

    /// Was the request certainly not sent?
    pub(super) fn is_unsent(&self) -> bool {
        matches!(self.kind, FetchErrorKind::Connect | FetchErrorKind::ConnectTimeout)
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.detail)
    }
}

impl std::error::Error for FetchError {}

/// An error and what caused it, in one line.
pub(super) fn whole_story(error: &(dyn std::error::Error + 'static)) -> String {
    let mut story = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let sentence = error.to_string();
        if !story.ends_with(&sentence) {
            story.push_str(": ");
            story.push_str(&sentence);
        }
        cause = error.source();
    }
    story
}

/// The first error of type `E` among `error` and its causes.
pub(super) fn find_cause<'e, E: std::error::Error + 'static>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e E> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        current = error.source();
    }
    None
}
