//! The little of a file system that the disk log needs, so that tests can put a bad one in its place.
//! One flat directory; no buffering, no retries, no paths.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory.
pub trait Files: Send + Sync + 'static {
    /// The names of its files, in any order.
    ///
    /// # Errors
    /// Those of the system, as for every method here.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Creates a file, or empties the one there is.
    ///
    /// # Errors
    /// Those of the system.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Renames a file, over another one if need be. Open files stay valid.
    ///
    /// # Errors
    /// Those of the system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Open files stay valid.
    ///
    /// # Errors
    /// Those of the system.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// Those of the system.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of the system, as for every method here.
    fn len(&self) -> io::Result<u64>;
    /// Whether it holds no bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills the buffer from an offset on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// Those of the system; some of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills a range beyond the end with zeroes, so that writing there later needs no room.
    ///
    /// # Errors
    /// `StorageFull` if there is no room.
    fn allocate(&self, from: u64, to: u64) -> io::Result<()>;
    /// Makes the bytes, and the length, durable.
    ///
    /// # Errors
    /// After an error nobody knows what is durable.
    fn sync_data(&self) -> io::Result<()>;
}

/// A directory of the operating system.
#[derive(Clone, Debug)]
pub struct RealFiles {
    dir: PathBuf,
}

impl RealFiles {
    /// Uses a directory; creates it, and its parents, if need be.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new(dir: impl AsRef<Path>) -> io::Result<Self> {
        let dir = dir.as_ref().to_path_buf();
        if !dir.is_dir() {
            fs::create_dir_all(&dir)?;
            // the directory's own name has to survive a power loss as well
            if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
                sync_dir(parent)?;
            }
        }
        Ok(Self { dir })
    }
}

impl Files for RealFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            // a name that is not UTF-8 is not ours
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).open(self.dir.join(name))?;
        Ok(Arc::new(RealFile { file }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        // records hold what users consider private
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.dir.join(name))?;
        Ok(Arc::new(RealFile { file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        sync_dir(&self.dir)
    }
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

// elsewhere a directory cannot be opened, and its journal keeps the order of renames
#[cfg(not(unix))]
fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

struct RealFile {
    file: fs::File,
}

/// Zeroes are written, not reserved with `fallocate`: the first write into a reserved range changes
/// the file's metadata, which makes its `fdatasync` wait for the file system's journal.
static ZEROES: [u8; 256 * 1024] = [0; 256 * 1024];

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = buffer.get_mut(read..).unwrap_or_default();
            offset += read as u64;
        }
        Ok(())
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = std::os::windows::fs::FileExt::seek_write(&self.file, bytes, offset)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(written..).unwrap_or_default();
            offset += written as u64;
        }
        Ok(())
    }

    fn allocate(&self, from: u64, to: u64) -> io::Result<()> {
        let mut at = from;
        while at < to {
            let length =
                usize::try_from(to - at).map_or(ZEROES.len(), |left| left.min(ZEROES.len()));
            self.write_at(ZEROES.get(..length).unwrap_or(&ZEROES), at)?;
            at += length as u64;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
