//! `RunService`, but for the stream.

use std::sync::Arc;

use reflux_core::{
    Command, Event, EventId, Item, Kind as Happened, RequestCancel, Resolution, RunId, Signal,
    Suspend, Terminate, application_failure,
};
use reflux_engine::{Lane, Spec, StartFlow, WhenClosed, WhenOpen};
use reflux_flow::input::check_input;
use reflux_flow::payload;
use reflux_flow::progress::APPROVAL_SIGNAL;
use reflux_proto::api as v1;
use reflux_proto::api::resolve_step_request::Resolution as Wanted;
use reflux_store::{Filter, Summary};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{check_id, convert, joined, namespace, page};
use crate::definitions::Definitions;
use crate::history::Entry;
use crate::protocol::new_workflow_id;
use crate::service::Service;
use crate::story::{StepStatus, Story, Telling};
use crate::{Error, Kind, clock};

/// Starts a run.
///
/// # Errors
/// [`Kind::NotFound`] for the flow, [`Kind::Invalid`] for the input, [`Kind::Exists`] when an open
/// run has the workflow id.
pub fn start(
    service: &Service,
    request: v1::StartRunRequest,
) -> Result<v1::StartRunResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    check_id("workflow id", &request.workflow_id)?;
    check_id("request id", &request.request_id)?;
    service.refresh()?;
    let (name, spec, bundle) = definition(service, &namespace, &request.flow, request.version)?;
    let flow = bundle.flows.get(&name).ok_or_else(|| {
        Error::new(Kind::Corrupt, format!("the definition of `{name}` has no flow of its name"))
    })?;
    let input = Value::Object(request.input.map(Map::from).unwrap_or_default());
    let input = check_input(flow, input).map_err(|problems| Error::invalid(joined(problems)))?;
    let workflow_id = match (request.workflow_id.as_str(), request.request_id.as_str()) {
        ("", "") => new_workflow_id(&name),
        // A repetition has to find the run, so it must have the same id.
        ("", request_id) => {
            let hash = blake3::hash(format!("{name}\0{request_id}").as_bytes()).to_hex();
            let short: String = hash.chars().take(20).collect();
            format!("{}-{short}", slug(&name))
        }
        (id, _) => id.to_owned(),
    };
    let (row, existing) = service.engine().start_row(StartFlow {
        namespace,
        workflow_id: workflow_id.into(),
        run_id: RunId(Uuid::now_v7()),
        spec,
        flow: name.into(),
        input: payload::of_value(&input),
        request_id: request.request_id.into(),
        when_open: if request.use_existing { WhenOpen::UseExisting } else { WhenOpen::Refuse },
        when_closed: WhenClosed::Allow,
        identity: service.identity().clone(),
    })?;
    Ok(v1::StartRunResponse { run: Some(convert::run(&row, clock::now())), existing })
}

/// Runs, newest first.
///
/// # Errors
/// The page token is not one of ours.
pub fn list(
    service: &Service,
    request: v1::ListRunsRequest,
) -> Result<v1::ListRunsResponse, Error> {
    let statuses = request.statuses().filter_map(convert::status_of).collect();
    let some = |text: &str| (!text.is_empty()).then(|| Arc::<str>::from(text));
    let filter = Filter {
        workflow_type: some(&request.flow),
        statuses,
        workflow_id_prefix: some(&request.workflow_id_prefix),
        started_from: request.started_from.as_ref().map(convert::moment),
        started_before: request.started_before.as_ref().map(convert::moment),
        text: some(&request.text),
        ..Filter::all(&namespace(service, &request.namespace)?)
    };
    let after = some(&request.page_token);
    let (runs, next) = service.page(&filter, after.as_deref(), page::size(request.page_size))?;
    let now = clock::now();
    Ok(v1::ListRunsResponse {
        runs: runs.iter().map(|run| convert::run(run, now)).collect(),
        next_page_token: next.unwrap_or_default(),
    })
}

