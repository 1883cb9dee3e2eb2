//! Runs outlive the commands that started them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use support::{Project, Server, wait_until};

/// Steps that leave a line each; the second waits until a file is there.
const STEPS: &str = "name: steps\nsteps:\n\
    \x20 - {id: first, node: t.note, with: {text: first}}\n\
    \x20 - {id: second, node: t.hold, needs: first}\n\
    \x20 - {id: third, node: t.note, with: {text: third}, needs: second}\n\
    output: {held: '{{ steps.second.output.held }}'}\n";

fn project(effects: &str) -> Project {
    let project = Project::new();
    project.write("flows/steps.yaml", STEPS);
    project.write(
        "nodes/t.yaml",
        &format!(
            "module: t\nversion: 1.0.0\nactions:\n\
             \x20 - {{name: note, command: [./note.sh], effects: idempotent}}\n\
             \x20 - {{name: hold, command: [./hold.sh], effects: {effects}}}\n"
        ),
    );
    project.write("note.sh", "#!/bin/sh\ncat >> notes\necho >> notes\necho '{}'\n");
    project.write("hold.sh", "#!/bin/sh\necho held >> holds\nwhile [ ! -e go ] && [ -e hold.sh ]; do sleep 0.02; done\necho '{\"held\": true}'\n");
    project
}

