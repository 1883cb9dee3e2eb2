//! What a node file may say.
//!
//! ```yaml
//! module: testing
//! version: 1.0.0
//! actions:
//!   - name: run-tests
//!     command: ["./scripts/run-tests.sh"]
//!     inputs: [{ name: changes, type: array }]
//!     outputs: [{ name: testResults, type: object }]
//!     timeout: 10m
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reflux_sdk::{Circuit, Effects, Manifest, Policies, Rate, Schema, Tunable};
use serde::Deserialize;
use serde_json::Value;

use super::load::Problem;
use super::yaml::Placed;

/// An action's file may run this long unless it says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);

/// A file with the actions of a module.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Module {
    pub(super) module: Placed<String>,
    #[serde(default)]
    pub(super) version: Option<String>,
    #[serde(default, rename = "description")]
    _description: Option<String>,
    pub(super) actions: Vec<Action>,
}

/// One action of a module.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Action {
    name: Placed<String>,
    #[serde(default)]
    description: String,
    command: Option<Placed<Vec<String>>>,
    #[serde(default)]
    inputs: Option<Placed<Value>>,
    #[serde(default)]
    outputs: Option<Placed<Value>>,
    timeout: Option<Placed<Value>>,
    retries: Option<Placed<Vec<Value>>>,
    effects: Option<Effects>,
    idempotency: Option<String>,
    rate: Option<Placed<String>>,
    circuit: Option<Placed<Breaker>>,
    #[serde(default)]
    env: BTreeMap<String, Option<String>>,
    #[serde(default)]
    files: Vec<PathBuf>,
    #[serde(default)]
    args: bool,
    #[serde(default)]
    metrics: Vec<String>,
    #[serde(default)]
    tunables: Vec<Tunable>,
    #[serde(default)]
    alternatives: Vec<String>,
}

/// When a node is not called for a while, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Breaker {
    failures: u32,
    within: Value,
    open: Value,
}

/// A command that may be run, with all that belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    /// The program and its arguments. A program with a `/` is relative to the project.
    pub(crate) argv: Vec<String>,
    /// Variables beside the few that every command gets; without a value it is passed on.
    pub(crate) env: BTreeMap<String, Option<String>>,
    /// Files beside the command's own whose content counts as its version; relative to the project.
    pub(crate) files: Vec<PathBuf>,
    /// The longest it may take.
    pub(crate) timeout: Duration,
    /// Whether `exec.command` may add arguments.
    pub(crate) args: bool,
}

/// An action read: its manifest, and its command if it has one.
pub(super) struct Declared {
    pub(super) manifest: Manifest,
    pub(super) command: Option<Command>,
}

impl Action {
    /// Check an action and give it the command of its file if it names none.
    pub(super) fn declare(
        self,
        file: &Path,
        module: &Module,
        by_convention: impl FnOnce(&str) -> Option<String>,
    ) -> Result<Declared, Problem> {
        let name = format!("{}.{}", module.module.get(), self.name.get());
        let version = module.version.clone().unwrap_or_else(|| "0.0.0".to_owned());
        let mut manifest =
            Manifest::new(name, version).map_err(|e| self.name.problem(file, e.to_string()))?;
        manifest.description = self.description;
        manifest.inputs = schema(file, self.inputs)?;
        manifest.outputs = schema(file, self.outputs)?;
        let timeout = match &self.timeout {
            Some(written) => Some(duration(written.get()).map_err(|e| written.problem(file, e))?),
            None => None,
        };
        let retries = match &self.retries {
            Some(written) => {
                let pauses: Result<Vec<_>, _> = written.get().iter().map(duration).collect();
                Some(pauses.map_err(|e| written.problem(file, e))?)
            }
            None => None,
        };
        manifest.effects = self.effects.unwrap_or(match self.idempotency {
            Some(_) => Effects::Idempotent,
            None => Effects::Unsafe, // a command of which nothing is known is not run twice
        });
        let rate = match &self.rate {
            Some(written) => {
                Some(written.get().parse::<Rate>().map_err(|e| written.problem(file, e))?)
            }
            None => None,
        };
        let circuit = match &self.circuit {
            Some(written) => Some(circuit(written.get()).map_err(|e| written.problem(file, e))?),
            None => None,
        };
        let idempotency = self.idempotency;
        manifest.policies =
            Policies { timeout, retries, idempotency, rate, circuit, ..Policies::default() };
        manifest.metrics = self.metrics;
        manifest.tunables = self.tunables;
        manifest.alternatives = self.alternatives;
        let argv = match self.command {
            Some(written) => match written.get().first().is_some_and(|program| !program.is_empty()) {
                true => Some(written.get().clone()),
                false => return Err(written.problem(file, "command: write a program and its arguments, for example [\"./scripts/run.sh\"]")),
            },
            None => by_convention(self.name.get()).map(|program| vec![program]),
        };
        let command = argv.map(|argv| Command {
            argv,
            env: self.env,
            files: self.files,
            timeout: timeout.unwrap_or(TIMEOUT_DEFAULT),
            args: self.args,
        });
        Ok(Declared { manifest, command })
    }
}

fn schema(file: &Path, written: Option<Placed<Value>>) -> Result<Schema, Problem> {
    match written {
        Some(written) => Schema::new(written.get()).map_err(|e| written.problem(file, e)),
        None => Ok(Schema::default()),
    }
}

/// `500ms`, `10s`, `10m`, `2h`, `1d`, or a number of seconds.
fn circuit(written: &Breaker) -> Result<Circuit, String> {
    Circuit::new(written.failures, duration(&written.within)?, duration(&written.open)?)
}

fn duration(written: &Value) -> Result<Duration, String> {
    let wrong = || {
        format!("{written} is not a duration; write for example 30s, 10m or a number of seconds")
    };
    let (number, unit_secs) = match written {
        Value::Number(number) => (number.as_f64().ok_or_else(wrong)?, 1.0),
        Value::String(text) => {
            let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = text.get(digits.len()..).unwrap_or_default();
            let unit_secs = match unit {
                "ms" => 0.001,
                "s" | "" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                _ => return Err(wrong()),
            };
            (digits.trim().parse().map_err(|_| wrong())?, unit_secs)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * unit_secs).map_err(|_| wrong())
}
