//! What folding items gives: one run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use crate::{
    Activity, Child, Close, Event, EventId, ExternalCancel, ExternalSignal, HEADER_SPEC,
    HEADER_SYSTEM, Header, IllegalItem, Item, Kind, Malformed, Memo, Outgoing, RunKey,
    SearchAttributes, Started, Sticky, Timer, Timestamp, Update, WorkflowTask, apply,
};

/// One run: everything that is known of it and survives a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Which.
    pub key: RunKey,
    /// Where it stands; `Running` before it is started too.
    pub status: Status,
    /// How it began; `None` until it did.
    pub started: Option<Arc<Started>>,
    /// When it began.
    pub started_at: Timestamp,
    /// Number of the next event.
    pub next_event_id: EventId,
    /// Size of the history: payloads, names and 64 bytes for each event.
    pub history_bytes: u64,
    /// Open activities by their `ActivityScheduled`; the last ones of a closed run.
    pub activities: BTreeMap<EventId, Activity>,
    /// The same by activity id.
    pub activity_ids: BTreeMap<Arc<str>, EventId>,
    /// Open timers by timer id.
    pub timers: BTreeMap<Arc<str>, Timer>,
    /// Open children by their `ChildInitiated`.
    pub children: BTreeMap<EventId, Child>,
    /// Signals to others that are not acknowledged, by their event.
    pub external_signals: BTreeMap<EventId, ExternalSignal>,
    /// Requests to others to end that are not acknowledged, by their event.
    pub external_cancels: BTreeMap<EventId, ExternalCancel>,
    /// The workflow task; of a flow only its delayed beginning.
    pub task: WorkflowTask,
    /// Number of the next workflow task's attempt: 1, and more after failures.
    pub task_attempt: u32,
    /// The last `TaskCompleted`; 0 when there was none.
    pub task_completed: EventId,
    /// The worker that has the run in its cache.
    pub sticky: Option<Sticky>,
    /// The last `TaskCompleted`, and since when its worker asks for more time.
    pub task_heartbeat: Option<(EventId, Timestamp)>,
    /// Events that wait for the started workflow task to end.
    pub buffered: Buffer,
    /// Updates that were accepted, by id.
    pub updates: BTreeMap<Arc<str>, Update>,
    /// Highest message number taken from each other run.
    pub inbox: BTreeMap<RunKey, u64>,
    /// Messages that are not acknowledged, by number.
    pub outbox: BTreeMap<u64, Outgoing>,
    /// Number of the next message.
    pub next_seq: u64,
    /// Everything that happens by itself, and when.
    pub deadlines: BTreeSet<(Timestamp, Deadline)>,
    /// Requests that were taken in.
    pub request_ids: BTreeSet<Arc<str>>,
    /// Signals that were taken in.
    pub signals: u64,
    /// When it was asked to end.
    pub cancel_requested: Option<Timestamp>,
    /// Why it is paused, if it is.
    pub paused: Option<Paused>,
    /// How it ended.
    pub closed: Option<Close>,
    /// For people.
    pub memo: Memo,
    /// For lists.
    pub search_attributes: SearchAttributes,
    /// It is archived and may leave the store.
    pub retired: bool,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The words of the API.
pub enum Status {
    Running,
    Completed,
    Failed,
    Canceled,
    Terminated,
    TimedOut,
    ContinuedAsNew,
}

/// Who decides what a run does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decider {
    /// A worker, asked by workflow tasks.
    Code,
    /// The flow language, inside the partition.
    Flow,
    /// Nobody: the run is a record of the server's own, such as a deployed flow. Its input is what
    /// is recorded, and it stays open until it is replaced or taken away.
    System,
}

impl Decider {
    /// A header with a specification makes a run a flow, one that says so a record.
    pub fn of(header: &Header) -> Self {
        let has = |field: &str| header.fields.contains_key(field);
        match (has(HEADER_SPEC), has(HEADER_SYSTEM)) {
            (true, _) => Self::Flow,
            (false, true) => Self::System,
            (false, false) => Self::Code,
        }
    }
}

/// Why a run is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Since when.
    pub since: Timestamp,
    /// Who did it.
    pub identity: Arc<str>,
    /// For people.
    pub reason: Arc<str>,
    /// Whether it ends when every unknown outcome is resolved.
    pub outcome_unknown: bool,
    /// Whether it ends when the parent goes on.
    pub by_parent: bool,
}

/// What happens by itself. In the order in which things due at one moment happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// A timer fires.
    Timer(Arc<str>),
    /// An attempt has run too long.
    StartToClose(EventId),
    /// An attempt was silent for too long.
    Heartbeat(EventId),
    /// An activity found no worker.
    ScheduleToStart(EventId),
    /// An activity took too long in all.
    ScheduleToClose(EventId),
    /// An activity is tried again.
    Retry(EventId),
    /// The delayed beginning of the run.
    Begin,
    /// The workflow task was not taken or not answered in time.
    Task,
    /// The run took too long.
    Run,
    /// The chain of runs took too long.
    Execution,
}

