//! A host whose nodes are closures on threads, and an engine in a directory that vanishes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code
)]

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use reflux_core::{AttemptRef, Command, EffectClass, EventId, RunId, RunKey, application_failure};
use reflux_engine::{
    Attempt, Engine, Error, Host, LOCAL_QUEUE, Lane, Options, Spec, StartFlow, WhenClosed, WhenOpen,
};
use reflux_flow::graph::{NodeRef, Retry};
use reflux_flow::{Bundle, NodePolicy, Policies, payload};
use serde_json::Value;

/// What a node does with its input: the output, or a failure as (kind, message, retryable).
pub type Behaviour = dyn Fn(&Attempt, Value) -> Result<Value, (String, String, bool)> + Send + Sync;

/// Runs every attempt on a thread of its own.
pub struct Nodes {
    engine: OnceLock<Engine>,
    behaviour: Box<Behaviour>,
    pub retry: Option<Retry>,
    /// Every call: (activity id, attempt).
    pub calls: Mutex<Vec<(String, u32)>>,
    pub cancelled: Mutex<Vec<EventId>>,
}

impl Policies for Nodes {
    fn policy(&self, _: &NodeRef, _: &Value) -> Option<NodePolicy> {
        Some(NodePolicy {
            version: "1.0.0".into(),
            task_queue: LOCAL_QUEUE.into(),
            retry: self.retry.clone(),
            timeout: None,
            heartbeat: None,
            effects: EffectClass::Idempotent,
        })
    }
}

/// The engine must not own its host for ever, so the host is a handle.
#[derive(Clone)]
pub struct Handle(pub Arc<Nodes>);

impl Policies for Handle {
    fn policy(&self, node: &NodeRef, input: &Value) -> Option<NodePolicy> {
        self.0.policy(node, input)
    }
}

impl Host for Handle {
    fn start(&self, attempt: Attempt) -> bool {
        let nodes = self.0.clone();
        std::thread::spawn(move || nodes.execute(attempt));
        true
    }

    fn cancel(&self, _: &RunKey, scheduled: EventId) {
        self.0.cancelled.lock().unwrap().push(scheduled);
    }
}

impl Nodes {
    fn execute(&self, attempt: Attempt) {
        self.calls.lock().unwrap().push((attempt.activity_id.to_string(), attempt.attempt));
        let input = payload::value_of(&attempt.input).unwrap();
        let at =
            AttemptRef { scheduled: attempt.scheduled, attempt: attempt.attempt, started_at: None };
        let command = match (self.behaviour)(&attempt, input) {
            Ok(output) => {
                Command::CompleteActivity { at, result: payload::of_value(&output), report: None }
            }
            Err((kind, message, retryable)) => Command::FailActivity {
                at,
                failure: Arc::new(application_failure(message, kind, !retryable)),
                next_retry_delay: None,
                report: None,
            },
        };
        loop {
            let Some(engine) = self.engine.get() else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            let lane = Lane::of(&attempt.run);
            match engine.command(lane, Some(attempt.run.run_id), command.clone()) {
                Err(error) if error.is_retryable() => std::thread::sleep(Duration::from_millis(5)),
                _ => return,
            }
        }
    }
}

/// An engine with its host.
pub struct World {
    pub engine: Engine,
    pub nodes: Arc<Nodes>,
}

impl World {
    pub fn open(
        options: Options,
        behaviour: impl Fn(&Attempt, Value) -> Result<Value, (String, String, bool)>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self::with_retry(options, None, behaviour)
    }

    pub fn with_retry(
        options: Options,
        retry: Option<Retry>,
        behaviour: impl Fn(&Attempt, Value) -> Result<Value, (String, String, bool)>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self::assemble(retry, behaviour, |nodes| {
            Engine::open(options, Arc::new(Handle(nodes))).expect("opens")
        })
    }

    pub fn assemble(
        retry: Option<Retry>,
        behaviour: impl Fn(&Attempt, Value) -> Result<Value, (String, String, bool)>
        + Send
        + Sync
        + 'static,
        open: impl FnOnce(Arc<Nodes>) -> Engine,
    ) -> Self {
        let nodes = Arc::new(Nodes {
            engine: OnceLock::new(),
            behaviour: Box::new(behaviour),
            retry,
            calls: Mutex::default(),
            cancelled: Mutex::default(),
        });
        let engine = open(nodes.clone());
        assert!(nodes.engine.set(engine.clone()).is_ok());
        Self { engine, nodes }
    }

    /// Starts a flow given as source text.
    pub fn start(&self, id: &str, source: &str, input: &Value) -> RunKey {
        self.try_start(id, source, input).expect("starts")
    }

    pub fn try_start(&self, id: &str, source: &str, input: &Value) -> Result<RunKey, Error> {
        let parsed = reflux_flow::syntax::parse("flow.yaml", source).expect("parses");
        let name = parsed.flow.name.clone();
        let bundle = Bundle::collect_parsed(&parsed, |_| None).expect("collects");
        let bytes = bundle.to_bytes();
        let spec = Spec { digest: *blake3::hash(&bytes).as_bytes(), bytes: bytes.into() };
        let start = StartFlow {
            namespace: "default".into(),
            workflow_id: id.into(),
            run_id: RunId(uuid::Uuid::now_v7()),
            spec,
            flow: name.into(),
            input: payload::of_value(input),
            request_id: "".into(),
            when_open: WhenOpen::Refuse,
            when_closed: WhenClosed::Allow,
            identity: "test".into(),
        };
        self.engine.start(start).map(|answer| answer.run)
    }

    /// Waits until the run is closed and gives its items.
    pub fn finish(&self, run: &RunKey) -> Vec<reflux_core::Item> {
        for _ in 0..3_000 {
            let summary = self.engine.summary(run).expect("summary").expect("exists");
            if summary.closed.is_some() {
                return self.engine.items(run).expect("items");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{run} did not close: {:#?}", self.engine.items(run));
    }

    /// Waits until the run is closed and gives its result, or why it has none.
    pub fn result(&self, run: &RunKey) -> Result<Value, String> {
        use reflux_core::{Item, Kind};
        let items = self.finish(run);
        for item in items.iter().rev() {
            let Item::Event(event) = item else { continue };
            return match &event.kind {
                Kind::Completed(it) => Ok(payload::value_of(&it.result).unwrap()),
                Kind::Failed(it) => Err(it.failure.message.clone()),
                other => Err(other.name().to_owned()),
            };
        }
        panic!("a closed run without events");
    }
}
