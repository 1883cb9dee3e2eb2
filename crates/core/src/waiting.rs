//! What an open run waits for: nothing is ever stuck without a name.

use std::sync::Arc;

use crate::{EventId, Phase, Run, Target, Timestamp, WorkflowTask};

/// One thing an open run waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum Waiting {
    /// A worker for an activity.
    Worker {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// Of this queue.
        task_queue: Arc<str>,
    },
    /// The time of an activity's next attempt.
    Retry {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// When.
        due: Timestamp,
    },
    /// A running attempt.
    Attempt {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// Who runs it.
        identity: Arc<str>,
    },
    /// A person who says what became of an attempt.
    Resolution {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
    },
    /// A timer.
    Timer {
        /// Which.
        timer_id: Arc<str>,
        /// When it fires.
        due: Timestamp,
    },
    /// A child.
    Child {
        /// Its `ChildInitiated`.
        initiated: EventId,
        /// Its workflow id.
        workflow_id: Arc<str>,
    },
    /// Another run that is to take a message.
    Delivery {
        /// Its number.
        seq: u64,
        /// Who.
        target: Target,
    },
    /// A worker for the workflow task, or its answer.
    Task {
        /// Which task.
        scheduled: EventId,
        /// Of this queue.
        task_queue: Arc<str>,
    },
    /// The moment it begins.
    Beginning {
        /// When; `None` when its parent says.
        due: Option<Timestamp>,
    },
    /// Somebody who resumes it.
    Resume,
    /// A signal, an update or a request to end: nothing else is open.
    Message,
}

impl Run {
    /// What an open run waits for; never empty for one. A closed run waits for nothing.
    pub fn waits_for(&self) -> Vec<Waiting> {
        let mut out = Vec::new();
        if !self.is_open() {
            return out;
        }
        if self.paused.is_some() {
            out.push(Waiting::Resume);
        }
        match &self.task {
            WorkflowTask::Idle => {}
            WorkflowTask::Backoff { until } => out.push(Waiting::Beginning { due: Some(*until) }),
            WorkflowTask::AwaitsParent => out.push(Waiting::Beginning { due: None }),
            WorkflowTask::Scheduled(task) => out.push(Waiting::Task {
                scheduled: task.scheduled,
                task_queue: task.task_queue.clone(),
            }),
            WorkflowTask::Started(started) => out.push(Waiting::Task {
                scheduled: started.task.scheduled,
                task_queue: started.task.task_queue.clone(),
            }),
        }
        for activity in self.activities.values() {
            let scheduled = activity.scheduled;
            out.push(match &activity.phase {
                Phase::Waiting { .. } => {
                    Waiting::Worker { scheduled, task_queue: activity.what.task_queue.clone() }
                }
                Phase::Backoff { due } => Waiting::Retry { scheduled, due: *due },
                Phase::Started { .. } | Phase::Ended { .. } => {
                    Waiting::Attempt { scheduled, identity: activity.identity() }
                }
                Phase::OutcomeUnknown { .. } => Waiting::Resolution { scheduled },
            });
        }
        out.extend(
            self.timers
                .values()
                .map(|timer| Waiting::Timer { timer_id: timer.timer_id.clone(), due: timer.due }),
        );
        out.extend(self.children.values().map(|child| Waiting::Child {
            initiated: child.initiated,
            workflow_id: child.what.workflow_id.clone(),
        }));
        out.extend(self.outbox.iter().map(|(seq, outgoing)| Waiting::Delivery {
            seq: *seq,
            target: outgoing.target.clone(),
        }));
        if out.is_empty() {
            out.push(Waiting::Message);
        }
        out
    }
}
