//! What a customer says: one message, its bounds, and the history that a client may bring along.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ModelCall;
use crate::id::{ChannelId, UserId};

/// The longest message in characters; a customer's question has 12 words, a pasted e-mail stays below this.
pub const TEXT_CHARS_MAX: usize = 4_000;

/// The most earlier exchanges that a client may bring along.
pub const HISTORY_TURNS_MAX: usize = 20;

/// The most pairs of metadata on a message.
pub const METADATA_PAIRS_MAX: usize = 16;

/// The longest metadata value in characters.
pub const METADATA_VALUE_CHARS_MAX: usize = 256;

/// One message of a customer, as it lies on the queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ask {
    pub text: MessageText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    #[serde(default)]
    pub channel: ChannelId,
    /// The client's own account of the conversation; when present it takes the place of the desk's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<Exchange>>,
    /// Handed on to the records untouched; it decides nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How a replay wants it treated; honoured in a replay's lane only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Replayed>,
}

impl Ask {
    /// A message with nothing beside its text.
    pub fn new(text: MessageText) -> Self {
        Self { text, user: None, channel: ChannelId::web(), history: None, metadata: BTreeMap::new(), replayed: None }
    }
}

/// What a replayed message brings along for the model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Replayed {
    pub model: ModelUse,
    /// What the model said when it was asked for real.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<ModelCall>,
}

/// Who speaks for the model in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelUse {
    /// The model itself.
    #[default]
    Live,
    /// What it said then; where the prompt has changed, the next rung of the ladder.
    Recorded,
    /// What it said then; where the prompt has changed, the model itself.
    RecordedOrLive,
    /// Nobody: there is no model.
    Off,
}

/// An earlier question with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exchange {
    pub question: String,
    pub answer: String,
}

/// The languages that the desk tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
pub enum Language {
    #[default]
    #[serde(rename = "en")]
    English,
    #[serde(rename = "zh")]
    Chinese,
    /// Undetermined (ISO 639-2).
    #[serde(rename = "und")]
    Other,
}

impl Language {
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
            Self::Other => "und",
        }
    }
}

/// A customer's text: 1 to [`TEXT_CHARS_MAX`] characters, trimmed, free of control, bidi and zero-width characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("minLength" = 1, "maxLength" = TEXT_CHARS_MAX))]
pub struct MessageText(String);

/// Why a text cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("the text is empty; write a question")]
    Empty,
    #[error("the text has more than {TEXT_CHARS_MAX} characters; shorten it")]
    TooLong,
    #[error("the text holds control characters; send plain text")]
    Control,
}

impl MessageText {
    /// Parses a text: characters that nobody sees are dropped, control characters other than line breaks and tabs refused.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            return Err(TextError::Control);
        }
        let seen: String = text.chars().filter(|c| !is_unseen(*c)).collect();
        let trimmed = seen.trim();
        match trimmed.chars().count() {
            0 => Err(TextError::Empty),
            n if n > TEXT_CHARS_MAX => Err(TextError::TooLong),
            _ if trimmed.len() == seen.len() => Ok(Self(seen)),
            _ => Ok(Self(trimmed.to_owned())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Zero-width spaces, byte-order marks and bidi controls; joiners stay, since emoji and some scripts need them.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

impl TryFrom<String> for MessageText {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        Self::parse(&text)
    }
}

impl From<MessageText> for String {
    fn from(text: MessageText) -> String {
        text.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, TextError>) {
        assert_eq!(MessageText::parse(text).as_ref().map(MessageText::as_str).map_err(|e| *e), expected, "{text:?}");
    }

    #[test]
    fn a_text_is_cleaned_or_refused() {
        check("  Where is my parcel?\n", Ok("Where is my parcel?"));
        check("快递\u{200B}到哪了", Ok("快递到哪了"));
        check("a\u{202E}b", Ok("ab"));
        check("two\nlines", Ok("two\nlines"));
        check("👨\u{200D}👩", Ok("👨\u{200D}👩"));
        check(" \u{FEFF}\u{200B} ", Err(TextError::Empty));
        check("a\0b", Err(TextError::Control));
        check("\u{1b}[31m", Err(TextError::Control));
        check(&"字".repeat(TEXT_CHARS_MAX), Ok(&"字".repeat(TEXT_CHARS_MAX)));
        check(&"字".repeat(TEXT_CHARS_MAX + 1), Err(TextError::TooLong));
    }
}
