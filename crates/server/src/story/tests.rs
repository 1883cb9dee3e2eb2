//! Stories of runs that were really decided, by the pure crates alone.

use std::sync::Arc;
use std::time::Duration;

use reflux_core::{
    AttemptRef, BootId, Command, Context, Draft, EffectClass, EventId, Item, Limits, Local, RunId,
    RunKey, Signal, Start, Timestamp, Worker, application_failure, decide,
};
use reflux_flow::graph::{Bundle, NodeRef};
use reflux_flow::progress::APPROVAL_SIGNAL;
use reflux_flow::{Decider, NodePolicy, Policies, Progress, payload, syntax};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

/// A run in memory that is moved by hand.
struct Sim {
    bundle: Arc<Bundle>,
    key: RunKey,
    draft: Draft,
    decider: Decider,
    observed: usize,
    now: Timestamp,
    boot: u128,
}

struct AnyNode;

impl Policies for AnyNode {
    fn policy(&self, node: &NodeRef, _: &Value) -> Option<NodePolicy> {
        Some(NodePolicy {
            version: "1".into(),
            task_queue: "local".into(),
            retry: None,
            timeout: None,
            heartbeat: None,
            effects: if node.name == "danger" { EffectClass::Unsafe } else { EffectClass::Pure },
        })
    }
}

impl Sim {
    fn start(source: &str) -> Self {
        let parsed =
            syntax::parse("f.yaml", source).unwrap_or_else(|problems| panic!("{problems:?}"));
        let name = parsed.flow.name.clone();
        let bundle = Arc::new(Bundle::collect_parsed(&parsed, |_| None).unwrap());
        let key = RunKey {
            namespace: "default".into(),
            workflow_id: "w".into(),
            run_id: RunId(Uuid::from_u128(7)),
        };
        let start = Start {
            workflow_type: name.as_str().into(),
            task_queue: "local".into(),
            input: payload::of_value(&json!({})),
            header: payload::spec_header([9; 32]),
            ..Start::default()
        };
        let mut sim = Self {
            decider: {
                let progress = Progress::new(bundle.clone(), &name, key.clone()).unwrap();
                Decider::Flow(Box::new(progress))
            },
            bundle,
            draft: Draft::new(key.clone()),
            key,
            observed: 0,
            now: Timestamp(0),
            boot: 1,
        };
        sim.command(Command::Start(Box::new(start)));
        sim
    }

    fn command(&mut self, command: Command) -> &mut Self {
        self.now = self.now.after(Duration::from_secs(1));
        let worker = Worker { identity: "me".into(), boot: BootId(Uuid::from_u128(self.boot)) };
        let ctx = Context {
            now: self.now,
            limits: Limits::default(),
            local: Local { queue: "local".into(), worker },
            new_run_id: RunId(Uuid::from_u128(8)),
        };
        decide(&mut self.draft, &ctx, command).unwrap();
        reflux_flow::advance(
            &mut self.draft,
            &mut self.decider,
            &ctx,
            &AnyNode,
            &mut self.observed,
            1 << 20,
        )
        .unwrap();
        self
    }

    fn at(&self, activity: &str) -> AttemptRef {
        let found = self
            .draft
            .run()
            .activity_by_id(activity)
            .unwrap_or_else(|| panic!("no activity {activity}"));
        AttemptRef { scheduled: found.scheduled, attempt: found.attempt, started_at: None }
    }

    fn complete(&mut self, activity: &str, output: Value) -> &mut Self {
        let at = self.at(activity);
        self.command(Command::CompleteActivity {
            at,
            result: payload::of_value(&output),
            report: None,
        })
    }

    fn fail(&mut self, activity: &str) -> &mut Self {
        let at = self.at(activity);
        let failure = Arc::new(application_failure("it broke", "Broken", false));
        self.command(Command::FailActivity { at, failure, next_retry_delay: None, report: None })
    }

    fn signal(&mut self, name: &str, data: Value) -> &mut Self {
        self.command(Command::Signal(Signal {
            name: name.into(),
            input: payload::of_value(&data),
            ..Signal::default()
        }))
    }

    fn items(&self) -> Vec<Item> {
        self.draft.items().to_vec()
    }

    fn story(&self) -> Story {
        Telling::of(self.key.clone(), Some(self.bundle.clone()), &self.items())
    }

