//! A door for fuzz targets: what the faces make of bytes that anybody may send, in types that they can look at.

use talkfleet_shared::{
    bus::Entry,
    chat::{Frame, Position},
};

use crate::{
    auth::Keyring,
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
