//! Which run a start gives: policies, repetitions, signals with it, chains.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod code;

use std::sync::Arc;

use code::{Code, complete, start};
use reflux_core::{Command, WorkflowTask};
use reflux_core::{
    Decision, EventId, Failure, IdReusePolicy, RunKey, Signal, Start, StartChild, Status, Terminate,
};
use reflux_engine::{Answer, Ask, Error, Lane, NewRun, WhenClosed, WhenOpen};

/// What became of the run that was there before.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Before {
    Open,
    Completed,
    Failed,
    Terminated,
}

#[derive(PartialEq, Debug)]
enum Found {
    New,
    Same,
    /// A new one, and the one before was terminated.
    Replaced,
    /// Refused, naming the one before; open or not.
    Refused(bool),
}

async fn check(before: Before, when_open: WhenOpen, when_closed: WhenClosed, expected: Found) {
    for restarts in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let options = || reflux_engine::Options::at(dir.path());
        let mut code = Code::at(options());
        let first = code.ask("w", Ask::Start(new("first"))).await.unwrap().run;
        let fail = Decision::FailRun { failure: Arc::new(Failure::default()) };
        match before {
            Before::Open => {}
            Before::Completed => code.decide(vec![complete()]).await,
            Before::Failed => code.decide(vec![fail]).await,
            Before::Terminated => {
                let terminate = Command::Terminate(Terminate::default());
                drop(code.command(&first, terminate).await.unwrap());
            }
        }
        if restarts {
            drop(code);
            code = Code::at(options());
        }
        let asked = NewRun { when_open, when_closed, ..new("second") };
        let found = match code.ask("w", Ask::Start(asked)).await {
            Ok(Answer { run, existing: true, .. }) if run == first => Found::Same,
            Ok(Answer { run, existing: false, .. }) if run != first => {
                match code.status(&first).await {
                    Status::Terminated if before != Before::Terminated => Found::Replaced,
                    _ => Found::New,
                }
            }
            Err(Error::AlreadyStarted { run_id, request_id, open, .. }) => {
                assert_eq!((run_id, &*request_id), (first.run_id, "first"));
                Found::Refused(open)
            }
            other => panic!("{other:?}"),
        };
        let case = format!("{before:?} {when_open:?} {when_closed:?} restarted: {restarts}");
        assert_eq!(found, expected, "{case}");
    }
}

fn new(request_id: &str) -> NewRun {
    code::new_run(Start { request_id: request_id.into(), ..start() })
}

#[tokio::test]
async fn what_a_start_finds_is_what_its_policies_say() {
    use WhenClosed::{Allow, AllowFailed};
    use WhenOpen::{Terminate, UseExisting};
    check(Before::Open, WhenOpen::Refuse, Allow, Found::Refused(true)).await;
    check(Before::Open, UseExisting, Allow, Found::Same).await;
    check(Before::Open, UseExisting, WhenClosed::Refuse, Found::Same).await;
    check(Before::Open, Terminate, Allow, Found::Replaced).await;
    check(Before::Completed, WhenOpen::Refuse, Allow, Found::New).await;
    check(Before::Completed, WhenOpen::Refuse, AllowFailed, Found::Refused(false)).await;
    check(Before::Completed, UseExisting, WhenClosed::Refuse, Found::Refused(false)).await;
    check(Before::Failed, WhenOpen::Refuse, AllowFailed, Found::New).await;
    check(Before::Failed, WhenOpen::Refuse, WhenClosed::Refuse, Found::Refused(false)).await;
    check(Before::Terminated, WhenOpen::Refuse, AllowFailed, Found::New).await;
    check(Before::Terminated, Terminate, WhenClosed::Refuse, Found::Refused(false)).await;
}

#[tokio::test]
async fn a_repeated_request_gives_the_same_run_whatever_the_policies_say() {
    let code = Code::open();
    let first = code.ask("w", Ask::Start(new("r"))).await.unwrap().run;
    let again =
        || NewRun { when_open: WhenOpen::Terminate, when_closed: WhenClosed::Refuse, ..new("r") };
    let answer = code.ask("w", Ask::Start(again())).await.unwrap();
    assert!(answer.existing && answer.run == first && answer.status == Status::Running);
    code.decide(vec![complete()]).await;
    let answer = code.ask("w", Ask::Start(again())).await.unwrap();
    assert!(answer.existing && answer.run == first && answer.status == Status::Completed);
}

