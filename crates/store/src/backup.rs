//! Backups: one snapshot per partition in any object store, and a manifest that makes them a
//! whole.
//!
//! ```text
//! URL/p00000.snap  URL/p00001.snap  …  URL/MANIFEST.json   (written last)
//! ```
//! Restoring makes the snapshots of a new data directory, all of record 0: the engine loads them
//! as any snapshot and starts a log of its own. A running server is not touched by either.

use std::path::Path;

use bytes::Bytes;
use prost::Message;
use reflux_core::Timestamp;
use reflux_proto::reflux::v1::{Frame, Header, frame::Frame as Content};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::object::{Place, sync_parent};
use crate::snapshot;
use crate::summary::Digest;
use crate::view::View;

/// Name of the manifest.
pub const MANIFEST: &str = "MANIFEST.json";

/// The only format so far.
const FORMAT: u32 = 1;

/// Longest manifest that is read: some hundred bytes per partition.
const MANIFEST_BYTES_MAX: usize = 16 << 20;

/// Where files are collected until all are there.
const STAGING: &str = ".restoring";

/// What a backup consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// When it was taken, in nanoseconds since 1970-01-01T00:00:00Z.
    pub time: i64,
    /// Every partition, by number.
    pub partitions: Vec<PartitionFile>,
}

/// One partition of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionFile {
    /// Which partition.
    pub partition: u32,
    /// The last record that is in it.
    pub seq: u64,
    /// Name of its file.
    pub file: String,
    /// Length of the file.
    pub bytes: u64,
    /// BLAKE3 of the file, hexadecimal.
    pub blake3: String,
    /// Runs in it.
    pub entities: u64,
    /// [`View::state_hash`], hexadecimal: the same after it is restored and loaded.
    pub state_hash: String,
}

/// Writes a backup of all partitions to a URL or directory (see [`Place::open`]) that holds
/// nothing yet, and reads it back. Views taken at one moment make a backup of that moment; if
/// they are not, each partition is whole by itself and messages between them are sent again.
///
/// # Errors
/// [`Error::Invalid`] when there is something already; [`Error::Retry`] when it cannot be written
/// (what is there then has no manifest, and is no backup); [`Error::Corrupt`] when it does not
/// read back.
pub fn backup(views: &[View], now: Timestamp, url: &str) -> Result<Manifest, Error> {
    let place = Place::create(url)?;
    if let Some(file) = place.list("")?.first() {
        return Err(Error::Invalid(format!(
            "{} exists: name an empty place for the backup",
            place.describe(file)
        )));
    }
    let mut partitions = Vec::with_capacity(views.len());
    for view in views {
        let file = format!("p{:05}.snap", view.partition);
        let written = snapshot::write_as(view, now, &place, &file)?;
        if snapshot::verify(&place, &file)? != written {
            return Err(Error::Corrupt(format!(
                "{}: it does not read back as it was written; check the disk, then try again",
                place.describe(&file)
            )));
        }
        partitions.push(PartitionFile {
            partition: view.partition,
            seq: written.seq,
            file,
            bytes: written.bytes,
            blake3: hex(&written.digest),
            entities: written.entities,
            state_hash: hex(&view.state_hash()?),
        });
    }
    partitions.sort_by_key(|partition| partition.partition);
    let manifest = Manifest { format: FORMAT, time: now.0, partitions };
    let json = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| Error::Invalid(format!("backup manifest: {error}")))?;
    let mut upload = place.upload(MANIFEST);
    upload.put(json.into())?;
    upload.finish()?;
    Ok(manifest)
}

