//! Runs nodes inside this process: one task per attempt, a bounded number at once.
//!
//! ```text
//! partition ─ start ─→ task ─ permit ─→ node ─→ outcome ─→ command to the run
//! ```
//!
//! Absent: retries, timers between attempts, histories. The run decides what an outcome means.

mod attempt;
pub(crate) mod outcome;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use reflux_core::{Command, EventId, RunKey};
use reflux_engine::{Ask, Attempt, Engine, Gates, Lane, Recovered, Request, no_reply};
use reflux_flow::advance::NodePolicy;
use reflux_flow::alternatives::Wanted;
use reflux_flow::graph::NodeRef;
use reflux_sdk::Context;
use serde_json::Value;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, watch};

use turn::Turns;

use crate::bulk::{self, Work};
use crate::catalogue::Nodes;
use crate::registry::Registry;
use crate::secrets::Secrets;
use crate::telemetry::Spans;
use crate::{Error, pacing};

/// Threads that poll nodes. Nodes wait, they do not compute: what computes for long has threads of
/// its own.
const THREADS: usize = 2;
/// First and longest wait before an outcome that the engine could not take is offered again.
const OFFER_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Executes the nodes of this process.
pub struct LocalHost {
    inner: Arc<Inner>,
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
}

struct Inner {
    /// Those of the project, and those that are registered.
    nodes: RwLock<Arc<Nodes>>,
    registry: Arc<Registry>,
    gates: Arc<Gates>,
    turns: Turns,
    secrets: RwLock<Arc<Secrets>>,
    engine: watch::Sender<Option<Engine>>,
    permits: Semaphore,
    attempts: Mutex<Attempts>,
    spans: OnceLock<Spans>,
    bulk: bulk::Worker,
}

/// The attempts that were handed to this host and have not ended.
#[derive(Default)]
struct Attempts {
    open: HashMap<(RunKey, EventId), Open>,
    /// Whether nothing begins any more.
    held_back: bool,
}

struct Open {
    context: Context,
    begun: bool,
}

impl LocalHost {
    /// A host of those nodes that runs at most `concurrency` of them at once.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn new(nodes: Nodes, secrets: Secrets, concurrency: u32) -> Result<Arc<Self>, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("nodes")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::unavailable(format!("cannot start threads for nodes: {error}"))
            })?;
        let inner = Inner {
            nodes: RwLock::new(Arc::new(nodes)),
            registry: Arc::default(),
            gates: Arc::default(),
            turns: Turns::default(),
            secrets: RwLock::new(Arc::new(secrets)),
            engine: watch::Sender::new(None),
            permits: Semaphore::new(
                usize::try_from(concurrency).unwrap_or(1).min(Semaphore::MAX_PERMITS),
            ),
            attempts: Mutex::default(),
            spans: OnceLock::new(),
            bulk: bulk::Worker::default(),
        };
        let handle = runtime.handle().clone();
        Ok(Arc::new(Self { inner: Arc::new(inner), runtime: Mutex::new(Some(runtime)), handle }))
    }

    /// Tells where outcomes go. Attempts that came before wait for it.
    pub fn connect(&self, engine: Engine) {
        self.handle.spawn(pacing::record(engine.clone(), self.inner.registry.clone()));
        self.inner.engine.send_replace(Some(engine));
    }

    /// How fast nodes and queues are called: the engine opens with these.
    pub fn gates(&self) -> &Arc<Gates> {
        &self.inner.gates
    }

    /// Makes the gates what manifests and settings say.
    pub(crate) fn align(&self) {
        pacing::align(&self.inner.gates, &self.inner.registry, &self.nodes());
    }

    /// Tells which service does the work of bulk runs.
    pub(crate) fn serves(&self, service: &Arc<crate::service::Service>) {
        self.inner.bulk.connect(service);
    }

    /// What is deployed and registered.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Takes the project's nodes and secrets that have changed; attempts under way keep theirs.
    pub fn replace(&self, nodes: Nodes, secrets: Secrets) {
        let nodes = nodes.join(&self.inner.registry.nodes());
        *self.inner.nodes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(nodes);
        *self.inner.secrets.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(secrets);
        self.align();
    }

    /// The nodes as they are now.
    pub fn nodes(&self) -> Arc<Nodes> {
        self.inner.nodes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The secrets as they are now.
    pub fn secrets(&self) -> Arc<Secrets> {
        self.inner.secrets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a span for each attempt that ends from now on.
    pub fn trace(&self, spans: Spans) {
        // Who traces first goes on tracing.
        drop(self.inner.spans.set(spans));
    }

    /// Tells the recorder of metrics what is read rather than counted.
    pub fn observe(&self) {
        #[allow(clippy::cast_precision_loss)] // At most as many as may run at once.
        metrics::gauge!("reflux_nodes_running").set(self.running() as f64);
    }

    /// Attempts under way.
    pub fn running(&self) -> usize {
        self.inner.attempts().open.values().filter(|open| open.begun).count()
    }

    /// Lets nothing begin from now on; what has begun goes on.
    pub fn hold_back(&self) {
        self.inner.attempts().held_back = true;
    }

    /// Gives back what was taken up and has not begun, so that the next boot finds it as work to be done and not as
    /// work that was lost.
    pub fn release(&self) {
        let Some(engine) = self.inner.engine.borrow().clone() else { return };
        let held: Vec<(RunKey, EventId, u32)> = {
            let mut attempts = self.inner.attempts();
            let held = attempts.open.iter().filter(|(_, open)| !open.begun);
            let held: Vec<_> = held
                .map(|((run, id), open)| (run.clone(), *id, open.context.attempt.attempt))
                .collect();
            attempts.open.retain(|_, open| open.begun);
            held
        };
        for (run, scheduled, attempt) in held {
            let command = Command::UnclaimActivity { scheduled, attempt };
            if let Err(error) = engine.command(Lane::of(&run), Some(run.run_id), command) {
                tracing::debug!(%run, %error, "an attempt that was held back is no longer wanted");
            }
        }
    }

    /// The threads that nodes run on, for what else has to wait in this process.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Stops what is under way. Its outcome is unknown to the run until another boot recovers it.
    pub fn stop(&self) {
        self.inner.engine.send_replace(None);
        if let Some(spans) = self.inner.spans.get() {
            spans.flush(&self.handle);
        }
        for open in self.inner.attempts().open.values() {
            open.context.cancel();
        }
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(Duration::from_millis(200)); // lets commands end their processes
        }
    }
}

