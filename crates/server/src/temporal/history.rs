//! Histories: a page at a time, waiting for more if asked.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use reflux_core::{EventId, Item, RunId, RunKey};
use reflux_engine::{Ask, Execution, Lane, put_event};
use reflux_proto::temporal::api::enums::v1::HistoryEventFilterType;
use reflux_proto::temporal::api::history::v1::{History, HistoryEvent};
use reflux_proto::temporal::api::workflowservice::v1::{
    GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseRequest, GetWorkflowExecutionHistoryReverseResponse,
};
use tokio::time::Instant;
use tonic::Status;

use super::Frontend;
use super::convert::execution;
use super::errors::{invalid, refused};
use super::tokens::Place;

/// Events of one page when the request does not say (Temporal's for histories).
const PAGE_EVENTS: usize = 1_000;
/// Bytes after which a page is full: with one more event of the largest size it stays below the
/// 4 MiB that gRPC clients take by default.
const PAGE_BYTES: usize = 1_500 * 1024;

/// A piece of a history.
pub(super) struct Page {
    /// An encoded `History`.
    pub(super) history: Bytes,
    /// Where to go on; `None` when everything that was asked for is there.
    pub(super) next: Option<Place>,
}

impl Page {
    /// Events that are at hand, and those behind them that are not in the history.
    pub(super) fn whole(events: &Bytes, suffix: &[Bytes]) -> Self {
        if suffix.is_empty() {
            return Self { history: events.clone(), next: None };
        }
        let mut history = BytesMut::from(&**events);
        suffix.iter().for_each(|event| put_event(&mut history, event));
        Self { history: history.freeze(), next: None }
    }
}

/// How far a run's history goes.
#[derive(Debug, Clone)]
struct Extent {
    run_id: RunId,
    last: EventId,
    closed: bool,
    /// The last event of a closed run as an encoded `History`, when it was at hand.
    end: Option<Bytes>,
}

impl Frontend {
    pub(super) async fn get_history(
        &self,
        until: Instant,
        request: GetWorkflowExecutionHistoryRequest,
    ) -> Result<GetWorkflowExecutionHistoryResponse, Status> {
        let filter = request.history_event_filter_type();
        let namespace = self.namespace(request.namespace)?;
        let (lane, run_id) = execution(namespace, request.execution)?;
        let events_max = page_events(request.maximum_page_size);
        let token = &request.next_page_token;
        let place = if token.is_empty() { None } else { Some(Place::read(token)?) };
        let run_id = match &place {
            Some(place) if run_id.is_some() && run_id != place.run_id() => {
                return Err(invalid("NextPageToken is of another run: ask for the first page"));
            }
            Some(place) => place.run_id(),
            None => run_id,
        };
        if let Some(place) = place.as_ref().filter(|place| place.until != 0) {
            // What a worker has in hand: it ends where its task began.
            let run = lane.run(place.run_id().unwrap_or_default());
            return Ok(answer(self.page(&run, place.clone(), events_max).await?));
        }
        let after = EventId(place.map_or(0, |place| place.after));
        if filter == HistoryEventFilterType::CloseEvent {
            return self.close_event(&lane, run_id, request.wait_new_event.then_some(until)).await;
        }
        let extent = self.extent(&lane, run_id).await?;
        let extent = match request.wait_new_event {
            true => self.grown(&lane, extent, after, until).await?,
            false => extent,
        };
        let follows = request.wait_new_event && !extent.closed;
        let place = Place { until: 0, follows, ..Place::of(extent.run_id, after) };
        Ok(answer(self.page(&lane.run(extent.run_id), place, events_max).await?))
    }

    pub(super) async fn get_history_reverse(
        &self,
        request: GetWorkflowExecutionHistoryReverseRequest,
    ) -> Result<GetWorkflowExecutionHistoryReverseResponse, Status> {
        let namespace = self.namespace(request.namespace)?;
        let (lane, run_id) = execution(namespace, request.execution)?;
        let token = &request.next_page_token;
        let place = if token.is_empty() { None } else { Some(Place::read(token)?) };
        let run_id = place.as_ref().map_or(run_id, Place::run_id);
        let extent = self.extent(&lane, run_id).await?;
        let last = place.map_or(extent.last.0, |place| place.until.min(extent.last.0));
        let count = i64::try_from(page_events(request.maximum_page_size)).unwrap_or(i64::MAX);
        let (run, mut after) = (lane.run(extent.run_id), last.saturating_sub(count).max(0));
        let first = after;
        let mut events = Vec::new();
        while after < last {
            let most = usize::try_from(last - after).unwrap_or(usize::MAX);
            let part = self
                .app
                .engine
                .history(&run, EventId(after), most, PAGE_BYTES)
                .await
                .map_err(refused)?;
            for encoded in &part.encoded {
                events.push(HistoryEvent::decode(encoded.clone()).map_err(|error| {
                    Status::data_loss(format!("an event cannot be read: {error}"))
                })?);
            }
            if part.encoded.is_empty() {
                break;
            }
            after = part.last.0;
        }
        events.reverse();
        let next = (first > 0)
            .then(|| Place { until: first, ..Place::of(extent.run_id, EventId(0)) }.write());
        Ok(GetWorkflowExecutionHistoryReverseResponse {
            history: Some(History { events }),
            next_page_token: next.unwrap_or_default(),
        })
    }

