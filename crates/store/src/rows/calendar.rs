//! Orders runs by a moment: key = moment ‖ address, value = names.

use bytes::Bytes;
use reflux_core::{RunKey, Timestamp};

use super::address::Address;
use super::{Kind, moment, summary};
use crate::error::Error;
use crate::table::Batch;

/// When a run has to be woken next.
pub(crate) const DUE: Calendar = Calendar { kind: Kind::Due, name: "due" };
/// When a closed run's retention is over.
pub(crate) const EXPIRY: Calendar = Calendar { kind: Kind::Expiry, name: "expiry" };

/// Runs by one kind of moment.
pub(crate) struct Calendar {
    kind: Kind,
    name: &'static str,
}

impl Calendar {
    pub(crate) fn key(&self, when: Timestamp, run: Address) -> Bytes {
        self.kind.key(&[&moment::ascending(when), run.as_bytes()])
    }

    /// From the first key after `after` to the last at `up_to`, which is included.
    pub(crate) fn range(
        &self,
        after: Option<(Timestamp, Address)>,
        up_to: Timestamp,
    ) -> (Bytes, Bytes) {
        let from = match after {
            Some((when, run)) => self.kind.key_after(&[&moment::ascending(when), run.as_bytes()]),
            None => self.kind.key(&[]),
        };
        (from, self.kind.key_after(&[&moment::ascending(up_to)]))
    }

    pub(crate) fn put(
        &self,
        batch: &mut Batch,
        when: Timestamp,
        run: Address,
        names: &RunKey,
    ) -> Result<(), Error> {
        batch.put(self.key(when, run), summary::encode_names(names)?);
        Ok(())
    }

    pub(crate) fn delete(&self, batch: &mut Batch, when: Timestamp, run: Address) {
        batch.delete(self.key(when, run));
    }

    pub(crate) fn decode(&self, key: &[u8], value: &[u8]) -> Result<(Timestamp, RunKey), Error> {
        let when = key.get(1..).and_then(|rest| rest.first_chunk());
        let (Some(when), Some(run)) = (when, Address::at_end_of(key)) else {
            return Err(Error::corrupt_row(self.name, "a short key"));
        };
        Ok((moment::from_ascending(*when), summary::decode_names(value, run.run_id())?))
    }
}
