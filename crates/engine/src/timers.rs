//! When runs have to be woken. Only the near window is in memory; the rest are rows in the store,
//! so a sleeping run costs no memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reflux_core::{RunKey, Timestamp};

/// How far ahead dues are kept in memory.
pub(crate) const WINDOW: Duration = Duration::from_secs(60); // short enough for memory, long enough to ask the store rarely

/// How many dues one look into the store takes up.
pub(crate) const LOOK_MAX: usize = 20_000; // some 2 MiB; more dues in a window shorten the window

/// The dues of one partition up to a horizon.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Timestamp, RunKey)>,
    by_run: BTreeMap<RunKey, Timestamp>,
    /// Every due before it is here.
    horizon: Timestamp,
    /// A look into the store is under way: it will move the horizon here, and needs the store to
    /// have every record up to this one.
    next_horizon: Option<(Timestamp, u64)>,
}

impl Timers {
    /// A run went on, and is due then or not at all: what was noted of it is over, because to wake
    /// a run for nothing may cost reading it from the store.
    pub fn went_on(&mut self, run: &RunKey, due: Option<Timestamp>) {
        let noted = self.by_run.get(run).copied();
        if noted == due {
            return;
        }
        if let Some(over) = noted {
            self.by_run.remove(run);
            self.due.remove(&(over, run.clone()));
        }
        if let Some(due) = due {
            self.note(due, run);
        }
    }

    /// Notes that a run is due; far ones are left to the store. An earlier note of the run stays: a
    /// row of the store may be older than it, and a wake that comes early finds nothing to do.
    pub fn note(&mut self, due: Timestamp, run: &RunKey) {
        if due >= self.next_horizon.map_or(self.horizon, |(horizon, _)| horizon) {
            return;
        }
        match self.by_run.get(run) {
            Some(earlier) if *earlier <= due => return,
            Some(earlier) => {
                self.due.remove(&(*earlier, run.clone()));
            }
            None => {}
        }
        self.by_run.insert(run.clone(), due);
        self.due.insert((due, run.clone()));
    }

    /// Takes the runs that are due, at most `limit`.
    pub fn take_due(&mut self, now: Timestamp, limit: usize) -> Vec<RunKey> {
        let mut runs = Vec::new();
        while runs.len() < limit {
            match self.due.first() {
                Some((due, _)) if *due <= now => {}
                _ => break,
            }
            if let Some((_, run)) = self.due.pop_first() {
                self.by_run.remove(&run);
                runs.push(run);
            }
        }
        runs
    }

    /// The first due.
    pub fn first(&self) -> Timestamp {
        self.due.first().map_or(Timestamp::MAX, |(due, _)| *due)
    }

    /// When to look again: the first due, or when the window gets short.
    pub fn next(&self) -> Timestamp {
        let look = match self.next_horizon {
            Some(_) => Timestamp::MAX,
            None => Timestamp(self.horizon.0.saturating_sub(half_window())),
        };
        self.first().min(look)
    }

    /// Begins a look into the store, if the window has got short: dues before the answer's
    /// horizon are kept from now on, so that none falls between the look and its answer.
    /// Dues of records after `durable` are noted here by themselves.
    pub fn begin_look(&mut self, now: Timestamp, durable: u64) {
        let short = self.horizon.0.saturating_sub(half_window()) <= now.0;
        if self.next_horizon.is_none() && short {
            self.next_horizon = Some((now.after(WINDOW), durable));
        }
    }

    /// The store's answer: its dues up to the horizon asked for, in order.
    pub fn end_look(&mut self, rows: Vec<(Timestamp, RunKey)>, complete: bool) {
        let asked = self.next_horizon.map_or(self.horizon, |(horizon, _)| horizon);
        let last = rows.last().map(|(due, _)| *due);
        for (due, run) in rows {
            self.note(due, &run);
        }
        self.horizon = if complete { asked } else { last.unwrap_or(asked) };
        self.next_horizon = None;
    }

    /// Up to where the store is to be asked, now that it has the records up to `materialised`.
    pub fn looking_for(&self, materialised: u64) -> Option<Timestamp> {
        self.next_horizon.filter(|(_, needed)| *needed <= materialised).map(|(horizon, _)| horizon)
    }
}

