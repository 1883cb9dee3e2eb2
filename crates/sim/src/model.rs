//! What the log says, read from outside the engine: the truth that replies and calls are held
//! against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message as _;
use reflux_core::{
    AttemptOutcome, Delta, Event, EventId, Item, Kind, Payloads, Run, RunId, RunKey, Timestamp,
    apply,
};
use reflux_log::{Bytes, Log, PartitionId, Seq};
use reflux_proto::reflux::v1 as wire;

use crate::client::START;
use crate::process::PARTITIONS;

/// Everything durable.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) runs: BTreeMap<RunKey, Facts>,
    /// The run that each request started.
    pub(crate) started: BTreeMap<Arc<str>, RunKey>,
    tails: BTreeMap<u32, Seq>,
    records: blake3::Hasher,
}

/// What is durable of one run.
pub(crate) struct Facts {
    pub(crate) run: Run,
    pub(crate) started: u32,
    /// How often each request's signal was taken in.
    pub(crate) signals: BTreeMap<Arc<str>, u32>,
    pub(crate) cancels: u32,
    pub(crate) terminated: bool,
    /// Attempts that began.
    pub(crate) attempts: BTreeSet<(EventId, u32)>,
    /// How attempts ended.
    pub(crate) ended: BTreeMap<(EventId, u32), AttemptOutcome>,
    /// Activities that are over.
    pub(crate) over: BTreeSet<EventId>,
    /// Activities that gave a result.
    pub(crate) completed: BTreeSet<EventId>,
    pub(crate) result: Option<Payloads>,
    /// Of all items, as they are in the log.
    items: blake3::Hasher,
    last_event: EventId,
    children: BTreeMap<EventId, [u32; 2]>,
}

impl Model {
    /// Reads what became durable. A broken promise is an error.
    pub(crate) fn catch_up(&mut self, log: &dyn Log) -> Result<(), String> {
        for partition in 0..PARTITIONS {
            let id = PartitionId(partition);
            let known = self.tails.get(&partition).copied().unwrap_or_default();
            let tail = log.tail(id).map_err(|error| error.to_string())?;
            if tail < known {
                return Err(format!(
                    "partition {id}: record {known} was durable, the tail is {tail}"
                ));
            }
            if tail == known {
                continue;
            }
            let records =
                log.read(id, known.next(), usize::MAX).map_err(|error| error.to_string())?;
            for (seq, record) in records {
                self.record(seq, record).map_err(|what| format!("record {id}/{seq}: {what}"))?;
                self.tails.insert(partition, seq);
            }
        }
        Ok(())
    }

    /// A hash of all records, in the order in which they became durable.
    pub(crate) fn hash(&self) -> [u8; 32] {
        *self.records.finalize().as_bytes()
    }

    pub(crate) fn run(&self, key: &RunKey) -> Option<&Facts> {
        self.runs.get(key)
    }

    /// The first moment at which some run has something to do by itself. In a paused run that
    /// may have to wait.
    pub(crate) fn next_due(&self) -> Option<(Timestamp, &RunKey)> {
        let goes = |facts: &Facts| facts.run.is_open() && facts.run.paused.is_none();
        let open = self.runs.iter().filter(|(_, facts)| goes(facts));
        open.filter_map(|(key, facts)| Some((facts.run.next_due()?, key))).min()
    }

    fn record(&mut self, seq: Seq, record: Bytes) -> Result<(), String> {
        self.records.update(&seq.0.to_le_bytes());
        self.records.update(&record);
        let record = wire::Record::decode(record).map_err(|error| error.to_string())?;
        for entry in record.entries {
            let entity = entry.entity.ok_or("an entry without an entity")?;
            let run_id = uuid::Uuid::from_slice(&entity.run_id).map_err(|e| e.to_string())?;
            let key = RunKey {
                namespace: entity.namespace.into(),
                workflow_id: entity.workflow_id.into(),
                run_id: RunId(run_id),
            };
            for item in entry.items {
                let encoded = item.encode_to_vec();
                let item = Item::decode(item).map_err(|error| error.to_string())?;
                self.item(&key, &item, &encoded).map_err(|what| format!("run {key}: {what}"))?;
            }
        }
        Ok(())
    }

