//! From requests to one record: lane by lane, run by run, all commands of a run in one draft.

use std::collections::{BTreeMap, VecDeque};

use reflux_core::{Command, Context, RunId, Status};

use super::{Partition, RECORD_BYTES_SOFT, is_essential};
use crate::codec::Blobs;
use crate::execution::{Deciding, Execution, Step, effects_of};
use crate::request::{Answer, Ask, Lane, Reply, WhenOpen};
use crate::{Error, effect};

/// A record while it is decided.
pub(super) struct Building {
    pub lanes: Vec<Lane>,
    pub runs: Vec<(Execution, Step)>,
    pub replies: Vec<(Reply, Answer)>,
    pub blobs: Blobs,
    pub specs: Vec<[u8; 32]>,
    pub bytes: usize,
    pub essential: bool,
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
            Ask::Adopt { signal, spec } => {
                let run_id = self.resolve(lane, None)?;
                self.parts.specs.learn(spec.digest, spec.bytes)?;
                let specs = self.parts.specs.clone();
                let host = self.parts.host.clone();
                let run = self.deciding(lane, run_id, deciding)?;
                run.command(&ctx, Command::Signal(*signal), &*host, &specs)?;
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
        let loaded = deciding.contains_key(&current) || self.cache.has(&lane.run(current));
        if !loaded
            && let Some(stored) = self.parts.store.current(&lane.namespace, &lane.workflow_id)?
            && !stored.open
            && (request_id.is_empty() || *stored.request_id != *request_id)
            && stored.run_id != run_id
        {
            // A closed run of another request stands in nobody's way: its history stays unread.
            return Ok(None);
        }
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
                }
                // A wake that came too early took the note of the run with it. What is due and did
                // not happen waits for somebody: a pause to end.
                if let Some(due) = execution.run().next_due().filter(|due| *due > self.now) {
                    self.timers.note(due, &execution.run().key);
                }
                self.cache.put_back(execution);
            } else {
                changed = true;
                building.specs.extend(run.new_specs());
                let (execution, step) = run.finish(&mut building.blobs, &mut self.scratch);
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
}
