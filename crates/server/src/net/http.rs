//! The HTTP port.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

use super::App;
use crate::{Error, page, rest};

pub(super) async fn serve(app: Arc<App>, listener: TcpListener) -> Result<(), Error> {
    let stop = app.clone();
    axum::serve(listener, router(app)?)
        .with_graceful_shutdown(async move { stop.drained().await })
        .await
        .map_err(|error| Error::unavailable(format!("the HTTP port failed: {error}")))
}

fn router(app: Arc<App>) -> Result<Router, Error> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .merge(page::routes())
        .merge(crate::triggers::router())
        .merge(rest::routes()?);
    Ok(routes.with_state(app))
}
