//! An operator steers a run: breakpoints, single-steps, changes of the graph, at every stage a step
//! can be in. After each act the world compares the live run with what its items alone give.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use history_tests::golden::ends;
use history_tests::script::Act;
use history_tests::world::World;
use reflux_core::{Event, Item, Kind};
use reflux_flow::{Bundle, payload, syntax};
use serde_json::{Value, json};

struct Bench(World);

impl Bench {
    fn new(steps: &str, input: &Value) -> Self {
        let text = format!("name: f\ninput: {{list: array}}\nsteps:\n{steps}");
        let parsed = syntax::parse("f.yaml", &text).unwrap_or_else(|p| panic!("{text}{}", p[0]));
        let bundle = Bundle::collect_parsed(&parsed, |_| None).expect("collects");
        let mut world = World::new(bundle);
        world.start("f", input).expect("starts");
        Self(world)
    }

    fn of(steps: &str) -> Self {
        Self::new(steps, &json!({ "list": [] }))
    }

    fn act(&mut self, act: Value) -> &mut Self {
        let shown = act.to_string();
        let act: Act = serde_json::from_value(act).expect(&shown);
        act.play(&mut self.0).unwrap_or_else(|why| panic!("{shown}: {why}"));
        self
    }

    fn done(&mut self, activity: &str) -> &mut Self {
        self.act(json!({ "complete": { "activity": activity, "output": { "of": activity } } }))
    }

    fn mutate(&mut self, ops: Value) -> &mut Self {
        self.act(json!({ "mutate": { "by": "ann", "patch": { "ops": ops } } }))
    }

    /// It is refused with that reason, and nothing is recorded.
    fn refuses(&mut self, patch: Value, because: &str) -> &mut Self {
        let before = self.0.items.len();
        let act = json!({ "mutate": { "by": "ann", "patch": patch } });
        self.act(json!({ "refused": { "act": act, "because": because } }));
        assert_eq!(self.0.items.len(), before);
        self
    }

    /// How it stands, as `status: step outcome, …`.
    fn stands(&mut self, expected: &str) -> &mut Self {
        let ends = ends(&self.0.live);
        let steps: BTreeMap<String, String> = ends.steps;
        let steps: Vec<String> = steps.into_iter().map(|(id, how)| format!("{id} {how}")).collect();
        assert_eq!(format!("{}: {}", ends.status, steps.join(", ")), expected);
        self
    }

    fn result(&self) -> Value {
        let last = self.0.items.iter().rev().find_map(|item| match item {
            Item::Event(Event { kind: Kind::Completed(done), .. }) => Some(&done.result),
            _ => None,
        });
        payload::value_of(last.expect("completed")).expect("JSON")
    }

    fn pause(&mut self) -> &mut Self {
        self.act(json!({ "pause": { "by": "ann" } }))
    }

    fn resume(&mut self) -> &mut Self {
        self.act(json!({ "resume": { "by": "ann" } }))
    }
}

const ROW: &str = "
  - {id: a, node: n.a}
  - {id: b, node: n.b, needs: [a]}
  - {id: c, node: n.c, needs: [b]}
";

#[test]
fn a_breakpoint_pauses_before_its_step_once_for_each_visit() {
    let mut bench = Bench::of(ROW);
    bench.act(json!({ "breakpoints": { "add": ["b"] } }));
    bench.done("a").stands("paused: a succeeded, b ready, c unreached");
    bench.resume().stands("running: a succeeded, b running, c unreached");
    bench.done("b").done("c").stands("completed: a succeeded, b succeeded, c succeeded");
}

#[test]
fn a_breakpoint_that_is_removed_pauses_nothing() {
    let mut bench = Bench::of(ROW);
    bench.act(json!({ "breakpoints": { "add": ["b", "c"] } }));
    bench.act(json!({ "breakpoints": { "remove": ["b"] } }));
    bench.done("a").done("b").stands("paused: a succeeded, b succeeded, c ready");
    for (act, why) in [
        (json!({ "add": ["q"] }), "unknown step `q`"),
        (json!({ "remove": ["b"] }), "has no breakpoint"),
        (json!({ "add": ["c"] }), "already"),
    ] {
        let act = json!({ "breakpoints": act });
        bench.act(json!({ "refused": { "act": act, "because": why } }));
    }
}

