//! HTTP: the routes with their document, and what every response has in common. An error becomes a status in `error` alone.

/// A code becomes a response.
pub mod error;

/// Strict JSON bodies.
pub mod body;

/// Whose address a request comes from.
pub(crate) mod address;

/// Who calls, and what their headers say.
pub mod caller;

/// A message, its stream, its end.
mod chat;

/// Conversations and visitors.
mod conversations;

/// Server-sent events.
pub mod sse;

/// The contract's types within the OpenAPI document.
mod contract;

/// Connections: accepted, bounded, drained.
pub(crate) mod accept;

/// TLS of the listener.
pub(crate) mod tls;

/// The socket under a connection.
mod wire;

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use talkfleet_shared::error::Code;
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::contract::{ChunkEvent, ID_PATTERN, Id, metadata_key, metadata_value, text as text_schema};
use self::error::Refusal;
use crate::{
    config::{HttpConfig, LimitsConfig},
    desk::Desk,
    openai, web, ws,
};

/// Half a year: a browser that was here under TLS does not come without it any more. Said only where this process itself
/// speaks TLS; a proxy before it has its own word.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=15552000");

/// How long a browser may remember what it was told of an origin.
const CORS_AGE: Duration = Duration::from_secs(600);

#[derive(OpenApi)]
#[openapi(info(
    title = "Talkfleet",
    description = "Ask a company's desk: over HTTP, server-sent events, WebSocket, or as an OpenAI-compatible endpoint.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Document;

/// Every route of the public port.
pub fn router(desk: Arc<Desk>) -> Router {
    let (routes, api) = documented().split_for_parts();
    let document = contract::document(&api);
    let elsewhere = web::site(&desk.config().web);
    let elsewhere = elsewhere.unwrap_or_else(|| Router::new().fallback(|| async { Refusal::from(Code::NotFound) }));
    let policy = policy(&desk.config().limits);
    let is_tls = !desk.config().http.cert_file.is_empty();
    // In one piece, since each layer by itself costs every request an allocation and a copy of the routes below.
    let common = ServiceBuilder::new()
        .layer(CatchPanicLayer::custom(broken))
        .layer(cors(&desk.config().http))
        .map_response(move |response: Response| tell_policy(harden(response, is_tls), policy.as_ref()));
    routes
        .with_state(desk.clone())
        .merge(Router::from(web::router(&desk.config().web)))
        .route("/openapi.json", get(move || std::future::ready(Json(document.clone()))))
        .route("/docs", get(|| async { Html(DOCS) }))
        .fallback_service(elsewhere)
        .method_not_allowed_fallback(|| async { Refusal::from(Code::MethodNotAllowed) })
        .layer(common)
}

/// The document of the public port, as it is served under `/openapi.json`.
pub fn openapi() -> serde_json::Value {
    contract::document(&documented().into_openapi())
}

fn documented() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(chat::router())
        .merge(conversations::router())
        .merge(ws::router())
        .merge(openai::router())
}

/// What every response says to browsers; a route that has its own word keeps it.
fn harden(mut response: Response, is_tls: bool) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    if is_tls {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
    }
    response
}

/// What limits there are, for clients to keep to by themselves (draft-ietf-httpapi-ratelimit-headers).
fn policy(limits: &LimitsConfig) -> Option<HeaderValue> {
    limits.policy().and_then(|policy| HeaderValue::from_str(&policy).ok())
}

/// Every response that tells how much is left, or that nothing is, tells of how much.
fn tell_policy(mut response: Response, policy: Option<&HeaderValue>) -> Response {
    let is_about_limits =
        response.status() == StatusCode::TOO_MANY_REQUESTS || response.headers().contains_key("ratelimit-limit");
    if let Some(policy) = policy.filter(|_| is_about_limits) {
        response.headers_mut().insert("ratelimit-policy", policy.clone());
    }
    response
}

fn cors(http: &HttpConfig) -> CorsLayer {
    let origins = http.allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(
            [
                "authorization",
                "content-type",
                "idempotency-key",
                "last-event-id",
                "talkfleet-priority",
                talkfleet_shared::header::TRACEPARENT,
            ]
            .map(HeaderName::from_static),
        )
        .expose_headers(
            [
                "retry-after",
                "ratelimit-limit",
                "ratelimit-remaining",
                "ratelimit-reset",
                "ratelimit-policy",
                "talkfleet-request",
            ]
            .map(HeaderName::from_static),
        )
        .max_age(CORS_AGE)
}

/// A panic is ours alone: the client reads that something went wrong here, the log where.
fn broken(panic: Box<dyn Any + Send + 'static>) -> Response {
    let why = panic.downcast_ref::<&str>().map(|why| (*why).to_owned());
    let why = why.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(why, "a request panicked");
    Refusal::from(Code::Internal).into_response()
}

const DOCS: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Talkfleet API</title>\
<h1>Talkfleet API</h1><p>The document is <a href=/openapi.json>/openapi.json</a> (OpenAPI 3.1); \
any viewer or client generator reads it.</html>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_held_to_tls_only_where_there_is_tls() {
        let told =
            |is_tls| harden(StatusCode::OK.into_response(), is_tls).headers().contains_key("strict-transport-security");
        assert!(told(true) && !told(false));
    }

    #[test]
    fn a_route_keeps_its_own_word() {
        let own = [(header::CONTENT_SECURITY_POLICY, "default-src 'self'")];
        let response = harden((own, ()).into_response(), false);
        assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], "default-src 'self'");
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
