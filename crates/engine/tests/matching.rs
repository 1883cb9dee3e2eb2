//! What waits for workers, and the workers that poll for it: over the real engine, as a frontend
//! uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod code;

use code::{Code, activity, complete};
use reflux_core::EventId;
use reflux_engine::Offer;

#[tokio::test]
async fn a_run_of_code_is_decided_by_a_worker_that_polls() {
    let code = Code::open();
    let run = code.start("w").await;
    let task = code.task("tasks").await;
    code.complete_task(&task, vec![activity("a", "acts")]).await.unwrap();
    let offer = code.poll_activity("acts").await;
    assert!(
        matches!(&offer, Offer::Activity { run: of, scheduled: EventId(5), attempt: 1 } if *of == run)
    );
    code.finish_activity(&offer).await;
    let task = code.task("tasks").await;
    code.complete_task(&task, vec![complete()]).await.unwrap();
    let events = code.engine.history(&run, EventId(0), 1_000, 1 << 20).await.unwrap();
    assert!(events.closed && events.end);
    assert_eq!(events.last, EventId(11));
    assert_eq!(events.encoded.len(), 11);
}
