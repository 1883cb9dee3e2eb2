//! Decides a command into items. Everything is checked before anything is emitted, so that a
//! rejection leaves the draft as it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::payload::{bounded_failure, failure_bytes, fields_bytes, payloads_bytes};
use crate::{
    CancelRequested, Command, CompleteTask, Context, DURATION_MAX, Decider, Decision, Delta, Draft,
    Failure, Kind, Limits, Payload, Payloads, Rejection, RequestCancel, Run, Signal, Signaled,
    Suspend, Suspension, TASK_HEARTBEAT_MAX, TaskCompleted, TaskFailedCause, Terminate, Terminated,
    WorkflowTask, activity_commands as activity, decisions, deliver, recover, start, task, wake,
};

/// Decides a command into items of the draft.
///
/// # Errors
/// A [`Rejection`] says what to do; the draft is then as it was before, unless
/// [`Draft::is_poisoned`].
pub fn decide(draft: &mut Draft, ctx: &Context, command: Command) -> Result<(), Rejection> {
    if draft.is_poisoned() {
        return Err(Rejection::Poisoned);
    }
    let before = draft.items().len();
    draft.begin(ctx.now);
    let decided = dispatch(draft, ctx, command).and_then(|()| follow_up(draft, ctx, before));
    if decided.is_err() && draft.items().len() != before {
        draft.poison();
    }
    decided
}

fn dispatch(draft: &mut Draft, ctx: &Context, command: Command) -> Result<(), Rejection> {
    match command {
        Command::Start(request) => start::start(draft, ctx, *request),
        Command::Signal(request) => signal(draft, ctx, request),
        Command::RequestCancel(request) => request_cancel(draft, ctx, request),
        Command::Terminate(request) => terminate(draft, ctx, request),
        Command::Pause(request) => pause(draft, ctx, request),
        Command::Unpause(request) => unpause(draft, ctx, request),

        Command::ClaimActivity { scheduled, worker } => {
            activity::claim(draft, ctx, scheduled, worker)
        }
        Command::UnclaimActivity { scheduled, attempt } => {
            activity::unclaim(draft, scheduled, attempt)
        }
        Command::CompleteActivity { at, result, report } => {
            activity::complete(draft, ctx, at, result, report)
        }
        Command::FailActivity { at, failure, next_retry_delay, report } => {
            let failure = bounded_failure(failure);
            activity::fail(draft, ctx, at, failure, next_retry_delay, report)
        }
        Command::TimeOutActivity { at, report } => activity::time_out(draft, ctx, at, report),
        Command::CancelActivity { at, details, report } => {
            activity::cancel(draft, ctx, at, details, report)
        }
        Command::HeartbeatActivity { scheduled, attempt, details } => {
            activity::heartbeat(draft, ctx, scheduled, attempt, details)
        }

        Command::Wake => wake::wake(draft, ctx),
        Command::Deliver { source, seq, message } => {
            deliver::deliver(draft, ctx, source, seq, message)
        }
        Command::AckOutbox { seq } => deliver::acknowledge(draft, seq),
        Command::DeliveryFailed { seq, reason } => deliver::fail(draft, seq, reason),
        Command::Recover => recover::recover(draft, ctx),
        Command::Resolve { scheduled, resolution, identity } => {
            recover::resolve(draft, ctx, scheduled, resolution, identity)
        }
        Command::Decide(wanted) => decide_flow(draft, ctx, wanted),
        Command::Steer { decisions, request_id } => steer(draft, ctx, decisions, request_id),
        Command::Retire => retire(draft),

        Command::StartTask { scheduled, identity, request_id } => {
            task::start(draft, ctx, scheduled, identity, request_id)
        }
        Command::CompleteTask(request) => complete_task(draft, ctx, *request),
        Command::FailTask { scheduled, attempt, cause, failure, identity } => {
            task::running(draft.run(), scheduled, attempt)?;
            task::fail(draft, ctx, cause, failure.map(bounded_failure), identity)
        }
        Command::ResetSticky => reset_sticky(draft),
    }
}

