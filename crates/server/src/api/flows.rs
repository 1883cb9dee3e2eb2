//! `FlowService`.

use std::sync::Arc;
use std::time::Duration;

use reflux_core::Status;
use reflux_flow::diagnostic::{Diagnostic, Severity};
use reflux_flow::graph::{Bundle, Flow, StepId};
use reflux_flow::input::fits;
use reflux_flow::name::suggest;
use reflux_flow::syntax::{self, Parsed};
use reflux_flow::{export as text, validate as checks};
use reflux_proto::api as v1;
use reflux_store::{Filter, Position, SCAN_ROWS_MAX};
use serde_json::{Map, Value};

use super::{author, compare, convert, joined, namespace, page, source};
use crate::definitions::{Definitions, SOURCE_BYTES_MAX};
use crate::registry::{Definition, Deployed};
use crate::service::Service;
use crate::{Error, Kind, clock};

/// Most definitions of one import: they are checked together.
const IMPORT_MAX: usize = 100;

/// Checks a definition.
///
/// # Errors
/// There is no text. Whatever is wrong with it is in the answer.
pub fn validate(
    service: &Service,
    request: v1::ValidateFlowRequest,
) -> Result<v1::ValidateFlowResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let source = source(request.source)?;
    let checked = read(&source).and_then(|parsed| {
        let bundle = bundle(service, &namespace, &parsed, &[])?;
        let found = find(service, &parsed, &bundle);
        Ok((parsed, bundle, found))
    });
    Ok(match checked {
        Ok((parsed, bundle, found)) => v1::ValidateFlowResponse {
            valid: is_sound(&found),
            problems: found.iter().map(convert::problem).collect(),
            flow: Some(convert::flow(&Deployed::of(&namespace, &parsed.flow, &bundle))),
        },
        Err(found) => v1::ValidateFlowResponse {
            valid: false,
            problems: found.iter().map(convert::problem).collect(),
            flow: None,
        },
    })
}

/// Deploys a definition.
///
/// # Errors
/// [`Kind::Invalid`] with everything that is wrong with it.
pub fn deploy(
    service: &Service,
    request: v1::DeployFlowRequest,
) -> Result<v1::DeployFlowResponse, Error> {
    let v1::DeployFlowRequest { namespace, source, author, template } = request;
    let sources = source.into_iter().collect();
    let all = v1::ImportFlowsRequest { namespace, sources, author, template };
    let mut answers = import(service, all)?.flows.into_iter();
    answers
        .next()
        .ok_or_else(|| Error::invalid("there is no definition: give its text as source.text"))
}

/// Deploys definitions that may call each other.
///
/// # Errors
/// [`Kind::Invalid`] with everything that is wrong with them.
pub fn import(
    service: &Service,
    request: v1::ImportFlowsRequest,
) -> Result<v1::ImportFlowsResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let author = author(service, &request.author)?;
    if request.sources.len() > IMPORT_MAX {
        return Err(Error::invalid(format!(
            "{} definitions at once; {IMPORT_MAX} are allowed",
            request.sources.len()
        )));
    }
    service.reload()?;
    let sources: Result<Vec<_>, _> =
        request.sources.into_iter().map(|it| source(Some(it))).collect();
    let sources = sources?;
    let parsed: Result<Vec<Parsed>, _> = sources.iter().map(read).collect();
    let parsed = parsed.map_err(unsound)?;
    let mut warnings = Vec::new();
    let mut flows = Vec::new();
    for (source, one) in sources.into_iter().zip(&parsed) {
        let bundle = bundle(service, &namespace, one, &parsed).map_err(unsound)?;
        let found = find(service, one, &bundle);
        if !is_sound(&found) {
            return Err(unsound(found));
        }
        warnings.push(found.iter().map(convert::problem).collect::<Vec<_>>());
        let mut deployed = Deployed::of(&namespace, &one.flow, &bundle);
        deployed.author.clone_from(&author);
        deployed.file = source.file;
        deployed.template = request.template;
        let bytes = bundle.to_bytes().into();
        flows.push((deployed, Definition { text: source.text, bundle: Arc::new(bundle), bytes }));
    }
    let done = service.host().registry().deploy(service.engine(), flows)?;
    service.triggers().reload()?;
    let answers = done.into_iter().zip(warnings).map(|((flow, existing), problems)| {
        v1::DeployFlowResponse { flow: Some(convert::flow(&flow)), existing, problems }
    });
    Ok(v1::ImportFlowsResponse { flows: answers.collect() })
}

