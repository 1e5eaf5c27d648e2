//! Streams that others write: read from where the ledger says that they have been read to.
//!
//! Reading waits, so each stream has a connection of its own. How far it has been read is noted by whoever appends what it
//! said, in the same step; so a node that dies in between loses nothing, and nothing is done twice but by that node's heir.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use fred::interfaces::StreamsInterface;
use fred::types::Value;

use super::client::Link;
use super::{PAGE, Redis, keeper, records, scripts, with_new_life};
use crate::fleet::{FleetError, StreamRecord};

/// How long a read of a stream waits for its first record, and when it is given up for lost.
const STREAM_BLOCK: Duration = Duration::from_secs(1);
const STREAM_LATE: Duration = Duration::from_secs(2);

impl Redis {
    /// See [`Fleet::read_stream`](crate::fleet::Fleet::read_stream).
    pub async fn read_stream(&self, stream: &str) -> Result<Vec<StreamRecord>, FleetError> {
        let inner = &self.inner;
        let link = self.stream_link(stream);
        let options = link.role.plan.options(inner.settings.command_timeout);
        let key = stream.to_owned();
        let asked = link.ask_patiently(options, move |client| async move {
            client.xrevrange::<Value, _, _, _>(key, "+", "-", Some(1)).await
        });
        let newest = records::of_range(asked.await?)?;
        let end = newest.first().map_or("0-0", |(id, _)| id.as_str()).to_owned();
        let arguments = with_new_life(vec![stream.into(), end.into()]);
        let read = self.run(&scripts::STREAM, inner.keys.with_marks(&[]), arguments, inner.settings.command_timeout);
        let from = read.await?.into_string().ok_or(FleetError::Garbled("a position in a stream"))?;
        let (key, block) = (stream.to_owned(), u64::try_from(STREAM_BLOCK.as_millis()).unwrap_or(u64::MAX));
        let options = link.role.plan.options(STREAM_LATE);
        let asked = link.ask_patiently(options, move |client| async move {
            client.xread::<Value, _, _>(Some(PAGE), Some(block), key, from).await
        });
        let answer = asked.await;
        if matches!(answer, Err(FleetError::Timeout)) {
            link.rebuild();
        }
        let found = records::of_one_stream(answer?)?;
        Ok(found.into_iter().map(|(id, fields)| StreamRecord { id, fields }).collect())
    }

    /// The connection for this stream: reading it waits, so it has one to itself.
    fn stream_link(&self, stream: &str) -> Arc<Link> {
        let inner = &self.inner;
        let mut streams = inner.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = streams.get(stream) {
            return Arc::clone(link);
        }
        let link = Link::new("streams", &inner.entries[0].role);
        let keeper = tokio::spawn(keeper::keep(Arc::clone(&link), false, false)).abort_handle();
        inner.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(keeper);
        streams.insert(stream.to_owned(), Arc::clone(&link));
        link
    }
}
