//! An attempt waits until the rate and the circuit of its node and of its queue let it begin.
//!
//! ```text
//! started ─→ in line ─┬─ soon ────────────────────────────→ begins
//!                     └─ not soon ─→ given back ─→ its turn ─→ claimed again ─→ begins
//! ```
//!
//! An attempt that has to wait for long is given back: the run then says that it waits, its time to
//! start counts, and a crash finds an attempt that never began rather than one that was lost.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reflux_core::{Command, EventId, Phase, Rejection, Run, RunKey};
use reflux_engine::{Ask, Attempt, Error, Lane};
use reflux_sdk::Context;

use super::Inner;
use crate::clock;

/// How long an attempt waits without being given back: two records are not worth less.
const HOLD: Duration = Duration::from_millis(500);
/// How often the first in line looks again: rules change, circuits close.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two tries to tell the run.
const TELL_AGAIN: Duration = Duration::from_millis(100);

/// Who waits, and whose turn it is.
#[derive(Default)]
pub(super) struct Turns {
    /// One line for each node that somebody waits for: who came first goes first.
    lines: Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<()>>>>,
    /// Attempts whose turn came while they were given back: they do not wait again. Bounded by the
    /// claims under way.
    passes: Mutex<HashSet<(RunKey, EventId)>>,
}

impl Turns {
    fn line(&self, node: &Arc<str>) -> Arc<tokio::sync::Mutex<()>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.entry(node.clone()).or_default().clone()
    }

    /// A line in which nobody stands any more is forgotten.
    fn leave(&self, node: &Arc<str>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.get(node).is_some_and(|line| Arc::strong_count(line) == 1) {
            lines.remove(node);
        }
    }

    fn passes(&self) -> MutexGuard<'_, HashSet<(RunKey, EventId)>> {
        self.passes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the turn of an attempt. `false` when it does not begin here: it was given back, and is
/// started again if it is still wanted.
pub(super) async fn wait(inner: &Inner, attempt: &Attempt, context: &Context) -> bool {
    let id = (attempt.run.clone(), attempt.scheduled);
    if !inner.gates.is_any() || inner.turns.passes().remove(&id) {
        return true;
    }
    let given_back = AtomicBool::new(false);
    let begins = {
        let mut turn = pin!(turn(inner, attempt, context, &given_back));
        match tokio::time::timeout(HOLD, &mut turn).await {
            Ok(_) => true,
            Err(_) => {
                let command = Command::UnclaimActivity {
                    scheduled: attempt.scheduled,
                    attempt: attempt.attempt,
                };
                let there = tell(inner, attempt, command).await;
                inner.end(&attempt.run, attempt.scheduled);
                given_back.store(true, Ordering::Relaxed);
                if there && turn.await {
                    claim(inner, attempt, id).await;
                }
                false
            }
        }
    };
    inner.turns.leave(&attempt.node);
    begins
}

/// Stands in line; `false` when the attempt is no longer wanted.
async fn turn(
    inner: &Inner,
    attempt: &Attempt,
    context: &Context,
    given_back: &AtomicBool,
) -> bool {
    let line = inner.turns.line(&attempt.node);
    let (node, namespace) = (&attempt.node, &attempt.run.namespace);
    let queue = Arc::from(reflux_engine::LOCAL_QUEUE);
    let held = inner.gates.holds(node, namespace, &queue, clock::now());
    if let Some(held) = &held {
        inner.gates.waits(held);
    }
    let _first = line.lock().await;
    loop {
        let back = given_back.load(Ordering::Relaxed);
        if !back && context.cancelled() {
            return true; // it ends as cancelled without being called
        }
        if back && !waits(inner, attempt).await {
            return false;
        }
        let now = clock::now();
        match inner.gates.enter(node, namespace, &queue, now) {
            Ok(()) => return true,
            Err(held) => tokio::time::sleep(held.until.since(now).min(LOOK_EVERY)).await,
        }
    }
}

/// Whether an attempt that was given back still waits.
async fn waits(inner: &Inner, attempt: &Attempt) -> bool {
    let Some(engine) = inner.engine().await else { return false };
    let (scheduled, number) = (attempt.scheduled, attempt.attempt);
    let look = move |run: &Run| {
        let activity = run.activities.get(&scheduled);
        run.paused.is_none()
            && activity.is_some_and(|activity| {
                activity.attempt == number && matches!(activity.phase, Phase::Waiting { .. })
            })
    };
    let looked = engine.look(Lane::of(&attempt.run), Some(attempt.run.run_id), look).await;
    match looked {
        Ok(waits) => waits,
        // The claim says more.
        Err(error) => error.is_retryable(),
    }
}

/// Has the attempt started again, now that it is its turn.
async fn claim(inner: &Inner, attempt: &Attempt, id: (RunKey, EventId)) {
    inner.turns.passes().insert(id.clone());
    loop {
        let Some(engine) = inner.engine().await else { break };
        match engine.claim_local(&attempt.run, attempt.scheduled).await {
            Ok(()) => return,
            Err(error) if error.is_retryable() => tokio::time::sleep(TELL_AGAIN).await,
            Err(error) => {
                tracing::debug!(run = %attempt.run, %error, "an attempt whose turn came is no longer wanted");
                break;
            }
        }
    }
    inner.turns.passes().remove(&id);
}

/// Tells the run; whether it heard.
async fn tell(inner: &Inner, attempt: &Attempt, command: Command) -> bool {
    loop {
        let Some(engine) = inner.engine().await else { return false };
        let run_id = Some(attempt.run.run_id);
        let ask = Ask::Command { run_id, first_run: None, command: command.clone() };
        match engine.ask(Lane::of(&attempt.run), ask, |_, _| ()).await {
            Ok(()) => return true,
            Err(Error::Rejected(Rejection::Poisoned)) => {}
            Err(error) if error.is_retryable() => {}
            Err(_) => return false,
        }
        tokio::time::sleep(TELL_AGAIN).await;
    }
}
