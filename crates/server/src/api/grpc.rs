//! The services of `reflux.v1` over gRPC: each call is the function of its name.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use reflux_proto::api as v1;
use reflux_proto::api::cache_service_server::{CacheService, CacheServiceServer};
use reflux_proto::api::flow_service_server::{FlowService, FlowServiceServer};
use reflux_proto::api::limit_service_server::{LimitService, LimitServiceServer};
use reflux_proto::api::node_service_server::{NodeService, NodeServiceServer};
use reflux_proto::api::run_service_server::{RunService, RunServiceServer};
use reflux_proto::api::trigger_service_server::{TriggerService, TriggerServiceServer};
use tonic::{Code, Request, Response, Status};

use super::{cache, flows, limits, live, many, nodes, redrive, replay, runs, steer, triggers};
use crate::access::Caller;
use crate::net::limits::BODY_BYTES_MAX;
use crate::net::{App, Services};
use crate::service::Service;
use crate::{Error, Kind};

/// Adds our services.
pub(crate) fn add(services: &mut Services, app: &Arc<App>) {
    let ours = Grpc { app: app.clone() };
    services
        .add_service(FlowServiceServer::new(ours.clone()).max_decoding_message_size(BODY_BYTES_MAX))
        .add_service(RunServiceServer::new(ours.clone()).max_decoding_message_size(BODY_BYTES_MAX))
        .add_service(NodeServiceServer::new(ours.clone()).max_decoding_message_size(BODY_BYTES_MAX))
        .add_service(
            TriggerServiceServer::new(ours.clone()).max_decoding_message_size(BODY_BYTES_MAX),
        )
        .add_service(
            LimitServiceServer::new(ours.clone()).max_decoding_message_size(BODY_BYTES_MAX),
        )
        .add_service(CacheServiceServer::new(ours).max_decoding_message_size(BODY_BYTES_MAX));
}

#[derive(Clone)]
struct Grpc {
    app: Arc<App>,
}

impl Grpc {
    async fn call<I: Send + 'static, O: Send + 'static>(
        &self,
        request: Request<I>,
        call: fn(&Service, I) -> Result<O, Error>,
    ) -> Result<Response<O>, Status> {
        let (_, extensions, request) = request.into_parts();
        let caller = extensions.get::<Caller>();
        let answer = self.app.call_for(caller, move |service| call(service, request)).await?;
        Ok(Response::new(answer))
    }
}

type Updates = Pin<Box<dyn Stream<Item = Result<v1::RunUpdate, Status>> + Send>>;

/// One line for each call: its name, its messages, its function.
macro_rules! service {
    ($service:ident { $($rest:tt)* } $($name:ident($request:ident) -> $response:ident: $call:path;)*) => {
        #[tonic::async_trait]
        impl $service for Grpc {
            $($rest)*
            $(async fn $name(
                &self,
                request: Request<v1::$request>,
            ) -> Result<Response<v1::$response>, Status> {
                self.call(request, $call).await
            })*
        }
    };
}

service! { FlowService {}
    validate_flow(ValidateFlowRequest) -> ValidateFlowResponse: flows::validate;
    deploy_flow(DeployFlowRequest) -> DeployFlowResponse: flows::deploy;
    import_flows(ImportFlowsRequest) -> ImportFlowsResponse: flows::import;
    list_flows(ListFlowsRequest) -> ListFlowsResponse: flows::list;
    get_flow(GetFlowRequest) -> GetFlowResponse: flows::get;
    diff_flow(DiffFlowRequest) -> DiffFlowResponse: flows::diff;
    delete_flow(DeleteFlowRequest) -> DeleteFlowResponse: flows::delete;
    export_flow(ExportFlowRequest) -> ExportFlowResponse: flows::export;
    clone_flow(CloneFlowRequest) -> CloneFlowResponse: flows::clone;
    get_flow_usage(GetFlowUsageRequest) -> GetFlowUsageResponse: flows::usage;
}

