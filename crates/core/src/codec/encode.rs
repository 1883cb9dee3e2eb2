//! The domain event as the wire's `HistoryEvent`.

use reflux_proto::temporal::api::common::v1::{ActivityType, Header, WorkflowExecution};
use reflux_proto::temporal::api::enums::v1::{EventType, TaskQueueKind};
use reflux_proto::temporal::api::history::v1 as wire;
use reflux_proto::temporal::api::history::v1::history_event::Attributes;
use reflux_proto::temporal::api::taskqueue::v1::TaskQueue;
use reflux_proto::temporal::api::update::v1::Meta;

use super::fields::{
    to_attributes, to_execution, to_failure, to_header, to_intervals, to_length, to_lengths,
    to_memo, to_payloads, to_queue, to_retry, to_run_id, to_target, to_time, to_word,
    to_workflow_type,
};
use crate::{
    ActivityScheduled, ChildInitiated, ContinuedAsNew, Event, HEADER_EFFECTS, HEADER_PARENT,
    HEADER_RETRY, Kind, Retry, Started,
};

/// The message of an event.
pub(super) fn event(event: &Event) -> wire::HistoryEvent {
    let (event_type, attributes) = kind(&event.kind);
    wire::HistoryEvent {
        event_id: event.id.0,
        event_time: to_time(event.time),
        event_type: event_type.into(),
        attributes: Some(attributes),
        ..Default::default()
    }
}

