//! A disk in memory that forgets what was not synced, tears writes, fills up, fails and rots.
//!
//! ```text
//! write ─► cache ──sync_data──► platter        create, rename, remove ──sync_dir──► directory
//!            └─ crash(seed): any subset of the unsynced sectors and names survives
//! ```
//!
//! A file is found after a crash only if its name was made durable, and holds only what was synced
//! plus a random choice of 512-byte sectors of what was not. After a failed sync the cache still
//! shows bytes that will never reach the platter, as real kernels do. Has no threads, no clock and no
//! randomness but the seed. Does not model reads that return old data, or disks that lie about syncs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{File, Files};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// The disk. Clones share it.
#[derive(Clone)]
pub struct FaultyFiles {
    disk: Arc<Mutex<Disk>>,
}

/// Random numbers from a seed (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

#[derive(Clone, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    capacity_bytes: Option<u64>,
    ios: u64,
    crash_at: Option<u64>,
    failures: BTreeMap<u64, io::ErrorKind>,
    reads_fail: Option<io::ErrorKind>,
}

#[derive(Clone, Default)]
struct Inode {
    cache: Vec<u8>,
    platter: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    /// Moves an inode, whatever else happens to the names.
    Rename(String, String, usize),
    Remove(String),
}

impl Default for FaultyFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultyFiles {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::from_disk(Disk::default())
    }

    /// A disk with these files, all durable.
    #[must_use]
    pub fn with_files(files: BTreeMap<String, Vec<u8>>) -> Self {
        let mut disk = Disk::default();
        for (name, bytes) in files {
            disk.names.insert(name, disk.inodes.len());
            disk.inodes.push(Inode { cache: bytes.clone(), platter: bytes, unsynced: Vec::new() });
        }
        disk.durable_names = disk.names.clone();
        Self::from_disk(disk)
    }

    /// The files as a reader sees them now.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.lock();
        let names = disk.names.iter();
        names
            .filter_map(|(name, inode)| {
                Some((name.clone(), disk.inodes.get(*inode)?.cache.clone()))
            })
            .collect()
    }

    /// How many operations changed something so far, or tried to: create, write, allocate, sync,
    /// rename, remove.
    #[must_use]
    pub fn ios(&self) -> u64 {
        self.lock().ios
    }

    /// Stops the disk after this many more operations: every one after that, reads included, fails.
    pub fn crash_after(&self, ios: u64) {
        let mut disk = self.lock();
        disk.crash_at = Some(disk.ios.saturating_add(ios));
    }

    /// The operation that follows after this many more fails. A failed sync loses what it should
    /// have written; other failures change nothing.
    pub fn fail_after(&self, ios: u64, kind: io::ErrorKind) {
        let mut disk = self.lock();
        let at = disk.ios.saturating_add(ios);
        disk.failures.insert(at, kind);
    }

    /// Whether, and how, every read fails.
    pub fn fail_reads(&self, kind: Option<io::ErrorKind>) {
        self.lock().reads_fail = kind;
    }

    /// Bytes that all files together may have; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity_bytes = bytes;
    }

    /// Flips a bit of a file, in the cache and on the platter. False if it has no such bit.
    pub fn flip(&self, name: &str, bit: u64) -> bool {
        let mut disk = self.lock();
        let inode = disk.names.get(name).copied();
        let Some(inode) = inode.and_then(|inode| disk.inodes.get_mut(inode)) else {
            return false;
        };
        let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let places = [inode.cache.get_mut(at), inode.platter.get_mut(at)];
        let mut flipped = false;
        for place in places.into_iter().flatten() {
            *place ^= 1 << (bit % 8);
            flipped = true;
        }
        flipped
    }

    /// The disk after a loss of power, as the seed decides: nothing unsynced survives, or all of it,
    /// or its beginning, or any subset of sectors and names. This disk stays as it is, and dead.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut disk = self.lock();
        disk.crash_at = Some(0);
        let mut rng = Rng::new(seed);
        let keep = Keep::choose(&mut rng);
        let mut after = disk.healthy();
        after.names = keep.names(&disk, &mut rng);
        for inode in &mut after.inodes {
            keep.sectors(inode, &mut rng);
        }
        after.durable_names = after.names.clone();
        after.name_changes.clear();
        after.forget_unnamed();
        Self::from_disk(after)
    }

    /// The disk after the process was killed: what it wrote is still in the cache. This disk is dead.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut disk = self.lock();
        disk.crash_at = Some(0);
        Self::from_disk(disk.healthy())
    }

    fn from_disk(disk: Disk) -> Self {
        Self { disk: Arc::new(Mutex::new(disk)) }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, inode: usize) -> Arc<dyn File> {
        Arc::new(FaultyFile { files: self.clone(), inode })
    }
}

impl Files for FaultyFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        let disk = self.lock();
        disk.alive()?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let disk = self.lock();
        disk.alive()?;
        let inode = disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(*inode))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut disk = self.lock();
        disk.change()?;
        // truncating in place is never asked of files that matter; a new inode is as good
        let inode = disk.inodes.len();
        disk.inodes.push(Inode::default());
        disk.names.insert(name.to_owned(), inode);
        disk.name_changes.push(NameChange::Create(name.to_owned(), inode));
        Ok(self.handle(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.change()?;
        let inode = *disk.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned(), inode);
        change.apply(&mut disk.names);
        disk.name_changes.push(change);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.change()?;
        if !disk.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = NameChange::Remove(name.to_owned());
        change.apply(&mut disk.names);
        disk.name_changes.push(change);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.change()?;
        disk.durable_names = disk.names.clone();
        disk.name_changes.clear();
        Ok(())
    }
}

