//! What waits for workers, and the workers that poll for it: over the real engine, as a frontend
//! uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod code;

use std::collections::BTreeSet;
use std::time::Duration;

use code::{Code, NoNodes, activity, activity_of, complete, poll_once, queue, start, worker};
use reflux_core::{Command, EventId, Priority, Sticky, Suspend};
use reflux_engine::{Ask, Engine, Error, Offer, Options, QueueKind};

#[tokio::test]
async fn a_run_of_code_is_decided_by_a_worker_that_polls() {
    let code = Code::open();
    let run = code.start("w").await;
    let task = code.task("tasks").await;
    code.complete_task(&task, vec![activity("a", "acts")]).await.unwrap();
    let offer = code.poll_activity("acts").await;
    let expected = Offer::Activity { run: run.clone(), scheduled: EventId(5), attempt: 1 };
    assert_eq!(offer, expected);
    code.finish_activity(&offer).await;
    let task = code.task("tasks").await;
    code.complete_task(&task, vec![complete()]).await.unwrap();
    let events = code.engine.history(&run, EventId(0), 1_000, 1 << 20).await.unwrap();
    assert!(events.closed && events.end);
    assert_eq!((events.last, events.encoded.len()), (EventId(11), 11));
}

#[tokio::test]
async fn a_history_is_read_page_by_page() {
    let code = Code::open();
    let run = code.start("w").await;
    let task = code.task("tasks").await;
    code.complete_task(&task, vec![activity("a", "acts"), activity("b", "acts")]).await.unwrap();
    let whole = code.engine.history(&run, EventId(0), 100, 1 << 20).await.unwrap();
    assert!(whole.end && !whole.closed);
    let mut paged = Vec::new();
    let mut after = EventId(0);
    loop {
        let page = code.engine.history(&run, after, 2, 1 << 20).await.unwrap();
        assert!(page.encoded.len() <= 2);
        paged.extend(page.encoded);
        after = page.last;
        if page.end {
            break;
        }
    }
    assert_eq!(paged, whole.encoded);
    let one = code.engine.history(&run, EventId(1), 100, 1).await.unwrap();
    assert_eq!((one.encoded.len(), one.last, one.end), (1, EventId(2), false));
    let nothing = code.engine.history(&run, whole.last, 100, 100).await.unwrap();
    assert_eq!((nothing.encoded.len(), nothing.last, nothing.end), (0, whole.last, true));
}

#[tokio::test]
async fn a_poll_that_waits_is_given_what_comes_and_the_first_poll_comes_first() {
    let code = Code::open();
    let polls: Vec<_> = (0..3)
        .map(|n| {
            let (engine, queue) = (code.engine.clone(), queue("tasks", QueueKind::Workflow));
            tokio::spawn(async move { (n, engine.poll(&queue).await) })
        })
        .collect();
    // On one thread: all of them have polled when this one is run again.
    tokio::task::yield_now().await;
    let first = code.start("first").await;
    let mut given = Vec::new();
    for (nth, poll) in polls.into_iter().enumerate() {
        if nth > 0 {
            code.start(&format!("w{nth}")).await;
        }
        let (n, offer) = poll.await.unwrap();
        let Offer::Task { run, .. } = offer else { panic!() };
        given.push((n, run.workflow_id.to_string()));
    }
    assert_eq!(*first.workflow_id, *"first");
    let expected = [(0, "first"), (1, "w1"), (2, "w2")];
    assert_eq!(given, expected.map(|(n, id)| (n, id.to_owned())));
}

#[tokio::test]
async fn the_urgent_come_first_and_equals_in_their_order() {
    let code = Code::open();
    for (id, key) in [("c", 0), ("d", 4), ("e", 5), ("a", 1), ("f", 9), ("b", 2)] {
        let priority = Some(Priority { priority_key: key, ..Priority::default() });
        let new = code::new_run(reflux_core::Start { priority, ..start() });
        let run = code.ask(id, Ask::Start(new)).await.unwrap().run;
        code.status(&run).await; // what was asked before has had its effects
    }
    let mut order = String::new();
    for _ in 0..6 {
        let Offer::Task { run, .. } = code.poll("tasks", QueueKind::Workflow).await else {
            panic!()
        };
        order.push_str(&run.workflow_id);
    }
    assert_eq!(order, "abcdef");
}

