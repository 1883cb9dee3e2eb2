//! What a re-drive would do: the new run is decided as far as it goes without anything being
//! called, and the decisions are read. Nothing is appended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reflux_core::{
    Command, Context, Draft, EffectClass, Event, Item, Kind, Payloads, Run, RunKey, Signal, Start,
    decide,
};
use serde::Serialize;
use serde_json::Value;

use super::base::{Base, Past, PastWork};
use super::{Redrive, Refused, input_digest};
use crate::advance::{Policies, advance};
use crate::decider::Decider;
use crate::graph::{Action, Bundle, Flow, Step};
use crate::payload;
use crate::progress::{Activation, Mark, Phase, Progress, ReuseKind};

/// What becomes of an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its result is taken over.
    Kept,
    /// It is done.
    Runs,
    /// It has a result, which is taken over if what runs before it gives the same as before.
    Depends,
    /// It is done, and the base's definition did not have it.
    New,
    /// The base did it, and the definition no longer has it.
    Orphaned,
}

impl Verdict {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Runs => "runs",
            Self::Depends => "depends",
            Self::New => "new",
            Self::Orphaned => "orphaned",
        }
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The activation; the step where it is not known yet.
    pub activation: String,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why, for people.
    pub reason: String,
    /// What calling it could do: `pure`, `reads`, `idempotent`, `unsafe`; empty when nothing is
    /// called.
    pub effects: String,
    /// What the node is given so that it can tell a repetition; empty while the input is not known.
    pub idempotency_key: String,
    /// Whether it was called before, and calling it again needs somebody's consent.
    pub needs_consent: bool,
}

/// What a re-drive would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// A line for every activation, in the order of the run; then what it would not come to.
    pub rows: Vec<Row>,
    /// Signals that are given again.
    pub signals: usize,
    /// Steps with unsafe effects that may be called again and for which there is no consent.
    pub unconsented: Vec<String>,
}

/// The new run, before it is one.
pub struct Dry<'a> {
    /// Its key.
    pub key: RunKey,
    /// How it starts.
    pub start: &'a Start,
    /// What it is given again.
    pub signals: &'a [Signal],
    /// Its definition.
    pub bundle: Arc<Bundle>,
    /// How nodes are called.
    pub nodes: &'a dyn Policies,
    /// Time and limits.
    pub ctx: &'a Context,
    /// The idempotency key of an activation with that input.
    pub idempotency_key: &'a dyn Fn(&Run, &str, &Payloads) -> String,
}

impl Plan {
    /// How many rows have that verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// Works out what the new run would do.
    ///
    /// # Errors
    /// The start would be refused.
    pub fn of(base: &Base, dry: &Dry<'_>) -> Result<Self, Refused> {
        let refused = |error: &dyn std::fmt::Display| Refused::new(error.to_string());
        let redrive = Redrive::of_header(&dry.start.header)
            .and_then(Result::ok)
            .ok_or_else(|| Refused::new("the start is no re-drive"))?;
        let workflow_type = &dry.start.workflow_type;
        let header = &dry.start.header;
        let decider = Decider::new(dry.bundle.clone(), workflow_type, header, dry.key.clone());
        let mut decider = decider.map_err(|error| refused(&error))?;
        let mut draft = Draft::new(dry.key.clone());
        decide(&mut draft, dry.ctx, Command::Start(Box::new(dry.start.clone())))
            .map_err(|error| refused(&error))?;
        for signal in dry.signals {
            decide(&mut draft, dry.ctx, Command::Signal(signal.clone()))
                .map_err(|error| refused(&error))?;
        }
        advance(&mut draft, &mut decider, dry.ctx, dry.nodes, &mut 0, usize::MAX)
            .map_err(|error| refused(&error))?;
        let Some(progress) = decider.progress() else {
            return Err(Refused::new("a schedule is not re-driven; change its trigger instead"));
        };
        let events = draft.items().iter().filter_map(|item| match item {
            Item::Event(event) => Some(event),
            Item::Delta(_) => None,
        });
        let mut planning = Planning {
            base,
            dry,
            redrive: &redrive,
            before: by_activation(base),
            rows: Vec::new(),
            taken: BTreeSet::new(),
        };
        events.for_each(|event| planning.decided(draft.run(), event));
        planning.unreached(progress);
        planning.orphaned(progress);
        let mut plan =
            Self { rows: planning.rows, signals: dry.signals.len(), unconsented: Vec::new() };
        plan.unconsented = plan.unconsented(&redrive.allow_unsafe);
        Ok(plan)
    }

    /// Takes up a sub-run that is re-driven: what may be called in it again.
    pub fn add_child(&mut self, id: &str, child: &Base, allowed: &[String]) {
        let called =
            |past: &&Past| matches!(past.work, PastWork::Node { .. } | PastWork::Flow { .. });
        for past in child.again().filter(called) {
            let activation = format!("{id}/{}", past.id);
            let mut row =
                row(&activation, Verdict::Runs, "it did not end well in the sub-run".to_owned());
            let effects = effects_of(past);
            row.effects = effects_text(effects);
            row.needs_consent = effects == Some(EffectClass::Unsafe);
            self.rows.push(row);
        }
        self.unconsented = self.unconsented(allowed);
    }