    /// The events behind a place.
    pub(super) async fn page(
        &self,
        run: &RunKey,
        place: Place,
        events_max: usize,
    ) -> Result<Page, Status> {
        let after = EventId(place.after);
        let most = match place.until {
            0 => events_max,
            until => usize::try_from(until.saturating_sub(after.0)).unwrap_or(0).min(events_max),
        };
        let mut history = BytesMut::new();
        let mut last = after;
        let mut end = true;
        if most > 0 {
            let events =
                self.app.engine.history(run, after, most, PAGE_BYTES).await.map_err(refused)?;
            for event in &events.encoded {
                put_event(&mut history, event);
            }
            last = events.last.max(after);
            end = events.end;
        }
        let complete = if place.until == 0 { end } else { last.0 >= place.until };
        let next = match (complete, place.follows) {
            (true, false) => {
                for event in &place.suffix {
                    put_event(&mut history, event);
                }
                None
            }
            (true, true) | (false, _) => Some(Place { after: last.0, ..place }),
        };
        Ok(Page { history: history.freeze(), next })
    }

    /// The event that ended the run, once it has ended.
    async fn close_event(
        &self,
        lane: &Lane,
        run_id: Option<RunId>,
        until: Option<Instant>,
    ) -> Result<GetWorkflowExecutionHistoryResponse, Status> {
        let mut extent = self.extent(lane, run_id).await?;
        if let Some(until) = until {
            extent = self.grown(lane, extent, EventId(i64::MAX), until).await?;
        }
        let run = lane.run(extent.run_id);
        if let Some(history) = extent.end {
            return Ok(answer(Page { history, next: None }));
        }
        if extent.closed {
            let before = EventId(extent.last.0.saturating_sub(1));
            let events =
                self.app.engine.history(&run, before, 1, PAGE_BYTES).await.map_err(refused)?;
            let mut history = BytesMut::new();
            events.encoded.iter().for_each(|event| put_event(&mut history, event));
            return Ok(answer(Page { history: history.freeze(), next: None }));
        }
        let next = until.map(|_| Place { follows: true, ..Place::of(extent.run_id, EventId(0)) });
        Ok(answer(Page { history: Bytes::new(), next }))
    }

    async fn extent(&self, lane: &Lane, run_id: Option<RunId>) -> Result<Extent, Status> {
        let look = |_: &_, execution: &Execution| {
            let run = execution.run();
            let (run_id, closed) = (run.key.run_id, !run.is_open());
            let last = EventId(run.next_event_id.0.saturating_sub(1));
            let before = EventId(last.0.saturating_sub(1));
            let end = closed.then(|| execution.history(before, last)).flatten();
            Extent { run_id, last, closed, end }
        };
        let ask = Ask::Look { run_id };
        self.app.engine.ask_execution(lane.clone(), ask, look).await.map_err(refused)
    }

    /// The extent once there are events behind `after`, or the run is closed, or it is time.
    async fn grown(
        &self,
        lane: &Lane,
        mut extent: Extent,
        after: EventId,
        until: Instant,
    ) -> Result<Extent, Status> {
        let run = lane.run(extent.run_id);
        let enough = |extent: &Extent| extent.closed || extent.last > after;
        while !enough(&extent) {
            // Watched before it is looked at, so that nothing falls between.
            let mut changes = self.app.engine.watch(&run);
            extent = self.extent(lane, Some(run.run_id)).await?;
            while !enough(&extent) {
                let change = tokio::select! {
                    change = changes.recv() => change,
                    () = tokio::time::sleep_until(until) => return Ok(extent),
                    () = self.app.drained() => return Ok(extent),
                };
                // A watch that was not read in time has ended: look and watch again.
                let Some(change) = change else { break };
                let mut events = change.items.iter().filter_map(|item| match item {
                    Item::Event(event) => Some(event),
                    Item::Delta(_) => None,
                });
                let Some(last) = events.next_back() else { continue };
                extent.last = last.id;
                extent.closed = change.closed.is_some();
                extent.end = extent.closed.then(|| {
                    let mut history = BytesMut::new();
                    put_event(&mut history, &last.encode());
                    history.freeze()
                });
            }
        }
        Ok(extent)
    }
}

fn page_events(asked: i32) -> usize {
    match usize::try_from(asked) {
        Ok(asked @ 1..) => asked.min(PAGE_EVENTS),
        Ok(0) | Err(_) => PAGE_EVENTS,
    }
}

fn answer(page: Page) -> GetWorkflowExecutionHistoryResponse {
    GetWorkflowExecutionHistoryResponse {
        history: page.history,
        next_page_token: page.next.map(|next| next.write()).unwrap_or_default(),
        ..Default::default()
    }
}
