//! Looking back at runs from the command line, and event by event in a real terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::Project;

const SHIP: &str = "name: ship\n\
    input: {count: integer}\n\
    steps:\n\
    \x20 - {id: count, node: util.transform, with: {data: {n: '{{ input.count }}'}, mapping: {n: n}}}\n\
    \x20 - {id: again, node: util.transform, needs: count, with: {data: {n: '{{ steps.count.output.n }}'}, mapping: {n: n}}}\n";

fn project() -> Project {
    let project = Project::new();
    project.write("flows/ship.yaml", SHIP);
    project
}

fn run(project: &Project, id: &str, count: &str) {
    project.run(&["run", "ship", "--count", count, "--id", id]).with_code(0);
}

#[test]
fn replay_prints_how_a_run_stood_at_an_event() {
    let project = project();
    run(&project, "one", "1");
    let at =
        |event: &str| project.run(&["--json", "replay", "one", "--at", event]).with_code(0).json();
    let first = at("1");
    assert_eq!((&first["event"], &first["status"]), (&json!(1), &json!("running")));
    assert_eq!(first["steps"][0]["phase"], "ready");
    let second = at("2");
    assert_eq!(second["steps"][0]["phase"], "running");
    assert_eq!(second["open"]["activities"][0]["activation"], "count");
    let last = project.run(&["--json", "replay", "one"]).with_code(0).json();
    assert_eq!(last["status"], "completed");
    assert_eq!(last["steps"][1]["outcome"], "succeeded");
    assert_eq!(last["agenda_empty"], true);

    let only = project.run(&["replay", "one", "--step", "again"]).with_code(0).stdout;
    assert!(only.contains("again  succeeded") && !only.contains("count  succeeded"), "{only}");
    let beyond = project.run(&["replay", "one", "--at", "999"]).with_code(2).stderr;
    assert!(beyond.contains("the run has"), "{beyond}");
    let unknown = project.run(&["replay", "one", "--step", "nobody"]).with_code(2).stderr;
    assert!(unknown.contains("no step `nobody`"), "{unknown}");
}

#[test]
fn verify_finds_nothing_in_a_run_and_names_where_another_definition_leads_elsewhere() {
    let project = project();
    run(&project, "one", "1");
    run(&project, "two", "2");
    let said = project.run(&["replay", "one", "--verify"]).with_code(0).stdout;
    assert!(said.starts_with("no difference: "), "{said}");

    let other = SHIP.replace("output.n }}", "output.n + 1 }}");
    project.write("other.yaml", &other);
    let said = project.run(&["replay", "one", "--with", "other.yaml"]).with_code(1).stdout;
    assert!(said.contains("is recorded as 1 and decided as 2"), "{said}");
    assert!(said.contains("  recorded  {") && said.contains("  decided   {"), "{said}");
    let told =
        project.run(&["--json", "replay", "one", "--with", "other.yaml"]).with_code(1).json();
    assert_eq!(told["verified"], false);
    assert_eq!(told["divergence"]["recorded"]["activation"], "again");
    assert_eq!(told["divergence"]["differences"][0]["path"], "input/data/n");

    let query = ["replay", "--query", "WorkflowType = 'ship'"];
    let said = project.run(&query).with_code(0).stdout;
    assert!(said.contains("0 of 2 runs would have been led elsewhere"), "{said}");
    let said = project.run(&[&query[..], &["--with", "other.yaml"]].concat()).with_code(1).stdout;
    assert!(said.contains("2 of 2 runs would have been led elsewhere"), "{said}");
    project.run(&["replay", "--query", "Nonsense ="]).with_code(2);
}

#[test]
fn deploy_tells_which_runs_a_version_would_have_led_elsewhere() {
    let project = project();
    run(&project, "one", "1");
    let said = project.run(&["deploy", "ship"]).with_code(0);
    assert_eq!(said.stdout, "ship@1\n");
    assert!(!said.stderr.contains("led elsewhere"), "{said:?}");

    project.write("flows/ship.yaml", &SHIP.replace("output.n }}", "output.n + 1 }}"));
    let said = project.run(&["deploy", "ship", "--strict"]).with_code(2).stderr;
    assert!(said.contains("1 of 1 runs would have been led elsewhere"), "{said}");
    assert!(said.contains("nothing was deployed"), "{said}");
    let said = project.run(&["deploy", "ship"]).with_code(0);
    assert_eq!(said.stdout, "ship@2\n");
    assert!(said.stderr.contains("1 of 1 runs would have been led elsewhere"), "{said:?}");
}

