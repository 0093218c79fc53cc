//! The customer's chat page: a few static files, compiled in, under a policy that lets nothing else run.

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, X_FRAME_OPTIONS,
        },
    },
    response::{Html, IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use talkfleet_shared::{error::Code, hex::hex};
use tower_http::{services::ServeDir, set_header::SetResponseHeaderLayer};
use utoipa_axum::router::OpenApiRouter;

use crate::{config::WebConfig, http::error::Refusal};

/// Only what we serve ourselves runs; text can never become markup (`require-trusted-types-for`).
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'self'; require-trusted-types-for 'script'",
);

/// Articles have text, pictures and a style sheet of their own, and run nothing.
const SITE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'self'",
);

/// What else pages tell a browser: no window of another site shares their process, no other site takes their files in, and
/// they want nothing of the device.
const APART: [(HeaderName, HeaderValue); 3] = [
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
    ),
];

/// What `/` says when no tenant's customers are served here.
const ABOUT: &str = "<!doctype html><meta charset=\"utf-8\"><title>Talkfleet</title>\
    <p>This is a Talkfleet gateway, the front door of an AI customer-service desk: see its <a href=\"/docs\">API</a>.</p>\n";

const PAGE: &str = include_str!("index.html");
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page loads: its path, its type, its text.
const PARTS: [(&str, &str, &str); 7] = [
    ("/web/app.js", SCRIPT, include_str!("app.js")),
    ("/web/card.js", SCRIPT, include_str!("card.js")),
    ("/web/desk.js", SCRIPT, include_str!("desk.js")),
    ("/web/store.js", SCRIPT, include_str!("store.js")),
    ("/web/words.js", SCRIPT, include_str!("words.js")),
    ("/web/style.css", "text/css; charset=utf-8", include_str!("style.css")),
    ("/web/icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

/// The page's routes, or one line at `/` when there is no page.
pub(crate) fn router(config: &WebConfig) -> OpenApiRouter {
    if config.tenant().is_none() {
        return OpenApiRouter::new().route("/", get(async || Html(ABOUT)));
    }
    let page = PAGE.replace("{{title}}", &escaped(&config.title));
    let page = OpenApiRouter::new().route("/", get(serve).with_state(Asset::new(HTML, page)));
    PARTS.into_iter().fold(page, |router, (path, kind, text)| {
        router.route(path, get(serve).with_state(Asset::new(kind, text.to_owned())))
    })
}

/// The static pages of the operator's folder, if there is one; what they lack is not found.
pub(crate) fn site(config: &WebConfig) -> Option<Router> {
    let lacking = || any(async || Refusal::from(Code::NotFound));
    let pages = ServeDir::new(config.site_dir()?).call_fallback_on_method_not_allowed(true).fallback(lacking());
    let policy = SetResponseHeaderLayer::if_not_present(CONTENT_SECURITY_POLICY, SITE_POLICY);
    Some(Router::new().fallback_service(pages).layer(policy))
}

/// One file as it is served.
#[derive(Clone)]
struct Asset {
    kind: &'static str,
    body: Bytes,
    tag: HeaderValue,
}

impl Asset {
    fn new(kind: &'static str, text: String) -> Self {
        let digest = hex(&Sha256::digest(&text)[..8]);
        let tag = HeaderValue::from_str(&format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self { kind, body: text.into(), tag }
    }
}

/// Browsers ask each time whether their copy is the one of this build, and mostly hear that it is.
async fn serve(State(asset): State<Asset>, headers: HeaderMap) -> Response {
    let known = headers.get(IF_NONE_MATCH) == Some(&asset.tag);
    let always = [
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
        (ETAG, asset.tag),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, always, APART).into_response();
    }
    (always, APART, [(CONTENT_TYPE, asset.kind)], asset.body).into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::config::GatewayConfig;

    fn web(tenant: &str) -> axum::Router {
        let pairs = [("web.tenant", tenant), ("web.title", "Ann & <Bob>")];
        let flags: Vec<_> = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        router(&GatewayConfig::load(None, &flags).unwrap().web).into()
    }

    async fn fetch(router: &axum::Router, path: &str, known: Option<&HeaderValue>) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        request.headers_mut().extend(known.map(|tag| (IF_NONE_MATCH, tag.clone())));
        let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn everything_that_the_page_asks_for_is_served_under_its_policy() {
        let router = web("demo");
        let (_, headers, page) = fetch(&router, "/", None).await;
        assert!(page.contains("<h1>Ann &amp; &lt;Bob&gt;</h1>"), "{page}");
        assert!(headers[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
        let asked = PARTS.iter().flat_map(|(_, _, text)| text.split('"')).chain(page.split('"'));
        let asked = asked.filter_map(|word| {
            word.strip_prefix("./")
                .map(|name| format!("/web/{name}"))
                .or_else(|| word.starts_with("/web/").then(|| word.to_owned()))
        });
        for path in asked {
            assert_eq!(fetch(&router, &path, None).await.0, StatusCode::OK, "{path}");
        }
    }

    #[tokio::test]
    async fn a_browser_that_has_the_file_is_told_so() {
        let router = web("demo");
        let (_, headers, _) = fetch(&router, "/web/app.js", None).await;
        let (status, _, body) = fetch(&router, "/web/app.js", Some(&headers[ETAG])).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    }

    #[tokio::test]
    async fn without_a_tenant_there_is_no_page() {
        let router = web("");
        assert!(fetch(&router, "/", None).await.2.contains("/docs"));
        assert_eq!(fetch(&router, "/web/app.js", None).await.0, StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_page_holds_nothing_that_its_policy_forbids() {
        assert!(!PAGE.contains("style=") && !PAGE.contains("<style") && !PAGE.contains("onclick"));
        assert_eq!(PAGE.matches("<script").count(), PAGE.matches("<script type=\"module\" src=\"/web/").count());
        for (path, _, text) in PARTS {
            assert!(!text.contains("innerHTML") && !text.contains("insertAdjacentHTML"), "{path}");
        }
    }
}
