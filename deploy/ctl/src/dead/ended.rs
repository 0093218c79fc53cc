//! What became of a dead letter that was asked again, for people and for scripts.

use serde::Serialize;
use talkfleet_shared::{chat::Problem, id::RequestId};

/// What became of a letter.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum Ended {
    Answered {
        request: RequestId,
    },
    /// It is back where it came from.
    Returned,
    Failed {
        request: RequestId,
        problem: Problem,
    },
    Expired {
        request: RequestId,
    },
    Cancelled {
        request: RequestId,
    },
    /// The turn has no outcome yet; redriving again waits for the same one.
    Open {
        request: RequestId,
    },
    /// The queue did not take it.
    Refused {
        why: String,
    },
    /// It cannot be asked as it is.
    Skipped {
        why: String,
    },
    /// It was a redrive of a letter that has been answered now, and is removed with it.
    WentAlong {
        with: u64,
    },
    /// Somebody else has dealt with it.
    Gone,
    /// Nothing was tried after an error.
    Untried,
    WouldAsk {
        request: RequestId,
    },
    WouldReturn,
}

impl Ended {
    /// Whether nothing is left to do for it.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Answered { .. } | Self::Returned | Self::WentAlong { .. } | Self::Gone => true,
            Self::WouldAsk { .. } | Self::WouldReturn => true,
            Self::Failed { .. } | Self::Expired { .. } | Self::Cancelled { .. } | Self::Open { .. } => false,
            Self::Refused { .. } | Self::Skipped { .. } | Self::Untried => false,
        }
    }

    /// Whether `--stop-on-error` stops here; what is skipped was no attempt.
    pub(super) fn is_error(&self) -> bool {
        !self.is_settled() && !matches!(self, Self::Skipped { .. } | Self::Untried)
    }

    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Answered { request } => format!("answered as {request}, and removed"),
            Self::Returned => "went back to where it came from".into(),
            Self::Failed { request, problem } => format!("failed as {request}: {} ({})", problem.message, problem.code),
            Self::Expired { request } => format!("expired as {request}"),
            Self::Cancelled { request } => format!("was cancelled as {request}"),
            Self::Open { request } => format!("has no outcome as {request} yet; redrive it again to wait for it"),
            Self::Refused { why } => format!("was not taken: {why}"),
            Self::Skipped { why } => format!("skipped: {why}"),
            Self::WentAlong { with } => format!("removed with {with}, which it was a redrive of"),
            Self::Gone => "is gone; somebody has dealt with it".into(),
            Self::Untried => "not tried".into(),
            Self::WouldAsk { request } => format!("would be asked as {request}"),
            Self::WouldReturn => "would go back to where it came from".into(),
        }
    }
}

/// A letter with what became of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Told {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) ended: Ended,
}
