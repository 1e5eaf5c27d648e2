//! The watch over one connection: how much longer the client may take, and when the connection has to go.
//!
//! There is one timer per connection, and it is lazy: while deadlines only move away nothing is re-armed, so a busy
//! connection costs the timer wheel one visit per timeout rather than one per request.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use super::ListenSettings;
use super::drain::{Drain, Stage};
use super::pulse::Pulse;

/// A connection that has never been used is given this long after accepting stopped: its first request may be on its way.
const PATIENCE: Duration = Duration::from_secs(1);
/// A connection that is being closed may go on as long as the client takes this many bytes per `write_timeout`: more than
/// the pings it is sent.
const CLOSING_BYTES: u64 = 1024;
/// An HTTP/2 client may abandon this many streams before it is asked whether it ever finishes any.
const ABANDONED: u64 = 200;

/// Which rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

/// Why a connection was ended from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing ever came.
    FirstByte,
    /// The request head did not end in time.
    Head,
    /// The client takes no bytes.
    Write,
    /// It was asked to leave and did not.
    Closing,
    /// Streams are opened only to be reset.
    Flood,
    /// The grace period is over.
    Grace,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// By its protocol; `idle` if we asked it to leave because nothing came.
    Over { result: hyper::Result<()>, idle: bool },
    /// By us, without farewell.
    Cut(Cut),
}

/// A hyper connection that can be asked to finish what is in flight and close.
pub(super) trait Leave: Future<Output = hyper::Result<()>> {
    fn leave(self: Pin<&mut Self>);
}

/// Runs `connection` until it is over or `watch` cuts it.
pub(super) async fn drive<C: Leave>(connection: C, mut watch: Watch, drain: &Drain) -> Ending {
    let mut connection = pin!(connection);
    poll_fn(|cx| {
        // The order matters: whoever advances the stage wakes us afterwards, so either this poll sees the stage or
        // another follows.
        watch.pulse.register(cx.waker());
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(Ending::Over { result, idle: watch.idle });
            }
            match watch.advise(cx, drain.stage()) {
                Advice::Wait => return Poll::Pending,
                Advice::Leave => connection.as_mut().leave(),
                Advice::Cut(cut) => return Poll::Ready(Ending::Cut(cut)),
            }
        }
    })
    .await
}

enum Advice {
    Wait,
    Leave,
    Cut(Cut),
}

/// What falls due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Cut(Cut),
    /// Idle for too long: leave politely.
    Idle,
    /// The drain's patience with an unused connection is over.
    Patience,
    /// Look whether the closing connection makes progress.
    Progress,
}

/// The watch over one connection.
pub(super) struct Watch {
    pulse: Arc<Pulse>,
    settings: Arc<ListenSettings>,
    version: Version,
    /// Made when first needed; a connection that is closed in its first poll has none.
    sleep: Option<Pin<Box<Sleep>>>,
    /// When `sleep` fires, if it is of interest.
    armed: Option<Duration>,
    left: bool,
    idle: bool,
    /// Set when accepting has stopped and the connection's first or next request may be on its way.
    patience_until: Option<Duration>,
    /// Set once asked to leave for idleness: when to look again, and what had been written at the last look.
    closing: Option<(Duration, u64)>,
}

impl Watch {
    pub(super) fn new(pulse: Arc<Pulse>, settings: Arc<ListenSettings>, version: Version) -> Self {
        Self {
            pulse,
            settings,
            version,
            sleep: None,
            armed: None,
            left: false,
            idle: false,
            patience_until: None,
            closing: None,
        }
    }

    fn advise(&mut self, cx: &mut Context<'_>, stage: Stage) -> Advice {
        if stage == Stage::Cut {
            return Advice::Cut(Cut::Grace);
        }
        if self.floods() {
            return Advice::Cut(Cut::Flood);
        }
        if !self.left && self.must_leave(stage) {
            self.left = true;
            return Advice::Leave;
        }
        loop {
            let Some((at, due)) = self.next() else {
                self.armed = None;
                return Advice::Wait;
            };
            if !self.fires(cx, at) {
                return Advice::Wait;
            }
            // The timer fired, perhaps for a deadline that has moved away since it was armed.
            self.armed = None;
            if at > self.pulse.now() {
                continue;
            }
            match due {
                Due::Cut(cut) => return Advice::Cut(cut),
                Due::Progress => {
                    if let Some(advice) = self.look_at_progress() {
                        return advice;
                    }
                }
                Due::Idle => {
                    self.idle = true;
                    self.left = true;
                    self.closing = Some((self.pulse.now() + self.settings.write_timeout, self.pulse.written()));
                    return Advice::Leave;
                }
                Due::Patience => {
                    self.patience_until = None;
                    self.left = true;
                    return Advice::Leave;
                }
            }
        }
    }

