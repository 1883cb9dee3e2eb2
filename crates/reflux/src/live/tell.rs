//! Says once, in a line, what has changed in a story.

use std::collections::BTreeSet;

use reflux_core::Timestamp;
use reflux_server::clock;
use reflux_server::story::{StepStatus, Story, Visit};
use serde_json::Value;

use super::bar::Bar;

/// Remembers what was said.
pub struct Teller {
    begun: BTreeSet<String>,
    failed: BTreeSet<(String, u32)>,
    ended: BTreeSet<String>,
    waits: BTreeSet<(Option<String>, &'static str)>,
}

impl Teller {
    /// Nothing was said yet.
    pub fn new() -> Self {
        Self {
            begun: BTreeSet::new(),
            failed: BTreeSet::new(),
            ended: BTreeSet::new(),
            waits: BTreeSet::new(),
        }
    }

    /// Says what is new.
    pub fn tell(&mut self, story: &Story, bar: &Bar<'_>) {
        let style = bar.style();
        let mut lines: Vec<(Timestamp, String)> = Vec::new();
        for step in &story.steps {
            for visit in &step.visits {
                // Of thousands of items only the failures are news.
                let quiet = visit.item.is_some();
                let name = &visit.activation;
                if !quiet && self.begun.insert(name.clone()) && visit.ended.is_none() {
                    let node = step.node.as_deref().unwrap_or_default();
                    lines.push((
                        visit.started,
                        format!("{} {name}  {node}", style.sign(StepStatus::Running)),
                    ));
                }
                self.attempts(visit, &mut lines);
                let Some(ended) = visit.ended else { continue };
                if (quiet && visit.error.is_none()) || !self.ended.insert(name.clone()) {
                    continue;
                }
                let took = clock::length(ended.since(visit.started));
                let line = match &visit.error {
                    None => format!("{} {name}  {took}", style.sign(StepStatus::Succeeded)),
                    Some(error) => format!(
                        "{} {name}  {took}  {}",
                        style.sign(StepStatus::Failed),
                        reason(error)
                    ),
                };
                lines.push((ended, line));
            }
            if step.status == StepStatus::Skipped && self.ended.insert(step.id.clone()) {
                let why = step.reason.as_deref().unwrap_or_default();
                lines.push((
                    story.started,
                    format!("{} {}  skipped: {why}", style.sign(StepStatus::Skipped), step.id),
                ));
            }
        }
        lines.sort_by_key(|(time, _)| *time);
        lines.iter().for_each(|(_, line)| bar.line(line));
        for wait in story.waits_for.iter().filter(|wait| wait.is_for_a_person()) {
            if self.waits.insert((wait.activation.clone(), wait.kind)) {
                bar.line(&format!("{} waits for {}", style.sign(StepStatus::Waiting), wait.text));
                if let Some(command) = &wait.command {
                    bar.line(&format!("    {command}"));
                }
            }
        }
    }

    fn attempts(&mut self, visit: &Visit, lines: &mut Vec<(Timestamp, String)>) {
        for attempt in &visit.attempts {
            let (Some(ended), Some(next), Some(error)) =
                (attempt.ended, attempt.next_attempt, &attempt.error)
            else {
                continue;
            };
            if self.failed.insert((visit.activation.clone(), attempt.number)) {
                let wait = clock::length(next.since(ended));
                let line = format!(
                    "  {}  attempt {}: {}; again in {wait}",
                    visit.activation,
                    attempt.number,
                    reason(error)
                );
                lines.push((ended, line));
            }
        }
    }
}

/// `Http.Status: the server answered 503`.
pub fn reason(error: &Value) -> String {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    match (text("kind"), text("message")) {
        ("", message) => message.to_owned(),
        (kind, message) => format!("{kind}: {message}"),
    }
}
