//! Messages between runs: taking them in, and what becomes of those sent.

use std::sync::Arc;

use crate::apply::BY_PARENT;
use crate::decide::{check_signals, make_room, open, within};
use crate::{
    CancelExternalFailedCause, CancelRequested, Child, ChildCanceled, ChildCompleted, ChildFailed,
    ChildRef, ChildStartFailed, ChildStartFailedCause, ChildStarted, ChildTerminated,
    ChildTimedOut, Context, DeliveryFailure, Delta, Draft, Ending, EventId, Execution,
    ExternalCancelFailed, ExternalCancelInitiated, ExternalCancelRequested, ExternalSignalFailed,
    ExternalSignalInitiated, ExternalSignaled, Kind, Message, Payloads, Rejection, Run, RunId,
    RunKey, SignalExternalFailedCause, Signaled, Suspension, Terminated, WorkflowTask,
    activity_commands, recover, task,
};

/// `Deliver`.
pub(crate) fn deliver(
    draft: &mut Draft,
    ctx: &Context,
    source: RunKey,
    seq: u64,
    message: Message,
) -> Result<(), Rejection> {
    // Before anything else: a message that was taken is taken, whatever the run is now.
    let taken = draft.run().inbox.get(&source);
    if taken.is_some_and(|taken| *taken >= seq) {
        return Ok(());
    }
    let run = open(draft.run())?;
    if taken.is_none() {
        let sources = run.inbox.len() + 1;
        within(
            "runs that sent messages",
            sources,
            ctx.limits.inbox_sources_max,
            "continue as new",
        )?;
    }
    match message {
        Message::StartChild { .. } | Message::StartNext { .. } => {
            Err(Rejection::invalid("this message starts a run: start it on a new draft"))
        }
        Message::FirstTask => {
            mark(draft, source, seq)?;
            if draft.run().task == WorkflowTask::AwaitsParent {
                task::schedule(draft, ctx.now)?;
            }
            Ok(())
        }
        Message::ChildClosed { initiated, first_run, run: last, ending } => {
            let child = child_of(run, initiated, first_run, &last)?.clone();
            make_room(draft, ctx)?;
            mark(draft, source, seq)?;
            child_closed(draft, &child, last.run_id, ending)
        }
        Message::Signal { initiated, signal } => {
            check_relation(run, &source, signal.child_only)?;
            check_signals(run, &ctx.limits)?;
            make_room(draft, ctx)?;
            let event = signaled(&source, initiated, &signal);
            mark(draft, source, seq)?;
            draft.emit_event(Kind::Signaled(event)).map(drop)
        }
        Message::RequestCancel { initiated, cancel } => {
            let child_only = cancel.as_ref().is_some_and(|cancel| cancel.child_only);
            check_relation(run, &source, child_only)?;
            let asked_before = run.cancel_requested.is_some();
            make_room(draft, ctx)?;
            let event = cancel_requested(&source, initiated, cancel.as_deref());
            mark(draft, source, seq)?;
            if asked_before {
                return Ok(());
            }
            draft.emit_event(Kind::CancelRequested(event)).map(drop)
        }
        Message::Terminate { reason } => {
            mark(draft, source, seq)?;
            task::abandon(draft, ctx)?;
            draft
                .emit_event(Kind::Terminated(Terminated {
                    reason,
                    details: Payloads::default(),
                    identity: "reflux".into(),
                }))
                .map(drop)
        }
        Message::Pause { reason } => {
            check_relation(run, &source, true)?;
            let is_paused = run.paused.is_some();
            make_room(draft, ctx)?;
            mark(draft, source, seq)?;
            if is_paused {
                return Ok(());
            }
            draft.emit_event(Kind::Paused(by_parent(reason))).map(drop)
        }
        Message::Resume => {
            check_relation(run, &source, true)?;
            let ours = run.paused.as_ref().is_some_and(|paused| paused.by_parent);
            make_room(draft, ctx)?;
            mark(draft, source, seq)?;
            if !ours {
                return Ok(());
            }
            draft.emit_event(Kind::Unpaused(by_parent("its parent goes on".into())))?;
            // What became unknown meanwhile still waits for a person.
            recover::wait_for_a_person(draft)?;
            activity_commands::claim_all_local(draft, ctx)
        }
    }
}

