//! What must be done once items are durable. Data, so that a test is one comparison.

use std::sync::Arc;

use crate::{
    Delta, Event, EventId, Item, Kind, Message, Outgoing, Phase, Priority, Run, Status, Target,
    Timestamp, WorkflowTask, told_child,
};

/// What must be done once items are durable. Every one may be done twice without harm.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Execute an attempt that was claimed in process.
    Dispatch {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// Which attempt.
        attempt: u32,
    },
    /// Offer an activity to the workers of a queue.
    Offer {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// The attempt that a claim will begin.
        attempt: u32,
        /// Which queue.
        queue: Arc<str>,
        /// Order within it.
        priority: Option<Priority>,
    },
    /// Tell a running attempt to stop.
    CancelAttempt {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// Which attempt.
        attempt: u32,
    },
    /// Offer the workflow task to the workers of a queue.
    OfferTask {
        /// Which task.
        scheduled: EventId,
        /// Which attempt.
        attempt: u32,
        /// Which queue.
        queue: Arc<str>,
        /// Whether that is one worker's own.
        sticky: bool,
    },
    /// Deliver a message; in the order of `seq` for each target.
    Send {
        /// Its number.
        seq: u64,
        /// Whom it is for.
        target: Target,
        /// What it says.
        message: Message,
    },
    /// Ask [`Command::Wake`](crate::Command::Wake) then.
    WakeAt(Timestamp),
    /// The run is over: tell who waits for it.
    Closed(Status),
}

/// What an item of a durable draft asks for; `run` has all items of the draft, so that what a
/// later item has overtaken is not asked for.
pub fn effects(run: &Run, item: &Item) -> Vec<Effect> {
    let mut out = Vec::new();
    match item {
        Item::Event(event) => of_event(run, event, &mut out),
        Item::Delta(delta) => of_delta(run, delta, &mut out),
    }
    if arms(item) {
        out.extend(run.next_due().map(Effect::WakeAt));
    }
    out
}

impl Run {
    /// Everything the run asks for as it stands: what recovery must do after
    /// [`Command::Recover`](crate::Command::Recover). Attempts that run in this process already
    /// are not dispatched again.
    pub fn effects(&self) -> Vec<Effect> {
        let mut out = Vec::new();
        if self.is_open() {
            offers(self, &mut out);
            offer_task(self, &mut out);
            out.extend(self.next_due().map(Effect::WakeAt));
        }
        send_all(self, &mut out);
        out
    }
}

fn of_event(run: &Run, event: &Event, out: &mut Vec<Effect>) {
    match &event.kind {
        Kind::ActivityScheduled(what) => {
            if let Some(id) = run.activity_ids.get(&what.activity_id) {
                offer(run, *id, out);
            }
        }
        Kind::ActivityCancelRequested(request) => cancel(run, request.scheduled, out),
        Kind::TaskScheduled(_) => offer_task(run, out),
        Kind::Unpaused(_) => {
            offers(run, out);
            offer_task(run, out);
        }
        Kind::ChildInitiated(_)
        | Kind::ExternalSignalInitiated(_)
        | Kind::ExternalCancelInitiated(_) => {
            send_new(run, out, |outgoing| match outgoing.message {
                Message::StartChild { initiated, .. }
                | Message::Signal { initiated, .. }
                | Message::RequestCancel { initiated, .. } => initiated == event.id,
                Message::StartNext { .. }
                | Message::FirstTask
                | Message::ChildClosed { .. }
                | Message::Terminate { .. }
                | Message::Pause { .. }
                | Message::Resume => false,
            });
        }
        Kind::Marker(marker) if told_child(marker).is_some() => {
            // One marker for each child; telling it twice does no harm.
            for (seq, outgoing) in &run.outbox {
                if matches!(
                    outgoing.message,
                    Message::Terminate { .. } | Message::Pause { .. } | Message::Resume
                ) {
                    out.push(send(*seq, outgoing));
                }
            }
        }
        Kind::ChildStarted(begun) => send_new(run, out, |outgoing| {
            matches!(outgoing.message, Message::FirstTask)
                && outgoing.target.run_id == Some(begun.child.execution.run_id)
        }),
        Kind::Completed(_)
        | Kind::Failed(_)
        | Kind::TimedOut(_)
        | Kind::Canceled(_)
        | Kind::Terminated(_)
        | Kind::ContinuedAsNew(_) => {
            for scheduled in run.activities.keys() {
                cancel(run, *scheduled, out);
            }
            send_all(run, out);
            out.push(Effect::Closed(run.status));
        }
        Kind::Started(_)
        | Kind::CancelRequested(_)
        | Kind::Signaled(_)
        | Kind::Paused(_)
        | Kind::TaskStarted(_)
        | Kind::TaskCompleted(_)
        | Kind::TaskFailed(_)
        | Kind::TaskTimedOut(_)
        | Kind::ActivityStarted(_)
        | Kind::ActivityCompleted(_)
        | Kind::ActivityFailed(_)
        | Kind::ActivityTimedOut(_)
        | Kind::ActivityCanceled(_)
        | Kind::TimerStarted(_)
        | Kind::TimerFired(_)
        | Kind::TimerCanceled(_)
        | Kind::Marker(_)
        | Kind::ChildStartFailed(_)
        | Kind::ChildCompleted(_)
        | Kind::ChildFailed(_)
        | Kind::ChildCanceled(_)
        | Kind::ChildTimedOut(_)
        | Kind::ChildTerminated(_)
        | Kind::ExternalSignalFailed(_)
        | Kind::ExternalSignaled(_)
        | Kind::ExternalCancelFailed(_)
        | Kind::ExternalCancelRequested(_)
        | Kind::UpdateAdmitted(_)
        | Kind::UpdateAccepted(_)
        | Kind::UpdateRejected(_)
        | Kind::UpdateCompleted(_)
        | Kind::SearchAttributesUpserted(_)
        | Kind::PropertiesModified(_)
        | Kind::OptionsUpdated(_) => {}
    }
}

