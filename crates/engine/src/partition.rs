//! One partition: the single writer of the runs in its slots.
//!
//! ```text
//! requests ─→ lanes ─→ decide ─→ one record ─→ log
//!                                               │ durable
//!               replies, effects, store ←───────┘
//! ```
//!
//! A machine without threads, clocks or sockets of its own: `thread.rs` drives it in a process,
//! the simulation drives it step by step. A lane whose record is not durable is *held*: its
//! requests wait and are decided together in a later record, so nothing undurable is ever seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crossbeam_channel::Receiver;
use reflux_core::{Command, Context, Limits, Local, RunId, RunKey, Status, Timestamp};
use reflux_log::{Append, AppendError, Class, Done, Epoch, Log, PartitionId, Seq};
use reflux_proto::reflux::v1 as wire;
use reflux_store::{Changes, RunChange};

use crate::cache::Cache;
use crate::codec::Blobs;
use crate::execution::{Deciding, Execution, Step, effects_of};
use crate::host::Host;
use crate::mailbox::Internal;
use crate::record;
use crate::request::{Answer, Ask, Lane, Reply, Request, WhenOpen, no_reply};
use crate::router::Router;
use crate::specs::Specs;
use crate::timers::{LOOK_MAX, Timers};
use crate::watch::Watches;
use crate::{Error, effect};

/// Records under way at once. More hide the latency of the log, fewer make larger records.
const RECORDS_IN_FLIGHT_MAX: usize = 4;

/// Bytes of items after which a record is closed. With what one more lane may add
/// (`STEP_BYTES_MAX` and a decision) it stays below the largest record.
const RECORD_BYTES_SOFT: usize = 192 * 1024;

/// Runs woken in one turn, so that a flood of timers does not starve requests.
const WAKES_MAX: usize = 512;

/// How long only essential requests are served after the log said that it is full.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// How long a run waits that could not go on because of something outside it.
const STALL: Duration = Duration::from_millis(500);

/// Runs looked up at once when a partition is taken over.
const REVIVE_PAGE: usize = 1024;

/// What a partition is made of.
pub(crate) struct Parts {
    pub id: PartitionId,
    pub log: Arc<dyn Log>,
    pub store: reflux_store::Partition,
    pub specs: Arc<Specs>,
    pub host: Arc<dyn Host>,
    pub router: Arc<Router>,
    pub watches: Arc<Watches>,
    pub limits: Limits,
    pub local: Local,
    pub retention: Duration,
    /// Sends word to this partition's own mailbox.
    pub to_self: Arc<dyn Fn(Internal) + Send + Sync>,
    /// Hands durable changes on to the store.
    pub materialise: Box<dyn FnMut(Changes) + Send>,
    /// Fresh run ids.
    pub new_run_id: Box<dyn FnMut() -> RunId + Send>,
}

/// One partition.
pub(crate) struct Partition {
    parts: Parts,
    epoch: Epoch,
    /// The last record that was handed to the log.
    tail: Seq,
    /// The last record that is durable.
    durable: Seq,
    cache: Cache,
    lanes: BTreeMap<Lane, Waiting>,
    /// Lanes with requests that are not held, in the order in which they got them.
    ready: VecDeque<Lane>,
    in_flight: VecDeque<Commit>,
    /// Appends failed; what follows waits until all of them have.
    failing: bool,
    /// Records of which the log could not say whether it has them.
    unresolved: Vec<Commit>,
    full_until: Timestamp,
    timers: Timers,
    /// Runs to be moved on again later: the log was full, or a message could not be delivered.
    stalled: BTreeSet<RunKey>,
    stalled_until: Timestamp,
    /// Bundles that are in this partition's records already.
    specs_here: BTreeSet<[u8; 32]>,
    barriers: VecDeque<(u64, Box<dyn FnOnce() + Send>)>,
    pauses: VecDeque<Pause>,
    scratch: BytesMut,
    now: Timestamp,
    stopping: bool,
    failed: Option<Error>,
}

