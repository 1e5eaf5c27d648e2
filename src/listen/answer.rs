//! The answer on its way out: tells the connection when it is over, and the HTTP/2 stream when it waits for the client.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tokio_util::task::TaskTracker;

use super::interim::Lane;
use super::pulse::{Pulse, Since};
use super::stats::ListenStats;

/// HTTP/2 is given bodies in pieces of this many bytes. h2 takes a piece as a whole once the client's window allows a
/// single byte of it, so this is also how much is out of our hands per stream.
const PIECE: usize = 32 * 1024;

/// A request in flight. Dropped when its answer is over, however that came about.
pub(super) struct Flight {
    pulse: Arc<Pulse>,
    lane: Option<Arc<Lane>>,
    completed: bool,
    /// Whether to wake the connection's task when this was the last one.
    wakes: bool,
}

impl Flight {
    /// A request was handed to the service.
    pub(super) fn begin(pulse: &Arc<Pulse>, lane: Option<&Arc<Lane>>, understands_interim: bool) -> Self {
        pulse.begin();
        if let Some(lane) = lane {
            lane.begin(understands_interim);
        }
        Self { pulse: Arc::clone(pulse), lane: lane.cloned(), completed: false, wakes: lane.is_none() }
    }

    /// The service has returned the answer's head.
    pub(super) fn answered(&mut self) {
        if let Some(lane) = self.lane.take() {
            lane.answered();
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.answered();
        self.pulse.end(!self.completed);
        // An HTTP/1 answer ends in the connection's own task; an HTTP/2 one in its stream's.
        if self.wakes && self.pulse.in_flight() == 0 {
            self.pulse.wake();
        }
    }
}

pin_project! {
    /// A response body that notes its end.
    pub(super) struct Answer<B> {
        #[pin]
        body: B,
        flight: Flight,
        // What is left of a chunk that was too large for one piece.
        rest: Bytes,
        // The HTTP/2 stream's state; none on HTTP/1.
        stream: Option<Arc<Stream>>,
    }
}

impl<B: Body<Data = Bytes>> Answer<B> {
    /// Call it in the task that will send the body: on HTTP/2 it looks for the stream there.
    pub(super) fn new(body: B, mut flight: Flight) -> Self {
        flight.completed = body.is_end_stream();
        let stream = STREAM.try_with(Arc::clone).ok();
        Self { body, flight, rest: Bytes::new(), stream }
    }
}

impl<B: Body<Data = Bytes>> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        if let Some(stream) = this.stream {
            stream.waiting_since.clear();
        }
        let next = if this.rest.is_empty() {
            ready!(this.body.as_mut().poll_frame(cx))
        } else {
            Some(Ok(Frame::data(std::mem::take(this.rest))))
        };
        let next = match (next, &this.stream) {
            (Some(Ok(frame)), Some(stream)) => {
                // From here until we are asked again it is the client's window that we wait for.
                stream.waiting_since.set(this.flight.pulse.now());
                Some(Ok(first_piece(frame, this.rest)))
            }
            (next, _) => next,
        };
        this.flight.completed = match &next {
            None => true,
            Some(Ok(frame)) => frame.is_trailers() || (this.rest.is_empty() && this.body.is_end_stream()),
            Some(Err(_)) => false,
        };
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

/// Keeps at most [`PIECE`] bytes of `frame`, and the others in `rest`.
fn first_piece(frame: Frame<Bytes>, rest: &mut Bytes) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(mut data) => {
            if data.len() > PIECE {
                *rest = data.split_off(PIECE);
            }
            Frame::data(data)
        }
        Err(other) => other,
    }
}

tokio::task_local! {
    /// The stream that the current task serves.
    static STREAM: Arc<Stream>;
}

/// An HTTP/2 stream's signs of life.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Since when a piece has been waiting to be sent, at the longest.
    waiting_since: Since,
}

/// Runs HTTP/2 streams as tasks, and resets those whose client does not take the answer.
///
/// hyper does not ask for the next piece while the client's window is closed, so the body cannot notice; the task can.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) tasks: TaskTracker,
    pub(super) pulse: Arc<Pulse>,
    pub(super) patience: Duration,
    pub(super) stats: Arc<ListenStats>,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let stream = Arc::new(Stream::default());
        let guarded = Guarded {
            task,
            stream: Arc::clone(&stream),
            pulse: Arc::clone(&self.pulse),
            patience: self.patience,
            stats: Arc::clone(&self.stats),
            sleep: None,
        };
        self.tasks.spawn(STREAM.scope(stream, guarded));
    }
}

pin_project! {
    struct Guarded<F> {
        #[pin]
        task: F,
        stream: Arc<Stream>,
        pulse: Arc<Pulse>,
        patience: Duration,
        stats: Arc<ListenStats>,
        sleep: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.task.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while let Some(since) = this.stream.waiting_since.get() {
            let deadline = this.pulse.clock().instant(since + *this.patience);
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            ready!(sleep.as_mut().poll(cx));
            if this.pulse.now() >= since + *this.patience {
                // Dropping the task resets the stream.
                ListenStats::count(&this.stats.write_timeouts);
                return Poll::Ready(());
            }
            // It fired for an earlier piece.
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
