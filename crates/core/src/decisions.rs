//! A decider's decisions: all are checked against the run and each other, then all are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::activity_commands::claim_at_once;
use crate::apply::{
    MARKER_BEGIN, MARKER_PAUSE_CHILD, MARKER_RESUME_CHILD, MARKER_TERMINATE, TERMINATED,
};
use crate::close::{self, or};
use crate::decide::{
    check_blob, check_failure, check_fields, check_id, check_length, check_name, some_length,
    within,
};
use crate::payload::bounded_failure;
use crate::{
    ActivityCancelRequested, ActivityCanceled, ActivityScheduled, Canceled, ChildInitiated,
    Context, ContinueAsNew, Decider, Decision, Draft, EventId, ExternalCancelInitiated,
    ExternalSignalInitiated, HEADER_EFFECTS, HEADER_PARENT, HEADER_RETRY, Header, Kind, Limits,
    Marker, ParentClosePolicy, Payloads, Phase, PropertiesModified, Rejection, Retry, Run,
    ScheduleActivity, SearchAttributesUpserted, SignalExternal, StartChild, Suspension, Target,
    TaskFailedCause, TimerCanceled, TimerStarted, activity, json_payload, recover,
};

impl Decision {
    /// Whether it ends the run.
    pub fn closes_run(&self) -> bool {
        match self {
            Self::CompleteRun { .. }
            | Self::FailRun { .. }
            | Self::CancelRun { .. }
            | Self::ContinueAsNew(_) => true,
            Self::ScheduleActivity(_)
            | Self::RequestCancelActivity { .. }
            | Self::StartTimer { .. }
            | Self::CancelTimer { .. }
            | Self::RecordMarker { .. }
            | Self::StartChild(_)
            | Self::TerminateChild { .. }
            | Self::SuspendChild { .. }
            | Self::Pause { .. }
            | Self::SignalExternal(_)
            | Self::RequestCancelExternal { .. }
            | Self::UpsertSearchAttributes { .. }
            | Self::ModifyProperties { .. } => false,
        }
    }
}

/// Checks decisions in order, each as if those before it had been written.
pub(crate) fn check(
    run: &Run,
    ctx: &Context,
    wanted: &[Decision],
) -> Result<(), (TaskFailedCause, Rejection)> {
    within("decisions", wanted.len(), ctx.limits.decisions_max, "decide in smaller steps")
        .map_err(|rejection| (TaskFailedCause::RequestTooLarge, rejection))?;
    let mut plan = Plan::of(run);
    let last = wanted.len().saturating_sub(1);
    for (at, decision) in wanted.iter().enumerate() {
        if decision.closes_run() && at != last {
            let rejection = Rejection::invalid("a decision follows the end of the run: drop it");
            return Err((TaskFailedCause::UnhandledCommand, rejection));
        }
        plan.take(ctx, decision)?;
    }
    Ok(())
}

/// Writes decisions that were checked.
pub(crate) fn emit(
    draft: &mut Draft,
    ctx: &Context,
    wanted: Vec<Decision>,
    by: EventId,
) -> Result<(), Rejection> {
    let mut canceled = Vec::new();
    for decision in wanted {
        if decision.closes_run() {
            end_unstarted(draft, ctx, std::mem::take(&mut canceled))?;
        }
        emit_one(draft, ctx, decision, by, &mut canceled)?;
    }
    end_unstarted(draft, ctx, canceled)
}

/// What the run would be like after the decisions so far, as far as the next ones depend on it.
struct Plan<'a> {
    run: &'a Run,
    next: EventId,
    activity_ids: BTreeSet<&'a str>,
    scheduled: BTreeSet<EventId>,
    cancels: BTreeSet<EventId>,
    timers: BTreeMap<&'a str, bool>,
    timers_open: usize,
    children: usize,
    signals: usize,
    external_cancels: usize,
    paused: bool,
}

type Verdict = Result<(), (TaskFailedCause, Rejection)>;

impl<'a> Plan<'a> {
    fn of(run: &'a Run) -> Self {
        Self {
            run,
            next: run.next_event_id,
            activity_ids: BTreeSet::new(),
            scheduled: BTreeSet::new(),
            cancels: BTreeSet::new(),
            timers: BTreeMap::new(),
            timers_open: run.timers.len(),
            children: run.children.len(),
            signals: run.external_signals.len(),
            external_cancels: run.external_cancels.len(),
            paused: run.paused.is_some(),
        }
    }

