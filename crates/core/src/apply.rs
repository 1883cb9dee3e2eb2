//! Folds one item into a run. Nothing else changes a run.

use std::fmt;
use std::sync::Arc;

use crate::{
    Delta, Event, EventId, HEADER_SPEC, Item, Kind, Paused, Run, WorkflowTask, activity, child,
    close, external, start, task, timer, update,
};

/// Request id of the pause that an unknown outcome causes, and of its end.
pub(crate) const OUTCOME_UNKNOWN: &str = "reflux.outcome-unknown";
/// Name of the marker that ends the delayed beginning of a flow.
pub(crate) const MARKER_BEGIN: &str = "reflux.begin";
/// Name of the marker by which a flow's decider ends a child at once.
pub(crate) const MARKER_TERMINATE: &str = "reflux.terminate";
/// Name of the marker by which a flow's decider pauses a child.
pub(crate) const MARKER_PAUSE_CHILD: &str = "reflux.pause-child";
/// Name of the marker by which a flow's decider lets a child go on that it paused.
pub(crate) const MARKER_RESUME_CHILD: &str = "reflux.resume-child";
/// Request id of the pause that the parent of a run asked for, and of its end.
pub(crate) const BY_PARENT: &str = "reflux.parent";
/// Where these markers hold the number of the child's `ChildInitiated`, a JSON number.
pub(crate) const TERMINATED: &str = "initiated";

/// An item that does not follow from the run: the log is damaged, or we have a defect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IllegalItem {
    /// The next event's number when it came.
    pub at: EventId,
    text: Arc<str>,
}

impl IllegalItem {
    /// `found` came where the run was in state `from`.
    pub(crate) fn new(run: &Run, from: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self { at: run.next_event_id, text: format!("{found} does not follow {from}").into() }
    }
}

impl fmt::Display for IllegalItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {}: {}", self.at, self.text)
    }
}

impl std::error::Error for IllegalItem {}

/// Folds one item into a run.
///
/// # Errors
/// [`IllegalItem`] when it does not follow from the run; the run is then to be dropped.
pub fn apply(run: &mut Run, item: &Item) -> Result<(), IllegalItem> {
    match item {
        Item::Event(event) => apply_event(run, event),
        Item::Delta(delta) => apply_delta(run, delta),
    }
}

fn apply_event(run: &mut Run, event: &Event) -> Result<(), IllegalItem> {
    if event.id != run.next_event_id {
        let found = format_args!("event {} ({})", event.id, event.kind.name()).to_string();
        return Err(IllegalItem::new(run, "the event before it", found));
    }
    if flushes(run, &event.kind) {
        settle(run, event)?;
    } else {
        transition(run, event)?;
    }
    run.history_bytes = run.history_bytes.saturating_add(event.kind.size_bytes());
    run.next_event_id = run.next_event_id.next();
    Ok(())
}

/// Whether the event was buffered, so that its effects have taken place already.
fn flushes(run: &Run, kind: &Kind) -> bool {
    !run.buffered.is_empty() && kind.is_bufferable()
}

/// A buffered event gets its place in the history.
fn settle(run: &mut Run, event: &Event) -> Result<(), IllegalItem> {
    if matches!(run.task, WorkflowTask::Started(_)) {
        return Err(IllegalItem::new(run, "a started workflow task", event.kind.name()));
    }
    let waiting = run.buffered.pop();
    let expected = waiting.as_ref().map_or("an empty buffer", |waiting| waiting.kind.name());
    if expected != event.kind.name() {
        return Err(IllegalItem::new(
            run,
            format_args!("a buffered {expected}"),
            event.kind.name(),
        ));
    }
    if let Kind::ChildStarted(started) = &event.kind {
        child::settle(run, started.child.initiated, event.id);
    }
    Ok(())
}

