//! What the outside does to a run, act by act.

use std::sync::Arc;

use reflux_core::{
    AttemptRef, Child, Command, DeliveryFailure, Ending, EventId, Message, RequestCancel,
    Resolution, RetryState, RunKey, Signal, Suspend, Terminate, Worker, application_failure,
};
use reflux_flow::progress::APPROVAL_SIGNAL;
use reflux_flow::{Patch, Steer, payload};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::world::World;

/// `script.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// What this history is about.
    pub about: String,
    /// The run is the schedule of this trigger of the flow, not the flow.
    #[serde(default)]
    pub trigger: Option<String>,
    /// What the run is a re-drive of and takes over, as its header has it.
    #[serde(default)]
    pub redrive: Option<Value>,
    /// The run's input.
    #[serde(default)]
    pub input: Value,
    /// What happens after the start, in order.
    #[serde(default)]
    pub acts: Vec<Act>,
    /// How it stands then.
    pub ends: Ends,
}

/// How a run stands after its script.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Ends {
    /// As in lists: `completed`, `running`…
    pub status: String,
    /// Each step with its outcome: `succeeded`, `failed`, `skipped`, `unreached`, `ready`,
    /// `running`, `left` (running when the run closed); and ` ×n` after more than one visit.
    pub steps: std::collections::BTreeMap<String, String>,
}

/// One thing that happens.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(missing_docs)] // The names are those of the commands.
pub enum Act {
    /// Seconds pass.
    Pass(f64),
    /// The process ends and another takes over.
    Crash {},
    Complete {
        activity: String,
        output: Value,
    },
    Fail {
        activity: String,
        error: String,
        #[serde(default)]
        last: bool,
    },
    /// The host of the node measured that it took too long.
    TimeOut {
        activity: String,
    },
    /// The node ended because it was asked to.
    Stopped {
        activity: String,
    },
    /// A worker of its own takes it.
    Claim {
        activity: String,
        worker: String,
    },
    Resolve {
        activity: String,
        outcome: Outcome,
    },
    Signal {
        name: String,
        value: Value,
    },
    Approve {
        step: String,
        by: String,
    },
    Reject {
        step: String,
        by: String,
        comment: String,
    },
    Cancel {
        reason: String,
    },
    Terminate {
        reason: String,
    },
    Pause {
        by: String,
    },
    Resume {
        by: String,
    },
    /// An operator changes the graph: the patch as JSON.
    Mutate {
        by: String,
        patch: Value,
    },
    /// An operator sets or removes breakpoints.
    Breakpoints {
        #[serde(default)]
        add: Vec<String>,
        #[serde(default)]
        remove: Vec<String>,
    },
    /// An operator lets the run go on for so many starts.
    Step {
        count: u32,
    },
    /// The child of that activation has taken in the last message to it.
    Acknowledged {
        child: String,
    },
    /// Its workflow id is taken.
    NotStarted {
        child: String,
    },
    ChildCompleted {
        child: String,
        output: Value,
    },
    ChildFailed {
        child: String,
        error: String,
    },
    ChildCanceled {
        child: String,
    },
    /// The act is refused, with that text in the reason.
    Refused {
        act: Box<Act>,
        because: String,
    },
}

/// What a person says of an unknown outcome.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Outcome {
    Retry,
    Completed(Value),
    Failed(String),
}