    fn take(&mut self, ctx: &Context, decision: &'a Decision) -> Verdict {
        let limits = &ctx.limits;
        let id = self.next;
        self.next = id.next();
        match decision {
            Decision::ScheduleActivity(wanted) => self.activity(limits, wanted, id),
            Decision::RequestCancelActivity { scheduled } => self.cancel_activity(*scheduled),
            Decision::StartTimer { timer_id, duration } => self.timer(limits, timer_id, *duration),
            Decision::CancelTimer { timer_id } => self.cancel_timer(timer_id),
            Decision::RecordMarker { name, details, failure } => {
                let checked = check_marker_name(limits, name)
                    .and_then(|()| check_marker(limits, details))
                    .and_then(|()| match failure {
                        Some(failure) => check_failure(limits, failure),
                        None => Ok(()),
                    });
                because(TaskFailedCause::BadRecordMarkerAttributes, checked)
            }
            Decision::StartChild(wanted) => self.child(limits, wanted),
            Decision::TerminateChild { initiated } | Decision::SuspendChild { initiated, .. } => {
                self.tell_child(*initiated)
            }
            Decision::Pause { reason } => self.pause(limits, reason),
            Decision::SignalExternal(wanted) => self.signal(limits, wanted),
            Decision::RequestCancelExternal { target, reason, .. } => {
                self.external_cancels += 1;
                because(
                    TaskFailedCause::PendingRequestCancelLimitExceeded,
                    pending(
                        "pending cancel requests",
                        self.external_cancels,
                        limits.external_cancels_max,
                    ),
                )?;
                let checked =
                    check_target(limits, target).and_then(|()| check_id(limits, "reason", reason));
                because(
                    TaskFailedCause::BadRequestCancelExternalWorkflowExecutionAttributes,
                    checked,
                )
            }
            Decision::CompleteRun { result } => because(
                TaskFailedCause::BadCompleteWorkflowExecutionAttributes,
                check_blob(limits, "result", result),
            ),
            Decision::FailRun { failure } => because(
                TaskFailedCause::BadFailWorkflowExecutionAttributes,
                check_failure(limits, failure),
            ),
            Decision::CancelRun { details } => because(
                TaskFailedCause::BadCancelWorkflowExecutionAttributes,
                check_blob(limits, "details", details),
            ),
            Decision::ContinueAsNew(next) => because(
                TaskFailedCause::BadContinueAsNewAttributes,
                check_continue_as_new(limits, next),
            ),
            Decision::UpsertSearchAttributes { attributes } => because(
                TaskFailedCause::BadSearchAttributes,
                check_fields(
                    limits.blob_bytes_max,
                    "search attributes",
                    &attributes.indexed_fields,
                ),
            ),
            Decision::ModifyProperties { memo } => because(
                TaskFailedCause::BadModifyWorkflowPropertiesAttributes,
                check_fields(limits.memo_bytes_max, "memo", &memo.fields),
            ),
        }
    }

    fn activity(&mut self, limits: &Limits, wanted: &'a ScheduleActivity, id: EventId) -> Verdict {
        let open = self.run.activities.len() + self.scheduled.len() + 1;
        because(
            TaskFailedCause::PendingActivitiesLimitExceeded,
            pending("open activities", open, limits.activities_max),
        )?;
        let known = self.run.activity_ids.contains_key(&*wanted.activity_id)
            || !self.activity_ids.insert(&wanted.activity_id);
        if known {
            let text = format!("activity id {} is open: use another", wanted.activity_id);
            return Err((TaskFailedCause::ScheduleActivityDuplicateId, Rejection::invalid(text)));
        }
        self.scheduled.insert(id);
        let code = self.run.decider() == Some(Decider::Code);
        because(
            TaskFailedCause::BadScheduleActivityAttributes,
            check_activity(limits, wanted, code),
        )
    }

    fn cancel_activity(&mut self, scheduled: EventId) -> Verdict {
        let open = match self.run.activities.get(&scheduled) {
            Some(activity) => activity.cancel_requested.is_none(),
            None => self.scheduled.contains(&scheduled) || activity::closes(self.run, scheduled),
        };
        if open && self.cancels.insert(scheduled) {
            return Ok(());
        }
        Err((
            TaskFailedCause::BadRequestCancelActivityAttributes,
            Rejection::not_found(format!("activity {scheduled}")),
        ))
    }

