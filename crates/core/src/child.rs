//! One child: initiated, started, closed.
//!
//! ```text
//! Initiated ─ChildStartFailed─▶ gone
//!     └──ChildStarted──▶ Started ─ChildCompleted, …─▶ gone
//! ```

use std::sync::Arc;

use crate::apply::{
    MARKER_PAUSE_CHILD, MARKER_RESUME_CHILD, MARKER_TERMINATE, TERMINATED, is_flow,
};
use crate::{
    ChildInitiated, ChildRef, EventId, Execution, IllegalItem, Kind, Marker, Message, Outgoing,
    Parent, ParentClosePolicy, Run, RunId, RunKey, Start, Target, Timestamp,
};

/// A child that has not closed.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its `ChildInitiated`.
    pub initiated: EventId,
    /// What was asked for.
    pub what: Arc<ChildInitiated>,
    /// First run of its chain.
    pub run_id: RunId,
    /// Its `ChildStarted`: `None` before, 0 while that is buffered.
    pub started: Option<EventId>,
}

impl Child {
    /// The child as events name it.
    pub(crate) fn reference(&self) -> ChildRef {
        ChildRef {
            initiated: self.initiated,
            started: self.started.unwrap_or_default(),
            namespace: self.what.namespace.clone(),
            execution: Execution {
                workflow_id: self.what.workflow_id.clone(),
                run_id: self.run_id,
            },
            workflow_type: self.what.workflow_type.clone(),
        }
    }

    fn key(&self) -> RunKey {
        RunKey {
            namespace: self.what.namespace.clone(),
            workflow_id: self.what.workflow_id.clone(),
            run_id: self.run_id,
        }
    }
}

/// `ChildInitiated`: a new child, and the message that starts it.
pub(crate) fn initiate(
    run: &mut Run,
    what: &Arc<ChildInitiated>,
    id: EventId,
    time: Timestamp,
) -> Result<(), IllegalItem> {
    let run_id = RunId::of_child(run.key.run_id, id, time);
    let child = Child { initiated: id, what: what.clone(), run_id, started: None };
    let root = run.started.as_ref().and_then(|started| started.root.clone());
    let root = root.unwrap_or_else(|| Execution {
        workflow_id: run.key.workflow_id.clone(),
        run_id: run.key.run_id,
    });
    let start = Start {
        workflow_type: what.workflow_type.clone(),
        task_queue: what.task_queue.clone(),
        input: what.input.clone(),
        header: what.header.clone(),
        memo: what.memo.clone(),
        search_attributes: what.search_attributes.clone(),
        execution_timeout: what.execution_timeout,
        run_timeout: what.run_timeout,
        task_timeout: what.task_timeout,
        retry: what.retry.clone(),
        cron_schedule: what.cron_schedule.clone(),
        parent: Some(Parent { key: run.key.clone(), initiated: id, first_run: run.first_run_id() }),
        root: Some(root),
        request_id: format!("{}:{id}", run.key.run_id).into(),
        priority: what.priority.clone(),
        ..Start::default()
    };
    run.send(Outgoing {
        target: Target::run(&child.key()),
        message: Message::StartChild {
            initiated: id,
            start: Arc::new(start),
            reuse_policy: what.reuse_policy,
        },
    });
    run.children.insert(id, child);
    Ok(())
}

/// The table of children.
pub(crate) fn apply(run: &mut Run, kind: &Kind, id: EventId) -> Result<(), IllegalItem> {
    let (initiated, row) = match kind {
        Kind::ChildStartFailed(event) => (event.initiated, Row::StartFailed),
        Kind::ChildStarted(event) => (event.child.initiated, Row::Started),
        Kind::ChildCompleted(event) => (event.child.initiated, Row::Closed),
        Kind::ChildFailed(event) => (event.child.initiated, Row::Closed),
        Kind::ChildCanceled(event) => (event.child.initiated, Row::Closed),
        Kind::ChildTimedOut(event) => (event.child.initiated, Row::Closed),
        Kind::ChildTerminated(event) => (event.child.initiated, Row::Closed),
        other => return Err(IllegalItem::new(run, "a child", other.name())),
    };
    let started = run.children.get(&initiated).map(|child| child.started);
    match (started, row) {
        (Some(None), Row::StartFailed) | (Some(Some(_)), Row::Closed) => {
            run.children.remove(&initiated);
            Ok(())
        }
        (Some(None), Row::Started) => {
            let first_task = run.children.get_mut(&initiated).and_then(|child| {
                child.started = Some(id);
                first_task(child)
            });
            if let Some(outgoing) = first_task {
                run.send(outgoing);
            }
            Ok(())
        }
        (from, Row::StartFailed | Row::Started | Row::Closed) => {
            let from = match from {
                None => "no open child",
                Some(None) => "a child that was initiated",
                Some(Some(_)) => "a child that was started",
            };
            Err(IllegalItem::new(
                run,
                format_args!("{from} ({initiated})").to_string(),
                kind.name(),
            ))
        }
    }
}

