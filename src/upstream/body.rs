//! The body of an answer, watched: silence has an end, a missing rest is an error, and what it held is let go in time.
//!
//! While the body is under way it holds a place at the backend and, over HTTP/1.1, a connection. When it has ended as
//! announced, both are given back. When it breaks off or is dropped half-read, the connection is closed instead: what is
//! left on it would be taken for the next answer.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::OutBody;
use super::endpoint::InFlight;
use super::error::{BoxError, FetchError, FetchErrorKind, find_cause, whole_story};
use super::limit::Permit;
use super::pool::Lease;
use crate::breaker::Breaker;
use crate::clock::Clock;

/// The body of an answer. Ends after a complete body, fails after an incomplete one, and never yields more than was
/// announced. Trailers are passed through as frames.
pub struct InBody {
    source: Source,
    /// What is still to come, if the length is known.
    remaining: Option<u64>,
    length: Option<u64>,
    end: End,
    patience: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    hold: Option<Hold>,
}

/// Where the bytes come from.
pub(super) enum Source {
    /// A connection.
    Wire(Incoming),
    /// A service in this process.
    Service(OutBody),
}

/// What a body keeps busy.
pub(super) struct Hold {
    /// The place at the backend, and the count at its endpoint.
    pub(super) _busy: (Permit, InFlight),
    pub(super) breaker: Breaker,
    pub(super) clock: Clock,
    /// The HTTP/1.1 connection the body comes on.
    pub(super) lease: Option<Lease>,
    /// May the connection be used again afterwards?
    pub(super) reuse: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NotYet,
    Complete,
    Failed,
}

impl InBody {
    /// A body of `length` bytes, if that is known, that may be silent for `patience`.
    pub(super) fn new(source: Source, length: Option<u64>, patience: Duration, hold: Hold) -> Self {
        let mut body =
            Self { source, remaining: length, length, end: End::NotYet, patience, alarm: None, hold: Some(hold) };
        body.end_early();
        body
    }

    /// The length of the whole body in bytes, if it was known beforehand.
    pub fn exact_length(&self) -> Option<u64> {
        self.length
    }

    /// Waits between pieces for as long as it takes: for streams that are silent by nature.
    pub fn wait_for_ever(&mut self) {
        self.patience = Duration::MAX;
        self.alarm = None;
    }

    /// Gives everything back as soon as the last byte is out, and not only when somebody asks for one more.
    fn end_early(&mut self) {
        if self.end == End::NotYet && self.source.is_end_stream() && self.remaining.unwrap_or(0) == 0 {
            self.complete();
        }
    }

    fn complete(&mut self) {
        self.end = End::Complete;
        self.alarm = None;
        if let Some(Hold { lease: Some(lease), reuse: true, .. }) = self.hold.take() {
            lease.give_back();
        }
    }

    fn fail(&mut self, error: FetchError) -> FetchError {
        self.end = End::Failed;
        self.alarm = None;
        self.source = Source::Service(super::outgoing::empty_body());
        if let Some(hold) = self.hold.take()
            && error.is_endpoints_fault()
        {
            hold.breaker.note_failure(hold.clock.now());
        }
        error
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, FetchError> {
        self.alarm = None;
        if let (Some(remaining), Some(data)) = (&mut self.remaining, frame.data_ref()) {
            let Some(rest) = remaining.checked_sub(data.len() as u64) else {
                let detail = "the body is longer than its Content-Length";
                return Err(self.fail(FetchError::new(FetchErrorKind::BadResponse, detail)));
            };
            *remaining = rest;
        }
        self.end_early();
        Ok(frame)
    }

    fn finish(&mut self) -> Result<(), FetchError> {
        match self.remaining {
            Some(missing) if missing > 0 => {
                let detail = format!("the body ended {missing} bytes short of its Content-Length");
                Err(self.fail(FetchError::new(FetchErrorKind::Truncated, detail)))
            }
            _ => {
                self.complete();
                Ok(())
            }
        }
    }

    /// Nothing has come. Has nothing come for too long?
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<FetchError> {
        let patience = self.patience;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        std::task::ready!(alarm.as_mut().poll(cx));
        let detail = format!("no byte of the body for {patience:?}");
        Poll::Ready(self.fail(FetchError::new(FetchErrorKind::IdleTimeout, detail)))
    }
}

impl Body for InBody {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let this = &mut *self;
        if this.end != End::NotYet {
            return Poll::Ready(None);
        }
        match this.source.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(this.take(frame))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(this.fail(error)))),
            Poll::Ready(None) => Poll::Ready(this.finish().err().map(Err)),
            Poll::Pending => this.poll_alarm(cx).map(|error| Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end != End::NotYet
    }

    fn size_hint(&self) -> SizeHint {
        match (self.end, self.remaining) {
            (End::NotYet, Some(remaining)) => SizeHint::with_exact(remaining),
            (End::NotYet, None) => SizeHint::default(),
            _ => SizeHint::with_exact(0),
        }
    }
}

impl fmt::Debug for InBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InBody").field("length", &self.length).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        match self {
            Source::Wire(body) => Pin::new(body).poll_frame(cx).map_err(|error| broken_wire(&error)),
            Source::Service(body) => Pin::new(body).poll_frame(cx).map_err(|error| broken_service(&error)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Source::Wire(body) => body.is_end_stream(),
            Source::Service(body) => body.is_end_stream(),
        }
    }

    /// The length, if the body knows it by itself.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Source::Wire(body) => body.size_hint().exact(),
            Source::Service(body) => body.size_hint().exact(),
        }
    }
}

fn broken_wire(error: &hyper::Error) -> FetchError {
    // A chunk that is none shows as an I/O error of this kind; a connection that ended does not.
    let malformed = find_cause::<io::Error>(error)
        .is_some_and(|cause| matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
    let kind = if malformed { FetchErrorKind::BadResponse } else { FetchErrorKind::Truncated };
    FetchError::new(kind, whole_story(error))
}

fn broken_service(error: &BoxError) -> FetchError {
    match find_cause::<FetchError>(error.as_ref()) {
        Some(error) => error.clone(),
        None => FetchError::new(FetchErrorKind::Truncated, whole_story(error.as_ref())),
    }
}