impl Drop for LocalHost {
    fn drop(&mut self) {
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

impl reflux_flow::Policies for LocalHost {
    fn policy(&self, node: &NodeRef, input: &Value) -> Option<NodePolicy> {
        if Work::of_node(&node.name).is_some() {
            return Some(bulk::Worker::policy());
        }
        self.nodes().policy(node, input)
    }

    fn alternatives(&self, wanted: &Wanted<'_>) -> Vec<String> {
        self.nodes().alternatives(wanted)
    }
}

impl reflux_engine::Host for LocalHost {
    fn start(&self, attempt: Attempt) -> bool {
        attempt::start(&self.inner, &self.handle, attempt)
    }

    fn recovered(&self, runs: &Recovered<'_>) -> Result<(), reflux_engine::Error> {
        self.inner.registry.load(runs)?;
        {
            let mut nodes = self.inner.nodes.write().unwrap_or_else(PoisonError::into_inner);
            *nodes = Arc::new(Nodes::clone(&nodes).join(&self.inner.registry.nodes()));
        }
        pacing::restore(&self.inner.gates, &self.inner.registry);
        self.align();
        Ok(())
    }

    fn cancel(&self, run: &RunKey, scheduled: EventId) {
        let attempts = self.inner.attempts();
        let context = attempts.open.get(&(run.clone(), scheduled)).map(|open| open.context.clone());
        drop(attempts);
        if let Some(context) = context {
            context.cancel();
        }
    }
}

impl Inner {
    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up an attempt; `false` when nothing begins any more.
    fn take_up(&self, run: &RunKey, scheduled: EventId, context: &Context) -> bool {
        let mut attempts = self.attempts();
        if attempts.held_back {
            return false;
        }
        let open = Open { context: context.clone(), begun: false };
        attempts.open.insert((run.clone(), scheduled), open);
        true
    }

    /// Marks an attempt as begun; `false` when it is not to begin.
    fn begin(&self, run: &RunKey, scheduled: EventId) -> bool {
        let mut attempts = self.attempts();
        if attempts.held_back {
            return false;
        }
        match attempts.open.get_mut(&(run.clone(), scheduled)) {
            Some(open) => {
                open.begun = true;
                true
            }
            None => false, // it was given back
        }
    }

    fn end(&self, run: &RunKey, scheduled: EventId) {
        self.attempts().open.remove(&(run.clone(), scheduled));
    }

    /// The engine, as soon as there is one; `None` when the host has stopped for good.
    async fn engine(&self) -> Option<Engine> {
        if let Some(engine) = &*self.engine.borrow() {
            return Some(engine.clone());
        }
        let mut engines = self.engine.subscribe();
        engines.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Sends a command that may be lost: the next one says the same.
    async fn mention(&self, run: &RunKey, command: Command) {
        if let Some(engine) = self.engine().await {
            let ask = Ask::Command { run_id: Some(run.run_id), first_run: None, command };
            engine.submit(Request { lane: Lane::of(run), ask, reply: no_reply() });
        }
    }

    /// Sends an outcome until the run has it or no longer wants it.
    async fn deliver(&self, run: RunKey, mut command: Command) {
        let mut wait = OFFER_AGAIN.0;
        loop {
            let Some(engine) = self.engine().await else { return };
            let (reply, answer) = tokio::sync::oneshot::channel();
            let ask = Ask::Command {
                run_id: Some(run.run_id),
                first_run: None,
                command: command.clone(),
            };
            engine.submit(Request {
                lane: Lane::of(&run),
                ask,
                reply: Box::new(move |answer| drop(reply.send(answer.map(drop)))),
            });
            drop(engine);
            match answer.await {
                Ok(Ok(())) | Err(_) => return,
                Ok(Err(error)) if error.is_retryable() => {
                    tracing::warn!(%run, %error, "the outcome of a node is offered again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(OFFER_AGAIN.1);
                }
                Ok(Err(error)) => match outcome::instead(&command, &error) {
                    Some(failure) => command = failure,
                    None => {
                        tracing::debug!(%run, %error, "the outcome of a node is no longer wanted");
                        return;
                    }
                },
            }
        }
    }
}
