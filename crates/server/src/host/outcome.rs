//! What became of an attempt, as the run is told.

use std::any::Any;
use std::sync::Arc;

use reflux_core::{AttemptRef, Command, LogLine, Payloads, Report, Timestamp, application_failure};
use reflux_flow::payload;
use reflux_proto::temporal::api::failure::v1::failure::FailureInfo;
use reflux_sdk::{Failure, Level};
use serde_json::Value;

use crate::secrets::Scrub;

/// Most bytes of an output as JSON: what one payload of an event may hold.
pub(super) const OUTPUT_BYTES_MAX: usize = (2 << 20) - 1024; // 1 KiB for what stands around it

/// Most bytes of a failure's details; larger ones are left out, the message stays.
const DETAILS_BYTES_MAX: usize = 256 << 10;

/// What became of an attempt.
pub(super) enum Outcome {
    Completed(Value),
    Failed(Failure),
    TimedOut,
    Cancelled,
}

impl Outcome {
    /// What figures and log lines call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::TimedOut => "timed-out",
            Self::Cancelled => "cancelled",
        }
    }

    /// The kind of its failure, without secrets.
    pub(super) fn failure(&self, scrub: &Scrub) -> Option<String> {
        match self {
            Self::Failed(failure) => Some(scrub.text(&failure.kind)),
            Self::Completed(_) | Self::TimedOut | Self::Cancelled => None,
        }
    }

    /// The command that tells the run.
    pub(super) fn into_command(
        self,
        at: AttemptRef,
        report: Option<Box<Report>>,
        scrub: &Scrub,
    ) -> Command {
        match self {
            Self::Completed(mut output) => {
                if !scrub.is_empty() {
                    scrub.value(&mut output);
                }
                let result = payload::of_value(&output);
                let bytes = result.payloads.first().map_or(0, |payload| payload.data.len());
                if bytes > OUTPUT_BYTES_MAX {
                    return failed(at, too_large(bytes), report, scrub);
                }
                Command::CompleteActivity { at, result, report }
            }
            Self::Failed(failure) => failed(at, failure, report, scrub),
            Self::TimedOut => Command::TimeOutActivity { at, report },
            Self::Cancelled => Command::CancelActivity { at, details: Payloads::default(), report },
        }
    }
}

/// What is told instead of an outcome that the run cannot take, so that the attempt ends at all.
pub(super) fn instead(command: &Command, error: &reflux_engine::Error) -> Option<Command> {
    use reflux_core::Rejection;
    use reflux_engine::Error;
    if !matches!(error, Error::Rejected(Rejection::LimitExceeded { .. } | Rejection::Invalid(_))) {
        return None;
    }
    let at = match command {
        Command::CompleteActivity { at, .. } => *at,
        Command::FailActivity { at, failure, .. } if !failure_is(failure, REFUSED) => *at,
        _ => return None,
    };
    let failure = Failure::permanent(REFUSED, format!("the outcome cannot be recorded: {error}"));
    Some(failed(at, failure, None, &Scrub::default()))
}

/// Kind of the failure that stands for an outcome which cannot be recorded.
const REFUSED: &str = "OutcomeRefused";

fn failure_is(failure: &reflux_core::Failure, kind: &str) -> bool {
    matches!(&failure.failure_info, Some(FailureInfo::ApplicationFailureInfo(info)) if info.r#type == kind)
}

/// The failure of a node that panicked.
pub(super) fn of_panic(node: &str, panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure::permanent(
        "Panic",
        format!(
            "node {node} panicked: {}; report it to the node's author",
            text.unwrap_or("no message")
        ),
    )
}

/// What the attempt told about itself; `None` when that is nothing.
pub(crate) fn report(report: reflux_sdk::Report, scrub: &Scrub) -> Option<Box<Report>> {
    let tokens = (report.tokens.input, report.tokens.output);
    let silent = report.logs.is_empty() && report.metrics.is_empty() && report.logs_dropped == 0;
    if silent && tokens == (0, 0) && report.cost_usd == 0.0 {
        return None;
    }
    let nanos =
        |ms: u64| Timestamp(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)).0;
    let logs = report.logs.into_iter().map(|line| {
        let mut text = line.line;
        scrub.in_place(&mut text);
        LogLine { time: nanos(line.at_ms), level: level(line.level).to_owned(), text }
    });
    Some(Box::new(Report {
        logs: logs.collect(),
        logs_dropped: report.logs_dropped,
        metrics: report
            .metrics
            .into_iter()
            .map(|(name, value)| (scrub.text(&name), value))
            .collect(),
        tokens_in: tokens.0,
        tokens_out: tokens.1,
        cost_usd: report.cost_usd,
    }))
}

fn failed(at: AttemptRef, failure: Failure, report: Option<Box<Report>>, scrub: &Scrub) -> Command {
    let Failure { kind, message, details, retryable, retry_after } = failure;
    let mut failure = application_failure(scrub.text(&message), scrub.text(&kind), !retryable);
    if let (Some(mut details), Some(FailureInfo::ApplicationFailureInfo(info))) =
        (details, &mut failure.failure_info)
    {
        scrub.value(&mut details);
        info.details = Some(payload::of_value(&details)).filter(|details| {
            details.payloads.iter().all(|payload| payload.data.len() <= DETAILS_BYTES_MAX)
        });
    }
    Command::FailActivity { at, failure: Arc::new(failure), next_retry_delay: retry_after, report }
}

fn too_large(bytes: usize) -> Failure {
    Failure::permanent(
        "OutputTooLarge",
        format!(
            "the output has {bytes} bytes, more than the {OUTPUT_BYTES_MAX} allowed; write it to a file and give back its path"
        ),
    )
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}
