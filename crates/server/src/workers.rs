//! What flows need of a worker beside Temporal's protocol. Everything travels in the metadata of
//! payloads and in headers, so that every SDK passes it on.
//!
//! ```text
//! to the worker     input without places for secrets, secrets put in     header: idempotency key
//! from the worker   report taken off                                     secrets taken out
//! ```
//!
//! Absent: tasks, polls, tokens; an activity of a code workflow passes as it is.

use std::sync::Arc;

use reflux_core::{
    Activity, Failure, Header, Payload, Payloads, Run, application_failure, json_payload,
};
use reflux_flow::payload;
use reflux_proto::temporal::api::failure::v1::failure::FailureInfo;

use crate::host::outcome;
use crate::secrets::{Scrub, Secrets};

/// Metadata of a payload that a worker sends (result, details of a failure, a cancellation or a
/// heartbeat): what the attempt tells about itself, as the JSON of [`reflux_sdk::Report`].
pub const REPORT: &str = "reflux.report";
/// Header field of a step's task: the same for every attempt of the step, JSON string.
pub const IDEMPOTENCY_KEY: &str = "reflux.idempotency_key";

/// A report as JSON is not read beyond this: its parts are cut to less when they are recorded.
const REPORT_BYTES_MAX: usize = 256 << 10;
/// Deepest chain of causes from which secrets are taken out; the wire itself allows 100 levels.
const CAUSES_MAX: usize = 100;

/// The header of an activity's task: the recorded one, and for a step its idempotency key.
pub fn header(run: &Run, activity: &Activity) -> Header {
    let mut header = activity.what.header.clone();
    if header.fields.contains_key(payload::NODE_VERSION) {
        let key =
            reflux_engine::idempotency_key(run, &activity.what.activity_id, &activity.what.input);
        let key = json_payload(serde_json::Value::from(key).to_string());
        header.fields.insert(IDEMPOTENCY_KEY.to_owned(), key);
    }
    header
}

/// Whether an input has places for secrets: then [`fill`] it, and scrub what comes back.
pub fn has_secrets(input: &Payloads) -> bool {
    input.payloads.iter().any(|payload| payload.metadata.contains_key(payload::SECRETS))
}

/// Puts secrets into an input and gives what takes them out of everything that comes back.
///
/// # Errors
/// The failure of an attempt that cannot be made: a secret is not set.
pub fn fill(secrets: &Secrets, input: &mut Payloads) -> Result<Scrub, Arc<Failure>> {
    if !has_secrets(input) {
        return Ok(Scrub::default());
    }
    let (value, scrub) = secrets.input(input).map_err(|failure| {
        Arc::new(application_failure(failure.message, failure.kind, !failure.retryable))
    })?;
    *input = payload::of_value(&value);
    Ok(scrub)
}

/// Takes the report off what a worker sends. One that cannot be read is dropped: it must not
/// cost the attempt.
pub fn take_report(payloads: &mut Payloads, scrub: &Scrub) -> Option<Box<reflux_core::Report>> {
    let mut found = None;
    payloads.payloads.retain_mut(|payload| {
        let Some(report) = payload.metadata.remove(REPORT) else { return true };
        found = found.take().or(Some(report));
        // A failure without details has nothing else to carry it.
        !is_bare(payload)
    });
    let json = found.filter(|json| json.len() <= REPORT_BYTES_MAX)?;
    match serde_json::from_slice::<reflux_sdk::Report>(&json) {
        Ok(report) => outcome::report(report, scrub),
        Err(error) => {
            tracing::debug!(%error, "the report of an attempt cannot be read");
            None
        }
    }
}

/// Takes the report off a failure's details.
pub fn take_report_of_failure(
    failure: &mut Failure,
    scrub: &Scrub,
) -> Option<Box<reflux_core::Report>> {
    let details = match &mut failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => &mut info.details,
        Some(FailureInfo::CanceledFailureInfo(info)) => &mut info.details,
        _ => return None,
    };
    let report = take_report(details.as_mut()?, scrub);
    if details.as_ref().is_some_and(|details| details.payloads.is_empty()) {
        *details = None;
    }
    report
}

/// Takes secrets out of payloads; what is not JSON and holds one is left out.
pub fn scrub(payloads: &mut Payloads, scrub: &Scrub) {
    if scrub.is_empty() {
        return;
    }
    for payload in &mut payloads.payloads {
        match serde_json::from_slice::<serde_json::Value>(&payload.data) {
            Ok(mut value) => {
                scrub.value(&mut value);
                payload.data = value.to_string().into();
            }
            Err(_) => match std::str::from_utf8(&payload.data) {
                Ok(text) => payload.data = scrub.text(text).into(),
                Err(_) => payload.data = bytes::Bytes::new(),
            },
        }
        for value in payload.metadata.values_mut() {
            if let Ok(text) = std::str::from_utf8(value) {
                *value = scrub.text(text).into();
            }
        }
    }
}

