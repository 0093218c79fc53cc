//! The WebSocket of the gateway, for the AsyncAPI document: what a client says, and what it is told.

use serde_json::{Map, Value, json};

/// Where it is opened.
pub(super) const PATH: &str = "/v1/ws";

/// What a client says: the word, then its fields; `?` marks those that may be left out.
const WISHES: &[(&str, &[&str], &str)] = &[
    ("auth", &["token"], "First, unless the upgrade carried a token: an API key or a visitor's token."),
    (
        "ask",
        &["ref", "text", "conversation?", "user?", "channel?", "metadata?", "deadline_ms?", "idempotency_key?"],
        "A message, under the client's own name for it.",
    ),
    ("cancel", &["request"], "Stop the answer."),
    ("resume", &["request", "after?", "ref?"], "The frames after the last one seen, `attempt.seq`."),
    ("ping", &[], "Is anybody there?"),
];

/// What a client is told.
const TOLD: &[(&str, &[&str], &str)] = &[
    ("ready", &["user?", "asks_max", "message_bytes_max", "ping_ms"], "Asks are taken from here on."),
    ("frame", &["ref?", "request", "attempt", "seq", "body"], "A frame of an answer."),
    ("problem", &["ref?", "request?", "problem"], "What stood in the way."),
    ("pong", &[], "Somebody is."),
];

/// The messages of the socket by name.
pub(super) fn messages() -> [(&'static str, Value); 2] {
    let message = |name: &str, summary: &str, words: &[(&str, &[&str], &str)]| {
        let payload: Vec<Value> = words.iter().map(|(word, fields, what)| shape(word, fields, what)).collect();
        json!({ "name": name, "summary": summary, "contentType": "application/json", "payload": { "oneOf": payload } })
    };
    [
        ("socket_wish", message("SocketWish", "What a client says over its socket", WISHES)),
        ("socket_told", message("SocketTold", "What a client is told over its socket", TOLD)),
    ]
}

fn shape(word: &str, fields: &[&str], what: &str) -> Value {
    let name = |field: &&str| field.trim_end_matches('?').to_owned();
    let mut properties: Map<String, Value> = fields.iter().map(|field| (name(field), property(&name(field)))).collect();
    properties.insert("type".into(), json!({ "const": word }));
    let needed = fields.iter().filter(|field| !field.ends_with('?')).map(name);
    let required: Vec<String> = std::iter::once("type".to_owned()).chain(needed).collect();
    json!({ "type": "object", "description": what, "properties": properties, "required": required })
}

fn property(field: &str) -> Value {
    let of = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    match field {
        "body" => of("FrameBody"),
        "problem" => of("Problem"),
        "request" => of("RequestId"),
        "text" => of("MessageText"),
        "conversation" => of("ConversationId"),
        "user" => of("UserId"),
        "channel" => of("ChannelId"),
        "metadata" => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        "attempt" | "seq" | "asks_max" | "message_bytes_max" | "ping_ms" | "deadline_ms" => {
            json!({ "type": "integer", "minimum": 0 })
        }
        "ref" => json!({ "type": "string", "maxLength": 64 }),
        _ => json!({ "type": "string" }),
    }
}
