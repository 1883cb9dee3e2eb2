//! The run itself: beginning, messages, timers, limits, end.

use super::*;

const CLOSED: [Status; 3] = [Status::Completed, Status::Failed, Status::Canceled];

#[test]
fn the_same_request_starts_a_run_once() {
    let mut bench = Bench::new(Decider::Flow);
    assert!(bench.ok(Command::Start(Box::new(start(Decider::Flow)))).is_empty());
    let other = Start { request_id: "other".into(), ..start(Decider::Flow) };
    assert_eq!(bench.no(Command::Start(Box::new(other))), Rejection::AlreadyStarted);
}

#[test]
fn a_start_that_lacks_something_is_refused() {
    let check = |change: fn(&mut Start)| {
        let mut wanted = start(Decider::Flow);
        change(&mut wanted);
        let mut draft = Draft::new(key(1));
        assert!(decide(&mut draft, &context(), Command::Start(Box::new(wanted))).is_err());
        assert!(draft.is_clean());
    };
    check(|start| start.workflow_type = "".into());
    check(|start| start.task_queue = "".into());
    check(|start| start.workflow_type = "x".repeat(1_001).into());
    check(|start| start.cron_schedule = "* * * * *".into());
    check(|start| start.run_timeout = Some(Duration::MAX));
    check(|start| start.input = text(&"x".repeat(3 << 20)));
    check(|start| {
        start.retry = Some(Retry::Exponential {
            initial: secs(1),
            coefficient: f64::NAN,
            maximum: secs(1),
            attempts: 0,
            non_retryable: vec![],
        });
    });
}

#[test]
fn a_run_that_was_not_started_takes_nothing_else() {
    let mut draft = Draft::new(key(1));
    for command in [
        Command::Signal(Signal { name: "s".into(), ..Signal::default() }),
        Command::Terminate(Terminate::default()),
        Command::Decide(vec![]),
        Command::AckOutbox { seq: 1 },
    ] {
        assert_eq!(decide(&mut draft, &context(), command), Err(Rejection::NotStarted));
    }
}

#[test]
fn each_end_closes_the_run_and_lets_nothing_follow() {
    let ends = [
        Decision::CompleteRun { result: text("r") },
        Decision::FailRun { failure: broken("E") },
        Decision::CancelRun { details: text("d") },
    ];
    for (end, status) in ends.into_iter().zip(CLOSED) {
        let mut bench = Bench::new(Decider::Flow);
        let id = bench.schedule(activity("a", QUEUE));
        bench.decide(vec![Decision::StartTimer { timer_id: "t".into(), duration: secs(9) }]);
        bench.decide(vec![end]);
        let run = bench.run();
        assert_eq!((run.status, run.next_due(), run.is_open()), (status, None, false));
        assert!(run.waits_for().is_empty());
        let effects = bench.draft.effects();
        assert!(effects.contains(&Effect::Closed(status)));
        assert!(effects.contains(&Effect::CancelAttempt { scheduled: id, attempt: 1 }));
        let at = bench.at(id);
        let late = Command::CompleteActivity { at, result: text("x"), report: None };
        assert_eq!(bench.no(late), Rejection::AlreadyClosed);
        assert_eq!(bench.no(Command::Terminate(Terminate::default())), Rejection::AlreadyClosed);
        assert_eq!(bench.ok(Command::Retire), ["Retired"]);
    }
}

#[test]
fn nothing_may_follow_the_end_in_one_set_of_decisions() {
    let mut bench = Bench::new(Decider::Flow);
    let end = Decision::CompleteRun { result: text("r") };
    let timer = Decision::StartTimer { timer_id: "t".into(), duration: secs(1) };
    assert!(matches!(bench.no(Command::Decide(vec![end, timer])), Rejection::Invalid(_)));
}

#[test]
fn a_signal_is_taken_once_for_each_request() {
    let mut bench = Bench::new(Decider::Flow);
    let signal = |id: &str| {
        let (name, request_id) = ("s".into(), id.into());
        Command::Signal(Signal { name, request_id, ..Signal::default() })
    };
    assert_eq!(bench.ok(signal("1")), ["WorkflowExecutionSignaled"]);
    assert!(bench.ok(signal("1")).is_empty());
    assert_eq!(bench.ok(signal("2")), ["WorkflowExecutionSignaled"]);
    bench.ctx.limits.signals_max = 2;
    assert!(matches!(bench.no(signal("3")), Rejection::LimitExceeded { .. }));
}

