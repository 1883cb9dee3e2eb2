//! One span per attempt, sent in batches over OTLP/HTTP.
//!
//! The trace id is the run id: every attempt of a run is in one trace, in whatever process it ran,
//! and whoever knows the run finds the trace. Spans are told when the attempt has ended; a server
//! that is killed tells nothing of those under way. The history has them all.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use reflux_core::Timestamp;
use reflux_engine::Attempt;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::attempts::Ending;
use crate::Error;

/// Spans that wait to be sent; further ones are dropped and counted. About 1 KiB each.
const WAITING_MAX: usize = 4096;
/// Spans of one request.
const BATCH_MAX: usize = 512;
/// How long a batch gathers.
const GATHER: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last batch.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// How long a collector may take.
const SEND_MAX: Duration = Duration::from_secs(10);

/// Takes spans, and sends them in the background.
#[derive(Debug)]
pub struct Spans {
    waiting: mpsc::Sender<Word>,
    scope: InstrumentationScope,
}

/// What the sender is told.
#[derive(Debug)]
enum Word {
    Span(Box<SpanData>),
    /// To send what there is at once, and to answer then.
    Flush(oneshot::Sender<()>),
}

impl Spans {
    /// Begins to send to `endpoint`, such as `http://localhost:4318/v1/traces`.
    ///
    /// # Errors
    /// The endpoint is not an address.
    pub fn start(endpoint: &str, runtime: &Handle) -> Result<Self, Error> {
        let _entered = runtime.enter();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_timeout(SEND_MAX)
            .build()
            .map_err(|error| {
                Error::invalid(format!("telemetry.otlp: cannot send spans to {endpoint}: {error}"))
                    .suggest("give the whole address, such as http://localhost:4318/v1/traces")
            })?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        exporter.set_resource(
            &Resource::builder().with_service_name("reflux").with_attribute(version).build(),
        );
        let (waiting, spans) = mpsc::channel(WAITING_MAX);
        runtime.spawn(send(exporter, spans));
        Ok(Self {
            waiting,
            scope: InstrumentationScope::builder("reflux")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        })
    }

    /// Waits until what was told before is sent, or for as long as a process that ends can wait.
    /// Not to be called on a thread of a runtime.
    pub fn flush(&self, runtime: &Handle) {
        let (done, sent) = oneshot::channel();
        runtime.block_on(async {
            let flushed = async {
                if self.waiting.send(Word::Flush(done)).await.is_ok() {
                    drop(sent.await);
                }
            };
            drop(tokio::time::timeout(FLUSH_MAX, flushed).await);
        });
    }

    pub(super) fn attempt(
        &self,
        attempt: &Attempt,
        ending: Ending<'_>,
        began: Timestamp,
        end: Timestamp,
    ) {
        let span = Box::new(self.span(attempt, ending, began, end));
        if self.waiting.try_send(Word::Span(span)).is_err() {
            metrics::counter!("reflux_spans_dropped_total").increment(1);
        }
    }

    fn span(
        &self,
        attempt: &Attempt,
        ending: Ending<'_>,
        began: Timestamp,
        end: Timestamp,
    ) -> SpanData {
        let text = |name: &'static str, value: &str| KeyValue::new(name, value.to_owned());
        let mut attributes = vec![
            text("reflux.namespace", &attempt.run.namespace),
            text("reflux.run_id", &attempt.run.run_id.to_string()),
            text("reflux.workflow_id", &attempt.run.workflow_id),
            text("reflux.flow", &attempt.workflow_type),
            text("reflux.step", &attempt.activity_id),
            text("reflux.node", &attempt.node),
            text("reflux.node.version", &attempt.version),
            KeyValue::new("reflux.attempt", i64::from(attempt.attempt)),
            text("reflux.outcome", ending.outcome),
        ];
        if let Some(kind) = ending.failure {
            attributes.push(text("error.type", kind));
        }
        let status = match ending.outcome {
            "completed" => Status::Ok,
            "cancelled" => Status::Unset,
            other => Status::error(ending.failure.unwrap_or(other).to_owned()),
        };
        SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(attempt.run.run_id.0.into_bytes()),
                span_id(attempt),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: attempt.node.to_string().into(),
            start_time: moment(began),
            end_time: moment(end),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// The same for the same attempt: a span that is sent twice is one span.
fn span_id(attempt: &Attempt) -> SpanId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(attempt.run.run_id.0.as_bytes());
    hasher.update(attempt.activity_id.as_bytes());
    hasher.update(&attempt.attempt.to_le_bytes());
    let mut id = [0; 8];
    hasher.finalize_xof().fill(&mut id);
    SpanId::from_bytes(id)
}

fn moment(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(at.0).unwrap_or(0))
}

async fn send(exporter: SpanExporter, mut words: mpsc::Receiver<Word>) {
    let mut failing = false;
    while let Some(first) = words.recv().await {
        let (mut batch, mut flush) = (Vec::new(), None);
        let until = Instant::now() + GATHER;
        let mut next = Some(first);
        while let Some(word) = next {
            match word {
                Word::Span(span) => batch.push(*span),
                Word::Flush(done) => flush = Some(done),
            }
            if batch.len() >= BATCH_MAX || flush.is_some() {
                break;
            }
            next = tokio::time::timeout_at(until, words.recv()).await.ok().flatten();
        }
        let count = batch.len();
        if count > 0 {
            let sent = exporter.export(batch).await;
            if let Err(error) = &sent {
                metrics::counter!("reflux_spans_dropped_total")
                    .increment(u64::try_from(count).unwrap_or(u64::MAX));
                // Once, until it works again: a collector that is away is away for a while.
                if !failing {
                    tracing::warn!(%error, count, "spans cannot be sent and are dropped");
                }
            }
            failing = sent.is_err();
        }
        if let Some(done) = flush {
            // Whoever asked may have waited long enough.
            let _ = done.send(());
        }
    }
}
