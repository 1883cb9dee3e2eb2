//! Whole runs through the engine, over a real log and a real store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::World;
use reflux_core::{Command, RunKey, Signal};
use reflux_engine::{Engine, Error, Lane, Options};
use reflux_flow::graph::Retry;
use reflux_flow::payload;
use serde_json::{Value, json};

fn echo(options: Options) -> World {
    World::open(options, |_, input| Ok(input))
}

#[track_caller]
fn check(source: &str, input: Value, expect: Result<Value, &str>) {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(Options::at(dir.path()), |attempt, input| {
        if &*attempt.node == "util.fail" {
            return Err(("Boom".into(), "it broke".into(), false));
        }
        Ok(input)
    });
    let run = world.start("w", source, &input);
    let result = world.result(&run);
    assert_eq!(result, expect.map_err(str::to_owned));
    world.engine.shutdown();
}

#[test]
fn a_flow_runs_its_steps_in_order_of_their_needs() {
    check(
        "name: f
input: {who: string}
steps:
  - id: a
    node: util.echo
    with: {text: 'hello {{ input.who }}'}
  - id: b
    node: util.echo
    with: {again: '{{ steps.a.output.text }}!'}
output: '{{ steps.b.output.again }}'
",
        json!({"who": "ada"}),
        Ok(json!("hello ada!")),
    );
}

#[test]
fn a_failure_without_a_route_fails_the_run() {
    check(
        "name: f\nsteps:\n  - id: a\n    node: util.fail\n  - id: b\n    needs: [a]\n    node: util.echo\n",
        json!({}),
        Err("it broke"),
    );
}

#[test]
fn a_handled_failure_completes_the_run_and_says_so() {
    check(
        "name: f
steps:
  - id: a
    node: util.fail
    on: {failure: h}
  - id: h
    node: util.echo
    with: {kind: '{{ workflow.error.kind }}', status: '{{ workflow.status }}'}
output: '{{ steps.h.output }}'
",
        json!({}),
        Ok(json!({
            "status": "failed",
            "error": {"kind": "Boom", "message": "it broke", "details": null, "step": "a"},
            "output": {"kind": "Boom", "status": "failed"},
        })),
    );
}

#[test]
fn a_for_each_keeps_the_order_of_its_items() {
    check(
        "name: f
input: {list: array}
steps:
  - id: each
    for_each: {items: '{{ input.list }}', concurrency: 3}
    node: util.echo
    with: {n: '{{ item }}', at: '{{ index }}'}
output: '{{ steps.each.output }}'
",
        json!({"list": [5, 6, 7, 8]}),
        Ok(json!([{"n": 5, "at": 0}, {"n": 6, "at": 1}, {"n": 7, "at": 2}, {"n": 8, "at": 3}])),
    );
}

#[test]
fn a_sub_flow_gives_its_output_to_its_parent() {
    check(
        "name: f
steps:
  - id: sub
    flow: inner
    with: {x: 2}
flows:
  inner:
    name: inner
    input: {x: number}
    steps:
      - id: a
        node: util.echo
        with: {y: '{{ input.x + 1 }}'}
    output: '{{ steps.a.output.y }}'
output: '{{ steps.sub.output }}'
",
        json!({}),
        Ok(json!(3)),
    );
}

#[test]
fn a_payload_of_a_megabyte_comes_back_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::at(dir.path());
    let big = "x".repeat(1_000_000);
    let source = "name: f\ninput: {b: string}\nsteps:\n  - id: a\n    node: util.echo\n    with: {b: '{{ input.b }}'}\noutput: '{{ steps.a.output.b }}'\n";
    let world = echo(options.clone());
    let run = world.start("w", source, &json!({ "b": big }));
    assert_eq!(world.result(&run), Ok(json!(big)));
    world.engine.shutdown();
    drop(world);
    let world = echo(options);
    assert_eq!(world.result(&run), Ok(json!(big)));
    world.engine.shutdown();
}