#[test]
fn a_run_is_asked_to_end_once() {
    let mut bench = Bench::new(Decider::Flow);
    let ask = |id: &str| {
        Command::RequestCancel(RequestCancel { request_id: id.into(), ..Default::default() })
    };
    assert_eq!(bench.ok(ask("1")), ["WorkflowExecutionCancelRequested", "Requested"]);
    assert!(bench.ok(ask("1")).is_empty());
    assert!(matches!(bench.no(ask("2")), Rejection::AlreadyDone(_)));
}

#[test]
fn timers_fire_in_order_and_can_be_cancelled() {
    let timer = |id: &str, n| Decision::StartTimer { timer_id: id.into(), duration: secs(n) };
    let mut bench = Bench::new(Decider::Flow);
    bench.decide(vec![timer("late", 9), timer("soon", 3), timer("never", 5)]);
    bench.decide(vec![Decision::CancelTimer { timer_id: "never".into() }]);
    assert_eq!(bench.run().next_due(), Some(bench.ctx.now.after(secs(3))));
    assert_eq!(bench.later(secs(20)), ["TimerFired", "TimerFired"]);
    assert!(matches!(bench.last_event(), Kind::TimerFired(e) if &*e.timer_id == "late"));
    let again = Command::Decide(vec![Decision::CancelTimer { timer_id: "late".into() }]);
    assert!(matches!(bench.no(again), Rejection::NotFound(_)));
}

#[test]
fn an_id_is_free_again_within_one_set_of_decisions() {
    let timer = || Decision::StartTimer { timer_id: "t".into(), duration: secs(1) };
    let cancel = || Decision::CancelTimer { timer_id: "t".into() };
    let mut bench = Bench::new(Decider::Flow);
    bench.decide(vec![timer(), cancel(), timer()]);
    assert_eq!(bench.run().timers.len(), 1);
    assert!(matches!(bench.no(Command::Decide(vec![timer()])), Rejection::Invalid(_)));
    assert!(matches!(bench.no(Command::Decide(vec![cancel(), cancel()])), Rejection::NotFound(_)));
}

#[test]
fn one_waking_is_bounded_and_the_next_goes_on() {
    let mut bench = Bench::new(Decider::Flow);
    let count = WAKE_ITEMS_MAX + 10;
    let timers = (0..count)
        .map(|n| Decision::StartTimer { timer_id: format!("t{n}").into(), duration: secs(1) });
    bench.decide(timers.collect());
    assert_eq!(bench.later(secs(1)).len(), WAKE_ITEMS_MAX);
    assert_eq!(bench.ok(Command::Wake).len(), 10);
}

#[test]
fn a_run_that_takes_too_long_is_closed() {
    let check = |start: Start, expect: RetryState, follows: bool| {
        let mut bench = Bench::with(start);
        assert!(bench.later(secs(9)).is_empty());
        assert_eq!(bench.later(secs(1)), ["WorkflowExecutionTimedOut"]);
        let Kind::TimedOut(event) = bench.last_event() else { panic!() };
        assert_eq!((event.retry_state, event.next_run.is_some()), (expect, follows));
    };
    let flow = || start(Decider::Flow);
    let run = Some(secs(10));
    let retry = Some(Retry::default());
    let unset = RetryState::RetryPolicyNotSet;
    check(Start { run_timeout: run, ..flow() }, unset, false);
    let retried = Start { run_timeout: run, retry: retry.clone(), ..flow() };
    check(retried, RetryState::InProgress, true);
    check(Start { execution_timeout: run, retry, ..flow() }, RetryState::Timeout, false);
}

