//! The beginning of a run.

use std::sync::Arc;

use crate::apply::is_flow;
use crate::decide::{check_blob, check_fields, check_id, check_length, check_name, some_length};
use crate::decisions::check_header;
use crate::{
    ATTEMPTS_MAX, Context, Deadline, Decider, Delta, Draft, IllegalItem, Kind, Rejection, Retry,
    Run, Start, Started, Timestamp, WorkflowTask, task,
};

/// `Started`: the run exists.
pub(crate) fn apply(
    run: &mut Run,
    started: &Arc<Started>,
    time: Timestamp,
) -> Result<(), IllegalItem> {
    if run.started.is_some() {
        return Err(IllegalItem::new(run, "a started run", "WorkflowExecutionStarted"));
    }
    run.started_at = time;
    run.memo = started.memo.clone();
    run.search_attributes = started.search_attributes.clone();
    if let Some(limit) = started.run_timeout {
        // The limit is for the work, not for the wait before it.
        let begin = time.after(started.first_task_backoff.unwrap_or_default());
        run.arm(begin.after(limit), Deadline::Run);
    }
    if let Some(expires) = started.execution_expires {
        run.arm(expires, Deadline::Execution);
    }
    let first = match started.first_task_backoff {
        Some(wait) => WorkflowTask::Backoff { until: time.after(wait) },
        // Only the first run of a child's chain has to wait for its parent.
        None if started.parent.is_some()
            && started.continued.is_none()
            && !is_flow(&started.header) =>
        {
            WorkflowTask::AwaitsParent
        }
        None => WorkflowTask::Idle,
    };
    task::set(run, None, first);
    run.started = Some(started.clone());
    Ok(())
}

/// `Start`.
pub(crate) fn start(draft: &mut Draft, ctx: &Context, start: Start) -> Result<(), Rejection> {
    let run = draft.run();
    if run.started.is_some() {
        let same = !start.request_id.is_empty() && run.request_ids.contains(&start.request_id);
        return if same { Ok(()) } else { Err(Rejection::AlreadyStarted) };
    }
    check(ctx, run, &start)?;

    let run_id = run.key.run_id;
    let request_id = start.request_id.clone();
    let execution_timeout = some_length(start.execution_timeout);
    let expires = execution_timeout.map(|limit| ctx.now.after(limit));
    let code = Decider::of(&start.header) == Decider::Code;
    let started = Started {
        workflow_type: start.workflow_type,
        task_queue: start.task_queue,
        input: start.input,
        header: start.header,
        memo: start.memo,
        search_attributes: start.search_attributes,
        execution_timeout,
        run_timeout: some_length(start.run_timeout),
        task_timeout: some_length(start.task_timeout),
        // Zero is "not set" on the wire.
        execution_expires: start.execution_expires.or(expires).filter(|at| at.0 != 0),
        retry: start.retry.map(Retry::whole),
        attempt: start.attempt.clamp(1, ATTEMPTS_MAX),
        cron_schedule: start.cron_schedule,
        first_task_backoff: some_length(start.first_task_backoff),
        parent: start.parent,
        root: start.root,
        first_run_id: start.first_run.unwrap_or(run_id),
        original_run_id: run_id,
        continued: start.continued,
        identity: start.identity,
        priority: start.priority,
    };
    draft.emit_event(Kind::Started(Arc::new(started)))?;
    if !request_id.is_empty() {
        draft.emit_delta(Delta::Requested { request_id })?;
    }
    if code {
        draft.wake();
    }
    Ok(())
}

fn check(ctx: &Context, run: &Run, start: &Start) -> Result<(), Rejection> {
    let limits = &ctx.limits;
    check_name(limits, "namespace", &run.key.namespace)?;
    check_name(limits, "workflow id", &run.key.workflow_id)?;
    check_name(limits, "workflow type", &start.workflow_type)?;
    check_name(limits, "task queue", &start.task_queue)?;
    check_id(limits, "request id", &start.request_id)?;
    check_id(limits, "identity", &start.identity)?;
    check_blob(limits, "workflow input", &start.input)?;
    check_header(limits, &start.header)?;
    check_fields(limits.memo_bytes_max, "memo", &start.memo.fields)?;
    let attributes = &start.search_attributes.indexed_fields;
    check_fields(limits.blob_bytes_max, "search attributes", attributes)?;
    check_length("execution timeout", start.execution_timeout)?;
    check_length("run timeout", start.run_timeout)?;
    check_length("task timeout", start.task_timeout)?;
    check_length("start delay", start.first_task_backoff)?;
    if let Some(retry) = &start.retry {
        retry.check().map_err(Rejection::invalid)?;
    }
    if !start.cron_schedule.is_empty() {
        return Err(Rejection::invalid("cron schedule: create a schedule instead"));
    }
    Ok(())
}
