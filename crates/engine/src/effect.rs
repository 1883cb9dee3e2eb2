//! Acts on what has become durable. Each effect can be repeated: a boot runs them again.

use std::collections::BTreeSet;
use std::sync::Arc;

use reflux_core::{
    Command, Effect, EventId, Message, Outgoing, Phase, Run, Target, Timestamp, WorkflowTask,
};

use crate::execution::{Execution, rank_of};
use crate::host::Attempt;
use crate::matching::{Offer, Queue, QueueKind, Rank, Ranked};
use crate::partition::Parts;

/// Runs the effects of a run's durable items. Gives what the run has to hear of them.
pub(crate) fn run(parts: &Parts, execution: &Execution, effects: Vec<Effect>) -> Vec<Command> {
    let run = execution.run();
    let mut told = Vec::new();
    for effect in effects {
        match effect {
            Effect::Dispatch { scheduled, attempt } => {
                let of = attempt_of(execution, scheduled, attempt);
                if of.is_some_and(|attempt| !parts.host.start(attempt)) {
                    told.push(Command::UnclaimActivity { scheduled, attempt });
                }
            }
            Effect::CancelAttempt { scheduled, .. } => parts.host.cancel(&run.key, scheduled),
            Effect::Send { seq, target, message } => {
                if is_first_for(run, seq, &target) {
                    send(parts, run, seq, target, message);
                }
            }
            Effect::Offer { scheduled, attempt, queue, priority } => {
                // The host has it in hand and claims it when it may begin: nobody polls for it.
                if queue == parts.local.queue {
                    continue;
                }
                let queue = queue_of(run, queue, QueueKind::Activity);
                let offer = Offer::Activity { run: run.key.clone(), scheduled, attempt };
                let activity = run.activities.get(&scheduled);
                let since = match activity.map(|activity| &activity.phase) {
                    Some(Phase::Waiting { since }) => *since,
                    _ => Timestamp::MAX,
                };
                let rank = Rank::of(priority.as_ref());
                let node = activity.map(|activity| activity.what.activity_type.clone());
                parts.matching.offer(&queue, Ranked { offer, rank, since, node, held: false });
            }
            Effect::OfferTask { scheduled, attempt, queue, sticky } => {
                let offer = Offer::Task { run: run.key.clone(), scheduled, attempt };
                let queue = task_queue(parts, run, queue, sticky);
                let since = match &run.task {
                    WorkflowTask::Scheduled(task) => task.at,
                    _ => Timestamp::MAX,
                };
                parts.matching.offer(
                    &queue,
                    Ranked { offer, rank: rank_of(run), since, node: None, held: false },
                );
            }
            // Due times are noted with the run's row, watchers are told with its items.
            Effect::WakeAt(_) | Effect::Closed(_) => {}
        }
    }
    told
}

/// Where a workflow task is offered: a sticky queue whose worker is gone is passed over.
fn task_queue(parts: &Parts, run: &Run, name: Arc<str>, sticky: bool) -> Queue {
    let queue = queue_of(run, name, QueueKind::Workflow);
    match &run.started {
        Some(started) if sticky && !parts.matching.is_served(&queue) => {
            Queue { name: started.task_queue.clone(), ..queue }
        }
        _ => queue,
    }
}

fn queue_of(run: &Run, name: Arc<str>, kind: QueueKind) -> Queue {
    Queue { namespace: run.key.namespace.clone(), name, kind }
}

/// Sends the first message for each target: the ones behind it wait for its answer, so that none
/// overtakes another.
pub(crate) fn send_first(parts: &Parts, run: &Run) {
    let mut seen = BTreeSet::new();
    for (seq, Outgoing { target, message }) in &run.outbox {
        if seen.insert((&target.namespace, &target.workflow_id)) {
            send(parts, run, *seq, target.clone(), message.clone());
        }
    }
}

fn send(parts: &Parts, run: &Run, seq: u64, target: Target, message: Message) {
    match &message {
        // Such a child has closed already, and may have left since: nobody would know it any more,
        // and it would run a second time.
        Message::StartChild { initiated, .. } if !run.children.contains_key(initiated) => {
            parts.router.answer(&run.key, seq, Ok(()));
        }
        _ => parts.router.send(&run.key, seq, target, message),
    }
}

fn is_first_for(run: &Run, seq: u64, target: &Target) -> bool {
    let same = |outgoing: &Outgoing| {
        outgoing.target.workflow_id == target.workflow_id
            && outgoing.target.namespace == target.namespace
    };
    !run.outbox.range(..seq).any(|(_, outgoing)| same(outgoing))
}

fn attempt_of(execution: &Execution, scheduled: EventId, attempt: u32) -> Option<Attempt> {
    let run = execution.run();
    let activity = run.activities.get(&scheduled)?;
    let started = run.started.as_ref()?;
    let spec = &activity.what;
    Some(Attempt {
        run: run.key.clone(),
        workflow_type: started.workflow_type.clone(),
        scheduled,
        activity_id: spec.activity_id.clone(),
        node: spec.activity_type.clone(),
        version: reflux_flow::payload::node_version(&spec.header),
        attempt,
        input: spec.input.clone(),
        heartbeat: activity.heartbeat_details.clone(),
        timeout: spec.start_to_close,
        scheduled_at: activity.scheduled_at,
        idempotency_key: idempotency_key(run, &spec.activity_id, &spec.input),
    })
}

/// What is the same for every attempt of a step, after a re-drive too, and different for every
/// other step: 64 hexadecimal digits.
pub fn idempotency_key(run: &Run, activity_id: &str, input: &reflux_core::Payloads) -> String {
    let first = run.started.as_ref().map_or(run.key.run_id, |started| started.first_run_id);
    let mut hasher = blake3::Hasher::new();
    for part in [run.key.workflow_id.as_bytes(), first.0.as_bytes(), activity_id.as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    for payload in &input.payloads {
        hasher.update(&payload.data);
    }
    hasher.finalize().to_hex().to_string()
}
