//! Examples of every message, filled to the brim and down to the bone; a case that was released is never changed.
//!
//! A new field gets a new case that fills it. Fractions are sums of powers of two, so that every language reads them alike.

/// Answers.
mod answers;

use std::collections::BTreeMap;

use anyhow::Result;
use talkfleet_shared::{
    chat::{
        ArchiveChange, Ask, Citation, DeliveryClass, Entity, Exchange, Feedback, Frame, FrameBody, HistoryReply,
        HistoryRequest, HistoryTurn, Intent, IntentReply, IntentRequest, Language, MessageText, ModelCall, ModelUse,
        Outcome, Parked, Passage, Problem, Replayed, RetrieveReply, RetrieveRequest, TAKEOVER, Timings, TurnRecord,
        Usage, Verdict, Versions,
    },
    error::Code,
    id::{ChannelId, ConversationId, RequestId, TenantId, UserId},
    release::Release,
};

pub(super) use self::answers::answers;
use self::answers::{answer_on_trial, approved_answer, full_answer, lagging_answer};

/// Named examples of one type.
type Cases<T> = Vec<(&'static str, T)>;

/// 2026-01-01T00:00:00Z.
const NOW_MS: u64 = 1_767_225_600_000;

const ANSWER: &str = "You have 30 days to return it. The first day counted is the day after delivery.";

pub(super) fn asks() -> Result<Cases<Ask>> {
    Ok(vec![
        ("full", full_ask()?),
        ("minimal", Ask::new(MessageText::parse("Where is my parcel?")?)),
        ("replayed", replayed_ask(ModelUse::Recorded, Some(model_call()))?),
        ("replayed_or_live", replayed_ask(ModelUse::RecordedOrLive, None)?),
        ("replayed_live", replayed_ask(ModelUse::Live, None)?),
        ("replayed_off", replayed_ask(ModelUse::Off, None)?),
        ("replayed_priced", replayed_ask(ModelUse::Recorded, Some(priced_call()))?),
    ])
}

fn full_ask() -> Result<Ask> {
    let exchange = |question: &str, answer: &str| Exchange { question: question.into(), answer: answer.into() };
    Ok(Ask {
        text: MessageText::parse("And how long do I have to return order A-1042?")?,
        user: Some(UserId::parse("u-7")?),
        channel: ChannelId::parse("app")?,
        history: Some(vec![exchange("Can I return shoes?", "Yes."), exchange("退货要付运费吗？", "不需要。")]),
        metadata: BTreeMap::from([("page".into(), "/orders/A-1042".into()), ("app".into(), "4.2".into())]),
        replayed: None,
    })
}

fn replayed_ask(model: ModelUse, call: Option<ModelCall>) -> Result<Ask> {
    Ok(Ask { replayed: Some(Replayed { model, call }), ..Ask::new(MessageText::parse("Where is my parcel?")?) })
}

pub(super) fn frames() -> Result<Cases<Frame>> {
    let (request, conversation) = (request()?, conversation()?);
    let frame = |seq, body| Frame { request: request.clone(), attempt: 1, seq, body };
    let problem = |code| Problem::new(code);
    Ok(vec![
        (
            "accepted",
            frame(
                0,
                FrameBody::Accepted {
                    conversation: conversation.clone(),
                    deadline_ms: NOW_MS + 30_000,
                    delivery: DeliveryClass::Durable,
                },
            ),
        ),
        (
            "taken",
            frame(
                0,
                FrameBody::Accepted {
                    conversation: conversation.clone(),
                    deadline_ms: NOW_MS + 30_000,
                    delivery: DeliveryClass::Fast,
                },
            ),
        ),
        ("restart", Frame { attempt: 2, ..frame(1, FrameBody::Restart) }),
        ("intent", frame(1, FrameBody::Intent { intent: intent(), language: Language::English })),
        ("parked", frame(2, FrameBody::Parked(Parked { place: 3, wait_ms: 4_000 }))),
        ("sources", frame(2, FrameBody::Sources { citations: vec![citation()] })),
        ("delta", frame(3, FrameBody::Delta { text: "You have 30 days ".into() })),
        ("done", frame(4, FrameBody::Done { answer: Box::new(full_answer()?) })),
        ("on_trial", frame(4, FrameBody::Done { answer: Box::new(answer_on_trial()?) })),
        ("lagging", frame(4, FrameBody::Done { answer: Box::new(lagging_answer()?) })),
        ("approved", frame(4, FrameBody::Done { answer: Box::new(approved_answer()?) })),
        ("failed", frame(4, FrameBody::Failed { problem: problem(Code::TurnFailed).retry_after_ms(1_500) })),
        ("expired", frame(4, FrameBody::Expired { problem: problem(Code::Expired) })),
        ("cancelled", frame(4, FrameBody::Cancelled { text: "You have".into(), by: None })),
        ("taken_over", frame(4, FrameBody::Cancelled { text: "You have".into(), by: Some(TAKEOVER.into()) })),
    ])
}

fn versions_on_trial() -> Versions {
    versions("1.5.0", Release::Next)
}

fn versions(worker: &str, release: Release) -> Versions {
    Versions { intents: "demo-3".into(), knowledge: "demo-3".into(), ..Versions::of(worker, release) }
}

pub(super) fn problems() -> Cases<Problem> {
    vec![
        ("full", Problem::because(Code::Overloaded, "The desk is full; come back in 2 s.").retry_after_ms(2_000)),
        ("minimal", Problem::new(Code::NotFound)),
    ]
}

pub(super) fn intent_requests() -> Cases<IntentRequest> {
    vec![("full", IntentRequest { text: "我的快递到哪了？".into() })]
}

pub(super) fn intent_replies() -> Cases<IntentReply> {
    let full = IntentReply {
        name: "greeting".into(),
        confidence: 0.9375,
        kind: "small_talk".into(),
        language: Language::Chinese,
        entities: vec![entity()],
        reply: Some("您好！".into()),
        version: "demo-3".into(),
    };
    let minimal = IntentReply {
        name: Intent::OUT_OF_SCOPE.into(),
        confidence: 0.25,
        kind: "question".into(),
        language: Language::Other,
        entities: Vec::new(),
        reply: None,
        version: String::new(),
    };
    vec![("full", full), ("minimal", minimal)]
}

pub(super) fn retrieve_requests() -> Cases<RetrieveRequest> {
    vec![("full", RetrieveRequest { text: "How long may I return an order?".into(), passages_max: 4 })]
}

pub(super) fn retrieve_replies() -> Cases<RetrieveReply> {
    let full = RetrieveReply {
        passages: vec![passage()],
        extract: Some(ANSWER.into()),
        answerable: 0.875,
        version: "demo-3".into(),
    };
    let minimal = RetrieveReply { passages: Vec::new(), extract: None, answerable: 0.0, version: String::new() };
    vec![("full", full), ("minimal", minimal)]
}

pub(super) fn turn_records() -> Result<Cases<TurnRecord>> {
    let full = TurnRecord {
        tenant: tenant()?,
        conversation: conversation()?,
        request: request()?,
        attempt: 2,
        ask: full_ask()?,
        ask_digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        language: Language::English,
        intent: intent(),
        passages: vec![passage()],
        cuts: vec![31, 79],
        told_intent: true,
        parked: None,
        sources: Some(vec![citation()]),
        spoken: String::new(),
        outcome: Outcome::Answered { answer: Box::new(full_answer()?) },
        timings: timings(),
        usage: Some(usage()),
        model_call: None,
        summary: None,
        versions: Versions { release: String::new(), ..versions("0.1.0", Release::Stable) },
        trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        asked_at_ms: NOW_MS,
        ended_at_ms: NOW_MS + 220,
    };
    let cancelled = TurnRecord {
        attempt: 1,
        ask: Ask::new(MessageText::parse("Where is my parcel?")?),
        intent: Intent::unknown(),
        passages: Vec::new(),
        cuts: Vec::new(),
        told_intent: false,
        sources: None,
        outcome: Outcome::Cancelled { text: String::new(), by: None },
        timings: Timings::default(),
        usage: None,
        versions: Versions::default(),
        trace: None,
        ..full.clone()
    };
    let outcome = Outcome::Answered { answer: Box::new(lagging_answer()?) };
    let parked = TurnRecord { parked: Some(Parked { place: 3, wait_ms: 4_000 }), outcome, ..full.clone() };
    let recorded = TurnRecord { model_call: Some(model_call()), ..full.clone() };
    let replayed = TurnRecord { ask: replayed_ask(ModelUse::Recorded, Some(model_call()))?, ..full.clone() };
    let failed = TurnRecord {
        spoken: "You have".into(),
        cuts: vec![8],
        outcome: Outcome::Failed { problem: Problem::new(Code::TurnFailed).retry_after_ms(1_500) },
        ..cancelled.clone()
    };
    let expired =
        TurnRecord { outcome: Outcome::Expired { problem: Problem::new(Code::Expired) }, ..cancelled.clone() };
    let outcome = Outcome::Cancelled { text: String::new(), by: Some(TAKEOVER.into()) };
    let taken_over = TurnRecord { outcome, ..cancelled.clone() };
    let handed_over = TurnRecord {
        outcome: Outcome::Answered { answer: Box::new(approved_answer()?) },
        usage: Some(priced()),
        model_call: Some(priced_call()),
        summary: Some("Asked: Can I return shoes?\nNow: A person, please\nIntent: human_agent".into()),
        ..full.clone()
    };
    let outcome = Outcome::Answered { answer: Box::new(answer_on_trial()?) };
    let on_trial = TurnRecord { outcome, versions: versions_on_trial(), ..full.clone() };
    Ok(vec![
        ("full", full),
        ("minimal", cancelled),
        ("failed", failed),
        ("expired", expired),
        ("parked", parked),
        ("recorded", recorded),
        ("replayed", replayed),
        ("taken_over", taken_over),
        ("handed_over", handed_over),
        ("on_trial", on_trial),
    ])
}

pub(super) fn history_requests() -> Result<Cases<HistoryRequest>> {
    Ok(vec![("full", HistoryRequest { conversation: conversation()?, turns_max: 50 })])
}

pub(super) fn archive_changes() -> Result<Cases<ArchiveChange>> {
    let conversations = vec![conversation()?];
    Ok(vec![
        ("full", ArchiveChange { conversations: conversations.clone(), position: Some("16/B374D848".into()) }),
        ("minimal", ArchiveChange { conversations, position: None }),
    ])
}

pub(super) fn history_replies() -> Result<Cases<HistoryReply>> {
    let turn = |user, outcome| {
        anyhow::Ok(HistoryTurn {
            id: request()?,
            user,
            question: "Can I return shoes?".into(),
            outcome,
            asked_at_ms: NOW_MS,
        })
    };
    let turns = vec![
        turn(Some(UserId::parse("u-7")?), Outcome::Answered { answer: Box::new(full_answer()?) })?,
        turn(None, Outcome::Failed { problem: Problem::new(Code::Poison).retry_after_ms(1_500) })?,
    ];
    let cancelled = Outcome::Cancelled { text: "You have".into(), by: Some(TAKEOVER.into()) };
    let taken_over = HistoryReply { turns: vec![turn(None, cancelled)?] };
    let lagging = turn(None, Outcome::Answered { answer: Box::new(lagging_answer()?) })?;
    let approved = turn(None, Outcome::Answered { answer: Box::new(approved_answer()?) })?;
    let on_trial = turn(None, Outcome::Answered { answer: Box::new(answer_on_trial()?) })?;
    Ok(vec![
        ("full", HistoryReply { turns }),
        ("minimal", HistoryReply::default()),
        ("taken_over", taken_over),
        ("approved", HistoryReply { turns: vec![approved] }),
        ("lagging", HistoryReply { turns: vec![lagging] }),
        ("on_trial", HistoryReply { turns: vec![on_trial] }),
    ])
}

pub(super) fn feedbacks() -> Result<Cases<Feedback>> {
    let full = Feedback {
        tenant: tenant()?,
        request: request()?,
        user: Some(UserId::parse("u-7")?),
        verdict: Verdict::Down,
        reason: Some("It did not say who pays for the parcel.".into()),
        given_at_ms: NOW_MS,
    };
    let minimal = Feedback { user: None, verdict: Verdict::Up, reason: None, ..full.clone() };
    Ok(vec![("full", full), ("minimal", minimal)])
}

fn tenant() -> Result<TenantId> {
    Ok(TenantId::parse("demo")?)
}

fn conversation() -> Result<ConversationId> {
    Ok(ConversationId::parse("c01KDVDNC00GW5X3PZ7TRQAE9M2")?)
}

fn request() -> Result<RequestId> {
    Ok(RequestId::parse("01KDVDNC00T1WJ7N4B6XQZ3RAC")?)
}

fn intent() -> Intent {
    Intent { name: "return_window".into(), confidence: 0.9375, entities: vec![entity()] }
}

fn entity() -> Entity {
    Entity { kind: "order".into(), value: "A-1042".into(), start: 39, end: 45 }
}

fn citation() -> Citation {
    Citation {
        title: "How long do I have to return something?".into(),
        url: "/help/return-window".into(),
        snippet: "You have 30 days from the day you receive your order.".into(),
        score: 0.8125,
    }
}

fn passage() -> Passage {
    Passage {
        id: "return-window-0".into(),
        document: "return-window".into(),
        title: "How long do I have to return something?".into(),
        url: "/help/return-window".into(),
        text: "You have 30 days from the day you receive your order to return it.".into(),
        language: Language::English,
        score: 0.8125,
    }
}

fn timings() -> Timings {
    Timings { queue_ms: 1.5, recall_ms: 0.75, intent_ms: 2.25, retrieval_ms: 8.5, response_ms: 180.25, total_ms: 194.0 }
}

fn model_call() -> ModelCall {
    ModelCall {
        prompt_digest: "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752".into(),
        text: "You have 30 days to return it [1].".into(),
        finish: "stop".into(),
        usage: Some(usage()),
    }
}

fn priced() -> Usage {
    Usage { cost_micros: 287, ..usage() }
}

fn priced_call() -> ModelCall {
    ModelCall { usage: Some(priced()), ..model_call() }
}

fn usage() -> Usage {
    Usage { model: "deepseek-chat".into(), prompt_tokens: 812, completion_tokens: 42, cost_micros: 0 }
}
