//! What to do after [`AppendError::Unknown`](crate::AppendError::Unknown). Holds no state and waits for nothing.

use bytes::Bytes;

use crate::{Error, Lease, Log, PartitionId, Seq};

/// What became of the records in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The new right to append; its tail is that of the last committed record.
    pub lease: Lease,
    /// How many of the records in flight, from the first on, are in the log. The rest never will be.
    pub committed: usize,
}

/// Takes the partition again, so that nothing in flight can still land, and finds out which of the
/// records that were in flight after `expected` are in the log. An error of kind
/// [`Retry`](crate::Kind::Retry) means: call it again.
///
/// # Errors
/// Those of [`Log::acquire`] and [`Log::read`]; [`Error::Foreign`] when another writer was faster.
pub fn resolve(
    log: &dyn Log,
    partition: PartitionId,
    expected: Seq,
    in_flight: &[Bytes],
) -> Result<Resolved, Error> {
    let lease = log.acquire(partition)?;
    let mut committed = 0;
    let mut at = expected;
    while at < lease.tail {
        let bytes_max = in_flight.iter().map(Bytes::len).sum::<usize>().max(1);
        let records = match log.read(partition, at.next(), bytes_max) {
            // Only who has taken the partition over trims records that this one has not seen.
            Err(Error::Trimmed { .. }) => {
                return Err(Error::Foreign { partition, seq: at.next() });
            }
            records => records?,
        };
        for (seq, record) in records {
            if in_flight.get(committed) != Some(&record) {
                return Err(Error::Foreign { partition, seq });
            }
            committed += 1;
            at = seq;
        }
    }
    Ok(Resolved { lease, committed })
}
