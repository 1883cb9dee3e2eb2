//! The manifest: what a node is called, takes, gives and promises.

use std::time::Duration;

use semver::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Circuit, Failure, Rate, Schema};

/// A name longer than this is a mistake, and it is part of every event of a step.
const NAME_BYTES_MAX: usize = 200;

/// What a node is called, takes, gives and promises. Read it from JSON with [`Manifest::from_json`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Manifest {
    /// `module.action`, of letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// A semver version; `0.1.0-draft` is a draft.
    pub version: String,
    /// One sentence for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What the node takes.
    pub inputs: Schema,
    /// What the node gives.
    pub outputs: Schema,
    /// How it is called unless the step says otherwise.
    pub policies: Policies,
    /// What a call does to the world.
    pub effects: Effects,
    /// The task queue where workers serve it; [`Manifest::task_queue`] has the default.
    #[serde(rename = "taskQueue", skip_serializing_if = "Option::is_none")]
    pub task_queue: Option<String>,
    /// The metrics it reports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
    /// The inputs an optimizer may turn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tunables: Vec<Tunable>,
    /// Nodes that can take its place, the best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
}

/// What a call does to the world, from harmless to not repeatable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effects {
    /// Nothing; the output depends on the input alone.
    Pure,
    /// Nothing; the output depends on the world too.
    Reads,
    /// Something that happens once however often it is called with the same idempotency key.
    Idempotent,
    /// Something that happens again with every call.
    Unsafe,
}

/// How a node is called unless the step says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Policies {
    /// The longest an attempt may take; in seconds on paper.
    #[serde(rename = "timeoutSec", with = "seconds", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The longest a worker may be silent about an attempt before it counts as lost; in seconds on
    /// paper. Absent: an attempt need not be spoken of.
    #[serde(rename = "heartbeatSec", with = "seconds", skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Duration>,
    /// The pause before each further attempt; in seconds on paper. Empty: one attempt. Absent: the host's default.
    #[serde(with = "seconds_list", skip_serializing_if = "Option::is_none")]
    pub retries: Option<Vec<Duration>>,
    /// How equal calls are recognised, for example `sha1(inputs)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<String>,
    /// How fast it is called, by all runs together: `10/s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// When it is not called for a while, because its calls fail anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit: Option<Circuit>,
}

/// An input that an optimizer may turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tunable {
    /// The input's name.
    pub name: String,
    /// `integer`, `number`, `boolean` or `string`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `[least, greatest]` for numbers; otherwise every choice.
    #[serde(default)]
    pub range: Vec<Value>,
    /// The value it starts from.
    #[serde(default)]
    pub default: Value,
}

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is not JSON of the right shape.
    #[error("{0}")]
    Shape(String),
    /// Its name cannot be used.
    #[error(
        "name {0:?}: use letters, digits, `_`, `-` and `.`, at most 200 of them, for example `excel.toParquet`"
    )]
    Name(String),
    /// Its version is not semver.
    #[error("version {0:?} of {1}: use major.minor.patch, for example `1.4.2` or `0.1.0-draft`")]
    Version(String, String),
}

