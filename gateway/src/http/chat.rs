//! `POST /v1/chat` and what belongs to a request: its stream, its end, its verdict. Hanging up is no wish to stop, unless the channel says so.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use serde::Deserialize;
use talkfleet_shared::{
    chat::{FrameBody, Problem, Verdict},
    error::Code,
    id::RequestId,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    address::ClientAddress,
    body::Strict,
    caller::{self, Caller, Named},
    contract,
    error::{DELIVERY_HEADER, ProblemBody, REQUEST_HEADER, Refusal},
    sse,
};
use crate::{
    admit::Allowance,
    desk::{Desk, Frames, REASON_CHARS_MAX, Story},
    intake::{self, ChatBody},
};

pub(super) fn router() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(ask)).routes(routes!(stream)).routes(routes!(cancel)).routes(routes!(feedback))
}

/// Ask the desk
///
/// The answer comes as JSON once it is whole, or as server-sent events while it is made (`Accept: text/event-stream`, or
/// `"stream": true`). With an `Idempotency-Key` it may be sent again after any failure: the outcome is the same one.
#[utoipa::path(
    post, path = "/v1/chat", tag = "chat", request_body = ChatBody,
    params(
        ("Idempotency-Key" = inline(Option<contract::IdempotencyKey>), Header, description = "1 to 128 visible ASCII characters"),
        ("talkfleet-priority" = Option<String>, Header, description = "`batch` when nobody waits for it: it comes after those for whom somebody does"),
    ),
    responses(
        (status = 200, description = "The answer, or its frames", content((contract::Answer = "application/json"), (contract::FrameEvent = "text/event-stream"))),
        (status = "4XX", description = "The message was not accepted", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", description = "No answer could be made, or it is not known whether one will", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
async fn ask(
    State(desk): State<Arc<Desk>>,
    Caller(principal): Caller,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Strict(body): Strict<ChatBody>,
) -> Result<Response, Refusal> {
    let streamed = body.stream.unwrap_or(false) || sse::is_wanted(&headers);
    let after = caller::position(&headers, None)?;
    let face = if streamed { "sse" } else { "http" };
    let asked = caller::submission(principal, body.parse()?, address, &headers, face, !streamed)?;
    let story = desk.submit(asked).await?;
    let Story { request, frames, allowance, delivery, .. } = story;
    let response =
        if streamed { sse::respond(frames, after, desk.config()) } else { whole(request.clone(), frames).await };
    let mut response = with_headers(response, &request, allowance);
    if !delivery.is_durable() {
        response.headers_mut().insert(DELIVERY_HEADER, HeaderValue::from_static(delivery.name()));
    }
    Ok(response)
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct After {
    /// The last frame seen, as `seq` or `attempt.seq`; `Last-Event-ID` says the same.
    #[param(pattern = r"^[0-9]{1,9}(\.[0-9]{1,9})?$")]
    after: Option<String>,
}

/// Come back to an answer
///
/// Every frame after the last one seen, on whichever gateway, until the last frame.
#[utoipa::path(
    get, path = "/v1/chat/{id}/stream", tag = "chat", params(("id" = inline(contract::Id), Path), After),
    responses(
        (status = 200, description = "Server-sent events, one per frame", content_type = "text/event-stream", body = contract::FrameEvent),
        (status = 404, description = "No such request, or not yours", body = ProblemBody, content_type = "application/problem+json"),
        (status = 410, description = "Its frames are no longer kept", body = ProblemBody, content_type = "application/problem+json"),
        (status = "4XX", description = "It was not accepted", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", description = "It failed here; the code says whether to try again", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
async fn stream(
    State(desk): State<Arc<Desk>>,
    Caller(principal): Caller,
    Named(id): Named,
    query: Result<Query<After>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let request = intake::request_id(&id)?;
    // Given twice, for example.
    let Query(After { after }) = query.map_err(|_| Code::BadPosition)?;
    let after = caller::position(&headers, after.as_deref())?.unwrap_or_default();
    let frames = desk.resume(&principal, &request, after).await?;
    Ok(with_headers(sse::respond(frames, None, desk.config()), &request, None))
}

/// Stop an answer
///
/// What was said so far is kept. Stopping twice, or after the end, changes nothing.
#[utoipa::path(
    post, path = "/v1/chat/{id}/cancel", tag = "chat", params(("id" = inline(contract::Id), Path)),
    responses(
        (status = 202, description = "It stops soon, or has ended"),
        (status = 404, description = "No such request, or not yours", body = ProblemBody, content_type = "application/problem+json"),
        (status = "4XX", description = "It was not accepted", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", description = "It failed here; the code says whether to try again", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
async fn cancel(
    State(desk): State<Arc<Desk>>,
    Caller(principal): Caller,
    Named(id): Named,
) -> Result<StatusCode, Refusal> {
    desk.cancel(&principal, &intake::request_id(&id)?).await?;
    Ok(StatusCode::ACCEPTED)
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FeedbackBody {
    /// The request's id.
    #[schema(schema_with = contract::id)]
    id: String,
    #[schema(schema_with = contract::verdict)]
    verdict: Verdict,
    /// Up to 1,000 characters.
    #[serde(default)]
    #[schema(max_length = 1000)]
    reason: Option<String>,
}

/// Judge an answer
#[utoipa::path(
    post, path = "/v1/feedback", tag = "chat", request_body = FeedbackBody,
    responses(
        (status = 202, description = "It was written down"),
        (status = 404, description = "There is no answer under that id", body = ProblemBody, content_type = "application/problem+json"),
        (status = "4XX", description = "It was not accepted", body = ProblemBody, content_type = "application/problem+json"),
        (status = "5XX", description = "It failed here; the code says whether to try again", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = [])),
)]
async fn feedback(
    State(desk): State<Arc<Desk>>,
    Caller(principal): Caller,
    Strict(body): Strict<FeedbackBody>,
) -> Result<StatusCode, Refusal> {
    let request = intake::request_id(&body.id)?;
    let long = |reason: &String| reason.chars().count() > REASON_CHARS_MAX;
    if body.reason.as_ref().is_some_and(long) {
        let why = format!("The reason has more than {REASON_CHARS_MAX} characters; shorten it.");
        return Err(Problem::because(Code::BadText, why).into());
    }
    desk.feedback(&principal, &request, body.verdict, body.reason).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Waits for the last frame and answers with what it says.
async fn whole(request: RequestId, mut frames: Frames) -> Response {
    while let Some(frame) = frames.next().await {
        let problem = match frame.body {
            FrameBody::Done { answer } => return Json(answer).into_response(),
            FrameBody::Failed { problem } | FrameBody::Expired { problem } => problem,
            FrameBody::Cancelled { .. } => Problem::new(Code::Cancelled),
            _ => continue,
        };
        return Refusal::of(request, problem).into_response();
    }
    let problem = frames.cut().unwrap_or_else(|| Problem::new(Code::Internal));
    Refusal::of(request, problem).into_response()
}

fn with_headers(mut response: Response, request: &RequestId, allowance: Option<Allowance>) -> Response {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request.as_str()) {
        headers.insert(REQUEST_HEADER, id);
    }
    if let Some(allowance) = allowance {
        headers.insert("ratelimit-limit", HeaderValue::from(allowance.limit));
        headers.insert("ratelimit-remaining", HeaderValue::from(allowance.remaining));
        headers.insert("ratelimit-reset", HeaderValue::from(allowance.reset.as_secs()));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
