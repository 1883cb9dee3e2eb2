//! The workflow task of code: attempts, buffering, stickiness.

use super::*;

const SCHEDULED: &str = "WorkflowTaskScheduled";
const STARTED: &str = "WorkflowTaskStarted";
const COMPLETED: &str = "WorkflowTaskCompleted";
const FAILED: &str = "WorkflowTaskFailed";
const TRANSIENT: &str = "TransientTask";
const BUFFERED: &str = "Buffered";
const SIGNALED: &str = "WorkflowExecutionSignaled";

impl Bench {
    fn take(&mut self) -> Vec<&'static str> {
        let WorkflowTask::Scheduled(task) = self.run().task.clone() else {
            panic!("{:?}", self.run().task)
        };
        let request_id = format!("poll-{}", self.seen).into();
        let identity = "sdk".into();
        self.ok(Command::StartTask { scheduled: task.scheduled, identity, request_id })
    }

    fn answer(&self, decisions: Vec<Decision>) -> CompleteTask {
        let WorkflowTask::Started(started) = &self.run().task else {
            panic!("{:?}", self.run().task)
        };
        CompleteTask {
            scheduled: started.task.scheduled,
            attempt: started.task.attempt,
            identity: "sdk".into(),
            decisions,
            sticky: None,
            heartbeat: false,
            sdk_metadata: None,
        }
    }

    fn done(&mut self, decisions: Vec<Decision>) -> Vec<&'static str> {
        let answer = self.answer(decisions);
        self.ok(Command::CompleteTask(Box::new(answer)))
    }

    fn fail_task(&mut self) -> Vec<&'static str> {
        let CompleteTask { scheduled, attempt, .. } = self.answer(vec![]);
        let cause = TaskFailedCause::WorkflowWorkerUnhandledFailure;
        let identity = "sdk".into();
        self.ok(Command::FailTask { scheduled, attempt, cause, failure: None, identity })
    }

    fn signal(&mut self) -> Vec<&'static str> {
        self.ok(Command::Signal(Signal { name: "s".into(), ..Signal::default() }))
    }
}

fn code() -> Bench {
    Bench::new(Decider::Code)
}

fn timer() -> Decision {
    Decision::StartTimer { timer_id: "t".into(), duration: secs(1) }
}

#[test]
fn a_task_asks_and_its_answer_is_written() {
    let mut bench = Bench { draft: Draft::new(key(1)), ctx: context(), seen: 0 };
    let begun = bench.ok(Command::Start(Box::new(start(Decider::Code))));
    assert_eq!(begun, ["WorkflowExecutionStarted", "Requested", SCHEDULED]);
    assert_eq!(bench.take(), [STARTED]);
    assert_eq!(bench.done(vec![timer()]), [COMPLETED, "TimerStarted"]);
    assert_eq!(bench.later(secs(1)), ["TimerFired", SCHEDULED]);
}

#[test]
fn what_comes_while_a_task_is_started_waits_for_its_end() {
    let mut bench = code();
    bench.take();
    assert_eq!(bench.signal(), [BUFFERED]);
    assert_eq!(bench.done(vec![timer()]), [COMPLETED, "TimerStarted", SIGNALED, SCHEDULED]);
}

#[test]
fn a_worker_that_asks_for_it_has_the_activity_with_the_record_that_schedules_it() {
    let mut bench = code();
    bench.take();
    let claim = Some(Worker::remote("here"));
    let eager = ScheduleActivity { claim, ..activity("a", REMOTE) };
    let both = [eager, activity("b", REMOTE)].map(|it| Decision::ScheduleActivity(Box::new(it)));
    let items = bench.done(both.to_vec());
    let rest = ["ActivityTaskScheduled", "AttemptStarted", "ActivityTaskScheduled"];
    assert_eq!(items, [&[COMPLETED][..], &rest].concat());
    let effects = bench.run().effects();
    let offers = effects.iter().filter(|effect| matches!(effect, Effect::Offer { .. }));
    assert_eq!(offers.count(), 1, "{effects:?}");
    let id = *bench.run().activities.keys().next().unwrap();
    let at = bench.at(id);
    bench.complete(at);
}

