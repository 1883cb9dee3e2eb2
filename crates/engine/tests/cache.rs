//! Results kept across runs, over a real log and a real store of four partitions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::World;
use reflux_core::{Command, Delta, Item, Kind, RunKey, Slot, Terminate, Timestamp};
use reflux_engine::{CacheBounds, CacheFilter, Lane, Options};
use reflux_flow::payload;
use reflux_flow::progress::{Mark, Reuse, ReuseKind};
use serde_json::{Value, json};

const FLOW: &str = "name: f
input: {x: integer}
steps:
  - {id: a, node: n.slow, with: {x: '{{ input.x }}'}, cache: {ttl: 1h}}
output: '{{ steps.a.output }}'
";

/// Calls wait here until they are let go.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let open = self.open.lock().unwrap();
        let (open, _) =
            self.opened.wait_timeout_while(open, Duration::from_secs(20), |open| !*open).unwrap();
        assert!(*open, "nobody opened the gate");
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// Workflow ids that are in different partitions, in order.
fn spread(count: usize) -> Vec<String> {
    let partition = |id: &String| u32::from(Slot::of("default", id).0) * 4 / 16_384;
    let mut ids: Vec<String> = Vec::new();
    for id in (0..1_000).map(|n| format!("w{n}")) {
        if ids.len() < count && !ids.iter().any(|other| partition(other) == partition(&id)) {
            ids.push(id);
        }
    }
    assert_eq!(ids.len(), count);
    ids
}

fn reuses(items: &[Item]) -> Vec<Reuse> {
    let marks = items.iter().filter_map(|item| match item {
        Item::Event(event) => match &event.kind {
            Kind::Marker(marker) => Mark::read(&marker.name, payload::marker_json(marker)).unwrap(),
            _ => None,
        },
        Item::Delta(_) => None,
    });
    let reuse = |mark| match mark {
        Mark::Reuse(reuse) => Some(reuse),
        _ => None,
    };
    marks.filter_map(reuse).collect()
}

/// Events and deltas of calls.
fn calls(items: &[Item]) -> usize {
    let is_call = |item: &&Item| match item {
        Item::Event(event) => matches!(
            event.kind,
            Kind::ActivityScheduled(_) | Kind::ActivityStarted(_) | Kind::ActivityCompleted(_)
        ),
        Item::Delta(delta) => {
            matches!(delta, Delta::AttemptStarted(_) | Delta::AttemptEnded(_))
        }
    };
    items.iter().filter(is_call).count()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never: {what}");
}

fn terminate(world: &World, run: &RunKey) {
    let reason = Terminate { reason: "test".into(), ..Terminate::default() };
    world.engine.command(Lane::of(run), Some(run.run_id), Command::Terminate(reason)).unwrap();
}

fn of_default() -> CacheFilter {
    CacheFilter { namespace: "default".into(), ..CacheFilter::default() }
}

/// A world whose node says how often it was called.
fn counting(options: Options) -> (World, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    let world = World::open(options, move |_, input| {
        let call = counted.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(json!({ "call": call, "x": input["x"] }))
    });
    (world, count)
}

fn outcome(world: &World, id: &str, x: u32) -> Value {
    let run = world.start(id, FLOW, &json!({ "x": x }));
    world.result(&run).unwrap()
}

#[test]
fn the_same_call_of_another_run_is_made_once_and_a_hit_records_nothing_but_the_reuse() {
    let dir = tempfile::tempdir().unwrap();
    let (world, count) = counting(Options::at(dir.path()));
    let first = world.start("first", FLOW, &json!({"x": 1}));
    world.finish(&first);
    for id in spread(4) {
        let run = world.start(&id, FLOW, &json!({"x": 1}));
        let items = world.finish(&run);
        assert_eq!(calls(&items), 0);
        let reuses = reuses(&items);
        assert_eq!(reuses.len(), 1);
        assert_eq!(reuses[0].kind, ReuseKind::Cache);
        assert_eq!(reuses[0].from.as_ref().unwrap().run_id, first.run_id);
        assert_eq!(reuses[0].output, json!({"call": 1, "x": 1}));
        assert_eq!(items.len(), 3, "start, reuse, end: {items:#?}");
    }
    assert_eq!(outcome(&world, "other", 2), json!({"call": 2, "x": 2}));
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let usage = world.engine.cache_usage(&of_default());
    assert_eq!((usage.entries, usage.hits), (2, 4));
    world.engine.shutdown();
}

