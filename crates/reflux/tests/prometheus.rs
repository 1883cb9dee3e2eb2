//! A real Prometheus over a real server: every query of the dashboard finds something.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reflux_proto::temporal::api::common::v1::WorkflowType;
use reflux_proto::temporal::api::taskqueue::v1::TaskQueue;
use reflux_proto::temporal::api::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use reflux_proto::temporal::api::workflowservice::v1::{
    PollWorkflowTaskQueueRequest, StartWorkflowExecutionRequest,
};
use serde_json::Value;
use support::Project;
use support::served::Served;

/// What Grafana puts in for the interval of rates: some scrapes.
const INTERVAL: &str = "20s";
/// How long a query may find nothing.
const PATIENCE: Duration = Duration::from_secs(90);

struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    fn start(dir: &Path, target: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: reflux\n    static_configs:\n      - targets: [\"{target}\"]\n"
        );
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus is not installed: apt-get install prometheus");
        Self { child, url: format!("http://127.0.0.1:{port}") }
    }

    /// The series that a query finds now; none while Prometheus is not ready.
    async fn found(&self, query: &str) -> usize {
        let client = reqwest::Client::new();
        let asked = client
            .post(format!("{}/api/v1/query", self.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("query={}", encoded(query)));
        let Ok(answer) = asked.send().await else { return 0 };
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
        assert_ne!(answer["status"], "error", "{query}: {answer}");
        answer["data"]["result"].as_array().map_or(0, Vec::len)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Title and expression of every query.
fn queries() -> Vec<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana/reflux.json");
    let board: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", INTERVAL);
            queries.push((panel["title"].as_str().unwrap().to_owned(), expression));
        }
    }
    queries
}

fn project() -> Project {
    let project = Project::new();
    project.write(
        ".reflux/config.toml",
        "[server]\nnamespaces = [\"full\"]\n[quotas]\nnamespaces = [\"full/open_runs=0\"]\n",
    );
    project.write(
        "nodes/t.yaml",
        "module: t\nversion: 1.0.0\nactions:\n  - {name: odd, command: [./odd.sh], effects: idempotent, retries: [0.05], rate: 1/s, circuit: {failures: 1000, within: 1m, open: 1s}}\n",
    );
    // Every other call fails.
    project.write(
        "odd.sh",
        "#!/bin/sh\nif [ -e even ]; then rm even; echo '{}'; else touch even; exit 1; fi\n",
    );
    project.write(
        "flows/work.yaml",
        "name: work\nsteps:\n  - {id: hard, node: t.odd}\n  - {id: rest, wait: 100ms, needs: hard}\n  - {id: say, node: util.log, with: {message: hello}, needs: rest}\n",
    );
    project
}

/// A little of everything that the dashboard shows.
async fn load(project: &Project, served: &Served, round: usize) {
    project.run(&["run", "work"]).with_code(0);
    let mut temporal =
        WorkflowServiceClient::connect(format!("http://{}", served.grpc)).await.unwrap();
    let queue = |name: &str| Some(TaskQueue { name: name.to_owned(), ..Default::default() });
    let start = |name: &str, request: &str| StartWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_id: format!("{name}-{round}"),
        workflow_type: Some(WorkflowType { name: "Order".to_owned() }),
        task_queue: queue(name),
        request_id: request.to_owned(),
        ..Default::default()
    };
    // One task nobody takes, and the same start again, which is refused.
    temporal.start_workflow_execution(start("unserved", "one")).await.unwrap();
    temporal.start_workflow_execution(start("unserved", "two")).await.unwrap_err();
    // One that a quota refuses.
    let full = StartWorkflowExecutionRequest {
        namespace: "full".to_owned(),
        ..start("unserved", "three")
    };
    temporal.start_workflow_execution(full).await.unwrap_err();
    // One that a poll waits for.
    let poll = PollWorkflowTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: queue("served"),
        ..Default::default()
    };
    let mut worker = temporal.clone();
    let polled = tokio::spawn(async move { worker.poll_workflow_task_queue(poll).await });
    temporal.start_workflow_execution(start("served", "one")).await.unwrap();
    assert!(!polled.await.unwrap().unwrap().into_inner().task_token.is_empty());
    let refused = reqwest::Client::new().post(served.url("/api/v1/runs")).send().await.unwrap();
    assert_eq!(refused.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_dashboard_finds_something() {
    let project = project();
    let served = Served::start(&project);
    let prometheus = Prometheus::start(project.path(), &served.http);
    let mut open = queries();
    assert!(open.len() > 30, "the dashboard was read");
    let begun = Instant::now();
    let mut round = 0;
    while !open.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "these queries find nothing: {open:#?}");
        load(&project, &served, round).await;
        round += 1;
        let mut empty = Vec::new();
        for (title, query) in open {
            if prometheus.found(&query).await == 0 {
                empty.push((title, query));
            }
        }
        open = empty;
    }
}
