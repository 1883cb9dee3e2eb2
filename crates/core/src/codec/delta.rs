//! The domain delta as our own wire's `Delta`, and back.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;
use reflux_proto::reflux::v1 as wire;
use reflux_proto::reflux::v1::delta::Delta as D;
use reflux_proto::reflux::v1::entity_id::Kind as EntityKind;
use uuid::Uuid;

use super::{Malformed, append};
use crate::{
    AttemptEnded, AttemptStarted, BootId, Delta, Event, EventId, Failure, Payloads, RunId, RunKey,
    Timestamp, TransientTask, Worker,
};

impl Delta {
    /// As it is logged; encoded parts share the allocations of `scratch`.
    pub fn encode_with(&self, scratch: &mut BytesMut) -> wire::Delta {
        let delta = match self {
            Self::AttemptStarted(e) => D::AttemptStarted(wire::AttemptStarted {
                scheduled_event_id: e.scheduled.0,
                attempt: e.attempt,
                worker: Some(wire::Worker {
                    identity: e.worker.identity.to_string(),
                    boot: if e.worker.is_local() {
                        Bytes::copy_from_slice(e.worker.boot.0.as_bytes())
                    } else {
                        Bytes::new()
                    },
                }),
                time: e.time.0,
            }),
            Self::AttemptEnded(e) => D::AttemptEnded(wire::AttemptEnded {
                scheduled_event_id: e.scheduled.0,
                attempt: e.attempt,
                outcome: e.outcome.into(),
                started: e.started.0,
                ended: e.ended.0,
                failure: e.failure.as_deref().map(|f| append(f, scratch)).unwrap_or_default(),
                next_attempt: e.next_attempt.map_or(0, |due| due.0),
                report: e.report.as_deref().cloned(),
                uncounted: e.uncounted,
            }),
            Self::AttemptDue { scheduled, attempt } => D::AttemptDue(wire::AttemptDue {
                scheduled_event_id: scheduled.0,
                attempt: *attempt,
            }),
            Self::Heartbeat { scheduled, attempt, time, details } => {
                D::Heartbeat(wire::Heartbeat {
                    scheduled_event_id: scheduled.0,
                    attempt: *attempt,
                    time: time.0,
                    details: append(details, scratch),
                })
            }
            Self::InboxMark { source, seq } => {
                D::InboxMark(wire::InboxMark { source: Some(source.to_proto()), seq: *seq })
            }
            Self::OutboxAcked { seq } => D::OutboxAcked(wire::OutboxAcked { seq: *seq }),
            Self::Unclaimed { scheduled, attempt } => {
                D::Unclaimed(wire::Unclaimed { scheduled_event_id: scheduled.0, attempt: *attempt })
            }
            Self::Buffered(event) => {
                D::Buffered(wire::Buffered { event: event.encode_with(scratch) })
            }
            Self::TransientTask(e) => D::TransientTask(wire::TransientTask {
                state: e.state.into(),
                attempt: e.attempt,
                time: e.time.0,
                identity: e.identity.to_string(),
                request_id: e.request_id.to_string(),
            }),
            Self::Requested { request_id } => {
                D::Requested(wire::Requested { request_id: request_id.to_string() })
            }
            Self::Sticky { task_queue, schedule_to_start } => D::Sticky(wire::Sticky {
                task_queue: task_queue.to_string(),
                schedule_to_start: i64::try_from(schedule_to_start.as_nanos()).unwrap_or(i64::MAX),
            }),
            Self::Retired => D::Retired(wire::Retired {}),
        };
        wire::Delta { delta: Some(delta) }
    }

