//! Recorded runs looked at again: state at an event, decided again, side by side.

use std::collections::BTreeMap;
use std::sync::Arc;

use reflux_core::{EventId, Payload};
use reflux_flow::canonical::canonical_json;
use reflux_flow::replay::{
    self, Difference, Divergence, Problem, Verified, View, differences, state_at,
};
use reflux_flow::{Bundle, Patch};
use reflux_proto::api as v1;
use reflux_proto::api::verify_with::Definition as Wanted;
use reflux_store::Summary;
use serde_json::{Map, Value, json};

use super::{convert, flows, namespace, page, runs, source};
use crate::service::{Service, hex};
use crate::story::{StepStory, Story, Visit};
use crate::temporal::lists;
use crate::{Error, Kind, clock};

/// Most activations that a comparison lists.
const ACTIVATIONS_MAX: usize = 5_000; // about 2 MiB: well below what a client takes

/// How a run stood at an event.
///
/// # Errors
/// [`Kind::NotFound`] for the run or the step, [`Kind::Invalid`] for an event it does not have.
pub fn state(
    service: &Service,
    request: v1::GetRunStateRequest,
) -> Result<v1::GetRunStateResponse, Error> {
    let run = runs::find(service, &request.namespace, &request.run)?;
    if u64::from(request.event) > run.events {
        return Err(Error::invalid(format!("the run has {} events", run.events))
            .suggest("name one of them, or leave the event out"));
    }
    let event = (request.event > 0).then(|| EventId(request.event.into()));
    let items = service.engine().items(&run.key)?;
    let step = (!request.step.is_empty()).then_some(request.step.as_str());
    let bundles = own(service);
    let view = View { step, full: request.full };
    let state = state_at(run.key, &items, &bundles, event, view).map_err(refused)?;
    if let (Some(step), true) = (step, state.steps.is_empty()) {
        return Err(Error::not_found(format!("the run has no step `{}`", step.escape_debug()))
            .suggest("leave the step out to see all of them"));
    }
    let time = items.iter().find_map(|item| match item {
        reflux_core::Item::Event(event) if event.id.0 == state.event => Some(event.time),
        reflux_core::Item::Event(_) | reflux_core::Item::Delta(_) => None,
    });
    let json = serde_json::to_value(&state).unwrap_or_default();
    Ok(v1::GetRunStateResponse {
        event: convert::count(state.event),
        events: convert::count(run.events),
        time: time.map(convert::time),
        state: convert::object(&json),
    })
}

/// Decides a run again.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::Refused`] for a run that no definition decides;
/// [`Kind::Invalid`] for a definition that cannot be used.
pub fn verify(
    service: &Service,
    request: v1::VerifyRunRequest,
) -> Result<v1::VerifyRunResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let run = runs::find(service, &request.namespace, &request.run)?;
    let with = With::of(service, &namespace, request.with)?;
    let verified = with.verify(service, &run)?.map_err(refused)?;
    Ok(v1::VerifyRunResponse {
        verified: verified.divergence.is_none(),
        events: convert::count(verified.events),
        decisions: convert::count(verified.decisions),
        open: verified.open,
        divergence: verified.divergence.map(divergence),
    })
}

/// Decides the newest runs of a list again.
///
/// # Errors
/// [`Kind::Invalid`] for the query, or for a definition that cannot be used.
pub fn verify_all(
    service: &Service,
    request: v1::VerifyRunsRequest,
) -> Result<v1::VerifyRunsResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let with = With::of(service, &namespace, request.with)?;
    let limit = page::size(request.limit);
    let found = lists::newest(service.engine(), &request.query, &namespace, limit, |_| true)?;
    let mut answer = v1::VerifyRunsResponse::default();
    for run in found {
        let mut row = v1::VerifiedRun {
            workflow_id: run.key.workflow_id.to_string(),
            run_id: run.key.run_id.to_string(),
            flow: run.workflow_type.to_string(),
            ..v1::VerifiedRun::default()
        };
        match with.verify(service, &run) {
            Ok(Ok(verified)) => {
                answer.checked += 1;
                answer.diverged += u32::from(verified.divergence.is_some());
                row.divergence = verified.divergence.map(divergence);
            }
            Ok(Err(Problem::Code | Problem::Record | Problem::Unfit(_))) => {
                answer.left_out += 1;
                continue;
            }
            Ok(Err(problem)) => row.problem = problem.to_string(),
            // It may have left the store since it was listed.
            Err(error) if error.kind == Kind::NotFound => continue,
            Err(error) => row.problem = error.to_string(),
        }
        answer.runs.push(row);
    }
    Ok(answer)
}

