//! A request that is not let through, in the words of the port it came to.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

/// What clients of gRPC read as the wait before the next try, in milliseconds.
const PUSH_BACK: &str = "grpc-retry-pushback-ms";

/// Says when to try again.
pub(crate) fn push_back(status: &mut tonic::Status, wait_ms: u64) {
    status.metadata_mut().insert(PUSH_BACK, wait_ms.into());
}

/// Why a request is not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: Why,
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

/// What a caller does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It is no request that could be answered.
    Invalid,
    /// No credential, or a wrong one.
    Unauthenticated,
    /// The credential does not allow it.
    Forbidden,
    /// The host is not one of ours.
    Misdirected,
    /// The body is too large.
    TooLarge,
    /// The body is encoded in a way that is not taken.
    Encoding,
    /// Too many requests.
    TooMany,
    /// The server is not ready, or about to stop.
    Unavailable,
}

impl Why {
    /// What a program branches on: the names that the API has.
    fn code(self) -> &'static str {
        match self {
            Self::Invalid | Self::Misdirected | Self::TooLarge | Self::Encoding => {
                "invalid_argument"
            }
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "permission_denied",
            Self::TooMany => "resource_exhausted",
            Self::Unavailable => "unavailable",
        }
    }

    /// What figures call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Misdirected => "misdirected",
            Self::TooLarge => "too_large",
            Self::Encoding => "encoding",
            Self::TooMany => "too_many_requests",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Refusal {
    pub(super) fn new(why: Why, message: impl Into<String>) -> Self {
        Self { why, message: message.into(), suggestion: None, retry_after: None }
    }

    pub(super) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    pub(super) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// As the HTTP port says it.
    pub(super) fn into_http(self) -> Response {
        let status = match self.why {
            Why::Invalid => StatusCode::BAD_REQUEST,
            Why::Unauthenticated => StatusCode::UNAUTHORIZED,
            Why::Forbidden => StatusCode::FORBIDDEN,
            Why::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Why::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Why::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Why::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Why::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        let code = self.why.code();
        let mut error = json!({ "code": code, "message": self.message });
        if let (Some(suggestion), Some(error)) = (&self.suggestion, error.as_object_mut()) {
            error.insert("suggestion".to_owned(), json!(suggestion));
        }
        let mut response = (status, Json(json!({ "error": error }))).into_response();
        if self.why == Why::Unauthenticated {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        if let Some(wait) = self.retry_after {
            // Whole seconds are all that the header has.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// As the gRPC port says it.
    pub(super) fn into_grpc(self) -> Response {
        use tonic::{Code, Status};
        let code = match self.why {
            Why::Invalid | Why::Misdirected => Code::InvalidArgument,
            Why::Unauthenticated => Code::Unauthenticated,
            Why::Forbidden => Code::PermissionDenied,
            Why::TooLarge | Why::TooMany => Code::ResourceExhausted,
            Why::Encoding => Code::Unimplemented,
            Why::Unavailable => Code::Unavailable,
        };
        let message = match self.suggestion {
            Some(suggestion) => format!("{}; {suggestion}", self.message),
            None => self.message,
        };
        let mut response = Status::new(code, message).into_http::<Body>();
        if let Some(wait) = self.retry_after {
            let wait_ms = crate::error::whole_ms(wait);
            response.headers_mut().insert(PUSH_BACK, HeaderValue::from(wait_ms));
        }
        response
    }
}
