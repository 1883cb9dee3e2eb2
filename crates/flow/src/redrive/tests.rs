use std::collections::BTreeMap;
use std::sync::Arc;

use reflux_core::{
    AttemptRef, BootId, Command, Context, Draft, EffectClass, Event, HEADER_REDRIVE, Item, Limits,
    Local, Phase, Run, RunId, RunKey, Signal, Start, Timestamp, Worker, application_failure,
    decide,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::advance::{NodePolicy, Policies, advance};
use crate::decider::Decider;
use crate::graph::{Bundle, NodeRef};
use crate::payload;
use crate::progress::Mark;
use crate::syntax::parse;

/// 2026-01-01T00:00:00Z.
const BEGIN: Timestamp = Timestamp(1_767_225_600_000_000_000);
/// More than any of these runs needs.
const ROUNDS_MAX: usize = 200;

type Behaviour<'a> = &'a dyn Fn(&str, &Value) -> Result<Value, &'static str>;

/// Every node is there; those whose name begins with `unsafe` are.
struct Nodes;

impl Policies for Nodes {
    fn policy(&self, node: &NodeRef, _: &Value) -> Option<NodePolicy> {
        let is_unsafe = node.name.starts_with("unsafe");
        Some(NodePolicy {
            version: node.version.as_deref().unwrap_or("1").into(),
            task_queue: "local".into(),
            retry: None,
            timeout: None,
            heartbeat: None,
            effects: if is_unsafe { EffectClass::Unsafe } else { EffectClass::Idempotent },
        })
    }
}

/// What a run came to.
struct Told {
    events: Vec<Event>,
    run: Run,
    decider: Decider,
    calls: Vec<String>,
}

/// What is wanted of a re-drive.
#[derive(Default)]
struct Wanted<'a> {
    scope: Scope,
    outputs: Vec<(&'a str, Value)>,
    source: Option<&'a str>,
    input: Option<Value>,
    allow_unsafe: Vec<&'a str>,
}

fn bundle(source: &str) -> Arc<Bundle> {
    let parsed = parse("f.yaml", source).unwrap_or_else(|problems| panic!("{}", problems[0]));
    Arc::new(Bundle::collect_parsed(&parsed, |_| None).unwrap())
}

fn key(run: u128) -> RunKey {
    let (namespace, workflow_id) = ("default".into(), "w".into());
    RunKey { namespace, workflow_id, run_id: RunId(Uuid::from_u128(run)) }
}

fn ctx(now: Timestamp) -> Context {
    let worker = Worker { identity: "here".into(), boot: BootId(Uuid::from_u128(1)) };
    Context {
        now,
        limits: Limits::default(),
        local: Local { queue: "local".into(), worker },
        new_run_id: RunId(Uuid::from_u128(9)),
    }
}

/// Drives a run until it waits for somebody; time passes when nothing else can happen and
/// `patient` is set.
fn drive(
    run: u128,
    bundle: &Arc<Bundle>,
    start: Start,
    signals: &[Signal],
    behave: Behaviour<'_>,
    patient: bool,
) -> Told {
    let mut ctx = ctx(BEGIN);
    let new = || Decider::new(bundle.clone(), "f", &start.header, key(run)).unwrap();
    let (mut decider, mut draft) = (new(), Draft::new(key(run)));
    let (mut observed, mut calls) = (0, Vec::new());
    decide(&mut draft, &ctx, Command::Start(Box::new(start.clone()))).unwrap();
    for signal in signals {
        decide(&mut draft, &ctx, Command::Signal(signal.clone())).unwrap();
    }
    for _ in 0..ROUNDS_MAX {
        advance(&mut draft, &mut decider, &ctx, &Nodes, &mut observed, usize::MAX).unwrap();
        let started = draft.run().activities.iter().find_map(|(id, activity)| {
            matches!(activity.phase, Phase::Started { .. }).then(|| {
                (
                    *id,
                    activity.attempt,
                    activity.what.activity_id.clone(),
                    activity.what.input.clone(),
                )
            })
        });
        let command = match (started, draft.run().next_due()) {
            (Some((scheduled, attempt, id, input)), _) => {
                calls.push(id.to_string());
                let at = AttemptRef { scheduled, attempt, started_at: None };
                match behave(&id, &payload::value_of(&input).unwrap()) {
                    Ok(output) => {
                        let result = payload::of_value(&output);
                        Command::CompleteActivity { at, result, report: None }
                    }
                    Err(message) => Command::FailActivity {
                        at,
                        failure: Arc::new(application_failure(message, "Boom", true)),
                        next_retry_delay: None,
                        report: None,
                    },
                }
            }
            (None, Some(due)) if patient && draft.run().is_open() => {
                ctx.now = due;
                Command::Wake
            }
            _ => break,
        };
        decide(&mut draft, &ctx, command).unwrap();
    }
    let mut twin = new();
    let events: Vec<Event> = draft.items().iter().filter_map(event_of).cloned().collect();
    events.iter().for_each(|event| twin.observe(event).unwrap());
    assert_eq!(twin, decider, "the replay is another than what lived");
    Told { events, run: draft.run().clone(), decider, calls }
}

fn event_of(item: &Item) -> Option<&Event> {
    match item {
        Item::Event(event) => Some(event),
        Item::Delta(_) => None,
    }
}

fn first(source: &str, input: Value, behave: Behaviour<'_>) -> (Arc<Bundle>, Told) {
    first_with(source, input, &[], behave, true)
}

fn first_with(
    source: &str,
    input: Value,
    signals: &[Signal],
    behave: Behaviour<'_>,
    patient: bool,
) -> (Arc<Bundle>, Told) {
    let bundle = bundle(source);
    let start = Start {
        workflow_type: "f".into(),
        task_queue: "local".into(),
        input: payload::of_value(&input),
        header: payload::spec_header([1; 32]),
        ..Start::default()
    };
    let told = drive(1, &bundle, start, signals, behave, patient);
    (bundle, told)
}

/// The start of a re-drive, its definition and signals, and its plan.
fn prepare(
    (pinned, told): &(Arc<Bundle>, Told),
    wanted: &Wanted<'_>,
) -> Result<(Start, Arc<Bundle>, Vec<Signal>, Plan), Refused> {
    let base = Base::read(key(1), pinned.clone(), &told.events)?;
    let next = wanted.source.map_or_else(|| Arc::new(base.definition()), bundle);
    let outputs: BTreeMap<String, Value> =
        wanted.outputs.iter().map(|(id, value)| ((*id).to_owned(), value.clone())).collect();
    let redrive = Redrive {
        of: key(1).run_id,
        of_workflow: "w".into(),
        epoch: base.epoch + 1,
        by: "me".into(),
        reason: "because".into(),
        scope: wanted.scope.clone(),
        allow_unsafe: wanted.allow_unsafe.iter().map(|step| (*step).to_owned()).collect(),
        memo: base.memo(&wanted.scope, outputs, &next.flows["f"], BEGIN)?,
    };
    let mut header = payload::spec_header([2; 32]);
    header.fields.insert(HEADER_REDRIVE.to_owned(), redrive.to_payload());
    let start = Start {
        workflow_type: "f".into(),
        task_queue: "local".into(),
        input: wanted.input.as_ref().map_or_else(|| base.input.clone(), payload::of_value),
        header,
        ..Start::default()
    };
    let signals = base.signals(&wanted.scope)?;
    let plan = Plan::of(
        &base,
        &Dry {
            key: key(2),
            start: &start,
            signals: &signals,
            bundle: next.clone(),
            nodes: &Nodes,
            ctx: &ctx(BEGIN),
            idempotency_key: &|_, id, _| format!("key of {id}"),
        },
    )?;
    Ok((start, next, signals, plan))
}

/// Re-drives and tells what was called.
#[track_caller]
fn again(base: &(Arc<Bundle>, Told), wanted: &Wanted<'_>, behave: Behaviour<'_>) -> Told {
    let (start, bundle, signals, _) = prepare(base, wanted).unwrap();
    drive(2, &bundle, start, &signals, behave, false)
}

fn plan(base: &(Arc<Bundle>, Told), wanted: &Wanted<'_>) -> Vec<(String, Verdict)> {
    let plan = prepare(base, wanted).unwrap().3;
    plan.rows.into_iter().map(|row| (row.activation, row.verdict)).collect()
}

fn refused(base: &(Arc<Bundle>, Told), wanted: &Wanted<'_>) -> String {
    match prepare(base, wanted) {
        Ok(_) => panic!("it is not refused"),
        Err(refused) => refused.to_string(),
    }
}

fn echo(_: &str, input: &Value) -> Result<Value, &'static str> {
    Ok(input.clone())
}