#[test]
fn runs_at_once_in_different_partitions_make_a_call_once() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let at_gate = gate.clone();
    let world = World::open(Options::at(dir.path()), move |_, _| {
        at_gate.pass();
        Ok(json!("done"))
    });
    let ids = spread(4);
    let runs: Vec<RunKey> = ids.iter().map(|id| world.start(id, FLOW, &json!({"x": 1}))).collect();
    eventually("one is called", || !world.nodes.calls.lock().unwrap().is_empty());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(world.nodes.calls.lock().unwrap().len(), 1);
    gate.open();
    for run in &runs {
        assert_eq!(world.result(run).unwrap(), json!("done"));
    }
    assert_eq!(world.nodes.calls.lock().unwrap().len(), 1);
    let taken = runs.iter().filter(|run| !reuses(&world.engine.items(run).unwrap()).is_empty());
    assert_eq!(taken.count(), 3);
    world.engine.shutdown();
}

#[test]
fn who_waits_makes_the_call_when_the_run_that_made_it_is_terminated() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let at_gate = gate.clone();
    let world = World::open(Options::at(dir.path()), move |attempt, _| {
        at_gate.pass();
        Ok(json!(attempt.run.workflow_id.to_string()))
    });
    let ids = spread(2);
    let first = world.start(&ids[0], FLOW, &json!({"x": 1}));
    eventually("the first calls", || world.nodes.calls.lock().unwrap().len() == 1);
    let second = world.start(&ids[1], FLOW, &json!({"x": 1}));
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(world.nodes.calls.lock().unwrap().len(), 1, "the second waits");
    terminate(&world, &first);
    eventually("the second calls", || world.nodes.calls.lock().unwrap().len() == 2);
    gate.open();
    assert_eq!(world.result(&second).unwrap(), json!(ids[1]));
    world.engine.shutdown();
}

#[test]
fn who_waits_makes_the_call_when_that_of_the_other_run_fails() {
    let dir = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let (at_gate, made) = (gate.clone(), Arc::new(AtomicU32::new(0)));
    let world = World::open(Options::at(dir.path()), move |_, _| {
        at_gate.pass();
        match made.fetch_add(1, Ordering::SeqCst) {
            0 => Err(("Boom".into(), "it broke".into(), false)),
            _ => Ok(json!("mended")),
        }
    });
    let ids = spread(3);
    let runs: Vec<RunKey> = ids.iter().map(|id| world.start(id, FLOW, &json!({"x": 1}))).collect();
    gate.open();
    let results: Vec<_> = runs.iter().map(|run| world.result(run)).collect();
    assert_eq!(results.iter().filter(|it| it.is_err()).count(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|it| **it == Ok(json!("mended"))).count(), 2);
    assert_eq!(world.nodes.calls.lock().unwrap().len(), 2);
    world.engine.shutdown();
}

#[test]
fn a_process_that_ends_within_a_call_leaves_it_to_one_run_only() {
    let dir = tempfile::tempdir().unwrap();
    let ids = spread(4);
    let runs: Vec<RunKey> = {
        let gate = Arc::new(Gate::default());
        let at_gate = gate.clone();
        let world = World::open(Options::at(dir.path()), move |_, _| {
            at_gate.pass();
            // The process is gone by then: nobody is told.
            std::panic::resume_unwind(Box::new(()))
        });
        let runs = ids.iter().map(|id| world.start(id, FLOW, &json!({"x": 1}))).collect();
        eventually("one is called", || world.nodes.calls.lock().unwrap().len() == 1);
        world.engine.shutdown();
        gate.open();
        let nodes = Arc::downgrade(&world.nodes);
        drop(world);
        eventually("the process is gone", || nodes.strong_count() == 0);
        runs
    };
    let (world, count) = counting(Options::at(dir.path()));
    for run in &runs {
        assert_eq!(world.result(run).unwrap(), json!({"call": 1, "x": 1}));
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    world.engine.shutdown();
}

#[test]
fn results_outlast_the_process_and_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _) = counting(Options::at(dir.path()));
    assert_eq!(outcome(&world, "first", 1), json!({"call": 1, "x": 1}));
    world.engine.shutdown();
    drop(world);
    // As it is, rebuilt from the log, rebuilt from a snapshot.
    for (nth, loses_store) in [false, true, true].into_iter().enumerate() {
        if loses_store {
            std::fs::remove_dir_all(dir.path().join("store")).unwrap();
        }
        let (world, count) = counting(Options::at(dir.path()));
        assert_eq!(outcome(&world, &format!("again-{nth}"), 1), json!({"call": 1, "x": 1}));
        assert_eq!(count.load(Ordering::SeqCst), 0);
        world.engine.snapshot().unwrap();
        world.engine.shutdown();
    }
}

