//! What a body of `POST /v1/chat/completions` may hold: only what the desk looks at is named, the rest is ignored.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema},
    },
};

use super::MODEL;

/// Stands for the body where the routes are documented; [`body`] is its schema.
pub(crate) struct CompletionBody;

impl PartialSchema for CompletionBody {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().into()
    }
}

impl ToSchema for CompletionBody {
    fn name() -> Cow<'static, str> {
        "CompletionBody".into()
    }
}

/// Null counts as absent everywhere.
pub(crate) fn body() -> Value {
    let number = |from: f64, to: f64| json!({ "type": ["number", "null"], "minimum": from, "maximum": to });
    let positive = || json!({ "type": ["integer", "null"], "minimum": 1 });
    let list = || json!({ "type": ["array", "null"] });
    let choice = || json!({ "enum": ["auto", "none", null] });
    json!({
        "type": "object",
        "description": "OpenAI's request; fields that are not named here are accepted and ignored.",
        "required": ["model", "messages"],
        "properties": {
            "model": { "const": MODEL },
            "messages": {
                "type": "array", "minItems": 1, "items": message(),
                "description": "The last one is the customer's question, with role `user`; those before it are the history.",
            },
            "stream": { "type": ["boolean", "null"] },
            "stream_options": { "type": ["object", "null"], "properties": { "include_usage": { "type": ["boolean", "null"] } } },
            "user": { "type": ["string", "null"], "description": "Which customer asks; what is no identifier is digested." },
            "conversation": { "type": ["string", "null"], "pattern": crate::http::ID_PATTERN, "description": "Ours: the conversation that it belongs to." },
            "metadata": {
                "type": ["object", "null"], "maxProperties": 16,
                "propertyNames": crate::http::metadata_key(),
                "additionalProperties": crate::http::metadata_value(),
                "properties": { "conversation": { "type": "string", "pattern": crate::http::ID_PATTERN } },
            },
            "deadline_ms": { "type": ["integer", "null"], "minimum": 500, "maximum": 120_000, "description": "Ours: how long the answer may take; the bounds are the server's." },
            "n": { "enum": [1, null] },
            "tool_choice": choice(), "function_call": choice(),
            "response_format": { "type": ["object", "null"], "properties": { "type": { "const": "text" } } },
            "logprobs": { "enum": [false, null] },
            "modalities": { "type": ["array", "null"], "items": { "const": "text" } },
            "temperature": number(0.0, 2.0), "top_p": number(0.0, 1.0),
            "presence_penalty": number(-2.0, 2.0), "frequency_penalty": number(-2.0, 2.0),
            "max_tokens": positive(), "max_completion_tokens": positive(),
            "tools": list(), "functions": list(),
        },
    })
}

fn message() -> Value {
    let part = json!({
        "oneOf": [
            { "type": "object", "required": ["type", "text"], "properties": { "type": { "enum": ["text", "input_text", "output_text"] }, "text": { "type": "string" } } },
            { "type": "object", "required": ["type"], "properties": { "type": { "const": "refusal" } } },
        ],
    });
    let content = json!({ "oneOf": [{ "type": "string" }, { "type": "array", "items": part }] });
    json!({
        "oneOf": [
            { "type": "object", "required": ["role", "content"], "properties": { "role": { "const": "user" }, "content": content } },
            { "type": "object", "required": ["role"], "properties": { "role": { "enum": ["system", "developer", "assistant", "tool", "function"] }, "content": { "oneOf": [content, { "type": "null" }] } } },
        ],
    })
}
