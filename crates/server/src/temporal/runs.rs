//! What clients ask of a run: signal, cancel, terminate, describe; and what is refused.

use reflux_core::{
    Activity, Command, Deadline, Decider, Phase, Rejection, RequestCancel, Run, Signal, Suspend,
    Terminate, WorkflowTask, wire,
};
use reflux_engine::{Ask, Error, Lane};
use reflux_proto::temporal::api::common::v1::{ActivityType, WorkflowType};
use reflux_proto::temporal::api::enums::v1::{
    PendingActivityState, PendingWorkflowTaskState, TaskQueueKind,
};
use reflux_proto::temporal::api::taskqueue::v1::TaskQueue;
use reflux_proto::temporal::api::workflow::v1::{
    PendingActivityInfo, PendingChildExecutionInfo, PendingWorkflowTaskInfo,
    WorkflowExecutionConfig, WorkflowExecutionExtendedInfo, WorkflowExecutionInfo,
    WorkflowExecutionPauseInfo,
};
use reflux_proto::temporal::api::workflowservice::v1::{
    DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse,
    PauseWorkflowExecutionRequest, PauseWorkflowExecutionResponse,
    RequestCancelWorkflowExecutionRequest, RequestCancelWorkflowExecutionResponse,
    ResetStickyTaskQueueRequest, ResetStickyTaskQueueResponse, ResetWorkflowExecutionRequest,
    ResetWorkflowExecutionResponse, SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse, TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse, UnpauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionResponse,
};
use tonic::Status;

use super::Frontend;
use super::convert::{
    execution, header, lane, name, payloads, run_id, text, to_execution, to_status,
};
use super::errors::{refused, unimplemented};

fn suspend(reason: String, identity: String, request_id: String) -> Result<Suspend, Status> {
    Ok(Suspend {
        reason: text("Reason", reason)?,
        identity: text("Identity", identity)?,
        request_id: text("RequestId", request_id)?,
    })
}

impl Frontend {
    pub(super) async fn signal(
        &self,
        request: SignalWorkflowExecutionRequest,
    ) -> Result<SignalWorkflowExecutionResponse, Status> {
        let namespace = self.namespace(request.namespace)?;
        let (lane, run_id) = execution(namespace, request.workflow_execution)?;
        let command = Command::Signal(Signal {
            name: name("SignalName", request.signal_name)?,
            input: payloads(request.input),
            header: header(request.header)?,
            identity: text("Identity", request.identity)?,
            request_id: text("RequestId", request.request_id)?,
        });
        let ask = Ask::Command { run_id, first_run: None, command };
        self.app.engine.ask(lane, ask, |_, _| ()).await.map_err(refused)?;
        Ok(SignalWorkflowExecutionResponse::default())
    }

    pub(super) async fn request_cancel(
        &self,
        request: RequestCancelWorkflowExecutionRequest,
    ) -> Result<RequestCancelWorkflowExecutionResponse, Status> {
        let namespace = self.namespace(request.namespace)?;
        let (lane, run) = execution(namespace, request.workflow_execution)?;
        let first_run = run_id(&request.first_execution_run_id)?;
        let command = Command::RequestCancel(RequestCancel {
            reason: text("Reason", request.reason)?,
            identity: text("Identity", request.identity)?,
            request_id: text("RequestId", request.request_id)?,
        });
        let ask = Ask::Command { run_id: run, first_run, command };
        match self.app.engine.ask(lane, ask, |_, _| ()).await {
            // Asking twice is asking once.
            Ok(()) | Err(Error::Rejected(Rejection::AlreadyDone(_))) => {
                Ok(RequestCancelWorkflowExecutionResponse {})
            }
            Err(error) => Err(refused(error)),
        }
    }

    pub(super) async fn terminate(
        &self,
        request: TerminateWorkflowExecutionRequest,
    ) -> Result<TerminateWorkflowExecutionResponse, Status> {
        let namespace = self.namespace(request.namespace)?;
        let (lane, run) = execution(namespace, request.workflow_execution)?;
        let first_run = run_id(&request.first_execution_run_id)?;
        let command = Command::Terminate(Terminate {
            reason: text("Reason", request.reason)?,
            details: payloads(request.details),
            identity: text("Identity", request.identity)?,
        });
        let ask = Ask::Command { run_id: run, first_run, command };
        self.app.engine.ask(lane, ask, |_, _| ()).await.map_err(refused)?;
        Ok(TerminateWorkflowExecutionResponse {})
    }

    pub(super) async fn pause(
        &self,
        request: PauseWorkflowExecutionRequest,
    ) -> Result<PauseWorkflowExecutionResponse, Status> {
        let suspend = suspend(request.reason, request.identity, request.request_id)?;
        let command = Command::Pause(suspend);
        self.suspend(request.namespace, request.workflow_id, request.run_id, command).await?;
        Ok(PauseWorkflowExecutionResponse {})
    }

