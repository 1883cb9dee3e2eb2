//! `flows`.

use clap::{Subcommand, ValueEnum};
use reflux_flow::diagnostic::Severity;
use reflux_flow::export::to_yaml;
use reflux_flow::graph::{Action, Flow, Step};
use reflux_server::definitions::{Checked, Definitions};
use reflux_server::service;
use serde_json::{Value, json};

use super::validate::findings;
use super::{Done, done, known, project};
use crate::cli::Global;
use crate::failure::Failure;
use crate::out::Out;

/// The flows of the project: those in flows/.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Those that are deployed instead
    #[arg(long)]
    deployed: bool,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// One flow: its inputs and its steps
    Show {
        /// Name of the flow, or a file
        flow: String,
        /// Print the definition in another syntax instead
        #[arg(long)]
        export: Option<Export>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Export {
    /// Steps as YAML
    Yaml,
    /// The canonical document: every default explicit
    Json,
}

pub fn run(args: Args, global: &Global, out: &Out) -> Done {
    match args.what {
        None if args.deployed => super::deploy::deployed(global, out),
        None => list(global, out),
        Some(What::Show { flow, export }) => show(&flow, export, global, out),
    }
}

fn list(global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    let (nodes, _) = service::load(&project)?;
    let definitions = Definitions::of(&project);
    let mut rows = Vec::new();
    for source in definitions.sources() {
        let source = source?;
        let file = source.file.clone();
        rows.push((file, known::check(&project, &nodes, source)?));
    }
    if out.is_json() {
        let rows: Vec<Value> = rows.iter().map(|(file, checked)| as_json(file, checked)).collect();
        out.value(&json!({ "flows": rows }));
        return done();
    }
    if rows.is_empty() {
        out.note("no flows; write one with `reflux define`, or start with `reflux init`");
    }
    for (file, checked) in &rows {
        let errors =
            findings(checked).iter().filter(|finding| finding.severity == Severity::Error).count();
        let style = out.style();
        let state = match errors {
            0 => String::new(),
            1 => style.paint(31, "  1 error"),
            many => style.paint(31, &format!("  {many} errors")),
        };
        match checked {
            Ok(definition) => {
                let flow = definition.flow();
                let parameters: Vec<&str> =
                    flow.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
                let parameters = if parameters.is_empty() {
                    String::new()
                } else {
                    format!("  ({})", parameters.join(", "))
                };
                out.line(format!(
                    "{}  {file}  {} steps{parameters}{state}",
                    style.paint(1, &flow.name),
                    flow.steps.len()
                ));
                if !flow.description.is_empty() {
                    out.line(format!("    {}", flow.description));
                }
            }
            Err(_) => out.line(format!("{file}{state}; see `reflux validate {file}`")),
        }
    }
    done()
}

fn show(wanted: &str, export: Option<Export>, global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    let definitions = Definitions::of(&project);
    let source = definitions.source(wanted)?;
    let (nodes, _) = service::load(&project)?;
    let checked = definitions.check(source.clone(), &nodes);
    let definition = match &checked {
        Ok(definition) => definition,
        Err(problems) => {
            return Err(Failure::Definition { findings: problems.clone(), source: source.text });
        }
    };
    let flow = definition.flow();
    match export {
        Some(Export::Yaml) => out.text(to_yaml(flow)),
        Some(Export::Json) => out.value(&flow.to_canonical()),
        None if out.is_json() => out.value(&as_json(&source.file, &checked)),
        None => {
            describe(flow, out);
            definition.problems.iter().for_each(|finding| out.finding(finding, &source.text));
        }
    }
    done()
}

fn describe(flow: &Flow, out: &Out) {
    let version =
        if flow.version.is_empty() { String::new() } else { format!(" {}", flow.version) };
    out.line(out.style().paint(1, &format!("{}{version}", flow.name)));
    if !flow.description.is_empty() {
        out.line(format!("  {}", flow.description));
    }
    if !flow.parameters.is_empty() {
        out.line("  inputs");
    }
    for parameter in &flow.parameters {
        let default = parameter.default.as_ref().map(|value| format!(", default {value}"));
        let optional = default.unwrap_or_else(|| {
            if parameter.required { ", required" } else { ", optional" }.to_owned()
        });
        out.line(
            format!(
                "    {}  {}{optional}  {}",
                parameter.name,
                parameter.kind.name(),
                parameter.description
            )
            .trim_end(),
        );
    }
    out.line("  steps");
    for step in &flow.steps {
        out.line(format!("    {}", step_line(step)));
    }
}

fn step_line(step: &Step) -> String {
    let what = match &step.action {
        Action::Node { node, .. } => node.name.clone(),
        Action::Flow { flow, .. } => format!("flow {flow}"),
        Action::Wait(_) => "wait".to_owned(),
        Action::Pass => "pass".to_owned(),
    };
    let mut line = format!("{}  {what}", step.id);
    let mut add = |title: &str, ids: Vec<&str>| {
        if !ids.is_empty() {
            line.push_str(&format!("  {title} {}", ids.join(", ")));
        }
    };
    add("after", step.needs.iter().map(|id| id.as_str()).collect());
    let targets = |rules: &'_ [reflux_flow::graph::Rule]| -> Vec<String> {
        rules
            .iter()
            .flat_map(|rule| rule.then.iter().chain(&rule.otherwise))
            .map(ToString::to_string)
            .collect()
    };
    let (success, failure) = (targets(&step.on_success), targets(&step.on_failure));
    add("then", success.iter().map(String::as_str).collect());
    add("on failure", failure.iter().map(String::as_str).collect());
    line
}

fn as_json(file: &str, checked: &Checked) -> Value {
    let problems = findings(checked);
    let Ok(definition) = checked else {
        return json!({ "file": file, "ok": false, "problems": problems });
    };
    let flow = definition.flow();
    let parameters: Vec<Value> = flow
        .parameters
        .iter()
        .map(|p| {
            json!({
                "name": p.name, "type": p.kind.name(), "required": p.required,
                "default": p.default, "description": p.description,
            })
        })
        .collect();
    let steps: Vec<&str> = flow.steps.iter().map(|step| step.id.as_str()).collect();
    json!({
        "name": flow.name, "version": flow.version, "description": flow.description, "file": file,
        "ok": definition.is_sound(), "parameters": parameters, "steps": steps, "problems": problems,
    })
}
