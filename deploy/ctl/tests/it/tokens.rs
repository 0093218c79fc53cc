//! Tokens of a company's own identity provider, and what becomes of those who send bad ones.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use futures::{SinkExt, StreamExt};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::harness::{Desk, Open, PATIENCE, until};

const ISSUER: &str = "https://id.shop.example";

/// An identity provider: a key, and the file in which it publishes its public half.
struct Provider {
    id: String,
    key: EncodingKey,
    file: tempfile::NamedTempFile,
}

impl Provider {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut provider = Self { id: String::new(), key: EncodingKey::from_secret(b""), file };
        provider.change_key("one");
        provider
    }

    fn change_key(&mut self, id: &str) {
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        (self.id, self.key) = (id.to_owned(), EncodingKey::from_ec_der(pair.as_ref()));
        let mut public = Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap();
        public.common.key_id = Some(self.id.clone());
        std::fs::write(self.file.path(), json!({ "keys": [public] }).to_string()).unwrap();
    }

    fn token(&self, user: &str, seconds: i64) -> String {
        self.token_with(user, seconds, &json!({}))
    }

    fn token_with(&self, user: &str, seconds: i64, more: &Value) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let mut claims = json!({ "iss": ISSUER, "aud": "desk", "sub": user, "exp": now + seconds });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &self.key).unwrap()
    }

    fn lets_in(&self, open: Open) -> Open {
        open.gateway_set("jwt.shop.issuer", ISSUER)
            .gateway_set("jwt.shop.audience", "desk")
            .gateway_set("jwt.shop.tenant", "demo")
            .gateway_set("jwt.shop.leeway_s", 0)
            .gateway_set("jwt.shop.keys_file", self.file.path().display())
    }
}

