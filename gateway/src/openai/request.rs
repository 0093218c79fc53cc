//! PURE: a body of `POST /v1/chat/completions` becomes an ask; what it may hold is checked, what the desk does not use is ignored.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use talkfleet_shared::{
    chat::{Exchange, HISTORY_TURNS_MAX, Problem, TEXT_CHARS_MAX},
    error::Code,
    hex::hex,
    id::{ConversationId, UserId},
};

use super::{MODEL, refusal::Refusal};
use crate::intake::{self, Asked, ChatBody, Metadata};

/// Messages of this face can be told from those of the others.
const CHANNEL: &str = "openai";

/// What a client wants of the desk, beside the ask itself.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) asked: Asked,
    pub(super) stream: bool,
    /// A last chunk with nothing but the usage.
    pub(super) include_usage: bool,
}

/// Parses a body. Unknown fields are ignored, since every client sends some; known ones of the wrong type are refused.
pub(super) fn parse(body: Value) -> Result<Wanted, Refusal> {
    let Value::Object(body) = body else {
        return Err(Refusal::invalid(Code::BadJson, None, "The body must be a JSON object."));
    };
    let fields = Fields(&body);
    check_model(&fields)?;
    check_unsupported(&fields)?;
    check_ignored(&fields)?;
    let options = fields.object("stream_options")?.map(Fields);
    Ok(Wanted {
        asked: read_asked(&fields)?,
        stream: fields.boolean("stream")?.unwrap_or(false),
        include_usage: options.map(|o| o.boolean("include_usage")).transpose()?.flatten().unwrap_or(false),
    })
}

fn check_model(fields: &Fields<'_>) -> Result<(), Refusal> {
    match fields.text("model")? {
        Some(MODEL) => Ok(()),
        Some(other) => Err(Refusal::unknown_model(other)),
        None => Err(Refusal::missing("model")),
    }
}

/// Wishes that change what an answer is: leaving them out in silence would be a wrong answer.
fn check_unsupported(fields: &Fields<'_>) -> Result<(), Refusal> {
    if fields.positive("n")?.is_some_and(|n| n != 1) {
        return Err(Refusal::unsupported("n", "The desk gives one answer; leave n out or send 1."));
    }
    for key in ["tool_choice", "function_call"] {
        let forced = match fields.get(key) {
            None => false,
            Some(Value::String(choice)) => !matches!(choice.as_str(), "auto" | "none"),
            Some(_) => true,
        };
        if forced {
            return Err(Refusal::unsupported(key, "The desk calls no tools; leave the choice out or send \"auto\"."));
        }
    }
    let format = fields.object("response_format")?.and_then(|format| format.get("type"));
    if format.is_some_and(|kind| kind != "text") {
        return Err(Refusal::unsupported("response_format", "Answers are plain text; send {\"type\": \"text\"}."));
    }
    if fields.boolean("logprobs")? == Some(true) {
        return Err(Refusal::unsupported("logprobs", "The desk gives no log probabilities."));
    }
    let modalities = fields.array("modalities")?.unwrap_or_default();
    if modalities.iter().any(|modality| modality != "text") {
        return Err(Refusal::unsupported("modalities", "Answers are text only."));
    }
    Ok(())
}

/// Settings of a model that mean nothing to a desk are accepted and ignored, as long as they are possible at all.
fn check_ignored(fields: &Fields<'_>) -> Result<(), Refusal> {
    for (key, from, to) in [
        ("temperature", 0.0, 2.0),
        ("top_p", 0.0, 1.0),
        ("presence_penalty", -2.0, 2.0),
        ("frequency_penalty", -2.0, 2.0),
    ] {
        fields.between(key, from, to)?;
    }
    for key in ["max_tokens", "max_completion_tokens"] {
        fields.positive(key)?;
    }
    for key in ["tools", "functions"] {
        fields.array(key)?;
    }
    Ok(())
}

fn read_asked(fields: &Fields<'_>) -> Result<Asked, Refusal> {
    let (text, history) = read_messages(fields)?;
    let (metadata, filed) = read_metadata(fields)?;
    let body = ChatBody {
        text,
        user: read_user(fields)?,
        channel: Some(CHANNEL.into()),
        metadata: Some(metadata),
        deadline_ms: fields.positive("deadline_ms")?,
        ..ChatBody::default()
    };
    let mut asked = body.parse().map_err(at_fault)?;
    asked.conversation = read_conversation(fields)?.or(filed);
    asked.ask.history = (!history.is_empty()).then_some(history);
    Ok(asked)
}

