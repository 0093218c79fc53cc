//! The NATS side as an AsyncAPI 3.0 document: every subject, header, message and stream, taken from the contract itself.

use anyhow::Result;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use talkfleet_shared::{
    envelope::Format,
    id::{ConversationId, GatewayId, RequestId, TenantId},
    subject,
    topology::{self, Scale},
};

use super::{headers, pretty, wire::Message};

/// Stands for any shard while an address is built.
const SHARD: u32 = u32::MAX;

/// A subject, what travels on it, and where it is kept.
struct Channel {
    name: &'static str,
    address: String,
    what: &'static str,
    messages: &'static [&'static str],
    /// Wildcards under which it is read.
    read_as: Vec<String>,
    stream: Option<&'static str>,
}

/// Who does what on a channel.
struct Operation {
    name: &'static str,
    action: &'static str,
    channel: &'static str,
    /// Which part of the fleet does it.
    who: &'static str,
    queue: Option<&'static str>,
    what: &'static str,
    /// Messages that come back on the request's own reply subject.
    replies: &'static [&'static str],
}

/// The document.
pub(super) fn document(messages: &[Message]) -> Result<String> {
    let channels = channels()?;
    let mut generator = SchemaSettings::draft07()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Talkfleet on NATS",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0" },
            "description": "What travels between gateways, workers and programs of others. Identifiers are 1 to 64 letters, \
                            digits, '_' or '-'. Bodies are MessagePack maps; JSON is read, and answered in kind. Shapes only \
                            grow: ignore what you do not know. A break would be a new version token in the subject.",
        },
        "defaultContentType": Format::MessagePack.content_type(),
        "servers": { "local": { "host": "127.0.0.1:4222", "protocol": "nats", "description": "JetStream is needed." } },
        "channels": channel_map(&channels),
        "operations": operation_map(OPERATIONS),
        "components": { "messages": message_map(messages, &mut generator), "schemas": generator.take_definitions(true) },
    });
    pretty(&document)
}

#[rustfmt::skip]
fn channels() -> Result<Vec<Channel>> {
    let (tenant, conversation) = (TenantId::parse("TENANT")?, ConversationId::parse("CONVERSATION")?);
    let (gateway, request) = (GatewayId::parse("GATEWAY")?, RequestId::parse("REQUEST")?);
    let channel = |name, subject: String, what, messages| {
        Channel { name, address: template(&subject), what, messages, read_as: Vec::new(), stream: None }
    };
    Ok(vec![
        Channel {
            read_as: vec![subject::asks_of_shard(SHARD)], stream: Some(topology::ASK),
            ..channel("ask", subject::ask(SHARD, &tenant, &conversation), "Messages of customers; the broker lets in one per conversation at a time.", &["ask"])
        },
        Channel {
            read_as: vec![subject::replies(&gateway)],
            ..channel("reply", subject::reply(&gateway, &request), "Frames of an answer while it is made.", &["frame"])
        },
        Channel {
            read_as: vec![subject::every_tenant("intent")],
            ..channel("intent", subject::intent(&tenant), "What does the customer want?", &["intent_request"])
        },
        Channel {
            read_as: vec![subject::every_tenant("retrieve")],
            ..channel("retrieve", subject::retrieve(&tenant), "What does the company know about it?", &["retrieve_request"])
        },
        Channel {
            read_as: vec![subject::every_tenant("history")],
            ..channel("history", subject::history(&tenant), "What was said in a conversation?", &["history_request"])
        },
        Channel {
            read_as: vec![subject::every_tenant("chat")],
            ..channel("chat", subject::chat(&tenant), "For plain NATS tools: `nats request chat.v1.chat.demo '{\"text\":\"Where is my parcel?\"}'`.", &["chat"])
        },
        Channel {
            read_as: vec![subject::turn_of_request(&tenant, &request), subject::turns_of_conversation(&tenant, &conversation), subject::every_turn()],
            stream: Some(topology::TURNS),
            ..channel("turn", subject::turn(&tenant, &conversation, &request), "One record per ended turn; the first writer wins.", &["turn_record"])
        },
        Channel {
            stream: Some(topology::JOURNAL),
            ..channel("journal", subject::journal_of(tenant.as_str()), "The records' long memory, copied by the broker itself; for archive and replay.", &["turn_record"])
        },
        Channel {
            read_as: vec![subject::every_tenant("feedback")], stream: Some(topology::JOURNAL),
            ..channel("feedback", subject::feedback(&tenant), "What customers thought of answers.", &["feedback"])
        },
        Channel {
            read_as: vec![subject::every_cancel()], stream: Some(topology::CANCELS),
            ..channel("cancel", subject::cancel(&tenant, &request), "A wish to stop.", &["cancel"])
        },
        Channel {
            read_as: vec![subject::every_resume()],
            ..channel("resume", subject::resume(&tenant, &request), "A wish for the frames of a running turn, those so far and those to come.", &["resume"])
        },
        Channel {
            read_as: vec![subject::every_tenant("dead")], stream: Some(topology::DEAD),
            ..channel("dead", subject::dead(Some(&tenant)), "What could not be processed; the tenant is `_` when it is not known.", &["dead_letter"])
        },
    ])
}

