//! Deliveries: `/webhooks/…`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use reflux_core::{Close, Ending};
use reflux_engine::Lane;
use reflux_flow::payload;
use reflux_flow::trigger::{Reply, TriggerKind, Webhook};
use serde_json::{Value, json};

use super::start::{Start, start};
use super::table::Active;
use super::{Triggers, request, signature};
use crate::net::App;
use crate::{Error, Kind, clock};

/// Most bytes of a delivery: larger data is passed by reference.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a body may take: a slow sender holds one of the places.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 1_000;

/// The route of deliveries.
pub fn router() -> Router<Arc<App>> {
    Router::new().route("/webhooks/{*path}", any(webhook))
}

async fn webhook(State(app): State<Arc<App>>, request: Request) -> Response {
    match app.service.triggers().deliver(&app, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

/// Why a delivery was not taken.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    header: Option<(axum::http::HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), header: None }
    }

    fn busy(message: impl Into<String>) -> Self {
        let header = Some((RETRY_AFTER, HeaderValue::from_static("1")));
        Self { header, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", message) }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (status, code) = match error.kind {
            Kind::Invalid | Kind::Refused => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Kind::Exists => (StatusCode::CONFLICT, "exists"),
            Kind::Unavailable => {
                let header = Some((RETRY_AFTER, HeaderValue::from_static("1")));
                let status = StatusCode::SERVICE_UNAVAILABLE;
                return Self { header, ..Self::new(status, "unavailable", error.to_string()) };
            }
            Kind::Exhausted => {
                let header = Some((RETRY_AFTER, HeaderValue::from(error.retry_after_s())));
                let status = StatusCode::TOO_MANY_REQUESTS;
                return Self { header, ..Self::new(status, "resource_exhausted", told(&error)) };
            }
            Kind::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "unimplemented"),
            Kind::Corrupt | Kind::Version => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, told(&error))
    }
}

