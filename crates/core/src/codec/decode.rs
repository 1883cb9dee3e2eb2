//! The wire's `HistoryEvent` as the domain event.

use std::sync::Arc;

use reflux_proto::temporal::api::enums::v1::TaskQueueKind;
use reflux_proto::temporal::api::history::v1 as wire;
use reflux_proto::temporal::api::history::v1::history_event::Attributes as A;

use super::Malformed;
use super::fields::{
    activity_type, execution, failure, intervals, length, payloads, queue, retry, run_id, target,
    time, word, workflow_type,
};
use crate::{
    ActivityCancelRequested, ActivityCanceled, ActivityCompleted, ActivityFailed,
    ActivityScheduled, ActivityStarted, ActivityTimedOut, CancelRequested, Canceled, ChildCanceled,
    ChildCompleted, ChildFailed, ChildInitiated, ChildRef, ChildStartFailed, ChildStarted,
    ChildTerminated, ChildTimedOut, Completed, Continued, ContinuedAsNew, EffectClass, EventId,
    ExternalCancelFailed, ExternalCancelInitiated, ExternalCancelRequested, ExternalSignalFailed,
    ExternalSignalInitiated, ExternalSignaled, Failed, HEADER_EFFECTS, HEADER_PARENT, HEADER_RETRY,
    Header, Kind, Marker, Parent, PropertiesModified, Retry, RunId, RunKey,
    SearchAttributesUpserted, Signaled, Started, Suspension, TASK_TIMEOUT, TaskCompleted,
    TaskFailed, TaskScheduled, TaskStarted, TaskTimedOut, Terminated, TimedOut, TimerCanceled,
    TimerFired, TimerStarted, UpdateAccepted, UpdateAdmitted, UpdateCompleted, UpdateRejected,
};

