//! A run in memory: its state, and where it stands on its flow if it is a flow's.

mod deciding;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use reflux_core::{
    Delta, Ending, Event, EventId, Item, Kind, Phase, Run, RunKey, Timestamp, WorkflowTask, apply,
};
use reflux_flow::{Decider, Progress, payload};
use reflux_store::{ERROR_BYTES_MAX, Indexed, Summary, WAITING_MAX, Waiting};

use crate::matching::{Queue, QueueKind, Rank};
use crate::recent::Recent;
use crate::results::{Calls, News};
use crate::specs::Specs;
use crate::{Error, codec};

pub(crate) use deciding::{Again, Deciding, Step, effects_of};

/// A run in memory.
#[derive(Debug)]
pub struct Execution {
    run: Run,
    /// Who decides inside the partition; `None` for code.
    decider: Option<Decider>,
    /// How many items it has: the ordinal of the next one.
    items: u64,
    bytes: u64,
    /// The index rows it has in the store.
    indexed: Indexed,
    /// Whether there is more to decide than the last record could hold.
    more: bool,
    /// Of the request that started it; empty when it had none.
    request_id: Arc<str>,
    /// Of a run that workers decide.
    recent: Recent,
    /// Its calls whose results other runs may take.
    calls: Calls,
}

impl Execution {
    /// A run without events.
    pub(crate) fn new(key: RunKey) -> Self {
        Self {
            run: Run::new(key),
            decider: None,
            items: 0,
            bytes: 0,
            indexed: Indexed::default(),
            more: false,
            request_id: "".into(),
            recent: Recent::default(),
            calls: Calls::default(),
        }
    }

    /// Folds the stored items of a run.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when an item does not follow from those before it.
    pub(crate) fn load(
        key: RunKey,
        store: &reflux_store::Partition,
        specs: &Specs,
    ) -> Result<Self, Error> {
        let mut execution = Self::new(key);
        let fetch = |digest: [u8; 32]| Ok(store.blob(&digest)?);
        for row in store.items(&execution.run.key.clone(), 0)? {
            let (_, encoded) = row?;
            let item = codec::decode(&encoded, &fetch)?;
            execution.absorb(&item, encoded.len(), specs, &fetch)?;
        }
        if let Some(summary) = store.summary(&execution.run.key)? {
            execution.indexed = summary.indexed();
        }
        Ok(execution)
    }

    /// Applies one recorded item: recovery, loading and rebuilding go through here. Gives what
    /// became of its calls.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it does not follow from those before it.
    pub(crate) fn absorb(
        &mut self,
        item: &Item,
        encoded_bytes: usize,
        specs: &Specs,
        fetch: &dyn Fn([u8; 32]) -> Result<Option<Bytes>, Error>,
    ) -> Result<News, Error> {
        apply(&mut self.run, item)
            .map_err(|error| Error::Corrupt(format!("run {}: {error}", self.run.key)))?;
        if let Item::Event(event) = item {
            self.open_flow(event, specs, fetch)?;
            if let Some(decider) = &mut self.decider {
                let wanted = decider.wants(&event.kind).cloned();
                if let Some(spec) = wanted {
                    let digest = digest_of(&spec)?;
                    decider.offer(&spec, specs.get(digest, || fetch(digest))?);
                }
                decider
                    .observe(event)
                    .map_err(|error| Error::Corrupt(format!("run {}: {error}", self.run.key)))?;
            }
        }
        note_request(&mut self.request_id, item);
        let mut news = News::default();
        self.calls.note(&self.run, item, self.items, &mut news);
        self.items += 1;
        self.bytes += encoded_bytes as u64;
        Ok(news)
    }

    /// The start of a flow run names its bundle.
    fn open_flow(
        &mut self,
        event: &Event,
        specs: &Specs,
        fetch: &dyn Fn([u8; 32]) -> Result<Option<Bytes>, Error>,
    ) -> Result<(), Error> {
        let Kind::Started(started) = &event.kind else { return Ok(()) };
        let Some(digest) = spec_digest(&started.header)? else { return Ok(()) };
        let bundle = specs.get(digest, || fetch(digest))?;
        let key = self.run.key.clone();
        let decider = Decider::new(bundle, &started.workflow_type, &started.header, key);
        self.decider = Some(decider.map_err(|error| Error::Invalid(error.to_string()))?);
        Ok(())
    }

    /// The state.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The events behind `after` up to `until` as an encoded `History`, if they are at hand: else
    /// [`Engine::history`](crate::Engine::history) has them.
    pub fn history(&self, after: EventId, until: EventId) -> Option<Bytes> {
        self.recent.between(after, until)
    }

    /// How often its definition was changed since it began; 0 for what has none.
    pub fn revision(&self) -> u64 {
        self.progress().map_or(0, Progress::revision)
    }

    fn progress(&self) -> Option<&Progress> {
        self.decider.as_ref().and_then(Decider::progress)
    }

    /// How many items it has: the ordinal of the next one.
    pub(crate) fn items(&self) -> u64 {
        self.items
    }

