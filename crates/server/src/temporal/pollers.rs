//! Who polls: what people see of a queue's workers. Forgotten when the server ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reflux_core::{Timestamp, wire};
use reflux_engine::{Queue, QueueKind};
use reflux_proto::temporal::api::enums::v1::TaskQueueType;
use reflux_proto::temporal::api::taskqueue::v1::PollerInfo;
use reflux_proto::temporal::api::workflowservice::v1::{
    DescribeTaskQueueRequest, DescribeTaskQueueResponse, ShutdownWorkerRequest,
    ShutdownWorkerResponse,
};
use tonic::Status;

use super::Frontend;
use super::convert::{queue_name, text};
use crate::clock;

/// How long a worker counts after its last poll (Temporal's).
const SEEN: Duration = Duration::from_secs(5 * 60);
/// Workers that are known of at once; beyond it those that were silent longest are forgotten.
const POLLERS_MAX: usize = 10_000; // some 300 bytes each

/// Who polls which queue.
#[derive(Default)]
pub(super) struct Pollers {
    seen: Mutex<BTreeMap<(Queue, Arc<str>), Poller>>,
}

#[derive(Clone, Copy, Default)]
struct Poller {
    last: Timestamp,
    waiting: u32,
}

/// A poll that waits.
pub(super) struct Here {
    pollers: Arc<Pollers>,
    key: (Queue, Arc<str>),
}

impl Pollers {
    /// A worker has come, and stays until what is given is dropped.
    pub(super) fn enter(self: &Arc<Self>, queue: &Queue, identity: &Arc<str>) -> Here {
        let key = (queue.clone(), identity.clone());
        let now = clock::now();
        let mut seen = self.lock();
        if seen.len() >= POLLERS_MAX {
            seen.retain(|_, poller| poller.waiting > 0 || now.since(poller.last) < SEEN);
        }
        if seen.len() < POLLERS_MAX || seen.contains_key(&key) {
            let poller = seen.entry(key.clone()).or_default();
            *poller = Poller { last: now, waiting: poller.waiting.saturating_add(1) };
        }
        drop(seen);
        Here { pollers: self.clone(), key }
    }

    fn of(&self, queue: &Queue) -> Vec<PollerInfo> {
        let now = clock::now();
        let mut seen = self.lock();
        seen.retain(|_, poller| poller.waiting > 0 || now.since(poller.last) < SEEN);
        seen.iter()
            .filter(|((of, _), _)| of == queue)
            .map(|((_, identity), poller)| PollerInfo {
                last_access_time: wire::to_time(poller.last),
                identity: identity.to_string(),
                ..Default::default()
            })
            .collect()
    }

    fn forget(&self, identity: &str) {
        self.lock().retain(|(_, known), _| **known != *identity);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Queue, Arc<str>), Poller>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(poller) = self.pollers.lock().get_mut(&self.key) {
            poller.last = clock::now();
            poller.waiting = poller.waiting.saturating_sub(1);
        }
    }
}

impl Frontend {
    pub(super) async fn task_queue_info(
        &self,
        request: DescribeTaskQueueRequest,
    ) -> Result<DescribeTaskQueueResponse, Status> {
        let kind = match request.task_queue_type() {
            TaskQueueType::Activity => QueueKind::Activity,
            TaskQueueType::Workflow | TaskQueueType::Unspecified | TaskQueueType::Nexus => {
                QueueKind::Workflow
            }
        };
        let namespace = self.namespace(request.namespace)?;
        let queue = Queue { namespace, name: queue_name(request.task_queue)?, kind };
        Ok(DescribeTaskQueueResponse { pollers: self.pollers.of(&queue), ..Default::default() })
    }

    /// A worker says that it stops. Its polls end as it takes them back; what it has in hand it
    /// completes, or its time-outs bring it back.
    pub(super) async fn worker_stops(
        &self,
        request: ShutdownWorkerRequest,
    ) -> Result<ShutdownWorkerResponse, Status> {
        self.namespace(request.namespace)?;
        self.pollers.forget(&text("Identity", request.identity)?);
        Ok(ShutdownWorkerResponse {})
    }
}
