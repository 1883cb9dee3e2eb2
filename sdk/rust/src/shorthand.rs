//! The short ways to write a schema, and what they stand for.
//!
//! ```text
//! {"file_url": "string", "sheet?": "string"}      fields; `?` is optional, `string[]` is a list
//! [{"name": "changes", "type": "array"}]          fields of a module block; optional unless `required: true`
//! {"type": "object", "properties": {..}}          already a JSON Schema
//! ```

use serde_json::{Map, Value, json};

/// Words that stand beside `type` in the JSON Schema of a value that is not an object.
const KEYWORDS: [&str; 18] = [
    "type",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
];

const TYPES: &str = "string, number, integer, boolean, object, array, any";

/// The full JSON Schema of what was written.
pub(crate) fn expand(written: &Value) -> Result<Value, String> {
    match written {
        Value::Null => Ok(json!({})),
        Value::Bool(_) => Ok(written.clone()), // `true` is the JSON Schema that accepts everything
        Value::String(name) => named_type(name),
        Value::Array(fields) => list(fields),
        Value::Object(schema) if is_json_schema(schema) => Ok(written.clone()),
        Value::Object(fields) => map(fields),
        Value::Number(_) => Err(format!("{written} is not a schema; write a type ({TYPES})")),
    }
}

/// A word that only JSON Schema has, in a place where a field's type cannot stand.
/// `{"type": "string"}` alone is a field called `type`: a node takes and gives objects.
fn is_json_schema(schema: &Map<String, Value>) -> bool {
    let composed = ["$schema", "$ref", "allOf", "anyOf", "oneOf", "enum", "const"];
    let is = |key: &str, test: fn(&Value) -> bool| schema.get(key).is_some_and(test);
    schema.is_empty()
        || schema.keys().any(|key| composed.contains(&key.as_str()))
        || schema.get("type").is_some_and(|kind| kind == "object" || kind.is_array())
        || (is("properties", Value::is_object) && !schema.contains_key("properties?"))
        || (is("type", Value::is_string)
            && schema.keys().any(|key| key != "type")
            && describes_one_value(schema))
}

fn describes_one_value(schema: &Map<String, Value>) -> bool {
    schema.keys().all(|key| KEYWORDS.contains(&key.as_str())) && !schema.iter().all(is_field)
}

fn is_field((_, kind): (&String, &Value)) -> bool {
    kind.as_str().is_some_and(|kind| named_type(kind).is_ok())
}

fn map(fields: &Map<String, Value>) -> Result<Value, String> {
    let mut object = Object::default();
    for (written, kind) in fields {
        let (name, optional) = match written.strip_suffix('?') {
            Some(name) => (name, true),
            None => (written.as_str(), false),
        };
        let schema = expand(kind).map_err(|e| format!("`{name}`: {e}"))?;
        object.add(name, schema, !optional);
    }
    Ok(object.schema())
}

fn list(fields: &[Value]) -> Result<Value, String> {
    let mut object = Object::default();
    for field in fields {
        let named = |entry: &Map<String, Value>| Some(entry.get("name")?.as_str()?.to_owned());
        let (name, entry) = match field {
            Value::String(name) => (name.clone(), Map::new()),
            Value::Object(entry) => match named(entry) {
                Some(name) => (name, entry.clone()),
                None => return Err(format!("{field}: a field needs a `name`")),
            },
            _ => return Err(format!("{field}: write {{ name: …, type: … }}")),
        };
        let required = entry.get("required") == Some(&Value::Bool(true));
        let schema = list_entry(entry).map_err(|e| format!("`{name}`: {e}"))?;
        object.add(&name, schema, required);
    }
    Ok(object.schema())
}

/// The schema of one list entry: its type, with whatever else was said about it.
fn list_entry(mut entry: Map<String, Value>) -> Result<Value, String> {
    entry.remove("name");
    if entry.get("required").is_some_and(Value::is_boolean) {
        entry.remove("required");
    }
    let mut schema = match entry.remove("type") {
        Some(kind) => expand(&kind)?,
        None => json!({}),
    };
    if let Some(Value::Object(properties)) = entry.get("properties") {
        let nested = properties.iter().map(|(name, kind)| Ok((name.clone(), expand(kind)?)));
        let nested: Result<Map<String, Value>, String> = nested.collect();
        entry.insert("properties".to_owned(), Value::Object(nested?));
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.extend(entry);
    }
    Ok(schema)
}

fn named_type(name: &str) -> Result<Value, String> {
    if let Some(item) = name.strip_suffix("[]") {
        return Ok(json!({ "type": "array", "items": named_type(item)? }));
    }
    match name {
        "string" | "number" | "integer" | "boolean" | "object" | "array" | "null" => {
            Ok(json!({ "type": name }))
        }
        "bool" => Ok(json!({ "type": "boolean" })),
        "any" => Ok(json!({})),
        _ => Err(format!("unknown type `{name}`; use one of {TYPES}, or `string[]` for a list")),
    }
}

#[derive(Default)]
struct Object {
    properties: Map<String, Value>,
    required: Vec<Value>,
}

impl Object {
    fn add(&mut self, name: &str, schema: Value, required: bool) {
        self.properties.insert(name.to_owned(), schema);
        if required {
            self.required.push(name.into());
        }
    }

    fn schema(self) -> Value {
        let mut schema = json!({ "type": "object", "properties": self.properties });
        if let (false, Some(schema)) = (self.required.is_empty(), schema.as_object_mut()) {
            schema.insert("required".to_owned(), Value::Array(self.required));
        }
        schema
    }
}
