//! From requests to one record: lane by lane, run by run, all commands of a run in one draft.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use reflux_core::{Command, Context, Message, Rejection, Run, RunId, Status, Terminate};
use reflux_flow::schedule::NAMESPACE as SYSTEM;
use reflux_store::Summary;

use super::{Partition, RECORD_BYTES_SOFT, is_essential, own_run};
use crate::codec::Blobs;
use crate::execution::{Again, Deciding, Execution, Step, effects_of};
use crate::request::{Answer, Ask, Lane, NewRun, Reply, WhenClosed, WhenOpen};
use crate::{Error, effect, metrics};

/// A record while it is decided.
pub(super) struct Building {
    pub lanes: Vec<Decided>,
    pub blobs: Blobs,
    pub specs: Vec<[u8; 32]>,
    pub bytes: usize,
    pub essential: bool,
}

impl Default for Building {
    fn default() -> Self {
        Self {
            lanes: Vec::new(),
            blobs: Blobs::default(),
            specs: Vec::new(),
            bytes: 0,
            essential: true,
        }
    }
}

/// What a lane decided for a record, and who waits for that.
pub(super) struct Decided {
    pub lane: Lane,
    /// Runs that go on with the record; of new ones the current one is the last.
    pub changed: Vec<(Execution, Step)>,
    /// Runs that were only looked at.
    pub unchanged: Vec<Execution>,
    pub replies: Vec<(Reply, Verdict)>,
}

/// What closing a lane came to.
enum Closed {
    Unchanged,
    Changed,
    /// Nothing is appended; its runs are to be read again.
    TooLarge,
}

/// Bytes of items in one record: the rest is for names and, in a record without blobs, to spare.
const ITEMS_BYTES_MAX: usize = reflux_log::RECORD_BYTES_MAX - 32 * 1024;

/// Bytes that frame an item in a record.
const FRAME_BYTES: usize = 8;

/// What a request came to: which run, and whether it was there already. Told when the record is
/// durable, a refusal too: it may be due to what is not durable yet.
pub(super) type Verdict = Result<(RunId, bool), Error>;

impl Decided {
    fn execution(&self, run_id: RunId) -> Option<&Execution> {
        let changed = self.changed.iter().map(|(execution, _)| execution);
        changed.chain(&self.unchanged).find(|execution| execution.run().key.run_id == run_id)
    }

    /// Bytes of its items in a record.
    fn bytes(&self) -> usize {
        self.changed.iter().map(|(_, step)| step.bytes + FRAME_BYTES * step.encoded.len()).sum()
    }

    /// It is more than a record holds: nothing of it is appended. Who asked alone asked for too
    /// much; several may have been too many together.
    fn refuse(&mut self) {
        let given = u64::try_from(self.bytes()).unwrap_or(u64::MAX);
        let max = u64::try_from(ITEMS_BYTES_MAX).unwrap_or(u64::MAX);
        let alone = self.replies.len() == 1;
        for (reply, verdict) in std::mem::take(&mut self.replies) {
            reply(Err(match verdict {
                Err(error) => error,
                Ok(_) if alone => Error::Rejected(Rejection::LimitExceeded {
                    what: "bytes of what is decided at once",
                    given,
                    max,
                    advice: "decide less at a time, or pass large values as payloads",
                }),
                Ok(_) => Error::Unavailable("too much was asked of one run at once".into()),
            }));
        }
    }

    /// Tells everybody who waits, now that all of it is durable.
    pub fn reply(&mut self) {
        for (reply, verdict) in std::mem::take(&mut self.replies) {
            match verdict {
                Err(error) => reply(Err(error)),
                Ok((run_id, existing)) => match self.execution(run_id) {
                    Some(execution) => {
                        let run = execution.run();
                        let answer = Answer {
                            run: run.key.clone(),
                            status: run.status,
                            existing,
                            revision: execution.revision(),
                        };
                        reply(Ok((&answer, execution)));
                    }
                    None => reply(Err(not_found(&self.lane, Some(run_id)))),
                },
            }
        }
    }
}

