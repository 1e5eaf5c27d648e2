//! Watching the log for what comes next.
//!
//! A read that waits has a connection to itself, and whoever waits for it may go away: then the read goes on, and the
//! next one who asks is told what it finds. So one task reads, and those who ask wait for it, not for Redis.

use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::StreamsInterface;
use fred::types::Value;
use tokio::sync::watch;

use super::client::Link;
use super::records;
use crate::fleet::FleetError;

/// How long a read waits for a record.
const BLOCK: Duration = Duration::from_secs(1);

/// A read that has not come back by then never will.
const LATE: Duration = Duration::from_secs(2);

/// Where to ask what is new.
#[derive(Debug)]
pub(super) struct Watcher {
    asked: watch::Sender<u64>,
    seen: watch::Sender<Seen>,
}

/// What a read came back with.
#[derive(Clone, Debug)]
struct Seen {
    after: u64,
    found: Result<Option<u64>, FleetError>,
}

impl Watcher {
    pub(super) fn new() -> Self {
        Self { asked: watch::Sender::new(0), seen: watch::Sender::new(Seen { after: 0, found: Ok(None) }) }
    }

    /// See [`Fleet::changed`](crate::fleet::Fleet::changed).
    pub(super) async fn changed(&self, after: u64) -> Result<(), FleetError> {
        let mut seen = self.seen.subscribe();
        self.asked.send_replace(after);
        let told = async {
            while seen.changed().await.is_ok() {
                let Seen { after: read, found } = seen.borrow_and_update().clone();
                // A read from further on belongs to a life whose numbers were higher.
                if found?.is_some_and(|found| read <= after && found > after) {
                    return Ok(());
                }
            }
            Ok(())
        };
        tokio::time::timeout(BLOCK, told).await.unwrap_or(Ok(()))
    }

    /// Reads whenever somebody asks. Ends with the watcher.
    pub(super) async fn run(self: Arc<Self>, link: Arc<Link>, log: String) {
        let mut asked = self.asked.subscribe();
        while asked.changed().await.is_ok() {
            let after = *asked.borrow_and_update();
            let (key, from) = (log.clone(), format!("{after}-0"));
            let block = u64::try_from(BLOCK.as_millis()).unwrap_or(u64::MAX);
            let read = link.ask_patiently(link.role.plan.options(LATE), move |client| async move {
                client.xread::<Value, _, _>(Some(1), Some(block), key, from).await
            });
            let answer = read.await;
            if matches!(answer, Err(FleetError::Timeout)) {
                link.rebuild();
            }
            let found = answer
                .and_then(records::of_one_stream)
                .map(|found| found.first().and_then(|(id, _)| records::number(id)));
            self.seen.send_replace(Seen { after, found });
        }
    }
}
