//! One update: accepted, then completed. Admitted and rejected ones leave no trace in the run.

use std::sync::Arc;

use crate::{EventId, IllegalItem, Kind, Run};

/// An update the workflow took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// It works on it.
    Accepted {
        /// Its `UpdateAccepted`.
        event: EventId,
    },
    /// It is done; the outcome is in that event.
    Completed {
        /// Its `UpdateCompleted`.
        event: EventId,
    },
}

/// The table of updates.
pub(crate) fn apply(run: &mut Run, kind: &Kind, id: EventId) -> Result<(), IllegalItem> {
    let update_id: Arc<str> = match kind {
        // Offered again after a reset: the workflow has not answered yet.
        Kind::UpdateAdmitted(_) | Kind::UpdateRejected(_) => return Ok(()),
        Kind::UpdateAccepted(event) => event.update_id.clone(),
        Kind::UpdateCompleted(event) => event.update_id.clone(),
        other => return Err(IllegalItem::new(run, "an update", other.name())),
    };
    match (run.updates.get(&update_id), kind) {
        (None, Kind::UpdateAccepted(_)) => {
            run.updates.insert(update_id, Update::Accepted { event: id });
            Ok(())
        }
        (Some(Update::Accepted { .. }), Kind::UpdateCompleted(_)) => {
            run.updates.insert(update_id, Update::Completed { event: id });
            Ok(())
        }
        (from, found) => {
            let from = match from {
                None => "no update",
                Some(Update::Accepted { .. }) => "an accepted update",
                Some(Update::Completed { .. }) => "a completed update",
            };
            Err(IllegalItem::new(run, from, found.name()))
        }
    }
}
