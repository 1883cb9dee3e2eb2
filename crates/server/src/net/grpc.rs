//! The gRPC port: every service of ours and of Temporal's, health and reflection.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;

use super::App;
use crate::{Error, temporal};

pub(super) async fn serve(app: Arc<App>, listener: TcpListener) -> Result<(), Error> {
    let incoming = TcpListenerStream::new(listener);
    Server::builder()
        .add_routes(routes(&app)?)
        .serve_with_incoming_shutdown(incoming, async move { app.drained().await })
        .await
        .map_err(|error| Error::unavailable(format!("the gRPC port failed: {error}")))
}

fn routes(app: &Arc<App>) -> Result<Routes, Error> {
    // The empty name is the server as a whole; it answers as long as the process does.
    let (_, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(reflux_proto::DESCRIPTORS)
        .build_v1()
        .map_err(|error| Error::unavailable(format!("reflection: {error}")))?;
    let mut routes = Routes::builder();
    routes.add_service(health).add_service(reflection);
    routes.add_service(temporal::service(temporal::Frontend::new(app.clone())?));
    crate::api::grpc::add(&mut routes, app);
    Ok(routes.routes())
}
