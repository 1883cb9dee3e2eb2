//! From a record to what follows from it: durable, then replied, acted upon and materialised; or not
//! in the log, then forgotten.

use std::time::Instant;

use bytes::Bytes;
use reflux_log::{Append, AppendError, Class, Done, Seq};
use reflux_proto::reflux::v1 as wire;
use reflux_store::{Changes, RunChange};

use super::decide::{Building, Decided};
use super::{FULL_PAUSE, Partition};
use crate::execution::{Execution, Step, effects_of};
use crate::mailbox::Internal;
use crate::request::{Ask, Lane};
use crate::{Error, effect, metrics, record};

/// Records after which a bundle is written again with the next run that uses it: well before the
/// store may collect it.
const SPEC_AGAIN_RECORDS: u64 = reflux_store::BLOB_GRACE_RECORDS / 2;

/// A record that is not durable yet.
pub(super) struct Commit {
    seq: Seq,
    /// As it was handed to the log.
    record: Bytes,
    lanes: Vec<Decided>,
    blobs: Vec<wire::Blob>,
}

impl Commit {
    /// How many lanes it holds.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn of_blobs(seq: Seq, record: Bytes, blobs: Vec<wire::Blob>) -> Self {
        Self { seq, record, lanes: Vec::new(), blobs }
    }
}

impl Partition {
    pub(super) fn append(&mut self, building: Building) {
        let class = if building.essential { Class::Essential } else { Class::Normal };
        let mut blobs = self.spec_blobs(&building.specs);
        blobs.extend(building.blobs.new);
        let parts = record::blob_parts(blobs);
        let (before, within) = record::split(parts, building.bytes);
        for parts in before {
            let record = record::encode(self.parts.id, self.now, std::iter::empty(), &parts);
            self.hand_over(record.clone(), class);
            self.in_flight.push_back(Commit::of_blobs(self.tail, record, parts));
        }
        let runs = building.lanes.iter().flat_map(|decided| &decided.changed);
        let record = record::encode(self.parts.id, self.now, runs, &within);
        self.hand_over(record.clone(), class);
        self.in_flight.push_back(Commit {
            seq: self.tail,
            record,
            lanes: building.lanes,
            blobs: within,
        });
    }

    /// The bundles of new runs that no recent record holds.
    fn spec_blobs(&mut self, digests: &[[u8; 32]]) -> Vec<([u8; 32], Bytes)> {
        let mut blobs = Vec::new();
        for digest in digests {
            let written = self.specs_written.get(digest);
            if written.is_some_and(|seq| self.tail.0 - seq.0 < SPEC_AGAIN_RECORDS) {
                continue;
            }
            self.specs_written.insert(*digest, self.tail);
            blobs.extend(self.parts.specs.bytes(digest).map(|bytes| (*digest, bytes)));
        }
        blobs
    }

    fn hand_over(&mut self, record: Bytes, class: Class) {
        let expected = self.tail;
        self.tail = expected.next();
        let to_self = self.parts.to_self.clone();
        let (began, bytes) = (Instant::now(), record.len());
        let done: Done = Box::new(move |result| {
            metrics::appended(began.elapsed(), bytes);
            to_self(Internal::Appended { expected, result });
        });
        let append =
            Append { partition: self.parts.id, epoch: self.epoch, expected, record, class };
        self.parts.log.append(append, done);
    }

    pub(super) fn appended(&mut self, expected: Seq, result: Result<Seq, AppendError>) {
        let Some(commit) = self.in_flight.pop_front() else { return };
        debug_assert_eq!(commit.seq, expected.next(), "appends come back in order");
        match result {
            Ok(_) => self.committed(commit),
            Err(AppendError::Unknown { .. }) => {
                self.failing = true;
                self.unresolved.push(commit);
            }
            Err(error) => self.not_appended(commit, &error),
        }
        if self.failing && self.in_flight.is_empty() {
            self.resolve_unknown();
        }
    }

    /// All appends under way have failed. A new epoch fences what may still be on its way; reading
    /// from the tail then tells which records the log has. A record of somebody else in their place
    /// means that the partition is lost: nobody is told anything about what was in flight.
    fn resolve_unknown(&mut self) {
        let unresolved = std::mem::take(&mut self.unresolved);
        if let Some(first) = unresolved.first() {
            let expected = Seq(first.seq.0.saturating_sub(1));
            let records: Vec<Bytes> =
                unresolved.iter().map(|commit| commit.record.clone()).collect();
            let resolved =
                match reflux_log::resolve(&*self.parts.log, self.parts.id, expected, &records) {
                    Ok(resolved) => resolved,
                    Err(reflux_log::Error::Foreign { .. }) => return self.fail(taken_over()),
                    Err(error) => return self.fail(error.into()),
                };
            self.epoch = resolved.lease.epoch;
            for (nth, commit) in unresolved.into_iter().enumerate() {
                if nth < resolved.committed {
                    self.committed(commit);
                } else {
                    self.forget(commit, &Error::Unavailable("the log did not answer".into()));
                }
            }
        }
        self.failing = false;
        self.tail = self.durable;
        self.specs_written.clear();
    }

