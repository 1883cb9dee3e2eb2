//! Questions to runs that are not answered yet. A restart loses them; whoever asked asks again.
//!
//! ```text
//! query ─→ the run's worker is free: an offer of its own ─┐
//!      └─→ a task is pending: rides on the next one ──────┴─→ answer_query
//! ```
//! What is asked is decided on the partition's thread, so an answer has seen every event that was
//! durable when the question came.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reflux_core::{
    Decider, EventId, Failure, Payloads, Rejection, Run, RunKey, Volatile, WorkflowTask,
};
use reflux_proto::temporal::api::query::v1::WorkflowQuery;
use tokio::sync::oneshot;

use crate::matching::{Matching, Offer, Queue, QueueKind};
use crate::request::Lane;
use crate::{Engine, Error};

/// Questions open at once on this node: each holds a caller and what it asks, some KiB.
const OPEN_MAX: usize = 10_000;

/// How long a worker's own queue has a question to itself.
const STICKY_WAIT: Duration = Duration::from_secs(5); // as SDKs ask for their sticky queues

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryOutcome {
    /// The answer.
    Answered(Payloads),
    /// The code could not answer.
    Failed {
        /// Why, for people.
        message: String,
        /// Why, for programs.
        failure: Option<Box<Failure>>,
    },
}

/// A question for a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenQuery {
    /// Names it within its run.
    pub id: Arc<str>,
    /// What is asked.
    pub query: Arc<WorkflowQuery>,
}

/// The open questions of a node.
#[derive(Default)]
pub(crate) struct Queries {
    by_run: Mutex<BTreeMap<RunKey, Open>>,
    /// How many there are, for those who only want to know whether there is one.
    count: AtomicUsize,
}

#[derive(Default)]
struct Open {
    volatile: Volatile,
    callers: BTreeMap<Arc<str>, Caller>,
}

struct Caller {
    outcome: oneshot::Sender<Result<QueryOutcome, Error>>,
    /// The task in hand when the question came cannot answer it.
    not_on: Option<EventId>,
    /// Whether it was offered by itself.
    direct: bool,
}

impl Engine {
    /// Asks the code of a run and waits for the answer as long as it takes: the caller sets the
    /// limit, and takes the question back by dropping the future. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the run is a flow, has closed before its code ever ran, or has too
    /// many questions open; [`Error::Busy`]; [`Error::Unavailable`] when the question was lost:
    /// ask again.
    pub async fn query(&self, run: RunKey, query: WorkflowQuery) -> Result<QueryOutcome, Error> {
        let id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
        let queries = self.inner.queries.clone();
        let _forget = Forget { queries: &queries, run: &run, id: &id };
        let (sender, mut outcome) = oneshot::channel();
        let asked = {
            let (queries, matching) = (queries.clone(), self.inner.matching.clone());
            let (id, query) = (id.clone(), Arc::new(query));
            move |run: &Run| queries.ask(run, id, query, sender, &matching)
        };
        let normal = self.look(Lane::of(&run), Some(run.run_id), asked).await??;
        let lost = || Error::Unavailable("the question was lost".into());
        tokio::select! {
            outcome = &mut outcome => return outcome.unwrap_or_else(|_| Err(lost())),
            () = tokio::time::sleep(STICKY_WAIT) => {}
        }
        if queries.is_direct(&run, &id) {
            // The worker that has the run in its cache may be gone.
            let offer = Offer::Query { run: run.clone(), id: id.clone() };
            self.inner.matching.ask(&normal, offer);
        }
        outcome.await.unwrap_or_else(|_| Err(lost()))
    }

    /// The questions that ride on the workflow task that `run` has just started: called in the
    /// `look` of the claim, so that none is among them that came later.
    pub fn attach_queries(&self, run: &Run) -> Vec<OpenQuery> {
        self.inner.queries.attach(run)
    }

    /// What an [`Offer::Query`] asks; `None` when nobody waits for it any more: poll again.
    pub fn open_query(&self, run: &RunKey, id: &str) -> Option<Arc<WorkflowQuery>> {
        let by_run = self.inner.queries.lock();
        by_run.get(run)?.volatile.queries().get(id).map(|query| query.what.clone())
    }

    /// Gives whoever asked the answer; `false` when nobody waits for it any more.
    pub fn answer_query(&self, run: &RunKey, id: &str, outcome: QueryOutcome) -> bool {
        let caller = self.inner.queries.remove(run, id);
        caller.is_some_and(|caller| caller.outcome.send(Ok(outcome)).is_ok())
    }
}

