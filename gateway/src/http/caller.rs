//! Who calls over HTTP, and what their headers say beside the body.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, Path},
    http::{HeaderMap, header, request::Parts},
};
use talkfleet_shared::{
    chat::{Position, Problem},
    error::Code,
    header::{PRIORITY, TRACEPARENT},
    telemetry::Trace,
};

use super::{address, error::Refusal};
use crate::{
    admit::Lane,
    auth::Principal,
    desk::{Desk, Submission},
    intake::{self, Asked},
};

/// An authenticated caller; a route without it is open to everybody.
pub struct Caller(pub Principal);

impl FromRequestParts<Arc<Desk>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Refusal> {
        let address = address::of(parts, desk);
        Ok(Self(desk.admit(bearer(&parts.headers), address).await?))
    }
}

/// What a path names at its end. Bytes that are no text name nothing, and are refused like any other strange id.
pub struct Named(pub String);

impl FromRequestParts<Arc<Desk>> for Named {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Refusal> {
        let named = Path::<String>::from_request_parts(parts, desk).await;
        named.map(|Path(name)| Self(name)).map_err(|_| Code::BadId.into())
    }
}

/// The token of `Authorization: Bearer …`; never taken from a query string, which ends up in logs.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, header::AUTHORIZATION.as_str())?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A parsed message with what the caller's headers say about it.
pub fn submission(
    principal: Principal,
    asked: Asked,
    address: Option<IpAddr>,
    headers: &HeaderMap,
    face: &'static str,
    last_only: bool,
) -> Result<Submission, Problem> {
    let Asked { conversation, ask, budget } = asked;
    let key = headers.get("idempotency-key").map(|value| intake::idempotency_key(value.as_bytes()));
    let (idempotency_key, trace) = (key.transpose()?, Trace::follow(text(headers, TRACEPARENT), &mut rand::rng()));
    let lane = Lane::named(text(headers, PRIORITY));
    Ok(Submission { principal, address, conversation, ask, budget, idempotency_key, lane, face, last_only, trace })
}

/// The last frame that the client saw: `after`, else the header that browsers send by themselves.
pub fn position(headers: &HeaderMap, after: Option<&str>) -> Result<Option<Position>, Problem> {
    let text = after.or_else(|| text(headers, "last-event-id")).filter(|text| !text.is_empty());
    text.map(str::parse).transpose().map_err(|_| Problem::new(Code::BadPosition))
}

/// Whether the page that calls, if it is a page, may: `Origin` is the server's own or listed.
pub fn check_origin(desk: &Desk, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let allowed = origin.to_str().is_ok_and(|origin| desk.config().allows_origin(origin, text(headers, "host")));
    if allowed { Ok(()) } else { Err(Problem::new(Code::BadOrigin)) }
}

pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_bearer_token_is_read_and_nothing_else() {
        assert_eq!(bearer(&headers("authorization", "Bearer tf_1")), Some("tf_1"));
        assert_eq!(bearer(&headers("authorization", "bearer  tf_1 ")), Some("tf_1"));
        assert_eq!(bearer(&headers("authorization", "Basic dGY6")), None);
        assert_eq!(bearer(&headers("authorization", "tf_1")), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn a_position_comes_from_the_query_or_the_browser() {
        let last = headers("last-event-id", "2.7");
        assert_eq!(position(&last, None).unwrap(), Some(Position { attempt: 2, seq: 7 }));
        assert_eq!(position(&last, Some("3")).unwrap(), Some(Position { attempt: 0, seq: 3 }));
        assert_eq!(position(&HeaderMap::new(), None).unwrap(), None);
        assert_eq!(position(&HeaderMap::new(), Some("x")).unwrap_err().code, Code::BadPosition);
    }
}
