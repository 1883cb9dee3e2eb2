//! How a flow's values, errors and marks stand in Temporal's messages. Durable for ever.

use std::collections::BTreeMap;

use bytes::Bytes;
use reflux_core::{
    HEADER_SPEC, Header, Marker, Payload, Payloads, Retry as CoreRetry, json_payload as payload,
};
use reflux_proto::temporal::api::failure::v1::failure::FailureInfo;
use reflux_proto::temporal::api::failure::v1::{ApplicationFailureInfo, Failure};
use serde_json::{Value, json};

use crate::graph::Retry;
use crate::progress::Mark;
use crate::template::{Rendered, SecretSlot};

/// Header field of a scheduled step: the exact version of its node.
pub const NODE_VERSION: &str = "reflux.node_version";
/// Header field of a scheduled step: the nodes that may take the place of its node, as JSON.
pub const ALTERNATIVES: &str = "reflux.alternatives";
/// Payload metadata: where secrets go into the value, as JSON.
pub const SECRETS: &str = "reflux.secrets";
/// Payload metadata of a run's result: `failed` when a failure was handled on the way.
pub const STATUS: &str = "reflux.status";

const ENCODING: &str = "encoding";
const NULL: &[u8] = b"binary/null";
/// Where a marker of ours keeps its JSON.
pub(crate) const DATA: &str = "data";

/// A JSON value as Temporal's SDKs write it.
pub fn of_value(value: &Value) -> Payloads {
    Payloads { payloads: vec![json_payload(value)] }
}

/// The value of the first payload; none is null.
///
/// # Errors
/// The payload is not JSON.
pub fn value_of(payloads: &Payloads) -> Result<Value, serde_json::Error> {
    let Some(payload) = payloads.payloads.first() else {
        return Ok(Value::Null);
    };
    if payload.data.is_empty() || payload.metadata.get(ENCODING).is_some_and(|e| &**e == NULL) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&payload.data)
}

/// A rendered input, with the places where secrets go beside it.
pub fn of_input(input: &Rendered) -> Payloads {
    let mut payload = json_payload(&input.value);
    if !input.secrets.is_empty() {
        let slots = serde_json::to_vec(&input.secrets).unwrap_or_default();
        payload.metadata.insert(SECRETS.to_owned(), slots.into());
    }
    Payloads { payloads: vec![payload] }
}

/// Where secrets go into the value of an input.
///
/// # Errors
/// The metadata is not what [`of_input`] writes.
pub fn secrets_of(payloads: &Payloads) -> Result<Vec<SecretSlot>, serde_json::Error> {
    let slots = payloads.payloads.first().and_then(|payload| payload.metadata.get(SECRETS));
    slots.map_or(Ok(Vec::new()), |slots| serde_json::from_slice(slots))
}

/// The result of a run on whose way a failure was handled.
pub fn of_handled_failure(value: &Value) -> Payloads {
    let mut payload = json_payload(value);
    payload.metadata.insert(STATUS.to_owned(), Bytes::from_static(b"failed"));
    Payloads { payloads: vec![payload] }
}

/// Whether a failure was handled on the way to this result.
pub fn is_handled_failure(payloads: &Payloads) -> bool {
    payloads.payloads.first().is_some_and(|payload| payload.metadata.contains_key(STATUS))
}

/// An error `{kind, message, …}` as a failure.
pub fn failure_of(error: &Value) -> Failure {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Failure {
        message: text("message"),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
            r#type: text("kind"),
            non_retryable: true,
            details: Some(of_value(error)),
            ..ApplicationFailureInfo::default()
        })),
        ..Failure::default()
    }
}