#[test]
fn a_single_step_starts_one_step_and_pauses_before_the_next() {
    let mut bench = Bench::of(ROW);
    bench.pause().done("a").act(json!({ "step": { "count": 1 } }));
    bench.stands("running: a succeeded, b running, c unreached");
    bench.done("b").stands("paused: a succeeded, b succeeded, c ready");
    bench.resume().done("c").stands("completed: a succeeded, b succeeded, c succeeded");
}

#[test]
fn items_of_a_for_each_are_stepped_one_by_one() {
    let steps =
        "  - {id: each, node: n.each, for_each: {items: '{{ input.list }}', concurrency: 1}}\n";
    let mut bench = Bench::new(steps, &json!({ "list": [1, 2, 3] }));
    bench.act(json!({ "step": { "count": 1 } }));
    bench.done("each[0]").stands("running: each running");
    bench.done("each[1]").stands("paused: each running");
    bench.resume().done("each[2]").stands("completed: each succeeded");
}

#[test]
fn a_step_that_has_not_begun_is_changed_simply() {
    let mut bench = Bench::of(ROW);
    bench.mutate(json!([
        { "add": { "id": "d", "node": "n.d", "after": "c" } },
        { "remove": "b" },
        { "set": { "step": "c", "path": "/with/x", "value": 7 } },
    ]));
    bench.stands("running: a running, c unreached, d unreached");
    bench.done("a").done("c").done("d").stands("completed: a succeeded, c succeeded, d succeeded");
    assert_eq!(bench.result(), json!({ "d": { "of": "d" } }));
}

#[test]
fn an_added_step_whose_needs_have_ended_starts_at_once() {
    let mut bench = Bench::of(ROW);
    bench.done("a").mutate(json!([{ "add": { "id": "z", "node": "n.z", "after": "a" } }]));
    bench.stands("running: a succeeded, b running, c unreached, z running");
    bench.mutate(json!([{ "add": { "id": "y", "node": "n.y" } }]));
    bench.done("y").done("z").done("b").done("c");
    bench.stands("completed: a succeeded, b succeeded, c succeeded, y succeeded, z succeeded");
}

#[test]
fn a_running_step_that_is_removed_is_asked_to_stop_and_its_late_end_concerns_nobody() {
    let mut bench = Bench::of(ROW);
    bench.mutate(json!([{ "remove": "a" }])).stands("running: b running, c unreached");
    let again = json!({ "ops": [{ "add": { "id": "a", "node": "n.a", "after": "c" } }] });
    bench.refuses(again, "use another id");
    bench.done("a").done("b").done("c").stands("completed: b succeeded, c succeeded");
}

#[test]
fn a_running_step_that_is_changed_starts_again_when_its_attempt_has_stopped() {
    let mut bench = Bench::of(ROW);
    bench.mutate(json!([{ "set": { "step": "a", "path": "/node", "value": "n.other" } }]));
    bench.stands("running: a running, b unreached, c unreached");
    bench.act(json!({ "stopped": { "activity": "a" } }));
    let nodes: Vec<&str> = bench
        .0
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Event(Event { kind: Kind::ActivityScheduled(what), .. }) => {
                Some(&*what.activity_type)
            }
            _ => None,
        })
        .collect();
    assert_eq!(nodes, ["n.a", "n.other"]);
    bench.done("a").stands("running: a succeeded, b running, c unreached");
}

#[test]
fn a_replaced_step_is_another_one_under_the_same_id() {
    let mut bench = Bench::of(ROW);
    let other = json!({ "id": "b", "node": "n.other", "needs": ["a"], "with": { "y": "{{ steps.a.output.of }}" } });
    bench.mutate(json!([{ "replace": other }]));
    bench.refuses(
        json!({ "ops": [{ "replace": { "id": "q", "node": "n.q" } }] }),
        "unknown step `q`",
    );
    bench.done("a");
    let called = bench.0.items.iter().rev().find_map(|item| match item {
        Item::Event(Event { kind: Kind::ActivityScheduled(what), .. }) => {
            Some((what.activity_type.to_string(), payload::value_of(&what.input).unwrap()))
        }
        _ => None,
    });
    assert_eq!(called, Some(("n.other".to_owned(), json!({ "y": "a" }))));
    bench.done("b").done("c").stands("completed: a succeeded, b succeeded, c succeeded");
}

