//! `TriggerService`.

use reflux_core::Timestamp;
use reflux_flow::duration::moment_of;
use reflux_proto::api as v1;
use serde_json::Value;

use super::{check_id, convert, namespace};
use crate::Error;
use crate::service::Service;
use crate::triggers::{Event, Overview, ScheduleState, Started};

/// Tells an event.
///
/// # Errors
/// [`Kind::Invalid`](crate::Kind::Invalid) for what is none; what a start is refused for.
pub fn emit(
    service: &Service,
    request: v1::EmitEventRequest,
) -> Result<v1::EmitEventResponse, Error> {
    let v1::EmitEventRequest { name, id, data } = request;
    let data = data.map(Value::from).unwrap_or_default();
    let event = Event { name, id: Some(id).filter(|id| !id.is_empty()), data };
    let emitted = service.host().handle().block_on(service.triggers().emit(event))?;
    Ok(v1::EmitEventResponse {
        id: emitted.id,
        runs: emitted.runs.into_iter().map(started).collect(),
        refused: emitted.refused,
    })
}

/// Every trigger.
///
/// # Errors
/// A schedule cannot be read.
pub fn list(
    service: &Service,
    _: v1::ListTriggersRequest,
) -> Result<v1::ListTriggersResponse, Error> {
    let triggers = service.triggers().list()?;
    Ok(v1::ListTriggersResponse { triggers: triggers.iter().map(trigger).collect() })
}

/// One trigger.
///
/// # Errors
/// [`Kind::NotFound`](crate::Kind::NotFound).
pub fn get(
    service: &Service,
    request: v1::GetTriggerRequest,
) -> Result<v1::GetTriggerResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let found = service.triggers().get(&namespace, &request.flow, &request.trigger)?;
    Ok(v1::GetTriggerResponse { trigger: Some(trigger(&found)) })
}

/// Stops a schedule's clock.
///
/// # Errors
/// There is no such schedule.
pub fn pause(
    service: &Service,
    request: v1::PauseTriggerRequest,
) -> Result<v1::PauseTriggerResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let v1::PauseTriggerRequest { flow, trigger, reason, .. } = request;
    check_id("reason", &reason)?;
    let paused = service.triggers().pause(&namespace, &flow, &trigger, &reason);
    service.host().handle().block_on(paused)?;
    Ok(v1::PauseTriggerResponse {})
}

/// Lets a paused schedule go on.
///
/// # Errors
/// There is no such schedule.
pub fn resume(
    service: &Service,
    request: v1::ResumeTriggerRequest,
) -> Result<v1::ResumeTriggerResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let v1::ResumeTriggerRequest { flow, trigger, .. } = request;
    service.host().handle().block_on(service.triggers().resume(&namespace, &flow, &trigger))?;
    Ok(v1::ResumeTriggerResponse {})
}

/// Starts a run of a trigger now.
///
/// # Errors
/// There is no such trigger, or the data does not fit.
pub fn fire(
    service: &Service,
    request: v1::FireTriggerRequest,
) -> Result<v1::FireTriggerResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let v1::FireTriggerRequest { flow, trigger, data, request_id, .. } = request;
    check_id("request id", &request_id)?;
    let data = data.map(Value::from).unwrap_or_default();
    let request_id = Some(request_id).filter(|id| !id.is_empty());
    let fired = service.triggers().fire(&namespace, &flow, &trigger, data, request_id);
    let workflow_id = service.host().handle().block_on(fired)?;
    Ok(v1::FireTriggerResponse { workflow_id })
}

fn started(run: Started) -> v1::StartedRun {
    let Started { flow, trigger, workflow_id, run_id, existing } = run;
    v1::StartedRun { flow, trigger, workflow_id, run_id, existing }
}

fn trigger(found: &Overview) -> v1::Trigger {
    v1::Trigger {
        flow: found.flow.clone(),
        trigger: found.trigger.clone(),
        kind: found.kind.clone(),
        what: found.what.clone(),
        source: convert::object(&found.source),
        schedule: found.schedule.as_ref().map(schedule),
    }
}

fn schedule(state: &ScheduleState) -> v1::Schedule {
    let moment = |text: &String| moment_of(&Value::from(text.as_str())).ok().map(Timestamp);
    let counts = &state.counts;
    v1::Schedule {
        workflow_id: state.workflow_id.clone(),
        run_id: state.run_id.clone(),
        paused: state.paused.is_some(),
        pause_reason: state.paused.clone().unwrap_or_default(),
        next: state.next.iter().filter_map(moment).map(convert::time).collect(),
        open: state.open.clone(),
        started: counts.started,
        skipped: counts.skipped,
        missed: counts.missed,
        failed: counts.failed,
        error: counts.error.clone().unwrap_or_default(),
        last: counts.last.clone().unwrap_or_default(),
    }
}
