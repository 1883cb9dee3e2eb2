//! What was recorded, looked at again: every golden history is decided as it was, and what was
//! tampered with is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use history_tests::golden::Golden;
use history_tests::world::{BEGIN, HERE, LOCAL, Nodes, World, key};
use reflux_core::{
    AttemptRef, BootId, Command, Context, Draft, Event, EventId, Item, Kind, Limits, Local, Run,
    RunId, Start, Worker, decide,
};
use reflux_flow::replay::{
    Bundles, Divergence, Problem, Replay, StateAt, Verified, View, state_at, verify,
};
use reflux_flow::{Bundle, Decider, advance, payload};
use serde_json::{Value, json};
use uuid::Uuid;

fn golden(name: &str) -> (Golden, World) {
    let all = Golden::all();
    let golden = all.into_iter().find(|golden| golden.name.ends_with(name)).expect(name);
    let world = golden.play().unwrap();
    (golden, world)
}

fn verified(items: &[Item], bundle: &Arc<Bundle>) -> Verified {
    verify(key(), items, &|_| Some(bundle.clone())).unwrap()
}

fn divergence(items: &[Item], bundle: &Arc<Bundle>) -> Divergence {
    verified(items, bundle).divergence.expect("a divergence")
}

/// The items with the first event that `change` takes changed by it.
fn tampered(items: &[Item], change: impl Fn(&mut Kind) -> bool) -> Vec<Item> {
    let mut items = items.to_vec();
    let changed = items.iter_mut().any(|item| match item {
        Item::Event(event) => change(&mut event.kind),
        Item::Delta(_) => false,
    });
    assert!(changed, "no such event");
    items
}

fn bundle_of(text: &str) -> Arc<Bundle> {
    let parsed = reflux_flow::syntax::parse("flow.yaml", text).unwrap();
    Arc::new(Bundle::collect_parsed(&parsed, |_| None).unwrap())
}

