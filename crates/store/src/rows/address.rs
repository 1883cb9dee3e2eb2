//! Where a run's rows are: its key, at a fixed length.

use reflux_core::{RunId, RunKey, Slot};
use uuid::Uuid;

/// Bytes of a workflow's address: slot and digest.
pub(crate) const WORKFLOW_BYTES: usize = 18;

/// Bytes of a run's address: its workflow's and the run id.
pub(crate) const ADDRESS_BYTES: usize = WORKFLOW_BYTES + 16;

/// Address of a workflow id in its namespace: all its runs are neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Workflow([u8; WORKFLOW_BYTES]);

impl Workflow {
    /// The digest covers lengths too, so that no choice of ids reaches into another namespace.
    pub(crate) fn of(namespace: &str, workflow_id: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(namespace.len() as u64).to_le_bytes());
        hasher.update(namespace.as_bytes());
        hasher.update(workflow_id.as_bytes());
        let slot = Slot::of(namespace, workflow_id).0.to_be_bytes();
        let digest = hasher.finalize();
        let mut bytes = [0; WORKFLOW_BYTES];
        for (to, from) in bytes.iter_mut().zip(slot.iter().chain(digest.as_bytes())) {
            *to = *from;
        }
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Address of a run. Runs of one workflow are ordered by run id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address([u8; ADDRESS_BYTES]);

impl Address {
    pub(crate) fn of(key: &RunKey) -> Self {
        Self::new(Workflow::of(&key.namespace, &key.workflow_id), key.run_id)
    }

    pub(crate) fn new(workflow: Workflow, run: RunId) -> Self {
        let mut bytes = [0; ADDRESS_BYTES];
        for (to, from) in bytes.iter_mut().zip(workflow.0.iter().chain(run.0.as_bytes())) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The last bytes of a key that ends in an address.
    pub(crate) fn at_end_of(key: &[u8]) -> Option<Self> {
        key.last_chunk().copied().map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn as_array(&self) -> &[u8; ADDRESS_BYTES] {
        &self.0
    }

    pub(crate) fn from_array(bytes: [u8; ADDRESS_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) fn workflow(&self) -> Workflow {
        let mut bytes = [0; WORKFLOW_BYTES];
        for (to, from) in bytes.iter_mut().zip(&self.0) {
            *to = *from;
        }
        Workflow(bytes)
    }

    pub(crate) fn run_id(&self) -> RunId {
        let bytes = self.0.last_chunk::<16>().copied().unwrap_or_default();
        RunId(Uuid::from_bytes(bytes))
    }
}
