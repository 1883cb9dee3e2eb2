//! Where a run stands on its graph: a fold over its events.
//!
//! ```text
//! event ─→ observe ─→ Progress { steps, open work, agenda } ─→ advance ─→ decisions
//! ```
//!
//! Nothing is decided here: what a step does next stands in the agenda, and leaves it when the
//! event of that decision is observed. So replaying the events of a run gives the same progress,
//! and a run whose agenda is not empty goes on wherever it was interrupted.

mod activation;
mod agenda;
mod alternative;
mod approval;
mod ledger;
mod mark;
mod mutation;
mod observe;
mod spawn;
mod step;
mod transition;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use reflux_core::{EventId, Header, RunKey};
use serde_json::Value;

pub use activation::Activation;
pub(crate) use alternative::Failing;
pub use mark::{
    Break, Breakpoints, Fanout, Mark, Mutation, Origin, Reuse, ReuseKind, Route, Skip, Spawn,
    StepFailed, Stepping, WaitFor, When,
};
pub(crate) use mutation::{Removed, Standing, restarts};
pub use observe::Incoherent;
pub(crate) use observe::decides;
pub(crate) use spawn::spawned_steps;
pub use step::{Outcome, Phase, StepState};

use crate::alternatives::Readers;
use crate::graph::{Bundle, Flow, Step, StepId};

/// The signal by which a waiting approval is decided.
pub const APPROVAL_SIGNAL: &str = "reflux.approve";

/// Signals that came before anything waited for them, per name. Past it the oldest are kept and
/// the newest dropped: a waiting step takes the oldest first.
const SIGNALS_KEPT_MAX: usize = 10_000; // Temporal's bound on the signals of one run

/// Where a run stands on its graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    bundle: Arc<Bundle>,
    flow: Arc<Flow>,
    key: RunKey,
    input: Arc<Value>,
    steps: Vec<StepState>,
    /// For each step, the steps that need it.
    dependents: Vec<Vec<usize>>,
    /// Steps that the flow's own failure handler can reach: their failures are not handed to it
    /// again.
    handlers: BTreeSet<usize>,
    /// What is read of each step, if one of them has alternatives.
    readers: Arc<Readers>,
    open: Open,
    agenda: Agenda,
    steering: Steering,
    signals: BTreeMap<String, VecDeque<Arc<Value>>>,
    /// Succeeded steps that can be taken back, in order of their success.
    undoable: Vec<usize>,
    ending: Option<Ending>,
    /// Whether the run was asked to stop.
    canceling: bool,
    /// What a sub-flow's header holds: the digest of the bundle.
    spec: Header,
    /// `workflow.error`: the latest failure that a route handled.
    error: Option<Arc<Value>>,
    /// What went wrong while steps were taken back.
    undo_errors: Vec<Arc<Value>>,
    done: u32,
    closed: bool,
    /// Keys of what it did; `None` unless somebody asks for them.
    ledger: Option<Box<ledger::Ledger>>,
}

/// Work that has begun and not ended.
#[derive(Debug, Clone, Default, PartialEq)]
struct Open {
    activities: BTreeMap<EventId, Activation>,
    /// Who may do the work of an activity if its node fails.
    others: BTreeMap<EventId, alternative::Others>,
    children: BTreeMap<EventId, Activation>,
    timers: BTreeMap<Arc<str>, Activation>,
    /// By the name of the signal, first come first served.
    signal_waits: BTreeMap<String, VecDeque<Activation>>,
    /// By activation id.
    approvals: BTreeMap<String, Activation>,
    /// Activities and children that were asked to stop.
    stopping: BTreeSet<EventId>,
    /// Steps that wait for the steps they spawned.
    parents: BTreeSet<usize>,
    /// Steps that start again as they are now when what they run has ended without a result.
    restarting: BTreeSet<StepId>,
    /// Children that were paused with this run.
    suspended: BTreeSet<EventId>,
}

/// What operators asked of the run.
#[derive(Debug, Clone, Default, PartialEq)]
struct Steering {
    /// How often the graph was changed.
    revision: u64,
    /// Steps that were removed: what they run may still be open under their names.
    gone: BTreeSet<StepId>,
    /// Steps before which the run pauses.
    breakpoints: BTreeSet<StepId>,
    /// Visits before which it has paused.
    passed: BTreeSet<(StepId, u32)>,
    /// Starts that are left before the run pauses; `None` while nobody single-steps.
    steps_left: Option<u32>,
}

/// What is to be decided next, in the order in which it is taken up.
#[derive(Debug, Clone, Default, PartialEq)]
struct Agenda {
    /// Timers whose wait ended otherwise.
    stale_timers: BTreeSet<Arc<str>>,
    /// Steps whose node failed and whose work another one is to do.
    failing: BTreeMap<StepId, Failing>,
    /// Steps whose output holds steps, with the activation it came from.
    spawns: BTreeMap<String, Arc<Value>>,
    /// Ended visits (step, visit, succeeded) whose rules are to be evaluated.
    routes: BTreeSet<(usize, u32, bool)>,
    /// Steps that are skipped because a need (the second) was.
    skips: BTreeSet<(usize, usize)>,
    /// Steps to be started.
    ready: BTreeSet<usize>,
    /// Steps whose `for_each` has items left and room for them.
    fanning: BTreeSet<usize>,
}