fn kind(kind: &Kind) -> (EventType, Attributes) {
    use Attributes as A;
    use EventType as T;
    match kind {
        Kind::Started(e) => {
            (T::WorkflowExecutionStarted, A::WorkflowExecutionStartedEventAttributes(started(e)))
        }
        Kind::Completed(e) => (
            T::WorkflowExecutionCompleted,
            A::WorkflowExecutionCompletedEventAttributes(
                wire::WorkflowExecutionCompletedEventAttributes {
                    result: to_payloads(&e.result),
                    workflow_task_completed_event_id: e.task_completed.0,
                    new_execution_run_id: to_run_id(e.next_run),
                },
            ),
        ),
        Kind::Failed(e) => (
            T::WorkflowExecutionFailed,
            A::WorkflowExecutionFailedEventAttributes(
                wire::WorkflowExecutionFailedEventAttributes {
                    failure: to_failure(&e.failure),
                    retry_state: e.retry_state.into(),
                    workflow_task_completed_event_id: e.task_completed.0,
                    new_execution_run_id: to_run_id(e.next_run),
                },
            ),
        ),
        Kind::TimedOut(e) => (
            T::WorkflowExecutionTimedOut,
            A::WorkflowExecutionTimedOutEventAttributes(
                wire::WorkflowExecutionTimedOutEventAttributes {
                    retry_state: e.retry_state.into(),
                    new_execution_run_id: to_run_id(e.next_run),
                },
            ),
        ),
        Kind::Canceled(e) => (
            T::WorkflowExecutionCanceled,
            A::WorkflowExecutionCanceledEventAttributes(
                wire::WorkflowExecutionCanceledEventAttributes {
                    workflow_task_completed_event_id: e.task_completed.0,
                    details: to_payloads(&e.details),
                },
            ),
        ),
        Kind::Terminated(e) => (
            T::WorkflowExecutionTerminated,
            A::WorkflowExecutionTerminatedEventAttributes(
                wire::WorkflowExecutionTerminatedEventAttributes {
                    reason: e.reason.to_string(),
                    details: to_payloads(&e.details),
                    identity: e.identity.to_string(),
                },
            ),
        ),
        Kind::ContinuedAsNew(e) => (
            T::WorkflowExecutionContinuedAsNew,
            A::WorkflowExecutionContinuedAsNewEventAttributes(continued(e)),
        ),
        Kind::CancelRequested(e) => (
            T::WorkflowExecutionCancelRequested,
            A::WorkflowExecutionCancelRequestedEventAttributes(
                wire::WorkflowExecutionCancelRequestedEventAttributes {
                    cause: e.cause.to_string(),
                    external_initiated_event_id: e.external_initiated.0,
                    external_workflow_execution: e.external.as_ref().map(to_execution),
                    identity: e.identity.to_string(),
                },
            ),
        ),
        Kind::Signaled(e) => (
            T::WorkflowExecutionSignaled,
            A::WorkflowExecutionSignaledEventAttributes(
                wire::WorkflowExecutionSignaledEventAttributes {
                    signal_name: e.name.to_string(),
                    input: to_payloads(&e.input),
                    identity: e.identity.to_string(),
                    header: to_header(&e.header),
                    external_workflow_execution: e.external.as_ref().map(to_execution),
                    request_id: e.request_id.to_string(),
                    ..Default::default()
                },
            ),
        ),
        Kind::Paused(e) => (
            T::WorkflowExecutionPaused,
            A::WorkflowExecutionPausedEventAttributes(
                wire::WorkflowExecutionPausedEventAttributes {
                    identity: e.identity.to_string(),
                    reason: e.reason.to_string(),
                    request_id: e.request_id.to_string(),
                },
            ),
        ),
        Kind::Unpaused(e) => (
            T::WorkflowExecutionUnpaused,
            A::WorkflowExecutionUnpausedEventAttributes(
                wire::WorkflowExecutionUnpausedEventAttributes {
                    identity: e.identity.to_string(),
                    reason: e.reason.to_string(),
                    request_id: e.request_id.to_string(),
                },
            ),
        ),
        Kind::TaskStarted(e) => (
            T::WorkflowTaskStarted,
            A::WorkflowTaskStartedEventAttributes(wire::WorkflowTaskStartedEventAttributes {
                scheduled_event_id: e.scheduled.0,
                identity: e.identity.to_string(),
                request_id: e.request_id.to_string(),
                suggest_continue_as_new: e.suggest_continue_as_new,
                history_size_bytes: i64::try_from(e.history_bytes).unwrap_or(i64::MAX),
                ..Default::default()
            }),
        ),
        Kind::TaskCompleted(e) => (
            T::WorkflowTaskCompleted,
            A::WorkflowTaskCompletedEventAttributes(wire::WorkflowTaskCompletedEventAttributes {
                scheduled_event_id: e.scheduled.0,
                started_event_id: e.started.0,
                identity: e.identity.to_string(),
                sdk_metadata: e.sdk_metadata.as_deref().cloned(),
                ..Default::default()
            }),
        ),
        Kind::TaskFailed(e) => (
            T::WorkflowTaskFailed,
            A::WorkflowTaskFailedEventAttributes(wire::WorkflowTaskFailedEventAttributes {
                scheduled_event_id: e.scheduled.0,
                started_event_id: e.started.0,
                cause: e.cause.into(),
                failure: e.failure.as_ref().and_then(to_failure),
                identity: e.identity.to_string(),
                ..Default::default()
            }),
        ),
        Kind::TaskTimedOut(e) => (
            T::WorkflowTaskTimedOut,
            A::WorkflowTaskTimedOutEventAttributes(wire::WorkflowTaskTimedOutEventAttributes {
                scheduled_event_id: e.scheduled.0,
                started_event_id: e.started.0,
                timeout_type: e.timeout.into(),
            }),
        ),
        Kind::TaskScheduled(e) => {
            let kind = if e.sticky { TaskQueueKind::Sticky } else { TaskQueueKind::Normal };
            let name = e.task_queue.to_string();
            (
                T::WorkflowTaskScheduled,
                A::WorkflowTaskScheduledEventAttributes(
                    wire::WorkflowTaskScheduledEventAttributes {
                        task_queue: Some(TaskQueue {
                            name,
                            kind: kind.into(),
                            normal_name: String::new(),
                        }),
                        start_to_close_timeout: Some(to_length(e.timeout)),
                        attempt: i32::try_from(e.attempt).unwrap_or(i32::MAX),
                    },
                ),
            )
        }
        Kind::ActivityScheduled(e) => {
            (T::ActivityTaskScheduled, A::ActivityTaskScheduledEventAttributes(scheduled(e)))
        }
        Kind::ActivityStarted(e) => (
            T::ActivityTaskStarted,
            A::ActivityTaskStartedEventAttributes(wire::ActivityTaskStartedEventAttributes {
                scheduled_event_id: e.scheduled.0,
                identity: e.identity.to_string(),
                request_id: e.request_id.to_string(),
                attempt: i32::try_from(e.attempt).unwrap_or(i32::MAX),
                last_failure: e.last_failure.as_ref().and_then(to_failure),
                ..Default::default()
            }),
        ),
        Kind::ActivityCompleted(e) => (
            T::ActivityTaskCompleted,
            A::ActivityTaskCompletedEventAttributes(wire::ActivityTaskCompletedEventAttributes {
                result: to_payloads(&e.result),
                scheduled_event_id: e.scheduled.0,
                started_event_id: e.started.0,
                identity: e.identity.to_string(),
                ..Default::default()
            }),
        ),
        Kind::ActivityFailed(e) => (
            T::ActivityTaskFailed,
            A::ActivityTaskFailedEventAttributes(wire::ActivityTaskFailedEventAttributes {
                failure: to_failure(&e.failure),
                scheduled_event_id: e.scheduled.0,
                started_event_id: e.started.0,
                identity: e.identity.to_string(),
                retry_state: e.retry_state.into(),
                ..Default::default()
            }),
        ),
        Kind::ActivityTimedOut(e) => (
            T::ActivityTaskTimedOut,
            A::ActivityTaskTimedOutEventAttributes(wire::ActivityTaskTimedOutEventAttributes {
                failure: to_failure(&e.failure),
                scheduled_event_id: e.scheduled.0,
                started_event_id: e.started.0,
                retry_state: e.retry_state.into(),
            }),
        ),
        Kind::ActivityCancelRequested(e) => (
            T::ActivityTaskCancelRequested,
            A::ActivityTaskCancelRequestedEventAttributes(
                wire::ActivityTaskCancelRequestedEventAttributes {
                    scheduled_event_id: e.scheduled.0,
                    workflow_task_completed_event_id: e.task_completed.0,
                },
            ),
        ),
        Kind::ActivityCanceled(e) => (
            T::ActivityTaskCanceled,
            A::ActivityTaskCanceledEventAttributes(wire::ActivityTaskCanceledEventAttributes {
                details: to_payloads(&e.details),
                latest_cancel_requested_event_id: e.requested.0,
                scheduled_event_id: e.scheduled.0,
                started_event_id: e.started.0,
                identity: e.identity.to_string(),
                ..Default::default()
            }),
        ),
        Kind::TimerStarted(e) => (
            T::TimerStarted,
            A::TimerStartedEventAttributes(wire::TimerStartedEventAttributes {
                timer_id: e.timer_id.to_string(),
                start_to_fire_timeout: Some(to_length(e.duration)),
                workflow_task_completed_event_id: e.task_completed.0,
            }),
        ),
        Kind::TimerFired(e) => (
            T::TimerFired,
            A::TimerFiredEventAttributes(wire::TimerFiredEventAttributes {
                timer_id: e.timer_id.to_string(),
                started_event_id: e.started.0,
            }),
        ),
        Kind::TimerCanceled(e) => (
            T::TimerCanceled,
            A::TimerCanceledEventAttributes(wire::TimerCanceledEventAttributes {
                timer_id: e.timer_id.to_string(),
                started_event_id: e.started.0,
                workflow_task_completed_event_id: e.task_completed.0,
                identity: e.identity.to_string(),
            }),
        ),
        Kind::Marker(e) => (
            T::MarkerRecorded,
            A::MarkerRecordedEventAttributes(wire::MarkerRecordedEventAttributes {
                marker_name: e.name.to_string(),
                details: e.details.clone(),
                workflow_task_completed_event_id: e.task_completed.0,
                header: to_header(&e.header),
                failure: e.failure.as_ref().and_then(to_failure),
            }),
        ),
        Kind::ChildInitiated(e) => (
            T::StartChildWorkflowExecutionInitiated,
            A::StartChildWorkflowExecutionInitiatedEventAttributes(initiated(e)),
        ),
        Kind::ChildStartFailed(e) => (
            T::StartChildWorkflowExecutionFailed,
            A::StartChildWorkflowExecutionFailedEventAttributes(
                wire::StartChildWorkflowExecutionFailedEventAttributes {
                    namespace: e.namespace.to_string(),
                    workflow_id: e.workflow_id.to_string(),
                    workflow_type: to_workflow_type(&e.workflow_type),
                    cause: e.cause.into(),
                    initiated_event_id: e.initiated.0,
                    workflow_task_completed_event_id: e.task_completed.0,
                    ..Default::default()
                },
            ),
        ),
        Kind::ChildStarted(e) => (
            T::ChildWorkflowExecutionStarted,
            A::ChildWorkflowExecutionStartedEventAttributes(
                wire::ChildWorkflowExecutionStartedEventAttributes {
                    namespace: e.child.namespace.to_string(),
                    initiated_event_id: e.child.initiated.0,
                    workflow_execution: Some(to_execution(&e.child.execution)),
                    workflow_type: to_workflow_type(&e.child.workflow_type),
                    ..Default::default()
                },
            ),
        ),
        Kind::ChildCompleted(e) => (
            T::ChildWorkflowExecutionCompleted,
            A::ChildWorkflowExecutionCompletedEventAttributes(
                wire::ChildWorkflowExecutionCompletedEventAttributes {
                    result: to_payloads(&e.result),
                    namespace: e.child.namespace.to_string(),
                    workflow_execution: Some(to_execution(&e.child.execution)),
                    workflow_type: to_workflow_type(&e.child.workflow_type),
                    initiated_event_id: e.child.initiated.0,
                    started_event_id: e.child.started.0,
                    ..Default::default()
                },
            ),
        ),
        Kind::ChildFailed(e) => (
            T::ChildWorkflowExecutionFailed,
            A::ChildWorkflowExecutionFailedEventAttributes(
                wire::ChildWorkflowExecutionFailedEventAttributes {
                    failure: to_failure(&e.failure),
                    namespace: e.child.namespace.to_string(),
                    workflow_execution: Some(to_execution(&e.child.execution)),
                    workflow_type: to_workflow_type(&e.child.workflow_type),
                    initiated_event_id: e.child.initiated.0,
                    started_event_id: e.child.started.0,
                    retry_state: e.retry_state.into(),
                    ..Default::default()
                },
            ),
        ),
        Kind::ChildCanceled(e) => (
            T::ChildWorkflowExecutionCanceled,
            A::ChildWorkflowExecutionCanceledEventAttributes(
                wire::ChildWorkflowExecutionCanceledEventAttributes {
                    details: to_payloads(&e.details),
                    namespace: e.child.namespace.to_string(),
                    workflow_execution: Some(to_execution(&e.child.execution)),
                    workflow_type: to_workflow_type(&e.child.workflow_type),
                    initiated_event_id: e.child.initiated.0,
                    started_event_id: e.child.started.0,
                    ..Default::default()
                },
            ),
        ),
        Kind::ChildTimedOut(e) => (
            T::ChildWorkflowExecutionTimedOut,
            A::ChildWorkflowExecutionTimedOutEventAttributes(
                wire::ChildWorkflowExecutionTimedOutEventAttributes {
                    namespace: e.child.namespace.to_string(),
                    workflow_execution: Some(to_execution(&e.child.execution)),
                    workflow_type: to_workflow_type(&e.child.workflow_type),
                    initiated_event_id: e.child.initiated.0,
                    started_event_id: e.child.started.0,
                    retry_state: e.retry_state.into(),
                    ..Default::default()
                },
            ),
        ),
        Kind::ChildTerminated(e) => (
            T::ChildWorkflowExecutionTerminated,
            A::ChildWorkflowExecutionTerminatedEventAttributes(
                wire::ChildWorkflowExecutionTerminatedEventAttributes {
                    namespace: e.child.namespace.to_string(),
                    workflow_execution: Some(to_execution(&e.child.execution)),
                    workflow_type: to_workflow_type(&e.child.workflow_type),
                    initiated_event_id: e.child.initiated.0,
                    started_event_id: e.child.started.0,
                    ..Default::default()
                },
            ),
        ),
        Kind::ExternalSignalInitiated(e) => (
            T::SignalExternalWorkflowExecutionInitiated,
            A::SignalExternalWorkflowExecutionInitiatedEventAttributes(
                wire::SignalExternalWorkflowExecutionInitiatedEventAttributes {
                    workflow_task_completed_event_id: e.task_completed.0,
                    namespace: e.target.namespace.to_string(),
                    workflow_execution: to_target(&e.target),
                    signal_name: e.name.to_string(),
                    input: to_payloads(&e.input),
                    child_workflow_only: e.child_only,
                    header: to_header(&e.header),
                    ..Default::default()
                },
            ),
        ),
        Kind::ExternalSignalFailed(e) => (
            T::SignalExternalWorkflowExecutionFailed,
            A::SignalExternalWorkflowExecutionFailedEventAttributes(
                wire::SignalExternalWorkflowExecutionFailedEventAttributes {
                    cause: e.cause.into(),
                    workflow_task_completed_event_id: e.task_completed.0,
                    namespace: e.target.namespace.to_string(),
                    workflow_execution: to_target(&e.target),
                    initiated_event_id: e.initiated.0,
                    ..Default::default()
                },
            ),
        ),
        Kind::ExternalSignaled(e) => (
            T::ExternalWorkflowExecutionSignaled,
            A::ExternalWorkflowExecutionSignaledEventAttributes(
                wire::ExternalWorkflowExecutionSignaledEventAttributes {
                    initiated_event_id: e.initiated.0,
                    namespace: e.target.namespace.to_string(),
                    workflow_execution: to_target(&e.target),
                    ..Default::default()
                },
            ),
        ),
        Kind::ExternalCancelInitiated(e) => (
            T::RequestCancelExternalWorkflowExecutionInitiated,
            A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(
                wire::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes {
                    workflow_task_completed_event_id: e.task_completed.0,
                    namespace: e.target.namespace.to_string(),
                    workflow_execution: to_target(&e.target),
                    child_workflow_only: e.child_only,
                    reason: e.reason.to_string(),
                    ..Default::default()
                },
            ),
        ),
        Kind::ExternalCancelFailed(e) => (
            T::RequestCancelExternalWorkflowExecutionFailed,
            A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(
                wire::RequestCancelExternalWorkflowExecutionFailedEventAttributes {
                    cause: e.cause.into(),
                    workflow_task_completed_event_id: e.task_completed.0,
                    namespace: e.target.namespace.to_string(),
                    workflow_execution: to_target(&e.target),
                    initiated_event_id: e.initiated.0,
                    ..Default::default()
                },
            ),
        ),
        Kind::ExternalCancelRequested(e) => (
            T::ExternalWorkflowExecutionCancelRequested,
            A::ExternalWorkflowExecutionCancelRequestedEventAttributes(
                wire::ExternalWorkflowExecutionCancelRequestedEventAttributes {
                    initiated_event_id: e.initiated.0,
                    namespace: e.target.namespace.to_string(),
                    workflow_execution: to_target(&e.target),
                    ..Default::default()
                },
            ),
        ),
        Kind::UpdateAdmitted(e) => (
            T::WorkflowExecutionUpdateAdmitted,
            A::WorkflowExecutionUpdateAdmittedEventAttributes(
                wire::WorkflowExecutionUpdateAdmittedEventAttributes {
                    request: Some((*e.request).clone()),
                    origin: e.origin,
                },
            ),
        ),
        Kind::UpdateAccepted(e) => (
            T::WorkflowExecutionUpdateAccepted,
            A::WorkflowExecutionUpdateAcceptedEventAttributes(
                wire::WorkflowExecutionUpdateAcceptedEventAttributes {
                    protocol_instance_id: e.update_id.to_string(),
                    accepted_request_message_id: e.message_id.to_string(),
                    accepted_request_sequencing_event_id: e.sequencing.0,
                    accepted_request: e.request.as_deref().cloned(),
                },
            ),
        ),
        Kind::UpdateRejected(e) => (
            T::WorkflowExecutionUpdateRejected,
            A::WorkflowExecutionUpdateRejectedEventAttributes(
                wire::WorkflowExecutionUpdateRejectedEventAttributes {
                    protocol_instance_id: e.update_id.to_string(),
                    rejected_request_message_id: e.message_id.to_string(),
                    rejected_request_sequencing_event_id: e.sequencing.0,
                    rejected_request: e.request.as_deref().cloned(),
                    failure: to_failure(&e.failure),
                },
            ),
        ),
        Kind::UpdateCompleted(e) => (
            T::WorkflowExecutionUpdateCompleted,
            A::WorkflowExecutionUpdateCompletedEventAttributes(
                wire::WorkflowExecutionUpdateCompletedEventAttributes {
                    meta: Some(Meta {
                        update_id: e.update_id.to_string(),
                        identity: e.identity.to_string(),
                    }),
                    accepted_event_id: e.accepted.0,
                    outcome: e.outcome.as_deref().cloned(),
                },
            ),
        ),
        Kind::SearchAttributesUpserted(e) => (
            T::UpsertWorkflowSearchAttributes,
            A::UpsertWorkflowSearchAttributesEventAttributes(
                wire::UpsertWorkflowSearchAttributesEventAttributes {
                    workflow_task_completed_event_id: e.task_completed.0,
                    search_attributes: to_attributes(&e.attributes),
                },
            ),
        ),
        Kind::PropertiesModified(e) => (
            T::WorkflowPropertiesModified,
            A::WorkflowPropertiesModifiedEventAttributes(
                wire::WorkflowPropertiesModifiedEventAttributes {
                    workflow_task_completed_event_id: e.task_completed.0,
                    upserted_memo: to_memo(&e.memo),
                },
            ),
        ),
        Kind::OptionsUpdated(e) => (
            T::WorkflowExecutionOptionsUpdated,
            A::WorkflowExecutionOptionsUpdatedEventAttributes((**e).clone()),
        ),
    }
}

