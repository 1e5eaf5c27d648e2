//! A body that grows while many read it.
//!
//! One task appends what the backend sends; any number of readers follow from the start, each at its own pace. Appending
//! never waits while the body may still be stored, so the slowest reader slows nobody. When the body turns out to be
//! larger than what may be stored it is *released*: nobody may join any more, pieces that all readers have passed are
//! dropped, and the appender waits while more than a window is unread. Memory stays flat, whatever the size.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http_body::SizeHint;

use crate::upstream::FetchError;

/// How much may lie unread between the backend and the slowest reader of a released body, in bytes.
const WINDOW: u64 = 256 * 1024;

/// The shared side: appended to by the fill, read through [`Follow`].
#[derive(Debug)]
pub struct Growing {
    state: Mutex<State>,
    /// What the head promised, if it did.
    promised: Option<u64>,
}

#[derive(Debug)]
struct State {
    /// Pieces not yet dropped; the first of them is number `dropped`.
    pieces: std::collections::VecDeque<Bytes>,
    dropped: usize,
    /// Bytes in `pieces`.
    held: u64,
    /// Bytes appended so far.
    length: u64,
    end: End,
    /// No longer kept from the start: pieces are dropped once all readers have passed them.
    released: bool,
    readers: Vec<Option<Reader>>,
    appender: Option<Waker>,
}

/// How a body ended, if it did.
#[derive(Clone, Debug)]
enum End {
    Open,
    Complete,
    Broken(FetchError),
}

#[derive(Debug)]
struct Reader {
    /// The number of the next piece it wants.
    next: usize,
    waker: Option<Waker>,
}

impl Growing {
    /// An empty body that is going to grow to `promised` bytes, where that is known.
    pub fn new(promised: Option<u64>) -> Arc<Self> {
        let state = State {
            pieces: std::collections::VecDeque::new(),
            dropped: 0,
            held: 0,
            length: 0,
            end: End::Open,
            released: false,
            readers: Vec::new(),
            appender: None,
        };
        Arc::new(Self { state: Mutex::new(state), promised })
    }

    /// A reader from the first byte; `None` when the beginning is no longer there.
    pub fn follow(self: &Arc<Self>) -> Option<Follow> {
        let mut state = self.lock();
        if state.released {
            return None;
        }
        let reader = Some(Reader { next: 0, waker: None });
        let slot = state.readers.iter().position(Option::is_none).unwrap_or(state.readers.len());
        match state.readers.get_mut(slot) {
            Some(free) => *free = reader,
            None => state.readers.push(reader),
        }
        drop(state);
        Some(Follow { growing: Arc::clone(self), slot })
    }

    /// Appends a piece and wakes the readers.
    pub fn append(&self, piece: Bytes) {
        let mut state = self.lock();
        state.length += piece.len() as u64;
        state.held += piece.len() as u64;
        state.pieces.push_back(piece);
        wake(state);
    }

    /// Ends the body: all of it is here.
    pub fn complete(&self) {
        let mut state = self.lock();
        state.end = End::Complete;
        wake(state);
    }

    /// Ends the body early: every reader is told once it has read what there is.
    pub fn broken(&self, error: FetchError) {
        let mut state = self.lock();
        state.end = End::Broken(error);
        wake(state);
    }

    /// Gives up on keeping the body from its start.
    pub fn release(&self) {
        let mut state = self.lock();
        state.released = true;
        state.trim();
    }

    /// Waits until a released body has room again. `false` when nobody reads any more.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.lock();
        if state.readers.iter().all(Option::is_none) {
            return Poll::Ready(false);
        }
        if state.held <= WINDOW {
            return Poll::Ready(true);
        }
        state.appender = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The length so far, in bytes.
    pub fn length(&self) -> u64 {
        self.lock().length
    }

    /// Copies all that has been appended. Pieces of the network's buffers would keep those alive.
    pub fn copy_to(&self, whole: &mut BytesMut) {
        for piece in &self.lock().pieces {
            whole.extend_from_slice(piece);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops what every reader has passed.
    fn trim(&mut self) {
        let slowest = self.readers.iter().flatten().map(|reader| reader.next).min();
        let keep_from = slowest.unwrap_or(self.dropped + self.pieces.len());
        while self.dropped < keep_from {
            let Some(piece) = self.pieces.pop_front() else { break };
            self.held -= piece.len() as u64;
            self.dropped += 1;
        }
        if self.held <= WINDOW
            && let Some(appender) = self.appender.take()
        {
            appender.wake();
        }
    }
}

/// Wakes the readers after the lock is released, so that they do not run into it.
fn wake(mut state: MutexGuard<'_, State>) {
    let wakers: Vec<Waker> = state.readers.iter_mut().flatten().filter_map(|reader| reader.waker.take()).collect();
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

/// One reader of a [`Growing`] body.
#[derive(Debug)]
pub struct Follow {
    growing: Arc<Growing>,
    slot: usize,
}

impl Follow {
    /// The next piece; `None` after the last; an error if the body broke off.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, FetchError>>> {
        let mut guard = self.growing.lock();
        let state = &mut *guard;
        let Some(Some(reader)) = state.readers.get_mut(self.slot) else { return Poll::Ready(None) };
        if let Some(piece) = state.pieces.get(reader.next.saturating_sub(state.dropped)) {
            let piece = piece.clone();
            reader.next += 1;
            if state.released {
                state.trim();
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        match &state.end {
            End::Open => {
                reader.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            End::Complete => Poll::Ready(None),
            End::Broken(error) => Poll::Ready(Some(Err(error.clone()))),
        }
    }

    /// What the head promised; nothing where it promised nothing.
    pub fn size_hint(&self) -> SizeHint {
        self.growing.promised.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let mut state = self.growing.lock();
        if let Some(slot) = state.readers.get_mut(self.slot) {
            *slot = None;
        }
        if state.released {
            state.trim();
        }
        // The last reader has left: an appender that waits for room must learn of it.
        if state.readers.iter().all(Option::is_none)
            && let Some(appender) = state.appender.take()
        {
            appender.wake();
        }
    }
}
