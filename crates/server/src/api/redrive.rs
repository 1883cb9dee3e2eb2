//! Runs again: re-drive, its plan, fork.

use std::collections::BTreeMap;
use std::sync::Arc;

use reflux_engine::{Answer, Redriving, Spec};
use reflux_flow::Patch;
use reflux_flow::redrive::{Plan, Scope, Verdict};
use reflux_proto::api as v1;
use reflux_proto::api::redrive::{Definition, Scope as Wanted};
use reflux_store::Summary;
use serde_json::{Map, Value};

use super::{check_id, convert, flows, runs, source};
use crate::service::Service;
use crate::{Error, Kind, clock};

/// Runs a run again.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::Refused`] with the reason when it makes no sense or lacks consent;
/// [`Kind::Invalid`] for a definition or an input that cannot be used; [`Kind::Exists`] when a
/// later run of the workflow id is open.
pub fn run(
    service: &Service,
    request: v1::RedriveRunRequest,
) -> Result<v1::RedriveRunResponse, Error> {
    check_id("request id", &request.request_id)?;
    let base = runs::find(service, &request.namespace, &request.run)?;
    let mut wanted = wanted(service, &base, request.redrive.unwrap_or_default())?;
    wanted.request_id = request.request_id.into();
    let (run, existing) = begin(service, &base, &wanted)?;
    Ok(v1::RedriveRunResponse { run, existing })
}

/// What a re-drive would do.
///
/// # Errors
/// As [`run`], but for consent.
pub fn plan(
    service: &Service,
    request: v1::PlanRedriveRequest,
) -> Result<v1::PlanRedriveResponse, Error> {
    let base = runs::find(service, &request.namespace, &request.run)?;
    let wanted = wanted(service, &base, request.redrive.unwrap_or_default())?;
    service.reload()?;
    let plan =
        service.engine().plan_redrive(&base.key, &wanted, &**service.host()).map_err(refused)?;
    Ok(response(&plan))
}

/// A new run in the state that a run had at an event.
///
/// # Errors
/// As [`run`].
pub fn fork(service: &Service, request: v1::ForkRunRequest) -> Result<v1::ForkRunResponse, Error> {
    check_id("request id", &request.request_id)?;
    check_id("workflow id", &request.workflow_id)?;
    let base = runs::find(service, &request.namespace, &request.run)?;
    if request.from_event == 0 {
        return Err(Error::invalid("no event is named")
            .suggest("give the event whose state the new run has; see the run's history"));
    }
    let workflow_id = Some(request.workflow_id).filter(|id| !id.is_empty());
    let wanted = Redriving {
        scope: Scope::Event(request.from_event.into()),
        allow_unsafe: request.allow_unsafe,
        workflow_id: workflow_id.map(Into::into).filter(|id| *id != base.key.workflow_id),
        keeps_base: true,
        by: service.identity().clone(),
        reason: request.reason,
        request_id: request.request_id.into(),
        ..Redriving::default()
    };
    let (run, existing) = begin(service, &base, &wanted)?;
    Ok(v1::ForkRunResponse { run, existing })
}

fn begin(
    service: &Service,
    base: &Summary,
    wanted: &Redriving,
) -> Result<(Option<v1::Run>, bool), Error> {
    service.reload()?;
    let answer: Answer =
        service.engine().redrive(&base.key, wanted, &**service.host()).map_err(refused)?;
    let summary = service.engine().summary(&answer.run)?;
    let run = summary.map(|summary| convert::run(&summary, clock::now()));
    Ok((run, answer.existing))
}

/// What is refused is so because of the run and what is wanted of it, not because of the request's
/// form.
fn refused(error: reflux_engine::Error) -> Error {
    match error {
        reflux_engine::Error::Invalid(message) => Error::new(Kind::Refused, message),
        other => other.into(),
    }
}

fn wanted(service: &Service, base: &Summary, redrive: v1::Redrive) -> Result<Redriving, Error> {
    let scope = match redrive.scope {
        None => Scope::Rest,
        Some(Wanted::Step(step)) => Scope::Step(step),
        Some(Wanted::From(step)) => Scope::Branch(step),
        Some(Wanted::Item(item)) => Scope::Item(item),
        Some(Wanted::SubRun(step)) => Scope::SubRun(step),
        Some(Wanted::FromEvent(event)) => Scope::Event(event.into()),
    };
    let outputs: BTreeMap<String, Value> =
        redrive.outputs.map(Map::from).unwrap_or_default().into_iter().collect();
    let patch = match &redrive.definition {
        Some(Definition::Patch(text)) => {
            Some(Patch::parse(text).map_err(|refused| Error::invalid(refused.to_string()))?)
        }
        Some(Definition::Version(_) | Definition::Source(_)) | None => None,
    };
    let reason = match &patch {
        Some(patch) if redrive.reason.is_empty() => patch.reason.clone(),
        Some(_) | None => redrive.reason,
    };
    Ok(Redriving {
        scope,
        definition: definition(service, base, redrive.definition)?,
        patch,
        input: redrive.input.map(Map::from).unwrap_or_default(),
        outputs,
        without_signals: redrive.without_signals,
        allow_unsafe: redrive.allow_unsafe,
        by: service.identity().clone(),
        reason,
        ..Redriving::default()
    })
}

fn definition(
    service: &Service,
    base: &Summary,
    wanted: Option<Definition>,
) -> Result<Option<(Arc<str>, Spec)>, Error> {
    let spec = |bytes: bytes::Bytes| Spec { digest: *blake3::hash(&bytes).as_bytes(), bytes };
    match wanted {
        // A change is one of the definition that the base has.
        None | Some(Definition::Patch(_)) => Ok(None),
        Some(Definition::Version(version)) => {
            let registry = service.host().registry();
            let flow = registry.flow(&base.key.namespace, &base.workflow_type, version)?;
            let definition = registry.definition(service.engine(), &flow)?;
            Ok(Some((base.workflow_type.clone(), spec(definition.bytes.clone()))))
        }
        Some(Definition::Source(given)) => {
            let parsed = flows::read(&source(Some(given))?).map_err(flows::unsound)?;
            let bundle = flows::bundle(service, &base.key.namespace, &parsed, &[])
                .map_err(flows::unsound)?;
            let problems = flows::find(service, &parsed, &bundle);
            if !flows::is_sound(&problems) {
                return Err(flows::unsound(problems));
            }
            let name: Arc<str> = parsed.flow.name.as_str().into();
            Ok(Some((name, spec(bundle.to_bytes().into()))))
        }
    }
}

fn response(plan: &Plan) -> v1::PlanRedriveResponse {
    let count = |verdict| convert::count(plan.count(verdict));
    v1::PlanRedriveResponse {
        kept: count(Verdict::Kept),
        runs: count(Verdict::Runs).saturating_add(count(Verdict::New)),
        depends: count(Verdict::Depends),
        orphaned: count(Verdict::Orphaned),
        signals: convert::count(plan.signals),
        needs_consent: plan.unconsented.clone(),
        activations: plan
            .rows
            .iter()
            .map(|row| v1::PlannedActivation {
                activation: row.activation.clone(),
                verdict: row.verdict.as_str().to_owned(),
                reason: row.reason.clone(),
                effects: row.effects.clone(),
                idempotency_key: row.idempotency_key.clone(),
                needs_consent: row.needs_consent,
            })
            .collect(),
    }
}
