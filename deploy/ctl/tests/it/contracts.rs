//! What a live fleet says on its subjects is what the AsyncAPI document says that it says: subject, headers and body.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::StreamExt;
use serde_json::{Map, Value, json};
use talkfleet::schema;
use talkfleet_shared::{
    header,
    id::{RequestId, TenantId},
};

use crate::{
    harness::{Desk, until},
    queue::stranger,
};

/// The document as this build writes it.
struct Contract(Value);

/// What was heard: a message, and for an answer to a request the subject that was asked.
struct Heard {
    message: async_nats::Message,
    asked: Option<String>,
}

impl Contract {
    fn load() -> Self {
        let documents = schema::documents().unwrap();
        let text = &documents.iter().find(|document| document.path == "asyncapi.json").unwrap().text;
        Self(serde_json::from_str(text).unwrap())
    }

    /// The channel of a subject.
    fn channel(&self, subject: &str) -> Option<&str> {
        let fits = |address: &str| {
            let (address, subject): (Vec<_>, Vec<_>) = (address.split('.').collect(), subject.split('.').collect());
            address.len() == subject.len()
                && address.iter().zip(&subject).all(|(token, found)| token.starts_with('{') || token == found)
        };
        let channels = self.0["channels"].as_object().unwrap().iter();
        channels
            .filter(|(_, channel)| channel["address"].as_str().is_some_and(fits))
            .map(|(name, _)| name.as_str())
            .next()
    }

    /// What is listened to: all but where a gateway wants to hear that nobody is there, which a listener would hide.
    fn subjects(&self) -> Vec<String> {
        let channels = self.0["channels"].as_object().unwrap().iter().filter(|(name, _)| *name != "burst");
        let addresses = channels.filter_map(|(_, channel)| channel["address"].as_str());
        let wild = |token: &str| if token.starts_with('{') { "*".to_owned() } else { token.to_owned() };
        let subjects = addresses.filter(|address| address.starts_with("chat."));
        subjects.map(|address| address.split('.').map(wild).collect::<Vec<_>>().join(".")).collect()
    }

    /// The messages that may come on a channel, or as an answer to what was sent there.
    fn messages(&self, channel: &str, answers: bool) -> BTreeSet<String> {
        let named = |reference: &Value| reference["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        if !answers {
            return self.0["channels"][channel]["messages"].as_object().unwrap().keys().cloned().collect();
        }
        let of_channel = |operation: &&Value| named(&operation["channel"]) == channel;
        let operations = self.0["operations"].as_object().unwrap().values().filter(of_channel);
        operations
            .flat_map(|operation| operation["reply"]["messages"].as_array().into_iter().flatten().map(named))
            .collect()
    }

    fn breaches(&self, schema: &Value, value: &Value) -> Vec<String> {
        let whole = json!({ "allOf": [schema], "components": self.0["components"] });
        let validator = jsonschema::options().with_draft(jsonschema::Draft::Draft7).build(&whole).unwrap();
        validator.iter_errors(value).map(|error| format!("{} {error}", error.instance_path())).collect()
    }

    /// What of a message the document does not know; empty when one of the messages that it allows there is this one.
    fn judge(&self, heard: &Heard) -> Vec<String> {
        let subject = heard.asked.as_deref().unwrap_or(heard.message.subject.as_str());
        let Some(channel) = self.channel(subject) else { return vec![format!("{subject} is no channel")] };
        let headers = headers(&heard.message);
        let body = body(&heard.message, &headers);
        let mut all = Vec::new();
        for name in self.messages(channel, heard.asked.is_some()) {
            let message = &self.0["components"]["messages"][name.as_str()];
            let known = message["headers"]["properties"].as_object();
            let strange = headers.keys().filter(|header| known.is_none_or(|known| !known.contains_key(*header)));
            let mut breaches: Vec<String> = strange.map(|header| format!("header {header}")).collect();
            if message["headers"].is_object() {
                breaches.extend(self.breaches(&message["headers"], &Value::Object(headers.clone())));
            }
            breaches.extend(self.breaches(&message["payload"], &body));
            if breaches.is_empty() {
                return Vec::new();
            }
            all.extend(breaches.into_iter().map(|breach| format!("{subject} as {name}: {breach}")));
        }
        all
    }
}