#[test]
fn completions_are_written_last_and_numbered_then() {
    let mut bench = code();
    bench.take();
    bench.done(vec![Decision::ScheduleActivity(Box::new(activity("a", REMOTE))), timer()]);
    bench.later(secs(1));
    bench.take();
    let id = *bench.run().activities.keys().next().unwrap();
    let at = bench.claim(id);
    assert_eq!(bench.complete(at), ["AttemptEnded", BUFFERED, BUFFERED]);
    bench.signal();
    let items = bench.done(vec![]);
    let rest = ["ActivityTaskStarted", SIGNALED, "ActivityTaskCompleted", SCHEDULED];
    assert_eq!(items, [&[COMPLETED][..], &rest].concat());
    let numbers = bench.draft.items().iter().filter_map(|item| match item {
        Item::Event(Event { id, kind: Kind::ActivityStarted(_), .. }) => Some(*id),
        Item::Event(Event { kind: Kind::ActivityCompleted(event), .. }) => Some(event.started),
        _ => None,
    });
    let numbers: Vec<_> = numbers.collect();
    assert_eq!(numbers[0], numbers[1]);
}

#[test]
fn a_run_cannot_end_over_what_its_code_has_not_seen() {
    let mut bench = code();
    bench.take();
    bench.signal();
    let end = Decision::CompleteRun { result: text("r") };
    assert_eq!(bench.done(vec![end]), [FAILED, SIGNALED, SCHEDULED]);
    let is_cause = |item: &Item| {
        matches!(item, Item::Event(Event { kind: Kind::TaskFailed(event), .. })
            if event.cause == TaskFailedCause::UnhandledCommand)
    };
    assert!(bench.draft.items().iter().any(is_cause));
}

#[test]
fn attempts_after_the_first_are_written_when_one_completes() {
    let mut bench = code();
    bench.take();
    assert_eq!(bench.fail_task(), [FAILED, TRANSIENT]);
    for _ in 0..3 {
        assert_eq!(bench.take(), [TRANSIENT]);
        assert_eq!(bench.fail_task(), [TRANSIENT, TRANSIENT]);
    }
    assert_eq!(bench.take(), [TRANSIENT]);
    assert_eq!(bench.done(vec![]), [SCHEDULED, STARTED, COMPLETED]);
    assert_eq!(bench.run().task_attempt, 1);
}

#[test]
fn a_transient_task_becomes_ordinary_when_something_came_before_it_began() {
    let mut bench = code();
    bench.take();
    bench.fail_task();
    assert_eq!(bench.signal(), [SIGNALED]);
    assert_eq!(bench.take(), [SCHEDULED, STARTED]);
}

#[test]
fn a_failing_task_gets_more_time_up_to_ten_minutes() {
    let mut bench = code();
    let mut limits = Vec::new();
    for _ in 0..9 {
        bench.take();
        let due = bench.run().next_due().unwrap();
        limits.push(due.since(bench.ctx.now).as_secs());
        bench.ctx.now = due;
        bench.ok(Command::Wake);
    }
    assert_eq!(limits, [10, 10, 20, 40, 80, 160, 320, 600, 600]);
}

#[test]
fn a_wrong_decision_fails_the_task_and_says_why() {
    let mut bench = code();
    bench.take();
    assert_eq!(bench.done(vec![timer(), timer()]), [FAILED, TRANSIENT]);
    let is_cause = |item: &Item| {
        matches!(item, Item::Event(Event { kind: Kind::TaskFailed(event), .. })
            if event.cause == TaskFailedCause::StartTimerDuplicateId && event.failure.is_some())
    };
    assert!(bench.draft.items().iter().any(is_cause));
}

