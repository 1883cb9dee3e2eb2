//! Signals and requests to end that this run sends to others: initiated, then done or failed.

use std::sync::Arc;

use crate::{
    EventId, ExternalCancelInitiated, ExternalSignalInitiated, IllegalItem, Kind, Message,
    Outgoing, Run,
};

/// A signal to another run that is not acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalSignal {
    /// What is to be said.
    pub what: Arc<ExternalSignalInitiated>,
}

/// A request to another run to end that is not acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalCancel {
    /// What is to be said.
    pub what: Arc<ExternalCancelInitiated>,
}

/// The table of messages to others.
pub(crate) fn apply(run: &mut Run, kind: &Kind, id: EventId) -> Result<(), IllegalItem> {
    let open = match kind {
        Kind::ExternalSignalInitiated(what) => {
            run.external_signals.insert(id, ExternalSignal { what: what.clone() });
            let message = Message::Signal { initiated: id, signal: what.clone() };
            run.send(Outgoing { target: what.target.clone(), message });
            true
        }
        Kind::ExternalSignaled(event) => run.external_signals.remove(&event.initiated).is_some(),
        Kind::ExternalSignalFailed(event) => {
            run.external_signals.remove(&event.initiated).is_some()
        }
        Kind::ExternalCancelInitiated(what) => {
            run.external_cancels.insert(id, ExternalCancel { what: what.clone() });
            let message = Message::RequestCancel { initiated: id, cancel: Some(what.clone()) };
            run.send(Outgoing { target: what.target.clone(), message });
            true
        }
        Kind::ExternalCancelRequested(event) => {
            run.external_cancels.remove(&event.initiated).is_some()
        }
        Kind::ExternalCancelFailed(event) => {
            run.external_cancels.remove(&event.initiated).is_some()
        }
        _ => false,
    };
    if open { Ok(()) } else { Err(IllegalItem::new(run, "no message to another run", kind.name())) }
}
