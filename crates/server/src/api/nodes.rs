//! `NodeService`.

use std::sync::Arc;

use reflux_flow::diagnostic::Diagnostic;
use reflux_flow::graph::{Action, Flow};
use reflux_flow::span::Spans;
use reflux_proto::{api as v1, json};
use reflux_sdk::{Effects, Manifest, Node};
use serde_json::{Map, Value};

use super::{check_id, convert, page};
use crate::catalogue::{Nodes, Origin};
use crate::service::Service;
use crate::{Error, Kind};

/// Most bytes of a manifest as JSON: schemas included, people write these.
const MANIFEST_BYTES_MAX: usize = 256 << 10;

/// Makes a node known.
///
/// # Errors
/// [`Kind::Invalid`] for the manifest, [`Kind::Exists`] when the name has a meaning already.
pub fn register(
    service: &Service,
    request: v1::RegisterNodeRequest,
) -> Result<v1::RegisterNodeResponse, Error> {
    let manifest = Value::Object(request.manifest.map(Map::from).unwrap_or_default()).to_string();
    if manifest.len() > MANIFEST_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the manifest has {} bytes; {MANIFEST_BYTES_MAX} are allowed",
            manifest.len()
        )));
    }
    let mut manifest = Manifest::from_json(&manifest).map_err(|error| {
        Error::invalid(error.to_string()).suggest("see how a manifest is written in docs/nodes.md")
    })?;
    if !request.task_queue.is_empty() {
        check_id("task queue", &request.task_queue)?;
        manifest.task_queue = Some(request.task_queue);
    }
    manifest.task_queue = Some(manifest.task_queue());
    if manifest.task_queue.as_deref() == Some(reflux_engine::LOCAL_QUEUE) {
        return Err(Error::invalid("that task queue is the server's own").suggest("name another"));
    }
    // A node of the project may have come since.
    service.reload()?;
    let nodes = service.host().nodes();
    let taken = nodes.all().any(|node| {
        let name = &node.manifest().name;
        *name == manifest.name && nodes.origin(name) != Origin::Registered
    });
    if taken {
        return Err(Error::new(
            Kind::Exists,
            format!("`{}` is a node of the server or of the project", manifest.name),
        )
        .suggest("register it under another name"));
    }
    let registry = service.host().registry();
    let (registered, existing) = registry.register(service.engine(), manifest)?;
    service.reload()?;
    let node = find(service, &registered.manifest.name, &registered.manifest.version)?;
    Ok(v1::RegisterNodeResponse { node: Some(told(service, &*node)), existing })
}

/// Every node.
///
/// # Errors
/// The page token is not one of ours.
pub fn list(
    service: &Service,
    request: v1::ListNodesRequest,
) -> Result<v1::ListNodesResponse, Error> {
    let text = request.text.to_lowercase();
    let nodes = service.host().nodes();
    let wanted = nodes.all().enumerate().filter(|(_, node)| {
        let manifest = node.manifest();
        [&manifest.name, &manifest.description]
            .iter()
            .any(|part| part.to_lowercase().contains(&text))
            && (request.origin.is_empty() || origin(&nodes, &***node) == request.origin)
    });
    // Versions do not sort as text: a place is a number behind the name.
    let key = |(at, node): &(usize, &Arc<dyn Node>)| format!("{}\0{at:08}", node.manifest().name);
    let (rows, next_page_token) = page::of(wanted, key, &request.page_token, request.page_size)?;
    let nodes = rows.into_iter().map(|(_, node)| told(service, &**node)).collect();
    Ok(v1::ListNodesResponse { nodes, next_page_token })
}

/// One node.
///
/// # Errors
/// [`Kind::NotFound`].
pub fn get(service: &Service, request: v1::GetNodeRequest) -> Result<v1::GetNodeResponse, Error> {
    let node = find(service, &request.name, &request.version)?;
    let nodes = service.host().nodes();
    let versions = nodes.all().filter(|other| other.manifest().name == node.manifest().name);
    Ok(v1::GetNodeResponse {
        node: Some(told(service, &*node)),
        versions: versions.map(|other| other.manifest().version.clone()).collect(),
    })
}

/// Marks a version as deprecated.
///
/// # Errors
/// [`Kind::NotFound`] for a node that is not registered.
pub fn deprecate(
    service: &Service,
    request: v1::DeprecateNodeRequest,
) -> Result<v1::DeprecateNodeResponse, Error> {
    check_id("replacement", &request.replacement)?;
    check_id("reason", &request.reason)?;
    let node = find(service, &request.name, &request.version)?;
    let some = |text: String| (!text.is_empty()).then_some(text);
    let manifest = node.manifest();
    service.host().registry().deprecate(
        service.engine(),
        &manifest.name,
        &manifest.version,
        some(request.reason),
        some(request.replacement),
    )?;
    Ok(v1::DeprecateNodeResponse { node: Some(told(service, &*node)) })
}