    fn unconsented(&self, allowed: &[String]) -> Vec<String> {
        let steps =
            self.rows.iter().filter(|row| row.needs_consent).map(|row| step_of(&row.activation));
        let open: BTreeSet<String> = steps.filter(|step| !allowed.contains(step)).collect();
        open.into_iter().collect()
    }
}

struct Planning<'a> {
    base: &'a Base,
    dry: &'a Dry<'a>,
    redrive: &'a Redrive,
    before: BTreeMap<&'a str, &'a Past>,
    rows: Vec<Row>,
    /// Activations of the base whose results are taken over.
    taken: BTreeSet<String>,
}

impl Planning<'_> {
    /// A row for an event that begins an activation.
    fn decided(&mut self, run: &Run, event: &Event) {
        match &event.kind {
            Kind::ActivityScheduled(it) => {
                let mut row = self.runs(&it.activity_id, it.effects, || {
                    let version = payload::node_version(&it.header);
                    (Some((it.activity_type.clone(), version)), input_digest(&it.input))
                });
                row.idempotency_key = (self.dry.idempotency_key)(run, &it.activity_id, &it.input);
                self.rows.push(row);
            }
            Kind::ChildInitiated(it) => {
                let id = it.workflow_id.get(self.dry.key.workflow_id.len() + 1..);
                let id = id.unwrap_or_default().to_owned();
                let effects = self.flow_effects(&it.workflow_type);
                let mut row = self.runs(&id, effects, || (None, input_digest(&it.input)));
                if self.redrive.memo.children.contains_key(&id) {
                    row.reason = format!("{}; the sub-run is re-driven", row.reason);
                    // What may be called again in it is asked for by its own steps.
                    row.needs_consent = false;
                }
                self.rows.push(row);
            }
            Kind::TimerStarted(it) => {
                let left =
                    self.redrive.memo.timers.iter().any(|left| left.activation == *it.timer_id);
                let reason = if left { "waits for what is left of its time" } else { "waits" };
                self.rows.push(row(&it.timer_id, Verdict::Runs, reason.to_owned()));
            }
            Kind::Marker(marker) => match Mark::read(&marker.name, payload::marker_json(marker)) {
                Ok(Some(Mark::Reuse(reuse))) => {
                    let mut row = row(&reuse.activation, Verdict::Kept, String::new());
                    row.reason = match (&reuse.kind, &reuse.from) {
                        (ReuseKind::Override, _) => "its output was given".to_owned(),
                        (ReuseKind::Reuse, Some(from)) => {
                            self.taken.insert(from.activation.clone());
                            format!(
                                "same work as `{}` of the base, event {}",
                                from.activation, from.event
                            )
                        }
                        (ReuseKind::Reuse, None) => "same work as in the base".to_owned(),
                        (ReuseKind::Cache, _) => "another run made the same call".to_owned(),
                    };
                    row.effects = effects_text(
                        self.before.get(&*reuse.activation).and_then(|past| effects_of(past)),
                    );
                    self.rows.push(row);
                }
                Ok(Some(Mark::Wait(wait))) => {
                    self.rows.retain(|row| row.activation != wait.activation);
                    let what = wait
                        .signal
                        .map_or("an approval".to_owned(), |name| format!("signal `{name}`"));
                    self.rows.push(row(
                        &wait.activation,
                        Verdict::Runs,
                        format!("waits for {what}"),
                    ));
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// A row for an activation whose work is done: why its result is not taken over.
    fn runs(
        &self,
        id: &str,
        effects: Option<EffectClass>,
        now: impl FnOnce() -> (Option<(Arc<str>, Arc<str>)>, [u8; 32]),
    ) -> Row {
        let step = step_of(id);
        let is_new = self.base.progress.step(&step).is_none() && !step.contains('/');
        let mut row = row(id, if is_new { Verdict::New } else { Verdict::Runs }, String::new());
        row.effects = effects_text(effects);
        let before = self.before.get(id);
        row.needs_consent = effects == Some(EffectClass::Unsafe) && before.is_some();
        row.reason = match before {
            None if is_new => "the base's definition does not have it".to_owned(),
            None => "the base did not come to it".to_owned(),
            Some(_) if self.redrive.memo.forced.contains(id) => {
                format!("asked for: {}", self.redrive.scope)
            }
            Some(past) => why_again(past, now()),
        };
        row
    }

    /// Steps that the new run has not come to.
    fn unreached(&mut self, progress: &Progress) {
        let has_row: BTreeSet<String> =
            self.rows.iter().map(|row| step_of(&row.activation)).collect();
        for (step, state) in progress.steps() {
            let id = step.id.as_str();
            let is_over = state.phase == Phase::Ended || step.action == Action::Pass;
            if has_row.contains(id) || is_over {
                continue;
            }
            let before = self.base.past.iter().rfind(|past| past.activation.step == step.id);
            let mut row = row(id, Verdict::Runs, "the base did not come to it".to_owned());
            if let Some(past) = before {
                let is_kept =
                    self.redrive.memo.results.iter().any(|kept| step_of(&kept.activation) == id);
                row.verdict = if is_kept { Verdict::Depends } else { Verdict::Runs };
                row.reason = match (is_kept, self.redrive.memo.forced.contains(&past.id)) {
                    (true, _) => "kept if what runs before it gives the same".to_owned(),
                    (false, true) => format!("asked for: {}", self.redrive.scope),
                    (false, false) => "it did not end well in the base".to_owned(),
                };
            } else if self.base.progress.step(id).is_none() {
                row.verdict = Verdict::New;
                row.reason = "the base's definition does not have it".to_owned();
            }
            let effects = self.step_effects(step);
            row.effects = effects_text(effects);
            row.needs_consent = before.is_some() && effects == Some(EffectClass::Unsafe);
            self.rows.push(row);
        }
    }

    /// What the base did and the definition no longer has.
    fn orphaned(&mut self, progress: &Progress) {
        for past in &self.base.past {
            let step = past.activation.step.as_str();
            let is_spawned = step.contains('/');
            if progress.step(step).is_some() || is_spawned || self.taken.contains(&past.id) {
                continue;
            }
            let reason = "the definition no longer has it; its result is not used".to_owned();
            let mut row = row(&past.id, Verdict::Orphaned, reason);
            row.effects = effects_text(effects_of(past));
            self.rows.push(row);
        }
    }

    fn step_effects(&self, step: &Step) -> Option<EffectClass> {
        match &step.action {
            Action::Node { node, with } => {
                Some(self.dry.nodes.policy(node, &with.to_value())?.effects)
            }
            Action::Flow { flow, .. } => self.flow_effects(flow),
            Action::Wait(_) | Action::Pass => None,
        }
    }

    /// The worst that a call of a flow could do.
    fn flow_effects(&self, name: &str) -> Option<EffectClass> {
        let mut seen = BTreeSet::new();
        let mut next = vec![name.to_owned()];
        let mut worst = None;
        while let Some(name) = next.pop() {
            let Some(flow) = self.dry.bundle.flows.get(&name) else { continue };
            if !seen.insert(name) {
                continue;
            }
            worst = worst.max(self.own_effects(flow));
            next.extend(flow.steps.iter().filter_map(|step| match &step.action {
                Action::Flow { flow, .. } => Some(flow.clone()),
                _ => None,
            }));
        }
        worst
    }

    fn own_effects(&self, flow: &Flow) -> Option<EffectClass> {
        let nodes = flow.steps.iter().filter_map(|step| match &step.action {
            Action::Node { node, with } => self.dry.nodes.policy(node, &with.to_value()),
            _ => None,
        });
        nodes.map(|policy| policy.effects).max()
    }
}

/// What is called now: the node and its version, if it is one, and the digest of the input.
type Call = (Option<(Arc<str>, Arc<str>)>, [u8; 32]);

fn why_again(past: &Past, now: Call) -> String {
    match &past.result {
        None => return "it had not ended in the base".to_owned(),
        Some(Err(error)) => {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("it was stopped");
            return format!("it failed in the base: {message}");
        }
        Some(Ok(_)) => {}
    }
    match (&past.work, now) {
        (PastWork::Node { name, .. }, (Some((node, _)), _)) if *name != node => {
            format!("it called `{name}` before and calls `{node}` now")
        }
        (PastWork::Node { version, .. }, (Some((_, next)), _)) if *version != next => {
            format!("its node had version {version} and has {next} now")
        }
        (PastWork::Node { input, .. } | PastWork::Flow { input, .. }, (_, next))
            if *input != next =>
        {
            "its input is another than before".to_owned()
        }
        _ => "the way to it is another than before".to_owned(),
    }
}

fn row(activation: &str, verdict: Verdict, reason: String) -> Row {
    Row {
        activation: activation.to_owned(),
        verdict,
        reason,
        effects: String::new(),
        idempotency_key: String::new(),
        needs_consent: false,
    }
}

fn by_activation(base: &Base) -> BTreeMap<&str, &Past> {
    base.past.iter().map(|past| (past.id.as_str(), past)).collect()
}

fn effects_of(past: &Past) -> Option<EffectClass> {
    match past.work {
        PastWork::Node { effects, .. } => effects,
        _ => None,
    }
}

fn effects_text(effects: Option<EffectClass>) -> String {
    effects.map_or("", EffectClass::as_str).to_owned()
}

fn step_of(activation: &str) -> String {
    Activation::parse(activation).map_or_else(|| activation.to_owned(), |it| it.step.to_string())
}
