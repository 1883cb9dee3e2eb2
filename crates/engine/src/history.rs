//! Histories as clients get them: encoded events, page by page.

use bytes::Bytes;
use prost::Message as _;
use reflux_core::{EventId, Item, RunKey};
use reflux_proto::reflux::v1 as wire;
use tokio::sync::oneshot;

use crate::mailbox::Internal;
use crate::request::Lane;
use crate::{Engine, Error, codec};

/// Part of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Events {
    /// Each one an encoded `HistoryEvent` with all its payloads.
    pub encoded: Vec<Bytes>,
    /// The last of them; what was asked behind when there is none.
    pub last: EventId,
    /// Whether the run was closed.
    pub closed: bool,
    /// Whether the run had no event behind these.
    pub end: bool,
}

impl Engine {
    /// Events of a run behind `after`, everything that was durable when this was called included:
    /// at most `events_max` of them, and about `bytes_max` bytes, but at least one if there is one.
    /// Reads the store on the runtime's blocking pool, a bounded number of reads at once, so it has
    /// to be called in a tokio runtime.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`], [`Error::Stopping`].
    pub async fn history(
        &self,
        run: &RunKey,
        after: EventId,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Events, Error> {
        let _permit = self.inner.reads.acquire().await.map_err(|_| Error::Stopping)?;
        let partition = self.inner.router.partition_of(&Lane::of(run));
        self.settled(partition).await?;
        let store = self.inner.stores.get(partition).ok_or(Error::Stopping)?.clone();
        let run = run.clone();
        let read = move || read(&store, &run, after, events_max, bytes_max);
        tokio::task::spawn_blocking(read).await.map_err(|_| Error::Stopping)?
    }

    /// Waits until a store has what is durable now.
    async fn settled(&self, partition: usize) -> Result<(), Error> {
        let mailbox = self.inner.mailboxes.get(partition).ok_or(Error::Stopping)?;
        let (done, settled) = oneshot::channel();
        let barrier = Internal::Barrier(Box::new(move || {
            // Nobody waits any more when the other end is gone.
            let _ = done.send(());
        }));
        mailbox.internal.send(barrier).map_err(|_| Error::Stopping)?;
        settled.await.map_err(|_| Error::Stopping)
    }
}

fn read(
    store: &reflux_store::Partition,
    run: &RunKey,
    after: EventId,
    events_max: usize,
    bytes_max: usize,
) -> Result<Events, Error> {
    // One moment for the row and the items; it keeps rows on disk only while this runs.
    let view = store.view();
    let Some(summary) = view.summary(run)? else {
        let workflow_id = run.workflow_id.to_string();
        return Err(Error::NotFound { workflow_id, run_id: Some(run.run_id) });
    };
    let fetch = |digest: [u8; 32]| Ok(view.blob(&digest)?);
    let mut events = Events { last: after, closed: !summary.is_open(), ..Events::default() };
    let total = i64::try_from(summary.events).unwrap_or(i64::MAX);
    let mut bytes = 0;
    // Event n is item n - 1 or a later one: deltas stand between events.
    let from = u64::try_from(after.0).unwrap_or(0);
    for item in view.items(run, from)? {
        if events.last.0 >= total || events.encoded.len() >= events_max {
            break;
        }
        let (_, stored) = item?;
        let Some((id, event)) = event_of(&stored, &fetch)? else { continue };
        if id <= after {
            continue;
        }
        if bytes > 0 && bytes + event.len() > bytes_max {
            break;
        }
        bytes += event.len();
        events.last = id;
        events.encoded.push(event);
    }
    events.end = events.last.0 >= total;
    Ok(events)
}

/// The number and bytes of an event; `None` for what is no part of the history.
fn event_of(
    stored: &Bytes,
    fetch: &dyn Fn([u8; 32]) -> Result<Option<Bytes>, Error>,
) -> Result<Option<(EventId, Bytes)>, Error> {
    let malformed =
        |error: prost::DecodeError| Error::Corrupt(format!("an item cannot be read: {error}"));
    let item = wire::Item::decode(stored.clone()).map_err(malformed)?;
    let Some(event) = Item::event_bytes(&item) else { return Ok(None) };
    if codec::may_refer(stored) {
        let Item::Event(event) = codec::decode(stored, fetch)? else { return Ok(None) };
        return Ok(Some((event.id, event.encode_with(&mut bytes::BytesMut::new()))));
    }
    let id = EventNumber::decode(event.clone()).map_err(malformed)?;
    Ok(Some((EventId(id.event_id), event.clone())))
}

/// As much of a `HistoryEvent` as its number: the rest is passed on unread.
#[derive(Clone, PartialEq, prost::Message)]
struct EventNumber {
    #[prost(int64, tag = "1")]
    event_id: i64,
}
