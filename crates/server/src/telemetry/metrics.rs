//! The recorder of this process, and what is read when somebody asks for `/metrics`.
//!
//! Labels have a bounded number of values: nodes, routes, queues, namespaces, never runs.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use reflux_store::Tally;

use crate::net::App;
use crate::{Error, registry};

/// Upper bounds of the buckets of times, in seconds: from one `fdatasync` to a long node.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];
/// Upper bounds of the buckets of sizes, in bytes: a record has at most 512 KiB.
const BYTES: [f64; 7] = [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];
/// How often observations that nobody asked for are folded, so that they take no memory.
const FOLD_EVERY: Duration = Duration::from_secs(5);
/// Namespaces whose runs are told of: each is a time series of its own.
const NAMESPACES_MAX: usize = 50;

/// The recorder of this process; made by the first server in it.
///
/// # Errors
/// Another recorder is there already, or the system gives no thread.
pub fn install() -> Result<&'static PrometheusHandle, Error> {
    static HANDLE: OnceLock<Result<PrometheusHandle, Error>> = OnceLock::new();
    HANDLE.get_or_init(make).as_ref().map_err(Clone::clone)
}

fn make() -> Result<PrometheusHandle, Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::unavailable(format!("metrics cannot be recorded: {error}"))
    };
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)
        })
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| failed(&error))?;
    let folding = handle.clone();
    let fold = move || loop {
        std::thread::sleep(FOLD_EVERY);
        folding.run_upkeep();
    };
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(fold)
        .map_err(|error| failed(&error))?;
    reflux_engine::describe_metrics();
    super::attempts::describe();
    describe();
    Ok(handle)
}

/// The figures of the server itself; those of the engine describe themselves.
fn describe() {
    describe_gauge!("reflux_build_info", "always 1; `version` is the program's");
    describe_gauge!("reflux_ready", "1 while the server takes work, 0 while it drains");
    describe_gauge!("reflux_open_runs", "runs that are open, by `namespace`");
    describe_gauge!(
        "reflux_stored_bytes",
        Unit::Bytes,
        "bytes of all runs that are kept, by `namespace`"
    );
    describe_gauge!("reflux_log_bytes", Unit::Bytes, "files of the log");
    describe_gauge!("reflux_log_segments", "files of the log");
    describe_gauge!("reflux_log_queued_bytes", Unit::Bytes, "records that wait to be written");
    describe_gauge!("reflux_log_full", "1 while only the reserve of the disk is left");
    describe_counter!("reflux_log_appends_total", "records that became durable");
    describe_counter!("reflux_log_refused_total", "appends that were refused or failed");
    describe_counter!("reflux_log_written_bytes_total", Unit::Bytes, "bytes of batches written");
    describe_counter!("reflux_log_syncs_total", "syncs of the log");
    describe_gauge!(
        "reflux_log_sync_seconds_sum",
        Unit::Seconds,
        "time that syncs of the log took since the start; by reflux_log_syncs_total it is the mean"
    );
    describe_gauge!("reflux_store_bytes", Unit::Bytes, "files of the store");
    describe_gauge!("reflux_store_cache_bytes", Unit::Bytes, "blocks of the store in memory");
    describe_gauge!("reflux_store_memtable_bytes", Unit::Bytes, "rows that are not flushed yet");
    describe_gauge!("reflux_connections", "connections that are open, by `port`");
    describe_counter!("reflux_connections_refused_total", "connections beyond the bounds");
    describe_counter!("reflux_calls_total", "requests by `port`, `call` and status `code`");
    describe_histogram!("reflux_call_seconds", Unit::Seconds, "until the head of the answer");
    describe_counter!("reflux_calls_refused_total", "requests that were not let through");
    describe_counter!("reflux_spans_dropped_total", "spans that could not be sent");
}

/// `/metrics`.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(app): State<Arc<App>>) -> Result<impl IntoResponse, String> {
    let render = {
        let app = app.clone();
        move || render(&app)
    };
    let text = tokio::task::spawn_blocking(render).await.map_err(|error| error.to_string())?;
    let text = text.map_err(|error| error.to_string())?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
}

fn render(app: &App) -> Result<String, Error> {
    let handle = install()?;
    app.engine.observe();
    observe(app)?;
    runs(app);
    Ok(handle.render())
}

#[allow(clippy::cast_precision_loss)] // Figures for people.
fn observe(app: &App) -> Result<(), Error> {
    gauge!("reflux_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("reflux_ready").set(if app.is_draining() { 0.0 } else { 1.0 });
    let reflux_engine::Usage { log, store } = app.engine.usage()?;
    gauge!("reflux_log_bytes").set(log.bytes as f64);
    gauge!("reflux_log_segments").set(log.segments as f64);
    gauge!("reflux_log_queued_bytes").set(log.queued_bytes as f64);
    gauge!("reflux_log_full").set(f64::from(u8::from(log.full)));
    counter!("reflux_log_appends_total").absolute(log.appends);
    counter!("reflux_log_refused_total").absolute(log.refused);
    counter!("reflux_log_written_bytes_total").absolute(log.written_bytes);
    counter!("reflux_log_syncs_total").absolute(log.syncs);
    gauge!("reflux_log_sync_seconds_sum").set(log.sync_nanos as f64 / 1e9);
    gauge!("reflux_store_bytes").set(store.disk_bytes as f64);
    gauge!("reflux_store_cache_bytes").set(store.cache_bytes as f64);
    gauge!("reflux_store_memtable_bytes").set(store.memtable_bytes as f64);
    app.service.host().observe();
    Ok(())
}

/// Tells what the runs of each namespace come to.
#[allow(clippy::cast_precision_loss)] // Figures for people.
fn runs(app: &App) {
    let registry: &registry::Registry = app.service.host().registry();
    let tallies: BTreeMap<Arc<str>, Tally> = app.engine.tallies().into_iter().collect();
    for namespace in registry.namespaces().iter().take(NAMESPACES_MAX) {
        let tally = tallies.get(namespace.name.as_str()).copied().unwrap_or_default();
        let name = || namespace.name.clone();
        gauge!("reflux_open_runs", "namespace" => name()).set(tally.open as f64);
        gauge!("reflux_stored_bytes", "namespace" => name()).set(tally.bytes as f64);
    }
}
