//! PURE: a body of `POST /v1/chat/completions` becomes an ask; what it may hold is checked, what the desk does not use is ignored.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use talkfleet_shared::{
    chat::{
        Ask, Exchange, HISTORY_TURNS_MAX, METADATA_PAIRS_MAX, METADATA_VALUE_CHARS_MAX, MessageText, TEXT_CHARS_MAX,
    },
    error::Code,
    id::{ChannelId, ConversationId, UserId},
};

use super::{MODEL, refusal::Refusal};

/// The longest metadata key in characters, as OpenAI has it.
const METADATA_KEY_CHARS_MAX: usize = 64;

/// What a client wants of the desk, beside the ask itself.
#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) ask: Ask,
    pub(super) conversation: Option<ConversationId>,
    pub(super) stream: bool,
    /// A last chunk with nothing but the usage.
    pub(super) include_usage: bool,
    pub(super) deadline_ms: Option<u64>,
}

/// Parses a body. Unknown fields are ignored, since every client sends some; known ones of the wrong type are refused.
pub(super) fn parse(body: &[u8]) -> Result<Wanted, Refusal> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid(Code::BadJson, None, format!("The body is not valid JSON: {error}.")))?;
    let Value::Object(body) = body else {
        return Err(Refusal::invalid(Code::BadJson, None, "The body must be a JSON object."));
    };
    let fields = Fields(&body);
    check_model(&fields)?;
    check_unsupported(&fields)?;
    check_ignored(&fields)?;
    let (text, history) = read_messages(&fields)?;
    let (metadata, filed) = read_metadata(&fields)?;
    let options = fields.object("stream_options")?;
    Ok(Wanted {
        ask: Ask { text, user: read_user(&fields)?, channel: channel(), history, metadata },
        conversation: read_conversation(&fields)?.or(filed),
        stream: fields.boolean("stream")?.unwrap_or(false),
        include_usage: options.map(|options| Fields(options).boolean("include_usage")).transpose()?.flatten() == Some(true),
        deadline_ms: fields.positive("deadline_ms")?,
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
    for (key, from, to) in
        [("temperature", 0.0, 2.0), ("top_p", 0.0, 1.0), ("presence_penalty", -2.0, 2.0), ("frequency_penalty", -2.0, 2.0)]
    {
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

/// The customer's question is the last message; what stands before it is the history, of which the newest part is kept.
fn read_messages(fields: &Fields<'_>) -> Result<(MessageText, Option<Vec<Exchange>>), Refusal> {
    let messages = fields.array("messages")?.ok_or_else(|| Refusal::missing("messages"))?;
    let mut said = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        said.extend(read_message(at, message)?);
    }
    let Some((Speaker::Customer, question)) = said.pop() else {
        let why = "The last message must be the customer's, with role 'user'.";
        return Err(Refusal::invalid(Code::BadHistory, Some("messages"), why));
    };
    let text = MessageText::parse(&question)
        .map_err(|error| Refusal::invalid(Code::BadText, Some("messages"), format!("The last message: {error}.")))?;
    let history = exchanges(said);
    Ok((text, (!history.is_empty()).then_some(history)))
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

/// The user as they are, or under a digest when the name is no identifier: an e-mail address, for example.
fn read_user(fields: &Fields<'_>) -> Result<Option<UserId>, Refusal> {
    let Some(name) = fields.text("user")?.filter(|name| !name.is_empty()) else { return Ok(None) };
    let hashed = || {
        let digest = Sha256::digest(name.as_bytes());
        let hex: String = digest.iter().take(20).map(|byte| format!("{byte:02x}")).collect();
        UserId::parse(&format!("u{hex}"))
    };
    let no_id = |error| Refusal::invalid(Code::BadId, Some("user"), format!("The user {error}."));
    UserId::parse(name).or_else(|_| hashed()).map(Some).map_err(no_id)
}

fn read_conversation(fields: &Fields<'_>) -> Result<Option<ConversationId>, Refusal> {
    fields.text("conversation")?.map(|id| parse_conversation("conversation", id)).transpose()
}

fn parse_conversation(param: &str, id: &str) -> Result<ConversationId, Refusal> {
    ConversationId::parse(id)
        .map_err(|error| Refusal::invalid(Code::BadId, Some(param), format!("The conversation {error}.")))
}

/// The metadata without its `conversation`, and that conversation.
fn read_metadata(fields: &Fields<'_>) -> Result<(BTreeMap<String, String>, Option<ConversationId>), Refusal> {
    let Some(pairs) = fields.object("metadata")? else { return Ok(Default::default()) };
    let wrong = |why: String| Refusal::invalid(Code::BadMetadata, Some("metadata"), why);
    let mut metadata = BTreeMap::new();
    for (key, value) in pairs {
        let Value::String(value) = value else { return Err(wrong("Metadata values are texts.".into())) };
        if key.chars().count() > METADATA_KEY_CHARS_MAX || value.chars().count() > METADATA_VALUE_CHARS_MAX {
            return Err(wrong(format!(
                "Metadata keys have at most {METADATA_KEY_CHARS_MAX} characters, values {METADATA_VALUE_CHARS_MAX}."
            )));
        }
        metadata.insert(key.clone(), value.clone());
    }
    let conversation =
        metadata.remove("conversation").map(|id| parse_conversation("metadata.conversation", &id)).transpose()?;
    if metadata.len() > METADATA_PAIRS_MAX {
        return Err(wrong(format!("Metadata holds at most {METADATA_PAIRS_MAX} pairs.")));
    }
    Ok((metadata, conversation))
}

/// Messages of this face can be told from those of the others.
#[expect(clippy::expect_used, reason = "the text is a literal identifier")]
fn channel() -> ChannelId {
    ChannelId::parse("openai").expect("a literal identifier")
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
        self.read(key, "a whole number above 0", |value| value.as_u64().filter(|number| *number > 0))
    }

    fn between(&self, key: &str, from: f64, to: f64) -> Result<Option<f64>, Refusal> {
        let within = |value: &Value| value.as_f64().filter(|number| (from..=to).contains(number));
        self.read(key, &format!("a number from {from} to {to}"), within)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(extra: Value) -> Result<Wanted, Refusal> {
        let mut body = json!({"model": "talkfleet", "messages": [{"role": "user", "content": "Where is my parcel?"}]});
        let (Value::Object(body), Value::Object(extra)) = (&mut body, extra) else { unreachable!() };
        body.extend(extra);
        parse(&serde_json::to_vec(body).unwrap())
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
        assert_eq!(wanted.ask.text.as_str(), "Where is\nmy parcel?");
        let pairs: Vec<_> = wanted.ask.history.iter().flatten().map(|e| (e.question.as_str(), e.answer.as_str())).collect();
        assert_eq!(pairs, [("Hi", "Hello!"), ("Are you there?", "")]);
        assert!(!wanted.stream && wanted.conversation.is_none());
    }

    #[test]
    fn a_single_message_leaves_the_memory_to_the_desk() {
        assert_eq!(ask(json!({})).unwrap().ask.history, None);
    }

    #[test]
    fn of_a_long_history_the_newest_part_is_kept() {
        let mut said = vec![json!({"role": "assistant", "content": "Welcome!"})];
        for turn in 0..30 {
            said.push(json!({"role": "user", "content": format!("q{turn}")}));
            said.push(json!({"role": "assistant", "content": format!("a{turn}")}));
        }
        said.push(json!({"role": "user", "content": "and now?"}));
        let history = messages(said.into()).unwrap().ask.history.unwrap();
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
        assert_eq!(wanted.conversation, Some(ConversationId::parse("c1").unwrap()));
        assert_eq!(wanted.ask.user, Some(UserId::parse("ann").unwrap()));
        assert_eq!(wanted.ask.metadata.keys().collect::<Vec<_>>(), ["order"]);
        assert_eq!(wanted.deadline_ms, Some(5000));
        let both = ask(json!({"conversation": "c2", "metadata": {"conversation": "c1"}})).unwrap();
        assert_eq!(both.conversation, Some(ConversationId::parse("c2").unwrap()));
    }

    #[test]
    fn a_user_that_is_no_identifier_is_known_by_its_digest() {
        let user = |name: &str| ask(json!({ "user": name })).unwrap().ask.user.unwrap();
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
        refused(json!({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}), 400, Some("messages"));
        refused(json!({"messages": [7]}), 400, Some("messages[0]"));
        refused(json!({"messages": [{"content": "x"}]}), 400, Some("messages[0].role"));
        refused(json!({"messages": [{"role": "king", "content": "x"}]}), 400, Some("messages[0].role"));
        refused(json!({"messages": [{"role": "user"}]}), 400, Some("messages[0].content"));
        let image = json!([{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]);
        refused(json!({"messages": [{"role": "user", "content": image}]}), 400, Some("messages[0].content"));
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for body in [&b""[..], b"[]", b"{", b"\xff", b"{} {}"] {
            assert_eq!(parse(body).unwrap_err().status, 400, "{body:?}");
        }
    }
}
