//! Subscriptions that are proven to work.
//!
//! A subscription can be refused, or stop bringing anything, without any sign. So this node publishes to a channel of its
//! own, a canary, once a second, and must hear it: whoever hears a canary that was published after it subscribed knows
//! that its subscriptions stand, for the canary's channel is subscribed to last, on the same connection. Whatever makes it
//! doubtful (a connection that broke, messages dropped by fred for want of room, a canary that is not heard, a listener
//! that does not keep up) is a gap, and it is told when the next canary has been heard. Two canaries that were published
//! and not heard, and the client is thrown away: nothing less helps where a cluster has moved slots away.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::clients::SubscriberClient;
use fred::error::Error;
use fred::interfaces::{ClientInterface, ClientLike, EventInterface, PubsubInterface};
use fred::types::{ConnectHandle, Message, Value};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio::task::AbortHandle;

use super::client::{Link, Role, note_errors};
use super::connect::Plan;
use super::glob;
use super::keeper::REST;
use super::scripts::{bytes, hex};
use crate::clock::Moment;
use crate::fleet::Heard;
use crate::fleet::in_process::random;

/// Messages that a listener may be behind before it is told of a gap instead.
const BACKLOG: usize = 16_384;

/// Between two canaries: when all is proven, and when something is not.
const PERIOD: Duration = Duration::from_secs(1);
const HURRY: Duration = Duration::from_millis(100);

/// A canary that was published and is not heard by then is missed; so long nothing heard, and the subscription is in doubt.
const PATIENCE: Duration = Duration::from_secs(2);
const DOUBT: Duration = Duration::from_secs(3);

/// Canaries missed in a row before the client is thrown away.
const MISSES: u32 = 2;

/// Not connected for so long: made anew, with what is in the password file then.
const LOST: Duration = Duration::from_secs(10);

/// Hears for all listeners of this node.
pub(super) struct Ear {
    role: Arc<Role>,
    /// Publishes the canaries.
    speaks: Arc<Link>,
    channel: String,
    token: String,
    joining: Mutex<Vec<Listener>>,
    joined: Notify,
}

struct Listener {
    patterns: Vec<String>,
    heard: mpsc::Sender<Heard>,
    /// Something may not have been told, …
    missed: bool,
    /// … and from this canary on it is known that nothing more is being missed.
    proven_by: u64,
    /// It has been told of the first gap.
    begun: bool,
}

/// What the ear knows while it runs.
struct Hearing {
    listeners: Vec<Listener>,
    line: Line,
    /// Whether the subscriptions have been asked for on the connection that is open now.
    subscribed: bool,
    /// The last canary published, when, and the last one heard.
    published: u64,
    published_at: Duration,
    heard: u64,
    proven_at: Duration,
    /// A canary that is known to have been published, and when.
    waiting: Option<(u64, Duration)>,
    missed: u32,
    connected_at: Duration,
    /// The password was refused: nothing is tried before.
    rests_until: Duration,
}

/// A client, and what it tells.
struct Line {
    client: SubscriberClient,
    messages: broadcast::Receiver<Message>,
    errors: broadcast::Receiver<(Error, Option<fred::types::config::Server>)>,
    reconnects: broadcast::Receiver<fred::types::config::Server>,
    task: ConnectHandle,
    notes: AbortHandle,
}

/// What happens to the ear.
enum Event {
    Message(Result<Message, RecvError>),
    Broken,
    Ended,
    Joined,
    Tick,
    Published(u64, Duration),
}

impl Event {
    fn broken(error: Option<&RecvError>) -> Self {
        if error == Some(&RecvError::Closed) { Event::Ended } else { Event::Broken }
    }
}

impl Ear {
    pub(super) fn new(namespace: &str, role: &Arc<Role>, speaks: Arc<Link>) -> Self {
        let own = hex(random());
        Self {
            role: Arc::clone(role),
            speaks,
            channel: format!("{namespace}:canary:{own}"),
            token: hex(random()),
            joining: Mutex::default(),
            joined: Notify::new(),
        }
    }

    /// Another listener.
    pub(super) fn listen(&self, patterns: Vec<String>) -> mpsc::Receiver<Heard> {
        let (heard, receiver) = mpsc::channel(BACKLOG);
        let listener = Listener { patterns, heard, missed: true, proven_by: u64::MAX, begun: false };
        self.joining.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
        self.joined.notify_one();
        receiver
    }

