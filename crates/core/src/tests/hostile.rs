//! Numbers at their edges, bytes that are not ours, items out of order.

use super::*;

#[test]
fn clocks_at_the_edges_overflow_nothing() {
    for now in [i64::MIN, -1, 0, 1, i64::MAX - 1, i64::MAX] {
        let mut ctx = context();
        ctx.now = Timestamp(now);
        let mut draft = Draft::new(key(1));
        let start = Start {
            run_timeout: Some(DURATION_MAX),
            execution_timeout: Some(DURATION_MAX),
            ..start(Decider::Flow)
        };
        decide(&mut draft, &ctx, Command::Start(Box::new(start))).unwrap();
        let wanted = ScheduleActivity {
            schedule_to_close: Some(DURATION_MAX),
            heartbeat: Some(DURATION_MAX),
            ..activity("a", REMOTE)
        };
        let timer = Decision::StartTimer { timer_id: "t".into(), duration: DURATION_MAX };
        let decisions = vec![Decision::ScheduleActivity(Box::new(wanted)), timer];
        let _ = decide(&mut draft, &ctx, Command::Decide(decisions));
        for then in [i64::MAX, i64::MIN, 0] {
            ctx.now = Timestamp(then);
            for _ in 0..3 {
                decide(&mut draft, &ctx, Command::Wake).unwrap();
            }
        }
        assert!(!draft.is_poisoned());
    }
}

#[test]
fn durations_beyond_a_century_are_refused() {
    let mut bench = Bench::new(Decider::Flow);
    let timer = Decision::StartTimer { timer_id: "t".into(), duration: Duration::MAX };
    assert!(matches!(bench.no(Command::Decide(vec![timer])), Rejection::Invalid(_)));
    let wanted = ScheduleActivity { heartbeat: Some(Duration::MAX), ..activity("a", QUEUE) };
    let wanted = Decision::ScheduleActivity(Box::new(wanted));
    assert!(matches!(bench.no(Command::Decide(vec![wanted])), Rejection::Invalid(_)));
}

#[test]
fn a_worker_cannot_ask_for_a_wait_that_never_ends() {
    let mut bench = Bench::new(Decider::Flow);
    let id = bench.schedule(activity("a", QUEUE));
    let at = bench.at(id);
    let next_retry_delay = Some(Duration::MAX);
    bench.ok(Command::FailActivity { at, failure: broken("E"), next_retry_delay, report: None });
    assert!(bench.run().next_due().unwrap() <= bench.ctx.now.after(DURATION_MAX));
}

#[test]
fn a_growing_wait_stops_at_its_maximum_whatever_the_factor() {
    for coefficient in [1.0, 1.0 + f64::EPSILON, 1e300, f64::MAX] {
        let retry = Retry::Exponential {
            initial: Duration::from_nanos(1),
            coefficient,
            maximum: secs(5),
            attempts: 0,
            non_retryable: vec![],
        };
        for made in [0, 1, 2, u32::MAX] {
            let wait = retry.wait(made, &broken("E"), None).unwrap();
            assert!(wait <= secs(5), "{coefficient} {made}");
        }
    }
}

#[test]
fn reserved_header_fields_are_refused() {
    for field in [HEADER_RETRY, HEADER_EFFECTS, HEADER_PARENT] {
        let mut bench = Bench::new(Decider::Flow);
        let mut wanted = activity("a", QUEUE);
        wanted.header.fields.insert(field.into(), json_payload("[1]"));
        let command = Command::Decide(vec![Decision::ScheduleActivity(Box::new(wanted))]);
        assert!(matches!(bench.no(command), Rejection::Invalid(_)), "{field}");
    }
}

#[test]
fn more_than_the_bounded_number_of_anything_is_refused() {
    let check = |shrink: fn(&mut Limits), decision: fn(usize) -> Decision| {
        let mut bench = Bench::new(Decider::Flow);
        shrink(&mut bench.ctx.limits);
        let many = Command::Decide((0..3).map(decision).collect());
        assert!(matches!(bench.no(many), Rejection::LimitExceeded { .. }));
        bench.decide((0..2).map(decision).collect());
        let more = Command::Decide(vec![decision(2)]);
        assert!(matches!(bench.no(more), Rejection::LimitExceeded { .. }));
    };
    check(
        |l| l.activities_max = 2,
        |n| Decision::ScheduleActivity(Box::new(activity(&n.to_string(), REMOTE))),
    );
    check(
        |l| l.timers_max = 2,
        |n| Decision::StartTimer { timer_id: n.to_string().into(), duration: secs(1) },
    );
    check(
        |l| l.children_max = 2,
        |n| {
            Decision::StartChild(Box::new(StartChild {
                workflow_id: format!("c{n}").into(),
                workflow_type: "c".into(),
                ..StartChild::default()
            }))
        },
    );
    check(
        |l| l.external_signals_max = 2,
        |_| {
            Decision::SignalExternal(Box::new(SignalExternal {
                target: Target::run(&key(9)),
                name: "s".into(),
                input: text("x"),
                header: Header::default(),
                child_only: false,
            }))
        },
    );
    check(
        |l| l.external_cancels_max = 2,
        |_| Decision::RequestCancelExternal {
            target: Target::run(&key(9)),
            child_only: false,
            reason: "r".into(),
        },
    );
}