fn half_window() -> i64 {
    i64::try_from(WINDOW.as_nanos() / 2).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reflux_core::{RunId, RunKey, Timestamp};

    use super::{Timers, WINDOW};

    fn run(name: &str) -> RunKey {
        RunKey { namespace: Arc::from("n"), workflow_id: Arc::from(name), run_id: RunId::default() }
    }

    fn looked() -> Timers {
        let mut timers = Timers::default();
        timers.begin_look(Timestamp(1), 0);
        timers.end_look(Vec::new(), true);
        timers
    }

    #[test]
    fn a_due_run_is_taken_once_and_in_order() {
        let mut timers = looked();
        timers.note(Timestamp(20), &run("b"));
        timers.note(Timestamp(10), &run("a"));
        assert_eq!(timers.next(), Timestamp(10));
        assert_eq!(timers.take_due(Timestamp(9), 9), vec![]);
        assert_eq!(timers.take_due(Timestamp(20), 9), vec![run("a"), run("b")]);
        assert_eq!(timers.take_due(Timestamp(20), 9), vec![]);
    }

    #[test]
    fn an_earlier_due_replaces_a_later_one() {
        let mut timers = looked();
        timers.note(Timestamp(20), &run("a"));
        timers.note(Timestamp(10), &run("a"));
        timers.note(Timestamp(15), &run("a"));
        assert_eq!(timers.take_due(Timestamp(30), 9), vec![run("a")]);
        assert_eq!(timers.take_due(Timestamp(30), 9), vec![]);
    }

    #[test]
    fn a_run_that_went_on_is_woken_only_for_what_it_waits_for_now() {
        let mut timers = looked();
        timers.went_on(&run("a"), Some(Timestamp(10)));
        timers.went_on(&run("b"), Some(Timestamp(10)));
        timers.went_on(&run("c"), Some(Timestamp(10)));
        timers.went_on(&run("a"), Some(Timestamp(20)));
        timers.went_on(&run("b"), None);
        assert_eq!(timers.take_due(Timestamp(15), 9), vec![run("c")]);
        assert_eq!(timers.take_due(Timestamp(30), 9), vec![run("a")]);
    }

    #[test]
    fn a_row_that_is_older_than_a_note_makes_no_wake_late() {
        let mut timers = Timers::default();
        timers.begin_look(Timestamp(1), 0);
        timers.went_on(&run("a"), Some(Timestamp(40)));
        timers.end_look(vec![(Timestamp(50), run("a"))], true);
        assert_eq!(timers.take_due(Timestamp(45), 9), vec![run("a")]);
    }

    #[test]
    fn a_far_due_is_left_to_the_store() {
        let mut timers = looked();
        let far = Timestamp(1).after(WINDOW * 2);
        timers.note(far, &run("a"));
        assert_eq!(timers.take_due(far, 9), vec![]);
    }

    #[test]
    fn a_due_that_comes_while_the_store_is_asked_is_kept() {
        let mut timers = Timers::default();
        timers.begin_look(Timestamp(1), 0);
        timers.note(Timestamp(50), &run("a"));
        timers.end_look(vec![(Timestamp(40), run("b"))], true);
        assert_eq!(timers.take_due(Timestamp(60), 9), vec![run("b"), run("a")]);
    }

    #[test]
    fn a_look_waits_until_the_store_has_what_was_durable_when_it_began() {
        let mut timers = Timers::default();
        timers.begin_look(Timestamp(1), 7);
        assert_eq!(timers.looking_for(6), None);
        assert_eq!(timers.looking_for(7), Some(Timestamp(1).after(WINDOW)));
    }

    #[test]
    fn a_look_that_was_cut_short_moves_the_horizon_only_as_far_as_it_saw() {
        let mut timers = Timers::default();
        timers.begin_look(Timestamp(1), 0);
        timers.end_look(vec![(Timestamp(40), run("b"))], false);
        timers.note(Timestamp(50), &run("a"));
        assert_eq!(timers.take_due(Timestamp(60), 9), vec![run("b")]);
        timers.begin_look(Timestamp(41), 0);
        assert!(timers.looking_for(0).is_some());
    }
}
