//! What the built-in nodes may do, as the configuration file holds it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::net::NetPolicy;

/// The configuration of the nodes of one project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodesConfig {
    /// Where nodes may connect to.
    pub net: NetPolicy,
    /// The directory that `file.read`, `file.write` and `csv.read` are confined to;
    /// relative to the project.
    pub files_root: PathBuf,
    /// The project: the directory that commands run in, the parent of `nodes/`.
    pub project_root: PathBuf,
    /// The most bytes of a response that a step may ask for.
    pub response_bytes_max: usize,
    /// The most bytes of a file, a text or a command's output.
    pub file_bytes_max: usize,
}

impl Default for NodesConfig {
    fn default() -> Self {
        Self {
            net: NetPolicy::default(),
            files_root: PathBuf::from("."),
            project_root: PathBuf::from("."),
            response_bytes_max: 64 << 20, // a step asks for 8 MiB unless it says more
            file_bytes_max: 8 << 20,      // as much as a step's output may hold
        }
    }
}

impl NodesConfig {
    /// The configuration of a project in a directory, everything else by default.
    pub fn for_project(root: impl Into<PathBuf>) -> Self {
        Self { project_root: root.into(), ..Self::default() }
    }

    pub(crate) fn files_dir(&self) -> PathBuf {
        self.project_root.join(&self.files_root)
    }
}