impl Partition {
    /// Decides the requests of ready lanes into one record and appends it. `false` when nothing
    /// was appended.
    pub(super) fn decide_record(&mut self) -> bool {
        let mut building = Building::default();
        while building.bytes < RECORD_BYTES_SOFT {
            let Some(lane) = self.ready.pop_front() else { break };
            self.decide_lane(&lane, &mut building);
            if self.failed.is_some() {
                return false;
            }
        }
        // The last lane may be one too many.
        let full = building.bytes > ITEMS_BYTES_MAX && building.lanes.len() > 1;
        let last = full.then(|| building.lanes.pop()).flatten();
        if building.lanes.is_empty() {
            return false;
        }
        let essential = building.essential;
        building.bytes = building.lanes.iter().map(Decided::bytes).sum();
        self.append(building);
        if let Some(last) = last {
            let bytes = last.bytes();
            self.append(Building { lanes: vec![last], bytes, essential, ..Building::default() });
        }
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
        let mut replies: Vec<(Reply, Verdict)> = Vec::new();
        let mut own = BTreeSet::new();
        let mut left = VecDeque::new();
        let before = building.bytes;
        for request in requests {
            if building.bytes >= RECORD_BYTES_SOFT {
                left.push_back(request);
                continue;
            }
            building.essential &= is_essential(&request.ask);
            let asker = own_run(&request);
            let verdict = self.decide_request(lane, request.ask, &mut deciding);
            if let Err(error) = &verdict {
                metrics::refused(error);
            }
            match (asker, &verdict) {
                (Some(run), Ok(_)) => drop(own.insert(run)),
                // Nobody outside asks again.
                (Some(run), Err(error)) if error.is_retryable() => self.stall(run),
                _ => {}
            }
            replies.push((request.reply, verdict));
            building.bytes = before + deciding.values().map(Deciding::size).sum::<usize>();
        }
        let changed = if deciding.values().any(Deciding::is_poisoned) {
            // Nothing of the lane is appended; its runs are read again from the store.
            tracing::error!(workflow_id = %lane.workflow_id, "a command failed half way; its runs are read again");
            self.cache.forget(lane);
            own.into_iter().for_each(|run| self.stall(run));
            for (reply, verdict) in replies {
                let lost = || Error::Unavailable("the command could not be carried out".into());
                reply(Err(verdict.err().unwrap_or_else(lost)));
            }
            false
        } else {
            match self.close_lane(lane, deciding, replies, building) {
                Closed::Unchanged => false,
                Closed::Changed => true,
                Closed::TooLarge => {
                    self.cache.forget(lane);
                    own.into_iter().for_each(|run| self.stall(run));
                    false
                }
            }
        };
        building.bytes = building.lanes.iter().map(Decided::bytes).sum();
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
    }

