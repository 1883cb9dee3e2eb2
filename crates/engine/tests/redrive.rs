//! Runs again through the engine, over a real log and a real store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Handle, World};
use reflux_core::{Command, RunKey, Signal, Status};
use reflux_engine::{Error, Lane, Options, Redriving};
use reflux_flow::payload;
use reflux_flow::redrive::Scope;
use serde_json::{Value, json};

const CHAIN: &str = "name: f
input: {n: integer}
steps:
  - {id: a, node: util.echo, with: {v: '{{ input.n }}'}}
  - {id: b, node: util.echo, with: {v: '{{ steps.a.output.v }}'}}
  - {id: c, node: util.echo, with: {v: '{{ steps.b.output.v }}'}}
output: '{{ steps.c.output.v }}'
";

/// A world in which the step of that id fails until it is mended.
fn breaking(dir: &std::path::Path, step: &'static str) -> (World, Arc<AtomicBool>) {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    let world = World::open(Options::at(dir), move |attempt, input| {
        if &*attempt.activity_id == step && !is_mended.load(Ordering::SeqCst) {
            return Err(("Boom".into(), "it broke".into(), false));
        }
        Ok(input)
    });
    (world, mended)
}

fn calls(world: &World) -> Vec<String> {
    std::mem::take(&mut *world.nodes.calls.lock().unwrap()).into_iter().map(|(id, _)| id).collect()
}

fn redrive(world: &World, base: &RunKey, wanted: &Redriving) -> Result<RunKey, Error> {
    let nodes = Handle(world.nodes.clone());
    world.engine.redrive(base, wanted, &nodes).map(|answer| answer.run)
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited too long for {what}");
}

#[test]
fn a_failed_run_goes_on_as_a_new_run_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mended) = breaking(dir.path(), "b");
    let base = world.start("w", CHAIN, &json!({"n": 4}));
    assert_eq!(world.result(&base), Err("it broke".into()));
    assert_eq!(calls(&world), ["a", "b"]);
    let before = world.engine.items(&base).unwrap();
    mended.store(true, Ordering::SeqCst);
    let wanted = Redriving { by: "me".into(), ..Redriving::default() };
    let run = redrive(&world, &base, &wanted).unwrap();
    assert_eq!(world.result(&run), Ok(json!(4)));
    assert_eq!(calls(&world), ["b", "c"]);
    assert_eq!((&run.workflow_id, run.run_id != base.run_id), (&base.workflow_id, true));
    assert_eq!(world.engine.summary(&run).unwrap().unwrap().redrive_of, Some(base.run_id));
    assert_eq!(world.engine.items(&base).unwrap(), before, "the base was changed");
    let hash = world.engine.state_hash().unwrap();
    world.engine.shutdown();
    drop(world);
    let (world, _) = breaking(dir.path(), "b");
    assert_eq!(world.engine.state_hash().unwrap(), hash);
    assert_eq!(world.result(&run), Ok(json!(4)));
    // The base is no longer needed: its re-drive is read from its own items.
    let again = redrive(&world, &run, &Redriving::default()).unwrap();
    assert_eq!(world.result(&again), Ok(json!(4)));
    assert_eq!(calls(&world), Vec::<String>::new());
    world.engine.shutdown();
}

#[test]
fn attempts_of_both_runs_have_the_same_idempotency_key() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = keys.clone();
    let world = World::open(Options::at(dir.path()), move |attempt, input| {
        let mut seen = seen.lock().unwrap();
        seen.push(attempt.idempotency_key.clone());
        if seen.len() == 2 { Err(("Boom".into(), "it broke".into(), false)) } else { Ok(input) }
    });
    let base = world.start("w", CHAIN, &json!({"n": 4}));
    world.finish(&base);
    let nodes = Handle(world.nodes.clone());
    let plan = world.engine.plan_redrive(&base, &Redriving::default(), &nodes).unwrap();
    let run = redrive(&world, &base, &Redriving::default()).unwrap();
    world.finish(&run);
    let keys = keys.lock().unwrap();
    assert_eq!(keys[1], keys[2]);
    assert_eq!(
        plan.rows.iter().find(|row| row.activation == "b").unwrap().idempotency_key,
        keys[1]
    );
    world.engine.shutdown();
}

#[test]
fn a_repeated_request_is_answered_with_the_run_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let (world, mended) = breaking(dir.path(), "b");
    let base = world.start("w", CHAIN, &json!({"n": 4}));
    world.finish(&base);
    mended.store(true, Ordering::SeqCst);
    let wanted = Redriving { request_id: "r1".into(), ..Redriving::default() };
    let run = redrive(&world, &base, &wanted).unwrap();
    assert_eq!(redrive(&world, &base, &wanted).unwrap(), run);
    world.finish(&run);
    assert_eq!(redrive(&world, &base, &wanted).unwrap(), run);
    world.engine.shutdown();
}

#[test]
fn a_refused_re_drive_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _) = breaking(dir.path(), "b");
    let base = world.start("w", CHAIN, &json!({"n": 4}));
    world.finish(&base);
    let hash = world.engine.state_hash().unwrap();
    let wanted = Redriving { scope: Scope::Step("zz".into()), ..Redriving::default() };
    let error = redrive(&world, &base, &wanted).unwrap_err();
    assert!(error.to_string().contains("no step `zz`"), "{error}");
    let input = [("n".to_owned(), json!("text"))].into_iter().collect();
    let error = redrive(&world, &base, &Redriving { input, ..Redriving::default() }).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert_eq!(world.engine.state_hash().unwrap(), hash);
    world.engine.shutdown();
}

