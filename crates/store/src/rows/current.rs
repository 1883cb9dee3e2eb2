//! The current run of a workflow id: key = address of the workflow, value = run id. Written when
//! a run is first written, so it costs nothing per step.

use bytes::Bytes;
use reflux_core::RunId;
use uuid::Uuid;

use super::Kind;
use super::address::{Address, Workflow};
use crate::error::Error;
use crate::table::Batch;

pub(crate) fn key(workflow: Workflow) -> Bytes {
    Kind::Current.key(&[workflow.as_bytes()])
}

pub(crate) fn put(batch: &mut Batch, run: Address) {
    let value = Bytes::copy_from_slice(run.run_id().0.as_bytes());
    batch.put(key(run.workflow()), value);
}

pub(crate) fn delete(batch: &mut Batch, workflow: Workflow) {
    batch.delete(key(workflow));
}

pub(crate) fn decode(value: &[u8]) -> Result<RunId, Error> {
    Uuid::from_slice(value).map(RunId).map_err(|error| Error::corrupt_row("current", error))
}