fn by_parent(reason: Arc<str>) -> Suspension {
    Suspension { identity: "reflux".into(), reason, request_id: BY_PARENT.into() }
}

fn mark(draft: &mut Draft, source: RunKey, seq: u64) -> Result<(), Rejection> {
    draft.emit_delta(Delta::InboxMark { source, seq })
}

/// The child a message is about; another run may have the same event number.
fn child_of<'a>(
    run: &'a Run,
    initiated: EventId,
    first_run: RunId,
    last: &RunKey,
) -> Result<&'a Child, Rejection> {
    run.children
        .get(&initiated)
        .filter(|child| child.run_id == first_run && child.what.workflow_id == last.workflow_id)
        .ok_or_else(|| Rejection::not_found(format!("child {initiated}")))
}

fn check_relation(run: &Run, source: &RunKey, child_only: bool) -> Result<(), Rejection> {
    let parent = run.started.as_ref().and_then(|started| started.parent.as_ref());
    let related = parent.is_some_and(|parent| {
        parent.key.namespace == source.namespace && parent.key.workflow_id == source.workflow_id
    });
    if child_only && !related {
        return Err(Rejection::not_found(format!("child {}", run.key)));
    }
    Ok(())
}

fn child_closed(
    draft: &mut Draft,
    child: &Child,
    last_run: RunId,
    ending: Ending,
) -> Result<(), Rejection> {
    let mut reference = child.reference();
    if child.started.is_none() {
        // It was faster than the acknowledgement of its start.
        let event = ChildStarted { child: reference.clone() };
        reference.started = draft.emit_event(Kind::ChildStarted(event))?;
    }
    reference.execution.run_id = last_run;
    let child = reference;
    let kind = match ending {
        Ending::Completed(result) => Kind::ChildCompleted(ChildCompleted { child, result }),
        Ending::Failed { failure, retry_state } => {
            Kind::ChildFailed(ChildFailed { child, failure, retry_state })
        }
        Ending::TimedOut { retry_state } => {
            Kind::ChildTimedOut(ChildTimedOut { child, retry_state })
        }
        Ending::Canceled(details) => Kind::ChildCanceled(ChildCanceled { child, details }),
        Ending::Terminated { .. } | Ending::ContinuedAsNew => {
            Kind::ChildTerminated(ChildTerminated { child })
        }
    };
    draft.emit_event(kind).map(drop)
}

fn signaled(source: &RunKey, initiated: EventId, signal: &ExternalSignalInitiated) -> Signaled {
    Signaled {
        name: signal.name.clone(),
        input: signal.input.clone(),
        header: signal.header.clone(),
        identity: "".into(),
        external: Some(execution(source)),
        request_id: format!("{}:{initiated}", source.run_id).into(),
    }
}

fn cancel_requested(
    source: &RunKey,
    initiated: EventId,
    cancel: Option<&ExternalCancelInitiated>,
) -> CancelRequested {
    CancelRequested {
        cause: cancel.map_or_else(|| "by parent close policy".into(), |c| c.reason.clone()),
        identity: "".into(),
        external: Some(execution(source)),
        external_initiated: initiated,
    }
}

fn execution(key: &RunKey) -> Execution {
    Execution { workflow_id: key.workflow_id.clone(), run_id: key.run_id }
}

/// `AckOutbox`: the target has the message.
pub(crate) fn acknowledge(draft: &mut Draft, seq: u64) -> Result<(), Rejection> {
    conclude(draft, seq, None)
}

/// `DeliveryFailed`: the target can never have the message.
pub(crate) fn fail(draft: &mut Draft, seq: u64, reason: DeliveryFailure) -> Result<(), Rejection> {
    conclude(draft, seq, Some(reason))
}

