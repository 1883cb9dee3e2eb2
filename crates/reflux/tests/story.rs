//! One story from programs in each language, over gRPC and with its client: a run of twenty steps that failed is looked
//! at, mended and run again, and what it had done is not done again; another is paused, changed, resumed and forked.
//!
//! In Python and TypeScript the programs are in `tests/sdk/*-node`; over gRPC from Rust it is told here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::process::Command;

use reflux_proto::api as v1;
use reflux_proto::api::flow_service_client::FlowServiceClient;
use reflux_proto::api::run_service_client::RunServiceClient;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::chain::{FAILS, STEPS, chain, times, world};
use support::served::Served;
use support::{Project, Server, sdk, wait_until};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Waits for a word in its middle; what follows may be called twice.
fn held(url: &str) -> String {
    format!(
        "name: held\nsteps:\n\
         \x20 - {{id: first, node: http.request, with: {{method: PUT, url: '{url}/first', body: {{n: 0}}}}}}\n\
         \x20 - {{id: ask, needs: [first], wait: {{signal: go}}}}\n\
         \x20 - {{id: second, needs: [ask], node: http.request, with: {{method: PUT, url: '{url}/second', body: {{n: 1}}}}}}\n\
         \x20 - {{id: third, needs: [second], node: util.template, with: {{template: told}}}}\n\
         output: {{n: '{{{{ steps.second.output.data.n }}}}', text: '{{{{ steps.third.output.text }}}}'}}\n"
    )
}

/// A server with the flows of the story beside it, and the server that they call.
fn stage() -> (Project, Server, Served) {
    let (project, server) = world();
    project.write("chain.yaml", &chain(&server.url, "/broken"));
    project.write("mended.yaml", &chain(&server.url, &format!("/s{FAILS}")));
    project.write("held.yaml", &held(&server.url));
    let served = Served::start(&project);
    (project, server, served)
}

/// What was done outside: each step of the chain once, of the fork only what came after its event, and all of the three.
#[track_caller]
fn check_calls(server: &Server) {
    for step in 1..=STEPS {
        assert_eq!(times(server, &format!("/s{step}")), 1, "step {step}");
    }
    assert_eq!(times(server, "/broken"), 1);
    assert_eq!((times(server, "/first"), times(server, "/second")), (1 + 3, 2 + 3));
    assert_eq!(server.got().len(), STEPS + 10, "something else was called");
}

