//! Re-drive with the real binary: what was done is not done again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};
use support::served::Served;
use support::{Project, Server, wait_until};

/// Steps of the flow, and the one that fails.
const STEPS: usize = 20;
const FAILS: usize = 12;

/// A chain of calls; the one that fails posts to `path`.
fn chain(url: &str, path: &str) -> String {
    let mut source = String::from("name: chain\nsteps:\n");
    for step in 1..=STEPS {
        let path = if step == FAILS { path.to_owned() } else { format!("/s{step}") };
        let body = match step {
            1 => "{n: 0}".to_owned(),
            step => format!("{{n: '{{{{ steps.s{}.output.data.n }}}}'}}", step - 1),
        };
        let _ = writeln!(
            source,
            "  - {{id: s{step}, node: http.request, with: {{method: POST, url: '{url}{path}', body: {body}}}}}"
        );
    }
    source.push_str("output: '{{ steps.s20.output.data.n }}'\n");
    source
}

/// Counts on, and refuses what is asked at `/broken`.
fn server() -> Server {
    Server::new(|request| match request.path.as_str() {
        "/broken" => (400, json!({"error": "no"})),
        _ => (200, json!({"n": request.body["n"].as_i64().unwrap_or(0) + 1})),
    })
}

fn world() -> (Project, Server) {
    let project = Project::new();
    project.write(".reflux/config.toml", "[net]\nallow = [\"127.0.0.1\"]\n");
    (project, server())
}

fn times(server: &Server, path: &str) -> usize {
    server.got().iter().filter(|request| request.path == path).count()
}

#[test]
fn a_mended_step_completes_the_run_and_nothing_is_called_twice() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/broken"));
    project.run(&["run", "chain"]).with_code(1);
    assert_eq!((times(&server, "/s11"), times(&server, "/broken")), (1, 1));
    let dead = || project.run(&["list", "--dead", "--json"]).with_code(0).json();
    assert_eq!(dead()["runs"].as_array().unwrap().len(), 1, "a person should look at it");
    project.write("mended.yaml", &chain(&server.url, "/s12"));

    let plan = project.run(&["redrive", "last", "--with", "mended.yaml", "--plan", "--json"]);
    let plan = plan.with_code(0).json();
    assert_eq!((&plan["kept"], &plan["runs"]), (&json!(11), &json!(9)), "{plan:#}");
    assert_eq!(server.got().len(), 12, "a plan called something");

    let consent: Vec<String> = plan["needs_consent"]
        .as_array()
        .map(|steps| steps.iter().map(|step| step.as_str().unwrap().to_owned()).collect())
        .unwrap_or_default();
    let mut args = vec!["redrive", "last", "--with", "mended.yaml", "--reason", "mended", "--json"];
    if !consent.is_empty() {
        // A POST may not simply be sent twice: without a word it is not.
        let refused = project.run(&args);
        assert_ne!(refused.code, 0, "{refused:?}");
        assert_eq!(server.got().len(), 12, "it was called without consent");
    }
    for step in &consent {
        args.extend(["--allow-unsafe", step.as_str()]);
    }
    let gave = project.run(&args).with_code(0).json();
    assert_eq!(gave["output"], json!(20), "{gave:#}");
    for step in 1..=STEPS {
        assert_eq!(times(&server, &format!("/s{step}")), 1, "step {step}");
    }
    let shown = project.run(&["show", "last"]).with_code(0).stdout;
    assert!(shown.contains("re-drive  of ") && shown.contains(": mended"), "{shown}");
    assert!(shown.contains("kept, of run "), "{shown}");
    let runs = project.run(&["list", "--json"]).with_code(0).json();
    assert_eq!(runs["runs"][0]["workflow_id"], runs["runs"][1]["workflow_id"]);
    assert_eq!(dead()["runs"], json!([]), "it was run again");
}

#[test]
fn a_plan_is_a_table_for_people() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/broken"));
    project.run(&["run", "chain"]).with_code(1);
    let plan = project.run(&["redrive", "last", "--plan"]).with_code(0);
    assert!(plan.stdout.lines().next().unwrap().starts_with("kept"), "{}", plan.stdout);
    assert!(plan.stdout.contains("it failed in the base"), "{}", plan.stdout);
    assert!(plan.stderr.contains("11 kept, 9 to run"), "{}", plan.stderr);
    let wrong = project.run(&["redrive", "last", "--step", "s1x"]);
    assert!(wrong.code != 0 && wrong.stderr.contains("did you mean"), "{wrong:?}");
}