    /// Reads what [`Delta::encode_with`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] when it is damaged or a delta this version does not know.
    pub fn decode(delta: wire::Delta) -> Result<Self, Malformed> {
        let delta = delta
            .delta
            .ok_or_else(|| Malformed::new("delta", "is of a type this version does not know"))?;
        Ok(match delta {
            D::AttemptStarted(e) => Self::AttemptStarted(AttemptStarted {
                scheduled: EventId(e.scheduled_event_id),
                attempt: e.attempt,
                worker: worker(e.worker)?,
                time: Timestamp(e.time),
            }),
            D::AttemptEnded(e) => Self::AttemptEnded(Box::new(AttemptEnded {
                outcome: e.outcome(),
                scheduled: EventId(e.scheduled_event_id),
                attempt: e.attempt,
                started: Timestamp(e.started),
                ended: Timestamp(e.ended),
                failure: failure(e.failure)?,
                next_attempt: (e.next_attempt != 0).then_some(Timestamp(e.next_attempt)),
                report: e.report.map(Box::new),
                uncounted: e.uncounted,
            })),
            D::AttemptDue(e) => {
                Self::AttemptDue { scheduled: EventId(e.scheduled_event_id), attempt: e.attempt }
            }
            D::Heartbeat(e) => Self::Heartbeat {
                scheduled: EventId(e.scheduled_event_id),
                attempt: e.attempt,
                time: Timestamp(e.time),
                details: Payloads::decode(e.details)
                    .map_err(|error| Malformed::new("heartbeat", error.to_string()))?,
            },
            D::InboxMark(e) => Self::InboxMark {
                source: e
                    .source
                    .ok_or_else(|| Malformed::new("inbox mark", "has no source"))
                    .and_then(|source| RunKey::from_proto(&source))?,
                seq: e.seq,
            },
            D::OutboxAcked(e) => Self::OutboxAcked { seq: e.seq },
            D::Unclaimed(e) => {
                Self::Unclaimed { scheduled: EventId(e.scheduled_event_id), attempt: e.attempt }
            }
            D::Buffered(e) => Self::Buffered(Box::new(Event::decode(e.event)?)),
            D::TransientTask(e) => Self::TransientTask(TransientTask {
                state: e.state(),
                attempt: e.attempt,
                time: Timestamp(e.time),
                identity: e.identity.into(),
                request_id: e.request_id.into(),
            }),
            D::Requested(e) => Self::Requested { request_id: e.request_id.into() },
            D::Sticky(e) => Self::Sticky {
                task_queue: e.task_queue.into(),
                schedule_to_start: Duration::from_nanos(
                    u64::try_from(e.schedule_to_start).unwrap_or(0),
                ),
            },
            D::Retired(wire::Retired {}) => Self::Retired,
        })
    }
}

impl RunKey {
    /// The run as the log names it.
    pub fn to_proto(&self) -> wire::EntityId {
        wire::EntityId {
            kind: EntityKind::Run.into(),
            namespace: self.namespace.to_string(),
            workflow_id: self.workflow_id.to_string(),
            run_id: Bytes::copy_from_slice(self.run_id.0.as_bytes()),
        }
    }

    /// Reads what [`RunKey::to_proto`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] when it does not name a run.
    pub fn from_proto(entity: &wire::EntityId) -> Result<Self, Malformed> {
        if entity.kind() != EntityKind::Run {
            return Err(Malformed::new("entity id", "does not name a run"));
        }
        let run_id = Uuid::from_slice(&entity.run_id)
            .map_err(|_| Malformed::new("entity id", "has a run id that is not 16 bytes"))?;
        Ok(Self {
            namespace: entity.namespace.as_str().into(),
            workflow_id: entity.workflow_id.as_str().into(),
            run_id: RunId(run_id),
        })
    }
}

fn worker(worker: Option<wire::Worker>) -> Result<Worker, Malformed> {
    let worker = worker.ok_or_else(|| Malformed::new("attempt", "has no worker"))?;
    let boot = if worker.boot.is_empty() {
        Uuid::nil()
    } else {
        Uuid::from_slice(&worker.boot)
            .map_err(|_| Malformed::new("attempt", "has a boot id that is not 16 bytes"))?
    };
    Ok(Worker { identity: worker.identity.into(), boot: BootId(boot) })
}

fn failure(bytes: Bytes) -> Result<Option<Arc<Failure>>, Malformed> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let failure = Failure::decode(bytes)
        .map_err(|error| Malformed::new("attempt's failure", error.to_string()))?;
    Ok(Some(Arc::new(failure)))
}
