//! What browsers are told: whose pages may call, and what a page of ours may do.

use futures::StreamExt;
use reqwest::{Client, Method, Response};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::Desk;

const LISTED: &str = "https://shop.example";
const STRANGE: &str = "https://evil.example";

async fn get(desk: &Desk, path: &str) -> Response {
    Client::new().get(desk.url(path)).send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn only_listed_origins_may_call_from_a_page() {
    let origins = format!("[\"{LISTED}\"]");
    let desk = Desk::open().workers(0).gateway_set("http.allowed_origins", origins).start().await;
    let preflight = async |origin: &str, method: &str| {
        let asked = Client::new().request(Method::OPTIONS, desk.url("/v1/chat")).header("origin", origin);
        let asked = asked.header("access-control-request-method", method);
        asked.header("access-control-request-headers", "authorization,content-type").send().await.unwrap()
    };
    let told = preflight(LISTED, "POST").await;
    assert_eq!(header(&told, "access-control-allow-origin"), LISTED);
    assert!(header(&told, "access-control-allow-headers").contains("authorization"));
    assert_eq!(header(&told, "access-control-allow-credentials"), "", "there are no cookies to send along");
    assert!(
        header(&told, "vary").to_lowercase().contains("origin"),
        "a cache must not tell one page's answer to another"
    );
    assert!(!header(&preflight(LISTED, "DELETE").await, "access-control-allow-methods").contains("DELETE"));
    for origin in [STRANGE, "null", "https://shop.example.evil.example", "http://shop.example"] {
        assert_eq!(header(&preflight(origin, "POST").await, "access-control-allow-origin"), "", "{origin}");
    }

    let visit = async |origin: &str| {
        let sent = Client::new().post(desk.url("/v1/visitors")).header("origin", origin);
        sent.send().await.unwrap().status().as_u16()
    };
    assert_eq!((visit(LISTED).await, visit(&desk.url("")).await), (201, 201));
    assert_eq!((visit(STRANGE).await, visit("null").await), (403, 403));
    let socket = async |origin: &str| {
        let mut request = desk.url("/v1/ws").replace("http://", "ws://").into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        request.headers_mut().insert("authorization", format!("Bearer {}", desk.key).parse().unwrap());
        match tokio_tungstenite::connect_async(request).await {
            Ok((mut socket, _)) => socket.next().await.is_some_and(|told| told.is_ok()),
            Err(_) => false,
        }
    };
    assert!(socket(LISTED).await && socket(&desk.url("")).await);
    assert!(!socket(STRANGE).await && !socket("null").await);
}

#[tokio::test]
async fn every_response_tells_browsers_what_it_may_not_do() {
    let desk = Desk::open().workers(0).start().await;
    for path in ["/", "/docs", "/openapi.json", "/web/app.js", "/v1/models", "/nothing", "/en/help/start-a-return"] {
        let response = get(&desk, path).await;
        assert_eq!(header(&response, "x-content-type-options"), "nosniff", "{path}");
        let policy = header(&response, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
        assert!(["no-referrer", "same-origin"].contains(&header(&response, "referrer-policy")), "{path}");
        assert_eq!(header(&response, "set-cookie"), "", "{path}: who is there is told by a token, never by a cookie");
        assert_eq!(header(&response, "strict-transport-security"), "", "{path}: this is no TLS");
    }
    for path in ["/", "/web/app.js"] {
        let page = get(&desk, path).await;
        assert_eq!(header(&page, "cross-origin-opener-policy"), "same-origin", "{path}");
        assert!(header(&page, "permissions-policy").contains("microphone=()"), "{path}");
    }
}
