//! `deploy`, `export`, `diff`: flows in versions.

use std::io::Read as _;

use clap::ValueEnum;
use reflux_flow::syntax;
use reflux_server::Error;
use reflux_server::client::{Client, Mode};
use reflux_server::definitions::{Definitions, Source};
use serde_json::{Value, json};

use super::{Done, done, leave, project};
use crate::cli::Global;
use crate::failure::Failure;
use crate::out::Out;

/// Deploy flows: what `reflux server` and `reflux run` start by name from then on.
///
/// A deployed version never changes and is in every backup. Deploying what the latest version has
/// already does nothing. Flows that call each other are deployed together, or not at all.
#[derive(Debug, clap::Args)]
pub struct DeployArgs {
    /// Files, or names of flows in flows/; `-` reads one from stdin
    #[arg(required = true, value_name = "FLOW")]
    flows: Vec<String>,
    /// Deploy them as templates, to be copied rather than run
    #[arg(long)]
    template: bool,
}

/// Print a deployed flow.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Name of the flow
    flow: String,
    /// Which version; by default the latest
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    version: u32,
    /// In which syntax
    #[arg(long, default_value = "yaml")]
    syntax: Syntax,
}

/// What changed between two versions of a deployed flow.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// Name of the flow
    flow: String,
    /// The older version; by default the one before the newer
    #[arg(default_value_t = 0, hide_default_value = true)]
    from: u32,
    /// The newer version; by default the latest
    #[arg(default_value_t = 0, hide_default_value = true)]
    to: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Syntax {
    /// As it was deployed
    Source,
    /// Steps as YAML
    Yaml,
    /// The canonical document: every default explicit
    Json,
    /// As it was drawn
    Canvas,
}

pub fn deploy(args: &DeployArgs, global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    let definitions = Definitions::of(&project);
    let mut sources = Vec::new();
    for flow in &args.flows {
        let source = if flow == "-" { stdin()? } else { definitions.source(flow)? };
        // What cannot be read is shown with its place, before anything is asked for.
        if let Err(findings) = syntax::parse(&source.file, &source.text) {
            return Err(Failure::Definition { findings, source: source.text });
        }
        sources.push(json!({ "text": source.text, "file": source.file }));
    }
    let client = Client::open_or_make(&project, Mode::Look)?;
    let request = json!({ "sources": sources, "template": args.template });
    let answer = client.api("FlowService/ImportFlows", request)?;
    leave(client);
    if out.is_json() {
        out.value(&answer);
        return done();
    }
    for deployed in list(&answer, "flows") {
        for problem in list(deployed, "problems") {
            out.note(format!("warning: {}", text(problem, "message")));
        }
        let flow = deployed.get("flow").unwrap_or(&Value::Null);
        let existing = deployed.get("existing").and_then(Value::as_bool).unwrap_or(false);
        let note = if existing { "  (nothing changed)" } else { "" };
        out.line(format!("{}@{}{note}", text(flow, "name"), number(flow, "version")));
    }
    done()
}

pub fn export(args: &ExportArgs, global: &Global, out: &Out) -> Done {
    let syntax = match args.syntax {
        Syntax::Source => "FLOW_SYNTAX_SOURCE",
        Syntax::Yaml => "FLOW_SYNTAX_YAML",
        Syntax::Json => "FLOW_SYNTAX_JSON",
        Syntax::Canvas => "FLOW_SYNTAX_CANVAS",
    };
    let request = json!({ "name": args.flow, "version": args.version, "syntax": syntax });
    let answer = ask(global, "FlowService/ExportFlow", request)?;
    match out.is_json() {
        true => out.value(&answer),
        false => out.text(text(answer.get("source").unwrap_or(&Value::Null), "text")),
    }
    done()
}

pub fn diff(args: &DiffArgs, global: &Global, out: &Out) -> Done {
    let request = json!({ "name": args.flow, "from_version": args.from, "to_version": args.to });
    let answer = ask(global, "FlowService/DiffFlow", request)?;
    match out.is_json() {
        true => out.value(&answer),
        false => out.text(text(&answer, "unified")),
    }
    done()
}

/// The deployed flows, one in a line.
pub fn deployed(global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    let client = Client::open_or_make(&project, Mode::Look)?;
    let mut flows: Vec<Value> = Vec::new();
    let mut token = String::new();
    loop {
        let page = client
            .api("FlowService/ListFlows", json!({ "page_size": 1000, "page_token": token }))?;
        flows.extend(list(&page, "flows").iter().cloned());
        token = text(&page, "next_page_token").to_owned();
        if token.is_empty() {
            break;
        }
    }
    leave(client);
    if out.is_json() {
        out.value(&json!({ "flows": flows }));
        return done();
    }
    if flows.is_empty() {
        out.note("no flow is deployed; deploy one with `reflux deploy FLOW`");
    }
    for flow in &flows {
        let (name, deployed) = (text(flow, "name"), text(flow, "deployed"));
        let line = format!(
            "{name}@{}  {deployed}  {}  {}",
            number(flow, "version"),
            text(flow, "author"),
            text(flow, "description")
        );
        out.line(line.trim_end());
    }
    done()
}

/// Makes a call that only looks.
pub fn ask(global: &Global, method: &str, request: Value) -> Result<Value, Error> {
    let client = Client::open_or_make(&project(global)?, Mode::Look)?;
    let answer = client.api(method, request);
    leave(client);
    answer
}

fn stdin() -> Result<Source, Error> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX + 1).read_to_string(&mut text);
    read.map_err(|error| Error::invalid(format!("cannot read a flow from stdin: {error}")))?;
    Ok(Source { file: "(stdin)".to_owned(), text })
}

/// Most bytes read from stdin: a flow has at most 1 MiB.
const MAX: u64 = 1 << 20;

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}