fn headers(message: &async_nats::Message) -> Map<String, Value> {
    // What the broker itself says of a message that it copied is its own business.
    let headers = message.headers.iter().flat_map(|headers| headers.iter());
    let headers = headers.filter(|(name, _)| name.to_string() != "Nats-Stream-Source");
    headers.map(|(name, values)| (name.to_string(), values[0].as_str().into())).collect()
}

/// The body as JSON; an empty one as an empty text.
fn body(message: &async_nats::Message, headers: &Map<String, Value>) -> Value {
    let body = &message.payload;
    match headers.get(header::CONTENT_TYPE).and_then(Value::as_str) {
        _ if body.is_empty() => "".into(),
        Some("application/msgpack") => rmp_serde::from_slice(body).unwrap(),
        Some("application/json") => serde_json::from_slice(body).unwrap(),
        None => {
            let object = serde_json::from_slice(body).ok().filter(Value::is_object);
            object.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned().into())
        }
        Some(other) => panic!("a body of {other}"),
    }
}

/// Hears everything until the tap is closed.
struct Tap {
    all: tokio::task::JoinHandle<Vec<async_nats::Message>>,
    client: async_nats::Client,
}

impl Tap {
    async fn open(desk: &Desk, contract: &Contract) -> Self {
        let client = stranger(desk).await;
        let mut heard = Vec::new();
        for subject in contract.subjects().into_iter().chain(["_INBOX.>".to_owned()]) {
            heard.push(client.subscribe(subject).await.unwrap());
        }
        client.flush().await.unwrap();
        let all = tokio::spawn(futures::stream::select_all(heard).collect());
        Self { all, client }
    }

    async fn close(self) -> Vec<Heard> {
        self.client.drain().await.unwrap();
        let all = self.all.await.unwrap();
        let asked: HashMap<String, String> = all
            .iter()
            .filter(|message| message.subject.starts_with("chat.v1."))
            .filter_map(|message| {
                let reply = message.reply.as_ref().filter(|reply| reply.starts_with("_INBOX."))?;
                Some((reply.to_string(), message.subject.to_string()))
            })
            .collect();
        let heard = all.into_iter().filter_map(|message| {
            let asked = asked.get(message.subject.as_str()).cloned();
            // The broker's own acks answer publications into streams.
            let is_ours = asked.is_some() || message.subject.starts_with("chat.v1.");
            let is_ack = asked.is_some()
                && serde_json::from_slice::<Value>(&message.payload).is_ok_and(|ack| ack["stream"].is_string());
            (is_ours && !is_ack && message.status.is_none()).then_some(Heard { message, asked })
        });
        heard.collect()
    }
}

