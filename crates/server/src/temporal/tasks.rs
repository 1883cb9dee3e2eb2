//! Workflow tasks: handed out, completed, failed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reflux_core::{
    Command, CompleteTask, Decision, Event, EventId, Failure, Kind, Run, RunKey, Sticky,
    TaskFailedCause, WorkflowTask, wire,
};
use reflux_engine::{Ask, Execution, Lane, Offer, Queue, QueueKind};
use reflux_proto::temporal::api::taskqueue::v1::StickyExecutionAttributes;
use reflux_proto::temporal::api::workflowservice::v1::{
    PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest, RespondWorkflowTaskFailedResponse,
};
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

use super::Frontend;
use super::activities::{self, Begun};
use super::commands::{self, Wrong};
use super::convert::{queue_name, text};
use super::errors::{invalid, not_found, refused, unhandled_command, unimplemented};
use super::handout::Handout;
use super::query::outcome;
use super::tokens::Task;

/// Events behind a task's scheduling among which its end is looked for: what came before a worker
/// took it stands between.
const EVENTS_LOOKED_AT: usize = 1_000;
/// Bytes of them: small enough to be read for a refusal.
const EVENTS_BYTES_MAX: usize = 1024 * 1024;

type Claimed = Option<(PollWorkflowTaskQueueResponse, Task)>;

impl Frontend {
    pub(super) async fn poll_workflow_task(
        &self,
        until: Instant,
        request: PollWorkflowTaskQueueRequest,
    ) -> Result<PollWorkflowTaskQueueResponse, Status> {
        let namespace = self.namespace(request.namespace)?;
        let name = queue_name(request.task_queue)?;
        let identity = text("Identity", request.identity)?;
        let queue = Queue { namespace, name, kind: QueueKind::Workflow };
        let _here = self.pollers.enter(&queue, &identity);
        while let Some(offer) = self.next_offer(&queue, until).await {
            let (frontend, queue, identity) = (self.clone(), queue.clone(), identity.clone());
            let taken = self
                .delivered(async move {
                    match offer {
                        Offer::Task { run, scheduled, .. } => {
                            frontend.take_task(run, scheduled, identity, Some(queue.name)).await
                        }
                        Offer::Query { run, id } => frontend.take_query(run, id, &queue.name).await,
                        Offer::Activity { .. } => Ok(None),
                    }
                })
                .await?;
            if let Some(task) = taken {
                return Ok(task);
            }
        }
        Ok(PollWorkflowTaskQueueResponse::default())
    }

    /// Starts a task for a worker; `None` when it is another's or over. `polled` is the queue the
    /// worker asked, `None` if it has just completed the task before.
    pub(super) async fn take_task(
        &self,
        run: RunKey,
        scheduled: EventId,
        identity: Arc<str>,
        polled: Option<Arc<str>>,
    ) -> Result<Claimed, Status> {
        let request_id: Arc<str> = Uuid::now_v7().to_string().into();
        let ask = || Ask::Command {
            run_id: Some(run.run_id),
            first_run: None,
            command: Command::StartTask {
                scheduled,
                identity: identity.clone(),
                request_id: request_id.clone(),
            },
        };
        let engine = self.app.engine.clone();
        let look = move |_: &_, execution: &Execution| {
            Handout::of_task(execution, polled.as_deref())
                .map(|handout| (handout, engine.attach_queries(execution.run())))
        };
        let Some(Some((handout, open))) = self.claim(Lane::of(&run), ask, look).await? else {
            return Ok(None);
        };
        let Some(task) = handout.task() else { return Ok(None) };
        let queries =
            open.into_iter().map(|open| (open.id.to_string(), (*open.query).clone())).collect();
        match self.hand_out(handout, &task, None, queries).await {
            Ok(answer) => Ok(Some((answer, task))),
            Err(error) => {
                self.give_back(task).await;
                Err(error)
            }
        }
    }

    async fn take_query(&self, run: RunKey, id: Arc<str>, queue: &str) -> Result<Claimed, Status> {
        let Some(query) = self.app.engine.open_query(&run, &id) else { return Ok(None) };
        let queue = queue.to_owned();
        let look = move |run: &reflux_core::Run| Handout::of_query(run, &queue);
        let looked = self.app.engine.look(Lane::of(&run), Some(run.run_id), look).await;
        let Ok(handout) = looked else { return Ok(None) };
        let task = Task::Query { run, id };
        let query = Some((*query).clone());
        let answer = self.hand_out(handout, &task, query, BTreeMap::new()).await?;
        Ok(Some((answer, task)))
    }

