//! Events and deltas as bytes and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use reflux_proto::reflux::v1 as wire;
use reflux_proto::temporal::api::history::v1 as history;
use reflux_proto::temporal::api::history::v1::history_event::Attributes;

use super::*;

fn word() -> impl Strategy<Value = Arc<str>> {
    "[a-zA-Z0-9 \u{e4}\u{4e2d}\0]{0,12}".prop_map(Into::into)
}

fn id() -> impl Strategy<Value = EventId> {
    prop_oneof![0..100_i64, Just(i64::MAX)].prop_map(EventId)
}

fn run_id() -> impl Strategy<Value = RunId> {
    any::<u128>().prop_map(|n| RunId(Uuid::from_u128(n)))
}

fn limit() -> impl Strategy<Value = Option<Duration>> {
    prop_oneof![
        Just(None),
        (1..u64::MAX / 4).prop_map(|nanos| Some(Duration::from_nanos(nanos))),
        Just(Some(DURATION_MAX)),
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    (any::<Vec<u8>>(), any::<bool>()).prop_map(|(data, json)| {
        let payload = json_payload(data);
        if json { payload } else { Payload { metadata: BTreeMap::new(), ..payload } }
    })
}

fn payloads() -> impl Strategy<Value = Payloads> {
    prop::collection::vec(payload(), 0..3).prop_map(|payloads| Payloads { payloads })
}

fn fields() -> impl Strategy<Value = BTreeMap<String, Payload>> {
    prop::collection::btree_map("[a-z]{1,4}", payload(), 0..3)
}

fn failure() -> impl Strategy<Value = Arc<Failure>> {
    (word(), any::<bool>()).prop_map(|(text, hard)| application_failure(&*text, "T", hard).into())
}

fn retry() -> impl Strategy<Value = Retry> {
    let growing = (1..1_000_u64, 1.0..9.0_f64, 0..50_u32, prop::collection::vec(word(), 0..3));
    prop_oneof![
        growing.prop_map(|(first, coefficient, attempts, non_retryable)| Retry::Exponential {
            initial: Duration::from_millis(first),
            coefficient,
            maximum: Duration::from_millis(first * 100),
            attempts,
            non_retryable,
        }),
        prop::collection::vec((0..10_000_u64).prop_map(Duration::from_millis), 0..5)
            .prop_map(Retry::Intervals),
    ]
}

fn priority() -> impl Strategy<Value = Option<Priority>> {
    prop::option::of(
        (0..5_i32).prop_map(|priority_key| Priority { priority_key, ..Priority::default() }),
    )
}

fn execution() -> impl Strategy<Value = Execution> {
    (word(), run_id()).prop_map(|(workflow_id, run_id)| Execution { workflow_id, run_id })
}

fn target() -> impl Strategy<Value = Target> {
    (word(), word(), prop::option::of(run_id())).prop_map(|(namespace, workflow_id, run_id)| {
        Target { namespace, workflow_id, run_id, first_run: None }
    })
}

fn child() -> impl Strategy<Value = ChildRef> {
    (id(), id(), word(), execution(), word()).prop_map(
        |(initiated, started, namespace, execution, workflow_type)| ChildRef {
            initiated,
            started,
            namespace,
            execution,
            workflow_type,
        },
    )
}

fn started() -> impl Strategy<Value = Kind> {
    let texts = (word(), word(), word());
    let data = (payloads(), fields(), fields(), fields());
    let limits = (limit(), limit(), limit(), limit());
    let chain = (run_id(), run_id(), prop::option::of(run_id()), 1..9_u32);
    let family =
        (prop::option::of((word(), run_id(), id(), run_id())), prop::option::of(execution()));
    (texts, data, limits, chain, family, prop::option::of(retry()), priority(), failure()).prop_map(
        |(texts, data, limits, chain, family, retry, priority, failure)| {
            let last_result = data.0.clone();
            Kind::Started(Arc::new(Started {
                workflow_type: texts.0,
                task_queue: texts.1.clone(),
                input: data.0,
                header: Header { fields: data.1 },
                memo: Memo { fields: data.2 },
                search_attributes: SearchAttributes { indexed_fields: data.3 },
                execution_timeout: limits.0,
                run_timeout: limits.1,
                task_timeout: limits.2,
                execution_expires: limits.0.map(|limit| Timestamp(5).after(limit)),
                retry,
                attempt: chain.3,
                cron_schedule: texts.2.clone(),
                first_task_backoff: limits.3,
                parent: family.0.map(|(workflow_id, run_id, initiated, first_run)| Parent {
                    key: RunKey { namespace: texts.1, workflow_id, run_id },
                    initiated,
                    first_run,
                }),
                root: family.1,
                first_run_id: chain.0,
                original_run_id: chain.1,
                continued: chain.2.map(|run_id| Continued {
                    run_id,
                    initiator: ContinueAsNewInitiator::Retry,
                    failure: Some(failure),
                    last_result,
                }),
                identity: texts.2,
                priority,
            }))
        },
    )
}

fn scheduled() -> impl Strategy<Value = Kind> {
    let effects = prop::option::of(prop::sample::select(vec![
        EffectClass::Pure,
        EffectClass::Reads,
        EffectClass::Idempotent,
        EffectClass::Unsafe,
    ]));
    let limits = (limit(), limit(), limit(), limit());
    let rest = (retry(), effects, priority(), id());
    (word(), word(), word(), payloads(), fields(), limits, rest).prop_map(
        |(activity_id, activity_type, task_queue, input, fields, limits, rest)| {
            Kind::ActivityScheduled(Arc::new(ActivityScheduled {
                activity_id,
                activity_type,
                task_queue,
                input,
                header: Header { fields },
                schedule_to_close: limits.0,
                schedule_to_start: limits.1,
                start_to_close: limits.2,
                heartbeat: limits.3,
                retry: rest.0,
                effects: rest.1,
                priority: rest.2,
                task_completed: rest.3,
            }))
        },
    )
}

fn initiated() -> impl Strategy<Value = Kind> {
    let texts = (word(), word(), word(), word());
    let data = (payloads(), fields(), fields(), fields());
    let limits = (limit(), limit(), limit());
    (texts, data, limits, prop::option::of(retry()), priority(), id()).prop_map(
        |(texts, data, limits, retry, priority, task_completed)| {
            Kind::ChildInitiated(Arc::new(ChildInitiated {
                namespace: texts.0.clone(),
                workflow_id: texts.1,
                workflow_type: texts.2,
                task_queue: texts.3,
                input: data.0,
                header: Header { fields: data.1 },
                memo: Memo { fields: data.2 },
                search_attributes: SearchAttributes { indexed_fields: data.3 },
                execution_timeout: limits.0,
                run_timeout: limits.1,
                task_timeout: limits.2,
                parent_close_policy: ParentClosePolicy::Abandon,
                reuse_policy: IdReusePolicy::RejectDuplicate,
                retry,
                cron_schedule: texts.0,
                priority,
                task_completed,
            }))
        },
    )
}

/// Parts of which every other kind is made.
fn others() -> impl Strategy<Value = Kind> {
    let words = (word(), word(), word());
    let ids = (id(), id(), id());
    let data = (payloads(), fields(), failure());
    (0..44_usize, words, ids, data, child(), target(), execution(), limit(), run_id()).prop_map(
        |(
            pick,
            (a, b, c),
            (one, two, three),
            (payloads, fields, failure),
            child,
            target,
            execution,
            limit,
            run_id,
        )| {
            let duration = limit.unwrap_or_default();
            let retry_state = RetryState::Timeout;
            let suspension =
                Suspension { identity: a.clone(), reason: b.clone(), request_id: c.clone() };
            let header = Header { fields: fields.clone() };
            let request = Arc::new(reflux_proto::temporal::api::update::v1::Request {
                request_id: a.to_string(),
                ..Default::default()
            });
            let all = vec![
                Kind::Completed(Completed {
                    result: payloads.clone(),
                    task_completed: one,
                    next_run: Some(run_id),
                }),
                Kind::Failed(Failed {
                    failure: failure.clone(),
                    retry_state,
                    task_completed: one,
                    next_run: None,
                }),
                Kind::TimedOut(TimedOut { retry_state, next_run: Some(run_id) }),
                Kind::Canceled(Canceled { details: payloads.clone(), task_completed: one }),
                Kind::Terminated(Terminated {
                    reason: a.clone(),
                    details: payloads.clone(),
                    identity: b.clone(),
                }),
                Kind::ContinuedAsNew(Arc::new(ContinuedAsNew {
                    next_run: run_id,
                    workflow_type: a.clone(),
                    task_queue: b.clone(),
                    input: payloads.clone(),
                    header: header.clone(),
                    memo: Memo { fields: fields.clone() },
                    search_attributes: SearchAttributes { indexed_fields: fields.clone() },
                    run_timeout: limit,
                    task_timeout: limit,
                    backoff: limit,
                    initiator: ContinueAsNewInitiator::Workflow,
                    failure: Some(failure.clone()),
                    last_result: payloads.clone(),
                    task_completed: one,
                })),
                Kind::CancelRequested(CancelRequested {
                    cause: a.clone(),
                    identity: b.clone(),
                    external: Some(execution.clone()),
                    external_initiated: one,
                }),
                Kind::Signaled(Signaled {
                    name: a.clone(),
                    input: payloads.clone(),
                    header: header.clone(),
                    identity: b.clone(),
                    external: Some(execution),
                    request_id: c.clone(),
                }),
                Kind::Paused(suspension.clone()),
                Kind::Unpaused(suspension),
                Kind::TaskScheduled(TaskScheduled {
                    task_queue: a.clone(),
                    sticky: one.0 % 2 == 0,
                    timeout: secs(3),
                    attempt: 2,
                }),
                Kind::TaskStarted(TaskStarted {
                    scheduled: one,
                    identity: a.clone(),
                    request_id: b.clone(),
                    suggest_continue_as_new: true,
                    history_bytes: 7,
                }),
                Kind::TaskCompleted(TaskCompleted {
                    scheduled: one,
                    started: two,
                    identity: a.clone(),
                    sdk_metadata: Some(Box::default()),
                }),
                Kind::TaskFailed(TaskFailed {
                    scheduled: one,
                    started: two,
                    cause: TaskFailedCause::NonDeterministicError,
                    failure: Some(failure.clone()),
                    identity: a.clone(),
                }),
                Kind::TaskTimedOut(TaskTimedOut {
                    scheduled: one,
                    started: two,
                    timeout: TimeoutType::ScheduleToStart,
                }),
                Kind::ActivityStarted(ActivityStarted {
                    scheduled: one,
                    identity: a.clone(),
                    request_id: b.clone(),
                    attempt: 3,
                    last_failure: Some(failure.clone()),
                }),
                Kind::ActivityCompleted(ActivityCompleted {
                    scheduled: one,
                    started: two,
                    result: payloads.clone(),
                    identity: a.clone(),
                }),
                Kind::ActivityFailed(ActivityFailed {
                    scheduled: one,
                    started: two,
                    failure: failure.clone(),
                    retry_state,
                    identity: a.clone(),
                }),
                Kind::ActivityTimedOut(ActivityTimedOut {
                    scheduled: one,
                    started: two,
                    failure: failure.clone(),
                    retry_state,
                }),
                Kind::ActivityCancelRequested(ActivityCancelRequested {
                    scheduled: one,
                    task_completed: two,
                }),
                Kind::ActivityCanceled(ActivityCanceled {
                    scheduled: one,
                    started: two,
                    requested: three,
                    details: payloads.clone(),
                    identity: a.clone(),
                }),
                Kind::TimerStarted(TimerStarted {
                    timer_id: a.clone(),
                    duration,
                    task_completed: one,
                }),
                Kind::TimerFired(TimerFired { timer_id: a.clone(), started: one }),
                Kind::TimerCanceled(TimerCanceled {
                    timer_id: a.clone(),
                    started: one,
                    task_completed: two,
                    identity: b.clone(),
                }),
                Kind::Marker(Marker {
                    name: a.clone(),
                    details: [(b.to_string(), payloads.clone())].into(),
                    failure: Some(failure.clone()),
                    header: header.clone(),
                    task_completed: one,
                }),
                Kind::ChildStartFailed(ChildStartFailed {
                    initiated: one,
                    namespace: a.clone(),
                    workflow_id: b.clone(),
                    workflow_type: c.clone(),
                    cause: ChildStartFailedCause::NamespaceNotFound,
                    task_completed: two,
                }),
                Kind::ChildStarted(ChildStarted {
                    child: ChildRef { started: EventId(0), ..child.clone() },
                }),
                Kind::ChildCompleted(ChildCompleted {
                    child: child.clone(),
                    result: payloads.clone(),
                }),
                Kind::ChildFailed(ChildFailed {
                    child: child.clone(),
                    failure: failure.clone(),
                    retry_state,
                }),
                Kind::ChildCanceled(ChildCanceled {
                    child: child.clone(),
                    details: payloads.clone(),
                }),
                Kind::ChildTimedOut(ChildTimedOut { child: child.clone(), retry_state }),
                Kind::ChildTerminated(ChildTerminated { child }),
                Kind::ExternalSignalInitiated(Arc::new(ExternalSignalInitiated {
                    target: target.clone(),
                    name: a.clone(),
                    input: payloads,
                    header,
                    child_only: true,
                    task_completed: one,
                })),
                Kind::ExternalSignalFailed(ExternalSignalFailed {
                    initiated: one,
                    target: target.clone(),
                    cause: SignalExternalFailedCause::NamespaceNotFound,
                    task_completed: two,
                }),
                Kind::ExternalSignaled(ExternalSignaled { initiated: one, target: target.clone() }),
                Kind::ExternalCancelInitiated(Arc::new(ExternalCancelInitiated {
                    target: target.clone(),
                    child_only: true,
                    reason: a.clone(),
                    task_completed: one,
                })),
                Kind::ExternalCancelFailed(ExternalCancelFailed {
                    initiated: one,
                    target: target.clone(),
                    cause: CancelExternalFailedCause::NamespaceNotFound,
                    task_completed: two,
                }),
                Kind::ExternalCancelRequested(ExternalCancelRequested { initiated: one, target }),
                Kind::UpdateAdmitted(UpdateAdmitted { request: request.clone(), origin: 1 }),
                Kind::UpdateAccepted(UpdateAccepted {
                    update_id: a.clone(),
                    message_id: b.clone(),
                    sequencing: one,
                    request: Some(request.clone()),
                }),
                Kind::UpdateRejected(UpdateRejected {
                    update_id: a.clone(),
                    message_id: b.clone(),
                    sequencing: one,
                    request: Some(request),
                    failure,
                }),
                Kind::UpdateCompleted(UpdateCompleted {
                    update_id: a.clone(),
                    identity: b,
                    accepted: one,
                    outcome: Some(Arc::default()),
                }),
                Kind::SearchAttributesUpserted(SearchAttributesUpserted {
                    attributes: SearchAttributes { indexed_fields: fields.clone() },
                    task_completed: one,
                }),
                Kind::PropertiesModified(PropertiesModified {
                    memo: Memo { fields },
                    task_completed: one,
                }),
            ];
            all[pick % all.len()].clone()
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![1 => started(), 1 => scheduled(), 1 => initiated(), 6 => others()];
    let time = prop_oneof![any::<i64>(), Just(i64::MIN), Just(0), Just(i64::MAX)];
    (id(), time, kind).prop_map(|(id, time, kind)| Event { id, time: Timestamp(time), kind })
}

fn round(item: &Item) -> Item {
    let bytes = item.encode().encode_to_vec();
    Item::decode(wire::Item::decode(Bytes::from(bytes)).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_an_event_holds_survives_the_wire(event in event()) {
        let item = Item::Event(event);
        prop_assert_eq!(round(&item), item);
    }

    #[test]
    fn bytes_that_are_not_ours_give_an_error_or_an_event(bytes in any::<Vec<u8>>()) {
        let bytes = Bytes::from(bytes);
        let _ = Event::decode(bytes.clone());
        let _ = wire::Item::decode(bytes).map(Item::decode);
    }

    #[test]
    fn flipped_bits_never_panic(event in event(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = event.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok(event) = Event::decode(bytes) {
            let mut run = Run::new(key(1));
            let _ = apply(&mut run, &Item::Event(event));
        }
    }
}

#[test]
fn everything_a_delta_holds_survives_the_wire() {
    let worker = Worker { identity: "w".into(), boot: BootId(Uuid::from_u128(3)) };
    let (scheduled, attempt, time) = (EventId(5), 2, Timestamp(i64::MAX));
    let report = Report { tokens_in: 4, cost_usd: 0.5, ..Report::default() };
    let ended = AttemptEnded {
        scheduled,
        attempt,
        outcome: AttemptOutcome::TimedOut,
        started: Timestamp(-1),
        ended: time,
        failure: Some(broken("E")),
        next_attempt: Some(Timestamp(8)),
        report: Some(Box::new(report)),
        uncounted: true,
    };
    let buffered = Event {
        id: EventId(0),
        time,
        kind: Kind::TimerFired(TimerFired { timer_id: "t".into(), started: EventId(3) }),
    };
    let rows = [
        Delta::AttemptStarted(AttemptStarted { scheduled, attempt, worker, time }),
        Delta::AttemptStarted(AttemptStarted {
            scheduled,
            attempt,
            worker: Worker::remote("r"),
            time,
        }),
        Delta::AttemptEnded(Box::new(ended)),
        Delta::AttemptDue { scheduled, attempt },
        Delta::Heartbeat { scheduled, attempt, time, details: text("d") },
        Delta::InboxMark { source: key(4), seq: u64::MAX },
        Delta::OutboxAcked { seq: 9 },
        Delta::Unclaimed { scheduled, attempt },
        Delta::Buffered(Box::new(buffered)),
        Delta::TransientTask(TransientTask {
            state: TransientState::Started,
            attempt,
            time,
            identity: "i".into(),
            request_id: "q".into(),
        }),
        Delta::Requested { request_id: "q".into() },
        Delta::Sticky { task_queue: "mine".into(), schedule_to_start: secs(5) },
        Delta::Retired,
    ];
    for delta in rows {
        let item = Item::Delta(delta);
        assert_eq!(round(&item), item);
    }
}

#[test]
fn a_temporal_client_sees_intervals_and_effects_as_header_fields() {
    let what = ScheduleActivity {
        retry: Some(Retry::Intervals(vec![secs(1), secs(3), secs(10)])),
        effects: Some(EffectClass::Unsafe),
        ..activity("a", QUEUE)
    };
    let mut bench = Bench::new(Decider::Flow);
    let id = bench.schedule(what);
    let what = bench.run().activities[&id].what.clone();
    assert!(what.header.fields.is_empty());
    let event = Event { id, time: Timestamp(1), kind: Kind::ActivityScheduled(what) };
    let Some(Attributes::ActivityTaskScheduledEventAttributes(wire)) = event.to_proto().attributes
    else {
        panic!()
    };
    let header = wire.header.unwrap().fields;
    assert_eq!(&*header[HEADER_RETRY].data, b"[1000,3000,10000]");
    assert_eq!(&*header[HEADER_EFFECTS].data, b"\"unsafe\"");
    assert_eq!(wire.retry_policy.unwrap().maximum_attempts, 4);
}

#[test]
fn what_the_domain_cannot_do_without_must_be_there() {
    let check = |attributes: Option<Attributes>| {
        let event =
            history::HistoryEvent { event_id: 1, attributes, ..history::HistoryEvent::default() };
        Event::from_proto(event).unwrap_err();
    };
    check(None);
    check(Some(Attributes::WorkflowExecutionStartedEventAttributes(Default::default())));
    check(Some(Attributes::ActivityTaskScheduledEventAttributes(Default::default())));
    check(Some(Attributes::ActivityTaskFailedEventAttributes(Default::default())));
    check(Some(Attributes::NexusOperationStartedEventAttributes(Default::default())));
    Item::decode(wire::Item { item: None }).unwrap_err();
    Delta::decode(wire::Delta { delta: None }).unwrap_err();
}