/// Restores a backup into a data directory that is empty or not there: its `snapshots` directory
/// holds every partition at record 0 when this returns, on disk and read back.
///
/// # Errors
/// [`Error::Invalid`] when the directory holds something; [`Error::NotFound`] when there is no
/// manifest, which is how a torn backup looks; [`Error::Corrupt`] when a file is not what the
/// manifest says.
pub fn restore(url: &str, dir: &Path) -> Result<Manifest, Error> {
    let from = Place::open(url)?;
    let manifest = read_manifest(&from)?;
    let failed = |error: std::io::Error| Error::Retry(format!("{}: {error}", dir.display()));
    if dir.exists() && dir.read_dir().map_err(failed)?.next().is_some() {
        return Err(Error::Invalid(format!(
            "{} is not empty: name a new directory for the restored data",
            dir.display()
        )));
    }
    let staging = dir.join(STAGING);
    let to = Place::create(&staging.display().to_string())?;
    for partition in &manifest.partitions {
        restore_partition(&from, &to, partition)?;
    }
    // Only this makes them snapshots: half of them would look like a smaller whole.
    let snapshots = dir.join("snapshots");
    let made = staging.join("snapshots");
    if !manifest.partitions.is_empty() {
        std::fs::rename(&made, &snapshots).map_err(failed)?;
    }
    std::fs::remove_dir(&staging).map_err(failed)?;
    sync_parent(&snapshots).map_err(failed)?;
    Ok(manifest)
}

/// The manifest of a backup.
///
/// # Errors
/// As [`restore`].
pub fn read_manifest(place: &Place) -> Result<Manifest, Error> {
    let name = place.describe(MANIFEST);
    let json = match place.read(MANIFEST, MANIFEST_BYTES_MAX) {
        Err(Error::NotFound(_)) => {
            return Err(Error::NotFound(format!(
                "{name}: no such file; this is no backup, or one that was not finished: use \
                 another one"
            )));
        }
        json => json?,
    };
    let manifest: Manifest = serde_json::from_slice(&json)
        .map_err(|error| Error::Corrupt(format!("{name}: {error}; use another backup")))?;
    if manifest.format != FORMAT {
        return Err(Error::Invalid(format!(
            "{name}: format {}, this version reads {FORMAT}; use the version that wrote it",
            manifest.format
        )));
    }
    for partition in &manifest.partitions {
        // A name from outside must not lead anywhere else.
        if partition.file != format!("p{:05}.snap", partition.partition) {
            return Err(Error::Corrupt(format!(
                "{name}: unexpected file name {:?}; use another backup",
                partition.file
            )));
        }
    }
    Ok(manifest)
}

/// Copies a snapshot, saying that it is of record 0, after checking it from end to end.
fn restore_partition(from: &Place, to: &Place, wanted: &PartitionFile) -> Result<(), Error> {
    let found = snapshot::verify(from, &wanted.file)?;
    let same = (found.partition, found.seq, found.bytes, found.entities)
        == (wanted.partition, wanted.seq, wanted.bytes, wanted.entities);
    if !same || hex(&found.digest) != wanted.blake3 {
        return Err(Error::Corrupt(format!(
            "{}: not the file that the manifest names; use another backup",
            from.describe(&wanted.file)
        )));
    }
    let file = snapshot::path(wanted.partition, 0);
    let mut frames =
        snapshot::Frames::new(&from.describe(&wanted.file), from.download(&wanted.file)?);
    let mut upload = to.upload(&file);
    while let Some((offset, message)) = frames.next()? {
        let frame = match offset {
            0 => renumber(&message)?,
            _ => snapshot::frame(&message)?,
        };
        upload.put(frame)?;
    }
    upload.finish()?;
    let copied = snapshot::verify(to, &file)?;
    if (copied.partition, copied.seq, copied.entities, copied.items, copied.blobs)
        != (found.partition, 0, found.entities, found.items, found.blobs)
    {
        return Err(Error::Corrupt(format!(
            "{}: it does not read back as it was written; check the disk, then try again",
            to.describe(&file)
        )));
    }
    Ok(())
}

fn renumber(message: &Bytes) -> Result<Bytes, Error> {
    match Frame::decode(message.clone()).map(|frame| frame.frame) {
        Ok(Some(Content::Header(header))) => snapshot::header_frame(Header { seq: 0, ..header }),
        Ok(_) | Err(_) => Err(Error::Corrupt("backup: a file without a header".into())),
    }
}

fn hex(digest: &Digest) -> String {
    blake3::Hash::from_bytes(*digest).to_string()
}
