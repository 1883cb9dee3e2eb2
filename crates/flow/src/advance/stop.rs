//! A run that failed or was cancelled: what still runs ends, what was done is taken back, newest
//! first, and the run closes.

use reflux_core::{Decision, EventId, Payloads, Run, Target};
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

    /// What a paused run still decides: its sub-flows are paused too. Where an outcome is unknown,
    /// only this run waits for a person.
    pub(crate) fn next_of_paused(&self, run: &Run) -> Vec<Decision> {
        let own = run.paused.as_ref().is_some_and(|paused| paused.outcome_unknown);
        let running = self.children_to_pause().filter(|_| !own && !self.is_closed());
        suspend(running, true)
    }

    /// What a run that goes on decides first: the sub-flows it has paused go on too.
    pub(crate) fn resume_children(&self) -> Vec<Decision> {
        suspend(self.children_to_resume().filter(|_| !self.is_closed()), false)
    }

    /// Calls timers off; in a cancelled run asks everything that runs to stop, once.
    fn ask_to_stop(&self) -> Vec<Decision> {
        if !self.is_canceling() {
            return self.stop_timers(&|_| true).take(STOPS_AT_ONCE).collect();
        }
        self.stop(&|_| true, "the flow was cancelled").take(STOPS_AT_ONCE).collect()
    }

    /// Calls off the timers of these activations and asks what else they run to stop, once.
    pub(crate) fn stop(
        &self,
        which: &dyn Fn(&Activation) -> bool,
        reason: &str,
    ) -> impl Iterator<Item = Decision> {
        let activities = self
            .activities_to_stop()
            .filter(|(_, activation)| which(activation))
            .map(|(scheduled, _)| Decision::RequestCancelActivity { scheduled });
        let children = self.children_to_stop().filter(|activation| which(activation));
        let children = children.map(|activation| Decision::RequestCancelExternal {
            target: Target {
                namespace: self.key().namespace.clone(),
                workflow_id: self.child_workflow_id(activation),
                run_id: None,
                first_run: None,
            },
            child_only: true,
            reason: reason.into(),
        });
        self.stop_timers(which).chain(activities).chain(children)
    }

    fn stop_timers(&self, which: &dyn Fn(&Activation) -> bool) -> impl Iterator<Item = Decision> {
        let timers = self.timers_to_stop().filter(|(_, activation)| which(activation));
        timers.map(|(timer_id, _)| Decision::CancelTimer { timer_id: timer_id.clone() })
    }

    fn undo(&self, at: usize, nodes: &dyn Policies) -> Vec<Decision> {
        let Some(step) = self.step_at(at) else { return Vec::new() };
        let Some(compensation) = &step.compensate else { return Vec::new() };
        let activation = Activation::compensation(step.id.clone());
        let undo = match self.render(&step.id, &compensation.with, None) {
            Ok(input) => self.schedule(step, &activation, &compensation.node, &input, nodes),
            Err(error) => Some(failure(&activation, "Expression", error.to_string())),
        };
        undo.into_iter().collect()
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

fn suspend(children: impl Iterator<Item = EventId>, pause: bool) -> Vec<Decision> {
    let children = children.take(STOPS_AT_ONCE);
    children.map(|initiated| Decision::SuspendChild { initiated, pause }).collect()
}

/// How much is asked to stop in one decision.
const STOPS_AT_ONCE: usize = 256; // keeps a record small when thousands of items run
