//! Activity tasks: handed out, alive, completed, failed, canceled; by token and by id.

use std::sync::Arc;
use std::time::Duration;

use reflux_core::{
    Activity, AttemptRef, Command, Decision, EventId, Failure, Payloads, Phase, Run, RunKey,
    Worker, wire,
};
use reflux_engine::{Ask, Error, Execution, Lane, Offer, Queue, QueueKind, Subject};
use reflux_proto::temporal::api::common::v1::{ActivityType, WorkflowType};
use reflux_proto::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueRequest, PollActivityTaskQueueResponse,
    RecordActivityTaskHeartbeatByIdRequest, RecordActivityTaskHeartbeatByIdResponse,
    RecordActivityTaskHeartbeatRequest, RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledByIdRequest, RespondActivityTaskCanceledByIdResponse,
    RespondActivityTaskCanceledRequest, RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedByIdRequest, RespondActivityTaskCompletedByIdResponse,
    RespondActivityTaskCompletedRequest, RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedByIdRequest, RespondActivityTaskFailedByIdResponse,
    RespondActivityTaskFailedRequest, RespondActivityTaskFailedResponse,
};
use tokio::time::Instant;
use tonic::Status;

use super::Frontend;
use super::convert::{lane, name, payloads, queue_name, text, to_execution};
use super::errors::{invalid, not_found, refused};
use super::tokens::Task;
use crate::secrets::{Scrub, Secrets};
use crate::{clock, workers};

/// What a worker is told of an attempt without a limit: workers count down from it (Temporal's).
const UNLIMITED: Duration = Duration::from_secs(10 * 365 * 86_400);

/// One attempt of one run's activity.
#[derive(Debug, Clone)]
struct Attempt {
    run: RunKey,
    scheduled: EventId,
    attempt: u32,
}

impl Frontend {
    pub(super) async fn poll_activity_task(
        &self,
        until: Instant,
        request: PollActivityTaskQueueRequest,
    ) -> Result<PollActivityTaskQueueResponse, Status> {
        let namespace = self.namespace(request.namespace)?;
        let name = queue_name(request.task_queue)?;
        let identity = text("Identity", request.identity)?;
        let queue = Queue { namespace, name, kind: QueueKind::Activity };
        let _here = self.pollers.enter(&queue, &identity);
        let subject =
            Subject::Queue { namespace: queue.namespace.clone(), name: queue.name.clone() };
        let asked = request.task_queue_metadata.and_then(|asked| asked.max_tasks_per_second);
        self.app.engine.gates().worker_rate(&subject, asked, clock::now());
        while let Some(offer) = self.next_offer(&queue, until).await {
            let Offer::Activity { run, scheduled, .. } = offer else { continue };
            let (frontend, identity) = (self.clone(), identity.clone());
            let claim = async move { frontend.take_activity(run, scheduled, identity).await };
            if let Some(task) = self.delivered(claim).await? {
                return Ok(task);
            }
        }
        Ok(PollActivityTaskQueueResponse::default())
    }

    /// Has activities that would begin at once wait in their queues when a rate or a circuit holds
    /// them.
    pub(super) fn hold_eager(&self, run: &RunKey, decisions: &mut [Decision]) {
        let gates = self.app.engine.gates();
        for decision in decisions {
            let Decision::ScheduleActivity(wanted) = decision else { continue };
            if wanted.claim.is_some() {
                let (node, queue) = (&wanted.activity_type, &wanted.task_queue);
                if gates.enter(node, &run.namespace, queue, clock::now()).is_err() {
                    wanted.claim = None;
                }
            }
        }
    }

    /// Starts an attempt for a worker; `None` when it is another's or over.
    async fn take_activity(
        &self,
        run: RunKey,
        scheduled: EventId,
        identity: Arc<str>,
    ) -> Result<Option<(PollActivityTaskQueueResponse, Task)>, Status> {
        let ask = || Ask::Command {
            run_id: Some(run.run_id),
            first_run: None,
            command: Command::ClaimActivity { scheduled, worker: Worker::remote(identity.clone()) },
        };
        let look = move |_: &_, execution: &Execution| {
            let run = execution.run();
            task_of(run, run.activities.get(&scheduled)?)
        };
        let Some(Some(begun)) = self.claim(Lane::of(&run), ask, look).await? else {
            return Ok(None);
        };
        self.hand_over(&run, begun).await
    }

