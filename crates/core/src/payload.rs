//! The wire's own types that the domain keeps, and what is needed to handle them.

use bytes::Bytes;

pub use reflux_proto::temporal::api::common::v1::{
    Header, Memo, Payload, Payloads, Priority, SearchAttributes,
};
pub use reflux_proto::temporal::api::enums::v1::{
    CancelExternalWorkflowExecutionFailedCause as CancelExternalFailedCause,
    ContinueAsNewInitiator, ParentClosePolicy, RetryState,
    SignalExternalWorkflowExecutionFailedCause as SignalExternalFailedCause,
    StartChildWorkflowExecutionFailedCause as ChildStartFailedCause, TimeoutType,
    WorkflowIdReusePolicy as IdReusePolicy, WorkflowTaskFailedCause as TaskFailedCause,
};
pub use reflux_proto::temporal::api::failure::v1::Failure;

use reflux_proto::temporal::api::failure::v1::{
    ApplicationFailureInfo, TimeoutFailureInfo, failure::FailureInfo,
};

/// Header field of a run that makes it a flow: the digest of its specification.
pub const HEADER_SPEC: &str = "reflux.spec";
/// Header field of a run that is a record of the server's own: its input is what is recorded, and it
/// decides nothing.
pub const HEADER_SYSTEM: &str = "reflux.system";
/// Header field of a run that is a re-drive of another: whose, and what it takes over, as JSON.
pub const HEADER_REDRIVE: &str = "reflux.redrive";
/// Header field of an activity: its retry intervals, JSON array of milliseconds.
pub const HEADER_RETRY: &str = "reflux.retry";
/// Header field of an activity: its effect class, JSON string.
pub const HEADER_EFFECTS: &str = "reflux.effects";
/// Header field of a child run: the first run of its parent's chain, JSON string.
pub const HEADER_PARENT: &str = "reflux.parent";

/// Deepest chain of causes that is measured; the wire format itself allows 100 levels.
const CAUSES_MAX: usize = 100;

/// What a second execution of an activity could do to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EffectClass {
    /// Nothing: the result depends on the input alone.
    Pure,
    /// Nothing, but the result may differ.
    Reads,
    /// Nothing more than the first did.
    Idempotent,
    /// Harm: a lost attempt is not repeated before a person has looked.
    Unsafe,
}

impl EffectClass {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Reads => "reads",
            Self::Idempotent => "idempotent",
            Self::Unsafe => "unsafe",
        }
    }

    /// Reads what [`EffectClass::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pure, Self::Reads, Self::Idempotent, Self::Unsafe]
            .into_iter()
            .find(|class| class.as_str() == text)
    }
}

/// A payload of encoding `json/plain`; `json` must be valid JSON.
pub fn json_payload(json: impl Into<Bytes>) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), Bytes::from_static(b"json/plain"))].into(),
        data: json.into(),
        external_payloads: Vec::new(),
    }
}

/// A failure of an application: what a node or a flow reports.
pub fn application_failure(
    message: impl Into<String>,
    kind: impl Into<String>,
    non_retryable: bool,
) -> Failure {
    Failure {
        message: message.into(),
        source: "reflux".to_owned(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
            r#type: kind.into(),
            non_retryable,
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// A timeout of an activity.
pub(crate) fn timeout_failure(
    timeout: TimeoutType,
    last_heartbeat: &Payloads,
    cause: Option<&Failure>,
) -> Failure {
    let name = match timeout {
        TimeoutType::Unspecified => "",
        TimeoutType::StartToClose => "StartToClose ",
        TimeoutType::ScheduleToStart => "ScheduleToStart ",
        TimeoutType::ScheduleToClose => "ScheduleToClose ",
        TimeoutType::Heartbeat => "Heartbeat ",
    };
    Failure {
        message: format!("activity {name}timeout"),
        source: "Server".to_owned(),
        cause: cause.map(|failure| Box::new(failure.clone())),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
            timeout_type: timeout.into(),
            last_heartbeat_details: (!last_heartbeat.payloads.is_empty())
                .then(|| last_heartbeat.clone()),
        })),
        ..Default::default()
    }
}

/// Size of a payload in bytes, without the few bytes of framing.
pub fn payload_bytes(payload: &Payload) -> usize {
    let metadata: usize =
        payload.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    metadata + payload.data.len()
}

/// Size of payloads in bytes, without the few bytes of framing.
pub fn payloads_bytes(payloads: &Payloads) -> usize {
    payloads.payloads.iter().map(payload_bytes).sum()
}

/// Size of named payloads (header, memo, search attributes) in bytes.
pub fn fields_bytes(fields: &std::collections::BTreeMap<String, Payload>) -> usize {
    fields.iter().map(|(name, payload)| name.len() + payload_bytes(payload)).sum()
}

/// Bytes of text kept of a failure: what a person reads, and small beside a log record, which has to
/// hold it inline.
pub(crate) const FAILURE_TEXT_MAX: usize = 64 * 1024;

/// The failure with no more text than is kept; the first messages and traces of a chain of causes
/// are kept longest. Its payloads stay.
pub(crate) fn bounded_failure(failure: std::sync::Arc<Failure>) -> std::sync::Arc<Failure> {
    let texts = |failure: &Failure| failure.message.len() + failure.stack_trace.len();
    let chain = std::iter::successors(Some(&*failure), |failure| failure.cause.as_deref());
    if chain.take(CAUSES_MAX).map(texts).sum::<usize>() <= FAILURE_TEXT_MAX {
        return failure;
    }
    let mut bounded = Failure::clone(&failure);
    let mut left = FAILURE_TEXT_MAX;
    let mut next = Some(&mut bounded);
    for _ in 0..CAUSES_MAX {
        let Some(failure) = next else { break };
        left -= cut(&mut failure.message, left);
        left -= cut(&mut failure.stack_trace, left);
        next = failure.cause.as_deref_mut();
    }
    bounded.into()
}

/// Cuts a text; gives how long it is then.
fn cut(text: &mut String, max: usize) -> usize {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text.len()
}

/// Size of a failure with its causes in bytes, without the few bytes of framing.
pub fn failure_bytes(failure: &Failure) -> usize {
    let mut bytes = 0;
    let mut next = Some(failure);
    for _ in 0..CAUSES_MAX {
        let Some(failure) = next else { break };
        bytes += failure.message.len() + failure.source.len() + failure.stack_trace.len();
        bytes += failure.encoded_attributes.as_ref().map_or(0, payload_bytes);
        bytes += match &failure.failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) => {
                info.r#type.len() + info.details.as_ref().map_or(0, payloads_bytes)
            }
            Some(FailureInfo::TimeoutFailureInfo(info)) => {
                info.last_heartbeat_details.as_ref().map_or(0, payloads_bytes)
            }
            Some(FailureInfo::CanceledFailureInfo(info)) => {
                info.details.as_ref().map_or(0, payloads_bytes)
            }
            Some(FailureInfo::ResetWorkflowFailureInfo(info)) => {
                info.last_heartbeat_details.as_ref().map_or(0, payloads_bytes)
            }
            Some(
                FailureInfo::TerminatedFailureInfo(_)
                | FailureInfo::ServerFailureInfo(_)
                | FailureInfo::ActivityFailureInfo(_)
                | FailureInfo::ChildWorkflowExecutionFailureInfo(_)
                | FailureInfo::NexusOperationExecutionFailureInfo(_)
                | FailureInfo::NexusHandlerFailureInfo(_),
            )
            | None => 0,
        };
        next = failure.cause.as_deref();
    }
    bytes
}
