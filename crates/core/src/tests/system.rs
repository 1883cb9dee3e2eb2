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
    assert!(matches!(bench.no(Command::Decide(vec![])), Rejection::Invalid(_)));
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
fn a_record_ends_when_it_is_taken_away() {
    let mut bench = Bench::new(Decider::System);
    assert_eq!(bench.ok(Command::Terminate(Terminate::default())), ["WorkflowExecutionTerminated"]);
    assert_eq!(bench.no(signal("1")), Rejection::AlreadyClosed);
}
