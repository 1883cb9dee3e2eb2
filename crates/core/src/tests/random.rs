//! Random commands, crashes and clocks: what is logged always makes the same run.

use super::*;

/// Runs that are tried; each seed is one run.
const SEEDS: u64 = 10_000;
/// Commands for each.
const COMMANDS: usize = 40;

/// SplitMix64: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let sides = u64::try_from(from.len()).unwrap();
        (sides > 0).then(|| from[usize::try_from(self.roll(sides)).unwrap()].clone())
    }
}

struct World {
    dice: Dice,
    draft: Draft,
    twin: Run,
    ctx: Context,
    names: u64,
}

#[test]
fn any_history_replays_to_the_live_run_after_every_step() {
    let mut closed = 0;
    let mut events = 0;
    for seed in 0..SEEDS {
        let run = World::new(seed).play(seed);
        closed += u64::from(!run.is_open());
        events += run.history_events();
    }
    // Otherwise the test would prove little.
    assert!(closed > SEEDS / 5, "only {closed} runs closed");
    assert!(events > SEEDS * 15, "only {events} events");
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut ctx = context();
        ctx.limits.buffered_events_max = 4;
        ctx.limits.history_events_max = 120;
        ctx.limits.signals_max = 6;
        ctx.limits.activities_max = 5;
        let decider = if dice.one_in(2) { Decider::Code } else { Decider::Flow };
        let mut start = start(decider);
        start.run_timeout = dice.one_in(3).then(|| secs(500));
        start.execution_timeout = dice.one_in(4).then(|| secs(900));
        start.first_task_backoff = dice.one_in(6).then(|| secs(5));
        start.retry = dice.one_in(3).then(Retry::default);
        start.parent = dice.one_in(3).then(|| Parent {
            key: key(50),
            initiated: EventId(5),
            first_run: key(51).run_id,
        });
        let mut world =
            Self { dice, draft: Draft::new(key(1)), twin: Run::new(key(1)), ctx, names: 0 };
        world.act(Command::Start(Box::new(start)), seed);
        world
    }

    fn play(mut self, seed: u64) -> Run {
        for _ in 0..COMMANDS {
            let step = self.dice.roll(4);
            let length = match step {
                0 => Duration::ZERO,
                1 => Duration::from_millis(self.dice.roll(3_000)),
                2 => secs(self.dice.roll(40)),
                _ => Duration::from_millis(1),
            };
            self.ctx.now = self.ctx.now.after(length);
            let command = self.command();
            self.act(command, seed);
            // Never stuck: time alone is always dealt with.
            for _ in 0..50 {
                if self.draft.run().next_due().is_none_or(|due| due > self.ctx.now) {
                    break;
                }
                self.act(Command::Wake, seed);
            }
            let due = self.draft.run().next_due();
            assert!(due.is_none_or(|due| due > self.ctx.now), "seed {seed}: never done waking");
        }
        let logged = self.draft.items().iter().map(|item| Item::decode(item.encode()));
        let again = replay(key(1), logged).unwrap();
        assert_eq!(again.hash(), self.draft.run().hash(), "seed {seed}");
        self.twin
    }

    fn act(&mut self, command: Command, seed: u64) {
        let shown = format!("seed {seed}: {command:?}");
        let before = self.draft.items().len();
        match decide(&mut self.draft, &self.ctx, command) {
            Ok(()) => {}
            Err(rejection) => {
                assert!(!self.draft.is_poisoned(), "{shown}: {rejection}");
                assert_eq!(self.draft.items().len(), before, "{shown}: {rejection}");
            }
        }
        for item in &self.draft.items()[before..] {
            let logged = Item::decode(item.encode()).unwrap();
            assert_eq!(&logged, item, "{shown}");
            apply(&mut self.twin, &logged).unwrap();
        }
        let run = self.draft.run();
        assert_eq!(&self.twin, run, "{shown}");
        assert_eq!(deadlines_of(run), run.deadlines, "{shown}");
        assert!(!run.is_open() || !run.waits_for().is_empty(), "{shown}");
        assert_eq!(run.activity_ids.len(), run.activities.len(), "{shown}");
        assert!(run.buffered.len() <= self.ctx.limits.buffered_events_max + 4, "{shown}");
        let held = matches!(run.task, WorkflowTask::Started(_));
        assert!(held || run.buffered.is_empty(), "{shown}: events wait for no task");
        let _ = self.draft.effects();
    }

    fn fresh(&mut self, prefix: &str) -> std::sync::Arc<str> {
        self.names += 1;
        format!("{prefix}{}", self.names).into()
    }

    fn attempt(&mut self) -> Option<AttemptRef> {
        let activities: Vec<_> = self
            .draft
            .run()
            .activities
            .values()
            .map(|a| AttemptRef { scheduled: a.scheduled, attempt: a.attempt, started_at: None })
            .collect();
        let mut at = self.dice.pick(&activities)?;
        if self.dice.one_in(10) {
            at.attempt += 1;
        }
        Some(at)
    }

    fn command(&mut self) -> Command {
        let is_flow = self.draft.run().decider() == Some(Decider::Flow);
        for _ in 0..20 {
            let command = match self.dice.roll(24) {
                0..=4 if is_flow => Some(Command::Decide(self.decisions())),
                0..=4 => self.task(),
                5..=7 => self.attempt().map(|at| Command::ClaimActivity {
                    scheduled: at.scheduled,
                    worker: Worker::remote("there"),
                }),
                8..=10 => self.attempt().map(|at| Command::CompleteActivity {
                    at,
                    result: text("done"),
                    report: None,
                }),
                11 | 12 => self.attempt().map(|at| Command::FailActivity {
                    at,
                    failure: application_failure("no", "E", self.dice.one_in(4)).into(),
                    next_retry_delay: self.dice.one_in(4).then(|| secs(2)),
                    report: Some(Box::default()),
                }),
                13 => self.attempt().map(|at| match self.dice.roll(4) {
                    0 => Command::UnclaimActivity { scheduled: at.scheduled, attempt: at.attempt },
                    1 => Command::CancelActivity { at, details: text("bye"), report: None },
                    2 => Command::TimeOutActivity { at, report: None },
                    _ => Command::HeartbeatActivity {
                        scheduled: at.scheduled,
                        attempt: at.attempt,
                        details: text("alive"),
                    },
                }),
                14 | 15 => Some(Command::Signal(Signal {
                    name: "s".into(),
                    input: text("x"),
                    request_id: format!("r{}", self.dice.roll(8)).into(),
                    ..Signal::default()
                })),
                16 => Some(Command::Wake),
                17 | 18 => self.outbox(),
                19 => Some(self.deliver()),
                20 => Some(self.crash()),
                21 => self.attempt().map(|at| Command::Resolve {
                    scheduled: at.scheduled,
                    identity: "ann".into(),
                    resolution: match self.dice.roll(3) {
                        0 => Resolution::Retry,
                        1 => Resolution::Complete(text("seen")),
                        _ => Resolution::Fail(broken("Seen")),
                    },
                }),
                22 => Some(match self.dice.roll(3) {
                    0 => Command::Pause(Suspend::default()),
                    _ => Command::Unpause(Suspend::default()),
                }),
                _ => match self.dice.roll(12) {
                    0 => Some(Command::Terminate(Terminate::default())),
                    1 | 2 => Some(Command::RequestCancel(RequestCancel::default())),
                    3 | 4 => Some(Command::Retire),
                    5 => Some(Command::ResetSticky),
                    _ => None,
                },
            };
            if let Some(command) = command {
                return command;
            }
        }
        Command::Wake
    }

    fn crash(&mut self) -> Command {
        let boot = uuid::Uuid::from_u128(u128::from(self.dice.roll(1_000)) + 8);
        self.ctx.local.worker.boot = BootId(boot);
        // The run is loaded again: only what was logged is left.
        self.draft = {
            let (_, items) = self.draft.clone().into_parts();
            let mut draft = Draft::of(self.twin.clone());
            draft.adopt(items);
            draft
        };
        Command::Recover
    }

    fn outbox(&mut self) -> Option<Command> {
        let seqs: Vec<u64> = self.draft.run().outbox.keys().copied().collect();
        let seq = self.dice.pick(&seqs)?;
        Some(match self.dice.roll(5) {
            0 => Command::DeliveryFailed { seq, reason: DeliveryFailure::NotFound },
            1 => Command::AckOutbox { seq: seq + 1_000 },
            _ => Command::AckOutbox { seq },
        })
    }

    fn deliver(&mut self) -> Command {
        let children: Vec<Child> = self.draft.run().children.values().cloned().collect();
        if let Some(child) = self.dice.pick(&children) {
            let run = RunKey { run_id: child.run_id, ..key(3) };
            let run = RunKey { workflow_id: child.what.workflow_id.clone(), ..run };
            let ending = match self.dice.roll(6) {
                0 => Ending::Failed {
                    failure: broken("Child"),
                    retry_state: RetryState::RetryPolicyNotSet,
                },
                1 => Ending::TimedOut { retry_state: RetryState::Timeout },
                2 => Ending::Canceled(text("c")),
                3 => Ending::Terminated { reason: "t".into() },
                _ => Ending::Completed(text("r")),
            };
            let message = Message::ChildClosed {
                initiated: child.initiated,
                first_run: child.run_id,
                run: run.clone(),
                ending,
            };
            return Command::Deliver { source: run, seq: 1 + self.dice.roll(2), message };
        }
        let message = match self.dice.roll(10) {
            8 => Message::Pause { reason: "p".into() },
            9 => Message::Resume,
            0 => Message::RequestCancel { initiated: EventId(0), cancel: None },
            1 if self.dice.one_in(4) => Message::Terminate { reason: "x".into() },
            2..=4 => Message::FirstTask,
            _ => Message::Signal {
                initiated: EventId(4),
                signal: std::sync::Arc::new(ExternalSignalInitiated {
                    target: Target::run(&key(1)),
                    name: "ext".into(),
                    input: text("e"),
                    header: Header::default(),
                    child_only: self.dice.one_in(3),
                    task_completed: EventId(3),
                }),
            },
        };
        Command::Deliver { source: key(50), seq: self.dice.roll(12), message }
    }

    fn task(&mut self) -> Option<Command> {
        match self.draft.run().task.clone() {
            WorkflowTask::Scheduled(task) => Some(Command::StartTask {
                scheduled: task.scheduled,
                identity: "sdk".into(),
                request_id: self.fresh("poll"),
            }),
            WorkflowTask::Started(started) => {
                let (scheduled, attempt) = (started.task.scheduled, started.task.attempt);
                let identity = "sdk".into();
                if self.dice.one_in(4) {
                    let cause = TaskFailedCause::WorkflowWorkerUnhandledFailure;
                    let failure = None;
                    return Some(Command::FailTask {
                        scheduled,
                        attempt,
                        cause,
                        failure,
                        identity,
                    });
                }
                let sticky = self
                    .dice
                    .one_in(2)
                    .then(|| Sticky { task_queue: "mine".into(), schedule_to_start: secs(5) });
                Some(Command::CompleteTask(Box::new(CompleteTask {
                    scheduled,
                    attempt,
                    identity,
                    decisions: self.decisions(),
                    sticky,
                    heartbeat: self.dice.one_in(5),
                    sdk_metadata: None,
                })))
            }
            WorkflowTask::Idle | WorkflowTask::Backoff { .. } | WorkflowTask::AwaitsParent => None,
        }
    }

    fn decisions(&mut self) -> Vec<Decision> {
        let count = self.dice.roll(4);
        (0..count).map(|_| self.decision()).collect()
    }

    fn decision(&mut self) -> Decision {
        match self.dice.roll(20) {
            0..=5 => {
                let queue = if self.dice.one_in(2) { QUEUE } else { REMOTE };
                let id = if self.dice.one_in(8) { "same".into() } else { self.fresh("a") };
                let effects = [None, Some(EffectClass::Pure), Some(EffectClass::Unsafe)];
                let retry = [
                    None,
                    Some(Retry::Intervals(vec![secs(1), Duration::ZERO, secs(3)])),
                    Some(Retry::never()),
                ];
                Decision::ScheduleActivity(Box::new(ScheduleActivity {
                    schedule_to_close: self.dice.one_in(3).then(|| secs(50)),
                    schedule_to_start: self.dice.one_in(3).then(|| secs(20)),
                    start_to_close: Some(secs(30)),
                    heartbeat: self.dice.one_in(3).then(|| secs(10)),
                    effects: self.dice.pick(&effects).unwrap(),
                    retry: self.dice.pick(&retry).unwrap(),
                    ..activity(&id, queue)
                }))
            }
            6 | 7 => {
                let ids: Vec<EventId> = self.draft.run().activities.keys().copied().collect();
                let scheduled = self.dice.pick(&ids).unwrap_or(EventId(3));
                Decision::RequestCancelActivity { scheduled }
            }
            8..=10 => Decision::StartTimer {
                timer_id: format!("t{}", self.dice.roll(4)).into(),
                duration: secs(self.dice.roll(20)),
            },
            11 => Decision::CancelTimer { timer_id: format!("t{}", self.dice.roll(4)).into() },
            12 => Decision::RecordMarker {
                name: "m".into(),
                details: [("d".to_owned(), text("v"))].into(),
                failure: self.dice.one_in(3).then(|| broken("M")),
            },
            13 | 14 => {
                let mut child = StartChild {
                    workflow_id: self.fresh("c"),
                    workflow_type: "child".into(),
                    parent_close_policy: [
                        ParentClosePolicy::Terminate,
                        ParentClosePolicy::Abandon,
                        ParentClosePolicy::RequestCancel,
                    ][usize::try_from(self.dice.roll(3)).unwrap()],
                    ..StartChild::default()
                };
                if self.dice.one_in(2) {
                    child.header.fields.insert(HEADER_SPEC.into(), json_payload("1"));
                }
                Decision::StartChild(Box::new(child))
            }
            15 => Decision::SignalExternal(Box::new(SignalExternal {
                target: Target { run_id: None, ..Target::run(&key(9)) },
                name: "hello".into(),
                input: text("h"),
                header: Header::default(),
                child_only: false,
            })),
            16 => Decision::RequestCancelExternal {
                target: Target::run(&key(9)),
                child_only: self.dice.one_in(2),
                reason: "why".into(),
            },
            17 => Decision::UpsertSearchAttributes {
                attributes: SearchAttributes {
                    indexed_fields: [("k".to_owned(), json_payload("1"))].into(),
                },
            },
            18 => Decision::ModifyProperties {
                memo: Memo { fields: [("k".to_owned(), Payload::default())].into() },
            },
            _ => match self.dice.roll(4) {
                0 => Decision::CompleteRun { result: text("end") },
                1 => Decision::FailRun { failure: broken("Run") },
                2 => Decision::CancelRun { details: text("c") },
                _ => Decision::ContinueAsNew(Box::new(ContinueAsNew {
                    input: text("next"),
                    ..ContinueAsNew::default()
                })),
            },
        }
    }
}
