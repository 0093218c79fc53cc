//! A stand-in for a model server over a real socket: it speaks the true protocols, and their faults.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{StatusCode, Uri, header::LOCATION},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use talkfleet_shared::{config::Url, metrics::Metrics};

use crate::{
    config::{IntentConfig, RetriesConfig, WorkerConfig},
    intent::remote::{Heard, Remote, RemoteError},
};

/// Longer than any of these calls.
pub(super) const LONG: Duration = Duration::from_secs(30);

/// How the stand-in behaves.
#[derive(Debug, Clone)]
pub(super) enum Temper {
    Fine,
    /// It answers with this body.
    Says(Value),
    Writes(String),
    Status(u16),
    Mute,
    Redirects,
    /// So many calls are refused; then it is ready when it is asked that, and answers.
    Fails(usize),
    /// The same, but for readiness, which it denies this often.
    StaysDown(usize, usize),
}

pub(super) struct StandIn {
    temper: Temper,
    asked: AtomicUsize,
    pub(super) readiness: AtomicUsize,
    pub(super) metadata: AtomicUsize,
    pub(super) elsewhere: AtomicUsize,
}

pub(super) fn tensor(name: &str, datatype: &str, data: Value) -> Value {
    json!({ "name": name, "datatype": datatype, "shape": [1, data.as_array().unwrap().len()], "data": data })
}

pub(super) fn outputs(outputs: &[Value]) -> Value {
    json!({ "model_name": "bert", "model_version": "7", "id": "1", "outputs": outputs })
}

fn fine() -> Value {
    outputs(&[tensor("label", "BYTES", json!(["refund", "track"])), tensor("score", "FP32", json!([0.9, 0.1]))])
}

async fn infer(State(server): State<Arc<StandIn>>, Path(model): Path<String>, body: Bytes) -> Response {
    let call = server.asked.fetch_add(1, Ordering::SeqCst);
    assert_eq!(model, "bert");
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let input = json!({
        "name": "args", "shape": [1, 1], "datatype": "BYTES", "parameters": { "content_type": "str" }, "data": ["my money"],
    });
    assert_eq!(asked, json!({ "inputs": [input] }));
    behave(&server.temper, call, fine()).await
}

async fn predict(State(server): State<Arc<StandIn>>, body: Bytes) -> Response {
    let call = server.asked.fetch_add(1, Ordering::SeqCst);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({ "instances": ["my money"] }));
    behave(&server.temper, call, json!({ "predictions": [{ "labels": ["refund", "track"], "scores": [0.9, 0.1] }] }))
        .await
}

async fn behave(temper: &Temper, call: usize, fine: Value) -> Response {
    let error = |status: u16| {
        (StatusCode::from_u16(status).unwrap(), Json(json!({ "error": "it is not well" }))).into_response()
    };
    match temper {
        Temper::Fails(failures) | Temper::StaysDown(failures, _) if call < *failures => error(503),
        Temper::Fine | Temper::Fails(_) | Temper::StaysDown(..) => Json(fine).into_response(),
        Temper::Says(value) => Json(value.clone()).into_response(),
        Temper::Writes(text) => text.clone().into_response(),
        Temper::Status(status) => error(*status),
        Temper::Mute => std::future::pending().await,
        Temper::Redirects => (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, "/elsewhere")]).into_response(),
    }
}

async fn ready(State(server): State<Arc<StandIn>>) -> Response {
    let call = server.readiness.fetch_add(1, Ordering::SeqCst);
    let down = matches!(server.temper, Temper::StaysDown(_, denials) if call < denials);
    // MLServer says no by a status, KServe by a word; both are the protocol's.
    match (down, call % 2) {
        (true, 0) => StatusCode::BAD_REQUEST.into_response(),
        (true, _) => Json(json!({ "name": "bert", "ready": false })).into_response(),
        (false, _) => StatusCode::OK.into_response(),
    }
}

async fn metadata(State(server): State<Arc<StandIn>>) -> Response {
    server.metadata.fetch_add(1, Ordering::SeqCst);
    let output = json!({ "name": "logits", "datatype": "FP32", "shape": [-1, 2], "parameters": { "labels": ["refund", "track"] } });
    Json(json!({ "name": "bert", "platform": "none", "inputs": [], "outputs": [output] })).into_response()
}

async fn elsewhere(State(server): State<Arc<StandIn>>, _: Uri) -> Response {
    server.elsewhere.fetch_add(1, Ordering::SeqCst);
    StatusCode::NOT_FOUND.into_response()
}

pub(super) struct Bench {
    pub(super) remote: Remote,
    pub(super) server: Arc<StandIn>,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) async fn bench(temper: Temper, change: impl FnOnce(&mut IntentConfig)) -> Bench {
    let server = Arc::new(StandIn {
        temper,
        asked: AtomicUsize::new(0),
        readiness: AtomicUsize::new(0),
        metadata: AtomicUsize::new(0),
        elsewhere: AtomicUsize::new(0),
    });
    let app = Router::new()
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/ready", get(ready))
        .route("/v2/models/{model}", get(metadata))
        .route("/v1/models/bert:predict", post(predict))
        .fallback(elsewhere)
        .with_state(server.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let metrics = Metrics::new("worker");
    let mut config = IntentConfig {
        remote_url: Url::new(format!("http://{address}/")),
        remote_model: "bert".into(),
        remote_timeout_ms: 1_400,
        remote_breaker_failures: 2,
        remote_breaker_open_ms: 50,
        ..defaults()
    };
    change(&mut config);
    Bench { remote: Remote::new(&config, retries(), metrics.clone()).unwrap().unwrap(), server, metrics }
}

pub(super) fn retries() -> RetriesConfig {
    WorkerConfig::load(None, &[]).unwrap().retries
}

pub(super) fn defaults() -> IntentConfig {
    WorkerConfig::load(None, &[]).unwrap().intent
}

impl Bench {
    pub(super) async fn ask(&self) -> Result<Heard, RemoteError> {
        self.remote.classify("my money", Instant::now() + LONG).await
    }

    #[track_caller]
    pub(super) fn counted(&self, reason: &str, times: usize) {
        let line = format!("talkfleet_intent_remote_calls_total{{reason=\"{reason}\"}} {times}\n");
        assert!(self.metrics.text().contains(&line), "no {line} in {}", self.metrics.text());
    }

    pub(super) fn asked(&self) -> usize {
        self.server.asked.load(Ordering::SeqCst)
    }
}