/// Two runs side by side.
///
/// # Errors
/// [`Kind::NotFound`].
pub fn diff(
    service: &Service,
    request: v1::DiffRunsRequest,
) -> Result<v1::DiffRunsResponse, Error> {
    let run = runs::find(service, &request.namespace, &request.run)?;
    let other = runs::find(service, &request.namespace, &request.other)?;
    let (before, after) = (service.story(&run.key)?, service.story(&other.key)?);
    let differences = differing(&whole(&before), &whole(&after));
    let (mut activations, first_difference) = side_by_side(&before, &after);
    let activations_omitted = convert::count(activations.len().saturating_sub(ACTIVATIONS_MAX));
    activations.truncate(ACTIVATIONS_MAX);
    let now = clock::now();
    Ok(v1::DiffRunsResponse {
        run: Some(convert::run(&run, now)),
        other: Some(convert::run(&other, now)),
        differences,
        activations,
        first_difference,
        activations_omitted,
    })
}

/// With which definition runs are decided again.
enum With {
    Own,
    Version(u32),
    Other(Arc<Bundle>),
    Patched(Box<Patch>),
}

impl With {
    fn of(
        service: &Service,
        namespace: &str,
        wanted: Option<v1::VerifyWith>,
    ) -> Result<Self, Error> {
        let Some(v1::VerifyWith { definition, beside }) = wanted else { return Ok(Self::Own) };
        match definition {
            None => Ok(Self::Own),
            Some(Wanted::Version(version)) => Ok(Self::Version(version)),
            Some(Wanted::Patch(text)) => match Patch::parse(&text) {
                Ok(patch) => Ok(Self::Patched(Box::new(patch))),
                Err(refused) => Err(Error::invalid(refused.to_string())),
            },
            Some(Wanted::Source(given)) => {
                let parsed = flows::read(&source(Some(given))?).map_err(flows::unsound)?;
                let beside: Result<Vec<_>, _> = beside.iter().map(flows::read).collect();
                let beside = beside.map_err(flows::unsound)?;
                let bundle = flows::bundle(service, namespace, &parsed, &beside);
                Ok(Self::Other(Arc::new(bundle.map_err(flows::unsound)?)))
            }
        }
    }

    fn verify(&self, service: &Service, run: &Summary) -> Result<Result<Verified, Problem>, Error> {
        let items = service.engine().items(&run.key)?;
        let other = match self {
            Self::Own => None,
            Self::Other(bundle) => Some(bundle.clone()),
            Self::Version(version) => {
                let registry = service.host().registry();
                let flow = registry.flow(&run.key.namespace, &run.workflow_type, *version)?;
                Some(registry.definition(service.engine(), &flow)?.bundle.clone())
            }
            // What is replayed begins with what it was started with.
            Self::Patched(patch) => match began_with(service, run) {
                None => None,
                Some(bundle) => match patch.apply_to(&bundle, &run.workflow_type, 0) {
                    Ok(bundle) => Some(Arc::new(bundle)),
                    Err(refused) => return Ok(Err(Problem::Unfit(refused.to_string()))),
                },
            },
        };
        let key = run.key.clone();
        Ok(match other {
            None => replay::verify(key, &items, &own(service)),
            Some(bundle) => replay::verify(key, &items, &|_| Some(bundle.clone())),
        })
    }
}

/// The definition that a run began with.
fn began_with(service: &Service, run: &Summary) -> Option<Arc<Bundle>> {
    service.bundle(&hex(&run.spec?))
}

/// The definitions that runs name.
fn own(service: &Service) -> impl Fn(&Payload) -> Option<Arc<Bundle>> {
    |spec| service.bundle(&hex(&spec.data))
}

fn refused(problem: Problem) -> Error {
    let kind = match &problem {
        Problem::Code | Problem::Record => Kind::Refused,
        Problem::Unfit(_) => Kind::Invalid,
        Problem::NoDefinition(_) | Problem::Broken(_) => Kind::Corrupt,
    };
    Error::new(kind, problem.to_string())
}

fn divergence(found: Divergence) -> v1::Divergence {
    v1::Divergence {
        event: convert::count(found.event),
        recorded: found.recorded.as_ref().and_then(convert::object),
        decided: found.decided.as_ref().and_then(convert::object),
        differences: found.differences.iter().map(difference).collect(),
        text: found.text,
    }
}

fn difference(found: &Difference) -> v1::ReplayDifference {
    v1::ReplayDifference {
        path: found.path.clone(),
        before: found.recorded.as_ref().map(convert::value),
        after: found.decided.as_ref().map(convert::value),
    }
}