fn started(e: &Started) -> wire::WorkflowExecutionStartedEventAttributes {
    let mut header = e.header.clone();
    let parent = e.parent.as_ref();
    if let Some(parent) = parent.filter(|parent| parent.first_run != parent.key.run_id) {
        header.fields.insert(HEADER_PARENT.to_owned(), to_word(&parent.first_run.to_string()));
    }
    let before = e.continued.as_ref();
    wire::WorkflowExecutionStartedEventAttributes {
        workflow_type: to_workflow_type(&e.workflow_type),
        parent_workflow_namespace: parent.map(|p| p.key.namespace.to_string()).unwrap_or_default(),
        parent_workflow_execution: parent.map(|p| WorkflowExecution {
            workflow_id: p.key.workflow_id.to_string(),
            run_id: p.key.run_id.to_string(),
        }),
        parent_initiated_event_id: parent.map_or(0, |p| p.initiated.0),
        task_queue: to_queue(&e.task_queue),
        input: to_payloads(&e.input),
        workflow_execution_timeout: to_lengths(e.execution_timeout),
        workflow_run_timeout: to_lengths(e.run_timeout),
        workflow_task_timeout: to_lengths(e.task_timeout),
        continued_execution_run_id: to_run_id(before.map(|before| before.run_id)),
        initiator: before.map_or(0, |before| before.initiator.into()),
        continued_failure: before.and_then(|before| before.failure.as_ref()).and_then(to_failure),
        last_completion_result: before.and_then(|before| to_payloads(&before.last_result)),
        original_execution_run_id: e.original_run_id.to_string(),
        identity: e.identity.to_string(),
        first_execution_run_id: e.first_run_id.to_string(),
        retry_policy: e.retry.as_ref().map(to_retry),
        attempt: i32::try_from(e.attempt).unwrap_or(i32::MAX),
        workflow_execution_expiration_time: e.execution_expires.and_then(to_time),
        cron_schedule: e.cron_schedule.to_string(),
        first_workflow_task_backoff: to_lengths(e.first_task_backoff),
        memo: to_memo(&e.memo),
        search_attributes: to_attributes(&e.search_attributes),
        header: run_header(header, e.retry.as_ref()),
        root_workflow_execution: e.root.as_ref().map(to_execution),
        priority: e.priority.clone(),
        ..Default::default()
    }
}

