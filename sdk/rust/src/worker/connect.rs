//! From options to workers that may poll: nodes registered, a connection, a worker for each queue.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use temporalio_client::{Connection, ConnectionOptions, TlsOptions};
use temporalio_common::worker::WorkerTaskTypes;
use temporalio_sdk_core::{CoreRuntime, RuntimeOptions, Url, Worker, WorkerConfig, init_worker};

use super::{Error, Options, failed};
use crate::Manifest;
use crate::client::{Client, token_of_project};

/// The longest wait for a server that is not there yet, and between two looks for it.
const SERVER_MAX: Duration = Duration::from_secs(60);
const SERVER_EVERY: Duration = Duration::from_millis(500);
/// The longest wait for one connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Heartbeats are sent at most this often.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// Makes a node known; waits for a server that is not there yet.
pub(super) async fn register(client: &Client, manifest: &Manifest) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        match client.register_node(manifest).await {
            Err(error) if error.is_retryable() && begun.elapsed() < SERVER_MAX => {
                tokio::time::sleep(SERVER_EVERY).await;
            }
            answered => {
                let node = manifest.reference();
                return answered.map_err(|problem| Error::Register { node, problem });
            }
        }
    }
}

/// A connection to the gRPC port; waits for a server that is not there yet.
pub(super) async fn connection(options: &Options) -> Result<Connection, Error> {
    let url = url(&options.address)?;
    let encrypted = (url.scheme() == "https").then(|| TlsOptions::builder().build());
    // As a header: what Temporal's client calls an API key would be encrypted or refused.
    let token = options.client.token.clone().or_else(token_of_project);
    let headers =
        token.map(|token| HashMap::from([("authorization".to_owned(), format!("Bearer {token}"))]));
    let connect = ConnectionOptions::new(url)
        .identity(identity())
        .connect_timeout(CONNECT_MAX)
        // A name that means several addresses is tried as any other client does, one after the other.
        .dns_load_balancing(None)
        .maybe_headers(headers)
        .maybe_tls_options(encrypted)
        .build();
    let begun = Instant::now();
    loop {
        match Connection::connect(connect.clone()).await {
            Err(_) if begun.elapsed() < SERVER_MAX => tokio::time::sleep(SERVER_EVERY).await,
            connected => return connected.map_err(failed(&options.address)),
        }
    }
}

/// What workers of one process share.
pub(super) fn runtime() -> Result<CoreRuntime, Error> {
    // The server keeps no list of workers that they would have to report to.
    let options = RuntimeOptions::builder().heartbeat_interval(None).build();
    let options = options.map_err(failed("nodes"))?;
    CoreRuntime::new_assume_tokio(options).map_err(failed("nodes"))
}

/// A worker of one task queue that knows what the server can do.
pub(super) async fn worker(
    runtime: &CoreRuntime,
    options: &Options,
    queue: &str,
    connection: Connection,
) -> Result<Worker, Error> {
    let config = WorkerConfig::builder()
        .namespace(options.client.namespace.clone())
        .task_queue(queue)
        .task_types(WorkerTaskTypes::activity_only())
        .versioning_strategy(Default::default())
        .max_outstanding_activities(options.concurrency.max(1))
        .graceful_shutdown_period(options.grace)
        .max_heartbeat_throttle_interval(HEARTBEAT_EVERY)
        .build()
        .map_err(failed(queue))?;
    let worker = init_worker(runtime, config, connection).map_err(failed(queue))?;
    worker.validate().await.map_err(failed(queue))?;
    Ok(worker)
}

fn url(address: &str) -> Result<Url, Error> {
    let invalid = || Error::Address(address.to_owned());
    let written =
        if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let url: Url = written.parse().map_err(|_| invalid())?;
    let usable = ["http", "https"].contains(&url.scheme()) && url.has_host();
    if usable { Ok(url) } else { Err(invalid()) }
}

/// The name by which a history tells this worker from others: process and machine.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "rust" } else { host.trim() };
    format!("{}@{host}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_with_or_without_encryption() {
        let rows = [
            ("127.0.0.1:7233", Some("http://127.0.0.1:7233/")),
            ("localhost:7233", Some("http://localhost:7233/")),
            ("https://reflux.example:7233", Some("https://reflux.example:7233/")),
            ("ftp://h:1", None),
            ("", None),
            ("h:port", None),
        ];
        for (address, expected) in rows {
            let found = url(address).ok().map(|url| url.to_string());
            assert_eq!(found.as_deref(), expected, "{address}");
        }
        assert!(identity().starts_with(&format!("{}@", std::process::id())));
    }
}