#[test]
fn items_that_do_not_follow_are_illegal() {
    let mut bench = Bench::new(Decider::Flow);
    let id = bench.schedule(activity("a", QUEUE));
    let at = bench.at(id);
    bench.complete(at);
    let items = bench.draft.items().to_vec();
    for left_out in 0..items.len() {
        let mut run = Run::new(key(1));
        let rest = items.iter().enumerate().filter(|(at, _)| *at != left_out);
        let illegal = rest.map(|(_, item)| apply(&mut run, item)).any(|done| done.is_err());
        // The request id and the very last item are missed by nothing that follows.
        let free = left_out + 1 == items.len() || left_out == 1;
        assert_eq!(illegal, !free, "without {:?}", items[left_out]);
    }
    for at in 0..items.len() {
        let mut run = Run::new(key(1));
        let twice = items[..=at].iter().chain(&items[at..=at]);
        let illegal = twice.map(|item| apply(&mut run, item)).any(|done| done.is_err());
        assert_eq!(illegal, at != 1, "{:?} twice", items[at]);
    }
}

#[test]
fn an_error_names_the_event_and_what_was_found() {
    let mut run = Run::new(key(1));
    let fired = Kind::TimerFired(TimerFired { timer_id: "t".into(), started: EventId(2) });
    let event = Event { id: EventId(1), time: Timestamp(1), kind: fired };
    let text = apply(&mut run, &Item::Event(event)).unwrap_err().to_string();
    assert_eq!(text, "event 1: TimerFired does not follow a run that was not started");
}

#[test]
fn what_the_wire_cannot_tell_apart_is_not_kept_apart() {
    let zero = Some(Duration::ZERO);
    let odd = || Some(Retry::Intervals(vec![Duration::from_nanos(1_500_001)]));
    // Each command is followed by a replay that must give the same run.
    let mut bench = Bench::with(Start {
        run_timeout: zero,
        execution_timeout: zero,
        task_timeout: zero,
        first_task_backoff: zero,
        retry: odd(),
        ..start(Decider::Flow)
    });
    assert_eq!(bench.run().next_due(), None);
    bench.schedule(ScheduleActivity {
        start_to_close: zero,
        schedule_to_close: zero,
        schedule_to_start: zero,
        heartbeat: zero,
        retry: odd(),
        ..activity("a", REMOTE)
    });
    assert_eq!(bench.run().next_due(), None);
    bench.decide(vec![
        Decision::StartTimer { timer_id: "t".into(), duration: Duration::ZERO },
        Decision::StartChild(Box::new(StartChild {
            workflow_id: "c".into(),
            workflow_type: "c".into(),
            run_timeout: zero,
            execution_timeout: zero,
            retry: odd(),
            ..StartChild::default()
        })),
    ]);
    bench.decide(vec![Decision::ContinueAsNew(Box::new(ContinueAsNew {
        run_timeout: zero,
        task_timeout: zero,
        backoff: zero,
        ..ContinueAsNew::default()
    }))]);
}

#[test]
fn a_retry_at_the_zero_of_time_is_still_a_retry() {
    let mut bench = Bench::new(Decider::Flow);
    let retry = Some(Retry::Intervals(vec![Duration::ZERO]));
    let id = bench.schedule(ScheduleActivity { retry, ..activity("a", REMOTE) });
    let at = bench.claim(id);
    bench.ctx.now = Timestamp(0);
    assert_eq!(bench.fail(at, "E"), ["AttemptEnded"]);
    assert!(bench.run().activities.contains_key(&id));
}

#[test]
fn a_start_cannot_smuggle_in_a_policy() {
    let mut wanted = start(Decider::Flow);
    wanted.retry = Some(Retry::default());
    wanted.header.fields.insert(HEADER_RETRY.into(), json_payload("[1]"));
    let mut draft = Draft::new(key(1));
    let refused = decide(&mut draft, &context(), Command::Start(Box::new(wanted)));
    assert!(matches!(refused, Err(Rejection::Invalid(_))));
}
