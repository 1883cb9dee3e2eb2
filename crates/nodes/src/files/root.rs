//! A directory that nothing gets out of.
//!
//! A path is walked from the directory's own handle, one name at a time, and no symbolic link
//! is followed. So there is no moment between the check and the use of a path
//! in which somebody could exchange a part of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use reflux_sdk::Failure;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// Deeper than any sensible tree; each level is an open directory while it is walked.
const DEPTH_MAX: usize = 64;

/// Distinguishes the unfinished files of one process.
static UNFINISHED: AtomicU64 = AtomicU64::new(0);

/// A directory, and the only way to files beneath it.
#[derive(Debug)]
pub(crate) struct Root {
    dir: PathBuf,
}

/// A file's place: its directory, open, and its name in it.
struct Place {
    dir: File,
    name: std::ffi::OsString,
}

impl Root {
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The whole of a regular file, if it is not larger than a bound.
    pub(crate) fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let place = self.place(path, false)?;
        // without blocking, or opening a pipe would wait for its writer
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&place.dir, &place.name, flags, Mode::empty());
        let file = File::from(opened.map_err(|e| failed(path, e.into()))?);
        let metadata = file.metadata().map_err(|e| failed(path, e))?;
        if !metadata.is_file() {
            return Err(Failure::permanent("File.Kind", format!("{path} is not a regular file")));
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes).map_err(|e| failed(path, e))?;
        if bytes.len() > bytes_max {
            let message = format!(
                "{path} is larger than {bytes_max} bytes; raise file_bytes_max in the configuration"
            );
            return Err(Failure::permanent("File.TooLarge", message));
        }
        Ok(bytes)
    }

    /// Write a file whole or not at all, also over a power loss. Missing directories are made.
    pub(crate) fn write(&self, path: &str, bytes: &[u8], replace: bool) -> Result<(), Failure> {
        let place = self.place(path, true)?;
        let serial = UNFINISHED.fetch_add(1, Ordering::Relaxed);
        let unfinished = format!(".reflux-{}-{serial}.tmp", std::process::id());
        let written = write_new(&place.dir, &unfinished, bytes).and_then(|()| {
            match replace {
                true => rustix::fs::renameat(&place.dir, &unfinished, &place.dir, &place.name)?,
                // a link, unlike a rename, fails if the name is taken
                false => {
                    rustix::fs::linkat(
                        &place.dir,
                        &unfinished,
                        &place.dir,
                        &place.name,
                        AtFlags::empty(),
                    )?;
                    rustix::fs::unlinkat(&place.dir, &unfinished, AtFlags::empty())?;
                }
            }
            place.dir.sync_all()
        });
        written.map_err(|error| {
            // what is left of a failed write is only in the way
            let _ = rustix::fs::unlinkat(&place.dir, &unfinished, AtFlags::empty());
            failed(path, error)
        })
    }

    fn place(&self, path: &str, make: bool) -> Result<Place, Failure> {
        let mut names = self.names(path)?;
        let Some(name) = names.pop() else {
            return Err(Failure::bad_input(format!("path: {path:?} names no file")));
        };
        let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir =
            File::open(&self.dir).map_err(|e| failed(&self.dir.display().to_string(), e))?;
        for part in &names {
            let step = || {
                rustix::fs::openat(&dir, part.as_os_str(), open | OFlags::NOFOLLOW, Mode::empty())
            };
            let next = match step() {
                Err(Errno::NOENT) if make => {
                    match rustix::fs::mkdirat(&dir, part.as_os_str(), Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => step(),
                        Err(error) => Err(error),
                    }
                }
                other => other,
            };
            dir = File::from(next.map_err(|error| link_or(path, &dir, part, error))?);
        }
        Ok(Place { dir, name })
    }

    /// The names from the directory to the file. An absolute path must lie beneath the directory.
    fn names(&self, path: &str) -> Result<Vec<std::ffi::OsString>, Failure> {
        let outside = || {
            let message = format!(
                "path: {path:?} leads out of the files of this project; see files_root in the configuration"
            );
            Failure::permanent("File.Outside", message)
        };
        if path.contains('\0') {
            return Err(Failure::bad_input("path: holds a NUL character"));
        }
        let mut relative = Path::new(path).to_path_buf();
        if relative.is_absolute() {
            let root =
                self.dir.canonicalize().map_err(|e| failed(&self.dir.display().to_string(), e))?;
            relative = relative.strip_prefix(root).map_err(|_| outside())?.to_path_buf();
        }
        let mut names = Vec::new();
        for component in relative.components() {
            match component {
                Component::Normal(name) => names.push(name.to_os_string()),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(outside());
                }
            }
        }
        match names.len() > DEPTH_MAX {
            true => Err(Failure::bad_input(format!("path: deeper than {DEPTH_MAX} directories"))),
            false => Ok(names),
        }
    }
}

fn write_new(dir: &File, name: &str, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o666))?);
    file.write_all(bytes)?;
    file.sync_all()
}

/// Opening a link as a directory fails as `ELOOP` or `ENOTDIR`, which explains little.
fn link_or(path: &str, dir: &File, part: &OsStr, error: Errno) -> Failure {
    let stat = rustix::fs::statat(dir, part, AtFlags::SYMLINK_NOFOLLOW);
    let is_link =
        stat.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink());
    let error = if is_link { Errno::LOOP } else { error };
    failed(path, error.into())
}

fn failed(path: &str, error: io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => "File.NotFound",
        io::ErrorKind::PermissionDenied => "File.Denied",
        io::ErrorKind::AlreadyExists => "File.Exists",
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Failure::permanent(
                "File.Link",
                format!("{path}: symbolic links are not followed"),
            );
        }
        _ => "File.Io",
    };
    let retryable = kind == "File.Io";
    let mut failure = Failure::permanent(kind, format!("{path}: {error}"));
    failure.retryable = retryable;
    failure
}
