//! The results that runs may take, by call; bounded, the oldest go first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use reflux_core::{RunId, RunKey, Timestamp};
use reflux_flow::advance::CacheKey;
use reflux_store::CachedResult;

use super::CacheBounds;

/// Bytes of results kept in memory too: what has just ended, which the store may not have yet and
/// those who were held want at once.
const RECENT_BYTES_MAX: usize = 8 << 20; // four of the longest

/// Rows whose deletion waits for the keeper. More are forgotten at the next boot.
const GONE_MAX: usize = 100_000; // 10 MB, and ten seconds of 10,000 evictions each

pub(super) struct Entries {
    bounds: CacheBounds,
    by_key: BTreeMap<CacheKey, Entry>,
    by_age: BTreeSet<(Timestamp, CacheKey)>,
    by_run: BTreeSet<(RunId, CacheKey)>,
    bytes: u64,
    /// Those with their output in memory, oldest first, by number; some have been replaced since.
    recent: VecDeque<(u64, CacheKey, usize)>,
    next: u64,
    recent_bytes: usize,
    gone: Vec<(RunKey, u64)>,
}

pub(super) struct Entry {
    pub result: CachedResult,
    /// How often it was taken since the process began.
    pub hits: u64,
    number: u64,
    output: Option<Bytes>,
}

impl Entries {
    pub fn new(bounds: CacheBounds) -> Self {
        Self {
            bounds,
            by_key: BTreeMap::new(),
            by_age: BTreeSet::new(),
            by_run: BTreeSet::new(),
            bytes: 0,
            recent: VecDeque::new(),
            next: 0,
            recent_bytes: 0,
            gone: Vec::new(),
        }
    }

    /// How many there are, and their bytes.
    pub fn size(&self) -> (usize, u64) {
        (self.by_key.len(), self.bytes)
    }

    /// All of them, the newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Entry> {
        self.by_age.iter().rev().filter_map(|(_, key)| self.by_key.get(key))
    }

    /// A result that counts now and is no older than `ttl`; with it its JSON, if that is in memory.
    pub fn find(
        &mut self,
        key: &CacheKey,
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Option<(CachedResult, Option<Bytes>)> {
        let entry = self.by_key.get(key)?;
        if entry.result.expires.is_some_and(|expires| expires <= now) {
            self.drop_entry(key);
            return None;
        }
        let is_old = ttl.is_some_and(|ttl| entry.result.ended.after(ttl) <= now);
        (!is_old).then(|| (entry.result.clone(), entry.output.clone()))
    }

    /// A result was taken.
    pub fn hit(&mut self, key: &CacheKey) {
        if let Some(entry) = self.by_key.get_mut(key) {
            entry.hits += 1;
        }
    }

    /// Takes a result up, in the place of an older one.
    pub fn insert(&mut self, result: CachedResult, json: Option<Bytes>) {
        let key = CacheKey(result.key);
        if let Some(entry) = self.by_key.get(&key) {
            if (entry.result.ended, entry.result.ordinal) > (result.ended, result.ordinal) {
                return self.forget_row(result.run, result.ordinal);
            }
            self.drop_entry(&key);
        }
        self.by_age.insert((result.ended, key));
        self.by_run.insert((result.run.run_id, key));
        self.bytes += result.bytes;
        if let Some(json) = &json {
            self.recent.push_back((self.next, key, json.len()));
            self.recent_bytes += json.len();
        }
        self.by_key.insert(key, Entry { result, hits: 0, number: self.next, output: json });
        self.next += 1;
        self.evict();
    }

    /// The result is not where it was.
    pub fn remove(&mut self, key: &CacheKey, result: &CachedResult) {
        if self.by_key.get(key).is_some_and(|entry| entry.result == *result) {
            self.drop_entry(key);
        }
    }

    /// The run leaves; its rows leave with it.
    pub fn retire(&mut self, run: &RunKey) {
        let first = (run.run_id, CacheKey([0; 32]));
        let last = (run.run_id, CacheKey([u8::MAX; 32]));
        let keys: Vec<CacheKey> = self.by_run.range(first..=last).map(|(_, key)| *key).collect();
        keys.iter().for_each(|key| drop(self.take(key)));
    }

    /// Forgets those that count no longer.
    pub fn expire(&mut self, now: Timestamp) {
        self.drop_where(&|result| result.expires.is_some_and(|expires| expires <= now));
    }

    /// Forgets those; tells how many there were.
    pub fn drop_where(&mut self, which: &dyn Fn(&CachedResult) -> bool) -> usize {
        let entries = self.by_key.iter();
        let keys: Vec<CacheKey> =
            entries.filter(|(_, entry)| which(&entry.result)).map(|(key, _)| *key).collect();
        keys.iter().for_each(|key| self.drop_entry(key));
        keys.len()
    }

    /// The rows that are to be deleted: run and ordinal.
    pub fn take_gone(&mut self) -> Vec<(RunKey, u64)> {
        std::mem::take(&mut self.gone)
    }

    fn evict(&mut self) {
        while self.by_key.len() > self.bounds.entries || self.bytes > self.bounds.bytes {
            let Some((_, oldest)) = self.by_age.first().copied() else { return };
            self.drop_entry(&oldest);
        }
        while self.recent_bytes > RECENT_BYTES_MAX {
            let Some((number, key, bytes)) = self.recent.pop_front() else { return };
            self.recent_bytes -= bytes;
            if let Some(entry) = self.by_key.get_mut(&key).filter(|it| it.number == number) {
                entry.output = None;
            }
        }
    }

    fn drop_entry(&mut self, key: &CacheKey) {
        if let Some(entry) = self.take(key) {
            self.forget_row(entry.result.run, entry.result.ordinal);
        }
    }

    fn take(&mut self, key: &CacheKey) -> Option<Entry> {
        let entry = self.by_key.remove(key)?;
        self.by_age.remove(&(entry.result.ended, *key));
        self.by_run.remove(&(entry.result.run.run_id, *key));
        self.bytes -= entry.result.bytes;
        Some(entry)
    }

    fn forget_row(&mut self, run: RunKey, ordinal: u64) {
        if self.gone.len() < GONE_MAX {
            self.gone.push((run, ordinal));
        }
    }
}