/// The kind of an event's attributes.
pub(super) fn kind(attributes: A) -> Result<Kind, Malformed> {
    Ok(match attributes {
        A::WorkflowExecutionStartedEventAttributes(e) => Kind::Started(Arc::new(started(e)?)),
        A::WorkflowExecutionCompletedEventAttributes(e) => Kind::Completed(Completed {
            result: payloads(e.result),
            task_completed: EventId(e.workflow_task_completed_event_id),
            next_run: run_id(&e.new_execution_run_id),
        }),
        A::WorkflowExecutionFailedEventAttributes(e) => Kind::Failed(Failed {
            retry_state: e.retry_state(),
            failure: failure("WorkflowExecutionFailed", e.failure)?,
            task_completed: EventId(e.workflow_task_completed_event_id),
            next_run: run_id(&e.new_execution_run_id),
        }),
        A::WorkflowExecutionTimedOutEventAttributes(e) => Kind::TimedOut(TimedOut {
            retry_state: e.retry_state(),
            next_run: run_id(&e.new_execution_run_id),
        }),
        A::WorkflowExecutionCanceledEventAttributes(e) => Kind::Canceled(Canceled {
            details: payloads(e.details),
            task_completed: EventId(e.workflow_task_completed_event_id),
        }),
        A::WorkflowExecutionTerminatedEventAttributes(e) => Kind::Terminated(Terminated {
            reason: e.reason.into(),
            details: payloads(e.details),
            identity: e.identity.into(),
        }),
        A::WorkflowExecutionContinuedAsNewEventAttributes(e) => {
            Kind::ContinuedAsNew(Arc::new(continued(e)?))
        }
        A::WorkflowExecutionCancelRequestedEventAttributes(e) => {
            Kind::CancelRequested(CancelRequested {
                cause: e.cause.into(),
                identity: e.identity.into(),
                external: execution(e.external_workflow_execution),
                external_initiated: EventId(e.external_initiated_event_id),
            })
        }
        A::WorkflowExecutionSignaledEventAttributes(e) => Kind::Signaled(Signaled {
            name: e.signal_name.into(),
            input: payloads(e.input),
            header: e.header.unwrap_or_default(),
            identity: e.identity.into(),
            external: execution(e.external_workflow_execution),
            request_id: e.request_id.into(),
        }),
        A::WorkflowExecutionPausedEventAttributes(e) => Kind::Paused(Suspension {
            identity: e.identity.into(),
            reason: e.reason.into(),
            request_id: e.request_id.into(),
        }),
        A::WorkflowExecutionUnpausedEventAttributes(e) => Kind::Unpaused(Suspension {
            identity: e.identity.into(),
            reason: e.reason.into(),
            request_id: e.request_id.into(),
        }),

        A::WorkflowTaskScheduledEventAttributes(e) => Kind::TaskScheduled(TaskScheduled {
            sticky: e
                .task_queue
                .as_ref()
                .is_some_and(|queue| queue.kind() == TaskQueueKind::Sticky),
            task_queue: queue(e.task_queue),
            timeout: length(e.start_to_close_timeout.as_ref()).unwrap_or(TASK_TIMEOUT),
            attempt: number(e.attempt).max(1),
        }),
        A::WorkflowTaskStartedEventAttributes(e) => Kind::TaskStarted(TaskStarted {
            scheduled: EventId(e.scheduled_event_id),
            identity: e.identity.into(),
            request_id: e.request_id.into(),
            suggest_continue_as_new: e.suggest_continue_as_new,
            history_bytes: u64::try_from(e.history_size_bytes).unwrap_or(0),
        }),
        A::WorkflowTaskCompletedEventAttributes(e) => Kind::TaskCompleted(TaskCompleted {
            scheduled: EventId(e.scheduled_event_id),
            started: EventId(e.started_event_id),
            identity: e.identity.into(),
            sdk_metadata: e.sdk_metadata.map(Box::new),
        }),
        A::WorkflowTaskFailedEventAttributes(e) => Kind::TaskFailed(TaskFailed {
            scheduled: EventId(e.scheduled_event_id),
            started: EventId(e.started_event_id),
            cause: e.cause(),
            failure: e.failure.map(Arc::new),
            identity: e.identity.into(),
        }),
        A::WorkflowTaskTimedOutEventAttributes(e) => Kind::TaskTimedOut(TaskTimedOut {
            scheduled: EventId(e.scheduled_event_id),
            started: EventId(e.started_event_id),
            timeout: e.timeout_type(),
        }),

        A::ActivityTaskScheduledEventAttributes(e) => {
            Kind::ActivityScheduled(Arc::new(scheduled(e)?))
        }
        A::ActivityTaskStartedEventAttributes(e) => Kind::ActivityStarted(ActivityStarted {
            scheduled: EventId(e.scheduled_event_id),
            identity: e.identity.into(),
            request_id: e.request_id.into(),
            attempt: number(e.attempt).max(1),
            last_failure: e.last_failure.map(Arc::new),
        }),
        A::ActivityTaskCompletedEventAttributes(e) => Kind::ActivityCompleted(ActivityCompleted {
            scheduled: EventId(e.scheduled_event_id),
            started: EventId(e.started_event_id),
            result: payloads(e.result),
            identity: e.identity.into(),
        }),
        A::ActivityTaskFailedEventAttributes(e) => Kind::ActivityFailed(ActivityFailed {
            retry_state: e.retry_state(),
            scheduled: EventId(e.scheduled_event_id),
            started: EventId(e.started_event_id),
            failure: failure("ActivityTaskFailed", e.failure)?,
            identity: e.identity.into(),
        }),
        A::ActivityTaskTimedOutEventAttributes(e) => Kind::ActivityTimedOut(ActivityTimedOut {
            retry_state: e.retry_state(),
            scheduled: EventId(e.scheduled_event_id),
            started: EventId(e.started_event_id),
            failure: failure("ActivityTaskTimedOut", e.failure)?,
        }),
        A::ActivityTaskCancelRequestedEventAttributes(e) => {
            Kind::ActivityCancelRequested(ActivityCancelRequested {
                scheduled: EventId(e.scheduled_event_id),
                task_completed: EventId(e.workflow_task_completed_event_id),
            })
        }
        A::ActivityTaskCanceledEventAttributes(e) => Kind::ActivityCanceled(ActivityCanceled {
            scheduled: EventId(e.scheduled_event_id),
            started: EventId(e.started_event_id),
            requested: EventId(e.latest_cancel_requested_event_id),
            details: payloads(e.details),
            identity: e.identity.into(),
        }),

        A::TimerStartedEventAttributes(e) => Kind::TimerStarted(TimerStarted {
            timer_id: e.timer_id.into(),
            duration: length(e.start_to_fire_timeout.as_ref()).unwrap_or_default(),
            task_completed: EventId(e.workflow_task_completed_event_id),
        }),
        A::TimerFiredEventAttributes(e) => Kind::TimerFired(TimerFired {
            timer_id: e.timer_id.into(),
            started: EventId(e.started_event_id),
        }),
        A::TimerCanceledEventAttributes(e) => Kind::TimerCanceled(TimerCanceled {
            timer_id: e.timer_id.into(),
            started: EventId(e.started_event_id),
            task_completed: EventId(e.workflow_task_completed_event_id),
            identity: e.identity.into(),
        }),
        A::MarkerRecordedEventAttributes(e) => Kind::Marker(Marker {
            name: e.marker_name.into(),
            details: e.details,
            failure: e.failure.map(Arc::new),
            header: e.header.unwrap_or_default(),
            task_completed: EventId(e.workflow_task_completed_event_id),
        }),

        A::StartChildWorkflowExecutionInitiatedEventAttributes(e) => {
            Kind::ChildInitiated(Arc::new(initiated(e)?))
        }
        A::StartChildWorkflowExecutionFailedEventAttributes(e) => {
            Kind::ChildStartFailed(ChildStartFailed {
                cause: e.cause(),
                initiated: EventId(e.initiated_event_id),
                namespace: e.namespace.into(),
                workflow_id: e.workflow_id.into(),
                workflow_type: workflow_type("StartChildFailed", e.workflow_type)?,
                task_completed: EventId(e.workflow_task_completed_event_id),
            })
        }
        A::ChildWorkflowExecutionStartedEventAttributes(e) => Kind::ChildStarted(ChildStarted {
            child: ChildRef {
                initiated: EventId(e.initiated_event_id),
                started: EventId(0),
                namespace: e.namespace.into(),
                execution: known("ChildStarted", execution(e.workflow_execution))?,
                workflow_type: workflow_type("ChildStarted", e.workflow_type)?,
            },
        }),
        A::ChildWorkflowExecutionCompletedEventAttributes(e) => {
            Kind::ChildCompleted(ChildCompleted {
                child: ChildRef {
                    initiated: EventId(e.initiated_event_id),
                    started: EventId(e.started_event_id),
                    namespace: e.namespace.into(),
                    execution: known("ChildCompleted", execution(e.workflow_execution))?,
                    workflow_type: workflow_type("ChildCompleted", e.workflow_type)?,
                },
                result: payloads(e.result),
            })
        }
        A::ChildWorkflowExecutionFailedEventAttributes(e) => Kind::ChildFailed(ChildFailed {
            retry_state: e.retry_state(),
            child: ChildRef {
                initiated: EventId(e.initiated_event_id),
                started: EventId(e.started_event_id),
                namespace: e.namespace.into(),
                execution: known("ChildFailed", execution(e.workflow_execution))?,
                workflow_type: workflow_type("ChildFailed", e.workflow_type)?,
            },
            failure: failure("ChildFailed", e.failure)?,
        }),
        A::ChildWorkflowExecutionCanceledEventAttributes(e) => Kind::ChildCanceled(ChildCanceled {
            child: ChildRef {
                initiated: EventId(e.initiated_event_id),
                started: EventId(e.started_event_id),
                namespace: e.namespace.into(),
                execution: known("ChildCanceled", execution(e.workflow_execution))?,
                workflow_type: workflow_type("ChildCanceled", e.workflow_type)?,
            },
            details: payloads(e.details),
        }),
        A::ChildWorkflowExecutionTimedOutEventAttributes(e) => Kind::ChildTimedOut(ChildTimedOut {
            retry_state: e.retry_state(),
            child: ChildRef {
                initiated: EventId(e.initiated_event_id),
                started: EventId(e.started_event_id),
                namespace: e.namespace.into(),
                execution: known("ChildTimedOut", execution(e.workflow_execution))?,
                workflow_type: workflow_type("ChildTimedOut", e.workflow_type)?,
            },
        }),
        A::ChildWorkflowExecutionTerminatedEventAttributes(e) => {
            Kind::ChildTerminated(ChildTerminated {
                child: ChildRef {
                    initiated: EventId(e.initiated_event_id),
                    started: EventId(e.started_event_id),
                    namespace: e.namespace.into(),
                    execution: known("ChildTerminated", execution(e.workflow_execution))?,
                    workflow_type: workflow_type("ChildTerminated", e.workflow_type)?,
                },
            })
        }

        A::SignalExternalWorkflowExecutionInitiatedEventAttributes(e) => {
            Kind::ExternalSignalInitiated(Arc::new(ExternalSignalInitiated {
                target: target("SignalExternal", e.namespace, e.workflow_execution)?,
                name: e.signal_name.into(),
                input: payloads(e.input),
                header: e.header.unwrap_or_default(),
                child_only: e.child_workflow_only,
                task_completed: EventId(e.workflow_task_completed_event_id),
            }))
        }
        A::SignalExternalWorkflowExecutionFailedEventAttributes(e) => {
            Kind::ExternalSignalFailed(ExternalSignalFailed {
                cause: e.cause(),
                initiated: EventId(e.initiated_event_id),
                target: target("SignalExternalFailed", e.namespace, e.workflow_execution)?,
                task_completed: EventId(e.workflow_task_completed_event_id),
            })
        }
        A::ExternalWorkflowExecutionSignaledEventAttributes(e) => {
            Kind::ExternalSignaled(ExternalSignaled {
                initiated: EventId(e.initiated_event_id),
                target: target("ExternalSignaled", e.namespace, e.workflow_execution)?,
            })
        }
        A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(e) => {
            Kind::ExternalCancelInitiated(Arc::new(ExternalCancelInitiated {
                target: target("RequestCancelExternal", e.namespace, e.workflow_execution)?,
                child_only: e.child_workflow_only,
                reason: e.reason.into(),
                task_completed: EventId(e.workflow_task_completed_event_id),
            }))
        }
        A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(e) => {
            Kind::ExternalCancelFailed(ExternalCancelFailed {
                cause: e.cause(),
                initiated: EventId(e.initiated_event_id),
                target: target("RequestCancelExternalFailed", e.namespace, e.workflow_execution)?,
                task_completed: EventId(e.workflow_task_completed_event_id),
            })
        }
        A::ExternalWorkflowExecutionCancelRequestedEventAttributes(e) => {
            Kind::ExternalCancelRequested(ExternalCancelRequested {
                initiated: EventId(e.initiated_event_id),
                target: target("ExternalCancelRequested", e.namespace, e.workflow_execution)?,
            })
        }

        A::WorkflowExecutionUpdateAdmittedEventAttributes(e) => {
            Kind::UpdateAdmitted(UpdateAdmitted {
                request: Arc::new(known("UpdateAdmitted", e.request)?),
                origin: e.origin,
            })
        }
        A::WorkflowExecutionUpdateAcceptedEventAttributes(e) => {
            Kind::UpdateAccepted(UpdateAccepted {
                update_id: e.protocol_instance_id.into(),
                message_id: e.accepted_request_message_id.into(),
                sequencing: EventId(e.accepted_request_sequencing_event_id),
                request: e.accepted_request.map(Arc::new),
            })
        }
        A::WorkflowExecutionUpdateRejectedEventAttributes(e) => {
            Kind::UpdateRejected(UpdateRejected {
                update_id: e.protocol_instance_id.into(),
                message_id: e.rejected_request_message_id.into(),
                sequencing: EventId(e.rejected_request_sequencing_event_id),
                request: e.rejected_request.map(Arc::new),
                failure: failure("UpdateRejected", e.failure)?,
            })
        }
        A::WorkflowExecutionUpdateCompletedEventAttributes(e) => {
            let meta = known("UpdateCompleted", e.meta)?;
            Kind::UpdateCompleted(UpdateCompleted {
                update_id: meta.update_id.into(),
                identity: meta.identity.into(),
                accepted: EventId(e.accepted_event_id),
                outcome: e.outcome.map(Arc::new),
            })
        }

        A::UpsertWorkflowSearchAttributesEventAttributes(e) => {
            Kind::SearchAttributesUpserted(SearchAttributesUpserted {
                attributes: e.search_attributes.unwrap_or_default(),
                task_completed: EventId(e.workflow_task_completed_event_id),
            })
        }
        A::WorkflowPropertiesModifiedEventAttributes(e) => {
            Kind::PropertiesModified(PropertiesModified {
                memo: e.upserted_memo.unwrap_or_default(),
                task_completed: EventId(e.workflow_task_completed_event_id),
            })
        }
        A::WorkflowExecutionOptionsUpdatedEventAttributes(e) => Kind::OptionsUpdated(Box::new(e)),

        A::WorkflowPropertiesModifiedExternallyEventAttributes(_)
        | A::ActivityPropertiesModifiedExternallyEventAttributes(_)
        | A::NexusOperationScheduledEventAttributes(_)
        | A::NexusOperationStartedEventAttributes(_)
        | A::NexusOperationCompletedEventAttributes(_)
        | A::NexusOperationFailedEventAttributes(_)
        | A::NexusOperationCanceledEventAttributes(_)
        | A::NexusOperationTimedOutEventAttributes(_)
        | A::NexusOperationCancelRequestedEventAttributes(_)
        | A::NexusOperationCancelRequestCompletedEventAttributes(_)
        | A::NexusOperationCancelRequestFailedEventAttributes(_)
        | A::WorkflowExecutionTimeSkippingTransitionedEventAttributes(_) => {
            return Err(Malformed::new("", "is of a type this version does not know"));
        }
    })
}