    /// Hears for as long as it is polled. Without a listener there is no connection.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            self.joined.notified().await;
            self.joined.notify_one();
            self.hear().await;
        }
    }

    /// Hears until the last listener has gone.
    async fn hear(&self) {
        let (reports, mut reported) = mpsc::channel(16);
        let mut hearing = Hearing::new(&self.role, self.now());
        let mut tick = tokio::time::interval(HURRY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                message = hearing.line.messages.recv() => Event::Message(message),
                reconnected = hearing.line.reconnects.recv() => Event::broken(reconnected.as_ref().err()),
                error = hearing.line.errors.recv() => Event::broken(error.as_ref().err()),
                () = self.joined.notified() => Event::Joined,
                Some((number, at)) = reported.recv() => Event::Published(number, at),
                _ = tick.tick() => Event::Tick,
            };
            match event {
                Event::Message(Ok(message)) => self.message(&mut hearing, message),
                Event::Message(Err(RecvError::Lagged(_))) => self.doubt(&mut hearing),
                // Nothing comes from this client any more.
                Event::Message(Err(RecvError::Closed)) | Event::Ended => self.rebuild(&mut hearing),
                Event::Broken => {
                    hearing.subscribed = false;
                    self.doubt(&mut hearing);
                }
                Event::Joined => {
                    hearing.listeners.append(&mut self.joining.lock().unwrap_or_else(PoisonError::into_inner));
                    hearing.subscribed = false;
                }
                Event::Published(number, at) => {
                    if number > hearing.heard && hearing.waiting.is_none() {
                        hearing.waiting = Some((number, at));
                    }
                }
                Event::Tick => {
                    hearing.listeners.retain(|listener| !listener.heard.is_closed());
                    if hearing.listeners.is_empty() {
                        return;
                    }
                    self.tick(&mut hearing, &reports);
                }
            }
        }
    }

    fn message(&self, hearing: &mut Hearing, message: Message) {
        let Ok(payload) = bytes(message.value) else { return };
        if *message.channel == *self.channel {
            let number = std::str::from_utf8(&payload).ok().and_then(|text| text.strip_prefix(&*self.token));
            if let Some(number) = number.and_then(|number| number.strip_prefix(':')?.parse().ok()) {
                hearing.prove(number, self.now());
            }
            return;
        }
        let stats = &self.role.stats;
        stats.messages.fetch_add(1, Ordering::Relaxed);
        let mut lost = false;
        for listener in &mut hearing.listeners {
            if listener.begun && listener.wants(&message.channel) {
                let message = Heard::Message { channel: message.channel.to_string(), payload: payload.clone() };
                if listener.heard.try_send(message).is_err() && !listener.missed {
                    // Only its own queue was full: any canary proves that the rest stands.
                    (listener.missed, listener.proven_by, lost) = (true, 0, true);
                }
            }
        }
        if lost {
            stats.gaps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Something may have been missed.
    fn doubt(&self, hearing: &mut Hearing) {
        let mut new = false;
        for listener in &mut hearing.listeners {
            new |= !listener.missed;
            (listener.missed, listener.proven_by) = (true, hearing.published + 1);
        }
        if new {
            self.role.stats.gaps.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tick(&self, hearing: &mut Hearing, reports: &mpsc::Sender<(u64, Duration)>) {
        let now = self.now();
        let connected = hearing.line.client.is_connected();
        if connected {
            hearing.connected_at = now;
        }
        if !connected && self.role.plan.needs_rest() {
            hearing.line.task.abort();
            hearing.rests_until = now + REST;
        }
        if now < hearing.rests_until {
            return;
        }
        if hearing.line.task.is_finished() || now.saturating_sub(hearing.connected_at) > LOST {
            return self.rebuild(hearing);
        }
        if !connected {
            hearing.waiting = None;
            return;
        }
        if !hearing.subscribed {
            self.subscribe(hearing);
        }
        if hearing.waiting.is_some_and(|(_, at)| now.saturating_sub(at) > PATIENCE) {
            hearing.waiting = None;
            hearing.missed += 1;
            self.role.stats.canaries_missed.fetch_add(1, Ordering::Relaxed);
            self.doubt(hearing);
            if hearing.missed >= MISSES {
                return self.rebuild(hearing);
            }
            self.subscribe(hearing);
        }
        if now.saturating_sub(hearing.proven_at) > DOUBT {
            self.doubt(hearing);
        }
        let period = if hearing.listeners.iter().any(|listener| listener.missed) { HURRY } else { PERIOD };
        if now.saturating_sub(hearing.published_at) >= period {
            self.publish(hearing, reports, now);
        }
    }

    fn publish(&self, hearing: &mut Hearing, reports: &mpsc::Sender<(u64, Duration)>, now: Duration) {
        hearing.published += 1;
        hearing.published_at = now;
        let (number, speaks, reports) = (hearing.published, Arc::clone(&self.speaks), reports.clone());
        let (channel, canary) = (self.channel.clone(), format!("{}:{number}", self.token));
        tokio::spawn(async move {
            let options = speaks.role.plan.options(Duration::from_millis(500));
            let asked =
                speaks.ask(options, move |client| async move { client.publish::<Value, _, _>(channel, canary).await });
            if asked.await.is_ok() {
                let _ = reports.try_send((number, now));
            }
        });
    }

    /// Asks for all subscriptions, and for the canary's last.
    fn subscribe(&self, hearing: &mut Hearing) {
        hearing.subscribed = true;
        for listener in hearing.listeners.iter_mut().filter(|listener| listener.missed) {
            listener.proven_by = hearing.published + 1;
        }
        let all: BTreeSet<String> = hearing.listeners.iter().flat_map(|listener| listener.patterns.clone()).collect();
        let (patterns, mut channels): (Vec<_>, Vec<_>) = all.into_iter().partition(|text| glob::is_pattern(text));
        channels.push(self.channel.clone());
        let (client, role) = (hearing.line.client.clone(), Arc::clone(&self.role));
        tokio::spawn(async move {
            let options = role.plan.options(Duration::from_secs(1));
            let client = client.with_options(&options);
            let counts = (channels.len(), patterns.len());
            if !patterns.is_empty() && client.psubscribe(patterns).await.is_err() {
                return;
            }
            if client.subscribe(channels).await.is_err() || role.plan.is_cluster() {
                return;
            }
            let info = client.client_info::<Value>().await;
            if refused(&info, counts) {
                role.stats.subscriptions_refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    "Redis does not let this user listen to all channels that are asked for; changes announced on them are \
                     not heard; allow them with `ACL SETUSER … &channel`"
                );
            }
        });
    }

    fn rebuild(&self, hearing: &mut Hearing) {
        self.role.stats.rebuilt("subscriber");
        hearing.line = Line::new(&self.role);
        (hearing.subscribed, hearing.waiting, hearing.missed) = (false, None, 0);
        hearing.connected_at = self.now();
        self.doubt(hearing);
    }

    fn now(&self) -> Duration {
        let Moment { mono, .. } = self.role.clock.now();
        mono
    }
}

/// Whether the server counts fewer subscriptions of this connection than were asked for, or says so.
fn refused(info: &Result<Value, Error>, (channels, patterns): (usize, usize)) -> bool {
    match info {
        // Subscribing has no answer of its own that fred waits for: a refusal is taken for the next command's.
        Err(error) => error.details().starts_with("NOPERM") && error.details().contains("channel"),
        Ok(info) => {
            let info = info.as_str().unwrap_or_default().into_owned();
            let count = |name: &str| info.split_whitespace().find_map(|part| part.strip_prefix(name)?.parse().ok());
            count("sub=").unwrap_or(channels) < channels || count("psub=").unwrap_or(patterns) < patterns
        }
    }
}

impl Hearing {
    fn new(role: &Arc<Role>, now: Duration) -> Self {
        Self {
            listeners: Vec::new(),
            line: Line::new(role),
            subscribed: false,
            published: 0,
            published_at: Duration::ZERO,
            heard: 0,
            proven_at: now,
            waiting: None,
            missed: 0,
            connected_at: now,
            rests_until: Duration::ZERO,
        }
    }

    /// A canary was heard: what was subscribed to before it was published stands.
    fn prove(&mut self, number: u64, now: Duration) {
        self.heard = self.heard.max(number);
        if self.waiting.is_some_and(|(waiting, _)| waiting <= number) {
            self.waiting = None;
        }
        (self.missed, self.proven_at) = (0, now);
        for listener in &mut self.listeners {
            if listener.missed && number >= listener.proven_by && listener.heard.try_send(Heard::Gap).is_ok() {
                (listener.missed, listener.begun) = (false, true);
            }
        }
    }
}

impl Listener {
    fn wants(&self, channel: &str) -> bool {
        self.patterns.iter().any(|pattern| glob::matches(pattern.as_bytes(), channel.as_bytes()))
    }
}

impl Line {
    fn new(role: &Arc<Role>) -> Self {
        let plan = &role.plan;
        let client = SubscriberClient::new(
            plan.config(),
            Some(Plan::performance(true)),
            Some(plan.connection()),
            Some(Plan::reconnects()),
        );
        let (messages, errors, reconnects) = (client.message_rx(), client.error_rx(), client.reconnect_rx());
        let notes = tokio::spawn(note_errors(Arc::clone(role), client.clone())).abort_handle();
        let task = client.connect();
        Self { client, messages, errors, reconnects, task, notes }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
        self.notes.abort();
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ear({})", self.channel)
    }
}
