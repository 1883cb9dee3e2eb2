//! `validate`.

use reflux_flow::diagnostic::{Diagnostic, Severity};
use reflux_server::definitions::{Checked, Definitions};
use reflux_server::service;
use serde_json::json;

use super::{Done, done, known, project};
use crate::cli::Global;
use crate::failure::USAGE;
use crate::out::Out;

/// Check definitions without running them: syntax, names, types, cycles, loops without a bound.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, or names of flows in flows/
    #[arg(required = true, value_name = "FLOW")]
    flows: Vec<String>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    let (nodes, _) = service::load(&project)?;
    let definitions = Definitions::of(&project);
    let mut reports = Vec::new();
    let mut sound = true;
    for wanted in &args.flows {
        let source = definitions.source(wanted)?;
        let checked = known::check(&project, &nodes, source.clone())?;
        let findings = findings(&checked);
        let errors = findings.iter().any(|finding| finding.severity == Severity::Error);
        sound &= !errors;
        if out.is_json() {
            reports.push(json!({ "file": source.file, "ok": !errors, "problems": findings }));
            continue;
        }
        findings.iter().for_each(|finding| out.finding(finding, &source.text));
        if let (false, Ok(definition)) = (errors, &checked) {
            let steps = definition.flow().steps.len();
            out.line(format!(
                "{}: ok, flow `{}`, {steps} steps",
                source.file,
                definition.flow().name
            ));
        }
    }
    if out.is_json() {
        out.value(&json!({ "ok": sound, "files": reports }));
    }
    if sound { done() } else { Ok(USAGE.into()) }
}

/// Everything that was found.
pub fn findings(checked: &Checked) -> &[Diagnostic] {
    match checked {
        Ok(definition) => &definition.problems,
        Err(problems) => problems,
    }
}
