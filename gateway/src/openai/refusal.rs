//! PURE: a failure in the shape that OpenAI's clients read: `{"error": {message, type, param, code}}`.

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use talkfleet_shared::{
    chat::Problem,
    error::{Code, Retry},
};
use utoipa::ToSchema;

use super::MODEL;
use crate::http;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: Code,
    pub(super) message: String,
    /// The field that is at fault, if one is.
    pub(super) param: Option<String>,
    pub(super) retry_after_ms: Option<u64>,
}

/// The body of an error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Debug, Serialize, ToSchema)]
struct ErrorDetail {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: &'static str,
}

impl Refusal {
    pub(super) fn invalid(code: Code, param: Option<&str>, message: impl Into<String>) -> Self {
        Self { param: param.map(Into::into), ..Problem::because(code, message).into() }
    }

    pub(super) fn missing(param: &str) -> Self {
        Self::invalid(Code::BadJson, Some(param), format!("'{param}' is required."))
    }

    pub(super) fn unsupported(param: &str, message: &str) -> Self {
        Self::invalid(Code::BadJson, Some(param), message)
    }

    pub(super) fn unknown_model(name: &str) -> Self {
        // The name came from outside; a long one need not come back whole.
        let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        Self::invalid(Code::UnknownModel, Some("model"), format!("The model '{name}' does not exist; use '{MODEL}'."))
    }

    pub(super) fn body(&self) -> ErrorBody {
        let (kind, code) = self.names();
        ErrorBody { error: ErrorDetail { message: self.message.clone(), kind, param: self.param.clone(), code } }
    }

    /// OpenAI's words where its clients know one, ours for the rest.
    fn names(&self) -> (&'static str, &'static str) {
        match (self.code, self.status) {
            (Code::UnknownModel, _) => ("invalid_request_error", "model_not_found"),
            (Code::Unauthenticated, _) => ("authentication_error", "invalid_api_key"),
            (Code::TooManyRequests, _) => ("rate_limit_error", "rate_limit_exceeded"),
            (code, 403) => ("permission_error", code.word()),
            (code, 400..500) => ("invalid_request_error", code.word()),
            (code, _) => ("server_error", code.word()),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let Problem { code, message, retry_after_ms } = problem;
        Self { status: code.status(), code, message, param: None, retry_after_ms }
    }
}

impl From<http::error::Refusal> for Refusal {
    fn from(refusal: http::error::Refusal) -> Self {
        refusal.problem.into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(wait_ms) = self.retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1_000).max(1)));
            headers.insert("retry-after-ms", HeaderValue::from(wait_ms));
        }
        if self.code == Code::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // The official clients try every 409 and 5xx again unless they are told not to.
        if self.code.retry() == Retry::Never {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(refusal: Refusal, status: u16, kind: &str, code: &str) {
        let body = serde_json::to_value(refusal.body()).unwrap();
        assert_eq!(
            (refusal.status, &body["error"]["type"], &body["error"]["code"]),
            (status, &json!(kind), &json!(code))
        );
    }

    #[test]
    fn failures_wear_the_names_that_clients_know() {
        check(Refusal::unknown_model("gpt-4o"), 404, "invalid_request_error", "model_not_found");
        check(Refusal::missing("messages"), 400, "invalid_request_error", "bad_json");
        check(Problem::new(Code::Unauthenticated).into(), 401, "authentication_error", "invalid_api_key");
        check(Problem::new(Code::TooManyRequests).into(), 429, "rate_limit_error", "rate_limit_exceeded");
        check(Problem::new(Code::Overloaded).into(), 503, "server_error", "overloaded");
        check(Problem::new(Code::Forbidden).into(), 403, "permission_error", "forbidden");
    }

    #[test]
    fn a_client_is_told_when_and_whether_to_come_back() {
        let later = Refusal::from(Problem::new(Code::Overloaded).retry_after_ms(1_200)).into_response();
        assert_eq!(
            (&later.headers()[RETRY_AFTER], &later.headers()["retry-after-ms"]),
            (&HeaderValue::from(2), &HeaderValue::from(1_200))
        );
        assert!(!later.headers().contains_key("x-should-retry"));
        let never = Refusal::from(Problem::new(Code::TurnFailed)).into_response();
        assert_eq!(never.headers()["x-should-retry"], "false");
        let stranger = Refusal::from(Problem::new(Code::Unauthenticated)).into_response();
        assert_eq!(stranger.headers()[WWW_AUTHENTICATE], "Bearer");
    }
}