fn run_id(project: &Project) -> String {
    project.run(&["list", "--json"]).json()["runs"][0]["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_killed_run_goes_on_with_the_step_it_was_in() {
    let project = project("idempotent");
    let running = project.start(&["run", "steps"]);
    project.wait_for("holds");
    running.kill();
    // Looking calls no nodes and loses nothing.
    let shown = project.run(&["show", "last"]).with_code(0).stdout;
    assert!(shown.contains("✓ first") && shown.contains("running"), "{shown}");
    let holds = project.lines("holds");
    project.run(&["list"]).with_code(0);
    assert_eq!(project.lines("holds"), holds);
    project.write("go", "");
    let gave = project.run(&["resume", "last"]).with_code(0);
    assert_eq!(gave.json(), json!({"held": true}));
    assert_eq!(project.lines("notes"), 2, "no step that had completed ran again");
    let shown = project.run(&["show", "last"]).stdout;
    assert!(shown.contains("was lost with its process"), "{shown}");
}

#[test]
fn a_killed_step_that_may_do_harm_waits_for_a_person() {
    let project = project("unsafe");
    let running = project.start(&["run", "steps"]);
    project.wait_for("holds");
    running.kill();
    let gave = project.run(&["resume"]).with_code(0);
    assert!(gave.stderr.contains("reflux resolve"), "{}", gave.stderr);
    assert_eq!(project.lines("holds"), 1, "it was not repeated");
    let shown = project.run(&["show", "last"]).stdout;
    assert!(shown.contains("paused") && shown.contains("say what became of it"), "{shown}");
    project.run(&["resolve", "last", "first", "--retry"]).with_code(2);
    project.run(&["resolve", "last", "second"]).with_code(2);
    project
        .run(&["resolve", "last", "second", "--complete", r#"{"held": "by hand"}"#])
        .with_code(0);
    let gave = project.run(&["resume", "last"]).with_code(0);
    assert_eq!(gave.json(), json!({"held": "by hand"}));
    assert_eq!((project.lines("holds"), project.lines("notes")), (1, 2));
}

#[test]
fn what_was_done_is_taken_back_in_reverse_order_once_also_by_a_killed_run() {
    let project = Project::new();
    let mut flow = String::from("name: trip\nsteps:\n");
    for (id, needs) in [("hotel", ""), ("flight", "hotel"), ("car", "flight")] {
        let needs = if needs.is_empty() { String::new() } else { format!("needs: [{needs}], ") };
        let _ = writeln!(
            flow,
            "  - {{id: {id}, {needs}node: t.note, with: {{text: {id}}}, compensate: {{node: t.back, with: {{text: {id}}}}}}}"
        );
    }
    flow.push_str("  - {id: pay, needs: [car], node: t.fail}\n");
    project.write("flows/trip.yaml", &flow);
    project.write(
        "nodes/t.yaml",
        "module: t\nversion: 1.0.0\nactions:\n\
         \x20 - {name: note, command: [./note.sh], effects: idempotent}\n\
         \x20 - {name: back, command: [./back.sh], effects: idempotent}\n\
         \x20 - {name: fail, command: ['false'], effects: pure}\n",
    );
    project.write("note.sh", "#!/bin/sh\ncat >> notes\necho >> notes\necho '{}'\n");
    // The second one waits: there the process is killed.
    project.write(
        "back.sh",
        "#!/bin/sh\ncat > back.$$\n\
         if grep -q flight back.$$; then echo >> holds; while [ ! -e go ] && [ -e back.sh ]; do sleep 0.02; done; fi\n\
         cat back.$$ >> backs\necho >> backs\necho '{}'\n",
    );
    let running = project.start(&["run", "trip"]);
    project.wait_for("holds");
    running.kill();
    project.write("go", "");
    project.run(&["resume", "last"]).with_code(1);
    let backs = std::fs::read_to_string(project.path().join("backs")).unwrap();
    let order: Vec<&str> = ["car", "flight", "hotel"]
        .into_iter()
        .flat_map(|id| backs.lines().filter(move |line| line.contains(id)))
        .collect();
    let mut lines: Vec<&str> = backs.lines().collect();
    // The one that was killed may have gone on by itself when it was let go.
    lines.dedup();
    assert_eq!(lines.len(), 3, "{backs}");
    let mut once = order.clone();
    once.dedup();
    assert_eq!(lines, once, "{backs}");
    assert_eq!(project.lines("notes"), 3);
}

/// Kills a request while its server has it and goes on. The status of the run then, what was said,
/// and how often the server was asked.
fn killed_in_request(method: &str) -> (String, String, usize) {
    let asked: Arc<AtomicUsize> = Arc::default();
    let counts = asked.clone();
    let server = Server::new(move |_| {
        // The first is never answered: its caller is dead by then.
        while counts.fetch_add(1, Ordering::SeqCst) == 0 {
            std::thread::park();
        }
        (200, json!({"here": true}))
    });
    let project = Project::new();
    project.write(".reflux/config.toml", "[net]\nallow = [\"127.0.0.1\"]\n");
    project.write(
        "flows/ask.yaml",
        "name: ask\ninput: {url: string, method: string}\nsteps:\n  - id: ask\n    node: http.request\n    \
         with: {url: '{{ input.url }}', method: '{{ input.method }}'}\n",
    );
    let running = project.start(&["run", "ask", "--url", &server.url, "--method", method]);
    wait_until("the request", || asked.load(Ordering::SeqCst) == 1);
    running.kill();
    let said = project.run(&["resume"]).with_code(0).stderr;
    let runs = project.run(&["list", "--json"]).json();
    let status = runs["runs"][0]["status"].as_str().unwrap().to_owned();
    (status, said, asked.load(Ordering::SeqCst))
}

#[test]
fn a_killed_request_is_sent_again_only_if_its_method_allows_it() {
    for (method, status, times) in
        [("GET", "completed", 2), ("put", "completed", 2), ("POST", "running", 1)]
    {
        let (became, said, asked) = killed_in_request(method);
        assert_eq!((became.as_str(), asked), (status, times), "{method}: {said}");
        assert_eq!(said.contains("reflux resolve"), times == 1, "{method}: {said}");
    }
}

#[test]
fn an_unknown_outcome_can_be_tried_again_or_failed() {
    for (resolution, code) in [(&["--retry"][..], 0), (&["--fail", "it never came"], 1)] {
        let project = project("unsafe");
        let running = project.start(&["run", "steps"]);
        project.wait_for("holds");
        running.kill();
        project.write("go", "");
        project.run(&[&["resolve", "last", "second"], resolution].concat()).with_code(0);
        let gave = project.run(&["resume", "last"]).with_code(code);
        assert_eq!(gave.stderr.contains("failed"), code == 1, "{}", gave.stderr);
    }
}

#[test]
fn an_interrupted_command_leaves_its_run_and_says_how_to_go_on() {
    let project = project("idempotent");
    let running = project.start(&["run", "steps"]);
    project.wait_for("holds");
    running.interrupt();
    running.interrupt();
    let gave = running.end().with_code(130);
    assert!(gave.stderr.contains("reflux resume"), "{}", gave.stderr);
    project.write("go", "");
    project.run(&["resume"]).with_code(0);
    assert_eq!(project.run(&["list", "--json"]).json()["runs"][0]["status"], "completed");
}

#[test]
fn others_attach_to_the_command_that_holds_the_project() {
    let project = project("idempotent");
    project.write(
        "flows/quick.yaml",
        "name: quick\nsteps: [{id: a, node: util.log, with: {message: hi}}]\n",
    );
    let holding = project.start(&["run", "steps", "--id", "one"]);
    project.wait_for("holds");
    let listed = project.run(&["list", "--status", "running", "--json"]).with_code(0).json();
    assert_eq!(listed["runs"][0]["workflow_id"], "one");
    project.run(&["run", "quick"]).with_code(0);
    let taken = project.run(&["run", "steps", "--id", "one"]).with_code(2);
    assert!(taken.stderr.contains("already running"), "{}", taken.stderr);
    let mut following = project.start(&["run", "steps", "--id", "one", "--attach"]);
    following.wait_to_say("following ");
    project.write("go", "");
    assert_eq!(following.end().with_code(0).json(), json!({"held": true}));
    holding.end().with_code(0);
    assert_eq!(project.lines("holds"), 1);
}

#[test]
fn who_is_attached_takes_over_when_the_holder_dies() {
    let project = project("idempotent");
    let holding = project.start(&["run", "steps", "--id", "one"]);
    project.wait_for("holds");
    let attached = project.start(&["run", "steps", "--id", "two"]);
    wait_until("both runs", || project.lines("holds") == 2);
    holding.kill();
    project.write("go", "");
    attached.end().with_code(0);
    project.run(&["resume"]).with_code(0);
    let runs = project.run(&["list", "--json"]).json();
    let done: Vec<_> =
        runs["runs"].as_array().unwrap().iter().map(|run| run["status"].clone()).collect();
    assert_eq!(done, [json!("completed"), json!("completed")]);
    assert_eq!(project.lines("notes"), 4);
}

#[test]
fn a_detached_run_goes_on_in_the_background() {
    let project = project("idempotent");
    let gave = project.run(&["run", "steps", "--detach", "--json"]).with_code(0).json();
    assert_eq!(gave["status"], "running");
    project.wait_for("holds");
    project.write("go", "");
    wait_until("the end of the run", || {
        project.run(&["list", "--json"]).json()["runs"][0]["status"] == "completed"
    });
    assert_eq!(project.lines("notes"), 2);
}

#[test]
fn approvals_and_signals_are_answered_while_somebody_works_and_while_nobody_does() {
    let project = Project::new();
    project.write(
        "flows/ask.yaml",
        "name: ask\nsteps:\n  - {id: ok, wait: {approval: 'Send it?'}}\n  - {id: data, wait: {signal: data}, needs: ok}\n\
         output: '{{ steps.data.output }}'\n",
    );
    // Each look holds the project for a moment, while the run wants to.
    let running = project.start(&["run", "ask"]);
    wait_until("the approval", || project.run(&["show", "last"]).stdout.contains("reflux approve"));
    project.run(&["approve", "last", "wrong"]).with_code(2);
    project.run(&["approve", "last", "ok", "--comment", "fine"]).with_code(0);
    wait_until("the signal", || project.run(&["show", "last"]).stdout.contains("reflux signal"));
    project.run(&["approve", "last"]).with_code(2);
    project.run(&["signal", "last", "data", "--data", "{"]).with_code(2);
    project.run(&["signal", "last", "data", "--data", "[1]"]).with_code(0);
    assert_eq!(running.end().with_code(0).json(), json!([1]));

    let first = run_id(&project);
    let running = project.start(&["run", "ask"]);
    wait_until("the second run", || run_id(&project) != first);
    running.kill();
    let gave = project.run(&["resume"]).with_code(0);
    assert!(gave.stderr.contains("waits for"), "{}", gave.stderr);
    let gave = project.run(&["approve", "last", "--reject"]).with_code(0);
    assert!(!gave.stderr.contains("resume"), "the run has closed: {}", gave.stderr);
    assert_eq!(project.run(&["list", "--json"]).json()["runs"][0]["status"], "failed");
}

#[test]
fn runs_are_cancelled_and_terminated() {
    let project = project("idempotent");
    for (command, status) in [("cancel", "canceled"), ("terminate", "terminated")] {
        let before = project.lines("holds");
        let running = project.start(&["run", "steps", "--json"]);
        wait_until("the step", || project.lines("holds") > before);
        project.run(&[command, "last", "--reason", "enough"]).with_code(0);
        assert_eq!(running.end().with_code(4).json()["status"], status);
        project.run(&[command, "last"]).with_code(2);
    }
}

#[test]
fn a_backup_restores_what_was_there() {
    let project = Project::new();
    project.write(
        "flows/quick.yaml",
        "name: quick\nsteps: [{id: a, node: util.log, with: {message: hi}}]\n",
    );
    project.run(&["run", "quick"]).with_code(0);
    let history = project.run(&["history", "last", "--attempts"]).stdout;
    let backup = project.path().join("backup");
    let backup = backup.to_str().unwrap();
    project.run(&["backup", backup]).with_code(0);
    let again = project.run(&["backup", backup]);
    assert!(again.code == 2 && again.stderr.contains("name an empty place"), "{again:?}");
    let other = Project::new();
    other.run(&["restore", backup]).with_code(0);
    for _ in 0..2 {
        assert_eq!(other.run(&["history", "last", "--attempts"]).stdout, history);
    }
    other.run(&["restore", backup]).with_code(2);
    let missing = Project::new().run(&["restore", "/nowhere"]);
    assert!(missing.code == 2 && missing.stderr.contains("/nowhere"), "{missing:?}");
}
