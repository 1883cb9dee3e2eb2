//! The run page: what runs there are, and what happened in one of them, live. Read-only.
//!
//! A few files that are part of the program; what they show they ask of `/api/v1`. Nothing is
//! loaded from elsewhere, and the policy in the answer forbids it.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::header::{X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::net::App;

/// Scripts and styles are the page's own files, and it talks to nobody but its server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page at `/` and its files under `/page`.
pub fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(|| file("text/html; charset=utf-8", include_str!("page.html"))))
        .route("/page/page.css", get(|| file("text/css; charset=utf-8", include_str!("page.css"))))
        .route(
            "/page/page.js",
            get(|| file("text/javascript; charset=utf-8", include_str!("page.js"))),
        )
        .route(
            "/page/api.js",
            get(|| file("text/javascript; charset=utf-8", include_str!("api.js"))),
        )
        .route(
            "/page/run.js",
            get(|| file("text/javascript; charset=utf-8", include_str!("run.js"))),
        )
        .route(
            "/page/state.js",
            get(|| file("text/javascript; charset=utf-8", include_str!("state.js"))),
        )
        .route(
            "/page/runs.js",
            get(|| file("text/javascript; charset=utf-8", include_str!("runs.js"))),
        )
        .route(
            "/page/dom.js",
            get(|| file("text/javascript; charset=utf-8", include_str!("dom.js"))),
        )
}

async fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, kind),
        // The page of a newer program must not run beside scripts of an older one.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    (headers, text)
}
