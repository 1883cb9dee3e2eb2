//! A run while a record is decided, and what the record then does to it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reflux_core::{
    Command, Context, Delta, Draft, Effect, Event, Item, Kind, Message, Rejection, Run, Signal,
    Suspend, decide, effects,
};
use reflux_flow::schedule::SIGNAL_ADOPT;
use reflux_flow::{Advance, Decider, Policies, Steer, payload};
use reflux_proto::reflux::v1 as wire;
use reflux_store::Indexed;

use super::{Execution, digest_of, note_request, spec_digest};
use crate::judge::Judge;
use crate::ledger::Admission;
use crate::pace::Verdict;
use crate::recent::Recent;
use crate::results::{Asked, Calls, News, Oracle, Results};
use crate::specs::Specs;
use crate::{Error, codec, metrics};

/// Bytes of one run's items after which a record is closed and the run goes on in the next one:
/// well under the largest record, which also has to hold what one more decision adds.
const STEP_BYTES_MAX: usize = 128 * 1024;

/// Bytes of a step from which on short payloads are stored by digest too.
const TIGHT_BYTES: usize = 192 * 1024;

/// What a run went through in one record.
#[derive(Debug)]
pub(crate) struct Step {
    /// The items.
    pub items: Vec<Item>,
    /// As the log has them.
    pub wire: Vec<wire::Item>,
    /// As the store has them.
    pub encoded: Vec<Bytes>,
    /// How long those are.
    pub bytes: usize,
    /// Ordinal of the first.
    pub first_ordinal: u64,
    /// The index rows it had before.
    pub previous: Indexed,
    /// Which effects of the run are run again, besides those of the items.
    pub again: Again,
    /// The attempts that ended, as far as circuits are concerned.
    pub verdicts: Vec<Verdict>,
    /// The place that a new run holds until it counts: given back when this is dropped.
    pub _admission: Option<Admission>,
    /// What it asked of the results of other runs.
    pub asked: Asked,
    /// What became of its own calls.
    pub news: News,
}

/// Which effects of a run are run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Again {
    /// None.
    Nothing,
    /// Offers to workers.
    Offers,
    /// All: the first time after a boot.
    Everything,
}

impl Step {
    /// Whether a message was answered: the one behind it may go.
    pub fn acknowledges(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Delta(Delta::OutboxAcked { .. })))
    }

    /// Whether the run leaves the store with this step.
    pub fn retires(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Delta(Delta::Retired)))
    }
}

/// A run while a record is decided: its commands in order, all in one draft.
pub(crate) struct Deciding {
    draft: Draft,
    decider: Option<Decider>,
    items: u64,
    bytes: u64,
    indexed: Indexed,
    request_id: Arc<str>,
    recent: Recent,
    observed: usize,
    more: bool,
    poisoned: bool,
    again: Again,
    /// Where verdicts are noted, if anybody wants them.
    judge: Option<Judge>,
    admission: Option<Admission>,
    calls: Calls,
    asked: Asked,
}

impl Deciding {
    /// Takes up a run.
    pub fn of(execution: Execution, results: Arc<Results>) -> Self {
        let Execution { run, decider, items, bytes, indexed, more, request_id, recent, calls } =
            execution;
        Self {
            asked: Asked::by(run.key.clone(), results),
            calls,
            draft: Draft::of(run),
            decider,
            items,
            bytes,
            indexed,
            request_id,
            recent,
            observed: 0,
            more,
            poisoned: false,
            again: Again::Nothing,
            judge: None,
            admission: None,
        }
    }

    /// Notes how attempts end from now on.
    pub fn judge(&mut self) {
        self.judge = Some(Judge::default());
    }

    /// Holds a new run's place.
    pub fn admitted(&mut self, admission: Option<Admission>) {
        self.admission = admission;
    }

    /// The run as it would be.
    pub fn run(&self) -> &Run {
        self.draft.run()
    }

    /// Its calls that were under way and whose results other runs may take.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// How many items it has, those that are being decided included.
    pub fn items(&self) -> u64 {
        self.items + self.draft.items().len() as u64
    }

    /// Id of the request that started it; empty when it had none.
    pub fn request_id(&self) -> Arc<str> {
        let mut request_id = self.request_id.clone();
        self.draft.items().iter().for_each(|item| note_request(&mut request_id, item));
        request_id
    }

    /// Whether nothing was decided.
    pub fn is_clean(&self) -> bool {
        self.draft.items().is_empty()
    }

    /// Whether the run has to be forgotten and read again: a command failed half way.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Marks the run: these effects of its state are run again.
    pub fn again(&mut self, again: Again) {
        self.again = self.again.max(again);
    }