    /// Whether the drain wants this connection gone now.
    fn must_leave(&mut self, stage: Stage) -> bool {
        let used = self.pulse.requests() > 0;
        match (stage, self.version) {
            // While the drain waits, HTTP/1 answers say `Connection: close`; an HTTP/2 client has to be told by GOAWAY.
            (Stage::Serving | Stage::Cut, _) | (Stage::Draining, Version::Http1) => false,
            (Stage::Draining, Version::Http2) => used,
            (Stage::Stopping, Version::Http2) => true,
            (Stage::Stopping, Version::Http1) => {
                let busy = self.pulse.in_flight() > 0;
                if busy || (used && self.pulse.head_since().is_none()) {
                    return true;
                }
                self.patience_until.get_or_insert(self.pulse.now() + PATIENCE);
                false
            }
        }
    }

    fn floods(&self) -> bool {
        if self.version == Version::Http1 {
            return false;
        }
        let (begun, abandoned) = (self.pulse.requests(), self.pulse.abandoned());
        // A reset stream's work lingers until its task is polled again: a client that outruns that is no client.
        let lingering = self.pulse.in_flight() > self.settings.h2_max_streams.saturating_mul(4);
        lingering || (abandoned > ABANDONED && abandoned > begun / 2)
    }

    /// The next deadline, if any, on `mono`.
    fn next(&self) -> Option<(Duration, Due)> {
        let settings = &self.settings;
        let blocked = self.pulse.blocked_since().map(|since| (since + settings.write_timeout, Due::Cut(Cut::Write)));
        let patience = self.patience_until.filter(|_| !self.left).map(|until| (until, Due::Patience));
        let quiet = match self.closing {
            Some((look, _)) => Some((look, Due::Progress)),
            None if self.pulse.in_flight() > 0 => None,
            None => Some(self.quiet()),
        };
        [blocked, patience, quiet].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// The deadline of a connection without a request in flight.
    fn quiet(&self) -> (Duration, Due) {
        let settings = &self.settings;
        let unused = self.pulse.requests() == 0;
        match (self.pulse.head_since(), self.version) {
            (None, _) if unused => (self.pulse.idle_since() + settings.first_byte_timeout, Due::Cut(Cut::FirstByte)),
            (Some(since), Version::Http1) => (since + settings.head_timeout, Due::Cut(Cut::Head)),
            (Some(since), Version::Http2) if unused => (since + settings.idle_timeout, Due::Idle),
            // Between two HTTP/2 requests come window updates and pings: bytes are no sign of a head.
            _ => (self.pulse.idle_since() + settings.idle_timeout, Due::Idle),
        }
    }

    /// Whether the time `at` has been reached, so far as the timer knows; arms it otherwise.
    fn fires(&mut self, cx: &mut Context<'_>, at: Duration) -> bool {
        let clock = self.pulse.clock();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(clock.instant(at))));
        if self.armed.is_none_or(|armed| at < armed) {
            sleep.as_mut().reset(clock.instant(at));
            self.armed = Some(at);
        }
        sleep.as_mut().poll(cx).is_ready()
    }

    fn look_at_progress(&mut self) -> Option<Advice> {
        let (_, before) = self.closing?;
        let written = self.pulse.written();
        if written.saturating_sub(before) < CLOSING_BYTES {
            return Some(Advice::Cut(Cut::Closing));
        }
        self.closing = Some((self.pulse.now() + self.settings.write_timeout, written));
        None
    }
}

impl<I, B, S> Leave for hyper::server::conn::http1::Connection<I, S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<super::BoxError>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<super::BoxError>,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, B, S, E> Leave for hyper::server::conn::http2::Connection<I, S, E>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<super::BoxError>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<super::BoxError>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
