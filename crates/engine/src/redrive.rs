//! A run again, as a new run: reads the base, works out what may be kept, starts.
//!
//! ```text
//! items of the base ─→ Base ─→ memo ─→ start ─→ plan ─→ consent? ─→ one record:
//!     the new run begins, is given the signals again, and an open base ends
//! ```
//!
//! Nothing of the base is changed before the new run may begin.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reflux_core::{
    BootId, Command, Context, HEADER_REDRIVE, Item, Limits, Local, RunId, RunKey, Start, Suspend,
    Terminate, Worker,
};
use reflux_flow::input::check_input;
use reflux_flow::redrive::{Base, Dry, Plan, Redrive, Refused, Scope};
use reflux_flow::steer::check_new_nodes;
use reflux_flow::{Bundle, Patch, Policies, payload};
use reflux_store::Summary;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::request::{Answer, Ask, Lane, NewRun, Spec, WhenClosed, WhenOpen};
use crate::{Engine, Error, LOCAL_QUEUE, idempotency_key, thread};

/// How deep sub-runs are re-driven in sub-runs; those below start anew.
const NESTED_MAX: usize = 16; // flows call flows to a few levels

/// How often a base that moved on meanwhile is read again. It is paused, so only what was under
/// way can move it.
const READS_MAX: usize = 20;

/// How long the sub-runs of a base that is open are given to end, in waits of [`WAIT`].
const WAITS_MAX: usize = 500; // five seconds; they are told by a message each
const WAIT: Duration = Duration::from_millis(10);

/// What is wanted of a re-drive.
#[derive(Debug, Clone, Default)]
pub struct Redriving {
    /// What runs again.
    pub scope: Scope,
    /// The definition: which flow of the bundle; `None` is the one that the base has now.
    pub definition: Option<(Arc<str>, Spec)>,
    /// A change of the definition that the base has now.
    pub patch: Option<Patch>,
    /// Fields of the input that are other than in the base.
    pub input: Map<String, Value>,
    /// Outputs that are given instead of calling anything, by activation.
    pub outputs: BTreeMap<String, Value>,
    /// Whether the new run is not given the base's signals.
    pub without_signals: bool,
    /// Steps with unsafe effects that may be called again.
    pub allow_unsafe: Vec<String>,
    /// The workflow id of the new run; `None` is the base's.
    pub workflow_id: Option<Arc<str>>,
    /// Whether an open base goes on: then the new run needs a workflow id of its own.
    pub keeps_base: bool,
    /// Who wants it.
    pub by: Arc<str>,
    /// Why, for people.
    pub reason: String,
    /// Equal for repetitions of one request; empty when there is none.
    pub request_id: Arc<str>,
}

/// A new run, before it is one.
struct Prepared {
    ask: Ask,
    lane: Lane,
    plan: Plan,
}

impl Engine {
    /// What a re-drive would do. Nothing is appended or called.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when it makes no sense, with the reason.
    pub fn plan_redrive(
        &self,
        base: &RunKey,
        wanted: &Redriving,
        nodes: &dyn Policies,
    ) -> Result<Plan, Error> {
        Ok(self.prepare(&self.base_row(base)?, wanted, nodes)?.plan)
    }

    /// Runs a run again. An open base ends with the same record.
    ///
    /// # Errors
    /// As [`Engine::plan_redrive`]; [`Error::Invalid`] without consent to call unsafe steps again;
    /// [`Error::AlreadyStarted`] when a later run of the workflow id is open.
    pub fn redrive(
        &self,
        base: &RunKey,
        wanted: &Redriving,
        nodes: &dyn Policies,
    ) -> Result<Answer, Error> {
        let row = self.base_row(base)?;
        if let Some(answer) = self.repeated(base, wanted)? {
            return Ok(answer);
        }
        if row.is_open() {
            // Before it is paused: what is refused leaves no traces.
            self.consented(&row, wanted, nodes)?;
        }
        let paused = row.is_open() && wanted.workflow_id.is_none() && self.pause(base, wanted)?;
        let started = self.start_again(base, wanted, nodes);
        if let (Err(_), true) = (&started, paused) {
            // A run that has closed meanwhile is not paused any more.
            let unpause = Command::Unpause(suspend(wanted));
            let _ = self.command(Lane::of(base), Some(base.run_id), unpause);
        }
        started
    }

