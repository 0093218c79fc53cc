//! Bad input is refused with a clear code and disturbs nobody.

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::harness::{Desk, PATIENCE};

/// What a raw request is answered with: status and code.
async fn raw(desk: &Desk, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> (u16, String) {
    let mut request = reqwest::Client::new().post(desk.url("/v1/chat")).bearer_auth(&desk.key);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = request.body(body).send().await.unwrap();
    let status = sent.status().as_u16();
    let problem: Value = sent.json().await.unwrap_or_default();
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn http_bodies_are_refused_by_name() {
    let desk = Desk::open().start().await;
    let json_type = ("content-type", "application/json");
    let long = json!({ "text": "a".repeat(4_001) }).to_string();
    let huge = json!({ "text": "a".repeat(80_000) }).to_string();
    let deep =
        format!("{{\"text\":\"a\",\"metadata\":{}{}}}", "{\"a\":".repeat(200), "1".to_owned() + &"}".repeat(200));
    let cases: [(&str, u16, &str); 16] = [
        ("", 400, "bad_json"),
        ("nonsense", 400, "bad_json"),
        ("[]", 400, "bad_json"),
        ("{}", 400, "bad_json"),
        ("{\"text\":1}", 400, "bad_json"),
        ("{\"text\":\"a\",\"text\":\"b\"}", 400, "bad_json"),
        ("{\"text\":\"a\",\"txet\":\"b\"}", 400, "bad_json"),
        (&deep, 400, "bad_json"),
        ("{\"text\":\"\"}", 400, "bad_text"),
        ("{\"text\":\"  \\u200b\\ufeff \"}", 400, "bad_text"),
        ("{\"text\":\"a\\u0000b\"}", 400, "bad_text"),
        (&long, 400, "bad_text"),
        (&huge, 413, "body_too_large"),
        ("{\"text\":\"a\",\"conversation\":\"chat.v1.>\"}", 400, "bad_id"),
        ("{\"text\":\"a\",\"user\":\"../../etc\"}", 400, "bad_id"),
        ("{\"text\":\"a\",\"deadline_ms\":1}", 400, "bad_deadline"),
    ];
    for (body, status, code) in cases {
        let shown: String = body.chars().take(60).collect();
        assert_eq!(raw(&desk, &[json_type], body.to_owned()).await, (status, code.to_owned()), "{shown}");
    }
    let many: serde_json::Map<String, Value> = (0..17).map(|n| (format!("k{n}"), json!("v"))).collect();
    let body = json!({ "text": "a", "metadata": many }).to_string();
    assert_eq!(raw(&desk, &[json_type], body).await, (400, "bad_metadata".into()));
    assert_eq!(raw(&desk, &[json_type], b"{\"text\":\"\xff\xfe\"}".to_vec()).await, (400, "bad_json".into()));
    assert_eq!(
        raw(&desk, &[("content-type", "text/plain")], "{\"text\":\"a\"}").await,
        (415, "unsupported_media".into())
    );
    let zipped = [json_type, ("content-encoding", "gzip")];
    assert_eq!(raw(&desk, &zipped, vec![0x1f, 0x8b, 8, 0]).await, (415, "unsupported_media".into()));
    let long_key = "k".repeat(129);
    assert_eq!(
        raw(&desk, &[json_type, ("idempotency-key", &long_key)], "{\"text\":\"a\"}").await,
        (400, "bad_idempotency_key".into())
    );
    let junk = [json_type, ("traceparent", "00-zz-é")];
    assert_eq!(raw(&desk, &junk, "{\"text\":\"hello there\"}").await.0, 200);
}

#[tokio::test]
async fn who_may_not_and_where_there_is_nothing() {
    let desk = Desk::open().start().await;
    let client = reqwest::Client::new();
    let chat = desk.url("/v1/chat");
    let body = json!({ "text": "hi" });
    assert_eq!(client.post(&chat).json(&body).send().await.unwrap().status(), 401);
    assert_eq!(client.post(&chat).bearer_auth("tf_forged").json(&body).send().await.unwrap().status(), 401);
    assert_eq!(client.post(&chat).basic_auth("demo", Some(&desk.key)).json(&body).send().await.unwrap().status(), 401);
    assert_eq!(client.post(format!("{chat}?api_key={}", desk.key)).json(&body).send().await.unwrap().status(), 401);
    let wrong = client.get(&chat).bearer_auth(&desk.key).send().await.unwrap();
    assert_eq!((wrong.status().as_u16(), wrong.headers()["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(wrong.json::<Value>().await.unwrap()["code"], "method_not_allowed");
    let (status, problem) = desk.get("/v1/nothing").await;
    assert_eq!((status, &problem["code"]), (404, &json!("not_found")));
    for id in ["chat.v1.%3E", "..%2F..%2Fetc%2Fpasswd", "%00", "a%20b"] {
        let (status, problem) = desk.get(&format!("/v1/conversations/{id}")).await;
        assert!(status == 400 || status == 404, "{id}: {status} {problem}");
    }
    assert_eq!(desk.get("/v1/chat/r1/stream?after=x").await.1["code"], "bad_position");
    assert_eq!(desk.post("/v1/feedback", &json!({ "id": "nobody", "verdict": "up" })).await.0, 404);
    assert_eq!(desk.post("/v1/feedback", &json!({ "id": "nobody", "verdict": "sideways" })).await.0, 400);
}

#[tokio::test]
async fn heads_and_bodies_that_never_end_are_cut_off() {
    let desk = Desk::open()
        .gateway_set("http.head_read_timeout_ms", 300)
        .gateway_set("http.body_read_timeout_ms", 300)
        .start()
        .await;
    let address = desk.url("").trim_start_matches("http://").to_owned();
    for opening in [
        "POST /v1/chat HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_owned(),
        format!(
            "POST /v1/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{{\"te",
            desk.key
        ),
    ] {
        let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
        socket.write_all(opening.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("the socket stays open").ok();
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.contains(" 408 "), "{text}");
    }
    let fat = reqwest::Client::new()
        .get(desk.url("/v1/models"))
        .bearer_auth(&desk.key)
        .header("x-fat", "a".repeat(70_000))
        .send()
        .await
        .unwrap();
    assert_eq!(fat.status(), 431);
    assert_eq!(desk.ask("hello").await["kind"], "small_talk");
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket(desk: &Desk, authorised: bool) -> Socket {
    let mut request = desk.url("/v1/ws").replace("http://", "ws://").into_client_request().unwrap();
    if authorised {
        request.headers_mut().insert("authorization", format!("Bearer {}", desk.key).parse().unwrap());
    }
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// The close code with which a socket ends.
async fn closed(mut socket: Socket) -> u16 {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("the socket stays open") {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}

#[tokio::test]
async fn sockets_are_closed_with_a_code() {
    let desk = Desk::open().gateway_set("ws.auth_timeout_ms", 300).start().await;
    assert_eq!(closed(socket(&desk, false).await).await, 3000);
    let mut forged = socket(&desk, false).await;
    forged.send(Message::text(json!({ "type": "auth", "token": "tf_forged" }).to_string())).await.unwrap();
    assert_eq!(closed(forged).await, 3000);
    let mut binary = socket(&desk, true).await;
    binary.send(Message::binary(vec![0, 1, 2])).await.unwrap();
    assert_eq!(closed(binary).await, 1003);
    let mut large = socket(&desk, true).await;
    large.send(Message::text("a".repeat(200_000))).await.unwrap();
    assert_eq!(closed(large).await, 1009);
    let mut request = desk.url("/v1/ws").replace("http://", "ws://").into_client_request().unwrap();
    request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    let refused = tokio_tungstenite::connect_async(request).await.unwrap_err();
    assert!(refused.to_string().contains("403"), "{refused}");
}

#[tokio::test]
async fn a_bad_message_on_a_socket_leaves_the_socket_usable() {
    let desk = Desk::open().start().await;
    let mut socket = socket(&desk, true).await;
    let bad = [
        "nonsense",
        "{\"type\":\"dance\"}",
        "{\"type\":\"ask\",\"ref\":\"a\",\"text\":\"\"}",
        "{\"type\":\"resume\",\"request\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"after\":\"0\"}",
    ];
    let mut problems = 0;
    for message in bad {
        socket.send(Message::text(message)).await.unwrap();
        while problems < bad.len() {
            let Message::Text(text) = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
            else {
                continue;
            };
            let value: Value = serde_json::from_str(&text).unwrap();
            if value["type"] == "problem" {
                problems += 1;
                break;
            }
        }
    }
    socket
        .send(Message::text(json!({ "type": "ask", "ref": "z", "text": "How do I track my parcel?" }).to_string()))
        .await
        .unwrap();
    loop {
        let Message::Text(text) = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap() else {
            continue;
        };
        let value: Value = serde_json::from_str(&text).unwrap();
        if value["body"]["type"] == "done" {
            break;
        }
    }
}