/// An error with what to do about it.
fn told(error: &Error) -> String {
    match &error.suggestion {
        Some(suggestion) => format!("{error}; {suggestion}"),
        None => error.to_string(),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": { "code": self.code, "message": self.message } }));
        let mut response = (self.status, body).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl Triggers {
    async fn deliver(&self, app: &App, request: Request) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().strip_prefix("/webhooks").unwrap_or_default().to_owned();
        let table = self.table()?;
        let methods = table.routes.get(&path).ok_or_else(|| {
            let message = format!("no webhook at {path}; see `reflux triggers`");
            Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
        })?;
        let Some(active) = methods.get(parts.method.as_str()).cloned() else {
            let allowed: Vec<&str> = methods.keys().map(String::as_str).collect();
            let allowed = allowed.join(", ");
            let message = format!("this webhook takes {allowed}");
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let header = HeaderValue::from_str(&allowed).ok().map(|value| (ALLOW, value));
            return Err(Refusal { header, ..Refusal::new(status, "method", message) });
        };
        let TriggerKind::Webhook(webhook) = &active.trigger.kind else {
            return Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "no webhook"));
        };
        let _place = self
            .deliveries
            .try_acquire()
            .map_err(|_| Refusal::busy("too many deliveries at once; send it again"))?;
        let body = read(&parts.headers, body).await?;
        let delivery = self.authenticate(&active, webhook, &parts.headers, &body)?;
        let occurrence =
            request::occurrence(&parts.method, &path, parts.uri.query(), &parts.headers, &body);
        let occurrence =
            occurrence.map_err(|(status, message)| Refusal::new(status, "body", message))?.into();
        let input = active.trigger.input(&active.flow, &occurrence);
        let input = input
            .map_err(|message| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "input", message))?;
        let started = start(&self.engine, &active, &delivery, &input, &self.identity).await?;
        if webhook.reply == Reply::Output {
            tokio::select! {
                ended = self.ended(&started, webhook.timeout) => {
                    if let Some(response) = ended? {
                        return Ok(response);
                    }
                }
                () = app.drained() => {}
            }
        }
        Ok(accepted(&started))
    }

    /// Checks who sends it, and gives what names the delivery: its key, else its signature, else
    /// something new.
    fn authenticate(
        &self,
        active: &Active,
        webhook: &Webhook,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<String, Refusal> {
        let unauthorized =
            |message: &str| Refusal::new(StatusCode::UNAUTHORIZED, "signature", message);
        let key = match headers.get(&webhook.idempotency_header) {
            Some(key) if key.len() > KEY_BYTES_MAX || key.is_empty() => {
                let header = &webhook.idempotency_header;
                let message = format!("{header} has 1 to {KEY_BYTES_MAX} bytes");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "key", message));
            }
            Some(key) => Some(named(b"key", key.as_bytes())),
            None => None,
        };
        let Some(name) = &webhook.secret else {
            return Ok(key.unwrap_or_else(|| uuid::Uuid::now_v7().to_string()));
        };
        let secrets = self.host.secrets();
        let Some(secret) = secrets.get(name).filter(|secret| !secret.is_empty()) else {
            tracing::error!(flow = %active.deployed.flow, secret = name, "a webhook's secret is not set");
            let message = format!("the secret `{name}` is not set here");
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "secret", message));
        };
        let now = clock::now();
        let signature = signature::verify(headers, body, secret, now).map_err(unauthorized)?;
        let delivery = key.unwrap_or_else(|| named(b"signature", &signature));
        match self.seen.take(signature, &delivery, now) {
            true => Ok(delivery),
            false => Err(unauthorized("the signature was used for another delivery")),
        }
    }

    /// What the run gave, once it has ended; `None` when it has not in time.
    async fn ended(&self, started: &Start, limit: Duration) -> Result<Option<Response>, Refusal> {
        let wait = async {
            loop {
                // Watched before it is looked at, so that its end does not fall between.
                let mut changes = self.engine.watch(&started.run);
                let (lane, run_id) = (Lane::of(&started.run), Some(started.run.run_id));
                let closed = self.engine.look(lane, run_id, |run| run.closed.clone()).await;
                if let Some(close) = closed.map_err(Error::from)? {
                    return Ok(close);
                }
                while let Some(change) = changes.recv().await {
                    if let Some(close) = change.closed {
                        return Ok(close);
                    }
                }
            }
        };
        match tokio::time::timeout(limit, wait).await {
            Ok(close) => close.map(|close: Close| Some(output(started, &close))),
            Err(_) => Ok(None),
        }
    }
}

/// A name of bounded length for a delivery that a sender has named.
fn named(kind: &[u8], name: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind);
    hasher.update(name);
    let hex = hasher.finalize().to_hex();
    hex.get(..32).unwrap_or_default().to_owned()
}

async fn read(headers: &HeaderMap, body: Body) -> Result<bytes::Bytes, Refusal> {
    let too_large = || {
        let message = "a delivery has at most 1 MiB; pass a reference to larger data";
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    };
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: usize| length > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let over = std::error::Error::source(&error)
                .is_some_and(|source| source.to_string().contains("limit"));
            match over {
                true => Err(too_large()),
                false => Err(Refusal::new(StatusCode::BAD_REQUEST, "body", "the body broke off")),
            }
        }
        Err(_) => {
            let message = "the body took too long";
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", message))
        }
    }
}

fn address(started: &Start) -> Value {
    json!({
        "workflow_id": *started.run.workflow_id,
        "run_id": started.run.run_id.to_string(),
        "url": format!("/api/v1/runs/{}", started.run.run_id),
        "existing": started.existing,
    })
}

fn accepted(started: &Start) -> Response {
    (StatusCode::ACCEPTED, Json(address(started))).into_response()
}

fn output(started: &Start, close: &Close) -> Response {
    let mut response = match &close.ending {
        Ending::Completed(result) => {
            Json(payload::value_of(result).unwrap_or(Value::Null)).into_response()
        }
        ending => {
            let message = match ending {
                Ending::Failed { failure, .. } => failure.message.clone(),
                other => format!("the run is {}", other.status()),
            };
            let error = json!({ "code": "run_failed", "message": message });
            let body = json!({ "error": error, "run": address(started) });
            (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
        }
    };
    let id = started.run.run_id.to_string();
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("reflux-run-id", id);
    }
    response
}
