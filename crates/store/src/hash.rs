//! The hash of what a partition means, whatever its rows look like.

use std::collections::BTreeSet;

use blake3::Hasher;

use crate::error::Error;
use crate::summary::{Digest, Summary, status};
use crate::view::View;

/// See [`View::state_hash`].
pub(crate) fn state_hash(view: &View) -> Result<Digest, Error> {
    let mut hasher = Hasher::new();
    let mut blobs = BTreeSet::new();
    for run in view.runs() {
        let (address, summary) = run?;
        hash_summary(&mut hasher, &summary);
        let current = view.current_run(address.workflow())? == Some(address.run_id());
        hasher.update(&[u8::from(current)]);
        for item in view.items_at(address, 0)? {
            let (_, item) = item?;
            text(&mut hasher, &item);
            (view.references)(&item, &mut |digest| {
                blobs.insert(digest);
            })?;
        }
        // No item has this length: what follows is another run.
        hasher.update(&u64::MAX.to_le_bytes());
    }
    for digest in blobs {
        hasher.update(&digest);
        hasher.update(&[u8::from(view.has_blob(&digest)?)]);
    }
    Ok(*hasher.finalize().as_bytes())
}

// Every field of fixed length, or preceded by its length.
fn hash_summary(hasher: &mut Hasher, run: &Summary) {
    text(hasher, run.key.namespace.as_bytes());
    text(hasher, run.key.workflow_id.as_bytes());
    hasher.update(run.key.run_id.0.as_bytes());
    text(hasher, run.workflow_type.as_bytes());
    hasher.update(&[status::code(run.status)]);
    hasher.update(&run.started.0.to_le_bytes());
    optional(hasher, run.closed.map(|closed| closed.0.to_le_bytes()));
    hasher.update(&[u8::from(run.parent.is_some())]);
    if let Some(parent) = &run.parent {
        text(hasher, parent.namespace.as_bytes());
        text(hasher, parent.workflow_id.as_bytes());
        hasher.update(parent.run_id.0.as_bytes());
    }
    hasher.update(run.first_run_id.0.as_bytes());
    text(hasher, run.request_id.as_bytes());
    for count in [run.items, run.bytes, run.events] {
        hasher.update(&count.to_le_bytes());
    }
    for count in [run.steps_done, run.steps_total] {
        hasher.update(&count.to_le_bytes());
    }
    text(hasher, run.error.as_deref().unwrap_or_default().as_bytes());
    optional(hasher, run.spec);
    optional(hasher, run.redrive_of.map(|base| *base.0.as_bytes()));
}

fn text(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn optional<const N: usize>(hasher: &mut Hasher, bytes: Option<[u8; N]>) {
    hasher.update(&[u8::from(bytes.is_some())]);
    hasher.update(&bytes.unwrap_or([0; N]));
}