/// One run.
///
/// # Errors
/// [`Kind::NotFound`].
pub fn get(service: &Service, request: v1::GetRunRequest) -> Result<v1::GetRunResponse, Error> {
    let summary = find(service, &request.namespace, &request.run)?;
    Ok(v1::GetRunResponse { run: Some(convert::run(&summary, clock::now())) })
}

/// What happened in a run.
///
/// # Errors
/// [`Kind::NotFound`].
pub fn describe(
    service: &Service,
    request: v1::DescribeRunRequest,
) -> Result<v1::DescribeRunResponse, Error> {
    let summary = find(service, &request.namespace, &request.run)?;
    let story = service.story(&summary.key)?;
    let attempts =
        story.steps.iter().flat_map(|step| &step.visits).flat_map(|visit| &visit.attempts);
    let (tokens, cost) =
        attempts.fold(((0_u64, 0_u64), 0.0), |((read, written), cost), attempt| {
            let tokens =
                (read.saturating_add(attempt.tokens.0), written.saturating_add(attempt.tokens.1));
            (tokens, cost + attempt.cost_usd)
        });
    let waits_for = story.waits_for.iter().map(|wait| v1::WaitsFor {
        activation: wait.activation.clone().unwrap_or_default(),
        kind: wait.kind.to_owned(),
        text: wait.text.clone(),
    });
    let current = story
        .steps
        .iter()
        .filter(|step| matches!(step.status, StepStatus::Running | StepStatus::Waiting))
        .map(|step| step.id.clone());
    Ok(v1::DescribeRunResponse {
        run: Some(convert::run(&summary, clock::now())),
        input: Some(convert::value(&story.input)),
        output: story.output.as_ref().map(convert::value),
        error: story.error.as_ref().map(convert::value),
        handled_failure: story.handled_failure,
        paused: story.paused.clone().unwrap_or_default(),
        cancel_requested: story.cancel_requested,
        current_steps: current.collect(),
        waits_for: waits_for.collect(),
        usage: Some(convert::usage(tokens, cost)),
        steps: story.steps.iter().map(convert::step).collect(),
        redriven_from: story.redriven_from.as_ref().map(convert::redriven_from),
        revision: convert::count(story.revision),
    })
}

/// What was recorded of a run.
///
/// # Errors
/// [`Kind::NotFound`]; the page token is not one of ours.
pub fn history(
    service: &Service,
    request: v1::GetHistoryRequest,
) -> Result<v1::GetHistoryResponse, Error> {
    let summary = find(service, &request.namespace, &request.run)?;
    let from = match request.page_token.as_str() {
        "" => 0,
        token => token.parse::<usize>().map_err(|_| page::unknown())?,
    };
    let items = service.engine().items(&summary.key)?;
    let mut entries = Vec::new();
    let mut next_page_token = String::new();
    for (at, entry) in
        items.iter().enumerate().skip(from).filter_map(|(at, item)| Some((at, Entry::of(item)?)))
    {
        if entries.len() == page::size(request.page_size) {
            next_page_token = at.to_string();
            break;
        }
        entries.push(convert::entry(&entry));
    }
    Ok(v1::GetHistoryResponse { entries, next_page_token })
}

/// Sends a signal.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Refused`].
pub fn signal(
    service: &Service,
    request: v1::SignalRunRequest,
) -> Result<v1::SignalRunResponse, Error> {
    check_id("name of the signal", &request.name)?;
    check_id("request id", &request.request_id)?;
    let summary = find(service, &request.namespace, &request.run)?;
    let data = request.data.map(Value::from).unwrap_or_default();
    let status = send_signal(service, &summary, request.name, &data, request.request_id)?;
    Ok(v1::SignalRunResponse { status })
}