#[test]
fn the_same_poll_may_ask_again_and_another_may_not() {
    let mut bench = code();
    let poll = |id: &str| Command::StartTask {
        scheduled: EventId(2),
        identity: "sdk".into(),
        request_id: id.into(),
    };
    bench.ok(poll("1"));
    assert!(bench.ok(poll("1")).is_empty());
    assert!(matches!(bench.no(poll("2")), Rejection::NotFound(_)));
}

#[test]
fn a_late_answer_is_refused() {
    let mut bench = code();
    bench.take();
    let late = bench.answer(vec![]);
    bench.later(secs(10));
    let command = Command::CompleteTask(Box::new(late));
    assert!(matches!(bench.no(command), Rejection::NotFound(_)));
}

#[test]
fn a_sticky_queue_is_left_when_its_worker_does_not_come() {
    let mut bench = code();
    bench.take();
    let sticky = Sticky { task_queue: "mine".into(), schedule_to_start: secs(5) };
    let answer = CompleteTask { sticky: Some(sticky), ..bench.answer(vec![]) };
    bench.ok(Command::CompleteTask(Box::new(answer)));
    bench.signal();
    let sticky =
        Effect::OfferTask { scheduled: EventId(6), attempt: 1, queue: "mine".into(), sticky: true };
    assert!(bench.run().effects().contains(&sticky));
    assert_eq!(bench.later(secs(5)), ["WorkflowTaskTimedOut", SCHEDULED]);
    let WorkflowTask::Scheduled(task) = &bench.run().task else { panic!() };
    assert_eq!((&*task.task_queue, task.attempt), (REMOTE, 1));
}

#[test]
fn a_worker_that_only_asks_for_more_time_gets_half_an_hour() {
    let mut bench = code();
    for _ in 1..((30 * 60) / 9) {
        bench.take();
        bench.later(secs(9));
        let answer = CompleteTask { heartbeat: true, ..bench.answer(vec![]) };
        assert_eq!(bench.ok(Command::CompleteTask(Box::new(answer))), [COMPLETED, SCHEDULED]);
    }
    bench.take();
    bench.later(secs(9));
    let answer = CompleteTask { heartbeat: true, ..bench.answer(vec![]) };
    let items = bench.ok(Command::CompleteTask(Box::new(answer)));
    assert_eq!(items, ["WorkflowTaskTimedOut", TRANSIENT]);
}

#[test]
fn a_timer_that_fired_behind_the_task_can_still_be_cancelled() {
    let mut bench = code();
    bench.take();
    bench.done(vec![timer()]);
    bench.signal();
    bench.take();
    assert_eq!(bench.later(secs(1)), [BUFFERED]);
    let cancel = Decision::CancelTimer { timer_id: "t".into() };
    assert_eq!(bench.done(vec![cancel]), [COMPLETED, "TimerCanceled"]);
}

#[test]
fn termination_ends_the_started_task_first() {
    let mut bench = code();
    bench.take();
    bench.signal();
    let items = bench.ok(Command::Terminate(Terminate::default()));
    assert_eq!(items, [FAILED, SIGNALED, "WorkflowExecutionTerminated"]);
}

#[test]
fn a_full_buffer_fails_the_task_that_holds_it_up() {
    let mut bench = code();
    bench.ctx.limits.buffered_events_max = 2;
    bench.take();
    bench.signal();
    bench.signal();
    assert_eq!(bench.signal(), [FAILED, SIGNALED, SIGNALED, SIGNALED, SCHEDULED]);
}

#[test]
fn code_must_limit_its_activities() {
    let mut bench = code();
    bench.take();
    let wanted = ScheduleActivity { start_to_close: None, ..activity("a", REMOTE) };
    let items = bench.done(vec![Decision::ScheduleActivity(Box::new(wanted))]);
    assert_eq!(items, [FAILED, TRANSIENT]);
}
