//! A door for fuzz targets: what the faces make of bytes that anybody may send, in types that they can look at.

use talkfleet_shared::{
    bus::Entry,
    chat::{Frame, Position},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{
    auth::{Keyring, Principal, jwt::Jwt},
    config::GatewayConfig,
    desk, http,
    intake::{Asked, ChatBody},
    openai, ws,
};

/// What a client may be told of a refusal: status, code, sentence.
pub type Refused = (u16, &'static str, String);

/// What a message over a socket came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The message to the desk, if it was an ask.
    pub asked: Option<Asked>,
    /// The client's own name for its ask.
    pub reference: Option<String>,
    pub idempotency_key: Option<String>,
}

/// A body of `POST /v1/chat`.
pub fn chat(body: &[u8]) -> Result<Asked, Refused> {
    let asked = http::body::parse::<ChatBody>(body).and_then(ChatBody::parse);
    asked.map_err(|problem| (problem.code.status(), problem.code.word(), problem.message))
}

/// A body of `POST /v1/chat/completions`.
pub fn completion(body: &[u8]) -> Result<Asked, Refused> {
    openai::read(body)
}

/// A message over a socket; a refusal brings the ref that it can be told under.
pub fn socket(text: &str) -> Result<Heard, (Option<String>, Refused)> {
    ws::read(text)
}

/// What a client that has seen everything up to `after` is shown of frames as they come in, and where it stands then.
pub fn shown(after: Position, frames: &[Frame]) -> (Vec<Frame>, Position) {
    desk::shown(after, frames)
}

/// What an OpenAI-style client is sent of frames that are shown.
pub fn chunks(frames: &[Frame], include_usage: bool) -> Vec<String> {
    openai::chunks(frames, include_usage)
}

/// A ring with these entries of the bucket of keys.
pub fn ring(entries: Vec<(String, Vec<u8>)>) -> Keyring {
    let entry = |(key, value): (String, Vec<u8>)| Entry { key, value: Some(value.into()), revision: 1, pending: 0 };
    Keyring::of(entries.into_iter().map(entry))
}

/// Somebody else who lets customers in, by tokens that are signed with a secret: `https://id.example`, for `desk`, tenant `demo`.
pub struct Issuer(Jwt);

impl Issuer {
    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    pub fn open() -> Result<Self, String> {
        let set = [
            ("issuer", "https://id.example"),
            ("audience", "desk"),
            ("tenant", "demo"),
            ("secret_file", "unread"),
            ("algorithms", r#"["HS256"]"#),
        ];
        let flags: Vec<_> = set.iter().map(|(key, value)| (format!("jwt.shop.{key}"), (*value).into())).collect();
        let config = GatewayConfig::load(None, &flags).map_err(|error| error.to_string())?;
        Jwt::with_secret(&config.jwt, Self::SECRET).map(Self)
    }

    /// A token of these bytes, signed as the issuer does, whatever they are.
    pub fn sign(&self, head: &[u8], claims: &[u8]) -> String {
        let signed = format!("{}.{}", BASE64.encode(head), BASE64.encode(claims));
        // A key of HMAC may be as long as it likes.
        let signature = Hmac::<Sha256>::new_from_slice(Self::SECRET).map(|mac| mac.chain_update(&signed).finalize());
        let signature = signature.map(|mac| BASE64.encode(mac.into_bytes())).unwrap_or_default();
        format!("{signed}.{signature}")
    }

    /// Whom a token lets in at a moment, Unix milliseconds.
    pub fn let_in(&self, token: &str, now_ms: u64) -> Option<Principal> {
        self.0.verify(token, now_ms).settled().ok()
    }
}

/// Whether these bytes are an issuer's set of keys.
pub fn key_set(json: &[u8]) -> bool {
    Jwt::is_key_set(json)
}