    /// The task of an attempt that has begun; `None` when a secret it needs is not set, for which it
    /// has failed.
    pub(super) async fn hand_over(
        &self,
        run: &RunKey,
        begun: Begun,
    ) -> Result<Option<(PollActivityTaskQueueResponse, Task)>, Status> {
        let Begun { mut answer, scheduled, attempt } = begun;
        let filled = answer.input.as_mut().map(|input| workers::fill(&self.secrets(), input));
        if let Some(Err(failure)) = filled {
            let at = AttemptRef { scheduled, attempt, started_at: None };
            let fail = Command::FailActivity { at, failure, next_retry_delay: None, report: None };
            self.to_run(run, fail).await?;
            return Ok(None);
        }
        let task = Task::Activity { run: run.clone(), scheduled, attempt };
        answer.task_token = self.tokens.write(&task);
        Ok(Some((answer, task)))
    }

    pub(super) async fn heartbeat_activity(
        &self,
        request: RecordActivityTaskHeartbeatRequest,
    ) -> Result<RecordActivityTaskHeartbeatResponse, Status> {
        let at = self.attempt_of(&request.task_token, &request.namespace)?;
        let cancel_requested = self.heartbeat(at, payloads(request.details)).await?;
        Ok(RecordActivityTaskHeartbeatResponse { cancel_requested, ..Default::default() })
    }

    pub(super) async fn heartbeat_activity_by_id(
        &self,
        request: RecordActivityTaskHeartbeatByIdRequest,
    ) -> Result<RecordActivityTaskHeartbeatByIdResponse, Status> {
        let RecordActivityTaskHeartbeatByIdRequest { namespace, workflow_id, run_id, .. } = request;
        let at = self.attempt_by_id(namespace, workflow_id, &run_id, request.activity_id).await?;
        let cancel_requested = self.heartbeat(at, payloads(request.details)).await?;
        Ok(RecordActivityTaskHeartbeatByIdResponse { cancel_requested, ..Default::default() })
    }

    pub(super) async fn complete_activity(
        &self,
        request: RespondActivityTaskCompletedRequest,
    ) -> Result<RespondActivityTaskCompletedResponse, Status> {
        let at = self.attempt_of(&request.task_token, &request.namespace)?;
        self.complete(at, payloads(request.result)).await?;
        Ok(RespondActivityTaskCompletedResponse {})
    }

    pub(super) async fn complete_activity_by_id(
        &self,
        request: RespondActivityTaskCompletedByIdRequest,
    ) -> Result<RespondActivityTaskCompletedByIdResponse, Status> {
        let RespondActivityTaskCompletedByIdRequest { namespace, workflow_id, run_id, .. } =
            request;
        let at = self.attempt_by_id(namespace, workflow_id, &run_id, request.activity_id).await?;
        self.complete(at, payloads(request.result)).await?;
        Ok(RespondActivityTaskCompletedByIdResponse {})
    }

    pub(super) async fn fail_activity(
        &self,
        request: RespondActivityTaskFailedRequest,
    ) -> Result<RespondActivityTaskFailedResponse, Status> {
        let at = self.attempt_of(&request.task_token, &request.namespace)?;
        self.fail(at, request.failure, request.last_heartbeat_details).await?;
        Ok(RespondActivityTaskFailedResponse::default())
    }

    pub(super) async fn fail_activity_by_id(
        &self,
        request: RespondActivityTaskFailedByIdRequest,
    ) -> Result<RespondActivityTaskFailedByIdResponse, Status> {
        let RespondActivityTaskFailedByIdRequest { namespace, workflow_id, run_id, .. } = request;
        let at = self.attempt_by_id(namespace, workflow_id, &run_id, request.activity_id).await?;
        self.fail(at, request.failure, request.last_heartbeat_details).await?;
        Ok(RespondActivityTaskFailedByIdResponse::default())
    }

