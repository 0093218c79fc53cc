//! One question over every face, answered with the right article.

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use talkfleet_shared::{chat::FrameBody, id::RequestId};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::harness::{Desk, PATIENCE, Socket};

#[track_caller]
fn cites(answer: &Value, url: &str) {
    let urls: Vec<_> = answer["citations"].as_array().unwrap().iter().map(|c| c["url"].as_str().unwrap()).collect();
    assert!(urls.contains(&url), "{url} is not among {urls:?}");
}

#[tokio::test]
async fn json_in_both_languages_with_citations() {
    let desk = Desk::open().start().await;
    let answer = desk.ask("How many days until my package gets here with the normal shipping?").await;
    cites(&answer, "/help/delivery-times");
    assert!(answer["text"].as_str().unwrap().contains("3–5 working days"), "{answer}");
    assert_eq!(
        (&answer["kind"], &answer["rung"], &answer["language"]),
        (&json!("answer"), &json!("extract"), &json!("en"))
    );
    assert_eq!(answer["degraded"], json!([]));
    assert!(answer["intent"]["confidence"].as_f64().unwrap() > 0.3, "{answer}");
    assert!(answer["timings"]["total_ms"].as_f64().unwrap() > 0.0);
    let answer = desk.ask("退款大概几天能到账").await;
    cites(&answer, "/zh/help/refund-times");
    assert_eq!(answer["language"], "zh");
    assert!(answer["text"].as_str().unwrap().contains("5—7个工作日"), "{answer}");
}

#[tokio::test]
async fn it_says_so_when_it_does_not_know() {
    let desk = Desk::open().start().await;
    for question in ["What is the capital of Mongolia?", "帮我写一首关于春天的诗"] {
        let answer = desk.ask(question).await;
        assert_eq!(answer["kind"], "refusal", "{answer}");
        assert_eq!(answer["citations"], json!([]), "{answer}");
    }
    let answer = desk.ask("thanks a lot, bye").await;
    assert_eq!(answer["kind"], "small_talk", "{answer}");
    let answer = desk.ask("我要转人工客服").await;
    assert_eq!(answer["kind"], "handover", "{answer}");
}

