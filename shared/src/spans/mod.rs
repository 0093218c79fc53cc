//! Spans of a trace, sent to an OpenTelemetry collector: the only door to OpenTelemetry.
//!
//! Spans are values that are handed along, and not the layer of `tracing-opentelemetry`: a subscriber belongs to the whole
//! process, while tests run several gateways and workers in one, each of which must be told apart in the trace. A span's
//! place is a [`Trace`], which travels in headers anyway; without a collector a span is that and nothing else.

/// Batches on their way to the collector.
mod export;

/// What spans say of themselves, in OpenTelemetry's words where it has them.
pub mod key;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub use opentelemetry::Value;
use opentelemetry::{
    KeyValue, SpanId, TraceFlags, TraceId,
    trace::{Link, SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use serde::Deserialize;

use self::export::Exporting;
use crate::{
    metrics::{Metrics, Reason},
    telemetry::Trace,
};

/// Where spans go, and how many.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtelConfig {
    /// Empty for none.
    pub endpoint: String,
    pub sample_ratio: f64,
    pub queue_spans_max: usize,
}

impl OtelConfig {
    /// One line for each impossible value.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.endpoint.is_empty() && !["http://", "https://"].iter().any(|scheme| self.endpoint.starts_with(scheme))
        {
            problems.push(format!("otel.endpoint '{}' should look like http://collector:4318", self.endpoint));
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            problems.push(format!("otel.sample_ratio is {}; give 0 to 1", self.sample_ratio));
        }
        if self.queue_spans_max == 0 {
            problems.push("otel.queue_spans_max is 0; give 1 or more, or leave otel.endpoint empty".into());
        }
        problems
    }
}

/// Part in a trace's story: who calls and who is called, in OpenTelemetry's sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Internal,
    /// It answers a call.
    Server,
    /// It calls and waits.
    Client,
    /// It leaves a message for later.
    Producer,
    /// It takes one up.
    Consumer,
}

/// A process's way to its collector; cheap to clone, and nothing at all without one.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Exporting>>);

impl Tracer {
    /// Spans go nowhere.
    pub fn off() -> Self {
        Self::default()
    }

    /// Begins to send spans for the process that goes by `service`, in a task of its own.
    pub fn open(
        config: &OtelConfig,
        service: &'static str,
        instance: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        if config.endpoint.is_empty() {
            return Ok(Self::off());
        }
        Ok(Self(Some(Arc::new(Exporting::start(config, service, instance, metrics)?))))
    }

    /// Whether a trace that begins here is kept; one that somebody else began stays as they decided.
    pub fn sample(&self, trace: Trace) -> Trace {
        match &self.0 {
            Some(exporting) if trace.parent().is_none() => trace.sampled_in(exporting.sample_ratio),
            _ => trace,
        }
    }

    /// Begins the span whose place in its trace is `trace`.
    pub fn span(&self, trace: Trace, name: impl Into<Cow<'static, str>>, kind: Kind) -> Span {
        let open = self.0.as_ref().filter(|_| trace.is_sampled()).map(|_| {
            Box::new(Open {
                name: name.into(),
                kind,
                started: SystemTime::now(),
                attributes: Vec::new(),
                links: Vec::new(),
                failed: None,
            })
        });
        Span { trace, tracer: self.clone(), open }
    }

    /// Begins a span under `trace`.
    pub fn child(&self, trace: Trace, name: impl Into<Cow<'static, str>>, kind: Kind) -> Span {
        // A place of its own costs a draw, and without a collector nobody would see it.
        let place = if self.0.is_some() { trace.child(&mut rand::rng()) } else { trace };
        self.span(place, name, kind)
    }

    /// Begins a span under a context as it is written down; None without a collector, or when nobody wrote one.
    pub fn told(&self, traceparent: Option<&str>, name: &'static str, kind: Kind) -> Option<Span> {
        self.0.as_ref()?;
        Some(self.child(traceparent?.parse().ok()?, name, kind))
    }

    /// Sends what is left, at most for so long; what comes later is dropped.
    pub async fn close(&self, within: Duration) {
        if let Some(exporting) = &self.0 {
            exporting.close(within).await;
        }
    }
}

/// A part of a trace; it ends, and is sent, when it is dropped.
pub struct Span {
    trace: Trace,
    tracer: Tracer,
    /// None when nobody will see it.
    open: Option<Box<Open>>,
}

struct Open {
    name: Cow<'static, str>,
    kind: Kind,
    started: SystemTime,
    attributes: Vec<KeyValue>,
    links: Vec<Link>,
    failed: Option<Cow<'static, str>>,
}

impl Span {
    /// One that goes nowhere.
    pub fn off(trace: Trace) -> Self {
        Self { trace, tracer: Tracer::off(), open: None }
    }

    /// Its place, for headers.
    pub fn trace(&self) -> Trace {
        self.trace
    }

    /// Begins a part of it.
    pub fn child(&self, name: impl Into<Cow<'static, str>>, kind: Kind) -> Self {
        self.tracer.child(self.trace, name, kind)
    }

