//! The same done to many runs: a durable run of its own, whose items do it to one run each.
//!
//! ```text
//! RedriveRuns ┐
//! PauseRuns   ├ list ─→ run of Work::flow { runs } ─ for_each ─→ Work::node ─→ the call, once per run
//! ResumeRuns  ┘
//! ```
//!
//! Because it is a run, it goes on after a crash, can be paused and cancelled, and says what became
//! of each run. It is done to a run once: the item's idempotency key is the request id.

mod redrive;
mod suspend;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use reflux_core::EffectClass;
use reflux_core::RunId;
use reflux_engine::{Attempt, LOCAL_QUEUE, Lane, Spec, StartFlow, WhenClosed, WhenOpen};
use reflux_flow::advance::NodePolicy;
use reflux_flow::graph::{Bundle, Retry};
use reflux_flow::{payload, syntax};
use reflux_proto::api as v1;
use reflux_sdk::Failure;
use reflux_store::Summary;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::service::Service;
use crate::{Error, Kind};

/// Most runs of one call: with three events each they fit a history of 51,200.
pub const RUNS_MAX: usize = 10_000;
/// Runs that are worked on at once: enough to keep the disk busy.
const CONCURRENCY: usize = 16;
/// Most runs per second that can be asked for; 0 is as fast as it goes.
pub const RATE_MAX: u32 = 10_000;
/// Runs whose pace is remembered.
const PACES_MAX: usize = 1_000; // each is one bulk run of the last time
/// How long a pace is remembered after its last use.
const PACE_KEPT: Duration = Duration::from_secs(60);

/// What is done to each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Redrive,
    Pause,
    Resume,
}

impl Work {
    const ALL: [Self; 3] = [Self::Redrive, Self::Pause, Self::Resume];

    /// The node that does it to one run. It is in no catalogue: only [`Work::flow`] calls it.
    fn node(self) -> &'static str {
        match self {
            Self::Redrive => "reflux.redrive",
            Self::Pause => "reflux.pause",
            Self::Resume => "reflux.resume",
        }
    }

    /// Name of the flow.
    fn flow(self) -> &'static str {
        match self {
            Self::Redrive => "reflux.redrive-many",
            Self::Pause => "reflux.pause-many",
            Self::Resume => "reflux.resume-many",
        }
    }

    /// With what the workflow ids of its runs begin.
    fn prefix(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// What a node of that name does, if it is one of these.
    pub fn of_node(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|work| work.node() == name)
    }
}

/// Whether it is one of the flows here: no run of theirs is among those that a query takes.
pub(crate) fn is_ours(flow: &str) -> bool {
    Work::ALL.iter().any(|work| work.flow() == flow)
}

/// Does the work of bulk runs' items.
pub(crate) struct Worker {
    service: watch::Sender<Option<Weak<Service>>>,
    paces: Mutex<BTreeMap<RunId, Instant>>,
}

#[derive(Deserialize)]
struct Input {
    namespace: String,
    run: String,
    per_second: u32,
    #[serde(default)]
    redrive: v1::Redrive,
    #[serde(default)]
    reason: String,
}

impl Default for Worker {
    fn default() -> Self {
        Self { service: watch::Sender::new(None), paces: Mutex::default() }
    }
}

impl Worker {
    /// Tells where the runs are. Attempts that came before wait for it.
    pub fn connect(&self, service: &Arc<Service>) {
        self.service.send_replace(Some(Arc::downgrade(service)));
    }

    /// How the nodes are called.
    pub fn policy() -> NodePolicy {
        NodePolicy {
            version: "1".into(),
            task_queue: LOCAL_QUEUE.into(),
            retry: Some(Retry::Exponential {
                attempts: 10,
                initial: Duration::from_millis(200),
                coefficient: 2.0,
                maximum: Duration::from_secs(10),
            }),
            timeout: Some(Duration::from_secs(300)), // it may wait for its turn
            heartbeat: None,
            effects: EffectClass::Idempotent,
        }
    }

    /// Does it to the run that an attempt names, when it is its turn. What is refused is a result
    /// too: the others go on.
    ///
    /// # Errors
    /// A failure to be tried again.
    pub async fn call(&self, work: Work, attempt: &Attempt) -> Result<Value, Failure> {
        let input = payload::value_of(&attempt.input)
            .and_then(serde_json::from_value::<Input>)
            .map_err(|error| Failure::bad_input(error.to_string()))?;
        self.turn(attempt.run.run_id, input.per_second).await;
        let service = self.service().await?;
        let key = attempt.idempotency_key.clone();
        let done = tokio::task::spawn_blocking(move || one(&service, work, input, key));
        let done = done.await.map_err(|_| stopping())?;
        done.map_err(|error| {
            let failure = Failure::retryable("Unavailable", error.to_string());
            Failure { retry_after: error.retry_after_ms.map(Duration::from_millis), ..failure }
        })
    }

    async fn service(&self) -> Result<Arc<Service>, Failure> {
        let mut known = self.service.subscribe();
        let service = known.wait_for(Option::is_some).await.map_err(|_| stopping())?.clone();
        service.and_then(|service| service.upgrade()).ok_or_else(stopping)
    }

