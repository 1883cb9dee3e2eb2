//! `LimitService`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reflux_engine::{Breaker, GateState, Subject};
use reflux_proto::api as v1;
use reflux_sdk::{Circuit, Rate};

use super::{author, check_id, convert, namespace};
use crate::registry::Limit;
use crate::service::Service;
use crate::{Error, clock};

/// Every limit, and the quotas of a namespace.
///
/// # Errors
/// There is no such namespace.
pub fn list(
    service: &Service,
    request: v1::ListLimitsRequest,
) -> Result<v1::ListLimitsResponse, Error> {
    let namespace = namespace(service, &request.namespace)?;
    let authors = authors(service);
    let gates = service.engine().gates().list(clock::now());
    let here = gates.into_iter().filter(|gate| match &gate.subject {
        Subject::Node(_) => true,
        Subject::Queue { namespace: of, .. } => *of == namespace,
    });
    Ok(v1::ListLimitsResponse {
        limits: here.map(|gate| told(&authors, &gate)).collect(),
        quotas: quotas(service, &namespace),
    })
}

/// Sets the limits of a node or a queue.
///
/// # Errors
/// [`Kind::Invalid`](crate::Kind::Invalid), or there are too many.
pub fn set(service: &Service, request: v1::SetLimitRequest) -> Result<v1::SetLimitResponse, Error> {
    let subject = subject(service, &request.namespace, &request.node, &request.queue)?;
    let name = subject.to_string();
    let registry = service.host().registry();
    let known = registry.limits().into_iter().find(|limit| limit.subject == name);
    let rate = match &*request.rate {
        "" => None,
        text => Some(text.parse::<Rate>().map_err(Error::invalid)?),
    };
    let circuit = request.circuit.map(circuit_of).transpose()?;
    if rate.is_none() && circuit.is_none() {
        return Err(Error::invalid("nothing is set").suggest("give a rate, a circuit or both"));
    }
    let limit = Limit {
        subject: name,
        rate: rate.or(known.as_ref().and_then(|known| known.rate)),
        circuit: circuit.or(known.as_ref().and_then(|known| known.circuit)),
        author: author(service, &request.author)?,
        time: 0,
    };
    registry.set_limit(service.engine(), limit)?;
    service.host().align();
    Ok(v1::SetLimitResponse { limit: find(service, &subject) })
}

/// Takes away what was set.
///
/// # Errors
/// [`Kind::NotFound`](crate::Kind::NotFound).
pub fn unset(
    service: &Service,
    request: v1::UnsetLimitRequest,
) -> Result<v1::UnsetLimitResponse, Error> {
    let subject = subject(service, &request.namespace, &request.node, &request.queue)?;
    service.host().registry().unset_limit(service.engine(), &subject)?;
    service.host().align();
    Ok(v1::UnsetLimitResponse {})
}

/// Closes a circuit.
///
/// # Errors
/// The subject is none.
pub fn reset(
    service: &Service,
    request: v1::ResetCircuitRequest,
) -> Result<v1::ResetCircuitResponse, Error> {
    let subject = subject(service, &request.namespace, &request.node, &request.queue)?;
    let was_open = service.engine().gates().reset(&subject);
    if was_open {
        // Answered when it is durable.
        service.host().registry().put_circuit(service.engine(), &subject, None)?;
    }
    Ok(v1::ResetCircuitResponse { was_open })
}

fn subject(service: &Service, of: &str, node: &str, queue: &str) -> Result<Subject, Error> {
    let of = namespace(service, of)?;
    check_id("node", node)?;
    check_id("queue", queue)?;
    match (node, queue) {
        (node, "") if !node.is_empty() => Ok(Subject::Node(node.into())),
        ("", queue) if !queue.is_empty() => {
            Ok(Subject::Queue { namespace: of, name: queue.into() })
        }
        _ => Err(Error::invalid("a limit is of one node or of one queue")
            .suggest("name a node, such as http.request, or a task queue")),
    }
}

fn find(service: &Service, subject: &Subject) -> Option<v1::Limit> {
    let authors = authors(service);
    let gates = service.engine().gates().list(clock::now());
    gates.iter().find(|gate| gate.subject == *subject).map(|gate| told(&authors, gate))
}

fn authors(service: &Service) -> BTreeMap<String, Arc<Limit>> {
    let limits = service.host().registry().limits();
    limits.into_iter().map(|limit| (limit.subject.clone(), limit)).collect()
}

fn told(set: &BTreeMap<String, Arc<Limit>>, gate: &GateState) -> v1::Limit {
    let subject = gate.subject.to_string();
    let state = match (&gate.rules.circuit, &gate.opened, gate.probing) {
        (None, None, _) => "",
        (Some(_), None, _) => "closed",
        (_, Some(_), true) => "half_open",
        (_, Some(_), false) => "open",
    };
    let opened = gate.opened.as_ref();
    v1::Limit {
        author: set.get(&subject).map_or_else(String::new, |limit| limit.author.clone()),
        subject,
        rate: gate.rules.rate.map(|rate| rate.to_string()).unwrap_or_default(),
        circuit: gate.rules.circuit.map(circuit_told),
        worker_rate: gate.worker_rate.map(|rate| rate.to_string()).unwrap_or_default(),
        state: state.to_owned(),
        open_since: opened.map(|opened| convert::time(opened.since)),
        open_until: opened.map(|opened| convert::time(opened.until)),
        failure: opened.map(|opened| opened.failure.clone()).unwrap_or_default(),
        waits: gate.waits,
        holds: gate.held.as_ref().map(|held| held.why.clone()).unwrap_or_default(),
        holds_until: gate.held.as_ref().map(|held| convert::time(held.until)),
    }
}

fn circuit_told(breaker: Breaker) -> v1::Circuit {
    v1::Circuit {
        failures: breaker.failures,
        within: Some(convert::length(breaker.within)),
        open: Some(convert::length(breaker.open)),
    }
}

fn circuit_of(circuit: v1::Circuit) -> Result<Circuit, Error> {
    let seconds = |given: Option<pbjson_types::Duration>| {
        let seconds = given.and_then(|given| u64::try_from(given.seconds).ok());
        Duration::from_secs(seconds.unwrap_or_default())
    };
    Circuit::new(circuit.failures, seconds(circuit.within), seconds(circuit.open))
        .map_err(Error::invalid)
}

fn quotas(service: &Service, namespace: &str) -> Vec<v1::Quota> {
    let engine = service.engine();
    let tallies = engine.tallies();
    let tally = tallies.iter().find(|(name, _)| **name == *namespace);
    let tally = tally.map(|(_, tally)| *tally).unwrap_or_default();
    let quota = engine.quotas().of(namespace);
    let row = |name: &str, max, used| v1::Quota { name: name.to_owned(), max, used };
    vec![
        row("open_runs", quota.open_runs, Some(tally.open)),
        row("starts_per_second", quota.starts_per_second.map(u64::from), None),
        row("history_events", quota.history_events, None),
        row("history_bytes", quota.history_bytes, None),
        row("stored_bytes", quota.stored_bytes, Some(tally.bytes)),
    ]
}
