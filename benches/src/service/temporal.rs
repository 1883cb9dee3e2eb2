//! A client of the Temporal API, as thin as it can be.

use prost::Message as _;
use reflux_proto::temporal::api::command::v1::Command;
use reflux_proto::temporal::api::command::v1::command::Attributes;
use reflux_proto::temporal::api::common::v1::{ActivityType, WorkflowExecution, WorkflowType};
use reflux_proto::temporal::api::enums::v1::{CommandType, EventType, TaskQueueKind};
use reflux_proto::temporal::api::history::v1::History;
use reflux_proto::temporal::api::taskqueue::v1::TaskQueue;
use reflux_proto::temporal::api::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use reflux_proto::temporal::api::workflowservice::v1::{
    PollWorkflowTaskQueueResponse, SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest,
};
use tonic::transport::Channel;

use super::Served;

pub type Client = WorkflowServiceClient<Channel>;

pub const NAMESPACE: &str = "default";
/// Workers poll this one.
pub const QUEUE: &str = "bench";
/// Nobody polls this one.
pub const IDLE: &str = "idle";

/// Clients that share a few connections, as workers and applications do.
pub async fn clients(served: &Served, count: usize) -> Vec<Client> {
    const CONNECTIONS: usize = 8;
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS.min(count) {
        channels.push(served.channel().await);
    }
    (0..count).map(|n| WorkflowServiceClient::new(channels[n % channels.len()].clone())).collect()
}

pub fn queue(name: &str) -> TaskQueue {
    TaskQueue { name: name.to_owned(), kind: TaskQueueKind::Normal.into(), ..Default::default() }
}

pub fn start(id: String, task_queue: &str) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        request_id: id.clone(),
        workflow_id: id,
        workflow_type: Some(WorkflowType { name: "bench".to_owned() }),
        task_queue: Some(queue(task_queue)),
        identity: "bench".to_owned(),
        ..Default::default()
    }
}

pub fn signal(id: String, request_id: String) -> SignalWorkflowExecutionRequest {
    SignalWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_execution: Some(WorkflowExecution { workflow_id: id, run_id: String::new() }),
        signal_name: "tick".to_owned(),
        request_id,
        identity: "bench".to_owned(),
        ..Default::default()
    }
}

/// Whether the workflow's activity has given its result.
pub fn has_result(task: &PollWorkflowTaskQueueResponse) -> bool {
    let history = History::decode(task.history.clone()).expect("a history");
    history.events.iter().any(|event| event.event_type() == EventType::ActivityTaskCompleted)
}

/// `eager` asks to begin it at once, as SDKs do.
pub fn schedule_activity(eager: bool) -> Command {
    use reflux_proto::temporal::api::command::v1::ScheduleActivityTaskCommandAttributes;
    let second = prost_types::Duration { seconds: 60, nanos: 0 };
    Command {
        command_type: CommandType::ScheduleActivityTask.into(),
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(
            ScheduleActivityTaskCommandAttributes {
                activity_id: "1".to_owned(),
                activity_type: Some(ActivityType { name: "bench".to_owned() }),
                task_queue: Some(queue(QUEUE)),
                start_to_close_timeout: Some(second),
                request_eager_execution: eager,
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

pub fn complete_workflow() -> Command {
    use reflux_proto::temporal::api::command::v1::CompleteWorkflowExecutionCommandAttributes;
    Command {
        command_type: CommandType::CompleteWorkflowExecution.into(),
        attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(
            CompleteWorkflowExecutionCommandAttributes::default(),
        )),
        ..Default::default()
    }
}
