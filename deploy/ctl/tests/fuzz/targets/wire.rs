//! What travels on the bus: bodies come back as they went, subjects hold ids alone, headers bound what they say.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};
use talkfleet_gateway::fuzz;
use talkfleet_shared::{
    bus::BUDGET_MAX,
    chat::{
        Answer, ArchiveChange, Ask, Feedback, Frame, FrameBody, HistoryReply, HistoryRequest, IntentReply,
        IntentRequest, Outcome, Position, Problem, RetrieveReply, RetrieveRequest, TurnHead, TurnRecord,
    },
    envelope::{self, EnvelopeError, Format},
    error::Code,
    fuzz::delivery as read_delivery,
    id::{ConversationId, GatewayId, RequestId, TenantId},
    subject,
    telemetry::Trace,
};
use time::OffsetDateTime;

use super::{sentence, token};

/// How much larger a body may become by being read and written again: absent fields are written out.
const GROWTH_MAX: usize = 16;
const GROWTH_BYTES: usize = 4_096;

/// The broker's control line, which holds a subject and a reply subject.
const SUBJECT_BYTES_MAX: usize = 4_096 / 2;

/// Any bytes as any message, in both formats.
pub(super) fn envelope(data: &[u8]) {
    for format in [Format::MessagePack, Format::Json] {
        there_and_back::<Ask>(data, format);
        there_and_back::<Frame>(data, format);
        there_and_back::<Answer>(data, format);
        there_and_back::<Problem>(data, format);
        there_and_back::<IntentRequest>(data, format);
        there_and_back::<IntentReply>(data, format);
        there_and_back::<RetrieveRequest>(data, format);
        there_and_back::<RetrieveReply>(data, format);
        there_and_back::<HistoryRequest>(data, format);
        there_and_back::<HistoryReply>(data, format);
        there_and_back::<ArchiveChange>(data, format);
        there_and_back::<Feedback>(data, format);
        if let Some(record) = there_and_back::<TurnRecord>(data, format) {
            told_again(&record);
            let head: TurnHead = envelope::decode_large(data, format).expect("a record has its head");
            assert_eq!(head, TurnHead::from(record));
        }
    }
}

fn there_and_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8], format: Format) -> Option<T> {
    match envelope::decode_large::<T>(data, format) {
        Ok(value) => {
            for again in [Format::MessagePack, Format::Json] {
                let bytes = envelope::encode(&value, again).expect("what was read can be written");
                assert!(bytes.len() <= GROWTH_MAX * data.len() + GROWTH_BYTES, "{} became {}", data.len(), bytes.len());
                let back: T = envelope::decode_large(&bytes, again).expect("what was written can be read");
                assert_eq!(back, value, "as {again:?}");
            }
            Some(value)
        }
        Err(error) => {
            refused(&error, data);
            None
        }
    }
}

/// An error is logged: it is one line and quotes nobody.
fn refused(error: &EnvelopeError, data: &[u8]) {
    let told = error.to_string();
    sentence(&told, 1_000);
    let marked = data.windows(6).any(|part| part == b"SECRET");
    assert!(!marked || !told.contains("SECRET"), "it quotes the body: {told}");
}

