//! A request over HTTP as the JSON of its message: path, query, body, and the key of repetitions.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};

use super::error::Failed;
use super::schema::{Call, Field, Kind, Schema};
use crate::Error;
use crate::net::limits::BODY_BYTES_MAX;

/// Most parameters of a query: more than a message has fields.
const PARAMETERS_MAX: usize = 100;
/// The field that says which requests are repetitions of one.
const REQUEST_ID: &str = "request_id";

/// Puts a request together.
pub(super) async fn read(
    schema: &Schema,
    call: &Call,
    path: Vec<(String, String)>,
    query: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Value, Failed> {
    let fields = schema.messages.get(&call.request).map(|shape| shape.fields.as_slice());
    let fields = fields.unwrap_or_default();
    let mut request = match call.has_body {
        true => object(body, headers).await?,
        false => Map::new(),
    };
    if call.has_body && !query.is_empty() {
        return Err(Error::invalid("this call takes no query")
            .suggest("put it into the body")
            .into());
    }
    for (at, (name, value)) in form(query).enumerate() {
        if at >= PARAMETERS_MAX {
            return Err(
                Error::invalid(format!("a query has at most {PARAMETERS_MAX} parameters")).into()
            );
        }
        add(schema, fields, &name, value, &mut request)?;
    }
    for (name, value) in path {
        if request.get(&name).is_some_and(|known| *known != json!(value)) {
            return Err(Error::invalid(format!(
                "`{name}` is another one in the body than in the path"
            ))
            .into());
        }
        request.insert(name, Value::from(value));
    }
    if fields.iter().any(|field| field.name == REQUEST_ID)
        && let Some(key) = headers.get("idempotency-key")
        && !request.contains_key(REQUEST_ID)
    {
        let key =
            key.to_str().map_err(|_| Error::invalid("the header Idempotency-Key is not text"))?;
        request.insert(REQUEST_ID.to_owned(), Value::from(key));
    }
    Ok(Value::Object(request))
}

async fn object(body: Body, headers: &HeaderMap) -> Result<Map<String, Value>, Failed> {
    let too_large = || {
        let error = Error::invalid(format!("the body has more than {BODY_BYTES_MAX} bytes"))
            .suggest("keep large data elsewhere and pass a reference");
        Failed::with(StatusCode::PAYLOAD_TOO_LARGE, error)
    };
    let stated = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    if stated.is_some_and(|bytes: u64| bytes > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let bytes = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| too_large())?;
    if bytes.is_empty() {
        return Ok(Map::new());
    }
    let kind =
        headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        // A page of another site can send a form unasked, but not JSON.
        let error = Error::invalid("the body is not declared as JSON")
            .suggest("send it with Content-Type: application/json");
        return Err(Failed::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::invalid("the body is not a JSON object").into()),
        Err(error) => Err(Error::invalid(format!("the body is not JSON: {error}")).into()),
    }
}

/// Adds one parameter of a query.
fn add(
    schema: &Schema,
    fields: &[Field],
    name: &str,
    value: String,
    request: &mut Map<String, Value>,
) -> Result<(), Error> {
    let Some(field) = fields.iter().find(|field| field.name == name) else {
        let error = Error::invalid(format!("this call has no parameter `{}`", name.escape_debug()));
        let known = fields.iter().map(|field| field.name.as_str());
        return Err(match reflux_flow::name::suggest(name, known) {
            Some(alike) => error.suggest(format!("did you mean `{alike}`?")),
            None => error,
        });
    };
    let value = match &field.kind {
        Kind::Bool => match value.as_str() {
            "true" | "1" => json!(true),
            "false" | "0" => json!(false),
            _ => return Err(Error::invalid(format!("`{name}` must be true or false"))),
        },
        Kind::Count | Kind::Number => {
            let number = serde_json::from_str::<serde_json::Number>(&value);
            json!(number.map_err(|_| Error::invalid(format!("`{name}` must be a number")))?)
        }
        Kind::Enum(of) => json!(enumerated(schema, of, &value)),
        Kind::Text | Kind::Message(_) => json!(value),
        Kind::Numbers => return Err(Error::invalid(format!("`{name}` cannot stand in a query"))),
    };
    match (field.repeated, request.get_mut(name)) {
        (true, Some(Value::Array(list))) => list.push(value),
        (true, _) => drop(request.insert(name.to_owned(), json!([value]))),
        (false, None) => drop(request.insert(name.to_owned(), value)),
        (false, Some(_)) => return Err(Error::invalid(format!("`{name}` is given twice"))),
    }
    Ok(())
}

/// `running` is `RUN_STATUS_RUNNING`.
fn enumerated(schema: &Schema, of: &str, value: &str) -> String {
    let values = schema.enums.get(of).map(Vec::as_slice).unwrap_or_default();
    let ending = format!("_{}", value.to_uppercase());
    let prefix = values.first().and_then(|(name, _)| name.strip_suffix("UNSPECIFIED"));
    let long = prefix.map(|prefix| format!("{}{ending}", prefix.trim_end_matches('_')));
    match long.filter(|long| values.iter().any(|(name, _)| name == long)) {
        Some(long) => long,
        None => value.to_owned(),
    }
}

/// The pairs of a query. What is not UTF-8 is replaced, and then fits nothing.
pub(super) fn form(query: &str) -> impl Iterator<Item = (String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned()
}
