//! `.reflux/token`: lets this user's programs change things through the network ports.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use super::secret;
use crate::{Error, Project};

/// The token of a project.
///
/// # Errors
/// There is none yet, others may read it, or it cannot be read.
pub fn read(project: &Project) -> Result<String, Error> {
    find(project)?.ok_or_else(|| {
        Error::not_found(format!("there is no {}", project.token_file().display()))
            .suggest("start `reflux server` once: it makes the token")
    })
}

/// The token of a project, made when there is none.
///
/// # Errors
/// Others may read it, or it cannot be read or made.
pub(super) fn ensure(project: &Project) -> Result<String, Error> {
    if let Some(token) = find(project)? {
        return Ok(token);
    }
    let path = project.token_file();
    let failed = |error: std::io::Error| {
        Error::unavailable(format!("cannot make {}: {error}", path.display()))
            .suggest("change the permissions of its directory, or use another with --dir")
    };
    let token = secret::generate()?;
    let mut options = File::options();
    let mut file = match options.write(true).create_new(true).mode(0o600).open(&path) {
        Ok(file) => file,
        // Another process of ours was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return read(project),
        Err(error) => return Err(failed(error)),
    };
    writeln!(file, "{token}").map_err(failed)?;
    Ok(token)
}

fn find(project: &Project) -> Result<Option<String>, Error> {
    let path = project.token_file();
    let failed =
        |error: std::io::Error| Error::invalid(format!("cannot read {}: {error}", path.display()));
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(Error::invalid(format!("others may read {}", path.display()))
            .suggest(format!("run `chmod 600 {}`, or remove it for a new one", path.display())));
    }
    let mut text = String::new();
    file.take(1024).read_to_string(&mut text).map_err(failed)?;
    match text.trim() {
        "" => Err(Error::invalid(format!("{} is empty", path.display()))
            .suggest("remove it: the next start of `reflux server` makes a new one")),
        token => Ok(Some(token.to_owned())),
    }
}