/// Somebody who wants the partition to hold still: called when it does, let go by closing.
type Pause = (Box<dyn FnOnce() + Send>, Receiver<()>);

/// The requests of one workflow id.
#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    held: bool,
}

/// A record that is not durable yet.
struct Commit {
    seq: Seq,
    /// As it was handed to the log.
    record: Bytes,
    lanes: Vec<Lane>,
    runs: Vec<(Execution, Step)>,
    replies: Vec<(Reply, Answer)>,
    blobs: Vec<wire::Blob>,
}

impl Partition {
    /// Takes a partition over: everything durable must be in the store (`recover.rs`).
    pub fn new(parts: Parts, epoch: Epoch, tail: Seq, now: Timestamp) -> Self {
        Self {
            parts,
            epoch,
            tail,
            durable: tail,
            cache: Cache::new(tail.0),
            lanes: BTreeMap::new(),
            ready: VecDeque::new(),
            in_flight: VecDeque::new(),
            failing: false,
            full_until: Timestamp::default(),
            timers: Timers::default(),
            stalled: BTreeSet::new(),
            stalled_until: Timestamp::default(),
            specs_here: BTreeSet::new(),
            barriers: VecDeque::new(),
            pauses: VecDeque::new(),
            unresolved: Vec::new(),
            scratch: BytesMut::new(),
            now,
            stopping: false,
            failed: None,
        }
    }

    /// Asks every run that has something to do to go on: first thing after a boot.
    ///
    /// # Errors
    /// [`Error::Corrupt`] from the store.
    pub fn revive(&mut self) -> Result<(), Error> {
        let mut after: Option<RunKey> = None;
        loop {
            let page = self.parts.store.working(after.as_ref(), REVIVE_PAGE)?;
            let Some(last) = page.last().cloned() else { return Ok(()) };
            for run in page {
                self.ask_for(&run, Ask::Revive { run_id: run.run_id });
            }
            after = Some(last);
        }
    }

    /// When there is something to do without a message.
    pub fn next_wake(&self) -> Timestamp {
        let stalled = if self.stalled.is_empty() { Timestamp::MAX } else { self.stalled_until };
        self.timers.next().min(stalled)
    }

    /// Whether it has stopped, and everything under way is durable and in the store.
    pub fn has_stopped(&self) -> bool {
        self.failed.is_some()
            || (self.stopping
                && self.in_flight.is_empty()
                && self.cache.materialised() >= self.durable.0)
    }

    /// Whether a request would be taken up at once.
    pub fn has_room(&self) -> bool {
        self.in_flight.len() < RECORDS_IN_FLIGHT_MAX
    }

    /// Takes a request in.
    pub fn request(&mut self, request: Request) {
        if let Some(error) = self.refusal(&request) {
            return (request.reply)(Err(error));
        }
        let lane = self.lanes.entry(request.lane.clone()).or_default();
        if lane.requests.is_empty() && !lane.held {
            self.ready.push_back(request.lane.clone());
        }
        lane.requests.push_back(request);
    }

    fn refusal(&self, request: &Request) -> Option<Error> {
        if let Some(error) = &self.failed {
            return Some(error.clone());
        }
        if self.stopping {
            return Some(Error::Stopping);
        }
        (self.now < self.full_until && !is_essential(&request.ask)).then_some(Error::Full)
    }

    /// Takes word from the engine's own parts.
    pub fn internal(&mut self, word: Internal) {
        match word {
            Internal::Appended { expected, result } => self.appended(expected, result),
            Internal::Materialised(applied) => self.materialised(applied),
            Internal::StoreFailed(error) => self.fail(Error::Corrupt(error)),
            Internal::Request(request) => self.request(request),
            Internal::Barrier(done) => {
                self.barriers.push_back((self.durable.0, done));
                self.pass_barriers();
            }
            Internal::Pause { paused, resume } => self.pauses.push_back((paused, resume)),
            Internal::Stalled(run) => self.stall(run),
            Internal::Stop => self.stopping = true,
        }
    }

