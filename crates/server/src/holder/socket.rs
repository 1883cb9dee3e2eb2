//! Where the holder's socket is.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::{Error, Project};

/// Longest path of a socket: `sun_path` has 104 bytes on some systems, with a zero at the end.
const PATH_BYTES_MAX: usize = 103;

/// A listening socket that only this user may connect to, and its path.
///
/// # Errors
/// The system does not allow it.
pub(super) fn bind(project: &Project) -> Result<(UnixListener, PathBuf), Error> {
    let path = path(project);
    let failed = |error: io::Error| {
        Error::unavailable(format!("cannot listen at {}: {error}", path.display()))
            .suggest("use a directory on a local disk with --dir")
    };
    // The lock is ours, so a socket that is still there has no owner.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let pointer = pointer(project);
    match path.parent() == Some(&project.dir()) {
        true => drop(std::fs::remove_file(pointer)),
        false => std::fs::write(&pointer, path.as_os_str().as_encoded_bytes()).map_err(failed)?,
    }
    Ok((listener, path))
}

/// Connects to the holder of a project.
///
/// # Errors
/// Nobody listens there.
pub(crate) fn connect(project: &Project) -> io::Result<UnixStream> {
    let path = match std::fs::read_to_string(pointer(project)) {
        Ok(written) if Path::new(&written) == path(project) => PathBuf::from(written),
        Ok(_) | Err(_) => path(project),
    };
    UnixStream::connect(path)
}

/// `.reflux/socket`; in a directory for such things when that path is too long, under a name that
/// every process of this user finds.
fn path(project: &Project) -> PathBuf {
    let near = project.dir().join("socket");
    if near.as_os_str().len() <= PATH_BYTES_MAX {
        return near;
    }
    let name = blake3::hash(near.as_os_str().as_encoded_bytes()).to_hex();
    let file = format!("reflux-{}.socket", name.get(..16).unwrap_or_default());
    let dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let dir = dir.filter(|dir| dir.is_dir() && dir.as_os_str().len() + file.len() < PATH_BYTES_MAX);
    dir.unwrap_or_else(|| PathBuf::from("/tmp")).join(file)
}

fn pointer(project: &Project) -> PathBuf {
    project.dir().join("socket.path")
}
