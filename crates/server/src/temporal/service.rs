//! Which call goes where.

use reflux_proto::temporal::api::workflowservice::v1::workflow_service_server::{
    WorkflowService, WorkflowServiceServer,
};
use reflux_proto::temporal::api::workflowservice::v1::*;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use super::{Frontend, patience};
use crate::net::limits::MESSAGE_BYTES_MAX;

/// Largest answer: a page of a history, or the whole of a run that is described.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The service for a gRPC server.
pub fn service(frontend: Frontend) -> WorkflowServiceServer<Frontend> {
    WorkflowServiceServer::new(frontend)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
}

/// The table of calls. Those that are not in it answer UNIMPLEMENTED.
macro_rules! calls {
    (
        at_once { $($call:ident($asked:ty) -> $answer:ty = $does:ident;)* }
        waiting { $($long:ident($waits:ty) -> $gets:ty = $until:ident, $for:expr;)* }
    ) => {
        #[tonic::async_trait]
        impl WorkflowService for Frontend {
            $(
                async fn $call(&self, request: Request<$asked>) -> Result<Response<$answer>, Status> {
                    Frontend::$does(self, request.into_inner()).await.map(Response::new)
                }
            )*
            $(
                async fn $long(&self, request: Request<$waits>) -> Result<Response<$gets>, Status> {
                    let until = patience::until(request.metadata(), $for);
                    Frontend::$until(self, until, request.into_inner()).await.map(Response::new)
                }
            )*
        }
    };
}

calls! {
    at_once {
        get_system_info(GetSystemInfoRequest) -> GetSystemInfoResponse = system_info;
        get_cluster_info(GetClusterInfoRequest) -> GetClusterInfoResponse = cluster_info;
        register_namespace(RegisterNamespaceRequest) -> RegisterNamespaceResponse = register;
        update_namespace(UpdateNamespaceRequest) -> UpdateNamespaceResponse = change_namespace;
        describe_namespace(DescribeNamespaceRequest) -> DescribeNamespaceResponse = namespace_info;
        list_namespaces(ListNamespacesRequest) -> ListNamespacesResponse = all_namespaces;

        start_workflow_execution(StartWorkflowExecutionRequest) -> StartWorkflowExecutionResponse = start;
        signal_with_start_workflow_execution(SignalWithStartWorkflowExecutionRequest) -> SignalWithStartWorkflowExecutionResponse = signal_with_start;
        signal_workflow_execution(SignalWorkflowExecutionRequest) -> SignalWorkflowExecutionResponse = signal;
        request_cancel_workflow_execution(RequestCancelWorkflowExecutionRequest) -> RequestCancelWorkflowExecutionResponse = request_cancel;
        terminate_workflow_execution(TerminateWorkflowExecutionRequest) -> TerminateWorkflowExecutionResponse = terminate;
        pause_workflow_execution(PauseWorkflowExecutionRequest) -> PauseWorkflowExecutionResponse = pause;
        unpause_workflow_execution(UnpauseWorkflowExecutionRequest) -> UnpauseWorkflowExecutionResponse = unpause;
        reset_workflow_execution(ResetWorkflowExecutionRequest) -> ResetWorkflowExecutionResponse = reset;
        describe_workflow_execution(DescribeWorkflowExecutionRequest) -> DescribeWorkflowExecutionResponse = describe;
        list_workflow_executions(ListWorkflowExecutionsRequest) -> ListWorkflowExecutionsResponse = list;
        count_workflow_executions(CountWorkflowExecutionsRequest) -> CountWorkflowExecutionsResponse = count;
        get_workflow_execution_history_reverse(GetWorkflowExecutionHistoryReverseRequest) -> GetWorkflowExecutionHistoryReverseResponse = get_history_reverse;

        respond_workflow_task_completed(RespondWorkflowTaskCompletedRequest) -> RespondWorkflowTaskCompletedResponse = complete_workflow_task;
        respond_workflow_task_failed(RespondWorkflowTaskFailedRequest) -> RespondWorkflowTaskFailedResponse = fail_workflow_task;
        respond_query_task_completed(RespondQueryTaskCompletedRequest) -> RespondQueryTaskCompletedResponse = complete_query;
        reset_sticky_task_queue(ResetStickyTaskQueueRequest) -> ResetStickyTaskQueueResponse = reset_sticky;

        record_activity_task_heartbeat(RecordActivityTaskHeartbeatRequest) -> RecordActivityTaskHeartbeatResponse = heartbeat_activity;
        record_activity_task_heartbeat_by_id(RecordActivityTaskHeartbeatByIdRequest) -> RecordActivityTaskHeartbeatByIdResponse = heartbeat_activity_by_id;
        respond_activity_task_completed(RespondActivityTaskCompletedRequest) -> RespondActivityTaskCompletedResponse = complete_activity;
        respond_activity_task_completed_by_id(RespondActivityTaskCompletedByIdRequest) -> RespondActivityTaskCompletedByIdResponse = complete_activity_by_id;
        respond_activity_task_failed(RespondActivityTaskFailedRequest) -> RespondActivityTaskFailedResponse = fail_activity;
        respond_activity_task_failed_by_id(RespondActivityTaskFailedByIdRequest) -> RespondActivityTaskFailedByIdResponse = fail_activity_by_id;
        respond_activity_task_canceled(RespondActivityTaskCanceledRequest) -> RespondActivityTaskCanceledResponse = cancel_activity;
        respond_activity_task_canceled_by_id(RespondActivityTaskCanceledByIdRequest) -> RespondActivityTaskCanceledByIdResponse = cancel_activity_by_id;

        describe_task_queue(DescribeTaskQueueRequest) -> DescribeTaskQueueResponse = task_queue_info;
        shutdown_worker(ShutdownWorkerRequest) -> ShutdownWorkerResponse = worker_stops;
    }
    waiting {
        poll_workflow_task_queue(PollWorkflowTaskQueueRequest) -> PollWorkflowTaskQueueResponse = poll_workflow_task, patience::POLL;
        poll_activity_task_queue(PollActivityTaskQueueRequest) -> PollActivityTaskQueueResponse = poll_activity_task, patience::POLL;
        get_workflow_execution_history(GetWorkflowExecutionHistoryRequest) -> GetWorkflowExecutionHistoryResponse = get_history, patience::HISTORY;
        query_workflow(QueryWorkflowRequest) -> QueryWorkflowResponse = query, patience::QUERY;
    }
}
