//! Refusals as Temporal's clients know them: a gRPC status whose details hold one typed message.

use std::time::Duration;

use prost::Message;
use reflux_core::{Failure, Rejection, RunId};
use reflux_engine::Error;
use reflux_proto::google::rpc;
use reflux_proto::temporal::api::enums::v1::{ResourceExhaustedCause, ResourceExhaustedScope};
use reflux_proto::temporal::api::errordetails::v1::{
    NamespaceAlreadyExistsFailure, NamespaceNotFoundFailure, NotFoundFailure, QueryFailedFailure,
    ResourceExhaustedFailure, WorkflowExecutionAlreadyStartedFailure, WorkflowNotReadyFailure,
};
use tonic::{Code, Status};

/// SDKs compare this text: the worker forgets the run and asks again.
const UNHANDLED_COMMAND: &str = "UnhandledCommand";

/// A refusal with one typed detail.
fn typed(code: Code, message: impl Into<String>, name: &str, detail: &impl Message) -> Status {
    let message = message.into();
    let status = rpc::Status {
        code: code.into(),
        message: message.clone(),
        details: vec![prost_types::Any {
            type_url: format!("type.googleapis.com/temporal.api.errordetails.v1.{name}"),
            value: detail.encode_to_vec(),
        }],
    };
    Status::with_details(code, message, status.encode_to_vec().into())
}

/// The request cannot be right.
pub(super) fn invalid(message: impl Into<String>) -> Status {
    Status::invalid_argument(message)
}

/// There is no such run, task, activity or query, or it is over.
pub(super) fn not_found(message: impl Into<String>) -> Status {
    typed(Code::NotFound, message, "NotFoundFailure", &NotFoundFailure::default())
}

/// There is no such namespace.
pub(super) fn no_namespace(namespace: &str) -> Status {
    let detail = NamespaceNotFoundFailure { namespace: namespace.to_owned() };
    let message = format!("Namespace {namespace} is not found.");
    typed(Code::NotFound, message, "NamespaceNotFoundFailure", &detail)
}

/// The namespace is there.
pub(super) fn namespace_exists() -> Status {
    let detail = NamespaceAlreadyExistsFailure {};
    let message = "Namespace already exists.";
    typed(Code::AlreadyExists, message, "NamespaceAlreadyExistsFailure", &detail)
}

/// The workflow id is taken.
pub(super) fn already_started(run_id: RunId, first_run: RunId, request_id: &str) -> Status {
    let detail = WorkflowExecutionAlreadyStartedFailure {
        start_request_id: request_id.to_owned(),
        run_id: run_id.to_string(),
        first_execution_run_id: first_run.to_string(),
    };
    let message = "Workflow execution already started";
    typed(Code::AlreadyExists, message, "WorkflowExecutionAlreadyStartedFailure", &detail)
}

/// The workflow answered a query with an error.
pub(super) fn query_failed(message: String, failure: Option<Failure>) -> Status {
    let detail = QueryFailedFailure { failure };
    typed(Code::InvalidArgument, message, "QueryFailedFailure", &detail)
}

/// The run cannot take the request yet.
pub(super) fn not_ready(message: impl Into<String>) -> Status {
    let detail = WorkflowNotReadyFailure {};
    typed(Code::FailedPrecondition, message, "WorkflowNotReadyFailure", &detail)
}

/// Too much at once.
pub(super) fn exhausted(message: impl Into<String>) -> Status {
    let detail = ResourceExhaustedFailure {
        cause: ResourceExhaustedCause::SystemOverloaded.into(),
        scope: ResourceExhaustedScope::System.into(),
    };
    typed(Code::ResourceExhausted, message, "ResourceExhaustedFailure", &detail)
}

/// A quota of the namespace is used up.
fn over_quota(message: String, retry_after: Option<Duration>) -> Status {
    let cause = match retry_after {
        Some(_) => ResourceExhaustedCause::RpsLimit,
        None => ResourceExhaustedCause::ConcurrentLimit,
    };
    let scope = ResourceExhaustedScope::Namespace;
    let detail = ResourceExhaustedFailure { cause: cause.into(), scope: scope.into() };
    let mut status = typed(Code::ResourceExhausted, message, "ResourceExhaustedFailure", &detail);
    if let Some(wait) = retry_after {
        crate::net::push_back(&mut status, crate::error::whole_ms(wait));
    }
    status
}

/// The run goes on, but not as the worker decided: what it has not seen comes first.
pub(super) fn unhandled_command() -> Status {
    invalid(UNHANDLED_COMMAND)
}

/// What is not built.
pub(super) fn unimplemented(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not built yet"))
}

/// A refusal of the engine.
pub(super) fn refused(error: Error) -> Status {
    let text = error.to_string();
    match error {
        Error::NotFound { workflow_id, run_id } => not_found(match run_id {
            Some(run_id) => {
                format!("workflow not found for ID: {workflow_id} and run ID: {run_id}")
            }
            None => format!("workflow not found for ID: {workflow_id}"),
        }),
        Error::AlreadyStarted { run_id, .. } => already_started(run_id, run_id, ""),
        Error::Rejected(rejection) => rejected(&rejection),
        Error::Invalid(_) => invalid(text),
        Error::Full | Error::Busy => exhausted(text),
        Error::Exhausted { retry_after, .. } => over_quota(text, retry_after),
        Error::Unavailable(_) | Error::Stopping => Status::unavailable(text),
        Error::Corrupt(_) => Status::data_loss(text),
    }
}

fn rejected(rejection: &Rejection) -> Status {
    let text = rejection.to_string();
    match rejection {
        Rejection::AlreadyClosed => not_found("workflow execution already completed"),
        Rejection::NotFound(_)
        | Rejection::NotStarted
        | Rejection::Stale { .. }
        | Rejection::WrongState { .. } => not_found(text),
        Rejection::AlreadyStarted | Rejection::AlreadyDone(_) => Status::already_exists(text),
        Rejection::TooEarly { .. } | Rejection::Paused | Rejection::Refused(_) => {
            Status::failed_precondition(text)
        }
        Rejection::LimitExceeded { .. } | Rejection::Invalid(_) => invalid(text),
        Rejection::Illegal(_) | Rejection::Poisoned => Status::unavailable(text),
    }
}