/// How a run that does not simply complete will end, once nothing runs any more.
#[derive(Debug, Clone, PartialEq)]
enum Ending {
    Failed(Arc<Value>),
    Canceled,
}

impl Progress {
    /// Where a run of the bundle's flow of that name stands before its first event.
    /// `None` when the bundle has no such flow.
    pub fn new(bundle: Arc<Bundle>, flow: &str, key: RunKey) -> Option<Self> {
        let flow = bundle.flows.get(flow)?.clone();
        let mut progress = Self {
            bundle,
            key,
            input: Arc::new(Value::Null),
            steps: Vec::with_capacity(flow.steps.len()),
            dependents: Vec::with_capacity(flow.steps.len()),
            handlers: BTreeSet::new(),
            readers: alternative::readers_of(&flow),
            open: Open::default(),
            agenda: Agenda::default(),
            steering: Steering::default(),
            signals: BTreeMap::new(),
            undoable: Vec::new(),
            ending: None,
            canceling: false,
            spec: Header::default(),
            error: None,
            undo_errors: Vec::new(),
            done: 0,
            closed: false,
            ledger: None,
            flow,
        };
        progress.connect(0);
        progress.handlers = handler_steps(&progress.flow);
        Some(progress)
    }

    /// The definition as it is now: spawned steps included.
    pub fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    /// How often the definition was changed since the run began.
    pub fn revision(&self) -> u64 {
        self.steering.revision
    }

    /// The flows the run can call.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// Which run this is.
    pub fn key(&self) -> &RunKey {
        &self.key
    }

    /// The run's input.
    pub fn input(&self) -> &Arc<Value> {
        &self.input
    }

    /// Each step with where it stands, in order of declaration, spawned ones last.
    pub fn steps(&self) -> impl Iterator<Item = (&Step, &StepState)> {
        self.flow.steps.iter().zip(&self.steps)
    }

    /// Where the step of that name stands.
    pub fn step(&self, id: &str) -> Option<&StepState> {
        self.flow.index.get(id).and_then(|at| self.steps.get(*at))
    }

    /// Steps that have ended, of all.
    pub fn counts(&self) -> (u32, u32) {
        (self.done, u32::try_from(self.steps.len()).unwrap_or(u32::MAX))
    }

    /// The failure that a route handled last: `workflow.error`.
    pub fn error(&self) -> Option<&Arc<Value>> {
        self.error.as_ref()
    }

    /// The approvals somebody has to decide: their activation ids.
    pub fn approvals(&self) -> impl Iterator<Item = &str> {
        self.open.approvals.keys().map(String::as_str)
    }

    /// The signals that steps wait for.
    pub fn awaited_signals(&self) -> impl Iterator<Item = &str> {
        self.open.signal_waits.keys().map(String::as_str)
    }

    /// Whether that activation waits for a signal or an approval.
    pub fn awaits(&self, activation: &str) -> bool {
        let is_it = |waiting: &Activation| waiting.to_string() == activation;
        self.open.approvals.contains_key(activation)
            || self.open.signal_waits.values().flatten().any(is_it)
    }

    /// The activation that a scheduled activity belongs to, while it is open.
    pub fn activation(&self, scheduled: EventId) -> Option<&Activation> {
        self.open.activities.get(&scheduled)
    }

    /// Takes up the steps of the flow from `from` on: their states, and who needs them.
    fn connect(&mut self, from: usize) {
        let flow = self.flow.clone();
        for step in flow.steps.iter().skip(from) {
            self.steps.push(StepState::of(step));
            self.dependents.push(Vec::new());
        }
        for (at, step) in flow.steps.iter().enumerate().skip(from) {
            for need in &step.needs {
                let Some(need) = flow.index.get(need) else { continue };
                if let Some(dependents) = self.dependents.get_mut(*need) {
                    dependents.push(at);
                }
            }
        }
    }

    /// The header by which a sub-flow finds the same bundle.
    pub(crate) fn spec_header(&self) -> Header {
        self.spec.clone()
    }

    fn position(&self, id: &StepId) -> Option<usize> {
        self.flow.index.get(id).copied()
    }

    fn state(&mut self, at: usize) -> Option<&mut StepState> {
        self.steps.get_mut(at)
    }
}

/// The steps that can only start after the flow's failure handler has.
fn handler_steps(flow: &Flow) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&StepId> = targets(&flow.on_failure).collect();
    while let Some(id) = next.pop() {
        let Some(at) = flow.index.get(id).copied() else { continue };
        if !reached.insert(at) {
            continue;
        }
        if let Some(step) = flow.steps.get(at) {
            next.extend(targets(&step.on_success));
            next.extend(targets(&step.on_failure));
        }
        let dependents = flow.steps.iter().filter(|step| step.needs.contains(id));
        next.extend(dependents.map(|step| &step.id));
    }
    reached
}

fn targets(rules: &[crate::graph::Rule]) -> impl Iterator<Item = &StepId> {
    rules.iter().flat_map(|rule| rule.then.iter().chain(&rule.otherwise))
}