#[tokio::test]
async fn a_start_that_is_refused_ends_nothing() {
    let code = Code::open();
    let first = code.start("w").await;
    let invalid = Start { workflow_type: "".into(), ..start() };
    let asked = NewRun { when_open: WhenOpen::Terminate, ..code::new_run(invalid) };
    assert!(matches!(code.ask("w", Ask::Start(asked)).await, Err(Error::Rejected(_))));
    assert_eq!(code.status(&first).await, Status::Running);
}

#[tokio::test]
async fn a_signal_with_a_start_is_one_record_and_signals_the_run_that_is_there() {
    let code = Code::open();
    let signal = |id: &str| {
        Box::new(Signal { name: "go".into(), request_id: id.into(), ..Signal::default() })
    };
    let with = |id: &str| {
        let new = NewRun { when_open: WhenOpen::UseExisting, ..new(id) };
        Ask::SignalWithStart(new, signal(&format!("{id}-signal")))
    };
    let first = code.ask("w", with("1")).await.unwrap();
    assert!(!first.existing);
    assert_eq!(code.signals(&first.run).await, 1);
    let second = code.ask("w", with("2")).await.unwrap();
    assert!(second.existing && second.run == first.run);
    assert_eq!(code.signals(&first.run).await, 2);
    code.ask("w", with("2")).await.unwrap();
    assert_eq!(code.signals(&first.run).await, 2, "it was taken before");
    code.decide(vec![complete()]).await;
    let third = code.ask("w", with("3")).await.unwrap();
    assert!(!third.existing && third.run != first.run);
    let refused = Signal::default();
    let nameless = Ask::SignalWithStart(new("4"), Box::new(refused));
    assert!(code.ask("x", nameless).await.is_err());
    let look = code.engine.look(code::lane("x"), None, |_| ()).await;
    assert!(matches!(look, Err(Error::NotFound { .. })), "nothing was started");
}

#[tokio::test]
async fn no_start_slips_between_a_run_and_the_one_that_follows_it() {
    let code = Code::open();
    let first = code.start("w").await;
    let task = code.task("tasks").await;
    let next = Decision::ContinueAsNew(Box::default());
    let slip = NewRun { when_open: WhenOpen::Refuse, ..new("slip") };
    let (done, slipped) =
        tokio::join!(code.complete_task(&task, vec![next]), code.ask("w", Ask::Start(slip)));
    done.unwrap();
    let Err(Error::AlreadyStarted { open: true, .. }) = slipped else { panic!("{slipped:?}") };
    let followed = code
        .engine
        .look(code::lane("w"), None, |run| (run.key.clone(), run.first_run_id(), run.task.clone()))
        .await
        .unwrap();
    assert_ne!(followed.0, first);
    assert_eq!(followed.1, first.run_id, "one chain");
    assert!(matches!(followed.2, WorkflowTask::Backoff { .. }), "it lived less than a second");
    let before = code
        .engine
        .look(Lane::of(&first), Some(first.run_id), |run| (run.status, run.outbox.len()))
        .await
        .unwrap();
    assert_eq!(before, (Status::ContinuedAsNew, 0));
}

async fn child(policy: IdReusePolicy) -> Option<RunKey> {
    let code = Code::open();
    let before = code.ask("child", Ask::Start(new("before"))).await.unwrap().run;
    code.decide(vec![complete()]).await;
    code.start("parent").await;
    let child = StartChild {
        workflow_id: "child".into(),
        workflow_type: "t".into(),
        reuse_policy: policy,
        ..StartChild::default()
    };
    code.decide(vec![Decision::StartChild(Box::new(child))]).await;
    // Its start, or that it failed, is the parent's next task.
    code.task("tasks").await;
    let current = code.engine.look(code::lane("child"), None, |run| run.key.clone()).await.unwrap();
    (current != before).then_some(current)
}

#[tokio::test]
async fn a_child_starts_where_its_policy_allows() {
    assert!(child(IdReusePolicy::AllowDuplicate).await.is_some());
    assert!(child(IdReusePolicy::RejectDuplicate).await.is_none());
    assert!(child(IdReusePolicy::AllowDuplicateFailedOnly).await.is_none());
}

