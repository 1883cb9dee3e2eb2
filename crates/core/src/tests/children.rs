//! Runs that talk to each other: children, signals, requests to end, messages twice.

use super::*;

fn child(policy: ParentClosePolicy) -> StartChild {
    StartChild {
        workflow_id: "kid".into(),
        workflow_type: "kid".into(),
        parent_close_policy: policy,
        ..StartChild::default()
    }
}

fn parent(policy: ParentClosePolicy) -> Bench {
    let mut bench = Bench::new(Decider::Flow);
    bench.decide(vec![Decision::StartChild(Box::new(child(policy)))]);
    bench
}

fn kid(bench: &Bench) -> Child {
    bench.run().children.values().next().unwrap().clone()
}

fn closed(bench: &Bench, ending: Ending) -> Command {
    let kid = kid(bench);
    let run = RunKey { workflow_id: "kid".into(), run_id: kid.run_id, ..key(1) };
    let (initiated, first_run) = (kid.initiated, kid.run_id);
    let message = Message::ChildClosed { initiated, first_run, run: run.clone(), ending };
    Command::Deliver { source: run, seq: 1, message }
}

fn messages(bench: &Bench) -> Vec<(u64, Message)> {
    bench.run().outbox.iter().map(|(seq, out)| (*seq, out.message.clone())).collect()
}

fn external() -> ExternalSignalInitiated {
    ExternalSignalInitiated {
        target: Target::run(&key(1)),
        name: "s".into(),
        input: text("x"),
        header: Header::default(),
        child_only: false,
        task_completed: EventId(0),
    }
}

#[test]
fn a_child_is_started_by_message_and_its_start_recorded() {
    let mut bench = parent(ParentClosePolicy::Terminate);
    let sent = bench.run().outbox[&1].clone();
    assert_eq!(sent.target.run_id, Some(kid(&bench).run_id));
    let is_send = |effect: &Effect| matches!(effect, Effect::Send { seq: 1, .. });
    assert!(bench.draft.effects().iter().any(is_send));
    let Message::StartChild { start, .. } = sent.message else { panic!() };
    assert_eq!(start.parent.as_ref().unwrap().key, bench.run().key);
    assert_eq!(
        bench.ok(Command::AckOutbox { seq: 1 }),
        ["OutboxAcked", "ChildWorkflowExecutionStarted"]
    );
    assert!(bench.ok(Command::AckOutbox { seq: 1 }).is_empty());
    assert_eq!(messages(&bench), [(2, Message::FirstTask)]);
}

#[test]
fn the_id_of_a_child_is_the_same_whenever_it_is_asked_for() {
    let (one, two) = (parent(ParentClosePolicy::Abandon), parent(ParentClosePolicy::Abandon));
    assert_eq!(kid(&one).run_id, kid(&two).run_id);
    assert_eq!(kid(&one).run_id.0.get_version_num(), 7);
}

#[test]
fn a_child_that_cannot_start_is_told_with_its_reason() {
    let mut bench = parent(ParentClosePolicy::Terminate);
    let reason = DeliveryFailure::AlreadyExists;
    let items = bench.ok(Command::DeliveryFailed { seq: 1, reason });
    assert_eq!(items, ["OutboxAcked", "StartChildWorkflowExecutionFailed"]);
    let Kind::ChildStartFailed(event) = bench.last_event() else { panic!() };
    assert_eq!(event.cause, ChildStartFailedCause::WorkflowAlreadyExists);
    assert!(bench.run().children.is_empty());
}

#[test]
fn every_end_of_a_child_is_an_event_of_its_own() {
    let retry_state = RetryState::Timeout;
    let rows = [
        (Ending::Completed(text("r")), "ChildWorkflowExecutionCompleted"),
        (Ending::Failed { failure: broken("E"), retry_state }, "ChildWorkflowExecutionFailed"),
        (Ending::TimedOut { retry_state }, "ChildWorkflowExecutionTimedOut"),
        (Ending::Canceled(text("c")), "ChildWorkflowExecutionCanceled"),
        (Ending::Terminated { reason: "t".into() }, "ChildWorkflowExecutionTerminated"),
    ];
    for (ending, expect) in rows {
        let mut bench = parent(ParentClosePolicy::Terminate);
        bench.ok(Command::AckOutbox { seq: 1 });
        let command = closed(&bench, ending);
        assert_eq!(bench.ok(command.clone()), ["InboxMark", expect]);
        assert!(bench.ok(command).is_empty(), "a message is taken once");
    }
}