    fn timer(&mut self, limits: &Limits, timer_id: &'a Arc<str>, duration: Duration) -> Verdict {
        if self.is_running(timer_id) {
            let text = format!("timer {timer_id} is open: use another id");
            return Err((TaskFailedCause::StartTimerDuplicateId, Rejection::invalid(text)));
        }
        self.timers.insert(timer_id, true);
        self.timers_open += 1;
        let checked = check_name(limits, "timer id", timer_id)
            .and_then(|()| check_length("timer", Some(duration)))
            .and_then(|()| pending("open timers", self.timers_open, limits.timers_max));
        because(TaskFailedCause::BadStartTimerAttributes, checked)
    }

    fn cancel_timer(&mut self, timer_id: &'a Arc<str>) -> Verdict {
        let buffered = !self.timers.contains_key(&**timer_id)
            && self.run.buffered.iter().any(|event| {
                matches!(&event.kind, Kind::TimerFired(fired) if fired.timer_id == *timer_id)
            });
        if self.is_running(timer_id) {
            self.timers_open = self.timers_open.saturating_sub(1);
        } else if !buffered {
            return Err((
                TaskFailedCause::BadCancelTimerAttributes,
                Rejection::not_found(format!("timer {timer_id}")),
            ));
        }
        self.timers.insert(timer_id, false);
        Ok(())
    }

    fn is_running(&self, timer_id: &str) -> bool {
        match self.timers.get(timer_id) {
            Some(open) => *open,
            None => self.run.timers.contains_key(timer_id),
        }
    }

    fn child(&mut self, limits: &Limits, wanted: &StartChild) -> Verdict {
        self.children += 1;
        because(
            TaskFailedCause::PendingChildWorkflowsLimitExceeded,
            pending("open children", self.children, limits.children_max),
        )?;
        let own = wanted.workflow_id == self.run.key.workflow_id
            && (wanted.namespace.is_empty() || wanted.namespace == self.run.key.namespace);
        let checked = if own {
            Err(Rejection::invalid("a run cannot be its own child: give the child another id"))
        } else {
            check_child(limits, wanted)
        };
        because(TaskFailedCause::BadStartChildExecutionAttributes, checked)
    }

    fn pause(&mut self, limits: &Limits, reason: &str) -> Verdict {
        let is_paused = std::mem::replace(&mut self.paused, true);
        let checked = match (self.run.decider(), is_paused) {
            (Some(Decider::Flow), false) => check_id(limits, "reason", reason),
            (Some(Decider::Flow), true) => Err(Rejection::AlreadyDone("the run is paused")),
            (Some(Decider::Code | Decider::System) | None, _) => {
                Err(Rejection::invalid("only a flow pauses itself: ask for a pause"))
            }
        };
        because(TaskFailedCause::UnhandledCommand, checked)
    }

    fn tell_child(&self, initiated: EventId) -> Verdict {
        let checked = match (self.run.decider(), self.run.children.contains_key(&initiated)) {
            (Some(Decider::Flow), true) => Ok(()),
            (Some(Decider::Flow), false) => Err(Rejection::not_found(format!("child {initiated}"))),
            (Some(Decider::Code | Decider::System) | None, _) => {
                Err(Rejection::invalid("only a flow has such a word for a child: ask it to end"))
            }
        };
        because(TaskFailedCause::UnhandledCommand, checked)
    }

    fn signal(&mut self, limits: &Limits, wanted: &SignalExternal) -> Verdict {
        self.signals += 1;
        because(
            TaskFailedCause::PendingSignalsLimitExceeded,
            pending("pending signals", self.signals, limits.external_signals_max),
        )?;
        let checked = check_target(limits, &wanted.target)
            .and_then(|()| check_name(limits, "signal name", &wanted.name))
            .and_then(|()| check_blob(limits, "signal input", &wanted.input))
            .and_then(|()| check_header(limits, &wanted.header));
        because(TaskFailedCause::BadSignalWorkflowExecutionAttributes, checked)
    }
}

fn because(cause: TaskFailedCause, checked: Result<(), Rejection>) -> Verdict {
    checked.map_err(|rejection| (cause, rejection))
}

fn pending(what: &'static str, given: usize, max: usize) -> Result<(), Rejection> {
    within(what, given, max, "wait for some to end")
}

