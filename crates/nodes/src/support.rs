//! What every built-in node does with its manifest, its input and its time.

use std::future::Future;
use std::time::Duration;

use reflux_sdk::{Context, Failure, Manifest};

/// A manifest that is a constant of this crate.
#[allow(clippy::expect_used, reason = "the text is ours, and a test builds every node")]
pub(crate) fn manifest(json: &str) -> Manifest {
    Manifest::from_json(json).expect("a manifest of a built-in node")
}

/// The time an attempt may take: what the step asks for, but not longer than the host waits.
pub(crate) fn timeout(
    ctx: &Context,
    asked_sec: Option<f64>,
    default: Duration,
) -> Result<Duration, Failure> {
    let asked = match asked_sec {
        Some(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| {
            Failure::bad_input(format!("timeout_sec: {seconds} is not a number of seconds"))
        })?,
        None => default,
    };
    Ok(ctx.remaining().map_or(asked, |left| left.min(asked)))
}

/// Run until done, out of time or cancelled, whichever comes first.
pub(crate) async fn bounded<T>(
    ctx: &Context,
    timeout: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = ctx.cancellation() => Err(Failure::cancelled()),
        done = tokio::time::timeout(timeout, work) => done.unwrap_or_else(|_| {
            Err(Failure::timeout(format!("no result within {} s", timeout.as_secs_f64())))
        }),
    }
}

/// Run something that blocks or computes for long where it holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| {
        Err(Failure::permanent("Internal", format!("the node's thread ended: {e}")))
    })
}
