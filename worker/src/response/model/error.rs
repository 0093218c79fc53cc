//! PURE: why a model did not answer, and whether asking again would help.

use std::time::Duration;

/// The wait before the one retry, unless the API names another.
pub const RETRY_WAIT: Duration = Duration::from_millis(200);

/// A model that asks for more patience than this is not waited for; quoting is faster.
pub const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Statuses that may pass: overrun, and failures of the server.
const OVERRUN: u16 = 429;
const SERVER: std::ops::Range<u16> = 500..600;

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("the model cannot be reached: {0}")]
    Connect(String),
    #[error("the model answered with status {status}")]
    Status { status: u16, retry_after: Option<Duration> },
    #[error("the model did not answer with text/event-stream; check model.base_url")]
    NoStream,
    #[error("the model did not begin in time")]
    FirstToken,
    #[error("the model fell silent")]
    Silent,
    #[error("the model broke off")]
    BrokeOff,
    #[error("the model reported a failure in its stream")]
    Reported,
    #[error("the model sent something that is no chat completion")]
    Garbage,
    #[error("the model said nothing")]
    Empty,
    #[error("nothing was recorded for this prompt")]
    Unrecorded,
    #[error("the model failed a moment ago, or is fully occupied")]
    Away,
}

impl ModelError {
    /// The word for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Status { .. } => "status",
            Self::NoStream => "no_stream",
            Self::FirstToken => "first_token",
            Self::Silent => "silent",
            Self::BrokeOff => "broke_off",
            Self::Reported => "reported",
            Self::Garbage => "garbage",
            Self::Empty => "empty",
            Self::Unrecorded => "unrecorded",
            Self::Away => "away",
        }
    }

    /// How long to wait before asking the same endpoint once more; None when that would not help, or another endpoint is
    /// the faster way.
    pub fn retry_wait(&self, another_waits: bool) -> Option<Duration> {
        let longest = if another_waits { RETRY_WAIT } else { RETRY_WAIT_MAX };
        match self {
            Self::Connect(_) => Some(RETRY_WAIT),
            Self::Status { status, retry_after } if *status == OVERRUN || SERVER.contains(status) => {
                retry_after.or(Some(RETRY_WAIT)).filter(|wait| *wait <= longest)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_endpoint_is_faster_than_a_second() {
        let overrun = |seconds| ModelError::Status { status: 429, retry_after: Some(Duration::from_secs(seconds)) };
        assert_eq!(overrun(1).retry_wait(false), Some(Duration::from_secs(1)));
        assert_eq!(overrun(1).retry_wait(true), None);
        assert_eq!(overrun(60).retry_wait(false), None);
        assert_eq!(ModelError::Status { status: 503, retry_after: None }.retry_wait(true), Some(RETRY_WAIT));
        assert_eq!(ModelError::Status { status: 401, retry_after: None }.retry_wait(false), None);
        assert_eq!(ModelError::Garbage.retry_wait(false), None);
    }
}