    /// A record is durable: reply, act, and hand it on to the store.
    fn committed(&mut self, commit: Commit) {
        let seq = commit.seq;
        self.durable = seq;
        let mut changes = Changes { applied: seq.0, blobs: commit.blobs, ..Changes::default() };
        let mut lanes = Vec::with_capacity(commit.lanes.len());
        for mut decided in commit.lanes {
            decided.reply();
            for (execution, step) in decided.changed {
                self.went_on(execution, step, &mut changes);
            }
            decided.unchanged.into_iter().for_each(|execution| self.cache.put_back(execution));
            lanes.push(decided.lane);
        }
        (self.parts.materialise)(changes);
        self.release(&lanes);
    }

    /// A run went on, and that is durable.
    fn went_on(&mut self, mut execution: Execution, step: Step, changes: &mut Changes) {
        let summary = execution.summary(self.parts.retention);
        let counted = (!step.retires()).then(|| summary.counted());
        self.parts.ledger.note(&summary.key.namespace, step.previous.counted, counted);
        for verdict in &step.verdicts {
            self.parts.gates.ended(&summary.key.namespace, verdict, self.now);
        }
        execution.note_indexed(&summary);
        self.timers.went_on(&summary.key, summary.due);
        let key = summary.key.clone();
        if step.retires() {
            self.parts.results.retired(&key);
            changes.retired.push(key.clone());
        }
        let effects = effects_of(&execution, &step);
        if step.acknowledges() {
            effect::send_first(&self.parts, execution.run());
        }
        for command in effect::run(&self.parts, &execution, effects) {
            self.ask_own(&key, command);
        }
        step.asked.durable(&step.news.began);
        changes.cached.extend(step.news.results().cloned());
        self.parts.results.ended(&key, step.news);
        self.parts.queries.went_on(execution.run(), &self.parts.matching);
        changes.runs.push(RunChange {
            first_ordinal: step.first_ordinal,
            items: step.encoded,
            summary,
            previous: Some(step.previous),
        });
        self.parts.watches.tell(&key, step.items, &execution);
        if execution.has_more() {
            self.ask_for(&key, Ask::Advance { run_id: key.run_id });
        }
        if step.first_ordinal == 0 {
            // Said when it was decided too, but the store may have caught up with the run before.
            self.cache.set_current(&Lane::of(&key), key.run_id);
        }
        self.cache.put(execution, changes.applied);
    }

    fn not_appended(&mut self, commit: Commit, error: &AppendError) {
        if !self.failing {
            self.failing = true;
            tracing::warn!(partition = self.parts.id.0, %error, "a record was not appended");
        }
        let error = match error {
            AppendError::Full { .. } => {
                self.full_until = self.now.after(FULL_PAUSE);
                Error::Full
            }
            AppendError::Fenced { .. } => {
                self.fail(taken_over());
                Error::Stopping
            }
            AppendError::Unknown { .. } | AppendError::TooLarge { .. } => {
                Error::Unavailable(error.to_string())
            }
        };
        self.forget(commit, &error);
    }

    /// A record is not in the log: what it held is forgotten, its callers are told.
    fn forget(&mut self, commit: Commit, error: &Error) {
        let mut lanes = Vec::with_capacity(commit.lanes.len());
        for decided in commit.lanes {
            self.cache.forget(&decided.lane);
            for (execution, _) in decided.changed {
                self.stall(execution.run().key.clone());
            }
            for (reply, _) in decided.replies {
                reply(Err(error.clone()));
            }
            lanes.push(decided.lane);
        }
        self.release(&lanes);
    }

    fn release(&mut self, lanes: &[Lane]) {
        for lane in lanes {
            let Some(waiting) = self.lanes.get_mut(lane) else { continue };
            waiting.held = false;
            if waiting.requests.is_empty() {
                self.lanes.remove(lane);
            } else {
                self.ready.push_back(lane.clone());
            }
        }
    }
}

fn taken_over() -> Error {
    Error::Unavailable("another process has taken this partition over".into())
}