/// Intervals of a run's or a child's policy travel as those of an activity do.
fn run_header(mut header: Header, retry: Option<&Retry>) -> Option<Header> {
    if let Some(Retry::Intervals(waits)) = retry {
        header.fields.insert(HEADER_RETRY.to_owned(), to_intervals(waits));
    }
    (!header.fields.is_empty()).then_some(header)
}

fn continued(e: &ContinuedAsNew) -> wire::WorkflowExecutionContinuedAsNewEventAttributes {
    #[allow(deprecated)] // Still how a server says why a run was continued.
    wire::WorkflowExecutionContinuedAsNewEventAttributes {
        new_execution_run_id: e.next_run.to_string(),
        workflow_type: to_workflow_type(&e.workflow_type),
        task_queue: to_queue(&e.task_queue),
        input: to_payloads(&e.input),
        workflow_run_timeout: to_lengths(e.run_timeout),
        workflow_task_timeout: to_lengths(e.task_timeout),
        workflow_task_completed_event_id: e.task_completed.0,
        backoff_start_interval: to_lengths(e.backoff),
        initiator: e.initiator.into(),
        failure: e.failure.as_ref().and_then(to_failure),
        last_completion_result: to_payloads(&e.last_result),
        header: to_header(&e.header),
        memo: to_memo(&e.memo),
        search_attributes: to_attributes(&e.search_attributes),
        ..Default::default()
    }
}

