//! What a node takes or gives: a JSON Schema, and the part of it that is checked.
//!
//! `type`, `properties`, `required`, `items` and `enum` are checked; every other keyword
//! passes and is kept for tools that know it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::shorthand;

/// A reader mends the first few problems and asks again.
const PROBLEMS_MAX: usize = 32;

/// A JSON Schema, of an object's fields as a rule. The default accepts everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Schema(Value);

/// One place where a value does not fit a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where in the value: `items[3].price`; empty for the value itself.
    pub path: String,
    /// What is wrong there: `expected number, found string`.
    pub message: String,
}

impl Schema {
    /// A schema from what people write: a full JSON Schema, the shorthand
    /// `{"file_url": "string", "sheet?": "string"}`, or a list `[{"name": "changes", "type": "array"}]`.
    /// The error says what to write instead.
    pub fn new(written: &Value) -> Result<Self, String> {
        shorthand::expand(written).map(Self)
    }

    /// The full JSON Schema.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The fields as `(name, type, required)`, in the order they were written.
    /// The type is a JSON Schema type, or `any`.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        let properties = self.0.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(|(name, property)| {
            let required = requires(&self.0, name);
            (name.as_str(), single_type(property), required)
        })
    }

    /// Whether a value fits. A field that is not required may also be null.
    pub fn check(&self, value: &Value) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        check(&self.0, value, &mut String::new(), &mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self(json!({}))
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(deserializer)?;
        Self::new(&written).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

fn check(schema: &Value, value: &Value, path: &mut String, problems: &mut Vec<Problem>) {
    if problems.len() >= PROBLEMS_MAX {
        return;
    }
    let mut problem = |message: String| {
        problems.push(Problem { path: path.clone(), message });
    };
    let types: Vec<&str> = types(schema).collect();
    if !types.is_empty() && !types.iter().any(|wanted| is_type(value, wanted)) {
        problem(format!("expected {}, found {}", types.join(" or "), type_of(value)));
        return; // what is inside a value of the wrong type says nothing new
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array)
        && !choices.contains(value)
    {
        let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
        problem(format!("expected one of {}", choices.join(", "))); // the value itself may be a secret
    }
    match value {
        Value::Object(fields) => check_fields(schema, fields, path, problems),
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else {
                return;
            };
            for (index, item) in items.iter().enumerate() {
                within(path, &format!("[{index}]"), |path| check(schema, item, path, problems));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check_fields(
    schema: &Value,
    fields: &Map<String, Value>,
    path: &mut String,
    problems: &mut Vec<Problem>,
) {
    for name in required(schema) {
        if !fields.contains_key(name) {
            problems.push(Problem { path: path.clone(), message: format!("`{name}` is missing") });
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        match fields.get(name) {
            Some(Value::Null) if !requires(schema, name) => {} // as good as absent: an expression without a result
            Some(field) => {
                let segment = if path.is_empty() { name.clone() } else { format!(".{name}") };
                within(path, &segment, |path| check(property, field, path, problems));
            }
            None => {}
        }
    }
}

fn within(path: &mut String, segment: &str, visit: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push_str(segment);
    visit(path);
    path.truncate(length);
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    let required = schema.get("required").and_then(Value::as_array);
    required.into_iter().flatten().filter_map(Value::as_str)
}

fn requires(schema: &Value, name: &str) -> bool {
    required(schema).any(|required| required == name)
}

fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let (one, many) = match schema.get("type") {
        Some(Value::String(one)) => (Some(one.as_str()), None),
        Some(Value::Array(many)) => (None, Some(many)),
        _ => (None, None),
    };
    let many = many.into_iter().flatten().filter_map(Value::as_str);
    one.into_iter().chain(many)
}

fn single_type(schema: &Value) -> &str {
    let mut types = types(schema).filter(|name| *name != "null");
    match (types.next(), types.next()) {
        (Some(one), None) => one,
        _ => "any",
    }
}

fn is_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        // JSON Schema counts 2.0 as an integer
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        _ => true,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
