//! Looks after the connections: a server that went silent is noticed, and a client that cannot help itself is replaced.
//!
//! fred notices a closed connection by itself and a silent one never. So each link is pinged once a second, more often
//! when something is wrong; two pings in a row without an answer, and the client is thrown away. The same pings bring the
//! breaker back when nobody else asks. On the ledger's link it is also looked whether the server may forget.

use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::ClientLike;
use fred::types::{InfoKind, Value};

use super::client::Link;
use crate::breaker::BreakerState;
use crate::fleet::FleetError;

/// Between two looks: when all is well, and when it is not.
const PERIOD: Duration = Duration::from_secs(1);
const HURRY: Duration = Duration::from_millis(200);

/// A ping that takes longer is missed.
const PATIENCE: Duration = Duration::from_millis(500);

/// Pings missed in a row before the client is thrown away.
const MISSES: u32 = 2;

/// A client that has not been connected for so many looks in a row is made anew, with what is in the password file then.
const LOST: u32 = 50;

/// How long a client rests whose password was refused, where nothing else holds it back. All of them together make no more
/// than two attempts in a second.
pub(super) const REST: Duration = Duration::from_secs(5);

/// Looks between two questions after memory and its policy.
const REMINDER: u32 = 5;

/// Looks after a link until it is dropped.
pub(super) async fn keep(link: Arc<Link>, pings: bool, remembers: bool) {
    let (mut missed, mut lost, mut unasked) = (0, 0, 0);
    loop {
        let well = missed == 0 && link.is_connected() && link.role.breaker.state() == BreakerState::Admitting;
        tokio::time::sleep(if well { PERIOD } else { HURRY }).await;
        if link.has_ended() || lost >= LOST {
            link.rebuild();
            (missed, lost) = (0, 0);
            continue;
        }
        if !link.is_connected() {
            (missed, lost, unasked) = (0, lost + 1, 0);
            if remembers {
                // It may be another server that answers next.
                link.role.stats.note_memory(None);
            }
            if link.role.plan.needs_rest() {
                link.rest();
                tokio::time::sleep(REST).await;
            }
            continue;
        }
        lost = 0;
        link.role.plan.accepted();
        if remembers {
            if unasked == 0 {
                look_at_memory(&link).await;
            }
            unasked = (unasked + 1) % REMINDER;
        }
        if !pings {
            continue;
        }
        match link.ping(link.role.plan.options_at_home(PATIENCE)).await {
            Err(FleetError::Timeout) => missed += 1,
            _ => missed = 0,
        }
        if missed >= MISSES {
            tracing::warn!(link = link.label, "Redis does not answer on an open connection; another one is made");
            link.rebuild();
            missed = 0;
        }
    }
}

/// Notes whether the server may drop keys, and says so once.
async fn look_at_memory(link: &Link) {
    let options = link.role.plan.options_at_home(PATIENCE);
    let asked = link.ask_patiently(options, |client| async move { client.info::<Value>(Some(InfoKind::Memory)).await });
    let Ok(Some(text)) = asked.await.map(Value::into_string) else { return };
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let (limit, policy) = (field("maxmemory").unwrap_or("0"), field("maxmemory_policy").unwrap_or("noeviction"));
    let evicts = limit != "0" && policy != "noeviction";
    if link.role.stats.note_memory(Some(evicts)) != Some(true) && evicts {
        tracing::warn!(
            policy,
            "the ledger's Redis may forget changes when its memory is full, so entries older than this node's own view \
             are not used; set `maxmemory-policy noeviction` there, or give the ledger a server of its own"
        );
    }
}
