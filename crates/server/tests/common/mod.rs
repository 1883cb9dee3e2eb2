//! A server in this process, a client of it, and the pieces of requests.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use prost::Message;
use reflux_core::RunId;
use reflux_engine::{Spec, StartFlow, WhenClosed, WhenOpen};
use reflux_proto::google::rpc;
use reflux_proto::temporal::api::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    ScheduleNexusOperationCommandAttributes, command::Attributes,
};
use reflux_proto::temporal::api::common::v1::{
    ActivityType, Header, Payload, Payloads, RetryPolicy, WorkflowExecution, WorkflowType,
};
use reflux_proto::temporal::api::enums::v1::{
    CommandType, EventType, QueryResultType, WorkflowTaskFailedCause,
};
use reflux_proto::temporal::api::history::v1::{History, HistoryEvent};
use reflux_proto::temporal::api::query::v1::WorkflowQueryResult;
use reflux_proto::temporal::api::taskqueue::v1::TaskQueue;
use reflux_proto::temporal::api::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use reflux_proto::temporal::api::workflowservice::v1::*;
use reflux_server::holder::{Holder, Mode};
use reflux_server::net::{Addresses, App, Server};
use reflux_server::{Config, Project};
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// The task queue of the tests.
pub const QUEUE: &str = "queue";

/// The longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls of a test against its server.
#[derive(Clone)]
pub struct Client {
    pub api: WorkflowServiceClient<Channel>,
    engine: reflux_engine::Engine,
}

/// Runs a test against a server of its own. What the test is given beside the client stops it.
#[track_caller]
pub fn served(test: impl AsyncFnOnce(Client, oneshot::Sender<()>)) {
    let dir = tempfile::tempdir().unwrap();
    let project = Project::at(dir.path()).unwrap();
    let holder = Holder::take(&project, Mode::Work).unwrap().unwrap();
    let app = App::new(holder.service().clone(), project, Config::default());
    let engine = app.engine.clone();
    let runtime = holder.service().host().handle().clone();
    runtime.block_on(async {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::bind(app, Addresses { grpc: any, http: any }).await.unwrap();
        let address = format!("http://{}", server.addresses().grpc);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));
        let api = WorkflowServiceClient::connect(address)
            .await
            .unwrap()
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20);
        let tested = test(Client { api, engine }, stop);
        tokio::time::timeout(PATIENCE * 2, tested).await.expect("the test took too long");
        // The test has dropped its end, or used it: either stops the server.
        serving.await.unwrap().unwrap();
    });
    holder.close(|_| true);
}

impl Client {
    pub async fn start(&mut self, id: &str) -> String {
        self.api.start_workflow_execution(start_request(id)).await.unwrap().into_inner().run_id
    }

    /// Starts a run of a flow of that name.
    pub async fn flow(&mut self, name: &str, text: &str) -> String {
        let parsed = reflux_flow::syntax::parse("flow.yaml", &format!("name: {name}\n{text}"));
        let flow = parsed.unwrap().flow;
        let flows = [(name.to_owned(), std::sync::Arc::new(flow))].into();
        let bytes = reflux_flow::graph::Bundle { flows }.to_bytes();
        let start = StartFlow {
            namespace: "default".into(),
            workflow_id: name.into(),
            run_id: RunId(uuid::Uuid::now_v7()),
            spec: Spec { digest: *blake3::hash(&bytes).as_bytes(), bytes: bytes.into() },
            flow: name.into(),
            input: reflux_flow::payload::of_value(&serde_json::json!({})),
            request_id: "".into(),
            when_open: WhenOpen::Refuse,
            when_closed: WhenClosed::Allow,
            identity: "tester".into(),
        };
        let engine = self.engine.clone();
        let started = tokio::task::spawn_blocking(move || engine.start(start));
        started.await.unwrap().unwrap().run.run_id.to_string()
    }

