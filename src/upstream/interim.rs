//! Interim answers (1xx): passed on as they come, and counted, because there is no end to them otherwise (RS-09).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{HeaderMap, StatusCode};
use tokio::sync::Notify;

/// Takes the interim answers of one fetch. Called in the order of their arrival, before the fetch is done. Must not
/// block. 100 (Continue) is not passed on: it concerns one hop only.
pub type InterimSink = Arc<dyn Fn(StatusCode, &HeaderMap) + Send + Sync>;

/// More interim answers than this before the final one are an error.
pub const MAX_INTERIM: u32 = 8;

/// The interim answers of one fetch. A service in this process finds it among the extensions of the request it is handed.
#[derive(Clone)]
pub struct Interims {
    inner: Arc<Inner>,
}

struct Inner {
    sink: Option<InterimSink>,
    seen: AtomicU32,
    overflow: Notify,
}

impl Interims {
    pub(super) fn new(sink: Option<InterimSink>) -> Self {
        Self { inner: Arc::new(Inner { sink, seen: AtomicU32::new(0), overflow: Notify::new() }) }
    }

    /// An interim answer has arrived.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        let before = self.inner.seen.fetch_add(1, Ordering::Relaxed);
        if before >= MAX_INTERIM {
            self.inner.overflow.notify_one();
            return;
        }
        if let Some(sink) = &self.inner.sink
            && status != StatusCode::CONTINUE
        {
            sink(status, headers);
        }
    }

    /// Were there too many?
    pub(super) fn overflowed(&self) -> bool {
        self.inner.seen.load(Ordering::Relaxed) > MAX_INTERIM
    }

    /// Returns when there were too many.
    pub(super) async fn overflow(&self) {
        while !self.overflowed() {
            self.inner.overflow.notified().await;
        }
    }
}

impl fmt::Debug for Interims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interims").field("seen", &self.inner.seen).finish_non_exhaustive()
    }
}
