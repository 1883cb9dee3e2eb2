use reflux_core::{
    BootId, Command, Context, Draft, Ending, EventId, Item, Kind, Limits, Local, Message, Outgoing,
    Run, RunId, RunKey, Signal, Start, Suspend, Timestamp, Worker, apply, decide,
};
use uuid::Uuid;

use super::*;
use crate::advance::{Advance, NodePolicy, Policies, advance};
use crate::decider::Decider;
use crate::graph::NodeRef;
use crate::syntax::parse;

/// 2026-01-01T00:00:00Z.
const BEGIN: Timestamp = Timestamp(1_767_225_600_000_000_000);

struct NoNodes;

impl Policies for NoNodes {
    fn policy(&self, _: &NodeRef, _: &Value) -> Option<NodePolicy> {
        None
    }
}

/// A schedule with a clock, and the runs it starts.
struct Bench {
    run: Run,
    decider: Decider,
    twin: (Run, Decider),
    ctx: Context,
    said: Vec<String>,
    runs: u128,
    fires: u32,
}

fn bundle(trigger: &str) -> Arc<Bundle> {
    let text = format!(
        "name: f\ninput: {{'time?': string, 'n?': integer}}\ntriggers:\n- {trigger}\nsteps: [{{id: a, node: n}}]\n"
    );
    let parsed = parse("f.yaml", &text).unwrap_or_else(|problems| panic!("{}", problems[0]));
    Arc::new(Bundle::collect_parsed(&parsed, |_| None).unwrap())
}

fn subject() -> Subject {
    Subject { namespace: "default".into(), flow: "f".into(), trigger: "s".into() }
}

fn digest(bundle: &Bundle) -> [u8; 32] {
    *blake3::hash(&bundle.to_bytes()).as_bytes()
}

fn key(run: u128) -> RunKey {
    RunKey {
        namespace: NAMESPACE.into(),
        workflow_id: subject().workflow_id().into(),
        run_id: RunId(Uuid::from_u128(run)),
    }
}

impl Bench {
    fn new(trigger: &str) -> Self {
        let bundle = bundle(trigger);
        let header = subject().header(digest(&bundle));
        let decider =
            Decider::new(bundle, WORKFLOW_TYPE, &header, key(1)).unwrap_or_else(|e| panic!("{e}"));
        let worker = Worker { identity: "here".into(), boot: BootId(Uuid::from_u128(1)) };
        let mut bench = Self {
            run: Run::new(key(1)),
            twin: (Run::new(key(1)), decider.clone()),
            decider,
            ctx: Context {
                now: BEGIN,
                limits: Limits::default(),
                local: Local { queue: "local".into(), worker },
                new_run_id: RunId(Uuid::from_u128(2)),
            },
            said: Vec::new(),
            runs: 1,
            fires: 0,
        };
        bench.command(Command::Start(Box::new(Start {
            workflow_type: WORKFLOW_TYPE.into(),
            task_queue: "local".into(),
            header,
            ..Start::default()
        })));
        bench
    }

    fn command(&mut self, command: Command) {
        self.once(command);
        while let Some(command) = self.delivered() {
            self.once(command);
        }
    }

    fn once(&mut self, command: Command) {
        let mut draft = Draft::of(std::mem::replace(&mut self.run, Run::new(key(0))));
        decide(&mut draft, &self.ctx, command).unwrap();
        let more = advance(&mut draft, &mut self.decider, &self.ctx, &NoNodes, &mut 0, 1 << 20);
        assert_eq!(more.unwrap(), Advance::Waiting);
        let (run, items) = draft.into_parts();
        self.run = run;
        for item in items {
            let item = Item::decode(item.encode()).unwrap();
            apply(&mut self.twin.0, &item).unwrap();
            let Item::Event(event) = &item else { continue };
            if let (Some(spec), Decider::Schedule(live)) =
                (self.twin.1.wants(&event.kind).cloned(), &self.decider)
            {
                self.twin.1.offer(&spec, live.bundle.clone());
            }
            self.twin.1.observe(event).unwrap();
            self.said.extend(said(&event.kind));
        }
        assert_eq!(self.run, self.twin.0, "the items give another run");
        assert!(self.decider == self.twin.1, "the items give another schedule");
    }

