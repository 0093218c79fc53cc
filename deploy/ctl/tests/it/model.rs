//! A model that streams slowly: frames in mid-answer, stopped, resumed, taken over; and one that fails.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

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
    chat::{Frame, FrameBody, Outcome, Position},
    id::TenantId,
};
use tokio::sync::Semaphore;

use crate::harness::{Desk, Open, Socket, until};

/// Pieces of the stand-in's answer; it says one for each permit that a test gives.
const PIECES: usize = 6;

/// A stand-in for a paid model's API: the true protocol over a socket, at the pace of a test.
pub(crate) struct Model {
    pub(crate) url: String,
    pace: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
    failing: Arc<AtomicBool>,
}

impl Model {
    pub(crate) async fn start(failing: bool) -> Self {
        let pace = Arc::new(Semaphore::new(0));
        let calls = Arc::new(AtomicUsize::new(0));
        let failing = Arc::new(AtomicBool::new(failing));
        let state = (pace.clone(), calls.clone(), failing.clone());
        let app = Router::new().route("/v1/chat/completions", post(complete)).with_state(state);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, pace, calls, failing }
    }

    /// It is back.
    pub(crate) fn mend(&self) {
        self.failing.store(false, Ordering::SeqCst);
    }

    pub(crate) fn say(&self, words: usize) {
        self.pace.add_permits(words);
    }

    /// Says a whole answer.
    pub(crate) fn answer(&self) {
        self.say(PIECES);
    }

    /// How often it was called.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits until it was called so often.
    pub(crate) async fn called(&self, times: usize) {
        until("the model's call", || async { (self.calls() >= times).then_some(()) }).await;
    }

    /// A fleet that speaks through it.
    pub(crate) fn speaks_for(&self, open: Open) -> Open {
        let open = open.worker_set("model.base_url", &self.url).worker_set("model.token_timeout_ms", 60_000);
        let open = open.worker_set("model.first_token_timeout_ms", 60_000).worker_set("turn.grace_ms", 500);
        // Every call is counted here.
        let open = open.worker_set("plan.answer_cache_entries", 0);
        open.worker_set("model.api_key", "\"not-a-real-key\"")
    }
}

async fn complete(
    State((pace, calls, failing)): State<(Arc<Semaphore>, Arc<AtomicUsize>, Arc<AtomicBool>)>,
    Json(request): Json<Value>,
) -> Response {
    assert_eq!(request["stream"], true);
    calls.fetch_add(1, Ordering::SeqCst);
    if failing.load(Ordering::SeqCst) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "overloaded").into_response();
    }
    let words = futures::stream::iter(pieces(&request)).then(move |word| {
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

/// Two sentences of the first passage that it was shown, as a good model would say them. The first is complete, and the
/// second has begun, with the first piece: whole sentences are what customers get to hear.
fn pieces(request: &Value) -> Vec<String> {
    let asked = request["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    let passage = asked.split("<<<\n").nth(1).unwrap().split("\n>>>").next().unwrap();
    let said = passage.lines().max_by_key(|line| line.len()).unwrap();
    let (first, rest) = match said.split_once(". ") {
        Some((first, rest)) => (format!("{first}. [1] "), rest.split_inclusive(". ").next().unwrap().trim()),
        None => (format!("{said} [1] "), said),
    };
    let letters: Vec<char> = rest.chars().collect();
    let mut pieces: Vec<String> =
        letters.chunks(letters.len().div_ceil(PIECES - 1)).map(|piece| piece.iter().collect()).collect();
    pieces.resize(PIECES - 1, String::new());
    let begun = pieces.remove(0);
    pieces.insert(0, first + &begun);
    pieces.push(" [1]".into());
    pieces
}

async fn desk(model: &Model) -> Desk {
    model.speaks_for(Desk::open().gateways(2)).start().await
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
async fn over_websocket_an_answer_is_resumed_elsewhere_in_mid_answer_and_after_its_end() {
    let model = Model::start(false).await;
    let desk = desk(&model).await;
    model.say(2);
    let mut first = Socket::open(&desk, 0).await;
    first.ask("a", json!({ "text": "How long does delivery take?" })).await;
    let mut seen = vec![first.frame("a").await];
    while said(&seen).is_empty() {
        seen.push(first.frame("a").await);
    }
    drop(first);
    let (request, after) = (seen[0].request.clone(), seen.last().unwrap().position());
    let resume = json!({ "type": "resume", "ref": "b", "request": request, "after": after.to_string() });
    let mut second = Socket::open(&desk, 1).await;
    second.say(&resume).await;
    model.answer();
    let rest = second.rest("b").await;
    assert_eq!(rest[0].position(), Position { seq: after.seq + 1, ..after }, "{rest:?}");
    seen.extend(rest.clone());
    let seqs: Vec<_> = seen.iter().map(|frame| frame.seq).collect();
    assert_eq!(seqs, (0..seen.len() as u32).collect::<Vec<_>>(), "a frame is missing or came twice");
    let FrameBody::Done { answer } = &seen.last().unwrap().body else { panic!("{seen:?}") };
    assert_eq!(said(&seen), answer.text);

    // After the end, on either gateway: what follows the position; and at the very end the last frame once more.
    for (gateway, after, expected) in [(0, after.to_string(), &rest[..]), (1, "0".into(), &seen[1..])] {
        let mut socket = Socket::open(&desk, gateway).await;
        socket.say(&json!({ "type": "resume", "ref": "c", "request": request, "after": after })).await;
        assert_eq!(socket.rest("c").await, expected);
        let end = seen.last().unwrap().position().to_string();
        socket.say(&json!({ "type": "resume", "ref": "d", "request": request, "after": end })).await;
        assert_eq!(socket.rest("d").await, seen[seen.len() - 1..]);
    }
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
