//! One line for each change: who, what, from where, with which answer.

use axum::http::Method;
use axum::response::Response;

use super::listener::Peer;
use crate::access::Caller;

/// The target of audit lines; a server writes them whatever its level, unless that names them.
pub const TARGET: &str = "reflux::audit";

pub(super) fn line(caller: &Caller, peer: Peer, method: &Method, path: &str, response: &Response) {
    let answer = match response.extensions().get::<tonic::Status>() {
        Some(status) => format!("{:?}", status.code()),
        None => response.status().as_u16().to_string(),
    };
    // Nobody is told by a line about a caller without a key; where such callers are let in at all,
    // histories have the identity they claim.
    if caller.scope.is_none() {
        tracing::debug!(target: TARGET, peer = %peer.0, %method, path, answer, "a change by anybody");
        return;
    }
    tracing::info!(
        target: TARGET,
        caller = %caller.name,
        peer = %peer.0,
        %method,
        // A path is percent-encoded: it cannot break out of its line.
        path,
        answer,
        "a change was asked for"
    );
}
