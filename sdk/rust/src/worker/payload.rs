//! Values, reports and failures as they travel.

use serde_json::Value;
use temporalio_common::protos::coresdk::activity_task::Start;
use temporalio_common::protos::temporal::api::common::v1::{Payload, Payloads};
use temporalio_common::protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_common::protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure};

use crate::{Failure as NodeFailure, Report};

// The wire between workers and the server: docs/nodes.md has it.
const REPORT: &str = "reflux.report";
const IDEMPOTENCY_KEY: &str = "reflux.idempotency_key";

/// A value with the attempt's report in its metadata.
pub(super) fn of(value: &Value, report: Option<&Report>) -> Payload {
    let encoding = if value.is_null() { "binary/null" } else { "json/plain" };
    let mut payload = Payload::default();
    payload.metadata.insert("encoding".to_owned(), encoding.as_bytes().to_vec());
    if let Some(report) = report.and_then(|report| serde_json::to_vec(report).ok()) {
        payload.metadata.insert(REPORT.to_owned(), report);
    }
    if !value.is_null() {
        payload.data = value.to_string().into_bytes();
    }
    payload
}

/// The value of the first payload; none is null, as is one that is not JSON.
pub(super) fn value(payloads: &[Payload]) -> Value {
    let data = payloads.first().map(|payload| payload.data.as_slice());
    data.and_then(|data| serde_json::from_slice(data).ok()).unwrap_or_default()
}

/// The idempotency key of a task. An activity of a code workflow, which no server gave one, has one of its place.
pub(super) fn idempotency_key(start: &Start) -> String {
    let given = start.header_fields.get(IDEMPOTENCY_KEY);
    let given = given.and_then(|key| serde_json::from_slice(&key.data).ok());
    given.unwrap_or_else(|| {
        let run = start.workflow_execution.clone().unwrap_or_default();
        [&start.workflow_namespace, &run.workflow_id, &run.run_id, &start.activity_id]
            .map(String::as_str)
            .join("/")
    })
}

/// The failure of an attempt with its report.
pub(super) fn failure(failure: NodeFailure, report: Option<&Report>) -> Failure {
    let NodeFailure { kind, message, details, retryable, retry_after } = failure;
    let details = details.map(|details| *details).unwrap_or_default();
    let carried = (report.is_some() || !details.is_null())
        .then(|| Payloads { payloads: vec![of(&details, report)] });
    Failure {
        message,
        source: "RefluxSDK".to_owned(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
            r#type: kind,
            non_retryable: !retryable,
            details: carried,
            next_retry_delay: retry_after.and_then(|after| after.try_into().ok()),
            ..ApplicationFailureInfo::default()
        })),
        ..Failure::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_comes_back_and_null_is_none() {
        for sent in [json!({"a": [1, null]}), json!("text"), Value::Null] {
            assert_eq!(value(&[of(&sent, None)]), sent);
        }
        assert_eq!(value(&[]), Value::Null);
        assert_eq!(value(&[Payload { data: b"\x00".to_vec(), ..Payload::default() }]), Value::Null);
    }

    #[test]
    fn a_report_travels_beside_the_value() {
        let report = Report { cost_usd: 0.5, ..Report::default() };
        let sent = of(&Value::Null, Some(&report));
        let told: Option<Report> =
            sent.metadata.get(REPORT).and_then(|report| serde_json::from_slice(report).ok());
        assert_eq!((told, sent.data), (Some(report), Vec::new()));
        assert!(!of(&json!(1), None).metadata.contains_key(REPORT));
    }

    #[test]
    fn a_key_is_the_given_one_or_names_the_activity() {
        let mut start = Start { activity_id: "a".to_owned(), ..Start::default() };
        start.workflow_namespace = "n".to_owned();
        assert_eq!(idempotency_key(&start), "n///a");
        start.header_fields.insert(IDEMPOTENCY_KEY.to_owned(), of(&json!("k"), None));
        assert_eq!(idempotency_key(&start), "k");
    }

    #[test]
    fn a_failure_keeps_its_kind_and_carries_details_only_if_there_are_some() {
        let info = |told: Failure| match told.failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) => info,
            other => panic!("{other:?}"),
        };
        let bare = info(failure(NodeFailure::permanent("Shop.Closed", "no"), None));
        assert_eq!(
            (bare.r#type.as_str(), bare.non_retryable, bare.details),
            ("Shop.Closed", true, None)
        );
        let told = NodeFailure::retryable("T", "no").with_details(json!({"status": 503}));
        let told = info(failure(told.with_retry_after(std::time::Duration::from_secs(2)), None));
        assert_eq!(value(&told.details.unwrap_or_default().payloads), json!({"status": 503}));
        assert_eq!(told.next_retry_delay.map(|delay| delay.seconds), Some(2));
    }
}
