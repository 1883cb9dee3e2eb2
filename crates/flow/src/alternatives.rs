//! What a node must take and give to do the work of another one in a step: the step's input, and
//! what is read of its output. Knows no manifests; whoever has them says which nodes fit.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::graph::{Flow, NodeRef, Step, StepId};
use crate::walk::each;

/// What is read of a step's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reads {
    /// Whether the output is handed on as a whole.
    pub whole: bool,
    /// Fields of it, by name.
    pub fields: BTreeSet<String>,
}

/// What is read of each step, as far as something is.
pub(crate) type Readers = BTreeMap<StepId, Reads>;

/// A node whose place another one is to take.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The node.
    pub node: &'a NodeRef,
    /// The nodes that come into question, in order; `None`: those that its manifest names, the best
    /// first, then those whose manifests name it.
    pub among: Option<&'a [NodeRef]>,
    /// What it is called with, secrets not in it; `None` while that is not known.
    pub input: Option<&'a Value>,
    /// What is read of its output.
    pub reads: &'a Reads,
}

/// What the expressions of a flow read of its steps.
pub(crate) fn readers(flow: &Flow) -> Readers {
    let mut readers = Readers::new();
    each(flow, &mut |_, _, _, item| {
        for path in item.exprs().into_iter().flat_map(|expr| expr.paths()) {
            let (Some(id), "steps") = (path.key(1), path.root()) else { continue };
            // How a step ended is known without its node.
            let field = match path.key(2) {
                Some("output" | "outputs") => path.key(3),
                Some(_) => continue,
                None => None,
            };
            let reads = readers.entry(StepId::new(id)).or_default();
            match field {
                Some(field) => drop(reads.fields.insert(field.to_owned())),
                None => reads.whole = true,
            }
        }
    });
    readers
}

/// What is read of one step, and what it declares of itself.
pub(crate) fn reads_of(step: &Step, readers: &Readers) -> Reads {
    let mut reads = readers.get(&step.id).cloned().unwrap_or_default();
    match step.outputs.as_slice() {
        // The whole result may be this one.
        [only] if only.kind == "object" => {
            reads.fields.clear();
            reads.whole = false;
        }
        declared => reads.fields.extend(declared.iter().map(|output| output.name.clone())),
    }
    reads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parse;

    #[test]
    fn what_is_read_of_a_step_is_found_wherever_it_is_read() {
        let text = "name: f
steps:
  - {id: a, node: n}
  - {id: b, node: n, outputs: {z: number, y: any}, with: {x: '{{ steps.a.output.x.deep }}', s: '{{ steps.a.status }}'}}
  - {id: c, node: n, outputs: {all: object}, when: '{{ steps.a.outputs.y > 1 }}', with: '{{ steps.b.output }}'}
output: '{{ steps.c.output.all }}'
";
        let flow = parse("f.yaml", text).unwrap_or_else(|problems| panic!("{}", problems[0])).flow;
        let readers = readers(&flow);
        let told = |id: &str| {
            let reads = reads_of(flow.step(id).unwrap(), &readers);
            let fields: Vec<String> = reads.fields.into_iter().collect();
            format!("{}{}", fields.join(" "), if reads.whole { " *" } else { "" })
        };
        assert_eq!(["a", "b", "c"].map(told), ["x y", "y z *", ""]);
    }
}
