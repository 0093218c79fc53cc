//! The one place where a code becomes an HTTP response: RFC 9457 problem documents, Retry-After, the request's id.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use talkfleet_shared::{chat::Problem, error::Code, id::RequestId};
use utoipa::ToSchema;

/// The id of the request that a response is about.
pub const REQUEST_HEADER: HeaderName = HeaderName::from_static("talkfleet-request");

/// Its delivery class, unless it is durable.
pub const DELIVERY_HEADER: HeaderName = HeaderName::from_static("talkfleet-delivery");

/// A problem on its way to the client, with the request that it befell, if that is known.
#[derive(Debug)]
pub struct Refusal {
    pub problem: Problem,
    pub request: Option<RequestId>,
}

/// What the client reads (`application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// `urn:talkfleet:problem:` and the code.
    r#type: String,
    title: &'static str,
    status: u16,
    /// The machine's word; the list of them is part of the public interface.
    #[schema(value_type = String, example = "conversation_busy")]
    code: &'static str,
    /// One clear sentence that says what to do.
    detail: String,
    /// The request's id, when one was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    request: Option<RequestId>,
}

impl Refusal {
    pub fn of(request: RequestId, problem: Problem) -> Self {
        Self { problem, request: Some(request) }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, request: None }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Problem::new(code).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { problem, request } = self;
        let code = problem.code;
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ProblemBody {
            r#type: format!("urn:talkfleet:problem:{}", code.word()),
            title: code.sentence(),
            status: status.as_u16(),
            code: code.word(),
            detail: problem.message,
            request: request.clone(),
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(ms) = problem.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if code == Code::TooManyRequests {
            headers.insert("ratelimit-remaining", HeaderValue::from(0));
        }
        if code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(value) = request.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
            headers.insert(REQUEST_HEADER, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_response_with_its_status() {
        for code in Code::ALL {
            let response = Refusal::from(Problem::new(*code).retry_after_ms(1_001)).into_response();
            assert_eq!(response.status().as_u16(), code.status(), "{code}");
            assert_eq!(response.headers()[header::RETRY_AFTER], "2");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
    }
}