fn check_activity(limits: &Limits, wanted: &ScheduleActivity, code: bool) -> Result<(), Rejection> {
    check_name(limits, "activity id", &wanted.activity_id)?;
    check_name(limits, "activity type", &wanted.activity_type)?;
    check_id(limits, "task queue", &wanted.task_queue)?;
    check_blob(limits, "activity input", &wanted.input)?;
    check_header(limits, &wanted.header)?;
    check_length("schedule to close", wanted.schedule_to_close)?;
    check_length("schedule to start", wanted.schedule_to_start)?;
    check_length("start to close", wanted.start_to_close)?;
    check_length("heartbeat timeout", wanted.heartbeat)?;
    if let Some(worker) = &wanted.claim {
        check_id(limits, "identity", &worker.identity)?;
    }
    if code && wanted.start_to_close.is_none() && wanted.schedule_to_close.is_none() {
        return Err(Rejection::invalid("activity: give start to close or schedule to close"));
    }
    match &wanted.retry {
        Some(retry) => retry.check().map_err(Rejection::invalid),
        None => Ok(()),
    }
}

fn check_child(limits: &Limits, wanted: &StartChild) -> Result<(), Rejection> {
    check_id(limits, "namespace", &wanted.namespace)?;
    check_name(limits, "workflow id", &wanted.workflow_id)?;
    check_name(limits, "workflow type", &wanted.workflow_type)?;
    check_id(limits, "task queue", &wanted.task_queue)?;
    check_blob(limits, "child input", &wanted.input)?;
    check_header(limits, &wanted.header)?;
    check_fields(limits.memo_bytes_max, "memo", &wanted.memo.fields)?;
    let attributes = &wanted.search_attributes.indexed_fields;
    check_fields(limits.blob_bytes_max, "search attributes", attributes)?;
    check_length("execution timeout", wanted.execution_timeout)?;
    check_length("run timeout", wanted.run_timeout)?;
    check_length("task timeout", wanted.task_timeout)?;
    if !wanted.cron_schedule.is_empty() {
        return Err(Rejection::invalid("cron schedule: create a schedule instead"));
    }
    match &wanted.retry {
        Some(retry) => retry.check().map_err(Rejection::invalid),
        None => Ok(()),
    }
}

fn check_continue_as_new(limits: &Limits, next: &ContinueAsNew) -> Result<(), Rejection> {
    check_id(limits, "workflow type", &next.workflow_type)?;
    check_id(limits, "task queue", &next.task_queue)?;
    check_blob(limits, "workflow input", &next.input)?;
    if let Some(header) = &next.header {
        check_header(limits, header)?;
    }
    if let Some(memo) = &next.memo {
        check_fields(limits.memo_bytes_max, "memo", &memo.fields)?;
    }
    if let Some(attributes) = &next.search_attributes {
        check_fields(limits.blob_bytes_max, "search attributes", &attributes.indexed_fields)?;
    }
    check_length("run timeout", next.run_timeout)?;
    check_length("task timeout", next.task_timeout)?;
    check_length("back-off", next.backoff)
}

fn check_target(limits: &Limits, target: &Target) -> Result<(), Rejection> {
    check_id(limits, "namespace", &target.namespace)?;
    check_name(limits, "workflow id", &target.workflow_id)?;
    if target.first_run.is_some() {
        // The event that records it has no place for it.
        return Err(Rejection::invalid("name the run itself, not the first of its chain"));
    }
    Ok(())
}

/// These markers are events of the run itself.
fn check_marker_name(limits: &Limits, name: &str) -> Result<(), Rejection> {
    if [MARKER_BEGIN, MARKER_TERMINATE, MARKER_PAUSE_CHILD, MARKER_RESUME_CHILD].contains(&name) {
        return Err(Rejection::invalid(format!("marker name {name} is reserved: use another")));
    }
    check_name(limits, "marker name", name)
}

fn check_marker(limits: &Limits, details: &BTreeMap<String, Payloads>) -> Result<(), Rejection> {
    let bytes = details.iter().map(|(name, value)| name.len() + crate::payloads_bytes(value)).sum();
    within("marker details", bytes, limits.blob_bytes_max, "keep large data elsewhere")
}

