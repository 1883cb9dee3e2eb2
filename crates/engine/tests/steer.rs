//! An operator steers runs of a real engine: what is asked is one record, what is refused is none,
//! and a run that is read again goes on where it was.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use common::World;
use reflux_core::{Command, Event, Item, Kind, RunKey, Suspend};
use reflux_engine::{Answer, Error, Lane, Options};
use reflux_flow::{Patch, Steer};
use serde_json::{Value, json};

const ROW: &str = "
name: row
steps:
  - {id: a, node: n.a}
  - {id: b, node: n.b, needs: [a]}
  - {id: c, node: n.c, needs: [b]}
";

/// Nodes wait behind it until it is opened.
#[derive(Default)]
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.lock().unwrap();
        drop(self.1.wait_timeout_while(open, Duration::from_secs(60), |open| !*open).unwrap());
    }
}

fn world(dir: &Path, door: &Arc<Door>) -> World {
    let door = door.clone();
    World::open(Options::at(dir), move |attempt, input| {
        if &*attempt.activity_id == "a" {
            door.pass();
        }
        Ok(json!({ "did": *attempt.activity_id, "with": input }))
    })
}

fn steer(world: &World, run: &RunKey, steer: Steer, request_id: &str) -> Result<Answer, Error> {
    world.engine.steer(Lane::of(run), Some(run.run_id), steer, "ann", request_id)
}

fn mutate(world: &World, run: &RunKey, patch: &str, request_id: &str) -> Result<Answer, Error> {
    let mut patch = Patch::parse(patch).expect("a patch");
    patch.author = "ann".into();
    steer(world, run, Steer::Mutate(patch), request_id)
}

fn suspend(world: &World, run: &RunKey, command: fn(Suspend) -> Command) {
    let suspend = Suspend { identity: "ann".into(), ..Suspend::default() };
    world.engine.command(Lane::of(run), Some(run.run_id), command(suspend)).expect("taken");
}

fn events(world: &World, run: &RunKey, name: &str) -> usize {
    let is_it = |item: &&Item| match item {
        Item::Event(Event { kind: Kind::Marker(marker), .. }) => &*marker.name == name,
        Item::Event(event) => event.kind.name() == name,
        Item::Delta(_) => false,
    };
    world.engine.items(run).expect("items").iter().filter(is_it).count()
}

