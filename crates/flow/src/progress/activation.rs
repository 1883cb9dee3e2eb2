//! One execution of a step: which visit, which item.

use std::fmt;

use crate::graph::StepId;
use crate::name::check_step_id;

/// Names an execution of a step: `step`, `step#2` (visit), `step[3]` (item),
/// `parent/step` (spawned), `step.compensate`. This text is the activity id, the timer id or the
/// tail of the child's workflow id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Activation {
    /// Which step.
    pub step: StepId,
    /// Which visit; the first is 1.
    pub visit: u32,
    /// Which item of a `for_each`, from 0.
    pub item: Option<u32>,
    /// Whether the step is taken back.
    pub compensates: bool,
}

impl Activation {
    /// The given visit of a step.
    pub fn visit(step: StepId, visit: u32) -> Self {
        Self { step, visit, item: None, compensates: false }
    }

    /// One item of this visit.
    pub fn at(mut self, item: u32) -> Self {
        self.item = Some(item);
        self
    }

    /// What takes this step back.
    pub fn compensation(step: StepId) -> Self {
        Self { step, visit: 1, item: None, compensates: true }
    }

    /// Reads an activation id; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, compensates) = match text.strip_suffix(".compensate") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        // A spawned step's id holds its parent's activation, so only what follows the last
        // slash is its own.
        let own = text.rfind('/').map_or(0, |at| at + 1);
        let (rest, item) = match text.get(own..)?.strip_suffix(']') {
            Some(inner) => {
                let open = inner.rfind('[')?;
                let item = inner.get(open + 1..)?.parse().ok()?;
                (text.get(..own + open)?, Some(item))
            }
            None => (text, None),
        };
        let (step, visit) = match rest.get(own..)?.rfind('#') {
            Some(at) => (rest.get(..own + at)?, rest.get(own + at + 1..)?.parse().ok()?),
            None => (rest, 1),
        };
        let is_name = check_step_id(step.get(own..)?).is_ok();
        (is_name && visit > 0).then(|| Self { step: StepId::new(step), visit, item, compensates })
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.step.as_str())?;
        if self.visit > 1 {
            write!(f, "#{}", self.visit)?;
        }
        if let Some(item) = self.item {
            write!(f, "[{item}]")?;
        }
        if self.compensates {
            f.write_str(".compensate")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Activation;
    use crate::graph::StepId;

    #[test]
    fn an_activation_reads_as_it_is_written() {
        let of = |step: &str, visit, item, compensates| Activation {
            step: StepId::new(step),
            visit,
            item,
            compensates,
        };
        for (text, activation) in [
            ("build", of("build", 1, None, false)),
            ("test#2", of("test", 2, None, false)),
            ("each[3]", of("each", 1, Some(3), false)),
            ("each#2[3]", of("each", 2, Some(3), false)),
            ("make/child", of("make/child", 1, None, false)),
            ("make#2/child#3[4]", of("make#2/child", 3, Some(4), false)),
            ("make[1]/child", of("make[1]/child", 1, None, false)),
            ("book.compensate", of("book", 1, None, true)),
        ] {
            assert_eq!(activation.to_string(), text);
            assert_eq!(Activation::parse(text), Some(activation));
        }
    }

    #[test]
    fn what_is_no_activation_is_none() {
        for text in ["", "#2", "a[", "a[x]", "a#0", "a#x", "a]", ".compensate", "a/"] {
            assert_eq!(Activation::parse(text), None, "{text}");
        }
    }
}