    fn decide_request(
        &mut self,
        lane: &Lane,
        ask: Ask,
        deciding: &mut BTreeMap<RunId, Deciding>,
    ) -> Verdict {
        let ctx = self.context(lane);
        match ask {
            Ask::Start(new) => self.start(lane, new, Vec::new(), None, deciding),
            Ask::StartAgain { new, signals, follows } => {
                if let Some((base, items)) = follows
                    && self.deciding(lane, base, deciding)?.items() != items
                {
                    return Err(Error::Unavailable("the run has moved on meanwhile".into()));
                }
                self.start(lane, new, signals, None, deciding)
            }
            Ask::SignalWithStart(new, signal) => {
                self.start(lane, new, Vec::new(), Some(Command::Signal(*signal)), deciding)
            }
            Ask::Command { run_id, first_run, command } => {
                let run_id = self.resolve(lane, run_id)?;
                if let Some(first_run) = first_run
                    && self.deciding(lane, run_id, deciding)?.run().first_run_id() != first_run
                {
                    return Err(not_found(lane, Some(first_run)));
                }
                let specs = self.parts.specs.clone();
                let host = self.parts.host.clone();
                self.deciding(lane, run_id, deciding)?.command(&ctx, command, &*host, &specs)?;
                self.start_next(lane, run_id, deciding);
                Ok((run_id, false))
            }
            Ask::Steer { run_id, steer, identity, request_id } => {
                let run_id = self.resolve(lane, run_id)?;
                let host = self.parts.host.clone();
                let run = self.deciding(lane, run_id, deciding)?;
                run.steer(&ctx, &steer, identity, request_id, &*host)?;
                self.start_next(lane, run_id, deciding);
                Ok((run_id, false))
            }
            Ask::Look { run_id } => {
                let run_id = self.resolve(lane, run_id)?;
                self.deciding(lane, run_id, deciding)?;
                Ok((run_id, false))
            }
            Ask::Adopt { signal, spec } => {
                let run_id = self.resolve(lane, None)?;
                self.parts.specs.learn(spec.digest, spec.bytes)?;
                let specs = self.parts.specs.clone();
                let host = self.parts.host.clone();
                let run = self.deciding(lane, run_id, deciding)?;
                run.command(&ctx, Command::Signal(*signal), &*host, &specs)?;
                self.start_next(lane, run_id, deciding);
                Ok((run_id, false))
            }
            Ask::Advance { run_id } => {
                let host = self.parts.host.clone();
                let run = self.deciding(lane, run_id, deciding)?;
                run.advance(&ctx, &*host)?;
                self.start_next(lane, run_id, deciding);
                Ok((run_id, false))
            }
            Ask::Resend { run_id } => {
                self.deciding(lane, run_id, deciding)?;
                if let Some(run) = deciding.get(&run_id) {
                    effect::send_first(&self.parts, run.run());
                }
                Ok((run_id, false))
            }
            Ask::Offer { run_id } => {
                self.deciding(lane, run_id, deciding)?.again(Again::Offers);
                Ok((run_id, false))
            }
            Ask::Revive { run_id } => {
                let specs = self.parts.specs.clone();
                let host = self.parts.host.clone();
                let results = self.parts.results.clone();
                let run = self.deciding(lane, run_id, deciding);
                // Before anything is decided: nobody else may begin what this run has begun.
                results.read(&lane.run(run_id), run.as_ref().ok().map(|run| run.calls()));
                let run = run?;
                run.again(Again::Everything);
                let recovered = run.command(&ctx, Command::Recover, &*host, &specs);
                self.start_next(lane, run_id, deciding);
                recovered.map(|()| (run_id, false))
            }
        }
    }

    /// A new run, and what it is told at once; or the run that is there, which is told instead.
    fn start(
        &mut self,
        lane: &Lane,
        new: NewRun,
        again: Vec<reflux_core::Signal>,
        then: Option<Command>,
        deciding: &mut BTreeMap<RunId, Deciding>,
    ) -> Verdict {
        let ctx = self.context(lane);
        let (host, specs) = (self.parts.host.clone(), self.parts.specs.clone());
        let NewRun { run_id, start, when_open, when_closed, spec } = new;
        // A message of another run may come twice, the second time when the chain has gone on.
        let is_message = start.parent.is_some() || start.continued.is_some();
        if is_message && self.deciding(lane, run_id, deciding).is_ok() {
            return Ok((run_id, true));
        }
        let asked = Asked { run_id, request_id: &start.request_id, when_open, when_closed };
        let replaced = match self.in_the_way(lane, &asked, deciding)? {
            InTheWay::Nothing => None,
            InTheWay::Existing(existing) => {
                if let Some(command) = then {
                    self.deciding(lane, existing, deciding)?
                        .command(&ctx, command, &*host, &specs)?;
                }
                return Ok((existing, true));
            }
            InTheWay::Replace(open) => Some(open),
        };
        // A run that has begun must be able to end, so its children and the next of its chain come
        // in; those of a schedule come from outside.
        let outer = |parent: &reflux_core::Parent| *parent.key.namespace == *SYSTEM;
        let inner =
            start.continued.is_some() || start.parent.as_ref().is_some_and(|parent| !outer(parent));
        let admission = match inner {
            true => None,
            false => self.parts.ledger.admit(&lane.namespace, replaced.is_some(), self.now)?,
        };
        if let Some(spec) = spec {
            specs.learn(spec.digest, spec.bytes)?;
        }
        let execution = Execution::new(lane.run(run_id));
        let mut run = Deciding::of(execution, self.parts.results.clone());
        run.admitted(admission);
        run.command(&ctx, Command::Start(start), &*host, &specs)?;
        for signal in again {
            run.signal_again(&ctx, signal, &*host)?;
        }
        if let Some(command) = then {
            run.command(&ctx, command, &*host, &specs)?;
        }
        if let Some(open) = replaced {
            // Only now: a start that is refused ends nothing.
            let terminate = Terminate {
                reason: "replaced by another start".into(),
                identity: "reflux".into(),
                ..Terminate::default()
            };
            let open = self.deciding(lane, open, deciding)?;
            open.command(&ctx, Command::Terminate(terminate), &*host, &specs)?;
        }
        deciding.insert(run_id, run);
        self.cache.set_current(lane, run_id);
        Ok((run_id, false))
    }

