//! A worker's commands as the run's decisions.

use std::sync::Arc;

use reflux_core::{
    ContinueAsNew, Decision, EventId, ScheduleActivity, SignalExternal, StartChild, Target,
    TaskFailedCause, Worker, wire,
};
use reflux_proto::temporal::api::command::v1::command::Attributes;
use reflux_proto::temporal::api::command::v1::{
    Command, ContinueAsNewWorkflowExecutionCommandAttributes,
    RequestCancelExternalWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes,
};
use reflux_proto::temporal::api::common::v1::WorkflowExecution;
use tonic::Status;

use super::convert::{
    attributes, header, length, memo, name, payloads, retry, run_id, task_timeout, text, type_name,
};
use super::errors::invalid;

/// Why a command cannot be a decision: the workflow task fails for it.
pub(super) struct Wrong {
    pub(super) cause: TaskFailedCause,
    pub(super) message: String,
}

/// What the commands decide, which came from `worker`.
///
/// # Errors
/// The first one that cannot be carried out.
pub(super) fn decisions(commands: Vec<Command>, worker: &Arc<str>) -> Result<Vec<Decision>, Wrong> {
    commands.into_iter().map(|command| decision(command, worker)).collect()
}

/// The activities that their worker wants to begin at once.
pub(super) fn eager(decisions: &[Decision]) -> Vec<Arc<str>> {
    let wanted = decisions.iter().filter_map(|decision| match decision {
        Decision::ScheduleActivity(wanted) if wanted.claim.is_some() => Some(&wanted.activity_id),
        _ => None,
    });
    wanted.cloned().collect()
}

fn decision(command: Command, worker: &Arc<str>) -> Result<Decision, Wrong> {
    use Attributes as A;
    let kind = command.command_type().as_str_name();
    let Some(attributes) = command.attributes else {
        return Err(because(TaskFailedCause::Unspecified)(invalid(format!(
            "command {kind} has no attributes"
        ))));
    };
    match attributes {
        A::ScheduleActivityTaskCommandAttributes(wanted) => activity(wanted, worker)
            .map_err(because(TaskFailedCause::BadScheduleActivityAttributes)),
        A::RequestCancelActivityTaskCommandAttributes(wanted) => {
            Ok(Decision::RequestCancelActivity { scheduled: EventId(wanted.scheduled_event_id) })
        }
        A::StartTimerCommandAttributes(wanted) => {
            let timer = || {
                let duration = length("StartToFireTimeout", wanted.start_to_fire_timeout.as_ref())?;
                let timer_id = name("TimerId", wanted.timer_id)?;
                Ok(Decision::StartTimer { timer_id, duration: duration.unwrap_or_default() })
            };
            timer().map_err(because(TaskFailedCause::BadStartTimerAttributes))
        }
        A::CancelTimerCommandAttributes(wanted) => {
            Ok(Decision::CancelTimer { timer_id: wanted.timer_id.into() })
        }
        A::RecordMarkerCommandAttributes(wanted) => Ok(Decision::RecordMarker {
            name: text("MarkerName", wanted.marker_name)
                .map_err(because(TaskFailedCause::BadRecordMarkerAttributes))?,
            details: wanted.details,
            failure: wanted.failure.map(Arc::new),
        }),
        A::StartChildWorkflowExecutionCommandAttributes(wanted) => {
            child(wanted).map_err(because(TaskFailedCause::BadStartChildExecutionAttributes))
        }
        A::SignalExternalWorkflowExecutionCommandAttributes(wanted) => {
            signal(wanted).map_err(because(TaskFailedCause::BadSignalWorkflowExecutionAttributes))
        }
        A::RequestCancelExternalWorkflowExecutionCommandAttributes(wanted) => cancel(wanted)
            .map_err(because(TaskFailedCause::BadRequestCancelExternalWorkflowExecutionAttributes)),
        A::CompleteWorkflowExecutionCommandAttributes(wanted) => {
            Ok(Decision::CompleteRun { result: payloads(wanted.result) })
        }
        A::FailWorkflowExecutionCommandAttributes(wanted) => match wanted.failure {
            Some(failure) => Ok(Decision::FailRun { failure: Arc::new(failure) }),
            None => Err(because(TaskFailedCause::BadFailWorkflowExecutionAttributes)(invalid(
                "Failure is not set on FailWorkflowExecutionCommand.",
            ))),
        },
        A::CancelWorkflowExecutionCommandAttributes(wanted) => {
            Ok(Decision::CancelRun { details: payloads(wanted.details) })
        }
        A::ContinueAsNewWorkflowExecutionCommandAttributes(wanted) => {
            next(wanted).map_err(because(TaskFailedCause::BadContinueAsNewAttributes))
        }
        A::UpsertWorkflowSearchAttributesCommandAttributes(wanted) => {
            Ok(Decision::UpsertSearchAttributes {
                // A null takes an attribute away: it stays what it is.
                attributes: wanted.search_attributes.unwrap_or_default(),
            })
        }
        A::ModifyWorkflowPropertiesCommandAttributes(wanted) => {
            Ok(Decision::ModifyProperties { memo: wanted.upserted_memo.unwrap_or_default() })
        }
        A::ProtocolMessageCommandAttributes(_)
        | A::ScheduleNexusOperationCommandAttributes(_)
        | A::RequestCancelNexusOperationCommandAttributes(_) => {
            Err(because(TaskFailedCause::FeatureDisabled)(invalid(format!(
                "command {kind} is not built yet"
            ))))
        }
    }
}

