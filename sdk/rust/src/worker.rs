//! Serves nodes: registers their manifests, then runs them as activities of Temporal's worker.
//!
//! ```text
//! serve ─┬─ register ─→ the server's REST API
//!        └─ a worker for each task queue ─ task ─→ attempt ─→ Node::call ─→ completion
//! ```
//!
//! Absent: retries and time limits; the server has them.

mod attempt;
mod connect;
mod payload;
mod queue;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::client::{self, said};
use crate::{Manifest, Node};

/// How long a worker may be silent about an attempt of a node that does not say it: then the attempt is
/// made elsewhere.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Where the server is, and how nodes are served.
#[derive(Clone)]
pub struct Options {
    /// The gRPC port: `host:port`, or `https://host:port` where it is encrypted.
    pub address: String,
    /// The HTTP address, where nodes are registered; its token is shown at the gRPC port too, and its
    /// namespace is that of the runs whose steps are served.
    pub client: client::Options,
    /// How many attempts run at once for each task queue; at least 1.
    pub concurrency: usize,
    /// How long attempts under way may take to end when the worker stops. What has not ended then is tried
    /// again by another worker.
    pub grace: Duration,
}

impl Default for Options {
    /// What `REFLUX_ADDRESS` and those of [`client::Options`] say, else a server of this machine.
    fn default() -> Self {
        Self {
            address: said("REFLUX_ADDRESS").unwrap_or_else(|| "127.0.0.1:7233".to_owned()),
            client: client::Options::default(),
            concurrency: 100,
            grace: Duration::from_secs(30),
        }
    }
}

/// Why nodes are not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to serve.
    #[error("there are no nodes to serve")]
    NoNodes,
    /// Two nodes have one name.
    #[error("two nodes are called {0}; serve each version with a process of its own")]
    Twice(String),
    /// The address cannot be read.
    #[error("address {0:?}: write it as 127.0.0.1:7233")]
    Address(String),
    /// The server refused a manifest, or did not answer for a minute.
    #[error("cannot register {node}: {problem}")]
    Register {
        /// `name@version`.
        node: String,
        /// What the server said.
        problem: client::Error,
    },
    /// There is no server, or it refused what the worker asks.
    #[error("cannot serve {what}: {problem}")]
    Serve {
        /// The address or the task queue.
        what: String,
        /// Why.
        problem: String,
    },
}

/// Serves nodes until this process is told to end (SIGTERM, SIGINT); then as [`serve_until`].
///
/// # Errors
/// See [`enum@Error`].
pub async fn serve(
    nodes: impl IntoIterator<Item = Arc<dyn Node>>,
    options: Options,
) -> Result<(), Error> {
    serve_until(nodes, options, told_to_end()).await
}

/// Serves nodes until `stop` is over; then takes no new attempt and lets those under way end.
///
/// A server that is not there yet is waited for, one that goes away is waited for without limit. Call it within
/// a tokio runtime of several threads. A node that computes for long without an `await` holds a thread of it: use
/// `tokio::task::spawn_blocking` there.
///
/// # Errors
/// See [`enum@Error`].
pub async fn serve_until(
    nodes: impl IntoIterator<Item = Arc<dyn Node>>,
    options: Options,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let queues = by_queue(nodes)?;
    let runtime = connect::runtime()?;
    let mut stop = std::pin::pin!(stop);
    let begun = async {
        let client = client::Client::new(options.client.clone())
            .map_err(|error| failed(&options.client.url)(error))?;
        for node in queues.values().flat_map(BTreeMap::values) {
            connect::register(&client, &registered(node.manifest())).await?;
        }
        let connection = connect::connection(&options).await?;
        let mut workers = Vec::new();
        for (queue, nodes) in queues {
            let worker = connect::worker(&runtime, &options, &queue, connection.clone()).await?;
            workers.push((Arc::new(worker), queue, nodes));
        }
        Ok::<_, Error>(workers)
    };
    let workers = tokio::select! {
        begun = begun => begun?,
        () = &mut stop => return Ok(()), // nothing was taken yet
    };

    let mut serving = JoinSet::new();
    let all: Vec<_> = workers.iter().map(|(worker, ..)| worker.clone()).collect();
    for (worker, queue, nodes) in workers {
        serving.spawn(async move { queue::work(worker, nodes).await.map_err(failed(&queue)) });
    }
    let (mut stopping, mut outcome) = (false, Ok(()));
    loop {
        tokio::select! {
            ended = serving.join_next() => match ended {
                None => return outcome,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => outcome = Err(error),
                Some(Err(error)) => outcome = Err(failed("a task queue")(error)),
            },
            () = &mut stop, if !stopping => {}
        }
        // Once one has ended, whether it was told or not, none is left alone.
        stopping = true;
        all.iter().for_each(|worker| worker.initiate_shutdown());
    }
}

type Nodes = BTreeMap<String, Arc<dyn Node>>;

fn by_queue(
    nodes: impl IntoIterator<Item = Arc<dyn Node>>,
) -> Result<BTreeMap<String, Nodes>, Error> {
    let mut queues: BTreeMap<String, Nodes> = BTreeMap::new();
    for node in nodes {
        let Manifest { name, .. } = node.manifest();
        let (name, queue) = (name.clone(), node.manifest().task_queue());
        if let Some(before) = queues.entry(queue).or_default().insert(name, node) {
            return Err(Error::Twice(before.manifest().name.clone()));
        }
    }
    if queues.is_empty() { Err(Error::NoNodes) } else { Ok(queues) }
}

/// The manifest as the server is told it: with the longest silence that this worker keeps below.
fn registered(manifest: &Manifest) -> Manifest {
    let mut manifest = manifest.clone();
    manifest.policies.heartbeat.get_or_insert(SILENCE_MAX);
    manifest
}

async fn told_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    // Without a handler the signal ends the process, which is what it is for.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Error {
    let what = what.to_owned();
    move |problem| Error::Serve { what, problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{Context, Failure, node};

    fn named(name: &str, queue: Option<&str>) -> Arc<dyn Node> {
        let mut manifest = Manifest::new(name, "1.0.0").unwrap_or_else(|error| panic!("{error}"));
        manifest.task_queue = queue.map(str::to_owned);
        Arc::new(node(manifest, |_: Context, input: Value| async move { Ok::<_, Failure>(input) }))
    }

    #[test]
    fn nodes_share_a_worker_only_if_they_share_a_queue() {
        let nodes = [
            named("a.one", None),
            named("a.two", Some("shared")),
            named("a.three", Some("shared")),
        ];
        let queues = by_queue(nodes).unwrap_or_default();
        let found: Vec<_> = queues
            .iter()
            .map(|(queue, nodes)| (queue.as_str(), nodes.keys().collect::<Vec<_>>()))
            .collect();
        assert_eq!(
            format!("{found:?}"),
            r#"[("node:a.one", ["a.one"]), ("shared", ["a.three", "a.two"])]"#
        );
        assert!(matches!(by_queue([]), Err(Error::NoNodes)));
        assert!(matches!(
            by_queue([named("a.one", None), named("a.one", None)]),
            Err(Error::Twice(_))
        ));
    }

    #[test]
    fn a_node_is_registered_with_a_limit_for_its_workers_silence() {
        let mut manifest = named("a.one", None).manifest().clone();
        assert_eq!(registered(&manifest).policies.heartbeat, Some(SILENCE_MAX));
        manifest.policies.heartbeat = Some(Duration::from_secs(3));
        assert_eq!(registered(&manifest), manifest);
    }
}
