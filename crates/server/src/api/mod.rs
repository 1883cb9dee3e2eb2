//! What the API does, once for every face: gRPC, REST and the command line call these functions.
//!
//! ```text
//! gRPC ─────────────┐
//! REST ─── JSON ────┼─→ METHODS ─→ flows, runs, nodes, triggers ─→ Service, Registry, Engine
//! socket ─ JSON ────┘
//! ```
//!
//! The messages of `reflux.v1` are the terms here. Calls block, and are made on threads that may.
//! Absent: who may call what (the ports'), streams (`live`).

pub mod cache;
mod compare;
mod convert;
pub mod flows;
pub(crate) mod grpc;
pub mod limits;
pub(crate) mod live;
pub mod many;
pub mod nodes;
mod page;
pub mod redrive;
pub mod replay;
pub mod runs;
pub mod steer;
pub mod triggers;

use std::sync::Arc;

use reflux_proto::api as v1;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::registry::SYSTEM_NAMESPACE;
use crate::service::Service;
use crate::{Error, Kind};

pub use live::{Live, follow};

/// A call with JSON in and out.
pub type Call = fn(&Service, Value) -> Result<Value, Error>;

/// Every call that has one answer, by `Service/Method`.
pub const METHODS: &[(&str, Call)] = &[
    ("FlowService/ValidateFlow", |s, v| answer(s, v, flows::validate)),
    ("FlowService/DeployFlow", |s, v| answer(s, v, flows::deploy)),
    ("FlowService/ImportFlows", |s, v| answer(s, v, flows::import)),
    ("FlowService/ListFlows", |s, v| answer(s, v, flows::list)),
    ("FlowService/GetFlow", |s, v| answer(s, v, flows::get)),
    ("FlowService/DiffFlow", |s, v| answer(s, v, flows::diff)),
    ("FlowService/DeleteFlow", |s, v| answer(s, v, flows::delete)),
    ("FlowService/ExportFlow", |s, v| answer(s, v, flows::export)),
    ("FlowService/CloneFlow", |s, v| answer(s, v, flows::clone)),
    ("FlowService/GetFlowUsage", |s, v| answer(s, v, flows::usage)),
    ("RunService/StartRun", |s, v| answer(s, v, runs::start)),
    ("RunService/ListRuns", |s, v| answer(s, v, runs::list)),
    ("RunService/GetRun", |s, v| answer(s, v, runs::get)),
    ("RunService/DescribeRun", |s, v| answer(s, v, runs::describe)),
    ("RunService/GetHistory", |s, v| answer(s, v, runs::history)),
    ("RunService/SignalRun", |s, v| answer(s, v, runs::signal)),
    ("RunService/QueryRun", |s, v| answer(s, v, runs::query)),
    ("RunService/ApproveRun", |s, v| answer(s, v, runs::approve)),
    ("RunService/CancelRun", |s, v| answer(s, v, runs::cancel)),
    ("RunService/TerminateRun", |s, v| answer(s, v, runs::terminate)),
    ("RunService/PauseRun", |s, v| answer(s, v, runs::pause)),
    ("RunService/ResumeRun", |s, v| answer(s, v, runs::resume)),
    ("RunService/ResolveStep", |s, v| answer(s, v, runs::resolve)),
    ("RunService/MutateRun", |s, v| answer(s, v, steer::mutate)),
    ("RunService/SetBreakpoints", |s, v| answer(s, v, steer::breakpoints)),
    ("RunService/StepRun", |s, v| answer(s, v, steer::step)),
    ("RunService/GetRunState", |s, v| answer(s, v, replay::state)),
    ("RunService/VerifyRun", |s, v| answer(s, v, replay::verify)),
    ("RunService/VerifyRuns", |s, v| answer(s, v, replay::verify_all)),
    ("RunService/DiffRuns", |s, v| answer(s, v, replay::diff)),
    ("RunService/RedriveRun", |s, v| answer(s, v, redrive::run)),
    ("RunService/PlanRedrive", |s, v| answer(s, v, redrive::plan)),
    ("RunService/ForkRun", |s, v| answer(s, v, redrive::fork)),
    ("RunService/RedriveRuns", |s, v| answer(s, v, many::redrive)),
    ("RunService/PauseRuns", |s, v| answer(s, v, many::pause)),
    ("RunService/ResumeRuns", |s, v| answer(s, v, many::resume)),
    ("NodeService/RegisterNode", |s, v| answer(s, v, nodes::register)),
    ("NodeService/ListNodes", |s, v| answer(s, v, nodes::list)),
    ("NodeService/GetNode", |s, v| answer(s, v, nodes::get)),
    ("NodeService/DeprecateNode", |s, v| answer(s, v, nodes::deprecate)),
    ("NodeService/RemoveNode", |s, v| answer(s, v, nodes::remove)),
    ("NodeService/ListAlternatives", |s, v| answer(s, v, nodes::alternatives)),
    ("TriggerService/EmitEvent", |s, v| answer(s, v, triggers::emit)),
    ("TriggerService/ListTriggers", |s, v| answer(s, v, triggers::list)),
    ("TriggerService/GetTrigger", |s, v| answer(s, v, triggers::get)),
    ("TriggerService/PauseTrigger", |s, v| answer(s, v, triggers::pause)),
    ("TriggerService/ResumeTrigger", |s, v| answer(s, v, triggers::resume)),
    ("TriggerService/FireTrigger", |s, v| answer(s, v, triggers::fire)),
    ("LimitService/ListLimits", |s, v| answer(s, v, limits::list)),
    ("LimitService/SetLimit", |s, v| answer(s, v, limits::set)),
    ("LimitService/UnsetLimit", |s, v| answer(s, v, limits::unset)),
    ("LimitService/ResetCircuit", |s, v| answer(s, v, limits::reset)),
    ("CacheService/ListCache", |s, v| answer(s, v, cache::list)),
    ("CacheService/GetCacheUsage", |s, v| answer(s, v, cache::usage)),
    ("CacheService/ClearCache", |s, v| answer(s, v, cache::clear)),
];