#[tokio::test]
async fn a_poll_that_goes_away_takes_nothing_with_it() {
    let code = Code::open();
    let tasks = queue("tasks", QueueKind::Workflow);
    for _ in 0..50 {
        let poll = code.engine.poll(&tasks);
        assert!(tokio::time::timeout(Duration::ZERO, poll).await.is_err(), "nothing is there");
    }
    let run = code.start("w").await;
    let Offer::Task { run: of, .. } = code.poll("tasks", QueueKind::Workflow).await else {
        panic!()
    };
    assert_eq!(of, run);
}

#[tokio::test]
async fn an_offer_on_its_way_to_a_poll_that_goes_away_is_offered_again() {
    let code = Code::open();
    let tasks = queue("tasks", QueueKind::Workflow);
    let mut poll = Box::pin(code.engine.poll(&tasks));
    poll_once(poll.as_mut());
    let run = code.start("w").await;
    // What was asked before has had its effects: it is handed over, and is never taken out.
    code.status(&run).await;
    drop(poll);
    let Offer::Task { run: of, .. } = code.poll("tasks", QueueKind::Workflow).await else {
        panic!()
    };
    assert_eq!(of, run);
}

#[tokio::test]
async fn one_of_two_workers_that_claim_a_task_has_it() {
    let code = Code::open();
    let run = code.start("w").await;
    let scheduled = EventId(2);
    let (one, other) =
        tokio::join!(code.start_task(&run, scheduled, "1"), code.start_task(&run, scheduled, "2"));
    assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1);
    assert!(code.start_task(&run, scheduled, "1").await.is_ok(), "the same poll asks again");
    let task = one.or(other).unwrap();
    code.complete_task(&task, vec![activity("a", "acts")]).await.unwrap();
    let offer = code.poll_activity("acts").await;
    assert_eq!(code.claim(&offer).await.unwrap(), 1);
    assert!(matches!(code.claim(&offer).await, Err(Error::Rejected(_))));
}

#[tokio::test]
async fn a_claim_whose_caller_has_gone_is_given_back_and_does_not_count() {
    let code = Code::open();
    let run = code.start("w").await;
    let task = code.task("tasks").await;
    code.complete_task(&task, vec![activity("a", "acts")]).await.unwrap();
    let offer = code.poll_activity("acts").await;
    let Offer::Activity { scheduled, .. } = offer.clone() else { panic!() };
    let mut claim =
        Box::pin(code.engine.claim_activity(&run, scheduled, worker(), |answer, _| answer.clone()));
    poll_once(claim.as_mut());
    drop(claim);
    let again = code.poll_activity("acts").await;
    assert_eq!(again, offer, "the same attempt");
    code.finish_activity(&again).await;
}

#[tokio::test]
async fn activities_of_a_paused_run_are_not_offered_until_it_goes_on() {
    let code = Code::open();
    let run = code.start("w").await;
    let task = code.task("tasks").await;
    code.command(&run, Command::Pause(Suspend::default())).await.unwrap();
    code.complete_task(&task, vec![activity("a", "acts")]).await.unwrap();
    assert!(code.is_empty("acts", QueueKind::Activity).await);
    code.command(&run, Command::Unpause(Suspend::default())).await.unwrap();
    code.finish_activity(&code.poll_activity("acts").await).await;
}

