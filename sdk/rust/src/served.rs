//! A node of which only the manifest is here: workers elsewhere do the work.

use serde_json::Value;

use crate::{Call, Context, Failure, Manifest, Node};

/// A node that workers serve as the activity of its name, on its task queue.
#[derive(Debug, Clone)]
pub struct Served {
    manifest: Manifest,
}

impl Served {
    /// The node of that manifest.
    pub fn new(manifest: Manifest) -> Self {
        Self { manifest }
    }
}

impl Node for Served {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, _ctx: &'a Context, _input: Value) -> Call<'a> {
        let Manifest { name, .. } = &self.manifest;
        let queue = self.manifest.task_queue();
        Box::pin(std::future::ready(Err(Failure::permanent(
            "NotHere",
            format!(
                "only the manifest of {name} is here; start a worker that serves the activity {name} on the task queue {queue}"
            ),
        ))))
    }

    fn is_callable(&self) -> bool {
        false
    }

    fn task_queue(&self) -> Option<String> {
        Some(self.manifest.task_queue())
    }
}
