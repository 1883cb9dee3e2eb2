//! `meta.*`: nodes whose output is steps. A step that calls one with `spawns: true` runs them under
//! itself. They decide nothing but which steps there are.

use reflux_sdk::{Call, Context, Failure, Manifest, Node};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support;

/// Most steps one call gives: what one output may spawn.
const STEPS_MAX: usize = 1_000; // a longer list is a `for_each`, not a graph

const PARALLEL: &str = r#"{
  "name": "meta.parallel",
  "version": "1.0.0",
  "description": "Give steps that run side by side, or as their needs say",
  "inputs": {
    "type": "object",
    "required": ["steps"],
    "properties": { "steps": { "type": "array", "description": "steps as in a flow" } }
  },
  "outputs": { "type": "object", "properties": { "steps": { "type": "array" } } },
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#;

const CONDITIONAL: &str = r#"{
  "name": "meta.conditional",
  "version": "1.0.0",
  "description": "Give one list of steps or the other",
  "inputs": {
    "type": "object",
    "required": ["condition"],
    "properties": {
      "condition": { "type": "boolean" },
      "then": { "type": "array", "description": "the steps when it holds" },
      "else": { "type": "array", "description": "the steps when it does not" }
    }
  },
  "outputs": { "type": "object", "properties": { "steps": { "type": "array" } } },
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#;

const LOOP: &str = r#"{
  "name": "meta.loop",
  "version": "1.0.0",
  "description": "Give a step several times, one after the other",
  "inputs": {
    "type": "object",
    "required": ["times", "step"],
    "properties": {
      "times": { "type": "integer", "minimum": 0, "maximum": 1000 },
      "step": { "type": "object", "description": "the step; its id gets a number" },
      "as": { "type": "string", "description": "field of its input that gets the number, from 0" }
    }
  },
  "outputs": { "type": "object", "properties": { "steps": { "type": "array" } } },
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#;

const MAP: &str = r#"{
  "name": "meta.map",
  "version": "1.0.0",
  "description": "Give a step once for each item, side by side",
  "inputs": {
    "type": "object",
    "required": ["items", "step"],
    "properties": {
      "items": { "type": "array" },
      "step": { "type": "object", "description": "the step; its id gets a number" },
      "as": { "type": "string", "default": "item", "description": "field of its input that gets the item" }
    }
  },
  "outputs": { "type": "object", "properties": { "steps": { "type": "array" } } },
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#;

/// One of them.
pub(crate) struct Meta {
    manifest: Manifest,
    steps: fn(&Manifest, Value) -> Result<Vec<Value>, Failure>,
}

impl Meta {
    /// All of them.
    pub(crate) fn all() -> [Self; 4] {
        [
            Self { manifest: support::manifest(PARALLEL), steps: parallel },
            Self { manifest: support::manifest(CONDITIONAL), steps: conditional },
            Self { manifest: support::manifest(LOOP), steps: repeat },
            Self { manifest: support::manifest(MAP), steps: map },
        ]
    }
}