#[tokio::test]
async fn everything_on_the_bus_is_what_the_document_says() {
    let mut desk =
        Desk::open().roles(&["response", "archive"]).gateway_set("channels.sms.delivery", "journaled").start().await;
    desk.options.roles = vec!["intent".into(), "retrieval".into()];
    desk.fleet.add_worker(&desk.options).await.unwrap();
    desk.fleet.ready(crate::harness::PATIENCE).await.unwrap();
    let contract = Contract::load();
    let tap = Tap::open(&desk, &contract).await;

    let answer = desk.ask("How long does delivery take?").await;
    let id = answer["id"].as_str().unwrap().to_owned();
    let talk = answer["conversation"].as_str().unwrap().to_owned();
    desk.stream(0, &json!({ "text": "And express?", "conversation": talk, "metadata": { "page": "/a" } }))
        .await
        .rest()
        .await;
    desk.post("/v1/chat", &json!({ "text": "Can I return shoes?", "channel": "sms" })).await;
    assert_eq!(desk.post("/v1/feedback", &json!({ "id": id, "verdict": "down", "reason": "too short" })).await.0, 202);
    assert_eq!(desk.post(&format!("/v1/chat/{id}/cancel"), &json!({})).await.0, 202);
    // That one has ended, so nobody is told; of one that nobody has seen the workers hear.
    let young = RequestId::new();
    desk.bus.cancel(&TenantId::parse("demo").unwrap(), &young, None).await.unwrap();
    assert_eq!(desk.get(&format!("/v1/chat/{young}/stream?after=0")).await.0, 404);
    until("the archive has it", || async {
        let (status, history) = desk.get(&format!("/v1/conversations/{talk}")).await;
        (status == 200 && history["turns"].as_array().is_some_and(|turns| turns.len() == 2)).then_some(())
    })
    .await;
    let client = stranger(&desk).await;
    let reply = client.request("chat.v1.chat.demo", r#"{"text":"How do I track my order?"}"#.into()).await.unwrap();
    assert!(serde_json::from_slice::<Value>(&reply.payload).unwrap()["citations"].is_array());
    let jetstream = async_nats::jetstream::new(client.clone());
    let garbage = jetstream.publish("chat.v1.ask.0.demo.garbage", "{\"text\":7}".into()).await.unwrap();
    garbage.await.unwrap();
    until("a dead letter", || async {
        let mut letters = desk.bus.dead_letters(None).await.unwrap();
        letters.next().await.unwrap()
    })
    .await;

    let heard = tap.close().await;
    let mut breaches = BTreeSet::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for one in &heard {
        let is_garbage = one.message.subject.ends_with("ask.0.demo.garbage");
        if !is_garbage && !one.message.subject.starts_with("chat.v1.dead.") {
            breaches.extend(contract.judge(one));
        }
        let subject = one.asked.as_deref().unwrap_or(one.message.subject.as_str());
        let channel = contract.channel(subject).unwrap_or("?");
        *seen
            .entry(if one.asked.is_some() { format!("{channel} answered") } else { channel.to_owned() })
            .or_default() += 1;
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
    let kept = jetstream.get_stream("JOURNAL").await.unwrap();
    let kept = kept.get_last_raw_message_by_subject("chat.v1.journal.demo").await.unwrap();
    let message = async_nats::Message {
        subject: kept.subject,
        reply: None,
        payload: kept.payload,
        headers: Some(kept.headers),
        status: None,
        description: None,
        length: 0,
    };
    assert_eq!(
        contract.breaches(
            &contract.0["components"]["messages"]["turn_record"]["payload"],
            &body(&message, &headers(&message))
        ),
        [""; 0]
    );
    let expected = [
        "ask",
        "cancel",
        "changed",
        "chat",
        "chat answered",
        "dead",
        "direct",
        "feedback",
        "history",
        "history answered",
        "intent",
        "intent answered",
        "reply",
        "resume",
        "retrieve",
        "retrieve answered",
        "turn",
    ];
    let missing: Vec<_> = expected.iter().filter(|name| !seen.contains_key(**name)).collect();
    assert!(missing.is_empty(), "not heard: {missing:?} among {seen:?}");
}

/// The judge sees what is wrong: an unknown subject, a strange header, a body of another shape.
#[test]
fn a_breach_is_named() {
    let contract = Contract::load();
    let message = |subject: &str, name: &str, body: &str| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(name, "1");
        let (payload, length) = (body.to_owned().into(), body.len());
        let headers = Some(headers);
        let subject = subject.into();
        let message =
            async_nats::Message { subject, reply: None, payload, headers, status: None, description: None, length };
        Heard { message, asked: None }
    };
    let judged = |heard: Heard| contract.judge(&heard).join("\n");
    assert_eq!(judged(message("chat.v1.ask.0.demo.c", "Talkfleet-Schema", r#"{"text":"a"}"#)), "");
    assert!(judged(message("chat.v1.task.0.demo.c", "Talkfleet-Schema", "{}")).contains("no channel"));
    assert!(judged(message("chat.v1.ask.0.demo.c", "Talkfleet-Wish", r#"{"text":"a"}"#)).contains("Talkfleet-Wish"));
    assert!(judged(message("chat.v1.ask.0.demo.c", "Talkfleet-Schema", r#"{"text":7}"#)).contains("/text"));
}
