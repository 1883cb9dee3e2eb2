//! What is known besides files: registered nodes and deployed flows, asked for only when a command
//! needs them, because asking may mean to open the project's data.

use std::sync::Arc;

use reflux_flow::diagnostic::Diagnostic;
use reflux_flow::graph::Bundle;
use reflux_sdk::Manifest;
use reflux_server::catalogue::Nodes;
use reflux_server::client::{Client, Mode};
use reflux_server::definitions::{Checked, Definitions, Source};
use reflux_server::protocol::{Request, Response};
use reflux_server::registry::Registered;
use reflux_server::{Error, Project, client, service};
use serde_json::{Value, json};

use super::leave;

/// Every node: built in, of the project, and registered.
pub fn nodes(project: &Project) -> Result<Nodes, Error> {
    let (nodes, _) = service::load(project)?;
    Ok(nodes.join(&registered(project)?))
}

/// Reads and checks a definition. Registered nodes are asked for when one is missing.
pub fn check(project: &Project, nodes: &Nodes, source: Source) -> Result<Checked, Error> {
    let definitions = Definitions::of(project);
    let checked = definitions.check(source.clone(), nodes);
    let found: &[Diagnostic] = match &checked {
        Ok(definition) => &definition.problems,
        Err(_) => &[],
    };
    if !found.iter().any(|finding| finding.code == "unknown-node") {
        return Ok(checked);
    }
    Ok(definitions.check(source, &nodes.clone().join(&registered(project)?)))
}

/// The flows of a deployed flow's latest version, under its name; `None` when there is none.
pub fn deployed(project: &Project, name: &str) -> Result<Option<Bundle>, Error> {
    if !project.data().is_dir() {
        return Ok(None);
    }
    let client = Client::open(project, Mode::Look)?;
    let answer = client.call(Request::Deployed { name: name.to_owned() });
    leave(client);
    match answer? {
        Response::Definition { bytes } => {
            Ok(bytes.and_then(|text| Bundle::from_bytes(text.as_bytes()).ok()))
        }
        other => Err(client::unexpected(&other)),
    }
}

fn registered(project: &Project) -> Result<Vec<Arc<Registered>>, Error> {
    if !project.data().is_dir() {
        return Ok(Vec::new());
    }
    let client = Client::open(project, Mode::Look)?;
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let request = json!({ "origin": "registered", "page_size": 1000, "page_token": token });
        let page = client.api("NodeService/ListNodes", request)?;
        let nodes = page.get("nodes").and_then(Value::as_array).map(Vec::as_slice);
        for node in nodes.unwrap_or_default() {
            let manifest = node.get("manifest").map(Value::to_string).unwrap_or_default();
            if let Ok(manifest) = Manifest::from_json(&manifest) {
                found.push(Arc::new(Registered::of(manifest)));
            }
        }
        token = page.get("next_page_token").and_then(Value::as_str).unwrap_or_default().to_owned();
        if token.is_empty() {
            break;
        }
    }
    leave(client);
    Ok(found)
}
