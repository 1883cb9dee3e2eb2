//! Steps that take results of other runs: what is asked, what is recorded, what is decided again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use reflux_core::{
    AttemptRef, BootId, Command, Context, Draft, EffectClass, Event, Item, Kind, Limits, Local,
    Phase, RunId, RunKey, Start, Status, Timestamp, Worker, decide,
};
use reflux_flow::advance::{CacheAsk, CacheHeader, CacheKey, Cached, NodePolicy, Policies};
use reflux_flow::graph::NodeRef;
use reflux_flow::progress::{Mark, Origin, ReuseKind};
use reflux_flow::redrive::{Base, PastWork};
use reflux_flow::syntax::parse;
use reflux_flow::{Bundle, Decider, advance, payload, replay};
use serde_json::{Value, json};
use uuid::Uuid;

/// Every node is there; what is cached is said by activation.
#[derive(Default)]
struct World {
    cached: RefCell<BTreeMap<String, Cached>>,
    asked: RefCell<Vec<(String, CacheKey)>>,
    effects: Option<EffectClass>,
}

impl Policies for World {
    fn policy(&self, _: &NodeRef, _: &Value) -> Option<NodePolicy> {
        Some(NodePolicy {
            version: "1.0.0".into(),
            task_queue: "local".into(),
            retry: None,
            timeout: None,
            heartbeat: None,
            effects: self.effects.unwrap_or(EffectClass::Pure),
        })
    }

    fn cached(&self, ask: &CacheAsk<'_>) -> Cached {
        if !ask.is_sound() {
            return Cached::Uncached;
        }
        let id = ask.activation.to_string();
        self.asked.borrow_mut().push((id.clone(), ask.key));
        self.cached.borrow().get(&id).cloned().unwrap_or(Cached::Call)
    }
}

fn found(output: Value) -> Cached {
    let from = Origin { run_id: other(), event: 7, activation: "b".into() };
    Cached::Found { output, from }
}

fn other() -> RunId {
    RunId(Uuid::from_u128(77))
}

fn key() -> RunKey {
    let (namespace, workflow_id) = ("default".into(), "w".into());
    RunKey { namespace, workflow_id, run_id: RunId(Uuid::from_u128(1)) }
}

/// A run that is driven by hand.
struct Run<'a> {
    world: &'a World,
    bundle: Arc<Bundle>,
    draft: Draft,
    decider: Decider,
    ctx: Context,
    observed: usize,
}

impl<'a> Run<'a> {
    fn start(world: &'a World, steps: &str) -> Self {
        let text = format!("name: f\nsteps:\n{steps}");
        let parsed = parse("f.yaml", &text).unwrap_or_else(|problems| panic!("{}", problems[0]));
        let bundle = Arc::new(Bundle::collect_parsed(&parsed, |_| None).unwrap());
        let worker = Worker { identity: "here".into(), boot: BootId(Uuid::from_u128(1)) };
        let ctx = Context {
            now: Timestamp(1_767_225_600_000_000_000),
            limits: Limits::default(),
            local: Local { queue: "local".into(), worker },
            new_run_id: RunId(Uuid::from_u128(9)),
        };
        let start = Start {
            workflow_type: "f".into(),
            task_queue: "local".into(),
            input: payload::of_value(&json!({})),
            header: payload::spec_header([1; 32]),
            ..Start::default()
        };
        let decider = Decider::new(bundle.clone(), "f", &start.header, key()).unwrap();
        let mut draft = Draft::new(key());
        decide(&mut draft, &ctx, Command::Start(Box::new(start))).unwrap();
        let mut run = Self { world, bundle, draft, decider, ctx, observed: 0 };
        run.advance();
        run
    }

    fn advance(&mut self) {
        let (draft, decider) = (&mut self.draft, &mut self.decider);
        advance(draft, decider, &self.ctx, self.world, &mut self.observed, usize::MAX).unwrap();
    }

    /// Ends the call of an activation a second later.
    fn complete(&mut self, id: &str, output: &Value) {
        self.ctx.now = self.ctx.now.after(std::time::Duration::from_secs(1));
        let activities = &self.draft.run().activities;
        let (scheduled, activity) =
            activities.iter().find(|(_, activity)| *activity.what.activity_id == *id).unwrap();
        assert!(matches!(activity.phase, Phase::Started { .. }));
        let at = AttemptRef { scheduled: *scheduled, attempt: activity.attempt, started_at: None };
        let result = payload::of_value(output);
        let command = Command::CompleteActivity { at, result, report: None };
        decide(&mut self.draft, &self.ctx, command).unwrap();
        self.advance();
    }

    fn calls(&self) -> Vec<String> {
        let open = self.draft.run().activities.values();
        open.map(|activity| activity.what.activity_id.to_string()).collect()
    }

    fn marks(&self) -> Vec<Mark> {
        let marks = self.events().filter_map(|event| match &event.kind {
            Kind::Marker(marker) => Mark::read(&marker.name, payload::marker_json(marker)).unwrap(),
            _ => None,
        });
        marks.collect()
    }

    fn events(&self) -> impl Iterator<Item = &Event> {
        self.draft.items().iter().filter_map(|item| match item {
            Item::Event(event) => Some(event),
            Item::Delta(_) => None,
        })
    }

