//! Schedules in an engine that is driven step by step, over a clock of its own and a log that can
//! lose what is not durable: every time starts its run once, wherever the process ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reflux_core::{EventId, RunId, RunKey, Signal, Start, Timestamp};
use reflux_engine::{
    Answer, Ask, Attempt, Error, Execution, Host, LOCAL_QUEUE, Lane, NewRun, Options, Request,
    Spec, Stepper, WhenClosed, WhenOpen, World, no_reply, references,
};
use reflux_flow::graph::NodeRef;
use reflux_flow::schedule::{NAMESPACE, SIGNAL_ADOPT, Subject, WORKFLOW_TYPE};
use reflux_flow::{Bundle, NodePolicy, Policies, payload};
use reflux_log::MemoryLog;
use reflux_store::{Filter, Place, Store};
use uuid::Uuid;

/// 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600_000_000_000;
const PARTITIONS: u32 = 2;

struct NoNodes;

impl Policies for NoNodes {
    fn policy(&self, _: &NodeRef, _: &serde_json::Value) -> Option<NodePolicy> {
        None
    }
}

impl Host for NoNodes {
    fn start(&self, _: Attempt) -> bool {
        true
    }

    fn cancel(&self, _: &RunKey, _: EventId) {}
}

fn spec(trigger: &str, steps: &str) -> Spec {
    let text = format!("name: f\ntriggers:\n- {trigger}\nsteps: [{steps}]\n");
    let parsed = reflux_flow::syntax::parse("f.yaml", &text).unwrap_or_else(|p| panic!("{}", p[0]));
    let bytes = Bundle::collect_parsed(&parsed, |_| None).unwrap().to_bytes();
    Spec { digest: *blake3::hash(&bytes).as_bytes(), bytes: bytes.into() }
}

fn subject() -> Subject {
    Subject { namespace: "default".into(), flow: "f".into(), trigger: "s".into() }
}

fn lane() -> Lane {
    Lane { namespace: NAMESPACE.into(), workflow_id: subject().workflow_id().into() }
}

/// A project's engine with its clock, from boot to boot.
struct Bed {
    dir: tempfile::TempDir,
    log: Arc<MemoryLog>,
    store: Store,
    place: Place,
    clock: Arc<AtomicI64>,
    ids: Arc<AtomicU64>,
    stepper: Option<Stepper>,
}

impl Bed {
    fn new() -> Self {
        let mut bed = Self {
            dir: tempfile::tempdir().unwrap(),
            log: Arc::new(MemoryLog::manual()),
            store: Store::memory(references),
            place: Place::memory().unwrap(),
            clock: Arc::new(AtomicI64::new(BEGIN)),
            ids: Arc::default(),
            stepper: None,
        };
        bed.boot();
        bed
    }

    fn boot(&mut self) {
        let (clock, ids) = (self.clock.clone(), self.ids.clone());
        let world = World {
            now: Arc::new(move || Timestamp(clock.load(Ordering::SeqCst))),
            uuid: Arc::new(move || {
                Uuid::from_u128(u128::from(ids.fetch_add(1, Ordering::SeqCst)) + 1)
            }),
        };
        let options = Options { partitions: PARTITIONS, ..Options::at(self.dir.path()) };
        let (log, place) = (self.log.clone(), self.place.clone());
        let stepper = Stepper::open(options, log, &self.store, place, Arc::new(NoNodes), &world);
        self.stepper = Some(stepper.unwrap());
    }