#[tokio::test]
async fn a_payload_that_looks_like_a_reference_comes_back_as_it_went_in() {
    use reflux_core::{Payload, Payloads};
    let dir = tempfile::tempdir().unwrap();
    let code = Code::at(reflux_engine::Options::at(dir.path()));
    let odd = |data: &'static [u8]| Payload {
        metadata: [("encoding".to_owned(), "reflux/digest".into())].into(),
        data: data.into(),
        ..Payload::default()
    };
    let input = Payloads { payloads: vec![odd(&[7; 32]), odd(b"short")] };
    let new = code::new_run(Start { input: input.clone(), ..start() });
    let run = code.ask("w", Ask::Start(new)).await.unwrap().run;
    let read = |code: &Code| {
        let engine = code.engine.clone();
        let run = run.clone();
        async move {
            let of = |run: &reflux_core::Run| run.started.as_ref().unwrap().input.clone();
            engine.look(Lane::of(&run), Some(run.run_id), of).await.unwrap()
        }
    };
    let page = code.engine.history(&run, EventId(0), 1, 1 << 20).await.unwrap();
    drop(code);
    let code = Code::at(reflux_engine::Options::at(dir.path()));
    assert_eq!(read(&code).await, input);
    let again = code.engine.history(&run, EventId(0), 1, 1 << 20).await.unwrap();
    assert_eq!(page, again);
    let event = reflux_core::Event::decode(page.encoded[0].clone()).unwrap();
    let reflux_core::Kind::Started(started) = event.kind else { panic!() };
    assert_eq!(started.input, input);
}

#[tokio::test]
async fn what_is_decided_at_once_may_be_large_in_any_of_its_parts() {
    use reflux_core::{Memo, Payload, Payloads, ScheduleActivity, SearchAttributes, json_payload};
    let dir = tempfile::tempdir().unwrap();
    let code = Code::at(reflux_engine::Options::at(dir.path()));
    let big = |bytes: usize| json_payload(format!("\"{}\"", "x".repeat(bytes)));
    let fields = |bytes| [("f".to_owned(), big(bytes))].into();
    let odd = Payload { metadata: [("m".to_owned(), vec![7; 300_000].into())].into(), ..big(1) };
    let new = code::new_run(Start {
        input: Payloads { payloads: (0..50).map(|_| big(30_000)).chain([odd]).collect() },
        memo: Memo { fields: fields(1_000_000) },
        search_attributes: SearchAttributes { indexed_fields: fields(700_000) },
        ..start()
    });
    let run = code.ask("w", Ask::Start(new)).await.unwrap().run;
    let activities = (0..1_000).map(|n| {
        Decision::ScheduleActivity(Box::new(ScheduleActivity {
            activity_id: format!("a{n}").into(),
            activity_type: "act".into(),
            input: Payloads { payloads: vec![big(2_000 + n)] },
            start_to_close: Some(std::time::Duration::from_secs(60)),
            ..ScheduleActivity::default()
        }))
    });
    code.decide(activities.collect()).await;
    let before = code.engine.history(&run, EventId(0), 10_000, 1 << 30).await.unwrap();
    assert_eq!(before.encoded.len(), 1_004);
    drop(code);
    let code = Code::at(reflux_engine::Options::at(dir.path()));
    let after = code.engine.history(&run, EventId(0), 10_000, 1 << 30).await.unwrap();
    assert_eq!(after, before);
}

#[tokio::test]
async fn more_than_a_record_holds_is_refused_and_the_run_goes_on() {
    let code = Code::open();
    let run = code.start("w").await;
    let task = code.task("tasks").await;
    let timer = |n: u32| Decision::StartTimer {
        timer_id: format!("{n}{}", "x".repeat(500)).into(),
        duration: std::time::Duration::from_secs(60),
    };
    let refused = code.complete_task(&task, (0..2_000).map(timer).collect()).await;
    assert!(matches!(refused, Err(Error::Rejected(_))), "{refused:?}");
    code.complete_task(&task, (0..200).map(timer).collect()).await.unwrap();
    assert_eq!(code.status(&run).await, Status::Running);
}

#[tokio::test]
async fn the_text_of_a_failure_is_cut_to_what_a_person_reads() {
    let code = Code::open();
    let run = code.start("w").await;
    let text = "é".repeat(500_000);
    let cause = Failure { message: text.clone(), ..Failure::default() };
    let failure =
        Failure { message: "first".into(), cause: Some(Box::new(cause)), ..Failure::default() };
    code.decide(vec![Decision::FailRun { failure: Arc::new(failure) }]).await;
    assert_eq!(code.status(&run).await, Status::Failed);
}
