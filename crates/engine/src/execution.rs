//! A run in memory: its state, and where it stands on its flow if it is a flow's.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reflux_core::{
    Command, Context, Delta, Draft, Effect, Ending, Event, EventId, Item, Kind, Message, Phase,
    Rejection, Run, RunKey, Signal, Suspend, Timestamp, WorkflowTask, apply, decide, effects,
};
use reflux_flow::schedule::SIGNAL_ADOPT;
use reflux_flow::{Advance, Decider, Policies, Progress, Steer, payload};
use reflux_proto::reflux::v1 as wire;
use reflux_store::{ERROR_BYTES_MAX, Indexed, Summary, WAITING_MAX, Waiting};

use crate::judge::Judge;
use crate::ledger::Admission;
use crate::matching::{Queue, QueueKind, Rank};
use crate::pace::Verdict;
use crate::recent::Recent;
use crate::results::{Asked, Calls, News, Oracle, Results};
use crate::specs::Specs;
use crate::{Error, codec, metrics};

/// Bytes of one run's items after which a record is closed and the run goes on in the next one:
/// well under the largest record, which also has to hold what one more decision adds.
const STEP_BYTES_MAX: usize = 128 * 1024;

/// Bytes of a step from which on short payloads are stored by digest too.
const TIGHT_BYTES: usize = 192 * 1024;

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

/// What a run went through in one record.
#[derive(Debug)]
pub(crate) struct Step {
    /// The items.
    pub items: Vec<Item>,
    /// As the log has them.
    pub wire: Vec<wire::Item>,
    /// As the store has them.
    pub encoded: Vec<Bytes>,
    /// How long those are.
    pub bytes: usize,
    /// Ordinal of the first.
    pub first_ordinal: u64,
    /// The index rows it had before.
    pub previous: Indexed,
    /// Which effects of the run are run again, besides those of the items.
    pub again: Again,
    /// The attempts that ended, as far as circuits are concerned.
    pub verdicts: Vec<Verdict>,
    /// The place that a new run holds until it counts: given back when this is dropped.
    pub _admission: Option<Admission>,
    /// What it asked of the results of other runs.
    pub asked: Asked,
    /// What became of its own calls.
    pub news: News,
}

/// Which effects of a run are run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Again {
    /// None.
    Nothing,
    /// Offers to workers.
    Offers,
    /// All: the first time after a boot.
    Everything,
}

impl Step {
    /// Whether a message was answered: the one behind it may go.
    pub fn acknowledges(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Delta(Delta::OutboxAcked { .. })))
    }

    /// Whether the run leaves the store with this step.
    pub fn retires(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Delta(Delta::Retired)))
    }
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

/// A run while a record is decided: its commands in order, all in one draft.
pub(crate) struct Deciding {
    draft: Draft,
    decider: Option<Decider>,
    items: u64,
    bytes: u64,
    indexed: Indexed,
    request_id: Arc<str>,
    recent: Recent,
    observed: usize,
    more: bool,
    poisoned: bool,
    again: Again,
    /// Where verdicts are noted, if anybody wants them.
    judge: Option<Judge>,
    admission: Option<Admission>,
    calls: Calls,
    asked: Asked,
}

impl Deciding {
    /// Takes up a run.
    pub fn of(execution: Execution, results: Arc<Results>) -> Self {
        let Execution { run, decider, items, bytes, indexed, more, request_id, recent, calls } =
            execution;
        Self {
            asked: Asked::by(run.key.clone(), results),
            calls,
            draft: Draft::of(run),
            decider,
            items,
            bytes,
            indexed,
            request_id,
            recent,
            observed: 0,
            more,
            poisoned: false,
            again: Again::Nothing,
            judge: None,
            admission: None,
        }
    }

    /// Notes how attempts end from now on.
    pub fn judge(&mut self) {
        self.judge = Some(Judge::default());
    }

    /// Holds a new run's place.
    pub fn admitted(&mut self, admission: Option<Admission>) {
        self.admission = admission;
    }

    /// The run as it would be.
    pub fn run(&self) -> &Run {
        self.draft.run()
    }

    /// Its calls that were under way and whose results other runs may take.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// How many items it has, those that are being decided included.
    pub fn items(&self) -> u64 {
        self.items + self.draft.items().len() as u64
    }

    /// Id of the request that started it; empty when it had none.
    pub fn request_id(&self) -> Arc<str> {
        let mut request_id = self.request_id.clone();
        self.draft.items().iter().for_each(|item| note_request(&mut request_id, item));
        request_id
    }

    /// Whether nothing was decided.
    pub fn is_clean(&self) -> bool {
        self.draft.items().is_empty()
    }

    /// Whether the run has to be forgotten and read again: a command failed half way.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Marks the run: these effects of its state are run again.
    pub fn again(&mut self, again: Again) {
        self.again = self.again.max(again);
    }

