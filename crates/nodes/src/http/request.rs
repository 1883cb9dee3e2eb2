//! `http.request`: one request, its redirects, and its response as a value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reflux_sdk::{Call, Context, Effects, Failure, Manifest, Node};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Outgoing, Web, parse_header, parse_url};
use super::{body, redirect, retry_after};
use crate::support;

const MANIFEST: &str = include_str!("request.json");

/// What a step gets unless it asks for more.
const BYTES_DEFAULT: usize = 8 << 20;
/// What a step waits unless it says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// As much of an answer as explains a failure.
const ERROR_BODY_BYTES: usize = 2 << 10;

pub(crate) struct HttpRequest {
    manifest: Manifest,
    web: Arc<Web>,
    bytes_max: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    query: Map<String, Value>,
    auth: Option<Auth>,
    json: Option<Value>,
    body: Option<Value>,
    response: Option<ResponseForm>,
    timeout_sec: Option<f64>,
    max_bytes: Option<usize>,
    max_redirects: Option<usize>,
    ok_statuses: Option<Vec<u16>>,
    fail_on_status: Option<bool>,
    #[serde(default)]
    idempotent: bool,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "auth takes `bearer`, or `username` and `password`",
    deny_unknown_fields
)]
enum Auth {
    Bearer { bearer: String },
    Basic { username: String, password: String },
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum ResponseForm {
    Auto,
    Text,
}

impl HttpRequest {
    pub(crate) fn new(web: Arc<Web>, bytes_max: usize) -> Self {
        let manifest = support::manifest(MANIFEST);
        Self { manifest, web, bytes_max }
    }

    async fn request(&self, ctx: &Context, input: Input) -> Result<Value, Failure> {
        let bytes_max = input.max_bytes.unwrap_or(BYTES_DEFAULT.min(self.bytes_max));
        if bytes_max > self.bytes_max {
            let message = format!(
                "max_bytes: at most {}; raise response_bytes_max in the configuration",
                self.bytes_max
            );
            return Err(Failure::bad_input(message));
        }
        let hops_max = input.max_redirects.unwrap_or(redirect::HOPS_MAX);
        if hops_max > redirect::HOPS_MAX {
            return Err(Failure::bad_input(format!(
                "max_redirects: at most {}",
                redirect::HOPS_MAX
            )));
        }
        let outgoing = outgoing(ctx, &input)?;
        let response = self.follow(outgoing, hops_max).await?;
        let status = response.status();
        ctx.metric("status", f64::from(status.as_u16()));
        let accepted = match (&input.ok_statuses, input.fail_on_status) {
            (Some(ok), _) => ok.contains(&status.as_u16()),
            (None, Some(false)) => true,
            (None, Some(true) | None) => status.is_success(),
        };
        if !accepted {
            return Err(bad_status(response).await);
        }
        let headers = response.headers().clone();
        let bytes = body::read(response, bytes_max).await?;
        ctx.metric("bytes", bytes.len() as f64);
        let (data, encoding) =
            match (status.is_success(), input.response.unwrap_or(ResponseForm::Auto)) {
                (_, ResponseForm::Text) => body::text(bytes),
                (true, ResponseForm::Auto) => body::meaning(&headers, bytes)?,
                // an error page that was asked for need not keep its promise to be JSON
                (false, ResponseForm::Auto) => {
                    body::meaning(&headers, bytes.clone()).unwrap_or_else(|_| body::text(bytes))
                }
            };
        let mut output =
            json!({ "status": status.as_u16(), "headers": plain(&headers), "data": data });
        if let (Some(encoding), Some(output)) = (encoding, output.as_object_mut()) {
            output.insert("encoding".to_owned(), encoding.into());
        }
        Ok(output)
    }

    async fn follow(&self, mut outgoing: Outgoing, hops_max: usize) -> Result<Response, Failure> {
        let mut hops = 0;
        loop {
            let response = self.web.send(outgoing.clone()).await?;
            match redirect::next(&outgoing, response.status(), response.headers())? {
                Some(_) if hops_max == 0 => return Ok(response),
                Some(_) if hops == hops_max => {
                    let message =
                        format!("more than {hops_max} redirects; request the last url itself");
                    return Err(Failure::permanent("Http.Redirect", message));
                }
                Some(next) => outgoing = next,
                None => return Ok(response),
            }
            hops += 1;
        }
    }
}

impl Node for HttpRequest {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let input: Input = self.manifest.read_input(input)?;
            let timeout = support::timeout(ctx, input.timeout_sec, TIMEOUT_DEFAULT)?;
            support::bounded(ctx, timeout, self.request(ctx, input)).await
        })
    }

    /// What HTTP promises for the method (RFC 9110, 9.2).
    fn effects(&self, input: &Value) -> Effects {
        let idempotent = input.get("idempotent").and_then(Value::as_bool).unwrap_or(false);
        let method = input.get("method").and_then(Value::as_str).unwrap_or("GET");
        match method.to_ascii_uppercase().as_str() {
            "GET" | "HEAD" | "OPTIONS" => Effects::Reads,
            "PUT" | "DELETE" => Effects::Idempotent,
            _ if idempotent => Effects::Idempotent,
            _ => Effects::Unsafe,
        }
    }
}

