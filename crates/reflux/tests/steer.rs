//! A run is steered by the built program while another one follows it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use support::{Project, wait_until};

const FLOW: &str = "
name: row
steps:
  - {id: ask, wait: {approval: 'go on?'}}
  - {id: b, node: util.template, needs: [ask], with: {template: first}}
  - {id: c, node: util.template, needs: [b], with: {template: second}}
  - {id: d, node: util.template, needs: [b], with: {template: third}}
output: {b: '{{ steps.b.output.text }}', c: '{{ steps.c.output.text }}'}
";

fn show(project: &Project) -> Value {
    project.run(&["--json", "show", "w"]).with_code(0).json()
}

#[test]
fn a_run_is_changed_stopped_stepped_through_and_ends_as_it_was_changed() {
    let project = Project::new();
    project.write("flows/row.yaml", FLOW);
    let following = project.start(&["--json", "run", "row", "--id", "w"]);
    wait_until("the approval", || {
        let shown = project.run(&["--json", "show", "w"]);
        shown.code == 0 && !shown.json()["waits_for"].as_array().unwrap().is_empty()
    });

    let changed = project.run(&[
        "--json",
        "mutate",
        "w",
        "--set",
        "b.with.template=changed",
        "--remove",
        "d",
        "--reason",
        "shorter",
    ]);
    assert_eq!(changed.with_code(0).json()["revision"], json!(1));
    let patch = project.write("patch.yaml", "revision: 0\nops: [{remove: c}]\n");
    let stale = project.run(&["mutate", "w", patch.to_str().unwrap()]);
    assert!(stale.stderr.contains("at revision 1, not 0"), "{stale:?}");
    let unknown = project.run(&["breakpoint", "w", "--before", "bb"]);
    assert!(unknown.stderr.contains("unknown step `bb`"), "{unknown:?}");
    project.run(&["breakpoint", "w", "--before", "b"]).with_code(0);
    project.run(&["approve", "w"]).with_code(0);
    wait_until("the breakpoint", || {
        show(&project)["paused"] == json!("breakpoint before step `b`")
    });
    project.run(&["resume", "w", "--steps", "1"]).with_code(0);
    wait_until("the single step", || {
        show(&project)["paused"] == json!("single-step before step `c`")
    });
    project.run(&["pause", "w"]).with_code(2);

    let ended = project.run(&["--json", "resume", "w"]).with_code(0).json();
    assert_eq!(ended["output"], json!({ "b": "changed", "c": "second" }), "{ended}");
    following.end();
    let history = project.run(&["history", "w"]).with_code(0).stdout;
    for mark in ["reflux.mutation", "reflux.breakpoints", "reflux.break", "reflux.stepping"] {
        assert!(history.contains(mark), "{history}");
    }
}
