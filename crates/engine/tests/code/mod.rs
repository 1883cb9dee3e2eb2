//! Runs of code and their workers, over an engine in a directory that vanishes.
#![allow(dead_code)]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use reflux_core::{
    AttemptRef, Command, CompleteTask, Decision, EffectClass, EventId, Payloads, Priority, RunId,
    RunKey, ScheduleActivity, Signal, Start, Status, Sticky, Worker, WorkflowTask,
};
use reflux_engine::{
    Answer, Ask, Attempt, Engine, Error, Host, LOCAL_QUEUE, Lane, NewRun, Offer, OpenQuery,
    Options, Queue, QueueKind, WhenClosed, WhenOpen,
};
use reflux_flow::graph::NodeRef;
use reflux_flow::{NodePolicy, Policies};

pub const NAMESPACE: &str = "default";

/// No node lives in this process.
pub struct NoNodes;

impl Policies for NoNodes {
    fn policy(&self, _: &NodeRef, _: &serde_json::Value) -> Option<NodePolicy> {
        Some(NodePolicy {
            version: "1.0.0".into(),
            task_queue: LOCAL_QUEUE.into(),
            retry: None,
            timeout: None,
            heartbeat: None,
            effects: EffectClass::Idempotent,
        })
    }
}

impl Host for NoNodes {
    fn start(&self, _: Attempt) -> bool {
        true
    }

    fn cancel(&self, _: &RunKey, _: EventId) {}
}

pub struct Code {
    pub engine: Engine,
    pub dir: Option<tempfile::TempDir>,
}

/// A workflow task that a worker has.
#[derive(Debug, Clone)]
pub struct Task {
    pub run: RunKey,
    pub scheduled: EventId,
    pub attempt: u32,
    /// Of the poll that took it.
    pub request_id: String,
    pub queries: Vec<OpenQuery>,
}

impl Drop for Code {
    fn drop(&mut self) {
        self.engine.shutdown();
    }
}

pub fn lane(workflow_id: &str) -> Lane {
    Lane { namespace: NAMESPACE.into(), workflow_id: workflow_id.into() }
}

pub fn queue(name: &str, kind: QueueKind) -> Queue {
    Queue { namespace: NAMESPACE.into(), name: name.into(), kind }
}

pub fn start() -> Start {
    Start { workflow_type: "t".into(), task_queue: "tasks".into(), ..Start::default() }
}

pub fn new_run(start: Start) -> NewRun {
    NewRun {
        run_id: RunId(uuid::Uuid::now_v7()),
        start: Box::new(start),
        when_open: WhenOpen::Refuse,
        when_closed: WhenClosed::Allow,
        spec: None,
    }
}

pub fn activity(id: &str, queue: &str) -> Decision {
    activity_of(id, queue, 0)
}

pub fn activity_of(id: &str, queue: &str, priority_key: i32) -> Decision {
    Decision::ScheduleActivity(Box::new(ScheduleActivity {
        activity_id: id.into(),
        activity_type: "act".into(),
        task_queue: queue.into(),
        start_to_close: Some(Duration::from_secs(60)),
        priority: Some(Priority { priority_key, ..Priority::default() }),
        ..ScheduleActivity::default()
    }))
}

pub fn complete() -> Decision {
    Decision::CompleteRun { result: Payloads::default() }
}

pub fn worker() -> Worker {
    Worker::remote("worker")
}

