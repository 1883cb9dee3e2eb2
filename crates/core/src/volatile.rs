//! What a restart may lose: questions and updates that nobody has answered. Outside the run, its
//! items and its hash; whoever asked asks again.

use std::collections::BTreeMap;
use std::sync::Arc;

use reflux_proto::temporal::api::query::v1::WorkflowQuery;
use reflux_proto::temporal::api::update::v1::Request;

use crate::{EventId, Limits, Rejection, Run, Update};

/// Questions to one run that are open at once: each holds a caller and its answer in memory.
pub const QUERIES_MAX: usize = 100;

/// What a restart may lose of one run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Volatile {
    queries: BTreeMap<Arc<str>, Query>,
    updates: BTreeMap<Arc<str>, AdmittedUpdate>,
}

/// A question that is not answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// What is asked.
    pub what: Arc<WorkflowQuery>,
    /// The answer must have seen every event before this one.
    pub after: EventId,
}

/// An update that the workflow has not answered.
#[derive(Debug, Clone, PartialEq)]
pub struct AdmittedUpdate {
    /// What is asked.
    pub request: Arc<Request>,
    /// The events before this one came first.
    pub after: EventId,
}

impl Volatile {
    /// Asks a question under an id of the caller's.
    ///
    /// # Errors
    /// [`Rejection::LimitExceeded`] when too many are open.
    pub fn ask(
        &mut self,
        run: &Run,
        id: Arc<str>,
        what: Arc<WorkflowQuery>,
    ) -> Result<(), Rejection> {
        if run.started.is_none() {
            return Err(Rejection::NotStarted);
        }
        let open = self.queries.len() + 1;
        crate::decide::within("open queries", open, QUERIES_MAX, "ask again later")?;
        self.queries.insert(id, Query { what, after: run.next_event_id });
        Ok(())
    }

    /// Takes an answered or abandoned question away.
    pub fn answered(&mut self, id: &str) -> Option<Query> {
        self.queries.remove(id)
    }

    /// Open questions by id.
    pub fn queries(&self) -> &BTreeMap<Arc<str>, Query> {
        &self.queries
    }

    /// Whether a question can be sent to a worker by itself: a task has completed, none is
    /// pending, so that the worker's state is current. Otherwise it rides on the next task.
    pub fn is_direct(run: &Run) -> bool {
        let has_completed = run.task_completed != EventId(0);
        has_completed && (run.task == crate::WorkflowTask::Idle || !run.is_open())
    }

    /// Takes an update in, or finds that it is known.
    ///
    /// # Errors
    /// [`Rejection::AlreadyDone`] when the run has taken it before, [`Rejection::LimitExceeded`]
    /// when too many are open or were ever taken.
    pub fn admit(
        &mut self,
        run: &Run,
        limits: &Limits,
        id: Arc<str>,
        request: Arc<Request>,
    ) -> Result<(), Rejection> {
        crate::decide::open(run)?;
        if run.updates.contains_key(&id) {
            return Err(Rejection::AlreadyDone("the run has taken this update"));
        }
        if self.updates.contains_key(&id) {
            return Ok(());
        }
        let accepted =
            run.updates.values().filter(|update| matches!(update, Update::Accepted { .. })).count();
        let open = accepted + self.updates.len() + 1;
        let all = run.updates.len() + self.updates.len() + 1;
        let later = "wait for some to end";
        crate::decide::within("open updates", open, limits.updates_open_max, later)?;
        let advice = "let the run continue as new";
        crate::decide::within("updates of this run", all, limits.updates_max, advice)?;
        self.updates.insert(id, AdmittedUpdate { request, after: run.next_event_id });
        Ok(())
    }

    /// Takes an update away that was accepted or rejected.
    pub fn settled(&mut self, id: &str) -> Option<AdmittedUpdate> {
        self.updates.remove(id)
    }

    /// Admitted updates by id.
    pub fn updates(&self) -> &BTreeMap<Arc<str>, AdmittedUpdate> {
        &self.updates
    }
}
