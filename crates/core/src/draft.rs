//! A run with the items that are being decided: emitting applies at once.

use std::collections::BTreeMap;

use crate::{
    Delta, Effect, Event, EventId, Item, Kind, Rejection, Run, RunKey, Timestamp, WorkflowTask,
    apply, effects,
};

/// A run with the items decided since it was loaded. Owns the run: nothing is ever cloned.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    run: Run,
    items: Vec<Item>,
    bytes: usize,
    now: Timestamp,
    wakes: bool,
    fresh: bool,
    poisoned: bool,
}

impl Draft {
    /// A run that has no items yet.
    pub fn new(key: RunKey) -> Self {
        Self::of(Run::new(key))
    }

    /// A run as it was loaded or left.
    pub fn of(run: Run) -> Self {
        Self {
            run,
            items: Vec::new(),
            bytes: 0,
            now: Timestamp::default(),
            wakes: false,
            fresh: false,
            poisoned: false,
        }
    }

    /// The run with all items of the draft.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// What was decided, to be appended in this order as one entry.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// About how long the items are when they are encoded, payloads included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was decided.
    pub fn is_clean(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether a command failed after it had emitted: the run must be loaded again.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// The run and what was decided.
    pub fn into_parts(self) -> (Run, Vec<Item>) {
        (self.run, self.items)
    }

    /// What must be done once the items are durable.
    pub fn effects(&self) -> Vec<Effect> {
        self.items.iter().flat_map(|item| effects(&self.run, item)).collect()
    }

    pub(crate) fn begin(&mut self, now: Timestamp) {
        self.now = now;
        self.wakes = false;
        self.fresh = false;
    }

    pub(crate) fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Adds an event, or buffers it while the workflow task it must not overtake is started.
    /// Gives its number, 0 when it is buffered.
    pub(crate) fn emit_event(&mut self, kind: Kind) -> Result<EventId, Rejection> {
        self.wakes |= kind.wakes_decider();
        let holds =
            matches!(self.run.task, WorkflowTask::Started(_)) || !self.run.buffered.is_empty();
        if holds && kind.is_bufferable() {
            let event = Event { id: EventId(0), time: self.now, kind };
            self.emit_delta(Delta::Buffered(Box::new(event)))?;
            return Ok(EventId(0));
        }
        let id = self.run.next_event_id;
        self.emit(Item::Event(Event { id, time: self.now, kind }))?;
        self.fresh = true;
        Ok(id)
    }

    pub(crate) fn emit_delta(&mut self, delta: Delta) -> Result<(), Rejection> {
        self.emit(Item::Delta(delta))
    }

    /// Writes the buffered events, now that no task is started.
    pub(crate) fn flush(&mut self) -> Result<(), Rejection> {
        let mut started: BTreeMap<EventId, EventId> = BTreeMap::new();
        while let Some(waiting) = self.run.buffered.front() {
            let id = self.run.next_event_id;
            let mut event = Event { id, ..waiting.clone() };
            match &event.kind {
                Kind::ActivityStarted(begun) => {
                    started.insert(begun.scheduled, id);
                }
                Kind::ChildStarted(begun) => {
                    started.insert(begun.child.initiated, id);
                }
                _ => event.kind.number_start(&started),
            }
            self.wakes |= event.kind.wakes_decider();
            self.emit(Item::Event(event))?;
            self.fresh = true;
        }
        Ok(())
    }

    /// The decider must be asked.
    pub(crate) fn wake(&mut self) {
        self.wakes = true;
    }

    pub(crate) fn wakes(&self) -> bool {
        self.wakes
    }

    /// Whether this command wrote events that the decider has not seen.
    pub(crate) fn has_new_events(&self) -> bool {
        self.fresh
    }

    pub(crate) fn forget_new_events(&mut self) {
        self.fresh = false;
    }

    /// Items that were decided before the run was loaded.
    #[cfg(test)]
    pub(crate) fn adopt(&mut self, items: Vec<Item>) {
        self.items = items;
    }

    fn emit(&mut self, item: Item) -> Result<(), Rejection> {
        let before = self.run.history_bytes;
        apply(&mut self.run, &item)?;
        let event_bytes = self.run.history_bytes.saturating_sub(before);
        self.bytes += usize::try_from(event_bytes).unwrap_or(usize::MAX) + delta_bytes(&item);
        self.items.push(item);
        Ok(())
    }
}

/// About what a delta takes: names and numbers, and what an attempt or a worker told.
pub(crate) fn delta_bytes(item: &Item) -> usize {
    const NUMBERS: usize = 128;
    match item {
        Item::Event(_) => 0,
        Item::Delta(Delta::AttemptEnded(ended)) => {
            let lines = ended.report.iter().flat_map(|report| &report.logs);
            let logs: usize = lines.map(|line| line.text.len() + line.level.len() + 16).sum();
            NUMBERS + logs + ended.failure.as_deref().map_or(0, crate::failure_bytes)
        }
        Item::Delta(Delta::Heartbeat { details, .. }) => NUMBERS + crate::payloads_bytes(details),
        Item::Delta(_) => NUMBERS,
    }
}