fn fresh_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Polls a future once, which is not enough for it.
pub fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) {
    assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

impl Code {
    pub fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(Options::at(dir.path()), Arc::new(NoNodes)).unwrap();
        Self { engine, dir: Some(dir) }
    }

    pub fn at(options: Options) -> Self {
        Self { engine: Engine::open(options, Arc::new(NoNodes)).unwrap(), dir: None }
    }

    pub async fn ask(&self, workflow_id: &str, ask: Ask) -> Result<Answer, Error> {
        self.engine.ask(lane(workflow_id), ask, |answer, _| answer.clone()).await
    }

    pub async fn start(&self, workflow_id: &str) -> RunKey {
        self.ask(workflow_id, Ask::Start(new_run(start()))).await.unwrap().run
    }

    pub async fn command(&self, run: &RunKey, command: Command) -> Result<Answer, Error> {
        let ask = Ask::Command { run_id: Some(run.run_id), first_run: None, command };
        self.ask(&run.workflow_id, ask).await
    }

    pub async fn poll(&self, name: &str, kind: QueueKind) -> Offer {
        let queue = queue(name, kind);
        let poll = self.engine.poll(&queue);
        tokio::time::timeout(Duration::from_secs(20), poll).await.expect("nothing was offered")
    }

    /// Whether nothing waits in a queue.
    pub async fn is_empty(&self, name: &str, kind: QueueKind) -> bool {
        let queue = queue(name, kind);
        tokio::time::timeout(Duration::ZERO, self.engine.poll(&queue)).await.is_err()
    }

    /// What is left in a queue was had before: offers may come twice, claims succeed once.
    pub async fn expect_only_stale(&self, name: &str, kind: QueueKind) {
        let queue = queue(name, kind);
        while let Ok(offer) =
            tokio::time::timeout(Duration::from_millis(50), self.engine.poll(&queue)).await
        {
            let refused = match &offer {
                Offer::Task { run, scheduled, .. } => {
                    self.start_task(run, *scheduled, &fresh_id()).await.is_err()
                }
                Offer::Activity { .. } => self.claim(&offer).await.is_err(),
                Offer::Query { .. } => false,
            };
            assert!(refused, "{offer:?} was still to be had");
        }
    }

    pub async fn poll_activity(&self, name: &str) -> Offer {
        self.poll(name, QueueKind::Activity).await
    }

    /// Polls, claims and completes a workflow task.
    pub async fn decide(&self, decisions: Vec<Decision>) {
        let task = self.task("tasks").await;
        self.complete_task(&task, decisions).await.unwrap();
    }

    pub async fn status(&self, run: &RunKey) -> Status {
        self.engine.look(Lane::of(run), Some(run.run_id), |run| run.status).await.unwrap()
    }

    pub async fn signals(&self, run: &RunKey) -> u64 {
        self.engine.look(Lane::of(run), Some(run.run_id), |run| run.signals).await.unwrap()
    }

    pub async fn signal(&self, run: &RunKey, name: &str) {
        let signal = Signal { name: name.into(), ..Signal::default() };
        self.command(run, Command::Signal(signal)).await.unwrap();
    }

    /// Polls until the task is one of that workflow id; the others are offered again by a boot.
    pub async fn task_of(&self, name: &str, workflow_id: &str) -> Task {
        loop {
            let Offer::Task { run, scheduled, .. } = self.poll(name, QueueKind::Workflow).await
            else {
                panic!("not a task");
            };
            if *run.workflow_id == *workflow_id {
                return self.start_task(&run, scheduled, &fresh_id()).await.unwrap();
            }
        }
    }

    /// Polls and claims a workflow task.
    pub async fn task(&self, name: &str) -> Task {
        loop {
            let Offer::Task { run, scheduled, .. } = self.poll(name, QueueKind::Workflow).await
            else {
                panic!("not a task");
            };
            // Every poll has an id of its own: one that comes twice is refused.
            if let Ok(task) = self.start_task(&run, scheduled, &fresh_id()).await {
                return task;
            }
        }
    }

    pub async fn start_task(
        &self,
        run: &RunKey,
        scheduled: EventId,
        request_id: &str,
    ) -> Result<Task, Error> {
        let command = Command::StartTask {
            scheduled,
            identity: "worker".into(),
            request_id: request_id.into(),
        };
        let ask = Ask::Command { run_id: Some(run.run_id), first_run: None, command };
        let engine = self.engine.clone();
        self.engine
            .ask(Lane::of(run), ask, move |answer, run| {
                let WorkflowTask::Started(started) = &run.task else { panic!("not started") };
                let task = &started.task;
                Task {
                    run: answer.run.clone(),
                    scheduled: task.scheduled,
                    attempt: task.attempt,
                    request_id: started.request_id.to_string(),
                    queries: engine.attach_queries(run),
                }
            })
            .await
    }

    pub async fn complete_task(
        &self,
        task: &Task,
        decisions: Vec<Decision>,
    ) -> Result<Answer, Error> {
        self.complete_sticky(task, decisions, None).await
    }

    pub async fn complete_sticky(
        &self,
        task: &Task,
        decisions: Vec<Decision>,
        sticky: Option<Sticky>,
    ) -> Result<Answer, Error> {
        let request = CompleteTask {
            scheduled: task.scheduled,
            attempt: task.attempt,
            identity: "worker".into(),
            decisions,
            sticky,
            heartbeat: false,
            sdk_metadata: None,
        };
        self.command(&task.run, Command::CompleteTask(Box::new(request))).await
    }

    pub async fn claim(&self, offer: &Offer) -> Result<u32, Error> {
        let Offer::Activity { run, scheduled, .. } = offer else { panic!("not an activity") };
        let scheduled = *scheduled;
        self.engine
            .claim_activity(run, scheduled, worker(), move |_, run| {
                run.activities[&scheduled].attempt
            })
            .await
    }

    pub async fn finish_activity(&self, offer: &Offer) {
        let Offer::Activity { run, scheduled, .. } = offer else { panic!("not an activity") };
        let attempt = self.claim(offer).await.unwrap();
        let at = AttemptRef { scheduled: *scheduled, attempt, started_at: None };
        let result = Payloads::default();
        self.command(run, Command::CompleteActivity { at, result, report: None }).await.unwrap();
    }
}