#[tokio::test]
async fn frames_over_sse_are_numbered_and_end_once() {
    let desk = Desk::open().start().await;
    let frames = desk.stream(0, &json!({ "text": "Can I pay in instalments?" })).await.rest().await;
    let names: Vec<_> = frames.iter().map(|frame| frame.body.name()).collect();
    assert_eq!(&names[..3], ["accepted", "intent", "sources"]);
    assert_eq!(names.iter().filter(|name| ["done", "failed", "expired", "cancelled"].contains(name)).count(), 1);
    let seqs: Vec<_> = frames.iter().map(|frame| frame.seq).collect();
    assert_eq!(seqs, (0..frames.len() as u32).collect::<Vec<_>>());
    let said: String = frames
        .iter()
        .filter_map(|f| match &f.body {
            FrameBody::Delta { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let FrameBody::Done { answer } = &frames.last().unwrap().body else { panic!("{names:?}") };
    assert_eq!(said, answer.text);
}

#[tokio::test]
async fn many_messages_over_one_websocket() {
    let desk = Desk::open().start().await;
    let url = desk.url("/v1/ws").replace("http://", "ws://");
    let (mut socket, _) = tokio_tungstenite::connect_async(url.into_client_request().unwrap()).await.unwrap();
    let say = |value: Value| Message::text(value.to_string());
    socket.send(say(json!({ "type": "auth", "token": desk.key }))).await.unwrap();
    socket.send(say(json!({ "type": "ask", "ref": "a", "text": "How do I return an item?" }))).await.unwrap();
    socket.send(say(json!({ "type": "ask", "ref": "b", "text": "怎么开发票" }))).await.unwrap();
    let mut done = std::collections::BTreeMap::new();
    while done.len() < 2 {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        let Message::Text(text) = message else { continue };
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_ne!(value["type"], "problem", "{value}");
        if value["body"]["type"] == "done" {
            done.insert(value["ref"].as_str().unwrap().to_owned(), value["body"]["answer"].clone());
        }
    }
    cites(&done["a"], "/help/start-a-return");
    cites(&done["b"], "/zh/help/download-invoice");
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_outcome() {
    let desk = Desk::open().gateways(2).start().await;
    let ask = |gateway: usize, text: &'static str| {
        let request = reqwest::Client::new().post(desk.url_of(gateway, "/v1/chat")).bearer_auth(&desk.key);
        request.header("idempotency-key", "order-17").json(&json!({ "text": text })).send()
    };
    let first: Value = ask(0, "How do I use a coupon?").await.unwrap().json().await.unwrap();
    let again: Value = ask(1, "How do I use a coupon?").await.unwrap().json().await.unwrap();
    assert_eq!(first, again);
    let other = ask(1, "How do I close my account?").await.unwrap();
    assert_eq!(other.status(), 409);
    assert_eq!(other.json::<Value>().await.unwrap()["code"], "idempotency_reuse");
}

#[tokio::test]
async fn an_answer_is_resumed_on_another_gateway() {
    let desk = Desk::open().gateways(2).start().await;
    let frames = desk.stream(0, &json!({ "text": "What does the warranty cover?" })).await.rest().await;
    let request = frames[0].request.as_str();
    for (after, from) in [("0", 1), ("2", 3), ("1.3", 4)] {
        assert_eq!(desk.resume(1, request, after).await.rest().await, frames[from..], "after {after}");
    }
}

#[tokio::test]
async fn what_is_too_old_to_resume_is_told_so_and_what_never_was_is_not_found() {
    let desk = Desk::open().gateways(2).start().await;
    let mut socket = Socket::open(&desk, 1).await;
    let young = RequestId::new().to_string();
    for (id, status, code) in [("01ARZ3NDEKTSV4RRFFQ69G5FAV", 410, "not_resumable"), (young.as_str(), 404, "not_found")]
    {
        let (found, problem) = desk.get(&format!("/v1/chat/{id}/stream?after=0")).await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{problem}");
        socket.say(&json!({ "type": "resume", "ref": "r", "request": id, "after": "1.4" })).await;
        let told = socket.next().await;
        assert_eq!((&told["type"], &told["ref"], &told["request"]), (&json!("problem"), &json!("r"), &json!(id)));
        assert_eq!(told["problem"]["code"], code, "{told}");
    }
}

#[tokio::test]
async fn the_official_openai_client_works_unchanged() {
    let desk = Desk::open().start().await;
    crate::harness::python(
        &["openai==3.54.0", "langchain-openai==1.7.3"],
        "openai_client.py",
        &[&desk.url("/v1"), &desk.key],
    )
    .await;
}

#[tokio::test]
async fn the_contract_and_the_chat_page_are_served() {
    let desk = Desk::open().start().await;
    let (status, openapi) = desk.get("/openapi.json").await;
    assert_eq!(status, 200);
    for path in [
        "/v1/chat",
        "/v1/chat/{id}/cancel",
        "/v1/chat/{id}/stream",
        "/v1/conversations/{id}",
        "/v1/feedback",
        "/v1/ws",
        "/v1/chat/completions",
        "/v1/models",
    ] {
        assert!(openapi["paths"][path].is_object(), "{path}");
    }
    let article = reqwest::get(desk.url("/help/delivery-times")).await.unwrap();
    assert_eq!(article.status(), 200);
    assert!(article.text().await.unwrap().contains("3–5 working days"), "a citation's link leads nowhere");
    assert_eq!(reqwest::get(desk.url("/help/../../api_key")).await.unwrap().status(), 404);
    let page = reqwest::get(desk.url("/")).await.unwrap();
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("default-src"), "no policy");
    assert!(page.text().await.unwrap().contains("<title>"));
}
