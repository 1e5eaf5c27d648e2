//! The request's body, with the patience we have for it.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::pulse::Pulse;
use super::stats::ListenStats;
use super::{BoxError, ListenSettings};

/// A request's body. Its data only: request trailers are dropped, since nothing behind could tell a harmless one from
/// `Host` or `Content-Length` ([RFC 9110 §6.5.1](https://www.rfc-editor.org/rfc/rfc9110#section-6.5.1)).
///
/// Read it to the end or drop it. Dropped early, an HTTP/1 connection is closed after the answer.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// There is none.
    #[default]
    Empty,
    /// It is all here; for requests made inside the process.
    Whole(Bytes),
    /// It comes from the client as it is read. Errors are [`BodyError`].
    Wire(Box<WireBody>),
}

/// Why a request body could not be read to its end.
#[derive(Debug)]
pub enum BodyError {
    /// The client paused for longer than `body_timeout`. To be answered with 408.
    Paused,
    /// The client sent less than `min_body_rate`. To be answered with 408.
    TooSlow,
    /// The body broke off, or its framing is wrong.
    Broken(hyper::Error),
}

impl RequestBody {
    pub(super) fn from_wire(incoming: Incoming, pulse: &Arc<Pulse>, rules: &Arc<BodyRules>) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        Self::Wire(Box::new(WireBody {
            incoming,
            pulse: Arc::clone(pulse),
            rules: Arc::clone(rules),
            sleep: None,
            waiting_since: None,
            waited: Duration::ZERO,
            received: 0,
            ended: false,
        }))
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Whole(bytes) }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Wire(body) => body.poll_data(cx).map(|next| next.map(|data| Ok(Frame::data(data?)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Wire(body) => body.ended || body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Wire(body) if body.ended => SizeHint::with_exact(0),
            Self::Wire(body) => body.incoming.size_hint(),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("the client stopped sending the request body"),
            Self::TooSlow => f.write_str("the client sends the request body too slowly"),
            Self::Broken(_) => f.write_str("the request body is incomplete or malformed"),
        }
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::Paused | Self::TooSlow => None,
        }
    }
}

/// The part of the settings that bodies obey.
#[derive(Debug)]
pub(super) struct BodyRules {
    pause: Duration,
    rate: u64,
    rate_grace: Duration,
    stats: Arc<ListenStats>,
}

impl BodyRules {
    pub(super) fn new(settings: &ListenSettings, stats: Arc<ListenStats>) -> Self {
        Self {
            pause: settings.body_timeout,
            rate: settings.min_body_rate,
            rate_grace: settings.min_body_rate_grace,
            stats,
        }
    }

    /// How much longer to wait for the client, and what to say then: of a body that has kept us waiting for `waited`
    /// over `received` bytes. Only our waiting counts, so a slow backend is not held against the client.
    fn patience(&self, received: u64, waited: Duration) -> (Duration, BodyError) {
        // No minimum rate: no end of patience on its account.
        let Some(earned) = received.saturating_mul(1000).checked_div(self.rate) else {
            return (self.pause, BodyError::Paused);
        };
        let left = self.rate_grace.saturating_add(Duration::from_millis(earned)).saturating_sub(waited);
        if left < self.pause { (left, BodyError::TooSlow) } else { (self.pause, BodyError::Paused) }
    }
}

/// A body that comes from a client.
#[derive(Debug)]
pub struct WireBody {
    incoming: Incoming,
    pulse: Arc<Pulse>,
    rules: Arc<BodyRules>,
    sleep: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Duration>,
    waited: Duration,
    received: u64,
    ended: bool,
}

impl WireBody {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        while !self.ended {
            let Poll::Ready(next) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                let error = ready!(self.poll_patience(cx));
                ListenStats::count(&self.rules.stats.body_timeouts);
                self.pulse.left_unread();
                self.ended = true;
                return Poll::Ready(Some(Err(error.into())));
            };
            if let Some(since) = self.waiting_since.take() {
                self.waited += self.pulse.now().saturating_sub(since);
            }
            match next {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.received += data.len() as u64;
                        return Poll::Ready(Some(Ok(data)));
                    }
                    // Trailers: dropped; the end comes next.
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(BodyError::Broken(error).into())));
                }
                None => self.ended = true,
            }
        }
        Poll::Ready(None)
    }

    /// Ready with the complaint when patience has run out.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        if self.waiting_since.is_none() {
            let now = self.pulse.now();
            let (patience, _) = self.rules.patience(self.received, self.waited);
            let deadline = self.pulse.clock().instant(now + patience);
            self.waiting_since = Some(now);
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(deadline),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
        }
        Poll::Ready(self.rules.patience(self.received, self.waited).1)
    }
}

impl Drop for WireBody {
    fn drop(&mut self) {
        if !self.ended && !self.incoming.is_end_stream() {
            self.pulse.left_unread();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn patience_is_the_pause_or_what_the_rate_leaves() {
        let rules = |rate| BodyRules { pause: secs(30), rate, rate_grace: secs(10), stats: Arc::default() };
        let check = |rate, received, waited, left, slow| {
            let (patience, error) = rules(rate).patience(received, secs(waited));
            assert_eq!((patience, matches!(error, BodyError::TooSlow)), (secs(left), slow), "{received} in {waited}");
        };
        // rate, bytes received, seconds waited → seconds left, and whether the rate is to blame
        check(0, 0, 1000, 30, false);
        check(500, 0, 0, 10, true);
        check(500, 0, 10, 0, true);
        check(500, 5_000, 4, 16, true);
        check(500, 50_000, 4, 30, false);
        check(500, u64::MAX, 1_000_000, 30, false);
    }

    #[tokio::test]
    async fn a_whole_body_is_read_once() {
        use http_body_util::BodyExt;
        let body = RequestBody::from(Bytes::from_static(b"abc"));
        assert_eq!((body.is_end_stream(), body.size_hint().exact()), (false, Some(3)));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
        assert!(RequestBody::from(Bytes::new()).is_end_stream());
    }
}
