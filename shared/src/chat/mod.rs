//! The nouns of a conversation, parsed once at the edge and passed on as they are.

/// What a customer says, and the bounds on it.
mod ask;

/// What is promised of a message.
mod class;

/// What the desk says: answers, citations, intents and problems.
mod answer;

/// The numbered pieces in which an answer travels while it is made.
mod frame;

/// What is kept of a turn after it ended.
mod record;

/// What the roles ask of one another.
mod role;

use serde::{Deserialize, Deserializer, de::Error};

pub use answer::{
    Answer, Citation, Entity, Intent, Kind, Outcome, Problem, Rung, RungReason, TAKEOVER, Timings, Usage,
};
pub use ask::{
    Ask, Exchange, HISTORY_TURNS_MAX, Language, METADATA_PAIRS_MAX, METADATA_VALUE_CHARS_MAX, MessageText, ModelUse,
    Replayed, TEXT_CHARS_MAX, TextError,
};
pub use class::DeliveryClass;
pub use frame::{Frame, FrameBody, Parked, Position};
pub use record::{Feedback, ModelCall, TurnHead, TurnRecord, Unanswered, Verdict, Versions};
pub use role::{
    ArchiveChange, HistoryReply, HistoryRequest, HistoryTurn, IntentReply, IntentRequest, Passage, RetrieveReply,
    RetrieveRequest,
};

/// A number of a message: MessagePack can say 'not a number', which JSON cannot, and which compares with nothing.
fn finite<'de, D: Deserializer<'de>, T: Deserialize<'de> + Into<f64> + Copy>(from: D) -> Result<T, D::Error> {
    let number = T::deserialize(from)?;
    if number.into().is_finite() { Ok(number) } else { Err(D::Error::custom("a number is not finite")) }
}