#[test]
fn deploy_checks_as_many_runs_as_it_is_told() {
    let project = project();
    for id in ["one", "two", "three"] {
        run(&project, id, "1");
    }
    project.write("flows/ship.yaml", &SHIP.replace("output.n }}", "output.n + 1 }}"));
    let said = project.run(&["deploy", "ship", "--check", "2"]).with_code(0);
    assert!(said.stderr.contains("2 of 2 runs would have been led elsewhere"), "{said:?}");
    project.write("flows/ship.yaml", &SHIP.replace("output.n }}", "output.n + 2 }}"));
    let said = project.run(&["deploy", "ship", "--check", "0"]).with_code(0);
    assert!(!said.stderr.contains("led elsewhere"), "{said:?}");
}

#[test]
fn diff_tells_two_runs_apart_step_by_step() {
    let project = project();
    run(&project, "one", "1");
    run(&project, "two", "2");
    run(&project, "three", "1");
    let told = project.run(&["--json", "diff", "one", "two"]).with_code(0).json();
    assert_eq!(told["first_difference"], "count");
    let paths: Vec<&Value> = told["activations"][0]["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["path"])
        .collect();
    assert!(
        paths.contains(&&json!("input/data/n")) && paths.contains(&&json!("output/n")),
        "{told}"
    );
    assert_ne!(
        told["activations"][0]["before"]["input_hash"],
        told["activations"][0]["after"]["input_hash"]
    );
    let said = project.run(&["diff", "one", "two"]).with_code(0).stdout;
    assert!(said.contains("the first step that differs is count"), "{said}");
    let same = project.run(&["diff", "one", "three"]).with_code(0).stdout;
    assert!(same.contains("no step differs"), "{same}");
}

/// Runs a command in a terminal of 80 columns and 24 rows, types keys, and prints the screen after
/// each: one JSON list of lines.
const TERMINAL: &str = r#"
import fcntl, json, os, pty, re, select, struct, sys, termios, time
keys = json.loads(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
raw = b""
def read(quiet, until):
    global raw
    end = time.monotonic() + until
    while time.monotonic() < end:
        ready, _, _ = select.select([fd], [], [], quiet)
        if not ready:
            return True
        try:
            part = os.read(fd, 65536)
        except OSError:
            return False
        if not part:
            return False
        raw += part
    return True
def screen(data):
    text = data.decode("utf-8", "replace").split("\x1b[H")[-1]
    text = text.split("\x1b[?25h")[0]
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip("\r") for line in text.split("\r\n")]
deadline = time.monotonic() + 30
while b"\x1b[J" not in raw and time.monotonic() < deadline and read(0.3, 1):
    pass
shots = [screen(raw)]
for key in keys:
    os.write(fd, key.encode())
    read(0.4, 5)
    shots.append(screen(raw))
while read(0.5, 5) and time.monotonic() < deadline:
    os.write(fd, b"q")
_, status = os.waitpid(pid, 0)
print(json.dumps({"shots": shots, "code": os.waitstatus_to_exitcode(status),
    "restored": raw.rstrip().endswith(b"\x1b[?1049l")}))
"#;

fn terminal(project: &Project, keys: &[&str], args: &[&str]) -> Value {
    let output = Command::new("python3")
        .args(["-c", TERMINAL, &serde_json::to_string(keys).unwrap()])
        .arg(env!("CARGO_BIN_EXE_reflux"))
        .args(args)
        .current_dir(project.path())
        .env_remove("REFLUX_DIR")
        .env("TERM", "xterm-256color")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_run_is_walked_through_event_by_event_in_a_terminal() {
    let project = project();
    run(&project, "one", "1");
    let keys = ["g", "\x1b[B", "/", "again", "\r", "\x1b[C", "g", "s", "G"];
    let told = terminal(&project, &keys, &["replay", "one"]);
    assert_eq!((&told["code"], &told["restored"]), (&json!(0), &json!(true)), "{told:#}");
    let shot = |at: usize| -> Vec<String> {
        let lines = told["shots"][at].as_array().unwrap();
        lines.iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    };
    let text = |at: usize| shot(at).join("\n");
    for at in 0..=keys.len() {
        let lines = shot(at);
        assert_eq!(lines.len(), 24, "{lines:#?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
    }
    // It opens at the end.
    assert!(text(0).contains("completed") && text(0).contains("✓ again"), "{}", text(0));
    assert!(shot(1)[0].contains("event 1/"), "{}", text(1));
    assert!(shot(2)[0].contains("event 2/"), "{}", text(2));
    assert!(text(2).contains("▶ count"), "{}", text(2));
    assert!(text(2).contains("steps/count/phase: \"ready\" → \"running\""), "{}", text(2));
    assert!(shot(3).last().unwrap().starts_with('/'), "{}", text(3));
    assert!(shot(4).last().unwrap().starts_with("/again"), "{}", text(4));
    assert!(text(5).contains("▶ again"), "{}", text(5));
    // The second step is selected; `s` goes to its first event.
    assert!(shot(7)[0].contains("event 1/"), "{}", text(7));
    assert_eq!(shot(8)[0], shot(5)[0], "{}", text(8));
    assert_eq!(shot(9)[0], shot(0)[0], "{}", text(9));
}