#[test]
fn a_child_may_end_before_its_start_is_acknowledged() {
    let mut bench = parent(ParentClosePolicy::Terminate);
    let command = closed(&bench, Ending::Completed(text("r")));
    assert_eq!(
        bench.ok(command),
        ["InboxMark", "ChildWorkflowExecutionStarted", "ChildWorkflowExecutionCompleted"]
    );
    assert_eq!(bench.ok(Command::AckOutbox { seq: 1 }), ["OutboxAcked"]);
}

#[test]
fn a_message_about_somebody_elses_child_is_refused() {
    let mut bench = parent(ParentClosePolicy::Terminate);
    let Command::Deliver { source, seq, message } = closed(&bench, Ending::ContinuedAsNew) else {
        panic!()
    };
    let Message::ChildClosed { initiated, run, ending, .. } = message else { panic!() };
    let first_run = key(77).run_id;
    let message = Message::ChildClosed { initiated, first_run, run, ending };
    let rejection = bench.no(Command::Deliver { source, seq, message });
    assert!(matches!(rejection, Rejection::NotFound(_)));
}

#[test]
fn what_becomes_of_children_follows_their_policy() {
    let check = |policy: ParentClosePolicy, expect: Option<Message>| {
        let mut bench = parent(policy);
        bench.ok(Command::AckOutbox { seq: 1 });
        bench.ok(Command::AckOutbox { seq: 2 });
        bench.decide(vec![Decision::CompleteRun { result: text("r") }]);
        let sent: Vec<_> = messages(&bench).into_iter().map(|(_, message)| message).collect();
        assert_eq!(sent, expect.into_iter().collect::<Vec<_>>(), "{policy:?}");
    };
    let ask = Message::RequestCancel { initiated: EventId(0), cancel: None };
    check(
        ParentClosePolicy::Unspecified,
        Some(Message::Terminate { reason: "by parent close policy".into() }),
    );
    check(
        ParentClosePolicy::Terminate,
        Some(Message::Terminate { reason: "by parent close policy".into() }),
    );
    check(ParentClosePolicy::RequestCancel, Some(ask));
    check(ParentClosePolicy::Abandon, None);
}

#[test]
fn a_closed_parent_still_gives_its_word_to_a_child() {
    let mut bench = parent(ParentClosePolicy::Abandon);
    bench.decide(vec![Decision::CompleteRun { result: text("r") }]);
    assert_eq!(bench.ok(Command::AckOutbox { seq: 1 }), ["OutboxAcked"]);
    assert_eq!(messages(&bench), [(2, Message::FirstTask)]);
}

#[test]
fn a_child_written_as_code_waits_for_its_parents_word() {
    let owner = Parent { key: key(50), initiated: EventId(5), first_run: key(51).run_id };
    let mut bench = Bench::with(Start { parent: Some(owner), ..start(Decider::Code) });
    assert_eq!(bench.run().waits_for(), [Waiting::Beginning { due: None }]);
    bench.ok(Command::Signal(Signal { name: "s".into(), ..Signal::default() }));
    assert_eq!(bench.run().task, WorkflowTask::AwaitsParent);
    let word = Command::Deliver { source: key(50), seq: 3, message: Message::FirstTask };
    assert_eq!(bench.ok(word), ["InboxMark", "WorkflowTaskScheduled"]);

    bench.ok(Command::Terminate(Terminate { reason: "x".into(), ..Terminate::default() }));
    let sent = bench.run().outbox[&1].clone();
    assert_eq!((sent.target.run_id, sent.target.first_run), (None, Some(key(51).run_id)));
    let Message::ChildClosed { initiated, ending, .. } = sent.message else { panic!() };
    assert_eq!(initiated, EventId(5));
    assert_eq!(ending, Ending::Terminated { reason: "x".into() });
}