    /// One turn: what is due is asked for, then as many records are decided as may be under way.
    pub fn turn(&mut self, now: Timestamp) {
        // A clock that jumps back must not make a history run backwards.
        self.now = self.now.max(now);
        if self.failed.is_some() {
            return;
        }
        self.wake_due();
        self.hold_still();
        if self.failing || !self.pauses.is_empty() {
            return;
        }
        while self.in_flight.len() < RECORDS_IN_FLIGHT_MAX && self.decide_record() {}
    }

    /// While somebody wants the partition to hold still, nothing new is decided; when nothing is
    /// under way, it waits until they are done.
    fn hold_still(&mut self) {
        let settled = self.in_flight.is_empty() && self.cache.materialised() >= self.durable.0;
        if !settled {
            return;
        }
        while let Some((paused, resume)) = self.pauses.pop_front() {
            paused();
            // Ends when the other side lets go.
            let _ = resume.recv();
        }
    }

    fn wake_due(&mut self) {
        if self.stopping {
            return;
        }
        if self.now >= self.stalled_until && !self.stalled.is_empty() {
            for run in std::mem::take(&mut self.stalled) {
                self.ask_own(&run, Command::Wake);
                self.ask_for(&run, Ask::Advance { run_id: run.run_id });
                self.ask_for(&run, Ask::Resend { run_id: run.run_id });
            }
        }
        if self.timers.begin_look(self.now) {
            // What is durable but not in the store yet would be missed by the look.
            let to_self = self.parts.to_self.clone();
            self.barriers.push_back((
                self.durable.0,
                Box::new(move || to_self(Internal::Barrier(Box::new(|| {})))),
            ));
            self.pass_barriers();
        }
        if let Some(up_to) = self.timers.looking_for()
            && self.cache.materialised() >= self.durable.0
        {
            match self.parts.store.due(up_to, None, LOOK_MAX) {
                Ok(rows) => {
                    let complete = rows.len() < LOOK_MAX;
                    self.timers.end_look(rows, complete);
                }
                Err(error) => return self.fail(error.into()),
            }
        }
        for run in self.timers.take_due(self.now, WAKES_MAX) {
            self.ask_own(&run, Command::Wake);
        }
    }

    /// Decides the requests of ready lanes into one record and appends it. `false` when nothing
    /// was appended.
    fn decide_record(&mut self) -> bool {
        let mut building = Building::default();
        while building.bytes < RECORD_BYTES_SOFT {
            let Some(lane) = self.ready.pop_front() else { break };
            self.decide_lane(&lane, &mut building);
            if self.failed.is_some() {
                return false;
            }
        }
        if building.runs.is_empty() {
            return false;
        }
        self.append(building);
        true
    }

    fn decide_lane(&mut self, lane: &Lane, building: &mut Building) {
        if self.cache.is_behind(lane) {
            // The lane's runs were forgotten and the store does not have their last record yet.
            return self.cache.wait_for_store(lane.clone());
        }
        let Some(waiting) = self.lanes.get_mut(lane) else { return };
        let requests = std::mem::take(&mut waiting.requests);
        let mut deciding: BTreeMap<RunId, Deciding> = BTreeMap::new();
        let mut replies: Vec<(Reply, RunId, bool)> = Vec::new();
        let mut left = VecDeque::new();
        let before = building.bytes;
        for request in requests {
            if building.bytes >= RECORD_BYTES_SOFT {
                left.push_back(request);
                continue;
            }
            building.essential &= is_essential(&request.ask);
            match self.decide_request(lane, request.ask, &mut deciding) {
                Ok((run_id, existing)) => replies.push((request.reply, run_id, existing)),
                Err(error) => (request.reply)(Err(error)),
            }
            building.bytes = before + deciding.values().map(Deciding::size).sum::<usize>();
        }
        let changed = self.close_lane(lane, deciding, replies, building);
        if let Some(waiting) = self.lanes.get_mut(lane) {
            waiting.held = changed;
            for request in left.into_iter().rev() {
                waiting.requests.push_front(request);
            }
            if waiting.requests.is_empty() && !waiting.held {
                self.lanes.remove(lane);
            } else if !waiting.held {
                self.ready.push_back(lane.clone());
            }
        }
        if changed {
            building.lanes.push(lane.clone());
        }
    }