impl Node for Meta {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, _ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let steps = (self.steps)(&self.manifest, input)?;
            if steps.len() > STEPS_MAX {
                return Err(Failure::bad_input(format!(
                    "{} steps are more than the {STEPS_MAX} one call gives; use `for_each`",
                    steps.len()
                )));
            }
            Ok(json!({ "steps": steps }))
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parallel {
    steps: Vec<Value>,
}

fn parallel(manifest: &Manifest, input: Value) -> Result<Vec<Value>, Failure> {
    let Parallel { steps } = manifest.read_input(input)?;
    Ok(steps)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conditional {
    condition: bool,
    #[serde(default)]
    then: Vec<Value>,
    #[serde(default, rename = "else")]
    otherwise: Vec<Value>,
}

fn conditional(manifest: &Manifest, input: Value) -> Result<Vec<Value>, Failure> {
    let Conditional { condition, then, otherwise } = manifest.read_input(input)?;
    Ok(if condition { then } else { otherwise })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    times: usize,
    step: Map<String, Value>,
    #[serde(rename = "as")]
    field: Option<String>,
}

fn repeat(manifest: &Manifest, input: Value) -> Result<Vec<Value>, Failure> {
    let Repeat { times, step, field } = manifest.read_input(input)?;
    let mut steps: Vec<Value> = Vec::new();
    // One more than allowed is enough to be refused.
    for number in 0..times.min(STEPS_MAX + 1) {
        let before = steps.last().and_then(|step| step.get("id")).cloned();
        let mut next = numbered(&step, number, field.as_deref().map(|name| (name, json!(number))))?;
        if let Some(before) = before {
            next.insert("needs".into(), json!([before]));
        }
        steps.push(Value::Object(next));
    }
    Ok(steps)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Each {
    items: Vec<Value>,
    step: Map<String, Value>,
    #[serde(rename = "as")]
    field: Option<String>,
}

fn map(manifest: &Manifest, input: Value) -> Result<Vec<Value>, Failure> {
    let Each { items, step, field } = manifest.read_input(input)?;
    let field = field.as_deref().unwrap_or("item");
    let items = items.into_iter().take(STEPS_MAX + 1).enumerate();
    items.map(|(at, item)| numbered(&step, at, Some((field, item))).map(Value::Object)).collect()
}

/// The step with a number behind its id, and a value in its input.
fn numbered(
    step: &Map<String, Value>,
    number: usize,
    value: Option<(&str, Value)>,
) -> Result<Map<String, Value>, Failure> {
    let mut step = step.clone();
    let id = step.get("id").and_then(Value::as_str);
    let id = id.ok_or_else(|| Failure::bad_input("step: give it an `id`"))?;
    let id = format!("{id}-{number}");
    step.insert("id".into(), json!(id));
    if let Some((name, value)) = value {
        let with = step.entry("with").or_insert_with(|| json!({}));
        let with = with.as_object_mut();
        let with = with.ok_or_else(|| Failure::bad_input("step.with: write an object"))?;
        with.insert(name.to_owned(), value);
    }
    Ok(step)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Meta;

    fn check(node: &str, input: Value, expected: Result<Value, &str>) {
        let all = Meta::all();
        let meta = all.iter().find(|meta| meta.manifest.name == node).unwrap();
        let given = (meta.steps)(&meta.manifest, input.clone());
        match (given, expected) {
            (Ok(steps), Ok(expected)) => assert_eq!(Value::from(steps), expected, "{input}"),
            (Err(failure), Err(part)) => assert!(failure.message.contains(part), "{failure:?}"),
            (given, expected) => panic!("{input}: {given:?}, not {expected:?}"),
        }
    }

    #[test]
    fn steps_are_given_as_they_are_or_made_of_one() {
        let step = json!({ "id": "s", "node": "n", "with": { "x": 1 } });
        check("meta.parallel", json!({ "steps": [step] }), Ok(json!([step])));
        let either = |holds: bool| json!({ "condition": holds, "then": [step], "else": [] });
        check("meta.conditional", either(true), Ok(json!([step])));
        check("meta.conditional", either(false), Ok(json!([])));
        check(
            "meta.loop",
            json!({ "times": 2, "step": step, "as": "n" }),
            Ok(json!([
                { "id": "s-0", "node": "n", "with": { "x": 1, "n": 0 } },
                { "id": "s-1", "node": "n", "with": { "x": 1, "n": 1 }, "needs": ["s-0"] },
            ])),
        );
        check(
            "meta.map",
            json!({ "items": ["a", "b"], "step": { "id": "s", "node": "n" } }),
            Ok(json!([
                { "id": "s-0", "node": "n", "with": { "item": "a" } },
                { "id": "s-1", "node": "n", "with": { "item": "b" } },
            ])),
        );
    }

    #[test]
    fn what_gives_no_steps_says_why() {
        check("meta.loop", json!({ "times": 1, "step": {} }), Err("give it an `id`"));
        check("meta.parallel", json!({}), Err("steps"));
        check(
            "meta.map",
            json!({ "items": [1], "step": { "id": "s", "with": 3 } }),
            Err("step.with"),
        );
    }
}