    /// The runs that were told to start have started; a schedule that goes on as a new run does.
    fn delivered(&mut self) -> Option<Command> {
        let (seq, outgoing) = self.run.outbox.iter().next()?;
        let (seq, outgoing): (u64, Outgoing) = (*seq, outgoing.clone());
        match outgoing.message {
            Message::StartNext { start } => {
                self.runs += 1;
                let key = key(self.runs);
                let bundle = match &self.decider {
                    Decider::Schedule(schedule) => schedule.bundle.clone(),
                    Decider::Flow(_) => panic!(),
                };
                self.run = Run::new(key.clone());
                self.decider =
                    Decider::new(bundle, &start.workflow_type, &start.header, key.clone()).unwrap();
                self.twin = (Run::new(key), self.decider.clone());
                self.ctx.new_run_id = RunId(Uuid::from_u128(self.runs + 1));
                Some(Command::Start(Box::new((*start).clone())))
            }
            _ => Some(Command::AckOutbox { seq }),
        }
    }

    fn act(&mut self, act: &str) {
        let (verb, rest) = act.split_once(' ').unwrap_or((act, ""));
        match verb {
            "pass" => {
                let until = self.ctx.now.after(crate::duration::parse_duration(rest).unwrap());
                while let Some(due) = self.run.next_due().filter(|due| *due <= until) {
                    self.ctx.now = self.ctx.now.max(due);
                    self.command(Command::Wake);
                }
                self.ctx.now = until;
            }
            "down" => {
                self.ctx.now = self.ctx.now.after(crate::duration::parse_duration(rest).unwrap());
                self.command(Command::Recover);
                while self.run.next_due().is_some_and(|due| due <= self.ctx.now) {
                    self.command(Command::Wake);
                }
            }
            "end" => {
                let child = self.run.children.values().next().expect("an open run").clone();
                let run = RunKey {
                    namespace: "default".into(),
                    workflow_id: child.what.workflow_id.clone(),
                    run_id: child.run_id,
                };
                let message = Message::ChildClosed {
                    initiated: child.initiated,
                    first_run: child.run_id,
                    run: run.clone(),
                    ending: Ending::Completed(Default::default()),
                };
                self.command(Command::Deliver { source: run, seq: 1, message });
            }
            "fire" => {
                let input = match rest {
                    "" => Value::Null,
                    json => serde_json::from_str(json).unwrap(),
                };
                self.fires += 1;
                let request_id = self.fires.to_string().into();
                self.command(Command::Signal(Signal {
                    name: SIGNAL_FIRE.into(),
                    input: payload::of_value(&input),
                    request_id,
                    ..Signal::default()
                }));
            }
            "adopt" => {
                let bundle = bundle(rest);
                let header = payload::spec_header(digest(&bundle));
                let spec = payload::spec_of(&header).unwrap().clone();
                self.decider.offer(&spec, bundle);
                self.command(Command::Signal(Signal {
                    name: SIGNAL_ADOPT.into(),
                    header,
                    ..Signal::default()
                }));
            }
            "pause" => self.command(Command::Pause(Suspend::default())),
            "unpause" => self.command(Command::Unpause(Suspend::default())),
            "cancel" => self.command(Command::RequestCancel(Default::default())),
            other => panic!("{other}"),
        }
    }

    fn schedule(&self) -> &Schedule {
        match &self.decider {
            Decider::Schedule(schedule) => schedule,
            Decider::Flow(_) => panic!(),
        }
    }
}

/// What an event says, short: times without their date.
fn said(kind: &Kind) -> Option<String> {
    let short = |text: &str| text.replace("2026-01-01T", "");
    Some(match kind {
        Kind::Marker(marker) if &*marker.name == mark::NAME => {
            let tick: Tick = serde_json::from_slice(payload::marker_json(marker)).unwrap();
            let number = |name: &str, number: u64| match number {
                0 => String::new(),
                number => format!(" {name} {number}"),
            };
            let error = tick.error.map(|error| format!(" error {error}")).unwrap_or_default();
            let (skipped, missed) =
                (number("skipped", tick.skipped), number("missed", tick.missed));
            if skipped.is_empty() && missed.is_empty() && error.is_empty() {
                return None;
            }
            format!("up to {}{skipped}{missed}{error}", short(&tick.up_to))
        }
        Kind::ChildInitiated(child) => format!("start {}", short(&child.workflow_id)),
        Kind::ExternalCancelInitiated(cancel) => {
            format!("cancel {}", short(&cancel.target.workflow_id))
        }
        Kind::Marker(marker) if reflux_core::told_child(marker).is_some() => "terminate".to_owned(),
        kind if kind.closes_run() => kind.name().to_owned(),
        _ => return None,
    })
}

/// What a schedule says after some acts.
fn check(trigger: &str, acts: &[&str], expected: &[&str]) {
    let mut bench = Bench::new(trigger);
    for act in acts {
        bench.act(act);
    }
    assert_eq!(bench.said, expected, "{trigger}: {acts:?}");
}

