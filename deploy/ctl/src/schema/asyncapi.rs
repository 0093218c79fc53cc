//! NATS and WebSocket as an AsyncAPI 3.1 document: every subject, header, message and stream, taken from the contract itself.

use anyhow::{Context, Result};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use talkfleet_shared::{
    envelope::Format,
    topology::{self, Scale},
};

use super::{
    channels::{Channel, OPERATIONS, Operation, channels, inbox, template},
    headers, pretty, socket,
    wire::Message,
};

/// The document; `api` is the gateway's OpenAPI document, whose message is also that of plain NATS tools.
pub(super) fn document(messages: &[Message], api: &Value) -> Result<String> {
    let channels = channels()?;
    let mut generator = SchemaSettings::draft07()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let message_map = message_map(messages, &mut generator);
    let mut schemas = generator.take_definitions(true);
    let body = api.pointer("/components/schemas/ChatBody").context("the OpenAPI document has no ChatBody")?;
    schemas.insert("ChatBody".into(), body.clone());
    let document = json!({
        "asyncapi": "3.1.0",
        "info": {
            "title": "Talkfleet over NATS and WebSocket",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0" },
            "description": "What travels between gateways, workers and programs of others. Identifiers are 1 to 64 letters, \
                            digits, '_' or '-'. Bodies are MessagePack maps; JSON is read, and answered in kind. Shapes only \
                            grow: ignore what you do not know. A break would be a new version token in the subject.",
        },
        "defaultContentType": Format::MessagePack.content_type(),
        "servers": {
            "nats": { "host": "127.0.0.1:4222", "protocol": "nats", "description": "JetStream is needed." },
            "gateway": { "host": "127.0.0.1:8080", "protocol": "ws" },
        },
        "channels": channel_map(&channels, &inbox()?),
        "operations": operation_map(OPERATIONS),
        "components": { "messages": message_map, "schemas": schemas },
    });
    pretty(&document)
}

fn channel_map(channels: &[Channel], inbox: &str) -> Value {
    let mut map: Map<String, Value> =
        channels.iter().map(|channel| (channel.name.to_owned(), channel_value(channel))).collect();
    let replies = OPERATIONS.iter().flat_map(|operation| operation.replies);
    map.insert(
        "inbox".into(),
        json!({
            "address": null,
            "servers": [{ "$ref": "#/servers/nats" }],
            "description": format!("The reply subject that a request itself brings along, below `{inbox}` of the broker's user who asks."),
            "messages": replies.map(|name| ((*name).to_owned(), message_ref(name))).collect::<Map<_, _>>(),
        }),
    );
    map.insert(
        "socket".into(),
        json!({
            "address": socket::PATH,
            "description": "Many asks over one connection, for browsers and apps.",
            "servers": [{ "$ref": "#/servers/gateway" }],
            "messages": socket::messages().map(|(name, _)| (name.to_owned(), message_ref(name))).into_iter().collect::<Map<_, _>>(),
            "bindings": { "ws": { "method": "GET", "bindingVersion": "0.1.0" } },
        }),
    );
    map.into()
}

fn channel_value(channel: &Channel) -> Value {
    let parameters: Map<String, Value> = channel
        .address
        .split('.')
        .filter_map(|token| token.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| (name.to_owned(), json!({ "description": parameter(name) })))
        .collect();
    let messages: Map<String, Value> =
        channel.messages.iter().map(|name| ((*name).to_owned(), message_ref(name))).collect();
    let mut value = json!({
        "address": channel.address,
        "servers": [{ "$ref": "#/servers/nats" }],
        "description": channel.what,
        "messages": messages,
        "parameters": parameters,
    });
    if !channel.read_as.is_empty() {
        value["x-read-as"] = channel.read_as.iter().map(|subject| template(subject)).collect();
    }
    if let Some(stream) = channel.stream.and_then(stream_value) {
        value["x-jetstream"] = stream;
    }
    value
}

/// A stream as the topology describes it, in what a reader of its subjects needs to know.
fn stream_value(name: &str) -> Option<Value> {
    let stream = topology::streams(Scale::default()).into_iter().find(|stream| stream.name == name)?;
    let consumers: Vec<Value> = topology::consumers(Scale::default())
        .into_iter()
        .filter(|(of, _)| *of == name)
        .map(|(_, consumer)| json!({ "name": consumer.durable_name, "max_deliver": consumer.max_deliver }))
        .collect();
    Some(json!({
        "stream": name,
        "description": stream.description,
        "retention": stream.retention,
        "max_age_s": stream.max_age.as_secs(),
        "max_msgs_per_subject": stream.max_messages_per_subject,
        "consumers": consumers,
    }))
}

