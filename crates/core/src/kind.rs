//! What a kind of event means to the machinery: how large it is, whether it may wait, whether
//! the decider must hear of it.

use std::collections::BTreeMap;

use crate::payload::{failure_bytes, fields_bytes, payloads_bytes};
use crate::{Delta, EventId, Failure, Header, Kind, Payloads};

/// What an event weighs besides its payloads and names: numbers, times, framing.
const EVENT_BYTES: usize = 64;

impl Kind {
    /// Size in the history's account: payloads, names and a flat amount. Not the encoded length,
    /// which would cost an encoding in every replay.
    pub fn size_bytes(&self) -> u64 {
        let variable = match self {
            Self::Started(e) => {
                e.workflow_type.len()
                    + e.task_queue.len()
                    + payloads(&e.input)
                    + header(&e.header)
                    + fields_bytes(&e.memo.fields)
                    + fields_bytes(&e.search_attributes.indexed_fields)
                    + e.continued.as_ref().map_or(0, |before| payloads(&before.last_result))
            }
            Self::Completed(e) => payloads(&e.result),
            Self::Failed(e) => failure(&e.failure),
            Self::Canceled(e) => payloads(&e.details),
            Self::Terminated(e) => e.reason.len() + payloads(&e.details),
            Self::ContinuedAsNew(e) => {
                payloads(&e.input)
                    + header(&e.header)
                    + fields_bytes(&e.memo.fields)
                    + fields_bytes(&e.search_attributes.indexed_fields)
                    + payloads(&e.last_result)
            }
            Self::CancelRequested(e) => e.cause.len() + e.identity.len(),
            Self::Signaled(e) => {
                e.name.len() + e.identity.len() + payloads(&e.input) + header(&e.header)
            }
            Self::Paused(e) | Self::Unpaused(e) => e.reason.len() + e.identity.len(),
            Self::TaskScheduled(e) => e.task_queue.len(),
            Self::TaskStarted(e) => e.identity.len(),
            Self::TaskCompleted(e) => e.identity.len(),
            Self::TaskFailed(e) => e.identity.len() + e.failure.as_deref().map_or(0, failure),
            Self::ActivityScheduled(e) => {
                e.activity_id.len()
                    + e.activity_type.len()
                    + e.task_queue.len()
                    + payloads(&e.input)
                    + header(&e.header)
            }
            Self::ActivityStarted(e) => {
                e.identity.len() + e.last_failure.as_deref().map_or(0, failure)
            }
            Self::ActivityCompleted(e) => e.identity.len() + payloads(&e.result),
            Self::ActivityFailed(e) => e.identity.len() + failure(&e.failure),
            Self::ActivityTimedOut(e) => failure(&e.failure),
            Self::ActivityCanceled(e) => e.identity.len() + payloads(&e.details),
            Self::TimerStarted(e) => e.timer_id.len(),
            Self::TimerFired(e) => e.timer_id.len(),
            Self::TimerCanceled(e) => e.timer_id.len(),
            Self::Marker(e) => {
                let details: usize =
                    e.details.iter().map(|(name, value)| name.len() + payloads(value)).sum();
                e.name.len() + details + e.failure.as_deref().map_or(0, failure)
            }
            Self::ChildInitiated(e) => {
                e.workflow_id.len()
                    + e.workflow_type.len()
                    + payloads(&e.input)
                    + header(&e.header)
                    + fields_bytes(&e.memo.fields)
                    + fields_bytes(&e.search_attributes.indexed_fields)
            }
            Self::ChildStartFailed(e) => e.workflow_id.len(),
            Self::ChildStarted(e) => e.child.execution.workflow_id.len(),
            Self::ChildCompleted(e) => payloads(&e.result),
            Self::ChildFailed(e) => failure(&e.failure),
            Self::ChildCanceled(e) => payloads(&e.details),
            Self::ExternalSignalInitiated(e) => {
                e.name.len() + payloads(&e.input) + header(&e.header)
            }
            Self::UpdateCompleted(_) | Self::UpdateAdmitted(_) => 0,
            Self::UpdateRejected(e) => failure(&e.failure),
            Self::SearchAttributesUpserted(e) => fields_bytes(&e.attributes.indexed_fields),
            Self::PropertiesModified(e) => fields_bytes(&e.memo.fields),
            Self::UpdateAccepted(_)
            | Self::TimedOut(_)
            | Self::TaskTimedOut(_)
            | Self::ActivityCancelRequested(_)
            | Self::ChildTimedOut(_)
            | Self::ChildTerminated(_)
            | Self::ExternalSignalFailed(_)
            | Self::ExternalSignaled(_)
            | Self::ExternalCancelInitiated(_)
            | Self::ExternalCancelFailed(_)
            | Self::ExternalCancelRequested(_)
            | Self::OptionsUpdated(_) => 0,
        };
        u64::try_from(EVENT_BYTES + variable).unwrap_or(u64::MAX)
    }

