//! Random flows in a random world: results, failures, duplicates, delays, crashes. Whatever
//! happens, the items give the live run, nothing is ever stuck, nothing completes twice.
//!
//! `SEED=n cargo test -p history-tests --test random` plays one seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod dice;
mod flows;
mod steering;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use dice::Dice;
use history_tests::world::{Folded, World, key};
use reflux_core::{
    AttemptRef, Child, Command, Ending, Event, EventId, Item, Kind, Message, Phase, RequestCancel,
    Resolution, RetryState, RunKey, Signal, Status, Suspend, Waiting, Worker, application_failure,
};
use reflux_flow::progress::{APPROVAL_SIGNAL, Phase as StepPhase};
use reflux_flow::replay::verify;
use reflux_flow::{Decider, payload};
use serde_json::{Value, json};

/// Runs that are tried; each seed is one.
const SEEDS: u64 = 10_000;
/// Acts of the outside in which it does what it likes; then it answers everything.
const WILD: usize = 30;
/// Acts in which a run whose every question is answered must have closed.
const TAME: usize = 2_000;

#[test]
fn whatever_happens_a_run_replays_and_never_is_stuck() {
    let one = std::env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
    let seeds = one.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let (mut events, mut changes) = (0, 0);
    for seed in seeds.clone() {
        let played = catch_unwind(AssertUnwindSafe(|| Play::of(seed).until_closed()));
        let play = played.unwrap_or_else(|_| {
            panic!("play it again: SEED={seed} cargo test -p history-tests --test random")
        });
        events += play.world.live.run.history_events();
        changes += play.changes;
    }
    // Otherwise the test would prove little.
    assert!(one.is_some() || events > SEEDS * 12, "only {events} events");
    assert!(one.is_some() || changes > SEEDS / 3, "only {changes} changes of graphs");
}

struct Play {
    dice: Dice,
    world: World,
    checked: usize,
    scheduled: BTreeSet<String>,
    ended: BTreeSet<EventId>,
    /// Activity ids whose result counted or was lost with their step.
    completed: BTreeSet<String>,
    /// Steps that were changed or are gone.
    changed: BTreeSet<String>,
    open: BTreeMap<EventId, String>,
    taken: u64,
    /// Whether an operator changes this run.
    steers: bool,
    changes: u64,
}

impl Play {
    fn of(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let steers = dice.one_in(2);
        // A change is held to what every flow is held to, so it fits only a flow that is right.
        let bundle = if steers { flows::valid(&mut dice) } else { flows::random(&mut dice) };
        let mut world = World::new(bundle);
        world.forgetful = dice.one_in(2);
        if dice.one_in(3) {
            world.record_bytes = 1;
        }
        let input = json!({ "flag": dice.one_in(2), "list": flows::list(&mut dice) });
        world.start("main", &input).expect("the run starts");
        Self {
            dice,
            world,
            checked: 0,
            scheduled: BTreeSet::new(),
            ended: BTreeSet::new(),
            completed: BTreeSet::new(),
            changed: BTreeSet::new(),
            open: BTreeMap::new(),
            taken: 0,
            steers,
            changes: 0,
        }
    }

    fn until_closed(mut self) -> Self {
        self.check();
        for _ in 0..WILD {
            self.wild();
            self.check();
            if self.steers && self.dice.one_in(3) {
                self.steer();
                self.check();
            }
        }
        self.check_verified();
        for _ in 0..TAME {
            if !self.world.live.run.is_open() {
                self.check_closed();
                self.check_verified();
                return self;
            }
            self.tame();
            self.check();
        }
        panic!("never closes: {:?}", self.world.live.run.waits_for());
    }

    /// Deciding the record again gives the record.
    fn check_verified(&self) {
        let bundle = self.world.bundle();
        let verified = verify(key(), &self.world.items, &|_| Some(bundle.clone())).unwrap();
        assert_eq!(verified.divergence, None);
    }

    /// The outside does what it likes.
    fn wild(&mut self) {
        let refused = match self.dice.roll(20) {
            0..=6 => self.answer(),
            7..=9 => {
                let seconds = self.dice.roll(15);
                self.world.pass(Duration::from_secs(seconds));
                Ok(())
            }
            10 => self.again(),
            11 | 12 => {
                self.world.crash();
                Ok(())
            }
            13 | 14 => self.signal(),
            15 => self.outbox(),
            16 if self.dice.one_in(6) => {
                self.world.command(Command::RequestCancel(RequestCancel::default()))
            }
            17 if self.dice.one_in(3) => self.world.command(Command::Pause(Suspend::default())),
            18 | 19 => self.world.command(Command::Unpause(Suspend::default())),
            _ => self.child_closes().and_then(|()| self.hands()),
        };
        let _ = refused;
    }

