//! Time and ids of a simulated world.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reflux_core::{RunId, Timestamp};
use reflux_engine::World;
use reflux_log::fault::Rng;
use uuid::Uuid;

/// When every simulation begins: 2026-01-01.
const EPOCH: i64 = 1_767_225_600_000_000_000;

/// A clock that goes where it is told, and ids that follow from a seed. Clones share both.
#[derive(Clone)]
pub(crate) struct Clock {
    now: Arc<AtomicI64>,
    ids: Arc<Mutex<Rng>>,
}

impl Clock {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Arc::new(AtomicI64::new(EPOCH)),
            ids: Arc::new(Mutex::new(Rng::new(seed ^ 0x1D5))),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.set(self.now().after(by));
    }

    pub(crate) fn back(&self, by: Duration) {
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(0);
        self.set(Timestamp((self.now().0 - nanos).max(1)));
    }

    pub(crate) fn set(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::Relaxed);
    }

    pub(crate) fn uuid(&self) -> Uuid {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let [a, b, c, d, e, f, g, h] = ids.number().to_le_bytes();
        let [i, j, ..] = ids.number().to_le_bytes();
        let millis = u64::try_from(self.now().0 / 1_000_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j])
            .into_uuid()
    }

    pub(crate) fn run_id(&self) -> RunId {
        RunId(self.uuid())
    }

    pub(crate) fn world(&self) -> World {
        let (now, uuid) = (self.clone(), self.clone());
        World { now: Arc::new(move || now.now()), uuid: Arc::new(move || uuid.uuid()) }
    }
}