    pub(super) async fn cancel_activity(
        &self,
        request: RespondActivityTaskCanceledRequest,
    ) -> Result<RespondActivityTaskCanceledResponse, Status> {
        let at = self.attempt_of(&request.task_token, &request.namespace)?;
        self.canceled(at, payloads(request.details)).await?;
        Ok(RespondActivityTaskCanceledResponse {})
    }

    pub(super) async fn cancel_activity_by_id(
        &self,
        request: RespondActivityTaskCanceledByIdRequest,
    ) -> Result<RespondActivityTaskCanceledByIdResponse, Status> {
        let RespondActivityTaskCanceledByIdRequest { namespace, workflow_id, run_id, .. } = request;
        let at = self.attempt_by_id(namespace, workflow_id, &run_id, request.activity_id).await?;
        self.canceled(at, payloads(request.details)).await?;
        Ok(RespondActivityTaskCanceledByIdResponse {})
    }

    fn secrets(&self) -> Arc<Secrets> {
        self.app.service.host().secrets()
    }

    /// What takes the secrets out of what an attempt sends: those that were put into its input.
    async fn scrub(&self, at: &Attempt) -> Result<Scrub, Status> {
        let secrets = self.secrets();
        if secrets.is_empty() {
            return Ok(Scrub::default());
        }
        let scheduled = at.scheduled;
        let look = move |run: &Run| {
            let activity = run.activities.get(&scheduled)?;
            workers::has_secrets(&activity.what.input).then(|| activity.what.input.clone())
        };
        let run_id = Some(at.run.run_id);
        let known = self.app.engine.look(Lane::of(&at.run), run_id, look).await.map_err(refused)?;
        Ok(known.and_then(|mut input| workers::fill(&secrets, &mut input).ok()).unwrap_or_default())
    }

    fn attempt_of(&self, token: &[u8], namespace: &str) -> Result<Attempt, Status> {
        match self.tokens.read(token, namespace)? {
            Task::Activity { run, scheduled, attempt } => Ok(Attempt { run, scheduled, attempt }),
            Task::Workflow { .. } | Task::Query { .. } => {
                Err(not_found("task token: not an activity's; drop the task"))
            }
        }
    }

    /// The running attempt of an activity that is named by its id.
    async fn attempt_by_id(
        &self,
        namespace: String,
        workflow_id: String,
        run_id: &str,
        activity_id: String,
    ) -> Result<Attempt, Status> {
        let namespace = self.namespace(namespace)?;
        let (lane, run_id) = lane(namespace, workflow_id, run_id)?;
        let activity_id = name("ActivityId", activity_id)?;
        let wanted = activity_id.clone();
        let look = move |run: &Run| {
            let activity = run.activity_by_id(&wanted).filter(|_| run.is_open())?;
            let (scheduled, attempt) = (activity.scheduled, activity.attempt);
            Some(Attempt { run: run.key.clone(), scheduled, attempt })
        };
        let found = self.app.engine.look(lane, run_id, look).await.map_err(refused)?;
        found
            .ok_or_else(|| not_found(format!("cannot find pending activity with ID {activity_id}")))
    }

    /// Whether the attempt is to end.
    async fn heartbeat(&self, at: Attempt, mut details: Payloads) -> Result<bool, Status> {
        workers::scrub(&mut details, &self.scrub(&at).await?);
        let Attempt { run, scheduled, attempt } = at;
        let command = Command::HeartbeatActivity { scheduled, attempt, details };
        let ask = Ask::Command { run_id: Some(run.run_id), first_run: None, command };
        let look = move |_: &_, run: &Run| {
            let activity = run.activities.get(&scheduled);
            activity.is_none_or(|activity| activity.cancel_requested.is_some())
        };
        self.app.engine.ask(Lane::of(&run), ask, look).await.map_err(refused)
    }

    async fn complete(&self, at: Attempt, mut result: Payloads) -> Result<(), Status> {
        let scrub = self.scrub(&at).await?;
        let report = workers::take_report(&mut result, &scrub);
        workers::scrub(&mut result, &scrub);
        let Attempt { run, scheduled, attempt } = at;
        let at = AttemptRef { scheduled, attempt, started_at: None };
        self.to_run(&run, Command::CompleteActivity { at, result, report }).await
    }

