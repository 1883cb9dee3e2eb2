//! A re-drive of one of many runs.

use reflux_engine::Lane;
use reflux_proto::api as v1;
use serde_json::{Map, Value, json};

use super::Input;
use crate::service::Service;
use crate::{Error, api};

/// Re-drives a run, unless a later one of its workflow id is there.
///
/// # Errors
/// The re-drive is refused.
pub(super) fn one(
    service: &Service,
    input: Input,
    request_id: String,
) -> Result<Map<String, Value>, Error> {
    let Input { namespace, run, redrive, .. } = input;
    if let Some(later) = later(service, &namespace, &run, &request_id)? {
        return Ok(Map::from_iter([
            ("skipped".to_owned(), json!("a later run of its workflow id is there")),
            ("later".to_owned(), json!(later)),
        ]));
    }
    let request = v1::RedriveRunRequest { namespace, run, redrive: Some(redrive), request_id };
    let new = api::redrive::run(service, request)?.run.map(|new| new.run_id).unwrap_or_default();
    Ok(Map::from_iter([("new".to_owned(), json!(new))]))
}

/// The latest run of the workflow id, if that is another one which this request has not started.
fn later(
    service: &Service,
    namespace: &str,
    run: &str,
    request_id: &str,
) -> Result<Option<String>, Error> {
    let base = api::runs::find(service, namespace, run)?;
    let Some(current) = service.engine().current(&Lane::of(&base.key))? else { return Ok(None) };
    if current == base.key {
        return Ok(None);
    }
    let summary = service.engine().summary(&current)?;
    let own = summary.is_some_and(|summary| *summary.request_id == *request_id);
    Ok((!own).then(|| current.run_id.to_string()))
}
