//! PURE: the frames of an answer become OpenAI's completion, or its chunks while they come in.

use serde::Serialize;
use talkfleet_shared::{
    chat::{Answer, Citation, Frame, FrameBody, Intent, Kind, Language, Problem, Rung, RungReason, Timings},
    error::Code,
    id::{ConversationId, RequestId},
};
use utoipa::ToSchema;

use super::{MODEL, refusal::Refusal};

/// The answer in one piece.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Completion {
    id: String,
    object: &'static str,
    created: u64,
    model: &'static str,
    choices: [Choice; 1],
    usage: Usage,
    talkfleet: Extra,
}

#[derive(Debug, Serialize, ToSchema)]
struct Choice {
    index: u32,
    message: Message,
    logprobs: Option<u32>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Message {
    role: &'static str,
    content: String,
    refusal: Option<String>,
}

/// What a model charged for; zeros when none was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
}

/// What the desk knows beyond OpenAI's fields.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Extra {
    #[schema(value_type = String)]
    request: RequestId,
    #[schema(value_type = String)]
    conversation: ConversationId,
    #[schema(value_type = Object)]
    intent: Intent,
    #[schema(value_type = Vec<Object>)]
    citations: Vec<Citation>,
    #[schema(value_type = String)]
    kind: Kind,
    #[schema(value_type = String)]
    rung: Rung,
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    rung_reason: Option<RungReason>,
    #[schema(value_type = String)]
    language: Language,
    #[schema(value_type = Object)]
    timings: Timings,
    degraded: Vec<String>,
}

/// A piece of a streamed answer.
#[derive(Debug, Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'static str,
    /// Empty in the last chunk of all, which carries the usage.
    choices: Vec<ChunkChoice<'a>>,
    /// With `include_usage` it is null on every chunk but the last, as OpenAI has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    talkfleet: Option<Extra>,
}

#[derive(Debug, Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<u32>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

impl Completion {
    pub(super) fn new(answer: Answer, created: u64) -> Self {
        let usage = Usage::of(&answer);
        let extra = Extra::of(&answer);
        Self {
            id: completion_id(&answer.id),
            object: "chat.completion",
            created,
            model: MODEL,
            choices: [Choice {
                index: 0,
                message: Message { role: "assistant", content: answer.text, refusal: None },
                logprobs: None,
                finish_reason: "stop",
            }],
            usage,
            talkfleet: extra,
        }
    }
}

/// What a last frame means to a client that waits for one piece; None for the frames before it.
pub(super) fn outcome(body: FrameBody) -> Option<Result<Answer, Refusal>> {
    match body {
        FrameBody::Done { answer } => Some(Ok(*answer)),
        FrameBody::Failed { problem } | FrameBody::Expired { problem } => Some(Err(problem.into())),
        FrameBody::Cancelled { .. } => Some(Err(Problem::new(Code::Cancelled).into())),
        _ => None,
    }
}

/// A failure in mid-stream, where the status is out already.
pub(super) fn failure(refusal: &Refusal) -> String {
    json(&refusal.body())
}

/// A stream of chunks: each frame goes in, the data of the events that it causes come out.
///
/// What was sent cannot be taken back. When another worker begins anew, its text is held until it is longer than what was
/// sent; when it reads differently, it follows whole after an empty line.
pub(super) struct Chunks {
    id: String,
    created: u64,
    include_usage: bool,
    /// What the client has of the current text.
    sent: String,
    /// The text of the current attempt.
    text: String,
}

impl Chunks {
    pub(super) fn new(request: &RequestId, created: u64, include_usage: bool) -> Self {
        let id = completion_id(request);
        Self { id, created, include_usage, sent: String::new(), text: String::new() }
    }

    pub(super) fn take(&mut self, frame: Frame) -> Vec<String> {
        match frame.body {
            FrameBody::Accepted { .. } => {
                vec![self.chunk(Delta { role: Some("assistant"), content: Some("") }, None, None)]
            }
            FrameBody::Restart => {
                self.text.clear();
                Vec::new()
            }
            FrameBody::Delta { text } => {
                self.text.push_str(&text);
                self.speak().into_iter().collect()
            }
            FrameBody::Done { answer } => self.finish(&answer),
            body => match outcome(body) {
                Some(Err(refusal)) => vec![failure(&refusal)],
                _ => Vec::new(),
            },
        }
    }