#[test]
fn a_failing_step_is_tried_as_often_as_its_policy_says() {
    let dir = tempfile::tempdir().unwrap();
    let retry = Retry::Intervals(vec![Duration::from_millis(20), Duration::from_millis(40)]);
    let world = World::with_retry(Options::at(dir.path()), Some(retry), |attempt, input| {
        if attempt.attempt < 3 {
            return Err(("Flaky".into(), "not yet".into(), true));
        }
        Ok(input)
    });
    let run = world.start("w", "name: f\nsteps:\n  - id: a\n    node: x.y\n    with: {v: 1}\noutput: '{{ steps.a.output.v }}'\n", &json!({}));
    assert_eq!(world.result(&run), Ok(json!(1)));
    let calls = world.nodes.calls.lock().unwrap().clone();
    assert_eq!(calls, [("a".to_owned(), 1), ("a".to_owned(), 2), ("a".to_owned(), 3)]);
    world.engine.shutdown();
}

#[test]
fn a_run_that_waits_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::at(dir.path());
    let source = "name: f\nsteps:\n  - id: w\n    wait: {signal: go}\n  - id: a\n    node: util.echo\n    with: {got: '{{ steps.w.output.n }}'}\noutput: '{{ steps.a.output.got }}'\n";
    let world = echo(options.clone());
    let run = world.start("w", source, &json!({}));
    world.engine.shutdown();
    drop(world);
    let world = echo(options);
    let signal = Signal {
        name: "go".into(),
        input: payload::of_value(&json!({"n": 7})),
        ..Signal::default()
    };
    world.engine.command(Lane::of(&run), None, Command::Signal(signal)).unwrap();
    assert_eq!(world.result(&run), Ok(json!(7)));
    world.engine.shutdown();
}

#[test]
fn a_timer_fires_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::at(dir.path());
    let world = echo(options.clone());
    let run = world.start(
        "w",
        "name: f\nsteps:\n  - id: w\n    wait: 300ms\noutput: 'done'\n",
        &json!({}),
    );
    world.engine.shutdown();
    drop(world);
    let world = echo(options);
    assert_eq!(world.result(&run), Ok(json!("done")));
    world.engine.shutdown();
}

#[test]
fn the_state_is_the_same_after_the_store_was_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::at(dir.path());
    let world = echo(options.clone());
    let source = "name: f\nsteps:\n  - id: a\n    for_each: {items: [1, 2, 3]}\n    node: util.echo\n    with: {n: '{{ item }}'}\n";
    for n in 0..20 {
        let run = world.start(&format!("w{n}"), source, &json!({}));
        world.finish(&run);
    }
    let before = world.engine.state_hash().unwrap();
    world.engine.shutdown();
    drop(world);
    std::fs::remove_dir_all(dir.path().join("store")).unwrap();
    let world = echo(options);
    assert_eq!(world.engine.state_hash().unwrap(), before);
    world.engine.shutdown();
}

#[test]
fn a_backup_taken_after_trimming_restores_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    let world = echo(Options::at(dir.path().join("one")));
    let source = "name: f\nsteps:\n  - id: a\n    node: util.echo\n    with: {n: 1}\n";
    for round in 0..3 {
        for n in 0..10 {
            let run = world.start(&format!("w{round}-{n}"), source, &json!({}));
            world.finish(&run);
        }
        world.engine.snapshot().unwrap();
    }
    let before = world.engine.state_hash().unwrap();
    let backup = dir.path().join("backup").display().to_string();
    world.engine.backup(&backup).unwrap();
    world.engine.shutdown();
    drop(world);

    let two = dir.path().join("two");
    Engine::restore(&backup, &two).unwrap();
    for _ in 0..2 {
        let world = echo(Options::at(&two));
        assert_eq!(world.engine.state_hash().unwrap(), before);
        world.engine.shutdown();
    }

    // What was trimmed comes back from the snapshots.
    std::fs::remove_dir_all(dir.path().join("one/store")).unwrap();
    let world = echo(Options::at(dir.path().join("one")));
    assert_eq!(world.engine.state_hash().unwrap(), before);
    world.engine.shutdown();
}

