//! One trace from HTTP to the archive over processes apart, at a receiver that speaks OTLP; and what is seen of a killed worker.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use serde_json::{Value, json};
use talkfleet_shared::telemetry::Trace;

use crate::{
    harness::{Desk, until},
    model::{Model, said},
    processes::worker,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// Spans as they came, each with who sent it.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<Seen>>>);

#[derive(Clone, Debug)]
struct Seen {
    service: String,
    instance: String,
    span: Span,
}

impl Receiver {
    /// Listens as a collector does; its address.
    async fn start() -> (Self, String) {
        let receiver = Self::default();
        let app = Router::new().route("/v1/traces", post(receive)).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, url)
    }

    fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    /// Waits for a span.
    async fn until(&self, what: &str, is_it: impl Fn(&Seen) -> bool) -> Seen {
        until(what, || async { self.seen().into_iter().find(|seen| is_it(seen)) }).await
    }
}

async fn receive(State(receiver): State<Receiver>, body: Bytes) {
    let sent = ExportTraceServiceRequest::decode(body).unwrap();
    let mut all = receiver.0.lock().unwrap();
    for resource in sent.resource_spans {
        let of = |key: &str| text(&resource.resource.as_ref().unwrap().attributes, key).unwrap();
        let (service, instance) = (of("service.name"), of("service.instance.id"));
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        all.extend(spans.map(|span| Seen { service: service.clone(), instance: instance.clone(), span }));
    }
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Any::StringValue(text) => Some(text),
        Any::IntValue(number) => Some(number.to_string()),
        Any::DoubleValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

impl Seen {
    fn get(&self, key: &str) -> Option<String> {
        text(&self.span.attributes, key)
    }

    fn is(&self, service: &str, name: &str) -> bool {
        self.service == service && self.span.name == name
    }

    fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const GATEWAY: &str = "talkfleet-gateway";
const WORKER: &str = "talkfleet-worker";

/// Settings of a worker that is traced and asks the model itself, whatever another test's model said to the same question.
fn speaking<'a>(collector: &'a str, model: &'a Model) -> [(&'a str, &'a str); 4] {
    [
        ("otel.endpoint", collector),
        ("model.base_url", &model.url),
        ("model.api_key", "\"not-a-real-key\""),
        ("plan.answer_cache_entries", "0"),
    ]
}

#[tokio::test]
async fn one_trace_leads_from_http_to_the_archive() {
    let (receiver, collector) = Receiver::start().await;
    let model = Model::start(false).await;
    model.say(1_000);
    let desk = Desk::open().workers(0).gateway_set("otel.endpoint", &collector).start().await;
    let traced = ("otel.endpoint", collector.as_str());
    let speaks = [&speaking(&collector, &model)[..], &[("turn.slow_ms", "1")]].concat();
    let _workers = [
        worker(&desk, 0, "response", &speaks),
        worker(&desk, 1, "intent,retrieval", &[traced]),
        worker(&desk, 2, "archive", &[traced]),
    ];
    let ask = async |conversation: &str, text: &str, traceparent: &str| -> Value {
        let sent = reqwest::Client::new().post(desk.url("/v1/chat")).bearer_auth(&desk.key);
        let sent = sent.header("traceparent", traceparent).json(&json!({ "text": text, "conversation": conversation }));
        sent.send().await.unwrap().json().await.unwrap()
    };
    let unseen = format!("00-{}-{CALLER}-00", "1".repeat(32));
    until("an answer of every role", || async {
        let answer = ask("unseen", "How do I track my parcel?", &unseen).await;
        (answer["degraded"] == json!([]) && answer["rung"] == "model").then_some(())
    })
    .await;
    let answer = ask("traced", "How long does delivery take?", &format!("00-{TRACE}-{CALLER}-01")).await;
    receiver.until("the archive's span", |seen| seen.is(WORKER, "archive") && seen.trace() == TRACE).await;
    receiver.until("the gateway's span", |seen| seen.is(GATEWAY, "request") && seen.trace() == TRACE).await;
    receiver.until("the turn's span", |seen| seen.is(WORKER, "turn") && seen.trace() == TRACE).await;

    let all: Vec<Seen> = receiver.seen().into_iter().filter(|seen| seen.trace() == TRACE).collect();
    assert!(receiver.seen().iter().all(|seen| seen.trace() != "1".repeat(32)), "a caller may say that nobody looks");
    let find = |service: &str, name: &str, kind: SpanKind| {
        let mut found = all.iter().filter(|seen| seen.is(service, name) && seen.span.kind() == kind);
        let span = found.next().unwrap_or_else(|| panic!("no {kind:?} '{name}' of {service} in {all:#?}"));
        assert!(found.next().is_none(), "two of {name}");
        span
    };
    let under = |child: &Seen, parent: &Seen| {
        assert_eq!(hex(&child.span.parent_span_id), hex(&parent.span.span_id), "{child:?}")
    };
    let request = find(GATEWAY, "request", SpanKind::Server);
    assert_eq!(hex(&request.span.parent_span_id), CALLER);
    assert_eq!(request.get("talkfleet.outcome").as_deref(), Some("answered"));
    let publish = find(GATEWAY, "publish", SpanKind::Producer);
    under(publish, request);
    assert_eq!(publish.get("messaging.system").as_deref(), Some("nats"));
    under(find(GATEWAY, "relay", SpanKind::Internal), request);
    let turn = find(WORKER, "turn", SpanKind::Consumer);
    under(turn, publish);
    assert_eq!(turn.get("talkfleet.attempt").as_deref(), Some("1"));
    assert_eq!(turn.get("messaging.message.id").as_deref(), answer["id"].as_str());
    under(find(WORKER, "queue", SpanKind::Internal), publish);
    for stage in ["recall", "intent", "retrieval", "response"] {
        under(find(WORKER, stage, SpanKind::Internal), turn);
    }
    for role in ["intent", "retrieval"] {
        let stage = find(WORKER, role, SpanKind::Internal);
        let called = all.iter().find(|seen| seen.span.name == "call" && seen.span.parent_span_id == stage.span.span_id);
        let (called, served) = (called.unwrap(), find(WORKER, role, SpanKind::Server));
        under(served, called);
        assert_ne!(served.instance, called.instance, "{role} is played elsewhere");
    }
    let chat = find(WORKER, "chat", SpanKind::Client);
    under(chat, find(WORKER, "response", SpanKind::Internal));
    assert_eq!(chat.get("gen_ai.usage.input_tokens").as_deref(), Some("321"));
    assert_eq!(chat.get("gen_ai.request.model").as_deref(), Some("deepseek-chat"));
    under(find(WORKER, "record", SpanKind::Producer), turn);
    let archive = find(WORKER, "archive", SpanKind::Consumer);
    under(archive, turn);
    let instances: BTreeSet<_> = all.iter().map(|seen| seen.instance.as_str()).collect();
    assert_eq!(instances.len(), 4, "{instances:?}");
    assert!(all.iter().all(|seen| seen.span.start_time_unix_nano <= seen.span.end_time_unix_nano));
    let told = format!("{all:?}");
    for word in ["How long does", answer["text"].as_str().unwrap(), desk.key.as_str()] {
        assert!(!told.contains(word), "a span tells '{word}'");
    }

    let log = std::fs::read_to_string(desk.data.path().join("worker0.log")).unwrap();
    let slow: Vec<_> = log.lines().filter(|line| line.contains("a turn was slow") && line.contains(TRACE)).collect();
    assert_eq!(slow.len(), 1, "{log}");
    let id = answer["id"].as_str().unwrap();
    for part in [id, "traced", "total_ms", "queue_ms", "recall_ms", "intent_ms", "retrieval_ms", "response_ms", "rung"]
    {
        assert!(slow[0].contains(part), "{part} is not in {}", slow[0]);
    }
    assert!(!slow[0].contains("delivery"), "{}", slow[0]);
}

#[tokio::test]
async fn the_attempt_of_a_killed_worker_is_seen() {
    let (receiver, collector) = Receiver::start().await;
    let model = Model::start(false).await;
    let desk = Desk::open().workers(0).gateway_set("otel.endpoint", &collector).start().await;
    let traced = ("otel.endpoint", collector.as_str());
    let slow = speaking(&collector, &model);
    let roles = "intent,retrieval,response,archive";
    let mut doomed = worker(&desk, 0, roles, &slow);
    model.say(1);
    let mut frames = desk.stream(0, &json!({ "text": "How long does delivery take?" })).await;
    let mut seen = Vec::new();
    while said(&seen).is_empty() {
        seen.push(frames.next().await.unwrap());
    }
    let attempt = |seen: &Seen, number: &str| seen.get("talkfleet.attempt").as_deref() == Some(number);
    let first = receiver.until("that it was taken up", |seen| seen.is(WORKER, "queue") && attempt(seen, "1")).await;
    doomed.kill();
    let _other = worker(&desk, 1, roles, &[traced]);
    frames.rest().await;
    let turn = receiver.until("the second attempt", |seen| seen.is(WORKER, "turn") && attempt(seen, "2")).await;
    let again = receiver.until("its wait", |seen| seen.is(WORKER, "queue") && attempt(seen, "2")).await;
    assert_eq!((turn.trace(), again.trace()), (first.trace(), first.trace()));
    assert_ne!(first.instance, again.instance);
    let publish = receiver.until("the message", |seen| seen.is(GATEWAY, "publish")).await;
    let publish = format!("00-{}-{}-01", publish.trace(), hex(&publish.span.span_id)).parse::<Trace>().unwrap();
    let links: Vec<_> = turn.span.links.iter().map(|link| hex(&link.span_id)).collect();
    assert_eq!(links, [format!("{:016x}", publish.attempt(1).span_id())], "the attempt that was killed");
    assert_eq!(hex(&turn.span.span_id), format!("{:016x}", publish.attempt(2).span_id()));
    assert!(!receiver.seen().iter().any(|seen| seen.is(WORKER, "turn") && attempt(seen, "1")), "it never ended");
    let lay = Duration::from_nanos(again.span.end_time_unix_nano - again.span.start_time_unix_nano);
    assert!(lay > Duration::from_secs(2), "since it was asked: {lay:?}");
}
