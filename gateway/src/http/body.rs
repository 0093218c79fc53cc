//! Strict bodies: JSON only, uncompressed, bounded in size, time and depth, every field known; what is wrong is said plainly.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use talkfleet_shared::{chat::Problem, error::Code};

use super::error::Refusal;
use crate::desk::Desk;

/// What a parser says about a body may quote it; this much is enough to see which field is meant.
const WHY_CHARS_MAX: usize = 240;

/// A JSON body of the documented shape.
pub struct Strict<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Desk>> for Strict<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Refusal> {
        let http = &desk.config().http;
        let bytes = read(request, http.body_bytes_max, Duration::from_millis(http.body_read_timeout_ms)).await?;
        Ok(Self(parse(&bytes)?))
    }
}

async fn read(request: Request, bytes_max: usize, within: Duration) -> Result<Bytes, Problem> {
    check_headers(request.headers(), bytes_max)?;
    let body = Limited::new(request.into_body(), bytes_max).collect();
    match tokio::time::timeout(within, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large(bytes_max)),
        // The connection broke, or the chunks were no chunks; whoever is left to read it learns that much.
        Ok(Err(_)) => Err(Problem::because(Code::BadJson, "The body ended before it was complete.")),
        Err(_) => Err(Problem::new(Code::RequestTimeout).retry_after_ms(1_000)),
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::because(Code::BodyTooLarge, format!("The body is larger than {bytes_max} bytes; shorten it."))
}

fn check_headers(headers: &HeaderMap, bytes_max: usize) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| {
        let charset = parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset"));
        charset.is_none_or(|(_, value)| value.trim_matches('"').eq_ignore_ascii_case("utf-8"))
    });
    let plain = text(header::CONTENT_ENCODING).is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"));
    if !(json && utf8 && plain) {
        return Err(Problem::new(Code::UnsupportedMedia));
    }
    match text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if length > bytes_max => Err(too_large(bytes_max)),
        _ => Ok(()),
    }
}

/// Reads a JSON document; serde knows duplicate and unknown fields, serde_json refuses depth, trailing bytes and bad UTF-8.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.is_empty() {
        return Err(Problem::because(Code::BadJson, "The body is empty; send a JSON object."));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let why: String = error.to_string().chars().filter(|c| !c.is_control()).take(WHY_CHARS_MAX).collect();
        Problem::because(Code::BadJson, format!("The body is not JSON of the documented shape: {why}."))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::intake::ChatBody;

    const MAX: usize = 1_000;

    async fn status(content_type: &str, encoding: &str, body: Vec<u8>) -> Result<ChatBody, Code> {
        let request = Request::builder()
            .header(header::CONTENT_TYPE, content_type)
            .header(header::CONTENT_ENCODING, encoding)
            .body(Body::from(body))
            .unwrap();
        let read = read(request, MAX, Duration::from_secs(5)).await;
        read.and_then(|bytes| parse(&bytes)).map_err(|problem| problem.code)
    }

    #[tokio::test]
    async fn a_json_body_is_taken() {
        for kind in ["application/json", "Application/JSON; charset=UTF-8"] {
            assert_eq!(status(kind, "identity", br#"{"text":"a"}"#.to_vec()).await.unwrap().text, "a");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused_by_name() {
        let json = br#"{"text":"a"}"#.to_vec();
        for (kind, encoding, body, code) in [
            ("text/plain", "identity", json.clone(), Code::UnsupportedMedia),
            ("", "identity", json.clone(), Code::UnsupportedMedia),
            ("application/json; charset=gbk", "identity", json.clone(), Code::UnsupportedMedia),
            ("application/json", "gzip", json.clone(), Code::UnsupportedMedia),
            ("application/json", "identity", Vec::new(), Code::BadJson),
            ("application/json", "identity", b"{".to_vec(), Code::BadJson),
            ("application/json", "identity", [json.clone(), b"x".to_vec()].concat(), Code::BadJson),
            ("application/json", "identity", b"{\"text\":\"\xff\"}".to_vec(), Code::BadJson),
            ("application/json", "identity", b"[".repeat(900), Code::BadJson),
            ("application/json", "identity", b"\"text\"".to_vec(), Code::BadJson),
            ("application/json", "identity", vec![b' '; MAX + 1], Code::BodyTooLarge),
        ] {
            let shown = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
            assert_eq!(status(kind, encoding, body).await.unwrap_err(), code, "{kind} {encoding} {shown}");
        }
    }

    #[tokio::test]
    async fn a_lying_length_and_a_slow_body_are_refused() {
        let lying = Request::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, "99999999")
            .body(Body::empty())
            .unwrap();
        assert_eq!(read(lying, MAX, Duration::from_secs(5)).await.unwrap_err().code, Code::BodyTooLarge);
        let slow = Request::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()))
            .unwrap();
        assert_eq!(read(slow, MAX, Duration::from_millis(20)).await.unwrap_err().code, Code::RequestTimeout);
    }

    #[test]
    fn what_is_wrong_is_said_without_quoting_the_whole_body() {
        let long = format!("{{\"text\":{{\"{}\":1}}}}", "x".repeat(5_000));
        let problem = parse::<ChatBody>(long.as_bytes()).map(|_| ()).unwrap_err();
        assert!(problem.message.contains("expected a string") && problem.message.len() < 400, "{}", problem.message);
        let unknown = parse::<ChatBody>(br#"{"txt":"a"}"#).map(|_| ()).unwrap_err();
        assert!(unknown.message.contains("unknown field `txt`"), "{}", unknown.message);
    }
}