/// Tells the story by a program.
#[track_caller]
fn told_by(mut program: Command, over: &str) {
    let (project, server, served) = stage();
    program.arg(over).current_dir(project.path()).env("REFLUX_ADDRESS", &served.grpc);
    program.env("REFLUX_URL", served.url(""));
    program.env("REFLUX_PROTOS", Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto"));
    sdk::succeeds(program, &served);
    check_calls(&server);
}

fn python() -> Command {
    let dir = sdk::install("python-node");
    let mut program = Command::new(dir.join("bin/python"));
    program.arg(dir.join("story.py"));
    program
}

fn typescript() -> Command {
    let mut program = Command::new("node");
    program.arg(sdk::install("typescript-node").join("dist/story.js"));
    program
}

#[test]
fn a_failed_run_is_mended_from_python_over_grpc() {
    told_by(python(), "grpc");
}

#[test]
fn a_failed_run_is_mended_by_the_client_in_python() {
    told_by(python(), "rest");
}

#[test]
fn a_failed_run_is_mended_from_typescript_over_grpc() {
    told_by(typescript(), "grpc");
}

#[test]
fn a_failed_run_is_mended_by_the_client_in_typescript() {
    told_by(typescript(), "rest");
}

#[test]
fn a_failed_run_is_mended_by_the_client_in_rust() {
    told_by(Command::new(sdk::install("rust").join("story")), "rest");
}

#[test]
fn a_failed_run_is_mended_from_rust_over_grpc() {
    let (project, server, served) = stage();
    let calls = Calls::to(&project, &served);
    mended(&calls, &project);
    steered(&calls, &project);
    together(&calls);
    check_calls(&server);
}

/// The calls over gRPC, with the messages as JSON.
struct Calls {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
    token: String,
}

/// One call: its client, its method, its request.
macro_rules! call {
    ($calls:expr, $client:ident.$method:ident($request:ident), $json:tt) => {{
        let request = $calls.request::<v1::$request>(json!($json));
        let mut client = $client::new($calls.channel.clone());
        $calls.runtime.block_on(client.$method(request)).map(|answer| json_of(&answer.into_inner()))
    }};
}

fn json_of(message: &impl Serialize) -> Value {
    serde_json::to_value(message).unwrap()
}

impl Calls {
    fn to(project: &Project, served: &Served) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Channel::from_shared(format!("http://{}", served.grpc)).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        let token = std::fs::read_to_string(project.path().join(".reflux/token")).unwrap();
        Self { runtime, channel, token: format!("Bearer {}", token.trim()) }
    }

    fn request<T: DeserializeOwned>(&self, json: Value) -> Request<T> {
        let mut request = Request::new(serde_json::from_value(json).unwrap());
        request.metadata_mut().insert("authorization", self.token.parse().unwrap());
        request
    }

    fn deploy(&self, project: &Project, file: &str) -> String {
        let text = std::fs::read_to_string(project.path().join(file)).unwrap();
        let source = json!({"text": text, "file": file});
        call!(self, FlowServiceClient.deploy_flow(DeployFlowRequest), {"source": source}).unwrap();
        text
    }

    fn start(&self, flow: &str, workflow_id: &str) -> String {
        let wanted = json!({"flow": flow, "workflow_id": workflow_id});
        run_id(&call!(self, RunServiceClient.start_run(StartRunRequest), wanted).unwrap())
    }

    fn describe(&self, run: &str) -> Value {
        call!(self, RunServiceClient.describe_run(DescribeRunRequest), {"run": run}).unwrap()
    }

    fn state(&self, run: &str, event: u32) -> Value {
        let wanted = json!({"run": run, "event": event});
        let answer = call!(self, RunServiceClient.get_run_state(GetRunStateRequest), wanted);
        answer.unwrap()["state"].clone()
    }

    fn redrive(&self, run: &str, redrive: &Value) -> Result<Value, Status> {
        let wanted = json!({"run": run, "redrive": redrive});
        call!(self, RunServiceClient.redrive_run(RedriveRunRequest), wanted)
    }

    fn signal(&self, run: &str) {
        let wanted = json!({"run": run, "name": "go", "data": {"by": "Ada"}});
        call!(self, RunServiceClient.signal_run(SignalRunRequest), wanted).unwrap();
    }

    fn mutate(&self, run: &str, revision: u32, ops: &Value) -> Result<Value, Status> {
        let patch = json!({"ops": ops}).to_string();
        let wanted = json!({"run": run, "patch": patch, "expected_revision": revision});
        call!(self, RunServiceClient.mutate_run(MutateRunRequest), wanted)
    }

    /// How a run is once it is closed.
    #[track_caller]
    fn closed(&self, run: &str) -> Value {
        let mut told = Value::Null;
        wait_until(&format!("the end of {run}"), || {
            told = self.describe(run);
            told["run"]["status"] != "RUN_STATUS_RUNNING"
        });
        told
    }

    #[track_caller]
    fn waits(&self, run: &str, step: &str) {
        wait_until(&format!("{run} at {step}"), || {
            let told = self.describe(run);
            told["waits_for"].as_array().unwrap().iter().any(|wait| wait["activation"] == step)
        });
    }
}

fn run_id(answer: &Value) -> String {
    answer["run"]["run_id"].as_str().unwrap().to_owned()
}

fn step<'a>(state: &'a Value, id: &str) -> &'a Value {
    state["steps"].as_array().unwrap().iter().find(|step| step["id"] == id).unwrap()
}