    /// It began so long ago.
    pub fn since(mut self, ago: Duration) -> Self {
        if let Some(open) = &mut self.open {
            open.started = open.started.checked_sub(ago).unwrap_or(open.started);
        }
        self
    }

    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.open {
            open.attributes.push(KeyValue::new(key, value));
        }
    }

    /// A text that costs something to make.
    pub fn set_text(&mut self, key: &'static str, text: impl FnOnce() -> String) {
        if let Some(open) = &mut self.open {
            open.attributes.push(KeyValue::new(key, text()));
        }
    }

    /// It has to do with another span that is not its parent.
    pub fn link(&mut self, to: Trace) {
        if let Some(open) = &mut self.open {
            open.links.push(Link::with_context(context(to)));
        }
    }

    /// It came off after all.
    pub fn succeed(&mut self) {
        if let Some(open) = &mut self.open {
            open.failed = None;
        }
    }

    /// It did not come off; `why` is a word of ours, and never what somebody said.
    pub fn fail(&mut self, why: &'static str) {
        if let Some(open) = &mut self.open {
            open.failed = Some(why.into());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let (Some(open), Some(exporting)) = (self.open.take(), &self.tracer.0) else { return };
        let panicked = std::thread::panicking().then_some(Cow::Borrowed("panicked"));
        let status = match panicked.or(open.failed) {
            Some(description) => Status::Error { description },
            None => Status::Unset,
        };
        exporting.send(SpanData {
            span_context: context(self.trace),
            parent_span_id: SpanId::from(self.trace.parent().unwrap_or_default()),
            parent_span_is_remote: matches!(open.kind, Kind::Server | Kind::Consumer),
            span_kind: match open.kind {
                Kind::Internal => SpanKind::Internal,
                Kind::Server => SpanKind::Server,
                Kind::Client => SpanKind::Client,
                Kind::Producer => SpanKind::Producer,
                Kind::Consumer => SpanKind::Consumer,
            },
            name: open.name,
            start_time: open.started,
            end_time: SystemTime::now(),
            attributes: open.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: links(open.links),
            status,
            instrumentation_scope: exporting.scope.clone(),
        });
    }
}

fn links(links: Vec<Link>) -> SpanLinks {
    let mut all = SpanLinks::default();
    all.links = links;
    all
}

fn context(trace: Trace) -> SpanContext {
    let flags = if trace.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace_id, span_id) = (TraceId::from(trace.trace_id()), SpanId::from(trace.span_id()));
    SpanContext::new(trace_id, span_id, flags, true, TraceState::default())
}

fn count_dropped(metrics: &Metrics, reason: &'static str, spans: usize) {
    metrics.spans_dropped.get_or_create(&Reason { reason }).inc_by(spans as u64);
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[track_caller]
    fn refused(config: OtelConfig, expected: &str) {
        let problems = config.problems();
        assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
    }

    fn config() -> OtelConfig {
        OtelConfig { endpoint: "http://127.0.0.1:1".into(), sample_ratio: 1.0, queue_spans_max: 2 }
    }

    #[test]
    fn impossible_settings_are_named() {
        assert!(config().problems().is_empty());
        refused(OtelConfig { endpoint: "collector:4318".into(), ..config() }, "otel.endpoint");
        refused(OtelConfig { sample_ratio: 1.5, ..config() }, "otel.sample_ratio");
        refused(OtelConfig { queue_spans_max: 0, ..config() }, "otel.queue_spans_max");
    }

    #[test]
    fn without_a_collector_a_span_is_its_place_and_nothing_else() {
        let trace = Trace::start(&mut StdRng::seed_from_u64(1));
        let span = Tracer::off().child(trace, "turn", Kind::Consumer).with(key::ATTEMPT, 1);
        assert!(span.open.is_none());
        assert_eq!(span.child("intent", Kind::Client).trace().to_string(), trace.to_string());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let metrics = Metrics::new("test");
        let tracer = Tracer::open(&config(), "test", "test/1", metrics.clone()).unwrap();
        let trace = Trace::start(&mut StdRng::seed_from_u64(1));
        // Nothing is taken out before this task waits for something.
        for _ in 0..5 {
            drop(tracer.child(trace, "turn", Kind::Consumer));
        }
        let dropped = |reason| metrics.spans_dropped.get_or_create(&Reason { reason }).get();
        assert_eq!(dropped("full"), 3);
        tokio::time::resume();
        tracer.close(Duration::from_secs(20)).await;
        assert_eq!(dropped("unsent"), 2, "nobody listens on that port");
    }

    #[tokio::test]
    async fn a_trace_is_kept_or_left_as_a_whole() {
        let config = OtelConfig { sample_ratio: 0.25, ..config() };
        let tracer = Tracer::open(&config, "test", "test/1", Metrics::new("test")).unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let traces: Vec<_> = (0..1_000).map(|_| tracer.sample(Trace::start(&mut rng))).collect();
        let kept = traces.iter().filter(|trace| trace.is_sampled()).count();
        assert!((200..300).contains(&kept), "{kept} of 1,000");
        for trace in &traces {
            let there = Trace::follow(Some(&trace.to_string()), &mut rng);
            assert_eq!(tracer.sample(there).is_sampled(), trace.is_sampled());
            assert_eq!(tracer.span(there, "turn", Kind::Consumer).open.is_some(), trace.is_sampled());
        }
    }
}
