//! PURE: what is said over a socket, both ways; a client's text becomes a wish with nothing left to check, or a problem.

use serde::{Deserialize, Serialize};
use talkfleet_shared::{
    chat::{Frame, Position, Problem},
    error::Code,
    id::{RequestId, UserId},
};

use crate::intake::{self, Asked, ChatBody, Metadata};

/// The longest `ref` in bytes: clients number their asks or use a UUID.
const REF_BYTES_MAX: usize = 64;

/// The client's own name for one of its asks; every frame of the answer carries it.
pub(super) type Ref = String;

/// What a client wants.
#[derive(Debug, PartialEq)]
pub(super) enum Wish {
    Auth { token: String },
    Ask(Box<AskWish>),
    Cancel { request: RequestId },
    Resume { request: RequestId, after: Position, reference: Option<Ref> },
    Ping,
}

#[derive(Debug, PartialEq)]
pub(super) struct AskWish {
    pub(super) reference: Ref,
    pub(super) asked: Asked,
    pub(super) idempotency_key: Option<String>,
}

/// Why a message is no wish, and which ask it was about, as far as that could be read.
#[derive(Debug, PartialEq)]
pub(super) struct Misunderstood {
    pub(super) reference: Option<Ref>,
    pub(super) problem: Problem,
}

/// A client's message as it lies on the wire.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Wire {
    Auth {
        token: String,
    },
    Ask {
        r#ref: String,
        text: String,
        conversation: Option<String>,
        user: Option<String>,
        channel: Option<String>,
        metadata: Option<Metadata>,
        #[serde(default, deserialize_with = "intake::whole")]
        deadline_ms: Option<u64>,
        idempotency_key: Option<String>,
    },
    Cancel {
        request: String,
    },
    Resume {
        request: String,
        after: Option<String>,
        r#ref: Option<String>,
    },
    Ping {},
}

/// What is told to a client.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Told {
    /// Authenticated: asks are taken from here on.
    Ready {
        #[serde(skip_serializing_if = "Option::is_none")]
        user: Option<UserId>,
        asks_max: usize,
        message_bytes_max: usize,
        ping_ms: u64,
    },
    Frame {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
        #[serde(flatten)]
        frame: Frame,
    },
    Problem {
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<Ref>,
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
        problem: Problem,
    },
    Pong,
}

impl Told {
    pub(super) fn problem(reference: Option<Ref>, problem: Problem) -> Self {
        Self::Problem { reference, request: None, problem }
    }