enum Row {
    StartFailed,
    Started,
    Closed,
}

/// A buffered `ChildStarted` gets its number.
pub(crate) fn settle(run: &mut Run, initiated: EventId, id: EventId) {
    if let Some(child) = run.children.get_mut(&initiated) {
        child.started = Some(id);
    }
}

/// A closed parent cannot record that its child began, but the child still waits for its word.
pub(crate) fn acknowledged(run: &mut Run, outgoing: &Outgoing) {
    if run.closed.is_none() {
        return;
    }
    if let Message::StartChild { initiated, .. } = &outgoing.message {
        let waits = run.children.get(initiated).filter(|child| child.started.is_none());
        if let Some(outgoing) = waits.and_then(first_task) {
            run.send(outgoing);
        }
    }
}

/// What becomes of the children when the run closes.
pub(crate) fn parent_closed(run: &mut Run) {
    let messages: Vec<Outgoing> = run
        .children
        .values()
        .filter_map(|child| {
            let message = match child.what.parent_close_policy {
                ParentClosePolicy::Terminate | ParentClosePolicy::Unspecified => {
                    Message::Terminate { reason: "by parent close policy".into() }
                }
                ParentClosePolicy::RequestCancel => {
                    Message::RequestCancel { initiated: EventId(0), cancel: None }
                }
                ParentClosePolicy::Abandon => return None,
            };
            let key = child.key();
            let target = Target::chain(key.namespace, key.workflow_id, key.run_id);
            Some(Outgoing { target, message })
        })
        .collect();
    for message in messages {
        run.send(message);
    }
}

/// What a marker tells a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// To end at once.
    Terminate,
    /// To start nothing new.
    Pause,
    /// To go on, if it was its parent that paused it.
    Resume,
}

/// What a marker tells which child, by its `ChildInitiated`; `None` when it is another marker.
pub fn told_child(marker: &Marker) -> Option<(Told, EventId)> {
    let told = match &*marker.name {
        MARKER_TERMINATE => Told::Terminate,
        MARKER_PAUSE_CHILD => Told::Pause,
        MARKER_RESUME_CHILD => Told::Resume,
        _ => return None,
    };
    let payload = marker.details.get(TERMINATED)?.payloads.first()?;
    let initiated = std::str::from_utf8(&payload.data).ok()?.parse().ok()?;
    Some((told, EventId(initiated)))
}

/// The decider has a word for a child.
pub(crate) fn tell(run: &mut Run, marker: &Marker) -> Result<(), IllegalItem> {
    let told = told_child(marker);
    let child = told.and_then(|(_, initiated)| run.children.get(&initiated));
    let (Some((told, _)), Some(child)) = (told, child) else {
        return Err(IllegalItem::new(run, "no open child", marker.name.to_string()));
    };
    let key = child.key();
    let by_parent = "by its parent".into();
    let (target, message) = match told {
        Told::Terminate => {
            let target = Target::chain(key.namespace, key.workflow_id, key.run_id);
            (target, Message::Terminate { reason: by_parent })
        }
        // To the same target as its start, so that it cannot come before that.
        Told::Pause => (Target::run(&key), Message::Pause { reason: by_parent }),
        Told::Resume => (Target::run(&key), Message::Resume),
    };
    run.send(Outgoing { target, message });
    Ok(())
}

/// Code waits for the parent's word before its first task; flows begin at once.
fn first_task(child: &Child) -> Option<Outgoing> {
    (!is_flow(&child.what.header))
        .then(|| Outgoing { target: Target::run(&child.key()), message: Message::FirstTask })
}
