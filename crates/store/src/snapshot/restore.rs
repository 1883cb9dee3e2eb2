//! Loads a snapshot into an empty partition.

use bytes::Bytes;
use reflux_core::RunKey;
use reflux_proto::reflux::v1::Blob;

use super::{Piece, Reader, Written};
use crate::blobs;
use crate::commit;
use crate::error::Error;
use crate::object::{Download, Place};
use crate::partition::Partition;
use crate::rows::address::Address;
use crate::rows::meta::{self, Meta};
use crate::rows::{items, summary};
use crate::summary::{Indexed, Summary};
use crate::table::Batch;
use crate::tally::Tallies;
use crate::view::Items;

/// Rows written in one batch, in bytes: large enough to be fast, small beside a memtable.
const BATCH_BYTES: usize = 1 << 20;

/// Items of one run kept in memory until it is folded; a longer run is folded from its rows.
const RUN_BYTES_MAX: usize = 4 << 20;

/// Loads a snapshot into an empty partition and returns what it held; [`Partition::applied`] is
/// its last record then. `fold` gives the summary of a run from its items, derived as when it
/// ran. On an error, or when the process ends meanwhile, the partition is empty again.
///
/// # Errors
/// [`Error::Invalid`] when the partition is not empty or another one; [`Error::Corrupt`] when the
/// snapshot is damaged: take the one before it; what `fold` gives.
pub fn restore(
    place: &Place,
    file: &str,
    partition: &Partition,
    fold: &mut dyn FnMut(&RunKey, Items) -> Result<Summary, Error>,
) -> Result<Written, Error> {
    // Folding a run may need payloads, which stand behind the runs: they are taken up first.
    let mut blobs = super::open(place, file)?;
    let mut reader = super::open(place, file)?;
    let _writing = partition.lock();
    if !partition.is_empty()? {
        return Err(Error::Invalid(format!(
            "partition {} is not empty: clear it before {file} is loaded",
            partition.id()
        )));
    }
    let loaded = load(&mut blobs, &mut reader, file, partition, fold);
    if loaded.is_err() {
        partition.reset()?;
    }
    loaded?;
    reader.finish()
}

fn load(
    blobs: &mut Reader<Download>,
    reader: &mut Reader<Download>,
    file: &str,
    partition: &Partition,
    fold: &mut dyn FnMut(&RunKey, Items) -> Result<Summary, Error>,
) -> Result<(), Error> {
    let mut target = Target {
        partition,
        fold,
        seq: 0,
        batch: Batch::default(),
        tallies: Tallies::default(),
        run: None,
    };
    meta::put(&mut target.batch, Meta { applied: 0, loading: true });
    target.commit()?;
    while let Some(piece) = blobs.next()? {
        match piece {
            Piece::Header(header) => target.seq = header.seq,
            Piece::Blob(part) => target.blob(part)?,
            Piece::Run { .. } | Piece::Footer(_) => {}
        }
    }
    target.commit()?;
    while let Some(piece) = reader.next()? {
        match piece {
            Piece::Header(header) if header.partition != partition.id() => {
                return Err(Error::Invalid(format!(
                    "{file} is of partition {}, not {}",
                    header.partition,
                    partition.id()
                )));
            }
            Piece::Header(_) => {}
            Piece::Run { key, items, continued } => target.items(key, &items, continued)?,
            Piece::Blob(_) => {}
            Piece::Footer(_) => target.end_run()?,
        }
    }
    // Only now is the file known to be whole.
    target.end()
}

/// The partition being filled.
struct Target<'a> {
    partition: &'a Partition,
    fold: &'a mut dyn FnMut(&RunKey, Items) -> Result<Summary, Error>,
    seq: u64,
    batch: Batch,
    tallies: Tallies,
    run: Option<Run>,
}

/// The run whose items are coming in.
struct Run {
    key: RunKey,
    address: Address,
    items: u64,
    /// Its rows so far, by the ordinal of the first item, unless they became too many.
    rows: Option<Vec<(u64, Bytes)>>,
    bytes: usize,
}

impl Target<'_> {
    fn items(&mut self, key: RunKey, new: &[Bytes], continued: bool) -> Result<(), Error> {
        if !continued {
            self.end_run()?;
            let address = Address::of(&key);
            self.refuse_twice(&key, address)?;
            self.run = Some(Run { key, address, items: 0, rows: Some(Vec::new()), bytes: 0 });
        }
        let Some(run) = &mut self.run else { return Ok(()) };
        let row = items::frame(new);
        self.batch.put(items::key(run.address, run.items), row.clone());
        run.bytes += row.len();
        match &mut run.rows {
            Some(rows) if run.bytes <= RUN_BYTES_MAX => rows.push((run.items, row)),
            _ => run.rows = None,
        }
        run.items += new.len() as u64;
        self.commit_if_full()
    }

    // Two entries of one run would overwrite each other's items.
    fn refuse_twice(&self, key: &RunKey, address: Address) -> Result<(), Error> {
        let summary = summary::key(address);
        if self.batch.writes(&summary) || self.partition.rows().get(&summary)?.is_some() {
            return Err(Error::Corrupt(format!(
                "snapshot: run {key} stands in it twice; take the snapshot before it"
            )));
        }
        Ok(())
    }

    fn end_run(&mut self) -> Result<(), Error> {
        let Some(run) = self.run.take() else { return Ok(()) };
        let items = match run.rows {
            Some(rows) => Items::of_rows(rows),
            None => {
                self.commit()?;
                self.partition.items(&run.key, 0)?
            }
        };
        let summary = (self.fold)(&run.key, items)?;
        if summary.key != run.key || summary.items != run.items {
            return Err(Error::Invalid(format!(
                "run {}: {} items were folded into a summary of {} that counts {}",
                run.key, run.items, summary.key, summary.items
            )));
        }
        commit::add_run(&mut self.batch, run.address, &summary);
        summary::put(&mut self.batch, run.address, &summary)?;
        let (rows, counted) = (self.partition.rows(), Some(summary.counted()));
        self.tallies.note(rows, &summary.key.namespace, None, counted)?;
        commit::write_indexes(&mut self.batch, run.address, Indexed::default(), &summary)?;
        self.commit_if_full()
    }

    fn blob(&mut self, part: Blob) -> Result<(), Error> {
        blobs::put(self.partition.rows(), &mut self.batch, part, self.seq)?;
        self.commit_if_full()
    }

    fn end(mut self) -> Result<(), Error> {
        self.tallies.put(&mut self.batch)?;
        meta::put(&mut self.batch, Meta { applied: self.seq, loading: false });
        self.partition.write(self.seq, self.batch)
    }

    fn commit_if_full(&mut self) -> Result<(), Error> {
        if self.batch.bytes() >= BATCH_BYTES { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.partition.write(0, std::mem::take(&mut self.batch))
    }
}
