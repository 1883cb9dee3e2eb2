//! What a decision depends on besides the run and the command.

use std::sync::Arc;

use crate::{Limits, RunId, Timestamp, Worker};

/// What a decision depends on besides the run and the command.
#[derive(Debug, Clone)]
pub struct Context {
    /// When it is decided.
    pub now: Timestamp,
    /// What is allowed.
    pub limits: Limits,
    /// The worker inside this process.
    pub local: Local,
    /// A fresh id, for the run that follows this one, if the command makes one follow. Ids of
    /// children are derived: [`RunId::of_child`].
    pub new_run_id: RunId,
}

/// The worker inside the process that owns the partition.
#[derive(Debug, Clone)]
pub struct Local {
    /// Activities of this task queue are claimed in the record that schedules them.
    pub queue: Arc<str>,
    /// Who claims them; its boot is not nil.
    pub worker: Worker,
}