    fn finish(&mut self, answer: &Answer) -> Vec<String> {
        self.text.clone_from(&answer.text);
        // Also when another attempt said less than what was sent.
        let lacks = self.sent != self.text && !self.text.is_empty();
        let mut events: Vec<String> = lacks.then(|| self.catch_up()).into_iter().collect();
        events.push(self.chunk(Delta::default(), Some("stop"), Some(Extra::of(answer))));
        if self.include_usage {
            let usage = Some(Some(Usage::of(answer)));
            events.push(json(&Chunk { choices: Vec::new(), usage, ..self.blank() }));
        }
        events.push("[DONE]".into());
        events
    }

    /// What the client lacks of the current text, which may still grow.
    fn speak(&mut self) -> Option<String> {
        (!self.sent.starts_with(&self.text)).then(|| self.catch_up())
    }

    fn catch_up(&mut self) -> String {
        let news = match self.text.strip_prefix(&self.sent) {
            Some(news) => news.to_owned(),
            None => format!("\n\n{}", self.text),
        };
        self.sent.clone_from(&self.text);
        self.chunk(Delta { role: None, content: Some(&news) }, None, None)
    }

    fn chunk(&self, delta: Delta<'_>, finish_reason: Option<&'static str>, talkfleet: Option<Extra>) -> String {
        let choice = ChunkChoice { index: 0, delta, logprobs: None, finish_reason };
        json(&Chunk { choices: vec![choice], talkfleet, ..self.blank() })
    }

    fn blank(&self) -> Chunk<'_> {
        let usage = self.include_usage.then_some(None);
        let Self { id, created, .. } = self;
        let object = "chat.completion.chunk";
        Chunk { id, object, created: *created, model: MODEL, choices: Vec::new(), usage, talkfleet: None }
    }
}

impl Usage {
    fn of(answer: &Answer) -> Self {
        let used = answer.usage.clone().unwrap_or_default();
        let (prompt_tokens, completion_tokens) = (used.prompt_tokens, used.completion_tokens);
        Self { prompt_tokens, completion_tokens, total_tokens: prompt_tokens.saturating_add(completion_tokens) }
    }
}

impl Extra {
    fn of(answer: &Answer) -> Self {
        Self {
            request: answer.id.clone(),
            conversation: answer.conversation.clone(),
            intent: answer.intent.clone(),
            citations: answer.citations.clone(),
            kind: answer.kind,
            rung: answer.rung,
            rung_reason: answer.rung_reason,
            language: answer.language,
            timings: answer.timings,
            degraded: answer.degraded.clone(),
        }
    }
}

fn completion_id(request: &RequestId) -> String {
    format!("chatcmpl-{request}")
}