impl Act {
    /// Plays the act.
    ///
    /// # Errors
    /// Why it was refused, or what it names does not exist.
    pub fn play(&self, world: &mut World) -> Result<(), String> {
        let command = match self {
            Self::Pass(seconds) => {
                world.pass(std::time::Duration::from_secs_f64(*seconds));
                return Ok(());
            }
            Self::Crash {} => {
                world.crash();
                return Ok(());
            }
            Self::Refused { act, because } => {
                return match act.play(world) {
                    Ok(()) => Err(format!("{act:?} was not refused")),
                    Err(text) if text.contains(because) => Ok(()),
                    Err(text) => Err(format!("{act:?} was refused otherwise: {text}")),
                };
            }
            Self::Mutate { by, patch } => {
                let mut patch = Patch::parse(&patch.to_string()).map_err(|it| it.to_string())?;
                patch.author.clone_from(by);
                return world.steer(&Steer::Mutate(patch));
            }
            Self::Breakpoints { add, remove } => {
                let (add, remove) = (add.clone(), remove.clone());
                return world.steer(&Steer::Breakpoints { add, remove });
            }
            Self::Step { count } => return world.steer(&Steer::Step { count: *count }),
            Self::Complete { activity, output } => Command::CompleteActivity {
                at: attempt(world, activity)?,
                result: payload::of_value(output),
                report: None,
            },
            Self::Fail { activity, error, last } => Command::FailActivity {
                at: attempt(world, activity)?,
                failure: failure(error, *last),
                next_retry_delay: None,
                report: None,
            },
            Self::TimeOut { activity } => {
                Command::TimeOutActivity { at: attempt(world, activity)?, report: None }
            }
            Self::Stopped { activity } => Command::CancelActivity {
                at: attempt(world, activity)?,
                details: Default::default(),
                report: None,
            },
            Self::Claim { activity, worker } => Command::ClaimActivity {
                scheduled: scheduled(world, activity)?,
                worker: Worker::remote(worker.as_str()),
            },
            Self::Resolve { activity, outcome } => Command::Resolve {
                scheduled: scheduled(world, activity)?,
                resolution: match outcome {
                    Outcome::Retry => Resolution::Retry,
                    Outcome::Completed(output) => Resolution::Complete(payload::of_value(output)),
                    Outcome::Failed(error) => Resolution::Fail(failure(error, true)),
                },
                identity: "ann".into(),
            },
            Self::Signal { name, value } => signal(name, value),
            Self::Approve { step, by } => {
                signal(APPROVAL_SIGNAL, &json!({ "step": step, "approved": true, "by": by }))
            }
            Self::Reject { step, by, comment } => signal(
                APPROVAL_SIGNAL,
                &json!({ "step": step, "approved": false, "by": by, "comment": comment }),
            ),
            Self::Cancel { reason } => {
                let reason = reason.as_str().into();
                Command::RequestCancel(RequestCancel { reason, ..RequestCancel::default() })
            }
            Self::Terminate { reason } => {
                let reason = reason.as_str().into();
                Command::Terminate(Terminate { reason, ..Terminate::default() })
            }
            Self::Pause { by } => Command::Pause(suspend(by)),
            Self::Resume { by } => Command::Unpause(suspend(by)),
            Self::Acknowledged { child } => Command::AckOutbox { seq: message_to(world, child)? },
            Self::NotStarted { child } => Command::DeliveryFailed {
                seq: message_to(world, child)?,
                reason: DeliveryFailure::AlreadyExists,
            },
            Self::ChildCompleted { child, output } => {
                closed(world, child, Ending::Completed(payload::of_value(output)))?
            }
            Self::ChildFailed { child, error } => {
                let retry_state = RetryState::RetryPolicyNotSet;
                closed(world, child, Ending::Failed { failure: failure(error, true), retry_state })?
            }
            Self::ChildCanceled { child } => {
                closed(world, child, Ending::Canceled(Default::default()))?
            }
        };
        world.command(command)
    }
}

/// `Kind: message` as the failure of a node.
fn failure(text: &str, last: bool) -> Arc<reflux_core::Failure> {
    let (kind, message) = text.split_once(": ").unwrap_or(("Error", text));
    application_failure(message, kind, last).into()
}

fn signal(name: &str, value: &Value) -> Command {
    let input = payload::of_value(value);
    Command::Signal(Signal { name: name.into(), input, ..Signal::default() })
}

fn suspend(by: &str) -> Suspend {
    Suspend { identity: by.into(), ..Suspend::default() }
}

fn scheduled(world: &World, activity: &str) -> Result<EventId, String> {
    world.scheduled(activity).ok_or_else(|| format!("activity {activity} was never scheduled"))
}

fn attempt(world: &World, activity: &str) -> Result<AttemptRef, String> {
    let scheduled = scheduled(world, activity)?;
    let open = world.live.run.activities.get(&scheduled);
    let attempt = open.map_or(1, |activity| activity.attempt);
    Ok(AttemptRef { scheduled, attempt, started_at: None })
}

/// The workflow id of a sub-flow by its activation; that of a run which a schedule started is named
/// as it is.
fn child_id(world: &World, child: &str) -> String {
    let mut children = world.live.run.children.values();
    match children.any(|open| *open.what.workflow_id == *child) {
        true => child.to_owned(),
        false => format!("{}/{child}", world.live.run.key.workflow_id),
    }
}

fn child<'a>(world: &'a World, activation: &str) -> Result<&'a Child, String> {
    let id = child_id(world, activation);
    let mut children = world.live.run.children.values();
    children.find(|child| *child.what.workflow_id == *id).ok_or(format!("no open child {id}"))
}

fn message_to(world: &World, activation: &str) -> Result<u64, String> {
    let id = child_id(world, activation);
    let mut messages = world.live.run.outbox.iter();
    let message = messages.find(|(_, message)| *message.target.workflow_id == *id);
    message.map(|(seq, _)| *seq).ok_or(format!("no message to {id}"))
}

fn closed(world: &World, activation: &str, ending: Ending) -> Result<Command, String> {
    let child = child(world, activation)?;
    let run = RunKey {
        namespace: child.what.namespace.clone(),
        workflow_id: child.what.workflow_id.clone(),
        run_id: child.run_id,
    };
    let message = Message::ChildClosed {
        initiated: child.initiated,
        first_run: child.run_id,
        run: run.clone(),
        ending,
    };
    Ok(Command::Deliver { source: run, seq: 1, message })
}