#[test]
fn a_patch_stands_for_the_definition_that_it_makes() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/broken"));
    project.run(&["run", "chain"]).with_code(1);
    let set = json!({"step": "s12", "path": "/with/url", "value": format!("{}/s12", server.url)});
    let patch = json!({"revision": 0, "reason": "mended", "ops": [{"set": set}]});
    project.write("patch.yaml", &patch.to_string());

    let replayed = project.run(&["replay", "last", "--with", "patch.yaml"]).with_code(1);
    assert!(replayed.stdout.contains("ActivityTaskScheduled of `s12`"), "{replayed:?}");
    let plan = project.run(&["redrive", "last", "--with", "patch.yaml", "--plan"]).with_code(0);
    assert!(plan.stderr.contains("11 kept, 9 to run"), "{}", plan.stderr);
    let args = ["redrive", "last", "--with", "patch.yaml", "--allow-unsafe", "s12", "--json"];
    let gave = project.run(&args).with_code(0).json();
    assert_eq!((&gave["output"], times(&server, "/s11")), (&json!(20), 1), "{gave:#}");
    let shown = project.run(&["show", "last"]).with_code(0).stdout;
    assert!(shown.contains(": mended"), "{shown}");
}

#[test]
fn a_step_is_repeated_with_an_edited_output_of_another() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/s12"));
    project.run(&["run", "chain"]).with_code(0);
    let output = "s18={\"data\": {\"n\": 100}}";
    let allowed = ["--allow-unsafe", "s19", "--allow-unsafe", "s20"];
    let args = [&["redrive", "last", "--output", output, "--json"][..], &allowed].concat();
    let gave = project.run(&args).with_code(0).json();
    assert_eq!(gave["output"], json!(102), "{gave:#}");
    assert_eq!((times(&server, "/s18"), times(&server, "/s19")), (1, 2));
}

#[test]
fn a_fork_has_the_state_of_an_event() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/s12"));
    project.run(&["run", "chain"]).with_code(0);
    let allow: Vec<String> = (1..=STEPS).map(|step| format!("s{step}")).collect();
    let mut args = vec!["fork", "last", "--from-event", "1", "--workflow-id", "other", "--json"];
    allow.iter().for_each(|step| args.extend(["--allow-unsafe", step.as_str()]));
    let gave = project.run(&args).with_code(0).json();
    assert_eq!(gave["workflow_id"], json!("other"), "{gave:#}");
    assert_eq!(times(&server, "/s1"), 2);
}

#[test]
fn a_run_is_re_driven_over_rest() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/broken"));
    let served = Served::start(&project);
    let token = std::fs::read_to_string(project.path().join(".reflux/token")).unwrap();
    let post = |path: &str, body: &Value| ask(&served, "POST", path, &token, &body.to_string());
    let get = |path: &str| ask(&served, "GET", path, &token, "").1;
    let (status, started) = post("/api/v1/runs", &json!({"flow": "chain", "workflow_id": "w"}));
    assert_eq!(status, 200, "{started}");
    wait_until("the failure", || get("/api/v1/runs/w")["run"]["status"] == "RUN_STATUS_FAILED");
    let source = json!({"text": chain(&server.url, "/s12"), "file": "mended.yaml"});
    let redrive = json!({"source": source});
    let (status, plan) = post("/api/v1/runs/w/redrive/plan", &json!({"redrive": redrive}));
    assert_eq!(status, 200, "{plan}");
    assert_eq!((&plan["kept"], &plan["runs"]), (&json!(11), &json!(9)), "{plan:#}");
    let redrive = json!({"source": source, "allow_unsafe": ["s12"], "reason": "mended"});
    let request = json!({"redrive": redrive, "request_id": "once"});
    let (status, first) = post("/api/v1/runs/w/redrive", &request);
    assert_eq!(status, 200, "{first}");
    let (status, second) = post("/api/v1/runs/w/redrive", &request);
    assert_eq!((status, &second["existing"]), (200, &json!(true)), "{second}");
    assert_eq!(first["run"]["run_id"], second["run"]["run_id"]);
    wait_until("the end", || get("/api/v1/runs/w")["run"]["status"] == "RUN_STATUS_COMPLETED");
    let told = get("/api/v1/runs/w/describe");
    assert_eq!(told["redriven_from"]["epoch"], json!(1), "{told:#}");
    assert_eq!(told["run"]["redrive_of"], started["run"]["run_id"]);
    assert_eq!((times(&server, "/s1"), times(&server, "/s20")), (1, 1));
    let (status, refused) = post("/api/v1/runs/w/redrive", &json!({"redrive": {"step": "zz"}}));
    assert!((400..500).contains(&status), "{refused}");
}

