//! Frames: the numbered pieces in which an answer travels; a client that kept (attempt, seq) can always ask for the rest.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Citation, DeliveryClass, Intent, Language, Outcome, Problem};
use crate::id::{ConversationId, RequestId};

/// One piece of one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    pub request: RequestId,
    /// Which worker's try this is, from 1; everything of an earlier attempt is void once a later one was seen.
    pub attempt: u32,
    /// The place within the attempt: 0 is the gateway's `accepted`, the worker counts from 1 without gaps.
    pub seq: u32,
    pub body: FrameBody,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FrameBody {
    /// The message was taken. Of a durable one the broker has a copy, and exactly one outcome will exist.
    Accepted {
        conversation: ConversationId,
        deadline_ms: u64,
        /// What is promised of it.
        #[serde(default, skip_serializing_if = "DeliveryClass::is_durable")]
        delivery: DeliveryClass,
    },
    /// Another worker took over: forget the text so far.
    Restart,
    Intent {
        intent: Intent,
        language: Language,
    },
    /// Nobody can answer right now, and somebody soon may: the answer comes on this stream.
    Parked(Parked),
    Sources {
        citations: Vec<Citation>,
    },
    Delta {
        text: String,
    },
    Done {
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
        /// Who stopped it, as in the outcome.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

/// A turn's place among those that wait for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parked {
    /// From 1, at the worker that has the turn.
    pub place: u32,
    /// How long it is likely to take, in milliseconds; nobody promises it.
    pub wait_ms: u64,
}

impl FrameBody {
    /// The frame that tells an outcome.
    pub fn last(outcome: &Outcome) -> Self {
        match outcome.clone() {
            Outcome::Answered { answer } => Self::Done { answer },
            Outcome::Failed { problem } => Self::Failed { problem },
            Outcome::Expired { problem } => Self::Expired { problem },
            Outcome::Cancelled { text, by } => Self::Cancelled { text, by },
        }
    }

    /// After the last frame nothing of that request is shown any more.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed { .. } | Self::Expired { .. } | Self::Cancelled { .. })
    }

    /// The word for an SSE event name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Restart => "restart",
            Self::Intent { .. } => "intent",
            Self::Parked(_) => "parked",
            Self::Sources { .. } => "sources",
            Self::Delta { .. } => "delta",
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
            Self::Expired { .. } => "expired",
            Self::Cancelled { .. } => "cancelled",
        }
    }
}

impl Frame {
    pub fn position(&self) -> Position {
        Position { attempt: self.attempt, seq: self.seq }
    }
}

/// The last frame that a client saw, written `attempt.seq`, or just `seq` for whichever attempt is current.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// 0 stands for 'whichever is current'.
    pub attempt: u32,
    pub seq: u32,
}

impl Position {
    /// Whether a client at this position still needs the frame; an attempt unlike its own it needs whole.
    pub fn wants(self, frame: &Frame) -> bool {
        let same = self.attempt == 0 || self.attempt == frame.attempt;
        if same { frame.seq > self.seq } else { frame.attempt > self.attempt }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.attempt, self.seq)
    }
}

impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "give the last frame seen as a number, or as attempt.seq";
        let number = |part: &str| part.parse::<u32>().map_err(|_| SHAPE);
        match text.split_once('.') {
            Some((attempt, seq)) => Ok(Self { attempt: number(attempt)?, seq: number(seq)? }),
            None => Ok(Self { attempt: 0, seq: number(text)? }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(attempt: u32, seq: u32) -> Frame {
        Frame { request: RequestId::parse("r").unwrap(), attempt, seq, body: FrameBody::Restart }
    }

    #[track_caller]
    fn wants(after: &str, attempt: u32, seq: u32, expected: bool) {
        assert_eq!(
            after.parse::<Position>().unwrap().wants(&frame(attempt, seq)),
            expected,
            "{after} → {attempt}.{seq}"
        );
    }

    #[test]
    fn a_client_is_sent_what_follows_its_position() {
        wants("3", 1, 3, false);
        wants("3", 1, 4, true);
        wants("3", 2, 4, true);
        wants("1.3", 1, 3, false);
        wants("1.3", 1, 4, true);
        wants("1.3", 2, 1, true);
        wants("2.1", 1, 9, false);
    }

    #[test]
    fn a_bad_position_is_refused() {
        for text in ["", "a", "1.", ".1", "-1", "1.2.3"] {
            assert!(text.parse::<Position>().is_err(), "{text:?}");
        }
    }
}
