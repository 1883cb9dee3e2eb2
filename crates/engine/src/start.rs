//! How a flow's run is asked for.

use std::sync::Arc;

use reflux_core::{Payloads, Start};
use reflux_flow::payload;

use crate::LOCAL_QUEUE;
use crate::request::{Ask, Lane, NewRun, Reply, Request, Spec, WhenClosed, WhenOpen};

/// A new run of a flow.
#[derive(Debug, Clone)]
pub struct StartFlow {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The workflow id; at most one open run has it.
    pub workflow_id: Arc<str>,
    /// Id of the run, a UUIDv7.
    pub run_id: reflux_core::RunId,
    /// The bundle.
    pub spec: Spec,
    /// Which flow of the bundle.
    pub flow: Arc<str>,
    /// Its input, checked against the flow's parameters.
    pub input: Payloads,
    /// Equal for repetitions of one request; empty when there is none.
    pub request_id: Arc<str>,
    /// What happens when an open run has the workflow id.
    pub when_open: WhenOpen,
    /// What happens when a closed run had it.
    pub when_closed: WhenClosed,
    /// Who asks.
    pub identity: Arc<str>,
}

impl StartFlow {
    /// The request for it.
    pub fn into_request(self, reply: Reply) -> Request {
        let start = Start {
            workflow_type: self.flow,
            task_queue: LOCAL_QUEUE.into(),
            input: self.input,
            header: payload::spec_header(self.spec.digest),
            request_id: self.request_id,
            identity: self.identity,
            ..Start::default()
        };
        Request {
            lane: Lane { namespace: self.namespace, workflow_id: self.workflow_id },
            ask: Ask::Start(NewRun {
                run_id: self.run_id,
                start: Box::new(start),
                when_open: self.when_open,
                when_closed: self.when_closed,
                spec: Some(self.spec),
            }),
            reply,
        }
    }
}