/// A failure as an error `{kind, message, details}` that expressions can read.
pub fn error_of(failure: &Failure) -> Value {
    let mut error = match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => {
            let details =
                info.details.as_ref().map_or(Ok(Value::Null), value_of).unwrap_or(Value::Null);
            // An error of a sub-flow's step is handed up as it is.
            if details.get("kind").is_some() && details.get("message").is_some() {
                return details;
            }
            json!({ "kind": info.r#type, "message": failure.message, "details": details })
        }
        Some(FailureInfo::TimeoutFailureInfo(_)) => {
            json!({ "kind": "Timeout", "message": failure.message })
        }
        Some(FailureInfo::CanceledFailureInfo(_)) => {
            json!({ "kind": "Canceled", "message": failure.message })
        }
        Some(FailureInfo::TerminatedFailureInfo(_)) => {
            json!({ "kind": "Terminated", "message": failure.message })
        }
        _ => json!({ "kind": "Error", "message": failure.message }),
    };
    if let (Some(error), Some(cause)) = (error.as_object_mut(), &failure.cause) {
        error.insert("cause".to_owned(), error_of(cause));
    }
    error
}

/// The details of a marker of ours.
pub(crate) fn marker(mark: &Mark) -> BTreeMap<String, Payloads> {
    marker_of(serde_json::to_vec(mark).unwrap_or_default())
}

/// The details of a marker with that JSON.
pub(crate) fn marker_of(json: Vec<u8>) -> BTreeMap<String, Payloads> {
    let payloads = Payloads { payloads: vec![payload(json)] };
    BTreeMap::from([(DATA.to_owned(), payloads)])
}

/// The JSON of a marker of ours; empty when it holds none.
pub fn marker_json(marker: &Marker) -> &[u8] {
    let payloads = marker.details.get(DATA).map(|payloads| payloads.payloads.as_slice());
    payloads.and_then(<[_]>::first).map_or(&[], |payload| &payload.data)
}

/// The header of a flow run's start.
pub fn spec_header(digest: [u8; 32]) -> Header {
    let digest = Payload { data: Bytes::copy_from_slice(&digest), ..Payload::default() };
    Header { fields: BTreeMap::from([(HEADER_SPEC.to_owned(), digest)]) }
}

/// The digest in a start's header, if it is a flow run's.
pub fn spec_of(header: &Header) -> Option<&Payload> {
    header.fields.get(HEADER_SPEC)
}

/// What a sub-flow's header has of its parent's: the bundle.
pub(crate) fn sub_flow_header(parent: &Header) -> Header {
    let spec = spec_of(parent).map(|digest| (HEADER_SPEC.to_owned(), digest.clone()));
    Header { fields: spec.into_iter().collect() }
}

/// The exact version of the node of a scheduled step; empty when the header does not say.
pub fn node_version(header: &Header) -> std::sync::Arc<str> {
    let version = header.fields.get(NODE_VERSION);
    version.map_or("", |payload| std::str::from_utf8(&payload.data).unwrap_or("")).into()
}

/// The nodes that may take the place of the node of a scheduled step, in order.
pub fn alternatives(header: &Header) -> Vec<String> {
    let nodes = header.fields.get(ALTERNATIVES);
    nodes.and_then(|payload| serde_json::from_slice(&payload.data).ok()).unwrap_or_default()
}

/// The header of a scheduled step.
pub(crate) fn node_header(version: &str, alternatives: &[String]) -> Header {
    let version = payload(Bytes::copy_from_slice(version.as_bytes()));
    let mut fields = BTreeMap::from([(NODE_VERSION.to_owned(), version)]);
    if !alternatives.is_empty() {
        let nodes = serde_json::to_vec(alternatives).unwrap_or_default();
        fields.insert(ALTERNATIVES.to_owned(), payload(nodes));
    }
    Header { fields }
}

pub(crate) fn retry(retry: &Retry) -> CoreRetry {
    match retry {
        Retry::Intervals(waits) => CoreRetry::Intervals(waits.clone()),
        Retry::Exponential { attempts, initial, coefficient, maximum } => CoreRetry::Exponential {
            initial: *initial,
            coefficient: *coefficient,
            maximum: *maximum,
            attempts: *attempts,
            non_retryable: Vec::new(),
        },
    }
}

/// What a value is, in a person's words.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn json_payload(value: &Value) -> Payload {
    payload(serde_json::to_vec(value).unwrap_or_default())
}
