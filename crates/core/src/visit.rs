//! The payloads inside an item, so that large ones can be stored elsewhere and put back.

use std::collections::BTreeMap;
use std::sync::Arc;

use reflux_proto::temporal::api::failure::v1::failure::FailureInfo;

use crate::{Delta, Event, Failure, Item, Kind, Payload, Payloads};

/// Deepest chain of causes that is visited; the wire format itself allows 100 levels.
const CAUSES_MAX: usize = 100;

impl Item {
    /// Shows every payload that a user's data can be in.
    pub fn visit_payloads(&mut self, visit: &mut dyn FnMut(&mut Payload)) {
        match self {
            Self::Event(event) => of_event(event, visit),
            Self::Delta(Delta::Buffered(event)) => of_event(event, visit),
            Self::Delta(Delta::Heartbeat { details, .. }) => of_payloads(details, visit),
            Self::Delta(Delta::AttemptEnded(ended)) => {
                if let Some(failure) = &mut ended.failure {
                    of_failure(Arc::make_mut(failure), visit);
                }
            }
            Self::Delta(_) => {}
        }
    }
}

fn of_event(event: &mut Event, visit: &mut dyn FnMut(&mut Payload)) {
    match &mut event.kind {
        Kind::Started(it) => {
            let it = Arc::make_mut(it);
            of_payloads(&mut it.input, visit);
            of_fields(&mut it.header.fields, visit);
            of_fields(&mut it.memo.fields, visit);
            of_fields(&mut it.search_attributes.indexed_fields, visit);
            if let Some(continued) = &mut it.continued {
                of_payloads(&mut continued.last_result, visit);
                if let Some(failure) = &mut continued.failure {
                    of_failure(Arc::make_mut(failure), visit);
                }
            }
        }
        Kind::Completed(it) => of_payloads(&mut it.result, visit),
        Kind::Failed(it) => of_failure(Arc::make_mut(&mut it.failure), visit),
        Kind::Canceled(it) => of_payloads(&mut it.details, visit),
        Kind::Terminated(it) => of_payloads(&mut it.details, visit),
        Kind::ContinuedAsNew(it) => {
            let it = Arc::make_mut(it);
            of_payloads(&mut it.input, visit);
            of_fields(&mut it.header.fields, visit);
            of_fields(&mut it.memo.fields, visit);
            of_fields(&mut it.search_attributes.indexed_fields, visit);
            of_payloads(&mut it.last_result, visit);
            if let Some(failure) = &mut it.failure {
                of_failure(Arc::make_mut(failure), visit);
            }
        }
        Kind::Signaled(it) => {
            of_payloads(&mut it.input, visit);
            of_fields(&mut it.header.fields, visit);
        }
        Kind::TaskFailed(it) => {
            if let Some(failure) = &mut it.failure {
                of_failure(Arc::make_mut(failure), visit);
            }
        }
        Kind::ActivityScheduled(it) => {
            let it = Arc::make_mut(it);
            of_payloads(&mut it.input, visit);
            of_fields(&mut it.header.fields, visit);
        }
        Kind::ActivityStarted(it) => {
            if let Some(failure) = &mut it.last_failure {
                of_failure(Arc::make_mut(failure), visit);
            }
        }
        Kind::ActivityCompleted(it) => of_payloads(&mut it.result, visit),
        Kind::ActivityFailed(it) => of_failure(Arc::make_mut(&mut it.failure), visit),
        Kind::ActivityTimedOut(it) => of_failure(Arc::make_mut(&mut it.failure), visit),
        Kind::ActivityCanceled(it) => of_payloads(&mut it.details, visit),
        Kind::Marker(it) => {
            for payloads in it.details.values_mut() {
                of_payloads(payloads, visit);
            }
            if let Some(failure) = &mut it.failure {
                of_failure(Arc::make_mut(failure), visit);
            }
        }
        Kind::ChildInitiated(it) => {
            let it = Arc::make_mut(it);
            of_payloads(&mut it.input, visit);
            of_fields(&mut it.header.fields, visit);
            of_fields(&mut it.memo.fields, visit);
            of_fields(&mut it.search_attributes.indexed_fields, visit);
        }
        Kind::ChildCompleted(it) => of_payloads(&mut it.result, visit),
        Kind::ChildFailed(it) => of_failure(Arc::make_mut(&mut it.failure), visit),
        Kind::ChildCanceled(it) => of_payloads(&mut it.details, visit),
        Kind::ExternalSignalInitiated(it) => {
            let it = Arc::make_mut(it);
            of_payloads(&mut it.input, visit);
            of_fields(&mut it.header.fields, visit);
        }
        Kind::SearchAttributesUpserted(it) => {
            of_fields(&mut it.attributes.indexed_fields, visit);
        }
        Kind::PropertiesModified(it) => of_fields(&mut it.memo.fields, visit),
        Kind::UpdateRejected(it) => of_failure(Arc::make_mut(&mut it.failure), visit),
        Kind::CancelRequested(_)
        | Kind::Paused(_)
        | Kind::Unpaused(_)
        | Kind::TimedOut(_)
        | Kind::TaskScheduled(_)
        | Kind::TaskStarted(_)
        | Kind::TaskCompleted(_)
        | Kind::TaskTimedOut(_)
        | Kind::ActivityCancelRequested(_)
        | Kind::TimerStarted(_)
        | Kind::TimerFired(_)
        | Kind::TimerCanceled(_)
        | Kind::ChildStartFailed(_)
        | Kind::ChildStarted(_)
        | Kind::ChildTimedOut(_)
        | Kind::ChildTerminated(_)
        | Kind::ExternalSignalFailed(_)
        | Kind::ExternalSignaled(_)
        | Kind::ExternalCancelInitiated(_)
        | Kind::ExternalCancelFailed(_)
        | Kind::ExternalCancelRequested(_)
        | Kind::UpdateAdmitted(_)
        | Kind::UpdateAccepted(_)
        | Kind::UpdateCompleted(_)
        | Kind::OptionsUpdated(_) => {}
    }
}

fn of_fields(fields: &mut BTreeMap<String, Payload>, visit: &mut dyn FnMut(&mut Payload)) {
    fields.values_mut().for_each(visit);
}

fn of_payloads(payloads: &mut Payloads, visit: &mut dyn FnMut(&mut Payload)) {
    payloads.payloads.iter_mut().for_each(visit);
}

fn of_failure(failure: &mut Failure, visit: &mut dyn FnMut(&mut Payload)) {
    let mut next = Some(failure);
    for _ in 0..CAUSES_MAX {
        let Some(failure) = next else { return };
        if let Some(attributes) = &mut failure.encoded_attributes {
            visit(attributes);
        }
        let details = match &mut failure.failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) => info.details.as_mut(),
            Some(FailureInfo::TimeoutFailureInfo(info)) => info.last_heartbeat_details.as_mut(),
            Some(FailureInfo::CanceledFailureInfo(info)) => info.details.as_mut(),
            Some(FailureInfo::ResetWorkflowFailureInfo(info)) => {
                info.last_heartbeat_details.as_mut()
            }
            Some(_) | None => None,
        };
        if let Some(details) = details {
            of_payloads(details, visit);
        }
        next = failure.cause.as_deref_mut();
    }
}
