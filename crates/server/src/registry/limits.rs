//! Limits of nodes and queues that somebody has set, and circuits that are open.

use std::str::FromStr;
use std::sync::Arc;

use reflux_core::Timestamp;
use reflux_engine::{Engine, GATES_MAX, Opened, Subject};
use reflux_sdk::{Circuit, Rate};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Registry, read, record, room, write};
use crate::{Error, Kind, clock};

pub(super) const LIMIT: &str = "reflux.limit";
pub(super) const CIRCUIT: &str = "reflux.circuit";

/// What somebody has set. Its JSON is durable: fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Of what: `node:http.request`, `queue:default/emails`.
    pub subject: String,
    /// How fast it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// When it is not called for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<Circuit>,
    /// Who set it.
    #[serde(default)]
    pub author: String,
    /// When, in nanoseconds since 1970.
    #[serde(default)]
    pub time: i64,
}

/// That a circuit is open. Its JSON is durable: fields are added, never changed. Written when it
/// opens, taken away when it closes; that a probe failed is not written, because the next process
/// finds that out for itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OpenCircuit {
    subject: String,
    /// In nanoseconds since 1970.
    since: i64,
    /// In nanoseconds since 1970.
    until: i64,
    #[serde(default)]
    failure: String,
}

impl Registry {
    /// What somebody has set, by subject.
    pub fn limits(&self) -> Vec<Arc<Limit>> {
        read(&self.limits).values().cloned().collect()
    }

    /// The circuits that were open when the last process ended.
    pub fn open_circuits(&self) -> Vec<(Subject, Opened)> {
        read(&self.circuits).clone()
    }

    /// Sets what holds for a subject, in the place of what was set before.
    ///
    /// # Errors
    /// There are too many.
    pub fn set_limit(&self, engine: &Engine, mut limit: Limit) -> Result<Arc<Limit>, Error> {
        let _writing = self.writing();
        let known = read(&self.limits).contains_key(&limit.subject);
        if !known {
            room("limits", read(&self.limits).len(), GATES_MAX)?;
        }
        limit.time = clock::now().0;
        record::put(engine, LIMIT, id("limit", &limit.subject), &limit, [])?;
        let limit = Arc::new(limit);
        write(&self.limits).insert(limit.subject.clone(), limit.clone());
        Ok(limit)
    }

    /// Takes away what was set.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn unset_limit(&self, engine: &Engine, subject: &Subject) -> Result<(), Error> {
        let _writing = self.writing();
        let name = subject.to_string();
        if !read(&self.limits).contains_key(&name) {
            return Err(Error::new(Kind::NotFound, format!("nobody has set a limit of {name}"))
                .suggest("see `reflux limits`; what a manifest declares is changed there"));
        }
        record::remove(engine, id("limit", &name))?;
        write(&self.limits).remove(&name);
        Ok(())
    }

    /// Records that a circuit is open, or no longer.
    ///
    /// # Errors
    /// Try again: nothing was recorded.
    pub fn put_circuit(
        &self,
        engine: &Engine,
        subject: &Subject,
        opened: Option<&Opened>,
    ) -> Result<(), Error> {
        let _writing = self.writing();
        let name = subject.to_string();
        let Some(opened) = opened else {
            return match record::remove(engine, id("circuit", &name)) {
                Err(error) if matches!(error.kind, Kind::NotFound | Kind::Refused) => Ok(()),
                removed => removed,
            };
        };
        let facts = OpenCircuit {
            subject: name.clone(),
            since: opened.since.0,
            until: opened.until.0,
            failure: opened.failure.clone(),
        };
        record::put(engine, CIRCUIT, id("circuit", &name), &facts, [])
    }

    pub(super) fn take_limit(&self, facts: Value) -> Result<(), String> {
        let limit: Limit = serde_json::from_value(facts).map_err(|error| error.to_string())?;
        write(&self.limits).insert(limit.subject.clone(), Arc::new(limit));
        Ok(())
    }

    pub(super) fn take_circuit(&self, facts: Value) -> Result<(), String> {
        let open: OpenCircuit = serde_json::from_value(facts).map_err(|error| error.to_string())?;
        let opened = Opened {
            since: Timestamp(open.since),
            until: Timestamp(open.until),
            failure: open.failure,
        };
        write(&self.circuits).push((Subject::from_str(&open.subject)?, opened));
        Ok(())
    }
}

fn id(kind: &str, subject: &str) -> String {
    format!("{kind}/{subject}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_first_version_are_read_for_ever() {
        let registry = Registry::default();
        let limit = r#"{"subject":"node:http.request","rate":"10/s","circuit":{"failures":5,"withinSec":60,"openSec":30},"author":"ada","time":7}"#;
        registry.take_limit(serde_json::from_str(limit).unwrap()).unwrap();
        let known = registry.limits();
        assert_eq!(serde_json::to_string(&*known[0]).unwrap(), limit);
        let open = r#"{"subject":"queue:default/emails","since":1,"until":2,"failure":"down"}"#;
        registry.take_circuit(serde_json::from_str(open).unwrap()).unwrap();
        let (subject, opened) = registry.open_circuits().remove(0);
        assert_eq!(subject.to_string(), "queue:default/emails");
        assert_eq!((opened.since, opened.until), (Timestamp(1), Timestamp(2)));
        assert_eq!(opened.failure, "down");
    }

    #[test]
    fn a_record_with_less_in_it_is_read_and_one_about_nothing_is_not() {
        let registry = Registry::default();
        registry.take_limit(serde_json::json!({ "subject": "node:a" })).unwrap();
        assert!(
            registry
                .take_circuit(serde_json::json!({ "subject": "a", "since": 1, "until": 2 }))
                .is_err()
        );
    }
}
