//! Runs that are changed, paused and run again over the ports: who did it, at which revision, and
//! with which definition.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod served;

use reflux_proto::temporal::api::common::v1::WorkflowExecution;
use reflux_proto::temporal::api::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use reflux_proto::temporal::api::workflowservice::v1::{
    DescribeWorkflowExecutionRequest, PauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
};
use reflux_server::access::Scope;
use reflux_server::access::keys::{Wanted, create};
use reqwest::StatusCode;
use serde_json::{Value, json};
use served::{Served, told};

/// Its last step fails: the template names what is not there.
const ROW: &str = "
name: row
steps:
  - {id: ask, wait: {approval: 'go on?'}}
  - {id: b, node: util.template, needs: [ask], with: {template: first}}
  - {id: c, node: util.template, needs: [b], with: {template: \"{{ '{{ nobody }}' }}\"}}
output: '{{ steps.b.output.text }} {{ steps.c.output.text }}'
";

async fn waiting(served: &Served) -> String {
    served.deploy(ROW).await;
    let answer = served.post("/api/v1/runs", json!({"flow": "row", "workflow_id": "w"})).await;
    let run = answer["run"]["run_id"].as_str().unwrap().to_owned();
    for _ in 0..500 {
        if !served.see("/api/v1/runs/w/describe").await["waits_for"].as_array().unwrap().is_empty()
        {
            return run;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("run {run} does not wait");
}

fn set(step: &str, value: &str) -> Value {
    json!({ "set": { "step": step, "path": "/with/template", "value": value } })
}

fn patch(ops: &[Value]) -> String {
    json!({ "ops": ops }).to_string()
}

async fn approve(served: &Served) {
    served.post("/api/v1/runs/w/approve", json!({"approved": true})).await;
    served.closed("w").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_names_whoever_asked_for_it_and_makes_the_next_revision() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".reflux")).unwrap();
    let keys = dir.path().join(".reflux/keys.json");
    let ada = Wanted { name: "ada".into(), scope: Scope::Write, namespaces: None, valid: None };
    let ada = create(&keys, ada).unwrap();
    let served = Served::over(dir).await;
    waiting(&served).await;
    let revision = async || served.see("/api/v1/runs/w/describe").await["revision"].clone();
    assert_eq!(revision().await, 0);

    let change = json!({"patch": patch(&[set("b", "changed")]), "expected_revision": 0});
    let request = served.client.post(served.url("/api/v1/runs/w/mutate"));
    let request = request.header("authorization", format!("Bearer {ada}"));
    let request = request.header("content-type", "application/json").body(change.to_string());
    let (status, answer) = told(request.send().await.unwrap()).await;
    assert_eq!((status, &answer["revision"]), (StatusCode::OK, &json!(1)), "{answer}");
    assert_eq!(revision().await, 1);
    let again = patch(&[set("b", "changed again")]);
    served.post("/api/v1/runs/w/mutate", json!({"patch": again, "expected_revision": 1})).await;

    let history = served.see("/api/v1/runs/w/history").await;
    let entries = history["entries"].as_array().unwrap().iter();
    let authors: Vec<&Value> = entries
        .filter(|entry| entry.to_string().contains("reflux.mutation"))
        .map(|entry| &entry["facts"]["details"]["author"])
        .collect();
    assert_eq!(authors, [&json!("ada"), &json!("token")], "{history:#}");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_run_again_with_what_it_ran_and_with_a_patch_of_it() {
    let served = Served::start().await;
    waiting(&served).await;
    let change = json!({"patch": patch(&[set("b", "changed")])});
    served.post("/api/v1/runs/w/mutate", change).await;
    approve(&served).await;

    // Pinned is what ran, with its changes; the deployed definition does not have them.
    let plan = async |redrive: Value| {
        let plan = served.post("/api/v1/runs/w/redrive/plan", json!({"redrive": redrive})).await;
        let of = |step: &str| {
            let rows = plan["activations"].as_array().unwrap().iter();
            let row = rows.clone().find(|row| row["activation"] == step);
            row.map_or(String::new(), |row| row["verdict"].as_str().unwrap().to_owned())
        };
        (of("b"), of("c"))
    };
    let text = |b: &str, c: &str| (b.to_owned(), c.to_owned());
    assert_eq!(plan(json!({})).await, text("kept", "runs"));
    assert_eq!(plan(json!({"version": 0})).await, text("runs", "runs"));
    let mended = patch(&[set("c", "second")]);
    assert_eq!(plan(json!({"patch": mended})).await, text("kept", "runs"));

    // The record is held against the definition that it began with, patched.
    let verify = async |patch: &str| {
        let with = json!({"with": {"patch": patch}});
        served.post("/api/v1/runs/w/verify", with).await
    };
    let found = verify(&mended).await;
    assert_eq!(found["divergence"]["recorded"]["activation"], "c", "{found:#}");
    let found =
        verify(&patch(&[json!({"set": {"step": "b", "path": "/timeout", "value": "9s"}})])).await;
    assert_eq!(found["verified"], true, "{found:#}");
    let all = json!({"with": {"patch": patch(&[set("nobody", "x")])}});
    let found = served.post("/api/v1/runs:verify", all).await;
    assert_eq!((&found["checked"], &found["left_out"]), (&json!(0), &json!(1)), "{found:#}");

    for (redrive, because) in [
        (
            json!({"patch": json!({"revision": 0, "ops": [set("c", "x")]}).to_string()}),
            "revision 1",
        ),
        (json!({"patch": patch(&[json!({"remove": "nobody"})])}), "unknown step"),
        (json!({"patch": patch(&[json!({"remove": "b[1]"})])}), "item of a running step"),
        (
            json!({"patch": patch(&[json!({"set": {"step": "c", "path": "/node", "value": "no.node"}})])}),
            "not registered",
        ),
    ] {
        let body = Some(json!({"redrive": redrive}));
        let (status, answer) =
            served.ask(reqwest::Method::POST, "/api/v1/runs/w/redrive/plan", body).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(!status.is_success() && message.contains(because), "{because}: {answer}");
    }

    served.post("/api/v1/runs/w/redrive", json!({"redrive": {"patch": mended}})).await;
    let run = served.closed("w").await;
    assert_eq!(run["status"], "RUN_STATUS_COMPLETED", "{run}");
    let told = served.see("/api/v1/runs/w/describe").await;
    assert_eq!(told["output"], "changed second");
    assert_eq!((&told["redriven_from"]["by"], &told["revision"]), (&json!("token"), &json!(0)));
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_temporal_pauses_a_flow_and_lets_it_go_on() {
    let served = Served::start().await;
    let run_id = waiting(&served).await;
    let mut client =
        WorkflowServiceClient::connect(format!("http://{}", served.grpc)).await.unwrap();
    let execution = Some(WorkflowExecution { workflow_id: "w".into(), run_id: run_id.clone() });
    for _ in 0..2 {
        // Asking twice is asking once.
        client
            .pause_workflow_execution(PauseWorkflowExecutionRequest {
                namespace: "default".into(),
                workflow_id: "w".into(),
                run_id: run_id.clone(),
                identity: "cli@here".into(),
                reason: "lunch".into(),
                request_id: "p".into(),
            })
            .await
            .unwrap();
    }
    let describe = DescribeWorkflowExecutionRequest { namespace: "default".into(), execution };
    let told = client.describe_workflow_execution(describe).await.unwrap().into_inner();
    let paused = told.workflow_extended_info.unwrap().pause_info.unwrap();
    assert_eq!((paused.identity.as_str(), paused.reason.as_str()), ("cli@here", "lunch"));
    assert_eq!(served.see("/api/v1/runs/w/describe").await["paused"], "lunch");

    served.post("/api/v1/runs/w/approve", json!({"approved": true})).await;
    let told = served.see("/api/v1/runs/w/describe").await;
    assert_eq!(told["steps"][1]["status"], "STEP_STATUS_PENDING", "nothing starts: {told:#}");

    client
        .unpause_workflow_execution(UnpauseWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id: "w".into(),
            run_id,
            request_id: "u".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    let run = served.closed("w").await;
    assert_eq!(run["status"], "RUN_STATUS_FAILED", "it went on to its last step: {run}");
    served.end().await;
}
