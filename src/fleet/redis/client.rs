//! Asking: one connection that is watched and made anew, and the breaker before it.
//!
//! Two rules hold for every call. fred's future is never dropped before it is done: a command that is given up from
//! outside stays in fred's queue and is carried out later, so each call runs in a task of its own, and it is the task's
//! handle that a caller may drop. And every call is judged, whether or not anybody waits for it: the breaker opens when a
//! server is gone, silent or slow, and does not when one key is of the wrong type or memory is full.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use fred::clients::{Client, WithOptions};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface};
use fred::types::config::Options;
use fred::types::{ConnectHandle, Value};
use tokio::task::AbortHandle;

use super::connect::{HELD_BACK, Plan};
use super::stats::{self, Stats};
use crate::breaker::{Admission, Breaker, BreakerSettings, BreakerState, Outcome};
use crate::clock::Clock;
use crate::fleet::FleetError;

/// A server is slow if it takes longer than this.
const SLOW: Duration = Duration::from_millis(50);

/// What a breaker stands before: all connections to one server for one purpose.
#[derive(Debug)]
pub(super) struct Role {
    pub(super) breaker: Breaker,
    pub(super) clock: Clock,
    pub(super) stats: Arc<Stats>,
    pub(super) plan: Arc<Plan>,
}

/// One client of fred's, which is thrown away when it does not come back by itself.
pub(super) struct Link {
    /// What it is for; as the counters name it.
    pub(super) label: &'static str,
    pub(super) role: Arc<Role>,
    built: ArcSwap<Built>,
}

/// A client, and the task that drives it; dropping this ends both.
struct Built {
    client: Client,
    task: ConnectHandle,
    notes: AbortHandle,
}

impl Role {
    pub(super) fn new(plan: Arc<Plan>, breaker: BreakerSettings, clock: &Clock, stats: &Arc<Stats>) -> Arc<Self> {
        Arc::new(Self { breaker: Breaker::new(breaker), clock: clock.clone(), stats: Arc::clone(stats), plan })
    }

    /// What went wrong, for whoever asked; counted.
    pub(super) fn failed(&self, error: &Error) -> FleetError {
        let (failed, code) = translate(error);
        if matches!(code, "NOAUTH" | "WRONGPASS") {
            self.plan.refused();
        }
        self.stats.error(code, &failed);
        failed
    }
}

impl Link {
    /// A link that connects by itself. Returns at once.
    pub(super) fn new(label: &'static str, role: &Arc<Role>) -> Arc<Self> {
        Arc::new(Self { label, role: Arc::clone(role), built: ArcSwap::from_pointee(Built::new(role)) })
    }

    /// Asks, unless the breaker refuses. Whatever becomes of the caller, the question is seen through.
    pub(super) async fn ask<Ask, Asked>(&self, options: Options, ask: Ask) -> Result<Value, FleetError>
    where
        Ask: FnOnce(WithOptions<Client>) -> Asked + Send + 'static,
        Asked: Future<Output = Result<Value, Error>> + Send + 'static,
    {
        let role = Arc::clone(&self.role);
        let started = role.clock.now();
        let Admission::Yes(ticket) = role.breaker.admit(started) else {
            role.stats.error("away", &FleetError::Away);
            return Err(FleetError::Away);
        };
        let client = self.client().with_options(&options);
        let task = tokio::spawn(async move {
            let answer = ask(client).await;
            let now = role.clock.now();
            role.breaker.record(ticket, judge(&answer, now.since(started)), now);
            answer.map_err(|error| role.failed(&error))
        });
        task.await.unwrap_or_else(|_| Err(FleetError::Broken("the runtime is ending".to_owned())))
    }

    /// Asks without asking the breaker, and without telling it: for what waits on purpose.
    pub(super) async fn ask_patiently<Ask, Asked>(&self, options: Options, ask: Ask) -> Result<Value, FleetError>
    where
        Ask: FnOnce(WithOptions<Client>) -> Asked + Send + 'static,
        Asked: Future<Output = Result<Value, Error>> + Send + 'static,
    {
        let role = Arc::clone(&self.role);
        let client = self.client().with_options(&options);
        let task = tokio::spawn(async move { ask(client).await.map_err(|error| role.failed(&error)) });
        task.await.unwrap_or_else(|_| Err(FleetError::Broken("the runtime is ending".to_owned())))
    }

    /// Whether the server answers; the breaker hears of it, but is not asked: somebody has to look.
    pub(super) async fn ping(&self, options: Options) -> Result<(), FleetError> {
        let role = &self.role;
        let started = role.clock.now();
        let admission = role.breaker.admit(started);
        let answer = self.client().with_options(&options).ping::<Value>(None).await;
        let now = role.clock.now();
        // A ping that is answered says little while others ask: it must not speak for a server that fails them.
        let trusted = role.breaker.state() == BreakerState::Admitting;
        if let Admission::Yes(ticket) = admission
            && (answer.is_err() || !trusted)
        {
            role.breaker.record(ticket, judge(&answer, now.since(started)), now);
        }
        answer.map(drop).map_err(|error| role.failed(&error))
    }

    pub(super) fn client(&self) -> Client {
        self.built.load().client.clone()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.built.load().client.is_connected()
    }

    /// fred has given up: it ends when its queue is full at the moment the connection is lost, and on what it takes for a
    /// mistake in its settings.
    pub(super) fn has_ended(&self) -> bool {
        self.built.load().task.is_finished()
    }

