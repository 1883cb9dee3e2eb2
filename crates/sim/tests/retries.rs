//! Retries on the real clock: a thousand flows whose step keeps failing make the right number of
//! attempts, none early, each within 50 ms of its time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reflux_core::{
    AttemptRef, Command, Delta, EffectClass, EventId, Item, RunId, RunKey, Timestamp,
    application_failure,
};
use reflux_engine::{
    Ask, Attempt, Engine, Host, LOCAL_QUEUE, Lane, Options, Request, Spec, StartFlow, WhenClosed,
    WhenOpen, no_reply,
};
use reflux_flow::graph::{NodeRef, Retry};
use reflux_flow::{Bundle, NodePolicy, Policies, payload, syntax};
use serde_json::Value;

const FLOWS: usize = 1_000;
const WAITS_MS: [u64; 3] = [150, 300, 450];
const LATE_MAX: Duration = Duration::from_millis(50);

/// Fails every attempt, and notes when it was called.
struct Failing {
    calls: Mutex<BTreeMap<(RunKey, u32), Timestamp>>,
    ended: Mutex<Sender<Attempt>>,
}

impl Policies for Failing {
    fn policy(&self, _: &NodeRef, _: &Value) -> Option<NodePolicy> {
        Some(NodePolicy {
            version: "1.0.0".into(),
            task_queue: LOCAL_QUEUE.into(),
            retry: Some(Retry::Intervals(WAITS_MS.map(Duration::from_millis).to_vec())),
            timeout: None,
            heartbeat: None,
            effects: EffectClass::Idempotent,
        })
    }
}

impl Host for Failing {
    fn start(&self, attempt: Attempt) -> bool {
        let key = (attempt.run.clone(), attempt.attempt);
        assert!(self.calls.lock().unwrap().insert(key, now()).is_none(), "called twice");
        drop(self.ended.lock().unwrap().send(attempt));
        true
    }

    fn cancel(&self, _: &RunKey, _: EventId) {}
}

#[test]
fn retries_come_in_number_and_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let (ended, ends) = channel();
    let host = Arc::new(Failing { calls: Mutex::default(), ended: Mutex::new(ended) });
    let engine = Engine::open(Options::at(dir.path()), host.clone()).unwrap();
    let answering = engine.clone();
    std::thread::spawn(move || fail_all(&answering, &ends));
    let machine = Machine::watch();
    let runs: Vec<RunKey> = (0..FLOWS).map(|n| start(&engine, n)).collect();
    let worst_machine = {
        wait_until_closed(&engine, &runs);
        machine.worst()
    };

    let calls = host.calls.lock().unwrap().clone();
    let mut late: Vec<Duration> = Vec::new();
    for run in &runs {
        let attempts = calls.range((run.clone(), 0)..=(run.clone(), u32::MAX)).count();
        assert_eq!(attempts, WAITS_MS.len() + 1, "{run}");
        for item in engine.items(run).unwrap() {
            let Item::Delta(Delta::AttemptEnded(end)) = item else { continue };
            let Some(due) = end.next_attempt else { continue };
            let called = calls[&(run.clone(), end.attempt + 1)];
            assert!(called >= due, "attempt {} of {run} came early", end.attempt + 1);
            late.push(called.since(due));
        }
    }
    engine.shutdown();
    assert_eq!(late.len(), FLOWS * WAITS_MS.len());
    late.sort_unstable();
    let at = |share: usize| late[(late.len() - 1) * share / 1000];
    println!(
        "{} retries, late by: median {:?}, p99 {:?}, p99.9 {:?}, worst {:?}; the machine itself woke a sleeper up to {worst_machine:?} late",
        late.len(),
        at(500),
        at(990),
        at(999),
        at(1000)
    );
    // What the machine did to a thread that only sleeps is not the engine's.
    let allowed = LATE_MAX + worst_machine;
    assert!(at(1000) <= allowed, "a retry was {:?} late, allowed are {allowed:?}", at(1000));
}

fn start(engine: &Engine, n: usize) -> RunKey {
    let parsed = syntax::parse("flow.yaml", "name: f\nsteps:\n  - {id: a, node: x.y}\n").unwrap();
    let bytes = Bundle::collect_parsed(&parsed, |_| None).unwrap().to_bytes();
    let spec = Spec { digest: *blake3::hash(&bytes).as_bytes(), bytes: bytes.into() };
    let start = StartFlow {
        namespace: "default".into(),
        workflow_id: format!("w{n}").into(),
        run_id: RunId(uuid::Uuid::now_v7()),
        spec,
        flow: "f".into(),
        input: payload::of_value(&serde_json::json!({})),
        request_id: "".into(),
        when_open: WhenOpen::Refuse,
        when_closed: WhenClosed::Allow,
        identity: "test".into(),
    };
    engine.start(start).unwrap().run
}

fn fail_all(engine: &Engine, ends: &Receiver<Attempt>) {
    for attempt in ends {
        let at =
            AttemptRef { scheduled: attempt.scheduled, attempt: attempt.attempt, started_at: None };
        let failure = application_failure("not today", "Flaky", false).into();
        let command = Command::FailActivity { at, failure, next_retry_delay: None, report: None };
        let run_id = Some(attempt.run.run_id);
        engine.submit(Request {
            lane: Lane::of(&attempt.run),
            ask: Ask::Command { run_id, first_run: None, command },
            reply: no_reply(),
        });
    }
}

fn wait_until_closed(engine: &Engine, runs: &[RunKey]) {
    let begun = Instant::now();
    for run in runs {
        while engine.summary(run).unwrap().unwrap().closed.is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{run} does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A thread that only sleeps, and how late it was woken.
struct Machine {
    worst: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Machine {
    fn watch() -> Self {
        let (worst, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, end) = (worst.clone(), over.clone());
        std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let before = Instant::now();
                std::thread::sleep(Duration::from_millis(1));
                let late = before.elapsed().saturating_sub(Duration::from_millis(1));
                seen.fetch_max(late.as_nanos() as u64, Ordering::Relaxed);
            }
        });
        Self { worst, over }
    }

    fn worst(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        Duration::from_nanos(self.worst.load(Ordering::Relaxed))
    }
}

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64)
}