fn parameter(name: &str) -> &'static str {
    match name {
        "shard" => "FNV-1a of the conversation's id, modulo the number of shards.",
        "tenant" => "The company whose desk it is.",
        "conversation" => "Unique within its tenant.",
        "gateway" => "One run of a gateway.",
        _ => "The request's id.",
    }
}

fn operation_map(operations: &[Operation]) -> Map<String, Value> {
    let value = |operation: &Operation| {
        let mut value = json!({
            "action": operation.action,
            "channel": { "$ref": format!("#/channels/{}", operation.channel) },
            "description": operation.what,
            "tags": [{ "name": operation.who }],
        });
        let spoken = match operation.name {
            "hearSocket" => Some("socket_wish"),
            "tellSocket" => Some("socket_told"),
            _ => None,
        };
        if let Some(name) = spoken {
            value["messages"] = json!([{ "$ref": format!("#/channels/socket/messages/{name}") }]);
        }
        if let Some(queue) = operation.queue {
            value["bindings"] = json!({ "nats": { "queue": queue, "bindingVersion": "0.1.0" } });
        }
        if !operation.replies.is_empty() {
            let reference = |name: &&str| json!({ "$ref": format!("#/channels/inbox/messages/{name}") });
            let messages: Vec<Value> = operation.replies.iter().map(reference).collect();
            value["reply"] = json!({ "channel": { "$ref": "#/channels/inbox" }, "messages": messages });
        }
        value
    };
    operations.iter().map(|operation| (operation.name.to_owned(), value(operation))).collect()
}

fn message_ref(name: &str) -> Value {
    json!({ "$ref": format!("#/components/messages/{name}") })
}

fn message_map(messages: &[Message], generator: &mut SchemaGenerator) -> Map<String, Value> {
    let mut map = Map::new();
    for message in messages {
        let headers = match message.name {
            "ask" => headers::ASK,
            "turn_record" => headers::RECORD,
            "problem" => headers::PROBLEM,
            "intent_request" | "retrieve_request" | "history_request" => headers::CALL,
            _ => headers::BODY,
        };
        let examples: Vec<Value> =
            message.cases.iter().map(|case| json!({ "name": case.name, "payload": case.value })).collect();
        map.insert(
            message.name.into(),
            json!({
                "name": message.type_name(),
                "summary": message.schema.get("description"),
                "headers": headers::schema(headers),
                "payload": (message.refer)(generator),
                "examples": examples,
            }),
        );
    }
    let plain = |name: &str, summary: &str, headers: &[&'static str], payload: Value| json!({ "name": name, "summary": summary, "headers": headers::schema(headers), "payload": payload });
    let text = |description: &str| json!({ "type": "string", "description": description });
    map.insert("cancel".into(), plain("Cancel", "A wish to stop", headers::CANCEL, text("Empty.")));
    let position = text("The last frame seen, `attempt.seq`; `0.0` for all of them.");
    map.insert("resume".into(), plain("Resume", "A wish to resume", headers::RESUME, position));
    map.insert("listening".into(), plain("Listening", "The question, and its answer yes", &[], text("Empty.")));
    let ask = json!({ "$ref": "#/components/schemas/Ask" });
    map.insert(
        "direct_ask".into(),
        plain("DirectAsk", "A message that goes past the queue", headers::DIRECT_ASK, ask.clone()),
    );
    map.insert(
        "handed_over".into(),
        plain("HandedOver", "A message for another gateway's burst", headers::HANDED_OVER, ask),
    );
    let dead = text("The body as it was, whatever it was.");
    map.insert("dead_letter".into(), plain("DeadLetter", "A message that was set aside", headers::DEAD, dead));
    map.extend(socket::messages().map(|(name, message)| (name.to_owned(), message)));
    let chat = json!({ "$ref": "#/components/schemas/ChatBody" });
    map.insert("chat".into(), plain("Chat", "A message of a plain NATS tool", headers::CHAT, chat));
    map
}
