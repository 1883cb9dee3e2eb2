//! Materialised state: what the log says of every run, where a run, a list or a timer finds it.
//!
//! ```text
//! engine ── Changes ──► Partition ──► rows ──► fjall, or a map in memory
//!                          │  ▲
//!                        View └─ restore ◄── snapshot on an object store
//!                          └─────── write ──►
//! ```
//! An entity's rows are its items: loading a run is folding its items, which the engine does with
//! the same `apply` that runs live. A commit costs what changed, however long the run is. A
//! snapshot is a partition's log folded by entity, so that no state is ever serialised.
//!
//! Absent: fsync (what is lost is in the log), migrations (another row format is a rebuild), any
//! meaning of events, clocks, retries.

pub mod backup;
mod blobs;
mod cached;
mod commit;
mod disk;
mod error;
mod hash;
mod list;
mod memory;
mod object;
mod partition;
mod rows;
pub mod snapshot;
mod store;
mod summary;
mod table;
mod tally;
mod view;

pub use blobs::{BLOB_BYTES_MAX, BLOB_GRACE_RECORDS, BLOB_PART_BYTES_MAX};
pub use cached::CachedResult;
pub use commit::{Changes, ITEM_BYTES_MAX, RunChange};
pub use error::Error;
pub use list::{Filter, PAGE_RUNS_MAX, Page, Position, SCAN_ROWS_MAX};
pub use object::Place;
pub use partition::Partition;
pub use store::{Options, References, Store, Usage};
pub use summary::{
    Current, Digest, ERROR_BYTES_MAX, Indexed, QueueDigest, Summary, WAITING_MAX, Waiting,
};
pub use tally::{Counted, Tally};
pub use view::{Items, View};