fn scheduled(e: &ActivityScheduled) -> wire::ActivityTaskScheduledEventAttributes {
    let mut header = e.header.clone();
    if let Retry::Intervals(waits) = &e.retry {
        header.fields.insert(HEADER_RETRY.to_owned(), to_intervals(waits));
    }
    if let Some(effects) = e.effects {
        header.fields.insert(HEADER_EFFECTS.to_owned(), to_word(effects.as_str()));
    }
    wire::ActivityTaskScheduledEventAttributes {
        activity_id: e.activity_id.to_string(),
        activity_type: Some(ActivityType { name: e.activity_type.to_string() }),
        task_queue: to_queue(&e.task_queue),
        header: (!header.fields.is_empty()).then_some(header),
        input: to_payloads(&e.input),
        schedule_to_close_timeout: to_lengths(e.schedule_to_close),
        schedule_to_start_timeout: to_lengths(e.schedule_to_start),
        start_to_close_timeout: to_lengths(e.start_to_close),
        heartbeat_timeout: to_lengths(e.heartbeat),
        workflow_task_completed_event_id: e.task_completed.0,
        retry_policy: Some(to_retry(&e.retry)),
        priority: e.priority.clone(),
        ..Default::default()
    }
}

fn initiated(e: &ChildInitiated) -> wire::StartChildWorkflowExecutionInitiatedEventAttributes {
    wire::StartChildWorkflowExecutionInitiatedEventAttributes {
        namespace: e.namespace.to_string(),
        workflow_id: e.workflow_id.to_string(),
        workflow_type: to_workflow_type(&e.workflow_type),
        task_queue: to_queue(&e.task_queue),
        input: to_payloads(&e.input),
        workflow_execution_timeout: to_lengths(e.execution_timeout),
        workflow_run_timeout: to_lengths(e.run_timeout),
        workflow_task_timeout: to_lengths(e.task_timeout),
        parent_close_policy: e.parent_close_policy.into(),
        workflow_task_completed_event_id: e.task_completed.0,
        workflow_id_reuse_policy: e.reuse_policy.into(),
        retry_policy: e.retry.as_ref().map(to_retry),
        cron_schedule: e.cron_schedule.to_string(),
        header: run_header(e.header.clone(), e.retry.as_ref()),
        memo: to_memo(&e.memo),
        search_attributes: to_attributes(&e.search_attributes),
        priority: e.priority.clone(),
        ..Default::default()
    }
}
