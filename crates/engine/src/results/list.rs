//! What people see of the results that runs may take, and how they take them away.

use reflux_core::Timestamp;
use reflux_store::CachedResult;

use super::Results;

/// Which results, of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheFilter {
    /// The namespace.
    pub namespace: String,
    /// Results of this node only.
    pub node: Option<String>,
    /// Results of runs of this flow only.
    pub flow: Option<String>,
}

/// A result that runs may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRow {
    /// Where it stands.
    pub result: CachedResult,
    /// How often it was taken since the process began.
    pub hits: u64,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheUsage {
    /// Results.
    pub entries: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// How often they were taken since the process began; of those that are still here.
    pub hits: u64,
}

impl CacheFilter {
    fn takes(&self, result: &CachedResult) -> bool {
        *result.run.namespace == *self.namespace
            && self.node.as_ref().is_none_or(|node| *result.node == **node)
            && self.flow.as_ref().is_none_or(|flow| *result.flow == **flow)
    }
}

impl Results {
    /// The newest results first, at most so many.
    pub fn list(&self, filter: &CacheFilter, limit: usize) -> Vec<CacheRow> {
        let inner = self.lock();
        let rows = inner.entries.newest().filter(|entry| filter.takes(&entry.result));
        let row = |entry: &super::entries::Entry| CacheRow {
            result: entry.result.clone(),
            hits: entry.hits,
        };
        rows.take(limit).map(row).collect()
    }

    /// How much there is.
    pub fn usage(&self, filter: &CacheFilter) -> CacheUsage {
        let inner = self.lock();
        let rows = inner.entries.newest().filter(|entry| filter.takes(&entry.result));
        rows.fold(CacheUsage::default(), |usage, entry| CacheUsage {
            entries: usage.entries + 1,
            bytes: usage.bytes + entry.result.bytes,
            hits: usage.hits + entry.hits,
        })
    }

    /// Forgets the results that came before a moment; tells how many there were.
    pub fn clear(&self, filter: &CacheFilter, before: Timestamp) -> usize {
        let which = |result: &CachedResult| filter.takes(result) && result.ended < before;
        self.lock().entries.drop_where(&which)
    }
}
