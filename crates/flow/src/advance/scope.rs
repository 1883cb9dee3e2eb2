//! What a step can see: built from the names its text uses, so that it costs the same in a run
//! of ten steps and of ten thousand.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::expr::Refs;
use crate::graph::StepId;
use crate::progress::Progress;
use crate::scope::{Scope, WorkflowView};

/// The names a step can use.
pub(super) struct Names<'a> {
    progress: &'a Progress,
    step: StepId,
}

impl Progress {
    pub(super) fn names(&self, step: &StepId) -> Names<'_> {
        Names { progress: self, step: step.clone() }
    }
}

impl Names<'_> {
    /// The scope of a text that uses these names.
    pub fn scope(&self, refs: &Refs, item: Option<u32>) -> Scope {
        let mut steps = BTreeMap::new();
        for name in &refs.steps {
            let Some(view) = self.resolve(name).and_then(|state| state.view()) else { continue };
            steps.insert(name.clone(), view.clone());
        }
        let item = item.and_then(|index| {
            let value = self.progress.step(self.step.as_str())?.item(index)?.clone();
            Some((value, index as usize))
        });
        let workflow =
            if refs.roots.contains("workflow") { self.workflow() } else { WorkflowView::default() };
        Scope { input: self.progress.input().clone(), steps, item, workflow }
    }

    /// A spawned step sees its siblings by their own names, then the steps around its parent.
    fn resolve(&self, name: &StepId) -> Option<&crate::progress::StepState> {
        let mut around = self.step.as_str();
        while let Some((parent, _)) = around.rsplit_once('/') {
            if let Some(state) = self.progress.step(&format!("{parent}/{name}")) {
                return Some(state);
            }
            around = parent;
        }
        self.progress.step(name.as_str())
    }

    fn workflow(&self) -> WorkflowView {
        let error: Option<Arc<serde_json::Value>> = self.progress.error().cloned();
        let key = self.progress.key();
        WorkflowView {
            name: self.progress.flow().name.clone(),
            id: key.workflow_id.to_string(),
            run_id: key.run_id.to_string(),
            status: if error.is_some() { "failed" } else { "running" }.to_owned(),
            error,
        }
    }
}
