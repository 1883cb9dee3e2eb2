//! Starts: of a run, and of a run with its first signal.

use reflux_core::{EventId, Run, RunId, RunKey, Signal, Start, WorkflowTask};
use reflux_engine::{Ask, Error, Lane, NewRun, WhenClosed, WhenOpen};
use reflux_proto::temporal::api::enums::v1::{WorkflowIdConflictPolicy, WorkflowIdReusePolicy};
use reflux_proto::temporal::api::workflowservice::v1::{
    SignalWithStartWorkflowExecutionRequest, SignalWithStartWorkflowExecutionResponse,
    StartWorkflowExecutionRequest, StartWorkflowExecutionResponse,
};
use tonic::Status;
use uuid::Uuid;

use super::Frontend;
use super::convert::{
    attributes, header, length, memo, name, payloads, queue_name, retry, task_timeout, text,
    to_status, type_name,
};
use super::errors::{already_started, invalid, refused, unimplemented};

impl Frontend {
    pub(super) async fn start(
        &self,
        request: StartWorkflowExecutionRequest,
    ) -> Result<StartWorkflowExecutionResponse, Status> {
        let (reuse, conflict) =
            (request.workflow_id_reuse_policy(), request.workflow_id_conflict_policy());
        if !request.cron_schedule.is_empty() {
            return Err(unimplemented("a cron schedule"));
        }
        if !request.completion_callbacks.is_empty() {
            return Err(unimplemented("a completion callback"));
        }
        if request.versioning_override.is_some() {
            return Err(unimplemented("a versioning override"));
        }
        let namespace = self.namespace(request.namespace)?;
        let lane = Lane { namespace, workflow_id: name("WorkflowId", request.workflow_id)? };
        let identity = text("Identity", request.identity)?;
        let backoff = length("WorkflowStartDelay", request.workflow_start_delay.as_ref())?;
        let (when_open, when_closed) = policies(reuse, conflict, WhenOpen::Refuse)?;
        let new = new_run(
            Start {
                workflow_type: type_name(request.workflow_type)?,
                task_queue: queue_name(request.task_queue)?,
                input: payloads(request.input),
                header: header(request.header)?,
                memo: memo(request.memo),
                search_attributes: attributes(request.search_attributes),
                execution_timeout: length(
                    "WorkflowExecutionTimeout",
                    request.workflow_execution_timeout.as_ref(),
                )?,
                run_timeout: length("WorkflowRunTimeout", request.workflow_run_timeout.as_ref())?,
                task_timeout: task_timeout(request.workflow_task_timeout.as_ref())?,
                retry: retry(request.retry_policy)?,
                first_task_backoff: backoff,
                request_id: text("RequestId", request.request_id)?,
                identity: identity.clone(),
                priority: request.priority,
                ..Start::default()
            },
            when_open,
            when_closed,
        );
        let started = self.begin(lane, Ask::Start(new)).await?;
        let mut answer = StartWorkflowExecutionResponse {
            run_id: started.run.run_id.to_string(),
            first_execution_run_id: started.first_run.to_string(),
            started: started.new,
            status: to_status(started.status).into(),
            ..Default::default()
        };
        if let Some(task) = started.task.filter(|_| request.request_eager_execution && started.new)
        {
            let frontend = self.clone();
            let taken = async move { frontend.take_task(started.run, task, identity, None).await };
            // The worker that polls gets it otherwise.
            answer.eager_workflow_task = self.delivered(taken).await.unwrap_or_default();
        }
        Ok(answer)
    }

