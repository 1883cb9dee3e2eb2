//! Callers side by side for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a rate is measured, after a second of warming up.
const SECONDS: u64 = 8;

/// Calls a second that `callers` make side by side, each its next when the last has answered.
/// `call` gets a number that is never given twice.
pub async fn rate<C, F>(
    callers: Vec<C>,
    call: impl Fn(C, usize) -> F + Send + Sync + 'static,
) -> f64
where
    C: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let call = Arc::new(call);
    let next = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let warm = Instant::now() + Duration::from_secs(1);
    let until = warm + Duration::from_secs(SECONDS);
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|caller| {
            let (call, next, done) = (call.clone(), next.clone(), done.clone());
            tokio::spawn(async move {
                while Instant::now() < until {
                    call(caller.clone(), next.fetch_add(1, Ordering::Relaxed)).await;
                    if Instant::now() >= warm {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a caller");
    }
    done.load(Ordering::Relaxed) as f64 / SECONDS as f64
}