    /// Starts the new run from a state that the base still has then.
    fn start_again(
        &self,
        base: &RunKey,
        wanted: &Redriving,
        nodes: &dyn Policies,
    ) -> Result<Answer, Error> {
        let mut last = Error::Unavailable("the run does not come to rest".into());
        for _ in 0..READS_MAX {
            if wanted.workflow_id.is_none() {
                self.end_children(base, wanted)?;
            }
            let prepared = self.consented(&self.base_row(base)?, wanted, nodes)?;
            match self.ask_now(prepared.lane, prepared.ask) {
                Err(error @ Error::Unavailable(_)) => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    fn consented(
        &self,
        row: &Summary,
        wanted: &Redriving,
        nodes: &dyn Policies,
    ) -> Result<Prepared, Error> {
        let prepared = self.prepare(row, wanted, nodes)?;
        match prepared.plan.unconsented.as_slice() {
            [] => Ok(prepared),
            steps => Err(without_consent(steps)),
        }
    }

    /// The new run starts sub-runs of the workflow ids that those of the base have: a base whose
    /// sub-runs are open ends first, and they with it.
    fn end_children(&self, base: &RunKey, wanted: &Redriving) -> Result<(), Error> {
        let lane = Lane::of(base);
        let look = || {
            self.look_now(&lane, base.run_id, |execution| {
                let run = execution.run();
                (run.is_open(), run.children.is_empty(), run.outbox.is_empty())
            })
        };
        match look()? {
            (true, true, _) | (false, _, true) => return Ok(()),
            (true, false, _) => {
                let terminate = Terminate {
                    reason: "re-driven".into(),
                    identity: wanted.by.clone(),
                    ..Terminate::default()
                };
                let terminate = Command::Terminate(terminate);
                self.command(lane.clone(), Some(base.run_id), terminate)?;
            }
            (false, _, false) => {}
        }
        for _ in 0..WAITS_MAX {
            if look()?.2 {
                return Ok(());
            }
            std::thread::sleep(WAIT);
        }
        Err(Error::Unavailable("its sub-runs do not end".into()))
    }

    fn look_now<T: Send + 'static>(
        &self,
        lane: &Lane,
        run_id: RunId,
        look: impl FnOnce(&crate::Execution) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let reply: crate::Reply = Box::new(move |answer| {
            drop(sender.send(answer.map(|(_, execution)| look(execution))));
        });
        let ask = Ask::Look { run_id: Some(run_id) };
        self.submit(crate::Request { lane: lane.clone(), ask, reply });
        receiver.recv().unwrap_or(Err(Error::Stopping))
    }

    /// Pauses an open base; `false` when it was paused already.
    fn pause(&self, base: &RunKey, wanted: &Redriving) -> Result<bool, Error> {
        let pause = Command::Pause(suspend(wanted));
        match self.command(Lane::of(base), Some(base.run_id), pause) {
            Ok(_) => Ok(true),
            Err(Error::Rejected(
                reflux_core::Rejection::AlreadyDone(_) | reflux_core::Rejection::AlreadyClosed,
            )) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The run that the same request has started.
    fn repeated(&self, base: &RunKey, wanted: &Redriving) -> Result<Option<Answer>, Error> {
        if wanted.request_id.is_empty() {
            return Ok(None);
        }
        let lane = lane_of(base, wanted);
        let Some(current) = self.current(&lane)? else { return Ok(None) };
        let row = self.summary(&current)?;
        let same = row.filter(|row| *row.request_id == *wanted.request_id);
        let Some(row) = same else { return Ok(None) };
        let revision = self.look_now(&lane, current.run_id, crate::Execution::revision)?;
        Ok(Some(Answer { run: current, status: row.status, existing: true, revision }))
    }

    fn base_row(&self, base: &RunKey) -> Result<Summary, Error> {
        self.summary(base)?.ok_or_else(|| Error::NotFound {
            workflow_id: base.workflow_id.to_string(),
            run_id: Some(base.run_id),
        })
    }

    fn prepare(
        &self,
        row: &Summary,
        wanted: &Redriving,
        nodes: &dyn Policies,
    ) -> Result<Prepared, Error> {
        if wanted.keeps_base && row.is_open() && wanted.workflow_id.is_none() {
            return Err(Error::Invalid(
                "the run is still open, and two open runs cannot have one workflow id; give the fork its own"
                    .into(),
            ));
        }
        let now = thread::now();
        let (base, items) = self.read_base(row)?;
        let (flow, spec, bundle) = self.definition(&base, row, wanted, nodes)?;
        let next = bundle.flows.get(&*flow).cloned().ok_or_else(|| {
            Error::Invalid(format!(
                "the definition has no flow `{flow}`; give the one that it is for"
            ))
        })?;
        let mut redrive = Redrive {
            of: row.key.run_id,
            of_workflow: row.key.workflow_id.to_string(),
            epoch: base.epoch.saturating_add(1),
            by: wanted.by.to_string(),
            reason: wanted.reason.clone(),
            scope: wanted.scope.clone(),
            allow_unsafe: wanted.allow_unsafe.clone(),
            memo: base.memo(&wanted.scope, wanted.outputs.clone(), &next, now).map_err(invalid)?,
        };
        let mut nested = Vec::new();
        for (id, child) in base.children(&wanted.scope).map_err(invalid)? {
            if let Some((child_base, again)) = self.child(&child, &redrive, 1)? {
                nested.push((id.clone(), child_base));
                let again = if wanted.without_signals { again.without_signals() } else { again };
                redrive.memo.children.insert(id, again);
            }
        }
        let signals = match wanted.without_signals {
            true => Vec::new(),
            false => base.signals(&wanted.scope).map_err(invalid)?,
        };
        let input = input(&base, &next, &wanted.input)?;
        let lane = lane_of(&row.key, wanted);
        let is_fork = wanted.workflow_id.is_some();
        let mut header = payload::spec_header(spec.digest);
        header.fields.insert(HEADER_REDRIVE.to_owned(), redrive.to_payload());
        let start = Start {
            workflow_type: flow,
            task_queue: LOCAL_QUEUE.into(),
            input: payload::of_value(&input),
            header,
            // As the same chain its steps have the same idempotency keys.
            first_run: (!is_fork).then_some(base.first_run),
            request_id: wanted.request_id.clone(),
            identity: wanted.by.clone(),
            ..Start::default()
        };
        let run_id = RunId(Uuid::now_v7());
        let dry = Dry {
            key: lane.run(run_id),
            start: &start,
            signals: &signals,
            bundle,
            nodes,
            ctx: &context(now),
            idempotency_key: &idempotency_key,
        };
        let mut plan = Plan::of(&base, &dry).map_err(invalid)?;
        for (id, child) in &nested {
            plan.add_child(id, child, &wanted.allow_unsafe);
        }
        let replaces = row.is_open() && !is_fork;
        let new = NewRun {
            run_id,
            start: Box::new(start),
            when_open: if replaces { WhenOpen::Terminate } else { WhenOpen::Refuse },
            when_closed: WhenClosed::Allow,
            spec: Some(spec),
        };
        let follows = (!is_fork).then_some((row.key.run_id, items));
        Ok(Prepared { ask: Ask::StartAgain { new, signals, follows }, lane, plan })
    }

    /// The flow's name, its bundle as bytes and as graphs.
    fn definition(
        &self,
        base: &Base,
        row: &Summary,
        wanted: &Redriving,
        nodes: &dyn Policies,
    ) -> Result<(Arc<str>, Spec, Arc<Bundle>), Error> {
        if let Some((flow, spec)) = &wanted.definition {
            let bundle = Bundle::from_bytes(&spec.bytes)
                .map_err(|_| Error::Invalid("the definition cannot be read".into()))?;
            return Ok((flow.clone(), spec.clone(), Arc::new(bundle)));
        }
        let (flow, revision) = (row.workflow_type.clone(), base.progress.revision());
        if let (0, None, Some(digest)) = (revision, &wanted.patch, row.spec) {
            let bytes = self.bundle(&digest)?.ok_or_else(missing)?;
            return Ok((flow, Spec { digest, bytes }, base.progress.bundle().clone()));
        }
        let mut bundle = base.definition();
        if let Some(patch) = &wanted.patch {
            let refused = |refused: reflux_flow::Refused| Error::Invalid(refused.to_string());
            let now = patch.apply_to(&bundle, &flow, revision).map_err(refused)?;
            if let (Some(was), Some(now)) = (bundle.flows.get(&*flow), now.flows.get(&*flow)) {
                check_new_nodes(was, now, nodes).map_err(refused)?;
            }
            bundle = now;
        }
        let bytes = bundle.to_bytes();
        let spec = Spec { digest: *blake3::hash(&bytes).as_bytes(), bytes: bytes.into() };
        Ok((flow, spec, Arc::new(bundle)))
    }

    /// A run as a base, and how many items it has.
    fn read_base(&self, row: &Summary) -> Result<(Base, u64), Error> {
        let Some(digest) = row.spec else {
            return Err(Error::Invalid(
                "the run is no flow's: what code decides is repeated by its own worker; start it anew"
                    .into(),
            ));
        };
        let bundle = self.flows(&digest)?.ok_or_else(missing)?;
        let items = self.items(&row.key)?;
        let events = items.iter().filter_map(|item| match item {
            Item::Event(event) => Some(event),
            Item::Delta(_) => None,
        });
        let base = Base::read(row.key.clone(), bundle, events).map_err(invalid)?;
        Ok((base, items.len() as u64))
    }

    /// The re-drive of a sub-run, with those below it; `None` when it is no longer kept: it starts
    /// anew.
    fn child(
        &self,
        child: &RunKey,
        parent: &Redrive,
        depth: usize,
    ) -> Result<Option<(Base, Redrive)>, Error> {
        let Some(row) = self.summary(child)? else { return Ok(None) };
        if depth > NESTED_MAX || row.spec.is_none() {
            return Ok(None);
        }
        let (base, _) = self.read_base(&row)?;
        let mut redrive = Redrive {
            of: child.run_id,
            of_workflow: child.workflow_id.to_string(),
            epoch: base.epoch.saturating_add(1),
            by: parent.by.clone(),
            reason: parent.reason.clone(),
            scope: Scope::Rest,
            allow_unsafe: parent.allow_unsafe.clone(),
            memo: base.memo_of_child(thread::now()),
        };
        for (id, below) in base.children(&Scope::Rest).map_err(invalid)? {
            if let Some((_, again)) = self.child(&below, &redrive, depth + 1)? {
                redrive.memo.children.insert(id, again);
            }
        }
        Ok(Some((base, redrive)))
    }
}

fn missing() -> Error {
    Error::Corrupt(
        "the run's definition is missing; restore the data directory from a backup".into(),
    )
}

fn lane_of(base: &RunKey, wanted: &Redriving) -> Lane {
    let workflow_id = wanted.workflow_id.clone().unwrap_or_else(|| base.workflow_id.clone());
    Lane { namespace: base.namespace.clone(), workflow_id }
}

/// The base's input with what is other.
fn input(
    base: &Base,
    next: &reflux_flow::Flow,
    other: &Map<String, Value>,
) -> Result<Value, Error> {
    let mut input = Value::clone(base.progress.input());
    if other.is_empty() {
        // What was taken once is taken again, also if the definition asks for more now.
        return Ok(input);
    }
    match &mut input {
        Value::Object(fields) => fields.extend(other.clone()),
        _ => input = Value::Object(other.clone()),
    }
    check_input(next, input).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::Invalid(format!("the input: {}", problems.join("; ")))
    })
}

fn context(now: reflux_core::Timestamp) -> Context {
    let worker = Worker { identity: "plan".into(), boot: BootId(Uuid::now_v7()) };
    Context {
        now,
        limits: Limits::default(),
        local: Local { queue: LOCAL_QUEUE.into(), worker },
        new_run_id: RunId(Uuid::now_v7()),
    }
}

fn suspend(wanted: &Redriving) -> Suspend {
    Suspend { reason: "it is re-driven".into(), identity: wanted.by.clone(), ..Suspend::default() }
}

fn invalid(refused: Refused) -> Error {
    Error::Invalid(refused.to_string())
}

fn without_consent(steps: &[String]) -> Error {
    let names: Vec<String> = steps.iter().map(|step| format!("`{step}`")).collect();
    Error::Invalid(format!(
        "{} would be called again, and calling twice may do harm; look at the plan and allow it by name",
        names.join(", ")
    ))
}