/// These fields carry what the domain keeps apart from the header.
pub(crate) fn check_header(limits: &Limits, header: &Header) -> Result<(), Rejection> {
    for reserved in [HEADER_RETRY, HEADER_EFFECTS, HEADER_PARENT] {
        if header.fields.contains_key(reserved) {
            return Err(Rejection::invalid(format!(
                "header field {reserved} is reserved: leave it out"
            )));
        }
    }
    let redrive = header.fields.get(crate::HEADER_REDRIVE).map_or(0, crate::payload_bytes);
    let advice = "re-drive a part of the run, or without its large results";
    within("what is taken over", redrive, crate::REDRIVE_BYTES_MAX, advice)?;
    let rest = crate::fields_bytes(&header.fields).saturating_sub(redrive);
    within("header", rest, limits.blob_bytes_max, "keep large data elsewhere and pass a reference")
}

/// Activities that were asked to end before anybody had them, after all decisions: SDKs expect
/// the answers behind the questions.
fn end_unstarted(
    draft: &mut Draft,
    ctx: &Context,
    canceled: Vec<(EventId, EventId)>,
) -> Result<(), Rejection> {
    if canceled.is_empty() {
        return Ok(());
    }
    for (scheduled, requested) in canceled {
        draft.emit_event(Kind::ActivityCanceled(ActivityCanceled {
            scheduled,
            started: EventId(0),
            requested,
            details: Payloads::default(),
            identity: "".into(),
        }))?;
    }
    // An unknown outcome that nobody wants any more pauses nothing.
    recover::go_on(draft, ctx, "reflux".into())
}

fn emit_one(
    draft: &mut Draft,
    ctx: &Context,
    decision: Decision,
    by: EventId,
    canceled: &mut Vec<(EventId, EventId)>,
) -> Result<(), Rejection> {
    let task_completed = by;
    let kind = match decision {
        Decision::ScheduleActivity(mut wanted) => {
            let worker = wanted.claim.take();
            let what = scheduled(draft.run(), *wanted, by);
            let id = draft.emit_event(Kind::ActivityScheduled(Arc::new(what)))?;
            return claim_at_once(draft, ctx, id, worker);
        }
        Decision::RequestCancelActivity { scheduled } => {
            let event = ActivityCancelRequested { scheduled, task_completed };
            let requested = draft.emit_event(Kind::ActivityCancelRequested(event))?;
            if let Some(activity) = draft.run().activities.get(&scheduled) {
                match activity.phase {
                    Phase::Waiting { .. }
                    | Phase::Backoff { .. }
                    | Phase::OutcomeUnknown { .. } => canceled.push((scheduled, requested)),
                    Phase::Started { .. } | Phase::Ended { .. } => {}
                }
            }
            return Ok(());
        }
        Decision::StartTimer { timer_id, duration } => {
            Kind::TimerStarted(TimerStarted { timer_id, duration, task_completed })
        }
        Decision::CancelTimer { timer_id } => {
            let started = timer_start(draft.run(), &timer_id);
            let identity = "".into();
            Kind::TimerCanceled(TimerCanceled { timer_id, started, task_completed, identity })
        }
        Decision::RecordMarker { name, details, failure } => {
            let header = Header::default();
            Kind::Marker(Marker { name, details, failure, header, task_completed })
        }
        Decision::StartChild(wanted) => {
            Kind::ChildInitiated(Arc::new(initiated(draft.run(), *wanted, by)))
        }
        Decision::TerminateChild { initiated } => told(MARKER_TERMINATE, initiated, by),
        Decision::SuspendChild { initiated, pause: true } => {
            told(MARKER_PAUSE_CHILD, initiated, by)
        }
        Decision::SuspendChild { initiated, pause: false } => {
            told(MARKER_RESUME_CHILD, initiated, by)
        }
        Decision::Pause { reason } => {
            let (identity, request_id) = ("reflux".into(), "".into());
            Kind::Paused(Suspension { identity, reason, request_id })
        }
        Decision::SignalExternal(wanted) => {
            let SignalExternal { target, name, input, header, child_only } = *wanted;
            let target = in_namespace(draft.run(), target);
            Kind::ExternalSignalInitiated(Arc::new(ExternalSignalInitiated {
                target,
                name,
                input,
                header,
                child_only,
                task_completed,
            }))
        }
        Decision::RequestCancelExternal { target, child_only, reason } => {
            let target = in_namespace(draft.run(), target);
            Kind::ExternalCancelInitiated(Arc::new(ExternalCancelInitiated {
                target,
                child_only,
                reason,
                task_completed,
            }))
        }
        Decision::CompleteRun { result } => return close::complete(draft, result, by),
        Decision::FailRun { failure } => {
            return close::fail(draft, ctx, bounded_failure(failure), by);
        }
        Decision::CancelRun { details } => Kind::Canceled(Canceled { details, task_completed }),
        Decision::ContinueAsNew(next) => return close::continue_as_new(draft, ctx, *next, by),
        Decision::UpsertSearchAttributes { attributes } => {
            Kind::SearchAttributesUpserted(SearchAttributesUpserted { attributes, task_completed })
        }
        Decision::ModifyProperties { memo } => {
            Kind::PropertiesModified(PropertiesModified { memo, task_completed })
        }
    };
    draft.emit_event(kind).map(drop)
}