/// These types hold nothing that JSON cannot; an empty text would only be skipped by clients.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use talkfleet_shared::chat::{self, DeliveryClass};

    use super::*;

    fn request() -> RequestId {
        RequestId::parse("r1").unwrap()
    }

    fn answer(text: &str) -> Answer {
        Answer {
            id: request(),
            conversation: ConversationId::parse("c1").unwrap(),
            text: text.into(),
            language: Language::English,
            intent: Intent { name: "order_status".into(), confidence: 0.5, entities: vec![] },
            citations: vec![],
            kind: Kind::Answer,
            rung: Rung::Extract,
            rung_reason: None,
            degraded: vec![],
            timings: Timings::default(),
            usage: None,
            worker: String::new(),
        }
    }

    fn delta(text: &str) -> FrameBody {
        FrameBody::Delta { text: text.into() }
    }

    fn done(text: &str) -> FrameBody {
        FrameBody::Done { answer: Box::new(answer(text)) }
    }

    fn events(include_usage: bool, bodies: Vec<FrameBody>) -> Vec<Value> {
        let mut chunks = Chunks::new(&request(), 7, include_usage);
        let frames = bodies.into_iter().map(|body| Frame { request: request(), attempt: 1, seq: 1, body });
        let events = frames.flat_map(|frame| chunks.take(frame)).collect::<Vec<_>>();
        events.iter().map(|event| serde_json::from_str(event).unwrap_or_else(|_| event.as_str().into())).collect()
    }

    #[track_caller]
    fn check_text(bodies: Vec<FrameBody>, expected: &str) {
        let content = |event: &Value| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
        assert_eq!(events(false, bodies).iter().filter_map(content).collect::<String>(), expected);
    }

    #[test]
    fn an_answer_is_a_completion() {
        let mut answer = answer("On its way.");
        answer.usage =
            Some(chat::Usage { model: "m".into(), prompt_tokens: 3, completion_tokens: 4, ..Default::default() });
        let completion = serde_json::to_value(Completion::new(answer, 7)).unwrap();
        assert_eq!(completion["id"], "chatcmpl-r1");
        assert_eq!(completion["object"], "chat.completion");
        assert_eq!(completion["choices"][0]["message"]["content"], "On its way.");
        assert_eq!(completion["choices"][0]["finish_reason"], "stop");
        assert_eq!(completion["usage"], json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}));
        assert_eq!(completion["talkfleet"]["intent"]["name"], "order_status");
        assert_eq!(completion["talkfleet"]["rung"], "extract");
    }

    #[test]
    fn a_stream_begins_with_the_role_and_ends_with_done() {
        let conversation = ConversationId::parse("c1").unwrap();
        let accepted = FrameBody::Accepted { conversation, deadline_ms: 1, delivery: DeliveryClass::Durable };
        let events = events(true, vec![accepted, delta("On its "), delta("way."), done("On its way.")]);
        assert_eq!(events.len(), 6, "{events:#?}");
        assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
        assert_eq!(events[0]["usage"], Value::Null);
        assert!(events[0].as_object().unwrap().contains_key("usage"));
        assert_eq!(events[1]["choices"][0]["delta"], json!({"content": "On its "}));
        assert_eq!(events[3]["choices"][0]["finish_reason"], "stop");
        assert_eq!(events[3]["talkfleet"]["conversation"], "c1");
        assert_eq!((&events[4]["choices"], &events[4]["usage"]["total_tokens"]), (&json!([]), &json!(0)));
        assert_eq!(events[5], "[DONE]");
    }

    #[test]
    fn usage_is_left_out_unless_it_was_wanted() {
        let events = events(false, vec![done("x")]);
        assert!(events.iter().all(|event| event.get("usage").is_none()));
        assert_eq!(events.len(), 3);
    }

    #[test]
    fn an_answer_without_deltas_is_spoken_at_its_end() {
        check_text(vec![done("Hello!")], "Hello!");
    }

    #[test]
    fn a_restart_repeats_nothing_that_reads_the_same() {
        let restart = FrameBody::Restart;
        check_text(vec![delta("On its"), restart, delta("On"), delta(" its way."), done("On its way.")], "On its way.");
    }

    #[test]
    fn a_restart_that_reads_differently_follows_whole() {
        check_text(vec![delta("On its"), FrameBody::Restart, done("Sent today.")], "On its\n\nSent today.");
        check_text(
            vec![delta("On its way or"), FrameBody::Restart, done("On its way.")],
            "On its way or\n\nOn its way.",
        );
        check_text(vec![delta("Sent today"), FrameBody::Restart, done("Sent")], "Sent today\n\nSent");
        check_text(
            vec![delta("On"), FrameBody::Restart, delta("Sent"), delta(" today."), done("Sent today.")],
            "On\n\nSent today.",
        );
    }

    #[test]
    fn a_failure_in_mid_stream_is_an_error_event() {
        let events = events(false, vec![delta("On"), FrameBody::Expired { problem: Problem::new(Code::Expired) }]);
        assert_eq!(events[1]["error"]["code"], "expired");
        assert_eq!(events.len(), 2);
    }
}
