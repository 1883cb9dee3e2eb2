//! How a run stood at an event, as JSON that stays.

use reflux_core::{EventId, Item, Phase as CallPhase, RunKey, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::short::{VALUE_BYTES, short};
use super::{Bundles, Problem, Replay};
use crate::decider::Decider;
use crate::graph::Step;
use crate::progress::{Outcome, Phase, Progress, StepState};
use crate::schedule::rfc3339;

/// Most steps, and most of what is open of one kind, that a view shows unless all is asked for.
const ROWS_MAX: usize = 1_000; // about a megabyte with the longest values

/// How much of a state is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View<'a> {
    /// Only this step.
    pub step: Option<&'a str>,
    /// Every step and every value whole; else long values are cut and rows bounded.
    pub full: bool,
}

/// How a run stood. Its JSON is stable: fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateAt {
    /// The last event that is in it; 0 before the first.
    pub event: i64,
    /// When that was, RFC 3339.
    pub time: String,
    /// How the run stood, such as `running` or `timed out`.
    pub status: String,
    /// Why it was paused; `None` when it was not.
    pub paused: Option<String>,
    /// How often its definition had been changed while it ran.
    pub revision: u64,
    /// What it was started with.
    pub input: Value,
    /// The failure that a route handled last.
    pub error: Option<Value>,
    /// Its steps, in the order of the definition, spawned ones last; none for code.
    pub steps: Vec<StepAt>,
    /// Steps that are not shown.
    pub steps_omitted: usize,
    /// What it waited for.
    pub open: OpenAt,
    /// Whether there was nothing to decide before something came from outside.
    pub agenda_empty: bool,
}

/// How a step stood.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepAt {
    /// Which.
    pub id: String,
    /// `idle`, `ready`, `running` or `ended`.
    pub phase: &'static str,
    /// How its latest visit that ended did: `succeeded`, `failed` or `skipped`.
    pub outcome: Option<&'static str>,
    /// How often it was started.
    pub visits: u32,
    /// What its latest visit that ended gave.
    pub output: Option<Value>,
    /// How that failed.
    pub error: Option<Value>,
    /// While a `for_each` is under way.
    pub items: Option<ItemsAt>,
}

/// How far a `for_each` was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ItemsAt {
    /// Items that had ended.
    pub done: usize,
    /// All items.
    pub total: usize,
}

/// What a run waited for; at most some of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct OpenAt {
    /// Calls of nodes.
    pub activities: Vec<OpenActivity>,
    /// Timers.
    pub timers: Vec<OpenTimer>,
    /// Sub-flows.
    pub children: Vec<OpenChild>,
    /// Names of the signals that steps waited for.
    pub signals: Vec<String>,
    /// Activation ids of the approvals that somebody had to give.
    pub approvals: Vec<String>,
    /// What is not shown.
    pub omitted: usize,
}

/// A call that had not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenActivity {
    /// Its `ActivityTaskScheduled`.
    pub event: i64,
    /// Activation id.
    pub activation: String,
    /// What was called.
    pub node: String,
    /// Number of the running attempt, or of the next one.
    pub attempt: u32,
    /// `waiting`, `backoff`, `started`, `outcome unknown` or `ended`.
    pub phase: &'static str,
}

/// A timer that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenTimer {
    /// Activation id.
    pub id: String,
    /// When it was to fire, RFC 3339.
    pub due: String,
}

/// A sub-flow that had not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenChild {
    /// Its `StartChildWorkflowExecutionInitiated`.
    pub event: i64,
    /// Its workflow id.
    pub workflow_id: String,
    /// First run of its chain.
    pub run_id: String,
}

/// How a run stood when that event was its last, or as it is now.
///
/// # Errors
/// The items do not fit each other or the definition, or that is missing.
pub fn state_at(
    key: RunKey,
    items: &[Item],
    bundles: &Bundles<'_>,
    event: Option<EventId>,
    view: View<'_>,
) -> Result<StateAt, Problem> {
    let mut replay = Replay::new(key, bundles);
    let mut time = Timestamp::default();
    for item in items {
        if let Item::Event(found) = item {
            if event.is_some_and(|last| found.id > last) {
                break;
            }
            time = found.time;
        }
        replay.absorb(item)?;
    }
    Ok(StateAt::of(&replay, time, view))
}