fn because(cause: TaskFailedCause) -> impl Fn(Status) -> Wrong {
    move |status| Wrong { cause, message: status.message().to_owned() }
}

fn activity(
    wanted: ScheduleActivityTaskCommandAttributes,
    worker: &Arc<str>,
) -> Result<Decision, Status> {
    let claim = wanted.request_eager_execution.then(|| Worker::remote(worker.clone()));
    let queue = wanted.task_queue.map(|queue| queue.name).unwrap_or_default();
    Ok(Decision::ScheduleActivity(Box::new(ScheduleActivity {
        activity_id: name("ActivityId", wanted.activity_id)?,
        activity_type: name(
            "ActivityType",
            wanted.activity_type.map(|given| given.name).unwrap_or_default(),
        )?,
        task_queue: text("TaskQueue", queue)?,
        input: payloads(wanted.input),
        header: header(wanted.header)?,
        schedule_to_close: length(
            "ScheduleToCloseTimeout",
            wanted.schedule_to_close_timeout.as_ref(),
        )?,
        schedule_to_start: length(
            "ScheduleToStartTimeout",
            wanted.schedule_to_start_timeout.as_ref(),
        )?,
        start_to_close: length("StartToCloseTimeout", wanted.start_to_close_timeout.as_ref())?,
        heartbeat: length("HeartbeatTimeout", wanted.heartbeat_timeout.as_ref())?,
        retry: retry(wanted.retry_policy)?,
        effects: None,
        priority: wanted.priority,
        claim,
    })))
}

fn child(wanted: StartChildWorkflowExecutionCommandAttributes) -> Result<Decision, Status> {
    let (parent_close_policy, reuse_policy) =
        (wanted.parent_close_policy(), wanted.workflow_id_reuse_policy());
    if wanted.versioning_override.is_some() {
        return Err(invalid("a child's versioning override is not built yet"));
    }
    let queue = wanted.task_queue.map(|queue| queue.name).unwrap_or_default();
    #[allow(deprecated)] // SDKs still send it.
    let namespace = text("Namespace", wanted.namespace)?;
    Ok(Decision::StartChild(Box::new(StartChild {
        namespace,
        workflow_id: name("WorkflowId", wanted.workflow_id)?,
        workflow_type: type_name(wanted.workflow_type)?,
        task_queue: text("TaskQueue", queue)?,
        input: payloads(wanted.input),
        header: header(wanted.header)?,
        memo: memo(wanted.memo),
        search_attributes: attributes(wanted.search_attributes),
        execution_timeout: length(
            "WorkflowExecutionTimeout",
            wanted.workflow_execution_timeout.as_ref(),
        )?,
        run_timeout: length("WorkflowRunTimeout", wanted.workflow_run_timeout.as_ref())?,
        task_timeout: task_timeout(wanted.workflow_task_timeout.as_ref())?,
        parent_close_policy,
        reuse_policy,
        retry: retry(wanted.retry_policy)?,
        cron_schedule: wanted.cron_schedule.into(),
        priority: wanted.priority,
    })))
}

fn signal(wanted: SignalExternalWorkflowExecutionCommandAttributes) -> Result<Decision, Status> {
    #[allow(deprecated)] // SDKs still send it.
    let target = target(wanted.namespace, wanted.execution.unwrap_or_default())?;
    Ok(Decision::SignalExternal(Box::new(SignalExternal {
        target,
        name: name("SignalName", wanted.signal_name)?,
        input: payloads(wanted.input),
        header: header(wanted.header)?,
        child_only: wanted.child_workflow_only,
    })))
}

fn cancel(
    wanted: RequestCancelExternalWorkflowExecutionCommandAttributes,
) -> Result<Decision, Status> {
    let execution = WorkflowExecution { workflow_id: wanted.workflow_id, run_id: wanted.run_id };
    #[allow(deprecated)] // SDKs still send it.
    let target = target(wanted.namespace, execution)?;
    Ok(Decision::RequestCancelExternal {
        target,
        child_only: wanted.child_workflow_only,
        reason: text("Reason", wanted.reason)?,
    })
}

fn target(namespace: String, execution: WorkflowExecution) -> Result<Target, Status> {
    Ok(Target {
        namespace: text("Namespace", namespace)?,
        workflow_id: name("WorkflowId", execution.workflow_id)?,
        run_id: run_id(&execution.run_id)?,
        first_run: None,
    })
}

fn next(wanted: ContinueAsNewWorkflowExecutionCommandAttributes) -> Result<Decision, Status> {
    let queue = wanted.task_queue.map(|queue| queue.name).unwrap_or_default();
    let kind = wanted.workflow_type.map(|given| given.name).unwrap_or_default();
    Ok(Decision::ContinueAsNew(Box::new(ContinueAsNew {
        workflow_type: text("WorkflowType", kind)?,
        task_queue: text("TaskQueue", queue)?,
        input: payloads(wanted.input),
        // As in Temporal, what the command leaves out is gone, but for search attributes.
        header: Some(header(wanted.header)?),
        memo: Some(memo(wanted.memo)),
        search_attributes: wanted.search_attributes.map(|given| attributes(Some(given))),
        run_timeout: length("WorkflowRunTimeout", wanted.workflow_run_timeout.as_ref())?,
        task_timeout: length("WorkflowTaskTimeout", wanted.workflow_task_timeout.as_ref())?,
        backoff: wire::length(wanted.backoff_start_interval.as_ref()),
    })))
}
