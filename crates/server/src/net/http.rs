//! The HTTP port.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;

use super::limits::BODY_BYTES_MAX;
use super::refusal::{Refusal, Why};
use super::{App, health};
use crate::{Error, page, rest, telemetry};

pub(super) fn router(app: Arc<App>) -> Result<Router, Error> {
    let routes = Router::new()
        .merge(health::routes())
        .merge(telemetry::metrics::routes())
        .merge(page::routes())
        .merge(crate::triggers::router())
        .merge(rest::routes()?)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    Ok(routes.with_state(app))
}

/// The port for figures and probes only.
pub(super) fn figures(app: Arc<App>) -> Router {
    Router::new().merge(health::routes()).merge(telemetry::metrics::routes()).with_state(app)
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