/// A word to a child, as a marker.
fn told(name: &str, initiated: EventId, task_completed: EventId) -> Kind {
    let number = Payloads { payloads: vec![json_payload(initiated.to_string())] };
    Kind::Marker(Marker {
        name: name.into(),
        details: BTreeMap::from([(TERMINATED.to_owned(), number)]),
        failure: None,
        header: Header::default(),
        task_completed,
    })
}

fn timer_start(run: &Run, timer_id: &Arc<str>) -> EventId {
    let buffered = run.buffered.iter().find_map(|event| match &event.kind {
        Kind::TimerFired(fired) if fired.timer_id == *timer_id => Some(fired.started),
        _ => None,
    });
    run.timers.get(timer_id).map(|timer| timer.started).or(buffered).unwrap_or_default()
}

fn in_namespace(run: &Run, mut target: Target) -> Target {
    target.namespace = or(target.namespace, &run.key.namespace);
    target
}

/// Timeouts that were left out follow from the others and from the run's, as in Temporal.
fn scheduled(run: &Run, wanted: ScheduleActivity, by: EventId) -> ActivityScheduled {
    let begun = run.started.as_deref();
    let run_timeout = begun.and_then(|begun| begun.run_timeout);
    let cap = |limit: Option<Duration>| match (limit, run_timeout) {
        (Some(limit), Some(run)) => Some(limit.min(run)),
        (limit, _) => limit,
    };
    let mut total = some_length(wanted.schedule_to_close);
    let mut start = some_length(wanted.schedule_to_start);
    let mut attempt = some_length(wanted.start_to_close);
    if let Some(limit) = total {
        start = Some(start.map_or(limit, |start| start.min(limit)));
        attempt = Some(attempt.map_or(limit, |attempt| attempt.min(limit)));
    } else {
        total = run_timeout;
        start = start.or(run_timeout);
    }
    let (total, start, attempt) = (cap(total), cap(start), cap(attempt));
    let heartbeat = some_length(wanted.heartbeat);
    let heartbeat = match (heartbeat, attempt) {
        (Some(beat), Some(attempt)) => Some(beat.min(attempt)),
        (beat, _) => beat,
    };
    let queue = begun.map(|begun| begun.task_queue.clone()).unwrap_or_default();
    ActivityScheduled {
        activity_id: wanted.activity_id,
        activity_type: wanted.activity_type,
        task_queue: or(wanted.task_queue, &queue),
        input: wanted.input,
        header: wanted.header,
        schedule_to_close: total,
        schedule_to_start: start,
        start_to_close: attempt,
        heartbeat,
        retry: wanted.retry.unwrap_or_default().whole(),
        effects: wanted.effects,
        priority: wanted.priority,
        task_completed: by,
    }
}

fn initiated(run: &Run, wanted: StartChild, by: EventId) -> ChildInitiated {
    let queue = run.started.as_ref().map(|begun| begun.task_queue.clone()).unwrap_or_default();
    let policy = match wanted.parent_close_policy {
        ParentClosePolicy::Unspecified => ParentClosePolicy::Terminate,
        policy => policy,
    };
    ChildInitiated {
        namespace: or(wanted.namespace, &run.key.namespace),
        workflow_id: wanted.workflow_id,
        workflow_type: wanted.workflow_type,
        task_queue: or(wanted.task_queue, &queue),
        input: wanted.input,
        header: wanted.header,
        memo: wanted.memo,
        search_attributes: wanted.search_attributes,
        execution_timeout: some_length(wanted.execution_timeout),
        run_timeout: some_length(wanted.run_timeout),
        task_timeout: some_length(wanted.task_timeout),
        parent_close_policy: policy,
        reuse_policy: wanted.reuse_policy,
        retry: wanted.retry.map(Retry::whole),
        cron_schedule: wanted.cron_schedule,
        priority: wanted.priority,
        task_completed: by,
    }
}