    /// Whether it waits while a workflow task is started: the decider has not seen it, so its own
    /// commands come first.
    pub fn is_bufferable(&self) -> bool {
        match self {
            Self::CancelRequested(_)
            | Self::Signaled(_)
            | Self::Paused(_)
            | Self::Unpaused(_)
            | Self::ActivityStarted(_)
            | Self::ActivityCompleted(_)
            | Self::ActivityFailed(_)
            | Self::ActivityTimedOut(_)
            | Self::ActivityCanceled(_)
            | Self::TimerFired(_)
            | Self::ChildStartFailed(_)
            | Self::ChildStarted(_)
            | Self::ChildCompleted(_)
            | Self::ChildFailed(_)
            | Self::ChildCanceled(_)
            | Self::ChildTimedOut(_)
            | Self::ChildTerminated(_)
            | Self::ExternalSignalFailed(_)
            | Self::ExternalSignaled(_)
            | Self::ExternalCancelFailed(_)
            | Self::ExternalCancelRequested(_)
            | Self::UpdateAdmitted(_)
            | Self::OptionsUpdated(_) => true,
            Self::Started(_)
            | Self::Completed(_)
            | Self::Failed(_)
            | Self::TimedOut(_)
            | Self::Canceled(_)
            | Self::Terminated(_)
            | Self::ContinuedAsNew(_)
            | Self::TaskScheduled(_)
            | Self::TaskStarted(_)
            | Self::TaskCompleted(_)
            | Self::TaskFailed(_)
            | Self::TaskTimedOut(_)
            | Self::ActivityScheduled(_)
            | Self::ActivityCancelRequested(_)
            | Self::TimerStarted(_)
            | Self::TimerCanceled(_)
            | Self::Marker(_)
            | Self::ChildInitiated(_)
            | Self::ExternalSignalInitiated(_)
            | Self::ExternalCancelInitiated(_)
            | Self::UpdateAccepted(_)
            | Self::UpdateRejected(_)
            | Self::UpdateCompleted(_)
            | Self::SearchAttributesUpserted(_)
            | Self::PropertiesModified(_) => false,
        }
    }

    /// Whether it ends an activity or a child: those are written last.
    pub fn is_completion(&self) -> bool {
        matches!(
            self,
            Self::ActivityCompleted(_)
                | Self::ActivityFailed(_)
                | Self::ActivityTimedOut(_)
                | Self::ActivityCanceled(_)
                | Self::ChildCompleted(_)
                | Self::ChildFailed(_)
                | Self::ChildCanceled(_)
                | Self::ChildTimedOut(_)
                | Self::ChildTerminated(_)
        )
    }

    /// Whether it ends the run.
    pub fn closes_run(&self) -> bool {
        matches!(
            self,
            Self::Completed(_)
                | Self::Failed(_)
                | Self::TimedOut(_)
                | Self::Canceled(_)
                | Self::Terminated(_)
                | Self::ContinuedAsNew(_)
        )
    }

    /// Whether the decider must be asked after it.
    pub(crate) fn wakes_decider(&self) -> bool {
        self.is_bufferable()
            && !matches!(self, Self::Paused(_) | Self::ActivityStarted(_) | Self::OptionsUpdated(_))
    }

    /// Gives a buffered completion the number of the start that was buffered with it.
    pub(crate) fn number_start(&mut self, started: &BTreeMap<EventId, EventId>) {
        let (begun, number) = match self {
            Self::ActivityCompleted(e) => (e.scheduled, &mut e.started),
            Self::ActivityFailed(e) => (e.scheduled, &mut e.started),
            Self::ActivityTimedOut(e) => (e.scheduled, &mut e.started),
            Self::ActivityCanceled(e) => (e.scheduled, &mut e.started),
            Self::ChildCompleted(e) => (e.child.initiated, &mut e.child.started),
            Self::ChildFailed(e) => (e.child.initiated, &mut e.child.started),
            Self::ChildCanceled(e) => (e.child.initiated, &mut e.child.started),
            Self::ChildTimedOut(e) => (e.child.initiated, &mut e.child.started),
            Self::ChildTerminated(e) => (e.child.initiated, &mut e.child.started),
            _ => return,
        };
        if let Some(id) = started.get(&begun) {
            *number = *id;
        }
    }
}

impl Delta {
    /// As in messages to people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AttemptStarted(_) => "AttemptStarted",
            Self::AttemptEnded(_) => "AttemptEnded",
            Self::AttemptDue { .. } => "AttemptDue",
            Self::Heartbeat { .. } => "Heartbeat",
            Self::InboxMark { .. } => "InboxMark",
            Self::OutboxAcked { .. } => "OutboxAcked",
            Self::Unclaimed { .. } => "Unclaimed",
            Self::Buffered(_) => "Buffered",
            Self::TransientTask(_) => "TransientTask",
            Self::Requested { .. } => "Requested",
            Self::Sticky { .. } => "Sticky",
            Self::Retired => "Retired",
        }
    }
}

fn payloads(payloads: &Payloads) -> usize {
    payloads_bytes(payloads)
}

fn header(header: &Header) -> usize {
    fields_bytes(&header.fields)
}

fn failure(failure: &Failure) -> usize {
    failure_bytes(failure)
}