#[rustfmt::skip]
const OPERATIONS: &[Operation] = &[
    Operation { name: "publishAsk", action: "send", channel: "ask", who: "gateway", queue: None, replies: &[], what: "Only the broker's PubAck means 'accepted'. Frames come to the subject in Talkfleet-Reply-To." },
    Operation { name: "takeAsk", action: "receive", channel: "ask", who: "response", queue: None, replies: &[], what: "By the durable consumer `response`; the taker owns the turn until it is settled." },
    Operation { name: "sendFrames", action: "send", channel: "reply", who: "response", queue: None, replies: &[], what: "Numbered without gaps within an attempt; exactly one last frame." },
    Operation { name: "receiveFrames", action: "receive", channel: "reply", who: "gateway", queue: None, replies: &[], what: "A higher attempt voids all of an earlier one; nothing follows a last frame." },
    Operation { name: "callIntent", action: "send", channel: "intent", who: "response", queue: None, replies: &["intent_reply", "problem"], what: "Idempotent; without an answer in time the turn degrades." },
    Operation { name: "answerIntent", action: "receive", channel: "intent", who: "intent", queue: Some("intent"), replies: &["intent_reply", "problem"], what: "A worker in any language may take this role." },
    Operation { name: "callRetrieve", action: "send", channel: "retrieve", who: "response", queue: None, replies: &["retrieve_reply", "problem"], what: "Idempotent; without an answer in time the turn degrades." },
    Operation { name: "answerRetrieve", action: "receive", channel: "retrieve", who: "retrieve", queue: Some("retrieve"), replies: &["retrieve_reply", "problem"], what: "A worker in any language may take this role; deploy/workers/python is one." },
    Operation { name: "callHistory", action: "send", channel: "history", who: "gateway", queue: None, replies: &["history_reply", "problem"], what: "Oldest first; empty when there is no such conversation." },
    Operation { name: "answerHistory", action: "receive", channel: "history", who: "archive", queue: Some("history"), replies: &["history_reply", "problem"], what: "From the archive's database." },
    Operation { name: "answerChat", action: "receive", channel: "chat", who: "ingress", queue: Some("chat"), replies: &["answer", "frame", "problem"], what: "Hands the message to the queue like a gateway and answers in the format of the question." },
    Operation { name: "writeTurn", action: "send", channel: "turn", who: "response", queue: None, replies: &[], what: "Refused (error 10071) when a record exists: read that one and tell it again." },
    Operation { name: "readTurn", action: "receive", channel: "turn", who: "gateway", queue: None, replies: &[], what: "By direct get, to resume or to fetch an outcome." },
    Operation { name: "readJournal", action: "receive", channel: "journal", who: "archive", queue: None, replies: &[], what: "By the durable consumer `archive`." },
    Operation { name: "sendFeedback", action: "send", channel: "feedback", who: "gateway", queue: None, replies: &[], what: "Waits for the broker's PubAck." },
    Operation { name: "readFeedback", action: "receive", channel: "feedback", who: "archive", queue: None, replies: &[], what: "By the durable consumer `archive`." },
    Operation { name: "sendCancel", action: "send", channel: "cancel", who: "gateway", queue: None, replies: &[], what: "Kept ten minutes for a worker that takes the ask up later." },
    Operation { name: "hearCancel", action: "receive", channel: "cancel", who: "response", queue: None, replies: &[], what: "Every worker hears it; the owner of the turn acts." },
    Operation { name: "sendResume", action: "send", channel: "resume", who: "gateway", queue: None, replies: &[], what: "When the record does not exist yet." },
    Operation { name: "hearResume", action: "receive", channel: "resume", who: "response", queue: None, replies: &[], what: "Every worker hears it; the owner of the turn sends the frames to Talkfleet-Reply-To." },
    Operation { name: "setAside", action: "send", channel: "dead", who: "response", queue: None, replies: &[], what: "The message as it was, with the reason." },
    Operation { name: "readDeadLetters", action: "receive", channel: "dead", who: "operator", queue: None, replies: &[], what: "To look at them and to send them again." },
];