    /// The outside answers what the run waits for.
    fn tame(&mut self) {
        if self.world.live.run.paused.is_some() {
            let _ = self.world.command(Command::Unpause(Suspend::default()));
        }
        let waits = self.world.live.run.waits_for();
        for wait in waits {
            let _ = match wait {
                Waiting::Attempt { .. } => self.answer(),
                Waiting::Retry { due, .. } | Waiting::Timer { due, .. } => {
                    self.world.pass(due.since(self.world.ctx.now));
                    Ok(())
                }
                Waiting::Delivery { .. } => self.outbox(),
                Waiting::Child { .. } => self.child_closes(),
                Waiting::Worker { scheduled, .. } => self.claim(scheduled),
                Waiting::Resolution { scheduled } => self.resolve(scheduled),
                Waiting::Task { .. }
                | Waiting::Beginning { .. }
                | Waiting::Resume
                | Waiting::Message => Ok(()),
            };
        }
        let _ = self.signal();
    }

    /// A worker takes what waits, a person looks at what was lost.
    fn hands(&mut self) -> Result<(), String> {
        let open: Vec<EventId> = self.world.live.run.activities.keys().copied().collect();
        let Some(scheduled) = self.dice.pick(&open) else { return Ok(()) };
        if self.dice.one_in(2) { self.claim(scheduled) } else { self.resolve(scheduled) }
    }

    fn claim(&mut self, scheduled: EventId) -> Result<(), String> {
        let worker = Worker::remote("there");
        self.world.command(Command::ClaimActivity { scheduled, worker })
    }

    fn resolve(&mut self, scheduled: EventId) -> Result<(), String> {
        let resolution = match self.dice.roll(3) {
            0 => Resolution::Retry,
            1 => Resolution::Complete(payload::of_value(&json!({ "n": 0 }))),
            _ => Resolution::Fail(application_failure("no", "Lost", true).into()),
        };
        let identity = "ann".into();
        self.world.command(Command::Resolve { scheduled, resolution, identity })
    }

    /// A running attempt gives a result or fails.
    fn answer(&mut self) -> Result<(), String> {
        let activities = self.world.live.run.activities.values();
        let running: Vec<AttemptRef> = activities
            .filter(|activity| matches!(activity.phase, Phase::Started { .. }))
            .map(|a| AttemptRef { scheduled: a.scheduled, attempt: a.attempt, started_at: None })
            .collect();
        let Some(at) = self.dice.pick(&running) else { return Ok(()) };
        self.world.command(match self.dice.roll(16) {
            0 | 1 => Command::FailActivity {
                at,
                failure: application_failure("no", "E", self.dice.one_in(3)).into(),
                next_retry_delay: None,
                report: None,
            },
            2 => Command::TimeOutActivity { at, report: None },
            3 if self.is_asked_to_end(at.scheduled) => {
                Command::CancelActivity { at, details: Default::default(), report: None }
            }
            _ => {
                let result = payload::of_value(&flows::output(&mut self.dice));
                Command::CompleteActivity { at, result, report: None }
            }
        })
    }

    fn is_asked_to_end(&self, scheduled: EventId) -> bool {
        let activity = self.world.live.run.activities.get(&scheduled);
        activity.is_some_and(|activity| activity.cancel_requested.is_some())
    }

    /// A result comes a second time, or too late.
    fn again(&mut self) -> Result<(), String> {
        let ended: Vec<EventId> = self.ended.iter().copied().collect();
        let Some(scheduled) = self.dice.pick(&ended) else { return Ok(()) };
        let at = AttemptRef { scheduled, attempt: 1, started_at: None };
        let result = payload::of_value(&Value::Null);
        let again = self.world.command(Command::CompleteActivity { at, result, report: None });
        assert!(again.is_err(), "activity {scheduled} was completed twice");
        again
    }

