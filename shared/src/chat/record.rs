//! The turn record: what is kept of a turn, enough to show it again frame by frame, to archive it and to replay it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ask, Citation, Frame, FrameBody, Language, Outcome, Parked, Passage, Position, Timings, Usage};
use crate::{
    id::{ConversationId, RequestId, TenantId, UserId},
    release::Release,
};

/// One ended turn; the first to be stored for its request is the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TurnRecord {
    pub tenant: TenantId,
    pub conversation: ConversationId,
    pub request: RequestId,
    pub attempt: u32,
    pub ask: Ask,
    /// SHA-256 of the ask's bytes: the same idempotency key with another body is told apart by it.
    pub ask_digest: String,
    pub language: Language,
    pub intent: super::Intent,
    #[serde(default)]
    pub passages: Vec<Passage>,
    /// What had been sent before the end, where the deltas were cut: byte offsets into the text.
    #[serde(default)]
    pub cuts: Vec<u32>,
    /// Whether the intent frame was sent.
    #[serde(default)]
    pub told_intent: bool,
    /// What the parked frame told, if one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Parked>,
    /// The citations of the sources frame, if one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<Citation>>,
    /// What had been said when a turn failed or expired in mid-answer; other outcomes carry their text themselves.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub spoken: String,
    pub outcome: Outcome,
    pub timings: Timings,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What was asked of a model and what it said, kept with the traffic so that a replay need not pay for it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_call: Option<ModelCall>,
    /// What a colleague who takes the conversation over reads first; personal numbers in it are masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    pub versions: Versions,
    /// W3C trace context of the turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// When the broker stored the ask, Unix milliseconds.
    pub asked_at_ms: u64,
    /// When the outcome was written, Unix milliseconds by the broker's clock.
    pub ended_at_ms: u64,
}

/// Who asked what, when, and how it ended; read in place of a whole record where that is enough, for a part of its cost.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TurnHead {
    pub tenant: TenantId,
    pub conversation: ConversationId,
    pub request: RequestId,
    pub ask: Ask,
    outcome: OutcomeHead,
    pub asked_at_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct OutcomeHead {
    #[serde(rename = "outcome")]
    name: String,
}

impl TurnHead {
    /// The outcome's name, as [`Outcome::name`] says it.
    pub fn outcome(&self) -> &str {
        &self.outcome.name
    }
}

impl From<TurnRecord> for TurnHead {
    fn from(record: TurnRecord) -> Self {
        let TurnRecord { tenant, conversation, request, ask, asked_at_ms, .. } = record;
        let outcome = OutcomeHead { name: record.outcome.name().to_owned() };
        Self { tenant, conversation, request, ask, outcome, asked_at_ms }
    }
}

/// One call of a model that answered to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelCall {
    /// SHA-256 of the request's body (model, messages, parameters) in hexadecimal.
    pub prompt_digest: String,
    /// What it said, before links and marks were taken out.
    pub text: String,
    /// Why it ended, in its own word: `stop`, `length`; empty when it did not say.
    #[serde(default)]
    pub finish: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// Which builds and artefacts made the answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Versions {
    pub worker: String,
    /// `stable`, or `next` for a candidate beside it; empty in records of builds that knew no releases.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub release: String,
    pub intents: String,
    pub knowledge: String,
}

impl Versions {
    /// Of a worker that has found nothing out yet.
    pub fn of(worker: &str, release: Release) -> Self {
        Self { worker: worker.to_owned(), release: release.name().to_owned(), ..Self::default() }
    }

    /// Who speaks, as an answer tells it.
    pub fn spoken_by(&self) -> String {
        let candidate = self.release == Release::Next.name();
        if candidate { format!("{}/{}", self.worker, self.release) } else { self.worker.clone() }
    }
}

/// What can be told of a turn that nobody answered.
#[derive(Debug, Clone)]
pub struct Unanswered {
    pub tenant: TenantId,
    pub conversation: ConversationId,
    pub request: RequestId,
    /// Later than any whose frames may have been shown: whatever they said is void.
    pub attempt: u32,
    pub ask: Ask,
    pub ask_digest: String,
    pub trace: Option<String>,
    /// Unix milliseconds.
    pub asked_at_ms: u64,
}

impl Unanswered {
    /// Its record, with an outcome that is no answer.
    pub fn record(self, outcome: Outcome, versions: Versions, ended_at_ms: u64) -> TurnRecord {
        let total_ms = ended_at_ms.saturating_sub(self.asked_at_ms) as f64;
        TurnRecord {
            tenant: self.tenant,
            conversation: self.conversation,
            request: self.request,
            attempt: self.attempt,
            ask: self.ask,
            ask_digest: self.ask_digest,
            language: Language::Other,
            intent: super::Intent::unknown(),
            passages: Vec::new(),
            cuts: Vec::new(),
            told_intent: false,
            parked: None,
            sources: None,
            spoken: String::new(),
            outcome,
            timings: Timings { total_ms, ..Timings::default() },
            usage: None,
            model_call: None,
            summary: None,
            versions,
            trace: self.trace,
            asked_at_ms: self.asked_at_ms,
            ended_at_ms,
        }
    }
}

impl TurnRecord {
    /// The frames of this turn once more, exactly as its worker numbered them, from the one after `after`.
    pub fn frames(&self, after: Position) -> Vec<Frame> {
        let mut bodies = Vec::with_capacity(self.cuts.len() + 4);
        if self.attempt > 1 {
            bodies.push(FrameBody::Restart);
        }
        if self.told_intent {
            bodies.push(FrameBody::Intent { intent: self.intent.clone(), language: self.language });
        }
        bodies.extend(self.parked.map(FrameBody::Parked));
        if let Some(citations) = self.sources.clone() {
            bodies.push(FrameBody::Sources { citations });
        }
        bodies.extend(self.deltas());
        bodies.push(FrameBody::last(&self.outcome));
        let frame = |(body, seq)| Frame { request: self.request.clone(), attempt: self.attempt, seq, body };
        bodies.into_iter().zip(1..).map(frame).filter(|frame| after.wants(frame)).collect()
    }

    fn deltas(&self) -> impl Iterator<Item = FrameBody> + '_ {
        let text = match &self.outcome {
            Outcome::Answered { answer } => answer.text.as_str(),
            Outcome::Cancelled { text, .. } => text.as_str(),
            Outcome::Failed { .. } | Outcome::Expired { .. } => self.spoken.as_str(),
        };
        let starts = std::iter::once(0).chain(self.cuts.iter().copied());
        starts
            .zip(self.cuts.iter().copied())
            .filter_map(|(from, to)| text.get(from as usize..to as usize))
            .map(|piece| FrameBody::Delta { text: piece.to_owned() })
    }
}

/// What a customer thought of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Feedback {
    pub tenant: TenantId,
    pub request: RequestId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    pub verdict: Verdict,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Unix milliseconds.
    pub given_at_ms: u64,
}

/// Thumbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Up,
    Down,
}

impl Verdict {
    /// The word for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}
