//! After a crash: what the dead process had in hand.

use super::*;

fn reboot(bench: &mut Bench) -> Vec<&'static str> {
    bench.ctx.local.worker.boot = BootId(Uuid::from_u128(8));
    bench.ok(Command::Recover)
}

fn unsafe_activity(id: &str) -> ScheduleActivity {
    ScheduleActivity { effects: Some(EffectClass::Unsafe), ..activity(id, QUEUE) }
}

#[test]
fn a_lost_attempt_starts_again_at_once_and_is_not_counted() {
    let mut bench = Bench::new(Decider::Flow);
    let wanted = ScheduleActivity { retry: Some(Retry::never()), ..activity("a", QUEUE) };
    let id = bench.schedule(wanted);
    assert_eq!(reboot(&mut bench), ["AttemptEnded", "AttemptStarted"]);
    let open = &bench.run().activities[&id];
    assert_eq!((open.attempt, open.counted()), (2, 1));
    assert!(bench.ok(Command::Recover).is_empty(), "only another boot's attempts are lost");
}

#[test]
fn a_remote_attempt_outlives_the_server() {
    let mut bench = Bench::new(Decider::Flow);
    let id = bench.schedule(activity("a", REMOTE));
    let at = bench.claim(id);
    assert!(reboot(&mut bench).is_empty());
    bench.complete(at);
}

#[test]
fn a_lost_attempt_with_unsafe_effects_pauses_the_run_for_a_person() {
    let mut bench = Bench::new(Decider::Flow);
    let id = bench.schedule(unsafe_activity("a"));
    assert_eq!(reboot(&mut bench), ["AttemptEnded", "WorkflowExecutionPaused"]);
    assert!(bench.run().waits_for().contains(&Waiting::Resolution { scheduled: id }));
    assert_eq!(bench.run().next_due(), None);
    assert!(matches!(bench.no(Command::Unpause(Suspend::default())), Rejection::WrongState { .. }));
    assert!(reboot(&mut bench).is_empty(), "the pause outlives another crash");
}

#[test]
fn a_silent_worker_is_lost_and_unsafe_effects_wait_for_a_person() {
    let check = |effects, expect: &[&str]| {
        let mut bench = Bench::new(Decider::Flow);
        let once = Some(Retry::never());
        let heartbeat = Some(secs(5));
        let wanted = ScheduleActivity { effects, heartbeat, retry: once, ..activity("a", REMOTE) };
        let id = bench.schedule(wanted);
        let at = bench.claim(id);
        assert_eq!(bench.later(secs(6)), expect);
        bench.no(Command::CompleteActivity { at, result: text("late"), report: None });
        bench
    };
    let fails = ["AttemptEnded", "ActivityTaskStarted", "ActivityTaskTimedOut"];
    check(None, &fails);
    check(Some(EffectClass::Idempotent), &fails);
    let bench = check(Some(EffectClass::Unsafe), &["AttemptEnded", "WorkflowExecutionPaused"]);
    assert_eq!(bench.run().next_due(), None);
}

#[test]
fn a_person_resolves_an_unknown_outcome() {
    let check = |resolution: Resolution, expect: &[&str]| {
        let mut bench = Bench::new(Decider::Flow);
        let scheduled = bench.schedule(unsafe_activity("a"));
        reboot(&mut bench);
        let identity = "ann".into();
        assert_eq!(bench.ok(Command::Resolve { scheduled, resolution, identity }), expect);
        assert!(bench.run().paused.is_none());
    };
    let go_on = "WorkflowExecutionUnpaused";
    check(Resolution::Retry, &["AttemptDue", go_on, "AttemptStarted"]);
    check(
        Resolution::Complete(text("done")),
        &["ActivityTaskStarted", "ActivityTaskCompleted", go_on],
    );
    check(Resolution::Fail(broken("No")), &["ActivityTaskStarted", "ActivityTaskFailed", go_on]);
}

#[test]
fn the_run_goes_on_when_the_last_unknown_outcome_is_resolved() {
    let mut bench = Bench::new(Decider::Flow);
    let one = bench.schedule(unsafe_activity("a"));
    let two = bench.schedule(unsafe_activity("b"));
    reboot(&mut bench);
    let resolve = |scheduled| Command::Resolve {
        scheduled,
        resolution: Resolution::Complete(text("x")),
        identity: "ann".into(),
    };
    bench.ok(resolve(one));
    assert!(bench.run().paused.is_some());
    bench.ok(resolve(two));
    assert!(bench.run().paused.is_none());
}

#[test]
fn only_an_unknown_outcome_can_be_resolved() {
    let mut bench = Bench::new(Decider::Flow);
    let scheduled = bench.schedule(unsafe_activity("a"));
    let (resolution, identity) = (Resolution::Retry, "ann".into());
    let rejection = bench.no(Command::Resolve { scheduled, resolution, identity });
    assert!(matches!(rejection, Rejection::WrongState { .. }));
}

#[test]
fn a_paused_run_hands_out_nothing_and_remembers_its_timers() {
    let mut bench = Bench::new(Decider::Flow);
    let wanted =
        ScheduleActivity { retry: Some(Retry::Intervals(vec![secs(1)])), ..activity("a", QUEUE) };
    let id = bench.schedule(wanted);
    bench.decide(vec![Decision::StartTimer { timer_id: "t".into(), duration: secs(2) }]);
    bench.ok(Command::Pause(Suspend::default()));
    let at = bench.at(id);
    assert_eq!(bench.fail(at, "E"), ["AttemptEnded"], "running work is recorded");
    assert_eq!(bench.later(secs(5)), ["TimerFired"]);
    let other = bench.schedule(activity("b", REMOTE));
    let worker = Worker::remote("there");
    let claim = Command::ClaimActivity { scheduled: other, worker };
    assert_eq!(bench.no(claim), Rejection::Paused);
    bench.ok(Command::Unpause(Suspend::default()));
    assert_eq!(bench.ok(Command::Wake), ["AttemptStarted"]);
    bench.claim(other);
}
