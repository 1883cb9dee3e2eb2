//! An item as one readable line: the fields that matter, defaults left out.

use std::time::Duration;

use reflux_core::{
    ActivityScheduled, AttemptEnded, Delta, EffectClass, Event, EventId, Failure, Item, Kind,
    Payloads, Retry, Timestamp,
};
use reflux_flow::payload;
use reflux_proto::temporal::api::failure::v1::failure::FailureInfo;
use serde_json::{Map, Value, json};

use crate::world::{BEGIN, HERE, LOCAL};

/// The time limit of an attempt whose node and step state none.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);

/// The item as a line of `history.jsonl`.
pub fn line(item: &Item) -> Value {
    let mut line = Line(Map::new());
    match item {
        Item::Event(event) => line.event(event),
        Item::Delta(delta) => line.delta(delta),
    }
    Value::Object(line.0)
}

struct Line(Map<String, Value>);

impl Line {
    fn put(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn put_some(&mut self, name: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.put(name, value);
        }
        self
    }

    fn at(&mut self, time: Timestamp) -> &mut Self {
        self.put_some("at", (time != BEGIN).then(|| offset(time)))
    }

    fn of(&mut self, id: EventId) -> &mut Self {
        self.put("of", id.0)
    }

    fn event(&mut self, event: &Event) {
        self.put("event", event.id.0);
        self.at(event.time).put("kind", event.kind.name());
        match &event.kind {
            Kind::Started(e) => {
                self.put("flow", &*e.workflow_type).put("input", value(&e.input));
            }
            Kind::Completed(e) => {
                self.put("result", value(&e.result));
                self.put_some("status", payload::is_handled_failure(&e.result).then_some("failed"));
            }
            Kind::Failed(e) => {
                self.put("error", error(&e.failure));
            }
            Kind::Canceled(_) | Kind::TimedOut(_) => {}
            Kind::Terminated(e) => {
                self.put("reason", &*e.reason);
            }
            Kind::CancelRequested(e) => {
                self.put("reason", &*e.cause);
            }
            Kind::Signaled(e) => {
                self.put("signal", &*e.name).put("value", value(&e.input));
            }
            Kind::Paused(e) | Kind::Unpaused(e) => {
                self.put("by", &*e.identity);
                self.put_some("reason", (!e.reason.is_empty()).then_some(&*e.reason));
            }
            Kind::ActivityScheduled(e) => self.scheduled(e),
            Kind::ActivityStarted(e) => {
                self.of(e.scheduled).put("attempt", e.attempt);
                self.put_some("by", other(&e.identity));
                self.put_some("after", e.last_failure.as_deref().map(kind_of));
            }
            Kind::ActivityCompleted(e) => {
                self.of(e.scheduled).put("output", value(&e.result));
                self.put_some("by", other(&e.identity));
            }
            Kind::ActivityFailed(e) => {
                self.of(e.scheduled).put("error", error(&e.failure));
                self.put("why", format!("{:?}", e.retry_state)).put_some("by", other(&e.identity));
            }
            Kind::ActivityTimedOut(e) => {
                self.of(e.scheduled).put("error", error(&e.failure));
                self.put("why", format!("{:?}", e.retry_state));
            }
            Kind::ActivityCancelRequested(e) => {
                self.of(e.scheduled);
            }
            Kind::ActivityCanceled(e) => {
                self.of(e.scheduled);
            }
            Kind::TimerStarted(e) => {
                self.put("timer", &*e.timer_id).put("seconds", seconds(e.duration));
            }
            Kind::TimerFired(e) => {
                self.put("timer", &*e.timer_id);
            }
            Kind::TimerCanceled(e) => {
                self.put("timer", &*e.timer_id);
            }
            Kind::Marker(e) => {
                let data = serde_json::from_slice(payload::marker_json(e)).unwrap_or_default();
                self.put("kind", &*e.name);
                match reflux_core::told_child(e) {
                    Some((_, child)) => self.of(child),
                    None => self.put("data", without_nulls(data)),
                };
            }
            Kind::ChildInitiated(e) => {
                self.put("child", &*e.workflow_id).put("flow", &*e.workflow_type);
                self.put("input", value(&e.input));
            }
            Kind::ChildStartFailed(e) => {
                self.of(e.initiated).put("why", format!("{:?}", e.cause));
            }
            Kind::ChildStarted(e) => {
                self.of(e.child.initiated);
            }
            Kind::ChildCompleted(e) => {
                self.of(e.child.initiated).put("output", value(&e.result));
            }
            Kind::ChildFailed(e) => {
                self.of(e.child.initiated).put("error", error(&e.failure));
            }
            Kind::ChildCanceled(e) => {
                self.of(e.child.initiated);
            }
            Kind::ChildTimedOut(e) => {
                self.of(e.child.initiated);
            }
            Kind::ChildTerminated(e) => {
                self.of(e.child.initiated);
            }
            Kind::ExternalCancelInitiated(e) => {
                self.put("child", &*e.target.workflow_id).put("reason", &*e.reason);
            }
            Kind::ExternalCancelRequested(e) => {
                self.of(e.initiated);
            }
            Kind::ExternalCancelFailed(e) => {
                self.of(e.initiated).put("why", format!("{:?}", e.cause));
            }
            other => panic!("no flow run has {}", other.name()),
        }
    }

