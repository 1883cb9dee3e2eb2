//! Where snapshots and backups are kept: a directory or a bucket, behind a blocking face.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;
use tokio::runtime::{Builder, Runtime};
use url::Url;

use crate::error::Error;

/// Bytes sent at once, and the least S3 takes as a part of an upload.
const UPLOAD_BYTES: usize = 5 << 20;

/// Parts under way at a time: with the one being filled 15 MiB at most.
const UPLOADS_MAX: usize = 2;

/// Files looked at in one directory of snapshots or one backup.
const LIST_MAX: usize = 100_000;

/// An object store and the folder in it to work in. In a directory every write is on disk, with
/// its name, before it counts as done.
#[derive(Clone)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    runtime: Arc<Background>,
    name: Arc<str>,
}

impl Place {
    /// Opens a directory (`file:///…` or a plain path; it must exist) or the folder of a bucket
    /// (`s3://bucket/folder`). Credentials, region and endpoint come from the environment
    /// variables that AWS tools use: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
    /// `AWS_ENDPOINT`, ….
    ///
    /// # Errors
    /// [`Error::NotFound`] without the directory, [`Error::Invalid`] when the URL or the
    /// credentials cannot be right.
    pub fn open(url: &str) -> Result<Self, Error> {
        match directory(url)? {
            Some(dir) => Self::directory(dir),
            None => Self::bucket(url),
        }
    }

    /// As [`Place::open`], and makes the directory.
    ///
    /// # Errors
    /// As [`Place::open`]; [`Error::Retry`] when the directory cannot be made.
    pub fn create(url: &str) -> Result<Self, Error> {
        if let Some(dir) = directory(url)? {
            make(&dir).map_err(|error| Error::Retry(format!("{}: {error}", dir.display())))?;
        }
        Self::open(url)
    }

    /// An empty place in memory, for tests and the deterministic simulation. Clones share it, so a
    /// clone is what survives a simulated crash.
    ///
    /// # Errors
    /// [`Error::Retry`] when the process can start no thread.
    pub fn memory() -> Result<Self, Error> {
        Self::new(Arc::new(InMemory::new()), Path::default(), "memory")
    }

    fn directory(dir: PathBuf) -> Result<Self, Error> {
        if !dir.is_dir() {
            return Err(Error::NotFound(format!("{}: no such directory", dir.display())));
        }
        let store = LocalFileSystem::new_with_prefix(&dir).map_err(|error| explain("", error))?;
        // Without it a file is complete but not on disk when its upload returns.
        let store = store.with_fsync(true);
        Self::new(Arc::new(store), Path::default(), &dir.display().to_string())
    }

    fn bucket(url: &str) -> Result<Self, Error> {
        let parsed = Url::parse(url)
            .map_err(|error| Error::Invalid(format!("{url}: {error}; give a path or a URL")))?;
        let (store, prefix) = object_store::parse_url_opts(&parsed, std::env::vars())
            .map_err(|error| Error::Invalid(format!("{url}: {error}; use a path or s3://")))?;
        Self::new(Arc::from(store), prefix, url)
    }

    /// A store that was opened elsewhere. A directory must have been opened with fsync.
    ///
    /// # Errors
    /// [`Error::Retry`] when the process can start no thread.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, name: &str) -> Result<Self, Error> {
        Ok(Self { store, prefix, runtime: Arc::new(Background::start()?), name: name.into() })
    }

    /// What people call a file here.
    pub(crate) fn describe(&self, file: &str) -> String {
        format!("{}/{file}", self.name.trim_end_matches('/'))
    }

    fn path(&self, file: &str) -> Path {
        file.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Writes a file; it is there once [`Upload::finish`] has returned.
    pub(crate) fn upload(&self, file: &str) -> Upload {
        let writer = BufWriter::with_capacity(self.store.clone(), self.path(file), UPLOAD_BYTES)
            .with_max_concurrency(UPLOADS_MAX);
        let name = self.describe(file);
        Upload { writer: Some(writer), runtime: self.runtime.clone(), name }
    }

    /// Reads a file piece by piece.
    pub(crate) fn download(&self, file: &str) -> Result<Download, Error> {
        let (store, path, name) = (self.store.clone(), self.path(file), self.describe(file));
        let found = self.runtime.run(async move { store.get(&path).await })?;
        let stream = found.map_err(|error| explain(&name, error))?.into_stream();
        Ok(Download { stream: Some(stream), runtime: self.runtime.clone(), name })
    }

    /// The whole of a small file.
    pub(crate) fn read(&self, file: &str, bytes_max: usize) -> Result<Bytes, Error> {
        let mut bytes = Vec::new();
        for piece in self.download(file)? {
            bytes.extend_from_slice(&piece?);
            if bytes.len() > bytes_max {
                let name = self.describe(file);
                return Err(Error::Corrupt(format!("{name}: longer than {bytes_max} bytes")));
            }
        }
        Ok(bytes.into())
    }

    /// Names of all files below a folder, from here, sorted; none when it is not there.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let folder = if folder.is_empty() { self.prefix.clone() } else { self.path(folder) };
        let (store, name) = (self.store.clone(), self.name.clone());
        let found = self.runtime.run(async move {
            let files = store.list(Some(&folder)).take(LIST_MAX);
            files.map_ok(|file| file.location).try_collect::<Vec<_>>().await
        })?;
        let found = match found {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(explain(&name, error)),
        };
        let mut names = Vec::with_capacity(found.len());
        for path in found {
            let below = path.prefix_match(&self.prefix).into_iter().flatten();
            let parts: Vec<_> = below.map(|part| part.as_ref().to_owned()).collect();
            names.push(parts.join("/"));
        }
        names.sort();
        Ok(names)
    }

    /// Turns a bit of a file over: what a bad disk does, in tests and the deterministic simulation.
    /// Counts from the file's beginning, around its end.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Retry`] when the place does not answer.
    pub fn damage(&self, file: &str, bit: u64) -> Result<(), Error> {
        let mut bytes = self.read(file, usize::MAX)?.to_vec();
        let bits = (bytes.len() as u64 * 8).max(1);
        let at = usize::try_from(bit % bits / 8).unwrap_or_default();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << (bit % 8);
        }
        let (store, path, name) = (self.store.clone(), self.path(file), self.describe(file));
        let put = self.runtime.run(async move { store.put(&path, bytes.into()).await })?;
        put.map(drop).map_err(|error| explain(&name, error))
    }

    pub(crate) fn delete(&self, file: &str) -> Result<(), Error> {
        let (store, path, name) = (self.store.clone(), self.path(file), self.describe(file));
        match self.runtime.run(async move { store.delete(&path).await })? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(explain(&name, error)),
        }
    }
}

