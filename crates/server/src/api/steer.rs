//! Calls by which an operator changes a running flow. What makes no sense is refused by the engine,
//! with the reason.

use reflux_engine::{Answer, Lane};
use reflux_flow::{Patch, Steer};
use reflux_proto::api as v1;

use super::runs::find;
use super::{check_id, convert};
use crate::Error;
use crate::service::Service;

/// Changes the graph of a run.
///
/// # Errors
/// [`Kind::Invalid`](crate::Kind::Invalid) for a patch that cannot be read,
/// [`Kind::NotFound`](crate::Kind::NotFound), [`Kind::Refused`](crate::Kind::Refused).
pub fn mutate(
    service: &Service,
    request: v1::MutateRunRequest,
) -> Result<v1::MutateRunResponse, Error> {
    let mut patch =
        Patch::parse(&request.patch).map_err(|refused| Error::invalid(refused.to_string()))?;
    patch.revision = patch.revision.or(request.expected_revision.map(u64::from));
    if patch.reason.is_empty() {
        patch.reason = request.reason;
    }
    patch.author = service.identity().to_string();
    let steer = Steer::Mutate(patch);
    let answer = ask(service, &request.namespace, &request.run, steer, &request.request_id)?;
    Ok(v1::MutateRunResponse {
        status: convert::status(answer.status).into(),
        revision: u32::try_from(answer.revision).unwrap_or(u32::MAX),
    })
}

/// Sets and removes breakpoints.
///
/// # Errors
/// [`Kind::NotFound`](crate::Kind::NotFound), [`Kind::Refused`](crate::Kind::Refused).
pub fn breakpoints(
    service: &Service,
    request: v1::SetBreakpointsRequest,
) -> Result<v1::SetBreakpointsResponse, Error> {
    let v1::SetBreakpointsRequest { namespace, run, add, remove, request_id } = request;
    let steer = Steer::Breakpoints { add, remove };
    let answer = ask(service, &namespace, &run, steer, &request_id)?;
    Ok(v1::SetBreakpointsResponse { status: convert::status(answer.status).into() })
}

/// Lets a run go on for some starts.
///
/// # Errors
/// [`Kind::NotFound`](crate::Kind::NotFound), [`Kind::Refused`](crate::Kind::Refused).
pub fn step(service: &Service, request: v1::StepRunRequest) -> Result<v1::StepRunResponse, Error> {
    let steer = Steer::Step { count: request.steps.max(1) };
    let answer = ask(service, &request.namespace, &request.run, steer, &request.request_id)?;
    Ok(v1::StepRunResponse { status: convert::status(answer.status).into() })
}

fn ask(
    service: &Service,
    namespace: &str,
    run: &str,
    steer: Steer,
    request_id: &str,
) -> Result<Answer, Error> {
    check_id("request id", request_id)?;
    let key = find(service, namespace, run)?.key;
    let identity = service.identity();
    Ok(service.engine().steer(Lane::of(&key), Some(key.run_id), steer, identity, request_id)?)
}
