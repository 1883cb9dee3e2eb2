//! Whether an approval says which step it is for.

use reflux_core::{Rejection, Signal};
use serde_json::Value;

use super::{APPROVAL_SIGNAL, Progress};
use crate::graph::{Action, Wait};
use crate::payload;

impl Progress {
    /// Refuses an approval that does not name its step, unless there is only one step it can be
    /// for, and that step waits: sent twice, it would decide the next approval too. To be asked
    /// before the signal is recorded; what is recorded counts as it is.
    ///
    /// # Errors
    /// [`Rejection::WrongState`]: the step has to be named.
    pub fn admit(&self, signal: &Signal) -> Result<(), Rejection> {
        if &*signal.name != APPROVAL_SIGNAL {
            return Ok(());
        }
        let named = payload::value_of(&signal.input)
            .is_ok_and(|value| value.get("step").is_some_and(Value::is_string));
        let asking = self
            .flow
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Wait(Wait::Approval { .. })));
        if named || (asking.count() == 1 && self.open.approvals.len() == 1) {
            return Ok(());
        }
        Err(Rejection::WrongState {
            what: "an approval that names no step".into(),
            state: if self.open.approvals.is_empty() {
                "comes while no step asks"
            } else {
                "could be for several"
            },
            advice: "send it with the id of the step in `step`",
        })
    }
}