    fn signal(&mut self) -> Result<(), String> {
        let progress =
            self.world.live.decider.as_ref().and_then(Decider::progress).expect("started");
        let mut names: Vec<(String, Value)> =
            progress.awaited_signals().map(|name| (name.to_owned(), json!(1))).collect();
        names.extend(progress.approvals().map(|step| {
            (APPROVAL_SIGNAL.to_owned(), json!({ "step": step, "approved": true, "by": "x" }))
        }));
        if self.dice.one_in(4) {
            names.push(("go".to_owned(), json!("early")));
            names.push((APPROVAL_SIGNAL.to_owned(), json!({ "approved": false })));
        }
        let Some((name, value)) = self.dice.pick(&names) else { return Ok(()) };
        let input = payload::of_value(&value);
        self.world.command(Command::Signal(Signal {
            name: name.as_str().into(),
            input,
            ..Signal::default()
        }))
    }

    fn outbox(&mut self) -> Result<(), String> {
        let first = self.world.live.run.outbox.keys().next().copied();
        first.map_or(Ok(()), |seq| self.world.command(Command::AckOutbox { seq }))
    }

    fn child_closes(&mut self) -> Result<(), String> {
        let children: Vec<Child> = self.world.live.run.children.values().cloned().collect();
        let Some(child) = self.dice.pick(&children) else { return Ok(()) };
        let run = RunKey {
            namespace: child.what.namespace.clone(),
            workflow_id: child.what.workflow_id.clone(),
            run_id: child.run_id,
        };
        let ending = match self.dice.roll(5) {
            0 => Ending::Failed {
                failure: application_failure("no", "Child", true).into(),
                retry_state: RetryState::RetryPolicyNotSet,
            },
            1 => Ending::Canceled(Default::default()),
            _ => Ending::Completed(payload::of_value(&json!({ "n": 1 }))),
        };
        let message = Message::ChildClosed {
            initiated: child.initiated,
            first_run: child.run_id,
            run: run.clone(),
            ending,
        };
        self.taken += 1;
        self.world.command(Command::Deliver { source: run, seq: self.taken, message })
    }

    /// A run that completes leaves nothing half done.
    fn check_closed(&self) {
        let Folded { run, decider } = &self.world.live;
        let progress = decider.as_ref().and_then(Decider::progress);
        let steps = progress.expect("started").steps();
        let open: Vec<_> = steps
            .filter(|(_, state)| matches!(state.phase, StepPhase::Ready | StepPhase::Running))
            .map(|(step, _)| step.id.as_str())
            .collect();
        assert!(run.status != Status::Completed || open.is_empty(), "left behind: {open:?}");
    }

    /// What always holds. That the items give the live run, the world checks itself.
    fn check(&mut self) {
        for item in &self.world.items[self.checked..] {
            let Item::Event(Event { id, kind, .. }) = item else { continue };
            match kind {
                Kind::ActivityScheduled(what) => {
                    let undoes = what.activity_id.ends_with(".compensate");
                    let first = self.scheduled.insert(what.activity_id.to_string());
                    let step = what.activity_id.split(['#', '[', '/']).next().unwrap_or_default();
                    let again = undoes || self.changed.contains(step);
                    assert!(first || again, "{} is started twice", what.activity_id);
                    let over = self.completed.contains(&*what.activity_id);
                    assert!(undoes || !over, "{} has ended and is started again", what.activity_id);
                    self.open.insert(*id, what.activity_id.to_string());
                }
                Kind::ActivityCompleted(e) => {
                    assert!(self.ended.insert(e.scheduled));
                    self.completed.extend(self.open.remove(&e.scheduled));
                }
                Kind::Marker(marker) if &*marker.name == "reflux.mutation" => {
                    self.changed.extend(steering::changed(marker));
                }
                Kind::ActivityFailed(e) => assert!(self.ended.insert(e.scheduled)),
                Kind::ActivityTimedOut(e) => assert!(self.ended.insert(e.scheduled)),
                Kind::ActivityCanceled(e) => assert!(self.ended.insert(e.scheduled)),
                _ => {}
            }
        }
        self.checked = self.world.items.len();
        let Folded { run, decider } = &self.world.live;
        let progress = decider.as_ref().and_then(Decider::progress).expect("started");
        if !run.is_open() {
            return;
        }
        let waits = run.waits_for();
        let for_somebody =
            progress.awaited_signals().next().is_some() || progress.approvals().next().is_some();
        assert!(waits != [Waiting::Message] || for_somebody, "stuck: it waits for nothing");
        assert!(
            run.paused.is_some() || !progress.has_agenda(),
            "stuck: something is to be decided"
        );
        for (step, state) in progress.steps() {
            // A change may lower a bound that was used up.
            let allowed = progress.revision() > 0 || state.visits <= step.max_visits.max(1);
            assert!(allowed, "{} is visited too often", step.id);
        }
    }
}
