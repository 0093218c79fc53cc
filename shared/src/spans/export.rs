//! Batches on their way to the collector: a bounded line that drops and counts what it cannot hold, and never waits.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{OtelConfig, count_dropped};
use crate::metrics::Metrics;

/// Spans that are sent at once.
const BATCH_SPANS_MAX: usize = 512;

/// How long a span may wait for others: what a process has not sent when it is killed is lost.
const BATCH_WAIT: Duration = Duration::from_millis(500);

/// How long the collector may take for a batch.
const SEND_TIMEOUT: Duration = Duration::from_secs(3);

/// The line to the collector, and the task at its end.
pub(super) struct Exporting {
    sender: mpsc::Sender<SpanData>,
    pub(super) scope: InstrumentationScope,
    pub(super) sample_ratio: f64,
    metrics: Arc<Metrics>,
    closing: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Exporting {
    pub(super) fn start(
        config: &OtelConfig,
        service: &'static str,
        instance: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let endpoint = format!("{}/v1/traces", config.endpoint.trim_end_matches('/'));
        let exporter = SpanExporter::builder().with_http().with_endpoint(endpoint).with_timeout(SEND_TIMEOUT).build();
        let mut exporter = exporter.map_err(|error| error.to_string())?;
        let resource = Resource::builder_empty().with_service_name(service).with_attributes([
            KeyValue::new("service.namespace", "talkfleet"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ]);
        exporter.set_resource(&resource.build());
        let (sender, receiver) = mpsc::channel(config.queue_spans_max);
        let closing = CancellationToken::new();
        let task = tokio::spawn(send_all(exporter, receiver, metrics.clone(), closing.clone()));
        Ok(Self {
            sender,
            scope: InstrumentationScope::builder("talkfleet").with_version(env!("CARGO_PKG_VERSION")).build(),
            sample_ratio: config.sample_ratio,
            metrics,
            closing,
            task: Mutex::new(Some(task)),
        })
    }

    pub(super) fn send(&self, span: SpanData) {
        if self.sender.try_send(span).is_err() {
            count_dropped(&self.metrics, "full", 1);
        }
    }

    pub(super) async fn close(&self, within: Duration) {
        self.closing.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = tokio::time::timeout(within, task).await;
        }
    }
}

/// Sends batch after batch until closing, and then what is left.
async fn send_all(
    exporter: SpanExporter,
    mut spans: mpsc::Receiver<SpanData>,
    metrics: Arc<Metrics>,
    closing: CancellationToken,
) {
    let mut reached = true;
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            () = closing.cancelled(), if !spans.is_closed() => spans.close(),
            taken = spans.recv_many(&mut batch, BATCH_SPANS_MAX) => if taken == 0 { return },
        }
        if batch.is_empty() {
            continue;
        }
        gather(&mut batch, &mut spans, &closing).await;
        let count = batch.len();
        let sent = exporter.export(batch).await;
        if let Err(error) = &sent {
            count_dropped(&metrics, "unsent", count);
            if reached {
                tracing::warn!(%error, "the collector at otel.endpoint takes no spans; they are dropped until it does");
            }
        }
        reached = sent.is_ok();
    }
}

/// Lets a batch grow, for a moment.
async fn gather(batch: &mut Vec<SpanData>, spans: &mut mpsc::Receiver<SpanData>, closing: &CancellationToken) {
    let until = tokio::time::Instant::now() + BATCH_WAIT;
    while batch.len() < BATCH_SPANS_MAX {
        let room = BATCH_SPANS_MAX - batch.len();
        let more = async {
            tokio::select! {
                biased;
                taken = spans.recv_many(batch, room) => taken,
                () = closing.cancelled() => 0,
            }
        };
        if tokio::time::timeout_at(until, more).await.unwrap_or(0) == 0 {
            return;
        }
    }
}