#[test]
fn a_failed_run_is_followed_by_its_next_attempt() {
    let mut bench =
        Bench::with(Start { retry: Some(Retry::Intervals(vec![secs(4)])), ..start(Decider::Flow) });
    bench.decide(vec![Decision::FailRun { failure: broken("E") }]);
    let outbox: Vec<_> = bench.run().outbox.values().cloned().collect();
    let [Outgoing { target, message: Message::StartNext { start } }] = &outbox[..] else {
        panic!("{outbox:?}")
    };
    assert_eq!(target.run_id, Some(bench.ctx.new_run_id));
    assert_eq!((start.attempt, start.first_task_backoff), (2, Some(secs(4))));
    assert_eq!(start.first_run, Some(bench.run().key.run_id));
    assert_eq!(start.input, text("in"));

    let mut next = Bench { draft: Draft::new(key(2)), ctx: bench.ctx.clone(), seen: 0 };
    next.ok(Command::Start(Box::new(Start::clone(start))));
    assert!(!next.run().has_begun());
    assert_eq!(next.later(secs(4)), ["MarkerRecorded"]);
    assert!(next.run().has_begun());
    next.decide(vec![Decision::FailRun { failure: broken("E") }]);
    assert!(next.run().outbox.is_empty(), "two attempts are all");
}

#[test]
fn a_run_that_continues_as_new_rests_for_the_first_second() {
    let mut bench = Bench::new(Decider::Flow);
    bench.ctx.now = bench.ctx.now.after(Duration::from_millis(300));
    let next = ContinueAsNew { input: text("next"), ..ContinueAsNew::default() };
    bench.decide(vec![Decision::ContinueAsNew(Box::new(next))]);
    let Some(Outgoing { message: Message::StartNext { start }, .. }) =
        bench.run().outbox.values().next()
    else {
        panic!()
    };
    assert_eq!(start.first_task_backoff, Some(Duration::from_millis(700)));
    assert_eq!((&start.input, start.attempt), (&text("next"), 1));
    assert_eq!(
        bench.no(Command::Retire).to_string(),
        "this run has messages that are not \
        delivered: retire it when it is closed and its outbox empty"
    );
    bench.ok(Command::AckOutbox { seq: 1 });
    bench.ok(Command::Retire);
}

#[test]
fn a_history_without_measure_is_ended() {
    let mut bench = Bench::new(Decider::Flow);
    bench.ctx.limits.history_events_max = 5;
    let timers = (0..5)
        .map(|n| Decision::StartTimer { timer_id: format!("t{n}").into(), duration: secs(1) });
    let items = bench.decide(timers.collect());
    assert_eq!(items.last(), Some(&"WorkflowExecutionTerminated"));
}

#[test]
fn upserts_merge_and_an_empty_payload_removes() {
    let mut bench = Bench::new(Decider::Flow);
    let set = |payload: Payload| Decision::ModifyProperties {
        memo: Memo { fields: [("k".to_owned(), payload)].into() },
    };
    bench.decide(vec![set(json_payload("1"))]);
    assert_eq!(bench.run().memo.fields.len(), 1);
    bench.decide(vec![set(Payload::default())]);
    assert!(bench.run().memo.fields.is_empty());
}

#[test]
fn code_and_flows_are_not_mixed_up() {
    let mut bench = Bench::new(Decider::Code);
    assert!(matches!(bench.no(Command::Decide(vec![])), Rejection::Invalid(_)));
    let flow = Bench::new(Decider::Flow);
    assert_eq!(flow.run().task, WorkflowTask::Idle);
}

#[test]
fn volatile_questions_and_updates_are_bounded() {
    let bench = Bench::new(Decider::Code);
    let mut volatile = Volatile::default();
    for n in 0..10 {
        let (id, request) = (format!("u{n}").into(), Default::default());
        volatile.admit(bench.run(), &bench.ctx.limits, id, request).unwrap();
    }
    let over = volatile.admit(bench.run(), &bench.ctx.limits, "more".into(), Default::default());
    assert!(matches!(over, Err(Rejection::LimitExceeded { .. })));
    volatile.settled("u1").unwrap();
    volatile.admit(bench.run(), &bench.ctx.limits, "more".into(), Default::default()).unwrap();
    assert!(!Volatile::is_direct(bench.run()), "a task is pending");
}
