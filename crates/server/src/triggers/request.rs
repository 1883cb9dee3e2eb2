//! A request as an occurrence: `{body, headers, query, method, path}`.

use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

/// Headers that let their reader act as the sender, or prove who the sender is: a run's history is
/// no place for them.
const CREDENTIALS: &[&str] = &[
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "x-reflux-signature",
    "x-hub-signature",
    "x-hub-signature-256",
];

/// The occurrence of a request.
///
/// # Errors
/// The status and why the body cannot be read.
pub(super) fn occurrence(
    method: &Method,
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Value, (StatusCode, String)> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(json!({
        "body": value_of(kind, body)?,
        "headers": shown(headers),
        "query": form(query.unwrap_or_default().as_bytes()),
        "method": method.as_str(),
        "path": path,
    }))
}

fn value_of(kind: &str, body: &[u8]) -> Result<Value, (StatusCode, String)> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let media = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = || {
        std::str::from_utf8(body)
            .map_err(|_| (StatusCode::BAD_REQUEST, "the body is not UTF-8 text".to_owned()))
    };
    match media.as_str() {
        "" | "application/json" => serde_json::from_slice(body)
            .map_err(|error| (StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}"))),
        "application/x-www-form-urlencoded" => text().map(|text| form(text.as_bytes())),
        other if other.ends_with("+json") => serde_json::from_slice(body)
            .map_err(|error| (StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}"))),
        other if other.starts_with("text/") => text().map(Value::from),
        other => Err((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("a body of type `{other}` is not read; send JSON, text or a form"),
        )),
    }
}

/// Fields of a form or a query; one that comes several times is a list.
fn form(text: &[u8]) -> Value {
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(text) {
        let value = Value::from(value.into_owned());
        match fields.get_mut(&*name) {
            None => drop(fields.insert(name.into_owned(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Value::Object(fields)
}

fn shown(headers: &HeaderMap) -> Value {
    let mut fields = Map::new();
    for (name, value) in headers {
        if CREDENTIALS.contains(&name.as_str()) {
            continue;
        }
        let Ok(value) = value.to_str() else { continue };
        match fields.get_mut(name.as_str()) {
            // As RFC 9110 joins them.
            Some(Value::String(first)) => {
                first.push_str(", ");
                first.push_str(value);
            }
            _ => drop(fields.insert(name.as_str().to_owned(), Value::from(value))),
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, body: &str) -> Result<Value, u16> {
        value_of(kind, body.as_bytes()).map_err(|(status, _)| status.as_u16())
    }

    #[test]
    fn a_body_is_read_by_its_type() {
        assert_eq!(read("", ""), Ok(Value::Null));
        assert_eq!(read("application/json", "{\"a\": 1}"), Ok(json!({"a": 1})));
        assert_eq!(read("Application/JSON; charset=utf-8", "[1]"), Ok(json!([1])));
        assert_eq!(read("application/cloudevents+json", "1"), Ok(json!(1)));
        assert_eq!(read("text/plain", "a b"), Ok(json!("a b")));
        assert_eq!(
            read("application/x-www-form-urlencoded", "a=1&b=%C3%A4+x&a=2&a=3"),
            Ok(json!({"a": ["1", "2", "3"], "b": "ä x"}))
        );
        assert_eq!(read("application/json", "{"), Err(400));
        assert_eq!(read("", "not json"), Err(400));
        assert_eq!(read("image/png", "x"), Err(415));
        assert_eq!(read("application/json", &"[".repeat(100_000)), Err(400));
        assert_eq!(value_of("text/plain", &[0xff]).map_err(|e| e.0.as_u16()), Err(400));
    }

    #[test]
    fn credentials_do_not_reach_the_run() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("x-reflux-signature", "sha256=00"),
            ("x-kind", "a"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        headers.append("x-kind", "b".parse().unwrap());
        let found = occurrence(&Method::POST, "/x", Some("a=1"), &headers, b"").unwrap();
        assert_eq!(
            found,
            json!({"body": null, "headers": {"x-kind": "a, b"}, "query": {"a": "1"}, "method": "POST", "path": "/x"})
        );
    }
}