fn started(e: wire::WorkflowExecutionStartedEventAttributes) -> Result<Started, Malformed> {
    let what = "WorkflowExecutionStarted";
    let initiator = e.initiator();
    let mut header = e.header.unwrap_or_default();
    let first_run = first_run(&mut header);
    let parent = match execution(e.parent_workflow_execution) {
        Some(parent) => Some(Parent {
            first_run: first_run.unwrap_or(parent.run_id),
            key: RunKey {
                namespace: e.parent_workflow_namespace.into(),
                workflow_id: parent.workflow_id,
                run_id: parent.run_id,
            },
            initiated: EventId(e.parent_initiated_event_id),
        }),
        None => None,
    };
    let continued = run_id(&e.continued_execution_run_id).map(|run_id| Continued {
        run_id,
        initiator,
        failure: e.continued_failure.map(Arc::new),
        last_result: payloads(e.last_completion_result),
    });
    let original_run_id = known(what, run_id(&e.original_execution_run_id))?;
    Ok(Started {
        workflow_type: workflow_type(what, e.workflow_type)?,
        task_queue: queue(e.task_queue),
        input: payloads(e.input),
        retry: policy(&mut header, e.retry_policy),
        header,
        memo: e.memo.unwrap_or_default(),
        search_attributes: e.search_attributes.unwrap_or_default(),
        execution_timeout: length(e.workflow_execution_timeout.as_ref()),
        run_timeout: length(e.workflow_run_timeout.as_ref()),
        task_timeout: length(e.workflow_task_timeout.as_ref()),
        execution_expires: time(e.workflow_execution_expiration_time.as_ref()),
        attempt: number(e.attempt).max(1),
        cron_schedule: e.cron_schedule.into(),
        first_task_backoff: length(e.first_workflow_task_backoff.as_ref()),
        parent,
        root: execution(e.root_workflow_execution),
        first_run_id: run_id(&e.first_execution_run_id).unwrap_or(original_run_id),
        original_run_id,
        continued,
        identity: e.identity.into(),
        priority: e.priority,
    })
}

