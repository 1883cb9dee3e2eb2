//! The gRPC port: every service of ours and of Temporal's, health and reflection.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};
use tower::Service;

use super::refusal::{Refusal, Why};
use super::{App, health};
use crate::{Error, api, temporal};

pub(super) fn routes(app: &Arc<App>) -> Result<Routes, Error> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(reflux_proto::DESCRIPTORS)
        .build_v1()
        .map_err(|error| Error::unavailable(format!("reflection: {error}")))?;
    let mut routes = Services::default();
    routes.add_service(reflection);
    routes.add_service(temporal::service(temporal::Frontend::new(app.clone())?));
    api::grpc::add(&mut routes, app);
    let health = health::service(app.clone(), routes.names.clone());
    routes.add_service(health);
    Ok(routes.builder.routes())
}

/// Answers until the engine has recovered.
pub(super) fn starting() -> Router {
    Router::new().fallback(|| async {
        Refusal::new(Why::Unavailable, "this server recovers and is not ready yet")
            .suggest("try again in a moment")
            .into_grpc()
    })
}

/// The services of the port, and their names for the health service.
#[derive(Default)]
pub(crate) struct Services {
    builder: RoutesBuilder,
    names: Vec<&'static str>,
}

impl Services {
    /// Adds one.
    pub(crate) fn add_service<S>(&mut self, service: S) -> &mut Self
    where
        S: Service<Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.builder.add_service(service);
        self
    }
}