/// The deployed flows.
///
/// # Errors
/// The page token is not one of ours.
pub fn list(
    service: &Service,
    request: v1::ListFlowsRequest,
) -> Result<v1::ListFlowsResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let text = request.text.to_lowercase();
    let wanted = |flow: &Arc<Deployed>| {
        *flow.namespace == *namespace
            && (request.category.is_empty() || flow.category == request.category)
            && request.template.is_none_or(|template| flow.template == template)
            && [&flow.name, &flow.description, &flow.category]
                .iter()
                .any(|part| part.to_lowercase().contains(&text))
    };
    let flows = service.host().registry().flows().into_iter().filter(wanted);
    let (flows, next_page_token) =
        page::of(flows, |flow| flow.name.clone(), &request.page_token, request.page_size)?;
    let flows = flows.iter().map(|flow| convert::flow(flow)).collect();
    Ok(v1::ListFlowsResponse { flows, next_page_token })
}

/// One version.
///
/// # Errors
/// [`Kind::NotFound`].
pub fn get(service: &Service, request: v1::GetFlowRequest) -> Result<v1::GetFlowResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let registry = service.host().registry();
    let flow = registry.flow(&namespace, &request.name, request.version)?;
    let definition = registry.definition(service.engine(), &flow)?;
    let canonical = entry(&definition, &flow)?.to_canonical();
    let versions = registry.versions(&namespace, &flow.name);
    Ok(v1::GetFlowResponse {
        flow: Some(convert::flow(&flow)),
        source: Some(v1::FlowSource { text: definition.text.clone(), file: flow.file.clone() }),
        definition: convert::object(&canonical),
        versions: versions.iter().map(|version| convert::version(version)).collect(),
        sub_flows: flow.sub_flows.clone(),
    })
}

/// What changed between two versions.
///
/// # Errors
/// [`Kind::NotFound`].
pub fn diff(
    service: &Service,
    request: v1::DiffFlowRequest,
) -> Result<v1::DiffFlowResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let registry = service.host().registry();
    let to = registry.flow(&namespace, &request.name, request.to_version)?;
    let from = match request.from_version {
        0 => {
            let versions = registry.versions(&namespace, &request.name);
            versions.into_iter().find(|version| version.version < to.version).ok_or_else(|| {
                Error::not_found(format!("flow `{}` has no version before {}", to.name, to.version))
            })?
        }
        version => registry.flow(&namespace, &request.name, version)?,
    };
    let read = |flow: &Arc<Deployed>| registry.definition(service.engine(), flow);
    let (older, newer) = (read(&from)?, read(&to)?);
    let (older, newer) = (entry(&older, &from)?, entry(&newer, &to)?);
    Ok(v1::DiffFlowResponse {
        from: Some(convert::version(&from)),
        to: Some(convert::version(&to)),
        changes: compare::changes(&older.to_canonical(), &newer.to_canonical()),
        unified: compare::unified(
            &text::to_yaml(older),
            &text::to_yaml(newer),
            &format!("{}@{}", from.name, from.version),
            &format!("{}@{}", to.name, to.version),
        ),
    })
}

/// Removes a flow.
///
/// # Errors
/// [`Kind::Refused`] while it is used.
pub fn delete(
    service: &Service,
    request: v1::DeleteFlowRequest,
) -> Result<v1::DeleteFlowResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let registry = service.host().registry();
    let flow = registry.flow(&namespace, &request.name, 0)?;
    let callers = registry.flows().into_iter().filter(|other| {
        other.namespace == flow.namespace
            && other.name != flow.name
            && other.sub_flows.contains(&flow.name)
    });
    let callers: Vec<String> = callers.map(|other| other.name.clone()).collect();
    if !callers.is_empty() {
        return Err(Error::new(
            Kind::Refused,
            format!("flow `{}` is called by {}", flow.name, callers.join(", ")),
        )
        .suggest("deploy those without it, or remove them first"));
    }
    let open = Filter {
        workflow_type: Some(flow.name.as_str().into()),
        statuses: vec![Status::Running],
        ..Filter::all(&namespace)
    };
    if let Some(run) = first(service, &open)? {
        return Err(Error::new(
            Kind::Refused,
            format!("flow `{}` has an open run: {}", flow.name, run.key.run_id),
        )
        .suggest("let it end, or cancel it"));
    }
    let versions = registry.delete_flow(service.engine(), &namespace, &flow.name)?;
    service.triggers().reload()?;
    Ok(v1::DeleteFlowResponse { versions })
}