/// A file being written.
pub(crate) struct Upload {
    writer: Option<BufWriter>,
    runtime: Arc<Background>,
    name: String,
}

impl Upload {
    pub(crate) fn put(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.step(|mut writer| async move {
            let result = writer.put(bytes).await.map_err(std::io::Error::from);
            (writer, result)
        })
    }

    /// The file is whole, and on disk, once this returns.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.step(|mut writer| async move {
            let result = writer.shutdown().await;
            (writer, result)
        })?;
        self.writer = None;
        Ok(())
    }

    fn step<F>(&mut self, step: impl FnOnce(BufWriter) -> F) -> Result<(), Error>
    where
        F: Future<Output = (BufWriter, Result<(), std::io::Error>)> + Send + 'static,
    {
        let writer = self.writer.take().ok_or_else(|| self.failed("it was given up before"))?;
        let (writer, result) = self.runtime.run(step(writer))?;
        self.writer = Some(writer);
        result.map_err(|error| self.failed(&error.to_string()))
    }

    fn failed(&self, detail: &str) -> Error {
        Error::Retry(format!("{}: {detail}; check that there is space and access", self.name))
    }
}

impl Drop for Upload {
    // What was uploaded of a file that will never be whole is taken back.
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            let _best_effort = self.runtime.run(async move { writer.abort().await });
        }
    }
}

/// A file being read, as an iterator over its pieces.
pub(crate) struct Download {
    stream: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    runtime: Arc<Background>,
    name: String,
}

impl Iterator for Download {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut stream = self.stream.take()?;
        let stepped = self.runtime.run(async move { (stream.next().await, stream) });
        match stepped {
            Ok((Some(Ok(piece)), stream)) => {
                self.stream = Some(stream);
                Some(Ok(piece))
            }
            Ok((Some(Err(error)), _)) => Some(Err(explain(&self.name, error))),
            Ok((None, _)) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// A thread that does the asynchronous work, so that callers may block wherever they are, also
/// inside another runtime.
struct Background(Option<Runtime>);

impl Background {
    fn start() -> Result<Self, Error> {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(1).thread_name("reflux-objects").enable_all();
        let runtime = builder
            .build()
            .map_err(|error| Error::Retry(format!("cannot start a thread: {error}")))?;
        Ok(Self(Some(runtime)))
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Error> {
        let gone = || Error::Retry("the object store's thread ended; try again".into());
        let (send, receive) = sync_channel(1);
        let runtime = self.0.as_ref().ok_or_else(gone)?;
        runtime.spawn(async move {
            let _receiver_waits = send.send(work.await);
        });
        receive.recv().map_err(|_| gone())
    }
}

impl Drop for Background {
    // Waiting for it would panic inside another runtime; nothing is under way any more.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The directory that a URL means, if it means one.
fn directory(url: &str) -> Result<Option<PathBuf>, Error> {
    if url.starts_with("file://") {
        let parsed = Url::parse(url).map_err(|error| Error::Invalid(format!("{url}: {error}")))?;
        let path = parsed.to_file_path();
        return path
            .map(Some)
            .map_err(|()| Error::Invalid(format!("{url}: write file:///absolute/path")));
    }
    Ok((!url.contains("://")).then(|| url.into()))
}

/// Makes a directory and puts its name on disk.
fn make(dir: &std::path::Path) -> std::io::Result<()> {
    let mut missing = Vec::new();
    let mut at = Some(dir);
    while let Some(dir) = at.filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
        missing.push(dir);
        at = dir.parent();
    }
    fs::create_dir_all(dir)?;
    for dir in missing {
        sync_parent(dir)?;
    }
    Ok(())
}

/// Puts the name of a file or directory on disk.
pub(crate) fn sync_parent(path: &std::path::Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(std::path::Path::new(".")))?.sync_all()
}

fn explain(name: &str, error: object_store::Error) -> Error {
    match error {
        object_store::Error::NotFound { .. } => Error::NotFound(format!("{name}: no such file")),
        error @ (object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. }) => {
            Error::Invalid(format!("{name}: {error}; check the credentials"))
        }
        error => Error::Retry(format!("{name}: {error}")),
    }
}
