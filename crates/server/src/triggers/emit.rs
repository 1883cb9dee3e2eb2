//! Events: each matching trigger starts a run.

use std::sync::Arc;

use reflux_flow::trigger::TriggerKind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Triggers;
use super::start::start;
use super::table::Active;
use crate::{Error, Kind, clock};

/// Longest name or id of an event, in characters: the id becomes part of a workflow id, which has
/// at most 1,000 with the names of flow and trigger.
const NAME_CHARS_MAX: usize = 200;
/// Most bytes of an event's data, as of a webhook's body.
const DATA_BYTES_MAX: usize = 1 << 20;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// What happened, such as `order.placed`.
    pub name: String,
    /// Equal for repetitions of one event; made up when absent.
    #[serde(default)]
    pub id: Option<String>,
    /// What is known of it.
    #[serde(default)]
    pub data: Value,
}

/// What an event has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emitted {
    /// The event's id.
    pub id: String,
    /// One for each trigger that took it.
    pub runs: Vec<Started>,
    /// Why triggers that would have taken it could not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// A run that an occurrence started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The flow.
    pub flow: String,
    /// The trigger.
    pub trigger: String,
    /// The workflow id.
    pub workflow_id: String,
    /// The run.
    pub run_id: String,
    /// Whether an earlier delivery of the same occurrence had started it.
    pub existing: bool,
}

impl Triggers {
    /// Starts a run for each trigger that takes the event, and answers when all are durable. The
    /// same id starts nothing again.
    ///
    /// # Errors
    /// The event is none, or a start was not taken for now: emit it again with the same id.
    pub async fn emit(&self, event: Event) -> Result<Emitted, Error> {
        let Event { name, id, data } = event;
        let id = id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        check("name", &name)?;
        check("id", &id)?;
        if serde_json::to_vec(&data).map_or(0, |bytes| bytes.len()) > DATA_BYTES_MAX {
            return Err(Error::invalid("the data of an event has at most 1 MiB")
                .suggest("keep large data elsewhere and pass a reference"));
        }
        let table = self.table()?;
        let mut emitted = Emitted { id: id.clone(), runs: Vec::new(), refused: Vec::new() };
        let time = clock::rfc3339(clock::now());
        let occurrence = Arc::new(json!({ "id": id, "name": name, "data": data, "time": time }));
        for active in table.events.get(&name).into_iter().flatten() {
            match self.take(active, &id, &occurrence).await {
                Ok(Some(started)) => emitted.runs.push(started),
                Ok(None) => {}
                // What does not fit now will not fit later.
                Err(error) if error.kind == Kind::Invalid => {
                    let flow = &active.deployed.flow;
                    emitted.refused.push(format!("{flow}/{}: {error}", active.trigger.id));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(emitted)
    }

    async fn take(
        &self,
        active: &Active,
        id: &str,
        occurrence: &Arc<Value>,
    ) -> Result<Option<Started>, Error> {
        let TriggerKind::Event(filter) = &active.trigger.kind else { return Ok(None) };
        let takes = filter.takes(occurrence);
        if !takes.map_err(|error| Error::invalid(format!("filter: {error}")))? {
            return Ok(None);
        }
        let input = active.trigger.input(&active.flow, occurrence).map_err(Error::invalid)?;
        let start = start(&self.engine, active, id, &input, &self.identity).await?;
        Ok(Some(Started::of(active, &start)))
    }
}

impl Started {
    pub(super) fn of(active: &Active, start: &super::start::Start) -> Self {
        Self {
            flow: active.deployed.flow.to_string(),
            trigger: active.trigger.id.clone(),
            workflow_id: start.run.workflow_id.to_string(),
            run_id: start.run.run_id.to_string(),
            existing: start.existing,
        }
    }
}

/// A name or an id of printable characters.
fn check(what: &str, text: &str) -> Result<(), Error> {
    let fits = !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX;
    if fits && reflux_flow::name::check_title(text).is_ok() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the {what} of an event has 1 to {NAME_CHARS_MAX} characters that can be seen"
    )))
}