#[test]
fn a_changed_step_that_completes_all_the_same_counts() {
    let mut bench = Bench::of(ROW);
    bench.mutate(json!([{ "set": { "step": "a", "path": "/node", "value": "n.other" } }]));
    bench.done("a").stands("running: a succeeded, b running, c unreached");
}

#[test]
fn a_step_that_waits_for_its_next_attempt_starts_again_at_once() {
    let mut bench = Bench::of("  - {id: a, node: n.a, retry: [60s]}\n");
    bench.act(json!({ "fail": { "activity": "a", "error": "E" } }));
    bench.mutate(json!([{ "set": { "step": "a", "path": "/node", "value": "n.other" } }]));
    bench.done("a").stands("completed: a succeeded");
}

#[test]
fn waits_and_timers_are_changed_while_they_wait() {
    let steps = "
  - {id: nap, wait: 1h}
  - {id: ask, wait: {approval: really, timeout: 1h}}
  - {id: word, wait: {signal: go, timeout: 1h}}
";
    let mut bench = Bench::of(steps);
    bench.mutate(json!([
        { "set": { "step": "nap", "path": "/wait/duration", "value": "10s" } },
        { "remove": "ask" },
        { "set": { "step": "word", "path": "/wait/signal", "value": "come" } },
    ]));
    bench.stands("running: nap running, word running");
    bench.act(json!({ "pass": 10 })).stands("running: nap succeeded, word running");
    bench.act(json!({ "signal": { "name": "come", "value": 1 } }));
    bench.stands("completed: nap succeeded, word succeeded");
}

#[test]
fn items_are_removed_before_they_begin_and_while_they_run() {
    let steps =
        "  - {id: each, node: n.each, for_each: {items: '{{ input.list }}', concurrency: 1}}\n";
    let mut bench = Bench::new(steps, &json!({ "list": [1, 2, 3, 4] }));
    bench.done("each[0]");
    bench.mutate(json!([{ "remove": "each[1]" }, { "remove": "each[3]" }]));
    bench.refuses(json!({ "ops": [{ "remove": "each[0]" }] }), "item 0 of step `each` has ended");
    bench.refuses(json!({ "ops": [{ "remove": "each[9]" }] }), "has 4 items");
    bench.done("each[2]").stands("completed: each succeeded");
    let of = |n: u32| json!({ "of": format!("each[{n}]") });
    assert_eq!(bench.result(), json!({ "each": [of(0), null, of(2), null] }));
}

#[test]
fn a_changed_for_each_holds_for_the_items_that_have_not_begun() {
    let steps =
        "  - {id: each, node: n.each, for_each: {items: '{{ input.list }}', concurrency: 1}}\n";
    let mut bench = Bench::new(steps, &json!({ "list": [1, 2, 3] }));
    bench.mutate(json!([
        { "set": { "step": "each", "path": "/for_each/concurrency", "value": 2 } },
        { "set": { "step": "each", "path": "/node", "value": "n.other" } },
    ]));
    bench.done("each[0]").done("each[1]").done("each[2]").stands("completed: each succeeded");
    bench.refuses(json!({ "ops": [{ "remove": "each" }] }), "closed");
}

#[test]
fn a_sub_flow_that_is_removed_is_asked_to_stop() {
    let text = "name: f\nsteps:\n  - {id: kid, flow: sub}\n  - {id: b, node: n.b, needs: [kid]}\nflows: {sub: {steps: [{id: one, node: n.one}]}}";
    let parsed = syntax::parse("f.yaml", text).unwrap();
    let bundle = Bundle::collect_parsed(&parsed, |_| None).unwrap();
    let mut bench = Bench(World::new(bundle));
    bench.0.start("f", &Value::Null).unwrap();
    bench.act(json!({ "acknowledged": { "child": "kid" } }));
    bench.mutate(json!([{ "remove": "kid" }])).stands("running: b running");
    let asked = bench.0.live.run.outbox.len();
    assert_eq!(asked, 1, "the child is asked to stop");
    bench.done("b");
    assert!(bench.0.live.run.closed.is_some());
}