    async fn fail(
        &self,
        at: Attempt,
        failure: Option<Failure>,
        last_heartbeat: Option<Payloads>,
    ) -> Result<(), Status> {
        let scrub = self.scrub(&at).await?;
        let mut failure = failure.unwrap_or_default();
        let report = workers::take_report_of_failure(&mut failure, &scrub);
        workers::scrub_failure(&mut failure, &scrub);
        let Attempt { run, scheduled, attempt } = at;
        let at = AttemptRef { scheduled, attempt, started_at: None };
        let failure = Arc::new(failure);
        let fail = Command::FailActivity { at, failure, next_retry_delay: None, report };
        let Some(mut details) = last_heartbeat.filter(|details| !details.payloads.is_empty())
        else {
            return self.to_run(&run, fail).await;
        };
        workers::scrub(&mut details, &scrub);
        // Asked in this order and decided together: the next attempt finds the details.
        let beat = Command::HeartbeatActivity { scheduled, attempt, details };
        let (beaten, failed) = tokio::join!(self.to_run(&run, beat), self.to_run(&run, fail));
        beaten.and(failed)
    }

    async fn canceled(&self, at: Attempt, mut details: Payloads) -> Result<(), Status> {
        let scrub = self.scrub(&at).await?;
        let report = workers::take_report(&mut details, &scrub);
        workers::scrub(&mut details, &scrub);
        let Attempt { run, scheduled, attempt } = at;
        let at = AttemptRef { scheduled, attempt, started_at: None };
        let command = Command::CancelActivity { at, details, report };
        let ask = Ask::Command { run_id: Some(run.run_id), first_run: None, command };
        match self.app.engine.ask(Lane::of(&run), ask, |_, _| ()).await {
            Err(Error::Rejected(reflux_core::Rejection::WrongState { what, state, advice }))
                if state == "was not asked to end" =>
            {
                Err(invalid(format!("{what} {state}: {advice}")))
            }
            answered => answered.map_err(refused),
        }
    }
}

/// An attempt that has begun, for its worker.
pub(super) struct Begun {
    /// Without secrets and token.
    answer: PollActivityTaskQueueResponse,
    scheduled: EventId,
    attempt: u32,
}

/// The attempt of the open activity of that id; `None` when none runs.
pub(super) fn begun(run: &Run, activity_id: &str) -> Option<Begun> {
    task_of(run, run.activity_by_id(activity_id)?)
}

fn task_of(run: &Run, activity: &Activity) -> Option<Begun> {
    let Phase::Started { at, .. } = activity.phase else { return None };
    let what = &*activity.what;
    let workflow_type = run.started.as_ref().map(|begun| begun.workflow_type.to_string());
    let scheduled_at = if activity.attempt == 1 { activity.scheduled_at } else { at };
    let limit = what.start_to_close.or(what.schedule_to_close).unwrap_or(UNLIMITED);
    let answer = PollActivityTaskQueueResponse {
        workflow_namespace: run.key.namespace.to_string(),
        workflow_type: workflow_type.map(|name| WorkflowType { name }),
        workflow_execution: Some(to_execution(&run.key)),
        activity_type: Some(ActivityType { name: what.activity_type.to_string() }),
        activity_id: what.activity_id.to_string(),
        header: wire::to_header(&workers::header(run, activity)),
        input: wire::to_payloads(&what.input),
        heartbeat_details: wire::to_payloads(&activity.heartbeat_details),
        scheduled_time: wire::to_time(activity.scheduled_at),
        current_attempt_scheduled_time: wire::to_time(scheduled_at),
        started_time: wire::to_time(at),
        attempt: i32::try_from(activity.attempt).unwrap_or(i32::MAX),
        schedule_to_close_timeout: Some(wire::to_length(
            what.schedule_to_close.unwrap_or_default(),
        )),
        start_to_close_timeout: Some(wire::to_length(limit)),
        heartbeat_timeout: Some(wire::to_length(what.heartbeat.unwrap_or_default())),
        retry_policy: Some(wire::to_retry(&what.retry)),
        priority: what.priority.clone(),
        ..Default::default()
    };
    Some(Begun { answer, scheduled: activity.scheduled, attempt: activity.attempt })
}
