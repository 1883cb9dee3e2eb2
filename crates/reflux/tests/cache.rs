//! Results kept across runs, with the built program: a slow command is counted outside of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use reflux_core::Slot;
use serde_json::{Value, json};
use support::served::Served;
use support::{Project, wait_until};

/// `t.slow` leaves a line for each call, and waits until a file is there.
fn project(cache: &str) -> Project {
    let project = Project::new();
    project.write(
        "flows/ask.yaml",
        &format!(
            "name: ask\ninput: {{x: integer}}\nsteps:\n  \
             - {{id: a, node: t.slow, with: {{x: '{{{{ input.x }}}}'}}, cache: {cache}}}\n"
        ),
    );
    project.write(
        "nodes/t.yaml",
        "module: t\nversion: 1.0.0\nactions:\n  - {name: slow, command: [./slow.sh], effects: reads}\n",
    );
    project.write(
        "slow.sh",
        "#!/bin/sh\ncat > /dev/null\necho called >> calls\n\
         while [ ! -e go ] && [ -e slow.sh ]; do sleep 0.02; done\n\
         echo \"{\\\"call\\\": $(wc -l < calls)}\"\n",
    );
    project
}

/// Workflow ids of different partitions.
fn two() -> [String; 2] {
    let partition = |id: &str| u32::from(Slot::of("default", id).0) * 4 / 16_384;
    let first = "w0".to_owned();
    let mut others = (1..1_000).map(|n| format!("w{n}"));
    let second = others.find(|id| partition(id) != partition(&first)).unwrap();
    [first, second]
}

fn start(project: &Project, id: &str) {
    project.run(&["run", "ask", "--x", "1", "--detach", "--id", id]).with_code(0);
}

fn runs(project: &Project) -> Vec<Value> {
    let listed = project.run(&["list", "--json"]).with_code(0).json();
    listed["runs"].as_array().unwrap().clone()
}

fn status(project: &Project, id: &str) -> String {
    let of_id = |run: &Value| run["workflow_id"] == id;
    let found = runs(project).into_iter().find(of_id).unwrap();
    found["status"].as_str().unwrap().to_owned()
}

fn is_kept(project: &Project, id: &str) -> bool {
    project.run(&["show", id]).with_code(0).stdout.contains("kept, of the cache: run ")
}

fn calls(project: &Project) -> usize {
    project.lines("calls")
}

/// Long enough that a second call would have come.
fn settle() {
    std::thread::sleep(Duration::from_millis(300));
}

#[test]
fn a_call_that_is_under_way_when_the_server_is_killed_stays_one_runs() {
    let project = project("{ttl: 1h}");
    let served = Served::start(&project);
    let ids = two();
    start(&project, &ids[0]);
    project.wait_for("calls");
    start(&project, &ids[1]);
    settle();
    assert_eq!(calls(&project), 1, "the second waits for the first");
    let before = served.kill();
    let served = Served::again(&project, &before);
    wait_until("the call is made again", || calls(&project) == 2);
    settle();
    assert_eq!(calls(&project), 2, "by one run");
    project.write("go", "");
    wait_until("both runs", || ids.iter().all(|id| status(&project, id) == "completed"));
    assert_eq!(calls(&project), 2);
    let kept = ids.iter().filter(|id| is_kept(&project, id)).count();
    assert_eq!(kept, 1, "one took what the other got");
    for id in &ids {
        project.run(&["replay", id, "--verify"]).with_code(0);
    }
    drop(served);
}

#[test]
fn who_waits_makes_the_call_when_the_other_run_is_ended() {
    for end in ["terminate", "cancel"] {
        let project = project("{ttl: 1h}");
        let served = Served::start(&project);
        let ids = two();
        start(&project, &ids[0]);
        project.wait_for("calls");
        start(&project, &ids[1]);
        settle();
        assert_eq!(calls(&project), 1);
        project.run(&[end, &ids[0]]).with_code(0);
        wait_until("the other calls", || calls(&project) == 2);
        project.write("go", "");
        wait_until("its end", || status(&project, &ids[1]) == "completed");
        assert_eq!(calls(&project), 2, "{end}");
        assert!(!is_kept(&project, &ids[1]));
        drop(served);
    }
}

#[test]
fn results_outlast_the_server_and_what_was_cleared_stays_cleared() {
    let project = project("{ttl: 1h}");
    project.write("go", "");
    let ask = |id: &str| project.run(&["run", "ask", "--x", "1", "--id", id]).with_code(0).json();
    let served = Served::start(&project);
    let first = json!({"call": 1});
    assert_eq!(ask("a")["a"], first);
    assert_eq!(ask("b")["a"], first);
    let stat = project.run(&["cache", "stat", "--json"]).with_code(0).json();
    assert_eq!((&stat["entries"], &stat["hits"]), (&json!("1"), &json!("1")), "{stat}");
    let listed = project.run(&["cache", "list", "--json"]).with_code(0).json();
    assert_eq!(listed[0]["node"], "t.slow");
    assert_eq!(listed[0]["workflow_id"], "a");
    let said = project.run(&["cache", "list"]).with_code(0).stdout;
    assert!(said.contains("t.slow") && said.contains("taken 1×"), "{said}");
    let before = served.kill();
    let served = Served::again(&project, &before);
    assert_eq!(ask("c")["a"], first, "a kill loses nothing");
    assert_eq!(
        project.run(&["cache", "clear", "--flow", "other", "--json"]).json()["cleared"],
        json!("0")
    );
    assert_eq!(
        project.run(&["cache", "clear", "--node", "t.slow", "--json"]).json()["cleared"],
        json!("1")
    );
    assert_eq!(served.terminate(), 0);
    // What is rebuilt has the result again, and takes it out again.
    std::fs::remove_dir_all(project.path().join(".reflux/data/store")).unwrap();
    let served = Served::start(&project);
    assert_eq!(ask("d")["a"], json!({"call": 2}));
    assert_eq!(ask("e")["a"], json!({"call": 2}));
    let again = project.run(&["redrive", "e", "--step", "a"]);
    again.with_code(0);
    wait_until("the repeated call", || calls(&project) == 3);
    drop(served);
}

#[test]
fn a_result_is_made_again_when_its_time_is_over_or_there_are_too_many() {
    let project = project("{ttl: 1s}");
    project.write("go", "");
    project.write(".reflux/config.toml", "[cache]\nentries = 1\n");
    let ask = |x: &str| {
        project.run(&["run", "ask", "--x", x]).with_code(0).json()["a"]["call"].as_u64().unwrap()
    };
    let served = Served::start(&project);
    let first = ask("1");
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(ask("1"), first + 1);
    assert_eq!(ask("2"), first + 2);
    assert_eq!(ask("1"), first + 3, "there is room for one");
    drop(served);
}

#[test]
fn a_flow_that_cannot_be_cached_soundly_is_refused_with_the_place() {
    let project = project("true");
    let gave = project.run(&["validate", "flows/ask.yaml"]);
    assert_ne!(gave.code, 0);
    let said = format!("{}{}", gave.stdout, gave.stderr);
    assert!(
        said.contains("`t.slow` is not pure (reads)") && said.contains("ask.yaml:4:"),
        "{said}"
    );
}
