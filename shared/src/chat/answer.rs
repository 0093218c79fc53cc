//! What the desk says: an answer with its intent, citations, rung and timings, or the problem that stood in its way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Language;
use crate::{
    error::Code,
    id::{ConversationId, RequestId},
};

/// How a turn ended; every accepted request has exactly one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Answered {
        answer: Box<Answer>,
    },
    Failed {
        problem: Problem,
    },
    Expired {
        problem: Problem,
    },
    Cancelled {
        text: String,
        /// Who stopped it: absent when its customer or tenant did, else [`TAKEOVER`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

/// A turn was stopped because a person took its conversation over.
pub const TAKEOVER: &str = "takeover";

impl Outcome {
    /// The word for metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answered { .. } => "answered",
            Self::Failed { .. } => "failed",
            Self::Expired { .. } => "expired",
            Self::Cancelled { .. } => "cancelled",
        }
    }
}

/// The answer to one message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    pub id: RequestId,
    pub conversation: ConversationId,
    pub text: String,
    pub language: Language,
    pub intent: Intent,
    pub citations: Vec<Citation>,
    pub kind: Kind,
    pub rung: Rung,
    /// Why no higher rung spoke; absent when the highest there is did, or the message needed none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung_reason: Option<RungReason>,
    /// What was missing while it was made (`memory`, `intent`, `retrieval`, `model`, `grounding`); empty when all was well.
    #[serde(default)]
    pub degraded: Vec<String>,
    pub timings: Timings,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The version of the worker that answered; of a candidate beside the stable ones with `/next` at its end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub worker: String,
}

/// What the customer wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Intent {
    /// The intent's name; `out_of_scope` when it is none of them, `unknown` when nobody could be asked.
    pub name: String,
    /// Calibrated, 0 to 1.
    #[serde(deserialize_with = "super::finite")]
    pub confidence: f32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<Entity>,
}

impl Intent {
    pub const OUT_OF_SCOPE: &'static str = "out_of_scope";
    pub const UNKNOWN: &'static str = "unknown";

    /// The intent of a message that nobody could classify in time.
    pub fn unknown() -> Self {
        Self { name: Self::UNKNOWN.into(), confidence: 0.0, entities: Vec::new() }
    }
}

/// Something named in the message: an order number, a phone, an amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entity {
    pub kind: String,
    pub value: String,
    /// First character, counted in characters.
    pub start: u32,
    /// One past the last character.
    pub end: u32,
}

/// Where an answer comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Citation {
    pub title: String,
    pub url: String,
    pub snippet: String,
    /// How well it answers the question, calibrated, 0 to 1.
    #[serde(deserialize_with = "super::finite")]
    pub score: f32,
}

/// What sort of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Answered from knowledge, with citations.
    Answer,
    /// A greeting, a thank you, a goodbye.
    SmallTalk,
    /// An honest 'I don't know', with what the desk can help with.
    Refusal,
    /// A human is called.
    Handover,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::SmallTalk => "small_talk",
            Self::Refusal => "refusal",
            Self::Handover => "handover",
        }
    }
}

/// Which rung of the ladder spoke, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// A language model, held to the passages.
    Model,
    /// Sentences quoted from the knowledge base.
    Extract,
    /// An answer that the company wrote for this question.
    Approved,
    /// A prepared sentence.
    Canned,
}

impl Rung {
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Extract => "extract",
            Self::Approved => "approved",
            Self::Canned => "canned",
        }
    }
}

/// Why an answer came from a lower rung of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RungReason {
    /// Turns waited long on the queue.
    Lag,
    /// The model usually takes longer than there was time.
    Deadline,
    /// The model failed too often a moment ago and is left alone.
    Breaker,
    /// The model, or the part of it that is the tenant's, is fully occupied.
    Busy,
    /// The tenant has used up its tokens for now.
    Budget,
    /// The model was asked and failed, or said what the passages do not.
    Failed,
}

impl RungReason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Deadline => "deadline",
            Self::Breaker => "breaker",
            Self::Busy => "busy",
            Self::Budget => "budget",
            Self::Failed => "failed",
        }
    }
}

/// How long each stage took, in milliseconds; a stage that did not run is 0.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Timings {
    #[serde(deserialize_with = "super::finite")]
    pub queue_ms: f64,
    #[serde(deserialize_with = "super::finite")]
    pub recall_ms: f64,
    #[serde(deserialize_with = "super::finite")]
    pub intent_ms: f64,
    #[serde(deserialize_with = "super::finite")]
    pub retrieval_ms: f64,
    #[serde(deserialize_with = "super::finite")]
    pub response_ms: f64,
    #[serde(deserialize_with = "super::finite")]
    pub total_ms: f64,
}

/// What a model charged for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    pub model: String,
    pub prompt_tokens: u32,
    pub completion_tokens: u32,
    /// In millionths of the currency that the prices are configured in; 0 without prices.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cost_micros: u64,
}

fn is_zero(cost: &u64) -> bool {
    *cost == 0
}

/// What stood in the way, the same in HTTP, WebSocket, frames and logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    pub code: Code,
    /// One clear sentence that says what to do.
    pub message: String,
    /// When to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Problem {
    /// The code with its own sentence.
    pub fn new(code: Code) -> Self {
        Self { code, message: code.sentence().into(), retry_after_ms: None }
    }

    /// The code with a sentence that knows more.
    pub fn because(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }

    pub fn retry_after_ms(self, wait_ms: u64) -> Self {
        Self { retry_after_ms: Some(wait_ms), ..self }
    }
}
