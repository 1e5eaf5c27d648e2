//! Interim answers (1xx) on HTTP/1.1, which hyper's server cannot send.
//!
//! They are slipped in between hyper's own bytes, and only where a message begins: after hyper has flushed everything it
//! had, and before it has written anything of the answer to the current request. Anywhere else they are dropped, which
//! RFC 9110 §15.2 permits a proxy when it cannot do better: they are hints.
//!
//! Why this is sound: hyper calls `poll_flush` on its stream only when its write buffer is empty, and between the moment
//! a request is handed to the service and the moment the service returns its answer it buffers nothing but a complete
//! `100 Continue`. So after a flush that follows the hand-over, and before the next accepted write, the stream stands at
//! a message boundary.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::linger::Lingering;
use super::pulse::Pulse;

/// Bytes of interim answers that may wait on one connection.
const MAX_WAITING: usize = 16 * 1024;

/// Sends interim answers to the client, ahead of the final one. Hints: they may be dropped.
///
/// The one in [`Peer`](super::Peer) speaks for whichever request is being served. A clone belongs to the request that was
/// being served when it was made, and falls silent when that is answered, so it may be given to a task.
#[derive(Debug)]
pub struct InterimWriter {
    lane: Arc<Lane>,
    /// The request it belongs to; the current one if none.
    request: Option<u64>,
}

impl Clone for InterimWriter {
    fn clone(&self) -> Self {
        let request = self.request.unwrap_or_else(|| self.lane.state().request);
        Self { lane: Arc::clone(&self.lane), request: Some(request) }
    }
}

impl InterimWriter {
    /// Queues an interim answer and says whether it was taken. It is not, when `status` is none that may be sent here
    /// (only 102 to 199: hyper sends 100, and 101 ends HTTP), when the client speaks HTTP/1.0, when the final answer is
    /// already there, or when too much is waiting. Fields that frame a message or concern the connection are left out.
    pub fn send(&self, status: StatusCode, fields: &HeaderMap) -> bool {
        if !(102..200).contains(&status.as_u16()) {
            return false;
        }
        let head = write_head(status, fields);
        let mut state = self.lane.state();
        let current = self.request.is_none_or(|request| request == state.request);
        if !state.open || !current || state.waiting.len() + head.len() > MAX_WAITING {
            return false;
        }
        state.waiting.extend_from_slice(&head);
        self.lane.has_waiting.store(true, Ordering::Release);
        drop(state);
        self.lane.pulse.wake();
        true
    }
}

fn write_head(status: StatusCode, fields: &HeaderMap) -> BytesMut {
    let mut head = BytesMut::with_capacity(256);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.extend_from_slice(b" ");
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        if [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE, header::TRAILER]
            .contains(name)
        {
            continue;
        }
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// What the service's side and the stream's side of a connection share.
#[derive(Debug)]
pub(super) struct Lane {
    pulse: Arc<Pulse>,
    /// A hint that spares the lock: `state.waiting` is not empty.
    has_waiting: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts requests.
    request: u64,
    /// The request is being served by someone who understands interim answers.
    open: bool,
    /// The stream stands at a message boundary, and the message to come belongs to the current request.
    clean: bool,
    waiting: BytesMut,
}

impl Lane {
    pub(super) fn new(pulse: Arc<Pulse>) -> Arc<Self> {
        Arc::new(Self { pulse, has_waiting: AtomicBool::new(false), state: Mutex::default() })
    }

    /// The writer that speaks for whichever request is current.
    pub(super) fn writer(self: &Arc<Self>) -> InterimWriter {
        InterimWriter { lane: Arc::clone(self), request: None }
    }

    /// A request is handed to the service. What hyper holds of the answer before it may not be flushed yet.
    pub(super) fn begin(&self, understands: bool) {
        let mut state = self.state();
        state.request += 1;
        state.open = understands;
        state.clean = false;
        self.forget(&mut state);
    }

    /// The final answer is there: nothing more is taken. What waits still goes ahead of it if hyper has flushed since
    /// [`begin`](Self::begin); otherwise hyper's next write carries both the end of the previous answer and this one.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        state.open = false;
        if !state.clean {
            self.forget(&mut state);
        }
    }

    fn forget(&self, state: &mut State) {
        state.waiting.clear();
        self.has_waiting.store(false, Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream hyper writes to, with interim answers slipped in.
pub(super) struct Interject<T> {
    inner: T,
    lane: Arc<Lane>,
    /// An interim answer that is being written. Once begun it is finished first.
    sending: Bytes,
    /// Nothing was accepted from hyper since its last flush.
    flushed: bool,
    /// Set when the sending side is closed.
    lingering: Option<Lingering>,
}

impl<T> Interject<T> {
    pub(super) fn new(inner: T, lane: Arc<Lane>) -> Self {
        Self { inner, lane, sending: Bytes::new(), flushed: false, lingering: None }
    }
}

impl<T: AsyncWrite + Unpin> Interject<T> {
    /// Writes what waits, if this is the place; nothing of hyper's may be written before it is done.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.sending.has_remaining() {
                let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.sending))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.sending.advance(n);
            }
            if !self.lane.has_waiting.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
            let mut state = self.lane.state();
            if !state.clean {
                return Poll::Ready(Ok(()));
            }
            self.sending = state.waiting.split().freeze();
            self.lane.has_waiting.store(false, Ordering::Release);
        }
    }

    fn accepted(&mut self, n: usize) {
        if n > 0 && self.flushed {
            self.flushed = false;
            self.lane.state().clean = false;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Interject<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Interject<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.accepted(n);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let n = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.accepted(n);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // That hyper asks for a flush is the news: it has nothing left to write.
        self.flushed = true;
        self.lane.state().clean = true;
        ready!(self.poll_interim(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if let Some(lingering) = &mut this.lingering {
                return lingering.poll(&mut this.inner, cx).map(Ok);
            }
            ready!(this.poll_interim(cx))?;
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            if !this.lane.pulse.may_still_send() {
                return Poll::Ready(Ok(()));
            }
            this.lingering = Some(Lingering::default());
        }
    }
}