#[test]
fn a_signal_to_another_run_ends_with_its_delivery() {
    let signal = || {
        Decision::SignalExternal(Box::new(SignalExternal {
            target: Target::run(&key(9)),
            name: "s".into(),
            input: text("x"),
            header: Header::default(),
            child_only: false,
        }))
    };
    let mut bench = Bench::new(Decider::Flow);
    bench.decide(vec![signal(), signal()]);
    let done = ["OutboxAcked", "ExternalWorkflowExecutionSignaled"];
    assert_eq!(bench.ok(Command::AckOutbox { seq: 1 }), done);
    let reason = DeliveryFailure::NotFound;
    let failed = ["OutboxAcked", "SignalExternalWorkflowExecutionFailed"];
    assert_eq!(bench.ok(Command::DeliveryFailed { seq: 2, reason }), failed);
    assert!(bench.run().external_signals.is_empty());
}

#[test]
fn a_delivered_message_is_taken_once_even_after_the_end() {
    let mut bench = Bench::new(Decider::Flow);
    let signal = std::sync::Arc::new(external());
    let message = Message::Signal { initiated: EventId(4), signal };
    let send = |seq| Command::Deliver { source: key(50), seq, message: message.clone() };
    assert_eq!(bench.ok(send(3)), ["InboxMark", "WorkflowExecutionSignaled"]);
    assert!(bench.ok(send(3)).is_empty());
    assert!(bench.ok(send(2)).is_empty());
    bench.ok(Command::Terminate(Terminate::default()));
    assert!(bench.ok(send(3)).is_empty());
    assert_eq!(bench.no(send(4)), Rejection::AlreadyClosed);
}

#[test]
fn a_message_for_children_only_is_refused_by_others() {
    let mut bench = Bench::new(Decider::Flow);
    let signal = ExternalSignalInitiated { child_only: true, ..external() };
    let message = Message::Signal { initiated: EventId(4), signal: signal.into() };
    let command = Command::Deliver { source: key(50), seq: 1, message };
    assert!(matches!(bench.no(command), Rejection::NotFound(_)));
}

#[test]
fn the_sources_of_messages_are_bounded() {
    let mut bench = Bench::new(Decider::Flow);
    bench.ctx.limits.inbox_sources_max = 1;
    let ask = |n| Command::Deliver { source: key(n), seq: 1, message: Message::FirstTask };
    bench.ok(ask(50));
    assert!(matches!(bench.no(ask(51)), Rejection::LimitExceeded { .. }));
}

#[test]
fn a_run_is_not_its_own_child() {
    let mut bench = Bench::new(Decider::Flow);
    let mut wanted = child(ParentClosePolicy::Abandon);
    wanted.workflow_id = bench.run().key.workflow_id.clone();
    let command = Command::Decide(vec![Decision::StartChild(Box::new(wanted))]);
    assert!(matches!(bench.no(command), Rejection::Invalid(_)));
}

#[test]
fn a_flow_ends_a_child_at_once_and_code_cannot() {
    let mut bench = parent(ParentClosePolicy::Abandon);
    bench.ok(Command::AckOutbox { seq: 1 });
    bench.ok(Command::AckOutbox { seq: 2 });
    let initiated = kid(&bench).initiated;
    bench.decide(vec![Decision::TerminateChild { initiated }]);
    let told = Message::Terminate { reason: "by its parent".into() };
    assert!(messages(&bench).iter().any(|(_, message)| *message == told));
    let is_told =
        |effect: &Effect| matches!(effect, Effect::Send { message, .. } if *message == told);
    assert!(bench.draft.effects().iter().any(is_told));
    let again = Command::Decide(vec![Decision::TerminateChild { initiated: EventId(99) }]);
    assert!(matches!(bench.no(again), Rejection::NotFound(_)));
    for name in ["reflux.begin", "reflux.terminate"] {
        let marker = Decision::RecordMarker {
            name: name.into(),
            details: Default::default(),
            failure: None,
        };
        assert!(matches!(bench.no(Command::Decide(vec![marker])), Rejection::Invalid(_)));
    }
}
