//! What customers' programs send: it becomes a message within its bounds, or a sentence that its sender can be told.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use talkfleet_gateway::{
    fuzz::{self, Refused},
    http::caller,
    intake::{self, Asked},
};
use talkfleet_shared::{
    chat::{Ask, Position, TEXT_CHARS_MAX},
    envelope::{self, BODY_BYTES_MAX, Format},
    id::{ConversationId, RequestId, TenantId},
    keys,
    telemetry::Trace,
};

use super::{sentence, token};

/// `http.body_bytes_max` and `ws.message_bytes_max` as they are shipped.
const BODY_MAX: usize = 64 * 1024;

/// A body of `POST /v1/chat`.
pub(super) fn chat(data: &[u8]) {
    taken(fuzz::chat(data), data.len());
}

/// A body of `POST /v1/chat/completions`.
pub(super) fn completion(data: &[u8]) {
    taken(fuzz::completion(data), data.len());
}

/// A message over a socket.
pub(super) fn socket(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let reference = match fuzz::socket(text) {
        Ok(heard) => {
            heard.idempotency_key.iter().for_each(|key| visible(key));
            if let Some(asked) = heard.asked {
                taken(Ok(asked), data.len());
            }
            heard.reference
        }
        Err((reference, refused)) => {
            taken(Err(refused), data.len());
            reference
        }
    };
    assert!(reference.is_none_or(|reference| (1..=64).contains(&reference.len())));
}

fn taken(asked: Result<Asked, Refused>, bytes: usize) {
    match asked {
        Ok(Asked { conversation, ask, budget: _ }) => {
            conversation.iter().for_each(|id| token(id.as_str()));
            ask.user.iter().for_each(|id| token(id.as_str()));
            token(ask.channel.as_str());
            let text = ask.text.as_str();
            assert!((1..=TEXT_CHARS_MAX).contains(&text.chars().count()) && text.trim() == text, "{text:?}");
            assert!(!text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')), "{text:?}");
            let held = ask.metadata.iter().all(|(key, value)| !key.is_empty() && value.chars().count() <= 256);
            assert!(held && ask.metadata.len() <= 16, "{:?}", ask.metadata);
            assert!(ask.replayed.is_none(), "nobody outside says how a replay treats it");
            let body = envelope::encode(&ask, Format::MessagePack).expect("what is taken can be sent on");
            assert!(bytes > BODY_MAX || body.len() <= BODY_BYTES_MAX, "{bytes} bytes become {}", body.len());
            assert_eq!(envelope::decode_large::<Ask>(&body, Format::MessagePack).as_ref(), Ok(&ask));
        }
        Err((status, code, why)) => {
            assert!((400..=422).contains(&status), "{status} {code}");
            sentence(&why, 400);
        }
    }
}

/// Lines of headers as they come with a request.
pub(super) fn headers(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(&line[at + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    if let Some(token) = caller::bearer(&headers) {
        assert!(token.trim() == token && token.is_ascii());
    }
    if let Ok(Some(position)) = caller::position(&headers, None) {
        assert_eq!(position.to_string().parse::<Position>(), Ok(position));
    }
    let parent = caller::text(&headers, talkfleet_shared::header::TRACEPARENT);
    if let Some(theirs) = parent.and_then(|text| text.parse::<Trace>().ok()) {
        assert_eq!(theirs.to_string().parse::<Trace>(), Ok(theirs));
        let followed = Trace::follow(parent, &mut rand::rng());
        assert_eq!(followed.id(), theirs.id(), "a trace that can be read is followed");
    }
    let Some(key) = headers.get("idempotency-key") else { return };
    match intake::idempotency_key(key.as_bytes()) {
        Ok(key) => {
            visible(&key);
            let [a, b] = ["a", "b"].map(|tenant| TenantId::parse(tenant).expect("an id"));
            let id = RequestId::from_idempotency_key(&a, &key);
            token(id.as_str());
            token(ConversationId::from_idempotency_key(&a, &key).as_str());
            assert_ne!(id, RequestId::from_idempotency_key(&b, &key), "two tenants share a request");
        }
        Err(problem) => taken(Err((problem.code.status(), problem.code.word(), problem.message)), 0),
    }
}

fn visible(key: &str) {
    assert!((1..=128).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()), "{key:?}");
}

/// A token: nobody comes in but with the one key that there is, or with a visitor's token as it was given out.
pub(super) fn bearer(data: &[u8]) {
    const KEY: &str = "tf_good";
    let record = br#"{"tenant":"demo","name":"n","created_at_ms":1}"#;
    let secret = b"0123456789abcdef0123456789abcdef";
    // What lies in the bucket may be spoilt as well; it lets nobody in.
    let ring = fuzz::ring(vec![
        (keys::hash(KEY), record.to_vec()),
        ("visitor-secret".into(), secret.to_vec()),
        (keys::hash("tf_spoilt"), data.to_vec()),
    ]);
    if let Ok(text) = std::str::from_utf8(data) {
        let known = ring.authenticate(Some(text), 0).is_ok();
        assert!(!known || text == KEY || text == "tf_spoilt", "{text:?} is let in");
        assert!(known || text != KEY);
    }
    let [at, to, ..] = data else { return };
    let tenant = TenantId::parse("demo").expect("an id");
    let (user, sealed) = ring.admit_visitor(tenant, 1_000).expect("the secret is known");
    let principal = ring.authenticate(Some(&sealed), 999).expect("a token as it was given out");
    assert_eq!(principal.user, Some(user));
    let mut forged = sealed.clone().into_bytes();
    let at = usize::from(*at) % forged.len();
    forged[at] = *to;
    let Ok(forged) = String::from_utf8(forged) else { return };
    assert!(forged == sealed || ring.authenticate(Some(&forged), 0).is_err(), "a changed token is let in: {forged}");
}

/// Another's token, head and claims one line each, with its true signature and without: who is let in is who it says, and only
/// within its time. As a whole the bytes are a token that nobody signed, and a set of keys.
pub(super) fn jwt(data: &[u8]) {
    const NOW_MS: u64 = 1_800_000_000_000;
    let issuer = fuzz::Issuer::open().expect("settings that are sound");
    fuzz::key_set(data);
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(issuer.let_in(text, NOW_MS).is_none(), "nobody signed {text}");
    }
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (head, claims) = (&data[..at], &data[at + 1..]);
    let signed = issuer.sign(head, claims);
    let let_in = issuer.let_in(&signed, NOW_MS);
    assert_eq!(issuer.let_in(&signed, NOW_MS), let_in, "the second look remembers the first");
    let Some(principal) = let_in else { return };
    let [head, claims] = [head, claims].map(|json| serde_json::from_slice::<serde_json::Value>(json).expect("JSON"));
    assert_eq!((&head["alg"], head["crit"].is_null()), (&"HS256".into(), true), "{head}");
    assert_eq!(claims["iss"], "https://id.example", "{claims}");
    assert!(claims["aud"] == "desk" || claims["aud"].as_array().is_some_and(|all| all.contains(&"desk".into())));
    assert!(claims["exp"].as_f64().expect("an end") * 1_000.0 + 30_000.0 > NOW_MS as f64, "{claims}");
    assert_eq!(principal.tenant.as_str(), "demo");
    token(principal.user.expect("a customer").as_str());
    let unsigned = &signed[..=signed.rfind('.').expect("a signature")];
    assert!(issuer.let_in(unsigned, NOW_MS).is_none(), "without its signature");
}
