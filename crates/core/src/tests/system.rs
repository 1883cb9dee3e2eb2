//! Records of the server's own.

use super::*;

fn signal(request_id: &str) -> Command {
    let (name, request_id) = ("put".into(), request_id.into());
    Command::Signal(Signal { name, request_id, input: text("v"), ..Signal::default() })
}

#[test]
fn a_record_asks_nobody_to_decide() {
    let mut bench = Bench::new(Decider::System);
    assert_eq!(bench.run().decider(), Some(Decider::System));
    assert_eq!(bench.ok(signal("1")), ["WorkflowExecutionSignaled"]);
    assert_eq!(bench.run().task, WorkflowTask::Idle);
    assert_eq!((bench.run().next_due(), bench.draft.effects()), (None, vec![]));
}

#[test]
fn a_specification_counts_before_the_mark_of_a_record() {
    let mut both = start(Decider::Flow);
    both.header.fields.extend(start(Decider::System).header.fields);
    assert_eq!(Decider::of(&both.header), Decider::Flow);
}

#[test]
fn a_record_is_shortened_by_another_that_has_its_state() {
    let mut bench = Bench::new(Decider::System);
    bench.ok(signal("1"));
    let next = ContinueAsNew { input: text("folded"), ..ContinueAsNew::default() };
    bench.decide(vec![Decision::ContinueAsNew(Box::new(next))]);
    let outbox: Vec<_> = bench.run().outbox.values().cloned().collect();
    let [Outgoing { message: Message::StartNext { start }, .. }] = &outbox[..] else {
        panic!("{outbox:?}")
    };
    let mut next = Bench { draft: Draft::new(key(2)), ctx: bench.ctx.clone(), seen: 0 };
    next.ok(Command::Start(Box::new(Start::clone(start))));
    assert_eq!(next.run().decider(), Some(Decider::System));
    assert_eq!(next.ok(signal("2")), ["WorkflowExecutionSignaled"], "also while it rests");
    assert_eq!(next.later(secs(1)), ["MarkerRecorded"]);
    assert!(next.run().has_begun());
}

#[test]
fn a_record_ends_when_it_is_taken_away() {
    let mut bench = Bench::new(Decider::System);
    assert_eq!(bench.ok(Command::Terminate(Terminate::default())), ["WorkflowExecutionTerminated"]);
    assert_eq!(bench.no(signal("1")), Rejection::AlreadyClosed);
}
