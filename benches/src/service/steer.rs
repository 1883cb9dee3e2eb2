//! A run that waits is changed, paused and resumed, one call after the other.

use std::time::{Duration, Instant};

use reflux_proto::api::flow_service_client::FlowServiceClient;
use reflux_proto::api::run_service_client::RunServiceClient;
use reflux_proto::api::{
    DeployFlowRequest, FlowSource, MutateRunRequest, PauseRunRequest, ResumeRunRequest,
    StartRunRequest,
};
use serde_json::json;

use super::Served;
use super::flows::{key, with};
use crate::bed::{Figure, millis, percentile};

const FLOW: &str = "
name: steered
steps:
  - {id: ask, wait: {approval: 'go on?'}}
  - {id: tell, node: util.template, needs: [ask], with: {template: first}}
";
const RUN: &str = "steered";
const TIMES: usize = 300;
/// Between two calls, so that none waits for another.
const QUIET: Duration = Duration::from_millis(5);

/// What a change, a pause and a resumption take from the call to the durable answer.
pub async fn run(served: &Served) -> Vec<Figure> {
    let (key, channel) = (key(served), served.channel().await);
    let source = FlowSource { text: FLOW.to_owned(), ..Default::default() };
    let deploy = DeployFlowRequest { source: Some(source), ..Default::default() };
    let mut flows = FlowServiceClient::new(channel.clone());
    flows.deploy_flow(with(&key, deploy)).await.expect("it is deployed");
    let mut runs = RunServiceClient::new(channel);
    let start = StartRunRequest {
        flow: RUN.to_owned(),
        workflow_id: RUN.to_owned(),
        ..StartRunRequest::default()
    };
    runs.start_run(with(&key, start)).await.expect("it starts");
    let (mut mutated, mut paused, mut resumed) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..TIMES {
        let set = json!({ "step": "tell", "path": "/with/template", "value": n.to_string() });
        let patch = json!({ "ops": [{ "set": set }] }).to_string();
        let request = MutateRunRequest { run: RUN.to_owned(), patch, ..Default::default() };
        let started = Instant::now();
        runs.mutate_run(with(&key, request)).await.expect("it is changed");
        mutated.push(millis(started.elapsed()));
        tokio::time::sleep(QUIET).await;

        let request = PauseRunRequest { run: RUN.to_owned(), ..Default::default() };
        let started = Instant::now();
        runs.pause_run(with(&key, request)).await.expect("it is paused");
        paused.push(millis(started.elapsed()));
        tokio::time::sleep(QUIET).await;

        let request = ResumeRunRequest { run: RUN.to_owned(), ..Default::default() };
        let started = Instant::now();
        runs.resume_run(with(&key, request)).await.expect("it goes on");
        resumed.push(millis(started.elapsed()));
        tokio::time::sleep(QUIET).await;
    }
    let figure = |what: &str, times: &mut Vec<f64>| {
        Figure::new(&format!("{what} over gRPC, p50"), percentile(times, 50), "ms").bar(3.0, 6.0)
    };
    vec![
        figure("a change of a run", &mut mutated),
        figure("a pause", &mut paused),
        figure("a resumption", &mut resumed),
    ]
}