#[test]
fn a_result_is_taken_as_long_as_its_time_is_not_over() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _) = counting(Options::at(dir.path()));
    let flow = FLOW.replace("1h", "400ms");
    let call = |id: &str| {
        let run = world.start(id, &flow, &json!({"x": 1}));
        world.result(&run).unwrap()["call"].clone()
    };
    assert_eq!(call("a"), json!(1));
    std::thread::sleep(Duration::from_millis(450));
    assert_eq!(call("c"), json!(2));
    world.engine.shutdown();
}

#[test]
fn there_are_no_more_results_than_the_bounds_allow_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = CacheBounds { entries: 2, bytes: 1 << 20 };
    let (world, count) = counting(Options { cache: bounds, ..Options::at(dir.path()) });
    (1..=3).for_each(|x| drop(outcome(&world, &format!("w{x}"), x)));
    assert_eq!(world.engine.cache_usage(&of_default()).entries, 2);
    drop(outcome(&world, "third", 3));
    assert_eq!(count.load(Ordering::SeqCst), 3, "the newest is there");
    drop(outcome(&world, "first", 1));
    assert_eq!(count.load(Ordering::SeqCst), 4, "the oldest has gone");
    world.engine.shutdown();
    drop(world);
    let (world, _) = counting(Options { cache: bounds, ..Options::at(dir.path()) });
    assert_eq!(world.engine.cache_usage(&of_default()).entries, 2);
    world.engine.shutdown();
}

#[test]
fn namespaces_and_flows_see_their_own_results() {
    let dir = tempfile::tempdir().unwrap();
    let (world, count) = counting(Options::at(dir.path()));
    drop(outcome(&world, "a", 1));
    let renamed = FLOW.replace("name: f", "name: g");
    world.finish(&world.start("b", &renamed, &json!({"x": 1})));
    assert_eq!(count.load(Ordering::SeqCst), 1, "a result is the namespace's");
    let own = FLOW.replace("{ttl: 1h}", "{ttl: 1h, scope: flow}");
    let own_renamed = renamed.replace("{ttl: 1h}", "{ttl: 1h, scope: flow}");
    world.finish(&world.start("c", &own, &json!({"x": 1})));
    world.finish(&world.start("d", &own_renamed, &json!({"x": 1})));
    world.finish(&world.start("e", &own, &json!({"x": 1})));
    assert_eq!(count.load(Ordering::SeqCst), 3, "or the flow's");
    let other = CacheFilter { namespace: "other".into(), ..CacheFilter::default() };
    assert!(world.engine.cache_rows(&other, 10).is_empty());
    let of_g = CacheFilter { flow: Some("g".into()), ..of_default() };
    assert_eq!(world.engine.cache_rows(&of_g, 10).len(), 1);
    world.engine.shutdown();
}

#[test]
fn what_was_cleared_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (world, count) = counting(Options::at(dir.path()));
    drop(outcome(&world, "a", 1));
    drop(outcome(&world, "b", 2));
    let nothing = CacheFilter { node: Some("n.other".into()), ..of_default() };
    assert_eq!(world.engine.clear_cache(&nothing, Timestamp::MAX), 0);
    let node = CacheFilter { node: Some("n.slow".into()), ..of_default() };
    assert_eq!(world.engine.clear_cache(&node, Timestamp::MAX), 2);
    drop(outcome(&world, "c", 1));
    assert_eq!(count.load(Ordering::SeqCst), 3);
    world.engine.shutdown();
}
