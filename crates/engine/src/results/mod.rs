//! Results kept across runs: one table for all partitions of the process, made of what is durable.
//!
//! ```text
//! decider asks ─→ Results ─┬ found: read from the history of the run that has it
//!                          ├ another run makes the call: held, and asked again when that has ended
//!                          └ nothing: the call is the asker's, until its end is durable
//! ```
//!
//! A result is where a history has it; nothing is stored twice. Who makes a call is known in memory
//! only: after a boot nobody begins a cached call before every run that was under way has been read
//! again. Absent: what makes two calls equal (`reflux_flow::advance`), results on other machines.

mod asked;
mod calls;
mod entries;
mod list;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use reflux_core::{Event, Item, Kind, RunKey, Timestamp};
use reflux_flow::advance::{CacheAsk, CacheKey, Cached};
use reflux_flow::payload;
use reflux_flow::progress::Origin;
use reflux_store::CachedResult;
use serde_json::Value;

pub(crate) use asked::{Asked, Oracle};
pub(crate) use calls::{Calls, News};
pub use list::{CacheFilter, CacheRow, CacheUsage};

use crate::request::{Ask, Lane, Request, no_reply};
use crate::router::Router;
use crate::{Error, codec, metrics};
use entries::Entries;

/// Rows of the store read at once at a boot.
const LOAD_PAGE: usize = 1_024;

/// How much is kept of results that other runs may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheBounds {
    /// Most results: each takes some 400 bytes of memory.
    pub entries: usize,
    /// Most bytes of all results together.
    pub bytes: u64,
}

impl Default for CacheBounds {
    fn default() -> Self {
        Self {
            entries: 50_000,  // 20 MB of memory when it is full
            bytes: 256 << 20, // what histories hold anyway; past it the oldest are not worth a look
        }
    }
}

/// The results of all runs, and who makes which call.
pub(crate) struct Results {
    router: Arc<Router>,
    stores: Vec<reflux_store::Partition>,
    inner: Mutex<Inner>,
}

struct Inner {
    entries: Entries,
    calls: BTreeMap<CacheKey, UnderWay>,
    /// Runs of the last process that have not been read again: they may be making any call.
    unread: BTreeSet<RunKey>,
    /// Runs that wait until all of those have been read. Bounded by the open runs.
    early: BTreeSet<RunKey>,
}

/// A call that is under way.
struct UnderWay {
    run: RunKey,
    activation: Arc<str>,
    /// Runs that would make it too. Bounded by the open runs.
    held: BTreeSet<RunKey>,
}

