//! Ctrl-C and the request to end, as messages.

use std::sync::mpsc::Sender;

/// Sends a message for every interruption, from a thread of its own. Without a signal handler
/// (the system refused one) the first interruption ends the process, as it would anyway.
pub fn listen<T: Send + 'static>(to: Sender<T>, message: impl Fn() -> T + Send + 'static) {
    let wait = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
            let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return };
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if to.send(message()).is_err() {
                    return;
                }
            }
        });
    };
    drop(std::thread::Builder::new().name("signals".to_owned()).spawn(wait));
}
