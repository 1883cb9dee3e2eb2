//! Whether what a project's nodes and secrets are read from has changed: what the system says of the files,
//! not their content.
//!
//! Absent: the files behind a command, whose content is its version and is read with each step.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Config, Project};

/// Directories below `nodes/` that are looked into: a module's programs stand in its own.
const DEPTH_MAX: usize = 1;
/// Files that are looked at; with more, everything counts as changed each time.
const FILES_MAX: usize = 10_000;
/// Until a file has been left alone for that long, a second change may have the same time as the
/// first: clocks of file systems are coarse.
const COARSE: Duration = Duration::from_secs(2);

/// What the system said of a project's files when they were read.
#[derive(Debug)]
pub(crate) struct Stamp {
    roots: [PathBuf; 3],
    files: BTreeMap<PathBuf, Facts>,
}

/// What changes with a file: time of change, length, inode.
type Facts = Option<(i64, i64, u64, u64)>;

impl Stamp {
    /// Of now: to be taken before the files are read.
    pub fn of(project: &Project, config: &Config) -> Self {
        let secrets = project.root().join(&config.secrets.file);
        let roots = [project.config_file(), secrets, project.nodes()];
        Self { files: look(&roots), roots }
    }

    /// Whether the files are certainly as they were.
    pub fn holds(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let settled = i64::try_from(now.saturating_sub(COARSE).as_secs()).unwrap_or(i64::MAX);
        let left_alone = |facts: &Facts| facts.is_none_or(|(seconds, _, _, _)| seconds < settled);
        self.files.len() < FILES_MAX
            && self.files.values().all(left_alone)
            && self.files == look(&self.roots)
    }
}

fn look(roots: &[PathBuf]) -> BTreeMap<PathBuf, Facts> {
    let mut files = BTreeMap::new();
    roots.iter().for_each(|root| walk(root, DEPTH_MAX + 1, &mut files));
    files
}

fn walk(path: &Path, depth: usize, files: &mut BTreeMap<PathBuf, Facts>) {
    if files.len() >= FILES_MAX {
        return;
    }
    // Links are followed: what is read is what they lead to.
    let found = fs::metadata(path).ok();
    let facts = found.as_ref().map(|it| (it.ctime(), it.ctime_nsec(), it.len(), it.ino()));
    files.insert(path.to_path_buf(), facts);
    if depth > 0
        && found.is_some_and(|it| it.is_dir())
        && let Ok(entries) = fs::read_dir(path)
    {
        entries.flatten().for_each(|entry| walk(&entry.path(), depth - 1, files));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> (tempfile::TempDir, Project) {
        let dir = tempfile::tempdir().unwrap();
        let project = Project::at(dir.path()).unwrap();
        fs::create_dir_all(project.nodes().join("module")).unwrap();
        fs::write(project.nodes().join("module/action.sh"), "one").unwrap();
        (dir, project)
    }

    #[test]
    fn what_was_changed_a_moment_ago_may_change_again_unseen() {
        let (_dir, project) = project();
        assert!(!Stamp::of(&project, &Config::default()).holds());
    }

    #[test]
    fn every_file_that_is_read_counts() {
        let (_dir, project) = project();
        let stamp = Stamp::of(&project, &Config::default());
        assert_eq!(stamp.files, look(&stamp.roots));
        for file in [
            "nodes/module/action.sh",
            "nodes/a.yaml",
            ".reflux/secrets.toml",
            ".reflux/config.toml",
        ] {
            let before = look(&stamp.roots);
            let path = project.root().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "another length").unwrap();
            assert_ne!(before, look(&stamp.roots), "{file}");
        }
    }
}
