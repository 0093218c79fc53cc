//! Frames as server-sent events: `id` is the position to come back with, `event` the frame's type, `data` its JSON.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, StreamExt};
use talkfleet_shared::chat::{Frame, Position};

use crate::{config::GatewayConfig, desk::Frames, http::caller};

/// Whether a client asks for events.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    caller::text(headers, "accept").is_some_and(|accept| accept.contains("text/event-stream"))
}

/// Tells a story as events, from after a position on.
pub fn respond(frames: Frames, after: Option<Position>, config: &GatewayConfig) -> Response {
    let keep_alive = KeepAlive::new().interval(Duration::from_millis(config.sse.keep_alive_ms)).text("");
    let mut response = Sse::new(events(frames, after)).keep_alive(keep_alive).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies of the nginx kind would hold the events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn events(mut frames: Frames, after: Option<Position>) -> impl Stream<Item = Result<Event, Infallible>> {
    async_stream::stream! {
        while let Some(frame) = frames.next().await {
            if after.is_none_or(|position| position.wants(&frame)) {
                yield Ok(event(&frame));
            }
        }
        if let Some(problem) = frames.cut() {
            // No last frame: the request goes on elsewhere, and this says how to come back.
            let retry = Duration::from_millis(problem.retry_after_ms.unwrap_or_default());
            let data = serde_json::to_string(&problem).unwrap_or_default();
            yield Ok(Event::default().event("draining").retry(retry).data(data));
        }
    }
}

fn event(frame: &Frame) -> Event {
    let data = serde_json::to_string(frame).unwrap_or_default();
    Event::default().id(frame.position().to_string()).event(frame.body.name()).data(data)
}