/// Reads something of a run.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::Invalid`] for a query that is not known.
pub fn query(
    service: &Service,
    request: v1::QueryRunRequest,
) -> Result<v1::QueryRunResponse, Error> {
    let summary = find(service, &request.namespace, &request.run)?;
    let story = service.story(&summary.key)?;
    let result = match request.query.as_str() {
        "" | "state" => state(&story),
        "input" => story.input.clone(),
        "output" => story.output.clone().unwrap_or_default(),
        other => match other.strip_prefix("steps/") {
            Some(step) => output(&story, step)?,
            None => {
                return Err(Error::invalid(format!("no query `{}`", other.escape_debug()))
                    .suggest("ask for state, input, output or steps/STEP"));
            }
        },
    };
    Ok(v1::QueryRunResponse { result: Some(convert::value(&result)) })
}

/// Answers an approval.
///
/// # Errors
/// [`Kind::Refused`] when the run waits for none, or for several and none is named.
pub fn approve(
    service: &Service,
    request: v1::ApproveRunRequest,
) -> Result<v1::ApproveRunResponse, Error> {
    check_id("request id", &request.request_id)?;
    check_id("name of who decides", &request.by)?;
    let summary = find(service, &request.namespace, &request.run)?;
    let items = service.engine().items(&summary.key)?;
    if let Some(step) = approved(&items, &request.request_id) {
        return Ok(v1::ApproveRunResponse { status: convert::status(summary.status).into(), step });
    }
    let story = service.tell(&summary.key, &items);
    let step = waiting(&story, "approval", &request.step, "waits for approval")?;
    let by = if request.by.is_empty() { service.identity().to_string() } else { request.by };
    let data = json!({
        "step": step, "approved": request.approved, "by": by, "comment": request.comment,
    });
    let status =
        send_signal(service, &summary, APPROVAL_SIGNAL.to_owned(), &data, request.request_id)?;
    Ok(v1::ApproveRunResponse { status, step })
}

/// The step that this request has decided already.
fn approved(items: &[Item], request_id: &str) -> Option<String> {
    let decision = items.iter().find_map(|item| match item {
        Item::Event(Event { kind: Happened::Signaled(signaled), .. })
            if &*signaled.name == APPROVAL_SIGNAL && &*signaled.request_id == request_id =>
        {
            payload::value_of(&signaled.input).ok()
        }
        _ => None,
    });
    Some(decision.filter(|_| !request_id.is_empty())?.get("step")?.as_str()?.to_owned())
}

/// Asks a run to end.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Refused`].
pub fn cancel(
    service: &Service,
    request: v1::CancelRunRequest,
) -> Result<v1::CancelRunResponse, Error> {
    check_id("request id", &request.request_id)?;
    let summary = find(service, &request.namespace, &request.run)?;
    let cancel = RequestCancel {
        reason: request.reason.into(),
        identity: service.identity().clone(),
        request_id: request.request_id.into(),
    };
    let status = command(service, &summary, Command::RequestCancel(cancel))?;
    Ok(v1::CancelRunResponse { status })
}

/// Ends a run.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Refused`].
pub fn terminate(
    service: &Service,
    request: v1::TerminateRunRequest,
) -> Result<v1::TerminateRunResponse, Error> {
    let summary = find(service, &request.namespace, &request.run)?;
    let terminate = Terminate {
        reason: request.reason.into(),
        identity: service.identity().clone(),
        ..Terminate::default()
    };
    let status = command(service, &summary, Command::Terminate(terminate))?;
    Ok(v1::TerminateRunResponse { status })
}

/// Pauses a run.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Refused`].
pub fn pause(
    service: &Service,
    request: v1::PauseRunRequest,
) -> Result<v1::PauseRunResponse, Error> {
    let summary = find(service, &request.namespace, &request.run)?;
    let suspend = suspend(service, request.reason, request.request_id)?;
    let status = command(service, &summary, Command::Pause(suspend))?;
    Ok(v1::PauseRunResponse { status })
}

/// Lets a paused run go on.
///
/// # Errors
/// [`Kind::NotFound`], [`Kind::Refused`].
pub fn resume(
    service: &Service,
    request: v1::ResumeRunRequest,
) -> Result<v1::ResumeRunResponse, Error> {
    let summary = find(service, &request.namespace, &request.run)?;
    let suspend = suspend(service, request.reason, request.request_id)?;
    let status = command(service, &summary, Command::Unpause(suspend))?;
    Ok(v1::ResumeRunResponse { status })
}