    pub(super) async fn complete_workflow_task(
        &self,
        request: RespondWorkflowTaskCompletedRequest,
    ) -> Result<RespondWorkflowTaskCompletedResponse, Status> {
        let task = self.tokens.read(&request.task_token, &request.namespace)?;
        let Task::Workflow { run, scheduled, attempt } = task else {
            return Err(not_found("task token: not a workflow task's; drop the task"));
        };
        if !request.messages.is_empty() {
            return Err(unimplemented("an update"));
        }
        if request.intermediate_page || request.page_number != 0 {
            return Err(unimplemented("a workflow task completed in pages"));
        }
        let identity = text("Identity", request.identity)?;
        let sticky = sticky(request.sticky_attributes)?;
        let mut decisions = match commands::decisions(request.commands, &identity) {
            Ok(decisions) => decisions,
            Err(wrong) => {
                return Err(self.refuse_task(&run, scheduled, attempt, identity, wrong).await);
            }
        };
        self.hold_eager(&run, &mut decisions);
        let closing = decisions.iter().any(Decision::closes_run);
        let eager = commands::eager(&decisions);
        let command = Command::CompleteTask(Box::new(CompleteTask {
            scheduled,
            attempt,
            identity: identity.clone(),
            decisions,
            sticky,
            heartbeat: request.force_create_new_workflow_task,
            sdk_metadata: request.sdk_metadata.map(Box::new),
        }));
        let ask = Ask::Command { run_id: Some(run.run_id), first_run: None, command };
        let look = move |_: &_, run: &Run| Done {
            completed: run.task_completed > scheduled,
            next: match &run.task {
                WorkflowTask::Scheduled(task) => Some(task.scheduled),
                WorkflowTask::Started(_)
                | WorkflowTask::Idle
                | WorkflowTask::Backoff { .. }
                | WorkflowTask::AwaitsParent => None,
            },
            eager: eager.iter().filter_map(|id| activities::begun(run, id)).collect(),
        };
        let done = self.app.engine.ask(Lane::of(&run), ask, look).await.map_err(refused)?;
        if !done.completed {
            return Err(self.why_failed(&run, scheduled, closing).await);
        }
        for (id, result) in request.query_results {
            // Who asked may have gone.
            self.app.engine.answer_query(&run, &id, outcome(result));
        }
        let mut answer = RespondWorkflowTaskCompletedResponse::default();
        for begun in done.eager {
            // An answer that does not arrive: its time-outs bring the activity back.
            answer.activity_tasks.extend(self.hand_over(&run, begun).await?.map(|(task, _)| task));
        }
        if let Some(next) = done.next.filter(|_| request.return_new_workflow_task) {
            let frontend = self.clone();
            let taken = async move { frontend.take_task(run, next, identity, None).await };
            answer.workflow_task = self.delivered(taken).await?;
        }
        Ok(answer)
    }

    /// Fails a task whose commands cannot be decisions, and says why.
    async fn refuse_task(
        &self,
        run: &RunKey,
        scheduled: EventId,
        attempt: u32,
        identity: Arc<str>,
        wrong: Wrong,
    ) -> Status {
        let failure = Failure { message: wrong.message.clone(), ..Default::default() };
        let command = Command::FailTask {
            scheduled,
            attempt,
            cause: wrong.cause,
            failure: Some(Arc::new(failure)),
            identity,
        };
        match self.to_run(run, command).await {
            Ok(()) => invalid(wrong.message),
            Err(error) => error,
        }
    }

    /// Why the run took a completion for a failure: the event that it wrote, if it wrote one. The
    /// end of a transient task is not in the history.
    async fn why_failed(&self, run: &RunKey, scheduled: EventId, closing: bool) -> Status {
        let behind =
            self.app.engine.history(run, scheduled, EVENTS_LOOKED_AT, EVENTS_BYTES_MAX).await;
        let events = behind.map(|events| events.encoded).unwrap_or_default();
        for event in events.into_iter().filter_map(|event| Event::decode(event).ok()) {
            match event.kind {
                Kind::TaskFailed(failed) if failed.scheduled == scheduled => {
                    return match (failed.cause, failed.failure) {
                        (TaskFailedCause::UnhandledCommand, _) => unhandled_command(),
                        (_, Some(failure)) => invalid(failure.message.clone()),
                        (cause, None) => invalid(cause.as_str_name()),
                    };
                }
                Kind::TaskTimedOut(ended) if ended.scheduled == scheduled => {
                    return not_found("workflow task heartbeat timeout");
                }
                _ => {}
            }
        }
        match closing {
            true => unhandled_command(),
            false => invalid("the workflow task failed: its commands could not be carried out"),
        }
    }

    pub(super) async fn fail_workflow_task(
        &self,
        request: RespondWorkflowTaskFailedRequest,
    ) -> Result<RespondWorkflowTaskFailedResponse, Status> {
        let cause = request.cause();
        let task = self.tokens.read(&request.task_token, &request.namespace)?;
        let Task::Workflow { run, scheduled, attempt } = task else {
            return Err(not_found("task token: not a workflow task's; drop the task"));
        };
        let command = Command::FailTask {
            scheduled,
            attempt,
            cause,
            failure: request.failure.map(Arc::new),
            identity: text("Identity", request.identity)?,
        };
        self.to_run(&run, command).await?;
        Ok(RespondWorkflowTaskFailedResponse {})
    }

    /// A command to exactly that run.
    pub(super) async fn to_run(&self, run: &RunKey, command: Command) -> Result<(), Status> {
        let ask = Ask::Command { run_id: Some(run.run_id), first_run: None, command };
        self.app.engine.ask(Lane::of(run), ask, |_, _| ()).await.map_err(refused)
    }
}

/// What became of a completed task.
struct Done {
    /// Whether the run took it so.
    completed: bool,
    /// The task that follows, if there is one for a worker.
    next: Option<EventId>,
    /// The activities that the worker has with it.
    eager: Vec<Begun>,
}

fn sticky(given: Option<StickyExecutionAttributes>) -> Result<Option<Sticky>, Status> {
    /// How long a task waits for the worker that has its run when that worker does not say (Temporal's).
    const WAIT: Duration = Duration::from_secs(5);
    let Some(given) = given else { return Ok(None) };
    let Some(queue) = given.worker_task_queue.filter(|queue| !queue.name.is_empty()) else {
        return Ok(None);
    };
    Ok(Some(Sticky {
        task_queue: text("StickyTaskQueue", queue.name)?,
        schedule_to_start: wire::length(given.schedule_to_start_timeout.as_ref()).unwrap_or(WAIT),
    }))
}