impl Queries {
    /// Takes a question in. Gives the queue that any worker of the run polls.
    fn ask(
        &self,
        run: &Run,
        id: Arc<str>,
        query: Arc<WorkflowQuery>,
        outcome: oneshot::Sender<Result<QueryOutcome, Error>>,
        matching: &Arc<Matching>,
    ) -> Result<Queue, Error> {
        let Some(normal) = task_queue(run) else { return Err(Rejection::NotStarted.into()) };
        if run.decider() == Some(Decider::Flow) {
            let text = "this run is a flow: read its state instead of asking its code";
            return Err(Rejection::Invalid(text.into()).into());
        }
        if is_mute(run) {
            return Err(mute());
        }
        let mut by_run = self.lock();
        if outcome.is_closed() {
            // Nobody waits any more, and nobody would take it away.
            return Ok(normal);
        }
        if self.count.load(Ordering::Relaxed) >= OPEN_MAX {
            return Err(Error::Busy);
        }
        let open = by_run.entry(run.key.clone()).or_default();
        open.volatile.ask(run, id.clone(), query)?;
        let not_on = match &run.task {
            WorkflowTask::Started(started) => Some(started.started),
            _ => None,
        };
        open.callers.insert(id, Caller { outcome, not_on, direct: false });
        self.count.fetch_add(1, Ordering::Relaxed);
        open.offer(run, matching);
        Ok(normal)
    }

    fn attach(&self, run: &Run) -> Vec<OpenQuery> {
        let WorkflowTask::Started(started) = &run.task else { return Vec::new() };
        let by_run = self.lock();
        let Some(open) = by_run.get(&run.key) else { return Vec::new() };
        let rides = |id: &Arc<str>| {
            let caller = open.callers.get(id);
            caller.is_some_and(|caller| !caller.direct && caller.not_on != Some(started.started))
        };
        let queries = open.volatile.queries().iter().filter(|(id, _)| rides(id));
        queries.map(|(id, query)| OpenQuery { id: id.clone(), query: query.what.clone() }).collect()
    }

    /// A run went on: questions that no task carries are offered by themselves.
    pub fn went_on(&self, run: &Run, matching: &Arc<Matching>) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut by_run = self.lock();
        let Some(open) = by_run.get_mut(&run.key) else { return };
        if is_mute(run) {
            let gone = by_run.remove(&run.key).map(|open| open.callers).unwrap_or_default();
            self.count.fetch_sub(gone.len(), Ordering::Relaxed);
            for caller in gone.into_values() {
                // The caller may have gone away meanwhile.
                let _ = caller.outcome.send(Err(mute()));
            }
            return;
        }
        open.offer(run, matching);
    }

    /// Tells the recorder of metrics how many there are.
    pub fn observe(&self) {
        crate::metrics::queries(self.count.load(Ordering::Relaxed));
    }

    /// Nobody will answer any more.
    pub fn clear(&self) {
        self.lock().clear();
        self.count.store(0, Ordering::Relaxed);
    }

    fn is_direct(&self, run: &RunKey, id: &str) -> bool {
        let by_run = self.lock();
        by_run.get(run).and_then(|open| open.callers.get(id)).is_some_and(|caller| caller.direct)
    }

    fn remove(&self, run: &RunKey, id: &str) -> Option<Caller> {
        let mut by_run = self.lock();
        let open = by_run.get_mut(run)?;
        open.volatile.answered(id);
        let caller = open.callers.remove(id);
        if open.callers.is_empty() {
            by_run.remove(run);
        }
        self.count.fetch_sub(usize::from(caller.is_some()), Ordering::Relaxed);
        caller
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunKey, Open>> {
        self.by_run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Offers what can be asked by itself now: first to the worker that has the run in its cache.
    fn offer(&mut self, run: &Run, matching: &Arc<Matching>) {
        let Some(normal) = task_queue(run).filter(|_| Volatile::is_direct(run)) else { return };
        let sticky = run.sticky.as_ref().filter(|_| run.is_open());
        let sticky = sticky.map(|it| Queue { name: it.task_queue.clone(), ..normal.clone() });
        let queue = sticky.filter(|queue| matching.is_served(queue)).unwrap_or(normal);
        for (id, caller) in &mut self.callers {
            if !std::mem::replace(&mut caller.direct, true) {
                let offer = Offer::Query { run: run.key.clone(), id: id.clone() };
                matching.ask(&queue, offer);
            }
        }
    }
}

/// Takes a question away whose caller is gone.
struct Forget<'a> {
    queries: &'a Queries,
    run: &'a RunKey,
    id: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.queries.remove(self.run, self.id);
    }
}

fn task_queue(run: &Run) -> Option<Queue> {
    let name = run.started.as_ref()?.task_queue.clone();
    Some(Queue { namespace: run.key.namespace.clone(), name, kind: QueueKind::Workflow })
}

/// Whether the run's code has never run and never will.
fn is_mute(run: &Run) -> bool {
    run.closed.is_some() && run.task_completed == EventId(0)
}

fn mute() -> Error {
    let text = "this run closed before its code ever ran: there is nothing to ask";
    Rejection::Invalid(text.into()).into()
}