#[test]
fn many_runs_are_re_driven_once_each_across_a_restart() {
    const RUNS: usize = 60;
    let (project, server) = world();
    let source = |path: &str| {
        format!(
            "name: one\ninput: {{n: integer}}\nsteps:\n  - {{id: a, node: http.request, with: {{method: PUT, url: '{}{path}', body: {{n: '{{{{ input.n }}}}'}}}}}}\n",
            server.url
        )
    };
    project.write("flows/one.yaml", &source("/broken"));
    let served = Served::start(&project);
    let token = std::fs::read_to_string(project.path().join(".reflux/token")).unwrap();
    let post = |served: &Served, path: &str, body: &Value| {
        let (status, answer) = ask(served, "POST", path, &token, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let get = |served: &Served, path: &str| ask(served, "GET", path, &token, "").1;
    for n in 0..RUNS {
        let start = json!({"flow": "one", "workflow_id": format!("w{n}"), "input": {"n": n}});
        post(&served, "/api/v1/runs", &start);
    }
    let failed = "/api/v1/runs?flow=one&statuses=RUN_STATUS_FAILED&page_size=1000";
    wait_until("the failures", || {
        get(&served, failed)["runs"].as_array().is_some_and(|runs| runs.len() == RUNS)
    });
    let mended = json!({"source": {"text": source("/mended"), "file": "one.yaml"}});
    let request = json!({
        "query": "ExecutionStatus = 'Failed' AND WorkflowType = 'one'",
        "redrive": mended, "per_second": 60, "request_id": "bulk",
    });
    let bulk = post(&served, "/api/v1/redrives", &request);
    assert_eq!(bulk["runs"], json!(RUNS), "{bulk}");
    let run = bulk["run"]["run_id"].as_str().unwrap().to_owned();
    wait_until("some of them", || times(&server, "/mended") > RUNS / 6);
    served.kill();
    assert!(times(&server, "/mended") < RUNS, "it was over before the crash");
    let served = Served::start(&project);
    let path = format!("/api/v1/runs/{run}/describe");
    wait_until("the bulk run", || get(&served, &path)["run"]["status"] == "RUN_STATUS_COMPLETED");
    let told = get(&served, &path);
    let became = told["output"].as_array().unwrap();
    assert!(became.iter().all(|one| one["new"].is_string()), "{became:#?}");
    let completed = "/api/v1/runs?flow=one&statuses=RUN_STATUS_COMPLETED&page_size=1000";
    wait_until("the re-drives", || {
        get(&served, completed)["runs"].as_array().is_some_and(|runs| runs.len() == RUNS)
    });
    let all = get(&served, "/api/v1/runs?flow=one&page_size=1000");
    assert_eq!(all["runs"].as_array().unwrap().len(), 2 * RUNS, "some were re-driven twice");
    // Those that have a later run are left alone: there is nothing for a second one to do.
    let request = json!({
        "query": "ExecutionStatus = 'Failed' AND WorkflowType = 'one'", "request_id": "second",
    });
    let second = post(&served, "/api/v1/redrives", &request);
    let path = format!("/api/v1/runs/{}/describe", second["run"]["run_id"].as_str().unwrap());
    wait_until("the second one", || get(&served, &path)["run"]["status"] == "RUN_STATUS_COMPLETED");
    let told = get(&served, &path);
    let skipped = told["output"].as_array().unwrap();
    assert!(skipped.iter().all(|one| one["skipped"].is_string()), "{skipped:#?}");
}

fn ask(served: &Served, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(&served.http).unwrap();
    let token = token.trim();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
