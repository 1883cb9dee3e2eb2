//! Tests over whole runs. `Bench` is the one place that touches the interface.

mod activities;
mod children;
mod codec;
mod hostile;
mod random;
mod recovery;
mod runs;
mod system;
mod tasks;

use std::time::Duration;

use uuid::Uuid;

use crate::*;

pub(crate) const QUEUE: &str = "local";
pub(crate) const REMOTE: &str = "remote";

/// A run under test with its context.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) draft: Draft,
    pub(crate) ctx: Context,
    pub(crate) seen: usize,
}

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn key(n: u128) -> RunKey {
    RunKey {
        namespace: "default".into(),
        workflow_id: format!("w{n}").into(),
        run_id: RunId(Uuid::from_u128(n)),
    }
}

pub(crate) fn context() -> Context {
    Context {
        now: Timestamp(1_000_000_000_000),
        limits: Limits::default(),
        local: Local {
            queue: QUEUE.into(),
            worker: Worker { identity: "here".into(), boot: BootId(Uuid::from_u128(7)) },
        },
        new_run_id: RunId(Uuid::from_u128(99)),
    }
}

pub(crate) fn start(decider: Decider) -> Start {
    let mut start = Start {
        workflow_type: "demo".into(),
        task_queue: REMOTE.into(),
        input: text("in"),
        request_id: "start-1".into(),
        ..Start::default()
    };
    let field = match decider {
        Decider::Code => None,
        Decider::Flow => Some(HEADER_SPEC),
        Decider::System => Some(HEADER_SYSTEM),
    };
    if let Some(field) = field {
        start.header.fields.insert(field.into(), json_payload("\"abc\""));
    }
    start
}

pub(crate) fn text(text: &str) -> Payloads {
    Payloads { payloads: vec![json_payload(format!("\"{text}\""))] }
}

pub(crate) fn broken(kind: &str) -> std::sync::Arc<Failure> {
    application_failure("broken", kind, false).into()
}

pub(crate) fn activity(id: &str, queue: &str) -> ScheduleActivity {
    ScheduleActivity {
        activity_id: id.into(),
        activity_type: "node".into(),
        task_queue: queue.into(),
        input: text(id),
        start_to_close: Some(secs(60)),
        ..ScheduleActivity::default()
    }
}

impl Bench {
    pub(crate) fn new(decider: Decider) -> Self {
        Self::with(start(decider))
    }

    pub(crate) fn with(start: Start) -> Self {
        let mut bench = Self { draft: Draft::new(key(1)), ctx: context(), seen: 0 };
        bench.ok(Command::Start(Box::new(start)));
        bench
    }

    pub(crate) fn run(&self) -> &Run {
        self.draft.run()
    }

    /// Decides; what it emitted, by name.
    pub(crate) fn ok(&mut self, command: Command) -> Vec<&'static str> {
        let shown = format!("{command:?}");
        if let Err(rejection) = decide(&mut self.draft, &self.ctx, command) {
            panic!("{shown}: {rejection}");
        }
        let names = self.names(self.seen);
        self.seen = self.draft.items().len();
        self.check_replay();
        names
    }

    /// Decides a command that must be rejected and leave no trace.
    pub(crate) fn no(&mut self, command: Command) -> Rejection {
        let before = self.draft.clone();
        let rejection = decide(&mut self.draft, &self.ctx, command).unwrap_err();
        assert_eq!(self.draft.items(), before.items(), "{rejection}");
        assert_eq!(self.draft.run(), before.run(), "{rejection}");
        assert!(!self.draft.is_poisoned(), "{rejection}");
        rejection
    }

    pub(crate) fn decide(&mut self, decisions: Vec<Decision>) -> Vec<&'static str> {
        self.ok(Command::Decide(decisions))
    }

    pub(crate) fn later(&mut self, length: Duration) -> Vec<&'static str> {
        self.ctx.now = self.ctx.now.after(length);
        self.ok(Command::Wake)
    }

    /// Schedules an activity in a flow; its number.
    pub(crate) fn schedule(&mut self, wanted: ScheduleActivity) -> EventId {
        let id = self.run().next_event_id;
        self.decide(vec![Decision::ScheduleActivity(Box::new(wanted))]);
        id
    }

    pub(crate) fn at(&self, scheduled: EventId) -> AttemptRef {
        let attempt = self.run().activities[&scheduled].attempt;
        AttemptRef { scheduled, attempt, started_at: None }
    }

    pub(crate) fn claim(&mut self, scheduled: EventId) -> AttemptRef {
        self.ok(Command::ClaimActivity { scheduled, worker: Worker::remote("there") });
        self.at(scheduled)
    }

    pub(crate) fn complete(&mut self, at: AttemptRef) -> Vec<&'static str> {
        self.ok(Command::CompleteActivity { at, result: text("out"), report: None })
    }

    pub(crate) fn fail(&mut self, at: AttemptRef, kind: &str) -> Vec<&'static str> {
        let failure = broken(kind);
        self.ok(Command::FailActivity { at, failure, next_retry_delay: None, report: None })
    }

    fn names(&self, from: usize) -> Vec<&'static str> {
        self.draft.items()[from..]
            .iter()
            .map(|item| match item {
                Item::Event(event) => event.kind.name(),
                Item::Delta(delta) => delta.name(),
            })
            .collect()
    }

    pub(crate) fn last_event(&self) -> &Kind {
        self.draft
            .items()
            .iter()
            .rev()
            .find_map(|item| match item {
                Item::Event(event) => Some(&event.kind),
                Item::Delta(_) => None,
            })
            .unwrap()
    }

    /// What was logged makes the same run.
    pub(crate) fn check_replay(&self) {
        let logged = self.draft.items().iter().map(|item| Item::decode(item.encode()));
        let again = replay(self.run().key.clone(), logged).unwrap();
        assert_eq!(&again, self.run());
        assert_eq!(again.hash(), self.run().hash());
    }
}

/// Deadlines are those of the open parts, no more and no less.
pub(crate) fn deadlines_of(run: &Run) -> std::collections::BTreeSet<(Timestamp, Deadline)> {
    let mut all = std::collections::BTreeSet::new();
    if !run.is_open() {
        return all;
    }
    for activity in run.activities.values() {
        all.extend(activity.deadlines(run.paused.is_some()).into_iter().flatten());
    }
    for timer in run.timers.values() {
        all.insert((timer.due, Deadline::Timer(timer.timer_id.clone())));
    }
    all.extend(run.task.deadline());
    let limits = |deadline: &Deadline| matches!(deadline, Deadline::Run | Deadline::Execution);
    all.extend(run.deadlines.iter().filter(|(_, deadline)| limits(deadline)).cloned());
    all
}
