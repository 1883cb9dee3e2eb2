//! What executes nodes inside this process. The engine knows only this seam.

use std::sync::Arc;
use std::time::Duration;

use reflux_core::{EventId, Payloads, RunKey, Timestamp};

use crate::{Error, Recovered};

/// Executes attempts of nodes that live in this process.
pub trait Host: reflux_flow::Policies + Send + Sync + 'static {
    /// Takes an attempt that is durable as started. Must not block. Ends with exactly one
    /// `CompleteActivity`, `FailActivity` or `CancelActivity` command to the run.
    ///
    /// `false` when the host begins nothing any more: the attempt is recorded as never begun.
    #[must_use]
    fn start(&self, attempt: Attempt) -> bool;

    /// What was recovered, before the first run goes on: a host that keeps what it knows in runs
    /// reads it here. Nothing is decided before this returns.
    ///
    /// # Errors
    /// The engine does not open.
    fn recovered(&self, _runs: &Recovered<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// The attempt was asked to stop, or is no longer wanted.
    fn cancel(&self, run: &RunKey, scheduled: EventId);
}

/// One attempt to execute a node.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The run.
    pub run: RunKey,
    /// Name of the flow.
    pub workflow_type: Arc<str>,
    /// Names the activity within the run.
    pub scheduled: EventId,
    /// The activation id.
    pub activity_id: Arc<str>,
    /// The node's name.
    pub node: Arc<str>,
    /// The node's exact version; empty when the schedule does not say.
    pub version: Arc<str>,
    /// 1 for the first.
    pub attempt: u32,
    /// The input as it was recorded: secrets are still names.
    pub input: Payloads,
    /// What the attempt before said last, if it said anything.
    pub heartbeat: Payloads,
    /// Limit of this attempt.
    pub timeout: Option<Duration>,
    /// When the activity was scheduled.
    pub scheduled_at: Timestamp,
    /// The same for every attempt of this activation with this input, different for every other:
    /// BLAKE3 of workflow id, first run id, activation id and input, in hex.
    pub idempotency_key: String,
}