/// Events that wait for the started workflow task to end, in the order they will be written:
/// completions of activities and children last, as SDKs expect.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Buffer {
    pub(crate) early: VecDeque<Event>,
    pub(crate) late: VecDeque<Event>,
}

impl Buffer {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.early.len() + self.late.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.early.is_empty() && self.late.is_empty()
    }

    /// In the order they will be written.
    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.early.iter().chain(&self.late)
    }

    pub(crate) fn push(&mut self, event: Event) {
        if event.kind.is_completion() {
            self.late.push_back(event);
        } else {
            self.early.push_back(event);
        }
    }

    pub(crate) fn front(&self) -> Option<&Event> {
        self.early.front().or_else(|| self.late.front())
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.early.pop_front().or_else(|| self.late.pop_front())
    }

    /// Takes back that a timer fired; false when no such event waits.
    pub(crate) fn unfire(&mut self, timer_id: &str) -> bool {
        let at = self.early.iter().position(
            |event| matches!(&event.kind, Kind::TimerFired(fired) if *fired.timer_id == *timer_id),
        );
        at.is_some_and(|at| self.early.remove(at).is_some())
    }
}

impl Run {
    /// A run of which nothing is known yet.
    pub fn new(key: RunKey) -> Self {
        Self {
            key,
            status: Status::Running,
            started: None,
            started_at: Timestamp::default(),
            next_event_id: EventId::FIRST,
            history_bytes: 0,
            activities: BTreeMap::new(),
            activity_ids: BTreeMap::new(),
            timers: BTreeMap::new(),
            children: BTreeMap::new(),
            external_signals: BTreeMap::new(),
            external_cancels: BTreeMap::new(),
            task: WorkflowTask::Idle,
            task_attempt: 1,
            task_completed: EventId(0),
            sticky: None,
            task_heartbeat: None,
            buffered: Buffer::default(),
            updates: BTreeMap::new(),
            inbox: BTreeMap::new(),
            outbox: BTreeMap::new(),
            next_seq: 1,
            deadlines: BTreeSet::new(),
            request_ids: BTreeSet::new(),
            signals: 0,
            cancel_requested: None,
            paused: None,
            closed: None,
            memo: Memo::default(),
            search_attributes: SearchAttributes::default(),
            retired: false,
        }
    }

    /// When something happens by itself next.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// Whether it was started and has not ended.
    pub fn is_open(&self) -> bool {
        self.started.is_some() && self.closed.is_none()
    }

    /// Whether its decider may take the first step: a delayed beginning is over.
    pub fn has_begun(&self) -> bool {
        self.started.is_some() && !matches!(self.task, WorkflowTask::Backoff { .. })
    }

    /// Who decides; `None` until it is started.
    pub fn decider(&self) -> Option<Decider> {
        self.started.as_ref().map(|started| Decider::of(&started.header))
    }

    /// How many events the history holds.
    pub fn history_events(&self) -> u64 {
        u64::try_from(self.next_event_id.0.saturating_sub(1)).unwrap_or(0)
    }

    /// The open activity of that id.
    pub fn activity_by_id(&self, activity_id: &str) -> Option<&Activity> {
        self.activity_ids.get(activity_id).and_then(|scheduled| self.activities.get(scheduled))
    }

    /// First run of the chain.
    pub fn first_run_id(&self) -> crate::RunId {
        self.started.as_ref().map_or(self.key.run_id, |started| started.first_run_id)
    }

    pub(crate) fn send(&mut self, outgoing: Outgoing) {
        self.outbox.insert(self.next_seq, outgoing);
        self.next_seq = self.next_seq.saturating_add(1);
    }

    pub(crate) fn arm(&mut self, due: Timestamp, deadline: Deadline) {
        self.deadlines.insert((due, deadline));
    }

    pub(crate) fn disarm(&mut self, due: Timestamp, deadline: Deadline) {
        self.deadlines.remove(&(due, deadline));
    }
}

/// Why items do not make a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The bytes are damaged or newer than this version.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The items contradict each other.
    #[error(transparent)]
    Illegal(#[from] IllegalItem),
}

/// Folds items into the run they make.
///
/// # Errors
/// The first item that cannot be read or does not follow from those before it.
pub fn replay<E>(
    key: RunKey,
    items: impl Iterator<Item = Result<Item, E>>,
) -> Result<Run, ReplayError>
where
    ReplayError: From<E>,
{
    let mut run = Run::new(key);
    for item in items {
        apply(&mut run, &item?)?;
    }
    Ok(run)
}

impl From<std::convert::Infallible> for ReplayError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Terminated => "terminated",
            Self::TimedOut => "timed out",
            Self::ContinuedAsNew => "continued as new",
        })
    }
}