    /// The bundles that this draft is the first of the run to name.
    pub fn new_specs(&self) -> impl Iterator<Item = [u8; 32]> {
        self.draft.items().iter().filter_map(|item| {
            let Item::Event(Event { kind, .. }) = item else { return None };
            match kind {
                Kind::Started(started) => spec_digest(&started.header).ok().flatten(),
                kind => self.decider.as_ref()?.wants(kind).and_then(|spec| digest_of(spec).ok()),
            }
        })
    }

    /// Bytes of what was decided, estimated.
    pub fn size(&self) -> usize {
        self.draft.bytes()
    }

    /// Decides a command and what follows from it.
    ///
    /// # Errors
    /// The command is refused. If the run is then not poisoned, nothing has changed.
    pub fn command(
        &mut self,
        ctx: &Context,
        command: Command,
        nodes: &dyn Policies,
        specs: &Specs,
    ) -> Result<(), Error> {
        metrics::transition(&command);
        self.whole(|deciding| deciding.try_command(ctx, command, nodes, specs))
    }

    /// Decides what an operator asks of a flow's run, and what follows from it.
    ///
    /// # Errors
    /// It is refused. If the run is then not poisoned, nothing has changed.
    pub fn steer(
        &mut self,
        ctx: &Context,
        steer: &Steer,
        identity: Arc<str>,
        request_id: Arc<str>,
        nodes: &dyn Policies,
    ) -> Result<(), Error> {
        self.whole(|deciding| deciding.try_steer(ctx, steer, identity, request_id, nodes))
    }

    /// A change of which half has happened leaves the run to be read again.
    fn whole(&mut self, change: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let before = self.draft.items().len();
        let result = change(self);
        if result.is_err() && self.draft.items().len() > before {
            self.poisoned = true;
        }
        result
    }

    fn try_steer(
        &mut self,
        ctx: &Context,
        steer: &Steer,
        identity: Arc<str>,
        request_id: Arc<str>,
        nodes: &dyn Policies,
    ) -> Result<(), Error> {
        let run = self.draft.run();
        if !request_id.is_empty() && run.request_ids.contains(&request_id) {
            return Ok(());
        }
        let Some(decider) = &self.decider else {
            let text = "this run is code: only the steps of a flow can be changed";
            return Err(Error::Rejected(Rejection::Refused(text.into())));
        };
        let decisions = decider
            .steer(run, steer, nodes)
            .map_err(|refused| Error::Rejected(Rejection::Refused(refused.0.into())))?;
        let resumes = matches!(steer, Steer::Step { .. }) && run.paused.is_some();
        self.decide(ctx, Command::Steer { decisions, request_id })?;
        if resumes {
            let suspend = Suspend { identity, ..Suspend::default() };
            self.decide(ctx, Command::Unpause(suspend))?;
        }
        self.advance(ctx, nodes)
    }

    fn decide(&mut self, ctx: &Context, command: Command) -> Result<(), Error> {
        metrics::transition(&command);
        Ok(decide(&mut self.draft, ctx, command)?)
    }

    fn try_command(
        &mut self,
        ctx: &Context,
        command: Command,
        nodes: &dyn Policies,
        specs: &Specs,
    ) -> Result<(), Error> {
        if let Command::Start(start) = &command
            && let Some(digest) = spec_digest(&start.header)?
        {
            let bundle = specs.get(digest, || Ok(None))?;
            let key = self.draft.run().key.clone();
            let decider = Decider::new(bundle, &start.workflow_type, &start.header, key);
            self.decider = Some(decider.map_err(|error| Error::Invalid(error.to_string()))?);
        }
        if let Some(decider) = self.decider.as_mut().filter(|decider| decider.schedule().is_some())
        {
            offer_adopted(decider, &command, specs)?;
        }
        let progress = self.decider.as_ref().and_then(Decider::progress);
        if let (Command::Signal(signal), Some(progress)) = (&command, progress)
            && !self.draft.run().request_ids.contains(&signal.request_id)
        {
            progress.admit(signal)?;
        }
        if let Some(judge) = &mut self.judge {
            judge.before(self.draft.run(), &command);
        }
        let before = self.draft.items().len();
        decide(&mut self.draft, ctx, command)?;
        if let Some(judge) = &mut self.judge {
            judge.after(self.draft.items().get(before..).unwrap_or_default());
        }
        self.advance(ctx, nodes)
    }

    /// Gives the run a signal that was recorded of another one: it counts as it is.
    ///
    /// # Errors
    /// The signal is refused.
    pub fn signal_again(
        &mut self,
        ctx: &Context,
        signal: Signal,
        nodes: &dyn Policies,
    ) -> Result<(), Error> {
        decide(&mut self.draft, ctx, Command::Signal(signal))?;
        self.advance(ctx, nodes)
    }

