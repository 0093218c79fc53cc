//! Examples of answers.

use anyhow::Result;
use talkfleet_shared::chat::{Answer, Intent, Kind, Language, Rung, RungReason, Timings};

use super::{ANSWER, Cases, citation, conversation, intent, priced, request, timings, usage, versions_on_trial};

pub(in super::super) fn answers() -> Result<Cases<Answer>> {
    let bare = Answer {
        id: request()?,
        conversation: conversation()?,
        text: "A colleague will be with you shortly.".into(),
        language: Language::Other,
        intent: Intent::unknown(),
        citations: Vec::new(),
        kind: Kind::Handover,
        rung: Rung::Canned,
        rung_reason: None,
        degraded: Vec::new(),
        timings: Timings::default(),
        usage: None,
        worker: String::new(),
    };
    let small_talk = Answer {
        text: "您好！".into(),
        language: Language::Chinese,
        kind: Kind::SmallTalk,
        rung: Rung::Canned,
        ..bare.clone()
    };
    let refusal = Answer { kind: Kind::Refusal, rung: Rung::Extract, ..bare.clone() };
    Ok(vec![
        ("full", full_answer()?),
        ("minimal", bare),
        ("small_talk", small_talk),
        ("refusal", refusal),
        ("approved", approved_answer()?),
        ("lagging", lagging_answer()?),
        ("on_trial", answer_on_trial()?),
    ])
}

/// Of a later release: the company's own words, and what a model cost.
pub(super) fn approved_answer() -> Result<Answer> {
    Ok(Answer { rung: Rung::Approved, degraded: Vec::new(), usage: Some(priced()), ..full_answer()? })
}

/// Of a later release: which worker answered.
pub(super) fn answer_on_trial() -> Result<Answer> {
    Ok(Answer { worker: versions_on_trial().spoken_by(), ..full_answer()? })
}

/// Of a later release: why it is quoted.
pub(super) fn lagging_answer() -> Result<Answer> {
    Ok(Answer { rung: Rung::Extract, rung_reason: Some(RungReason::Lag), usage: None, ..full_answer()? })
}

pub(super) fn full_answer() -> Result<Answer> {
    Ok(Answer {
        id: request()?,
        conversation: conversation()?,
        text: ANSWER.into(),
        language: Language::English,
        intent: intent(),
        citations: vec![citation()],
        kind: Kind::Answer,
        rung: Rung::Model,
        rung_reason: None,
        degraded: vec!["memory".into()],
        timings: timings(),
        usage: Some(usage()),
        worker: String::new(),
    })
}