/// The effects of an event; `event.id` is 0 when it is only buffered so far.
fn transition(run: &mut Run, event: &Event) -> Result<(), IllegalItem> {
    let (id, time) = (event.id, event.time);
    if let Kind::Started(started) = &event.kind {
        return start::apply(run, started, time);
    }
    if run.started.is_none() {
        return Err(IllegalItem::new(run, "a run that was not started", event.kind.name()));
    }
    if run.closed.is_some() {
        return Err(IllegalItem::new(run, "a closed run", event.kind.name()));
    }
    match &event.kind {
        Kind::Started(_) => Ok(()),

        Kind::Completed(_)
        | Kind::Failed(_)
        | Kind::TimedOut(_)
        | Kind::Canceled(_)
        | Kind::Terminated(_)
        | Kind::ContinuedAsNew(_) => close::apply(run, &event.kind, id, time),

        Kind::CancelRequested(_) => {
            if run.cancel_requested.is_some() {
                return Err(IllegalItem::new(run, "a run asked to end", event.kind.name()));
            }
            run.cancel_requested = Some(time);
            Ok(())
        }
        Kind::Signaled(signaled) => {
            run.signals = run.signals.saturating_add(1);
            if !signaled.request_id.is_empty() {
                run.request_ids.insert(signaled.request_id.clone());
            }
            Ok(())
        }
        Kind::Paused(pause) => {
            if run.paused.is_some() {
                return Err(IllegalItem::new(run, "a paused run", event.kind.name()));
            }
            let paused = Paused {
                since: time,
                identity: pause.identity.clone(),
                reason: pause.reason.clone(),
                outcome_unknown: &*pause.request_id == OUTCOME_UNKNOWN,
                by_parent: &*pause.request_id == BY_PARENT,
            };
            suspend(run, Some(paused));
            Ok(())
        }
        Kind::Unpaused(_) => {
            if run.paused.is_none() {
                return Err(IllegalItem::new(run, "a run that is not paused", event.kind.name()));
            }
            suspend(run, None);
            Ok(())
        }

        Kind::TaskScheduled(_)
        | Kind::TaskStarted(_)
        | Kind::TaskCompleted(_)
        | Kind::TaskFailed(_)
        | Kind::TaskTimedOut(_) => task::apply(run, &event.kind, id, time),

        Kind::ActivityScheduled(scheduled) => activity::schedule(run, scheduled, id, time),
        Kind::ActivityStarted(_)
        | Kind::ActivityCompleted(_)
        | Kind::ActivityFailed(_)
        | Kind::ActivityTimedOut(_)
        | Kind::ActivityCancelRequested(_)
        | Kind::ActivityCanceled(_) => activity::apply_event(run, &event.kind, id),

        Kind::TimerStarted(_) | Kind::TimerFired(_) | Kind::TimerCanceled(_) => {
            timer::apply(run, &event.kind, id, time)
        }

        Kind::Marker(marker) => match &*marker.name {
            MARKER_BEGIN => task::begin_flow(run),
            MARKER_TERMINATE | MARKER_PAUSE_CHILD | MARKER_RESUME_CHILD => child::tell(run, marker),
            _ => Ok(()),
        },

        Kind::ChildInitiated(initiated) => child::initiate(run, initiated, id, time),
        Kind::ChildStartFailed(_)
        | Kind::ChildStarted(_)
        | Kind::ChildCompleted(_)
        | Kind::ChildFailed(_)
        | Kind::ChildCanceled(_)
        | Kind::ChildTimedOut(_)
        | Kind::ChildTerminated(_) => child::apply(run, &event.kind, id),

        Kind::ExternalSignalInitiated(_)
        | Kind::ExternalSignalFailed(_)
        | Kind::ExternalSignaled(_)
        | Kind::ExternalCancelInitiated(_)
        | Kind::ExternalCancelFailed(_)
        | Kind::ExternalCancelRequested(_) => external::apply(run, &event.kind, id),

        Kind::UpdateAdmitted(_)
        | Kind::UpdateAccepted(_)
        | Kind::UpdateRejected(_)
        | Kind::UpdateCompleted(_) => update::apply(run, &event.kind, id),

        Kind::SearchAttributesUpserted(upsert) => {
            merge(&mut run.search_attributes.indexed_fields, &upsert.attributes.indexed_fields);
            Ok(())
        }
        Kind::PropertiesModified(modified) => {
            merge(&mut run.memo.fields, &modified.memo.fields);
            Ok(())
        }
        Kind::OptionsUpdated(options) => {
            if !options.attached_request_id.is_empty() {
                run.request_ids.insert(options.attached_request_id.as_str().into());
            }
            Ok(())
        }
    }
}

