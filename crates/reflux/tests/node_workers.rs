//! Nodes served by workers in other languages, through kills of the workers and of the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::sdk::{Group, install};
use support::served::Served;
use support::{Project, Server, wait_until};

/// How many processes are killed; `REFLUX_KILLS` says another number.
const KILLS: usize = 8;
/// Runs that are under way while processes are killed.
const RUNS: usize = 4;
/// The longest wait for the runs after the last kill.
const SETTLE_MAX: Duration = Duration::from_secs(240);
/// Between two kills: about as long as a step takes.
const BETWEEN: Duration = Duration::from_millis(300);

/// Steps of both languages by turns; each rings and hands on the path so far.
const RING: &str = "name: ring\ninput: {url: string}\nsteps:\n\
    \x20 - {id: one, node: ring.python, with: {url: '{{ input.url }}', path: []}}\n\
    \x20 - {id: two, node: ring.typescript, with: {url: '{{ input.url }}', path: '{{ steps.one.output }}'}}\n\
    \x20 - {id: three, node: ring.python, with: {url: '{{ input.url }}', path: '{{ steps.two.output }}'}}\n\
    \x20 - {id: four, node: ring.typescript, with: {url: '{{ input.url }}', path: '{{ steps.three.output }}'}}\n\
    output: {path: '{{ steps.four.output }}'}\n";
const STEPS: [&str; 4] = ["one", "two", "three", "four"];

const LANGUAGES: [&str; 2] = ["python", "typescript"];

