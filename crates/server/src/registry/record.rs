//! A record as a run: its input is what is recorded, facts first, then what is read on demand.

use std::collections::BTreeMap;

use bytes::Bytes;
use reflux_core::{
    Command, Event, HEADER_SYSTEM, Header, Item, Kind, Payloads, RunId, Start, Status, Terminate,
    json_payload, payloads_bytes,
};
use reflux_engine::{Engine, LOCAL_QUEUE, Lane, NewRun, Recovered, WhenClosed, WhenOpen};
use reflux_store::{Filter, PAGE_RUNS_MAX};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::SYSTEM_NAMESPACE;
use crate::Error;

/// Most bytes of a record: an event holds no more.
const RECORD_BYTES_MAX: usize = 2 << 20;

/// Tells every record: its id, its kind, its facts.
pub(super) fn load(
    runs: &Recovered<'_>,
    tell: &mut dyn FnMut(&str, &str, Value),
) -> Result<(), reflux_engine::Error> {
    let filter = Filter { statuses: vec![Status::Running], ..Filter::all(SYSTEM_NAMESPACE) };
    let mut after = None;
    loop {
        let page = runs.list(&filter, after, PAGE_RUNS_MAX)?;
        let schedules = reflux_flow::schedule::WORKFLOW_TYPE;
        for summary in page.runs.iter().filter(|run| *run.workflow_type != *schedules) {
            let facts = payloads(&runs.items(&summary.key)?)
                .and_then(|payloads| serde_json::from_slice(&payloads.payloads.first()?.data).ok());
            let facts = facts.unwrap_or_default();
            tell(&summary.key.workflow_id, &summary.workflow_type, facts);
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Writes a record, in the place of the one that has the id.
pub(super) fn put(
    engine: &Engine,
    kind: &str,
    id: String,
    facts: &impl Serialize,
    content: impl IntoIterator<Item = Bytes>,
) -> Result<(), Error> {
    let facts = serde_json::to_vec(facts)
        .map_err(|error| Error::invalid(format!("a record cannot be written: {error}")))?;
    let payloads = std::iter::once(Bytes::from(facts)).chain(content).map(json_payload).collect();
    let input = Payloads { payloads };
    let bytes = payloads_bytes(&input);
    if bytes > RECORD_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{id} with everything that belongs to it has {bytes} bytes; {RECORD_BYTES_MAX} are allowed"
        ))
        .suggest("keep data in files of its own, and deploy sub-flows by themselves"));
    }
    let start = Start {
        workflow_type: kind.into(),
        task_queue: LOCAL_QUEUE.into(),
        input,
        header: Header { fields: BTreeMap::from([(HEADER_SYSTEM.to_owned(), json_payload("1"))]) },
        identity: "reflux".into(),
        ..Start::default()
    };
    let new = NewRun {
        run_id: RunId(Uuid::now_v7()),
        start: Box::new(start),
        when_open: WhenOpen::Terminate,
        when_closed: WhenClosed::Allow,
        spec: None,
    };
    engine.start_run(lane(id), new)?;
    Ok(())
}

/// What belongs to a record besides its facts.
pub(super) fn content(engine: &Engine, id: String) -> Result<Vec<Bytes>, Error> {
    let missing = || Error::not_found(format!("{id} is not there any more"));
    let run = engine.current(&lane(id.clone()))?.ok_or_else(missing)?;
    let payloads = payloads(&engine.items(&run)?).ok_or_else(missing)?;
    Ok(payloads.payloads.into_iter().skip(1).map(|payload| payload.data).collect())
}

/// Takes a record away.
pub(super) fn remove(engine: &Engine, id: String) -> Result<(), Error> {
    let reason = Terminate { reason: "removed".into(), ..Terminate::default() };
    engine.command(lane(id), None, Command::Terminate(reason))?;
    Ok(())
}

fn lane(id: String) -> Lane {
    Lane { namespace: SYSTEM_NAMESPACE.into(), workflow_id: id.into() }
}

fn payloads(items: &[Item]) -> Option<Payloads> {
    items.iter().find_map(|item| match item {
        Item::Event(Event { kind: Kind::Started(started), .. }) => Some(started.input.clone()),
        Item::Event(_) | Item::Delta(_) => None,
    })
}
