//! What is known of a run without folding it: key = address.

use std::sync::Arc;

use bytes::Bytes;
use reflux_core::{RunId, RunKey};

use super::address::{Address, Workflow};
use super::{Kind, codec};
use crate::error::Error;
use crate::summary::{ERROR_BYTES_MAX, Summary};
use crate::table::Batch;

pub(crate) fn key(run: Address) -> Bytes {
    Kind::Summary.key(&[run.as_bytes()])
}

/// All summaries of a partition, workflow by workflow.
pub(crate) fn all() -> (Bytes, Bytes) {
    (Kind::Summary.key(&[]), Kind::Summary.key_after(&[]))
}

/// The summaries of all runs of a workflow id, in the order of their run ids.
pub(crate) fn of_workflow(workflow: Workflow) -> (Bytes, Bytes) {
    let parts: &[&[u8]] = &[workflow.as_bytes()];
    (Kind::Summary.key(parts), Kind::Summary.key_after(parts))
}

pub(crate) fn put(batch: &mut Batch, run: Address, summary: &Summary) -> Result<(), Error> {
    let value = match &summary.error {
        Some(error) if error.len() > ERROR_BYTES_MAX => {
            let cut = (0..=ERROR_BYTES_MAX).rev().find(|at| error.is_char_boundary(*at));
            let error = error.get(..cut.unwrap_or(0)).map(str::to_owned);
            codec::encode("summary", &Summary { error, ..summary.clone() })?
        }
        _ => codec::encode("summary", summary)?,
    };
    batch.put(key(run), value);
    Ok(())
}

pub(crate) fn delete(batch: &mut Batch, run: Address) {
    batch.delete(key(run));
}

pub(crate) fn decode(value: &[u8]) -> Result<Summary, Error> {
    codec::decode("summary", value)
}

/// Namespace and workflow id, for rows that must give a run's key without another read.
pub(crate) fn encode_names(key: &RunKey) -> Result<Bytes, Error> {
    codec::encode("names", &(&*key.namespace, &*key.workflow_id))
}

pub(crate) fn decode_names(value: &[u8], run_id: RunId) -> Result<RunKey, Error> {
    let (namespace, workflow_id): (Arc<str>, Arc<str>) = codec::decode("names", value)?;
    Ok(RunKey { namespace, workflow_id, run_id })
}
