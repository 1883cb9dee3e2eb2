//! One attempt from its task to its completion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use temporalio_common::protos::coresdk::activity_result::ActivityExecutionResult;
use temporalio_common::protos::coresdk::activity_task::Start;
use temporalio_common::protos::coresdk::{ActivityHeartbeat, ActivityTaskCompletion};
use temporalio_sdk_core::Worker;
use tokio::sync::Notify;

use super::payload;
use crate::{Attempt, Context, Effects, Failure, Host, Limits, Node, Notice, Report};

/// How often a worker speaks of an attempt whose step has no limit for its silence.
const UNASKED_EVERY: Duration = Duration::from_secs(5);
/// How long an attempt that was asked to stop may take to; then its call is dropped.
const STOP_MAX: Duration = Duration::from_secs(5);

/// An attempt under way, for whoever stops it.
pub(super) struct Open {
    context: Context,
    worker_ends: Arc<AtomicBool>,
}

impl Open {
    /// Asks the attempt to stop: its run does not want it any more, or its worker ends.
    pub(super) fn stop(&self, worker_ends: bool) {
        self.worker_ends.fetch_or(worker_ends, Ordering::SeqCst);
        self.context.cancel();
    }
}

/// How an attempt ended.
enum Outcome {
    Completed(Value),
    Failed(Failure),
    Cancelled,
    /// Nobody knows what it has done: its worker ended before it did.
    Lost,
}

/// The attempt of a task, and its work, which gives the task's token back.
pub(super) fn of(
    worker: Arc<Worker>,
    node: Option<Arc<dyn Node>>,
    token: Vec<u8>,
    start: Start,
) -> (Open, impl Future<Output = Vec<u8>> + Send) {
    let beat = Arc::new(Notify::new());
    let host = Arc::new(Listener { beat: beat.clone() });
    let context = Context::hosted(described(&start), Limits::default(), host);
    let open = Open { context: context.clone(), worker_ends: Arc::default() };
    let worker_ends = open.worker_ends.clone();
    let work = async move {
        let every =
            start.heartbeat_timeout.as_ref().and_then(|limit| span(limit.seconds, limit.nanos));
        let outcome = tokio::select! {
            outcome = call(node, &start, &context, &worker_ends) => outcome,
            never = beats(&worker, &token, &context, every.map_or(UNASKED_EVERY, |limit| limit / 3), &beat) => {
                match never {}
            }
        };
        let mut report = context.report();
        report.heartbeat = None; // told by heartbeats
        let report = (report != Report::default()).then_some(report);
        let result = match outcome {
            Outcome::Completed(output) => {
                ActivityExecutionResult::ok(payload::of(&output, report.as_ref()))
            }
            Outcome::Failed(failure) => {
                ActivityExecutionResult::fail(payload::failure(failure, report.as_ref()))
            }
            Outcome::Cancelled => ActivityExecutionResult::cancel_from_details(Some(payload::of(
                &Value::Null,
                report.as_ref(),
            ))),
            // Nothing is told: the server notices the silence and does what the node's effects allow.
            Outcome::Lost => ActivityExecutionResult::will_complete_async(),
        };
        let completion = ActivityTaskCompletion { task_token: token.clone(), result: Some(result) };
        if let Err(error) = worker.complete_activity_task(completion).await {
            tracing::warn!(%error, "the outcome of a node cannot be told");
        }
        token
    };
    (open, work)
}

/// Calls the node in a task of its own, so that a panic ends nothing else.
async fn call(
    node: Option<Arc<dyn Node>>,
    start: &Start,
    context: &Context,
    worker_ends: &AtomicBool,
) -> Outcome {
    let Some(node) = node else {
        let name = &start.activity_type;
        let message = format!("this worker does not serve {name}; give it a task queue of its own");
        return Outcome::Failed(Failure::retryable("NodeNotFound", message));
    };
    let input = payload::value(&start.input);
    let effects = node.effects(&input);
    let name = node.manifest().name.clone();
    let mut running = tokio::spawn({
        let context = context.clone();
        async move { node.call(&context, input).await }
    });
    let stopped = async {
        context.cancellation().await;
        tokio::time::sleep(STOP_MAX).await;
    };
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = stopped => {
            running.abort();
            running.await
        }
    };
    match ended {
        Ok(Ok(output)) => Outcome::Completed(output),
        Ok(Err(failure)) if failure.kind != Failure::CANCELLED || !context.cancelled() => {
            Outcome::Failed(failure)
        }
        Ok(Err(_)) => stopped_as(worker_ends, effects),
        Err(error) if error.is_cancelled() => stopped_as(worker_ends, effects),
        Err(error) => Outcome::Failed(panicked(&name, error)),
    }
}

/// The outcome of an attempt that stopped because it was asked to.
fn stopped_as(worker_ends: &AtomicBool, effects: Effects) -> Outcome {
    if !worker_ends.load(Ordering::SeqCst) {
        return Outcome::Cancelled;
    }
    match effects {
        Effects::Unsafe => Outcome::Lost,
        Effects::Pure | Effects::Reads | Effects::Idempotent => Outcome::Failed(
            Failure::retryable("WorkerStopped", "the worker ended before the attempt did"),
        ),
    }
}