    fn item(&mut self, key: &RunKey, item: &Item, encoded: &[u8]) -> Result<(), String> {
        let facts = self.runs.entry(key.clone()).or_insert_with(|| Facts::of(key));
        facts.items.update(encoded);
        apply(&mut facts.run, item).map_err(|error| error.to_string())?;
        match item {
            Item::Event(event) => facts.event(event),
            Item::Delta(Delta::Requested { request_id }) if request_id.starts_with(START) => {
                // What has left is forgotten: the request is a new one.
                let left = |other: &RunKey| self.runs.get(other).is_some_and(|it| it.run.retired);
                match self.started.insert(request_id.clone(), key.clone()) {
                    Some(other) if !left(&other) => {
                        Err(format!("request {request_id} had started {other}"))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            Item::Delta(delta) => facts.delta(delta),
        }
    }
}

impl Facts {
    fn of(key: &RunKey) -> Self {
        Self {
            run: Run::new(key.clone()),
            started: 0,
            signals: BTreeMap::new(),
            cancels: 0,
            terminated: false,
            attempts: BTreeSet::new(),
            ended: BTreeMap::new(),
            over: BTreeSet::new(),
            completed: BTreeSet::new(),
            result: None,
            items: blake3::Hasher::new(),
            last_event: EventId(0),
            children: BTreeMap::new(),
        }
    }

    /// BLAKE3 over the items that must be kept: none once the run has left.
    pub(crate) fn items_hash(&self) -> [u8; 32] {
        match self.run.retired {
            true => *blake3::Hasher::new().finalize().as_bytes(),
            false => *self.items.finalize().as_bytes(),
        }
    }

    /// How many attempts of an activity began.
    pub(crate) fn attempts_of(&self, scheduled: EventId) -> usize {
        self.attempts.range((scheduled, 0)..=(scheduled, u32::MAX)).count()
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        if event.id != self.last_event.next() {
            return Err(format!("event {} follows event {}", event.id, self.last_event));
        }
        self.last_event = event.id;
        match &event.kind {
            Kind::Started(_) => self.started += 1,
            Kind::Signaled(it) => *self.signals.entry(it.request_id.clone()).or_default() += 1,
            Kind::CancelRequested(_) => self.cancels += 1,
            Kind::Terminated(_) => self.terminated = true,
            Kind::Completed(it) => self.result = Some(it.result.clone()),
            Kind::ActivityCompleted(it) => {
                self.completed.insert(it.scheduled);
                self.end(it.scheduled)?;
            }
            Kind::ActivityFailed(it) => self.end(it.scheduled)?,
            Kind::ActivityTimedOut(it) => self.end(it.scheduled)?,
            Kind::ActivityCanceled(it) => self.end(it.scheduled)?,
            Kind::ChildStarted(it) => self.child(it.child.initiated, 0)?,
            Kind::ChildCompleted(it) => self.child(it.child.initiated, 1)?,
            Kind::ChildFailed(it) => self.child(it.child.initiated, 1)?,
            Kind::ChildCanceled(it) => self.child(it.child.initiated, 1)?,
            Kind::ChildTerminated(it) => self.child(it.child.initiated, 1)?,
            _ => {}
        }
        if self.started != 1 { Err("it started twice, or not at all".into()) } else { Ok(()) }
    }

    fn delta(&mut self, delta: &Delta) -> Result<(), String> {
        match delta {
            Delta::AttemptStarted(it) => {
                if self.over.contains(&it.scheduled) {
                    return Err(format!("activity {} began again after its end", it.scheduled));
                }
                if !self.attempts.insert((it.scheduled, it.attempt)) {
                    return Err(format!("attempt {} of {} began twice", it.attempt, it.scheduled));
                }
            }
            Delta::AttemptEnded(it) => {
                let before = self.ended.insert((it.scheduled, it.attempt), it.outcome);
                before.map_or(Ok(()), |_| {
                    Err(format!("attempt {} of {} ended twice", it.attempt, it.scheduled))
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, scheduled: EventId) -> Result<(), String> {
        let first = self.over.insert(scheduled);
        first.then_some(()).ok_or_else(|| format!("activity {scheduled} ended twice"))
    }

    fn child(&mut self, initiated: EventId, nth: usize) -> Result<(), String> {
        let counts = self.children.entry(initiated).or_default();
        if let Some(count) = counts.get_mut(nth) {
            *count += 1;
            if *count > 1 {
                return Err(format!("child {initiated} began or ended twice"));
            }
        }
        Ok(())
    }
}
