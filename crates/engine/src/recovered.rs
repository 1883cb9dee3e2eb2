//! The runs of an engine that has recovered and decides nothing yet: what a host has to know before
//! the first run goes on.

use reflux_core::{Item, RunKey, Timestamp};
use reflux_store::{Filter, Page, Partition, Position};

use crate::request::Lane;
use crate::results::{CacheFilter, Results};
use crate::router::Router;
use crate::{Error, codec};

/// Every run as the last process left it.
pub struct Recovered<'a> {
    stores: &'a [Partition],
    router: &'a Router,
    results: &'a Results,
}

impl<'a> Recovered<'a> {
    pub(crate) fn new(stores: &'a [Partition], router: &'a Router, results: &'a Results) -> Self {
        Self { stores, router, results }
    }

    /// Forgets the results of runs that came before a moment: a store that was rebuilt has them
    /// again.
    pub fn clear_cache(&self, filter: &CacheFilter, before: Timestamp) {
        self.results.clear(filter, before);
    }

    /// Runs, newest first.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Invalid`] for a filter that makes no sense.
    pub fn list(
        &self,
        filter: &Filter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, Error> {
        let pages: Result<Vec<_>, _> =
            self.stores.iter().map(|store| store.list(filter, after, limit)).collect();
        Ok(Page::merge(pages?, limit))
    }

    /// Everything a run went through, in order; nothing for one that is not there.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn items(&self, run: &RunKey) -> Result<Vec<Item>, Error> {
        match self.stores.get(self.router.partition_of(&Lane::of(run))) {
            Some(store) => codec::items(store, run),
            None => Ok(Vec::new()),
        }
    }
}