    /// Ends the client, until [`Link::rebuild`].
    pub(super) fn rest(&self) {
        self.built.load().task.abort();
    }

    /// Throws the client away and makes another.
    pub(super) fn rebuild(&self) {
        self.role.stats.rebuilt(self.label);
        self.built.store(Arc::new(Built::new(&self.role)));
    }
}

impl Built {
    fn new(role: &Arc<Role>) -> Self {
        let plan = &role.plan;
        let client = Client::new(
            plan.config(),
            Some(Plan::performance(false)),
            Some(plan.connection()),
            Some(Plan::reconnects()),
        );
        let notes = tokio::spawn(note_errors(Arc::clone(role), client.clone())).abort_handle();
        let task = client.connect();
        Self { client, task, notes }
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        // Not `quit`: it waits for answers, and a dead connection gives none.
        self.task.abort();
        self.notes.abort();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.label)
    }
}

/// Counts what goes wrong between questions: connections that break or cannot be made. For as long as it is polled.
pub(super) async fn note_errors(role: Arc<Role>, client: impl EventInterface) {
    let mut errors = client.error_rx();
    loop {
        match errors.recv().await {
            Ok((error, _)) => drop(role.failed(&error)),
            Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// How an answer speaks for the server that gave it, or did not.
fn judge(answer: &Result<Value, Error>, took: Duration) -> Outcome {
    let by_time = if took > SLOW { Outcome::Poor } else { Outcome::Good };
    match answer {
        Ok(_) => by_time,
        Err(error) => match translate(error) {
            // One key, one command, or its memory: the server is there, and other questions are answered.
            (FleetError::Refused(_), "WRONGTYPE" | "OOM" | "NOPERM" | "other") => by_time,
            (FleetError::Busy | FleetError::Garbled(_), _) => Outcome::Poor,
            _ => Outcome::Unreachable,
        },
    }
}

/// In our words: for whoever asked, and for the counters.
fn translate(error: &Error) -> (FleetError, &'static str) {
    let details = error.details();
    let word = details.split_whitespace().next().unwrap_or_default();
    if let Some(code) = stats::refusal(word) {
        return (FleetError::Refused(shortened(details)), code);
    }
    match error.kind() {
        ErrorKind::Timeout => (FleetError::Timeout, "timeout"),
        ErrorKind::Canceled | ErrorKind::Routing => (FleetError::Away, "away"),
        ErrorKind::IO if details == HELD_BACK => (FleetError::Away, "away"),
        ErrorKind::Backpressure => (FleetError::Busy, "busy"),
        ErrorKind::IO | ErrorKind::Tls | ErrorKind::Sentinel => (FleetError::Broken(shortened(details)), "broken"),
        ErrorKind::Protocol | ErrorKind::Parse | ErrorKind::NotFound => {
            (FleetError::Garbled("what was asked for"), "garbled")
        }
        _ if details.contains("max number of clients") => (FleetError::Refused(shortened(details)), "max-clients"),
        ErrorKind::Auth => (FleetError::Refused(shortened(details)), "NOAUTH"),
        // fred's own words for having no connection.
        ErrorKind::Unknown if !details.starts_with("ERR") && details.contains("command") => (FleetError::Away, "away"),
        _ => (FleetError::Refused(shortened(details)), "other"),
    }
}

/// Enough of it to know what is meant.
fn shortened(details: &str) -> String {
    details.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let rows = [
            (ErrorKind::Unknown, "READONLY You can't write", "READONLY", Outcome::Unreachable),
            (ErrorKind::Unknown, "LOADING Redis is loading", "LOADING", Outcome::Unreachable),
            (ErrorKind::Unknown, "OOM command not allowed", "OOM", Outcome::Good),
            (ErrorKind::InvalidArgument, "WRONGTYPE Operation", "WRONGTYPE", Outcome::Good),
            (ErrorKind::Auth, "WRONGPASS invalid", "WRONGPASS", Outcome::Unreachable),
            (ErrorKind::Unknown, "NOPERM this user", "NOPERM", Outcome::Good),
            (ErrorKind::Cluster, "CLUSTERDOWN Hash slot", "CLUSTERDOWN", Outcome::Unreachable),
            (ErrorKind::Timeout, "Request timed out.", "timeout", Outcome::Unreachable),
            (ErrorKind::Canceled, "Connection closed unexpectedly.", "away", Outcome::Unreachable),
            (ErrorKind::IO, "Connection closed.", "broken", Outcome::Unreachable),
            (ErrorKind::Backpressure, "Max in-flight commands reached.", "busy", Outcome::Poor),
            (ErrorKind::Unknown, "Failed to send command to router.", "away", Outcome::Unreachable),
            (ErrorKind::Unknown, "ERR wrong number of arguments for command", "other", Outcome::Good),
            (ErrorKind::Unknown, "ERR max number of clients reached", "max-clients", Outcome::Unreachable),
            (ErrorKind::Parse, "Could not convert", "garbled", Outcome::Poor),
        ];
        for (kind, details, code, outcome) in rows {
            let error = Error::new(kind, details);
            assert_eq!(translate(&error).1, code, "{details}");
            assert_eq!(judge(&Err(error), Duration::ZERO), outcome, "{details}");
        }
        assert_eq!(judge(&Ok(Value::Null), SLOW), Outcome::Good);
        assert_eq!(judge(&Ok(Value::Null), SLOW * 2), Outcome::Poor);
    }
}