    fn decide_request(
        &mut self,
        lane: &Lane,
        ask: Ask,
        deciding: &mut BTreeMap<RunId, Deciding>,
    ) -> Result<(RunId, bool), Error> {
        let ctx = self.context();
        match ask {
            Ask::Start { run_id, command, when_open, spec } => {
                if let Some(existing) =
                    self.existing(lane, run_id, &command.request_id, when_open, deciding)?
                {
                    return Ok((existing, true));
                }
                if let Some(spec) = spec {
                    self.parts.specs.learn(spec.digest, spec.bytes)?;
                }
                let mut run = Deciding::of(Execution::new(lane.run(run_id)));
                run.command(&ctx, Command::Start(command), &*self.parts.host, &self.parts.specs)?;
                deciding.insert(run_id, run);
                self.cache.set_current(lane, run_id);
                Ok((run_id, false))
            }
            Ask::Command { run_id, first_run, command } => {
                let run_id = self.resolve(lane, run_id)?;
                if let Some(first_run) = first_run
                    && self.deciding(lane, run_id, deciding)?.run().first_run_id() != first_run
                {
                    return Err(Error::NotFound {
                        workflow_id: lane.workflow_id.to_string(),
                        run_id: Some(first_run),
                    });
                }
                let specs = self.parts.specs.clone();
                let host = self.parts.host.clone();
                self.deciding(lane, run_id, deciding)?.command(&ctx, command, &*host, &specs)?;
                Ok((run_id, false))
            }
            Ask::Advance { run_id } => {
                let host = self.parts.host.clone();
                let run = self.deciding(lane, run_id, deciding)?;
                run.advance(&ctx, &*host)?;
                Ok((run_id, false))
            }
            Ask::Resend { run_id } => {
                self.deciding(lane, run_id, deciding)?;
                if let Some(run) = deciding.get(&run_id) {
                    effect::send_first(&self.parts, run.run());
                }
                Ok((run_id, false))
            }
            Ask::Revive { run_id } => {
                let specs = self.parts.specs.clone();
                let host = self.parts.host.clone();
                let run = self.deciding(lane, run_id, deciding)?;
                run.revive();
                run.command(&ctx, Command::Recover, &*host, &specs)?;
                Ok((run_id, false))
            }
        }
    }

    /// The run that stands in the way of a start, or that the start asked for before.
    fn existing(
        &mut self,
        lane: &Lane,
        run_id: RunId,
        request_id: &str,
        when_open: WhenOpen,
        deciding: &mut BTreeMap<RunId, Deciding>,
    ) -> Result<Option<RunId>, Error> {
        let Some(current) = self.current(lane)? else { return Ok(None) };
        let run = self.deciding(lane, current, deciding)?.run();
        let repeated = !request_id.is_empty() && run.request_ids.contains(request_id);
        if current == run_id || repeated {
            return Ok(Some(current));
        }
        match (run.is_open(), when_open) {
            (false, _) => Ok(None),
            (true, WhenOpen::UseExisting) => Ok(Some(current)),
            (true, WhenOpen::Refuse) => Err(Error::AlreadyStarted {
                workflow_id: lane.workflow_id.to_string(),
                run_id: current,
            }),
        }
    }

    fn current(&mut self, lane: &Lane) -> Result<Option<RunId>, Error> {
        if let Some(run_id) = self.cache.current(lane) {
            return Ok(Some(run_id));
        }
        let current = self.parts.store.current(&lane.namespace, &lane.workflow_id)?;
        Ok(current.map(|current| current.run_id))
    }