fn differing(before: &Value, after: &Value) -> Vec<v1::ReplayDifference> {
    differences(before, after).iter().map(difference).collect()
}

/// Input, output and error, as far as they are there.
fn values(input: Option<&Value>, output: Option<&Value>, error: Option<&Value>) -> Value {
    let all = [("input", input), ("output", output), ("error", error)];
    let there = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.clone())));
    Value::Object(there.collect())
}

fn whole(story: &Story) -> Value {
    let mut all = values(Some(&story.input), story.output.as_ref(), story.error.as_ref());
    if let Value::Object(all) = &mut all {
        all.insert("status".to_owned(), json!(story.status));
    }
    all
}

/// What a run did, by activation; a step that did nothing stands for itself.
struct Did<'a> {
    step: &'a StepStory,
    visit: Option<&'a Visit>,
}

impl Did<'_> {
    fn outcome(&self) -> &'static str {
        match self.visit {
            None => self.step.status.name(),
            Some(visit) if visit.ended.is_none() => "running",
            Some(visit) if visit.error.is_some() => "failed",
            Some(_) => "succeeded",
        }
    }

    /// Whether it was taken over from another run: then it was found by its input, and has none.
    fn is_taken_over(&self) -> bool {
        self.visit.is_some_and(|visit| visit.kept.is_some() && visit.input.is_none())
    }

    fn values(&self, with_input: bool) -> Value {
        self.visit.map_or(Value::Object(Map::new()), |visit| {
            let input = visit.input.as_ref().filter(|_| with_input);
            values(input, visit.output.as_ref(), visit.error.as_ref())
        })
    }

    fn side(&self) -> v1::ActivationSide {
        let hash = |value: Option<&Value>| {
            value.map(|value| blake3::hash(&canonical_json(value)).to_hex().to_string())
        };
        let took = self.visit.and_then(|visit| Some(visit.ended?.since(visit.started)));
        v1::ActivationSide {
            outcome: self.outcome().to_owned(),
            attempts: convert::count(self.visit.map_or(0, |visit| visit.attempts.len())),
            took: took.map(convert::length),
            input_hash: hash(self.visit.and_then(|visit| visit.input.as_ref())).unwrap_or_default(),
            output_hash: hash(self.visit.and_then(|visit| visit.output.as_ref()))
                .unwrap_or_default(),
        }
    }
}

/// In order of the definition, within a step in order of time.
fn did(story: &Story) -> Vec<(&str, Did<'_>)> {
    let of_step = |step| -> Vec<(&str, Did<'_>)> {
        let step: &StepStory = step;
        if step.visits.is_empty() {
            return vec![(step.id.as_str(), Did { step, visit: None })];
        }
        let visits = step.visits.iter();
        visits.map(|visit| (visit.activation.as_str(), Did { step, visit: Some(visit) })).collect()
    };
    story.steps.iter().flat_map(of_step).collect()
}

fn side_by_side(before: &Story, after: &Story) -> (Vec<v1::DiffedActivation>, String) {
    let first = did(before);
    let second = did(after);
    let by_name: BTreeMap<&str, &Did<'_>> = second.iter().map(|(name, did)| (*name, did)).collect();
    let known: BTreeMap<&str, ()> = first.iter().map(|(name, _)| (*name, ())).collect();
    let pairs = first.iter().map(|(name, did)| (*name, Some(did), by_name.get(name).copied()));
    let added = second.iter().filter(|(name, _)| !known.contains_key(name));
    let pairs = pairs.chain(added.map(|(name, did)| (*name, None, Some(did))));
    let mut first_difference = None;
    let activations = pairs
        .map(|(name, a, b)| {
            let with_input = ![a, b].into_iter().flatten().any(Did::is_taken_over);
            let values = |did: Option<&Did<'_>>| did.map(|did| did.values(with_input));
            let (values_a, values_b) = (values(a), values(b));
            let same = a.map(Did::outcome) == b.map(Did::outcome) && values_a == values_b;
            let differences = match (&values_a, &values_b) {
                (Some(a), Some(b)) => differing(a, b),
                _ => Vec::new(),
            };
            if !same && first_difference.is_none() {
                first_difference = Some(name.to_owned());
            }
            v1::DiffedActivation {
                activation: name.to_owned(),
                same,
                before: a.map(Did::side),
                after: b.map(Did::side),
                differences,
            }
        })
        .collect();
    (activations, first_difference.unwrap_or_default())
}