service! { RunService {
        type WatchRunStream = Updates;

        async fn watch_run(
            &self,
            request: Request<v1::WatchRunRequest>,
        ) -> Result<Response<Updates>, Status> {
            let live = live::follow(self.app.clone(), request.into_inner()).await?;
            let updates = futures::stream::unfold(live, |mut live| async {
                let update = live.next().await?;
                Some((update.map_err(Status::from), live))
            });
            Ok(Response::new(Box::pin(updates)))
        }
    }
    start_run(StartRunRequest) -> StartRunResponse: runs::start;
    list_runs(ListRunsRequest) -> ListRunsResponse: runs::list;
    get_run(GetRunRequest) -> GetRunResponse: runs::get;
    describe_run(DescribeRunRequest) -> DescribeRunResponse: runs::describe;
    get_history(GetHistoryRequest) -> GetHistoryResponse: runs::history;
    signal_run(SignalRunRequest) -> SignalRunResponse: runs::signal;
    query_run(QueryRunRequest) -> QueryRunResponse: runs::query;
    approve_run(ApproveRunRequest) -> ApproveRunResponse: runs::approve;
    cancel_run(CancelRunRequest) -> CancelRunResponse: runs::cancel;
    terminate_run(TerminateRunRequest) -> TerminateRunResponse: runs::terminate;
    pause_run(PauseRunRequest) -> PauseRunResponse: runs::pause;
    resume_run(ResumeRunRequest) -> ResumeRunResponse: runs::resume;
    resolve_step(ResolveStepRequest) -> ResolveStepResponse: runs::resolve;
    mutate_run(MutateRunRequest) -> MutateRunResponse: steer::mutate;
    set_breakpoints(SetBreakpointsRequest) -> SetBreakpointsResponse: steer::breakpoints;
    step_run(StepRunRequest) -> StepRunResponse: steer::step;
    get_run_state(GetRunStateRequest) -> GetRunStateResponse: replay::state;
    verify_run(VerifyRunRequest) -> VerifyRunResponse: replay::verify;
    verify_runs(VerifyRunsRequest) -> VerifyRunsResponse: replay::verify_all;
    diff_runs(DiffRunsRequest) -> DiffRunsResponse: replay::diff;
    redrive_run(RedriveRunRequest) -> RedriveRunResponse: redrive::run;
    plan_redrive(PlanRedriveRequest) -> PlanRedriveResponse: redrive::plan;
    fork_run(ForkRunRequest) -> ForkRunResponse: redrive::fork;
    redrive_runs(RedriveRunsRequest) -> RedriveRunsResponse: many::redrive;
    pause_runs(PauseRunsRequest) -> PauseRunsResponse: many::pause;
    resume_runs(ResumeRunsRequest) -> ResumeRunsResponse: many::resume;
}

service! { NodeService {}
    register_node(RegisterNodeRequest) -> RegisterNodeResponse: nodes::register;
    list_nodes(ListNodesRequest) -> ListNodesResponse: nodes::list;
    get_node(GetNodeRequest) -> GetNodeResponse: nodes::get;
    deprecate_node(DeprecateNodeRequest) -> DeprecateNodeResponse: nodes::deprecate;
    remove_node(RemoveNodeRequest) -> RemoveNodeResponse: nodes::remove;
    list_alternatives(ListAlternativesRequest) -> ListAlternativesResponse: nodes::alternatives;
}

service! { TriggerService {}
    emit_event(EmitEventRequest) -> EmitEventResponse: triggers::emit;
    list_triggers(ListTriggersRequest) -> ListTriggersResponse: triggers::list;
    get_trigger(GetTriggerRequest) -> GetTriggerResponse: triggers::get;
    pause_trigger(PauseTriggerRequest) -> PauseTriggerResponse: triggers::pause;
    resume_trigger(ResumeTriggerRequest) -> ResumeTriggerResponse: triggers::resume;
    fire_trigger(FireTriggerRequest) -> FireTriggerResponse: triggers::fire;
}

service! { LimitService {}
    list_limits(ListLimitsRequest) -> ListLimitsResponse: limits::list;
    set_limit(SetLimitRequest) -> SetLimitResponse: limits::set;
    unset_limit(UnsetLimitRequest) -> UnsetLimitResponse: limits::unset;
    reset_circuit(ResetCircuitRequest) -> ResetCircuitResponse: limits::reset;
}

service! { CacheService {}
    list_cache(ListCacheRequest) -> ListCacheResponse: cache::list;
    get_cache_usage(GetCacheUsageRequest) -> GetCacheUsageResponse: cache::usage;
    clear_cache(ClearCacheRequest) -> ClearCacheResponse: cache::clear;
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match error.kind {
            Kind::Invalid => Code::InvalidArgument,
            Kind::NotFound => Code::NotFound,
            Kind::Exists => Code::AlreadyExists,
            Kind::Refused => Code::FailedPrecondition,
            Kind::Unavailable => Code::Unavailable,
            Kind::Corrupt => Code::DataLoss,
            Kind::Exhausted => Code::ResourceExhausted,
            Kind::Version | Kind::Unimplemented => Code::Unimplemented,
        };
        let mut status = match &error.suggestion {
            Some(suggestion) => Self::new(code, format!("{}; {suggestion}", error.message)),
            None => Self::new(code, error.message),
        };
        if let Some(wait_ms) = error.retry_after_ms {
            crate::net::push_back(&mut status, wait_ms);
        }
        status
    }
}