fn panicked(name: &str, error: tokio::task::JoinError) -> Failure {
    let panic = error.try_into_panic().ok();
    let text = panic.as_ref().and_then(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
    });
    let text = text.unwrap_or("no message");
    Failure::permanent(
        "Panic",
        format!("node {name} panicked: {text}; report it to the node's author"),
    )
}

/// Says that the attempt is alive, with what it told so far. What is too often is held back by Temporal's worker.
async fn beats(
    worker: &Worker,
    token: &[u8],
    context: &Context,
    every: Duration,
    beat: &Notify,
) -> std::convert::Infallible {
    loop {
        let mut report = context.so_far();
        // An attempt that says nothing new hands on where the one before got to.
        let details = report.heartbeat.take().or_else(|| context.attempt.last_heartbeat.clone());
        let report = (report != Report::default()).then_some(report);
        worker.record_activity_heartbeat(ActivityHeartbeat {
            task_token: token.to_vec(),
            details: vec![payload::of(&details.unwrap_or_default(), report.as_ref())],
        });
        // Whichever comes first: something was said, or it is time.
        let _ = tokio::time::timeout(every, beat.notified()).await;
    }
}

fn described(start: &Start) -> Attempt {
    let run = start.workflow_execution.clone().unwrap_or_default();
    let started = start.started_time.as_ref().map(|at| millis(at.seconds, at.nanos));
    let limit =
        start.start_to_close_timeout.as_ref().and_then(|limit| span(limit.seconds, limit.nanos));
    let limit = limit.and_then(|limit| u64::try_from(limit.as_millis()).ok());
    let last = payload::value(&start.heartbeat_details);
    Attempt {
        namespace: start.workflow_namespace.clone(),
        run_id: run.run_id,
        workflow_id: run.workflow_id,
        flow: start.workflow_type.clone(),
        step: step(&start.activity_id),
        activation_id: start.activity_id.clone(),
        attempt: start.attempt,
        idempotency_key: payload::idempotency_key(start),
        scheduled_at_ms: start.scheduled_time.as_ref().map_or(0, |at| millis(at.seconds, at.nanos)),
        deadline_ms: started.zip(limit).map(|(started, limit)| started.saturating_add(limit)),
        last_heartbeat: (!last.is_null()).then_some(last),
    }
}

/// Milliseconds since 1970; 0 for what is before.
fn millis(seconds: i64, nanos: i32) -> u64 {
    let ms = seconds.saturating_mul(1_000).saturating_add(i64::from(nanos) / 1_000_000);
    u64::try_from(ms).unwrap_or(0)
}

/// A length of time; none for zero, which means that there is no limit.
fn span(seconds: i64, nanos: i32) -> Option<Duration> {
    let span = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
    (!span.is_zero()).then_some(span)
}

/// `parent/step#2[3].compensate` is an activation of `parent/step`.
fn step(activation: &str) -> String {
    let own = activation.rfind('/').map_or(0, |at| at + 1);
    let (parents, name) = activation.split_at(own);
    let end = name.find(['#', '[', '.']).unwrap_or(name.len());
    format!("{parents}{}", name.get(..end).unwrap_or(name))
}

struct Listener {
    beat: Arc<Notify>,
}

impl Host for Listener {
    fn notice(&self, notice: Notice<'_>) {
        match notice {
            Notice::Heartbeat(_) => self.beat.notify_one(),
            Notice::Log(_) | Notice::Metric(..) => {} // told with the next heartbeat or the end
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_named_without_its_visit_and_item() {
        for (activation, expected) in [
            ("a", "a"),
            ("a#2", "a"),
            ("a[3]", "a"),
            ("a#2[3].compensate", "a"),
            ("p#2[1]/a[3]", "p#2[1]/a"),
        ] {
            assert_eq!(step(activation), expected);
        }
    }

    #[test]
    fn what_an_ending_worker_breaks_off_is_made_again_only_if_that_is_safe() {
        let (run, worker) = (AtomicBool::new(false), AtomicBool::new(true));
        assert!(matches!(stopped_as(&run, Effects::Unsafe), Outcome::Cancelled));
        assert!(matches!(stopped_as(&worker, Effects::Unsafe), Outcome::Lost));
        for effects in [Effects::Pure, Effects::Reads, Effects::Idempotent] {
            assert!(
                matches!(stopped_as(&worker, effects), Outcome::Failed(failure) if failure.retryable)
            );
        }
    }

    #[test]
    fn a_deadline_needs_a_limit() {
        let at = |seconds| Some(prost_at(seconds));
        let mut start = Start { started_time: at(10), attempt: 2, ..Start::default() };
        assert_eq!(described(&start).deadline_ms, None);
        start.start_to_close_timeout =
            Some(Duration::from_millis(1_500).try_into().unwrap_or_default());
        assert_eq!((described(&start).deadline_ms, described(&start).attempt), (Some(11_500), 2));
        assert_eq!((millis(-1, 0), span(0, 0), span(-1, 0)), (0, None, None));
    }

    fn prost_at<T: From<std::time::SystemTime>>(seconds: u64) -> T {
        (std::time::UNIX_EPOCH + Duration::from_secs(seconds)).into()
    }
}
