//! Queries: asked by clients, answered by workers.

use reflux_core::Run;
use reflux_engine::QueryOutcome;
use reflux_proto::temporal::api::enums::v1::{QueryRejectCondition, QueryResultType};
use reflux_proto::temporal::api::query::v1::{QueryRejected, WorkflowQueryResult};
use reflux_proto::temporal::api::workflowservice::v1::{
    QueryWorkflowRequest, QueryWorkflowResponse, RespondQueryTaskCompletedRequest,
    RespondQueryTaskCompletedResponse,
};
use tokio::time::Instant;
use tonic::Status;

use super::Frontend;
use super::convert::{execution, header, name, to_status};
use super::errors::{invalid, not_found, not_ready, query_failed, refused};
use super::tokens::Task;

impl Frontend {
    pub(super) async fn query(
        &self,
        until: Instant,
        request: QueryWorkflowRequest,
    ) -> Result<QueryWorkflowResponse, Status> {
        let condition = request.query_reject_condition();
        let namespace = self.namespace(request.namespace)?;
        let (lane, run_id) = execution(namespace, request.execution)?;
        let mut query = request.query.ok_or_else(|| invalid("Query is not set on request."))?;
        name("QueryType", query.query_type.clone())?;
        query.header = Some(header(query.header)?);
        let look = |run: &Run| (run.key.clone(), run.status, run.decider(), run.has_begun());
        let (run, status, decider, begun) =
            self.app.engine.look(lane, run_id, look).await.map_err(refused)?;
        if rejects(condition, status) {
            let rejected = QueryRejected { status: to_status(status).into() };
            return Ok(QueryWorkflowResponse {
                query_rejected: Some(rejected),
                ..Default::default()
            });
        }
        if decider != Some(reflux_core::Decider::Code) {
            return Err(Status::failed_precondition(
                "a flow's run answers no queries; describe it or read its history",
            ));
        }
        if !begun {
            return Err(not_ready("the workflow has not begun yet: query it when it has"));
        }
        let asked = tokio::select! {
            asked = self.app.engine.query(run, query) => asked,
            () = tokio::time::sleep_until(until) => return Err(Status::deadline_exceeded(
                "no worker answered the query in time: see that one polls the task queue",
            )),
            () = self.app.drained() => return Err(Status::unavailable("the server is stopping")),
        };
        match asked.map_err(refused)? {
            QueryOutcome::Answered(answer) => {
                Ok(QueryWorkflowResponse { query_result: Some(answer), ..Default::default() })
            }
            QueryOutcome::Failed { message, failure } => {
                Err(query_failed(message, failure.map(|failure| *failure)))
            }
        }
    }

    pub(super) async fn complete_query(
        &self,
        request: RespondQueryTaskCompletedRequest,
    ) -> Result<RespondQueryTaskCompletedResponse, Status> {
        let completed = request.completed_type();
        let task = self.tokens.read(&request.task_token, &request.namespace)?;
        let Task::Query { run, id } = task else {
            return Err(not_found("task token: not a query's; drop the task"));
        };
        let result = WorkflowQueryResult {
            result_type: completed.into(),
            answer: request.query_result,
            error_message: request.error_message,
            failure: request.failure,
        };
        match self.app.engine.answer_query(&run, &id, outcome(result)) {
            true => Ok(RespondQueryTaskCompletedResponse {}),
            false => Err(not_found("query task not found, or already expired")),
        }
    }
}

/// What a worker says of a query.
pub(super) fn outcome(result: WorkflowQueryResult) -> QueryOutcome {
    match result.result_type() {
        QueryResultType::Answered => QueryOutcome::Answered(result.answer.unwrap_or_default()),
        QueryResultType::Failed | QueryResultType::Unspecified => QueryOutcome::Failed {
            message: result.error_message,
            failure: result.failure.map(Box::new),
        },
    }
}

fn rejects(condition: QueryRejectCondition, status: reflux_core::Status) -> bool {
    use reflux_core::Status as S;
    match condition {
        QueryRejectCondition::Unspecified | QueryRejectCondition::None => false,
        QueryRejectCondition::NotOpen => status != S::Running,
        QueryRejectCondition::NotCompletedCleanly => !matches!(status, S::Running | S::Completed),
    }
}
