//! The same done to many runs: once to each, at a pace, also when the server is killed in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::chain::{times, world};
use support::rest::Rest;
use support::served::Served;
use support::{Project, Server, wait_until};

/// How many runs are re-driven; `REFLUX_RUNS` says another number, up to 10,000.
const RUNS: usize = 300;
/// How many runs are paused and resumed.
const PAUSED: usize = 40;
/// Threads that start the runs.
const STARTERS: usize = 8;
/// Items of a bulk run that are worked on at once; after a crash they may begin together.
const AT_ONCE: usize = 16;
/// How long a call takes outside, so that a kill finds some under way.
const CALL: Duration = Duration::from_millis(100);
/// The longest wait for all of them.
const SETTLE_MAX: Duration = Duration::from_secs(1800);

/// One call that says in which run it is made.
fn one(url: &str, path: &str) -> String {
    format!(
        "name: one\ninput: {{n: integer}}\nsteps:\n\
         \x20 - {{id: a, node: http.request, with: {{method: PUT, url: '{url}{path}', body: {{n: '{{{{ input.n }}}}', run: '{{{{ workflow.run_id }}}}'}}}}}}\n"
    )
}

/// Starts so many runs of a flow, `w0` and so on.
fn start(rest: &Rest, flow: &str, runs: usize) {
    std::thread::scope(|scope| {
        for starter in 0..STARTERS {
            scope.spawn(move || {
                for n in (starter..runs).step_by(STARTERS) {
                    let input = if flow == "one" { json!({"n": n}) } else { json!({}) };
                    let wanted =
                        json!({"flow": flow, "workflow_id": format!("w{n}"), "input": input});
                    rest.post("/api/v1/runs", &wanted);
                }
            });
        }
    });
}

/// The runs of a flow in a status.
fn list(rest: &Rest, flow: &str, status: &str) -> Vec<Value> {
    let (mut runs, mut page) = (Vec::new(), String::new());
    loop {
        let path = format!(
            "/api/v1/runs?flow={flow}&statuses=RUN_STATUS_{status}&page_size=1000&page_token={page}"
        );
        let answer = rest.get(&path);
        runs.extend(answer["runs"].as_array().unwrap().iter().cloned());
        page = answer["next_page_token"].as_str().unwrap().to_owned();
        if page.is_empty() {
            return runs;
        }
    }
}

