//! Where a project is and where its parts are. Reads nothing but directory entries.

use std::path::{Path, PathBuf};

use crate::Error;

/// The directory that makes its parent a project.
pub const DIR: &str = ".reflux";

/// A project: the directory with `.reflux`, `flows` and `nodes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// The project of that directory, whether or not it has a `.reflux` yet.
    ///
    /// # Errors
    /// The directory does not exist.
    pub fn at(root: &Path) -> Result<Self, Error> {
        let root = std::fs::canonicalize(root).map_err(|error| {
            Error::not_found(format!("cannot use {} as a project: {error}", root.display()))
                .suggest("name a directory that exists, or make one with `reflux init DIR`")
        })?;
        Ok(Self { root })
    }

    /// The nearest project from `start` upwards; `start` itself when there is none.
    ///
    /// # Errors
    /// `start` does not exist.
    pub fn find(start: &Path) -> Result<Self, Error> {
        let here = Self::at(start)?;
        let found = here.root.ancestors().find(|dir| dir.join(DIR).is_dir());
        match found.map(Path::to_path_buf) {
            Some(root) => Ok(Self { root }),
            None => Ok(here),
        }
    }

    /// The project itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Everything that is ours.
    pub fn dir(&self) -> PathBuf {
        self.root.join(DIR)
    }

    /// What the engine keeps: log, store, snapshots.
    pub fn data(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// Flow definitions.
    pub fn flows(&self) -> PathBuf {
        self.root.join("flows")
    }

    /// Node declarations.
    pub fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    /// The configuration.
    pub fn config_file(&self) -> PathBuf {
        self.dir().join("config.toml")
    }

    /// The local token, which lets this user's programs change things through the ports.
    pub fn token_file(&self) -> PathBuf {
        self.dir().join("token")
    }

    /// Makes `.reflux` with a `.gitignore` of its own: what it holds belongs to this machine, but
    /// for the configuration.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn create_dir(&self) -> Result<(), Error> {
        let dir = self.dir();
        let failed = |error: std::io::Error| {
            Error::unavailable(format!("cannot make {}: {error}", dir.display()))
                .suggest("use another directory with --dir, or change its permissions")
        };
        if dir.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(&dir).map_err(failed)?;
        std::fs::write(dir.join(".gitignore"), "*\n!.gitignore\n!config.toml\n").map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_found_from_below() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let below = root.join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        assert_eq!(Project::find(&below).unwrap().root(), below);
        Project::at(&root).unwrap().create_dir().unwrap();
        assert_eq!(Project::find(&below).unwrap().root(), root);
        assert!(Project::find(&root.join("missing")).is_err());
    }
}