#[test]
fn a_run_starts_at_each_time_once() {
    check("{id: s, every: 1m}", &["pass 59s"], &[]);
    check(
        "{id: s, every: 1m}",
        &["pass 60s", "end", "pass 60s", "end", "pass 59s"],
        &["start f/s/00:01:00Z", "start f/s/00:02:00Z"],
    );
    check(
        "{id: s, cron: '0 2 * * *', time_zone: Europe/Berlin}",
        &["pass 2h"],
        &["start f/s/01:00:00Z"],
    );
}

#[test]
fn skip_starts_nothing_while_a_run_is_open() {
    check(
        "{id: s, every: 1m}",
        &["pass 1m", "pass 3m30s", "end", "pass 30s"],
        &["start f/s/00:01:00Z", "up to 00:04:00Z skipped 3", "start f/s/00:05:00Z"],
    );
}

#[test]
fn a_run_that_others_wait_for_costs_nothing_while_it_is_open() {
    for overlap in ["skip", "buffer_one", "buffer_all"] {
        let mut bench = Bench::new(&format!("{{id: s, every: 1s, overlap: {overlap}}}"));
        bench.act("pass 1s");
        let events = bench.run.history_events();
        bench.act("pass 3h");
        assert_eq!(bench.run.history_events(), events, "{overlap}");
        assert_eq!(bench.run.next_due(), None, "{overlap}");
    }
}

#[test]
fn buffer_one_starts_one_for_the_newest_time() {
    check(
        "{id: s, every: 1m, overlap: buffer_one}",
        &["pass 1m", "pass 3m30s", "end", "end", "pass 30s"],
        &[
            "start f/s/00:01:00Z",
            "up to 00:04:00Z skipped 2",
            "start f/s/00:04:00Z",
            "start f/s/00:05:00Z",
        ],
    );
}

#[test]
fn buffer_all_starts_all_one_after_the_other() {
    check(
        "{id: s, every: 1m, overlap: buffer_all}",
        &["pass 1m", "pass 2m30s", "end", "end", "end", "pass 30s"],
        &[
            "start f/s/00:01:00Z",
            "start f/s/00:02:00Z",
            "start f/s/00:03:00Z",
            "start f/s/00:04:00Z",
        ],
    );
}

#[test]
fn cancel_other_and_terminate_other_end_what_is_open_first() {
    check(
        "{id: s, every: 1m, overlap: cancel_other}",
        &["pass 1m", "pass 1m", "pass 90s", "end"],
        &[
            "start f/s/00:01:00Z",
            "cancel f/s/00:01:00Z",
            "up to 00:03:00Z skipped 1",
            "start f/s/00:03:00Z",
        ],
    );
    check(
        "{id: s, every: 1m, overlap: terminate_other}",
        &["pass 1m", "pass 1m", "end"],
        &["start f/s/00:01:00Z", "terminate", "start f/s/00:02:00Z"],
    );
}

#[test]
fn allow_all_starts_beside_what_is_open() {
    check(
        "{id: s, every: 1m, overlap: allow_all}",
        &["pass 3m"],
        &["start f/s/00:01:00Z", "start f/s/00:02:00Z", "start f/s/00:03:00Z"],
    );
}

#[test]
fn what_was_missed_is_made_up_for_by_policy() {
    let down = |overlap: &str, expected: &[&str]| {
        check(
            &format!("{{id: s, every: 1s, overlap: {overlap}}}"),
            &["pass 500ms", "down 4s"],
            expected,
        );
    };
    let newest = ["up to 00:00:04Z skipped 3", "start f/s/00:00:04Z"];
    down("skip", &newest);
    down("buffer_one", &newest);
    down("cancel_other", &newest);
    down("terminate_other", &newest);
    down("buffer_all", &["start f/s/00:00:01Z"]);
    down(
        "allow_all",
        &[
            "start f/s/00:00:01Z",
            "start f/s/00:00:02Z",
            "start f/s/00:00:03Z",
            "start f/s/00:00:04Z",
        ],
    );
    // A run was open all the time.
    check(
        "{id: s, every: 1s}",
        &["pass 1s", "down 4s", "end"],
        &["start f/s/00:00:01Z", "up to 00:00:05Z skipped 4"],
    );
}

