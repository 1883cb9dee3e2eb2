//! `util.transform`: a new value from parts of another, found by JMESPath.

use reflux_sdk::{Call, Context, Failure, Manifest, Node};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::jmespath::{Expression, FUEL, PathError};
use crate::support;

const MANIFEST: &str = r#"{
  "name": "util.transform",
  "version": "1.0.0",
  "description": "Make a new value from parts of another, found by JMESPath",
  "inputs": {
    "type": "object",
    "properties": {
      "data": { "description": "the value to search" },
      "mapping": { "type": "object", "description": "names of the output, each with a JMESPath or a mapping of its own" },
      "expression": { "type": "string", "description": "one JMESPath; its result is the output's `result`" }
    }
  },
  "outputs": { "type": "object", "description": "the names of the mapping, or `result`" },
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#;

pub(crate) struct Transform {
    manifest: Manifest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(default)]
    data: Value,
    mapping: Option<Map<String, Value>>,
    expression: Option<String>,
}

impl Transform {
    pub(crate) fn new() -> Self {
        Self { manifest: support::manifest(MANIFEST) }
    }
}

impl Node for Transform {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, _ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move { transform(self.manifest.read_input(input)?) })
    }
}

fn transform(input: Input) -> Result<Value, Failure> {
    let mut fuel = FUEL; // for all expressions together
    match (&input.mapping, &input.expression) {
        (Some(mapping), None) => map(mapping, &input.data, "mapping", &mut fuel),
        (None, Some(expression)) => {
            let result = search(expression, &input.data, "expression", &mut fuel)?;
            Ok(Value::Object(Map::from_iter([("result".to_owned(), result)])))
        }
        _ => Err(Failure::bad_input(
            "give `mapping` (an object of JMESPaths) or `expression` (one JMESPath)",
        )),
    }
}

fn map(
    mapping: &Map<String, Value>,
    data: &Value,
    path: &str,
    fuel: &mut u64,
) -> Result<Value, Failure> {
    let mut output = Map::with_capacity(mapping.len());
    for (name, wanted) in mapping {
        let path = format!("{path}.{name}");
        let value = match wanted {
            Value::String(expression) => search(expression, data, &path, fuel)?,
            Value::Object(nested) => map(nested, data, &path, fuel)?,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                let message = format!(
                    "{path}: write a JMESPath or a nested mapping; a constant is written as `{wanted}` in backticks"
                );
                return Err(Failure::bad_input(message));
            }
        };
        output.insert(name.clone(), value);
    }
    Ok(Value::Object(output))
}

fn search(expression: &str, data: &Value, path: &str, fuel: &mut u64) -> Result<Value, Failure> {
    let found = Expression::parse(expression).and_then(|parsed| parsed.search(data, fuel));
    found.map_err(|e: PathError| Failure::bad_input(format!("{path}: {e}")))
}
