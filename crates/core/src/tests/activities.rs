//! One activity at a time: every attempt, every way it can end.

use super::*;

const ENDED: &str = "AttemptEnded";
const BEGUN: &str = "AttemptStarted";
const STARTED: &str = "ActivityTaskStarted";
const COMPLETED: &str = "ActivityTaskCompleted";
const FAILED: &str = "ActivityTaskFailed";
const TIMED_OUT: &str = "ActivityTaskTimedOut";
const CANCELED: &str = "ActivityTaskCanceled";

fn flow() -> Bench {
    Bench::new(Decider::Flow)
}

fn retrying(queue: &str, retry: Retry) -> ScheduleActivity {
    ScheduleActivity { retry: Some(retry), ..activity("a", queue) }
}

fn exponential(attempts: u32) -> Retry {
    Retry::Exponential {
        initial: secs(1),
        coefficient: 2.0,
        maximum: secs(3),
        attempts,
        non_retryable: vec!["Never".into()],
    }
}

fn retry_state(bench: &Bench) -> RetryState {
    match bench.last_event() {
        Kind::ActivityFailed(event) => event.retry_state,
        Kind::ActivityTimedOut(event) => event.retry_state,
        other => panic!("{}", other.name()),
    }
}

#[test]
fn a_local_activity_is_claimed_in_the_record_that_schedules_it() {
    let mut bench = flow();
    let items = bench.decide(vec![Decision::ScheduleActivity(Box::new(activity("a", QUEUE)))]);
    assert_eq!(items, ["ActivityTaskScheduled", BEGUN]);
    let dispatch = Effect::Dispatch { scheduled: EventId(2), attempt: 1 };
    assert!(bench.draft.effects().contains(&dispatch));
    let is_offer = |effect: &Effect| matches!(effect, Effect::Offer { .. });
    assert!(!bench.draft.effects().iter().any(is_offer));
}

#[test]
fn a_remote_activity_is_offered_until_somebody_claims_it() {
    let mut bench = flow();
    let id = bench.schedule(activity("a", REMOTE));
    let offer = Effect::Offer { scheduled: id, attempt: 1, queue: REMOTE.into(), priority: None };
    assert!(bench.run().effects().contains(&offer));
    bench.claim(id);
    assert!(!bench.run().effects().contains(&offer));
}

#[test]
fn the_started_event_is_written_when_the_activity_closes() {
    let mut bench = flow();
    let id = bench.schedule(activity("a", REMOTE));
    let at = bench.claim(id);
    assert_eq!(bench.complete(at), [ENDED, STARTED, COMPLETED]);
    assert!(bench.run().activities.is_empty());
    assert!(bench.run().deadlines.is_empty());
    assert_eq!(bench.run().waits_for(), [Waiting::Message]);
}

#[test]
fn a_result_of_an_attempt_that_is_over_is_refused() {
    let mut bench = flow();
    let id = bench.schedule(retrying(REMOTE, exponential(0)));
    let at = bench.claim(id);
    bench.fail(at, "E");
    let late = Command::CompleteActivity { at, result: text("x"), report: None };
    assert!(matches!(bench.no(late.clone()), Rejection::Stale { given: 1, current: 2, .. }));
    let next = AttemptRef { attempt: 2, ..at };
    let early = Command::CompleteActivity { at: next, result: text("x"), report: None };
    assert!(matches!(bench.no(early), Rejection::WrongState { .. }));
    bench.later(secs(1));
    let at = bench.claim(id);
    bench.complete(at);
    assert!(matches!(bench.no(late), Rejection::NotFound(_)));
}

#[test]
fn waits_grow_up_to_the_maximum() {
    let mut bench = flow();
    let id = bench.schedule(retrying(QUEUE, exponential(0)));
    for wait in [1, 2, 3, 3] {
        let at = bench.at(id);
        assert_eq!(bench.fail(at, "E"), [ENDED]);
        let due = bench.ctx.now.after(secs(wait));
        assert_eq!(bench.run().next_due(), Some(due), "wait of {wait} s");
        assert_eq!(bench.later(secs(wait)), [BEGUN]);
    }
}

#[test]
fn intervals_are_taken_one_by_one_and_then_it_fails() {
    let mut bench = flow();
    let id = bench.schedule(retrying(QUEUE, Retry::Intervals(vec![secs(1), secs(10)])));
    for wait in [1, 10] {
        let at = bench.at(id);
        assert_eq!(bench.fail(at, "E"), [ENDED]);
        assert_eq!(bench.run().next_due(), Some(bench.ctx.now.after(secs(wait))));
        bench.later(secs(wait));
    }
    let at = bench.at(id);
    assert_eq!(at.attempt, 3);
    assert_eq!(bench.fail(at, "E"), [ENDED, STARTED, FAILED]);
    assert_eq!(retry_state(&bench), RetryState::MaximumAttemptsReached);
}