    async fn turn(&self, run: RunId, per_second: u32) {
        if per_second == 0 {
            return;
        }
        let at = {
            let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if paces.len() >= PACES_MAX {
                paces.retain(|_, next| *next + PACE_KEPT > now);
            }
            let next = paces.entry(run).or_insert(now);
            let at = (*next).max(now);
            *next = at + Duration::from_secs(1) / per_second.min(RATE_MAX);
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

fn stopping() -> Failure {
    Failure::retryable("Unavailable", "the server is stopping")
}

/// What became of a run; `Err` for what may be tried again.
fn one(service: &Service, work: Work, input: Input, request_id: String) -> Result<Value, Error> {
    let run = input.run.clone();
    let done = match work {
        Work::Redrive => redrive::one(service, input, request_id),
        Work::Pause => suspend::pause(service, input, request_id),
        Work::Resume => suspend::resume(service, input, request_id),
    };
    let told = match done {
        Ok(told) => told,
        // A quota that is used up has room again later.
        Err(error) if matches!(error.kind, Kind::Unavailable | Kind::Exhausted) => {
            return Err(error);
        }
        Err(error) => Map::from_iter([("error".to_owned(), json!(error.to_string()))]),
    };
    Ok(Value::Object(Map::from_iter([("run".to_owned(), json!(run))].into_iter().chain(told))))
}

/// What is to be done to which runs.
pub(crate) struct Bulk<'a> {
    pub work: Work,
    /// What the call takes besides: its name, its type, its value.
    pub with: (&'static str, &'static str, Value),
    /// Runs per second, at most; 0 is as fast as it goes.
    pub per_second: u32,
    pub request_id: &'a str,
}

impl Bulk<'_> {
    /// Starts the run that does it, and says whether it was there already.
    ///
    /// # Errors
    /// [`Kind::Exists`] when it runs already.
    pub fn start(
        self,
        service: &Service,
        namespace: &str,
        runs: &[Summary],
    ) -> Result<(Summary, bool), Error> {
        let Self { work, with: (name, _, value), per_second, request_id } = &self;
        let (bytes, workflow_id) = (self.definition()?, self.workflow_id());
        let ids: Vec<String> = runs.iter().map(|run| run.key.run_id.to_string()).collect();
        let input = json!({
            "namespace": namespace, "runs": ids, *name: value, "per_second": per_second,
        });
        let answer = service.engine().start(StartFlow {
            namespace: namespace.into(),
            workflow_id: workflow_id.into(),
            run_id: RunId(Uuid::now_v7()),
            spec: Spec { digest: *blake3::hash(&bytes).as_bytes(), bytes },
            flow: work.flow().into(),
            input: payload::of_value(&input),
            request_id: (*request_id).into(),
            when_open: WhenOpen::Refuse,
            when_closed: WhenClosed::Refuse,
            identity: service.identity().clone(),
        })?;
        let run = service.engine().summary(&answer.run)?;
        let run = run.ok_or_else(|| {
            Error::unavailable(format!(
                "the new run {} cannot be read yet; try again",
                answer.run.run_id
            ))
        })?;
        Ok((run, answer.existing))
    }

    /// The run that an earlier request of this id has started, and how many runs that one's query
    /// took: by now it may take others, or none.
    ///
    /// # Errors
    /// The run cannot be read.
    pub fn begun(
        &self,
        service: &Service,
        namespace: &Arc<str>,
    ) -> Result<Option<(Summary, usize)>, Error> {
        if self.request_id.is_empty() {
            return Ok(None);
        }
        let lane = Lane { namespace: namespace.clone(), workflow_id: self.workflow_id().into() };
        let Some(key) = service.engine().current(&lane)? else { return Ok(None) };
        let Some(run) = service.engine().summary(&key)? else { return Ok(None) };
        let input = service.story(&key)?.input;
        let runs = input.get("runs").and_then(Value::as_array).map_or(0, Vec::len);
        Ok(Some((run, runs)))
    }

    fn workflow_id(&self) -> String {
        let prefix = self.work.prefix();
        match self.request_id {
            "" => format!("{prefix}-{}", Uuid::now_v7()),
            id => {
                let hash = blake3::hash(id.as_bytes()).to_hex();
                format!("{prefix}-{}", hash.chars().take(20).collect::<String>())
            }
        }
    }

    fn definition(&self) -> Result<bytes::Bytes, Error> {
        let (flow, node, (name, kind, _)) = (self.work.flow(), self.work.node(), &self.with);
        let source = format!(
            "name: {flow}
input: {{namespace: string, runs: array, {name}: {kind}, per_second: integer}}
steps:
  - id: each
    for_each: {{items: '{{{{ input.runs }}}}', concurrency: {CONCURRENCY}}}
    node: {node}
    with:
      namespace: '{{{{ input.namespace }}}}'
      run: '{{{{ item }}}}'
      {name}: '{{{{ input.{name} }}}}'
      per_second: '{{{{ input.per_second }}}}'
output: '{{{{ steps.each.output }}}}'
"
        );
        let broken = |problems: usize| {
            Error::new(Kind::Corrupt, format!("the flow {flow} has {problems} problems"))
        };
        let parsed = syntax::parse("many.yaml", &source).map_err(|found| broken(found.len()))?;
        let bundle =
            Bundle::collect_parsed(&parsed, |_| None).map_err(|found| broken(found.len()))?;
        Ok(bundle.to_bytes().into())
    }
}
