//! The headers of every message, for the AsyncAPI document: what each holds, and which message carries it.

use serde_json::{Map, Value, json};
use talkfleet_shared::{envelope, header};

/// On every message with a body.
pub(super) const BODY: &[&str] = &[header::CONTENT_TYPE, header::SCHEMA];

/// On an ask.
pub(super) const ASK: &[&str] = &[
    header::MESSAGE_ID,
    header::REQUEST,
    header::REPLY_TO,
    header::BUDGET_MS,
    header::TTL,
    header::TRACEPARENT,
    header::CONTENT_TYPE,
    header::SCHEMA,
    header::STREAM,
    header::OPENING,
    header::REDRIVE_OF,
    header::EXPECTED_LAST_SUBJECT_SEQUENCE,
    header::EXPECTED_LAST_SUBJECT_SEQUENCE_OF,
];

/// On an ask that goes past the queue.
pub(super) const DIRECT_ASK: &[&str] = &[
    header::REQUEST,
    header::REPLY_TO,
    header::CONVERSATION,
    header::DELIVERY,
    header::BUDGET_MS,
    header::TRACEPARENT,
    header::CONTENT_TYPE,
    header::SCHEMA,
    header::STREAM,
    header::OPENING,
];

/// On a turn record.
pub(super) const RECORD: &[&str] = &[header::EXPECTED_LAST_SUBJECT_SEQUENCE, header::CONTENT_TYPE, header::SCHEMA];

/// On a message that is handed over to a burst.
pub(super) const HANDED_OVER: &[&str] = &[header::BUDGET_MS, header::CONTENT_TYPE, header::SCHEMA];

/// On a question to a role.
pub(super) const CALL: &[&str] = &[header::BUDGET_MS, header::TRACEPARENT, header::CONTENT_TYPE, header::SCHEMA];

/// On a message of a plain NATS tool.
pub(super) const CHAT: &[&str] = &[header::CONTENT_TYPE, header::STREAM, header::PRIORITY];

/// On a problem that a service answers with.
pub(super) const PROBLEM: &[&str] =
    &[header::PROBLEM, SERVICE_ERROR, SERVICE_ERROR_CODE, header::CONTENT_TYPE, header::SCHEMA];

/// On a wish to stop.
pub(super) const CANCEL: &[&str] = &[header::USER];

/// On a wish to resume.
pub(super) const RESUME: &[&str] = &[header::USER, header::REPLY_TO];

/// On a dead letter, beside those of the message that it was.
pub(super) const DEAD: &[&str] = &[
    header::REASON,
    header::ORIGIN,
    header::ATTEMPT,
    header::FINGERPRINT,
    header::CHAIN,
    header::HISTORY,
    header::WORKER,
    header::CONTENT_TYPE,
];

// The NATS services protocol's own (ADR-32).
const SERVICE_ERROR: &str = "Nats-Service-Error";
const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";

/// The schema of a message's headers.
pub(super) fn schema(names: &[&'static str]) -> Value {
    let properties: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), property(name))).collect();
    json!({ "type": "object", "properties": properties })
}

fn property(name: &str) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let digits = |description: &str| json!({ "type": "string", "pattern": "^[0-9]+$", "description": description });
    match name {
        header::MESSAGE_ID => text("The request's id; a second publish under it within 60 s is stored once."),
        header::EXPECTED_LAST_SUBJECT_SEQUENCE => json!({
            "const": "0",
            "description": "Of a record: the first writer wins. Of an ask: its conversation has no open message.",
        }),
        header::EXPECTED_LAST_SUBJECT_SEQUENCE_OF => text(
            "`chat.v1.*.<shard>.<tenant>.<conversation>`: the conversation's asks, whichever release is to answer them.",
        ),
        header::TTL => text("When the broker drops the message: the budget and a grace, such as `90s`."),
        header::CONTENT_TYPE => json!({
            "type": "string",
            "enum": ["application/msgpack", "application/json"],
            "description": "How the body is written; without it, a body that begins with `{` is JSON.",
        }),
        header::TRACEPARENT => text("W3C trace context."),
        header::REQUEST => text("The request's id; equals Nats-Msg-Id."),
        header::REPLY_TO => {
            text("Where the frames go; honoured only in the shape `chat.v1.reply.<gateway>.<request>`.")
        }
        header::BUDGET_MS => digits(
            "Milliseconds: of an ask, how long the turn may take from when the broker stored it, or what is left of that; \
             of a question to a role, how long its caller waits.",
        ),
        header::SCHEMA => digits(&format!("The version of the body's shape, now {}.", envelope::SCHEMA_VERSION)),
        header::USER => text("On whose behalf: only their own requests are found."),
        header::STREAM => json!({
            "enum": ["frames", "last"],
            "description": "To the desk, `frames`: every frame instead of the final answer alone. On an ask, `last`: whoever \
                            waits wants the last frame alone; the others are sent only when that takes long.",
        }),
        header::CONVERSATION => text("The conversation, which elsewhere stands in the subject."),
        header::DELIVERY => json!({ "enum": ["journaled", "fast"], "description": "What is promised of the message." }),
        header::OPENING => text("It begins its conversation, so that there is nothing to remember."),
        header::PRIORITY => {
            json!({ "const": "batch", "description": "Nobody waits for it: it comes after the others." })
        }
        header::REASON => text("Why it was set aside."),
        header::ORIGIN => text("The subject that it was taken from."),
        header::ATTEMPT => digits("How often it had been delivered."),
        header::FINGERPRINT => json!({
            "type": "string",
            "pattern": "^[0-9a-f]{16}$",
            "description": "The same for every message of one cause, whatever was in it.",
        }),
        header::CHAIN => {
            text("The errors that led there, outermost first, as a JSON array of strings; they quote nobody.")
        }
        header::HISTORY => text(
            "A JSON object: `stored_at_ms`, and in `attempts` the deliveries that the worker saw itself, each with \
             `attempt`, `delivered_at_ms`, `ended` and `worker`.",
        ),
        header::WORKER => text("Who set it aside: `<program>/<version>/<id of the run>`."),
        header::REDRIVE_OF => digits("The dead letter that it is asked again for."),
        header::PROBLEM => text("The code of the problem in the body; see errors.md."),
        SERVICE_ERROR => text("The problem's sentence, as the NATS services protocol wants it."),
        SERVICE_ERROR_CODE => digits("The problem's HTTP status, as the NATS services protocol wants it."),
        _ => json!({ "type": "string" }),
    }
}
