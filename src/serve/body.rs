//! The body of an answer. A hit is one piece of memory that all clients share; everything else streams.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::account::Account;
use super::growing::Follow;
use crate::upstream::InBody;

/// An error that ends a body before its end: the client must not take what it has for the whole.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A client stopped sending its request's body, or sends it too slowly. A door that notices fails the body with this, so
/// that the answer is 408.
#[derive(Debug)]
pub struct ClientStalled;

impl std::fmt::Display for ClientStalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client does not send the request body in time")
    }
}

impl std::error::Error for ClientStalled {}

/// The body of an answer to a client.
#[derive(Debug)]
pub struct Body {
    source: Source,
    /// Told when the body has ended, however it ends. `None` once told, or when there was nothing to wait for.
    account: Option<Account>,
}

/// Where the bytes come from.
#[derive(Debug)]
pub enum Source {
    /// Nothing, or nothing left.
    Empty,
    /// All of it, in memory.
    Whole(Bytes),
    /// Pieces in memory: the parts of a multipart/byteranges answer.
    Pieces(VecDeque<Bytes>),
    /// A body that is being fetched for several askers.
    Follow(Follow),
    /// The backend's body, handed through.
    Through(Box<InBody>),
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Source::Empty.into()
    }

    /// Reports to `account` when the body has ended.
    #[must_use]
    pub fn accounted(mut self, account: Account) -> Self {
        self.account = Some(account);
        self
    }

    /// Whether all of it is here, so that nothing can go wrong with it any more.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.source, Source::Empty | Source::Whole(_) | Source::Pieces(_))
    }

    /// The length, where it is known before the body has been read.
    pub fn exact_length(&self) -> Option<u64> {
        self.size_hint().exact()
    }
}

impl From<Source> for Body {
    fn from(source: Source) -> Self {
        Self { source, account: None }
    }
}

impl From<Bytes> for Body {
    fn from(whole: Bytes) -> Self {
        if whole.is_empty() { Source::Empty.into() } else { Source::Whole(whole).into() }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let next = match &mut this.source {
            Source::Empty => None,
            Source::Whole(whole) => {
                let whole = std::mem::take(whole);
                this.source = Source::Empty;
                Some(Ok(whole))
            }
            Source::Pieces(pieces) => pieces.pop_front().map(Ok),
            Source::Follow(follow) => match follow.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(next) => next.map(|chunk| chunk.map_err(BoxError::from)),
            },
            Source::Through(body) => loop {
                match Pin::new(&mut **body).poll_frame(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(frame))) => {
                        // Trailers of the backend end here: nothing vouches for their meaning (RFC 9110 §6.5.1).
                        if let Ok(data) = frame.into_data() {
                            break Some(Ok(data));
                        }
                    }
                    Poll::Ready(Some(Err(error))) => break Some(Err(BoxError::from(error))),
                    Poll::Ready(None) => break None,
                }
            },
        };
        match &next {
            Some(Ok(data)) => {
                if let Some(account) = &mut this.account {
                    account.sent(data.len());
                }
            }
            Some(Err(_)) => {
                this.source = Source::Empty;
                if let Some(account) = this.account.take() {
                    account.broken();
                }
            }
            None => {
                this.source = Source::Empty;
                if let Some(account) = this.account.take() {
                    account.complete();
                }
            }
        }
        Poll::Ready(next.map(|result| result.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Whole(whole) => whole.is_empty(),
            Source::Pieces(pieces) => pieces.is_empty(),
            Source::Follow(_) => false,
            Source::Through(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Whole(whole) => SizeHint::with_exact(whole.len() as u64),
            Source::Pieces(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Source::Follow(follow) => follow.size_hint(),
            Source::Through(body) => match body.exact_length() {
                Some(length) => SizeHint::with_exact(length),
                None => SizeHint::default(),
            },
        }
    }
}
