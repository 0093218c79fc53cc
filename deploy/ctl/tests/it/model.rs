//! A model that streams slowly: frames in mid-answer, stopped, resumed, taken over; and one that fails.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response, Sse, sse::Event},
    routing::post,
};
use futures::StreamExt;
use serde_json::{Value, json};
use talkfleet_shared::{
    chat::{Frame, FrameBody, Outcome},
    id::TenantId,
};
use tokio::sync::Semaphore;

use crate::harness::{Desk, until};

/// Words of the stand-in's answer; it says one for each permit that a test gives.
const WORDS: [&str; 6] = ["Standard ", "delivery ", "takes ", "3–5 ", "working ", "days. [1]"];

/// A stand-in for a paid model's API: the true protocol over a socket, at the pace of a test.
pub(crate) struct Model {
    pub(crate) url: String,
    pace: Arc<Semaphore>,
}

impl Model {
    pub(crate) async fn start(failing: bool) -> Self {
        let pace = Arc::new(Semaphore::new(0));
        let app = Router::new().route("/v1/chat/completions", post(complete)).with_state((pace.clone(), failing));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, pace }
    }

    pub(crate) fn say(&self, words: usize) {
        self.pace.add_permits(words);
    }
}

async fn complete(State((pace, failing)): State<(Arc<Semaphore>, bool)>, Json(request): Json<Value>) -> Response {
    assert_eq!(request["stream"], true);
    if failing {
        return (StatusCode::INTERNAL_SERVER_ERROR, "overloaded").into_response();
    }
    let words = futures::stream::iter(WORDS).then(move |word| {
        let pace = pace.clone();
        async move {
            pace.acquire().await.unwrap().forget();
            json!({ "choices": [{ "index": 0, "delta": { "content": word }, "finish_reason": null }] })
        }
    });
    let usage =
        json!({ "choices": [], "usage": { "prompt_tokens": 321, "completion_tokens": 12, "total_tokens": 333 } });
    let events = words.chain(futures::stream::iter([usage])).map(|value| value.to_string());
    let events = events.chain(futures::stream::iter(["[DONE]".to_owned()]));
    Sse::new(events.map(|data| Ok::<_, Infallible>(Event::default().data(data)))).into_response()
}

async fn desk(model: &Model) -> Desk {
    let open = Desk::open().gateways(2).worker_set("model.base_url", &model.url);
    let open = open.worker_set("model.token_timeout_ms", 60_000).worker_set("turn.grace_ms", 500);
    open.worker_set("model.api_key", "\"not-a-real-key\"").start().await
}

pub(crate) fn said(frames: &[Frame]) -> String {
    let mut text = String::new();
    for frame in frames {
        match &frame.body {
            FrameBody::Restart => text.clear(),
            FrameBody::Delta { text: piece } => text.push_str(piece),
            _ => {}
        }
    }
    text
}

#[tokio::test]
async fn an_answer_is_resumed_in_mid_answer_on_another_gateway() {
    let model = Model::start(false).await;
    let desk = desk(&model).await;
    model.say(2);
    let mut first = desk.stream(0, &json!({ "text": "How long does delivery take?" })).await;
    let mut seen = vec![first.next().await.unwrap()];
    while said(&seen).is_empty() {
        seen.push(first.next().await.unwrap());
    }
    let last = seen.last().unwrap();
    let resumed = desk.resume(1, last.request.as_str(), &last.position().to_string()).await;
    model.say(4);
    seen.extend(resumed.rest().await.into_iter().filter(|frame| frame.seq > 0));
    let FrameBody::Done { answer } = &seen.last().unwrap().body else { panic!("{seen:?}") };
    assert_eq!(said(&seen), answer.text);
    assert_eq!((answer.rung.name(), answer.usage.as_ref().unwrap().prompt_tokens), ("model", 321));
    assert!(!answer.citations.is_empty());
    assert_eq!(
        said(&first.rest().await).trim_start(),
        answer.text.strip_prefix(&said(&seen[..4])).unwrap_or(&answer.text).trim_start()
    );
    let usage = until("the usage in the archive", || async {
        let pool = sqlx::PgPool::connect(&desk.engines.database_url).await.unwrap();
        let row: Option<(i64,)> = sqlx::query_as("select 1::bigint from turns where request = $1 and rung = 'model'")
            .bind(seen[0].request.as_str())
            .fetch_optional(&pool)
            .await
            .unwrap();
        row
    });
    usage.await;
}

#[tokio::test]
async fn a_running_answer_is_stopped_and_keeps_what_was_said() {
    let model = Model::start(false).await;
    let desk = desk(&model).await;
    model.say(1);
    let mut frames = desk.stream(0, &json!({ "text": "How long does delivery take?" })).await;
    let mut seen = Vec::new();
    while said(&seen).is_empty() {
        seen.push(frames.next().await.unwrap());
    }
    let (status, _) = desk.post(&format!("/v1/chat/{}/cancel", seen[0].request), &json!({})).await;
    assert_eq!(status, 202);
    seen.extend(frames.rest().await);
    let FrameBody::Cancelled { text, by: None } = &seen.last().unwrap().body else { panic!("{seen:?}") };
    assert_eq!(text, &said(&seen));
    let record =
        desk.bus.read_record(&TenantId::parse("demo").unwrap(), None, &seen[0].request).await.unwrap().unwrap();
    assert!(matches!(record.outcome, Outcome::Cancelled { .. }));
}

#[tokio::test]
async fn a_worker_that_leaves_in_mid_answer_hands_it_over() {
    let model = Model::start(false).await;
    let mut desk = desk(&model).await;
    model.say(1);
    let mut frames = desk.stream(0, &json!({ "text": "How long does delivery take?" })).await;
    let mut seen = Vec::new();
    while said(&seen).is_empty() {
        seen.push(frames.next().await.unwrap());
    }
    let quick = talkfleet::up::fleet::FleetOptions { worker_set: Vec::new(), ..desk.options.clone() };
    desk.fleet.add_worker(&quick).await.unwrap();
    desk.fleet.ready(crate::harness::PATIENCE).await.unwrap();
    tokio::join!(desk.fleet.drain_worker(0), async { seen.extend(frames.rest().await) });
    let names: Vec<_> = seen.iter().map(|frame| frame.body.name()).collect();
    assert!(names.contains(&"restart"), "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "done").count(), 1, "{names:?}");
    let FrameBody::Done { answer } = &seen.last().unwrap().body else { panic!("{names:?}") };
    assert_eq!(said(&seen), answer.text);
    assert_eq!(seen.last().unwrap().attempt, 2);
}

#[tokio::test]
async fn a_model_that_fails_leaves_the_quoted_answer() {
    let model = Model::start(true).await;
    let desk = desk(&model).await;
    let answer = desk.ask("How long does delivery take?").await;
    assert_eq!((&answer["rung"], &answer["degraded"]), (&json!("extract"), &json!(["model"])), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), async { desk.ask("thanks").await }).await.unwrap();
}
