//! One run for one occurrence.

use std::sync::Arc;

use reflux_core::{RunId, RunKey};
use reflux_engine::{Ask, Engine, StartFlow, WhenClosed, WhenOpen};
use reflux_flow::payload;
use serde_json::Value;
use uuid::Uuid;

use super::table::Active;
use crate::Error;

/// What an occurrence started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub run: RunKey,
    /// Whether an earlier delivery of the same occurrence had started it.
    pub existing: bool,
}

/// Starts the run of an occurrence and waits until it is durable. The same `occurrence` gives the
/// same run for as long as that is kept.
pub(super) async fn start(
    engine: &Engine,
    active: &Active,
    occurrence: &str,
    input: &Value,
    identity: &Arc<str>,
) -> Result<Start, Error> {
    let subject = active.subject();
    let workflow_id = subject.run_workflow_id(occurrence);
    let request = StartFlow {
        namespace: active.deployed.namespace.clone(),
        workflow_id: workflow_id.as_str().into(),
        run_id: RunId(Uuid::now_v7()),
        spec: active.deployed.spec.clone(),
        flow: active.deployed.flow.clone(),
        input: payload::of_value(input),
        // The workflow id names the occurrence: there is one request for it, whoever repeats it.
        request_id: format!("trigger/{workflow_id}").into(),
        when_open: WhenOpen::UseExisting,
        when_closed: WhenClosed::Allow,
        identity: identity.clone(),
    };
    let lane_and_ask = request.into_request(reflux_engine::no_reply());
    let (lane, ask): (_, Ask) = (lane_and_ask.lane, lane_and_ask.ask);
    let started = engine
        .ask(lane, ask, |answer, _| Start { run: answer.run.clone(), existing: answer.existing })
        .await?;
    Ok(started)
}
