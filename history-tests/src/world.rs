//! One run and everything around it: clock, nodes, messages. Drives the deciders as the engine
//! does, and after every record compares the live run with what its items alone give.

use std::sync::Arc;
use std::time::Duration;

use reflux_core::{
    BootId, Command, Context, Draft, EffectClass, Event, EventId, HEADER_REDRIVE, Header, Item,
    Kind, Limits, Local, Payloads, Run, RunId, RunKey, Start, Suspend, Timestamp, Worker, apply,
    decide, json_payload,
};
use reflux_flow::advance::{CacheAsk, Cached};
use reflux_flow::alternatives::Wanted;
use reflux_flow::canonical::node_text;
use reflux_flow::graph::NodeRef;
use reflux_flow::progress::Origin;
use reflux_flow::schedule::{self, Subject};
use reflux_flow::{Advance, Bundle, Decider, NodePolicy, Policies, Steer, advance, payload};
use serde_json::Value;
use uuid::Uuid;

/// When every world begins: 2026-01-01T00:00:00Z.
pub const BEGIN: Timestamp = Timestamp(1_767_225_600_000_000_000);
/// Task queue of the worker inside the process.
pub const LOCAL: &str = "local";
/// Identity of that worker.
pub const HERE: &str = "here";
/// Bytes of a record after which a run goes on in the next one.
const RECORD_BYTES: usize = 128 * 1024;

/// What the items of a run give.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded {
    /// The state.
    pub run: Run,
    /// Who decides, and where that stands; `None` before it is started.
    pub decider: Option<Decider>,
}

/// A run with its surroundings.
pub struct World {
    /// The run as it was decided.
    pub live: Folded,
    /// The same from encoded items alone.
    pub twin: Folded,
    /// Everything that was appended.
    pub items: Vec<Item>,
    /// Clock, limits and the local worker.
    pub ctx: Context,
    /// Whether the process crashes after every record.
    pub forgetful: bool,
    /// Bytes of a record after which a run goes on in the next one.
    pub record_bytes: usize,
    bundle: Arc<Bundle>,
    boots: u128,
}

impl Folded {
    fn new() -> Self {
        Self { run: Run::new(key()), decider: None }
    }

    /// What encoded items give.
    ///
    /// # Panics
    /// When an item does not follow from those before it.
    pub fn of(items: &[Item], bundle: &Arc<Bundle>) -> Self {
        let mut folded = Self::new();
        for item in items {
            folded.absorb(item, bundle);
        }
        folded
    }

    fn absorb(&mut self, item: &Item, bundle: &Arc<Bundle>) {
        let item = &Item::decode(item.encode()).expect("an item reads as it was written");
        apply(&mut self.run, item).expect("an item follows from those before it");
        let Item::Event(event) = item else { return };
        if let Kind::Started(started) = &event.kind {
            let (workflow_type, header) = (&started.workflow_type, &started.header);
            self.decider = Decider::new(bundle.clone(), workflow_type, header, key()).ok();
        }
        let decider = self.decider.as_mut().expect("the bundle has the flow");
        decider.observe(event).expect("an event fits the flow");
    }
}

impl World {
    /// A world in which nothing has happened.
    pub fn new(bundle: Bundle) -> Self {
        let worker = Worker { identity: HERE.into(), boot: BootId(Uuid::from_u128(1)) };
        Self {
            live: Folded::new(),
            twin: Folded::new(),
            items: Vec::new(),
            ctx: Context {
                now: BEGIN,
                limits: Limits::default(),
                local: Local { queue: LOCAL.into(), worker },
                new_run_id: RunId(Uuid::from_u128(2)),
            },
            forgetful: false,
            record_bytes: RECORD_BYTES,
            bundle: Arc::new(bundle),
            boots: 1,
        }
    }

