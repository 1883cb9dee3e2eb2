//! The built program: a command that fails is replaced by an alternative of its manifest, by the
//! flow's own word and by an operator's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use support::{Project, wait_until};

const NODES: &str = r#"
module: fx
actions:
  - name: bank
    command: [sh, -c, "echo asked >> bank.txt; echo the bank is closed >&2; exit 1"]
    inputs: {pair: string}
    outputs: {rate: number}
    alternatives: [fx.words, fx.feed]
  - name: words
    command: [sh, -c, "echo asked >> words.txt; echo '{\"rate\": \"two\"}'"]
    inputs: {pair: string}
    outputs: {rate: string}
  - name: feed
    command: [sh, -c, "echo asked >> feed.txt; echo '{\"rate\": 2}'"]
    inputs: {pair: string}
    outputs: {rate: number}
"#;

const TELL: &str =
    "  - {id: tell, node: util.template, with: {template: 'rate {{ steps.rate.output.rate }}'}}\n";

fn project(steps: &str) -> Project {
    let project = Project::new();
    project.write("nodes/fx.yaml", NODES);
    let output = "output: '{{ steps.tell.output.text }}'\n";
    project.write("flows/quote.yaml", &format!("name: quote\nsteps:\n{steps}{TELL}{output}"));
    project
}

fn mutations(project: &Project) -> Vec<Value> {
    let history = project.run(&["--json", "history", "last"]).with_code(0).stdout;
    let entries: Vec<Value> = match serde_json::from_str(&history) {
        Ok(Value::Array(entries)) => entries,
        _ => history.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
    };
    entries.into_iter().filter(|entry| entry.to_string().contains("reflux.mutation")).collect()
}

#[test]
fn a_command_that_fails_is_replaced_by_the_alternative_that_fits() {
    let project = project("  - {id: rate, node: fx.bank, alternatives: auto, with: {pair: EUR}}\n");
    let gave = project.run(&["--json", "run", "quote"]).with_code(0).json();
    assert_eq!(gave["output"], json!("rate 2"), "{gave:#}");
    let asked = ["bank.txt", "words.txt", "feed.txt"].map(|file| project.lines(file));
    assert_eq!(asked, [1, 0, 1]);
    let changes = mutations(&project);
    assert_eq!(changes.len(), 1, "{changes:#?}");
    let change = changes[0].to_string();
    for said in ["alternatives", "`fx.bank` failed", "the bank is closed", "fx.feed"] {
        assert!(change.contains(said), "{said}: {change}");
    }
    let verified = project.run(&["replay", "last", "--verify"]).with_code(0);
    assert!(verified.stdout.contains("no difference"), "{verified:?}");
}

#[test]
fn an_operator_has_a_step_done_by_an_alternative() {
    let project = project(
        "  - {id: ask, wait: {approval: 'go on?'}}\n  - {id: rate, node: fx.bank, needs: [ask], with: {pair: EUR}}\n",
    );
    let following = project.start(&["--json", "run", "quote", "--id", "w"]);
    wait_until("the approval", || {
        let shown = project.run(&["--json", "show", "w"]);
        shown.code == 0 && !shown.json()["waits_for"].as_array().unwrap().is_empty()
    });
    let wrong = project.run(&["mutate", "w", "--replace", "tell=auto"]);
    assert!(wrong.stderr.contains("nothing can take the place of node"), "{wrong:?}");
    project.run(&["mutate", "w", "--replace", "rate=auto", "--reason", "closed"]).with_code(0);
    project.run(&["approve", "w"]).with_code(0);
    let gave = following.end().with_code(0).json();
    assert_eq!(gave["output"], json!("rate 2"), "{gave:#}");
    assert_eq!((project.lines("bank.txt"), project.lines("feed.txt")), (0, 1));
}