    /// The bundles that this draft is the first of the run to name.
    pub fn new_specs(&self) -> impl Iterator<Item = [u8; 32]> {
        self.draft.items().iter().filter_map(|item| {
            let Item::Event(Event { kind, .. }) = item else { return None };
            match kind {
                Kind::Started(started) => spec_digest(&started.header).ok().flatten(),
                kind => self.decider.as_ref()?.wants(kind).and_then(|spec| digest_of(spec).ok()),
            }
        })
    }

    /// Bytes of what was decided, estimated.
    pub fn size(&self) -> usize {
        self.draft.bytes()
    }

    /// Decides a command and what follows from it.
    ///
    /// # Errors
    /// The command is refused. If the run is then not poisoned, nothing has changed.
    pub fn command(
        &mut self,
        ctx: &Context,
        command: Command,
        nodes: &dyn Policies,
        specs: &Specs,
    ) -> Result<(), Error> {
        metrics::transition(&command);
        self.whole(|deciding| deciding.try_command(ctx, command, nodes, specs))
    }

    /// Decides what an operator asks of a flow's run, and what follows from it.
    ///
    /// # Errors
    /// It is refused. If the run is then not poisoned, nothing has changed.
    pub fn steer(
        &mut self,
        ctx: &Context,
        steer: &Steer,
        identity: Arc<str>,
        request_id: Arc<str>,
        nodes: &dyn Policies,
    ) -> Result<(), Error> {
        self.whole(|deciding| deciding.try_steer(ctx, steer, identity, request_id, nodes))
    }

    /// A change of which half has happened leaves the run to be read again.
    fn whole(&mut self, change: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let before = self.draft.items().len();
        let result = change(self);
        if result.is_err() && self.draft.items().len() > before {
            self.poisoned = true;
        }
        result
    }

    fn try_steer(
        &mut self,
        ctx: &Context,
        steer: &Steer,
        identity: Arc<str>,
        request_id: Arc<str>,
        nodes: &dyn Policies,
    ) -> Result<(), Error> {
        let run = self.draft.run();
        if !request_id.is_empty() && run.request_ids.contains(&request_id) {
            return Ok(());
        }
        let Some(decider) = &self.decider else {
            let text = "this run is code: only the steps of a flow can be changed";
            return Err(Error::Rejected(Rejection::Refused(text.into())));
        };
        let decisions = decider
            .steer(run, steer, nodes)
            .map_err(|refused| Error::Rejected(Rejection::Refused(refused.0.into())))?;
        let resumes = matches!(steer, Steer::Step { .. }) && run.paused.is_some();
        self.decide(ctx, Command::Steer { decisions, request_id })?;
        if resumes {
            let suspend = Suspend { identity, ..Suspend::default() };
            self.decide(ctx, Command::Unpause(suspend))?;
        }
        self.advance(ctx, nodes)
    }

    fn decide(&mut self, ctx: &Context, command: Command) -> Result<(), Error> {
        metrics::transition(&command);
        Ok(decide(&mut self.draft, ctx, command)?)
    }

    fn try_command(
        &mut self,
        ctx: &Context,
        command: Command,
        nodes: &dyn Policies,
        specs: &Specs,
    ) -> Result<(), Error> {
        if let Command::Start(start) = &command
            && let Some(digest) = spec_digest(&start.header)?
        {
            let bundle = specs.get(digest, || Ok(None))?;
            let key = self.draft.run().key.clone();
            let decider = Decider::new(bundle, &start.workflow_type, &start.header, key);
            self.decider = Some(decider.map_err(|error| Error::Invalid(error.to_string()))?);
        }
        if let Some(decider) = self.decider.as_mut().filter(|decider| decider.schedule().is_some())
        {
            offer_adopted(decider, &command, specs)?;
        }
        let progress = self.decider.as_ref().and_then(Decider::progress);
        if let (Command::Signal(signal), Some(progress)) = (&command, progress)
            && !self.draft.run().request_ids.contains(&signal.request_id)
        {
            progress.admit(signal)?;
        }
        if let Some(judge) = &mut self.judge {
            judge.before(self.draft.run(), &command);
        }
        let before = self.draft.items().len();
        decide(&mut self.draft, ctx, command)?;
        if let Some(judge) = &mut self.judge {
            judge.after(self.draft.items().get(before..).unwrap_or_default());
        }
        self.advance(ctx, nodes)
    }

    /// Gives the run a signal that was recorded of another one: it counts as it is.
    ///
    /// # Errors
    /// The signal is refused.
    pub fn signal_again(
        &mut self,
        ctx: &Context,
        signal: Signal,
        nodes: &dyn Policies,
    ) -> Result<(), Error> {
        decide(&mut self.draft, ctx, Command::Signal(signal))?;
        self.advance(ctx, nodes)
    }