    /// The process ends: what is not durable is lost, and the store with it when it is said.
    fn crash(&mut self, with_store: bool) {
        self.stepper = None;
        self.log.crash();
        if with_store {
            self.store = Store::memory(references);
        }
        self.boot();
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(Ordering::SeqCst))
    }

    fn pass(&self, length: Duration) {
        let nanos = i64::try_from(length.as_nanos()).unwrap();
        self.clock.fetch_add(nanos, Ordering::SeqCst);
    }

    /// One step of one kind; the steps of a round go through all of them.
    fn step(&mut self, at: usize) {
        let now = self.now();
        let stepper = self.stepper.as_mut().unwrap();
        match at % 4 {
            0 => stepper.turn(0, now),
            1 => stepper.turn(1, now),
            2 => self.log.commit_all(),
            _ => drop(stepper.materialise()),
        }
    }

    fn settle(&mut self) {
        let mut quiet = 0;
        for at in 0..100_000 {
            self.step(at);
            let is_quiet = self.stepper.as_ref().unwrap().is_quiet()
                && self.log.pending().is_empty()
                && self.stepper.as_ref().unwrap().next_wake() > self.now();
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet > 8 {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn ask(&self, ask: Ask) {
        self.stepper.as_ref().unwrap().submit(Request { lane: lane(), ask, reply: no_reply() });
    }

    fn start(&self, spec: &Spec) {
        let start = Start {
            workflow_type: WORKFLOW_TYPE.into(),
            task_queue: LOCAL_QUEUE.into(),
            header: subject().header(spec.digest),
            ..Start::default()
        };
        self.ask(Ask::Start(NewRun {
            run_id: RunId(Uuid::from_u128(1 << 100)),
            start: Box::new(start),
            when_open: WhenOpen::UseExisting,
            when_closed: WhenClosed::Allow,
            spec: Some(spec.clone()),
        }));
    }

    /// How many runs of the flow there are for each workflow id, without what all begin with.
    fn runs(&self) -> BTreeMap<String, usize> {
        let mut runs = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let store = self.store.partition(partition).unwrap();
            let page = store.list(&Filter::all("default"), None, 1_000).unwrap();
            for run in page.runs {
                let id = run.key.workflow_id.trim_start_matches("f/s/2026-01-01T").to_owned();
                *runs.entry(id).or_default() += 1;
            }
        }
        runs
    }

    fn ids(&self) -> Vec<String> {
        let runs = self.runs();
        assert!(runs.values().all(|count| *count == 1), "each run once: {runs:?}");
        runs.into_keys().collect()
    }
}

const PASS: &str = "{id: a, pass: true}";
const OPEN: &str = "{id: a, wait: {signal: go}}";

#[test]
fn each_time_starts_its_run_once_wherever_the_process_ends() {
    let spec = spec("{id: s, every: 1s, overlap: allow_all}", PASS);
    // Each crash at another step of the first seconds, sometimes with the loss of the store.
    for crash_at in 0..60 {
        let mut bed = Bed::new();
        bed.start(&spec);
        bed.settle();
        let mut at = 0;
        let mut crashed = false;
        for _ in 0..3 {
            bed.pass(Duration::from_secs(1));
            for _ in 0..20 {
                if at == crash_at {
                    bed.crash(crash_at % 3 == 0);
                    crashed = true;
                }
                bed.step(at);
                at += 1;
            }
        }
        bed.settle();
        assert!(crashed);
        assert_eq!(bed.ids(), ["00:00:01Z", "00:00:02Z", "00:00:03Z"], "crash at step {crash_at}");
    }
}

#[test]
fn an_outage_is_made_up_for_by_policy() {
    for (overlap, expected) in [
        ("allow_all", vec!["00:00:01Z", "00:00:02Z", "00:00:03Z", "00:00:04Z", "00:00:05Z"]),
        ("buffer_all", vec!["00:00:01Z", "00:00:02Z", "00:00:03Z", "00:00:04Z", "00:00:05Z"]),
        ("buffer_one", vec!["00:00:01Z", "00:00:05Z"]),
        ("skip", vec!["00:00:01Z", "00:00:05Z"]),
    ] {
        let mut bed = Bed::new();
        bed.start(&spec(&format!("{{id: s, every: 1s, overlap: {overlap}}}"), PASS));
        bed.settle();
        bed.pass(Duration::from_secs(1));
        bed.settle();
        bed.stepper = None;
        bed.pass(Duration::from_secs(4));
        bed.crash(false);
        bed.settle();
        assert_eq!(bed.ids(), expected, "{overlap}");
    }
}

#[test]
fn a_run_that_is_open_holds_up_or_is_ended_by_policy() {
    for (overlap, expected) in [
        ("allow_all", vec!["00:00:01Z", "00:00:02Z", "00:00:03Z"]),
        ("buffer_all", vec!["00:00:01Z"]),
        ("buffer_one", vec!["00:00:01Z"]),
        ("skip", vec!["00:00:01Z"]),
        ("cancel_other", vec!["00:00:01Z", "00:00:02Z", "00:00:03Z"]),
        ("terminate_other", vec!["00:00:01Z", "00:00:02Z", "00:00:03Z"]),
    ] {
        let mut bed = Bed::new();
        bed.start(&spec(&format!("{{id: s, every: 1s, overlap: {overlap}}}"), OPEN));
        bed.settle();
        for _ in 0..3 {
            bed.pass(Duration::from_secs(1));
            bed.settle();
        }
        assert_eq!(bed.ids(), expected, "{overlap}");
    }
}

#[test]
fn another_version_of_the_flow_outlives_the_process_and_the_store() {
    let mut bed = Bed::new();
    bed.start(&spec("{id: s, every: 1h}", PASS));
    bed.settle();
    let next = spec("{id: s, every: 1s}", PASS);
    let signal = Signal {
        name: SIGNAL_ADOPT.into(),
        header: payload::spec_header(next.digest),
        ..Signal::default()
    };
    bed.ask(Ask::Adopt { signal: Box::new(signal.clone()), spec: next });
    bed.settle();
    bed.crash(true);
    bed.pass(Duration::from_secs(1));
    bed.settle();
    assert_eq!(bed.ids(), ["00:00:01Z"]);

    // A signal alone brings none.
    let answer: Arc<Mutex<Option<Error>>> = Arc::default();
    let told = answer.clone();
    let unknown = payload::spec_header([7; 32]);
    let command = reflux_core::Command::Signal(Signal { header: unknown, ..signal });
    bed.stepper.as_ref().unwrap().submit(Request {
        lane: lane(),
        ask: Ask::Command { run_id: None, first_run: None, command },
        reply: Box::new(move |result: Result<(&Answer, &Execution), Error>| {
            *told.lock().unwrap() = result.err();
        }),
    });
    bed.settle();
    assert!(answer.lock().unwrap().is_some());
    bed.crash(true);
    bed.pass(Duration::from_secs(1));
    bed.settle();
    assert_eq!(bed.ids(), ["00:00:01Z", "00:00:02Z"]);
}

#[test]
fn a_schedule_goes_on_as_a_new_run_in_the_same_record() {
    let mut bed = Bed::new();
    bed.start(&spec("{id: s, every: 1s}", PASS));
    bed.settle();
    for _ in 0..450 {
        bed.pass(Duration::from_secs(1));
        bed.settle();
    }
    assert_eq!(bed.ids().len(), 450);
    let mut schedules = 0;
    for partition in 0..PARTITIONS {
        let store = bed.store.partition(partition).unwrap();
        let filter = Filter { workflow_type: Some(WORKFLOW_TYPE.into()), ..Filter::all(NAMESPACE) };
        schedules += store.list(&filter, None, 100).unwrap().runs.len();
    }
    assert!(schedules >= 2, "{schedules}");
    bed.crash(true);
    bed.pass(Duration::from_secs(1));
    bed.settle();
    assert_eq!(bed.ids().len(), 451);
}