#[test]
fn a_wait_of_nothing_is_claimed_in_the_same_record() {
    let mut bench = flow();
    let id = bench.schedule(retrying(QUEUE, Retry::Intervals(vec![Duration::ZERO])));
    let at = bench.at(id);
    assert_eq!(bench.fail(at, "E"), [ENDED, BEGUN]);
}

#[test]
fn a_failure_is_final_when_policy_or_failure_say_so() {
    let check = |retry: Retry, failure: Failure, expect: RetryState| {
        let mut bench = flow();
        let id = bench.schedule(retrying(QUEUE, retry));
        let at = bench.at(id);
        let failure = failure.into();
        let command = Command::FailActivity { at, failure, next_retry_delay: None, report: None };
        assert_eq!(bench.ok(command), [ENDED, STARTED, FAILED], "{expect:?}");
        assert_eq!(retry_state(&bench), expect);
    };
    let plain = |kind: &str| application_failure("x", kind, false);
    check(exponential(1), plain("E"), RetryState::MaximumAttemptsReached);
    check(Retry::never(), plain("E"), RetryState::MaximumAttemptsReached);
    check(exponential(0), plain("Never"), RetryState::NonRetryableFailure);
    check(exponential(0), application_failure("x", "E", true), RetryState::NonRetryableFailure);
}

#[test]
fn a_worker_may_ask_for_its_own_wait() {
    let mut bench = flow();
    let id = bench.schedule(retrying(QUEUE, exponential(0)));
    let at = bench.at(id);
    let next_retry_delay = Some(secs(30));
    bench.ok(Command::FailActivity { at, failure: broken("E"), next_retry_delay, report: None });
    assert_eq!(bench.run().next_due(), Some(bench.ctx.now.after(secs(30))));
}

#[test]
fn no_attempt_begins_that_could_not_end_in_time() {
    let mut bench = flow();
    let wanted = ScheduleActivity {
        schedule_to_close: Some(secs(2)),
        ..retrying(QUEUE, Retry::Intervals(vec![secs(2)]))
    };
    let id = bench.schedule(wanted);
    let at = bench.at(id);
    assert_eq!(bench.fail(at, "E"), [ENDED, STARTED, FAILED]);
    assert_eq!(retry_state(&bench), RetryState::Timeout);
}

#[test]
fn a_remote_retry_is_offered_when_it_is_due() {
    let mut bench = flow();
    let id = bench.schedule(retrying(REMOTE, exponential(0)));
    let at = bench.claim(id);
    bench.fail(at, "E");
    let worker = Worker::remote("there");
    let claim = Command::ClaimActivity { scheduled: id, worker };
    assert!(matches!(bench.no(claim), Rejection::TooEarly { .. }));
    assert_eq!(bench.later(secs(1)), ["AttemptDue"]);
    assert_eq!(bench.claim(id).attempt, 2);
}

#[test]
fn each_timeout_ends_or_repeats_the_attempt() {
    struct Row {
        wanted: ScheduleActivity,
        claim: bool,
        after: u64,
        expect: &'static [&'static str],
    }
    let one = |f: fn(&mut ScheduleActivity)| {
        let mut wanted = retrying(REMOTE, Retry::never());
        f(&mut wanted);
        wanted
    };
    let ended: &[_] = &[ENDED, STARTED, TIMED_OUT];
    let rows = [
        Row { wanted: one(|_| {}), claim: true, after: 60, expect: ended },
        Row { wanted: retrying(REMOTE, exponential(0)), claim: true, after: 60, expect: &[ENDED] },
        Row { wanted: one(|w| w.heartbeat = Some(secs(5))), claim: true, after: 5, expect: ended },
        Row {
            wanted: one(|w| w.schedule_to_start = Some(secs(5))),
            claim: false,
            after: 5,
            expect: &[TIMED_OUT],
        },
        Row {
            wanted: one(|w| w.schedule_to_close = Some(secs(5))),
            claim: false,
            after: 5,
            expect: &[TIMED_OUT],
        },
        Row {
            wanted: one(|w| w.schedule_to_close = Some(secs(5))),
            claim: true,
            after: 5,
            expect: ended,
        },
    ];
    for (at, row) in rows.into_iter().enumerate() {
        let mut bench = flow();
        let id = bench.schedule(row.wanted);
        if row.claim {
            bench.claim(id);
        }
        let just_before = secs(row.after) - Duration::from_nanos(1);
        assert!(bench.later(just_before).is_empty(), "row {at}");
        assert_eq!(bench.later(Duration::from_nanos(1)), row.expect, "row {at}");
    }
}

