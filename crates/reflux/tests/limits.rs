//! Rates, circuits and quotas, with the real binary: over partitions, over restarts, over every
//! way in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use reflux_proto::temporal::api::common::v1::{ActivityType, WorkflowType};
use reflux_proto::temporal::api::taskqueue::v1::TaskQueue;
use reflux_proto::temporal::api::workflowservice::v1::StartWorkflowExecutionRequest;
use reflux_proto::temporal::api::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use serde_json::{Value, json};
use support::served::Served;
use support::{Project, wait_until};

/// Waits for a person.
const WAITS: &str = "name: waits\ntriggers: [{webhook: {path: /waits}}]\nsteps:\n\
    \x20 - {id: ask, wait: {approval: 'go on?'}}\n";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Status, the seconds of `Retry-After`, and the body of a request with the project's token.
fn post(project: &Project, served: &Served, path: &str, body: &Value) -> (u16, Option<u64>, Value) {
    let token = std::fs::read_to_string(project.path().join(".reflux/token")).unwrap();
    runtime().block_on(async {
        let request = reqwest::Client::new().post(served.url(path)).bearer_auth(token.trim());
        let request = request.header("content-type", "application/json").body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let wait = response.headers().get("retry-after");
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        let text = response.text().await.unwrap();
        (status, wait, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    })
}

fn limit(project: &Project, subject: &str) -> Value {
    let limits = project.run(&["limits", "--json"]).with_code(0).json();
    let limits = limits["limits"].as_array().cloned().unwrap_or_default();
    limits.into_iter().find(|limit| limit["subject"] == subject).unwrap_or_default()
}

fn status(project: &Project, run: &str) -> String {
    let shown = project.run(&["show", run, "--json"]).with_code(0).json();
    shown["status"].as_str().unwrap().to_owned()
}

fn started(project: &Project, args: &[&str]) -> String {
    let gave = project.run(&[&["run"], args, &["--detach", "--json"]].concat()).with_code(0);
    gave.json()["run_id"].as_str().unwrap().to_owned()
}

/// A node that notes when it was called, and a flow that calls it six times at once.
fn noting(policy: &str) -> Project {
    let project = Project::new();
    project.write(
        "nodes/t.yaml",
        &format!(
            "module: t\nversion: 1.0.0\nactions:\n\
             \x20 - {{name: note, command: [./note.sh], effects: idempotent{policy}}}\n"
        ),
    );
    project.write("note.sh", "#!/bin/sh\ndate +%s%N >> calls\necho '{}'\n");
    project.write(
        "flows/six.yaml",
        "name: six\nsteps:\n  - {id: each, node: t.note, for_each: {items: [1, 2, 3, 4, 5, 6], concurrency: 6}}\n",
    );
    project
}

/// Whether calls came no faster than ten a second, with ten at once; the clock of a busy machine
/// may put a few of them together.
#[track_caller]
fn held_to_ten_a_second(project: &Project) {
    let text = std::fs::read_to_string(project.path().join("calls")).unwrap();
    let mut times: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    times.sort_unstable();
    for (nth, from) in times.iter().enumerate() {
        for (further, until) in times[nth..].iter().enumerate() {
            let seconds = (until - from) as f64 / 1e9;
            let most = 10.0 + 10.0 * seconds + 4.0;
            assert!(further as f64 <= most, "{further} calls within {seconds} s");
        }
    }
}

#[test]
fn a_rate_holds_over_all_runs_and_over_a_crash() {
    let project = noting(", rate: 10/s");
    let served = Served::start(&project);
    for _ in 0..6 {
        started(&project, &["six"]);
    }
    assert_eq!(limit(&project, "node:t.note")["rate"], "10/s");
    wait_until("some calls", || project.lines("calls") >= 14);
    served.kill();
    let before = project.lines("calls");
    assert!(before < 36, "all {before} calls were made before the crash");
    let _served = Served::start(&project);
    let runs = project.run(&["list", "--json"]).json();
    for run in runs["runs"].as_array().unwrap() {
        let run = run["run_id"].as_str().unwrap();
        wait_until("the end", || status(&project, run) == "completed");
        let history = project.run(&["history", run]).with_code(0).stdout;
        assert!(!history.contains("attempt 3"), "waiting uses no attempts up: {history}");
    }
    held_to_ten_a_second(&project);
    let metrics = runtime().block_on(async {
        reqwest::get(_served.url("/metrics")).await.unwrap().text().await.unwrap()
    });
    let counted = "reflux_limit_waits_total{subject=\"node:t.note\",limit=\"rate\"}";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn a_rate_is_set_and_taken_away_while_the_server_runs() {
    let project = noting("");
    let _served = Served::start(&project);
    let gave = project.run(&["limits", "set", "node:t.note", "--rate", "1/d"]).with_code(0);
    assert!(gave.stdout.contains("1/d"), "{}", gave.stdout);
    project.run(&["limits", "set", "t.note", "--rate", "1/d"]).with_code(2);
    let gave = project.run(&["limits", "set", "node:t.note", "--rate", "fast"]).with_code(2);
    assert!(gave.stderr.contains("is no rate"), "{}", gave.stderr);
    let run = started(&project, &["six"]);
    wait_until("a wait that says why", || {
        let shown = project.run(&["show", &run]).stdout;
        shown.contains("node:t.note is called 1/d at most")
    });
    assert_eq!(project.lines("calls"), 1);
    project.run(&["limits", "unset", "node:t.note"]).with_code(0);
    wait_until("the end", || status(&project, &run) == "completed");
    assert_eq!(project.lines("calls"), 6);
    let gave = project.run(&["limits", "unset", "node:t.note"]).with_code(2);
    assert!(gave.stderr.contains("nobody has set"), "{}", gave.stderr);
}

#[test]
fn an_attempt_that_waits_may_be_given_up() {
    let project = noting(", rate: 1/d");
    let _served = Served::start(&project);
    let run = started(&project, &["six"]);
    wait_until("a wait", || project.run(&["show", &run]).stdout.contains("1/d at most"));
    project.run(&["cancel", &run]).with_code(0);
    wait_until("the end", || status(&project, &run) == "canceled");
    assert!(project.lines("calls") <= 1);
}

/// A node that fails while a file is missing, and a flow that calls it often.
fn flaky(open: &str) -> Project {
    let project = Project::new();
    project.write(
        "nodes/t.yaml",
        &format!(
            "module: t\nversion: 1.0.0\nactions:\n\
             \x20 - name: call\n    command: [./call.sh]\n    effects: idempotent\n\
             \x20   retries: [0.05, 0.05, 0.05, 0.05, 0.05, 0.05]\n\
             \x20   circuit: {{failures: 3, within: 1m, open: {open}}}\n"
        ),
    );
    project.write("call.sh", "#!/bin/sh\necho called >> calls\nif [ -e up ]; then echo '{}'; else echo it is down >&2; exit 1; fi\n");
    project.write("flows/call.yaml", "name: call\nsteps:\n  - {id: call, node: t.call}\n");
    project
}

fn state(project: &Project) -> String {
    limit(project, "node:t.call")["state"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_open_circuit_is_open_after_a_crash_and_a_person_may_close_it() {
    let project = flaky("1h");
    let served = Served::start(&project);
    let run = started(&project, &["call"]);
    wait_until("an open circuit", || state(&project) == "open");
    let other = started(&project, &["call"]);
    wait_until("a wait that says why", || {
        let shown = project.run(&["show", &other]).stdout;
        shown.contains("the circuit of node:t.call is open: 3 attempts failed")
    });
    assert_eq!(project.lines("calls"), 3);
    let since = limit(&project, "node:t.call")["open_since"].clone();
    served.kill();

    let served = Served::start(&project);
    let now = limit(&project, "node:t.call");
    assert_eq!((&now["state"], &now["open_since"]), (&json!("open"), &since), "{now}");
    let metrics = runtime().block_on(async {
        reqwest::get(served.url("/metrics")).await.unwrap().text().await.unwrap()
    });
    assert!(metrics.contains("reflux_circuit_open{subject=\"node:t.call\"} 1"), "{metrics}");
    assert_eq!(project.lines("calls"), 3, "nothing was called");
    project.write("up", "");
    let gave = project.run(&["limits", "reset", "node:t.call"]).with_code(0);
    assert!(gave.stdout.contains("is closed"), "{}", gave.stdout);
    for run in [&run, &other] {
        wait_until("the end", || status(&project, run) == "completed");
    }
    assert_eq!(project.lines("calls"), 5);
    let gave = project.run(&["limits", "reset", "node:t.call"]).with_code(0);
    assert!(gave.stdout.contains("was not open"), "{}", gave.stdout);
    served.kill();

    let _served = Served::start(&project);
    assert_eq!(state(&project), "closed");
}

#[test]
fn one_attempt_at_a_time_tries_whether_a_circuit_may_close() {
    let project = flaky("1s");
    let served = Served::start(&project);
    let runs = [started(&project, &["call"]), started(&project, &["call"])];
    wait_until("two probes", || project.lines("calls") >= 5);
    assert!(["open", "half_open"].contains(&&*state(&project)));
    project.write("up", "");
    for run in &runs {
        wait_until("the end", || status(&project, run) == "completed");
    }
    assert_eq!(state(&project), "closed");
    served.kill();
    let _served = Served::start(&project);
    assert_eq!(state(&project), "closed");
}

#[test]
fn open_runs_are_bounded_at_every_door_and_come_in_again_when_one_has_ended() {
    let project = Project::new();
    project.write(".reflux/config.toml", "[quotas]\nopen_runs = 2\n");
    project.write("flows/waits.yaml", WAITS);
    project.write("flows/parent.yaml", "name: parent\nsteps:\n  - {id: inner, flow: child}\n");
    project.write(
        "flows/child.yaml",
        "name: child\nsteps:\n  - {id: say, node: util.log, with: {message: hello}}\n",
    );
    let served = Served::start(&project);
    project.run(&["deploy", "waits"]).with_code(0);
    let first = started(&project, &["waits"]);
    // A sub-flow is no new work: the run that needs it has come in.
    let parent = started(&project, &["parent"]);
    wait_until("the end", || status(&project, &parent) == "completed");
    started(&project, &["waits"]);

    let gave = project.run(&["run", "waits", "--detach"]).with_code(2);
    assert!(
        gave.stderr.contains("namespace `default` has 2 open runs and may have 2"),
        "{}",
        gave.stderr
    );
    assert!(gave.stderr.contains("try again when one has ended"), "{}", gave.stderr);
    let (code, wait, body) = post(&project, &served, "/api/v1/runs", &json!({"flow": "waits"}));
    assert_eq!(
        (code, wait, body["error"]["code"].as_str()),
        (429, Some(1), Some("resource_exhausted"))
    );
    let (code, wait, body) = post(&project, &served, "/webhooks/waits", &json!({}));
    assert_eq!((code, wait), (429, Some(1)), "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains("2 open runs"), "{body}");
    let (code, ..) = post(&project, &served, &format!("/api/v1/runs/{parent}/redrive"), &json!({}));
    assert!([409, 429].contains(&code), "{code}");
    let refused = runtime().block_on(async {
        let mut temporal =
            WorkflowServiceClient::connect(format!("http://{}", served.grpc)).await.unwrap();
        let start = StartWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_id: "one-more".to_owned(),
            workflow_type: Some(WorkflowType { name: "Order".to_owned() }),
            task_queue: Some(TaskQueue { name: "orders".to_owned(), ..Default::default() }),
            request_id: "r".to_owned(),
            ..Default::default()
        };
        temporal.start_workflow_execution(start).await.unwrap_err()
    });
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("2 open runs"), "{refused}");

    let listed = project.run(&["limits"]).with_code(0).stdout;
    assert!(listed.contains("open_runs  2 of 2"), "{listed}");
    served.kill();
    // What is open is known again without anybody having counted it.
    let _served = Served::start(&project);
    project.run(&["run", "waits", "--detach"]).with_code(2);
    project.run(&["terminate", &first]).with_code(0);
    started(&project, &["waits"]);
}

#[test]
fn a_schedule_waits_for_room_and_loses_nothing() {
    let project = Project::new();
    project.write(".reflux/config.toml", "[quotas]\nopen_runs = 1\n");
    project.write("flows/waits.yaml", WAITS);
    project.write(
        "flows/tick.yaml",
        "name: tick\ntriggers: [{id: often, every: 1s}]\nsteps:\n\
         \x20 - {id: say, node: util.log, with: {message: tick}}\n",
    );
    let served = Served::start(&project);
    let blocker = started(&project, &["waits"]);
    project.run(&["deploy", "tick"]).with_code(0);
    let open = || {
        let triggers = project.run(&["triggers", "--json"]).with_code(0).json();
        let of = triggers["triggers"].as_array().unwrap().iter().find(|t| t["flow"] == "tick");
        of.map(|trigger| trigger["schedule"]["open"].clone()).unwrap_or_default()
    };
    wait_until("a start that waits", || open().as_array().is_some_and(|open| open.len() == 1));
    let waiting = open()[0].as_str().unwrap().to_owned();
    project.run(&["show", &waiting]).with_code(2);
    served.kill();
    let _served = Served::start(&project);
    project.run(&["terminate", &blocker]).with_code(0);
    wait_until("the run of that time", || {
        project.run(&["show", &waiting, "--json"]).stdout.contains("\"completed\"")
    });
}

#[test]
fn starts_a_second_are_bounded_and_the_refusal_says_when_to_come_back() {
    let project = Project::new();
    project
        .write(".reflux/config.toml", "[quotas]\nnamespaces = [\"default/starts_per_second=2\"]\n");
    project.write("flows/waits.yaml", WAITS);
    let served = Served::start(&project);
    project.run(&["deploy", "waits"]).with_code(0);
    let mut refused = None;
    // A second's worth comes at once, whatever the machine is doing.
    for _ in 0..200 {
        let (code, wait, body) = post(&project, &served, "/api/v1/runs", &json!({"flow": "waits"}));
        if code == 429 {
            refused = Some((wait, body));
            break;
        }
    }
    let (wait, body) = refused.expect("200 starts were let in");
    let wait_ms = body["error"]["retry_after_ms"].as_u64().unwrap();
    assert!((1..=501).contains(&wait_ms), "{body}");
    assert_eq!(wait, Some(1));
    std::thread::sleep(std::time::Duration::from_millis(wait_ms));
    let (code, _, body) = post(&project, &served, "/api/v1/runs", &json!({"flow": "waits"}));
    assert_eq!(code, 200, "{body}");
}

#[test]
fn a_history_without_measure_ends_its_run_and_says_what_was_allowed() {
    let project = noting("");
    project.write(".reflux/config.toml", "[quotas]\nhistory_events = 15\n");
    let gave = project.run(&["run", "six"]).with_code(4);
    assert!(gave.stderr.contains("15 and 52428800 are allowed"), "{}", gave.stderr);
}

#[test]
fn bytes_that_are_kept_are_bounded_with_long_payloads_in_them() {
    let project = Project::new();
    project.write(".reflux/config.toml", "[quotas]\nstored_bytes = 200000\n");
    project.write(
        "flows/big.yaml",
        "name: big\ninput: {text: string}\nsteps:\n  - {id: say, node: util.log, with: {message: done}}\n",
    );
    let text = "x".repeat(100_000);
    for _ in 0..2 {
        project.run(&["run", "big", "--text", &text]).with_code(0);
    }
    let gave = project.run(&["run", "big", "--text", &text]).with_code(2);
    assert!(gave.stderr.contains("may keep 200000 (quotas.stored_bytes)"), "{}", gave.stderr);
}

#[test]
fn activities_of_code_wait_for_the_rate_of_their_type_and_of_their_queue() {
    use reflux_proto::temporal::api::command::v1::{
        Command, ScheduleActivityTaskCommandAttributes, command::Attributes,
    };
    use reflux_proto::temporal::api::enums::v1::CommandType;
    use reflux_proto::temporal::api::workflowservice::v1::{
        PollActivityTaskQueueRequest, PollWorkflowTaskQueueRequest,
        RespondWorkflowTaskCompletedRequest,
    };

    let project = Project::new();
    let served = Served::start(&project);
    project.run(&["limits", "set", "node:charge", "--rate", "1/d"]).with_code(0);
    runtime().block_on(async {
        let mut temporal =
            WorkflowServiceClient::connect(format!("http://{}", served.grpc)).await.unwrap();
        let namespace = || "default".to_owned();
        let queue = || Some(TaskQueue { name: "code".to_owned(), ..Default::default() });
        let start = StartWorkflowExecutionRequest {
            namespace: namespace(),
            workflow_id: "order".to_owned(),
            workflow_type: Some(WorkflowType { name: "Order".to_owned() }),
            task_queue: queue(),
            request_id: "r".to_owned(),
            ..Default::default()
        };
        temporal.start_workflow_execution(start).await.unwrap();
        let poll = PollWorkflowTaskQueueRequest {
            namespace: namespace(),
            task_queue: queue(),
            ..Default::default()
        };
        let task = temporal.poll_workflow_task_queue(poll).await.unwrap().into_inner();
        let schedule = |id: &str, kind: &str| Command {
            command_type: CommandType::ScheduleActivityTask.into(),
            attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(
                ScheduleActivityTaskCommandAttributes {
                    activity_id: id.to_owned(),
                    activity_type: Some(ActivityType { name: kind.to_owned() }),
                    task_queue: queue(),
                    start_to_close_timeout: std::time::Duration::from_secs(60).try_into().ok(),
                    // Neither may pass by the queue.
                    request_eager_execution: true,
                    ..Default::default()
                },
            )),
            ..Default::default()
        };
        let commands = vec![
            schedule("1", "charge"),
            schedule("2", "charge"),
            schedule("3", "charge"),
            schedule("4", "other"),
        ];
        let done = RespondWorkflowTaskCompletedRequest {
            namespace: namespace(),
            task_token: task.task_token,
            commands,
            ..Default::default()
        };
        let done = temporal.respond_workflow_task_completed(done).await.unwrap().into_inner();
        let mut begun: Vec<String> =
            done.activity_tasks.into_iter().map(|task| task.activity_id).collect();
        // Those that may begin do, and the others stay however often somebody asks.
        for _ in 0..3 {
            let poll = PollActivityTaskQueueRequest {
                namespace: namespace(),
                task_queue: queue(),
                ..Default::default()
            };
            let mut poll = tonic::Request::new(poll);
            poll.set_timeout(std::time::Duration::from_millis(1_500));
            if let Ok(task) = temporal.poll_activity_task_queue(poll).await {
                let id = task.into_inner().activity_id;
                begun.extend(Some(id).filter(|id| !id.is_empty()));
            }
        }
        begun.sort();
        assert_eq!(begun, ["1", "4"]);
    });
    // Another rate lets the others go to a poll that waits already.
    let polled = std::thread::spawn({
        let grpc = served.grpc.clone();
        move || {
            runtime().block_on(async {
                let mut temporal =
                    WorkflowServiceClient::connect(format!("http://{grpc}")).await.unwrap();
                let poll = PollActivityTaskQueueRequest {
                    namespace: "default".to_owned(),
                    task_queue: Some(TaskQueue { name: "code".to_owned(), ..Default::default() }),
                    ..Default::default()
                };
                temporal.poll_activity_task_queue(poll).await.unwrap().into_inner().activity_id
            })
        }
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    project.run(&["limits", "set", "node:charge", "--rate", "10/s"]).with_code(0);
    assert_eq!(polled.join().unwrap(), "2");
}
