//! The API over real ports: the same calls over gRPC and over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod served;

use futures::{SinkExt as _, StreamExt as _};
use reflux_proto::api as v1;
use reflux_proto::api::flow_service_client::FlowServiceClient;
use reflux_proto::api::node_service_client::NodeServiceClient;
use reflux_proto::api::run_service_client::RunServiceClient;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use served::{Served, told};
use tokio_tungstenite::tungstenite::Message;

const GREET: &str = "
name: greet
description: Say hello
category: demo
input: {name: string, 'n?': integer}
steps:
  - {id: text, node: util.template, with: {template: 'Hello {{ input.name }}'}}
output: {text: '{{ steps.text.output.text }}', n: '{{ input.n }}'}
";
const ASK: &str = "
name: ask
steps:
  - {id: sure, wait: {approval: Sure?}}
  - {id: note, node: util.template, with: {template: 'done by {{ steps.sure.output.by }}'}}
";
const PATIENT: &str = "
name: patient
steps:
  - {id: log, node: util.log, retry: [1s], with: {message: x}}
";
const TALK: &str = "
name: talk
steps:
  - {id: word, wait: {signal: word}}
output: {said: '{{ steps.word.output }}'}
";

async fn start(served: &Served, body: Value) -> String {
    let answer = served.post("/api/v1/runs", body).await;
    answer["run"]["run_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_is_deployed_in_versions_that_survive_the_server() {
    let served = Served::start().await;
    let first = served.deploy(GREET).await;
    assert_eq!((&first["flow"]["version"], &first["existing"]), (&json!(1), &json!(false)));
    assert_eq!(first["flow"]["parameters"][0]["name"], "name");
    let again = served.deploy(GREET).await;
    assert_eq!((&again["flow"]["version"], &again["existing"]), (&json!(1), &json!(true)));
    let second = served.deploy(&GREET.replace("Hello", "Good day")).await;
    assert_eq!(second["flow"]["version"], 2);
    // The other face sees the same.
    let mut flows = FlowServiceClient::connect(format!("http://{}", served.grpc)).await.unwrap();
    let request = v1::GetFlowRequest { name: "greet".into(), version: 1, ..Default::default() };
    let got = flows.get_flow(request).await.unwrap().into_inner();
    assert_eq!(got.source.unwrap().text, GREET);
    assert_eq!(got.versions.iter().map(|it| it.version).collect::<Vec<_>>(), [2, 1]);

    let diff = served.see("/api/v1/flows/greet/diff").await;
    assert_eq!(diff["changes"].as_array().unwrap().len(), 1, "{diff}");
    assert_eq!(diff["changes"][0]["path"], "steps/text/with/template");
    assert!(diff["unified"].as_str().unwrap().contains("\n+      template: \"Good day"), "{diff}");

    let served = served.again().await;
    let list = served.see("/api/v1/flows").await;
    assert_eq!(list["flows"][0]["version"], 2, "{list}");
    assert_eq!(served.see("/api/v1/flows?category=other").await["flows"], json!([]));
    assert_eq!(served.see("/api/v1/flows?template=true").await["flows"], json!([]));
    for (version, text) in [(1, "Hello you"), (0, "Good day you")] {
        let id =
            start(&served, json!({"flow": "greet", "version": version, "input": {"name": "you"}}))
                .await;
        assert_eq!(served.closed(&id).await["status"], "RUN_STATUS_COMPLETED");
        let output = served.see(&format!("/api/v1/runs/{id}/query?query=output")).await;
        assert_eq!(output["result"]["text"], text);
    }
    let usage = served.see("/api/v1/flows/greet/usage").await;
    assert_eq!((&usage["runs"], &usage["by_status"][0]["runs"]), (&json!(2), &json!(2)), "{usage}");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_are_exported_imported_copied_and_removed() {
    let served = Served::start().await;
    let outer = "name: outer\nsteps:\n  - {id: a, flow: inner}\n";
    let inner = "name: inner\nsteps:\n  - {id: x, pass: true}\n";
    let (status, answer) =
        served.ask(Method::POST, "/api/v1/flows", Some(json!({"source": {"text": outer}}))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("unknown flow `inner`"));
    let sources = json!([{"text": outer, "file": "outer.yaml"}, {"text": inner}]);
    let done =
        served.post("/api/v1/flows:import", json!({"sources": sources, "author": "me"})).await;
    assert_eq!(done["flows"][0]["flow"]["author"], "me");
    let got = served.see("/api/v1/flows/outer").await;
    assert_eq!(got["sub_flows"], json!(["inner"]));

    served.deploy(GREET).await;
    let mut digests = Vec::new();
    for syntax in ["source", "yaml", "json", "canvas"] {
        let text = served.see(&format!("/api/v1/flows/greet/export?syntax={syntax}")).await;
        let text = text["source"]["text"].as_str().unwrap().to_owned();
        let found = served.post("/api/v1/flows:validate", json!({"source": {"text": text}})).await;
        assert_eq!(found["valid"], true, "{syntax}: {found}");
        digests.push(found["flow"]["digest"].clone());
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");

    let values = json!({"new_name": "greet-ada", "values": {"name": "Ada"}});
    let copy = served.post("/api/v1/flows/greet/clone", values).await;
    assert_eq!(copy["flow"]["parameters"][0]["default"], "Ada", "{copy}");
    let id = start(&served, json!({"flow": "greet-ada"})).await;
    served.closed(&id).await;
    assert_eq!(
        served.see(&format!("/api/v1/runs/{id}/query?query=output")).await["result"]["text"],
        "Hello Ada"
    );

    for (method, path, body, code) in [
        (
            Method::POST,
            "/api/v1/flows/greet/clone",
            Some(json!({"new_name": "greet-ada"})),
            "already_exists",
        ),
        (
            Method::POST,
            "/api/v1/flows/greet/clone",
            Some(json!({"new_name": "x", "values": {"nam": 1}})),
            "invalid_argument",
        ),
        (
            Method::POST,
            "/api/v1/flows/greet/clone",
            Some(json!({"new_name": "x", "values": {"name": 1}})),
            "invalid_argument",
        ),
        (
            Method::POST,
            "/api/v1/flows/greet/clone",
            Some(json!({"new_name": "a\u{202e}b"})),
            "invalid_argument",
        ),
        (Method::DELETE, "/api/v1/flows/inner", None, "failed_precondition"),
        (Method::DELETE, "/api/v1/flows/none", None, "not_found"),
        (Method::GET, "/api/v1/flows/greet/diff", None, "not_found"),
    ] {
        let (_, answer) = served.ask(method, path, body).await;
        assert_eq!(answer["error"]["code"], code, "{path}: {answer}");
    }
    served.deploy(PATIENT).await;
    let (_, answer) = served.get("/api/v1/flows/patient/export?syntax=canvas").await;
    let error = &answer["error"];
    assert_eq!(error["code"], "failed_precondition", "{answer}");
    assert!(error["message"].as_str().unwrap().ends_with("these steps say: `log`"), "{answer}");
    served.ask(Method::DELETE, "/api/v1/flows/patient", None).await;
    served.deploy(TALK).await;
    let id = start(&served, json!({"flow": "talk"})).await;
    let (_, answer) = served.ask(Method::DELETE, "/api/v1/flows/talk", None).await;
    assert_eq!(answer["error"]["code"], "failed_precondition", "it has an open run");
    served.post(&format!("/api/v1/runs/{id}/terminate"), json!({})).await;
    let (status, answer) = served.ask(Method::DELETE, "/api/v1/flows/talk", None).await;
    assert_eq!((status, &answer["versions"]), (StatusCode::OK, &json!(1)));
    let served = served.again().await;
    assert_eq!(served.get("/api/v1/flows/talk").await.0, StatusCode::NOT_FOUND);
    let run = served.see(&format!("/api/v1/runs/{id}/describe")).await;
    assert_eq!(run["steps"][0]["id"], "word", "a run keeps its definition");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repetitions_of_a_start_are_one_run() {
    let served = Served::start().await;
    served.deploy(GREET).await;
    let body = json!({"flow": "greet", "input": {"name": "you"}});
    let keyed = |key: &'static str| {
        let request = served.request(Method::POST, "/api/v1/runs").header("idempotency-key", key);
        let request = request.header("content-type", "application/json").body(body.to_string());
        async move { told(request.send().await.unwrap()).await.1 }
    };
    let (one, two, other) = (keyed("k1").await, keyed("k1").await, keyed("k2").await);
    assert_eq!(one["run"]["run_id"], two["run"]["run_id"], "{one} {two}");
    assert_eq!((&one["existing"], &two["existing"]), (&json!(false), &json!(true)));
    assert_ne!(one["run"]["run_id"], other["run"]["run_id"]);
    let id = one["run"]["run_id"].as_str().unwrap();
    served.closed(id).await;
    assert_eq!(keyed("k1").await["run"]["run_id"], id, "also once it is closed");

    served.deploy(TALK).await;
    let talk = |use_existing: bool| json!({"flow": "talk", "workflow_id": "t", "use_existing": use_existing});
    let run = start(&served, talk(false)).await;
    let (status, answer) = served.ask(Method::POST, "/api/v1/runs", Some(talk(false))).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::CONFLICT, &json!("already_exists"))
    );
    assert_eq!(start(&served, talk(true)).await, run);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_described_answered_paused_and_ended() {
    let served = Served::start().await;
    for flow in [ASK, TALK] {
        served.deploy(flow).await;
    }
    let id = start(&served, json!({"flow": "ask", "workflow_id": "w"})).await;
    let told = served.see("/api/v1/runs/w/describe").await;
    assert_eq!(told["current_steps"], json!(["sure"]));
    assert_eq!(told["waits_for"][0]["kind"], "approval");
    assert_eq!(told["run"]["progress_percent"], 0);
    let (_, answer) = served
        .ask(
            Method::POST,
            "/api/v1/runs/w/approve",
            Some(json!({"step": "note", "approved": true})),
        )
        .await;
    assert_eq!(answer["error"]["code"], "failed_precondition", "{answer}");
    let approval = json!({"approved": true, "by": "Ada", "request_id": "once"});
    let done = served.post("/api/v1/runs/w/approve", approval.clone()).await;
    assert_eq!(done["step"], "sure");
    let closed = served.closed(&id).await;
    let again = served.post("/api/v1/runs/w/approve", approval).await;
    assert_eq!(again["step"], "sure", "a repeated request is answered as the first: {again}");
    assert_eq!(
        (&closed["status"], &closed["progress_percent"]),
        (&json!("RUN_STATUS_COMPLETED"), &json!(100))
    );
    let state = served.see("/api/v1/runs/w/query").await;
    assert_eq!(state["result"]["steps"]["note"]["output"]["text"], "done by Ada", "{state}");
    assert_eq!(
        served.see("/api/v1/runs/w/query?query=steps/note").await["result"]["text"],
        "done by Ada"
    );
    for (query, code) in [("steps/not", "not_found"), ("everything", "invalid_argument")] {
        let (_, answer) = served.get(&format!("/api/v1/runs/w/query?query={query}")).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    // The history in pages.
    let mut types = Vec::new();
    let mut token = String::new();
    loop {
        let page =
            served.see(&format!("/api/v1/runs/w/history?page_size=2&page_token={token}")).await;
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() <= 2);
        types.extend(entries.iter().map(|entry| entry["type"].as_str().unwrap().to_owned()));
        token = page["next_page_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(types.first().map(String::as_str), Some("WorkflowExecutionStarted"));
    assert_eq!(types.last().map(String::as_str), Some("WorkflowExecutionCompleted"));

    let id = start(&served, json!({"flow": "talk"})).await;
    let at = |what: &str| format!("/api/v1/runs/{id}/{what}");
    served.post(&at("pause"), json!({"reason": "lunch", "request_id": "p"})).await;
    served.post(&at("pause"), json!({"reason": "lunch", "request_id": "p"})).await;
    assert_eq!(served.see(&at("describe")).await["paused"], "lunch");
    let (_, twice) = served.ask(Method::POST, &at("pause"), Some(json!({}))).await;
    assert_eq!(twice["error"]["code"], "failed_precondition");
    served.post(&at("resume"), json!({})).await;
    served.post(&at("signal"), json!({"name": "word", "data": {"z": 1, "a": [1.5, null]}})).await;
    assert_eq!(served.closed(&id).await["status"], "RUN_STATUS_COMPLETED");
    let output = served.see(&at("query?query=output")).await;
    assert_eq!(output["result"].to_string(), r#"{"said":{"z":1,"a":[1.5,null]}}"#);
    let (status, answer) = served.ask(Method::POST, &at("cancel"), Some(json!({}))).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (StatusCode::CONFLICT, &json!("failed_precondition"))
    );

    let id = start(&served, json!({"flow": "talk"})).await;
    served.post(&format!("/api/v1/runs/{id}/cancel"), json!({"reason": "enough"})).await;
    assert_eq!(served.closed(&id).await["status"], "RUN_STATUS_CANCELED");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_listed_in_pages_and_the_servers_own_are_not() {
    let served = Served::start().await;
    served.deploy(GREET).await;
    for n in 0..7 {
        let body = json!({"flow": "greet", "workflow_id": format!("g{n}"), "input": {"name": "x"}});
        let id = start(&served, body).await;
        served.closed(&id).await;
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = served.see(&format!("/api/v1/runs?page_size=3&page_token={token}")).await;
        seen.extend(page["runs"].as_array().unwrap().iter().map(|run| run["workflow_id"].clone()));
        token = page["next_page_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    let expected: Vec<Value> = (0..7).rev().map(|n| json!(format!("g{n}"))).collect();
    assert_eq!(seen, expected);
    for (query, count) in [
        ("statuses=completed", 7),
        ("statuses=RUN_STATUS_COMPLETED&statuses=failed", 7),
        ("statuses=failed", 0),
        ("flow=none", 0),
        ("workflow_id_prefix=g1", 1),
        ("text=G2", 1),
        ("started_from=2100-01-01T00:00:00Z", 0),
        ("started_before=2100-01-01T00:00:00Z&page_size=5", 5),
    ] {
        let page = served.see(&format!("/api/v1/runs?{query}")).await;
        assert_eq!(page["runs"].as_array().unwrap().len(), count, "{query}");
    }
    for namespace in ["reflux-system", "elsewhere"] {
        let (status, _) = served.get(&format!("/api/v1/runs?namespace={namespace}")).await;
        assert!(status.is_client_error(), "{namespace}");
    }
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_right_is_refused_with_what_to_do() {
    let served = Served::start().await;
    served.deploy(GREET).await;
    let long = "x".repeat(1_001);
    let deep = "[".repeat(100_000);
    let check = async |method: Method, path: &str, body: Option<String>, status: u16| {
        let mut request = served.request(method.clone(), path);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let (found, answer) = told(request.send().await.unwrap()).await;
        assert_eq!(found.as_u16(), status, "{method} {path}: {answer}");
        assert!(answer["error"]["message"].is_string(), "{method} {path}: {answer}");
    };
    let starts = |fields: Value| {
        let mut body = json!({"flow": "greet", "input": {"name": "x"}});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Some(body.to_string())
    };
    for (path, body, status) in [
        ("/api/v1/runs", Some(String::new()), 400),
        ("/api/v1/runs", Some("{".into()), 400),
        ("/api/v1/runs", Some("[]".into()), 400),
        ("/api/v1/runs", Some(deep.clone()), 400),
        ("/api/v1/runs", Some(format!(r#"{{"flow": "greet", "input": {{"name": {deep}"#)), 400),
        ("/api/v1/runs", starts(json!({"flow": "gret"})), 404),
        ("/api/v1/runs", starts(json!({"flow": "../greet"})), 404),
        ("/api/v1/runs", starts(json!({"flow": "greet", "version": 9})), 404),
        ("/api/v1/runs", starts(json!({"flow": "greet", "version": -1})), 400),
        ("/api/v1/runs", starts(json!({"input": {}})), 400),
        ("/api/v1/runs", starts(json!({"input": {"name": 1}})), 400),
        ("/api/v1/runs", starts(json!({"input": {"name": "x", "nme": "y"}})), 400),
        ("/api/v1/runs", starts(json!({"unheard_of": 1})), 400),
        ("/api/v1/runs", starts(json!({"workflow_id": long})), 400),
        ("/api/v1/runs", starts(json!({"workflow_id": "a\0b"})), 400),
        ("/api/v1/runs", starts(json!({"workflow_id": "a\u{202e}b"})), 400),
        ("/api/v1/runs", starts(json!({"request_id": long})), 400),
        ("/api/v1/runs", starts(json!({"namespace": "reflux-system"})), 400),
        ("/api/v1/runs", starts(json!({"namespace": "nowhere"})), 404),
        ("/api/v1/runs?flow=greet", starts(json!({})), 400),
        ("/api/v1/runs/x/signal", Some(r#"{"run": "y", "name": "n"}"#.into()), 400),
        ("/api/v1/runs/x/signal", Some(r#"{"name": "n"}"#.into()), 404),
        ("/api/v1/runs/x/resolve", Some("{}".into()), 400),
        ("/api/v1/flows", Some("{}".into()), 400),
        ("/api/v1/flows", Some(json!({"source": {"text": "name: [x"}}).to_string()), 400),
        (
            "/api/v1/flows",
            Some(json!({"source": {"text": "x".repeat(1_100_000)}}).to_string()),
            400,
        ),
    ] {
        check(Method::POST, path, body, status).await;
    }
    for (path, status) in [
        ("/api/v1/runs/none", 404),
        ("/api/v1/runs/%00", 400),
        ("/api/v1/runs/%ff", 400),
        ("/api/v1/nothing", 404),
        ("/api/v1/runs?page_token=zz", 400),
        ("/api/v1/runs?page_token=é", 400),
        ("/api/v1/runs?page_size=-1", 400),
        ("/api/v1/runs?page_size=many", 400),
        ("/api/v1/runs?statuses=gone", 400),
        ("/api/v1/runs?unheard_of=1", 400),
        ("/api/v1/runs?flow=a&flow=b", 400),
        ("/api/v1/runs/x/ws", 426),
        ("/api/v1/flows?template=maybe", 400),
    ] {
        check(Method::GET, path, None, status).await;
    }
    for path in ["runs/%2e%2e", "runs/..%2fruns", "/runs", "flows/%2e%2e%2f", "flows/..%5c"] {
        let (status, answer) = served.get(&format!("/api/v1/{path}")).await;
        let status = status.as_u16();
        assert!(status == 400 || status == 404, "{path}: {status} {answer}");
        assert!(answer["error"]["message"].is_string(), "{path}: {answer}");
    }
    check(Method::PUT, "/api/v1/runs", None, 405).await;
    check(Method::DELETE, "/api/v1/runs/x/signal", None, 405).await;

    let form = served.request(Method::POST, "/api/v1/runs").body("flow=greet");
    let (status, _) = told(form.send().await.unwrap()).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    // The server is as it was.
    start(&served, json!({"flow": "greet", "input": {"name": "x"}})).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_is_refused_before_it_is_sent() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let served = Served::start().await;
    let mut stream = tokio::net::TcpStream::connect(served.http).await.unwrap();
    let bearer =
        served.bearer().map(|bearer| format!("authorization: {bearer}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\n{bearer}content-type: application/json\r\ncontent-length: 1073741824\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // The same without saying how much it is.
    let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]));
    let request =
        served.request(Method::POST, "/api/v1/runs").header("content-type", "application/json");
    let sent = request.body(reqwest::Body::wrap_stream(endless.take(1 << 14))).send().await;
    // The server may hang up before the client has read the answer.
    if let Ok(answer) = sent {
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_answers_with_the_same_errors() {
    let served = Served::start().await;
    let address = format!("http://{}", served.grpc);
    let mut runs = RunServiceClient::connect(address.clone()).await.unwrap();
    let request = v1::GetRunRequest { run: "none".into(), ..Default::default() };
    let status = runs.get_run(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
    assert!(status.message().contains("; name it by its run id"), "{status}");
    let request = v1::StartRunRequest { workflow_id: "a\0".into(), ..Default::default() };
    let status = runs.start_run(served.signed(request)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    let huge =
        v1::SignalRunRequest { run: "x".into(), name: "y".repeat(5 << 20), ..Default::default() };
    let status = runs.signal_run(served.signed(huge)).await.unwrap_err();
    let too_large = [tonic::Code::OutOfRange, tonic::Code::ResourceExhausted];
    assert!(too_large.contains(&status.code()), "{status}");
    let mut nodes = NodeServiceClient::connect(address).await.unwrap();
    let request = v1::GetNodeRequest { name: "http.reqest".into(), ..Default::default() };
    let status = nodes.get_node(request).await.unwrap_err();
    assert!(status.message().contains("http.request"), "{status}");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registered_node_is_known_to_flows_and_survives_the_server() {
    let served = Served::start().await;
    let flow = "name: upper\nsteps:\n  - {id: a, node: text.upper, with: {text: x}}\n";
    let validate = json!({"source": {"text": flow}});
    let found = served.post("/api/v1/flows:validate", validate.clone()).await;
    assert_eq!(found["problems"][0]["code"], "unknown-node", "{found}");
    let manifest = json!({
        "name": "text.upper", "version": "1.0.0", "description": "Shout", "effects": "pure",
        "inputs": {"text": "string"}, "outputs": {"text": "string"}, "alternatives": ["util.template"],
    });
    let register = json!({"manifest": manifest});
    let node = served.post("/api/v1/nodes", register.clone()).await;
    assert_eq!(
        (&node["existing"], &node["node"]["task_queue"]),
        (&json!(false), &json!("node:text.upper"))
    );
    assert_eq!(served.post("/api/v1/nodes", register).await["existing"], true);
    assert_eq!(served.post("/api/v1/flows:validate", validate.clone()).await["valid"], true);
    let alike = served.see("/api/v1/nodes/text.upper/alternatives").await;
    assert_eq!(alike["nodes"][0]["name"], "util.template");
    assert_eq!(
        served.see("/api/v1/nodes/util.template/alternatives").await["nodes"][0]["name"],
        "text.upper"
    );
    served.deploy(flow).await;
    let id = start(&served, json!({"flow": "upper"})).await;

    let served = served.again().await;
    let node = served.see("/api/v1/nodes/text.upper").await;
    assert_eq!(
        (&node["node"]["origin"], &node["versions"]),
        (&json!("registered"), &json!(["1.0.0"]))
    );
    let told = served.see(&format!("/api/v1/runs/{id}/describe")).await;
    assert_eq!(told["waits_for"][0]["text"], "`a` waits to be handed out", "{told}");

    let mark = json!({"reason": "too loud", "replacement": "util.template"});
    served.post("/api/v1/nodes/text.upper/deprecate", mark).await;
    let found = served.post("/api/v1/flows:validate", validate).await;
    assert_eq!(
        (&found["valid"], &found["problems"][0]["code"]),
        (&json!(true), &json!("deprecated-node"))
    );
    let all = served.see("/api/v1/nodes?origin=registered").await;
    assert_eq!(all["nodes"][0]["deprecated"], "too loud");
    for (method, path, body, code) in [
        (
            Method::POST,
            "/api/v1/nodes",
            Some(json!({"manifest": {"name": "http.request", "version": "9.0.0"}})),
            "already_exists",
        ),
        (
            Method::POST,
            "/api/v1/nodes",
            Some(json!({"manifest": {"name": "a b", "version": "1.0.0"}})),
            "invalid_argument",
        ),
        (
            Method::POST,
            "/api/v1/nodes",
            Some(json!({"manifest": {"name": "x.y"}})),
            "invalid_argument",
        ),
        (
            Method::POST,
            "/api/v1/nodes/util.log/deprecate",
            Some(json!({"reason": "x"})),
            "not_found",
        ),
        (Method::DELETE, "/api/v1/nodes/text.upper?version=1.0.0", None, "failed_precondition"),
        (Method::DELETE, "/api/v1/nodes/text.upper", None, "invalid_argument"),
    ] {
        let (_, answer) = served.ask(method, path, body).await;
        assert_eq!(answer["error"]["code"], code, "{path}: {answer}");
    }
    served.post(&format!("/api/v1/runs/{id}/terminate"), json!({})).await;
    assert_eq!(served.ask(Method::DELETE, "/api/v1/flows/upper", None).await.0, StatusCode::OK);
    assert_eq!(
        served.ask(Method::DELETE, "/api/v1/nodes/text.upper?version=1.0.0", None).await.0,
        StatusCode::OK
    );
    assert_eq!(served.get("/api/v1/nodes/text.upper").await.0, StatusCode::NOT_FOUND);
    served.end().await;
}

/// The events of a stream until it ends: id and data.
async fn events(response: reqwest::Response) -> Vec<(String, Value)> {
    let text = response.text().await.unwrap();
    let field = |event: &str, name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    let told = text.split("\n\n").filter(|event| event.contains("data: "));
    told.map(|event| (field(event, "id"), serde_json::from_str(&field(event, "data")).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_watched_to_its_end_and_a_broken_stream_resumes() {
    let served = Served::start().await;
    served.deploy(ASK).await;
    let id = start(&served, json!({"flow": "ask"})).await;
    let path = format!("/api/v1/runs/{id}/watch");
    let accept = |request: reqwest::RequestBuilder| request.header("accept", "text/event-stream");
    let watching = accept(served.client.get(served.url(&path))).send().await.unwrap();
    assert_eq!(watching.headers()["content-type"], "text/event-stream");
    let url = format!("ws://{}/api/v1/runs/{id}/ws", served.http);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let mut runs = RunServiceClient::connect(format!("http://{}", served.grpc)).await.unwrap();
    let request = v1::WatchRunRequest { run: id.clone(), ..Default::default() };
    let mut stream = runs.watch_run(request.clone()).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!((first.current_steps, first.closed), (vec!["sure".to_owned()], false));

    served.post(&format!("/api/v1/runs/{id}/approve"), json!({"approved": true})).await;
    let all = events(watching).await;
    let types = |events: &[(String, Value)]| -> Vec<String> {
        let entries = events.iter().flat_map(|(_, update)| update["entries"].as_array().unwrap());
        entries.map(|entry| entry["type"].as_str().unwrap().to_owned()).collect()
    };
    let whole = types(&all);
    assert_eq!(whole.first().unwrap(), "WorkflowExecutionStarted");
    assert_eq!(whole.last().unwrap(), "WorkflowExecutionCompleted");
    let (_, last) = all.last().unwrap();
    assert_eq!((&last["closed"], &last["run"]["progress_percent"]), (&json!(true), &json!(100)));
    assert_eq!(last["current_steps"], json!([]));

    let mut over_socket = Vec::new();
    let frame = loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => {
                over_socket.push((String::new(), serde_json::from_str(&text).unwrap()))
            }
            Message::Close(frame) => break frame.unwrap(),
            _ => {}
        }
    };
    assert_eq!(u16::from(frame.code), 1000);
    assert_eq!(types(&over_socket), whole);
    let mut last = None;
    while let Some(update) = stream.message().await.unwrap() {
        last = Some(update);
    }
    assert!(last.unwrap().closed);

    // From any place on, what follows is the rest.
    let (middle, _) = &all[0];
    let rest = accept(served.client.get(served.url(&path))).header("last-event-id", middle);
    let rest = events(rest.send().await.unwrap()).await;
    assert_eq!(types(&rest), types(&all[1..]));
    let nothing = events(
        served.client.get(served.url(&format!("{path}?after=4000000000"))).send().await.unwrap(),
    )
    .await;
    assert_eq!((types(&nothing).len(), nothing.len()), (0, 1), "how it stands is told once");
    let wrong =
        served.client.get(served.url(&path)).header("last-event-id", "x").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_when_the_server_stops() {
    let mut served = Served::start().await;
    served.deploy(TALK).await;
    let id = start(&served, json!({"flow": "talk"})).await;
    let url = served.url(&format!("/api/v1/runs/{id}/watch"));
    let mut watching = served.client.get(url).send().await.unwrap();
    let url = format!("ws://{}/api/v1/runs/{id}/ws", served.http);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    // A watcher has nothing to say; what it says is passed over.
    socket.send(Message::text("hello")).await.unwrap();
    let begun = watching.chunk().await.unwrap().unwrap();
    served.drain();
    let told = String::from_utf8(begun.to_vec()).unwrap() + &watching.text().await.unwrap();
    assert!(told.contains(r#""closed":false"#) && !told.contains(r#""closed":true"#), "{told}");
    let frame = loop {
        if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
            break frame.unwrap();
        }
    };
    assert_eq!(u16::from(frame.code), 1001);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_of_the_projects_files_runs_until_one_of_its_name_is_deployed() {
    let served = Served::start().await;
    std::fs::create_dir(served.root().join("flows")).unwrap();
    std::fs::write(served.root().join("flows/greet.yaml"), GREET.replace("Hello", "Hi")).unwrap();
    std::fs::write(served.root().join("secret.yaml"), TALK).unwrap();
    let said = async |served: &Served| {
        let id = start(served, json!({"flow": "greet", "input": {"name": "you"}})).await;
        served.closed(&id).await;
        served.see(&format!("/api/v1/runs/{id}/query?query=output")).await["result"]["text"].clone()
    };
    assert_eq!(said(&served).await, "Hi you");
    for path in ["secret.yaml", "../secret", "./secret.yaml", "flows/greet.yaml"] {
        let (status, _) =
            served.ask(Method::POST, "/api/v1/runs", Some(json!({"flow": path}))).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    served.deploy(GREET).await;
    assert_eq!(said(&served).await, "Hello you");
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_looked_back_at_decided_again_and_laid_side_by_side() {
    let served = Served::start().await;
    served.deploy(GREET).await;
    served.deploy(&GREET.replace("Hello", "Good day")).await;
    let mut ids = Vec::new();
    for name in ["Ada", "Bob"] {
        let body = json!({"flow": "greet", "version": 1, "input": {"name": name}});
        let id = start(&served, body).await;
        served.closed(&id).await;
        ids.push(id);
    }
    let (ada, bob) = (&ids[0], &ids[1]);

    let state = served.see(&format!("/api/v1/runs/{ada}/state?event=2")).await;
    assert_eq!((&state["event"], &state["state"]["event"]), (&json!(2), &json!(2)), "{state}");
    assert_eq!(state["state"]["steps"][0]["phase"], "running");
    assert_eq!(state["state"]["input"]["name"], "Ada");
    let (status, answer) = served.get(&format!("/api/v1/runs/{ada}/state?event=99")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    let (status, answer) = served.get(&format!("/api/v1/runs/{ada}/state?step=none")).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{answer}");

    let own = served.post(&format!("/api/v1/runs/{ada}/verify"), json!({})).await;
    assert_eq!((&own["verified"], &own["open"]), (&json!(true), &json!(false)), "{own}");
    let newer = json!({"with": {"version": 2}});
    let found = served.post(&format!("/api/v1/runs/{ada}/verify"), newer.clone()).await;
    assert_eq!(found["verified"], false);
    let divergence = &found["divergence"];
    assert_eq!(divergence["decided"]["input"]["template"], "Good day Ada", "{found}");
    assert_eq!(divergence["differences"][0]["path"], "input/template");
    // The other face says the same.
    let channel = format!("http://{}", served.grpc);
    let mut runs = RunServiceClient::connect(channel).await.unwrap();
    let request = v1::VerifyRunRequest { run: ada.clone(), ..Default::default() };
    let told = runs.verify_run(served.signed(request)).await.unwrap().into_inner();
    assert!(told.verified && told.divergence.is_none() && told.decisions >= 2, "{told:?}");

    let all = served.post("/api/v1/runs:verify", newer).await;
    assert_eq!((&all["checked"], &all["diverged"]), (&json!(2), &json!(2)), "{all}");
    let query = json!({"query": "ExecutionStatus = 'Failed'"});
    assert_eq!(served.post("/api/v1/runs:verify", query).await["checked"], 0);
    let source = json!({"with": {"source": {"text": TALK}}});
    let other = served.post("/api/v1/runs:verify", source).await;
    assert_eq!((&other["checked"], &other["left_out"]), (&json!(0), &json!(2)), "{other}");
    let wrong = Some(json!({"query": "Nonsense ="}));
    let (status, _) = served.ask(Method::POST, "/api/v1/runs:verify", wrong).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let diff = served.see(&format!("/api/v1/runs/{ada}/diff?other={bob}")).await;
    assert_eq!(diff["first_difference"], "text", "{diff}");
    let paths: Vec<&Value> =
        diff["differences"].as_array().unwrap().iter().map(|one| &one["path"]).collect();
    assert!(paths.contains(&&json!("input/name")), "{diff}");
    let same = served.see(&format!("/api/v1/runs/{ada}/diff?other={ada}")).await;
    assert_eq!((&same["first_difference"], &same["differences"]), (&json!(""), &json!([])));
    served.end().await;
}