/// Says what became of a step.
///
/// # Errors
/// [`Kind::Refused`] when no outcome is unknown, or several are and none is named.
pub fn resolve(
    service: &Service,
    request: v1::ResolveStepRequest,
) -> Result<v1::ResolveStepResponse, Error> {
    let resolution = match request.resolution {
        Some(Wanted::Retry(true)) => Resolution::Retry,
        Some(Wanted::Output(output)) => Resolution::Complete(payload::of_value(&output.into())),
        Some(Wanted::Failure(message)) => {
            Resolution::Fail(Arc::new(application_failure(message, "Resolved", true)))
        }
        Some(Wanted::Retry(false)) | None => {
            return Err(Error::invalid("nothing is said about the step")
                .suggest("give retry: true, an output, or a failure"));
        }
    };
    let summary = find(service, &request.namespace, &request.run)?;
    let story = service.story(&summary.key)?;
    let step = waiting(&story, "resolution", &request.step, "has an unknown outcome")?;
    let mut visits = story.steps.iter().flat_map(|step| &step.visits);
    let visit = visits.find(|visit| visit.activation == step && visit.ended.is_none());
    let scheduled = visit.and_then(|visit| visit.scheduled).unwrap_or_default();
    let identity = service.identity().clone();
    let resolve = Command::Resolve { scheduled: EventId(scheduled), resolution, identity };
    Ok(v1::ResolveStepResponse { status: command(service, &summary, resolve)? })
}

/// The run that a request names: by its run id, or by its workflow id.
pub(crate) fn find(service: &Service, namespace: &str, name: &str) -> Result<Summary, Error> {
    let namespace = super::namespace(service, namespace)?;
    if name.is_empty() {
        return Err(Error::invalid("no run is named: give its run id or its workflow id"));
    }
    check_id("run", name)?;
    service.named(&namespace, name)?.ok_or_else(|| {
        Error::not_found(format!("no run `{name}`"))
            .suggest("name it by its run id or its workflow id")
    })
}

/// What a start runs: a deployed version, else the flow of that name in the project's files.
fn definition(
    service: &Service,
    namespace: &str,
    name: &str,
    version: u32,
) -> Result<(String, Spec, Arc<reflux_flow::Bundle>), Error> {
    if name.is_empty() {
        return Err(Error::invalid("no flow is named: give its name as flow"));
    }
    let registry = service.host().registry();
    let unknown = match registry.flow(namespace, name, version) {
        Ok(flow) => {
            let definition = registry.definition(service.engine(), &flow)?;
            let spec = spec(definition.bytes.clone());
            return Ok((flow.name.clone(), spec, definition.bundle.clone()));
        }
        Err(error) => error,
    };
    let is_deployed = !registry.versions(namespace, name).is_empty();
    // A name is no path: files outside of flows/ are nobody's to start from outside.
    if is_deployed || version != 0 || name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(unknown);
    }
    let definitions = Definitions::of(service.project());
    let Some(source) = definitions.named(name) else { return Err(unknown) };
    let checked = definitions.check(source, &*service.host().nodes());
    let found = checked.map_err(|problems| Error::invalid(joined(problems)))?;
    if !found.is_sound() {
        return Err(Error::invalid(joined(&found.problems))
            .suggest("check the definition with `reflux validate`"));
    }
    let spec = spec(found.bundle.to_bytes().into());
    Ok((found.flow().name.clone(), spec, Arc::new(found.bundle)))
}

fn spec(bytes: bytes::Bytes) -> Spec {
    Spec { digest: *blake3::hash(&bytes).as_bytes(), bytes }
}

