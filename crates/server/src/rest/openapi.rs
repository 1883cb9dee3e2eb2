//! The document of the REST API (OpenAPI 3.1), made of the descriptor.

use serde_json::{Map, Value, json};

use super::schema::{Call, Field, Kind, Schema, Shape};

/// The document.
pub(crate) fn document(schema: &Schema) -> Value {
    let mut paths = Map::new();
    for call in &schema.calls {
        let path = paths.entry(call.path.clone()).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(call.verb.to_owned(), operation(schema, call));
        }
    }
    let mut schemas: Map<String, Value> =
        schema.messages.iter().map(|(name, shape)| (name.clone(), message(shape, &[]))).collect();
    for (name, values) in &schema.enums {
        let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
        let docs: Vec<String> =
            values.iter().map(|(name, doc)| format!("`{name}`: {doc}")).collect();
        schemas.insert(
            name.clone(),
            json!({ "type": "string", "enum": names, "description": docs.join("\n\n") }),
        );
    }
    schemas.insert("Error".to_owned(), error());
    let tags: Vec<Value> = schema
        .services
        .iter()
        .map(|(name, doc)| json!({ "name": name, "description": doc }))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Reflux",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Flows, runs and nodes. The same calls as the gRPC package reflux.v1; numbers in JSON values are doubles, as everywhere in protobuf's JSON.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}

fn operation(schema: &Schema, call: &Call) -> Value {
    let nothing = Shape::default();
    let request = schema.messages.get(&call.request).unwrap_or(&nothing);
    let in_path: Vec<&str> = call.path_names().collect();
    let mut parameters = Vec::new();
    for field in &request.fields {
        let is_path = in_path.contains(&field.name.as_str());
        if is_path || !call.has_body {
            parameters.push(json!({
                "name": field.name, "in": if is_path { "path" } else { "query" },
                "required": is_path, "description": field.doc, "schema": bare(field),
            }));
        }
    }
    let (first, _) = call.doc.split_once(['.', ':']).unwrap_or((&call.doc, ""));
    let mut operation = json!({
        "operationId": call.name, "tags": [call.service], "summary": first,
        "description": call.doc, "parameters": parameters,
        "responses": { "200": success(call), "default": {
            "description": "What went wrong, and what to do",
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
        } },
    });
    if let (true, Value::Object(operation)) = (call.has_body, &mut operation) {
        operation.insert(
            "requestBody".to_owned(),
            json!({
                "required": true,
                "content": { "application/json": { "schema": message(request, &in_path) } },
            }),
        );
    }
    operation
}

fn success(call: &Call) -> Value {
    let schema = json!({ "$ref": format!("#/components/schemas/{}", call.response) });
    match call.streams {
        true => json!({
            "description": "One event for each update, until the run closes",
            "content": { "text/event-stream": { "schema": schema } },
        }),
        false => json!({
            "description": "It was done", "content": { "application/json": { "schema": schema } },
        }),
    }
}

fn message(shape: &Shape, without: &[&str]) -> Value {
    let fields = shape.fields.iter().filter(|field| !without.contains(&field.name.as_str()));
    let properties: Map<String, Value> =
        fields.map(|field| (field.name.clone(), property(field))).collect();
    let mut object = json!({
        "type": "object", "properties": properties, "additionalProperties": false,
    });
    describe(&mut object, &shape.doc);
    object
}

fn property(field: &Field) -> Value {
    let mut value = bare(field);
    describe(&mut value, &field.doc);
    value
}

fn describe(value: &mut Value, doc: &str) {
    if let (Value::Object(value), false) = (value, doc.is_empty()) {
        value.insert("description".to_owned(), json!(doc));
    }
}

fn bare(field: &Field) -> Value {
    let one = match &field.kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Count => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        Kind::Number => json!({ "type": "number" }),
        Kind::Numbers => json!({ "type": "object", "additionalProperties": { "type": "number" } }),
        Kind::Enum(name) => json!({ "$ref": format!("#/components/schemas/{name}") }),
        Kind::Message(name) => match name.as_str() {
            "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
            "google.protobuf.Duration" => {
                json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?s$" })
            }
            "google.protobuf.Value" => json!({}),
            "google.protobuf.Struct" => json!({ "type": "object", "additionalProperties": true }),
            ours => json!({ "$ref": format!("#/components/schemas/{ours}") }),
        },
    };
    if field.repeated { json!({ "type": "array", "items": one }) } else { one }
}

fn error() -> Value {
    let codes: Vec<String> =
        super::error::KINDS.iter().map(|(_, _, code)| format!("`{code}`")).collect();
    let codes = format!(
        "For programs: {}; a request that the port does not let through has others",
        codes.join(", ")
    );
    json!({
        "type": "object", "required": ["error"],
        "properties": { "error": {
            "type": "object", "required": ["code", "message"],
            "properties": {
                "code": { "type": "string", "description": codes },
                "message": { "type": "string", "description": "What happened" },
                "suggestion": { "type": "string", "description": "What to do next" },
                "retry_after_ms": { "type": "integer", "description": "How long to wait before the next try, if that is known" },
            },
        } },
    })
}