#[test]
fn sub_flows_pause_and_go_on_with_their_parent() {
    let text = "name: f\nsteps:\n  - {id: kid, flow: sub}\nflows: {sub: {steps: [{id: one, node: n.one}]}}";
    let parsed = syntax::parse("f.yaml", text).unwrap();
    let bundle = Bundle::collect_parsed(&parsed, |_| None).unwrap();
    let mut bench = Bench(World::new(bundle));
    bench.0.start("f", &Value::Null).unwrap();
    bench.act(json!({ "acknowledged": { "child": "kid" } }));
    bench.pause();
    assert_eq!(bench.0.live.run.outbox.len(), 1, "it is told to pause");
    bench.act(json!({ "acknowledged": { "child": "kid" } })).resume();
    assert_eq!(bench.0.live.run.outbox.len(), 1, "it is told to go on");
    bench.act(json!({ "acknowledged": { "child": "kid" } }));
    bench.act(json!({ "child_completed": { "child": "kid", "output": 1 } }));
    bench.stands("completed: kid succeeded");
}

#[test]
fn what_has_ended_stays_as_it_was() {
    let mut bench = Bench::of(ROW);
    bench.done("a");
    for op in [
        json!({ "remove": "a" }),
        json!({ "set": { "step": "a", "path": "/with/x", "value": 1 } }),
        json!({ "replace": { "id": "a", "node": "n.z" } }),
    ] {
        bench.refuses(json!({ "ops": [op] }), "has ended and stays as it was; re-drive");
    }
    bench.refuses(
        json!({ "ops": [{ "set": { "step": "b", "path": "/node", "value": "n.b" } }] }),
        "changes nothing",
    );
    bench.refuses(
        json!({ "ops": [{ "set": { "step": "b", "path": "/node", "value": "missing.x" } }] }),
        "not registered",
    );
}

#[test]
fn a_version_that_no_worker_has_is_refused() {
    let mut bench = Bench::of(ROW);
    let to = |node: &str| json!([{ "set": { "step": "c", "path": "/node", "value": node } }]);
    bench.refuses(
        json!({ "ops": to("n.c@2.0.0") }),
        "calls node `n.c@2.0.0`, which is not registered",
    );
    bench.mutate(to("n.c@1.0.0"));
}

#[test]
fn a_patch_for_another_revision_is_refused_with_the_one_there_is() {
    let mut bench = Bench::of(ROW);
    let op = |x: u32| json!([{ "set": { "step": "c", "path": "/with/x", "value": x } }]);
    bench.mutate(op(1)).mutate(op(2));
    bench.refuses(json!({ "revision": 1, "ops": op(3) }), "at revision 2, not 1");
    bench.act(json!({ "mutate": { "by": "ann", "patch": { "revision": 2, "ops": op(3) } } }));
    let progress = bench.0.live.decider.as_ref().and_then(|it| it.progress()).unwrap();
    assert_eq!(progress.revision(), 3);
}

#[test]
fn an_end_whose_route_is_not_taken_yet_can_be_led_elsewhere() {
    let steps = "
  - {id: a, node: n.a, on: {success: [left]}}
  - {id: left, node: n.left}
  - {id: right, node: n.right, when: 'false', on: {success: [left]}}
";
    let mut bench = Bench::of(steps);
    bench.pause().done("a");
    bench.mutate(json!([
        { "add": { "id": "other", "node": "n.other" } },
        { "reroute": { "step": "a", "on": "success", "to": ["other"] } },
    ]));
    bench.resume().done("other");
    bench.stands("completed: a succeeded, left unreached, other succeeded, right skipped");
}

#[test]
fn a_loop_is_changed_between_its_visits() {
    let steps = "
  - {id: try, node: n.try, max_visits: 3, on: {failure: [mend]}}
  - {id: mend, node: n.mend, max_visits: 3, on: {success: [try]}}
  - {id: start, pass: true, on: {success: [try]}}
";
    let mut bench = Bench::of(steps);
    bench.act(json!({ "fail": { "activity": "try", "error": "E", "last": true } }));
    bench.mutate(json!([{ "set": { "step": "try", "path": "/node", "value": "n.better" } }]));
    bench.done("mend").done("try#2");
    bench.stands("completed: mend succeeded, start succeeded, try succeeded ×2");
}

