//! Code workflows of one activity, driven over plain gRPC: what the server costs without an SDK.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use reflux_proto::temporal::api::common::v1::WorkflowExecution;
use reflux_proto::temporal::api::enums::v1::HistoryEventFilterType;
use reflux_proto::temporal::api::workflowservice::v1::{
    GetWorkflowExecutionHistoryRequest, PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest,
    RespondActivityTaskCompletedRequest, RespondWorkflowTaskCompletedRequest,
};

use super::Served;
use super::load::rate;
use super::temporal::{
    Client, NAMESPACE, QUEUE, clients, complete_workflow, has_result, queue, schedule_activity,
    start,
};
use crate::bed::{Figure, millis, percentile};

const POLLERS: usize = 32; // of each kind
const AT_ONCE: usize = 128;
const ALONE: usize = 100;

/// Workers that ask for their activity with the task that schedules it, as SDKs do, and workers
/// that poll for it.
pub async fn workflows(served: &Served) -> Vec<Figure> {
    let [eager_rate, eager_alone] = measure(served, true).await;
    let [rate, alone] = measure(served, false).await;
    let runs = |name, value| Figure::new(name, value, "runs/s").bar(1_500.0, 700.0);
    let time = |name, value| Figure::new(name, value, "ms").bar(5.0, 10.0);
    vec![
        runs("code workflows of one eager activity", eager_rate),
        time("one of them alone, p50", eager_alone),
        runs("code workflows of one polled activity", rate),
        time("one of them alone, p50", alone),
    ]
}

/// Runs a second, and milliseconds of one alone.
async fn measure(served: &Served, eager: bool) -> [f64; 2] {
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for client in clients(served, POLLERS).await {
        workers.push(tokio::spawn(decide(client.clone(), eager, stop.clone())));
        workers.push(tokio::spawn(act(client, stop.clone())));
    }
    let mut client = clients(served, 1).await.remove(0);
    let mut alone = Vec::new();
    for n in 0..ALONE {
        let started = Instant::now();
        one(&mut client, format!("alone-{eager}-{n}")).await;
        alone.push(millis(started.elapsed()));
    }
    let many = rate(clients(served, AT_ONCE).await, move |mut client: Client, n| async move {
        one(&mut client, format!("code-{eager}-{n}")).await;
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    workers.iter().for_each(tokio::task::JoinHandle::abort);
    [many, percentile(&mut alone, 50)]
}

/// Starts a run and waits for its end.
async fn one(client: &mut Client, id: String) {
    let started =
        client.start_workflow_execution(start(id.clone(), QUEUE)).await.expect("it starts");
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: NAMESPACE.to_owned(),
        execution: Some(WorkflowExecution { workflow_id: id, run_id: started.into_inner().run_id }),
        wait_new_event: true,
        history_event_filter_type: HistoryEventFilterType::CloseEvent.into(),
        ..Default::default()
    };
    loop {
        let page = client.get_workflow_execution_history(request.clone()).await.expect("an answer");
        if !page.into_inner().history.is_empty() {
            return;
        }
    }
}

/// A workflow worker without a cache: schedules the activity, then completes.
async fn decide(mut client: Client, eager: bool, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let request = PollWorkflowTaskQueueRequest {
            namespace: NAMESPACE.to_owned(),
            task_queue: Some(queue(QUEUE)),
            identity: "bench".to_owned(),
            ..Default::default()
        };
        let Ok(task) = client.poll_workflow_task_queue(request).await else { continue };
        let task = task.into_inner();
        if task.task_token.is_empty() {
            continue;
        }
        let done = has_result(&task);
        let command = if done { complete_workflow() } else { schedule_activity(eager) };
        let answer = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token,
            identity: "bench".to_owned(),
            namespace: NAMESPACE.to_owned(),
            commands: vec![command],
            ..Default::default()
        };
        let answer = client.respond_workflow_task_completed(answer).await.expect("it is taken");
        for task in answer.into_inner().activity_tasks {
            complete_activity(&mut client, task).await;
        }
    }
}

async fn act(mut client: Client, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let request = PollActivityTaskQueueRequest {
            namespace: NAMESPACE.to_owned(),
            task_queue: Some(queue(QUEUE)),
            identity: "bench".to_owned(),
            ..Default::default()
        };
        let Ok(task) = client.poll_activity_task_queue(request).await else { continue };
        let task = task.into_inner();
        if task.task_token.is_empty() {
            continue;
        }
        complete_activity(&mut client, task).await;
    }
}

async fn complete_activity(client: &mut Client, task: PollActivityTaskQueueResponse) {
    let answer = RespondActivityTaskCompletedRequest {
        task_token: task.task_token,
        identity: "bench".to_owned(),
        namespace: NAMESPACE.to_owned(),
        ..Default::default()
    };
    client.respond_activity_task_completed(answer).await.expect("it is taken");
}