fn continued(
    e: wire::WorkflowExecutionContinuedAsNewEventAttributes,
) -> Result<ContinuedAsNew, Malformed> {
    let what = "WorkflowExecutionContinuedAsNew";
    #[allow(deprecated)] // Still how a server says why a run was continued.
    Ok(ContinuedAsNew {
        initiator: e.initiator(),
        next_run: known(what, run_id(&e.new_execution_run_id))?,
        workflow_type: workflow_type(what, e.workflow_type)?,
        task_queue: queue(e.task_queue),
        input: payloads(e.input),
        header: e.header.unwrap_or_default(),
        memo: e.memo.unwrap_or_default(),
        search_attributes: e.search_attributes.unwrap_or_default(),
        run_timeout: length(e.workflow_run_timeout.as_ref()),
        task_timeout: length(e.workflow_task_timeout.as_ref()),
        backoff: length(e.backoff_start_interval.as_ref()),
        failure: e.failure.map(Arc::new),
        last_result: payloads(e.last_completion_result),
        task_completed: EventId(e.workflow_task_completed_event_id),
    })
}

fn scheduled(
    e: wire::ActivityTaskScheduledEventAttributes,
) -> Result<ActivityScheduled, Malformed> {
    let mut header = e.header.unwrap_or_default();
    let retry = policy(&mut header, e.retry_policy).unwrap_or_default();
    let effects = header.fields.get(HEADER_EFFECTS).and_then(word).and_then(EffectClass::parse);
    if effects.is_some() {
        header.fields.remove(HEADER_EFFECTS);
    }
    Ok(ActivityScheduled {
        activity_id: e.activity_id.into(),
        activity_type: activity_type("ActivityTaskScheduled", e.activity_type)?,
        task_queue: queue(e.task_queue),
        input: payloads(e.input),
        header,
        schedule_to_close: length(e.schedule_to_close_timeout.as_ref()),
        schedule_to_start: length(e.schedule_to_start_timeout.as_ref()),
        start_to_close: length(e.start_to_close_timeout.as_ref()),
        heartbeat: length(e.heartbeat_timeout.as_ref()),
        retry,
        effects,
        priority: e.priority,
        task_completed: EventId(e.workflow_task_completed_event_id),
    })
}

