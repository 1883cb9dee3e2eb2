//! Starts and signals, which no worker takes up.

use reflux_proto::temporal::api::workflowservice::v1::GetSystemInfoRequest;

use super::Served;
use super::load::rate;
use super::temporal::{Client, IDLE, clients, signal, start};
use crate::bed::Figure;

const CALLERS: usize = 256;
/// Runs that take the signals.
const TARGETS: usize = 1000;

/// A call that does nothing: what the machine and the protocol cost.
pub async fn floor(served: &Served) -> Figure {
    let callers = clients(served, CALLERS).await;
    let calls = rate(callers, |mut client: Client, _| async move {
        client.get_system_info(GetSystemInfoRequest::default()).await.expect("it answers");
    })
    .await;
    Figure::new("a gRPC call that does nothing", calls, "calls/s")
}

pub async fn starts(served: &Served) -> Figure {
    let callers = clients(served, CALLERS).await;
    let starts = rate(callers, |mut client: Client, n| async move {
        client
            .start_workflow_execution(start(format!("start-{n}"), IDLE))
            .await
            .expect("it starts");
    })
    .await;
    Figure::new("StartWorkflowExecution", starts, "starts/s").bar(8_000.0, 4_000.0)
}

pub async fn signals(served: &Served) -> Figure {
    let callers = clients(served, CALLERS).await;
    let mut client = callers[0].clone();
    for n in 0..TARGETS {
        client
            .start_workflow_execution(start(format!("signalled-{n}"), IDLE))
            .await
            .expect("it starts");
    }
    let signals = rate(callers, |mut client: Client, n| async move {
        let request = signal(format!("signalled-{}", n % TARGETS), format!("signal-{n}"));
        client.signal_workflow_execution(request).await.expect("it is taken");
    })
    .await;
    Figure::new("SignalWorkflowExecution", signals, "signals/s").bar(20_000.0, 8_000.0)
}