/// The field that the desk's own checks found fault with.
fn at_fault(problem: Problem) -> Refusal {
    let param = match problem.code {
        Code::BadText => Some("messages"),
        Code::BadMetadata => Some("metadata"),
        _ => None,
    };
    Refusal::invalid(problem.code, param, problem.message)
}

/// The customer's question is the last message; what stands before it is the history, of which the newest part is kept.
fn read_messages(fields: &Fields<'_>) -> Result<(String, Vec<Exchange>), Refusal> {
    let messages = fields.array("messages")?.ok_or_else(|| Refusal::missing("messages"))?;
    let mut said = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        said.extend(read_message(at, message)?);
    }
    match said.pop() {
        Some((Speaker::Customer, question)) => Ok((question, exchanges(said))),
        _ => {
            let why = "The last message must be the customer's, with role 'user'.";
            Err(Refusal::invalid(Code::BadHistory, Some("messages"), why))
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Customer,
    Desk,
}

/// One message; None for roles that say nothing to the desk: its instructions are its own, and it calls no tools.
fn read_message(at: usize, message: &Value) -> Result<Option<(Speaker, String)>, Refusal> {
    let param = |field: &str| format!("messages[{at}]{field}");
    let wrong = |field: &str, why: &str| Refusal::invalid(Code::BadJson, Some(&param(field)), why);
    let Value::Object(message) = message else { return Err(wrong("", "Each message is a JSON object.")) };
    let speaker = match message.get("role").and_then(Value::as_str) {
        Some("user") => Some(Speaker::Customer),
        Some("assistant") => Some(Speaker::Desk),
        Some("system" | "developer" | "tool" | "function") => None,
        Some(_) => return Err(wrong(".role", "The role is one of system, developer, user, assistant and tool.")),
        None => return Err(wrong(".role", "Each message has a role.")),
    };
    let text = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => read_parts(parts).map_err(|why| wrong(".content", why))?,
        // An assistant that called a tool had nothing to say.
        None | Some(Value::Null) if speaker != Some(Speaker::Customer) => String::new(),
        _ => return Err(wrong(".content", "The content is a text, or an array of parts of type 'text'.")),
    };
    Ok(speaker.map(|speaker| (speaker, text)))
}

fn read_parts(parts: &[Value]) -> Result<String, &'static str> {
    let mut texts = Vec::with_capacity(parts.len());
    for part in parts {
        match part.get("type").and_then(Value::as_str) {
            Some("text" | "input_text" | "output_text") => {
                texts.push(part.get("text").and_then(Value::as_str).ok_or("A part of type 'text' holds a text.")?);
            }
            Some("refusal") => {}
            Some("image_url" | "input_image" | "input_audio" | "file") => {
                return Err("The desk reads text only; leave images, sound and files out.");
            }
            _ => return Err("Each part has the type 'text'."),
        }
    }
    Ok(texts.join("\n"))
}

/// Question and answer in pairs; a side that is missing stays empty.
fn exchanges(said: Vec<(Speaker, String)>) -> Vec<Exchange> {
    let mut pairs: Vec<Exchange> = Vec::new();
    let mut open = false;
    for (speaker, text) in said {
        let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
        match (speaker, pairs.last_mut()) {
            (Speaker::Desk, Some(last)) if open => last.answer = text,
            (Speaker::Desk, _) => pairs.push(Exchange { question: String::new(), answer: text }),
            (Speaker::Customer, _) => pairs.push(Exchange { question: text, answer: String::new() }),
        }
        open = speaker == Speaker::Customer;
    }
    pairs.split_off(pairs.len().saturating_sub(HISTORY_TURNS_MAX))
}

/// The user as they are, or a digest of the name when it is no identifier: an e-mail address, for example.
fn read_user(fields: &Fields<'_>) -> Result<Option<String>, Refusal> {
    let user = fields.text("user")?.filter(|name| !name.is_empty());
    Ok(user.map(|name| match UserId::parse(name) {
        Ok(_) => name.to_owned(),
        Err(_) => {
            let digest = Sha256::digest(name.as_bytes());
            let hex = hex(&digest[..20]);
            format!("u{hex}")
        }
    }))
}

fn read_conversation(fields: &Fields<'_>) -> Result<Option<ConversationId>, Refusal> {
    fields.text("conversation")?.map(|id| parse_conversation("conversation", id)).transpose()
}

