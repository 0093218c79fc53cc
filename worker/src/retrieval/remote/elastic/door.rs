//! The one door to Elasticsearch and OpenSearch: JSON over HTTP, every wait bounded, every refusal one clear sentence.

use std::time::Duration;

use reqwest::{
    Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::Value;

use crate::config::ElasticsearchConfig;

/// Connecting is quick or it is not to be waited for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest that one request may take; searches are bounded by `retrieval.timeout_ms` before.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer: 2,000 candidates are a few hundred KB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// What is told of a refusal's reason.
const REASON_CHARS_MAX: usize = 200;

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElasticError {
    #[error("the search server at {at} cannot be reached: {why}")]
    Away { at: String, why: String },
    #[error(
        "the search server refuses our login ({0}); check elasticsearch.api_key, or elasticsearch.username and \
         elasticsearch.password, and what that user may do"
    )]
    Login(u16),
    #[error("the search server is overloaded and rejects work (429)")]
    Busy,
    #[error("the index {0} is missing; it is made anew when the knowledge is next loaded")]
    NoIndex(String),
    #[error("the search server refused a request with {status} {kind}: {reason}")]
    Refused { status: u16, kind: String, reason: String },
    #[error(
        "the index takes our documents no longer ({0}); its mapping is another's: delete it, or choose another \
         elasticsearch.prefix, and it is made anew"
    )]
    Mapping(String),
    #[error(
        "the search server is {0}; wanted is Elasticsearch 8.8 or newer, or OpenSearch 2.9 or newer, as elasticsearch.dialect \
         says"
    )]
    Other(String),
    #[error(
        "the search server answered with something that is no JSON of the documented shape; check elasticsearch.url"
    )]
    Garbage,
}

/// A server that speaks Elasticsearch's or OpenSearch's REST.
pub(super) struct Door {
    http: reqwest::Client,
    url: String,
    /// For errors, without a password.
    shown: String,
    login: Login,
}

enum Login {
    None,
    Basic(String, String),
    ApiKey(String),
}

/// What is sent along.
pub(super) enum Body {
    None,
    Json(Value),
    /// One JSON a line.
    Lines(String),
}

impl Door {
    pub(super) fn new(config: &ElasticsearchConfig) -> Result<Self, ElasticError> {
        let shown = config.url.to_string();
        let client = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT);
        // Where a redirect leads nobody has configured.
        let client = client.redirect(reqwest::redirect::Policy::none()).build();
        let http = client.map_err(|error| ElasticError::Away { at: shown.clone(), why: error.to_string() })?;
        let login = match (config.api_key.is_empty(), config.username.is_empty()) {
            (false, _) => Login::ApiKey(format!("ApiKey {}", config.api_key.reveal())),
            (true, false) => Login::Basic(config.username.clone(), config.password.reveal().to_owned()),
            (true, true) => Login::None,
        };
        Ok(Self { http, url: config.url.reveal().trim_end_matches('/').to_owned(), shown, login })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, ElasticError> {
        self.call(Method::GET, path, Body::None).await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Result<Value, ElasticError> {
        self.call(Method::PUT, path, Body::Json(body)).await
    }

    pub(super) async fn post(&self, path: &str, body: Body) -> Result<Value, ElasticError> {
        self.call(Method::POST, path, body).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, ElasticError> {
        self.call(Method::DELETE, path, Body::None).await
    }

    async fn call(&self, method: Method, path: &str, body: Body) -> Result<Value, ElasticError> {
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = match &self.login {
            Login::None => request,
            Login::Basic(user, password) => request.basic_auth(user, Some(password)),
            Login::ApiKey(key) => request.header(AUTHORIZATION, key),
        };
        let request = match body {
            Body::None => request,
            Body::Json(json) => request.json(&json),
            Body::Lines(lines) => request.header(CONTENT_TYPE, "application/x-ndjson").body(lines),
        };
        let mut answer = request.send().await.map_err(|error| self.away(&error))?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| self.away(&error))? {
            bytes.extend_from_slice(&part);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(ElasticError::Garbage);
            }
        }
        let json = serde_json::from_slice(&bytes).ok();
        match (status.is_success(), json) {
            (true, json) => json.ok_or(ElasticError::Garbage),
            (false, json) => Err(refusal(status, &json.unwrap_or_default())),
        }
    }

    fn away(&self, error: &reqwest::Error) -> ElasticError {
        let why = match (error.is_timeout(), error.is_connect()) {
            (true, _) => "no answer in time",
            (_, true) => "no connection",
            _ => "it broke off",
        };
        ElasticError::Away { at: self.shown.clone(), why: why.to_owned() }
    }
}

fn refusal(status: StatusCode, body: &Value) -> ElasticError {
    match status.as_u16() {
        401 | 403 => ElasticError::Login(status.as_u16()),
        429 => ElasticError::Busy,
        502..=504 => ElasticError::Away { at: "that address".into(), why: format!("status {status}") },
        number => of_error(number, &body["error"]),
    }
}

/// An error object as both servers write it, of a request or of one item.
pub(super) fn of_error(status: u16, error: &Value) -> ElasticError {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&error["type"]);
    // What follows quotes the document.
    let reason = text(&error["reason"]);
    let reason: String =
        reason.split(" Preview of").next().unwrap_or_default().chars().take(REASON_CHARS_MAX).collect();
    match (status, kind.as_str()) {
        (429, _) => ElasticError::Busy,
        (_, "index_not_found_exception") => ElasticError::NoIndex(text(&error["index"])),
        (_, "strict_dynamic_mapping_exception" | "mapper_parsing_exception" | "document_parsing_exception") => {
            ElasticError::Mapping(reason)
        }
        _ => ElasticError::Refused { status, kind, reason },
    }
}

impl ElasticError {
    /// Whether the same again may succeed.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Busy)
    }

    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }

    /// Neither index nor document is there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::NoIndex(_) | Self::Refused { status: 404, .. })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(status: u16, body: Value, expected: &str) {
        let error = refusal(StatusCode::from_u16(status).unwrap(), &body).to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let of = |kind: &str, reason: &str| json!({ "error": { "type": kind, "reason": reason, "index": "tf" } });
        check(401, json!({}), "check elasticsearch.api_key");
        check(403, json!({}), "what that user may do");
        check(429, json!({}), "overloaded");
        check(503, json!({}), "cannot be reached");
        check(404, of("index_not_found_exception", "no such index [tf]"), "the index tf is missing");
        check(400, of("strict_dynamic_mapping_exception", "[text_en] is not allowed"), "choose another");
        check(400, of("parsing_exception", "unknown query [knn]"), "400 parsing_exception: unknown query [knn]");
        let quoting =
            of("mapper_parsing_exception", "failed to parse field [a] in document. Preview of field's value: 'x'");
        let error = refusal(StatusCode::BAD_REQUEST, &quoting).to_string();
        assert!(error.contains("failed to parse field [a]") && !error.contains("'x'"), "{error}");
    }
}