    /// The statuses of all steps, and what a person reads.
    fn check(&self, steps: &[(&str, StepStatus)], says: &[&str]) -> Story {
        let story = self.story();
        let found: Vec<(&str, StepStatus)> =
            story.steps.iter().map(|step| (step.id.as_str(), step.status)).collect();
        assert_eq!(found, steps, "{story:#?}");
        let text = render(&story, Style { colour: false, now: self.now });
        for part in says {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
        story
    }
}

use StepStatus::{Failed, Pending, Running, Skipped, Succeeded, Unreached, Waiting};

#[test]
fn a_run_is_told_from_its_first_step_to_its_output() {
    let mut sim = Sim::start(
        "name: f\nsteps:\n  - {id: a, node: n, with: {x: 1}}\n  - {id: b, node: m, needs: a}\n",
    );
    sim.check(
        &[("a", Running), ("b", Pending)],
        &["f running", "▶ a  n", "not started yet", "`a` is at work (me, attempt 1)"],
    );
    sim.complete("a", json!({"y": 2}));
    sim.check(&[("a", Succeeded), ("b", Running)], &["✓ a  n  1.0 s"]);
    sim.complete("b", json!("done"));
    let story = sim.check(
        &[("a", Succeeded), ("b", Succeeded)],
        &["f completed", "took 2.0 s", "output  {\"b\":\"done\"}"],
    );
    assert_eq!(story.waits_for, []);
    assert_eq!(story.steps[0].visits[0].input, Some(json!({"x": 1})));
    assert_eq!(story.steps[0].visits[0].output, Some(json!({"y": 2})));
}

#[test]
fn a_failure_names_its_step_its_reason_and_what_was_not_reached() {
    let mut sim =
        Sim::start("name: f\nsteps:\n  - {id: a, node: n}\n  - {id: b, node: n, needs: a}\n");
    sim.fail("a");
    let story = sim.check(
        &[("a", Failed), ("b", Unreached)],
        &[
            "f failed",
            "✗ a  n  failed after 1.0 s",
            "Broken: it broke",
            "· b",
            "not reached",
            "reflux history",
            "--attempts",
        ],
    );
    assert_eq!(story.error.unwrap()["kind"], "Broken");
}

#[test]
fn a_retry_says_when_it_is_due_and_why() {
    let mut sim = Sim::start("name: f\nsteps:\n  - {id: a, node: n, retry: [10s]}\n");
    sim.fail("a");
    sim.check(
        &[("a", Waiting)],
        &["attempt 2 of `a` is due at 1970-01-01T00:00:12.000Z: it broke"],
    );
    sim.now = Timestamp(20_000_000_000);
    sim.command(Command::Wake).complete("a", json!(1));
    let story = sim.check(
        &[("a", Succeeded)],
        &["2 attempts", "attempt 1 failed, 1.0 s: Broken: it broke; again after 10.0 s"],
    );
    assert_eq!(story.steps[0].visits[0].attempts.len(), 2);
}

#[test]
fn an_approval_is_shown_with_the_command_that_answers_it() {
    let flow = "name: f\nsteps:\n  - {id: ask, wait: {approval: 'Ship it?'}}\n  - {id: b, node: n, needs: ask}\n";
    let mut sim = Sim::start(flow);
    let story = sim.check(
        &[("ask", Waiting), ("b", Pending)],
        &[
            "somebody to approve `ask`: Ship it?",
            "reflux approve 00000000-0000-0000-0000-000000000007 ask",
        ],
    );
    assert!(story.waits_for.iter().all(WaitsFor::is_for_a_person));
    sim.signal(APPROVAL_SIGNAL, json!({"step": "other", "approved": true}));
    sim.check(&[("ask", Waiting), ("b", Pending)], &[]);
    sim.signal(APPROVAL_SIGNAL, json!({"step": "ask", "approved": true, "by": "ada"}));
    sim.check(&[("ask", Succeeded), ("b", Running)], &[]);

    let mut refused = Sim::start(flow);
    refused.signal(APPROVAL_SIGNAL, json!({"approved": false, "by": "ada", "comment": "not yet"}));
    refused.check(&[("ask", Failed), ("b", Unreached)], &["Rejected: rejected by ada: not yet"]);
}

#[test]
fn a_signal_counts_whether_it_comes_before_or_after_the_wait() {
    let flow =
        "name: f\nsteps:\n  - {id: a, node: n}\n  - {id: go, wait: {signal: start}, needs: a}\n";
    let mut late = Sim::start(flow);
    late.complete("a", json!(1));
    late.check(
        &[("a", Succeeded), ("go", Waiting)],
        &["the signal `start` for `go`", "reflux signal", "start --data JSON"],
    );
    late.signal("start", json!(5));
    let mut early = Sim::start(flow);
    early.signal("start", json!(5)).complete("a", json!(1));
    for sim in [late, early] {
        let story = sim.check(&[("a", Succeeded), ("go", Succeeded)], &[]);
        assert_eq!(story.steps[1].visits[0].output, Some(json!(5)));
        assert_eq!(story.waits_for, []);
    }
}

#[test]
fn a_sleeper_says_until_when() {
    let sim = Sim::start("name: f\nsteps:\n  - {id: nap, wait: 1h}\n");
    let story = sim.check(
        &[("nap", Waiting)],
        &["waits until 1970-01-01T01:00:01.000Z", "the time 1970-01-01T01:00:01.000Z for `nap`"],
    );
    assert!(!story.waits_for[0].is_for_a_person());
}

#[test]
fn a_skip_says_why() {
    let sim = Sim::start(
        "name: f\nsteps:\n  - {id: a, node: n, when: 'false'}\n  - {id: b, node: n, needs: a}\n",
    );
    sim.check(
        &[("a", Skipped), ("b", Skipped)],
        &["skipped: its condition did not hold", "skipped: `a`, which it needs, was skipped"],
    );
}

#[test]
fn routes_loops_and_handled_failures_are_told() {
    let mut sim = Sim::start(
        "name: f\nsteps:\n  - {id: begin, pass: true, on: {success: test}}\n  - id: test\n    node: n\n    on: {success: {condition: '{{ steps.test.output.ok }}', then: done, else: fix}}\n    max_visits: 3\n\
         \x20 - {id: fix, node: n, on: {success: test}, max_visits: 2}\n  - {id: done, node: n, on: {failure: handle}}\n  - {id: handle, node: n}\n",
    );
    sim.complete("test", json!({"ok": false}))
        .complete("fix", json!({}))
        .complete("test#2", json!({"ok": true}));
    sim.check(
        &[
            ("begin", Succeeded),
            ("test", Succeeded),
            ("fix", Succeeded),
            ("done", Running),
            ("handle", Pending),
        ],
        &["test#2", "→ fix", "→ done"],
    );
    sim.fail("done").complete("handle", json!({}));
    let story = sim.check(
        &[
            ("begin", Succeeded),
            ("test", Succeeded),
            ("fix", Succeeded),
            ("done", Failed),
            ("handle", Succeeded),
        ],
        &["completed after a handled failure", "handled", "Broken: it broke"],
    );
    assert!(story.handled_failure);
}

#[test]
fn items_are_counted_and_only_failures_are_listed_of_many() {
    let items: Vec<u32> = (0..20).collect();
    let mut sim = Sim::start(&format!(
        "name: f\nsteps:\n  - {{id: each, node: n, for_each: {{items: {items:?}, concurrency: 20}}}}\n"
    ));
    for item in 0..19 {
        sim.complete(&format!("each[{item}]"), json!(item));
    }
    let story = sim.check(
        &[("each", Running)],
        &["19 of 20 items", "each[19]", "and 19 items that succeeded"],
    );
    assert_eq!(story.steps[0].visits.len(), 20);
}

#[test]
fn an_unknown_outcome_asks_for_a_person() {
    let mut sim = Sim::start("name: f\nsteps:\n  - {id: a, node: danger}\n");
    sim.boot = 2;
    sim.command(Command::Recover);
    let story =
        sim.check(&[("a", Waiting)], &["f paused", "say what became of it", "reflux resolve"]);
    assert_eq!(story.waits_for.len(), 1, "{:?}", story.waits_for);
    assert_eq!(story.waits_for[0].kind, "resolution");
    assert_eq!(story.steps[0].visits[0].scheduled, Some(EventId(2).0));
}

#[test]
fn a_story_without_the_definition_tells_what_was_seen() {
    let mut sim =
        Sim::start("name: f\nsteps:\n  - {id: a, node: n}\n  - {id: b, node: n, needs: a}\n");
    sim.complete("a", json!(1));
    let story = Telling::of(sim.key.clone(), None, &sim.items());
    let found: Vec<(&str, StepStatus)> =
        story.steps.iter().map(|step| (step.id.as_str(), step.status)).collect();
    assert_eq!(found, [("a", Succeeded), ("b", Running)]);
    assert_eq!(Telling::digest(&sim.items()), Some("09".repeat(32)));
}