impl Manifest {
    /// A manifest with a name and a version, free inputs and outputs, and unsafe effects.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Result<Self, ManifestError> {
        let manifest = Self {
            name: name.into(),
            version: version.into(),
            description: String::new(),
            inputs: Schema::default(),
            outputs: Schema::default(),
            policies: Policies::default(),
            effects: Effects::Unsafe,
            task_queue: None,
            metrics: Vec::new(),
            tunables: Vec::new(),
            alternatives: Vec::new(),
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// A manifest as JSON text.
    pub fn from_json(text: &str) -> Result<Self, ManifestError> {
        serde_json::from_str(text).map_err(|e| ManifestError::Shape(format!("manifest: {e}")))
    }

    /// The task queue where workers serve the node: the stated one, or `node:` and its name.
    pub fn task_queue(&self) -> String {
        self.task_queue.clone().unwrap_or_else(|| format!("node:{}", self.name))
    }

    /// `name@version`.
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// An input, checked against the schema and read into a type.
    /// The failure names fields and types but no value of the input: it may be a secret.
    pub fn read_input<T: DeserializeOwned>(&self, input: Value) -> Result<T, Failure> {
        let bad = |what: String| Failure::bad_input(format!("input of {}: {what}", self.name));
        self.inputs.check(&input).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bad(problems.join("; "))
        })?;
        serde_json::from_value(input).map_err(|e| bad(without_quoted(&e.to_string())))
    }

    fn check(&self) -> Result<(), ManifestError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(legal)
        {
            return Err(ManifestError::Name(self.name.clone()));
        }
        match Version::parse(&self.version) {
            Ok(_) => Ok(()),
            Err(_) => Err(ManifestError::Version(self.version.clone(), self.name.clone())),
        }
    }
}

/// A manifest as people write it: nearly everything may be left out.
#[derive(Deserialize)]
struct Raw {
    name: String,
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    inputs: Schema,
    #[serde(default)]
    outputs: Schema,
    #[serde(default)]
    policies: Policies,
    effects: Option<Effects>,
    #[serde(default, rename = "taskQueue")]
    task_queue: Option<String>,
    #[serde(default)]
    metrics: Vec<String>,
    #[serde(default)]
    tunables: Vec<Tunable>,
    #[serde(default)]
    alternatives: Vec<String>,
}

impl TryFrom<Raw> for Manifest {
    type Error = ManifestError;

    fn try_from(raw: Raw) -> Result<Self, ManifestError> {
        // Without a word about effects the careful reading holds; recognising equal calls is such a word.
        let effects = raw.effects.unwrap_or(match raw.policies.idempotency {
            Some(_) => Effects::Idempotent,
            None => Effects::Unsafe,
        });
        let manifest = Self {
            name: raw.name,
            version: raw.version,
            description: raw.description,
            inputs: raw.inputs,
            outputs: raw.outputs,
            policies: raw.policies,
            effects,
            task_queue: raw.task_queue,
            metrics: raw.metrics,
            tunables: raw.tunables,
            alternatives: raw.alternatives,
        };
        manifest.check()?;
        Ok(manifest)
    }
}

/// serde quotes the value it could not read: `invalid type: string "s3cret", expected u64`.
fn without_quoted(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(from), Some(to)) if from < to => {
            let (before, rest) = message.split_at(from);
            let after = rest.get(to - from + 1..).unwrap_or_default();
            format!("{before}\"…\"{after}")
        }
        _ => message.to_owned(),
    }
}

mod seconds {
    use super::{Duration, Value};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(to_number).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Duration>, D::Error> {
        let value = Option::<f64>::deserialize(d)?;
        value.map(|secs| from_number(secs).map_err(D::Error::custom)).transpose()
    }

    pub(super) fn to_number(duration: Duration) -> Value {
        match duration.subsec_nanos() {
            0 => duration.as_secs().into(),
            _ => duration.as_secs_f64().into(),
        }
    }

    pub(super) fn from_number(secs: f64) -> Result<Duration, String> {
        Duration::try_from_secs_f64(secs).map_err(|_| format!("{secs} is not a number of seconds"))
    }
}

mod seconds_list {
    use super::{Duration, seconds};
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Vec<Duration>>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        let list = value.as_ref().map(|list| {
            let numbers = list.iter().copied().map(seconds::to_number);
            numbers.collect::<Vec<_>>()
        });
        list.serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Vec<Duration>>, D::Error> {
        let Some(list) = Option::<Vec<f64>>::deserialize(d)? else {
            return Ok(None);
        };
        let list: Result<Vec<_>, _> = list.into_iter().map(seconds::from_number).collect();
        list.map(Some).map_err(D::Error::custom)
    }
}