/// Takes secrets out of a failure and its causes.
pub fn scrub_failure(failure: &mut Failure, with: &Scrub) {
    if with.is_empty() {
        return;
    }
    let mut next = Some(failure);
    for _ in 0..CAUSES_MAX {
        let Some(failure) = next else { return };
        with.in_place(&mut failure.message);
        with.in_place(&mut failure.stack_trace);
        failure.encoded_attributes = None;
        match &mut failure.failure_info {
            Some(FailureInfo::ApplicationFailureInfo(info)) => {
                with.in_place(&mut info.r#type);
                if let Some(details) = &mut info.details {
                    scrub(details, with);
                }
            }
            Some(FailureInfo::CanceledFailureInfo(info)) => {
                if let Some(details) = &mut info.details {
                    scrub(details, with);
                }
            }
            _ => {}
        }
        next = failure.cause.as_deref_mut();
    }
}

fn is_bare(payload: &Payload) -> bool {
    payload.data.is_empty()
        && payload.metadata.get("encoding").is_none_or(|encoding| &**encoding == b"binary/null")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sent(value: Option<Value>, report: Option<&str>) -> Payload {
        let mut payload = match value {
            Some(value) => json_payload(value.to_string()),
            None => Payload {
                metadata: [("encoding".to_owned(), "binary/null".into())].into(),
                ..Payload::default()
            },
        };
        if let Some(report) = report {
            payload.metadata.insert(REPORT.to_owned(), report.to_owned().into());
        }
        payload
    }

    #[track_caller]
    fn takes(payloads: &[Payload], left: &[Payload], tokens_in: Option<u64>) {
        let mut payloads = Payloads { payloads: payloads.to_vec() };
        let report = take_report(&mut payloads, &Scrub::default());
        assert_eq!(payloads.payloads, left);
        assert_eq!(report.map(|report| report.tokens_in), tokens_in);
    }

    #[test]
    fn a_report_is_taken_off_and_the_value_stays() {
        const REPORT: &str = r#"{"tokens":{"input":7,"output":1}}"#;
        let value = || Some(json!({"a": 1}));
        let too_long = format!(
            r#"{{"tokens":{{"input":7,"output":1}},"x":"{}"}}"#,
            "x".repeat(REPORT_BYTES_MAX)
        );
        takes(&[], &[], None);
        takes(&[sent(value(), None)], &[sent(value(), None)], None);
        takes(&[sent(value(), Some(REPORT))], &[sent(value(), None)], Some(7));
        takes(&[sent(value(), Some("{}"))], &[sent(value(), None)], None);
        takes(&[sent(value(), Some("nonsense"))], &[sent(value(), None)], None);
        takes(&[sent(value(), Some(&too_long))], &[sent(value(), None)], None);
        // a bare carrier goes, a result that is null stays null
        takes(&[sent(None, Some(REPORT))], &[], Some(7));
        takes(&[sent(None, None)], &[sent(None, None)], None);
        takes(
            &[sent(value(), Some(REPORT)), sent(None, Some(REPORT))],
            &[sent(value(), None)],
            Some(7),
        );
    }

    #[test]
    fn a_secret_goes_in_and_does_not_come_out() {
        let secrets = Secrets::of([("KEY".to_owned(), "hush!hush!".to_owned())].into()).unwrap();
        let mut input = Payloads { payloads: vec![json_payload(r#"{"auth":null,"x":1}"#)] };
        let slots = r#"[{"pointer":"/auth","parts":[{"secret":"KEY"}]}]"#;
        input.payloads[0].metadata.insert(payload::SECRETS.to_owned(), slots.into());
        assert!(has_secrets(&input));
        let with = fill(&secrets, &mut input).unwrap();
        assert_eq!(payload::value_of(&input).unwrap(), json!({"auth": "hush!hush!", "x": 1}));
        assert!(!has_secrets(&input), "a worker is not told where secrets were");

        let mut result = payload::of_value(&json!({"said": "it is hush!hush!"}));
        scrub(&mut result, &with);
        assert_eq!(payload::value_of(&result).unwrap(), json!({"said": "it is {{ secrets.KEY }}"}));
        let inner = application_failure("hush!hush!", "hush!hush!", false);
        let mut failure = Failure {
            cause: Some(Box::new(inner)),
            ..application_failure("no: hush!hush!", "T", true)
        };
        scrub_failure(&mut failure, &with);
        assert!(!format!("{failure:?}").contains("hush!hush!"), "{failure:?}");
    }

    #[test]
    fn an_attempt_without_its_secret_fails_for_good() {
        let mut input = Payloads { payloads: vec![json_payload(r#"{"auth":null}"#)] };
        let slots = r#"[{"pointer":"/auth","parts":[{"secret":"KEY"}]}]"#;
        input.payloads[0].metadata.insert(payload::SECRETS.to_owned(), slots.into());
        let failure = fill(&Secrets::default(), &mut input).unwrap_err();
        let Some(FailureInfo::ApplicationFailureInfo(info)) = &failure.failure_info else {
            panic!()
        };
        assert_eq!((info.r#type.as_str(), info.non_retryable), ("SecretMissing", true));
    }

    #[test]
    fn a_failure_without_details_can_carry_a_report() {
        let mut failure = application_failure("no", "T", true);
        if let Some(FailureInfo::ApplicationFailureInfo(info)) = &mut failure.failure_info {
            info.details =
                Some(Payloads { payloads: vec![sent(None, Some(r#"{"cost_usd":0.5}"#))] });
        }
        let report = take_report_of_failure(&mut failure, &Scrub::default());
        assert_eq!(report.unwrap().cost_usd, 0.5);
        assert_eq!(failure, application_failure("no", "T", true));
    }
}