fn of_delta(run: &Run, delta: &Delta, out: &mut Vec<Effect>) {
    match delta {
        Delta::AttemptStarted(begun) if begun.worker.is_local() => {
            let current = run.activities.get(&begun.scheduled).is_some_and(|activity| {
                matches!(activity.phase, Phase::Started { .. })
                    && activity.attempt == begun.attempt
                    && run.is_open()
            });
            if current {
                let (scheduled, attempt) = (begun.scheduled, begun.attempt);
                out.push(Effect::Dispatch { scheduled, attempt });
            }
        }
        Delta::AttemptEnded(ended) => {
            // Its worker does not know yet when it was not the one who ended it.
            if ended.outcome == crate::AttemptOutcome::TimedOut {
                let (scheduled, attempt) = (ended.scheduled, ended.attempt);
                out.push(Effect::CancelAttempt { scheduled, attempt });
            }
            offer(run, ended.scheduled, out);
        }
        Delta::AttemptDue { scheduled, .. } | Delta::Unclaimed { scheduled, .. } => {
            offer(run, *scheduled, out);
        }
        Delta::Buffered(event) => of_event(run, event, out),
        Delta::TransientTask(_) => offer_task(run, out),
        // A closed parent's word to its child.
        Delta::OutboxAcked { .. } if !run.is_open() => send_all(run, out),
        Delta::AttemptStarted(_)
        | Delta::Heartbeat { .. }
        | Delta::InboxMark { .. }
        | Delta::OutboxAcked { .. }
        | Delta::Requested { .. }
        | Delta::Sticky { .. }
        | Delta::Retired => {}
    }
}

/// Whether an item may bring the next deadline nearer.
fn arms(item: &Item) -> bool {
    match item {
        Item::Event(event) => matches!(
            event.kind,
            Kind::Started(_)
                | Kind::ActivityScheduled(_)
                | Kind::TimerStarted(_)
                | Kind::TaskScheduled(_)
                | Kind::TaskStarted(_)
                | Kind::Unpaused(_)
        ),
        Item::Delta(delta) => matches!(
            delta,
            Delta::AttemptStarted(_)
                | Delta::AttemptEnded(_)
                | Delta::AttemptDue { .. }
                | Delta::Unclaimed { .. }
                | Delta::TransientTask(_)
        ),
    }
}

fn offers(run: &Run, out: &mut Vec<Effect>) {
    for scheduled in run.activities.keys() {
        offer(run, *scheduled, out);
    }
}

fn offer(run: &Run, scheduled: EventId, out: &mut Vec<Effect>) {
    let Some(activity) = run.activities.get(&scheduled) else { return };
    if matches!(activity.phase, Phase::Waiting { .. }) && run.paused.is_none() && run.is_open() {
        out.push(Effect::Offer {
            scheduled,
            attempt: activity.attempt,
            queue: activity.what.task_queue.clone(),
            priority: activity.what.priority.clone(),
        });
    }
}

fn cancel(run: &Run, scheduled: EventId, out: &mut Vec<Effect>) {
    let Some(activity) = run.activities.get(&scheduled) else { return };
    if matches!(activity.phase, Phase::Started { .. }) {
        out.push(Effect::CancelAttempt { scheduled, attempt: activity.attempt });
    }
}

fn offer_task(run: &Run, out: &mut Vec<Effect>) {
    if let (WorkflowTask::Scheduled(task), None) = (&run.task, &run.paused) {
        out.push(Effect::OfferTask {
            scheduled: task.scheduled,
            attempt: task.attempt,
            queue: task.task_queue.clone(),
            sticky: task.sticky.is_some(),
        });
    }
}

/// The message an event has put into the outbox: one of the newest.
fn send_new(run: &Run, out: &mut Vec<Effect>, is_it: impl Fn(&Outgoing) -> bool) {
    if let Some((seq, outgoing)) = run.outbox.iter().rev().find(|(_, outgoing)| is_it(outgoing)) {
        out.push(send(*seq, outgoing));
    }
}

fn send_all(run: &Run, out: &mut Vec<Effect>) {
    out.extend(run.outbox.iter().map(|(seq, outgoing)| send(*seq, outgoing)));
}

fn send(seq: u64, outgoing: &Outgoing) -> Effect {
    let target = outgoing.target.clone();
    Effect::Send { seq, target, message: outgoing.message.clone() }
}
