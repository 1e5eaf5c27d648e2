//! How much of a backend may be used at once: a number of places, and a queue for them that is bounded in length and time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{FetchError, FetchErrorKind};

/// The places and the queue.
#[derive(Debug)]
pub(super) struct Limit {
    places: Arc<Semaphore>,
    capacity: usize,
    waiting: AtomicUsize,
    max_queue: usize,
    queue_timeout: Duration,
}

/// One place. Dropping it frees the place.
pub(super) type Permit = OwnedSemaphorePermit;

impl Limit {
    pub(super) fn new(capacity: usize, max_queue: usize, queue_timeout: Duration) -> Self {
        let capacity = capacity.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(capacity));
        Self { places, capacity, waiting: AtomicUsize::new(0), max_queue, queue_timeout }
    }

    /// A place, at once or after waiting. First come, first served.
    ///
    /// # Errors
    /// [`FetchErrorKind::Saturated`] at once if the queue is full, or after the time one may wait.
    pub(super) async fn enter(&self) -> Result<Permit, FetchError> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiter = Waiter(&self.waiting);
        if before >= self.max_queue {
            let detail = format!("{} under way and {before} waiting", self.capacity);
            return Err(FetchError::new(FetchErrorKind::Saturated, detail));
        }
        match tokio::time::timeout(self.queue_timeout, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(FetchError::new(FetchErrorKind::Saturated, "the places were closed")),
            Err(_elapsed) => {
                let detail = format!("{} under way, and none ended in {:?}", self.capacity, self.queue_timeout);
                Err(FetchError::new(FetchErrorKind::Saturated, detail))
            }
        }
    }

    /// Places taken.
    pub(super) fn in_flight(&self) -> usize {
        self.capacity.saturating_sub(self.places.available_permits())
    }

    /// Requests waiting for a place.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

struct Waiter<'l>(&'l AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
