//! `define`.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use reflux_flow::duration::parse_duration;
use reflux_flow::export::to_yaml;
use reflux_flow::name::check_step_id;
use reflux_flow::syntax::parse_value;
use reflux_server::definitions::{Definitions, Source};
use reflux_server::{Error, Kind, service};
use serde_json::{Map, Value, json};

use super::init::write_new;
use super::{Done, done, project};
use crate::cli::Global;
use crate::failure::Failure;
use crate::out::Out;

/// Write a flow by answering questions: its name, its inputs, its steps. An empty line ends a list.
///
/// Answers may be piped in, one per line.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the flow; asked for when absent
    name: Option<String>,
}

const KINDS: [&str; 7] = ["string", "number", "integer", "boolean", "array", "object", "any"];

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    let (nodes, _) = service::load(&project)?;
    let mut ask = Questions { terminal: std::io::stdin().is_terminal() };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => ask.until("Name of the flow", |text| match text {
            "" => Err("a flow needs a name".to_owned()),
            name => Ok(name.to_owned()),
        })?,
    };
    let description = ask.line("What it does, in one sentence")?;
    let mut document = Map::new();
    document.insert("name".into(), json!(name));
    document.insert("version".into(), json!("1.0.0"));
    if !description.is_empty() {
        document.insert("description".into(), json!(description));
    }
    let inputs = inputs(&mut ask)?;
    if !inputs.is_empty() {
        document.insert("input".into(), Value::Object(inputs));
    }
    document.insert("steps".into(), Value::Array(steps(&mut ask, &nodes)?));
    let parsed = parse_value(&Value::Object(document))
        .map_err(|findings| Failure::Definition { findings, source: String::new() })?;
    let text = to_yaml(&parsed.flow);
    let slug: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let path = project.flows().join(format!("{slug}.yaml"));
    let file = format!("flows/{slug}.yaml");
    let definition = Definitions::of(&project)
        .check(Source { file: file.clone(), text: text.clone() }, &nodes)
        .map_err(|findings| Failure::Definition { findings, source: text.clone() })?;
    if !write_new(&path, &text, false)? {
        return Err(Error::new(Kind::Exists, format!("{file} exists already"))
            .suggest("choose another name, or edit the file")
            .into());
    }
    definition.problems.iter().for_each(|finding| out.finding(finding, &text));
    match out.is_json() {
        true => out.value(&json!({ "file": path, "name": name, "ok": definition.is_sound(), "problems": definition.problems })),
        false => out.line(format!("wrote {file}; run it with `reflux run {slug}`")),
    }
    done()
}

fn inputs(ask: &mut Questions) -> Result<Map<String, Value>, Error> {
    let mut inputs = Map::new();
    loop {
        let answer = ask.until("Input, as NAME [TYPE] [DEFAULT]", |text| {
            let mut words = text.splitn(3, ' ');
            let name = words.next().unwrap_or_default();
            if name.is_empty() {
                return Ok(None);
            }
            check_step_id(name).map_err(|problem| format!("`{name}` {problem}"))?;
            let kind = words.next().unwrap_or("string");
            if !KINDS.contains(&kind) {
                return Err(format!("`{kind}` is no type; write one of {}", KINDS.join(", ")));
            }
            let default = words.next().map(|text| match kind {
                "string" => Value::from(text),
                _ => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
            });
            Ok(Some((name.to_owned(), kind.to_owned(), default)))
        })?;
        let Some((name, kind, default)) = answer else { return Ok(inputs) };
        let value = match default {
            Some(default) => json!({ "type": kind, "default": default }),
            None => json!(kind),
        };
        inputs.insert(name, value);
    }
}

fn steps(
    ask: &mut Questions,
    nodes: &reflux_server::catalogue::Nodes,
) -> Result<Vec<Value>, Error> {
    let mut steps: Vec<Value> = Vec::new();
    loop {
        let first = steps.is_empty();
        let id = ask.until("Step, by a short name", |text| match text {
            "" if first => Err("a flow needs a step".to_owned()),
            "" => Ok(None),
            id => check_step_id(id)
                .map(|()| Some(id.to_owned()))
                .map_err(|problem| format!("`{id}` {problem}")),
        })?;
        let Some(id) = id else { return Ok(steps) };
        let node = ask.until("  Node it calls, or wait:10s, or approve:TITLE", |text| {
            if text.starts_with("approve:") || nodes.find(text).is_some() {
                return Ok(text.to_owned());
            }
            if let Some(length) = text.strip_prefix("wait:") {
                return parse_duration(length).map(|_| text.to_owned());
            }
            Err(match nodes.suggestions(text).first() {
                Some(alike) => format!("no node `{text}`; did you mean `{alike}`?"),
                None => format!("no node `{text}`; see `reflux nodes`"),
            })
        })?;
        let mut step = Map::new();
        step.insert("id".into(), json!(id));
        if let Some(length) = node.strip_prefix("wait:") {
            step.insert("wait".into(), json!({ "duration": length }));
        } else if let Some(title) = node.strip_prefix("approve:") {
            step.insert("wait".into(), json!({ "approval": title }));
        } else {
            step.insert("node".into(), json!(node));
            let with = with(ask)?;
            if !with.is_empty() {
                step.insert("with".into(), Value::Object(with));
            }
        }
        let after = ask.line("  Steps it comes after, with commas between them")?;
        let needs: Vec<&str> =
            after.split(',').map(str::trim).filter(|need| !need.is_empty()).collect();
        if !needs.is_empty() {
            step.insert("needs".into(), json!(needs));
        }
        steps.push(Value::Object(step));
    }
}

fn with(ask: &mut Questions) -> Result<Map<String, Value>, Error> {
    let mut with = Map::new();
    loop {
        let answer =
            ask.until("  Input of the node, as NAME=VALUE, such as url={{ input.url }}", |text| {
                match text {
                    "" => Ok(None),
                    text => text
                        .split_once('=')
                        .map(Some)
                        .ok_or_else(|| "write NAME=VALUE".to_owned())
                        .map(|pair| {
                            pair.map(|(name, value)| {
                                (name.trim().to_owned(), value.trim().to_owned())
                            })
                        }),
                }
            })?;
        let Some((name, value)) = answer else { return Ok(with) };
        let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
        with.insert(name, value);
    }
}

/// Questions on stderr, answers from stdin.
struct Questions {
    terminal: bool,
}

impl Questions {
    /// One answer; the end of the input answers everything with nothing.
    fn line(&mut self, question: &str) -> Result<String, Error> {
        if self.terminal {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "{question}: ");
            let _ = stderr.flush();
        }
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        read.map_err(|error| Error::invalid(format!("cannot read an answer: {error}")))?;
        Ok(line.trim().to_owned())
    }

    /// Asks until the answer can be used; a piped answer that cannot is an error.
    fn until<T>(
        &mut self,
        question: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Error> {
        loop {
            let answer = self.line(question)?;
            match check(&answer) {
                Ok(value) => return Ok(value),
                Err(problem) if self.terminal => {
                    let _ = writeln!(std::io::stderr().lock(), "{problem}");
                }
                Err(problem) => {
                    return Err(Error::invalid(problem)
                        .suggest(format!("it was the answer to: {}", question.trim())));
                }
            }
        }
    }
}