fn outgoing(ctx: &Context, input: &Input) -> Result<Outgoing, Failure> {
    let mut url = parse_url(&input.url)?;
    add_query(&mut url, &input.query)?;
    let method = input.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
    let method = match method.as_str() {
        "GET" | "HEAD" | "OPTIONS" | "POST" | "PUT" | "PATCH" | "DELETE" => {
            Method::try_from(method.as_str())
        }
        _ => {
            return Err(Failure::bad_input(
                "method: use GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE",
            ));
        }
    };
    let method = method.map_err(|e| Failure::bad_input(format!("method: {e}")))?;
    let (body, kind) = match (&input.json, &input.body) {
        (Some(_), Some(_)) => return Err(Failure::bad_input("give `json` or `body`, not both")),
        (None, Some(Value::String(text))) => {
            (Some(text.clone()), Some("text/plain; charset=utf-8"))
        }
        (Some(value), None) | (None, Some(value)) => {
            (Some(value.to_string()), Some("application/json"))
        }
        (None, None) => (None, None),
    };
    let mut headers = HeaderMap::new();
    if let Some(kind) = kind {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if input.idempotent {
        let (name, value) = parse_header("idempotency-key", &ctx.attempt.idempotency_key)?;
        headers.insert(name, value);
    }
    if let Some(auth) = &input.auth {
        headers.insert(AUTHORIZATION, auth.header()?);
    }
    for (name, value) in &input.headers {
        let text = scalar(value).ok_or_else(|| {
            Failure::bad_input(format!(
                "headers: the value of {name:?} must be text, a number or a boolean"
            ))
        })?;
        let (name, value) = parse_header(name, &text)?;
        headers.insert(name, value);
    }
    Ok(Outgoing { method, url, headers, body })
}

impl Auth {
    fn header(&self) -> Result<HeaderValue, Failure> {
        use base64::Engine;
        let text = match self {
            Self::Bearer { bearer } => format!("Bearer {bearer}"),
            Self::Basic { username, password } => {
                let pair =
                    base64::prelude::BASE64_STANDARD.encode(format!("{username}:{password}"));
                format!("Basic {pair}")
            }
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| {
            Failure::bad_input("auth: the value holds a line break or another control character")
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn add_query(url: &mut Url, query: &Map<String, Value>) -> Result<(), Failure> {
    for (name, value) in query {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            Value::Null => continue, // an optional parameter whose expression has no result
            one => std::slice::from_ref(one),
        };
        for value in values {
            let text = scalar(value).ok_or_else(|| {
                Failure::bad_input(format!("query: the value of {name:?} must be text, a number, a boolean or a list of them"))
            })?;
            url.query_pairs_mut().append_pair(name, &text);
        }
    }
    Ok(())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Headers as an object: names in lower case, repeated ones joined as RFC 9110 allows, cookies as a list.
fn plain(headers: &HeaderMap) -> Value {
    let mut plain = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let mut values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let value = match name.as_str() {
            "set-cookie" => values.map(Value::String).collect(),
            _ => {
                let first = values.next().unwrap_or_default();
                Value::String(values.fold(first, |all, next| format!("{all}, {next}")))
            }
        };
        plain.insert(name.as_str().to_owned(), value);
    }
    Value::Object(plain)
}

/// The failure of a status that was not asked for. Another attempt may help where the server said or implied so.
pub(crate) async fn bad_status(response: Response) -> Failure {
    let status = response.status();
    let host = response.url().host_str().unwrap_or("the server").to_owned();
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let wait = wait.and_then(|value| retry_after::parse(value, SystemTime::now()));
    let retryable = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    let body = body::read_head(response, ERROR_BODY_BYTES).await;
    let mut failure =
        Failure::permanent("Http.Status", format!("{host} answered {}", named(status)))
            .with_details(json!({ "status": status.as_u16(), "body": body }));
    failure.retryable = retryable;
    failure.retry_after = wait.filter(|_| retryable);
    failure
}

fn named(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}
