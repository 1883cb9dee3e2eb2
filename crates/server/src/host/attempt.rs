//! One attempt from its record to its outcome.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use reflux_core::{AttemptRef, Command, EventId, Payloads, RunKey};
use reflux_engine::Attempt;
use reflux_flow::payload;
use reflux_flow::progress::Activation;
use reflux_sdk::{Context, Failure, Limits, Notice};
use serde_json::Value;
use tokio::runtime::Handle;

use super::outcome::{self, OUTPUT_BYTES_MAX, Outcome};
use super::{Inner, turn};
use crate::bulk::Work;
use crate::secrets::Scrub;
use crate::telemetry::attempts::{self, Ending};
use crate::{clock, workers};

/// Heartbeats of one attempt are recorded this far apart: each costs a durable record.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// Kind of the failure of a step whose node is not here.
const NOT_FOUND: &str = "NodeNotFound";

/// Takes up an attempt, to begin it when there is room; `false` when nothing begins any more.
pub(super) fn start(inner: &Arc<Inner>, handle: &Handle, attempt: Attempt) -> bool {
    let listener = Listener {
        inner: Arc::downgrade(inner),
        handle: handle.clone(),
        run: attempt.run.clone(),
        scheduled: attempt.scheduled,
        attempt: attempt.attempt,
        secret: workers::has_secrets(&attempt.input),
        told_ms: AtomicU64::new(0),
    };
    let limits = Limits { output_bytes: OUTPUT_BYTES_MAX, ..Limits::default() };
    let context = Context::hosted(described(&attempt), limits, Arc::new(listener));
    let taken = inner.take_up(&attempt.run, attempt.scheduled, &context);
    if taken {
        handle.spawn(run(inner.clone(), attempt, context));
    }
    taken
}

async fn run(inner: Arc<Inner>, attempt: Attempt, context: Context) {
    if !turn::wait(&inner, &attempt, &context).await {
        return;
    }
    let permit = inner.permits.acquire().await;
    if !inner.begin(&attempt.run, attempt.scheduled) {
        return;
    }
    let started_at = clock::now();
    let mut scrub = Scrub::default();
    let outcome = call(&inner, &attempt, &context, &mut scrub).await;
    drop(permit);
    let failure = outcome.failure(&scrub);
    let ending = Ending {
        outcome: outcome.name(),
        failure: failure.as_deref(),
        known: failure.as_deref() != Some(NOT_FOUND),
    };
    attempts::ended(&attempt, ending, started_at, clock::now(), inner.spans.get());
    let at = AttemptRef {
        scheduled: attempt.scheduled,
        attempt: attempt.attempt,
        started_at: Some(started_at),
    };
    let report = outcome::report(context.report(), &scrub);
    let command = outcome.into_command(at, report, &scrub);
    inner.deliver(attempt.run.clone(), command).await;
    // Open until the run has it: whoever waits for the end of what has begun waits for this too.
    inner.end(&attempt.run, attempt.scheduled);
}

/// Calls the node and waits for it, its time limit or its cancellation.
async fn call(inner: &Inner, attempt: &Attempt, context: &Context, scrub: &mut Scrub) -> Outcome {
    if let Some(work) = Work::of_node(&attempt.node) {
        return match inner.bulk.call(work, attempt).await {
            Ok(output) => Outcome::Completed(output),
            Err(failure) => Outcome::Failed(failure),
        };
    }
    let nodes = inner.nodes.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let Some(node) = nodes.recorded(&attempt.node, &attempt.version).cloned() else {
        return Outcome::Failed(Failure::permanent(
            NOT_FOUND,
            format!(
                "no node {} {} is here; declare it in nodes/ or start its worker",
                attempt.node, attempt.version
            ),
        ));
    };
    let secrets = inner.secrets.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    let input = match secrets.input(&attempt.input) {
        Ok((input, taken_out)) => {
            *scrub = taken_out;
            input
        }
        Err(failure) => return Outcome::Failed(failure),
    };
    if context.cancelled() {
        return Outcome::Cancelled;
    }
    // The node is called in the guarded part too: it may panic before its first await.
    let work = AssertUnwindSafe(async { node.call(context, input).await }).catch_unwind();
    let limited = async {
        match attempt.timeout {
            Some(limit) => tokio::time::timeout(limit, work).await.ok(),
            None => Some(work.await),
        }
    };
    match limited.await {
        Some(Ok(Ok(output))) => Outcome::Completed(output),
        Some(Ok(Err(failure))) if failure.kind == Failure::CANCELLED && context.cancelled() => {
            Outcome::Cancelled
        }
        Some(Ok(Err(failure))) => Outcome::Failed(failure),
        Some(Err(panic)) => Outcome::Failed(outcome::of_panic(&attempt.node, &*panic)),
        None => Outcome::TimedOut,
    }
}

/// The attempt as its node sees it.
fn described(attempt: &Attempt) -> reflux_sdk::Attempt {
    let millis = |at: reflux_core::Timestamp| u64::try_from(at.0 / 1_000_000).unwrap_or(0);
    let deadline = attempt.timeout.map(|limit| millis(clock::now().after(limit)));
    let step = Activation::parse(&attempt.activity_id)
        .map_or_else(String::new, |a| a.step.as_str().to_owned());
    reflux_sdk::Attempt {
        namespace: attempt.run.namespace.as_ref().to_owned(),
        run_id: attempt.run.run_id.to_string(),
        workflow_id: attempt.run.workflow_id.as_ref().to_owned(),
        flow: attempt.workflow_type.as_ref().to_owned(),
        step,
        activation_id: attempt.activity_id.as_ref().to_owned(),
        attempt: attempt.attempt,
        idempotency_key: attempt.idempotency_key.clone(),
        scheduled_at_ms: millis(attempt.scheduled_at),
        deadline_ms: deadline,
        last_heartbeat: reflux_flow::payload::value_of(&attempt.heartbeat)
            .ok()
            .filter(|details| !details.is_null()),
    }
}

/// Hears what an attempt says while it runs.
struct Listener {
    inner: Weak<Inner>,
    handle: Handle,
    run: RunKey,
    scheduled: EventId,
    attempt: u32,
    /// Whether the attempt knows secrets: then what it says meanwhile is not recorded.
    secret: bool,
    told_ms: AtomicU64,
}

impl reflux_sdk::Host for Listener {
    fn notice(&self, notice: Notice<'_>) {
        match notice {
            Notice::Heartbeat(details) => self.heartbeat(details),
            Notice::Log(_) | Notice::Metric(..) => {} // recorded with the attempt's end
        }
    }
}

impl Listener {
    fn heartbeat(&self, details: &Value) {
        let now_ms = self.now_ms();
        let told_ms = self.told_ms.load(Ordering::Relaxed);
        let due = told_ms.saturating_add(u64::try_from(HEARTBEAT_EVERY.as_millis()).unwrap_or(0));
        if now_ms < due || self.told_ms.swap(now_ms, Ordering::Relaxed) != told_ms {
            return;
        }
        let Some(inner) = self.inner.upgrade() else { return };
        let details = if self.secret { Payloads::default() } else { payload::of_value(details) };
        let (run, scheduled, attempt) = (self.run.clone(), self.scheduled, self.attempt);
        self.handle.spawn(async move {
            inner.mention(&run, Command::HeartbeatActivity { scheduled, attempt, details }).await;
        });
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(clock::now().0 / 1_000_000).unwrap_or(0)
    }
}