    pub(super) async fn signal_with_start(
        &self,
        request: SignalWithStartWorkflowExecutionRequest,
    ) -> Result<SignalWithStartWorkflowExecutionResponse, Status> {
        let (reuse, conflict) =
            (request.workflow_id_reuse_policy(), request.workflow_id_conflict_policy());
        if !request.cron_schedule.is_empty() {
            return Err(unimplemented("a cron schedule"));
        }
        if request.versioning_override.is_some() {
            return Err(unimplemented("a versioning override"));
        }
        let namespace = self.namespace(request.namespace)?;
        let lane = Lane { namespace, workflow_id: name("WorkflowId", request.workflow_id)? };
        let identity = text("Identity", request.identity)?;
        let request_id = text("RequestId", request.request_id)?;
        let header = header(request.header)?;
        if conflict == WorkflowIdConflictPolicy::Fail {
            return Err(invalid(
                "WorkflowIdConflictPolicy Fail is not supported by this operation.",
            ));
        }
        let (when_open, when_closed) = policies(reuse, conflict, WhenOpen::UseExisting)?;
        let new = new_run(
            Start {
                workflow_type: type_name(request.workflow_type)?,
                task_queue: queue_name(request.task_queue)?,
                input: payloads(request.input),
                header: header.clone(),
                memo: memo(request.memo),
                search_attributes: attributes(request.search_attributes),
                execution_timeout: length(
                    "WorkflowExecutionTimeout",
                    request.workflow_execution_timeout.as_ref(),
                )?,
                run_timeout: length("WorkflowRunTimeout", request.workflow_run_timeout.as_ref())?,
                task_timeout: task_timeout(request.workflow_task_timeout.as_ref())?,
                retry: retry(request.retry_policy)?,
                first_task_backoff: length(
                    "WorkflowStartDelay",
                    request.workflow_start_delay.as_ref(),
                )?,
                request_id: request_id.clone(),
                identity: identity.clone(),
                priority: request.priority,
                ..Start::default()
            },
            when_open,
            when_closed,
        );
        let signal = Signal {
            name: name("SignalName", request.signal_name)?,
            input: payloads(request.signal_input),
            header,
            identity,
            // A run remembers the requests it has taken in: the signal is one beside the start.
            request_id: match &*request_id {
                "" => request_id,
                id => format!("{id}:signal").into(),
            },
        };
        let started = self.begin(lane, Ask::SignalWithStart(new, Box::new(signal))).await?;
        Ok(SignalWithStartWorkflowExecutionResponse {
            run_id: started.run.run_id.to_string(),
            first_execution_run_id: started.first_run.to_string(),
            started: started.new,
            ..Default::default()
        })
    }

    async fn begin(&self, lane: Lane, ask: Ask) -> Result<Begun, Status> {
        let look = |answer: &reflux_engine::Answer, run: &Run| Begun {
            run: run.key.clone(),
            first_run: run.first_run_id(),
            new: !answer.existing,
            status: run.status,
            task: match &run.task {
                WorkflowTask::Scheduled(task) => Some(task.scheduled),
                WorkflowTask::Idle
                | WorkflowTask::Backoff { .. }
                | WorkflowTask::AwaitsParent
                | WorkflowTask::Started(_) => None,
            },
        };
        match self.app.engine.ask(lane.clone(), ask, look).await {
            Err(Error::AlreadyStarted { run_id, request_id, .. }) => {
                let first = self.app.engine.look(lane, Some(run_id), Run::first_run_id).await;
                Err(already_started(run_id, first.unwrap_or(run_id), &request_id))
            }
            answered => answered.map_err(refused),
        }
    }
}

/// A run that a start has made or found.
struct Begun {
    run: RunKey,
    first_run: RunId,
    new: bool,
    status: reflux_core::Status,
    task: Option<EventId>,
}

fn new_run(start: Start, when_open: WhenOpen, when_closed: WhenClosed) -> NewRun {
    let run_id = RunId(Uuid::now_v7());
    NewRun { run_id, start: Box::new(start), when_open, when_closed, spec: None }
}

/// Temporal's two policies; `open` is what an unspecified conflict policy means.
fn policies(
    reuse: WorkflowIdReusePolicy,
    conflict: WorkflowIdConflictPolicy,
    open: WhenOpen,
) -> Result<(WhenOpen, WhenClosed), Status> {
    use WorkflowIdConflictPolicy as Conflict;
    use WorkflowIdReusePolicy as Reuse;
    #[allow(deprecated)] // Some SDKs still send it.
    let terminates = reuse == Reuse::TerminateIfRunning;
    if terminates && conflict != Conflict::Unspecified {
        return Err(invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot \
             be used together with a WorkflowIDConflictPolicy.",
        ));
    }
    if reuse == Reuse::RejectDuplicate && conflict == Conflict::TerminateExisting {
        return Err(invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be \
             used together with WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING",
        ));
    }
    let when_open = match conflict {
        _ if terminates => WhenOpen::Terminate,
        Conflict::Unspecified => open,
        Conflict::Fail => WhenOpen::Refuse,
        Conflict::UseExisting => WhenOpen::UseExisting,
        Conflict::TerminateExisting => WhenOpen::Terminate,
    };
    let when_closed = match reuse {
        Reuse::AllowDuplicateFailedOnly => WhenClosed::AllowFailed,
        Reuse::RejectDuplicate => WhenClosed::Refuse,
        _ => WhenClosed::Allow,
    };
    Ok((when_open, when_closed))
}