    /// These types hold nothing that JSON cannot.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Reads a client's message.
pub(super) fn parse(text: &str) -> Result<Wish, Misunderstood> {
    let wire = serde_json::from_str(text).map_err(|error| unreadable(text, &error))?;
    match wire {
        Wire::Auth { token } => Ok(Wish::Auth { token }),
        Wire::Ping {} => Ok(Wish::Ping),
        Wire::Cancel { request } => match intake::id("request", &request, RequestId::parse) {
            Ok(request) => Ok(Wish::Cancel { request }),
            Err(problem) => Err(Misunderstood { reference: None, problem }),
        },
        Wire::Resume { request, after, r#ref } => resume_wish(&request, after.as_deref(), r#ref.clone())
            .map_err(|problem| Misunderstood { reference: r#ref.and_then(short), problem }),
        Wire::Ask { r#ref, text, conversation, user, channel, metadata, deadline_ms, idempotency_key } => {
            let body = ChatBody { text, conversation, user, channel, metadata, deadline_ms, stream: None };
            ask_wish(r#ref.clone(), body, idempotency_key)
                .map_err(|problem| Misunderstood { reference: short(r#ref), problem })
        }
    }
}

fn ask_wish(reference: Ref, body: ChatBody, idempotency_key: Option<String>) -> Result<Wish, Problem> {
    check_ref(&reference)?;
    let asked = body.parse()?;
    let idempotency_key = idempotency_key.map(|key| intake::idempotency_key(key.as_bytes())).transpose()?;
    Ok(Wish::Ask(Box::new(AskWish { reference, asked, idempotency_key })))
}

fn resume_wish(request: &str, after: Option<&str>, reference: Option<Ref>) -> Result<Wish, Problem> {
    let request = intake::id("request", request, RequestId::parse)?;
    let after = after.map(str::parse).transpose().map_err(|_| Problem::new(Code::BadPosition))?.unwrap_or_default();
    reference.as_deref().map(check_ref).transpose()?;
    Ok(Wish::Resume { request, after, reference })
}

fn check_ref(reference: &str) -> Result<(), Problem> {
    let why = format!("A ref holds 1 to {REF_BYTES_MAX} bytes.");
    if (1..=REF_BYTES_MAX).contains(&reference.len()) { Ok(()) } else { Err(Problem::because(Code::BadId, why)) }
}

/// A text that is no message at all; when it is JSON with a `ref`, the client learns which ask it was.
fn unreadable(text: &str, error: &serde_json::Error) -> Misunderstood {
    let code = if error.is_data() { Code::BadFrame } else { Code::BadJson };
    let reference = serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .and_then(|value| value.get("ref")?.as_str().map(str::to_owned))
        .and_then(short);
    Misunderstood { reference, problem: Problem::because(code, sentence(&error.to_string())) }
}

/// A ref that is worth sending back.
fn short(reference: Ref) -> Option<Ref> {
    check_ref(&reference).is_ok().then_some(reference)
}

/// A library's remark as a sentence of ours.
fn sentence(remark: &str) -> String {
    // It may quote what the client sent, line breaks and all.
    let mut chars = remark.chars().filter(|c| !c.is_control());
    let first = chars.next().map(|c| c.to_ascii_uppercase()).into_iter();
    first.chain(chars).take(200).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use talkfleet_shared::{chat::FrameBody, id::ConversationId};

    use super::*;

    #[track_caller]
    fn refused(message: serde_json::Value, code: Code, reference: Option<&str>) {
        let refused = parse(&message.to_string()).expect_err(&message.to_string());
        assert_eq!((refused.problem.code, refused.reference.as_deref()), (code, reference), "{message}");
    }

    #[test]
    fn an_ask_brings_everything_that_it_needs() {
        let message = json!({
            "type": "ask", "ref": "1", "text": " Where is my parcel? ", "conversation": "c1", "user": "ann",
            "metadata": {"page": "/orders"}, "deadline_ms": 5_000, "idempotency_key": "k-1",
        });
        let Ok(Wish::Ask(wish)) = parse(&message.to_string()) else { panic!("{message}") };
        let Asked { conversation, ask, budget } = wish.asked;
        assert_eq!((wish.reference.as_str(), ask.text.as_str()), ("1", "Where is my parcel?"));
        assert_eq!(conversation, Some(ConversationId::parse("c1").unwrap()));
        assert_eq!(ask.user, Some(UserId::parse("ann").unwrap()));
        assert_eq!(ask.metadata["page"], "/orders");
        assert_eq!(budget, Some(Duration::from_secs(5)));
        assert_eq!(wish.idempotency_key.as_deref(), Some("k-1"));
    }

    #[test]
    fn the_other_wishes_are_short() {
        let request = RequestId::parse("r1").unwrap();
        let wish = |text: &str| parse(text).unwrap();
        assert_eq!(wish(r#"{"type":"ping"}"#), Wish::Ping);
        assert_eq!(wish(r#"{"type":"auth","token":"tf_x"}"#), Wish::Auth { token: "tf_x".into() });
        assert_eq!(wish(r#"{"type":"cancel","request":"r1"}"#), Wish::Cancel { request: request.clone() });
        let after = Position { attempt: 1, seq: 3 };
        let resume = Wish::Resume { request: request.clone(), after, reference: Some("a".into()) };
        assert_eq!(wish(r#"{"type":"resume","request":"r1","after":"1.3","ref":"a"}"#), resume);
        let whole = Wish::Resume { request, after: Position::default(), reference: None };
        assert_eq!(wish(r#"{"type":"resume","request":"r1"}"#), whole);
    }

    #[test]
    fn what_is_no_wish_is_a_problem_that_names_its_ask() {
        refused(json!({"type": "ask", "ref": "1", "text": " "}), Code::BadText, Some("1"));
        refused(json!({"type": "ask", "ref": "1", "text": "x", "conversation": "a.b"}), Code::BadId, Some("1"));
        refused(json!({"type": "ask", "ref": "1", "text": "x", "user": ""}), Code::BadId, Some("1"));
        refused(
            json!({"type": "ask", "ref": "1", "text": "x", "idempotency_key": "a b"}),
            Code::BadIdempotencyKey,
            Some("1"),
        );
        refused(
            json!({"type": "ask", "ref": "1", "text": "x", "metadata": {"k": "v".repeat(300)}}),
            Code::BadMetadata,
            Some("1"),
        );
        refused(json!({"type": "ask", "ref": "1", "text": 7}), Code::BadFrame, Some("1"));
        refused(json!({"type": "ask", "ref": "1", "text": "x", "colour": "red"}), Code::BadFrame, Some("1"));
        refused(json!({"type": "ask", "text": "x"}), Code::BadFrame, None);
        refused(json!({"type": "ask", "ref": "r".repeat(65), "text": "x"}), Code::BadId, None);
        refused(json!({"type": "sing"}), Code::BadFrame, None);
        refused(json!({"type": "cancel", "request": "*"}), Code::BadId, None);
        refused(json!({"type": "resume", "request": "r1", "after": "x", "ref": "a"}), Code::BadPosition, Some("a"));
        refused(json!([]), Code::BadFrame, None);
        for text in ["", "{", "{\"type\":\"ping\"} x", "nul"] {
            assert_eq!(parse(text).unwrap_err().problem.code, Code::BadJson, "{text:?}");
        }
        assert!(parse(&"[".repeat(10_000)).is_err());
    }

    #[test]
    fn what_is_told_has_its_type_and_its_ref() {
        let frame = Frame { request: RequestId::parse("r1").unwrap(), attempt: 1, seq: 2, body: FrameBody::Restart };
        let told: serde_json::Value =
            serde_json::from_str(&Told::Frame { reference: Some("a".into()), frame }.json()).unwrap();
        let expected =
            json!({"type": "frame", "ref": "a", "request": "r1", "attempt": 1, "seq": 2, "body": {"type": "restart"}});
        assert_eq!(told, expected);
        assert_eq!(Told::Pong.json(), r#"{"type":"pong"}"#);
        let problem = Told::problem(None, Problem::new(Code::Draining)).json();
        assert!(problem.starts_with(r#"{"type":"problem","problem":{"code":"draining""#), "{problem}");
    }
}
