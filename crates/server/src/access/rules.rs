//! What a call needs, by the name of what is called. What is not known needs the right to write.

use super::{Caller, Scope};

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: probes, and webhooks, which check signatures of their own.
    Nothing,
    /// A scope.
    Scope(Scope),
    /// A scope, but for callers without a key where those may use the Temporal API.
    Temporal(Scope),
}

/// What a gRPC call of `/package.Service/Method` needs.
pub fn of_grpc(path: &str) -> Need {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let scope = if looks(method) {
        Scope::Read
    } else if concerns_everybody(service, method) {
        Scope::Admin
    } else {
        Scope::Write
    };
    match service {
        "grpc.health.v1.Health" => Need::Nothing,
        _ if service.starts_with("grpc.reflection.") => Need::Scope(Scope::Read),
        _ if service.starts_with("temporal.api.") => Need::Temporal(scope),
        _ => Need::Scope(scope),
    }
}

/// What an HTTP request needs. The router matches the path as it is, and so does this.
pub fn of_http(method: &axum::http::Method, path: &str) -> Need {
    use axum::http::Method;
    match path {
        "/healthz" | "/readyz" => return Need::Nothing,
        _ if path.starts_with("/webhooks/") => return Need::Nothing,
        _ => {}
    }
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Need::Scope(Scope::Read),
        _ if ["/api/v1/namespaces", "/api/v1/limits"].iter().any(|of| path.starts_with(of)) => {
            Need::Scope(Scope::Admin)
        }
        _ => Need::Scope(Scope::Write),
    }
}

/// Whether a caller may make such a call. `open` says whether callers without a key may do anything
/// here at all.
///
/// # Errors
/// Which scope is missing.
pub fn check(need: Need, caller: &Caller, open: bool) -> Result<(), Scope> {
    let (wanted, anonymously) = match need {
        Need::Nothing => return Ok(()),
        Need::Scope(scope) => (scope, scope == Scope::Read),
        Need::Temporal(scope) => (scope, true),
    };
    match caller.scope {
        Some(scope) if scope >= wanted => Ok(()),
        None if open && anonymously => Ok(()),
        _ => Err(wanted),
    }
}

/// Whether a call that changes something belongs into the audit log: what workers say about the
/// tasks they have in hand is in the histories.
pub fn is_audited(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or_default();
    let of_worker = ["Poll", "Respond", "Record", "Shutdown"].iter();
    !path.starts_with("/temporal.api.")
        || method.ends_with("ById")
        || !of_worker.into_iter().any(|prefix| method.starts_with(prefix))
}

fn looks(method: &str) -> bool {
    const LOOKS: [&str; 12] = [
        "Get", "List", "Describe", "Count", "Query", "Watch", "Validate", "Verify", "Diff",
        "Export", "Scan", "Search",
    ];
    LOOKS.iter().any(|prefix| method.starts_with(prefix))
}

