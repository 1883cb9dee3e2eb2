//! What an open run waits for, and the commands by which people answer.

use reflux_core::Phase;

use super::fold::Telling;
use super::{Wait, WaitsFor};
use crate::clock;

impl Telling {
    /// What the run waits for now.
    pub(super) fn waits_for(&self) -> Vec<WaitsFor> {
        let run = self.key.run_id;
        let mut out = Vec::new();
        let mut resolutions = 0;
        for activity in self.run.activities.values() {
            let activation = activity.what.activity_id.to_string();
            let step = activation.as_str();
            let (kind, text, command) = match &activity.phase {
                Phase::Waiting { .. } => ("node", format!("`{step}` waits to be handed out"), None),
                Phase::Backoff { due } => {
                    let why = activity
                        .last_failure
                        .as_ref()
                        .map_or("it failed", |failure| &failure.message);
                    let text = format!(
                        "attempt {} of `{step}` is due at {}: {why}",
                        activity.attempt,
                        clock::rfc3339(*due)
                    );
                    ("retry", text, None)
                }
                Phase::Started { worker, .. } => {
                    let text = format!(
                        "`{step}` is at work ({}, attempt {})",
                        worker.identity, activity.attempt
                    );
                    ("node", text, None)
                }
                Phase::OutcomeUnknown { .. } => {
                    resolutions += 1;
                    let text = format!(
                        "the process that ran `{step}` has gone, and repeating it may do harm: say what became of it"
                    );
                    let command = format!(
                        "reflux resolve {run} {step} --retry|--complete JSON|--fail MESSAGE"
                    );
                    ("resolution", text, Some(command))
                }
                Phase::Ended { .. } => continue,
            };
            let on = match &activity.phase {
                Phase::Waiting { .. } => vec![
                    format!("node:{}", activity.what.activity_type),
                    format!("queue:{}/{}", self.key.namespace, activity.what.task_queue),
                ],
                _ => Vec::new(),
            };
            out.push(WaitsFor { activation: Some(activation), kind, text, command, on });
        }
        for place in &self.waits {
            let Some(visit) =
                self.steps.get(place.step).and_then(|step| step.visits.get(place.visit))
            else {
                continue;
            };
            let step = &visit.activation;
            let (kind, text, command) = match &visit.wait {
                Some(Wait::Approval { title }) => (
                    "approval",
                    format!(
                        "somebody to approve `{step}`: {}",
                        title.as_deref().unwrap_or("no title")
                    ),
                    format!("reflux approve {run} {step}"),
                ),
                Some(Wait::Signal { name }) => (
                    "signal",
                    format!("the signal `{name}` for `{step}`"),
                    format!("reflux signal {run} {name} --data JSON"),
                ),
                Some(Wait::Timer { .. } | Wait::SubFlow { .. }) | None => continue,
            };
            out.push(WaitsFor {
                activation: Some(step.clone()),
                kind,
                text,
                command: Some(command),
                on: Vec::new(),
            });
        }
        for (timer_id, timer) in &self.run.timers {
            let text = format!("the time {} for `{timer_id}`", clock::rfc3339(timer.due));
            out.push(WaitsFor {
                activation: Some(timer_id.to_string()),
                kind: "timer",
                text,
                command: None,
                on: Vec::new(),
            });
        }
        for child in self.run.children.values() {
            let prefix = format!("{}/", self.key.workflow_id);
            let activation =
                child.what.workflow_id.strip_prefix(&prefix).unwrap_or(&child.what.workflow_id);
            out.push(WaitsFor {
                activation: Some(activation.to_owned()),
                kind: "sub_flow",
                text: format!("the sub-flow `{}`", child.what.workflow_type),
                command: Some(format!("reflux show {}", child.what.workflow_id)),
                on: Vec::new(),
            });
        }
        if let (Some(paused), 0) = (&self.run.paused, resolutions) {
            out.push(WaitsFor {
                activation: None,
                kind: "resume",
                text: match &*paused.reason {
                    "" => format!("somebody to resume it: it was paused by {}", paused.identity),
                    why => {
                        format!(
                            "somebody to resume it: it was paused by {} ({why})",
                            paused.identity
                        )
                    }
                },
                command: Some(format!("reflux resume {run}")),
                on: Vec::new(),
            });
        }
        out
    }
}