/// Waits until the run has so many events of that name.
fn until(world: &World, run: &RunKey, name: &str, count: usize) {
    let begun = Instant::now();
    while events(world, run, name) < count {
        assert!(begun.elapsed() < Duration::from_secs(30), "{run} never has {count} {name}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_changed_run_is_read_again_as_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let door = Arc::new(Door::default());
    let run = {
        let world = world(dir.path(), &door);
        let run = world.start("w", ROW, &Value::Null);
        suspend(&world, &run, Command::Pause);
        let patch = "ops: [{remove: b}, {add: {id: d, node: n.d, after: c, with: {x: 1}}}]";
        assert_eq!(mutate(&world, &run, patch, "").unwrap().revision, 1);
        door.open();
        until(&world, &run, "ActivityTaskCompleted", 1);
        world.engine.shutdown();
        run
    };
    let world = world(dir.path(), &door);
    suspend(&world, &run, Command::Unpause);
    assert_eq!(world.result(&run).unwrap(), json!({ "d": { "did": "d", "with": { "x": 1 } } }));
}

#[test]
fn what_is_refused_leaves_nothing_and_what_is_repeated_is_done_once() {
    let dir = tempfile::tempdir().unwrap();
    let door = Arc::new(Door::default());
    let world = world(dir.path(), &door);
    let run = world.start("w", ROW, &Value::Null);
    let before = world.engine.items(&run).unwrap().len();
    let refused = mutate(&world, &run, "revision: 7\nops: [{remove: b}]", "").unwrap_err();
    assert!(matches!(refused, Error::Rejected(_)), "{refused:?}");
    assert!(refused.to_string().contains("at revision 0, not 7"), "{refused}");
    let refused = mutate(&world, &run, "ops: [{remove: d}]", "").unwrap_err();
    assert!(refused.to_string().contains("unknown step `d`"), "{refused}");
    assert_eq!(world.engine.items(&run).unwrap().len(), before);
    for _ in 0..2 {
        assert_eq!(mutate(&world, &run, "ops: [{remove: b}]", "once").unwrap().revision, 1);
    }
    assert_eq!(events(&world, &run, "reflux.mutation"), 1);
    door.open();
    world.finish(&run);
    let closed = mutate(&world, &run, "ops: [{remove: c}]", "").unwrap_err();
    assert!(closed.to_string().contains("closed"), "{closed}");
}

#[test]
fn of_conflicting_changes_for_one_revision_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let door = Arc::new(Door::default());
    let world = world(dir.path(), &door);
    let run = world.start("w", ROW, &Value::Null);
    let change = |n: usize| {
        let patch = format!("revision: 0\nops: [{{set: {{step: c, path: /with/n, value: {n}}}}}]");
        (n, mutate(&world, &run, &patch, ""))
    };
    let answers: Vec<(usize, Result<Answer, Error>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || change(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, a)| a.is_ok());
    assert_eq!(taken.len(), 1, "{taken:?}");
    for (_, answer) in refused {
        let why = answer.unwrap_err().to_string();
        assert!(why.contains("at revision 1, not 0"), "{why}");
    }
    assert_eq!(events(&world, &run, "reflux.mutation"), 1);
    door.open();
    let with = world.result(&run).unwrap()["c"]["with"].clone();
    assert_eq!(with, json!({ "n": taken[0].0 }));
}

#[test]
fn a_breakpoint_stops_the_run_and_single_steps_go_through_it() {
    let dir = tempfile::tempdir().unwrap();
    let door = Arc::new(Door::default());
    let world = world(dir.path(), &door);
    let run = world.start("w", ROW, &Value::Null);
    let breakpoints = Steer::Breakpoints { add: vec!["b".into()], remove: vec![] };
    steer(&world, &run, breakpoints, "").unwrap();
    door.open();
    until(&world, &run, "WorkflowExecutionPaused", 1);
    steer(&world, &run, Steer::Step { count: 1 }, "").unwrap();
    until(&world, &run, "WorkflowExecutionPaused", 2);
    assert_eq!(events(&world, &run, "ActivityTaskScheduled"), 2);
    suspend(&world, &run, Command::Unpause);
    assert!(world.result(&run).is_ok());
}

#[test]
fn a_paused_run_pauses_its_sub_flow_and_both_go_on_together() {
    let dir = tempfile::tempdir().unwrap();
    let door = Arc::new(Door::default());
    let world = world(dir.path(), &door);
    let flow = "
name: parent
steps:
  - {id: kid, flow: sub}
flows:
  sub:
    steps:
      - {id: a, node: n.a}
      - {id: b, node: n.b, needs: [a]}
";
    let run = world.start("w", flow, &Value::Null);
    until(&world, &run, "ChildWorkflowExecutionStarted", 1);
    let items = world.engine.items(&run).unwrap();
    let kid = items.iter().find_map(|item| match item {
        Item::Event(Event { kind: Kind::ChildStarted(started), .. }) => {
            let child = &started.child;
            Some(RunKey {
                namespace: child.namespace.clone(),
                workflow_id: child.execution.workflow_id.clone(),
                run_id: child.execution.run_id,
            })
        }
        _ => None,
    });
    let kid = kid.expect("a child");
    suspend(&world, &run, Command::Pause);
    until(&world, &kid, "WorkflowExecutionPaused", 1);
    door.open();
    until(&world, &kid, "ActivityTaskCompleted", 1);
    assert_eq!(events(&world, &kid, "ActivityTaskScheduled"), 1, "it starts nothing");
    suspend(&world, &run, Command::Unpause);
    assert!(world.result(&run).is_ok());
    assert_eq!(events(&world, &kid, "WorkflowExecutionUnpaused"), 1);
}
