//! The triggers of the project's files: at the start, and whenever somebody says that these have
//! changed.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::Error;
use crate::net::App;

/// Reads nodes, secrets and flows of the project, and takes up the flows' triggers; what is wrong
/// with single flows.
///
/// # Errors
/// The project cannot be read, or the engine does not take it.
pub async fn reload(app: &Arc<App>) -> Result<Vec<String>, Error> {
    let app = app.clone();
    let read = move || {
        app.service.reload()?;
        app.service.triggers().reload()
    };
    let done = tokio::task::spawn_blocking(read).await;
    done.map_err(|error| Error::unavailable(format!("a thread failed: {error}")))?
}

/// Reads them again at each SIGHUP. The signal is taken from now on, also before the first poll.
///
/// # Errors
/// The system does not allow it.
pub fn reload_when_told(app: Arc<App>) -> Result<impl Future<Output = ()> + Send, Error> {
    let failed = |error| Error::unavailable(format!("cannot listen for signals: {error}"));
    let mut told = signal(SignalKind::hangup()).map_err(failed)?;
    Ok(async move {
        while told.recv().await.is_some() {
            match reload(&app).await {
                Ok(problems) => problems.iter().for_each(|problem| tracing::warn!("{problem}")),
                Err(error) => tracing::warn!(%error, "the triggers stay as they were"),
            }
        }
    })
}