    fn resolve(&mut self, lane: &Lane, run_id: Option<RunId>) -> Result<RunId, Error> {
        match run_id {
            Some(run_id) => Ok(run_id),
            None => self.current(lane)?.ok_or_else(|| Error::NotFound {
                workflow_id: lane.workflow_id.to_string(),
                run_id: None,
            }),
        }
    }

    /// The run while the record is decided: taken from the cache, else from the store.
    fn deciding<'a>(
        &mut self,
        lane: &Lane,
        run_id: RunId,
        deciding: &'a mut BTreeMap<RunId, Deciding>,
    ) -> Result<&'a mut Deciding, Error> {
        match deciding.entry(run_id) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let key = lane.run(run_id);
                let execution = match self.cache.take(&key) {
                    Some(execution) => execution,
                    None => Execution::load(key, &self.parts.store, &self.parts.specs)?,
                };
                if execution.run().started.is_none() {
                    return Err(Error::NotFound {
                        workflow_id: lane.workflow_id.to_string(),
                        run_id: Some(run_id),
                    });
                }
                Ok(entry.insert(Deciding::of(execution)))
            }
        }
    }

    /// Puts what a lane decided into the record; `false` when it decided nothing.
    fn close_lane(
        &mut self,
        lane: &Lane,
        deciding: BTreeMap<RunId, Deciding>,
        replies: Vec<(Reply, RunId, bool)>,
        building: &mut Building,
    ) -> bool {
        let poisoned = deciding.values().any(Deciding::is_poisoned);
        if poisoned {
            // Nothing of the lane is appended; its runs are read again from the store.
            tracing::error!(workflow_id = %lane.workflow_id, "a command failed half way; its runs are read again");
            self.cache.forget(lane);
            for (reply, ..) in replies {
                reply(Err(Error::Unavailable("the command could not be carried out".into())));
            }
            return false;
        }
        let answers: Vec<_> = replies
            .into_iter()
            .map(|(reply, run_id, existing)| {
                let status = deciding.get(&run_id).map_or(Status::Running, |run| run.run().status);
                (reply, Answer { run: lane.run(run_id), status, existing })
            })
            .collect();
        let mut changed = false;
        for (_, run) in deciding {
            if run.is_clean() {
                let (execution, step) = run.finish(&mut building.blobs, &mut self.scratch);
                if step.revives {
                    effect::run(&self.parts, &execution, effects_of(&execution, &step));
                    if let Some(due) = execution.run().next_due() {
                        self.timers.note(due, &execution.run().key);
                    }
                }
                self.cache.put_back(execution);
            } else {
                changed = true;
                let spec = run.new_spec();
                let (execution, step) = run.finish(&mut building.blobs, &mut self.scratch);
                if let Some(digest) = spec {
                    building.specs.push(digest);
                }
                building.runs.push((execution, step));
            }
        }
        if changed {
            building.replies.extend(answers);
        } else {
            for (reply, answer) in answers {
                reply(Ok(answer));
            }
        }
        changed
    }

    fn context(&mut self) -> Context {
        Context {
            now: self.now,
            limits: self.parts.limits.clone(),
            local: self.parts.local.clone(),
            new_run_id: (self.parts.new_run_id)(),
        }
    }

    fn append(&mut self, building: Building) {
        let class = if building.essential { Class::Essential } else { Class::Normal };
        let mut blobs = self.spec_blobs(&building.specs);
        blobs.extend(building.blobs.new);
        let parts = record::blob_parts(blobs);
        let (before, within) = record::split(parts, building.bytes);
        for parts in before {
            let record = record::encode(self.parts.id, self.now, &[], &parts);
            self.hand_over(record.clone(), class);
            self.in_flight.push_back(Commit::of_blobs(self.tail, record, parts));
        }
        let record = record::encode(self.parts.id, self.now, &building.runs, &within);
        self.hand_over(record.clone(), class);
        self.in_flight.push_back(Commit {
            seq: self.tail,
            record,
            lanes: building.lanes,
            runs: building.runs,
            replies: building.replies,
            blobs: within,
        });
    }

    /// Bundles that this partition uses for the first time.
    fn spec_blobs(&mut self, digests: &[[u8; 32]]) -> Vec<([u8; 32], Bytes)> {
        let mut blobs = Vec::new();
        for digest in digests {
            if !self.specs_here.insert(*digest) {
                continue;
            }
            let stored = self.parts.store.has_blob(digest).unwrap_or(false);
            if let (false, Some(bytes)) = (stored, self.parts.specs.bytes(digest)) {
                blobs.push((*digest, bytes));
            }
        }
        blobs
    }

    fn hand_over(&mut self, record: Bytes, class: Class) {
        let expected = self.tail;
        self.tail = expected.next();
        let to_self = self.parts.to_self.clone();
        let done: Done = Box::new(move |result| to_self(Internal::Appended { expected, result }));
        let append =
            Append { partition: self.parts.id, epoch: self.epoch, expected, record, class };
        self.parts.log.append(append, done);
    }

    fn appended(&mut self, expected: Seq, result: Result<Seq, AppendError>) {
        let Some(commit) = self.in_flight.pop_front() else { return };
        debug_assert_eq!(commit.seq, expected.next(), "appends come back in order");
        match result {
            Ok(_) => self.committed(commit),
            Err(AppendError::Unknown { .. }) => {
                self.failing = true;
                self.unresolved.push(commit);
            }
            Err(error) => self.not_appended(commit, &error),
        }
        if self.failing && self.in_flight.is_empty() {
            self.resolve_unknown();
        }
    }

    /// All appends under way have failed. A new epoch fences what may still be on its way; reading
    /// from the tail then tells which records the log has. A record of somebody else in their place
    /// means that the partition is lost: nobody is told anything about what was in flight.
    fn resolve_unknown(&mut self) {
        let unresolved = std::mem::take(&mut self.unresolved);
        if let Some(first) = unresolved.first() {
            let expected = Seq(first.seq.0.saturating_sub(1));
            let records: Vec<Bytes> = unresolved.iter().map(|commit| commit.record.clone()).collect();
            let resolved = match reflux_log::resolve(&*self.parts.log, self.parts.id, expected, &records) {
                Ok(resolved) => resolved,
                Err(error) => return self.fail(error.into()),
            };
            self.epoch = resolved.lease.epoch;
            for (nth, commit) in unresolved.into_iter().enumerate() {
                if nth < resolved.committed {
                    self.committed(commit);
                } else {
                    self.forget(commit, &Error::Unavailable("the log did not answer".into()));
                }
            }
        }
        self.failing = false;
        self.tail = self.durable;
        self.specs_here.clear();
    }

    /// A record is durable: reply, act, and hand it on to the store.
    fn committed(&mut self, commit: Commit) {
        let seq = commit.seq;
        self.durable = seq;
        let mut changes = Changes { applied: seq.0, blobs: commit.blobs, ..Changes::default() };
        for (mut execution, step) in commit.runs {
            let summary = execution.summary(self.parts.retention);
            execution.note_indexed(&summary);
            if let Some(due) = summary.due {
                self.timers.note(due, &summary.key);
            }
            let key = summary.key.clone();
            if step.retires() {
                changes.retired.push(key.clone());
            }
            let effects = effects_of(&execution, &step);
            if step.acknowledges() {
                effect::send_first(&self.parts, execution.run());
            }
            effect::run(&self.parts, &execution, effects);
            changes.runs.push(RunChange {
                first_ordinal: step.first_ordinal,
                items: step.encoded,
                summary,
                previous: Some(step.previous),
            });
            self.parts.watches.tell(&key, step.items, &execution);
            if execution.has_more() {
                self.ask_for(&key, Ask::Advance { run_id: key.run_id });
            }
            self.cache.put(execution, seq.0);
        }
        (self.parts.materialise)(changes);
        for (reply, answer) in commit.replies {
            reply(Ok(answer));
        }
        self.release(&commit.lanes);
    }

    fn not_appended(&mut self, commit: Commit, error: &AppendError) {
        if !self.failing {
            self.failing = true;
            tracing::warn!(partition = self.parts.id.0, %error, "a record was not appended");
        }
        let error = match error {
            AppendError::Full { .. } => {
                self.full_until = self.now.after(FULL_PAUSE);
                Error::Full
            }
            AppendError::Fenced { .. } => {
                self.fail(Error::Unavailable(
                    "another process has taken this partition over".into(),
                ));
                Error::Stopping
            }
            AppendError::Unknown { .. } | AppendError::TooLarge { .. } => {
                Error::Unavailable(error.to_string())
            }
        };
        self.forget(commit, &error);
    }

    /// A record is not in the log: what it held is forgotten, its callers are told.
    fn forget(&mut self, commit: Commit, error: &Error) {
        for lane in &commit.lanes {
            self.cache.forget(lane);
        }
        for (execution, _) in commit.runs {
            self.stall(execution.run().key.clone());
        }
        for (reply, _) in commit.replies {
            reply(Err(error.clone()));
        }
        self.release(&commit.lanes);
    }

    fn release(&mut self, lanes: &[Lane]) {
        for lane in lanes {
            let Some(waiting) = self.lanes.get_mut(lane) else { continue };
            waiting.held = false;
            if waiting.requests.is_empty() {
                self.lanes.remove(lane);
            } else {
                self.ready.push_back(lane.clone());
            }
        }
    }

    fn materialised(&mut self, applied: u64) {
        for lane in self.cache.materialise(applied) {
            self.ready.push_back(lane);
        }
        self.pass_barriers();
    }

    fn pass_barriers(&mut self) {
        while let Some((seq, _)) = self.barriers.front() {
            if *seq > self.cache.materialised() {
                return;
            }
            if let Some((_, done)) = self.barriers.pop_front() {
                done();
            }
        }
    }

    /// Asks a run of this partition for something nobody outside waits for.
    pub fn ask_own(&mut self, run: &RunKey, command: Command) {
        self.ask_for(run, Ask::Command { run_id: Some(run.run_id), first_run: None, command });
    }

    fn ask_for(&mut self, run: &RunKey, ask: Ask) {
        self.request(Request { lane: Lane::of(run), ask, reply: no_reply() });
    }

    fn stall(&mut self, run: RunKey) {
        if self.stalled.is_empty() {
            self.stalled_until = self.now.after(STALL);
        }
        self.stalled.insert(run);
    }

    /// Nothing can be decided any more: everybody is told.
    fn fail(&mut self, error: Error) {
        tracing::error!(partition = self.parts.id.0, %error, "the partition has stopped");
        self.failed = Some(error.clone());
        for (_, waiting) in std::mem::take(&mut self.lanes) {
            for request in waiting.requests {
                (request.reply)(Err(error.clone()));
            }
        }
        self.ready.clear();
    }
}

/// A record while it is decided.
struct Building {
    lanes: Vec<Lane>,
    runs: Vec<(Execution, Step)>,
    replies: Vec<(Reply, Answer)>,
    blobs: Blobs,
    specs: Vec<[u8; 32]>,
    bytes: usize,
    essential: bool,
}

impl Default for Building {
    fn default() -> Self {
        Self {
            lanes: Vec::new(),
            runs: Vec::new(),
            replies: Vec::new(),
            blobs: Blobs::default(),
            specs: Vec::new(),
            bytes: 0,
            essential: true,
        }
    }
}

impl Commit {
    fn of_blobs(seq: Seq, record: Bytes, blobs: Vec<wire::Blob>) -> Self {
        Self { seq, record, lanes: Vec::new(), runs: Vec::new(), replies: Vec::new(), blobs }
    }
}

/// What must go on when the disk is full.
fn is_essential(ask: &Ask) -> bool {
    matches!(ask, Ask::Command { command: Command::RequestCancel(_) | Command::Terminate(_), .. })
}