/// What follows from any command: the decider is asked, a history without measure is ended.
fn follow_up(draft: &mut Draft, ctx: &Context, before: usize) -> Result<(), Rejection> {
    if draft.items().len() == before && !draft.wakes() {
        return Ok(());
    }
    if draft.run().is_open() && is_too_long(draft.run(), &ctx.limits) {
        let reason = format!(
            "the history holds {} events and {} bytes, {} and {} are allowed: continue as new earlier, or make several runs of it",
            draft.run().history_events(),
            draft.run().history_bytes,
            ctx.limits.history_events_max,
            ctx.limits.history_bytes_max
        );
        task::abandon(draft, ctx)?;
        let (reason, identity) = (reason.into(), "reflux".into());
        let terminated = Terminated { reason, details: Payloads::default(), identity };
        return draft.emit_event(Kind::Terminated(terminated)).map(drop);
    }
    let run = draft.run();
    let asks = draft.wakes()
        && run.is_open()
        && run.paused.is_none()
        && run.task == WorkflowTask::Idle
        && run.decider() == Some(Decider::Code);
    if asks { task::schedule(draft, ctx.now) } else { Ok(()) }
}

fn is_too_long(run: &Run, limits: &Limits) -> bool {
    run.history_events() > limits.history_events_max || run.history_bytes > limits.history_bytes_max
}

/// Whether a request was taken in before: it is acknowledged again, also when the run has closed
/// meanwhile, because its sender may never have seen the first answer.
fn is_repeated(run: &Run, request_id: &str) -> bool {
    !request_id.is_empty() && run.request_ids.contains(request_id)
}

fn signal(draft: &mut Draft, ctx: &Context, request: Signal) -> Result<(), Rejection> {
    if is_repeated(draft.run(), &request.request_id) {
        return Ok(());
    }
    let run = open(draft.run())?;
    check_name(&ctx.limits, "signal name", &request.name)?;
    check_id(&ctx.limits, "request id", &request.request_id)?;
    check_id(&ctx.limits, "identity", &request.identity)?;
    check_blob(&ctx.limits, "signal input", &request.input)?;
    check_fields(ctx.limits.blob_bytes_max, "header", &request.header.fields)?;
    check_signals(run, &ctx.limits)?;
    make_room(draft, ctx)?;
    let event = Signaled {
        name: request.name,
        input: request.input,
        header: request.header,
        identity: request.identity,
        external: None,
        request_id: request.request_id,
    };
    draft.emit_event(Kind::Signaled(event)).map(drop)
}

pub(crate) fn check_signals(run: &Run, limits: &Limits) -> Result<(), Rejection> {
    if run.signals >= limits.signals_max {
        return Err(Rejection::LimitExceeded {
            what: "signals of this run",
            given: run.signals.saturating_add(1),
            max: limits.signals_max,
            advice: "let it continue as new",
        });
    }
    Ok(())
}

fn request_cancel(
    draft: &mut Draft,
    ctx: &Context,
    request: RequestCancel,
) -> Result<(), Rejection> {
    if is_repeated(draft.run(), &request.request_id) {
        return Ok(());
    }
    let run = open(draft.run())?;
    if run.cancel_requested.is_some() {
        return Err(Rejection::AlreadyDone("the run was asked to end before"));
    }
    check_id(&ctx.limits, "request id", &request.request_id)?;
    check_id(&ctx.limits, "identity", &request.identity)?;
    check_id(&ctx.limits, "reason", &request.reason)?;
    make_room(draft, ctx)?;
    let event = CancelRequested {
        cause: request.reason,
        identity: request.identity,
        external: None,
        external_initiated: crate::EventId(0),
    };
    draft.emit_event(Kind::CancelRequested(event))?;
    remember(draft, request.request_id)
}

fn terminate(draft: &mut Draft, ctx: &Context, request: Terminate) -> Result<(), Rejection> {
    open(draft.run())?;
    let Terminate { reason, details, identity } = request;
    check_blob(&ctx.limits, "details", &details)?;
    check_id(&ctx.limits, "reason", &reason)?;
    check_id(&ctx.limits, "identity", &identity)?;
    task::abandon(draft, ctx)?;
    draft.emit_event(Kind::Terminated(Terminated { reason, details, identity })).map(drop)
}

fn pause(draft: &mut Draft, ctx: &Context, request: Suspend) -> Result<(), Rejection> {
    if is_repeated(draft.run(), &request.request_id) {
        return Ok(());
    }
    let run = open(draft.run())?;
    if run.paused.is_some() {
        return Err(Rejection::AlreadyDone("the run is paused"));
    }
    let event = suspension(ctx, request)?;
    make_room(draft, ctx)?;
    let request_id = event.request_id.clone();
    draft.emit_event(Kind::Paused(event))?;
    remember(draft, request_id)
}