fn apply_delta(run: &mut Run, delta: &Delta) -> Result<(), IllegalItem> {
    if run.retired {
        return Err(IllegalItem::new(run, "a retired run", delta.name()));
    }
    match delta {
        Delta::AttemptStarted(_)
        | Delta::AttemptEnded(_)
        | Delta::AttemptDue { .. }
        | Delta::Heartbeat { .. }
        | Delta::Unclaimed { .. } => activity::apply_delta(run, delta),

        Delta::InboxMark { source, seq } => {
            if run.inbox.get(source).is_some_and(|taken| taken >= seq) {
                return Err(IllegalItem::new(run, "a message taken before", delta.name()));
            }
            run.inbox.insert(source.clone(), *seq);
            Ok(())
        }
        Delta::OutboxAcked { seq } => match run.outbox.remove(seq) {
            Some(outgoing) => {
                child::acknowledged(run, &outgoing);
                Ok(())
            }
            None => Err(IllegalItem::new(run, "a message acknowledged before", delta.name())),
        },

        Delta::Buffered(event) => {
            let legal = matches!(run.task, WorkflowTask::Started(_)) || !run.buffered.is_empty();
            if !legal || !event.kind.is_bufferable() || event.id != EventId(0) {
                return Err(IllegalItem::new(run, "no started workflow task", event.kind.name()));
            }
            transition(run, event)?;
            run.buffered.push((**event).clone());
            Ok(())
        }
        Delta::TransientTask(transient) => task::apply_transient(run, transient),
        Delta::Sticky { task_queue, schedule_to_start } => {
            // An empty name is none: the worker's cache has lost the run.
            run.sticky = (!task_queue.is_empty()).then(|| crate::Sticky {
                task_queue: task_queue.clone(),
                schedule_to_start: *schedule_to_start,
            });
            Ok(())
        }

        Delta::Requested { request_id } => {
            run.request_ids.insert(request_id.clone());
            Ok(())
        }
        Delta::Retired => {
            if run.closed.is_none() || !run.outbox.is_empty() {
                return Err(IllegalItem::new(run, "a run that has work left", delta.name()));
            }
            run.retired = true;
            Ok(())
        }
    }
}

/// Retries are not due while the run is paused.
fn suspend(run: &mut Run, paused: Option<Paused>) {
    let was = run.paused.is_some();
    let is = paused.is_some();
    let Run { activities, deadlines, .. } = run;
    for activity in activities.values() {
        for deadline in activity.deadlines(was).into_iter().flatten() {
            deadlines.remove(&deadline);
        }
        deadlines.extend(activity.deadlines(is).into_iter().flatten());
    }
    run.paused = paused;
}

/// An empty payload removes a field.
fn merge(
    into: &mut std::collections::BTreeMap<String, crate::Payload>,
    from: &std::collections::BTreeMap<String, crate::Payload>,
) {
    for (name, payload) in from {
        let null = payload.data.is_empty() && payload.metadata.is_empty();
        if null || payload.metadata.get("encoding").is_some_and(|e| &**e == b"binary/null") {
            into.remove(name);
        } else {
            into.insert(name.clone(), payload.clone());
        }
    }
}

/// Whether a header makes a run a flow.
pub(crate) fn is_flow(header: &crate::Header) -> bool {
    header.fields.contains_key(HEADER_SPEC)
}
