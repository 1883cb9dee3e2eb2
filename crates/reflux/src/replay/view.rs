//! What a reader has selected, and what a key does.

use console::Key;
use reflux_flow::replay::{StateAt, differences};
use reflux_server::Error;
use serde_json::{Map, Value, json};

use super::Timeline;

/// Longest text that is searched for.
const SEARCH_CHARS_MAX: usize = 200;

/// What a key leads to.
#[derive(Debug, PartialEq, Eq)]
pub enum After {
    /// More keys.
    Stay,
    /// The end.
    Leave,
}

/// What is selected.
pub struct View<'a> {
    timeline: Timeline<'a>,
    title: String,
    selected: usize,
    /// Index of the selected step.
    step: usize,
    /// First row of the list of events.
    pub(super) top: usize,
    /// Rows of a page: told by whoever draws.
    pub(super) page: usize,
    /// What is being typed behind `/`.
    typing: Option<String>,
    search: String,
    note: String,
}

impl<'a> View<'a> {
    /// The last event, of which most come.
    pub fn new(timeline: Timeline<'a>, title: &str) -> Self {
        let selected = timeline.rows().len().saturating_sub(1);
        Self {
            timeline,
            title: title.to_owned(),
            selected,
            step: 0,
            top: 0,
            page: 1,
            typing: None,
            search: String::new(),
            note: String::new(),
        }
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    pub(super) fn timeline(&self) -> &Timeline<'a> {
        &self.timeline
    }

    pub(super) fn selected(&self) -> usize {
        self.selected
    }

    pub(super) fn step(&self) -> usize {
        self.step
    }

    /// How the run stood at the selected event.
    pub(super) fn state(&mut self) -> Result<StateAt, Error> {
        self.timeline.state(self.selected)
    }

    /// What the selected event changed, one place in a line.
    pub(super) fn change(&mut self) -> Result<Vec<String>, Error> {
        let before = match self.selected.checked_sub(1) {
            Some(row) => comparable(&self.timeline.state(row)?),
            None => json!({}),
        };
        let after = comparable(&self.timeline.state(self.selected)?);
        let told = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
        Ok(differences(&before, &after)
            .iter()
            .map(|one| format!("{}: {} → {}", one.path, told(&one.recorded), told(&one.decided)))
            .collect())
    }

    /// The last line: what is typed, or what can be.
    pub(super) fn prompt(&self) -> String {
        match (&self.typing, self.note.as_str()) {
            (Some(text), _) => format!("/{text}"),
            (None, "") => {
                "↑↓ event  ←→ step  PgUp PgDn page  g G ends  / n N find  s step's next  q quit"
                    .to_owned()
            }
            (None, note) => note.to_owned(),
        }
    }

    /// Does what a key says.
    ///
    /// # Errors
    /// The record does not fit together.
    pub fn press(&mut self, key: &Key) -> Result<After, Error> {
        self.note.clear();
        if let Some(text) = &mut self.typing {
            match key {
                Key::Char(c) if text.chars().count() < SEARCH_CHARS_MAX => text.push(*c),
                Key::Backspace => drop(text.pop()),
                Key::Enter => {
                    self.search = self.typing.take().unwrap_or_default();
                    self.find(true);
                }
                Key::Escape | Key::CtrlC => self.typing = None,
                _ => {}
            }
            return Ok(After::Stay);
        }
        let last = self.timeline.rows().len().saturating_sub(1);
        match key {
            Key::Char('q') | Key::CtrlC | Key::Escape => return Ok(After::Leave),
            Key::ArrowUp | Key::Char('k') => self.selected = self.selected.saturating_sub(1),
            Key::ArrowDown | Key::Char('j') => self.selected = (self.selected + 1).min(last),
            Key::PageUp => self.selected = self.selected.saturating_sub(self.page),
            Key::PageDown => self.selected = (self.selected + self.page).min(last),
            Key::Char('g') | Key::Home => self.selected = 0,
            Key::Char('G') | Key::End => self.selected = last,
            Key::ArrowLeft => self.step = self.step.saturating_sub(1),
            Key::ArrowRight => {
                let steps = self.state()?.steps.len();
                self.step = (self.step + 1).min(steps.saturating_sub(1));
            }
            Key::Char('/') => self.typing = Some(String::new()),
            Key::Char('n') => self.find(true),
            Key::Char('N') => self.find(false),
            Key::Char('s') => self.next_of_step()?,
            _ => {}
        }
        Ok(After::Stay)
    }

    /// Goes to the next event, or the one before, that holds the text; round the end.
    fn find(&mut self, forwards: bool) {
        if self.search.is_empty() {
            self.note = "nothing is searched for: type / and a text".to_owned();
            return;
        }
        let wanted = self.search.to_lowercase();
        let rows = self.timeline.rows();
        let holds = |at: &usize| {
            rows.get(*at).is_some_and(|row| {
                let step = row.activation.as_deref().unwrap_or_default();
                row.kind.to_lowercase().contains(&wanted)
                    || step.to_lowercase().contains(&wanted)
                    || Value::Object(row.facts.clone()).to_string().to_lowercase().contains(&wanted)
            })
        };
        let behind = self.selected + 1..rows.len();
        let before = 0..self.selected;
        let found = if forwards {
            behind.chain(before).find(holds)
        } else {
            before.rev().chain(behind.rev()).find(holds)
        };
        match found {
            Some(at) => self.selected = at,
            None if holds(&self.selected) => self.note = "only here".to_owned(),
            None => self.note = format!("no event holds `{}`", self.search),
        }
    }

    fn next_of_step(&mut self) -> Result<(), Error> {
        let Some(step) = self.state()?.steps.get(self.step).map(|step| step.id.clone()) else {
            return Ok(());
        };
        let rows = self.timeline.rows().iter().enumerate().skip(self.selected + 1);
        let mut of_step = rows.filter(|(_, row)| row.step.as_ref() == Some(&step));
        match of_step.next() {
            Some((at, _)) => self.selected = at,
            None => self.note = format!("no later event of `{step}`"),
        }
        Ok(())
    }
}

/// A state in which steps have names instead of places.
fn comparable(state: &StateAt) -> Value {
    let steps: Map<String, Value> = state
        .steps
        .iter()
        .map(|step| (step.id.clone(), serde_json::to_value(step).unwrap_or_default()))
        .collect();
    json!({
        "status": state.status, "paused": state.paused, "revision": state.revision,
        "error": state.error, "steps": steps, "open": state.open,
    })
}