#[tokio::test]
async fn after_a_boot_everything_that_waits_is_offered_again() {
    let dir = tempfile::tempdir().unwrap();
    let code = Code::at(Options::at(dir.path()));
    code.start("one").await;
    let run = code.start("two").await;
    let task = code.task_of("tasks", "two").await;
    code.complete_task(&task, vec![activity("a", "acts"), activity("b", "acts")]).await.unwrap();
    let claimed = code.poll_activity("acts").await;
    code.claim(&claimed).await.unwrap();
    drop(code);
    let code = Code::at(Options::at(dir.path()));
    let offer = code.poll_activity("acts").await;
    assert_ne!(offer, claimed, "a worker of its own still has that one");
    code.finish_activity(&offer).await;
    code.expect_only_stale("acts", QueueKind::Activity).await;
    let tasks = [code.task("tasks").await, code.task("tasks").await];
    assert!(tasks.iter().any(|task| task.run == run));
}

#[tokio::test]
async fn a_sticky_task_goes_to_its_worker_while_that_polls_and_to_any_when_it_is_gone() {
    let code = Code::open();
    let run = code.start("w").await;
    let sticky = || {
        let schedule_to_start = Duration::from_secs(60);
        Some(Sticky { task_queue: "mine".into(), schedule_to_start })
    };
    let task = code.task("tasks").await;
    code.complete_sticky(&task, vec![], sticky()).await.unwrap();
    // Nobody ever polled the worker's own queue.
    code.signal(&run, "a").await;
    let task = code.task("tasks").await;
    code.complete_sticky(&task, vec![], sticky()).await.unwrap();
    // Now somebody did, a moment ago.
    assert!(code.is_empty("mine", QueueKind::Workflow).await);
    code.signal(&run, "b").await;
    let task = code.task("mine").await;
    assert!(code.is_empty("tasks", QueueKind::Workflow).await);
    code.complete_sticky(&task, vec![], sticky()).await.unwrap();
    code.command(&run, Command::ResetSticky).await.unwrap();
    code.signal(&run, "c").await;
    code.task("tasks").await;
}

#[tokio::test]
async fn a_queue_much_longer_than_its_heads_is_served_exactly_once() {
    const RUNS: usize = 40;
    const EACH: usize = 250;
    let code = Code::open();
    let mut more = Vec::new();
    for n in 0..RUNS {
        code.start(&format!("w{n}")).await;
        let task = code.task("tasks").await;
        let all = (0..EACH).map(|n| activity_of(&format!("a{n}"), "acts", 0)).collect();
        more.push((task, all));
    }
    for (task, all) in more {
        code.complete_task(&task, all).await.unwrap();
    }
    let mut served = BTreeSet::new();
    while served.len() < RUNS * EACH {
        let offer = code.poll_activity("acts").await;
        if code.claim(&offer).await.is_ok() {
            assert!(served.insert(offer), "an activity was had twice");
        }
    }
    code.expect_only_stale("acts", QueueKind::Activity).await;
}

/// As above over a restart, with one activity for each of many runs.
#[tokio::test]
async fn what_waits_in_the_store_is_found_after_a_boot() {
    const RUNS: usize = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let code = Code::at(Options::at(dir.path()));
    let mut starts = Vec::new();
    for n in 0..RUNS {
        let (engine, id) = (code.engine.clone(), format!("w{n}"));
        let ask = Ask::Start(code::new_run(start()));
        starts.push(tokio::spawn(async move {
            engine.ask(code::lane(&id), ask, |_, _| ()).await.unwrap();
        }));
    }
    for start in starts {
        start.await.unwrap();
    }
    drop(code);
    let code = Code::at(Options::at(dir.path()));
    let mut served = BTreeSet::new();
    while served.len() < RUNS {
        let task = code.task("tasks").await;
        assert!(served.insert(task.run), "a task was had twice");
    }
    code.expect_only_stale("tasks", QueueKind::Workflow).await;
}

#[tokio::test]
async fn an_engine_that_stops_answers_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(Options::at(dir.path()), std::sync::Arc::new(NoNodes)).unwrap();
    engine.shutdown();
    let look = engine.look(code::lane("w"), None, |_| ()).await;
    assert!(matches!(look, Err(Error::Stopping)));
}