fn unpause(draft: &mut Draft, ctx: &Context, request: Suspend) -> Result<(), Rejection> {
    if is_repeated(draft.run(), &request.request_id) {
        return Ok(());
    }
    let run = open(draft.run())?;
    if run.paused.is_none() {
        return Err(Rejection::AlreadyDone("the run is not paused"));
    }
    if let Some(scheduled) = recover::unknown(run).next() {
        return Err(Rejection::WrongState {
            what: format!("activity {scheduled}").into(),
            state: "has an unknown outcome",
            advice: "resolve it first",
        });
    }
    let event = suspension(ctx, request)?;
    make_room(draft, ctx)?;
    let request_id = event.request_id.clone();
    draft.emit_event(Kind::Unpaused(event))?;
    remember(draft, request_id)?;
    activity::claim_all_local(draft, ctx)
}

fn suspension(ctx: &Context, request: Suspend) -> Result<Suspension, Rejection> {
    check_id(&ctx.limits, "reason", &request.reason)?;
    check_id(&ctx.limits, "identity", &request.identity)?;
    check_id(&ctx.limits, "request id", &request.request_id)?;
    if [crate::apply::OUTCOME_UNKNOWN, crate::apply::BY_PARENT].contains(&&*request.request_id) {
        return Err(Rejection::invalid("this request id is reserved: use another"));
    }
    let Suspend { reason, identity, request_id } = request;
    Ok(Suspension { identity, reason, request_id })
}

fn decide_flow(draft: &mut Draft, ctx: &Context, wanted: Vec<Decision>) -> Result<(), Rejection> {
    let run = open(draft.run())?;
    if run.decider() != Some(Decider::Flow) {
        return Err(Rejection::invalid(
            "this run is no flow: the decisions of code come with a completed workflow task",
        ));
    }
    if !run.has_begun() {
        return Err(Rejection::invalid("this run begins later: decide when it has begun"));
    }
    decisions::check(run, ctx, &wanted).map_err(|(_, rejection)| rejection)?;
    decisions::emit(draft, ctx, wanted, crate::EventId(0))
}

fn steer(
    draft: &mut Draft,
    ctx: &Context,
    wanted: Vec<Decision>,
    request_id: Arc<str>,
) -> Result<(), Rejection> {
    if is_repeated(draft.run(), &request_id) {
        return Ok(());
    }
    check_id(&ctx.limits, "request id", &request_id)?;
    decide_flow(draft, ctx, wanted)?;
    remember(draft, request_id)
}

fn complete_task(draft: &mut Draft, ctx: &Context, request: CompleteTask) -> Result<(), Rejection> {
    let run = draft.run();
    let started = task::running(run, request.scheduled, request.attempt)?;
    let is_heartbeat = request.heartbeat && request.decisions.is_empty();
    if is_heartbeat && ctx.now.since(started.task.since) >= TASK_HEARTBEAT_MAX {
        return task::time_out(draft, ctx);
    }
    let closing = request.decisions.iter().any(Decision::closes_run);
    if closing && !run.buffered.is_empty() {
        let cause = TaskFailedCause::UnhandledCommand;
        return task::fail(draft, ctx, cause, None, request.identity);
    }
    if let Err((cause, rejection)) = decisions::check(run, ctx, &request.decisions) {
        let failure = Failure { message: rejection.to_string(), ..Default::default() };
        return task::fail(draft, ctx, cause, Some(Arc::new(failure)), request.identity);
    }
    if let Some(sticky) = &request.sticky {
        check_name(&ctx.limits, "sticky task queue", &sticky.task_queue)?;
        check_length("sticky schedule to start", Some(sticky.schedule_to_start))?;
    }

    task::materialise(draft, ctx)?;
    let WorkflowTask::Started(started) = &draft.run().task else { return Ok(()) };
    let event = TaskCompleted {
        scheduled: started.task.scheduled,
        started: started.started,
        identity: request.identity,
        sdk_metadata: request.sdk_metadata,
    };
    let by = draft.emit_event(Kind::TaskCompleted(event))?;
    if let Some(sticky) = request.sticky {
        draft.emit_delta(Delta::Sticky {
            task_queue: sticky.task_queue,
            schedule_to_start: sticky.schedule_to_start,
        })?;
    }
    decisions::emit(draft, ctx, request.decisions, by)?;
    if draft.run().is_open() {
        draft.flush()?;
        if request.heartbeat {
            draft.wake();
        }
    }
    Ok(())
}