    pub(super) async fn unpause(
        &self,
        request: UnpauseWorkflowExecutionRequest,
    ) -> Result<UnpauseWorkflowExecutionResponse, Status> {
        let suspend = suspend(request.reason, request.identity, request.request_id)?;
        let command = Command::Unpause(suspend);
        self.suspend(request.namespace, request.workflow_id, request.run_id, command).await?;
        Ok(UnpauseWorkflowExecutionResponse {})
    }

    async fn suspend(
        &self,
        namespace: String,
        workflow_id: String,
        run_id: String,
        command: Command,
    ) -> Result<(), Status> {
        let namespace = self.namespace(namespace)?;
        let (lane, run_id) = lane(namespace, workflow_id, &run_id)?;
        let ask = Ask::Command { run_id, first_run: None, command };
        match self.app.engine.ask(lane, ask, |_, _| ()).await {
            // Asking twice is asking once.
            Ok(()) | Err(Error::Rejected(Rejection::AlreadyDone(_))) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }

    /// A run is not reset: a flow is re-driven, code continues as new.
    pub(super) async fn reset(
        &self,
        request: ResetWorkflowExecutionRequest,
    ) -> Result<ResetWorkflowExecutionResponse, Status> {
        let namespace = self.namespace(request.namespace)?;
        let (lane, run_id) = execution(namespace, request.workflow_execution)?;
        let decider = self.app.engine.look(lane, run_id, Run::decider).await.map_err(refused)?;
        Err(match decider {
            Some(Decider::Flow) => Status::failed_precondition(
                "a flow's run is not reset; re-drive it: what its steps gave is kept where it still holds",
            ),
            _ => unimplemented("the reset of a workflow"),
        })
    }

    pub(super) async fn reset_sticky(
        &self,
        request: ResetStickyTaskQueueRequest,
    ) -> Result<ResetStickyTaskQueueResponse, Status> {
        let namespace = self.namespace(request.namespace)?;
        let (lane, run_id) = execution(namespace, request.execution)?;
        let ask = Ask::Command { run_id, first_run: None, command: Command::ResetSticky };
        self.app.engine.ask(lane, ask, |_, _| ()).await.map_err(refused)?;
        Ok(ResetStickyTaskQueueResponse {})
    }

    pub(super) async fn describe(
        &self,
        request: DescribeWorkflowExecutionRequest,
    ) -> Result<DescribeWorkflowExecutionResponse, Status> {
        let namespace = self.namespace(request.namespace)?;
        let (lane, run_id): (Lane, _) = execution(namespace, request.execution)?;
        self.app.engine.look(lane, run_id, describe).await.map_err(refused)
    }
}

fn describe(run: &Run) -> DescribeWorkflowExecutionResponse {
    DescribeWorkflowExecutionResponse {
        execution_config: Some(config(run)),
        workflow_execution_info: Some(info(run)),
        // A closed run keeps its last activities only so that their workers are told.
        pending_activities: match run.is_open() {
            true => run.activities.values().map(|activity| pending(run, activity)).collect(),
            false => Vec::new(),
        },
        pending_children: run
            .children
            .values()
            .map(|child| PendingChildExecutionInfo {
                workflow_id: child.what.workflow_id.to_string(),
                run_id: child.started.map(|_| child.run_id.to_string()).unwrap_or_default(),
                workflow_type_name: child.what.workflow_type.to_string(),
                initiated_id: child.initiated.0,
                parent_close_policy: child.what.parent_close_policy.into(),
            })
            .collect(),
        pending_workflow_task: task(run),
        workflow_extended_info: Some(extended(run)),
        ..Default::default()
    }
}

fn config(run: &Run) -> WorkflowExecutionConfig {
    let Some(begun) = run.started.as_deref() else { return WorkflowExecutionConfig::default() };
    WorkflowExecutionConfig {
        task_queue: Some(TaskQueue {
            name: begun.task_queue.to_string(),
            kind: TaskQueueKind::Normal.into(),
            normal_name: String::new(),
        }),
        workflow_execution_timeout: wire::to_lengths(begun.execution_timeout),
        workflow_run_timeout: wire::to_lengths(begun.run_timeout),
        default_workflow_task_timeout: Some(wire::to_length(
            begun.task_timeout.unwrap_or(reflux_core::TASK_TIMEOUT),
        )),
        user_metadata: None,
    }
}

fn info(run: &Run) -> WorkflowExecutionInfo {
    let Some(begun) = run.started.as_deref() else { return WorkflowExecutionInfo::default() };
    let executes_at = run.started_at.after(begun.first_task_backoff.unwrap_or_default());
    let closed_at = run.closed.as_ref().map(|close| close.time);
    WorkflowExecutionInfo {
        execution: Some(to_execution(&run.key)),
        r#type: Some(WorkflowType { name: begun.workflow_type.to_string() }),
        start_time: wire::to_time(run.started_at),
        close_time: closed_at.and_then(wire::to_time),
        status: to_status(run.status).into(),
        history_length: i64::try_from(run.history_events()).unwrap_or(i64::MAX),
        parent_namespace_id: begun
            .parent
            .as_ref()
            .map(|parent| super::namespaces::id(&parent.key.namespace))
            .unwrap_or_default(),
        parent_execution: begun.parent.as_ref().map(|parent| to_execution(&parent.key)),
        execution_time: wire::to_time(executes_at),
        memo: Some(run.memo.clone()),
        search_attributes: Some(run.search_attributes.clone()),
        task_queue: begun.task_queue.to_string(),
        history_size_bytes: i64::try_from(run.history_bytes).unwrap_or(i64::MAX),
        execution_duration: closed_at.map(|end| wire::to_length(end.since(executes_at))),
        root_execution: Some(match &begun.root {
            Some(root) => wire::to_execution(root),
            None => to_execution(&run.key),
        }),
        first_run_id: begun.first_run_id.to_string(),
        priority: begun.priority.clone(),
        ..Default::default()
    }
}

fn pending(run: &Run, activity: &Activity) -> PendingActivityInfo {
    let what = &*activity.what;
    let canceling = activity.cancel_requested.is_some();
    let (state, started, alive, due) = match &activity.phase {
        Phase::Started { at, alive, .. } if canceling => {
            (PendingActivityState::CancelRequested, Some(*at), Some(*alive), None)
        }
        Phase::Started { at, alive, .. } => {
            (PendingActivityState::Started, Some(*at), Some(*alive), None)
        }
        Phase::Backoff { due } => (PendingActivityState::Scheduled, None, None, Some(*due)),
        Phase::OutcomeUnknown { .. } => (PendingActivityState::Paused, None, None, None),
        Phase::Waiting { .. } | Phase::Ended { .. } => {
            (PendingActivityState::Scheduled, None, None, None)
        }
    };
    let policy = wire::to_retry(&what.retry);
    PendingActivityInfo {
        activity_id: what.activity_id.to_string(),
        activity_type: Some(ActivityType { name: what.activity_type.to_string() }),
        state: state.into(),
        heartbeat_details: wire::to_payloads(&activity.heartbeat_details),
        last_heartbeat_time: alive.and_then(wire::to_time),
        last_started_time: started.and_then(wire::to_time),
        attempt: i32::try_from(activity.attempt).unwrap_or(i32::MAX),
        maximum_attempts: policy.maximum_attempts,
        scheduled_time: wire::to_time(activity.scheduled_at),
        expiration_time: activity.expires().and_then(wire::to_time),
        last_failure: activity.last_failure.as_deref().cloned(),
        last_worker_identity: activity.identity().to_string(),
        next_attempt_schedule_time: due.and_then(wire::to_time),
        paused: run.paused.is_some(),
        priority: what.priority.clone(),
        ..Default::default()
    }
}

fn task(run: &Run) -> Option<PendingWorkflowTaskInfo> {
    let (state, task, started) = match &run.task {
        WorkflowTask::Scheduled(task) => (PendingWorkflowTaskState::Scheduled, task, None),
        WorkflowTask::Started(started) => {
            (PendingWorkflowTaskState::Started, &started.task, Some(started.at))
        }
        WorkflowTask::Idle | WorkflowTask::Backoff { .. } | WorkflowTask::AwaitsParent => {
            return None;
        }
    };
    Some(PendingWorkflowTaskInfo {
        state: state.into(),
        scheduled_time: wire::to_time(task.at),
        original_scheduled_time: wire::to_time(task.since),
        started_time: started.and_then(wire::to_time),
        attempt: i32::try_from(task.attempt).unwrap_or(i32::MAX),
    })
}

fn extended(run: &Run) -> WorkflowExecutionExtendedInfo {
    let due = |wanted: &Deadline| {
        let found = run.deadlines.iter().find(|(_, deadline)| deadline == wanted);
        found.and_then(|(due, _)| wire::to_time(*due))
    };
    WorkflowExecutionExtendedInfo {
        execution_expiration_time: due(&Deadline::Execution),
        run_expiration_time: due(&Deadline::Run),
        cancel_requested: run.cancel_requested.is_some(),
        original_start_time: wire::to_time(run.started_at),
        pause_info: run.paused.as_ref().map(|paused| WorkflowExecutionPauseInfo {
            identity: paused.identity.to_string(),
            paused_time: wire::to_time(paused.since),
            reason: paused.reason.to_string(),
        }),
        ..Default::default()
    }
}