    fn scheduled(&mut self, e: &ActivityScheduled) {
        self.put("activity", &*e.activity_id).put("node", &*e.activity_type);
        self.put("input", value(&e.input));
        let secrets = payload::secrets_of(&e.input).expect("slots of secrets");
        self.put_some("secrets", (!secrets.is_empty()).then(|| json!(secrets)));
        let version = payload::node_version(&e.header);
        self.put_some("version", (&*version != "1.0.0").then_some(&*version));
        self.put_some("queue", (&*e.task_queue != LOCAL).then_some(&*e.task_queue));
        self.put_some("retry", retry(&e.retry));
        let timeout = e.start_to_close.filter(|limit| *limit != TIMEOUT_DEFAULT);
        self.put_some("timeout", timeout.map(seconds));
        self.put_some("total_timeout", e.schedule_to_close.map(seconds));
        self.put_some("heartbeat", e.heartbeat.map(seconds));
        let others = payload::alternatives(&e.header);
        self.put_some("alternatives", (!others.is_empty()).then(|| json!(others)));
        let effects = e.effects.filter(|effects| *effects != EffectClass::Idempotent);
        self.put_some("effects", effects.map(EffectClass::as_str));
    }

    fn delta(&mut self, delta: &Delta) {
        self.put("delta", delta.name());
        match delta {
            Delta::AttemptStarted(d) => {
                self.at(d.time).of(d.scheduled).put("attempt", d.attempt);
                self.put_some("by", other(&d.worker.identity));
            }
            Delta::AttemptEnded(d) => self.ended(d),
            Delta::AttemptDue { scheduled, attempt } => {
                self.of(*scheduled).put("attempt", *attempt);
            }
            Delta::InboxMark { source, seq } => {
                self.put("from", &*source.workflow_id).put("seq", *seq);
            }
            Delta::OutboxAcked { seq } => {
                self.put("seq", *seq);
            }
            other => panic!("no golden history has {}", other.name()),
        }
    }

    fn ended(&mut self, d: &AttemptEnded) {
        self.at(d.ended).of(d.scheduled).put("attempt", d.attempt);
        self.put("outcome", format!("{:?}", d.outcome));
        self.put_some("error", d.failure.as_deref().map(kind_of));
        self.put_some("next", d.next_attempt.map(offset));
        self.put_some("uncounted", d.uncounted.then_some(true));
    }
}

fn value(payloads: &Payloads) -> Value {
    payload::value_of(payloads).expect("JSON")
}

fn error(failure: &Failure) -> Value {
    without_nulls(payload::error_of(failure))
}

fn kind_of(failure: &Failure) -> String {
    match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => info.r#type.clone(),
        Some(FailureInfo::TimeoutFailureInfo(_)) => "Timeout".to_owned(),
        _ => failure.message.clone(),
    }
}

fn other(identity: &str) -> Option<&str> {
    (identity != HERE).then_some(identity)
}

fn retry(retry: &Retry) -> Option<Value> {
    match retry {
        Retry::Intervals(waits) if waits.is_empty() => None,
        Retry::Intervals(waits) => Some(waits.iter().copied().map(seconds).collect()),
        Retry::Exponential { initial, coefficient, maximum, attempts, .. } => Some(json!({
            "attempts": attempts,
            "initial": seconds(*initial),
            "coefficient": coefficient,
            "maximum": seconds(*maximum),
        })),
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

/// Seconds since the world began.
fn offset(time: Timestamp) -> Value {
    seconds(time.since(BEGIN))
}

fn seconds(length: Duration) -> Value {
    if length.subsec_nanos() == 0 { length.as_secs().into() } else { length.as_secs_f64().into() }
}
