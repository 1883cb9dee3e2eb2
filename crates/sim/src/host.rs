//! The nodes of a simulated process: calls are noted, and answered whenever the scheduler likes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reflux_core::{EffectClass, EventId, RunKey};
use reflux_engine::{Attempt, Host, LOCAL_QUEUE};
use reflux_flow::graph::NodeRef;
use reflux_flow::{NodePolicy, Policies};
use serde_json::Value;

/// Notes what the engine asks of its nodes.
#[derive(Clone, Default)]
pub(crate) struct SimHost {
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// What the engine asked.
pub(crate) enum Asked {
    Start(Attempt),
    Cancel(RunKey, EventId),
}

impl SimHost {
    /// What was asked since the last time.
    pub(crate) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Policies for SimHost {
    fn policy(&self, node: &NodeRef, _: &Value) -> Option<NodePolicy> {
        let is_unsafe = node.name == "sim.unsafe";
        Some(NodePolicy {
            version: "1.0.0".into(),
            task_queue: LOCAL_QUEUE.into(),
            retry: None,
            timeout: Some(Duration::from_secs(600)),
            heartbeat: None,
            effects: if is_unsafe { EffectClass::Unsafe } else { EffectClass::Idempotent },
        })
    }
}

impl Host for SimHost {
    fn start(&self, attempt: Attempt) -> bool {
        self.lock().push(Asked::Start(attempt));
        true
    }

    fn cancel(&self, run: &RunKey, scheduled: EventId) {
        self.lock().push(Asked::Cancel(run.clone(), scheduled));
    }
}
