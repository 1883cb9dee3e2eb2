//! The ports of a server: gRPC and HTTP over one engine.
//!
//! ```text
//! :7233 ─ tonic ─→ grpc.rs ─→ temporal/, api/ ─┐
//! :8233 ─ axum ──→ http.rs ─→ rest/, page/ ────┴→ App ─→ Engine
//! ```
//!
//! Absent: what a request means; that is said by the face it belongs to.

mod app;
mod grpc;
mod http;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

pub use app::App;

use crate::Error;

/// How long requests that are under way may take once the server stops. Long polls end at once.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC. Port 0 takes any that is free.
    pub grpc: SocketAddr,
    /// HTTP. Port 0 takes any that is free.
    pub http: SocketAddr,
}

/// A server whose ports are open and that has not begun to answer.
pub struct Server {
    app: Arc<App>,
    grpc: TcpListener,
    http: TcpListener,
    addresses: Addresses,
}

impl Server {
    /// Opens the ports.
    ///
    /// # Errors
    /// A port is taken or not allowed.
    pub async fn bind(app: Arc<App>, wanted: Addresses) -> Result<Self, Error> {
        let grpc = listen(wanted.grpc, "--port").await?;
        let http = listen(wanted.http, "--http-port").await?;
        let failed = |error| Error::unavailable(format!("cannot tell the port: {error}"));
        let addresses = Addresses {
            grpc: grpc.local_addr().map_err(failed)?,
            http: http.local_addr().map_err(failed)?,
        };
        app.service.serves(addresses);
        Ok(Self { app, grpc, http, addresses })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Answers until `stop` is over; then takes nothing new and lets what is under way end.
    ///
    /// # Errors
    /// A listener failed.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { app, grpc, http, .. } = self;
        let faces = {
            let (app, other) = (app.clone(), app.clone());
            async move { tokio::try_join!(grpc::serve(app, grpc), http::serve(other, http)).map(drop) }
        };
        tokio::pin!(faces);
        tokio::select! {
            ended = &mut faces => return ended,
            () = stop => app.drain(),
        }
        match tokio::time::timeout(DRAIN_MAX, faces).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!("requests were still under way when the server stopped");
                Ok(())
            }
        }
    }
}

async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::unavailable(format!("cannot listen on {address}: {error}"))
            .suggest(format!("choose another port with {flag}, or end the process that has it"))
    })
}