    /// Moves a flow run on as far as it goes.
    ///
    /// # Errors
    /// The flow's decision was refused.
    pub fn advance(&mut self, ctx: &Context, nodes: &dyn Policies) -> Result<(), Error> {
        let Some(decider) = &mut self.decider else { return Ok(()) };
        let oracle = Oracle::new(nodes, &mut self.asked, ctx.now);
        let advanced = reflux_flow::advance(
            &mut self.draft,
            decider,
            ctx,
            &oracle,
            &mut self.observed,
            STEP_BYTES_MAX,
        );
        match advanced {
            Ok(Advance::Waiting) => self.more = false,
            Ok(Advance::More) => self.more = true,
            Err(reflux_flow::AdvanceError::Refused(rejection)) => {
                return Err(Error::Rejected(rejection));
            }
            Err(reflux_flow::AdvanceError::Incoherent(error)) => {
                return Err(Error::Corrupt(format!("run {}: {error}", self.draft.run().key)));
            }
        }
        Ok(())
    }

    /// The run as it is now, and what is to be appended for it.
    pub fn finish(self, blobs: &mut codec::Blobs, scratch: &mut BytesMut) -> (Execution, Step) {
        let (run, items) = self.draft.into_parts();
        let mut encode = |inline_max| -> (Vec<wire::Item>, Vec<Bytes>) {
            items.iter().map(|item| codec::encode(item, inline_max, blobs, scratch)).unzip()
        };
        let length = |encoded: &[Bytes]| encoded.iter().map(Bytes::len).sum::<usize>();
        let (mut wire, mut encoded) = encode(codec::INLINE_BYTES_MAX);
        if length(&encoded) > TIGHT_BYTES {
            (wire, encoded) = encode(codec::INLINE_BYTES_TIGHT);
        }
        let bytes = length(&encoded);
        let mut request_id = self.request_id;
        items.iter().for_each(|item| note_request(&mut request_id, item));
        let mut recent = self.recent;
        // Nobody waits for the history of a run that decides by itself.
        if self.decider.is_none() {
            note_events(&mut recent, &items, &wire, &encoded);
        }
        let (mut calls, mut news) = (self.calls, News::default());
        for (item, ordinal) in items.iter().zip(self.items..) {
            calls.note(&run, item, ordinal, &mut news);
        }
        let execution = Execution {
            run,
            decider: self.decider,
            items: self.items + items.len() as u64,
            bytes: self.bytes + bytes as u64,
            indexed: self.indexed.clone(),
            more: self.more,
            request_id,
            recent,
            calls,
        };
        let step = Step {
            items,
            wire,
            encoded,
            bytes,
            first_ordinal: self.items,
            previous: self.indexed,
            again: self.again,
            verdicts: self.judge.map(Judge::verdicts).unwrap_or_default(),
            _admission: self.admission,
            asked: self.asked,
            news,
        };
        (execution, step)
    }
}

/// What has to happen now that this step is durable.
pub(crate) fn effects_of(execution: &Execution, step: &Step) -> Vec<Effect> {
    let mut all: Vec<Effect> =
        step.items.iter().flat_map(|item| effects(execution.run(), item)).collect();
    let is_wanted = |effect: &Effect| match step.again {
        Again::Nothing => false,
        Again::Offers => matches!(effect, Effect::Offer { .. } | Effect::OfferTask { .. }),
        Again::Everything => true,
    };
    if step.again != Again::Nothing {
        all.extend(execution.run().effects().into_iter().filter(is_wanted));
    }
    all
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

/// Those whose payloads are elsewhere are left to the store.
fn note_events(recent: &mut Recent, items: &[Item], wire: &[wire::Item], encoded: &[Bytes]) {
    for ((item, wire), stored) in items.iter().zip(wire).zip(encoded) {
        if let (Item::Event(event), Some(bytes)) = (item, Item::event_bytes(wire))
            && !codec::may_refer(stored)
        {
            recent.push(event.id, bytes);
        }
    }
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

/// A signal that brings a schedule another bundle comes with it, so only from outside.
fn offer_adopted(decider: &mut Decider, command: &Command, specs: &Specs) -> Result<(), Error> {
    match command {
        Command::Signal(signal) if &*signal.name == SIGNAL_ADOPT => {
            let Some(spec) = payload::spec_of(&signal.header) else {
                return Err(Error::Invalid("the signal names no bundle in its header".into()));
            };
            decider.offer(spec, specs.get(digest_of(spec)?, || Ok(None))?);
            Ok(())
        }
        Command::Deliver { message: Message::Signal { signal, .. }, .. }
            if &*signal.name == SIGNAL_ADOPT =>
        {
            Err(Error::Invalid("a schedule takes another bundle only from a deployment".into()))
        }
        _ => Ok(()),
    }
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