fn reset_sticky(draft: &mut Draft) -> Result<(), Rejection> {
    let run = open(draft.run())?;
    if run.sticky.is_none() {
        return Ok(());
    }
    draft.emit_delta(Delta::Sticky { task_queue: "".into(), schedule_to_start: Duration::ZERO })
}

fn retire(draft: &mut Draft) -> Result<(), Rejection> {
    let run = draft.run();
    if run.retired {
        return Ok(());
    }
    let state = match (&run.closed, run.outbox.is_empty()) {
        (Some(_), true) => return draft.emit_delta(Delta::Retired),
        (Some(_), false) => "has messages that are not delivered",
        (None, _) => "is open",
    };
    let advice = "retire it when it is closed and its outbox empty";
    Err(Rejection::WrongState { what: "this run".into(), state, advice })
}

/// A buffer without measure would be one more history: the task that holds it up fails.
pub(crate) fn make_room(draft: &mut Draft, ctx: &Context) -> Result<(), Rejection> {
    if draft.run().buffered.len() < ctx.limits.buffered_events_max {
        return Ok(());
    }
    task::fail(draft, ctx, TaskFailedCause::ForceCloseCommand, None, "".into())
}

fn remember(draft: &mut Draft, request_id: Arc<str>) -> Result<(), Rejection> {
    if request_id.is_empty() { Ok(()) } else { draft.emit_delta(Delta::Requested { request_id }) }
}

/// The run, if it is open.
pub(crate) fn open(run: &Run) -> Result<&Run, Rejection> {
    match (&run.started, &run.closed) {
        (None, _) => Err(Rejection::NotStarted),
        (Some(_), Some(_)) => Err(Rejection::AlreadyClosed),
        (Some(_), None) => Ok(run),
    }
}

pub(crate) fn check_name(limits: &Limits, what: &'static str, text: &str) -> Result<(), Rejection> {
    if text.is_empty() {
        return Err(Rejection::invalid(format!("{what} is empty: give one")));
    }
    check_id(limits, what, text)
}

pub(crate) fn check_id(limits: &Limits, what: &'static str, text: &str) -> Result<(), Rejection> {
    // Characters are counted only where bytes alone do not decide.
    if text.len() <= limits.id_chars_max {
        return Ok(());
    }
    let chars = text.chars().count();
    within(what, chars, limits.id_chars_max, "shorten it")
}

pub(crate) fn check_blob(
    limits: &Limits,
    what: &'static str,
    payloads: &Payloads,
) -> Result<(), Rejection> {
    within(what, payloads_bytes(payloads), limits.blob_bytes_max, SMALLER)
}

pub(crate) fn check_failure(limits: &Limits, failure: &Failure) -> Result<(), Rejection> {
    within("failure", failure_bytes(failure), limits.blob_bytes_max, SMALLER)
}

pub(crate) fn check_fields(
    max: usize,
    what: &'static str,
    fields: &BTreeMap<String, Payload>,
) -> Result<(), Rejection> {
    within(what, fields_bytes(fields), max, SMALLER)
}

const SMALLER: &str = "keep large data elsewhere and pass a reference";

pub(crate) fn check_length(what: &'static str, length: Option<Duration>) -> Result<(), Rejection> {
    if length.is_some_and(|length| length > DURATION_MAX) {
        return Err(Rejection::invalid(format!("{what} is over 100 years: shorten it")));
    }
    Ok(())
}

/// A limit of nothing is no limit, as on the wire.
pub(crate) fn some_length(length: Option<Duration>) -> Option<Duration> {
    length.filter(|length| !length.is_zero())
}

pub(crate) fn within(
    what: &'static str,
    given: usize,
    max: usize,
    advice: &'static str,
) -> Result<(), Rejection> {
    if given <= max {
        return Ok(());
    }
    let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Err(Rejection::LimitExceeded { what, given: wide(given), max: wide(max), advice })
}