/// The frames of a record: numbered without gaps, one last one, and together the whole text.
fn told_again(record: &TurnRecord) {
    let frames = record.frames(Position::default());
    let last = frames.last().expect("every record has a last frame");
    assert!(last.body.is_last() && frames.iter().filter(|frame| frame.body.is_last()).count() == 1);
    assert!(frames.iter().zip(1..).all(|(frame, seq)| (frame.attempt, frame.seq) == (record.attempt, seq)));
    let text = match &record.outcome {
        Outcome::Answered { answer } => &answer.text,
        Outcome::Cancelled { text, .. } => text,
        Outcome::Failed { .. } | Outcome::Expired { .. } => &record.spoken,
    };
    let whole = record.cuts.is_sorted() && record.cuts.iter().all(|at| text.is_char_boundary(*at as usize));
    let said: String = frames
        .iter()
        .filter_map(|frame| match &frame.body {
            FrameBody::Delta { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert!(!whole || text.starts_with(&said), "{said:?} of {text:?}");
    for from in &frames {
        let rest = record.frames(from.position());
        assert!(rest.iter().all(|frame| frame.seq > from.seq) && rest.len() == frames.len() - from.seq as usize);
    }
}

/// Any text as a subject of ours, and every token of it as an id.
pub(super) fn subject(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some((tenant, conversation)) = subject::parse_ask(text) {
        let shard = text.split('.').nth(3).and_then(|shard| shard.parse().ok()).expect("an ask has a shard");
        assert_eq!(subject::ask(shard, &tenant, &conversation), text);
    }
    if let Some(tenant) = subject::parse_tenant(text) {
        token(tenant.as_str());
    }
    if let Some((tenant, request)) = subject::parse_request(text) {
        token(tenant.as_str());
        token(request.as_str());
    }
    if subject::is_reply(text) {
        plain(text, 5);
        assert!(subject::parse_reply(text).is_some());
    }
    let ids: Vec<&str> = text.split(['.', '\n']).collect();
    for pair in ids.windows(2) {
        let (Ok(tenant), Ok(conversation)) = (TenantId::parse(pair[0]), ConversationId::parse(pair[1])) else {
            continue;
        };
        let request = RequestId::parse(pair[1]).expect("ids are of one shape");
        let gateway = GatewayId::parse(pair[0]).expect("ids are of one shape");
        token(tenant.as_str());
        token(conversation.as_str());
        let ask = subject::ask(7, &tenant, &conversation);
        assert_eq!(subject::parse_ask(&ask), Some((tenant.clone(), conversation.clone())));
        let cancel = subject::cancel(&tenant, &request);
        assert_eq!(subject::parse_request(&cancel), Some((tenant.clone(), request.clone())));
        let reply = subject::reply(&gateway, &request);
        assert!(subject::is_reply(&reply) && subject::parse_reply(&reply).as_ref() == Some(&request));
        let intent = subject::intent(&tenant);
        assert_eq!(subject::parse_tenant(&intent), Some(tenant.clone()));
        let turn = subject::turn(&tenant, &conversation, &request);
        for (subject, tokens) in [(ask, 6), (cancel, 5), (reply, 5), (intent, 4), (turn, 6)] {
            plain(&subject, tokens);
        }
    }
}

/// A subject that reaches one place and fits the broker's control line.
fn plain(subject: &str, tokens: usize) {
    assert_eq!(subject.split('.').count(), tokens, "{subject}");
    subject.split('.').for_each(token);
    assert!(subject.len() <= SUBJECT_BYTES_MAX, "{subject}");
}

/// A subject, lines of headers, an empty line and a body, as a worker takes an ask.
pub(super) fn delivery(data: &[u8]) {
    let (head, body) = data.windows(2).position(|two| two == b"\n\n").map_or((data, &[][..]), |at| {
        let (head, body) = data.split_at(at);
        (head, &body[2..])
    });
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.split('\n');
    let subject = lines.next().unwrap_or_default();
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let asked_at = OffsetDateTime::UNIX_EPOCH;
    match read_delivery(subject, &headers, body, asked_at) {
        None => {}
        Some(Err(error)) => refused(&error, data),
        Some(Ok(ask)) => {
            assert!(ask.deadline >= asked_at && ask.deadline <= asked_at + BUDGET_MAX, "{:?}", ask.deadline);
            assert!(ask.reply_to.as_deref().is_none_or(subject::is_reply), "{:?}", ask.reply_to);
            assert_eq!(ask.digest.len(), 64);
            for id in [ask.tenant.as_str(), ask.conversation.as_str(), ask.request.as_str()] {
                token(id);
            }
            let trace = ask.trace.to_string();
            assert_eq!(trace.parse::<Trace>().map(|trace| trace.to_string()).as_deref(), Ok(trace.as_str()));
        }
    }
}

/// Frames of one request as they may come in: lost, doubled, late, of several attempts.
pub(super) fn frames(data: &[u8]) {
    let [attempt, seq, rest @ ..] = data else { return };
    let after = Position { attempt: u32::from(attempt % 4), seq: u32::from(seq % 8) };
    let request = RequestId::parse("r").expect("an id");
    let answer = answer();
    let frames: Vec<Frame> = rest
        .chunks_exact(3)
        .map(|bytes| {
            let body = match bytes[2] % 8 {
                0 => FrameBody::Restart,
                1 => FrameBody::Failed { problem: Problem::new(Code::TurnFailed) },
                2 => FrameBody::Cancelled { text: "st".into(), by: None },
                3 => FrameBody::Done { answer: Box::new(answer.clone()) },
                n => FrameBody::Delta { text: ["You ", "have ", "30 ", "days"][usize::from(n) - 4].into() },
            };
            Frame { request: request.clone(), attempt: u32::from(bytes[0] % 4), seq: u32::from(bytes[1] % 8), body }
        })
        .collect();
    let (mut shown, position) = fuzz::shown(after, &frames);
    assert!(shown.last().is_none_or(|last| last.position() == position));
    let mut at = after;
    for frame in &shown {
        let follows = at.attempt == 0 || frame.attempt == at.attempt;
        assert!(frame.attempt >= at.attempt, "an attempt that was given up is shown: {frame:?} after {at:?}");
        assert_eq!(frame.seq, if follows { at.seq + 1 } else { 1 }, "a gap or a double: {frame:?} after {at:?}");
        at = frame.position();
    }
    // Whoever shows them stops at the last one.
    let end = shown.iter().position(|frame| frame.body.is_last()).map_or(shown.len(), |at| at + 1);
    shown.truncate(end);
    spoken(&shown, &answer);
}

/// An OpenAI-style client reads the same: JSON events, one end, and the answer's text as the end of what it has.
fn spoken(shown: &[Frame], answer: &Answer) {
    for include_usage in [false, true] {
        let events = fuzz::chunks(shown, include_usage);
        let mut said = String::new();
        for (at, event) in events.iter().enumerate() {
            if event == "[DONE]" {
                assert_eq!(at + 1, events.len(), "something follows the end: {events:?}");
                assert!(said.ends_with(&answer.text), "{said:?}");
                continue;
            }
            let chunk: serde_json::Value = serde_json::from_str(event).expect("an event is JSON");
            said.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        }
        let done = shown.last().is_some_and(|frame| matches!(frame.body, FrameBody::Done { .. }));
        assert_eq!(events.last().is_some_and(|event| event == "[DONE]"), done);
    }
}

fn answer() -> Answer {
    let text = r#"{"id":"r","conversation":"c","text":"You have 30 days","language":"en","intent":{"name":"x","confidence":0.5},
        "citations":[],"kind":"answer","rung":"extract","timings":{"queue_ms":0,"recall_ms":0,"intent_ms":0,"retrieval_ms":0,
        "response_ms":0,"total_ms":0}}"#;
    serde_json::from_str(text).expect("an answer")
}
