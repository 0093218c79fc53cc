//! A stand-in for a paid model's API: the true protocol over a socket, with the faults that such an API has.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Pieces that it says a sentence in.
const PIECES: usize = 10;

/// A question that holds this kills whoever asks the model about it.
pub(super) const POISON: &str = "qzxpoison";

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Ten pieces of a sentence with this much between two.
    Well(Duration),
    /// The same in another number of pieces.
    Talks { pieces: usize, gap: Duration },
    /// It takes the request and says nothing.
    Hangs,
    /// It breaks off after a few words.
    Resets,
    /// It sends what is no chat completion.
    Garbage,
    /// It refuses with this status; 429 names a Retry-After.
    Refuses(u16),
    /// Whoever asks is killed after a few words, as often as it is asked.
    Kills,
}

/// The stand-in, and who was killed at its word.
pub(crate) struct Model {
    pub(crate) port: u16,
    mood: Arc<Mutex<Mood>>,
}

#[derive(Clone)]
struct Shared {
    mood: Arc<Mutex<Mood>>,
    /// Names of members that shall be killed now.
    doomed: mpsc::UnboundedSender<String>,
}

impl Model {
    /// Serves until the process ends; members that shall die are named to `doomed`.
    pub(crate) async fn open(mood: Mood, doomed: mpsc::UnboundedSender<String>) -> std::io::Result<Self> {
        let listener = crate::members::ports::listen().await?;
        let port = listener.local_addr()?.port();
        let mood = Arc::new(Mutex::new(mood));
        let shared = Shared { mood: mood.clone(), doomed };
        let app = Router::new().route("/{member}/v1/chat/completions", post(complete)).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { port, mood })
    }

    /// Changes its mood; the one that it was in comes back.
    pub(crate) fn set(&self, mood: Mood) -> Mood {
        std::mem::replace(&mut *self.mood.lock().unwrap_or_else(PoisonError::into_inner), mood)
    }
}

async fn complete(State(shared): State<Shared>, Path(member): Path<String>, Json(request): Json<Value>) -> Response {
    let mood = *shared.mood.lock().unwrap_or_else(PoisonError::into_inner);
    let pieces = if let Mood::Talks { pieces, .. } = mood { pieces } else { PIECES };
    let said = said(&request, pieces);
    let poison = request["messages"].to_string().contains(POISON);
    match mood {
        _ if poison => dies(shared, member, said, 0).await,
        Mood::Kills => dies(shared, member, said, 3).await,
        Mood::Well(gap) | Mood::Talks { gap, .. } => {
            streamed(stream::iter(events(&said, pieces)).then(move |event| paced(event, gap)))
        }
        Mood::Hangs => {
            tokio::time::sleep(Duration::from_secs(300)).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        Mood::Resets => {
            let broken = stream::once(async { Err(std::io::Error::other("reset on purpose")) });
            let told = stream::iter(events(&said, 4)).map(Ok);
            let body = Body::from_stream(told.chain(broken));
            ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
        }
        Mood::Garbage => {
            streamed(stream::iter(["data: {\"choices\": 7}\n\n".to_owned(), "data: \u{1}\n\n".to_owned()]))
        }
        Mood::Refuses(429) => {
            (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], "slow down").into_response()
        }
        Mood::Refuses(status) => {
            (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "broken").into_response()
        }
    }
}

/// The first sentence of the first passage that it was shown, in pieces: a worker passes on what its passages say.
fn said(request: &Value, pieces: usize) -> Vec<String> {
    let asked = request["messages"].as_array().and_then(|messages| messages.last()).map(|last| &last["content"]);
    let asked = asked.and_then(Value::as_str).unwrap_or_default();
    let passage = asked.split("<<<\n").nth(1).and_then(|rest| rest.split("\n>>>").next()).unwrap_or_default();
    let line = passage.lines().max_by_key(|line| line.len()).unwrap_or_default();
    let end = ["。", ". "].iter().filter_map(|end| Some(line.find(end)? + end.len())).min().unwrap_or(line.len());
    let letters: Vec<char> = line[..end].trim().chars().chain(" [1]".chars()).collect();
    letters.chunks(letters.len().div_ceil(pieces.max(1))).map(|piece| piece.iter().collect()).collect()
}

/// A few words, then the death of whoever asked.
async fn dies(shared: Shared, member: String, said: Vec<String>, words: usize) -> Response {
    let told = stream::iter(events(&said, words).into_iter().take(words))
        .then(|event| paced(event, Duration::from_millis(30)));
    let death = stream::once(async move {
        let _ = shared.doomed.send(member);
        tokio::time::sleep(Duration::from_secs(30)).await;
        String::new()
    });
    streamed(told.chain(death))
}

async fn paced(event: String, gap: Duration) -> String {
    tokio::time::sleep(gap).await;
    event
}

/// The first words of the answer as events, the usage and the end after them.
fn events(said: &[String], words: usize) -> Vec<String> {
    let event = |value: Value| format!("data: {value}\n\n");
    let delta = |word: &String| event(json!({ "choices": [{ "index": 0, "delta": { "content": word } }] }));
    let usage = event(json!({ "choices": [], "usage": { "prompt_tokens": 200, "completion_tokens": words } }));
    said.iter().take(words).map(delta).chain([usage, "data: [DONE]\n\n".to_owned()]).collect()
}

fn streamed(events: impl futures::Stream<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(events.map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
