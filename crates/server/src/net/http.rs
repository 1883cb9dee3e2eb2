//! The HTTP port.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;

use super::limits::BODY_BYTES_MAX;
use super::refusal::{Refusal, Why};
use super::{App, health};

pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .merge(health::routes())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

/// Answers until the engine has recovered.
pub(super) fn starting() -> Router {
    health::starting().fallback(|| async {
        Refusal::new(Why::Unavailable, "this server recovers and is not ready yet")
            .suggest("try again in a moment")
            .after(std::time::Duration::from_secs(1))
            .into_http()
    })
}