#[test]
fn the_host_measures_a_local_attempt() {
    let mut bench = flow();
    let id = bench.schedule(activity("a", QUEUE));
    assert_eq!(bench.run().next_due(), None);
    let at = bench.at(id);
    assert_eq!(bench.ok(Command::TimeOutActivity { at, report: None }), [ENDED]);
}

#[test]
fn heartbeats_keep_an_attempt_alive_and_reach_the_next_one() {
    let mut bench = flow();
    let wanted = ScheduleActivity { heartbeat: Some(secs(5)), ..retrying(REMOTE, exponential(0)) };
    let id = bench.schedule(wanted);
    let at = bench.claim(id);
    for _ in 0..3 {
        assert!(bench.later(secs(4)).is_empty());
        let details = text("half");
        bench.ok(Command::HeartbeatActivity { scheduled: id, attempt: at.attempt, details });
    }
    assert_eq!(bench.later(secs(5)), [ENDED]);
    assert_eq!(bench.run().activities[&id].heartbeat_details, text("half"));
}

#[test]
fn an_activity_nobody_has_is_cancelled_at_once() {
    let mut bench = flow();
    let id = bench.schedule(activity("a", REMOTE));
    let items = bench.decide(vec![
        Decision::RequestCancelActivity { scheduled: id },
        Decision::RecordMarker { name: "m".into(), details: Default::default(), failure: None },
    ]);
    assert_eq!(items, ["ActivityTaskCancelRequested", "MarkerRecorded", CANCELED]);
}

#[test]
fn a_running_activity_is_asked_to_end() {
    let mut bench = flow();
    let id = bench.schedule(activity("a", QUEUE));
    let at = bench.at(id);
    let cancel = Command::CancelActivity { at, details: text("bye"), report: None };
    assert!(matches!(bench.no(cancel.clone()), Rejection::WrongState { .. }));
    bench.decide(vec![Decision::RequestCancelActivity { scheduled: id }]);
    let asked = Effect::CancelAttempt { scheduled: id, attempt: 1 };
    assert!(bench.draft.effects().contains(&asked));
    assert_eq!(bench.ok(cancel), [ENDED, STARTED, CANCELED]);
}

#[test]
fn nothing_is_tried_again_after_a_request_to_end() {
    let mut bench = flow();
    let id = bench.schedule(activity("a", QUEUE));
    bench.decide(vec![Decision::RequestCancelActivity { scheduled: id }]);
    let at = bench.at(id);
    assert_eq!(bench.fail(at, "E"), [ENDED, STARTED, FAILED]);
    assert_eq!(retry_state(&bench), RetryState::CancelRequested);
}

#[test]
fn a_claim_that_is_given_back_does_not_count() {
    let mut bench = flow();
    let id = bench.schedule(activity("a", REMOTE));
    let at = bench.claim(id);
    bench.ok(Command::UnclaimActivity { scheduled: id, attempt: at.attempt });
    assert_eq!(bench.claim(id).attempt, 1);
}

#[test]
fn two_open_activities_cannot_share_an_id() {
    let mut bench = flow();
    let one = || Decision::ScheduleActivity(Box::new(activity("a", REMOTE)));
    assert!(matches!(bench.no(Command::Decide(vec![one(), one()])), Rejection::Invalid(_)));
    bench.decide(vec![one()]);
    assert!(matches!(bench.no(Command::Decide(vec![one()])), Rejection::Invalid(_)));
}

#[test]
fn a_report_is_cut_to_its_tail() {
    let mut bench = flow();
    let id = bench.schedule(activity("a", QUEUE));
    let line = |n: usize| LogLine { text: n.to_string(), ..LogLine::default() };
    let report = Report { logs: (0..150).map(line).collect(), ..Report::default() };
    let at = bench.at(id);
    let report = Some(Box::new(report));
    bench.ok(Command::CompleteActivity { at, result: text("x"), report });
    let kept = bench.draft.items().iter().find_map(|item| match item {
        Item::Delta(Delta::AttemptEnded(ended)) => ended.report.clone(),
        _ => None,
    });
    let kept = kept.unwrap();
    assert_eq!((kept.logs.len(), kept.logs_dropped), (100, 50));
    assert_eq!(kept.logs[0].text, "50");
}