async fn status(desk: &Desk, token: &str, path: &str) -> u16 {
    reqwest::Client::new().get(desk.url(path)).bearer_auth(token).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_jwt_is_taken_over_every_face_and_binds_its_customer() {
    let mut provider = Provider::new();
    let desk = provider.lets_in(Desk::open()).start().await;
    let (ann, bob) = (provider.token("ann", 600), provider.token("auth0|bob", 600));
    let question = json!({ "text": "How long does delivery take?" });
    let (heard, answer) = desk.post_as(&ann, "/v1/chat", &question).await;
    assert_eq!((heard, &answer["kind"]), (200, &json!("answer")), "{answer}");

    let path = format!("/v1/conversations/{}", answer["conversation"].as_str().unwrap());
    assert_eq!(status(&desk, &ann, &path).await, 200);
    assert_eq!(status(&desk, &bob, &path).await, 404, "a colleague of hers finds nothing");
    assert_eq!(status(&desk, &desk.key, &path).await, 200, "the company's server does");
    let more = json!({ "text": "and express?", "conversation": answer["conversation"], "user": "ann" });
    assert_eq!(desk.post_as(&bob, "/v1/chat", &more).await.0, 404);
    assert_eq!(desk.post_as(&ann, "/v1/chat", &more).await.0, 200);

    let chat = json!({ "model": "talkfleet", "messages": [{ "role": "user", "content": "Can I return shoes?" }] });
    assert_eq!(desk.post_as(&bob, "/v1/chat/completions", &chat).await.0, 200);
    let sse = reqwest::Client::new().post(desk.url("/v1/chat")).bearer_auth(&bob).header("accept", "text/event-stream");
    assert!(sse.json(&question).send().await.unwrap().text().await.unwrap().contains("event: done"));

    // Another key takes the old one's place: tokens by the new one are good at once, by the old one within seconds no more.
    provider.change_key("two");
    assert_eq!(status(&desk, &provider.token("ann", 600), &path).await, 200);
    until("the old key is out", || async { (status(&desk, &ann, &path).await == 401).then_some(()) }).await;
}

#[tokio::test]
async fn bad_tokens_are_all_refused_alike() {
    let (provider, stranger) = (Provider::new(), Provider::new());
    let desk = provider.lets_in(Desk::open().workers(0)).start().await;
    let good = provider.token("ann", 600);
    assert_eq!(status(&desk, &good, "/v1/models").await, 200);
    let none = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
    for (token, expected) in [
        (provider.token("ann", -1), "expired"),
        (provider.token_with("ann", 600, &json!({ "aud": "other" })), "Send a valid"),
        (provider.token_with("ann", 600, &json!({ "iss": "https://evil.example" })), "Send a valid"),
        (provider.token_with("ann", 600, &json!({ "pad": "x".repeat(5_000) })), "Send a valid"),
        (stranger.token("ann", 600), "Send a valid"),
        (none, "Send a valid"),
        (format!("{good}x"), "Send a valid"),
    ] {
        let asked = reqwest::Client::new().get(desk.url("/v1/conversations/c-1")).bearer_auth(&token);
        let sent = asked.send().await.unwrap();
        let shown: String = token.chars().take(60).collect();
        assert_eq!((sent.status().as_u16(), &sent.headers()["www-authenticate"]), (401, &"Bearer".parse().unwrap()));
        assert_eq!(sent.headers()["content-type"], "application/problem+json", "{shown}");
        let problem: Value = sent.json().await.unwrap();
        assert_eq!(problem["code"], "unauthenticated", "{shown}");
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{shown}: {problem}");
    }
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket(desk: &Desk, token: &str) -> Socket {
    let mut request = desk.url("/v1/ws").replace("http://", "ws://").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// The next thing that is told, or the code with which the socket is closed.
async fn told(socket: &mut Socket) -> Result<Value, u16> {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("nothing comes") {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(Some(frame)))) => return Err(frame.code.into()),
            Some(Ok(_)) => {}
            other => panic!("no close frame: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_socket_ends_with_its_token_unless_a_fresh_one_comes() {
    let provider = Provider::new();
    let desk = provider.lets_in(Desk::open()).start().await;
    let mut left = socket(&desk, &provider.token("ann", 2)).await;
    let mut kept = socket(&desk, &provider.token("ann", 2)).await;
    assert_eq!(told(&mut left).await.unwrap()["user"], "ann");
    assert_eq!(told(&mut kept).await.unwrap()["type"], "ready");
    let fresh = json!({ "type": "auth", "token": provider.token("ann", 600) });
    kept.send(Message::text(fresh.to_string())).await.unwrap();
    assert_eq!(told(&mut kept).await.unwrap()["type"], "ready");
    assert_eq!(told(&mut left).await, Err(3000));

    let ask = json!({ "type": "ask", "ref": "1", "text": "How do I track my parcel?" });
    kept.send(Message::text(ask.to_string())).await.unwrap();
    while told(&mut kept).await.unwrap()["body"]["type"] != "done" {}
    // Another customer's token is no fresh one.
    let other = json!({ "type": "auth", "token": provider.token("bob", 600) });
    kept.send(Message::text(other.to_string())).await.unwrap();
    assert_eq!(told(&mut kept).await, Err(3003));
}

#[tokio::test]
async fn who_sends_too_many_bad_tokens_waits_and_others_behind_the_address_do_not() {
    let provider = Provider::new();
    let open = provider.lets_in(Desk::open().workers(0).gateways(2));
    let open = open.gateway_set("limits.auth_failures_per_minute", 1).gateway_set("limits.auth_failures_burst", 3);
    let desk = open.gateway_set("http.trusted_proxies", "[\"127.0.0.1\"]").start().await;
    // Every fleet of these tests shares a Redis, and no other test comes from here.
    let ask = async |gateway: usize, address: &str, token: &str| {
        let request = reqwest::Client::new().get(desk.url_of(gateway, "/v1/models")).bearer_auth(token);
        request.header("x-forwarded-for", address).send().await.unwrap()
    };
    let heard = async |gateway, address, token: &str| ask(gateway, address, token).await.status().as_u16();
    let (here, there) = ("198.51.100.21", "198.51.100.22");
    let known = provider.token("ann", 600);
    assert_eq!(heard(0, here, &known).await, 200);
    for _ in 0..4 {
        assert_eq!(heard(0, here, &provider.token("ann", -1)).await, 401, "what has expired was no guess");
    }
    for (gateway, status) in [(0, 401), (1, 401), (0, 401), (1, 429), (0, 429)] {
        assert_eq!(heard(gateway, here, "tf_forged").await, status, "all gateways count together");
    }
    let refused = ask(0, here, &provider.token("new", 600)).await;
    assert_eq!(refused.status().as_u16(), 429, "no signature is looked at any more");
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(Duration::from_secs(wait) > Duration::from_secs(30), "{wait} s");
    assert_eq!(heard(0, here, &desk.key).await, 200, "a key costs a digest");
    assert_eq!(heard(0, here, &known).await, 200, "and so does a token that was seen before");
    assert_eq!(heard(0, there, "tf_forged").await, 401);
}