    /// A run that another one follows has closed: that one begins in the same record, so that no
    /// other start slips in between. What is refused here goes through the outbox.
    fn start_next(&mut self, lane: &Lane, run_id: RunId, deciding: &mut BTreeMap<RunId, Deciding>) {
        let Some((seq, next, start)) = deciding.get(&run_id).and_then(|run| next_of(run.run()))
        else {
            return;
        };
        let known = match self.deciding(lane, next, deciding) {
            Ok(_) => true,
            Err(Error::NotFound { .. }) => false,
            Err(error) => {
                tracing::warn!(run = %lane.run(next), %error, "the next run of a chain does not start yet");
                return;
            }
        };
        let ctx = self.context(lane);
        let (host, specs) = (self.parts.host.clone(), self.parts.specs.clone());
        if !known {
            let execution = Execution::new(lane.run(next));
            let mut following = Deciding::of(execution, self.parts.results.clone());
            let start = Command::Start(Box::new((*start).clone()));
            if let Err(error) = following.command(&ctx, start, &*host, &specs) {
                tracing::warn!(run = %lane.run(next), %error, "the next run of a chain does not start yet");
                return;
            }
            deciding.insert(next, following);
            self.cache.set_current(lane, next);
        }
        let Some(run) = deciding.get_mut(&run_id) else { return };
        if let Err(error) = run.command(&ctx, Command::AckOutbox { seq }, &*host, &specs) {
            tracing::warn!(run = %lane.run(run_id), %error, "a run does not note that it is followed");
        }
    }

