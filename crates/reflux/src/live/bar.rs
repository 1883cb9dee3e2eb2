//! Lines above, and on a terminal the steps that are under way beneath them.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reflux_server::clock;
use reflux_server::story::{StepStatus, Story, Style};

use crate::out::Out;

/// Steps that are listed at once; a terminal has some 24 lines.
const STEPS_SHOWN_MAX: usize = 8;

/// The display of a run.
pub struct Bar<'a> {
    out: &'a Out,
    bar: Option<ProgressBar>,
    story: Option<Story>,
}

impl<'a> Bar<'a> {
    /// A display on stderr.
    pub fn new(out: &'a Out) -> Self {
        use std::io::IsTerminal as _;
        let bar = (std::io::stderr().is_terminal() && !out.is_json()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { out, bar, story: None }
    }

    /// How lines are written.
    pub fn style(&self) -> Style {
        self.out.style_err()
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => self.out.note(text),
        }
    }

    /// The run as it is now.
    pub fn set(&mut self, story: Story) {
        if self.bar.is_some() {
            self.story = Some(story);
        }
    }

    /// Shows how long things take.
    pub fn tick(&self) {
        let (Some(bar), Some(story)) = (&self.bar, &self.story) else { return };
        let now = clock::now();
        let over = story.steps.iter().filter(|step| step.status.is_over()).count();
        let mut lines = vec![format!(
            "{}/{} steps, {}",
            over,
            story.steps.len(),
            clock::length(now.since(story.started))
        )];
        let under_way = story
            .steps
            .iter()
            .filter(|step| matches!(step.status, StepStatus::Running | StepStatus::Waiting));
        for step in under_way.take(STEPS_SHOWN_MAX) {
            let visit = step.visits.iter().rev().find(|visit| visit.ended.is_none());
            let since = visit.map_or(story.started, |visit| visit.started);
            let attempt = visit.map_or(0, |visit| visit.attempts.len());
            let attempt = if attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            let items =
                step.items.map_or_else(String::new, |(done, all)| format!("  {done}/{all} items"));
            lines.push(format!(
                "  {}  {}{attempt}{items}",
                step.id,
                clock::length(now.since(since))
            ));
        }
        bar.set_message(lines.join("\n"));
        bar.tick();
    }

    /// Takes the display away; the lines stay.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