impl StateAt {
    /// How a run stands whose last event came at `time`.
    pub fn of(replay: &Replay<'_>, time: Timestamp, view: View<'_>) -> Self {
        let run = replay.run();
        let progress = replay.decider().and_then(Decider::progress);
        let bytes_max = if view.full { usize::MAX } else { VALUE_BYTES };
        let rows_max = if view.full { usize::MAX } else { ROWS_MAX };
        let shown = |step: &Step| view.step.is_none_or(|wanted| step.id.as_str() == wanted);
        let all = progress.map(|progress| progress.steps().filter(|(step, _)| shown(step)).count());
        let steps: Vec<StepAt> = progress
            .into_iter()
            .flat_map(Progress::steps)
            .filter(|(step, _)| shown(step))
            .take(rows_max)
            .map(|(step, state)| StepAt::of(step, state, bytes_max))
            .collect();
        let input = progress.map(|progress| (**progress.input()).clone());
        Self {
            event: run.next_event_id.0 - 1,
            time: rfc3339(time),
            status: run.status.to_string(),
            paused: run.paused.as_ref().map(|paused| paused.reason.to_string()),
            revision: replay.revision(),
            input: short(&input.unwrap_or_default(), bytes_max),
            error: progress.and_then(Progress::error).map(|error| short(error, bytes_max)),
            steps_omitted: all.unwrap_or(0) - steps.len(),
            steps,
            open: OpenAt::of(replay, rows_max),
            agenda_empty: progress.is_none_or(|progress| !progress.has_agenda()),
        }
    }
}

impl StepAt {
    fn of(step: &Step, state: &StepState, bytes_max: usize) -> Self {
        let view = state.view();
        let output = view.filter(|_| state.outcome == Some(Outcome::Succeeded));
        Self {
            id: step.id.to_string(),
            phase: match state.phase {
                Phase::Idle => "idle",
                Phase::Ready => "ready",
                Phase::Running => "running",
                Phase::Ended => "ended",
            },
            outcome: state.outcome.map(|outcome| match outcome {
                Outcome::Succeeded => "succeeded",
                Outcome::Failed => "failed",
                Outcome::Skipped => "skipped",
            }),
            visits: state.visits,
            output: output.map(|view| short(&view.output, bytes_max)),
            error: view.and_then(|view| view.error.as_ref()).map(|error| short(error, bytes_max)),
            items: state.items().map(|(done, total)| ItemsAt { done, total }),
        }
    }
}

impl OpenAt {
    fn of(replay: &Replay<'_>, rows_max: usize) -> Self {
        let run = replay.run();
        if run.closed.is_some() {
            return Self::default();
        }
        let progress = replay.decider().and_then(Decider::progress);
        let activities = run.activities.values().take(rows_max).map(|activity| OpenActivity {
            event: activity.scheduled.0,
            activation: activity.what.activity_id.to_string(),
            node: activity.what.activity_type.to_string(),
            attempt: activity.attempt,
            phase: match activity.phase {
                CallPhase::Waiting { .. } => "waiting",
                CallPhase::Backoff { .. } => "backoff",
                CallPhase::Started { .. } => "started",
                CallPhase::OutcomeUnknown { .. } => "outcome unknown",
                CallPhase::Ended { .. } => "ended",
            },
        });
        let timers = run
            .timers
            .values()
            .take(rows_max)
            .map(|timer| OpenTimer { id: timer.timer_id.to_string(), due: rfc3339(timer.due) });
        let children = run.children.values().take(rows_max).map(|child| OpenChild {
            event: child.initiated.0,
            workflow_id: child.what.workflow_id.to_string(),
            run_id: child.run_id.to_string(),
        });
        let signals = progress.into_iter().flat_map(Progress::awaited_signals);
        let approvals = progress.into_iter().flat_map(Progress::approvals);
        let open = Self {
            activities: activities.collect(),
            timers: timers.collect(),
            children: children.collect(),
            signals: signals.take(rows_max).map(str::to_owned).collect(),
            approvals: approvals.take(rows_max).map(str::to_owned).collect(),
            omitted: 0,
        };
        let all = run.activities.len() + run.timers.len() + run.children.len();
        let shown = open.activities.len() + open.timers.len() + open.children.len();
        Self { omitted: all - shown, ..open }
    }
}
