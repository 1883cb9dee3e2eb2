//! Between what the server knows and the messages of the API.

use std::time::Duration;

use reflux_core::{Status, Timestamp};
use reflux_flow::diagnostic::{Diagnostic, Severity};
use reflux_proto::{api as v1, json};
use reflux_store::Summary;
use serde_json::Value;

use crate::history::Entry;
use crate::registry::Deployed;
use crate::story::{Glance, StepStatus, StepStory, Visit};

const NANOS: i64 = 1_000_000_000;

pub(super) fn time(at: Timestamp) -> pbjson_types::Timestamp {
    pbjson_types::Timestamp {
        seconds: at.0.div_euclid(NANOS),
        nanos: i32::try_from(at.0.rem_euclid(NANOS)).unwrap_or_default(),
    }
}

/// A moment of a request; one that is out of all bounds is at the bound.
pub(super) fn moment(at: &pbjson_types::Timestamp) -> Timestamp {
    Timestamp(at.seconds.saturating_mul(NANOS).saturating_add(at.nanos.into()))
}

pub(super) fn length(length: Duration) -> pbjson_types::Duration {
    pbjson_types::Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or_default(),
    }
}

pub(super) fn value(value: &Value) -> json::Value {
    value.into()
}

pub(super) fn object(value: &Value) -> Option<json::Struct> {
    value.as_object().map(json::Struct::from)
}

/// Counts in answers have 32 bits; what does not fit stays at the greatest.
pub(super) fn count(n: impl TryInto<u32>) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}

pub(super) fn status(status: Status) -> v1::RunStatus {
    match status {
        Status::Running => v1::RunStatus::Running,
        Status::Completed => v1::RunStatus::Completed,
        Status::Failed => v1::RunStatus::Failed,
        Status::Canceled => v1::RunStatus::Canceled,
        Status::Terminated => v1::RunStatus::Terminated,
        Status::TimedOut => v1::RunStatus::TimedOut,
        Status::ContinuedAsNew => v1::RunStatus::ContinuedAsNew,
    }
}

/// The status that a request names; `None` for none.
pub(super) fn status_of(status: v1::RunStatus) -> Option<Status> {
    Some(match status {
        v1::RunStatus::Unspecified => return None,
        v1::RunStatus::Running => Status::Running,
        v1::RunStatus::Completed => Status::Completed,
        v1::RunStatus::Failed => Status::Failed,
        v1::RunStatus::Canceled => Status::Canceled,
        v1::RunStatus::Terminated => Status::Terminated,
        v1::RunStatus::TimedOut => Status::TimedOut,
        v1::RunStatus::ContinuedAsNew => Status::ContinuedAsNew,
    })
}

/// Steps that are over, of 100; a closed run is done.
fn percent(open: bool, done: u32, total: u32) -> u32 {
    match (open, total) {
        (false, _) => 100,
        (true, 0) => 0,
        (true, total) => count(u64::from(done) * 100 / u64::from(total)).min(100),
    }
}

pub(super) fn run(summary: &Summary, now: Timestamp) -> v1::Run {
    let took = summary.closed.unwrap_or(now).since(summary.started);
    let (done, total) = (summary.steps_done, summary.steps_total);
    v1::Run {
        namespace: summary.key.namespace.to_string(),
        workflow_id: summary.key.workflow_id.to_string(),
        run_id: summary.key.run_id.to_string(),
        flow: summary.workflow_type.to_string(),
        status: status(summary.status).into(),
        started: Some(time(summary.started)),
        closed: summary.closed.map(time),
        took: Some(length(took)),
        steps_done: done,
        steps_total: total,
        progress_percent: percent(summary.is_open(), done, total),
        events: count(summary.events),
        error: summary.error.clone().unwrap_or_default(),
        digest: summary.spec.map(|digest| crate::service::hex(&digest)).unwrap_or_default(),
        redrive_of: summary.redrive_of.map(|base| base.to_string()).unwrap_or_default(),
    }
}

pub(super) fn redriven_from(from: &crate::story::RedrivenFrom) -> v1::RedrivenFrom {
    v1::RedrivenFrom {
        run_id: from.run_id.clone(),
        workflow_id: from.workflow_id.clone(),
        epoch: from.epoch,
        by: from.by.clone(),
        reason: from.reason.clone(),
        scope: from.scope.clone(),
    }
}

/// The row of a run that is being followed.
pub(super) fn glance(glance: &Glance, before: &v1::Run, now: Timestamp) -> v1::Run {
    v1::Run {
        status: status(glance.status).into(),
        closed: glance.closed.map(time),
        took: Some(length(glance.closed.unwrap_or(now).since(glance.started))),
        steps_done: glance.steps_done,
        steps_total: glance.steps_total,
        progress_percent: percent(glance.closed.is_none(), glance.steps_done, glance.steps_total),
        events: count(glance.events),
        error: glance.error.clone().unwrap_or_default(),
        ..before.clone()
    }
}