/// `chat.v1.turn.TENANT.…` as an address: `chat.v1.turn.{tenant}.…`.
fn template(subject: &str) -> String {
    let token = |token: &str| match token {
        _ if token == SHARD.to_string() => "{shard}".to_owned(),
        _ if token.bytes().all(|byte| byte.is_ascii_uppercase()) => format!("{{{}}}", token.to_ascii_lowercase()),
        _ => token.to_owned(),
    };
    subject.split('.').map(token).collect::<Vec<_>>().join(".")
}

fn channel_map(channels: &[Channel]) -> Value {
    let mut map: Map<String, Value> = channels.iter().map(|channel| (channel.name.to_owned(), channel_value(channel))).collect();
    let replies = OPERATIONS.iter().flat_map(|operation| operation.replies);
    map.insert(
        "inbox".into(),
        json!({
            "address": null,
            "description": "The reply subject that a request itself brings along.",
            "messages": replies.map(|name| ((*name).to_owned(), message_ref(name))).collect::<Map<_, _>>(),
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
    let plain = |name: &str, summary: &str, headers: &[&'static str], payload: Value| {
        json!({ "name": name, "summary": summary, "headers": headers::schema(headers), "payload": payload })
    };
    let text = |description: &str| json!({ "type": "string", "description": description });
    map.insert("cancel".into(), plain("Cancel", "A wish to stop", headers::CANCEL, text("Empty.")));
    let position = text("The last frame seen, `attempt.seq`; `0.0` for all of them.");
    map.insert("resume".into(), plain("Resume", "A wish to resume", headers::RESUME, position));
    let dead = text("The body as it was, whatever it was.");
    map.insert("dead_letter".into(), plain("DeadLetter", "A message that was set aside", headers::DEAD, dead));
    let ask = map.get("ask").map_or(Value::Null, |ask| ask["payload"].clone());
    map.insert("chat".into(), plain("Chat", "A message of a plain NATS tool", headers::CHAT, ask));
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_parameters() {
        assert_eq!(template(&format!("chat.v1.ask.{SHARD}.TENANT.*")), "chat.v1.ask.{shard}.{tenant}.*");
    }

    #[test]
    fn every_operation_has_its_channel_and_every_channel_an_operation() {
        let names: Vec<_> = channels().unwrap().iter().map(|channel| channel.name).collect();
        for operation in OPERATIONS {
            assert!(names.contains(&operation.channel), "{}", operation.name);
        }
        for name in names {
            assert!(OPERATIONS.iter().any(|operation| operation.channel == name), "{name}");
        }
    }
}
