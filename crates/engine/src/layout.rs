//! What the data directory itself says.

use std::path::Path;

use crate::Error;

/// Creates the data directory.
///
/// # Errors
/// [`Error::Invalid`] when that cannot be done there.
pub(crate) fn create_dir(dir: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(dir).map_err(|error| {
        Error::Invalid(format!(
            "cannot create {}: {error}; choose another directory",
            dir.display()
        ))
    })
}

/// How many partitions the directory has: fixed when it is created.
pub(crate) fn partitions(dir: &Path, wanted: u32) -> Result<u32, Error> {
    let path = dir.join("partitions");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            text.trim().parse().ok().filter(|count| (1..=1024).contains(count)).ok_or_else(|| {
                Error::Corrupt(format!("{} should hold a number from 1 to 1024", path.display()))
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            create_dir(dir)?;
            write_durably(dir, &path, &format!("{wanted}\n")).map_err(|error| {
                Error::Unavailable(format!("cannot write {}: {error}", path.display()))
            })?;
            Ok(wanted)
        }
        Err(error) => Err(Error::Unavailable(format!("cannot read {}: {error}", path.display()))),
    }
}

fn write_durably(dir: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    std::fs::File::open(dir)?.sync_all()
}