    pub async fn signal(&mut self, id: &str) -> Result<(), Status> {
        let request = SignalWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: Some(execution(id, "")),
            signal_name: "go".into(),
            ..Default::default()
        };
        self.api.signal_workflow_execution(request).await.map(drop)
    }

    pub async fn terminate(&mut self, id: &str) {
        let request = TerminateWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: Some(execution(id, "")),
            ..Default::default()
        };
        self.api.terminate_workflow_execution(request).await.unwrap();
    }

    pub async fn describe(&mut self, id: &str) -> DescribeWorkflowExecutionResponse {
        let request = DescribeWorkflowExecutionRequest {
            namespace: "default".into(),
            execution: Some(execution(id, "")),
        };
        self.api.describe_workflow_execution(request).await.unwrap().into_inner()
    }

    pub async fn history(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut GetWorkflowExecutionHistoryRequest),
    ) -> GetWorkflowExecutionHistoryResponse {
        let mut request = GetWorkflowExecutionHistoryRequest {
            namespace: "default".into(),
            execution: Some(execution(id, "")),
            ..Default::default()
        };
        change(&mut request);
        self.api.get_workflow_execution_history(request).await.unwrap().into_inner()
    }

    pub async fn list(
        &mut self,
        query: &str,
        page_size: i32,
        token: &[u8],
    ) -> Result<ListWorkflowExecutionsResponse, Status> {
        let request = ListWorkflowExecutionsRequest {
            namespace: "default".into(),
            page_size,
            next_page_token: token.to_vec().into(),
            query: query.into(),
        };
        self.api.list_workflow_executions(request).await.map(tonic::Response::into_inner)
    }

    pub fn poll_request(&self, queue: &str) -> PollWorkflowTaskQueueRequest {
        PollWorkflowTaskQueueRequest {
            namespace: "default".into(),
            task_queue: Some(task_queue(queue)),
            identity: "tester".into(),
            ..Default::default()
        }
    }

    pub fn activity_poll(&self) -> PollActivityTaskQueueRequest {
        PollActivityTaskQueueRequest {
            namespace: "default".into(),
            task_queue: Some(task_queue(QUEUE)),
            identity: "tester".into(),
            ..Default::default()
        }
    }

    /// The next workflow task; there must be one.
    pub async fn poll(&mut self) -> PollWorkflowTaskQueueResponse {
        self.poll_queue(QUEUE).await
    }

    pub async fn poll_queue(&mut self, queue: &str) -> PollWorkflowTaskQueueResponse {
        let request = with_timeout(self.poll_request(queue), PATIENCE);
        let task = self.api.poll_workflow_task_queue(request).await.unwrap().into_inner();
        assert!(!task.task_token.is_empty(), "no workflow task came");
        task
    }

    /// The next activity; there must be one.
    pub async fn poll_activity(&mut self) -> PollActivityTaskQueueResponse {
        let request = with_timeout(self.activity_poll(), PATIENCE);
        let task = self.api.poll_activity_task_queue(request).await.unwrap().into_inner();
        assert!(!task.task_token.is_empty(), "no activity came");
        task
    }

    pub fn completion(
        &self,
        task: &PollWorkflowTaskQueueResponse,
        commands: Vec<Command>,
    ) -> RespondWorkflowTaskCompletedRequest {
        RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token.clone(),
            namespace: "default".into(),
            identity: "tester".into(),
            commands,
            ..Default::default()
        }
    }

    pub async fn complete(
        &mut self,
        task: &PollWorkflowTaskQueueResponse,
        commands: Vec<Command>,
    ) -> Result<(), Status> {
        let request = self.completion(task, commands);
        self.api.respond_workflow_task_completed(request).await.map(drop)
    }

    pub async fn fail(&mut self, task: &PollWorkflowTaskQueueResponse) -> Result<(), Status> {
        let request = RespondWorkflowTaskFailedRequest {
            task_token: task.task_token.clone(),
            namespace: "default".into(),
            cause: WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure.into(),
            ..Default::default()
        };
        self.api.respond_workflow_task_failed(request).await.map(drop)
    }

    pub async fn complete_activity(
        &mut self,
        task: &PollActivityTaskQueueResponse,
    ) -> Result<(), Status> {
        let request = RespondActivityTaskCompletedRequest {
            task_token: task.task_token.clone(),
            namespace: "default".into(),
            result: Some(payloads("\"out\"")),
            ..Default::default()
        };
        self.api.respond_activity_task_completed(request).await.map(drop)
    }

    pub async fn fail_activity(
        &mut self,
        task: &PollActivityTaskQueueResponse,
    ) -> Result<(), Status> {
        let request = RespondActivityTaskFailedRequest {
            task_token: task.task_token.clone(),
            namespace: "default".into(),
            ..Default::default()
        };
        self.api.respond_activity_task_failed(request).await.map(drop)
    }

    pub async fn cancel_activity(
        &mut self,
        task: &PollActivityTaskQueueResponse,
    ) -> Result<(), Status> {
        let request = RespondActivityTaskCanceledRequest {
            task_token: task.task_token.clone(),
            namespace: "default".into(),
            ..Default::default()
        };
        self.api.respond_activity_task_canceled(request).await.map(drop)
    }

    /// Whether the activity is to end.
    pub async fn heartbeat(
        &mut self,
        task: &PollActivityTaskQueueResponse,
    ) -> Result<bool, Status> {
        let request = RecordActivityTaskHeartbeatRequest {
            task_token: task.task_token.clone(),
            namespace: "default".into(),
            ..Default::default()
        };
        let answer = self.api.record_activity_task_heartbeat(request).await?;
        Ok(answer.into_inner().cancel_requested)
    }
}

