//! The cached calls of one run: which are under way, and what becomes of them. A fold of its items,
//! so recovery, loading and live execution agree.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reflux_core::{ActivityCompleted, Event, EventId, Item, Kind, Run, payloads_bytes};
use reflux_flow::advance::{CacheHeader, CacheKey};
use reflux_flow::payload;
use reflux_store::CachedResult;

/// Bytes of a result that other runs may take; a longer one is made again. A marker may have 2 MiB.
const RESULT_BYTES_MAX: usize = 2 * 1024 * 1024 - 64 * 1024;

/// The cached calls of a run that are under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls {
    open: BTreeMap<EventId, Call>,
}

#[derive(Debug, Clone)]
struct Call {
    key: CacheKey,
    activation: Arc<str>,
    node: Arc<str>,
    ttl: Option<Duration>,
}

/// What became of the cached calls of a run.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Those that began.
    pub began: Vec<(CacheKey, Arc<str>)>,
    /// Those that ended.
    pub ended: Vec<Ended>,
}

/// A cached call that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub key: CacheKey,
    pub activation: Arc<str>,
    /// The result and its JSON, if it is one that others may take.
    pub result: Option<(CachedResult, Bytes)>,
}

impl News {
    /// The results that other runs may take.
    pub fn into_results(self) -> impl Iterator<Item = CachedResult> {
        self.ended.into_iter().filter_map(|ended| ended.result).map(|(result, _)| result)
    }

    /// The same, while the calls are still to be ended.
    pub fn results(&self) -> impl Iterator<Item = &CachedResult> {
        self.ended.iter().filter_map(|ended| ended.result.as_ref()).map(|(result, _)| result)
    }
}

impl Calls {
    /// Those that are under way.
    pub fn open(&self) -> impl Iterator<Item = (CacheKey, &Arc<str>)> {
        self.open.values().map(|call| (call.key, &call.activation))
    }

    /// Takes in an item of the run that has that ordinal.
    pub fn note(&mut self, run: &Run, item: &Item, ordinal: u64, news: &mut News) {
        let Item::Event(event) = item else { return };
        match &event.kind {
            Kind::ActivityScheduled(scheduled) => {
                let Some(header) = CacheHeader::of(&scheduled.header) else { return };
                let call = Call {
                    key: header.key,
                    activation: scheduled.activity_id.clone(),
                    node: scheduled.activity_type.clone(),
                    ttl: header.ttl.map(Duration::from_nanos),
                };
                news.began.push((call.key, call.activation.clone()));
                self.open.insert(event.id, call);
            }
            Kind::ActivityCompleted(completed) => {
                if let Some(call) = self.open.remove(&completed.scheduled) {
                    let result = result(run, &call, completed, event, ordinal);
                    news.ended.push(call.ended(result));
                }
            }
            Kind::ActivityFailed(failed) => self.end(failed.scheduled, news),
            Kind::ActivityTimedOut(timed_out) => self.end(timed_out.scheduled, news),
            Kind::ActivityCanceled(canceled) => self.end(canceled.scheduled, news),
            Kind::Completed(_)
            | Kind::Failed(_)
            | Kind::TimedOut(_)
            | Kind::Canceled(_)
            | Kind::Terminated(_)
            | Kind::ContinuedAsNew(_) => {
                let open = std::mem::take(&mut self.open).into_values();
                news.ended.extend(open.map(|call| call.ended(None)));
            }
            // Nothing else ends a call.
            _ => {}
        }
    }

    fn end(&mut self, scheduled: EventId, news: &mut News) {
        news.ended.extend(self.open.remove(&scheduled).map(|call| call.ended(None)));
    }
}

impl Call {
    fn ended(self, result: Option<(CachedResult, Bytes)>) -> Ended {
        Ended { key: self.key, activation: self.activation, result }
    }
}

/// A result that other runs may take; `None` when it is too long, or nothing that flows can read.
fn result(
    run: &Run,
    call: &Call,
    completed: &ActivityCompleted,
    event: &Event,
    ordinal: u64,
) -> Option<(CachedResult, Bytes)> {
    let bytes = payloads_bytes(&completed.result);
    let value = payload::value_of(&completed.result).ok().filter(|_| bytes <= RESULT_BYTES_MAX)?;
    let result = CachedResult {
        key: call.key.0,
        run: run.key.clone(),
        ordinal,
        event: event.id.0,
        activation: call.activation.clone(),
        node: call.node.clone(),
        flow: run.started.as_ref().map_or_else(|| "".into(), |it| it.workflow_type.clone()),
        ended: event.time,
        expires: call.ttl.map(|ttl| event.time.after(ttl)),
        bytes: bytes as u64,
    };
    let json = serde_json::to_vec(&value).ok()?;
    Some((result, json.into()))
}