#[test]
fn steps_run_in_workers_of_several_languages_and_report() {
    let project = Project::new();
    project.write("flows/ring.yaml", RING);
    for language in LANGUAGES {
        let steps = format!(
            "name: fails-{language}\nsteps:\n\
             \x20 - {{id: told, node: fail.{language}, with: {{text: '{{{{ secrets.WORD }}}} x'}}}}\n"
        );
        project.write(&format!("flows/fails-{language}.yaml"), &steps);
    }
    let secrets = project.write(".reflux/secrets.toml", "WORD = \"s3cret-word\"\n");
    std::fs::set_permissions(secrets, std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = Served::start(&project);
    let _workers: Vec<Group> = LANGUAGES.map(|language| worker(language, &server)).into();
    let phone = Server::new(|_| (200, json!({})));
    registered(&server);

    let run = start(&server, "ring", json!({"url": phone.url})).unwrap();
    let told = closed(&server, &run);
    assert_eq!(told["output"], json!({"path": STEPS}), "{told:#}");
    assert_eq!(told["usage"], json!({"tokensIn": 12, "tokensOut": 8, "costUsd": 2.0}), "{told:#}");
    for (step, name) in told["steps"].as_array().unwrap().iter().zip(STEPS) {
        let attempt = &step["visits"][0]["attempts"][0];
        assert_eq!(attempt["logs"][0]["text"], format!("rang for {name}"), "{told:#}");
        assert_eq!(attempt["metrics"], json!({"progress": 0.5, "rung": 1.0}), "{told:#}");
    }

    for language in LANGUAGES {
        let run = start(&server, &format!("fails-{language}"), json!({})).unwrap();
        let told = closed(&server, &run);
        let error = &told["steps"][0]["visits"][0]["error"];
        assert_eq!(
            (&error["kind"], &error["message"], &error["details"]["text"]),
            (&json!("Told.To"), &json!("not {{ secrets.WORD }} x"), &json!("{{ secrets.WORD }} x")),
            "{told:#}"
        );
        assert!(!told.to_string().contains("s3cret-word"), "{told:#}");
        let line = &told["steps"][0]["visits"][0]["attempts"][0]["logs"][0]["text"];
        assert_eq!(line, "it was {{ secrets.WORD }} x", "{told:#}");
    }
}

#[test]
fn workers_and_server_are_killed_and_no_step_is_lost_or_done_after_its_result() {
    let kills = std::env::var("REFLUX_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let project = Project::new();
    project.write("flows/ring.yaml", RING);
    let mut server = Served::start(&project);
    let phone = Server::new(|_| (200, json!({})));
    // Two of each, so that work goes on while one of them begins anew.
    let mut workers: Vec<(&str, Group)> = [LANGUAGES, LANGUAGES]
        .concat()
        .into_iter()
        .map(|language| (language, worker(language, &server)))
        .collect();
    registered(&server);

    let mut begun: Vec<String> = Vec::new();
    let mut dice = Dice(20_261_121);
    for _ in 0..kills {
        while open(&server) < RUNS {
            begun.push(start(&server, "ring", json!({"url": phone.url})).unwrap());
        }
        std::thread::sleep(BETWEEN);
        match dice.below(workers.len() + 1) {
            victim if victim < workers.len() => {
                let (language, _) = workers.swap_remove(victim);
                workers.push((language, worker(language, &server)));
            }
            _ => {
                let before = server.kill();
                server = Served::again(&project, &before);
            }
        }
    }
    let after = Instant::now();
    while open(&server) > 0 {
        assert!(after.elapsed() < SETTLE_MAX, "runs are still open: {begun:?}");
        std::thread::sleep(Duration::from_millis(100));
    }

    let calls = phone.got();
    let mut keys = BTreeSet::new();
    for run in &begun {
        let told = closed(&server, run);
        assert_eq!(told["output"], json!({"path": STEPS}), "{told:#}");
        let mine: Vec<&Value> =
            calls.iter().map(|call| &call.body).filter(|body| body["run"] == **run).collect();
        let mut by_step: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut furthest = 0;
        for call in &mine {
            let step = call["step"].as_str().unwrap();
            let at = STEPS.iter().position(|known| *known == step).unwrap();
            assert!(at >= furthest, "{step} was called again after its result: {mine:#?}");
            furthest = at;
            by_step.entry(step).or_default().insert(call["key"].as_str().unwrap());
        }
        assert_eq!(by_step.len(), STEPS.len(), "a step was never called: {mine:#?}");
        for (step, of_step) in by_step {
            assert_eq!(of_step.len(), 1, "the attempts of {step} had different keys");
            assert!(keys.insert((*of_step.first().unwrap()).to_owned()), "two steps had one key");
        }
    }
}

#[test]
fn a_worker_that_is_told_to_end_finishes_what_it_has() {
    for language in LANGUAGES {
        let project = Project::new();
        let steps = format!(
            "name: one\ninput: {{url: string}}\nsteps:\n\
             \x20 - {{id: one, node: ring.{language}, with: {{url: '{{{{ input.url }}}}', path: []}}}}\n"
        );
        project.write("flows/one.yaml", &steps);
        let server = Served::start(&project);
        let mut ends = worker(language, &server);
        registered_in(&server, &[language]);
        let phone = Server::new(|_| {
            std::thread::sleep(Duration::from_millis(500));
            (200, json!({}))
        });
        let called = || !phone.got().is_empty();
        let run = start(&server, "one", json!({"url": phone.url})).unwrap();
        // The answer takes half a second; the worker is told in the middle of it.
        wait_until("the step to run", || running(&server, &run));
        let told = Command::new("kill").arg(ends.leader.id().to_string()).status().unwrap();
        assert!(told.success());
        assert!(ends.leader.wait().unwrap().success(), "{language}");
        assert!(called());
        closed(&server, &run);
        assert_eq!(phone.got().len(), 1, "{language}: the attempt was neither lost nor doubled");
    }
}

/// A worker of that language, which says nothing.
fn worker(language: &str, server: &Served) -> Group {
    let dir = install(&format!("{language}-node"));
    let mut command = match language {
        "python" => {
            let mut command = Command::new(dir.join("bin/python"));
            command.arg(dir.join("worker.py"));
            command
        }
        _ => {
            let mut command = Command::new("node");
            command.arg(dir.join("dist/worker.js"));
            command
        }
    };
    command
        .env("REFLUX_ADDRESS", &server.grpc)
        .env("REFLUX_URL", server.url(""))
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    Group::spawn(&mut command)
}

#[track_caller]
fn registered(server: &Served) {
    registered_in(server, &LANGUAGES);
}

#[track_caller]
fn registered_in(server: &Served, languages: &[&str]) {
    for language in languages {
        let path = format!("/api/v1/nodes/ring.{language}");
        wait_until(&format!("{path} to be registered"), || {
            get(server, &path).is_some_and(|answer| answer.get("node").is_some())
        });
    }
}

fn start(server: &Served, flow: &str, input: Value) -> Option<String> {
    let answer = post(server, "/api/v1/runs", &json!({"flow": flow, "input": input}))?;
    let run = answer["run"]["workflowId"].as_str();
    Some(run.unwrap_or_else(|| panic!("{answer}")).to_owned())
}

/// How many runs are open.
fn open(server: &Served) -> usize {
    let answer = get(server, "/api/v1/runs?statuses=RUN_STATUS_RUNNING").unwrap();
    answer["runs"].as_array().map_or(0, Vec::len)
}

fn running(server: &Served, run: &str) -> bool {
    let told = get(server, &format!("/api/v1/runs/{run}/describe")).unwrap();
    told["steps"][0]["visits"][0]["attempts"][0].get("started").is_some()
}

/// What a run is like, once it is closed.
#[track_caller]
fn closed(server: &Served, run: &str) -> Value {
    let mut told = Value::Null;
    wait_until(&format!("{run} to close"), || {
        told = get(server, &format!("/api/v1/runs/{run}/describe")).unwrap();
        told["run"].get("closed").is_some()
    });
    told
}

fn get(server: &Served, path: &str) -> Option<Value> {
    request(server, "GET", path, "")
}

fn post(server: &Served, path: &str, body: &Value) -> Option<Value> {
    request(server, "POST", path, &body.to_string())
}

fn request(server: &Served, method: &str, path: &str, body: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(&server.http).ok()?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        server.http,
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

/// The same throws every time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }
}