/// Makes a call with JSON.
///
/// # Errors
/// The call is unknown, the JSON does not fit it, or it went wrong.
pub fn call(service: &Service, method: &str, request: Value) -> Result<Value, Error> {
    let found = METHODS.iter().find(|(name, _)| *name == method);
    let (_, call) = found.ok_or_else(|| {
        Error::new(Kind::Unimplemented, format!("there is no call `{}`", method.escape_debug()))
    })?;
    call(service, request)
}

fn answer<I: DeserializeOwned, O: Serialize>(
    service: &Service,
    request: Value,
    call: fn(&Service, I) -> Result<O, Error>,
) -> Result<Value, Error> {
    let request = serde_json::from_value(request)
        .map_err(|error| Error::invalid(format!("the request does not fit: {error}")))?;
    let response = call(service, request)?;
    serde_json::to_value(response)
        .map_err(|error| Error::new(Kind::Corrupt, format!("the answer has no JSON: {error}")))
}

/// The namespace that a request names.
fn namespace(service: &Service, name: &str) -> Result<Arc<str>, Error> {
    match name {
        "" => Ok(crate::protocol::NAMESPACE.into()),
        SYSTEM_NAMESPACE => Err(Error::invalid(format!("`{name}` is the server's own"))
            .suggest("use a namespace of yours")),
        name => Ok(service.host().registry().namespace(name)?.name.as_str().into()),
    }
}

/// Most characters of an id that a caller gives.
const ID_CHARS_MAX: usize = reflux_core::ID_CHARS_MAX;

/// Refuses ids that are too long, or that do not look like what they are.
fn check_id(what: &str, id: &str) -> Result<(), Error> {
    if id.len() > ID_CHARS_MAX && id.chars().count() > ID_CHARS_MAX {
        return Err(Error::invalid(format!(
            "the {what} has {} characters; {ID_CHARS_MAX} are allowed",
            id.chars().count()
        )));
    }
    let hidden = |c: &char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    match id.chars().find(hidden) {
        None => Ok(()),
        Some(c) => Err(Error::invalid(format!(
            "the {what} holds the invisible character U+{:04X}; leave it out",
            u32::from(c)
        ))),
    }
}

/// The identity that a change is recorded under.
fn author(service: &Service, given: &str) -> Result<String, Error> {
    check_id("author", given)?;
    Ok(if given.is_empty() { service.identity().to_string() } else { given.to_owned() })
}

/// The text of the answer to several problems.
fn joined(problems: impl IntoIterator<Item = impl ToString>) -> String {
    let problems: Vec<String> = problems.into_iter().map(|problem| problem.to_string()).collect();
    problems.join("; ")
}

/// A request's source.
fn source(source: Option<v1::FlowSource>) -> Result<v1::FlowSource, Error> {
    match source {
        Some(source) if !source.text.is_empty() => Ok(source),
        _ => Err(Error::invalid("there is no definition: give its text as source.text")),
    }
}
