//! Which triggers there are: by path, by name of an event, by flow.

use std::collections::BTreeMap;
use std::sync::Arc;

use reflux_engine::Spec;
use reflux_flow::graph::{Bundle, Flow};
use reflux_flow::schedule::Subject;
use reflux_flow::trigger::{Trigger, TriggerKind};

use crate::protocol::NAMESPACE;

/// A flow whose triggers are at work.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The namespace of its runs.
    pub namespace: Arc<str>,
    /// Its name.
    pub flow: Arc<str>,
    /// It, with every sub-flow it reaches.
    pub bundle: Arc<Bundle>,
    /// The bundle's bytes.
    pub spec: Spec,
}

impl Deployed {
    /// A flow of a bundle, in the namespace of the command line.
    pub fn of(flow: &str, bundle: Bundle) -> Self {
        let bytes = bundle.to_bytes();
        let digest = *blake3::hash(&bytes).as_bytes();
        Self {
            namespace: NAMESPACE.into(),
            flow: flow.into(),
            bundle: Arc::new(bundle),
            spec: Spec { digest, bytes: bytes.into() },
        }
    }

    /// The flow itself.
    pub fn definition(&self) -> Option<&Arc<Flow>> {
        self.bundle.flows.get(&*self.flow)
    }
}

/// One trigger of a deployed flow.
#[derive(Debug, Clone)]
pub(super) struct Active {
    pub deployed: Arc<Deployed>,
    pub flow: Arc<Flow>,
    pub trigger: Trigger,
}

impl Active {
    /// Which trigger it is.
    pub fn subject(&self) -> Subject {
        Subject {
            namespace: self.deployed.namespace.to_string(),
            flow: self.deployed.flow.to_string(),
            trigger: self.trigger.id.clone(),
        }
    }
}

/// All triggers.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// In order of flow and declaration.
    pub all: Vec<Arc<Active>>,
    /// By path, then method.
    pub routes: BTreeMap<String, BTreeMap<String, Arc<Active>>>,
    /// By name of the event.
    pub events: BTreeMap<String, Vec<Arc<Active>>>,
}

impl Table {
    /// The triggers of flows, and why some are not at work.
    pub fn of(flows: Vec<Deployed>) -> (Self, Vec<String>) {
        let mut table = Self::default();
        let mut problems = Vec::new();
        for deployed in flows {
            let deployed = Arc::new(deployed);
            let Some(flow) = deployed.definition().cloned() else { continue };
            for trigger in &flow.triggers {
                let (deployed, flow) = (deployed.clone(), flow.clone());
                let active = Arc::new(Active { deployed, flow, trigger: trigger.clone() });
                problems.extend(table.add(active));
            }
        }
        (table, problems)
    }

    fn add(&mut self, active: Arc<Active>) -> Option<String> {
        match &active.trigger.kind {
            TriggerKind::Webhook(webhook) => {
                let methods = self.routes.entry(webhook.path.clone()).or_default();
                if let Some(first) = methods.get(&webhook.method) {
                    return Some(format!(
                        "{} {} of flow `{}` is taken by flow `{}`; choose another path",
                        webhook.method, webhook.path, active.deployed.flow, first.deployed.flow
                    ));
                }
                methods.insert(webhook.method.clone(), active.clone());
            }
            TriggerKind::Event(event) => {
                self.events.entry(event.name.clone()).or_default().push(active.clone());
            }
            TriggerKind::Schedule(_) | TriggerKind::Manual => {}
        }
        self.all.push(active);
        None
    }

    /// The trigger of a flow, by its id.
    pub fn find(&self, namespace: &str, flow: &str, trigger: &str) -> Option<&Arc<Active>> {
        self.all.iter().find(|active| {
            *active.deployed.namespace == *namespace
                && *active.deployed.flow == *flow
                && active.trigger.id == trigger
        })
    }
}