/// A version as text.
///
/// # Errors
/// [`Kind::NotFound`]; [`Kind::Unimplemented`] for a syntax that cannot be written.
pub fn export(
    service: &Service,
    request: v1::ExportFlowRequest,
) -> Result<v1::ExportFlowResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let registry = service.host().registry();
    let flow = registry.flow(&namespace, &request.name, request.version)?;
    let definition = registry.definition(service.engine(), &flow)?;
    let entry = entry(&definition, &flow)?;
    let as_deployed =
        |file: &str| v1::FlowSource { text: definition.text.clone(), file: file.to_owned() };
    let source = match request.syntax() {
        v1::FlowSyntax::Source => as_deployed(&flow.file),
        v1::FlowSyntax::Unspecified | v1::FlowSyntax::Yaml => {
            v1::FlowSource { text: text::to_yaml(entry), file: format!("{}.yaml", flow.name) }
        }
        v1::FlowSyntax::Json => {
            let json = serde_json::to_string_pretty(&entry.to_canonical()).unwrap_or_default();
            v1::FlowSource { text: json + "\n", file: format!("{}.json", flow.name) }
        }
        v1::FlowSyntax::Canvas if is_canvas(&definition.text) => {
            as_deployed(&format!("{}.canvas.json", flow.name))
        }
        v1::FlowSyntax::Canvas => {
            let drawing = text::to_canvas(entry).map_err(|odd| not_drawable(&flow.name, &odd))?;
            let json = serde_json::to_string_pretty(&drawing).unwrap_or_default();
            v1::FlowSource { text: json + "\n", file: format!("{}.canvas.json", flow.name) }
        }
    };
    Ok(v1::ExportFlowResponse { source: Some(source) })
}

fn not_drawable(flow: &str, odd: &[StepId]) -> Error {
    let what = match odd {
        [] => "what it says as a whole".to_owned(),
        odd => {
            let odd: Vec<String> = odd.iter().map(|step| format!("`{step}`")).collect();
            format!("what these steps say: {}", odd.join(", "))
        }
    };
    let problem = format!("flow `{flow}` cannot be drawn: a canvas has no words for {what}");
    Error::new(Kind::Refused, problem).suggest("export it as YAML or JSON")
}

/// Copies a flow.
///
/// # Errors
/// [`Kind::Exists`] when the new name is taken; [`Kind::Invalid`] when a value does not fit.
pub fn clone(
    service: &Service,
    request: v1::CloneFlowRequest,
) -> Result<v1::CloneFlowResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let author = author(service, &request.author)?;
    let registry = service.host().registry();
    let of = registry.flow(&namespace, &request.name, request.version)?;
    let new_name = request.new_name;
    reflux_flow::name::check_title(&new_name)
        .map_err(|problem| Error::invalid(format!("the new name {problem}")))?;
    if !registry.versions(&namespace, &new_name).is_empty() {
        return Err(Error::new(Kind::Exists, format!("there is a flow `{new_name}`"))
            .suggest("choose another name"));
    }
    let definition = registry.definition(service.engine(), &of)?;
    let mut flow = entry(&definition, &of)?.clone();
    flow.name.clone_from(&new_name);
    set_defaults(&mut flow, request.values.map(Map::from).unwrap_or_default())?;
    let bundle =
        Bundle::collect(&flow, |name| definition.bundle.flows.get(name).map(|it| (**it).clone()))
            .map_err(unsound)?;
    let deployed = Deployed { author, ..Deployed::of(&namespace, &flow, &bundle) };
    let definition = Definition {
        text: text::to_yaml(&flow),
        bytes: bundle.to_bytes().into(),
        bundle: Arc::new(bundle),
    };
    let done = registry.deploy(service.engine(), vec![(deployed, definition)])?;
    Ok(v1::CloneFlowResponse { flow: done.first().map(|(flow, _)| convert::flow(flow)) })
}

/// How a flow was used.
///
/// # Errors
/// [`Kind::NotFound`].
pub fn usage(
    service: &Service,
    request: v1::GetFlowUsageRequest,
) -> Result<v1::GetFlowUsageResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let flow = service.host().registry().flow(&namespace, &request.name, 0)?;
    let filter = Filter {
        workflow_type: Some(flow.name.as_str().into()),
        started_from: request.since.as_ref().map(convert::moment),
        ..Filter::all(&namespace)
    };
    let mut runs = Vec::new();
    let mut after: Option<Position> = None;
    while runs.len() < SCAN_ROWS_MAX {
        let page = service.engine().list(&filter, after, page::PAGE_MAX)?;
        runs.extend(page.runs);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut by_status: Vec<v1::StatusCount> = Vec::new();
    for run in &runs {
        let status = i32::from(convert::status(run.status));
        match by_status.iter_mut().find(|count| count.status == status) {
            Some(count) => count.runs += 1,
            None => by_status.push(v1::StatusCount { status, runs: 1 }),
        }
    }
    by_status.sort_by_key(|count| count.status);
    let completed = runs.iter().filter(|run| run.status == Status::Completed);
    let mut lengths: Vec<Duration> =
        completed.filter_map(|run| Some(run.closed?.since(run.started))).collect();
    lengths.sort();
    // Nearest rank.
    let rank = |percent: usize| {
        let at = (lengths.len() * percent).div_ceil(100).saturating_sub(1);
        lengths.get(at).copied().map(convert::length)
    };
    Ok(v1::GetFlowUsageResponse {
        runs: convert::count(runs.len()),
        truncated: after.is_some(),
        by_status,
        last_run: runs.first().map(|run| convert::run(run, clock::now())),
        median: rank(50),
        p95: rank(95),
        longest: rank(100),
    })
}

