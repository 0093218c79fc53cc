//! What the roles ask of one another; any program that answers these on the role's subject may take its place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Entity, Language, TurnRecord};
use crate::id::{ConversationId, UserId};

/// Asked of the intent role on `chat.v1.intent.<tenant>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IntentRequest {
    pub text: String,
}

/// What the intent role answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IntentReply {
    /// The intent's name, or `out_of_scope`.
    pub name: String,
    /// Calibrated, 0 to 1.
    #[serde(deserialize_with = "super::finite")]
    pub confidence: f32,
    /// `question`, `small_talk` or `handover`: what the plan makes of it.
    pub kind: String,
    pub language: Language,
    #[serde(default)]
    pub entities: Vec<Entity>,
    /// A prepared sentence, in the customer's language: for small talk, a colleague, or a question that is recognised for sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The artefact that decided; after a `+` the remote model that spoke in its place.
    #[serde(default)]
    pub version: String,
}

/// Asked of the retrieval role on `chat.v1.retrieve.<tenant>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetrieveRequest {
    pub text: String,
    /// The most passages wanted.
    pub passages_max: u32,
}

/// What the retrieval role answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetrieveReply {
    /// Best first.
    pub passages: Vec<Passage>,
    /// The two or three sentences that answer, ready to be quoted; absent when nothing answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<String>,
    /// How likely the base answers the question at all, calibrated, 0 to 1.
    #[serde(deserialize_with = "super::finite")]
    pub answerable: f32,
    /// The version of the knowledge that was searched.
    #[serde(default)]
    pub version: String,
}

/// A piece of an article.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Passage {
    pub id: String,
    /// The article it belongs to.
    pub document: String,
    pub title: String,
    pub url: String,
    pub text: String,
    pub language: Language,
    /// Calibrated, 0 to 1.
    #[serde(deserialize_with = "super::finite")]
    pub score: f32,
}

/// Asked of the archive role on `chat.v1.history.<tenant>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryRequest {
    pub conversation: ConversationId,
    /// The most turns wanted, newest kept.
    pub turns_max: u32,
}

/// The turns of a conversation, oldest first; empty when there is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HistoryReply {
    pub turns: Vec<HistoryTurn>,
}

/// Told on `chat.v1.changed.<tenant>`: the archive holds more of these conversations than it did. Whoever keeps copies
/// drops them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveChange {
    pub conversations: Vec<ConversationId>,
    /// PostgreSQL's position in its log (`16/B374D848`): a replica that has not come so far does not hold it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

/// One turn as the customer saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryTurn {
    pub id: crate::id::RequestId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    pub question: String,
    pub outcome: super::Outcome,
    /// Unix milliseconds.
    pub asked_at_ms: u64,
}

impl From<TurnRecord> for HistoryTurn {
    fn from(record: TurnRecord) -> Self {
        Self {
            id: record.request,
            user: record.ask.user,
            question: record.ask.text.into(),
            outcome: record.outcome,
            asked_at_ms: record.asked_at_ms,
        }
    }
}