    /// Moves a flow run on as far as it goes.
    ///
    /// # Errors
    /// The flow's decision was refused.
    pub fn advance(&mut self, ctx: &Context, nodes: &dyn Policies) -> Result<(), Error> {
        let Some(decider) = &mut self.decider else { return Ok(()) };
        let oracle = Oracle::new(nodes, &mut self.asked, ctx.now);
        let advanced = reflux_flow::advance(
            &mut self.draft,
            decider,
            ctx,
            &oracle,
            &mut self.observed,
            STEP_BYTES_MAX,
        );
        match advanced {
            Ok(Advance::Waiting) => self.more = false,
            Ok(Advance::More) => self.more = true,
            Err(reflux_flow::AdvanceError::Refused(rejection)) => {
                return Err(Error::Rejected(rejection));
            }
            Err(reflux_flow::AdvanceError::Incoherent(error)) => {
                return Err(Error::Corrupt(format!("run {}: {error}", self.draft.run().key)));
            }
        }
        Ok(())
    }

    /// The run as it is now, and what is to be appended for it.
    pub fn finish(self, blobs: &mut codec::Blobs, scratch: &mut BytesMut) -> (Execution, Step) {
        let (run, items) = self.draft.into_parts();
        let mut encode = |inline_max| -> (Vec<wire::Item>, Vec<Bytes>) {
            items.iter().map(|item| codec::encode(item, inline_max, blobs, scratch)).unzip()
        };
        let length = |encoded: &[Bytes]| encoded.iter().map(Bytes::len).sum::<usize>();
        let (mut wire, mut encoded) = encode(codec::INLINE_BYTES_MAX);
        if length(&encoded) > TIGHT_BYTES {
            (wire, encoded) = encode(codec::INLINE_BYTES_TIGHT);
        }
        let bytes = length(&encoded);
        let mut request_id = self.request_id;
        items.iter().for_each(|item| note_request(&mut request_id, item));
        let mut recent = self.recent;
        // Nobody waits for the history of a run that decides by itself.
        if self.decider.is_none() {
            note_events(&mut recent, &items, &wire, &encoded);
        }
        let (mut calls, mut news) = (self.calls, News::default());
        for (item, ordinal) in items.iter().zip(self.items..) {
            calls.note(&run, item, ordinal, &mut news);
        }
        let execution = Execution {
            run,
            decider: self.decider,
            items: self.items + items.len() as u64,
            bytes: self.bytes + bytes as u64,
            indexed: self.indexed.clone(),
            more: self.more,
            request_id,
            recent,
            calls,
        };
        let step = Step {
            items,
            wire,
            encoded,
            bytes,
            first_ordinal: self.items,
            previous: self.indexed,
            again: self.again,
            verdicts: self.judge.map(Judge::verdicts).unwrap_or_default(),
            _admission: self.admission,
            asked: self.asked,
            news,
        };
        (execution, step)
    }
}

/// What has to happen now that this step is durable.
pub(crate) fn effects_of(execution: &Execution, step: &Step) -> Vec<Effect> {
    let mut all: Vec<Effect> =
        step.items.iter().flat_map(|item| effects(execution.run(), item)).collect();
    let is_wanted = |effect: &Effect| match step.again {
        Again::Nothing => false,
        Again::Offers => matches!(effect, Effect::Offer { .. } | Effect::OfferTask { .. }),
        Again::Everything => true,
    };
    if step.again != Again::Nothing {
        all.extend(execution.run().effects().into_iter().filter(is_wanted));
    }
    all
}

/// Those whose payloads are elsewhere are left to the store.
fn note_events(recent: &mut Recent, items: &[Item], wire: &[wire::Item], encoded: &[Bytes]) {
    for ((item, wire), stored) in items.iter().zip(wire).zip(encoded) {
        if let (Item::Event(event), Some(bytes)) = (item, Item::event_bytes(wire))
            && !codec::may_refer(stored)
        {
            recent.push(event.id, bytes);
        }
    }
}

/// A signal that brings a schedule another bundle comes with it, so only from outside.
fn offer_adopted(decider: &mut Decider, command: &Command, specs: &Specs) -> Result<(), Error> {
    match command {
        Command::Signal(signal) if &*signal.name == SIGNAL_ADOPT => {
            let Some(spec) = payload::spec_of(&signal.header) else {
                return Err(Error::Invalid("the signal names no bundle in its header".into()));
            };
            decider.offer(spec, specs.get(digest_of(spec)?, || Ok(None))?);
            Ok(())
        }
        Command::Deliver { message: Message::Signal { signal, .. }, .. }
            if &*signal.name == SIGNAL_ADOPT =>
        {
            Err(Error::Invalid("a schedule takes another bundle only from a deployment".into()))
        }
        _ => Ok(()),
    }
}