#[track_caller]
fn settle(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SETTLE_MAX, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What a bulk run says of each run, once it is closed.
fn output(rest: &Rest, run: &str) -> Vec<Value> {
    let path = format!("/api/v1/runs/{run}");
    settle("the bulk run", || rest.get(&path)["run"]["status"] != "RUN_STATUS_RUNNING");
    let told = rest.get(&format!("{path}/query?query=output"));
    told["result"].as_array().unwrap_or_else(|| panic!("{told:#}")).clone()
}

fn run_id(answer: &Value) -> String {
    answer["run"]["run_id"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned()
}

/// Which runs asked for a path, by their number, and how often they did.
fn callers(server: &Server, path: &str) -> BTreeMap<u64, Vec<String>> {
    let mut callers: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for request in server.got().iter().filter(|request| request.path == path) {
        let run = request.body["run"].as_str().unwrap().to_owned();
        callers.entry(request.body["n"].as_u64().unwrap()).or_default().push(run);
    }
    callers
}

#[test]
fn many_failed_runs_are_re_driven_once_each_at_a_pace_and_across_a_kill() {
    let runs = std::env::var("REFLUX_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    let rate = (runs / 4).clamp(50, 200);
    let (project, _) = world();
    let server = Server::new(|request| match request.path.as_str() {
        "/broken" => (400, json!({"error": "no"})),
        _ => {
            std::thread::sleep(CALL);
            (200, json!({}))
        }
    });
    project.write("flows/one.yaml", &one(&server.url, "/broken"));
    let served = Served::start(&project);
    let rest = Rest::of(&project, &served);
    start(&rest, "one", runs);
    settle("the failures", || list(&rest, "one", "FAILED").len() == runs);

    let source = json!({"text": one(&server.url, "/mended"), "file": "one.yaml"});
    let request = json!({
        "query": "ExecutionStatus = 'Failed' AND WorkflowType = 'one'",
        "redrive": {"source": source}, "per_second": rate, "request_id": "bulk",
    });
    let begun = Instant::now();
    let answer = rest.post("/api/v1/redrives", &request);
    assert_eq!((&answer["runs"], &answer["existing"]), (&json!(runs), &json!(false)));
    let bulk = run_id(&answer);
    settle("a third of them", || times(&server, "/mended") > runs / 3);
    served.kill();
    let before = times(&server, "/mended");
    assert!(before < runs, "it was over before the crash");
    let served = Served::start(&project);
    let rest = Rest::of(&project, &served);
    // A caller that had no answer asks again, when the query takes others than before.
    let again = rest.post("/api/v1/redrives", &request);
    assert_eq!(
        (&again["existing"], &again["runs"], run_id(&again)),
        (&json!(true), &json!(runs), bulk.clone())
    );

    let became = output(&rest, &bulk);
    let new: BTreeSet<&str> = became.iter().filter_map(|one| one["new"].as_str()).collect();
    assert_eq!((became.len(), new.len()), (runs, runs), "{became:#?}");
    settle("the re-drives", || list(&rest, "one", "COMPLETED").len() == runs);
    eprintln!(
        "{runs} runs were re-driven at {rate} per second, {before} before the kill, in {:?}",
        begun.elapsed()
    );

    // Outside: each number came from one run, and only what was under way at the kill came twice.
    let callers = callers(&server, "/mended");
    assert_eq!(callers.len(), runs, "some were not re-driven");
    let mut twice = 0;
    for (n, calls) in &callers {
        let of: BTreeSet<&String> = calls.iter().collect();
        assert!(of.len() == 1 && new.contains(calls[0].as_str()), "{n} was re-driven by {of:?}");
        twice += calls.len() - 1;
    }
    eprintln!("{twice} calls were made again, because the kill cut them off");
    assert_eq!(list(&rest, "one", "FAILED").len(), runs, "a base has changed");
    assert_eq!(list(&rest, "one", "RUNNING").len(), 0);
    paced(&list(&rest, "one", "COMPLETED"), rate);

    // What has a later run is left alone.
    let request = json!({"query": "ExecutionStatus = 'Failed' AND WorkflowType = 'one'", "request_id": "second"});
    let second = output(&rest, &run_id(&rest.post("/api/v1/redrives", &request)));
    assert!(second.iter().all(|one| one["skipped"].is_string()), "{second:#?}");
}

/// In no second did more begin than its rate, what was worked on at once at its beginning, and the same after a crash.
#[track_caller]
fn paced(runs: &[Value], rate: usize) {
    let mut began: Vec<Duration> =
        runs.iter().map(|run| moment(run["started"].as_str().unwrap())).collect();
    began.sort_unstable();
    let most = began
        .iter()
        .enumerate()
        .map(|(at, from)| {
            began[at..].iter().take_while(|at| **at < *from + Duration::from_secs(1)).count()
        })
        .max();
    assert!(most.unwrap() <= rate + 2 * AT_ONCE + 1, "{most:?} began within a second");
}

/// When in the month it was, of RFC 3339 in UTC.
fn moment(text: &str) -> Duration {
    let time = text.split(['T', 'Z', '+']).nth(1).unwrap();
    let parts: Vec<f64> = time.split(':').map(|part| part.parse().unwrap()).collect();
    let days = text[8..10].parse::<f64>().unwrap();
    Duration::from_secs_f64(((days * 24.0 + parts[0]) * 60.0 + parts[1]) * 60.0 + parts[2])
}

/// Waits for a word, and calls.
fn held(url: &str) -> String {
    format!(
        "name: held\nsteps:\n\
         \x20 - {{id: hold, wait: {{signal: go}}}}\n\
         \x20 - {{id: a, needs: [hold], node: http.request, with: {{method: PUT, url: '{url}/a', body: {{n: 0, run: '{{{{ workflow.run_id }}}}'}}}}}}\n"
    )
}

/// Runs that wait, and a server over them.
fn waiting() -> (Project, Server, Served) {
    let (project, server) = world();
    project.write("flows/held.yaml", &held(&server.url));
    let served = Served::start(&project);
    start(&Rest::of(&project, &served), "held", PAUSED);
    (project, server, served)
}

const HELD: &str = "WorkflowType = 'held'";

#[test]
fn many_paused_runs_are_resumed_once_each_at_a_pace_and_across_a_kill() {
    let (project, server, served) = waiting();
    let rest = Rest::of(&project, &served);
    rest.post("/api/v1/runs/w0/pause", &json!({"reason": "by hand"}));
    let request = json!({"query": HELD, "reason": "a break", "request_id": "p"});
    let answer = rest.post("/api/v1/runs:pause", &request);
    assert_eq!(answer["runs"], json!(PAUSED));
    let became = output(&rest, &run_id(&answer));
    let skipped: Vec<&Value> = became.iter().filter(|one| one["paused"] != true).collect();
    assert_eq!(skipped.len(), 1, "{skipped:#?}");
    assert_eq!(skipped[0]["skipped"], "the run is paused: nothing is left to do");
    for n in 0..PAUSED {
        rest.post(&format!("/api/v1/runs/w{n}/signal"), &json!({"name": "go"}));
    }
    assert_eq!(times(&server, "/a"), 0, "a paused run has started a step");

    let request = json!({"query": HELD, "reason": "back", "per_second": 20, "request_id": "r"});
    let resumes = run_id(&rest.post("/api/v1/runs:resume", &request));
    settle("some of them", || times(&server, "/a") > PAUSED / 5);
    served.kill();
    assert!(times(&server, "/a") < PAUSED, "it was over before the crash");
    let served = Served::start(&project);
    let rest = Rest::of(&project, &served);
    let became = output(&rest, &resumes);
    assert!(became.iter().all(|one| one["resumed"] == true), "{became:#?}");
    settle("the end of all", || list(&rest, "held", "COMPLETED").len() == PAUSED);
    let by: BTreeSet<String> = callers(&server, "/a").remove(&0).unwrap().into_iter().collect();
    assert_eq!(by.len(), PAUSED, "some did not go on");
    for n in 0..PAUSED {
        let history = rest.get(&format!("/api/v1/runs/w{n}/history?page_size=1000"));
        let of = |name: &str| {
            history["entries"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|entry| entry["type"] == name)
                .count()
        };
        let both = (of("WorkflowExecutionPaused"), of("WorkflowExecutionUnpaused"));
        assert_eq!(both, (1, 1), "w{n}: {history:#}");
    }
    // Repeated when nothing is open any more, it is still answered with what it has started.
    let again = rest.post("/api/v1/runs:resume", &request);
    assert_eq!((&again["existing"], run_id(&again)), (&json!(true), resumes));
    let (status, none) =
        rest.ask("POST", "/api/v1/runs:resume", &json!({"query": HELD}).to_string()).unwrap();
    assert_eq!((status, &none["error"]["message"]), (404, &json!("the query takes no open run")));
}

#[test]
fn a_list_is_paused_and_resumed_from_the_command_line() {
    let (project, server, served) = waiting();
    let rest = Rest::of(&project, &served);
    let paused = project.run(&["--json", "pause", "--query", HELD, "--reason", "a break"]);
    let told = paused.with_code(0).json();
    assert_eq!(told["output"].as_array().unwrap().len(), PAUSED, "{told:#}");
    let shown = project.run(&["--json", "show", "w7"]).with_code(0).json();
    assert_eq!(shown["paused"], "a break");
    for n in 0..PAUSED {
        rest.post(&format!("/api/v1/runs/w{n}/signal"), &json!({"name": "go"}));
    }
    let resumed = project.run(&["--json", "resume", "--query", HELD, "--rate", "100"]);
    assert_eq!(resumed.with_code(0).json()["output"][0]["resumed"], true);
    wait_until("the end of all", || list(&rest, "held", "COMPLETED").len() == PAUSED);
    assert_eq!(times(&server, "/a"), PAUSED);
    let both = project.run(&["pause", "w1", "--query", HELD]);
    assert_eq!(both.code, 2, "{both:?}");
    let none = project.run(&["resume", "--query", HELD]).with_code(2).stderr;
    assert!(none.contains("the query takes no open run"), "{none}");
    let wrong = project.run(&["resume", "--query", "Nonsense ="]).with_code(2).stderr;
    assert!(wrong.contains("invalid query"), "{wrong}");
}