#[test]
fn every_golden_history_verifies_without_a_divergence() {
    let mut wrong = String::new();
    let mut decisions = 0;
    for golden in Golden::all() {
        let world = golden.play().unwrap();
        let verified = verified(&world.items, world.bundle());
        decisions += verified.decisions;
        if let Some(divergence) = verified.divergence {
            wrong.push_str(&format!("{}: {}\n", golden.name, divergence.text));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(decisions >= 190, "only {decisions} decisions were looked at");
}

#[test]
fn the_state_at_every_event_of_every_golden_is_what_folding_gives() {
    for golden in Golden::all() {
        let world = golden.play().unwrap();
        let bundle = world.bundle().clone();
        let bundles: &Bundles<'_> = &|_| Some(bundle.clone());
        let mut replay = Replay::new(key(), bundles);
        let mut folded: Vec<StateAt> = Vec::new();
        for item in &world.items {
            replay.absorb(item).unwrap();
            let Item::Event(event) = item else {
                // What stands behind an event belongs to it.
                if let Some(last) = folded.pop() {
                    let time = world.items.iter().find_map(|item| match item {
                        Item::Event(event) if event.id.0 == last.event => Some(event.time),
                        _ => None,
                    });
                    folded.push(StateAt::of(&replay, time.unwrap(), View::default()));
                }
                continue;
            };
            folded.push(StateAt::of(&replay, event.time, View::default()));
        }
        for (at, expected) in folded.iter().enumerate() {
            let event = EventId(i64::try_from(at).unwrap() + 1);
            let state =
                state_at(key(), &world.items, bundles, Some(event), View::default()).unwrap();
            assert_eq!(state, *expected, "{} at {event}", golden.name);
            assert_eq!(state.event, event.0);
        }
        let now = state_at(key(), &world.items, bundles, None, View::default()).unwrap();
        assert_eq!(Some(&now), folded.last(), "{}", golden.name);
        assert!(now.agenda_empty || now.paused.is_some() || now.status != "running");
    }
}

#[test]
fn a_changed_input_is_named_with_both_sides() {
    let (_, world) = golden("01-straight-line");
    let items = tampered(&world.items, |kind| match kind {
        Kind::ActivityScheduled(scheduled) => {
            let mut changed = (**scheduled).clone();
            changed.input = payload::of_value(&json!({ "another": "input" }));
            *scheduled = Arc::new(changed);
            true
        }
        _ => false,
    });
    let divergence = divergence(&items, world.bundle());
    let recorded = divergence.recorded.unwrap();
    assert_eq!(recorded["type"], "ActivityTaskScheduled");
    assert_eq!(recorded["input"], json!({ "another": "input" }));
    assert_ne!(divergence.decided.unwrap()["input"], recorded["input"]);
    let recorded = divergence.differences.iter().filter(|one| one.recorded.is_some());
    assert!(recorded.clone().any(|one| one.path == "input/another"), "{}", divergence.text);
    assert!(divergence.text.contains("is recorded as"), "{}", divergence.text);
}

#[test]
fn another_route_is_named_with_both_sides() {
    let (_, world) = golden("05-outcome-routing-loop");
    let items = tampered(&world.items, |kind| match kind {
        Kind::Marker(marker) if &*marker.name == "reflux.route" => {
            let mut mark: Value = serde_json::from_slice(payload::marker_json(marker)).unwrap();
            mark["to"] = json!([]);
            let json = reflux_core::json_payload(serde_json::to_vec(&mark).unwrap());
            marker.details.get_mut("data").unwrap().payloads = vec![json];
            true
        }
        _ => false,
    });
    let divergence = divergence(&items, world.bundle());
    let (recorded, decided) = (divergence.recorded.unwrap(), divergence.decided.unwrap());
    assert_eq!(recorded["name"], "reflux.route");
    assert_eq!(recorded["details"]["to"], json!([]));
    assert_ne!(decided["details"]["to"], json!([]));
    assert!(divergence.text.contains("details/to"), "{}", divergence.text);
}

#[test]
fn a_marker_that_is_gone_is_named_with_what_should_stand_there() {
    let (_, world) = golden("04-when");
    let is_when = |item: &Item| matches!(item, Item::Event(Event { kind: Kind::Marker(marker), .. }) if &*marker.name == "reflux.when");
    let at = world.items.iter().position(is_when).expect("a when");
    let mut items = world.items.clone();
    let Item::Event(gone) = items.remove(at) else { panic!("an event") };
    let divergence = divergence(&items, world.bundle());
    assert_eq!(divergence.event, gone.id.0);
    assert_eq!(divergence.recorded, None);
    assert_eq!(divergence.decided.unwrap()["name"], "reflux.when");
    assert!(divergence.text.contains("is missing"), "{}", divergence.text);

    // The same when whoever took it out numbered the rest anew.
    for item in items.iter_mut().skip(at) {
        if let Item::Event(event) = item {
            event.id = EventId(event.id.0 - 1);
        }
    }
    let divergence = self::divergence(&items, world.bundle());
    assert_eq!(divergence.event, gone.id.0);
    assert_eq!(divergence.decided.unwrap()["name"], "reflux.when");
    assert_ne!(divergence.recorded.unwrap()["name"], "reflux.when");
}

#[test]
fn a_record_that_ends_too_early_is_named_with_what_is_left_to_decide() {
    let (_, world) = golden("01-straight-line");
    let mut items = world.items.clone();
    let Some(Item::Event(last)) = items.pop() else { panic!("the end is an event") };
    assert!(last.kind.closes_run());
    let verified = verified(&items, world.bundle());
    assert!(verified.open);
    let divergence = verified.divergence.unwrap();
    assert_eq!(divergence.recorded, None);
    assert_eq!(divergence.decided.unwrap()["type"], "WorkflowExecutionCompleted");
}

#[test]
fn a_changed_result_is_found_where_it_first_matters() {
    let (_, world) = golden("01-straight-line");
    let items = tampered(&world.items, |kind| match kind {
        Kind::ActivityCompleted(completed) => {
            completed.result = payload::of_value(&json!("tampered with"));
            true
        }
        _ => false,
    });
    assert!(verified(&items, world.bundle()).divergence.is_some());
}

const FIRST: &str = "
name: f
steps:
  - { id: a, node: test.a, with: { x: 1 } }
  - { id: b, node: test.b, needs: [a], with: { x: '{{ steps.a.output }}' } }
";

/// A run of a flow of one definition, each step answered with its number.
fn played(text: &str) -> World {
    let mut world = World::new((*bundle_of(text)).clone());
    world.start("f", &json!({})).unwrap();
    for number in 1..=10 {
        let Some((scheduled, activity)) = world.live.run.activities.first_key_value() else {
            return world;
        };
        let at = AttemptRef {
            scheduled: *scheduled,
            attempt: activity.attempt,
            started_at: Some(world.ctx.now),
        };
        let result = payload::of_value(&json!(number));
        world.command(Command::CompleteActivity { at, result, report: None }).unwrap();
    }
    world
}

#[test]
fn another_definition_is_compared_with_the_record_and_not_with_its_own() {
    let world = played(FIRST);
    assert_eq!(verified(&world.items, world.bundle()).divergence, None);

    // How a step is called does not count, nor how the file is written.
    let same =
        FIRST.replace("with: { x: 1 }", "with: { x: 1 }, timeout: 3s, retry: { attempts: 4 }");
    assert_eq!(verified(&world.items, &bundle_of(&same)).divergence, None);

    let other = FIRST.replace("'{{ steps.a.output }}'", "'{{ steps.a.output + 1 }}'");
    let found = divergence(&world.items, &bundle_of(&other));
    assert_eq!(found.recorded.as_ref().unwrap()["activation"], "b");
    assert_eq!(found.differences[0].path, "input/x");
    assert_eq!(found.differences[0].recorded, Some(json!(1)));
    assert_eq!(found.differences[0].decided, Some(json!(2)));
    assert_eq!(
        found.text,
        format!(
            "event {}, ActivityTaskScheduled of `b`: input/x is recorded as 1 and decided as 2",
            found.event
        )
    );

    // A step that is gone is not called, and one that is new is.
    let without = "name: f\nsteps:\n  - { id: a, node: test.a, with: { x: 1 } }\n";
    let found = divergence(&world.items, &bundle_of(without));
    assert_eq!(found.recorded.unwrap()["activation"], "b");
    assert_eq!(found.decided.unwrap()["type"], "WorkflowExecutionCompleted");
    let more = format!("{FIRST}  - {{ id: c, node: test.c, needs: [b] }}\n");
    let found = divergence(&world.items, &bundle_of(&more));
    assert_eq!(found.recorded.unwrap()["type"], "WorkflowExecutionCompleted");
    assert_eq!(found.decided.unwrap()["activation"], "c");

    let named = FIRST.replace("name: f", "name: g");
    let problem = verify(key(), &world.items, &|_| Some(bundle_of(&named))).unwrap_err();
    assert!(matches!(problem, Problem::Unfit(_)), "{problem}");
    let problem = verify(key(), &world.items, &|_| None).unwrap_err();
    assert!(matches!(problem, Problem::NoDefinition(_)), "{problem}");
}

#[test]
fn a_kept_result_stands_only_for_the_call_that_it_is_of() {
    let (golden, world) = golden("57-kept-with-its-version");
    assert_eq!(verified(&world.items, world.bundle()).divergence, None);

    let text = std::fs::read_to_string(golden.file("flow.yaml")).unwrap();
    let other = text.replace("{{ input.order }}", "{{ input.order }}!");
    assert_ne!(text, other);
    let found = divergence(&world.items, &bundle_of(&other));
    assert_eq!((found.event, &found.recorded.unwrap()["name"]), (2, &json!("reflux.reuse")));
    let decided = found.decided.unwrap();
    assert_eq!(decided["type"], "ActivityTaskScheduled");
    assert_eq!(
        (&decided["activation"], &decided["input"]["order"]),
        (&json!("price"), &json!("o1!"))
    );

    let (golden, world) = self::golden("51-cached");
    let cached = std::fs::read_to_string(golden.file("flow.yaml")).unwrap();
    let dearer = cached.replace("order: o1", "order: o2");
    assert_ne!(cached, dearer);
    assert_eq!(verified(&world.items, &bundle_of(&cached)).divergence, None);
    let found = divergence(&world.items, &bundle_of(&dearer));
    assert_eq!((found.event, &found.recorded.unwrap()["name"]), (2, &json!("reflux.reuse")));
    assert_eq!(found.decided.unwrap()["input"]["order"], "o2");

    // Records of before the version was noted are taken at their word.
    let (_, old) = self::golden("50-re-drive");
    assert_eq!(verified(&old.items, &bundle_of(&other)).divergence, None);
}

#[test]
fn what_would_have_been_decided_earlier_is_named_where_it_was_due() {
    let text = "name: f\nsteps:\n  - { id: a, for_each: { items: [1, 2, 3], concurrency: 1 }, node: test.a, with: { x: '{{ item }}' } }\n";
    let mut world = World::new((*bundle_of(text)).clone());
    world.start("f", &json!({})).unwrap();
    for item in 0..3 {
        world.pass(std::time::Duration::from_secs(1));
        let scheduled = world.scheduled(&format!("a[{item}]")).unwrap();
        let at = AttemptRef { scheduled, attempt: 1, started_at: Some(BEGIN) };
        let result = payload::of_value(&json!(item));
        world.command(Command::CompleteActivity { at, result, report: None }).unwrap();
    }
    assert_eq!(verified(&world.items, world.bundle()).divergence, None);
    let wider = bundle_of(&text.replace("concurrency: 1", "concurrency: 2"));
    let found = divergence(&world.items, &wider);
    assert_eq!(found.recorded.unwrap()["type"], "ActivityTaskStarted");
    assert_eq!(found.decided.unwrap()["activation"], "a[1]");
}

#[test]
fn code_is_left_to_the_replayer_of_its_sdk() {
    let ctx = World::new(Bundle::default()).ctx;
    let mut draft = Draft::of(Run::new(key()));
    let start = Start { workflow_type: "code".into(), task_queue: "q".into(), ..Start::default() };
    decide(&mut draft, &ctx, Command::Start(Box::new(start))).unwrap();
    let items = draft.into_parts().1;
    assert_eq!(verify(key(), &items, &|_| None), Err(Problem::Code));
    // How it stood can be seen all the same.
    let state = state_at(key(), &items, &|_| None, None, View::default()).unwrap();
    assert_eq!((state.status.as_str(), state.steps.len()), ("running", 0));
}

#[test]
fn long_values_are_cut_unless_all_is_asked_for() {
    let long = "x".repeat(5_000);
    let mut world = World::new((*bundle_of(FIRST)).clone());
    world.start("f", &json!({})).unwrap();
    let scheduled = world.scheduled("a").unwrap();
    let at = AttemptRef { scheduled, attempt: 1, started_at: Some(world.ctx.now) };
    let result = payload::of_value(&json!(long));
    world.command(Command::CompleteActivity { at, result, report: None }).unwrap();
    let bundle = world.bundle().clone();
    let see = |view| state_at(key(), &world.items, &|_| Some(bundle.clone()), None, view).unwrap();
    let state = see(View::default());
    assert_eq!(state.steps.len(), 2);
    let omitted = &state.steps[0].output.as_ref().unwrap()["$omitted"];
    assert_eq!(omitted["bytes"], 5_002);
    assert_eq!(omitted["hash"].as_str().unwrap().len(), 64);
    let state = see(View { step: Some("a"), full: true });
    assert_eq!(state.steps.len(), 1);
    assert_eq!(state.steps[0].output, Some(json!(long)));
    assert_eq!(state.open.activities[0].activation, "b");
}

/// A run that fans out over as many items as a history can hold.
fn large() -> (Vec<Item>, Arc<Bundle>) {
    let text = "
name: f
steps:
  - { id: each, for_each: { items: '{{ input.items }}', concurrency: 100 }, node: test.a, with: { x: '{{ item }}' } }
  - { id: again, for_each: { items: '{{ input.more }}', concurrency: 100 }, needs: [each], node: test.a, with: { x: '{{ item }}' } }
";
    let bundle = bundle_of(text);
    let worker = Worker { identity: HERE.into(), boot: BootId(Uuid::from_u128(1)) };
    let ctx = Context {
        now: BEGIN,
        limits: Limits::default(),
        local: Local { queue: LOCAL.into(), worker },
        new_run_id: RunId(Uuid::from_u128(2)),
    };
    let header = payload::spec_header([7; 32]);
    let mut decider = Decider::new(bundle.clone(), "f", &header, key()).unwrap();
    let list = |n: u32| (0..n).collect::<Vec<_>>();
    let start = Start {
        workflow_type: "f".into(),
        task_queue: LOCAL.into(),
        input: payload::of_value(&json!({ "items": list(15_000), "more": list(1_700) })),
        header,
        ..Start::default()
    };
    let mut run = Run::new(key());
    let mut items: Vec<Item> = Vec::new();
    let mut command = Command::Start(Box::new(start));
    for _ in 0..20_000 {
        let mut draft = Draft::of(run);
        decide(&mut draft, &ctx, command).unwrap();
        advance(&mut draft, &mut decider, &ctx, &Nodes, &mut 0, usize::MAX).unwrap();
        let (after, new) = draft.into_parts();
        items.extend(new);
        run = after;
        let Some((scheduled, activity)) = run.activities.first_key_value() else { break };
        if run.closed.is_some() {
            break;
        }
        let at = AttemptRef {
            scheduled: *scheduled,
            attempt: activity.attempt,
            started_at: Some(ctx.now),
        };
        let result = activity.what.input.clone();
        command = Command::CompleteActivity { at, result, report: None };
    }
    assert!(run.closed.is_some());
    (items, bundle)
}

#[test]
fn the_state_of_a_run_of_fifty_thousand_events_is_found_and_its_record_verified() {
    let (items, bundle) = large();
    let bundles: &Bundles<'_> = &|_| Some(bundle.clone());
    let verified = verify(key(), &items, bundles).unwrap();
    assert!(verified.events >= 50_000, "{} events", verified.events);
    assert_eq!(verified.divergence, None);
    let state = state_at(key(), &items, bundles, Some(EventId(30_000)), View::default()).unwrap();
    assert_eq!(state.event, 30_000);
    let each = &state.steps[0];
    assert_eq!((each.id.as_str(), each.phase), ("each", "running"));
    let of = each.items.unwrap();
    assert_eq!(of.total, 15_000);
    assert!((9_000..11_000).contains(&of.done), "{of:?}");
    assert_eq!(state.open.activities.len(), 100);
    let end = state_at(key(), &items, bundles, None, View::default()).unwrap();
    assert_eq!((end.status.as_str(), end.steps[1].outcome), ("completed", Some("succeeded")));
}