#[test]
fn spawned_steps_go_with_the_step_that_spawned_them() {
    let steps =
        "  - {id: make, node: n.make, spawns: true}\n  - {id: b, node: n.b, needs: [make]}\n";
    let mut bench = Bench::of(steps);
    let output = json!({ "steps": [{ "id": "p", "node": "n.p" }, { "id": "q", "node": "n.q", "needs": ["p"] }] });
    bench.act(json!({ "complete": { "activity": "make", "output": output } })).done("make/p");
    bench.mutate(json!([{ "add": { "id": "z", "node": "n.z", "after": "b" } }]));
    bench.stands(
        "running: b unreached, make running, make/p succeeded, make/q running, z unreached",
    );
    bench.mutate(json!([{ "remove": "make" }])).stands("running: b running, z unreached");
    bench.done("b").done("z").stands("completed: b succeeded, z succeeded");
}

#[test]
fn a_run_that_is_ending_is_not_changed() {
    let mut bench = Bench::of(ROW);
    bench.act(json!({ "cancel": { "reason": "enough" } }));
    bench.refuses(json!({ "ops": [{ "remove": "c" }] }), "is ending");
}

const WEAK: &str = "
  - {id: a, node: fx.weak, alternatives: auto}
  - {id: b, node: n.b, with: {x: '{{ steps.a.output.of }}'}}
";

impl Bench {
    fn fail(&mut self, activity: &str) -> &mut Self {
        let fail = json!({ "activity": activity, "error": "Io: down", "last": true });
        self.act(json!({ "fail": fail }))
    }

    /// The nodes that were called, in order.
    fn called(&self, expected: &[&str]) -> &Self {
        let called = self.0.items.iter().filter_map(|item| match item {
            Item::Event(Event { kind: Kind::ActivityScheduled(what), .. }) => {
                Some(what.activity_type.to_string())
            }
            _ => None,
        });
        assert_eq!(called.collect::<Vec<_>>(), expected);
        self
    }

    fn revision(&self) -> u64 {
        self.0.live.decider.as_ref().and_then(|it| it.progress()).unwrap().revision()
    }
}

#[test]
fn each_alternative_is_tried_once_and_then_the_failure_stands() {
    let mut bench = Bench::of(WEAK);
    bench.fail("a").fail("a").stands("running: a running, b unreached");
    bench.fail("a").stands("failed: a failed, b unreached");
    bench.called(&["fx.weak", "fx.strong", "fx.last"]);
    assert_eq!(bench.revision(), 2);
}

#[test]
fn a_paused_run_gives_a_failed_step_to_another_node_when_it_goes_on() {
    let mut bench = Bench::of(WEAK);
    bench.pause().fail("a").stands("paused: a running, b unreached").called(&["fx.weak"]);
    bench.resume().done("a").done("b").stands("completed: a succeeded, b succeeded");
    bench.called(&["fx.weak", "fx.strong", "n.b"]);
}

#[test]
fn what_an_operator_does_with_a_step_whose_node_failed_counts() {
    let mut bench = Bench::of(WEAK);
    bench.pause().fail("a");
    bench.mutate(json!([{ "set": { "step": "a", "path": "/node", "value": "n.other" } }]));
    bench.resume().called(&["fx.weak", "n.other"]);
    assert_eq!(bench.revision(), 1);

    let mut bench = Bench::of(WEAK);
    bench.pause().fail("a");
    bench.mutate(json!([{ "replace": { "id": "b", "node": "n.b" } }, { "remove": "a" }]));
    bench.resume().done("b").stands("completed: b succeeded").called(&["fx.weak", "n.b"]);

    let mut bench = Bench::of(WEAK);
    bench.pause().fail("a");
    bench.act(json!({ "cancel": { "reason": "enough" } }));
    bench.stands("canceled: a left, b unreached").called(&["fx.weak"]);
}

#[test]
fn an_operator_asks_for_the_next_alternative_without_naming_it() {
    let mut bench = Bench::of(WEAK);
    bench.mutate(json!([{ "alternative": "a" }]));
    bench.act(json!({ "stopped": { "activity": "a" } }));
    bench.called(&["fx.weak", "fx.strong"]);
    // The ones behind it are left for the case that it fails.
    bench.fail("a").called(&["fx.weak", "fx.strong", "fx.last"]);
    bench.refuses(json!({ "ops": [{ "alternative": "a" }] }), "nothing can take the place");
    bench.refuses(json!({ "ops": [{ "alternative": "q" }] }), "unknown step `q`");
    bench.done("a").done("b").stands("completed: a succeeded, b succeeded");
}
