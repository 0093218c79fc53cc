//! The face for OpenAI-style clients: `/v1/chat/completions` and `/v1/models`, so that changing `base_url` is all it takes.
//!
//! The last user message is asked; earlier ones become the history unless a `conversation` (or `metadata.conversation`) and
//! nothing else is sent. System messages, tools, temperature and token limits are accepted and decide nothing: the desk
//! answers from what its company knows.

/// A body becomes an ask.
mod request;

/// Frames become a completion, or its chunks.
mod completion;

/// Failures in OpenAI's shape.
mod refusal;

/// What a body may hold, for the OpenAPI document.
mod schema;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header::CACHE_CONTROL},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde_json::Value;
use talkfleet_shared::{
    chat::{Frame, Problem},
    error::Code,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use self::schema::{CompletionBody, body as body_schema};
use self::{
    completion::{Chunks, Completion, outcome},
    refusal::{ErrorBody, Refusal},
};
use crate::{
    desk::{self, Desk, Frames, Story},
    fuzz::Refused,
    http::{
        self,
        address::ClientAddress,
        body::Strict,
        caller::{Caller, Named, submission},
    },
    intake::Asked,
};

/// The one model that there is: the desk itself.
const MODEL: &str = "talkfleet";

/// This face's name in metrics.
const FACE: &str = "openai";

/// Where OpenAI's clients look for a request's id, to be named in a complaint.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) fn router() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(complete)).routes(routes!(list_models)).routes(routes!(show_model))
}

/// Ask the desk as an OpenAI-style client
///
/// Beside OpenAI's fields the answer carries `talkfleet`: request, conversation, intent, citations, kind, rung, language,
/// timings and what was degraded. Streamed, it stands in the chunk with the `finish_reason`.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "openai", request_body = CompletionBody,
    responses(
        (status = 200, description = "The answer, or its chunks", content((Completion = "application/json"), (http::ChunkEvent = "text/event-stream"))),
        (status = "4XX", description = "The message was not accepted", body = ErrorBody),
        (status = "5XX", description = "No answer could be made", body = ErrorBody),
    ),
    security(("key" = [])),
)]
async fn complete(
    State(desk): State<Arc<Desk>>,
    caller: Result<Caller, http::error::Refusal>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Result<Strict<Value>, http::error::Refusal>,
) -> Result<Response, Refusal> {
    let Caller(principal) = caller?;
    let wanted = request::parse(body?.0)?;
    let asked = submission(principal, wanted.asked, address, &headers, FACE, !wanted.stream)?;
    let story = desk.submit(asked).await?;
    let created = desk::unix_ms() / 1_000;
    let request_id = HeaderValue::from_str(story.request.as_str());
    let mut response = if wanted.stream {
        let keep_alive = Duration::from_millis(desk.config().sse.keep_alive_ms);
        stream(story, created, wanted.include_usage, keep_alive)
    } else {
        whole(story.frames, created).await.map(Json).into_response()
    };
    if let Ok(id) = request_id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    Ok(response)
}

/// The ask in a body; a refusal's status, code and sentence else.
pub(crate) fn read(body: &[u8]) -> Result<Asked, Refused> {
    let refused = |refusal: Refusal| (refusal.status, refusal.code.word(), refusal.message);
    let value = http::body::parse::<Value>(body).map_err(|problem| refused(problem.into()))?;
    request::parse(value).map(|wanted| wanted.asked).map_err(refused)
}

/// The events that frames cause.
pub(crate) fn chunks(frames: &[Frame], include_usage: bool) -> Vec<String> {
    let Some(first) = frames.first() else { return Vec::new() };
    let mut chunks = Chunks::new(&first.request, 0, include_usage);
    frames.iter().flat_map(|frame| chunks.take(frame.clone())).collect()
}

/// Waits for the last frame.
async fn whole(mut frames: Frames, created: u64) -> Result<Completion, Refusal> {
    while let Some(frame) = frames.next().await {
        if let Some(outcome) = outcome(frame.body) {
            return outcome.map(|answer| Completion::new(answer, created));
        }
    }
    Err(broken_off(&frames))
}

fn stream(story: Story, created: u64, include_usage: bool, keep_alive: Duration) -> Response {
    let keep_alive = KeepAlive::new().interval(keep_alive).text("");
    let mut response = Sse::new(events(story, created, include_usage)).keep_alive(keep_alive).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies of the nginx kind would hold the events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn events(story: Story, created: u64, include_usage: bool) -> impl Stream<Item = Result<Event, Infallible>> {
    let Story { request, mut frames, .. } = story;
    let mut chunks = Chunks::new(&request, created, include_usage);
    async_stream::stream! {
        let mut ended = false;
        while let Some(frame) = frames.next().await {
            ended = frame.body.is_last();
            for data in chunks.take(frame) {
                yield Ok(Event::default().data(data));
            }
        }
        if !ended {
            yield Ok(Event::default().data(completion::failure(&broken_off(&frames))));
        }
    }
}

/// There was no last frame: this process goes away while the turn goes on.
fn broken_off(frames: &Frames) -> Refusal {
    frames.cut().unwrap_or_else(|| Problem::new(Code::Internal)).into()
}

/// A model as OpenAI describes one.
#[derive(Debug, Serialize, ToSchema)]
struct Model {
    id: &'static str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

/// The desk is no model that came out one day; the format wants a date.
const THE_DESK: Model = Model { id: MODEL, object: "model", created: 0, owned_by: MODEL };

#[derive(Debug, Serialize, ToSchema)]
struct Models {
    object: &'static str,
    data: [Model; 1],
}

/// List the models
#[utoipa::path(
    get, path = "/v1/models", tag = "openai",
    responses((status = 200, description = "The desk", body = Models), (status = 401, description = "No valid key", body = ErrorBody),
        (status = "4XX", description = "It was not accepted", body = ErrorBody), (status = "5XX", description = "It failed here", body = ErrorBody)),
    security(("key" = [])),
)]
async fn list_models(caller: Result<Caller, http::error::Refusal>) -> Result<Json<Models>, Refusal> {
    caller?;
    Ok(Json(Models { object: "list", data: [THE_DESK] }))
}

/// Show a model
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "openai", params(("id" = String, Path)),
    responses((status = 200, description = "The desk", body = Model), (status = 404, description = "No such model", body = ErrorBody),
        (status = "4XX", description = "It was not accepted", body = ErrorBody), (status = "5XX", description = "It failed here", body = ErrorBody)),
    security(("key" = [])),
)]
async fn show_model(
    caller: Result<Caller, http::error::Refusal>,
    named: Result<Named, http::error::Refusal>,
) -> Result<Json<Model>, Refusal> {
    caller?;
    let Named(id) = named?;
    if id == MODEL { Ok(Json(THE_DESK)) } else { Err(Refusal::unknown_model(&id)) }
}