pub(super) fn read(source: &v1::FlowSource) -> Result<Parsed, Vec<Diagnostic>> {
    let bytes = u64::try_from(source.text.len()).unwrap_or(u64::MAX);
    if bytes > SOURCE_BYTES_MAX {
        let message = format!("the definition has {bytes} bytes; {SOURCE_BYTES_MAX} are allowed");
        return Err(vec![Diagnostic::error("too-large", message, Default::default())]);
    }
    syntax::parse(&source.file, &source.text)
}

/// A flow with its sub-flows: those beside it, those that are deployed, those of the project.
pub(super) fn bundle(
    service: &Service,
    namespace: &str,
    parsed: &Parsed,
    beside: &[Parsed],
) -> Result<Bundle, Vec<Diagnostic>> {
    let registry = service.host().registry();
    Bundle::collect_parsed(parsed, |name| {
        if let Some(found) = beside.iter().find(|other| other.flow.name == name) {
            return Some(found.flow.clone());
        }
        if let Ok(flow) = registry.flow(namespace, name, 0) {
            let definition = registry.definition(service.engine(), &flow).ok()?;
            return definition.bundle.flows.get(name).map(|flow| (**flow).clone());
        }
        Definitions::of(service.project()).flow(name)
    })
}

pub(super) fn find(service: &Service, parsed: &Parsed, bundle: &Bundle) -> Vec<Diagnostic> {
    let nodes = service.host().nodes();
    let mut found = checks::validate_parsed(parsed, &*nodes);
    found.extend(checks::validate_calls(&parsed.flow, bundle, &parsed.spans));
    found.extend(super::nodes::deprecations(service, &parsed.flow, &parsed.spans));
    found.sort_by_key(|problem| problem.severity);
    found
}

pub(super) fn is_sound(found: &[Diagnostic]) -> bool {
    found.iter().all(|problem| problem.severity != Severity::Error)
}

pub(super) fn unsound(found: Vec<Diagnostic>) -> Error {
    let errors = found.iter().filter(|problem| problem.severity == Severity::Error);
    Error::invalid(joined(errors))
        .suggest("mend the definition; ValidateFlow lists every problem with its place")
}

/// The flow itself among those that travel with it.
fn entry<'a>(definition: &'a Definition, of: &Deployed) -> Result<&'a Flow, Error> {
    definition.bundle.flows.get(&of.name).map(|flow| &**flow).ok_or_else(|| {
        Error::new(
            Kind::Corrupt,
            format!("the definition of `{}` has no flow of its name", of.name),
        )
    })
}

fn set_defaults(flow: &mut Flow, values: Map<String, Value>) -> Result<(), Error> {
    for (name, value) in values {
        let known: Vec<String> = flow.parameters.iter().map(|it| it.name.clone()).collect();
        let Some(parameter) = flow.parameters.iter_mut().find(|it| it.name == name) else {
            let error = Error::invalid(format!("the flow has no input `{}`", name.escape_debug()));
            return Err(match suggest(&name, known.iter().map(String::as_str)) {
                Some(alike) => error.suggest(format!("did you mean `{alike}`?")),
                None => error,
            });
        };
        if !fits(parameter.kind, &value) {
            return Err(Error::invalid(format!(
                "the input `{name}` must be {}",
                parameter.kind.article()
            )));
        }
        parameter.default = Some(value);
        parameter.required = false;
    }
    Ok(())
}

fn first(service: &Service, filter: &Filter) -> Result<Option<reflux_store::Summary>, Error> {
    let mut after = None;
    loop {
        let page = service.engine().list(filter, after, 1)?;
        if let Some(run) = page.runs.into_iter().next() {
            return Ok(Some(run));
        }
        after = page.next;
        if after.is_none() {
            return Ok(None);
        }
    }
}

fn is_canvas(text: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(text)
        .is_ok_and(|document| document.contains_key("nodes") && document.contains_key("edges"))
}
