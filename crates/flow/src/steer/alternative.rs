//! An operator asks for the next alternative of a step's node, without naming it.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::Refused;
use super::patch::{Op, Patch, Set};
use crate::advance::Policies;
use crate::alternatives::{Wanted, readers, reads_of};
use crate::canonical::node_text;
use crate::graph::{Action, Alternatives};
use crate::progress::Progress;

impl Progress {
    /// The patch with the nodes named that it leaves to be found.
    pub(super) fn with_alternatives<'a>(
        &self,
        patch: &'a Patch,
        nodes: &dyn Policies,
    ) -> Result<Cow<'a, Patch>, Refused> {
        if !patch.ops.iter().any(|op| matches!(op, Op::Alternative(_))) {
            return Ok(Cow::Borrowed(patch));
        }
        let mut named = patch.clone();
        named.ops = Vec::with_capacity(patch.ops.len());
        for op in &patch.ops {
            match op {
                Op::Alternative(step) => named.ops.extend(self.next_alternative(step, nodes)?),
                other => named.ops.push(other.clone()),
            }
        }
        Ok(Cow::Owned(named))
    }

    fn next_alternative(&self, id: &str, nodes: &dyn Policies) -> Result<[Op; 2], Refused> {
        let step = self.flow().step(id).ok_or_else(|| self.unknown(id))?;
        let Action::Node { node, with } = &step.action else {
            return Err(Refused(format!("step `{id}` calls no node that could be replaced")));
        };
        let among = match &step.alternatives {
            Some(Alternatives::Listed(nodes)) => Some(nodes.as_slice()),
            Some(Alternatives::Auto) | None => None,
        };
        let reads = reads_of(step, &readers(self.flow()));
        // What the step is given may not be known yet, or may be another for each item.
        let input = match step.for_each {
            None => self.render(&step.id, with, None).ok().map(|input| input.value),
            Some(_) => None,
        };
        let wanted = Wanted { node, among, input: input.as_ref(), reads: &reads };
        let found = nodes.alternatives(&wanted);
        let Some((next, rest)) = found.split_first() else {
            return Err(Refused(format!(
                "nothing can take the place of node `{}` in step `{id}`: no alternative takes its input and gives what is read of its output; set the node by name, or replace the step",
                node_text(node)
            )));
        };
        let set = |path: &str, value: Value| {
            Op::Set(Set { step: id.to_owned(), path: path.to_owned(), value })
        };
        // Without a word of its own the step goes on without alternatives.
        let rest = match step.alternatives.is_some() && !rest.is_empty() {
            true => json!(rest),
            false => Value::Null,
        };
        Ok([set("/node", json!(next)), set("/alternatives", rest)])
    }
}
