//! Visits every expression and template of a flow, with the path of its place.

use crate::expr::{Expr, Refs};
use crate::graph::{Action, Flow, Rule, Step, Wait};
use crate::template::Template;

/// Where an expression stands: what it may read depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A condition.
    Condition,
    /// Input of a node or a sub-flow.
    Input,
    /// Any other template.
    Other,
}

pub(crate) enum Item<'a> {
    Expr(&'a Expr),
    Template(&'a Template),
}

impl<'a> Item<'a> {
    pub(crate) fn exprs(&self) -> Vec<&'a Expr> {
        match self {
            Item::Expr(expr) => vec![expr],
            Item::Template(template) => template.exprs(),
        }
    }

    pub(crate) fn refs(&self) -> &'a Refs {
        match self {
            Item::Expr(expr) => expr.refs(),
            Item::Template(template) => template.refs(),
        }
    }
}

/// Is called with each item of a flow.
pub(crate) type Visit<'v, 'a> = dyn FnMut(Option<&'a Step>, &str, Role, Item<'a>) + 'v;

/// Calls `f` with the step (none for the flow's own parts), the path, the role and the item.
pub(crate) fn each<'a>(flow: &'a Flow, f: &mut Visit<'_, 'a>) {
    for step in &flow.steps {
        let path = format!("steps/{}", step.id);
        match &step.action {
            Action::Node { with, .. } | Action::Flow { with, .. } => {
                f(Some(step), &format!("{path}/with"), Role::Input, Item::Template(with));
            }
            Action::Wait(Wait::Duration(t) | Wait::Until(t) | Wait::Approval { title: t, .. }) => {
                f(Some(step), &format!("{path}/wait"), Role::Other, Item::Template(t));
            }
            Action::Wait(Wait::Signal { .. }) | Action::Pass => {}
        }
        if let Some(when) = &step.when {
            f(Some(step), &format!("{path}/when"), Role::Condition, Item::Expr(when));
        }
        if let Some(for_each) = &step.for_each {
            f(
                Some(step),
                &format!("{path}/for_each"),
                Role::Other,
                Item::Template(&for_each.items),
            );
        }
        if let Some(compensate) = &step.compensate {
            f(
                Some(step),
                &format!("{path}/compensate/with"),
                Role::Input,
                Item::Template(&compensate.with),
            );
        }
        each_condition(&step.on_success, &mut |e| {
            f(Some(step), &format!("{path}/on_success"), Role::Condition, Item::Expr(e));
        });
        each_condition(&step.on_failure, &mut |e| {
            f(Some(step), &format!("{path}/on_failure"), Role::Condition, Item::Expr(e));
        });
    }
    each_condition(&flow.on_failure, &mut |e| {
        f(None, "on_failure", Role::Condition, Item::Expr(e))
    });
    if let Some(output) = &flow.output {
        f(None, "output", Role::Other, Item::Template(output));
    }
}

fn each_condition<'a>(rules: &'a [Rule], f: &mut dyn FnMut(&'a Expr)) {
    rules.iter().filter_map(|rule| rule.condition.as_ref()).for_each(f);
}

impl Flow {
    /// What all of its expressions read, together.
    pub fn refs(&self) -> Refs {
        let mut refs = Refs::default();
        each(self, &mut |_, _, _, item| refs.extend(item.refs()));
        refs
    }
}
