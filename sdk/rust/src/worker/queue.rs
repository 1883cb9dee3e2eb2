//! The tasks of one queue: taken until the worker has shut down, each an attempt of its own.

use std::collections::HashMap;
use std::sync::Arc;

use temporalio_common::protos::coresdk::activity_task::ActivityCancelReason;
use temporalio_common::protos::coresdk::activity_task::activity_task::Variant;
use temporalio_sdk_core::{PollError, Worker};
use tokio::task::JoinSet;

use super::Nodes;
use super::attempt::{self, Open};

/// Takes tasks until the worker was told to shut down and everything it took has ended.
pub(super) async fn work(worker: Arc<Worker>, nodes: Nodes) -> Result<(), PollError> {
    let mut attempts: JoinSet<Vec<u8>> = JoinSet::new();
    // As many as may run at once, and those that have ended since the last task.
    let mut open: HashMap<Vec<u8>, Open> = HashMap::new();
    let polled = loop {
        while let Some(ended) = attempts.try_join_next() {
            if let Ok(token) = ended {
                open.remove(&token);
            }
        }
        let task = match worker.poll_activity_task().await {
            Ok(task) => task,
            Err(PollError::ShutDown) => break Ok(()),
            Err(error) => break Err(error),
        };
        let token = task.task_token;
        match task.variant {
            Some(Variant::Start(start)) => {
                let node = nodes.get(&start.activity_type).cloned();
                let (told, attempt) = attempt::of(worker.clone(), node, token.clone(), start);
                open.insert(token, told);
                attempts.spawn(attempt);
            }
            Some(Variant::Cancel(cancel)) => {
                if let Some(told) = open.get(&token) {
                    told.stop(cancel.reason() == ActivityCancelReason::WorkerShutdown);
                }
            }
            None => {}
        }
    };
    if polled.is_err() {
        worker.initiate_shutdown();
    }
    while attempts.join_next().await.is_some() {}
    worker.shutdown().await;
    polled
}