/// The activation that waits for a person: the one that was named, or the only one.
fn waiting(story: &Story, kind: &str, wanted: &str, what: &str) -> Result<String, Error> {
    let waiting = story.waits_for.iter().filter(|wait| wait.kind == kind);
    let waiting: Vec<&str> = waiting.filter_map(|wait| wait.activation.as_deref()).collect();
    let refused = |message: String| Error::new(Kind::Refused, message);
    match (waiting.as_slice(), wanted) {
        ([], "") => Err(refused(format!("nothing in this run {what}"))),
        ([only], "") => Ok((*only).to_owned()),
        (several, "") => Err(refused(format!("several steps are such that each {what}"))
            .suggest(format!("name one of: {}", several.join(", ")))),
        (all, wanted) if all.contains(&wanted) => Ok(wanted.to_owned()),
        (all, wanted) => {
            let error = refused(format!("it is not so that `{}` {what}", wanted.escape_debug()));
            Err(if all.is_empty() {
                error
            } else {
                error.suggest(format!("name one of: {}", all.join(", ")))
            })
        }
    }
}

/// Where a run stands, for programs: each step with its status and latest output.
fn state(story: &Story) -> Value {
    let steps: Map<String, Value> = story
        .steps
        .iter()
        .map(|step| {
            let last = step.visits.last();
            let state = json!({
                "status": step.status.name(),
                "visits": step.visits.len(),
                "output": last.and_then(|visit| visit.output.clone()),
                "error": last.and_then(|visit| visit.error.clone()),
            });
            (step.id.clone(), state)
        })
        .collect();
    json!({
        "status": story.status, "handled_failure": story.handled_failure, "input": story.input,
        "output": story.output, "error": story.error, "steps": steps,
    })
}

fn output(story: &Story, id: &str) -> Result<Value, Error> {
    let Some(step) = story.steps.iter().find(|step| step.id == id) else {
        let error = Error::not_found(format!("the run has no step `{}`", id.escape_debug()));
        let known = story.steps.iter().map(|step| step.id.as_str());
        return Err(match reflux_flow::name::suggest(id, known) {
            Some(alike) => error.suggest(format!("did you mean `{alike}`?")),
            None => error,
        });
    };
    step.visits.iter().rev().find_map(|visit| visit.output.clone()).ok_or_else(|| {
        Error::not_found(format!("step `{id}` is {} and has no output", step.status.name()))
            .suggest("ask again when it has succeeded")
    })
}

fn send_signal(
    service: &Service,
    run: &Summary,
    name: String,
    data: &Value,
    request_id: String,
) -> Result<i32, Error> {
    let signal = Signal {
        name: name.into(),
        input: payload::of_value(data),
        identity: service.identity().clone(),
        request_id: request_id.into(),
        ..Signal::default()
    };
    command(service, run, Command::Signal(signal))
}

fn suspend(service: &Service, reason: String, request_id: String) -> Result<Suspend, Error> {
    check_id("request id", &request_id)?;
    let (reason, request_id) = (reason.into(), request_id.into());
    Ok(Suspend { reason, identity: service.identity().clone(), request_id })
}

fn command(service: &Service, run: &Summary, command: Command) -> Result<i32, Error> {
    let key = &run.key;
    let answer = service.engine().command(Lane::of(key), Some(key.run_id), command)?;
    Ok(convert::status(answer.status).into())
}

fn slug(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

impl Service {
    /// What happened in a run.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn story(&self, key: &reflux_core::RunKey) -> Result<Story, Error> {
        Ok(self.tell(key, &self.engine().items(key)?))
    }

    fn tell(&self, key: &reflux_core::RunKey, items: &[Item]) -> Story {
        let bundle = Telling::digest(items).and_then(|digest| self.bundle(&digest));
        let mut story = Telling::of(key.clone(), bundle, items);
        let now = clock::now();
        let held = self.engine().gates().list(now).into_iter().filter_map(|gate| gate.held);
        story.hold(
            &held
                .map(|held| (held.subject.to_string(), (held.why, clock::rfc3339(held.until))))
                .collect(),
        );
        story
    }
}