impl Results {
    /// The results that the stores have.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn load(
        bounds: CacheBounds,
        stores: Vec<reflux_store::Partition>,
        router: Arc<Router>,
    ) -> Result<Self, Error> {
        let mut entries = Entries::new(bounds);
        for store in &stores {
            let mut after: Option<(RunKey, u64)> = None;
            loop {
                let place = after.as_ref().map(|(run, ordinal)| (run, *ordinal));
                let page = store.cached(place, LOAD_PAGE)?;
                after = page.last().map(|last| (last.run.clone(), last.ordinal));
                let Some(_) = after else { break };
                page.into_iter().for_each(|result| entries.insert(result, None));
            }
        }
        let inner = Inner {
            entries,
            calls: BTreeMap::new(),
            unread: BTreeSet::new(),
            early: BTreeSet::new(),
        };
        Ok(Self { router, stores, inner: Mutex::new(inner) })
    }

    /// What there is for a step of that run. When it is the run's to make the call, it has it until
    /// [`Results::release`] or the durable end of the call.
    fn ask(
        &self,
        run: &RunKey,
        activation: &Arc<str>,
        ask: &CacheAsk<'_>,
        now: Timestamp,
    ) -> Cached {
        if !ask.is_sound() {
            return Cached::Uncached;
        }
        let mut inner = self.lock();
        if !ask.fresh
            && let Some((result, output)) = inner.entries.find(&ask.key, ask.ttl, now)
        {
            drop(inner);
            if let Some(output) = self.output(&result, output.as_ref()) {
                let (run_id, event) = (result.run.run_id, result.event);
                let activation = result.activation.to_string();
                return Cached::Found { output, from: Origin { run_id, event, activation } };
            }
            inner = self.lock();
            inner.entries.remove(&ask.key, &result);
        }
        inner.claim(ask.key, run, activation)
    }

    /// A result as its history has it; `None` when the run has left, or the store does not have
    /// it yet.
    fn output(&self, result: &CachedResult, recent: Option<&Bytes>) -> Option<Value> {
        if let Some(json) = recent {
            return serde_json::from_slice(json).ok();
        }
        let store = self.stores.get(self.router.partition_of(&Lane::of(&result.run)))?;
        let (_, encoded) = store.items(&result.run, result.ordinal).ok()?.next()?.ok()?;
        let item = codec::decode(&encoded, &|digest| Ok(store.blob(&digest)?)).ok()?;
        match item {
            Item::Event(Event { kind: Kind::ActivityCompleted(completed), id, .. })
                if id.0 == result.event =>
            {
                payload::value_of(&completed.result).ok()
            }
            Item::Event(_) | Item::Delta(_) => None,
        }
    }

    /// The call is not made after all.
    fn release(&self, key: &CacheKey, run: &RunKey, activation: &str) {
        let held = self.lock().release(key, run, activation);
        self.wake(held);
    }

    /// Calls of a run have ended, and that is durable.
    pub fn ended(&self, run: &RunKey, news: News) {
        if news.ended.is_empty() {
            return;
        }
        let mut held = BTreeSet::new();
        let mut inner = self.lock();
        for ended in news.ended {
            if let Some((result, json)) = ended.result {
                inner.entries.insert(result, Some(json));
            }
            held.extend(inner.release(&ended.key, run, &ended.activation));
        }
        drop(inner);
        self.wake(held);
    }

    /// The run leaves, and its results with it.
    pub fn retired(&self, run: &RunKey) {
        self.lock().entries.retire(run);
    }

    /// A run of the last process has to be read before anybody begins a cached call.
    pub fn expect(&self, run: RunKey) {
        self.lock().unread.insert(run);
    }

    /// A run of the last process was read: these calls are its own.
    pub fn read(&self, run: &RunKey, calls: Option<&Calls>) {
        let mut inner = self.lock();
        for (key, activation) in calls.into_iter().flat_map(Calls::open) {
            inner.begin(key, run, activation);
        }
        if !inner.unread.remove(run) || !inner.unread.is_empty() {
            return;
        }
        let early = std::mem::take(&mut inner.early);
        drop(inner);
        self.wake(early);
    }

    /// Forgets what counts no longer, in the stores too.
    ///
    /// # Errors
    /// [`Error::Corrupt`] from a store.
    pub fn tidy(&self, now: Timestamp) -> Result<(), Error> {
        let gone = {
            let mut inner = self.lock();
            inner.entries.expire(now);
            inner.entries.take_gone()
        };
        let mut rows: BTreeMap<usize, Vec<(RunKey, u64)>> = BTreeMap::new();
        for (run, ordinal) in gone {
            let partition = self.router.partition_of(&Lane::of(&run));
            rows.entry(partition).or_default().push((run, ordinal));
        }
        for (partition, rows) in rows {
            if let Some(store) = self.stores.get(partition) {
                store.forget_cached(&rows)?;
            }
        }
        Ok(())
    }

    /// Tells the metrics how much there is.
    pub fn observe(&self) {
        let (entries, bytes) = self.lock().entries.size();
        metrics::results(entries, bytes);
    }

    /// Who was held is asked again.
    fn wake(&self, held: BTreeSet<RunKey>) {
        for run in held {
            let ask = Ask::Advance { run_id: run.run_id };
            self.router.request(Request { lane: Lane::of(&run), ask, reply: no_reply() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn claim(&mut self, key: CacheKey, run: &RunKey, activation: &Arc<str>) -> Cached {
        match self.calls.get_mut(&key) {
            Some(call) if call.is_of(run, activation) => Cached::Call,
            Some(call) => {
                call.held.insert(run.clone());
                Cached::Held
            }
            None if !self.unread.is_empty() => {
                self.early.insert(run.clone());
                Cached::Held
            }
            None => {
                self.begin(key, run, activation);
                Cached::Call
            }
        }
    }

    fn begin(&mut self, key: CacheKey, run: &RunKey, activation: &Arc<str>) {
        let (run, activation, held) = (run.clone(), activation.clone(), BTreeSet::new());
        self.calls.entry(key).or_insert(UnderWay { run, activation, held });
    }

    fn release(&mut self, key: &CacheKey, run: &RunKey, activation: &str) -> BTreeSet<RunKey> {
        match self.calls.get(key) {
            Some(call) if call.is_of(run, activation) => {
                self.calls.remove(key).map(|call| call.held).unwrap_or_default()
            }
            Some(_) | None => BTreeSet::new(),
        }
    }
}

impl UnderWay {
    fn is_of(&self, run: &RunKey, activation: &str) -> bool {
        self.run == *run && *self.activation == *activation
    }
}