struct FaultyFile {
    files: FaultyFiles,
    inode: usize,
}

impl FaultyFile {
    fn write(&self, bytes: &[u8], offset: u64, allocating: bool) -> io::Result<()> {
        let mut disk = self.files.lock();
        disk.change()?;
        let at = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = at.saturating_add(bytes.len());
        let held = disk.inodes.get(self.inode).map_or(0, |inode| inode.cache.len());
        let more = end.saturating_sub(held) as u64;
        let used = disk.used_bytes();
        let has_room = |capacity| more == 0 || used + more <= capacity;
        if !disk.capacity_bytes.is_none_or(has_room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let Some(inode) = disk.inodes.get_mut(self.inode) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        debug_assert!(!allocating || at >= held, "only beyond the end is allocated");
        inode.unsynced.push((at, bytes.to_vec()));
        put(&mut inode.cache, at, bytes);
        Ok(())
    }
}

impl File for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        let disk = self.files.lock();
        disk.alive()?;
        Ok(disk.inodes.get(self.inode).map_or(0, |inode| inode.cache.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let disk = self.files.lock();
        disk.alive()?;
        if let Some(kind) = disk.reads_fail {
            return Err(kind.into());
        }
        let at = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let cache = disk.inodes.get(self.inode).map(|inode| &inode.cache);
        let bytes = cache.and_then(|cache| cache.get(at..at.saturating_add(buffer.len())));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, offset, false)
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        let length = usize::try_from(to.saturating_sub(from));
        let length = length.map_err(|_| io::ErrorKind::InvalidInput)?;
        self.write(&vec![0; length], from, true)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.files.lock();
        let changed = disk.change();
        if let Some(inode) = disk.inodes.get_mut(self.inode)
            && changed.as_ref().err().is_none_or(|error| !is_crash(error))
        {
            let unsynced = std::mem::take(&mut inode.unsynced);
            if changed.is_ok() {
                for (at, bytes) in unsynced {
                    put(&mut inode.platter, at, &bytes);
                }
            }
        }
        changed
    }
}

impl Disk {
    fn alive(&self) -> io::Result<()> {
        match self.crash_at {
            Some(at) if self.ios >= at => Err(io::Error::other(Crashed)),
            Some(_) | None => Ok(()),
        }
    }

    fn change(&mut self) -> io::Result<()> {
        self.alive()?;
        let failure = self.failures.remove(&self.ios);
        self.ios += 1;
        failure.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn used_bytes(&self) -> u64 {
        let named = self.names.values().filter_map(|inode| self.inodes.get(*inode));
        named.map(|inode| inode.cache.len() as u64).sum()
    }

    /// Frees what nothing can open any more.
    fn forget_unnamed(&mut self) {
        let named: BTreeSet<usize> = self.names.values().copied().collect();
        for (inode, content) in self.inodes.iter_mut().enumerate() {
            if !named.contains(&inode) {
                *content = Inode::default();
            }
        }
    }

    fn healthy(&self) -> Self {
        Self { ios: 0, crash_at: None, failures: BTreeMap::new(), reads_fail: None, ..self.clone() }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                names.retain(|name, held| name != from || held != inode);
                names.insert(to.clone(), *inode);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the disk has crashed")]
struct Crashed;

fn is_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Crashed>())
}

/// What of the unsynced survives a crash.
#[derive(Clone, Copy)]
enum Keep {
    Nothing,
    Everything,
    /// The first so many, counted in sectors and names.
    Beginning(u64),
    AnySubset,
}

impl Keep {
    fn choose(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 => Self::Beginning(rng.below(8)),
            _ => Self::AnySubset,
        }
    }

    fn keeps(self, nth: u64, rng: &mut Rng) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Beginning(first) => nth < first,
            Self::AnySubset => rng.below(2) == 0,
        }
    }

    fn names(self, disk: &Disk, rng: &mut Rng) -> BTreeMap<String, usize> {
        let mut names = disk.durable_names.clone();
        for (nth, change) in (0..).zip(&disk.name_changes) {
            if self.keeps(nth, rng) {
                change.apply(&mut names);
            }
        }
        names
    }

    fn sectors(self, inode: &mut Inode, rng: &mut Rng) {
        let mut nth = 0;
        for (at, bytes) in std::mem::take(&mut inode.unsynced) {
            let mut from = 0;
            while from < bytes.len() {
                let sector_end = (at + from + 1).next_multiple_of(SECTOR_BYTES) - at;
                let to = sector_end.min(bytes.len());
                if self.keeps(nth, rng) {
                    let piece = bytes.get(from..to).unwrap_or_default();
                    put(&mut inode.platter, at + from, piece);
                }
                nth += 1;
                from = to;
            }
        }
        inode.cache.clone_from(&inode.platter);
    }
}

impl Rng {
    /// The same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number().checked_rem(bound).unwrap_or(0)
    }
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len());
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}