    /// The run that stands in the way of a start, or that the start asked for before.
    fn in_the_way(
        &mut self,
        lane: &Lane,
        asked: &Asked<'_>,
        deciding: &mut BTreeMap<RunId, Deciding>,
    ) -> Result<InTheWay, Error> {
        let Some(current) = self.current(lane)? else { return Ok(InTheWay::Nothing) };
        let loaded = deciding.contains_key(&current) || self.cache.has(&lane.run(current));
        if !loaded
            && let Some(stored) = self.parts.store.summary(&lane.run(current))?
            && asked.passes_unread(&stored)
        {
            // It stands in nobody's way: its history stays unread.
            return Ok(InTheWay::Nothing);
        }
        let deciding = self.deciding(lane, current, deciding)?;
        let (run, request_id) = (deciding.run(), deciding.request_id());
        let repeated = !asked.request_id.is_empty() && run.request_ids.contains(asked.request_id);
        if current == asked.run_id || repeated {
            return Ok(InTheWay::Existing(current));
        }
        let refused = || Error::AlreadyStarted {
            workflow_id: lane.workflow_id.to_string(),
            run_id: current,
            request_id: request_id.clone(),
            open: run.is_open(),
        };
        if run.is_open() {
            return match asked.when_open {
                WhenOpen::Refuse => Err(refused()),
                WhenOpen::UseExisting => Ok(InTheWay::Existing(current)),
                WhenOpen::Terminate => Ok(InTheWay::Replace(current)),
            };
        }
        // A run that another one is to follow stands for that one until it is there.
        let free = next_of(run).is_none()
            && match asked.when_closed {
                WhenClosed::Allow => true,
                WhenClosed::AllowFailed => run.status != Status::Completed,
                WhenClosed::Refuse => false,
            };
        if free { Ok(InTheWay::Nothing) } else { Err(refused()) }
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
            None => self.current(lane)?.ok_or_else(|| not_found(lane, None)),
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
                let cached = self.cache.take(&key);
                metrics::looked_up(cached.is_some());
                let execution = match cached {
                    Some(execution) => execution,
                    None => Execution::load(key, &self.parts.store, &self.parts.specs)?,
                };
                if execution.run().started.is_none() {
                    return Err(not_found(lane, Some(run_id)));
                }
                let mut deciding = Deciding::of(execution, self.parts.results.clone());
                if self.parts.gates.has_circuits() {
                    deciding.judge();
                }
                Ok(entry.insert(deciding))
            }
        }
    }

    /// Puts what a lane decided into the record.
    fn close_lane(
        &mut self,
        lane: &Lane,
        deciding: BTreeMap<RunId, Deciding>,
        replies: Vec<(Reply, Verdict)>,
        building: &mut Building,
    ) -> Closed {
        let (changed, unchanged) = (Vec::new(), Vec::new());
        let mut decided = Decided { lane: lane.clone(), changed, unchanged, replies };
        let current = self.cache.current(lane);
        let (mut blobs, mut specs) = (Blobs::default(), Vec::new());
        for (_, run) in deciding {
            let is_clean = run.is_clean();
            specs.extend(run.new_specs());
            let (execution, step) = run.finish(&mut blobs, &mut self.scratch);
            if !is_clean {
                decided.changed.push((execution, step));
                continue;
            }
            if step.again != Again::Nothing {
                let effects = effects_of(&execution, &step);
                for command in effect::run(&self.parts, &execution, effects) {
                    self.ask_own(&execution.run().key, command);
                }
            }
            // A wake that came too early took the note of the run with it. What is due and did
            // not happen waits for somebody: a pause to end.
            if let Some(due) = execution.run().next_due().filter(|due| *due > self.now) {
                self.timers.note(due, &execution.run().key);
            }
            decided.unchanged.push(execution);
        }
        if decided.changed.is_empty() {
            decided.reply();
            decided.unchanged.into_iter().for_each(|execution| self.cache.put_back(execution));
            return Closed::Unchanged;
        }
        if decided.bytes() > ITEMS_BYTES_MAX {
            decided.refuse();
            return Closed::TooLarge;
        }
        decided.changed.sort_by_key(|(run, _)| Some(run.run().key.run_id) == current);
        building.lanes.push(decided);
        building.blobs.new.extend(blobs.new);
        building.specs.extend(specs);
        Closed::Changed
    }

    fn context(&mut self, lane: &Lane) -> Context {
        Context {
            now: self.now,
            limits: self.parts.ledger.quotas().limits(&lane.namespace, &self.parts.limits),
            local: self.parts.local.clone(),
            new_run_id: (self.parts.new_run_id)(),
        }
    }
}

/// What a start asks for.
struct Asked<'a> {
    run_id: RunId,
    request_id: &'a str,
    when_open: WhenOpen,
    when_closed: WhenClosed,
}

impl Asked<'_> {
    /// Whether a run of which only the row is known is in the way of nothing.
    fn passes_unread(&self, stored: &Summary) -> bool {
        // One that is closed and has work left may be followed by another run.
        !stored.is_open()
            && !stored.working
            && self.when_closed == WhenClosed::Allow
            && (self.request_id.is_empty() || *stored.request_id != *self.request_id)
            && stored.key.run_id != self.run_id
    }
}

/// What a start finds.
enum InTheWay {
    Nothing,
    /// The start is answered with this run.
    Existing(RunId),
    /// This run is open and ends with the start.
    Replace(RunId),
}

/// The run that is to follow a closed one and was not started yet: number of the message, the
/// run's id, its start.
fn next_of(run: &Run) -> Option<(u64, RunId, Arc<reflux_core::Start>)> {
    if run.is_open() {
        return None;
    }
    run.outbox.iter().find_map(|(seq, outgoing)| match &outgoing.message {
        Message::StartNext { start } => Some((*seq, outgoing.target.run_id?, start.clone())),
        _ => None,
    })
}

fn not_found(lane: &Lane, run_id: Option<RunId>) -> Error {
    Error::NotFound { workflow_id: lane.workflow_id.to_string(), run_id }
}