    /// The index rows it has in the store.
    pub(crate) fn indexed(&self) -> Indexed {
        self.indexed.clone()
    }

    /// Whether the run goes on without anything from outside.
    pub(crate) fn has_more(&self) -> bool {
        self.more
    }

    /// Its row in the store.
    pub(crate) fn summary(&self, retention: std::time::Duration) -> Summary {
        let run = &self.run;
        let closed = run.closed.as_ref().map(|close| close.time);
        let (steps_done, steps_total) = self.decider.as_ref().map_or((0, 0), Decider::counts);
        let started = run.started.as_deref();
        Summary {
            key: run.key.clone(),
            workflow_type: started.map_or_else(|| Arc::from(""), |it| it.workflow_type.clone()),
            status: run.status,
            started: run.started_at,
            closed,
            parent: started.and_then(|it| it.parent.as_ref()).map(|parent| parent.key.clone()),
            first_run_id: started.map_or(run.key.run_id, |it| it.first_run_id),
            request_id: self.request_id.clone(),
            due: run.next_due(),
            working: self.is_working(),
            waiting: waiting_of(run),
            expires: closed.map(|time| time.after(retention)),
            items: self.items,
            bytes: self.bytes.max(run.history_bytes),
            events: run.history_events(),
            steps_done,
            steps_total,
            error: run.closed.as_ref().and_then(|close| error_text(&close.ending)),
            spec: started.and_then(|it| spec_digest(&it.header).ok().flatten()),
            redrive_of: self.redrive_of(),
        }
    }

    fn redrive_of(&self) -> Option<reflux_core::RunId> {
        self.progress().and_then(Progress::redrive).map(|redrive| redrive.of)
    }

    /// Whether a boot has to look at it: it has effects to run, or more to decide.
    fn is_working(&self) -> bool {
        // A start that is left was too much for the last record, or waits for another run's call.
        let waits = || self.progress().is_some_and(Progress::waits_to_start);
        let open = self.run.is_open()
            && (self.more
                || !self.run.activities.is_empty()
                || (self.run.paused.is_none() && waits())
                || matches!(self.run.task, WorkflowTask::Scheduled(_)));
        open || !self.run.outbox.is_empty()
    }

    /// Notes what the store will know of the run once it has the record.
    pub(crate) fn note_indexed(&mut self, summary: &Summary) {
        self.indexed = summary.indexed();
    }
}

/// The queues whose workers a run waits for, the most urgent first when there are too many.
fn waiting_of(run: &Run) -> Vec<Waiting> {
    if !run.is_open() || run.paused.is_some() {
        return Vec::new();
    }
    let mut oldest: BTreeMap<(Rank, &str, QueueKind), Timestamp> = BTreeMap::new();
    let mut note = |rank, name, kind, since: Timestamp| {
        let noted = oldest.entry((rank, name, kind)).or_insert(since);
        *noted = since.min(*noted);
    };
    if let WorkflowTask::Scheduled(task) = &run.task {
        note(rank_of(run), &*task.task_queue, QueueKind::Workflow, task.at);
    }
    for activity in run.activities.values() {
        if let Phase::Waiting { since } = activity.phase {
            let what = &activity.what;
            let rank = Rank::of(what.priority.as_ref());
            note(rank, &*what.task_queue, QueueKind::Activity, since);
        }
    }
    let mut waiting: Vec<Waiting> = oldest
        .into_iter()
        .take(WAITING_MAX)
        .map(|((rank, name, kind), since)| {
            let queue = Queue { namespace: run.key.namespace.clone(), name: name.into(), kind };
            Waiting { queue: queue.digest(), rank: rank.0, since }
        })
        .collect();
    waiting.sort_unstable();
    waiting
}

/// Order of a run's tasks within their queue.
pub(crate) fn rank_of(run: &Run) -> Rank {
    Rank::of(run.started.as_ref().and_then(|started| started.priority.as_ref()))
}

/// The first request that a run remembers is the one that started it, if that had an id.
fn note_request(first: &mut Arc<str>, item: &Item) {
    if let Item::Delta(Delta::Requested { request_id }) = item
        && first.is_empty()
    {
        first.clone_from(request_id);
    }
}

fn spec_digest(header: &reflux_core::Header) -> Result<Option<[u8; 32]>, Error> {
    payload::spec_of(header).map(digest_of).transpose()
}

fn digest_of(spec: &reflux_core::Payload) -> Result<[u8; 32], Error> {
    <[u8; 32]>::try_from(&*spec.data)
        .map_err(|_| Error::Invalid("the header `reflux.spec` is not a digest of 32 bytes".into()))
}

/// Why a run failed, short enough for a list.
fn error_text(ending: &Ending) -> Option<String> {
    let text = match ending {
        Ending::Failed { failure, .. } => failure.message.as_str(),
        Ending::TimedOut { .. } => "the run took too long",
        Ending::Terminated { reason } => reason,
        Ending::Completed(_) | Ending::Canceled(_) | Ending::ContinuedAsNew => return None,
    };
    let mut end = text.len().min(ERROR_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).map(str::to_owned)
}