pub fn start_request(id: &str) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "Order".into() }),
        task_queue: Some(task_queue(QUEUE)),
        identity: "tester".into(),
        ..Default::default()
    }
}

pub fn task_queue(name: &str) -> TaskQueue {
    TaskQueue { name: name.into(), ..Default::default() }
}

pub fn execution(workflow_id: &str, run_id: &str) -> WorkflowExecution {
    WorkflowExecution { workflow_id: workflow_id.into(), run_id: run_id.into() }
}

pub fn payloads(json: &str) -> Payloads {
    Payloads { payloads: vec![reflux_core::json_payload(json.to_owned())] }
}

/// Asks for an activity that is tried again at once.
pub fn schedule(id: &str) -> Command {
    activity(ScheduleActivityTaskCommandAttributes {
        activity_id: id.into(),
        input: Some(payloads("\"in\"")),
        start_to_close_timeout: Some(seconds(60)),
        heartbeat_timeout: Some(seconds(60)),
        retry_policy: Some(RetryPolicy {
            initial_interval: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 }),
            ..Default::default()
        }),
        ..Default::default()
    })
}

pub fn activity_without_timeout() -> Command {
    activity(ScheduleActivityTaskCommandAttributes {
        activity_id: "a".into(),
        ..Default::default()
    })
}

pub fn activity_with_header(field: &str) -> Command {
    activity(ScheduleActivityTaskCommandAttributes {
        activity_id: "a".into(),
        start_to_close_timeout: Some(seconds(60)),
        header: Some(Header { fields: [(field.to_owned(), Payload::default())].into() }),
        ..Default::default()
    })
}

fn activity(wanted: ScheduleActivityTaskCommandAttributes) -> Command {
    let activity_type = Some(ActivityType { name: "Greet".into() });
    let wanted = ScheduleActivityTaskCommandAttributes { activity_type, ..wanted };
    Command {
        command_type: CommandType::ScheduleActivityTask.into(),
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(wanted)),
        ..Default::default()
    }
}

pub fn nexus() -> Command {
    let wanted = ScheduleNexusOperationCommandAttributes::default();
    Command {
        command_type: CommandType::ScheduleNexusOperation.into(),
        attributes: Some(Attributes::ScheduleNexusOperationCommandAttributes(wanted)),
        ..Default::default()
    }
}

pub fn complete_run() -> Command {
    let wanted = CompleteWorkflowExecutionCommandAttributes { result: Some(payloads("true")) };
    Command {
        command_type: CommandType::CompleteWorkflowExecution.into(),
        attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(wanted)),
        ..Default::default()
    }
}

pub fn answered(json: &str) -> WorkflowQueryResult {
    WorkflowQueryResult {
        result_type: QueryResultType::Answered.into(),
        answer: Some(payloads(json)),
        ..Default::default()
    }
}

pub fn decode(history: &bytes::Bytes) -> Vec<HistoryEvent> {
    History::decode(history.clone()).unwrap().events
}

pub fn kinds(history: &bytes::Bytes) -> Vec<EventType> {
    decode(history).iter().map(HistoryEvent::event_type).collect()
}

/// The first detail of a refusal, which must be of that type.
#[track_caller]
pub fn details<T: Message + Default>(refused: &Status, name: &str) -> T {
    let status = rpc::Status::decode(refused.details()).unwrap();
    assert_eq!(status.code, i32::from(refused.code()));
    let detail = &status.details[0];
    assert_eq!(detail.type_url, format!("type.googleapis.com/temporal.api.errordetails.v1.{name}"));
    T::decode(&*detail.value).unwrap()
}

pub fn with_timeout<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}