#[test]
fn what_is_over_for_too_long_is_not_made_up_for() {
    check(
        "{id: s, every: 1m, overlap: allow_all, catch_up: 90s}",
        &["down 4m30s"],
        &["up to 00:04:00Z missed 2", "start f/s/00:03:00Z", "start f/s/00:04:00Z"],
    );
    check(
        "{id: s, every: 1m, catch_up: 0s}",
        &["down 1m1s", "pass 1m"],
        &["up to 00:01:00Z missed 1", "start f/s/00:02:00Z"],
    );
}

#[test]
fn a_long_outage_is_bounded() {
    let mut bench = Bench::new("{id: s, every: 1s, overlap: allow_all}");
    bench.act("down 2h");
    assert_eq!(bench.schedule().counts().started, 1_000);
    assert_eq!(bench.said[0], "start f/s/01:43:21Z");
    assert!(bench.runs > 1, "it goes on as a new run");
}

#[test]
fn a_pause_stops_the_clock_and_not_people() {
    check(
        "{id: s, every: 1m}",
        &["pause", "pass 3m10s", "fire", "end", "unpause", "pass 50s"],
        &["start f/s/fired/1", "start f/s/00:04:00Z"],
    );
}

#[test]
fn a_person_starts_a_run_whatever_is_open() {
    check(
        "{id: s, every: 1m, input: {n: 1}}",
        &["fire", "fire {\"n\": 2}", "fire {\"m\": 2}", "pass 1m30s", "end", "end", "pass 30s"],
        &[
            "start f/s/fired/1",
            "start f/s/fired/2",
            "up to  error the flow `f` has no input `m`",
            "up to 00:01:00Z skipped 1",
            "start f/s/00:02:00Z",
        ],
    );
}

#[test]
fn a_new_version_takes_over() {
    // Another timetable holds from then on.
    check(
        "{id: s, cron: '@daily'}",
        &["pass 90s", "adopt {id: s, every: 1m, input: {n: 1}}", "pass 30s"],
        &["start f/s/00:02:00Z"],
    );
    // The same goes on.
    check(
        "{id: s, every: 1m, overlap: buffer_one}",
        &[
            "pass 1m",
            "pass 90s",
            "adopt {id: s, every: 1m, overlap: buffer_one, input: {n: 1}}",
            "end",
        ],
        &["start f/s/00:01:00Z", "start f/s/00:02:00Z"],
    );
    // Without the trigger nothing starts.
    check(
        "{id: s, every: 1m}",
        &["adopt {id: t, every: 1m}", "pass 1h", "fire"],
        &["up to  error the flow has no such trigger"],
    );
}

#[test]
fn a_deleted_schedule_leaves_its_runs_alone() {
    check(
        "{id: s, every: 1m}",
        &["pass 1m", "cancel"],
        &["start f/s/00:01:00Z", "WorkflowExecutionCanceled"],
    );
}

#[test]
fn a_schedule_goes_on_for_ever_in_short_histories() {
    for overlap in ["skip", "allow_all"] {
        let mut bench = Bench::new(&format!("{{id: s, every: 1s, overlap: {overlap}}}"));
        let mut events = 0;
        for _ in 0..2_000 {
            bench.act("pass 1s");
            if overlap == "skip" {
                bench.act("end");
            }
            events = events.max(bench.run.history_events());
        }
        assert_eq!(bench.schedule().counts().started, 2_000, "{overlap}");
        assert!(bench.runs > 3, "{overlap}");
        assert!(events < HISTORY_EVENTS_MAX + 20, "{overlap}: {events}");
        let starts: std::collections::BTreeSet<&String> = bench.said.iter().collect();
        assert!(starts.len() >= 2_000, "{overlap}: every time once");
    }
}

#[test]
fn a_run_gets_what_the_trigger_says() {
    let input = |trigger: &str| {
        let mut bench = Bench::new(trigger);
        bench.act("pass 1m");
        let child = bench.run.children.values().next().unwrap().what.clone();
        payload::value_of(&child.input).unwrap()
    };
    assert_eq!(input("{id: s, every: 1m}"), serde_json::json!({"time": "2026-01-01T00:01:00Z"}));
    assert_eq!(input("{id: s, every: 1m, input: {n: 7}}"), serde_json::json!({"n": 7}));
    assert_eq!(
        input("{id: s, every: 1m, input: {time: 'at {{ trigger.time }}'}}"),
        serde_json::json!({"time": "at 2026-01-01T00:01:00Z"})
    );
}

#[test]
fn the_next_times_are_known() {
    let bench = Bench::new("{id: s, every: 1m}");
    let times: Vec<String> = bench.schedule().upcoming(BEGIN, 2).into_iter().map(rfc3339).collect();
    assert_eq!(times, ["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"]);
    assert_eq!(EventId(1), EventId::FIRST);
}
