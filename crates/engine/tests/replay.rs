//! What the engine wrote is decided again from the store, and gives the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::World;
use reflux_core::{EventId, Item, Payload, RunKey};
use reflux_engine::Options;
use reflux_flow::Bundle;
use reflux_flow::graph::Retry;
use reflux_flow::replay::{Verified, View, state_at, verify};
use serde_json::{Value, json};

/// Retries, a list, a route, a sub-flow, a timer, and values that are stored apart.
const FLOW: &str = "name: f
input: {list: array, text: string}
steps:
  - {id: each, for_each: {items: '{{ input.list }}', concurrency: 3}, node: t.echo, with: {n: '{{ item }}', text: '{{ input.text }}'}}
  - {id: flaky, node: t.flaky, with: {n: 1}, needs: [each]}
  - {id: pause, wait: {duration: 10ms}, needs: [flaky]}
  - {id: fails, node: t.fails, needs: [pause], on: {failure: handle}}
  - {id: handle, node: t.echo, with: {kind: '{{ workflow.error.kind }}', all: '{{ steps.each.output }}'}}
";

fn world(options: Options) -> World {
    let retry = Retry::Intervals(vec![Duration::from_millis(1); 3]);
    World::with_retry(options, Some(retry), |attempt, input| match &*attempt.node {
        "t.flaky" if attempt.attempt < 3 => Err(("Later".into(), "not yet".into(), true)),
        "t.fails" => Err(("Boom".into(), "it broke".into(), false)),
        _ => Ok(input),
    })
}

fn bundle_of(world: &World, spec: &Payload) -> Option<Arc<Bundle>> {
    let bytes = world.engine.bundle(&spec.data[..].try_into().unwrap()).unwrap()?;
    Some(Arc::new(Bundle::from_bytes(&bytes).unwrap()))
}

fn verified(world: &World, run: &RunKey, items: &[Item]) -> Verified {
    verify(run.clone(), items, &|spec| bundle_of(world, spec)).unwrap()
}

#[test]
fn a_stored_run_verifies_before_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let first = world(Options::at(dir.path()));
    let input = json!({ "list": [1, 2, 3, 4, 5], "text": "x".repeat(40_000) });
    let run = first.start("w", FLOW, &input);
    let items = first.finish(&run);
    let found = verified(&first, &run, &items);
    assert_eq!(found.divergence, None);
    assert!(!found.open && found.decisions >= 10, "{found:?}");
    first.engine.shutdown();
    drop(first);

    let second = world(Options::at(dir.path()));
    let items = second.engine.items(&run).unwrap();
    assert_eq!(verified(&second, &run, &items), found);

    let at = |event| {
        let bundles = |spec: &Payload| bundle_of(&second, spec);
        state_at(run.clone(), &items, &bundles, event, View { full: true, ..View::default() })
            .unwrap()
    };
    let end = at(None);
    assert_eq!(end.event, i64::try_from(found.events).unwrap());
    let each = end.steps.iter().find(|step| step.id == "each").unwrap();
    assert_eq!(each.output.as_ref().and_then(Value::as_array).unwrap().len(), 5);
    assert_eq!(at(Some(EventId(1))).steps[0].phase, "ready");
    second.engine.shutdown();
}

#[test]
fn an_open_run_has_nothing_left_to_decide() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(Options::at(dir.path()));
    let source = "name: g\nsteps:\n  - {id: a, node: t.echo}\n  - {id: ask, wait: {approval: Go on?}, needs: [a]}\n";
    let run = world.start("w", source, &json!({}));
    let asks = |items: &[Item]| {
        let bundles = |spec: &Payload| bundle_of(&world, spec);
        let state = state_at(run.clone(), items, &bundles, None, View::default()).unwrap();
        state.open.approvals == ["ask"]
    };
    let mut items = Vec::new();
    for _ in 0..500 {
        items = world.engine.items(&run).unwrap();
        if asks(&items) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(asks(&items));
    let found = verified(&world, &run, &items);
    assert!(found.open);
    assert_eq!(found.divergence, None);
    world.engine.shutdown();
}
