//! Answers that are long or never end, frame by frame and with flat memory.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior};

use super::Backend;
use crate::telemetry::timestamp;

/// Server-sent events: four per second, until the client leaves.
#[derive(Debug)]
pub struct Events {
    backend: Backend,
    ticks: Interval,
    sent: u64,
}

impl Events {
    /// The first event comes at once.
    pub fn new(backend: Backend) -> Self {
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { backend, ticks, sent: 0 }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.ticks.poll_tick(context));
        self.sent += 1;
        let data = json!({ "version": self.backend.version(), "at": timestamp(self.backend.now().wall) });
        let event = format!("id: {}\nevent: tick\ndata: {data}\n\n", self.sent);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(event)))))
    }
}

/// A large body of unannounced length: the same 64 KiB again and again.
#[derive(Debug)]
pub struct Export {
    chunk: Bytes,
    left: u64,
}

/// The size of a frame of [`Export`], in bytes; divides a MiB.
const CHUNK: usize = 64 * 1024;

impl Export {
    /// A body of so many MiB.
    pub fn new(mebibytes: u32) -> Self {
        // One record per 64 bytes, so that the chunks make lines.
        let line = format!("{:<63}\n", r#"{"kind":"audit","action":"user.updated","subject":"user:1"}"#);
        let chunk = Bytes::from(line.into_bytes().repeat(CHUNK / 64));
        Self { chunk, left: u64::from(mebibytes) * 16 }
    }
}

impl Body for Export {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn an_export_is_as_long_as_asked_and_ends_with_a_line() {
        let body = Export::new(3);
        assert_eq!(body.size_hint().exact(), None);
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(bytes.len(), 3 * 1024 * 1024);
        assert_eq!(bytes.last(), Some(&b'\n'));
    }
}
