//! A story as a tree that reads as an explanation.

use std::fmt::Write as _;

use reflux_core::Timestamp;
use serde_json::Value;

use super::{Attempt, StepStatus, StepStory, Story, Visit, Wait, WaitsFor};
use crate::clock::{length, rfc3339};

/// Widest JSON in a line of the tree; `--json` has all of it.
const JSON_CHARS_MAX: usize = 160;
/// Items of a `for_each` that are shown one by one; of more, only those that did not succeed.
const ITEMS_SHOWN_MAX: usize = 8;
/// Lines of a failed attempt's log that are shown.
const LOG_LINES_SHOWN: usize = 5;

/// How a story is shown.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// Whether the terminal has colours.
    pub colour: bool,
    /// Now, for what has not ended.
    pub now: Timestamp,
}

impl Style {
    /// A text in one of the ANSI colours, if there are any.
    pub fn paint(&self, colour: u8, text: &str) -> String {
        if self.colour { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The sign of a step.
    pub fn sign(&self, status: StepStatus) -> String {
        match status {
            StepStatus::Succeeded => self.paint(32, "✓"),
            StepStatus::Failed => self.paint(31, "✗"),
            StepStatus::Running => self.paint(36, "▶"),
            StepStatus::Waiting => self.paint(33, "…"),
            StepStatus::Skipped => self.paint(90, "↷"),
            StepStatus::Pending | StepStatus::Unreached => self.paint(90, "·"),
        }
    }
}

/// The story as text, ending with a line break.
pub fn render(story: &Story, style: Style) -> String {
    let mut out = String::new();
    head(&mut out, story, style);
    let width = story.steps.iter().map(|step| step.id.chars().count()).max().unwrap_or(0);
    for step in &story.steps {
        show_step(&mut out, step, width, style);
    }
    if !story.steps.is_empty() {
        out.push('\n');
    }
    tail(&mut out, story, style);
    out
}

fn head(out: &mut String, story: &Story, style: Style) {
    let (colour, status) = match (story.status.as_str(), story.handled_failure, &story.paused) {
        ("completed", false, _) => (32, "completed".to_owned()),
        ("completed", true, _) => (33, "completed after a handled failure".to_owned()),
        ("running", _, Some(_)) => (33, "paused".to_owned()),
        ("running", _, None) => (36, "running".to_owned()),
        (other, _, _) => (31, other.replace('_', " ")),
    };
    let _ = writeln!(out, "{} {}", style.paint(1, &story.flow), style.paint(colour, &status));
    let took = story.closed.unwrap_or(style.now).since(story.started);
    let verb = if story.closed.is_some() { "took" } else { "for" };
    let _ = writeln!(out, "  run       {}", story.run_id);
    let _ = writeln!(out, "  workflow  {}", story.workflow_id);
    let _ = writeln!(out, "  started   {}, {verb} {}", rfc3339(story.started), length(took));
    if story.revision > 0 {
        let _ = writeln!(out, "  revision  {}", story.revision);
    }
    if let Some(from) = &story.redriven_from {
        let by = if from.by.is_empty() { String::new() } else { format!(", by {}", from.by) };
        let reason =
            if from.reason.is_empty() { String::new() } else { format!(": {}", from.reason) };
        let _ = writeln!(out, "  re-drive  of {}, {}{by}{reason}", from.run_id, from.scope);
    }
    if !is_empty(&story.input) {
        let _ = writeln!(out, "  input     {}", short(&story.input));
    }
    out.push('\n');
}

fn show_step(out: &mut String, step: &StepStory, width: usize, style: Style) {
    let name = format!("{:<width$}", step.id);
    let _ = write!(out, "  {} {name}", style.sign(step.status));
    if let Some(node) = &step.node {
        let _ = write!(out, "  {}", style.paint(90, node));
    }
    let [only] = step.visits.as_slice() else {
        if let Some((done, all)) = step.items {
            let _ = write!(out, "  {done} of {all} items");
        }
        out.push_str(&note(step, style));
        out.push('\n');
        let plain = |visit: &&Visit| {
            step.visits.len() <= ITEMS_SHOWN_MAX
                || visit.item.is_none()
                || visit.error.is_some()
                || visit.ended.is_none()
        };
        let shown: Vec<&Visit> = step.visits.iter().filter(plain).collect();
        for visit in &shown {
            let _ = writeln!(out, "      {}  {}", visit.activation, times(visit, style));
            details(out, visit, "        ", style);
        }
        if shown.len() < step.visits.len() {
            let _ =
                writeln!(out, "      and {} items that succeeded", step.visits.len() - shown.len());
        }
        return;
    };
    let _ = writeln!(out, "  {}{}", times(only, style), note(step, style));
    details(out, only, "      ", style);
}

fn note(step: &StepStory, style: Style) -> String {
    let text = match (step.status, &step.reason) {
        (StepStatus::Skipped, Some(reason)) => format!("  skipped: {reason}"),
        (StepStatus::Skipped, None) => "  skipped".to_owned(),
        (StepStatus::Unreached, _) => "  not reached".to_owned(),
        (StepStatus::Pending, _) => "  not started yet".to_owned(),
        (
            StepStatus::Running | StepStatus::Waiting | StepStatus::Succeeded | StepStatus::Failed,
            _,
        ) => String::new(),
    };
    style.paint(90, &text)
}

fn times(visit: &Visit, style: Style) -> String {
    let took = length(visit.ended.unwrap_or(style.now).since(visit.started));
    let state = match (&visit.error, visit.ended) {
        (Some(_), _) => style.paint(31, "failed after "),
        (None, Some(_)) => String::new(),
        (None, None) => "since ".to_owned(),
    };
    let attempts = match visit.attempts.len() {
        0 | 1 => String::new(),
        many => format!(", {many} attempts"),
    };
    let back = if visit.compensates { ", taken back" } else { "" };
    if let (Some(kept), None) = (&visit.kept, &visit.error) {
        return format!("kept, of {kept}");
    }
    format!("{state}{took}{attempts}{back}")
}

fn details(out: &mut String, visit: &Visit, indent: &str, style: Style) {
    if visit.attempts.len() > 1 {
        for attempt in &visit.attempts {
            show_attempt(out, attempt, indent, style);
        }
    }
    if let Some(error) = &visit.error {
        let _ = writeln!(out, "{indent}{}", style.paint(31, &reason(error)));
        let logs = visit.attempts.last().map_or(&[][..], |attempt| &attempt.logs);
        for line in logs.iter().skip(logs.len().saturating_sub(LOG_LINES_SHOWN)) {
            let _ = writeln!(out, "{indent}{}", style.paint(90, &format!("| {}", line.text)));
        }
    }
    match &visit.wait {
        Some(Wait::Timer { due }) if visit.ended.is_none() => {
            let _ = writeln!(out, "{indent}waits until {}", rfc3339(*due));
        }
        Some(Wait::SubFlow { workflow_id, .. }) => {
            let _ = writeln!(out, "{indent}see reflux show {workflow_id}");
        }
        // Approvals and signals stand below, with the command that answers them.
        Some(Wait::Timer { .. } | Wait::Signal { .. } | Wait::Approval { .. }) | None => {}
    }
    if let Some(to) = visit.led_to.as_ref().filter(|to| !to.is_empty()) {
        let _ = writeln!(out, "{indent}{}", style.paint(90, &format!("→ {}", to.join(", "))));
    }
}

fn show_attempt(out: &mut String, attempt: &Attempt, indent: &str, style: Style) {
    let took = length(attempt.ended.unwrap_or(style.now).since(attempt.started));
    let outcome = attempt.outcome.map_or("is at work", |outcome| match outcome {
        "timed_out" => "ran out of time",
        "worker_lost" => "was lost with its process",
        other => other,
    });
    let _ = write!(out, "{indent}attempt {} {outcome}, {took}", attempt.number);
    if let Some(error) = &attempt.error {
        let _ = write!(out, ": {}", reason(error));
    }
    if let Some(next) = attempt.next_attempt {
        let wait = next.since(attempt.ended.unwrap_or(next));
        let _ = write!(out, "; again after {}", length(wait));
    }
    out.push('\n');
}

fn tail(out: &mut String, story: &Story, style: Style) {
    if let Some(output) = &story.output {
        let _ = writeln!(out, "  output  {}", short(output));
    }
    if let Some(error) = &story.error {
        let what = if story.handled_failure { "handled" } else { "because" };
        let _ = writeln!(out, "  {what} {}", style.paint(31, &reason(error)));
    }
    if story.cancel_requested && story.closed.is_none() {
        let _ = writeln!(out, "  it was asked to stop and waits for what is under way");
    }
    if story.waits_for.is_empty() {
        if story.status == "failed" {
            let _ = writeln!(
                out,
                "  next    see every attempt: reflux history {} --attempts",
                story.run_id
            );
        }
        return;
    }
    let _ = writeln!(out, "  waits for");
    for wait in &story.waits_for {
        show_wait(out, wait, style);
    }
}

fn show_wait(out: &mut String, wait: &WaitsFor, style: Style) {
    let _ = writeln!(out, "    {}", wait.text);
    if let Some(command) = &wait.command {
        let _ = writeln!(out, "      {}", style.paint(36, command));
    }
}

/// `Http.Status: the server answered 503`.
pub(crate) fn reason(error: &Value) -> String {
    let text = |name: &str| error.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let step = text("step").map(|step| format!("`{step}`: ")).unwrap_or_default();
    match (text("kind"), text("message")) {
        (Some(kind), Some(message)) => format!("{step}{kind}: {message}"),
        (None, Some(message)) => format!("{step}{message}"),
        (Some(kind), None) => format!("{step}{kind}"),
        (None, None) => short(error),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// JSON that fits a line.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(JSON_CHARS_MAX) {
        Some((at, _)) => {
            format!("{}… ({} characters)", text.get(..at).unwrap_or_default(), text.chars().count())
        }
        None => text,
    }
}
