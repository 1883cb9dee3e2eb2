//! A workflow task as a worker gets it: what the run says of it, and the history up to it.
//!
//! A worker that has the run in its cache gets only the events since its last task. A transient
//! task is not in the history: its two events travel behind it.

use std::collections::BTreeMap;

use bytes::Bytes;
use reflux_core::{
    Event, EventId, Kind, Limits, Run, RunKey, ScheduledTask, StartedTask, TaskScheduled,
    TaskStarted, Timestamp, WorkflowTask, wire,
};
use reflux_engine::Execution;
use reflux_proto::temporal::api::common::v1::WorkflowType;
use reflux_proto::temporal::api::enums::v1::TaskQueueKind;
use reflux_proto::temporal::api::query::v1::WorkflowQuery;
use reflux_proto::temporal::api::taskqueue::v1::TaskQueue;
use reflux_proto::temporal::api::workflowservice::v1::PollWorkflowTaskQueueResponse;
use tonic::Status;

use super::Frontend;
use super::convert::to_execution;
use super::history::Page;
use super::tokens::{Place, Task};

/// Events that travel with a task; the worker asks for the others.
const TASK_EVENTS: usize = 1_000;

/// What a run says about a task that a worker has taken.
#[derive(Debug)]
pub(super) struct Handout {
    run: RunKey,
    workflow_type: String,
    /// The queue that every worker of the workflow polls.
    task_queue: String,
    /// The last event the worker has seen if it has the run in its cache.
    previous_started: EventId,
    /// The last event it is to see.
    last: EventId,
    sticky: bool,
    /// `None` for a query by itself.
    started: Option<StartedTask>,
    suffix: Vec<Bytes>,
    /// The events up to the last one, when they were at hand.
    history: Option<Bytes>,
}

impl Handout {
    /// The task the run has started; `None` when it has none. A task of a worker's own queue is
    /// offered to all when that worker is silent, and whoever polls another queue knows nothing of
    /// the run.
    pub(super) fn of_task(execution: &Execution, polled: Option<&str>) -> Option<Self> {
        let run = execution.run();
        let WorkflowTask::Started(started) = &run.task else { return None };
        let (last, suffix) = match started.task.transient {
            true => {
                let before = EventId(started.task.scheduled.0.saturating_sub(1));
                (before, transient(run, started))
            }
            false => (started.started, Vec::new()),
        };
        let own = polled.is_none_or(|queue| *queue == *started.task.task_queue);
        let sticky = own && started.task.sticky.is_some();
        let started = Some(started.clone());
        let mut handout = Self { last, suffix, sticky, started, ..Self::of(run) };
        handout.history = execution.history(handout.after(), last);
        Some(handout)
    }

    /// A query by itself, for the worker whose own queue has that name, or any.
    pub(super) fn of_query(run: &Run, queue: &str) -> Self {
        let sticky = run.sticky.as_ref().is_some_and(|sticky| *sticky.task_queue == *queue);
        Self { sticky, ..Self::of(run) }
    }

    fn of(run: &Run) -> Self {
        let begun = run.started.as_deref();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            run: run.key.clone(),
            workflow_type: text(begun.map(|begun| &*begun.workflow_type)),
            task_queue: text(begun.map(|begun| &*begun.task_queue)),
            // Nothing is written between the start of a task and its completion.
            previous_started: EventId(run.task_completed.0.saturating_sub(1).max(0)),
            last: EventId(run.next_event_id.0.saturating_sub(1)),
            sticky: false,
            started: None,
            suffix: Vec::new(),
            history: None,
        }
    }

    /// The event behind which the worker's history begins.
    fn after(&self) -> EventId {
        if self.sticky { self.previous_started } else { EventId(0) }
    }

    /// The task of it.
    pub(super) fn task(&self) -> Option<Task> {
        let started = self.started.as_ref()?;
        let (scheduled, attempt) = (started.task.scheduled, started.task.attempt);
        Some(Task::Workflow { run: self.run.clone(), scheduled, attempt })
    }
}

impl Frontend {
    /// The answer to the poll that took the task.
    pub(super) async fn hand_out(
        &self,
        handout: Handout,
        task: &Task,
        query: Option<WorkflowQuery>,
        queries: BTreeMap<String, WorkflowQuery>,
    ) -> Result<PollWorkflowTaskQueueResponse, Status> {
        let Handout { run, workflow_type, task_queue, previous_started, started, .. } = &handout;
        let page = match &handout.history {
            Some(history) => Page::whole(history, &handout.suffix),
            None => {
                let (until, suffix) = (handout.last.0, handout.suffix.clone());
                let place = Place { until, suffix, ..Place::of(run.run_id, handout.after()) };
                self.page(run, place, TASK_EVENTS).await?
            }
        };
        let moment = |of: fn(&StartedTask) -> Timestamp| {
            started.as_ref().and_then(|started| wire::to_time(of(started)))
        };
        Ok(PollWorkflowTaskQueueResponse {
            task_token: self.tokens.write(task),
            workflow_execution: Some(to_execution(run)),
            workflow_type: Some(WorkflowType { name: workflow_type.clone() }),
            previous_started_event_id: previous_started.0,
            started_event_id: started.as_ref().map_or(0, |started| started.started.0),
            attempt: started
                .as_ref()
                .map_or(1, |started| i32::try_from(started.task.attempt).unwrap_or(i32::MAX)),
            history: page.history,
            next_page_token: page.next.map(|next| next.write()).unwrap_or_default(),
            query,
            queries,
            workflow_execution_task_queue: Some(TaskQueue {
                name: task_queue.clone(),
                kind: TaskQueueKind::Normal.into(),
                normal_name: String::new(),
            }),
            scheduled_time: moment(|started| started.task.at),
            started_time: moment(|started| started.at),
            ..Default::default()
        })
    }
}

/// The events of a task that is not in the history.
fn transient(run: &Run, started: &StartedTask) -> Vec<Bytes> {
    let limits = Limits::default();
    let ScheduledTask { scheduled, at, attempt, timeout, task_queue, .. } = &started.task;
    let task_queue = task_queue.clone();
    let asked = TaskScheduled { task_queue, sticky: false, timeout: *timeout, attempt: *attempt };
    let taken = TaskStarted {
        scheduled: *scheduled,
        identity: started.identity.clone(),
        request_id: started.request_id.clone(),
        suggest_continue_as_new: run.history_events() >= limits.history_events_suggest
            || run.history_bytes >= limits.history_bytes_suggest,
        history_bytes: run.history_bytes,
    };
    let scheduled = Event { id: *scheduled, time: *at, kind: Kind::TaskScheduled(asked) };
    let started = Event { id: started.started, time: started.at, kind: Kind::TaskStarted(taken) };
    vec![scheduled.encode(), started.encode()]
}