pub(super) fn usage(tokens: (u64, u64), cost_usd: f64) -> v1::Usage {
    v1::Usage { tokens_in: count(tokens.0), tokens_out: count(tokens.1), cost_usd }
}

pub(super) fn step(step: &StepStory) -> v1::RunStep {
    let (done, total) = step.items.unwrap_or_default();
    v1::RunStep {
        id: step.id.clone(),
        node: step.node.clone().unwrap_or_default(),
        status: match step.status {
            StepStatus::Pending => v1::StepStatus::Pending,
            StepStatus::Running => v1::StepStatus::Running,
            StepStatus::Waiting => v1::StepStatus::Waiting,
            StepStatus::Succeeded => v1::StepStatus::Succeeded,
            StepStatus::Failed => v1::StepStatus::Failed,
            StepStatus::Skipped => v1::StepStatus::Skipped,
            StepStatus::Unreached => v1::StepStatus::Unreached,
        }
        .into(),
        reason: step.reason.clone().unwrap_or_default(),
        visits: step.visits.iter().map(visit).collect(),
        items_done: count(done),
        items_total: count(total),
    }
}

fn visit(visit: &Visit) -> v1::StepVisit {
    let attempts = visit.attempts.iter().map(|attempt| v1::StepAttempt {
        number: attempt.number,
        worker: attempt.worker.clone(),
        started: Some(time(attempt.started)),
        ended: attempt.ended.map(time),
        outcome: attempt.outcome.unwrap_or_default().to_owned(),
        error: attempt.error.as_ref().map(value),
        next_attempt: attempt.next_attempt.map(time),
        logs: attempt
            .logs
            .iter()
            .map(|line| v1::StepLogLine {
                time: Some(time(line.time)),
                level: line.level.clone(),
                text: line.text.clone(),
            })
            .collect(),
        logs_dropped: count(attempt.logs_dropped),
        metrics: attempt.metrics.clone(),
        usage: Some(usage(attempt.tokens, attempt.cost_usd)),
    });
    v1::StepVisit {
        activation: visit.activation.clone(),
        compensates: visit.compensates,
        started: Some(time(visit.started)),
        ended: visit.ended.map(time),
        input: visit.input.as_ref().map(value),
        output: visit.output.as_ref().map(value),
        error: visit.error.as_ref().map(value),
        attempts: attempts.collect(),
        led_to: visit.led_to.clone().unwrap_or_default(),
        scheduled_event: visit.scheduled.map(count).unwrap_or_default(),
    }
}

pub(super) fn entry(entry: &Entry) -> v1::HistoryEntry {
    v1::HistoryEntry {
        event: entry.event.map(count).unwrap_or_default(),
        time: entry.at.map(time),
        r#type: entry.kind.to_owned(),
        facts: Some(json::Struct::from(&entry.facts)),
    }
}

pub(super) fn problem(found: &Diagnostic) -> v1::Problem {
    v1::Problem {
        severity: match found.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
        .to_owned(),
        code: found.code.to_owned(),
        message: found.message.clone(),
        file: found.file.clone(),
        line: found.span.line,
        column: found.span.column,
        suggestion: found.suggestion.clone().unwrap_or_default(),
    }
}

pub(super) fn flow(flow: &Deployed) -> v1::FlowSummary {
    let parameters = flow.inputs.iter().map(|input| v1::FlowParameter {
        name: input.name.clone(),
        kind: input.kind.clone(),
        required: input.required,
        default: input.default.as_ref().map(value),
        description: input.description.clone(),
    });
    v1::FlowSummary {
        namespace: flow.namespace.clone(),
        name: flow.name.clone(),
        version: flow.version,
        digest: flow.digest.clone(),
        deployed: (flow.time != 0).then(|| time(flow.deployed_at())),
        author: flow.author.clone(),
        description: flow.description.clone(),
        category: flow.category.clone(),
        label: flow.label.clone(),
        template: flow.template,
        parameters: parameters.collect(),
        steps: flow.steps,
        edges: flow.edges,
        triggers: flow.triggers.iter().filter_map(object).collect(),
    }
}

pub(super) fn version(flow: &Deployed) -> v1::FlowVersion {
    v1::FlowVersion {
        version: flow.version,
        digest: flow.digest.clone(),
        deployed: Some(time(flow.deployed_at())),
        author: flow.author.clone(),
    }
}
