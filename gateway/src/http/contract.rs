//! The contract's own types within the OpenAPI document: their schemas are the very ones that `schemas/wire` is written from.

use std::borrow::Cow;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};
use talkfleet_shared::{chat, id::ID_CHARS_MAX};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        OpenApi, RefOr,
        schema::{Object, ObjectBuilder, Schema, Type},
    },
};

use crate::openai;

macro_rules! contract {
    ($($name:ident),*) => {
        $(
            /// Stands for the type of the same name in the contract.
            pub(super) struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    ObjectBuilder::new().into()
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    stringify!($name).into()
                }
            }
        )*

        fn every(generator: &mut SchemaGenerator) {
            $(generator.subschema_for::<chat::$name>();)*
            // What the events of a stream carry.
            generator.subschema_for::<chat::Frame>();
        }
    };
}

contract!(Answer, HistoryReply);

macro_rules! events {
    ($($(#[$about:meta])* $name:ident;)*) => {$(
        $(#[$about])*
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    )*};
}

events! {
    /// Stands for a frame as an event of a stream.
    FrameEvent;
    /// Stands for a chunk as an event of a stream.
    ChunkEvent;
}

/// An event of a stream: its data is a text, which is JSON but for OpenAI's `[DONE]`.
fn event(required: &[&str], data: Value) -> Value {
    let text = || json!({ "type": "string" });
    json!({ "type": "object", "required": required, "properties": { "id": text(), "event": text(), "data": data } })
}

/// What an identifier looks like, for those who check before they send; `id.rs` is what decides.
pub(crate) const ID_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}$";

/// Texts without control characters but tabs and line breaks, in which something is to be seen.
const TEXT_PATTERN: &str = "^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f]*\
    [^\\s\\u0000-\\u001f\\u007f-\\u009f\\u200b\\u200e\\u200f\\u202a-\\u202e\\u2060-\\u2064\\u2066-\\u2069\\ufeff]\
    [^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f]*$";

/// Texts without any control character.
const PLAIN_PATTERN: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";

macro_rules! texts {
    ($($(#[$about:meta])* $name:ident $pattern:expr;)*) => {$(
        $(#[$about])*
        pub(crate) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::String).pattern(Some($pattern)).into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

texts! {
    /// An identifier as a client writes it.
    Id ID_PATTERN;
    /// A key under which a message may be sent again.
    IdempotencyKey "^[!-~]{1,128}$";
}

/// The schema of an identifier.
pub(crate) fn id() -> Object {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(ID_PATTERN)).build()
}

/// The schema of thumbs.
pub(crate) fn verdict() -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["up", "down"])).build()
}

/// The schema of a customer's text.
pub(crate) fn text() -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(TEXT_PATTERN));
    text.min_length(Some(1)).max_length(Some(chat::TEXT_CHARS_MAX)).description(Some(TEXT_ABOUT)).build()
}

const TEXT_ABOUT: &str =
    "1 to 4,000 characters, something to be seen among them, none of them control but tabs and line breaks.";

/// The schemas of a metadata pair.
pub(crate) fn metadata_key() -> Value {
    json!({ "type": "string", "pattern": PLAIN_PATTERN, "minLength": 1, "maxLength": ID_CHARS_MAX })
}

pub(crate) fn metadata_value() -> Value {
    json!({ "type": "string", "pattern": PLAIN_PATTERN, "maxLength": chat::METADATA_VALUE_CHARS_MAX })
}

/// The document as it is served: what the routes say, with the contract's schemas in the places kept for them.
pub(super) fn document(api: &OpenApi) -> Value {
    let mut document = json!(api);
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    every(&mut generator);
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.extend(generator.take_definitions(true));
        schemas.insert("CompletionBody".into(), openai::body_schema());
        let frame = json!({
            "type": "string", "contentMediaType": "application/json", "contentSchema": { "$ref": "#/components/schemas/Frame" },
        });
        schemas.insert("FrameEvent".into(), event(&["id", "event", "data"], frame));
        schemas.insert("ChunkEvent".into(), event(&["data"], json!({ "type": "string" })));
    }
    document["components"]["schemas"]["ChatBody"]["properties"]["metadata"] = json!({
        "type": ["object", "null"], "maxProperties": chat::METADATA_PAIRS_MAX,
        "propertyNames": metadata_key(), "additionalProperties": metadata_value(),
        "description": "Up to 16 pairs, handed on to the records untouched.",
    });
    document["paths"]["/v1/chat"]["post"]["responses"]["200"]["links"] = follow_ups();
    document["components"]["securitySchemes"] =
        json!({ "key": { "type": "http", "scheme": "bearer", "description": "An API key, or a visitor's token" } });
    document
}

/// What can be done about a request, for clients and testers that follow links.
fn follow_ups() -> Value {
    const REQUEST: &str = "$response.header.talkfleet-request";
    let with = |operation: &str| json!({ "operationId": operation, "parameters": { "id": REQUEST } });
    json!({
        "stream": with("stream"),
        "cancel": with("cancel"),
        "feedback": { "operationId": "feedback", "requestBody": { "id": REQUEST, "verdict": "up" } },
    })
}