#[test]
fn an_edited_output_and_signals_reach_the_new_run() {
    let source = "name: f
steps:
  - {id: a, node: util.echo, with: {v: 1}}
  - {id: ask, needs: [a], wait: {approval: 'go on?'}}
  - {id: b, node: util.echo, needs: [ask], with: {v: '{{ steps.a.output.v }}'}}
output: '{{ steps.b.output.v }}'
";
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(Options::at(dir.path()), |_, input| Ok(input));
    let base = world.start("w", source, &json!({}));
    wait_for("the approval", || {
        world
            .engine
            .items(&base)
            .unwrap()
            .iter()
            .any(|item| format!("{item:?}").contains("reflux.wait"))
    });
    // It names no step: the new run takes it all the same, though it does not wait yet.
    let approval = Signal {
        name: "reflux.approve".into(),
        input: payload::of_value(&json!({"approved": true, "by": "me"})),
        ..Signal::default()
    };
    let lane = Lane::of(&base);
    world.engine.command(lane, Some(base.run_id), Command::Signal(approval)).unwrap();
    world.finish(&base);
    calls(&world);
    let outputs: BTreeMap<String, Value> = [("a".to_owned(), json!({"v": 2}))].into();
    let run = redrive(&world, &base, &Redriving { outputs, ..Redriving::default() }).unwrap();
    assert_eq!(world.result(&run), Ok(json!(2)));
    assert_eq!(calls(&world), ["b"]);
    let wanted = Redriving { without_signals: true, ..Redriving::default() };
    let run = redrive(&world, &run, &wanted).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(world.engine.summary(&run).unwrap().unwrap().status, Status::Running);
    world.engine.shutdown();
}

#[test]
fn a_failed_sub_run_is_re_driven_and_the_others_are_kept() {
    let source = "name: f
steps:
  - id: each
    flow: inner
    for_each: {items: [1, 2, 3], concurrency: 3}
    with: {x: '{{ item }}'}
flows:
  inner:
    name: inner
    input: {x: number}
    steps:
      - {id: one, node: util.echo, with: {y: '{{ input.x }}'}}
      - {id: two, node: util.two, with: {y: '{{ steps.one.output.y }}'}}
    output: '{{ steps.two.output.y }}'
output: '{{ steps.each.output }}'
";
    let dir = tempfile::tempdir().unwrap();
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    let world = World::open(Options::at(dir.path()), move |attempt, input| {
        let breaks = &*attempt.node == "util.two" && input["y"] == json!(2);
        if breaks && !is_mended.load(Ordering::SeqCst) {
            // The other two are done before this one ends everything.
            std::thread::sleep(Duration::from_millis(300));
            return Err(("Boom".into(), "it broke".into(), false));
        }
        Ok(input)
    });
    let base = world.start("w", source, &json!({}));
    assert!(world.result(&base).is_err());
    assert_eq!(calls(&world).len(), 6);
    mended.store(true, Ordering::SeqCst);
    let run = redrive(&world, &base, &Redriving::default()).unwrap();
    assert_eq!(world.result(&run), Ok(json!([1, 2, 3])));
    assert_eq!(calls(&world), ["two"]);
    let lane = Lane { namespace: "default".into(), workflow_id: "w/each[1]".into() };
    let child = world.engine.current(&lane).unwrap().unwrap();
    assert!(world.engine.summary(&child).unwrap().unwrap().redrive_of.is_some());
    // The whole of it again: nothing is called.
    let run = redrive(&world, &run, &Redriving::default()).unwrap();
    assert_eq!(world.result(&run), Ok(json!([1, 2, 3])));
    assert_eq!(calls(&world), Vec::<String>::new());
    world.engine.shutdown();
}

#[test]
fn an_open_run_ends_with_the_start_of_its_re_drive() {
    let source = "name: f
steps:
  - {id: a, node: util.echo, with: {v: 1}}
  - {id: sub, flow: inner, needs: [a]}
  - {id: wait, needs: [a], wait: {signal: go}}
flows:
  inner:
    name: inner
    steps:
      - {id: inside, wait: {signal: go}}
";
    let dir = tempfile::tempdir().unwrap();
    let world = World::open(Options::at(dir.path()), |_, input| Ok(input));
    let base = world.start("w", source, &json!({}));
    let sub = Lane { namespace: "default".into(), workflow_id: "w/sub".into() };
    wait_for("the sub-run", || world.engine.current(&sub).unwrap().is_some());
    let first = world.engine.current(&sub).unwrap().unwrap();
    calls(&world);
    let fork = Redriving { scope: Scope::Event(2), keeps_base: true, ..Redriving::default() };
    let error = redrive(&world, &base, &fork).unwrap_err();
    assert!(error.to_string().contains("give the fork its own"), "{error}");
    let fork = Redriving { workflow_id: Some("w2".into()), ..fork };
    let forked = redrive(&world, &base, &fork).unwrap();
    assert_eq!(&*forked.workflow_id, "w2");
    let run = redrive(&world, &base, &Redriving::default()).unwrap();
    let status = |run: &RunKey| world.engine.summary(run).unwrap().unwrap().status;
    assert_eq!((status(&base), status(&run)), (Status::Terminated, Status::Running));
    wait_for("the new sub-run", || {
        let current = world.engine.current(&sub).unwrap();
        current.is_some_and(|it| it.run_id != first.run_id && status(&it) == Status::Running)
    });
    assert_eq!(status(&first), Status::Terminated);
    for lane in [Lane::of(&run), sub] {
        let go = Signal { name: "go".into(), ..Signal::default() };
        world.engine.command(lane, None, Command::Signal(go)).unwrap();
    }
    world.finish(&run);
    assert_eq!(status(&run), Status::Completed);
    // Only the fork called anything: its state is that before `a` had ended.
    assert_eq!(calls(&world), ["a"]);
    world.engine.shutdown();
}
