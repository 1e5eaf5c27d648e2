//! Closing so that the last answer arrives.
//!
//! A socket closed while bytes lie unread in it makes the kernel send a reset, and a reset makes the client throw away
//! what it has not read yet: often the very answer that says why. So after an answer that leaves a request body unread
//! the sending side is closed first, and what still comes in is read and dropped for a moment
//! ([RFC 9112 §9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6)).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;

/// How long to wait for the client to close its side.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much to read meanwhile.
const MOST: usize = 256 * 1024;

/// Reads and drops until the client closes, time is up, or it was too much.
pub(super) struct Lingering {
    until: Pin<Box<Sleep>>,
    dropped: usize,
}

impl Default for Lingering {
    fn default() -> Self {
        Self { until: Box::pin(tokio::time::sleep(PATIENCE)), dropped: 0 }
    }
}

impl Lingering {
    pub(super) fn poll<T: AsyncRead + Unpin>(&mut self, from: &mut T, cx: &mut Context<'_>) -> Poll<()> {
        if self.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; 4096];
        while self.dropped < MOST {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *from).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.dropped += buf.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}