fn fails(at: &'static str) -> impl Fn(&str, &Value) -> Result<Value, &'static str> {
    move |id, input| if id == at { Err("it broke") } else { Ok(input.clone()) }
}

const CHAIN: &str = "name: f
input: {n: integer}
steps:
  - {id: a, node: n, with: {v: '{{ input.n }}'}}
  - {id: b, node: n, with: {v: '{{ steps.a.output.v }}'}}
  - {id: c, node: n, with: {v: '{{ steps.b.output.v }}'}}
  - {id: d, node: n, with: {v: '{{ steps.c.output.v }}'}}
output: '{{ steps.d.output.v }}'
";

#[test]
fn a_failed_run_goes_on_where_it_failed() {
    let base = first(CHAIN, json!({"n": 1}), &fails("c"));
    assert_eq!(base.1.calls, ["a", "b", "c"]);
    let told = again(&base, &Wanted::default(), &echo);
    assert_eq!(told.calls, ["c", "d"]);
    assert_eq!(told.run.status, reflux_core::Status::Completed);
    use Verdict::{Kept, Runs};
    let rows = [("a", Kept), ("b", Kept), ("c", Runs), ("d", Runs)];
    assert_eq!(plan(&base, &Wanted::default()), rows.map(|(id, v)| (id.to_owned(), v)));
}

#[test]
fn a_completed_run_is_repeated_without_a_call() {
    let base = first(CHAIN, json!({"n": 1}), &echo);
    let told = again(&base, &Wanted::default(), &|_, _| panic!("a call"));
    assert_eq!(told.run.status, reflux_core::Status::Completed);
    assert_eq!(told.decider.progress().unwrap().redrive().unwrap().epoch, 1);
}

#[test]
fn another_input_runs_what_depends_on_it() {
    let source = "name: f
input: {n: integer, m: integer}
steps:
  - {id: a, node: n, with: {v: '{{ input.n }}'}}
  - {id: b, node: n, with: {v: '{{ input.m }}'}}
  - {id: c, node: n, with: {v: '{{ steps.b.output.v }}'}}
";
    let base = first(source, json!({"n": 1, "m": 1}), &echo);
    let wanted = Wanted { input: Some(json!({"n": 1, "m": 2})), ..Wanted::default() };
    assert_eq!(again(&base, &wanted, &echo).calls, ["b", "c"]);
}

const BRANCHES: &str = "name: f
steps:
  - {id: up, node: n, with: {v: 1}}
  - {id: left, node: n, with: {v: '{{ steps.up.output.v }}'}}
  - {id: leaf, node: n, with: {v: '{{ steps.left.output.v }}'}}
  - {id: side, node: n, with: {v: 7}}
  - {id: join, node: n, needs: [leaf, side], with: {v: '{{ steps.side.output.v }}'}}
";

#[test]
fn an_upstream_step_with_the_same_output_keeps_what_is_below_it() {
    let base = first(BRANCHES, json!({}), &echo);
    let wanted = Wanted { scope: Scope::Step("up".into()), ..Wanted::default() };
    assert_eq!(again(&base, &wanted, &echo).calls, ["up"]);
    let depends: Vec<_> = plan(&base, &wanted)
        .into_iter()
        .filter(|(_, verdict)| *verdict == Verdict::Depends)
        .map(|(id, _)| id)
        .collect();
    assert_eq!(depends, ["left", "leaf", "join"]);
}

#[test]
fn an_upstream_step_with_another_output_runs_exactly_its_descendants() {
    let base = first(BRANCHES, json!({}), &echo);
    let wanted = Wanted { scope: Scope::Step("up".into()), ..Wanted::default() };
    let other = |id: &str, input: &Value| {
        if id == "up" { Ok(json!({"v": 2})) } else { Ok(input.clone()) }
    };
    assert_eq!(again(&base, &wanted, &other).calls, ["up", "left", "leaf"]);
}

#[test]
fn a_branch_runs_whatever_its_results_are() {
    let base = first(BRANCHES, json!({}), &echo);
    let wanted = Wanted { scope: Scope::Branch("left".into()), ..Wanted::default() };
    assert_eq!(again(&base, &wanted, &echo).calls, ["left", "leaf", "join"]);
}

#[test]
fn an_edited_output_runs_exactly_what_depends_on_it() {
    let base = first(BRANCHES, json!({}), &echo);
    let wanted = Wanted { outputs: vec![("left", json!({"v": 5}))], ..Wanted::default() };
    assert_eq!(again(&base, &wanted, &echo).calls, ["leaf"]);
    let wanted = Wanted { outputs: vec![("lft", json!(1))], ..Wanted::default() };
    assert!(refused(&base, &wanted).contains("did you mean `left`"));
}

const LOOP: &str = "name: f
steps:
  - {id: make, node: n, with: {v: 0}, on: {success: test}}
  - {id: test, node: test, max_visits: 5, on: {success: done, failure: fix}}
  - {id: fix, node: n, max_visits: 5, on: {success: test}}
  - {id: done, node: n}
";

#[test]
fn a_loop_is_repeated_from_a_visit_in_its_middle() {
    let third = |id: &str, input: &Value| match id {
        "test" | "test#2" => Err("not yet"),
        _ => Ok(input.clone()),
    };
    let base = first(LOOP, json!({}), &third);
    assert_eq!(base.1.calls, ["make", "test", "fix", "test#2", "fix#2", "test#3", "done"]);
    let wanted = Wanted { scope: Scope::Branch("test#2".into()), ..Wanted::default() };
    let told = again(&base, &wanted, &third);
    assert_eq!(told.calls, ["test#2", "fix#2", "test#3", "done"]);
    // Without a scope a failure that was handled is tried again, and leads elsewhere this time:
    // what follows it came there by another way.
    assert_eq!(again(&base, &Wanted::default(), &echo).calls, ["test", "done"]);
}

const EACH: &str = "name: f
input: {list: array}
steps:
  - {id: each, node: n, for_each: {items: '{{ input.list }}', concurrency: 2}, with: {v: '{{ item }}'}}
output: '{{ steps.each.output }}'
";

#[test]
fn items_are_found_by_what_they_are() {
    let base = first(EACH, json!({"list": ["a", "b", "b", "c"]}), &fails("each[3]"));
    assert_eq!(again(&base, &Wanted::default(), &echo).calls, ["each[3]"]);
    let other = json!({"list": ["b", "x", "a", "b", "b"]});
    let wanted = Wanted { input: Some(other), ..Wanted::default() };
    // A third `b` is one more than there were.
    assert_eq!(again(&base, &wanted, &echo).calls, ["each[1]", "each[4]"]);
}

#[test]
fn one_item_is_repeated_alone() {
    let base = first(EACH, json!({"list": [1, 2, 3]}), &echo);
    let wanted = Wanted { scope: Scope::Item("each[1]".into()), ..Wanted::default() };
    assert_eq!(again(&base, &wanted, &echo).calls, ["each[1]"]);
    let wanted = Wanted { scope: Scope::Item("each".into()), ..Wanted::default() };
    assert!(refused(&base, &wanted).contains("names no item"));
}

#[test]
fn names_and_policies_keep_results_and_versions_do_not() {
    let base = first(CHAIN, json!({"n": 1}), &fails("d"));
    let renamed = CHAIN
        .replace("id: a, node: n,", "id: alpha, node: n, timeout: 9s,")
        .replace("steps.a.", "steps.alpha.");
    let wanted = Wanted { source: Some(&renamed), ..Wanted::default() };
    assert_eq!(again(&base, &wanted, &echo).calls, ["d"]);
    assert!(!plan(&base, &wanted).iter().any(|(_, verdict)| *verdict == Verdict::Orphaned));
    let newer = CHAIN.replace("id: b, node: n,", "id: b, node: n@2,");
    let wanted = Wanted { source: Some(&newer), ..Wanted::default() };
    assert_eq!(again(&base, &wanted, &echo).calls, ["b", "d"]);
}

#[test]
fn a_result_is_taken_over_once() {
    let once = "name: f\nsteps:\n  - {id: a, node: n, with: {v: 1}}\n";
    let twice =
        "name: f\nsteps:\n  - {id: x, node: n, with: {v: 1}}\n  - {id: a, node: n, with: {v: 1}}\n";
    let base = first(once, json!({}), &echo);
    let wanted = Wanted { source: Some(twice), ..Wanted::default() };
    assert_eq!(again(&base, &wanted, &echo).calls, ["x"], "a step lost its result to another");
    let renamed =
        "name: f\nsteps:\n  - {id: x, node: n, with: {v: 1}}\n  - {id: y, node: n, with: {v: 1}}\n";
    let wanted = Wanted { source: Some(renamed), ..Wanted::default() };
    assert_eq!(again(&base, &wanted, &echo).calls, ["y"]);
}

#[test]
fn a_plan_tells_new_steps_and_orphans() {
    let base = first(CHAIN, json!({"n": 1}), &fails("c"));
    let other = "name: f
input: {n: integer}
steps:
  - {id: a, node: n, with: {v: '{{ input.n }}'}}
  - {id: z, node: m, with: {v: '{{ steps.a.output.v }}'}}
";
    let wanted = Wanted { source: Some(other), ..Wanted::default() };
    let rows = plan(&base, &wanted);
    assert!(rows.contains(&("z".to_owned(), Verdict::New)), "{rows:?}");
    assert!(rows.contains(&("b".to_owned(), Verdict::Orphaned)), "{rows:?}");
    assert!(rows.contains(&("c".to_owned(), Verdict::Orphaned)), "{rows:?}");
}

#[test]
fn a_plan_says_why_and_under_which_key() {
    let base = first(CHAIN, json!({"n": 1}), &fails("c"));
    let plan = prepare(&base, &Wanted::default()).unwrap().3;
    let row = plan.rows.iter().find(|row| row.activation == "c").unwrap();
    assert_eq!(row.reason, "it failed in the base: it broke");
    assert_eq!(row.idempotency_key, "key of c");
    assert_eq!(row.effects, "idempotent");
}

#[test]
fn calling_an_unsafe_step_again_needs_consent() {
    let source = CHAIN.replace("id: c, node: n", "id: c, node: unsafe");
    let base = first(&source, json!({"n": 1}), &fails("c"));
    assert_eq!(prepare(&base, &Wanted::default()).unwrap().3.unconsented, ["c"]);
    let wanted = Wanted { allow_unsafe: vec!["c"], ..Wanted::default() };
    assert!(prepare(&base, &wanted).unwrap().3.unconsented.is_empty());
    // One that was never called, or whose result is kept, needs none.
    let base = first(&source, json!({"n": 1}), &fails("b"));
    assert!(prepare(&base, &Wanted::default()).unwrap().3.unconsented.is_empty());
    let base = first(&source, json!({"n": 1}), &fails("d"));
    assert!(prepare(&base, &Wanted::default()).unwrap().3.unconsented.is_empty());
    // One that may come to be called again does.
    let wanted = Wanted { scope: Scope::Step("a".into()), ..Wanted::default() };
    assert_eq!(prepare(&base, &wanted).unwrap().3.unconsented, ["c"]);
}

const SIGNALS: &str = "name: f
steps:
  - {id: one, wait: {signal: go}}
  - {id: two, needs: [one], wait: {signal: go}}
  - {id: last, node: n, with: {v: '{{ steps.two.output }}'}}
";

fn go(value: Value) -> Signal {
    Signal { name: "go".into(), input: payload::of_value(&value), ..Signal::default() }
}

#[test]
fn signals_are_given_again_in_order_but_not_to_a_repeated_wait() {
    let signals = [go(json!(1)), go(json!(2))];
    let base = first_with(SIGNALS, json!({}), &signals, &fails("last"), true);
    let told = again(&base, &Wanted::default(), &echo);
    assert_eq!(told.calls, ["last"]);
    let view = told.decider.progress().unwrap().step("last").unwrap().view().unwrap().clone();
    assert_eq!(*view.output, json!({"v": 2}));
    let wanted = Wanted { scope: Scope::Step("two".into()), ..Wanted::default() };
    let told = again(&base, &wanted, &echo);
    let waits: Vec<&str> = told.decider.progress().unwrap().awaited_signals().collect();
    assert_eq!((waits, told.calls.len()), (vec!["go"], 0));
}

#[test]
fn a_sub_run_begins_with_the_signals_that_nothing_had_taken() {
    let source = "name: f
steps:
  - {id: one, wait: {signal: go}}
  - {id: mid, node: n, needs: [one]}
  - {id: two, needs: [mid], wait: {signal: go}}
  - {id: last, node: n, with: {v: '{{ steps.two.output }}'}}
";
    let signals = [go(json!(1)), go(json!(2))];
    let mut base = first_with(source, json!({}), &signals, &fails("mid"), true);
    // Also when the re-drive did not come to the wait either.
    for behave in [&fails("mid") as Behaviour<'_>, &echo] {
        let (pinned, told) = &base;
        let read = Base::read(key(1), pinned.clone(), &told.events).unwrap();
        let memo = read.memo_of_child(BEGIN);
        let names: Vec<&str> = memo.signals.iter().map(|signal| signal.name.as_str()).collect();
        assert_eq!(names, ["go"]);
        let redrive = Redrive {
            of: key(1).run_id,
            of_workflow: "w".into(),
            epoch: 1,
            by: String::new(),
            reason: String::new(),
            scope: Scope::Rest,
            allow_unsafe: Vec::new(),
            memo,
        };
        let mut header = payload::spec_header([2; 32]);
        header.fields.insert(HEADER_REDRIVE.to_owned(), redrive.to_payload());
        let start = Start {
            workflow_type: "f".into(),
            task_queue: "local".into(),
            input: read.input.clone(),
            header,
            ..Start::default()
        };
        base = (pinned.clone(), drive(2, pinned, start, &[], behave, false));
    }
    let (_, told) = base;
    assert_eq!(told.calls, ["mid", "last"]);
    let view = told.decider.progress().unwrap().step("last").unwrap().view().unwrap().clone();
    assert_eq!(*view.output, json!({"v": 2}));
}

#[test]
fn a_fork_has_the_state_at_its_event() {
    let base = first(CHAIN, json!({"n": 1}), &echo);
    let completed: Vec<i64> = base
        .1
        .events
        .iter()
        .filter(|event| matches!(event.kind, reflux_core::Kind::ActivityCompleted(_)))
        .map(|event| event.id.0)
        .collect();
    let at = |event| Wanted { scope: Scope::Event(event), ..Wanted::default() };
    assert_eq!(again(&base, &at(completed[1]), &echo).calls, ["c", "d"]);
    // One that was under way at the event is done again.
    assert_eq!(again(&base, &at(completed[1] - 1), &echo).calls, ["b", "c", "d"]);
    assert_eq!(again(&base, &at(1), &echo).calls, ["a", "b", "c", "d"]);
    assert!(refused(&base, &at(10_000)).contains("no event 10000"));
}

#[test]
fn a_timer_that_fired_is_kept_and_another_runs_for_the_rest_of_its_time() {
    let source = "name: f
steps:
  - {id: nap, wait: 10s}
  - {id: after, needs: [nap], node: n}
  - {id: sleep, needs: [nap], wait: 60s}
  - {id: slow, needs: [nap], wait: 20s}
  - {id: break, needs: [slow], node: n}
";
    let base = first(source, json!({}), &fails("break"));
    let told = again(&base, &Wanted::default(), &|id, input| {
        if id == "break" { Err("again") } else { Ok(input.clone()) }
    });
    assert_eq!(told.calls, ["break"]);
    let started: Vec<_> = told
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            reflux_core::Kind::TimerStarted(timer) => {
                Some((timer.timer_id.to_string(), timer.duration.as_secs()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(started, [("sleep".to_owned(), 40)]);
}

#[test]
fn a_step_that_was_taken_back_is_done_again() {
    let source = "name: f
steps:
  - {id: book, node: n, compensate: {node: undo}}
  - {id: look, node: n, with: {v: 1}}
  - {id: pay, node: n, needs: [book, look]}
";
    let base = first(source, json!({}), &fails("pay"));
    assert!(base.1.calls.contains(&"book.compensate".to_owned()), "{:?}", base.1.calls);
    assert_eq!(again(&base, &Wanted::default(), &echo).calls, ["book", "pay"]);
}

#[test]
fn a_re_drive_is_re_driven_itself() {
    let base = first(CHAIN, json!({"n": 1}), &fails("c"));
    let (start, bundle, signals, _) = prepare(&base, &Wanted::default()).unwrap();
    let second = drive(2, &bundle, start, &signals, &fails("d"), false);
    assert_eq!(second.calls, ["c", "d"]);
    let third = again(&(bundle, second), &Wanted::default(), &echo);
    assert_eq!(third.calls, ["d"]);
    // What was taken over twice is still of the version that gave it.
    let marks = third.events.iter().filter_map(|event| match &event.kind {
        reflux_core::Kind::Marker(marker) => {
            Mark::read(&marker.name, payload::marker_json(marker)).unwrap()
        }
        _ => None,
    });
    let versions: Vec<_> = marks
        .filter_map(|mark| match mark {
            Mark::Reuse(reuse) => Some((reuse.activation, reuse.version)),
            _ => None,
        })
        .collect();
    assert_eq!(versions, ["a", "b", "c"].map(|id| (id.to_owned(), Some("1".into()))));
}

#[test]
fn a_scope_that_the_base_does_not_know_is_refused() {
    let base = first(CHAIN, json!({"n": 1}), &fails("b"));
    let of = |scope| refused(&base, &Wanted { scope, ..Wanted::default() });
    assert!(of(Scope::Step("zz".into())).contains("no step `zz`"));
    assert!(of(Scope::Branch("d".into())).contains("did not start in the base"));
}