fn concerns_everybody(service: &str, method: &str) -> bool {
    service.ends_with(".OperatorService")
        || service.ends_with(".LimitService")
        || method.ends_with("Namespace")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Method;

    #[test]
    fn a_grpc_call_needs_what_its_name_says() {
        const W: &str = "/temporal.api.workflowservice.v1.WorkflowService";
        const O: &str = "/temporal.api.operatorservice.v1.OperatorService";
        for (path, need) in [
            ("/grpc.health.v1.Health/Check".to_owned(), Need::Nothing),
            ("/grpc.reflection.v1.ServerReflection/X".to_owned(), Need::Scope(Scope::Read)),
            (format!("{W}/GetSystemInfo"), Need::Temporal(Scope::Read)),
            (format!("{W}/QueryWorkflow"), Need::Temporal(Scope::Read)),
            (format!("{W}/StartWorkflowExecution"), Need::Temporal(Scope::Write)),
            (format!("{W}/PollActivityTaskQueue"), Need::Temporal(Scope::Write)),
            (format!("{W}/RegisterNamespace"), Need::Temporal(Scope::Admin)),
            (format!("{W}/DescribeNamespace"), Need::Temporal(Scope::Read)),
            (format!("{O}/DeleteNamespace"), Need::Temporal(Scope::Admin)),
            (format!("{O}/ListSearchAttributes"), Need::Temporal(Scope::Read)),
            ("/reflux.v1.RunService/StartRun".to_owned(), Need::Scope(Scope::Write)),
            ("/reflux.v1.RunService/ListRuns".to_owned(), Need::Scope(Scope::Read)),
            ("/reflux.v1.RunService/VerifyRun".to_owned(), Need::Scope(Scope::Read)),
            ("/reflux.v1.FlowService/DeployFlow".to_owned(), Need::Scope(Scope::Write)),
            ("/reflux.v1.LimitService/ListLimits".to_owned(), Need::Scope(Scope::Read)),
            ("/reflux.v1.LimitService/SetLimit".to_owned(), Need::Scope(Scope::Admin)),
            ("/temporal.apix/Y".to_owned(), Need::Scope(Scope::Write)),
            ("//reflux.v1.RunService/ListRuns".to_owned(), Need::Scope(Scope::Read)),
            ("/REFLUX.v1.RunService/startRun".to_owned(), Need::Scope(Scope::Write)),
            ("".to_owned(), Need::Scope(Scope::Write)),
        ] {
            assert_eq!(of_grpc(&path), need, "{path}");
        }
    }

    #[test]
    fn an_http_request_needs_what_its_method_says() {
        for (method, path, need) in [
            (Method::GET, "/healthz", Need::Nothing),
            (Method::POST, "/webhooks/orders", Need::Nothing),
            (Method::POST, "/Webhooks/orders", Need::Scope(Scope::Write)),
            (Method::POST, "/webhooks", Need::Scope(Scope::Write)),
            (Method::GET, "/metrics", Need::Scope(Scope::Read)),
            (Method::GET, "/api/v1/runs", Need::Scope(Scope::Read)),
            (Method::POST, "/api/v1/runs", Need::Scope(Scope::Write)),
            (Method::DELETE, "/api/v1/flows/x", Need::Scope(Scope::Write)),
            (Method::POST, "/api/v1/namespaces", Need::Scope(Scope::Admin)),
            (Method::POST, "/api/v1/limits/unset", Need::Scope(Scope::Admin)),
            (Method::TRACE, "/healthz/", Need::Scope(Scope::Write)),
        ] {
            assert_eq!(of_http(&method, path), need, "{method} {path}");
        }
    }

    #[test]
    fn a_scope_includes_those_below_it_and_strangers_only_look() {
        let key = |scope| Caller { scope: Some(scope), ..Caller::anonymous() };
        let (read, write) = (Need::Scope(Scope::Read), Need::Scope(Scope::Write));
        let worker = Need::Temporal(Scope::Write);
        for (need, caller, open, allowed) in [
            (read, Caller::anonymous(), true, true),
            (read, Caller::anonymous(), false, false),
            (write, Caller::anonymous(), true, false),
            (worker, Caller::anonymous(), true, true),
            (worker, Caller::anonymous(), false, false),
            (worker, key(Scope::Read), true, false),
            (write, key(Scope::Read), false, false),
            (write, key(Scope::Write), false, true),
            (read, key(Scope::Write), false, true),
            (Need::Temporal(Scope::Admin), key(Scope::Write), false, false),
            (Need::Temporal(Scope::Admin), key(Scope::Admin), false, true),
            (Need::Nothing, Caller::anonymous(), false, true),
        ] {
            assert_eq!(check(need, &caller, open).is_ok(), allowed, "{need:?} {caller:?} {open}");
        }
    }

    #[test]
    fn what_workers_say_about_their_tasks_is_not_audited() {
        const W: &str = "/temporal.api.workflowservice.v1.WorkflowService";
        for (path, audited) in [
            (format!("{W}/PollActivityTaskQueue"), false),
            (format!("{W}/RespondActivityTaskCompleted"), false),
            (format!("{W}/RecordActivityTaskHeartbeat"), false),
            (format!("{W}/RespondActivityTaskCompletedById"), true),
            (format!("{W}/StartWorkflowExecution"), true),
            ("/reflux.v1.RunService/RespondX".to_owned(), true),
        ] {
            assert_eq!(is_audited(&path), audited, "{path}");
        }
    }
}
