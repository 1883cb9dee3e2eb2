//! One of many runs is paused, or goes on.

use reflux_core::{Command, Rejection, Suspend};
use reflux_engine::Lane;
use serde_json::{Map, Value, json};

use super::Input;
use crate::service::Service;
use crate::{Error, api};

/// Pauses a run, unless it is paused or closed.
///
/// # Errors
/// The run cannot be paused.
pub(super) fn pause(
    service: &Service,
    input: Input,
    request_id: String,
) -> Result<Map<String, Value>, Error> {
    ask(service, input, request_id, "paused", Command::Pause)
}

/// Lets a run go on, unless it is not paused or closed.
///
/// # Errors
/// The outcome of an attempt is unknown: a person has to resolve it first.
pub(super) fn resume(
    service: &Service,
    input: Input,
    request_id: String,
) -> Result<Map<String, Value>, Error> {
    ask(service, input, request_id, "resumed", Command::Unpause)
}

fn ask(
    service: &Service,
    input: Input,
    request_id: String,
    done: &str,
    command: fn(Suspend) -> Command,
) -> Result<Map<String, Value>, Error> {
    use reflux_engine::Error::Rejected;
    let key = api::runs::find(service, &input.namespace, &input.run)?.key;
    let command = command(Suspend {
        reason: input.reason.into(),
        identity: service.identity().clone(),
        request_id: request_id.into(),
    });
    let (what, value) = match service.engine().command(Lane::of(&key), Some(key.run_id), command) {
        Ok(_) => (done, json!(true)),
        // It was so before, or became so meanwhile: there is nothing to do.
        Err(Rejected(why @ (Rejection::AlreadyDone(_) | Rejection::AlreadyClosed))) => {
            ("skipped", json!(why.to_string()))
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Map::from_iter([(what.to_owned(), value)]))
}
