//! `deploy`, `export`, `diff`: flows in versions.

use std::io::Read as _;

use clap::ValueEnum;
use reflux_flow::syntax;
use reflux_server::client::{Client, Mode};
use reflux_server::definitions::{Definitions, Source};
use reflux_server::{Error, Kind};
use serde_json::{Value, json};

use super::{Done, done, leave, project};
use crate::cli::Global;
use crate::failure::Failure;
use crate::out::Out;

/// Deploy flows: what `reflux server` and `reflux run` start by name from then on.
///
/// A deployed version never changes and is in every backup. Deploying what the latest version has
/// already does nothing. Flows that call each other are deployed together, or not at all.
///
/// The newest runs of each flow are decided again with its new version: what would have been led
/// elsewhere is told on stderr. Open runs keep the version they began with whatever is deployed.
#[derive(Debug, clap::Args)]
pub struct DeployArgs {
    /// Files, or names of flows in flows/; `-` reads one from stdin
    #[arg(required = true, value_name = "FLOW")]
    flows: Vec<String>,
    /// Deploy them as templates, to be copied rather than run
    #[arg(long)]
    template: bool,
    /// How many of each flow's newest runs are decided again with the new version; 0 for none
    #[arg(long, value_name = "RUNS", default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=1000))]
    check: u16,
    /// Deploy nothing when a run would have been led elsewhere, or cannot be decided again
    #[arg(long)]
    strict: bool,
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

/// What differs between two runs, or between two versions of a deployed flow.
///
/// `reflux diff RUN RUN` compares two runs step by step, `reflux diff FLOW [FROM] [TO]` two versions
/// of a flow: what is a number after the first name is a version.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// A run, or the name of a flow
    #[arg(value_name = "RUN|FLOW")]
    one: String,
    /// The other run; or the older version, by default the one before the newer
    #[arg(value_name = "RUN|FROM")]
    other: Option<String>,
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
    let mut names = Vec::new();
    for flow in &args.flows {
        let source = if flow == "-" { stdin()? } else { definitions.source(flow)? };
        // What cannot be read is shown with its place, before anything is asked for.
        match syntax::parse(&source.file, &source.text) {
            Ok(parsed) => names.push(parsed.flow.name),
            Err(findings) => {
                return Err(Failure::Definition { findings, source: source.text });
            }
        }
        sources.push(json!({ "text": source.text, "file": source.file }));
    }
    let client = Client::open_or_make(&project, Mode::Look)?;
    let checked = check(&client, args, &names, &sources, out);
    let deployed = checked.and_then(|checks| {
        let request = json!({ "sources": sources, "template": args.template });
        Ok((checks, client.api("FlowService/ImportFlows", request)?))
    });
    leave(client);
    let (checks, mut answer) = deployed?;
    if out.is_json() {
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("checks".to_owned(), checks);
        }
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

/// Decides the newest runs of each flow again with what is to be deployed.
fn check(
    client: &Client,
    args: &DeployArgs,
    names: &[String],
    sources: &[Value],
    out: &Out,
) -> Result<Value, Error> {
    let mut checks = Vec::new();
    if args.check == 0 {
        return Ok(Value::Array(checks));
    }
    for (name, source) in names.iter().zip(sources) {
        let quoted = name.replace('\\', r"\\").replace('\'', "''");
        let request = json!({
            "query": format!("WorkflowType = '{quoted}'"), "limit": args.check,
            "with": { "source": source, "beside": sources },
        });
        let answer = match client.api("RunService/VerifyRuns", request) {
            Ok(answer) => answer,
            // What is wrong with the definition is told when it is deployed.
            Err(error) if args.strict => return Err(error),
            Err(error) => {
                out.note(format!("warning: the runs of {name} were not decided again: {error}"));
                continue;
            }
        };
        let troubled = list(&answer, "runs").iter().any(|run| !text(run, "problem").is_empty());
        if number(&answer, "diverged") > 0 || troubled {
            super::replay::report(&answer).iter().for_each(|line| out.note(line));
            if args.strict {
                let text = format!("runs of {name} would have been led elsewhere");
                return Err(Error::new(Kind::Refused, text)
                    .suggest("nothing was deployed; deploy without --strict when that is meant"));
            }
        }
        checks.push(json!({
            "flow": name, "checked": number(&answer, "checked"),
            "diverged": number(&answer, "diverged"), "runs": answer.get("runs"),
        }));
    }
    Ok(Value::Array(checks))
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
    let from = match args.other.as_deref().map(str::parse) {
        None => 0_u32,
        Some(Ok(version)) => version,
        Some(Err(_)) => {
            return super::replay::diff(
                &args.one,
                args.other.as_deref().unwrap_or_default(),
                global,
                out,
            );
        }
    };
    let request = json!({ "name": args.one, "from_version": from, "to_version": args.to });
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
