//! A run that failed or was cancelled: what still runs ends, what was done is taken back, newest
//! first, and the run closes.

use reflux_core::{Decision, Payloads, Target};
use serde_json::json;

use super::Policies;
use super::next::failure;
use crate::payload;
use crate::progress::{Activation, Progress};

impl Progress {
    pub(super) fn next_of_ending(&self, nodes: &dyn Policies) -> Vec<Decision> {
        let asked = self.ask_to_stop();
        if !asked.is_empty() {
            return asked;
        }
        if !self.is_still() {
            return Vec::new();
        }
        match self.next_undo() {
            Some(at) => self.undo(at, nodes),
            None => vec![self.end_run()],
        }
    }

    /// Calls timers off; in a cancelled run asks everything that runs to stop, once.
    fn ask_to_stop(&self) -> Vec<Decision> {
        let timers = self.timers_to_stop().map(|timer_id| Decision::CancelTimer { timer_id });
        if !self.is_canceling() {
            return timers.take(STOPS_AT_ONCE).collect();
        }
        let activities = self
            .activities_to_stop()
            .map(|scheduled| Decision::RequestCancelActivity { scheduled });
        let children = self.children_to_stop().map(|activation| Decision::RequestCancelExternal {
            target: Target {
                namespace: self.key().namespace.clone(),
                workflow_id: self.child_workflow_id(activation),
                run_id: None,
                first_run: None,
            },
            child_only: true,
            reason: "the flow was cancelled".into(),
        });
        timers.chain(activities).chain(children).take(STOPS_AT_ONCE).collect()
    }

    fn undo(&self, at: usize, nodes: &dyn Policies) -> Vec<Decision> {
        let Some(step) = self.step_at(at) else { return Vec::new() };
        let Some(compensation) = &step.compensate else { return Vec::new() };
        let activation = Activation::compensation(step.id.clone());
        vec![match self.render(&step.id, &compensation.with, None) {
            Ok(input) => self.schedule(step, &activation, &compensation.node, &input, nodes),
            Err(error) => failure(&activation, "Expression", error.to_string()),
        }]
    }

    fn end_run(&self) -> Decision {
        match self.failure() {
            None => Decision::CancelRun { details: Payloads::default() },
            Some(error) => {
                let mut error = (**error).clone();
                if let (Some(object), false) =
                    (error.as_object_mut(), self.undo_errors().is_empty())
                {
                    let errors: Vec<_> =
                        self.undo_errors().iter().map(|error| (**error).clone()).collect();
                    object.insert("compensation_errors".into(), json!(errors));
                }
                Decision::FailRun { failure: payload::failure_of(&error).into() }
            }
        }
    }
}

/// How much is asked to stop in one decision.
const STOPS_AT_ONCE: usize = 256; // keeps a record small when thousands of items run
