//! Flows over our own API, whose node is served by a worker in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reflux_proto::api::flow_service_client::FlowServiceClient;
use reflux_proto::api::node_service_client::NodeServiceClient;
use reflux_proto::api::run_service_client::RunServiceClient;
use reflux_proto::api::{
    DeployFlowRequest, FlowSource, RegisterNodeRequest, StartRunRequest, WatchRunRequest,
};
use reflux_proto::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueRequest, RespondActivityTaskCompletedRequest,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use super::Served;
use super::load::rate;
use super::temporal::{Client, NAMESPACE, clients, queue};
use crate::bed::{Figure, millis, percentile};

const NODE: &str = "bench.remote";
const NODE_QUEUE: &str = "node:bench.remote";
const STEPS: usize = 10;
const AT_ONCE: usize = 64;
const POLLERS: usize = 64;
const STARTS: usize = 300;

/// From the call that starts a flow to its node at work; then steps at a worker in bulk.
pub async fn remote(served: &Served) -> Vec<Figure> {
    let caller = Caller { runs: RunServiceClient::new(served.channel().await), key: key(served) };
    deploy(served).await;
    let (began, mut begun) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for client in clients(served, POLLERS).await {
        workers.push(tokio::spawn(act(client, began.clone(), stop.clone())));
    }
    let mut first = Vec::new();
    for n in 0..STARTS {
        let started = Instant::now();
        caller.start("one", format!("first-{n}")).await;
        let at: Instant = begun.recv().await.expect("a worker");
        first.push(millis(at - started));
        tokio::time::sleep(Duration::from_millis(5)).await; // the run ends before the next
    }
    let callers = vec![caller; AT_ONCE];
    let runs = rate(callers, |caller: Caller, n| async move {
        caller.start("ten", format!("ten-{n}")).await;
        caller.end(format!("ten-{n}")).await;
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    workers.iter().for_each(tokio::task::JoinHandle::abort);
    vec![
        Figure::new("start of a flow to its node at work, p50", percentile(&mut first, 50), "ms")
            .bar(3.0, 6.0),
        Figure::new("start of a flow to its node at work, p99", percentile(&mut first, 99), "ms")
            .bar(15.0, 30.0),
        Figure::new("steps at a worker in another process", runs * STEPS as f64, "steps/s")
            .bar(5_000.0, 2_500.0),
    ]
}

/// A client of runs with the token that changes need.
#[derive(Clone)]
struct Caller {
    runs: RunServiceClient<Channel>,
    key: MetadataValue<Ascii>,
}

impl Caller {
    async fn start(&self, flow: &str, workflow_id: String) {
        let request =
            StartRunRequest { flow: flow.to_owned(), workflow_id, ..StartRunRequest::default() };
        self.runs.clone().start_run(with(&self.key, request)).await.expect("it starts");
    }

    async fn end(&self, workflow_id: String) {
        let request = WatchRunRequest { run: workflow_id, ..WatchRunRequest::default() };
        let watch = self.runs.clone().watch_run(with(&self.key, request)).await;
        let mut updates = watch.expect("it can be watched").into_inner();
        while let Some(update) = updates.message().await.expect("it is followed") {
            if update.closed {
                return;
            }
        }
        panic!("the watch ended before the run");
    }
}

pub fn key(served: &Served) -> MetadataValue<Ascii> {
    let token = std::fs::read_to_string(served.project().join(".reflux/token")).expect("a token");
    format!("Bearer {}", token.trim()).parse().expect("a token is ASCII")
}

pub fn with<T>(key: &MetadataValue<Ascii>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", key.clone());
    request
}

async fn deploy(served: &Served) {
    let (key, channel) = (key(served), served.channel().await);
    let manifest = json!({ "name": NODE, "version": "1.0.0", "effects": "idempotent" });
    let manifest = serde_json::from_value(manifest).expect("a struct");
    let register = RegisterNodeRequest { manifest: Some(manifest), ..Default::default() };
    NodeServiceClient::new(channel.clone())
        .register_node(with(&key, register))
        .await
        .expect("it is registered");
    for (name, steps) in [("one", 1), ("ten", STEPS)] {
        let source = FlowSource { text: chain(name, steps).to_string(), ..Default::default() };
        let deploy = DeployFlowRequest { source: Some(source), ..Default::default() };
        FlowServiceClient::new(channel.clone())
            .deploy_flow(with(&key, deploy))
            .await
            .expect("it is deployed");
    }
}

/// A flow of that many steps at the worker, each of which needs the one before.
fn chain(name: &str, steps: usize) -> Value {
    let steps: Vec<Value> = (0..steps)
        .map(|n| match n {
            0 => json!({ "id": "s0", "node": NODE }),
            n => json!({ "id": format!("s{n}"), "node": NODE, "needs": format!("s{}", n - 1) }),
        })
        .collect();
    json!({ "name": name, "steps": steps })
}

/// A worker that says when it has a task, and completes it.
async fn act(mut client: Client, began: mpsc::UnboundedSender<Instant>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let request = PollActivityTaskQueueRequest {
            namespace: NAMESPACE.to_owned(),
            task_queue: Some(queue(NODE_QUEUE)),
            identity: "bench".to_owned(),
            ..Default::default()
        };
        let Ok(task) = client.poll_activity_task_queue(request).await else { continue };
        let task = task.into_inner();
        if task.task_token.is_empty() {
            continue;
        }
        // Nobody listens once the starts have been measured.
        let _ = began.send(Instant::now());
        let answer = RespondActivityTaskCompletedRequest {
            task_token: task.task_token,
            identity: "bench".to_owned(),
            namespace: NAMESPACE.to_owned(),
            ..Default::default()
        };
        client.respond_activity_task_completed(answer).await.expect("it is taken");
    }
}