fn initiated(
    e: wire::StartChildWorkflowExecutionInitiatedEventAttributes,
) -> Result<ChildInitiated, Malformed> {
    let (parent_close_policy, reuse_policy) =
        (e.parent_close_policy(), e.workflow_id_reuse_policy());
    let mut header = e.header.unwrap_or_default();
    Ok(ChildInitiated {
        namespace: e.namespace.into(),
        workflow_id: e.workflow_id.into(),
        workflow_type: workflow_type("StartChild", e.workflow_type)?,
        task_queue: queue(e.task_queue),
        input: payloads(e.input),
        retry: policy(&mut header, e.retry_policy),
        header,
        memo: e.memo.unwrap_or_default(),
        search_attributes: e.search_attributes.unwrap_or_default(),
        execution_timeout: length(e.workflow_execution_timeout.as_ref()),
        run_timeout: length(e.workflow_run_timeout.as_ref()),
        task_timeout: length(e.workflow_task_timeout.as_ref()),
        parent_close_policy,
        reuse_policy,
        cron_schedule: e.cron_schedule.into(),
        priority: e.priority,
        task_completed: EventId(e.workflow_task_completed_event_id),
    })
}

/// The policy with the intervals that travel beside it.
fn policy(
    header: &mut Header,
    policy: Option<reflux_proto::temporal::api::common::v1::RetryPolicy>,
) -> Option<Retry> {
    let policy = policy?;
    let waits = header.fields.get(HEADER_RETRY).and_then(intervals);
    if waits.is_some() {
        header.fields.remove(HEADER_RETRY);
    }
    Some(waits.unwrap_or_else(|| retry(policy)))
}

fn first_run(header: &mut Header) -> Option<RunId> {
    let first = header.fields.get(HEADER_PARENT).and_then(word).and_then(run_id)?;
    header.fields.remove(HEADER_PARENT);
    Some(first)
}

fn known<T>(what: &'static str, part: Option<T>) -> Result<T, Malformed> {
    part.ok_or_else(|| Malformed::new(what, "does not say which run or request it is about"))
}

fn number(attempt: i32) -> u32 {
    u32::try_from(attempt).unwrap_or(0)
}
