//! Calls that do the same to every run that a query takes, each as a run of its own.

use std::sync::Arc;

use reflux_proto::api as v1;
use reflux_store::Summary;
use serde_json::json;

use super::{check_id, convert, namespace};
use crate::bulk::{self, Bulk, Work};
use crate::service::Service;
use crate::temporal::lists;
use crate::{Error, Kind, clock};

/// Re-drives the runs of a list.
///
/// # Errors
/// [`Kind::Invalid`] for a query that cannot be read or takes too many runs; [`Kind::NotFound`]
/// when it takes none.
pub fn redrive(
    service: &Service,
    request: v1::RedriveRunsRequest,
) -> Result<v1::RedriveRunsResponse, Error> {
    let redrive = serde_json::to_value(request.redrive.unwrap_or_default())
        .map_err(|error| Error::new(Kind::Corrupt, format!("a re-drive has no JSON: {error}")))?;
    let begun = begin(
        service,
        &request.namespace,
        &request.query,
        "run of a flow",
        |run| run.spec.is_some(),
        Bulk {
            work: Work::Redrive,
            with: ("redrive", "object", redrive),
            per_second: request.per_second,
            request_id: &request.request_id,
        },
    )?;
    let Begun { run, existing, runs } = begun;
    Ok(v1::RedriveRunsResponse { run, existing, runs })
}

/// Pauses the open runs of a list.
///
/// # Errors
/// As [`redrive`].
pub fn pause(
    service: &Service,
    request: v1::PauseRunsRequest,
) -> Result<v1::PauseRunsResponse, Error> {
    let v1::PauseRunsRequest { namespace, query, reason, per_second, request_id } = request;
    let with = ("reason", "string", json!(reason));
    let bulk = Bulk { work: Work::Pause, with, per_second, request_id: &request_id };
    let begun = begin(service, &namespace, &query, "open run", Summary::is_open, bulk)?;
    let Begun { run, existing, runs } = begun;
    Ok(v1::PauseRunsResponse { run, existing, runs })
}

/// Lets the paused runs of a list go on.
///
/// # Errors
/// As [`redrive`].
pub fn resume(
    service: &Service,
    request: v1::ResumeRunsRequest,
) -> Result<v1::ResumeRunsResponse, Error> {
    let v1::ResumeRunsRequest { namespace, query, reason, per_second, request_id } = request;
    let with = ("reason", "string", json!(reason));
    let bulk = Bulk { work: Work::Resume, with, per_second, request_id: &request_id };
    let begun = begin(service, &namespace, &query, "open run", Summary::is_open, bulk)?;
    let Begun { run, existing, runs } = begun;
    Ok(v1::ResumeRunsResponse { run, existing, runs })
}

struct Begun {
    run: Option<v1::Run>,
    existing: bool,
    runs: u32,
}

fn begin(
    service: &Service,
    wanted: &str,
    query: &str,
    what: &str,
    takes: impl Fn(&Summary) -> bool,
    bulk: Bulk<'_>,
) -> Result<Begun, Error> {
    check_id("request id", bulk.request_id)?;
    let namespace: Arc<str> = namespace(service, wanted)?;
    if query.trim().is_empty() {
        return Err(Error::invalid("no query is given")
            .suggest("say which runs, such as ExecutionStatus = 'Failed' AND WorkflowType = 'x'"));
    }
    if bulk.per_second > bulk::RATE_MAX {
        return Err(Error::invalid(format!("at most {} per second are possible", bulk::RATE_MAX)));
    }
    let answer = |run: Summary, existing, runs| Begun {
        run: Some(convert::run(&run, clock::now())),
        existing,
        runs: convert::count(runs),
    };
    if let Some((run, runs)) = bulk.begun(service, &namespace)? {
        return Ok(answer(run, true, runs));
    }
    let mut found =
        lists::newest(service.engine(), query, &namespace, bulk::RUNS_MAX + 1, |run| {
            takes(run) && !bulk::is_ours(&run.workflow_type)
        })?;
    if found.len() > bulk::RUNS_MAX {
        return Err(Error::invalid(format!("the query takes more than {} runs", bulk::RUNS_MAX))
            .suggest("narrow it, for example by StartTime, and call again for the rest"));
    }
    if found.is_empty() {
        return Err(Error::not_found(format!("the query takes no {what}")));
    }
    found.reverse(); // the oldest first
    let (run, existing) = bulk.start(service, &namespace, &found)?;
    Ok(answer(run, existing, found.len()))
}