    /// Starts the run.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn start(&mut self, flow: &str, input: &Value) -> Result<(), String> {
        self.begin(flow, payload::of_value(input), payload::spec_header(digest_of(&self.bundle)))
    }

    /// Starts the run as a re-drive of another one.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn start_again(
        &mut self,
        flow: &str,
        input: &Value,
        redrive: &Value,
    ) -> Result<(), String> {
        let mut header = payload::spec_header(digest_of(&self.bundle));
        header.fields.insert(HEADER_REDRIVE.to_owned(), json_payload(redrive.to_string()));
        self.begin(flow, payload::of_value(input), header)
    }

    /// Starts the schedule of a trigger instead.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn start_schedule(&mut self, flow: &str, trigger: &str) -> Result<(), String> {
        let subject = Subject {
            namespace: "default".to_owned(),
            flow: flow.to_owned(),
            trigger: trigger.to_owned(),
        };
        let header = subject.header(digest_of(&self.bundle));
        self.begin(schedule::WORKFLOW_TYPE, Payloads::default(), header)
    }

    fn begin(&mut self, kind: &str, input: Payloads, header: Header) -> Result<(), String> {
        let decider = Decider::new(self.bundle.clone(), kind, &header, key());
        self.live.decider = Some(decider.map_err(|error| error.to_string())?);
        self.command(Command::Start(Box::new(Start {
            workflow_type: kind.into(),
            task_queue: LOCAL.into(),
            input,
            header,
            ..Start::default()
        })))
    }

    /// Decides a command and what follows from it, record by record.
    ///
    /// # Errors
    /// Why it was refused; nothing has changed then.
    ///
    /// # Panics
    /// When the flow's own decisions are refused, or when the items do not give the live run.
    pub fn command(&mut self, command: Command) -> Result<(), String> {
        let mut draft = self.draft();
        if let Err(rejection) = decide(&mut draft, &self.ctx, command) {
            assert!(
                draft.is_clean() && !draft.is_poisoned(),
                "a rejection left traces: {rejection}"
            );
            self.live.run = draft.into_parts().0;
            return Err(rejection.to_string());
        }
        while self.advance(draft) == Advance::More {
            draft = self.draft();
        }
        Ok(())
    }

    /// An operator asks something of the run.
    ///
    /// # Errors
    /// Why it was refused; nothing has changed then.
    ///
    /// # Panics
    /// When what follows from the wish is refused.
    pub fn steer(&mut self, steer: &Steer) -> Result<(), String> {
        let decider = self.live.decider.as_ref().expect("the run was started");
        let decisions =
            decider.steer(&self.live.run, steer, &Nodes).map_err(|refused| refused.to_string())?;
        let steer_command = Command::Steer { decisions, request_id: "".into() };
        self.command(steer_command).expect("what follows from a wish is taken");
        if matches!(steer, Steer::Step { .. }) && self.live.run.paused.is_some() {
            self.command(Command::Unpause(Suspend::default()))?;
        }
        Ok(())
    }

    /// The process ends and another one takes over.
    ///
    /// # Panics
    /// When recovery is refused.
    pub fn crash(&mut self) {
        self.boots += 1;
        self.ctx.local.worker.boot = BootId(Uuid::from_u128(self.boots));
        self.live = self.twin.clone();
        self.command(Command::Recover).expect("recovery is never refused");
    }

    /// Time passes; what is due happens at its time.
    ///
    /// # Panics
    /// When waking is refused.
    pub fn pass(&mut self, length: Duration) {
        let until = self.ctx.now.after(length);
        while let Some(due) = self.live.run.next_due().filter(|due| *due <= until) {
            self.ctx.now = self.ctx.now.max(due);
            self.command(Command::Wake).expect("waking is never refused");
        }
        self.ctx.now = until;
    }

    /// The latest schedule of that activity id, open or not.
    pub fn scheduled(&self, activity: &str) -> Option<EventId> {
        self.items.iter().rev().find_map(|item| match item {
            Item::Event(Event { id, kind: Kind::ActivityScheduled(what), .. }) => {
                (*what.activity_id == *activity).then_some(*id)
            }
            _ => None,
        })
    }

    /// The flows of this world.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    fn draft(&mut self) -> Draft {
        Draft::of(std::mem::replace(&mut self.live.run, Run::new(key())))
    }

    fn advance(&mut self, mut draft: Draft) -> Advance {
        let decider = self.live.decider.as_mut().expect("the run was started");
        let advanced = advance(&mut draft, decider, &self.ctx, &Nodes, &mut 0, self.record_bytes)
            .expect("the flow's decisions are taken");
        let (run, items) = draft.into_parts();
        self.live.run = run;
        for item in items {
            self.twin.absorb(&item, &self.bundle);
            self.items.push(item);
        }
        assert_eq!(self.twin.run, self.live.run, "the items give another run");
        assert!(self.twin.decider == self.live.decider, "the items give another progress");
        if self.forgetful {
            self.live = self.twin.clone();
        }
        advanced
    }
}

/// The version of every node.
const VERSION: &str = "1.0.0";

/// The nodes of every world: any name is known, except `missing.*`. `unsafe.*` must not run
/// twice, `remote.*` are served by a worker of its own, of `kept.*` another run had the
/// result. `x.strong` and `x.last` can do what `x.weak` does.
pub struct Nodes;

impl Policies for Nodes {
    fn policy(&self, node: &NodeRef, _: &Value) -> Option<NodePolicy> {
        let (family, _) = node.name.split_once('.').unwrap_or((&node.name, ""));
        let is_known =
            family != "missing" && node.version.as_deref().is_none_or(|it| it == VERSION);
        is_known.then(|| NodePolicy {
            version: VERSION.into(),
            task_queue: if family == "remote" { "remote" } else { LOCAL }.into(),
            retry: None,
            timeout: None,
            heartbeat: None,
            effects: if family == "unsafe" { EffectClass::Unsafe } else { EffectClass::Idempotent },
        })
    }

    fn alternatives(&self, wanted: &Wanted<'_>) -> Vec<String> {
        let (family, action) = wanted.node.name.split_once('.').unwrap_or_default();
        match wanted.among {
            None if action == "weak" => vec![format!("{family}.strong"), format!("{family}.last")],
            None => Vec::new(),
            Some(nodes) => {
                let known = nodes.iter().filter(|node| self.policy(node, &Value::Null).is_some());
                known.map(node_text).collect()
            }
        }
    }

    fn cached(&self, ask: &CacheAsk<'_>) -> Cached {
        match ask.is_sound() {
            true if ask.node.starts_with("kept.") => Cached::Found {
                output: serde_json::json!({ "price": 3 }),
                from: Origin {
                    run_id: RunId(Uuid::from_u128(0x019b_7660_0000_7000_8000_0000_0000_000c)),
                    event: 4,
                    activation: "ask".to_owned(),
                },
            },
            true => Cached::Call,
            false => Cached::Uncached,
        }
    }
}

/// The run of every world.
pub fn key() -> RunKey {
    RunKey {
        namespace: "default".into(),
        workflow_id: "w".into(),
        run_id: RunId(Uuid::from_u128(0x019b_7660_0000_7000_8000_0000_0000_0001)),
    }
}

fn digest_of(bundle: &Bundle) -> [u8; 32] {
    let hex = bundle.digest();
    std::array::from_fn(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).expect("hex"))
}