fn parse_conversation(param: &str, id: &str) -> Result<ConversationId, Refusal> {
    let parsed = intake::id(param, id, ConversationId::parse);
    parsed.map_err(|problem| Refusal::invalid(problem.code, Some(param), problem.message))
}

/// The metadata without its `conversation`, and that conversation.
fn read_metadata(fields: &Fields<'_>) -> Result<(Metadata, Option<ConversationId>), Refusal> {
    let Some(pairs) = fields.object("metadata")? else { return Ok(Default::default()) };
    let mut pairs = pairs.clone();
    let conversation = match pairs.remove("conversation") {
        Some(Value::String(id)) => Some(parse_conversation("metadata.conversation", &id)?),
        Some(other) => {
            pairs.insert("conversation".into(), other);
            None
        }
        None => None,
    };
    let metadata = serde_json::from_value(Value::Object(pairs))
        .map_err(|_| Refusal::invalid(Code::BadMetadata, Some("metadata"), "Metadata values are texts."))?;
    Ok((metadata, conversation))
}

/// The fields of an object, read with the errors of OpenAI; `null` counts as absent.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn read<T>(&self, key: &str, of: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>, Refusal> {
        let wrong = || Refusal::invalid(Code::BadJson, Some(key), format!("'{key}' must be {of}."));
        self.get(key).map(|value| read(value).ok_or_else(wrong)).transpose()
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Refusal> {
        self.read(key, "a text", Value::as_str)
    }

    fn boolean(&self, key: &str) -> Result<Option<bool>, Refusal> {
        self.read(key, "true or false", Value::as_bool)
    }

    fn array(&self, key: &str) -> Result<Option<&'a [Value]>, Refusal> {
        self.read(key, "an array", |value| value.as_array().map(Vec::as_slice))
    }

    fn object(&self, key: &str) -> Result<Option<&'a Map<String, Value>>, Refusal> {
        self.read(key, "an object", Value::as_object)
    }

    fn positive(&self, key: &str) -> Result<Option<u64>, Refusal> {
        self.read(key, "a whole number above 0", |value| {
            value.as_number().and_then(intake::as_whole).filter(|number| *number > 0)
        })
    }

    fn between(&self, key: &str, from: f64, to: f64) -> Result<Option<f64>, Refusal> {
        let within = |value: &Value| value.as_f64().filter(|number| (from..=to).contains(number));
        self.read(key, &format!("a number from {from} to {to}"), within)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn ask(extra: Value) -> Result<Wanted, Refusal> {
        let mut body = json!({"model": "talkfleet", "messages": [{"role": "user", "content": "Where is my parcel?"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        parse(body)
    }

    fn messages(messages: Value) -> Result<Wanted, Refusal> {
        ask(json!({ "messages": messages }))
    }

    #[track_caller]
    fn refused(extra: Value, status: u16, param: Option<&str>) {
        let refusal = ask(extra.clone()).expect_err(&extra.to_string());
        assert_eq!((refusal.status, refusal.param.as_deref()), (status, param), "{extra}");
    }

    #[test]
    fn the_last_message_is_the_ask_and_the_rest_its_history() {
        let wanted = messages(json!([
            {"role": "system", "content": "You are a pirate."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "Are you there?"},
            {"role": "user", "content": [{"type": "text", "text": "Where is"}, {"type": "text", "text": "my parcel?"}]},
        ]))
        .unwrap();
        assert_eq!(wanted.asked.ask.text.as_str(), "Where is\nmy parcel?");
        let pairs: Vec<_> =
            wanted.asked.ask.history.iter().flatten().map(|e| (e.question.as_str(), e.answer.as_str())).collect();
        assert_eq!(pairs, [("Hi", "Hello!"), ("Are you there?", "")]);
        assert!(!wanted.stream && wanted.asked.conversation.is_none());
    }

    #[test]
    fn a_single_message_leaves_the_memory_to_the_desk() {
        assert_eq!(ask(json!({})).unwrap().asked.ask.history, None);
    }

    #[test]
    fn of_a_long_history_the_newest_part_is_kept() {
        let mut said = vec![json!({"role": "assistant", "content": "Welcome!"})];
        for turn in 0..30 {
            said.push(json!({"role": "user", "content": format!("q{turn}")}));
            said.push(json!({"role": "assistant", "content": format!("a{turn}")}));
        }
        said.push(json!({"role": "user", "content": "and now?"}));
        let history = messages(said.into()).unwrap().asked.ask.history.unwrap();
        assert_eq!(history.len(), HISTORY_TURNS_MAX);
        assert_eq!((history[0].question.as_str(), history[19].answer.as_str()), ("q10", "a29"));
    }

    #[test]
    fn extras_are_read_and_the_unknown_is_ignored() {
        let wanted = ask(json!({
            "stream": true, "stream_options": {"include_usage": true}, "user": "ann", "deadline_ms": 5000,
            "metadata": {"conversation": "c1", "order": "HL-1"}, "temperature": 0.2, "max_tokens": 5, "n": 1,
            "tools": [], "tool_choice": "auto", "seed": 7, "store": false, "whatever": {"deep": [1]}, "stop": null,
        }))
        .unwrap();
        assert!(wanted.stream && wanted.include_usage);
        assert_eq!(wanted.asked.conversation, Some(ConversationId::parse("c1").unwrap()));
        assert_eq!(wanted.asked.ask.user, Some(UserId::parse("ann").unwrap()));
        assert_eq!(wanted.asked.ask.metadata.keys().collect::<Vec<_>>(), ["order"]);
        assert_eq!(wanted.asked.budget, Some(Duration::from_secs(5)));
        let both = ask(json!({"conversation": "c2", "metadata": {"conversation": "c1"}})).unwrap();
        assert_eq!(both.asked.conversation, Some(ConversationId::parse("c2").unwrap()));
    }

    #[test]
    fn a_user_that_is_no_identifier_is_known_by_its_digest() {
        let user = |name: &str| ask(json!({ "user": name })).unwrap().asked.ask.user.unwrap();
        assert_ne!(user("ann@shop.example"), user("bob@shop.example"));
        assert_eq!(user("ann@shop.example"), user("ann@shop.example"));
        assert_eq!(user("ann@shop.example").as_str().len(), 41);
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_its_name() {
        refused(json!({"model": "gpt-4o"}), 404, Some("model"));
        refused(json!({"model": null}), 400, Some("model"));
        refused(json!({"n": 2}), 400, Some("n"));
        refused(json!({"n": 0}), 400, Some("n"));
        refused(json!({"tool_choice": "required"}), 400, Some("tool_choice"));
        refused(json!({"tool_choice": {"type": "function"}}), 400, Some("tool_choice"));
        refused(json!({"response_format": {"type": "json_object"}}), 400, Some("response_format"));
        refused(json!({"logprobs": true}), 400, Some("logprobs"));
        refused(json!({"temperature": 3}), 400, Some("temperature"));
        refused(json!({"temperature": "hot"}), 400, Some("temperature"));
        refused(json!({"max_tokens": -1}), 400, Some("max_tokens"));
        refused(json!({"stream": "yes"}), 400, Some("stream"));
        refused(json!({"conversation": "a.b"}), 400, Some("conversation"));
        refused(json!({"metadata": {"conversation": "a b"}}), 400, Some("metadata.conversation"));
        refused(json!({"metadata": {"order": 7}}), 400, Some("metadata"));
        refused(json!({"user": 7}), 400, Some("user"));
        refused(json!({"deadline_ms": 1.5}), 400, Some("deadline_ms"));
    }

    #[test]
    fn messages_are_checked_one_by_one() {
        refused(json!({"messages": null}), 400, Some("messages"));
        refused(json!({"messages": []}), 400, Some("messages"));
        refused(json!({"messages": "hi"}), 400, Some("messages"));
        refused(json!({"messages": [{"role": "system", "content": "x"}]}), 400, Some("messages"));
        refused(json!({"messages": [{"role": "user", "content": " "}]}), 400, Some("messages"));
        refused(
            json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}),
            400,
            Some("messages"),
        );
        refused(json!({"messages": [7]}), 400, Some("messages[0]"));
        refused(json!({"messages": [{"content": "x"}]}), 400, Some("messages[0].role"));
        refused(json!({"messages": [{"role": "king", "content": "x"}]}), 400, Some("messages[0].role"));
        refused(json!({"messages": [{"role": "user"}]}), 400, Some("messages[0].content"));
        let image = json!([{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]);
        refused(json!({"messages": [{"role": "user", "content": image}]}), 400, Some("messages[0].content"));
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for body in [json!([]), json!(null), json!("x"), json!(7)] {
            assert_eq!(parse(body.clone()).unwrap_err().status, 400, "{body}");
        }
    }
}
