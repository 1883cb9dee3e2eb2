//! Whether the server takes work: grpc.health.v1, `/healthz` and `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};

use super::App;

/// The gRPC service: each of these services, and the server as a whole under the empty name, serve
/// until the server drains.
pub(super) fn service(app: Arc<App>, names: Vec<&'static str>) -> HealthServer<impl Health> {
    let (reporter, service) = tonic_health::server::health_reporter();
    tokio::spawn(async move {
        let names = || names.iter().copied().chain([""]);
        for name in names() {
            reporter.set_service_status(name, ServingStatus::Serving).await;
        }
        app.drained().await;
        for name in names() {
            reporter.set_service_status(name, ServingStatus::NotServing).await;
        }
        tokio::time::sleep(app.config.server.grace.0).await;
        // Whoever watches has heard it; a watch that goes on would hold the server up.
        let mut reporter = reporter;
        for name in names() {
            reporter.clear_service_status(name).await;
        }
    });
    service
}

/// The routes for probes.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready))
}

/// The same before there is an engine.
pub(super) fn starting() -> Router {
    let recovering = || async { (StatusCode::SERVICE_UNAVAILABLE, "recovering\n") };
    Router::new().route("/healthz", get(alive)).route("/readyz", get(recovering))
}

/// The process answers; it is of no use to start it again.
async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    match app.is_draining() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        false => (StatusCode::OK, "ready\n"),
    }
}