#[test]
fn a_store_that_lost_more_than_the_log_has_comes_back_from_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (store, old) = (dir.path().join("store"), dir.path().join("old"));
    let source = "name: f\nsteps:\n  - id: a\n    node: util.echo\n    with: {n: 1}\n";
    let world = echo(Options::at(dir.path()));
    for n in 0..10 {
        let run = world.start(&format!("w{n}"), source, &json!({}));
        world.finish(&run);
    }
    world.engine.shutdown();
    drop(world);
    copy(&store, &old);

    let world = echo(Options::at(dir.path()));
    for round in 0..3 {
        for n in 0..10 {
            let run = world.start(&format!("w{round}-{n}"), source, &json!({}));
            world.finish(&run);
        }
        world.engine.snapshot().unwrap();
    }
    let before = world.engine.state_hash().unwrap();
    world.engine.shutdown();
    drop(world);

    // A loss of power: the log and the snapshots were synced, the store never was.
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&old, &store).unwrap();
    let world = echo(Options::at(dir.path()));
    assert_eq!(world.engine.state_hash().unwrap(), before);
    world.engine.shutdown();
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if from.is_dir() {
            copy(&from, &to.join(name));
        } else {
            std::fs::copy(&from, to.join(name)).unwrap();
        }
    }
}

#[test]
fn a_workflow_id_has_one_open_run() {
    let dir = tempfile::tempdir().unwrap();
    let world = echo(Options::at(dir.path()));
    let source = "name: f\nsteps:\n  - id: w\n    wait: {signal: go}\n";
    let run = world.start("w", source, &json!({}));
    let lane = Lane::of(&run);
    let unknown = Lane { namespace: "default".into(), workflow_id: "nobody".into() };
    let cancel = || Command::RequestCancel(reflux_core::RequestCancel::default());
    assert!(matches!(world.engine.command(unknown, None, cancel()), Err(Error::NotFound { .. })));
    world.engine.command(lane, None, cancel()).unwrap();
    assert_eq!(world.result(&run), Err("WorkflowExecutionCanceled".to_owned()));
    world.engine.shutdown();
}

#[test]
fn a_repeated_signal_is_acknowledged_also_when_the_run_has_closed() {
    let dir = tempfile::tempdir().unwrap();
    let world = echo(Options::at(dir.path()));
    let source = "name: f\nsteps:\n  - id: w\n    wait: {signal: go}\n";
    let run = world.start("w", source, &json!({}));
    let signal = |request_id: &str| {
        let signal =
            Signal { name: "go".into(), request_id: request_id.into(), ..Signal::default() };
        world.engine.command(Lane::of(&run), Some(run.run_id), Command::Signal(signal))
    };
    signal("first").unwrap();
    let items = world.finish(&run).len();
    signal("first").expect("it was taken");
    assert!(signal("second").is_err(), "the run is closed");
    assert_eq!(world.finish(&run).len(), items, "nothing was appended");
    world.engine.shutdown();
}

#[test]
fn an_approval_that_names_no_step_is_refused_where_it_could_be_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(Options::at(dir.path()), |_, input| Ok(input));
    let approve = |run: &RunKey, id: &str, data: Value| {
        let input = payload::of_value(&data);
        let signal = Signal {
            name: "reflux.approve".into(),
            input,
            request_id: id.into(),
            ..Signal::default()
        };
        world.engine.command(Lane::of(run), Some(run.run_id), Command::Signal(signal)).map(drop)
    };
    let refused = |result: Result<(), Error>| {
        let said = result.unwrap_err().to_string();
        assert!(said.contains("id of the step in `step`"), "{said}");
    };
    let (yes, no_step) = (json!({"step": "a", "approved": true}), json!({"approved": true}));
    let two = "name: two\nsteps:\n  - {id: a, wait: {approval: A}}\n  - {id: b, wait: {approval: B}, needs: a}\n";
    let run = world.start("two", two, &json!({}));
    refused(approve(&run, "1", no_step.clone()));
    approve(&run, "2", yes.clone()).unwrap();
    refused(approve(&run, "3", no_step.clone()));
    // The same request once more is the same answer, and decides nothing.
    approve(&run, "2", yes).unwrap();
    approve(&run, "4", json!({"step": "b", "approved": true})).unwrap();
    assert!(world.result(&run).is_ok());

    let one = "name: one\nsteps:\n  - {id: first, wait: {signal: go}}\n  - {id: a, wait: {approval: A}, needs: first}\n";
    let run = world.start("one", one, &json!({}));
    refused(approve(&run, "5", no_step.clone()));
    let go = Signal { name: "go".into(), ..Signal::default() };
    world.engine.command(Lane::of(&run), None, Command::Signal(go)).unwrap();
    approve(&run, "6", no_step).unwrap();
    assert!(world.result(&run).is_ok());
}