fn conclude(draft: &mut Draft, seq: u64, failed: Option<DeliveryFailure>) -> Result<(), Rejection> {
    let run = draft.run();
    if run.started.is_none() {
        return Err(Rejection::NotStarted);
    }
    let Some(outgoing) = run.outbox.get(&seq) else { return Ok(()) };
    let kind = match (&outgoing.message, failed) {
        (Message::StartChild { initiated, .. }, None) => {
            child_started(run, *initiated).map(Kind::ChildStarted)
        }
        (Message::StartChild { initiated, .. }, Some(reason)) => {
            child_start_failed(run, *initiated, reason).map(Kind::ChildStartFailed)
        }
        (Message::Signal { initiated, signal }, None) => {
            Some(Kind::ExternalSignaled(ExternalSignaled {
                initiated: *initiated,
                target: signal.target.clone(),
            }))
        }
        (Message::Signal { initiated, signal }, Some(reason)) => {
            Some(Kind::ExternalSignalFailed(ExternalSignalFailed {
                initiated: *initiated,
                target: signal.target.clone(),
                cause: signal_cause(reason),
                task_completed: signal.task_completed,
            }))
        }
        (Message::RequestCancel { initiated, cancel: Some(cancel) }, None) => {
            Some(Kind::ExternalCancelRequested(ExternalCancelRequested {
                initiated: *initiated,
                target: cancel.target.clone(),
            }))
        }
        (Message::RequestCancel { initiated, cancel: Some(cancel) }, Some(reason)) => {
            Some(Kind::ExternalCancelFailed(ExternalCancelFailed {
                initiated: *initiated,
                target: cancel.target.clone(),
                cause: cancel_cause(reason),
                task_completed: cancel.task_completed,
            }))
        }
        (
            Message::RequestCancel { cancel: None, .. }
            | Message::StartNext { .. }
            | Message::FirstTask
            | Message::ChildClosed { .. }
            | Message::Terminate { .. }
            | Message::Pause { .. }
            | Message::Resume,
            _,
        ) => None,
    };
    let is_open = run.is_open();
    draft.emit_delta(Delta::OutboxAcked { seq })?;
    match kind {
        // A closed run has no more history; it only stops sending.
        Some(kind) if is_open => draft.emit_event(kind).map(drop),
        Some(_) | None => Ok(()),
    }
}

fn child_started(run: &Run, initiated: EventId) -> Option<ChildStarted> {
    let child = run.children.get(&initiated).filter(|child| child.started.is_none())?;
    Some(ChildStarted { child: ChildRef { ..child.reference() } })
}

fn child_start_failed(
    run: &Run,
    initiated: EventId,
    reason: DeliveryFailure,
) -> Option<ChildStartFailed> {
    let child = run.children.get(&initiated).filter(|child| child.started.is_none())?;
    Some(ChildStartFailed {
        initiated,
        namespace: child.what.namespace.clone(),
        workflow_id: Arc::clone(&child.what.workflow_id),
        workflow_type: child.what.workflow_type.clone(),
        cause: match reason {
            DeliveryFailure::AlreadyExists => ChildStartFailedCause::WorkflowAlreadyExists,
            DeliveryFailure::NotFound | DeliveryFailure::NamespaceNotFound => {
                ChildStartFailedCause::NamespaceNotFound
            }
            DeliveryFailure::SignalLimit => ChildStartFailedCause::Unspecified,
        },
        task_completed: child.what.task_completed,
    })
}

fn signal_cause(reason: DeliveryFailure) -> SignalExternalFailedCause {
    match reason {
        DeliveryFailure::NotFound | DeliveryFailure::AlreadyExists => {
            SignalExternalFailedCause::ExternalWorkflowExecutionNotFound
        }
        DeliveryFailure::NamespaceNotFound => SignalExternalFailedCause::NamespaceNotFound,
        DeliveryFailure::SignalLimit => SignalExternalFailedCause::SignalCountLimitExceeded,
    }
}

fn cancel_cause(reason: DeliveryFailure) -> CancelExternalFailedCause {
    match reason {
        DeliveryFailure::NamespaceNotFound => CancelExternalFailedCause::NamespaceNotFound,
        DeliveryFailure::NotFound
        | DeliveryFailure::AlreadyExists
        | DeliveryFailure::SignalLimit => {
            CancelExternalFailedCause::ExternalWorkflowExecutionNotFound
        }
    }
}