/// Twenty steps, of which the twelfth is refused.
fn mended(calls: &Calls, project: &Project) {
    calls.deploy(project, "chain.yaml");
    let other = std::fs::read_to_string(project.path().join("mended.yaml")).unwrap();
    let base = calls.start("chain", "chain-1");
    assert_eq!(calls.closed(&base)["run"]["status"], "RUN_STATUS_FAILED");

    let state = calls.state(&base, 0);
    assert_eq!(
        (&state["status"], &step(&state, "s11")["outcome"]),
        (&json!("failed"), &json!("succeeded"))
    );
    assert_eq!(step(&state, "s12")["outcome"], "failed");
    assert!(step(&state, "s12")["error"].to_string().contains("400"), "{state:#}");
    assert_eq!(step(&state, "s13")["phase"], "idle");
    let same = call!(calls, RunServiceClient.verify_run(VerifyRunRequest), {"run": base});
    assert_eq!(same.unwrap()["verified"], true);
    let with = json!({"run": base, "with": {"source": {"text": other}}});
    let elsewhere = call!(calls, RunServiceClient.verify_run(VerifyRunRequest), with).unwrap();
    assert_eq!(elsewhere["verified"], false);
    assert_eq!(elsewhere["divergence"]["recorded"]["activation"], "s12", "{elsewhere:#}");
    assert_eq!(elsewhere["divergence"]["differences"][0]["path"], "input/url", "{elsewhere:#}");

    let mut patch = json!({"source": {"text": other, "file": "mended.yaml"}, "reason": "mended"});
    let wanted = json!({"run": base, "redrive": patch});
    let plan = call!(calls, RunServiceClient.plan_redrive(PlanRedriveRequest), wanted).unwrap();
    assert_eq!(
        (&plan["kept"], &plan["runs"], &plan["needs_consent"]),
        (&json!(11), &json!(9), &json!(["s12"])),
        "{plan:#}"
    );
    let refused = calls.redrive(&base, &patch).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    patch["allow_unsafe"] = json!(["s12"]);
    let again = run_id(&calls.redrive(&base, &patch).unwrap());
    let told = calls.closed(&again);
    assert_eq!(told["output"], json!(20), "{told:#}");
    assert_eq!(told["redriven_from"]["run_id"], json!(base));
    let both = json!({"run": base, "other": again});
    let diff = call!(calls, RunServiceClient.diff_runs(DiffRunsRequest), both).unwrap();
    assert_eq!(diff["first_difference"], "s12");
}

/// Stopped where it waits, changed, let go on; and once more from there.
fn steered(calls: &Calls, project: &Project) {
    calls.deploy(project, "held.yaml");
    let run = calls.start("held", "held-1");
    calls.waits(&run, "ask");
    let done = |event: &u32| step(&calls.state(&run, *event), "first")["outcome"] == "succeeded";
    let event = (1..).find(done).unwrap();
    let wanted = json!({"run": run, "reason": "a break"});
    call!(calls, RunServiceClient.pause_run(PauseRunRequest), wanted).unwrap();
    assert!(calls.describe(&run)["paused"].as_str().unwrap().contains("a break"));
    calls.signal(&run);
    assert_ne!(step(&calls.state(&run, 0), "second")["phase"], "running", "it started a step");
    let set = json!([{"set": {"step": "third", "path": "/with/template", "value": "changed"}}]);
    assert_eq!(calls.mutate(&run, 0, &set).unwrap()["revision"], 1);
    let stale = calls.mutate(&run, 0, &json!([{"remove": "third"}])).unwrap_err();
    assert_eq!(stale.code(), Code::FailedPrecondition);
    assert!(stale.message().contains("at revision 1, not 0"), "{stale}");
    call!(calls, RunServiceClient.resume_run(ResumeRunRequest), {"run": run}).unwrap();
    assert_eq!(calls.closed(&run)["output"], json!({"n": 2, "text": "changed"}));

    let wanted = json!({"run": run, "from_event": event, "workflow_id": "held-2"});
    let forked = run_id(&call!(calls, RunServiceClient.fork_run(ForkRunRequest), wanted).unwrap());
    calls.waits(&forked, "ask");
    calls.signal("held-2");
    let told = calls.closed(&forked);
    assert_eq!(
        (&told["run"]["status"], &told["output"]["n"]),
        (&json!("RUN_STATUS_COMPLETED"), &json!(2))
    );
}

/// Three are stopped at once, and go on one after the other.
fn together(calls: &Calls) {
    const QUERY: &str = "WorkflowId STARTS_WITH 'many-'";
    let ids = ["many-0", "many-1", "many-2"];
    for id in ids {
        calls.waits(&calls.start("held", id), "ask");
    }
    let all = |told: &Value, what: &str| {
        let output = told["output"].as_array().unwrap();
        assert!(output.len() == 3 && output.iter().all(|one| one[what] == true), "{output:#?}");
    };
    let took = call!(calls, RunServiceClient.pause_runs(PauseRunsRequest), {"query": QUERY});
    all(&calls.closed(&run_id(&took.unwrap())), "paused");
    for id in ids {
        calls.signal(id);
        assert_ne!(calls.describe(id)["paused"], "");
    }
    let paced = json!({"query": QUERY, "per_second": 50});
    let went = call!(calls, RunServiceClient.resume_runs(ResumeRunsRequest), paced);
    all(&calls.closed(&run_id(&went.unwrap())), "resumed");
    for id in ids {
        assert_eq!(calls.closed(id)["run"]["status"], "RUN_STATUS_COMPLETED");
    }
}
