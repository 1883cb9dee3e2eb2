//! The lines of the screen: steps left, events and what the selected one did right. Knows the
//! size, nothing of terminals.

use console::{measure_text_width, pad_str, truncate_str};
use reflux_flow::replay::{StateAt, StepAt};
use reflux_server::{Error, clock};

use super::view::View;

/// Smallest screen that is filled; a smaller one shows a part.
const ROWS_MIN: usize = 8;
const COLUMNS_MIN: usize = 40;
/// Widest column of steps.
const STEPS_COLUMNS_MAX: usize = 36;

const BOLD: &str = "\x1b[1m";
const REVERSE: &str = "\x1b[7m";
const PLAIN: &str = "\x1b[0m";

/// The lines of a screen of that size; also puts the selected event into sight.
///
/// # Errors
/// The record does not fit together.
pub fn draw(view: &mut View<'_>, rows: usize, columns: usize) -> Result<Vec<String>, Error> {
    let (rows, columns) = (rows.max(ROWS_MIN), columns.max(COLUMNS_MIN));
    let state = view.state()?;
    let change = view.change()?;
    let body = rows - 2;
    let events = body / 2;
    view.page = events.saturating_sub(1).max(1);
    if view.selected() < view.top {
        view.top = view.selected();
    } else if view.selected() >= view.top + events {
        view.top = view.selected() + 1 - events;
    }
    let left = (columns / 3).min(STEPS_COLUMNS_MAX);
    let right = columns - left - 3;
    let steps = steps(view, &state, body);
    let mut beside = event_lines(view, events);
    beside.push(Line::plain("─".repeat(right)));
    beside.extend(detail(view, &state, &change));

    let mut lines = vec![format!("{BOLD}{}{PLAIN}", cut(&heading(view, &state), columns))];
    for at in 0..body {
        let left_text = steps.get(at).map_or_else(|| " ".repeat(left), |line| line.fit(left));
        let right_text = beside.get(at).map_or_else(String::new, |line| line.fit(right));
        lines.push(format!("{left_text} │ {right_text}"));
    }
    lines.push(cut(&view.prompt(), columns));
    Ok(lines)
}

/// A line with whether it is selected.
struct Line {
    text: String,
    selected: bool,
}

impl Line {
    fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), selected: false }
    }

    fn fit(&self, columns: usize) -> String {
        let text = cut(&self.text, columns);
        let text = pad_str(&text, columns, console::Alignment::Left, None);
        if self.selected { format!("{REVERSE}{text}{PLAIN}") } else { text.into_owned() }
    }
}

fn heading(view: &View<'_>, state: &StateAt) -> String {
    let paused = state.paused.as_ref().map(|_| ", paused").unwrap_or_default();
    let revision = match state.revision {
        0 => String::new(),
        revision => format!("  revision {revision}"),
    };
    format!(
        "{}  event {}/{}  {}{paused}  {}{revision}",
        view.title(),
        state.event,
        view.timeline().rows().len(),
        state.status,
        state.time.get(..19).unwrap_or(&state.time)
    )
}

/// The steps around the selected one.
fn steps(view: &View<'_>, state: &StateAt, rows: usize) -> Vec<Line> {
    let selected = view.step().min(state.steps.len().saturating_sub(1));
    let top = (selected + 1).saturating_sub(rows);
    let lines = state.steps.iter().enumerate().skip(top).take(rows);
    lines.map(|(at, step)| Line { text: step_text(step), selected: at == selected }).collect()
}

fn step_text(step: &StepAt) -> String {
    let mark = match (step.phase, step.outcome) {
        ("running", _) => '▶',
        ("ready", _) => '◇',
        (_, Some("succeeded")) => '✓',
        (_, Some("failed")) => '✗',
        (_, Some(_)) => '↷',
        (_, None) => '·',
    };
    let visits = if step.visits > 1 { format!(" ×{}", step.visits) } else { String::new() };
    let items = step.items.map(|items| format!(" {}/{}", items.done, items.total));
    format!("{mark} {}{visits}{}", step.id, items.unwrap_or_default())
}

fn event_lines(view: &View<'_>, rows: usize) -> Vec<Line> {
    let all = view.timeline().rows();
    let mut lines: Vec<Line> = all
        .iter()
        .enumerate()
        .skip(view.top)
        .take(rows)
        .map(|(at, row)| {
            let of = row.activation.as_deref().map(|it| format!("  {it}")).unwrap_or_default();
            let name = row.facts.get("name").and_then(serde_json::Value::as_str);
            let name = name.map(|name| format!(" {name}")).unwrap_or_default();
            let kind = row.kind.trim_start_matches("WorkflowExecution");
            Line {
                text: format!("{:>5} {kind}{name}{of}", row.event),
                selected: at == view.selected(),
            }
        })
        .collect();
    lines.resize_with(rows, || Line::plain(""));
    lines
}

/// What the selected event did, what it says, and what the run waited for then.
fn detail(view: &View<'_>, state: &StateAt, change: &[String]) -> Vec<Line> {
    let mut lines: Vec<Line> = change.iter().map(Line::plain).collect();
    if change.is_empty() {
        lines.push(Line::plain("no step moved"));
    }
    if let Some(row) = view.timeline().rows().get(view.selected()) {
        lines.push(Line::plain(format!("at {}", clock::rfc3339(row.time))));
        lines
            .extend(row.facts.iter().map(|(name, value)| Line::plain(format!("{name} = {value}"))));
    }
    if let Some(step) = state.steps.get(view.step()) {
        let output = step.output.as_ref().or(step.error.as_ref());
        let output = output.map(|value| format!(" {value}")).unwrap_or_default();
        let outcome = step.outcome.unwrap_or("no result yet");
        lines.push(Line::plain(format!("step {}: {}, {outcome}{output}", step.id, step.phase)));
    }
    let open = &state.open;
    let waits = [
        ("calls", open.activities.len()),
        ("timers", open.timers.len()),
        ("sub-flows", open.children.len()),
        ("signals", open.signals.len()),
        ("approvals", open.approvals.len()),
    ];
    let waits: Vec<String> = waits
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if !waits.is_empty() {
        lines.push(Line::plain(format!("waits for {}", waits.join(", "))));
    }
    lines
}

/// A text without anything that moves a cursor, within that many columns.
fn cut(text: &str, columns: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { '·' } else { c }).collect();
    if measure_text_width(&text) <= columns {
        return text;
    }
    truncate_str(&text, columns, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_run_cannot_move_the_cursor() {
        assert_eq!(cut("a\x1b[2Jb\u{9b}c\n", 80), "a·[2Jb·c·");
        assert_eq!(measure_text_width(&cut(&"漢".repeat(60), 20)), 19);
        assert_eq!(cut("short", 10), "short");
    }
}
