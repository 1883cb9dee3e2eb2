//! Many runs again: a durable run of its own, whose items re-drive one run each.
//!
//! ```text
//! RedriveRuns ─ list ─→ run of FLOW { runs } ─ for_each ─→ NODE ─→ api::redrive, once per run
//! ```
//!
//! Because it is a run, it goes on after a crash, can be paused and cancelled, and says what became
//! of each run. A run is re-driven once: the item's idempotency key is the request id.

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
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::api;
use crate::service::Service;
use crate::{Error, Kind};

/// The node that re-drives one run. It is in no catalogue: only [`FLOW`] calls it.
pub(crate) const NODE: &str = "reflux.redrive";
/// Name of the flow.
pub const FLOW: &str = "reflux.redrive-many";
/// Most runs of one call: with three events each they fit a history of 51,200.
pub const RUNS_MAX: usize = 10_000;
/// Runs that are re-driven at once: enough to keep the disk busy.
const CONCURRENCY: usize = 16;
/// Most re-drives per second that can be asked for; 0 is as fast as it goes.
pub const RATE_MAX: u32 = 10_000;
/// Runs whose pace is remembered.
const PACES_MAX: usize = 1_000; // each is one bulk re-drive of the last time
/// How long a pace is remembered after its last use.
const PACE_KEPT: Duration = Duration::from_secs(60);

/// Re-drives runs for the items of bulk runs.
pub(crate) struct Redriver {
    service: watch::Sender<Option<Weak<Service>>>,
    paces: Mutex<BTreeMap<RunId, Instant>>,
}

#[derive(Deserialize)]
struct Input {
    namespace: String,
    run: String,
    redrive: v1::Redrive,
    per_second: u32,
}

impl Default for Redriver {
    fn default() -> Self {
        Self { service: watch::Sender::new(None), paces: Mutex::default() }
    }
}

impl Redriver {
    /// Tells where runs are re-driven. Attempts that came before wait for it.
    pub fn connect(&self, service: &Arc<Service>) {
        self.service.send_replace(Some(Arc::downgrade(service)));
    }

    /// How the node is called.
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

    /// Re-drives the run that an attempt names, when it is its turn. A re-drive that is refused is
    /// a result too: the others go on.
    ///
    /// # Errors
    /// A failure to be tried again.
    pub async fn call(&self, attempt: &Attempt) -> Result<Value, Failure> {
        let input = payload::value_of(&attempt.input)
            .and_then(serde_json::from_value::<Input>)
            .map_err(|error| Failure::bad_input(error.to_string()))?;
        self.turn(attempt.run.run_id, input.per_second).await;
        let service = self.service().await?;
        let key = attempt.idempotency_key.clone();
        let work = tokio::task::spawn_blocking(move || redrive(&service, input, key));
        let done = work.await.map_err(|_| stopping())?;
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

/// `Err` for what may be tried again.
fn redrive(service: &Service, input: Input, request_id: String) -> Result<Value, Error> {
    let Input { namespace, run, redrive, per_second: _ } = input;
    // A quota that is used up has room again later.
    let again = |error: &Error| matches!(error.kind, Kind::Unavailable | Kind::Exhausted);
    match later(service, &namespace, &run, &request_id) {
        Ok(None) => {}
        Ok(Some(later)) => {
            let reason = "a later run of its workflow id is there";
            return Ok(json!({ "run": run, "skipped": reason, "later": later }));
        }
        Err(error) if again(&error) => return Err(error),
        Err(error) => return Ok(json!({ "run": run, "error": error.to_string() })),
    }
    let request =
        v1::RedriveRunRequest { namespace, run: run.clone(), redrive: Some(redrive), request_id };
    match api::redrive::run(service, request) {
        Ok(answer) => {
            Ok(json!({ "run": run, "new": answer.run.map(|new| new.run_id).unwrap_or_default() }))
        }
        Err(error) if again(&error) => Err(error),
        Err(error) => Ok(json!({ "run": run, "error": error.to_string() })),
    }
}

/// The latest run of the workflow id, if that is another one which this request has not started.
fn later(
    service: &Service,
    namespace: &str,
    run: &str,
    request_id: &str,
) -> Result<Option<String>, Error> {
    let base = api::runs::find(service, namespace, run)?;
    let Some(current) = service.engine().current(&Lane::of(&base.key))? else { return Ok(None) };
    if current == base.key {
        return Ok(None);
    }
    let summary = service.engine().summary(&current)?;
    let own = summary.is_some_and(|summary| *summary.request_id == *request_id);
    Ok((!own).then(|| current.run_id.to_string()))
}

/// Starts the run that re-drives these.
///
/// # Errors
/// [`Kind::Exists`] when it runs already.
pub(crate) fn start(
    service: &Service,
    namespace: &str,
    runs: &[Summary],
    request: &v1::RedriveRunsRequest,
) -> Result<(Option<Summary>, bool), Error> {
    let source = format!(
        "name: {FLOW}
input: {{namespace: string, runs: array, redrive: object, per_second: integer}}
steps:
  - id: each
    for_each: {{items: '{{{{ input.runs }}}}', concurrency: {CONCURRENCY}}}
    node: {NODE}
    with:
      namespace: '{{{{ input.namespace }}}}'
      run: '{{{{ item }}}}'
      redrive: '{{{{ input.redrive }}}}'
      per_second: '{{{{ input.per_second }}}}'
output: '{{{{ steps.each.output }}}}'
"
    );
    let broken = |what: String| Error::new(Kind::Corrupt, format!("the flow {FLOW}: {what}"));
    let parsed = syntax::parse("redrive-many.yaml", &source)
        .map_err(|problems| broken(format!("{} problems", problems.len())))?;
    let bundle = Bundle::collect_parsed(&parsed, |_| None)
        .map_err(|problems| broken(format!("{} problems", problems.len())))?;
    let bytes: bytes::Bytes = bundle.to_bytes().into();
    let redrive = serde_json::to_value(request.redrive.clone().unwrap_or_default())
        .map_err(|error| broken(error.to_string()))?;
    let ids: Vec<String> = runs.iter().map(|run| run.key.run_id.to_string()).collect();
    let input = json!({
        "namespace": namespace, "runs": ids, "redrive": redrive, "per_second": request.per_second,
    });
    let id = match request.request_id.as_str() {
        "" => Uuid::now_v7().to_string(),
        id => blake3::hash(id.as_bytes()).to_hex().chars().take(20).collect(),
    };
    let answer = service.engine().start(StartFlow {
        namespace: namespace.into(),
        workflow_id: format!("redrive-{id}").into(),
        run_id: RunId(Uuid::now_v7()),
        spec: Spec { digest: *blake3::hash(&bytes).as_bytes(), bytes },
        flow: FLOW.into(),
        input: payload::of_value(&input),
        request_id: request.request_id.as_str().into(),
        when_open: WhenOpen::Refuse,
        when_closed: WhenClosed::Refuse,
        identity: service.identity().clone(),
    })?;
    Ok((service.engine().summary(&answer.run)?, answer.existing))
}
