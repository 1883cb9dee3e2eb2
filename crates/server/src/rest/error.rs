//! Errors over HTTP: a status and `{"error": {"code", "message", "suggestion"}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::{Error, Kind};

/// Every kind of error with its status and its code.
pub(crate) const KINDS: [(Kind, StatusCode, &str); 9] = [
    (Kind::Invalid, StatusCode::BAD_REQUEST, "invalid_argument"),
    (Kind::NotFound, StatusCode::NOT_FOUND, "not_found"),
    (Kind::Exists, StatusCode::CONFLICT, "already_exists"),
    (Kind::Refused, StatusCode::CONFLICT, "failed_precondition"),
    (Kind::Unavailable, StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    (Kind::Corrupt, StatusCode::INTERNAL_SERVER_ERROR, "data_loss"),
    (Kind::Exhausted, StatusCode::TOO_MANY_REQUESTS, "resource_exhausted"),
    (Kind::Unimplemented, StatusCode::NOT_IMPLEMENTED, "unimplemented"),
    (Kind::Version, StatusCode::NOT_IMPLEMENTED, "unimplemented"),
];

/// An error on its way to a client.
pub(crate) struct Failed {
    status: StatusCode,
    error: Error,
}

impl Failed {
    /// An error with a status that says more than its kind.
    pub fn with(status: StatusCode, error: Error) -> Self {
        Self { status, error }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let known = KINDS.iter().find(|(kind, ..)| *kind == error.kind);
        let status = known.map_or(StatusCode::INTERNAL_SERVER_ERROR, |(_, status, _)| *status);
        Self { status, error }
    }
}

/// The body of an error.
pub(crate) fn body(error: &Error) -> Value {
    let known = KINDS.iter().find(|(kind, ..)| *kind == error.kind);
    let mut told = Map::new();
    told.insert("code".into(), json!(known.map_or("internal", |(_, _, code)| code)));
    told.insert("message".into(), json!(error.message));
    if let Some(suggestion) = &error.suggestion {
        told.insert("suggestion".into(), json!(suggestion));
    }
    if let Some(wait_ms) = error.retry_after_ms {
        told.insert("retry_after_ms".into(), json!(wait_ms));
    }
    json!({ "error": told })
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let wait = self.error.retry_after_s();
        let mut response = (self.status, Json(body(&self.error))).into_response();
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }
}