/// Removes a version.
///
/// # Errors
/// [`Kind::Refused`] while a deployed flow calls it.
pub fn remove(
    service: &Service,
    request: v1::RemoveNodeRequest,
) -> Result<v1::RemoveNodeResponse, Error> {
    if request.version.is_empty() {
        return Err(Error::invalid("no version is named: give the one to be removed"));
    }
    let exact = format!("{}@{}", request.name, request.version);
    let registry = service.host().registry();
    let others = registry.nodes();
    let last = !others.iter().any(|other| {
        other.manifest.name == request.name && other.manifest.version != request.version
    });
    let flows = registry.flows();
    let caller = flows
        .iter()
        .find(|flow| flow.nodes.contains(&exact) || (last && flow.nodes.contains(&request.name)));
    if let Some(flow) = caller {
        return Err(Error::new(Kind::Refused, format!("flow `{}` calls {exact}", flow.name))
            .suggest("deploy the flow without it, or mark the node as deprecated"));
    }
    registry.remove_node(service.engine(), &request.name, &request.version)?;
    service.reload()?;
    Ok(v1::RemoveNodeResponse {})
}

/// What can take the place of a node.
///
/// # Errors
/// [`Kind::NotFound`].
pub fn alternatives(
    service: &Service,
    request: v1::ListAlternativesRequest,
) -> Result<v1::ListAlternativesResponse, Error> {
    let node = find(service, &request.name, &request.version)?;
    let nodes = service.host().nodes();
    let found = nodes.instead_of(node.manifest());
    let nodes = found.iter().map(|(_, node)| told(service, &**node)).collect();
    Ok(v1::ListAlternativesResponse { nodes })
}

/// Warnings about the deprecated nodes that a flow calls.
pub(super) fn deprecations(service: &Service, flow: &Flow, spans: &Spans) -> Vec<Diagnostic> {
    let registry = service.host().registry();
    let nodes = service.host().nodes();
    let warning = |step: &reflux_flow::graph::Step| {
        let Action::Node { node, .. } = &step.action else { return None };
        let reference = match &node.version {
            Some(version) => format!("{}@{version}", node.name),
            None => node.name.clone(),
        };
        let manifest = nodes.find(&reference)?.manifest();
        let registered = registry.node(&manifest.name, &manifest.version)?;
        let reason = registered.deprecated.as_ref()?;
        let place = spans.find(&format!("steps/{}/node", step.id));
        let text = format!("node `{}` is deprecated: {reason}", manifest.reference());
        Some(
            Diagnostic::warning("deprecated-node", text, place)
                .suggest(registered.replacement.clone())
                .in_file(spans.file()),
        )
    };
    flow.steps.iter().filter_map(warning).collect()
}

fn find(service: &Service, name: &str, version: &str) -> Result<Arc<dyn Node>, Error> {
    check_id("name of the node", name)?;
    let reference = if version.is_empty() { name.to_owned() } else { format!("{name}@{version}") };
    let nodes = service.host().nodes();
    if let Some(found) = nodes.find(&reference) {
        return Ok(found.clone());
    }
    let error = Error::not_found(format!("no node `{}`", reference.escape_debug()));
    Err(match nodes.suggestions(name).as_slice() {
        [] => error.suggest("see the list of nodes"),
        alike => error.suggest(format!("did you mean {}?", alike.join(" or "))),
    })
}

/// Where a node comes from, as it is written.
fn origin(nodes: &Nodes, node: &dyn Node) -> &'static str {
    match nodes.origin(&node.manifest().name) {
        Origin::BuiltIn => "built-in",
        Origin::Project => "project",
        Origin::Registered => "registered",
    }
}

fn told(service: &Service, node: &dyn Node) -> v1::Node {
    let manifest = node.manifest();
    let nodes = service.host().nodes();
    let is_registered = nodes.origin(&manifest.name) == Origin::Registered;
    let registered = service.host().registry().node(&manifest.name, &manifest.version);
    let registered = registered.filter(|_| is_registered);
    let json = serde_json::to_value(manifest).unwrap_or_default();
    v1::Node {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        description: manifest.description.clone(),
        origin: origin(&nodes, node).to_owned(),
        task_queue: node.task_queue().unwrap_or_default(),
        effects: match manifest.effects {
            Effects::Pure => "pure",
            Effects::Reads => "reads",
            Effects::Idempotent => "idempotent",
            Effects::Unsafe => "unsafe",
        }
        .to_owned(),
        manifest: json.as_object().map(json::Struct::from),
        registered: registered.as_ref().map(|it| convert::time(reflux_core::Timestamp(it.time))),
        deprecated: registered.as_ref().and_then(|it| it.deprecated.clone()).unwrap_or_default(),
        replacement: registered.and_then(|it| it.replacement.clone()).unwrap_or_default(),
    }
}