    /// What is recorded is decided again with nobody to ask.
    fn verify(&self) {
        let bundles = |_: &_| Some(self.bundle.clone());
        let verified = replay::verify(key(), self.draft.items(), &bundles).unwrap();
        assert_eq!(verified.divergence, None);
    }
}

#[test]
fn a_result_of_another_run_stands_for_the_call_and_nothing_else_is_recorded_for_it() {
    let world = World::default();
    world.cached.borrow_mut().insert("a".into(), found(json!({"n": 3})));
    let steps = "- {id: a, node: n.a, cache: true}\n- {id: b, node: n.b, with: {n: '{{ steps.a.output.n }}'}}\n";
    let mut run = Run::start(&world, steps);
    assert_eq!(run.calls(), ["b"]);
    let marks = run.marks();
    let [Mark::Reuse(reuse)] = &marks[..] else { panic!("{marks:?}") };
    assert_eq!(reuse.kind, ReuseKind::Cache);
    assert_eq!((reuse.activation.as_str(), &reuse.output), ("a", &json!({"n": 3})));
    assert_eq!(reuse.from.as_ref().unwrap().run_id, other());
    let scheduled = run.events().filter(|it| matches!(it.kind, Kind::ActivityScheduled(_)));
    assert_eq!(scheduled.count(), 1, "only `b`");
    run.verify();
    run.complete("b", &json!(1));
    assert_eq!(run.draft.run().status, Status::Completed);
    run.verify();
}

#[test]
fn a_call_that_others_may_take_the_result_of_says_so_in_its_header() {
    let world = World::default();
    let run = Run::start(&world, "- {id: a, node: n.a, cache: {ttl: 1h}}\n- {id: b, node: n.a}\n");
    let headers: Vec<Option<CacheHeader>> = run
        .events()
        .filter_map(|event| match &event.kind {
            Kind::ActivityScheduled(scheduled) => Some(CacheHeader::of(&scheduled.header)),
            _ => None,
        })
        .collect();
    let asked = world.asked.borrow().clone();
    assert_eq!(asked.len(), 1, "a step without `cache` asks nobody");
    let hour = Some(3_600_000_000_000);
    assert_eq!(headers, [Some(CacheHeader { key: asked[0].1, ttl: hour }), None]);
    run.verify();
}

#[test]
fn a_held_step_keeps_no_other_waiting_and_goes_on_when_it_is_asked_again() {
    let world = World::default();
    world.cached.borrow_mut().insert("a".into(), Cached::Held);
    let steps = "- {id: a, node: n.a, cache: true}\n- {id: b, node: n.b}\n- {id: c, node: n.c, for_each: [1, 2]}\n";
    let mut run = Run::start(&world, steps);
    assert_eq!(run.calls(), ["b", "c[0]", "c[1]"]);
    run.verify();
    for id in ["b", "c[0]", "c[1]"] {
        run.complete(id, &json!(1));
    }
    assert_eq!(run.draft.run().status, Status::Running, "`a` is still to be done");
    run.verify();
    world.cached.borrow_mut().insert("a".into(), found(json!(2)));
    run.ctx.now = run.ctx.now.after(std::time::Duration::from_secs(1));
    run.advance();
    assert_eq!(run.draft.run().status, Status::Completed);
    run.verify();
}

#[test]
fn what_is_unsafe_is_called_whatever_the_step_says() {
    for effects in [EffectClass::Unsafe, EffectClass::Idempotent] {
        let world = World { effects: Some(effects), ..World::default() };
        world.cached.borrow_mut().insert("a".into(), found(json!(2)));
        let run = Run::start(&world, "- {id: a, node: n.a, cache: true}\n");
        assert_eq!(run.calls(), ["a"]);
        assert!(world.asked.borrow().is_empty());
    }
}

#[test]
fn a_call_with_a_secret_is_not_cached() {
    let world = World::default();
    let run =
        Run::start(&world, "- {id: a, node: n.a, with: {t: '{{ secrets.T }}'}, cache: true}\n");
    assert_eq!(run.calls(), ["a"]);
    assert!(world.asked.borrow().is_empty());
}

#[test]
fn each_item_asks_for_itself() {
    let world = World::default();
    world.cached.borrow_mut().insert("a[0]".into(), found(json!("kept")));
    let steps = "- {id: a, node: n.a, for_each: [x, y], with: {it: '{{ item }}'}, cache: true}\n";
    let mut run = Run::start(&world, steps);
    assert_eq!(run.calls(), ["a[1]"]);
    run.complete("a[1]", &json!("made"));
    assert_eq!(run.draft.run().status, Status::Completed);
    run.verify();
}

#[test]
fn a_re_drive_keeps_what_its_base_took_from_the_cache() {
    let world = World::default();
    let steps = "- {id: a, node: n.a, with: {x: 1}, cache: true}\n";
    let called = {
        let mut run = Run::start(&world, steps);
        run.complete("a", &json!(3));
        Base::read(key(), run.bundle.clone(), run.events()).unwrap()
    };
    world.cached.borrow_mut().insert("a".into(), found(json!(3)));
    let run = Run::start(&world, steps);
    let taken = Base::read(key(), run.bundle.clone(), run.events()).unwrap();
    assert!(matches!(taken.past[0].work, PastWork::Reuse { .. }));
    assert!(taken.past[0].key.is_some());
    assert_eq!(taken.past[0].key, called.past[0].key, "found by the same work");
    assert_eq!(taken.past[0].result, Some(Ok(json!(3))));
}
