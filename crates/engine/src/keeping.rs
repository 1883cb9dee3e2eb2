//! Loads what is kept beside the log: snapshots.

use std::time::Duration;

use reflux_core::RunKey;
use reflux_store::{Place, snapshot};

use crate::execution::Execution;
use crate::specs::Specs;
use crate::{Error, codec};

/// Where the snapshots are.
pub(crate) struct Keeping {
    pub place: Place,
    pub retention: Duration,
}

impl Keeping {
    /// Loads the newest snapshot that can be read into an empty partition. `false` when there is
    /// none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there are snapshots and none can be read.
    pub fn restore(
        &self,
        partition: &reflux_store::Partition,
        specs: &Specs,
    ) -> Result<bool, Error> {
        let mut damaged = None;
        for (_, file) in snapshot::list(&self.place, partition.id())? {
            match self.restore_from(&file, partition, specs) {
                Ok(()) => return Ok(true),
                Err(error) => {
                    tracing::error!(file, %error, "the snapshot cannot be read; trying the one before it");
                    damaged = Some(error);
                }
            }
        }
        damaged.map_or(Ok(false), Err)
    }

    fn restore_from(
        &self,
        file: &str,
        partition: &reflux_store::Partition,
        specs: &Specs,
    ) -> Result<(), Error> {
        let mut cached = Vec::new();
        let mut fold = |key: &RunKey, items: reflux_store::Items| {
            let mut execution = Execution::new(key.clone());
            let fetch = |digest: [u8; 32]| Ok(partition.blob(&digest)?);
            for row in items {
                let (_, encoded) = row?;
                codec::decode(&encoded, &fetch)
                    .and_then(|item| execution.absorb(&item, encoded.len(), specs, &fetch))
                    .map(|news| cached.extend(news.into_results()))
                    .map_err(|error| reflux_store::Error::Corrupt(error.to_string()))?;
            }
            Ok(execution.summary(self.retention))
        };
        snapshot::restore(&self.place, file, partition, &mut fold)?;
        // Lost with the process that ends here: then they are made again.
        partition.note_cached(&cached)?;
        Ok(())
    }
}
