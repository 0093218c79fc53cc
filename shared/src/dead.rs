//! What a dead letter says of itself: why it was set aside, what its attempts came to, and by what it is grouped.

use std::error::Error;

use serde::{Deserialize, Serialize};

use crate::hex::hex;

/// Hexadecimal digits of a fingerprint: a desk has dozens of causes, not millions.
const FINGERPRINT_BYTES: usize = 8;

/// Errors that a chain tells of; what lies deeper repeats itself.
const CHAIN_MAX: usize = 6;

/// Characters of one error in a chain.
const ERROR_CHARS_MAX: usize = 300;

/// What stood in a message's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It is no message of this version.
    Unreadable,
    /// Its turn panicked on every delivery.
    Panicked,
    /// Its worker died, or did not end it, on every delivery.
    Killed,
    /// The archive cannot take it.
    Unarchived,
}

impl Cause {
    /// The word for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Panicked | Self::Killed => "poison",
            Self::Unarchived => "unarchived",
        }
    }

    /// The stage at which it ended and how, as a fingerprint begins.
    fn stage(self) -> &'static str {
        match self {
            Self::Unreadable => "ask/unreadable",
            Self::Panicked => "turn/panicked",
            Self::Killed => "turn/killed",
            Self::Unarchived => "archive/unarchived",
        }
    }
}

/// Why a message was set aside: a cause, and the errors that led there, outermost first. Only our own words, never a
/// customer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    pub cause: Cause,
    pub chain: Vec<String>,
}

impl Why {
    pub fn new(cause: Cause, reason: impl Into<String>) -> Self {
        Self { cause, chain: vec![limited(&reason.into())] }
    }

    /// The chain of an error, as its `source()` tells it. The error's words must be our own.
    pub fn of(cause: Cause, error: &(dyn Error + 'static)) -> Self {
        let chain = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
        Self { cause, chain: chain.take(CHAIN_MAX).map(|error| limited(&error.to_string())).collect() }
    }

    /// One step further down.
    pub fn because(mut self, deeper: Option<String>) -> Self {
        self.chain.extend(deeper.map(|deeper| limited(&deeper)));
        self
    }

    /// The outermost sentence.
    pub fn reason(&self) -> &str {
        self.chain.first().map_or("it is not known why", String::as_str)
    }

    /// The same for every message with this cause, whatever was in it and whoever sent it.
    pub fn fingerprint(&self) -> String {
        fingerprint(self.cause.stage(), &self.chain)
    }
}

/// One line without characters that a header cannot hold, bounded.
fn limited(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(ERROR_CHARS_MAX).collect()
}

/// The fingerprint of a stage and a chain of errors.
pub fn fingerprint(stage: &str, chain: &[String]) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(stage);
    for error in chain {
        hash.update([0]);
        hash.update(normal(error));
    }
    hex(&hash.finalize()[..FINGERPRINT_BYTES])
}

/// An error's words without what differs from message to message: every word with a digit in it (ids, sizes, offsets)
/// counts alike, but a place in the source (`plan.rs:12:5`) stays, since it is the cause itself.
fn normal(error: &str) -> String {
    let word = |word: &str| match word.contains(|c: char| c.is_ascii_digit()) && !word.contains(".rs:") {
        true => "#".to_owned(),
        false => word.to_owned(),
    };
    error.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// What became of a message's deliveries, as far as whoever set it aside knew. A delivery that ended in another worker,
/// or with the death of its worker, is missing among the attempts and counted in `Talkfleet-Attempt` all the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// When the broker stored the message, Unix milliseconds.
    #[serde(default)]
    pub stored_at_ms: u64,
    /// Oldest first.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// One delivery and its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub attempt: u32,
    /// When it was delivered, Unix milliseconds by the broker's clock.
    pub delivered_at_ms: u64,
    /// In our own words.
    pub ended: String,
    pub worker: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::EnvelopeError;

    #[track_caller]
    fn same(a: &Why, b: &Why, expected: bool) {
        assert_eq!(a.fingerprint() == b.fingerprint(), expected, "{a:?} {b:?}");
    }

    #[test]
    fn one_cause_has_one_fingerprint_whoever_it_met() {
        let shape = |text: &str| Why::of(Cause::Unreadable, &EnvelopeError::Shape(text.into()));
        same(
            &shape("missing field `text` at line 1 column 8"),
            &shape("missing field `text` at line 2 column 99"),
            true,
        );
        same(&shape("missing field `text`"), &shape("missing field `user`"), false);
        let newer = |version| Why::of(Cause::Unreadable, &EnvelopeError::Newer(version));
        same(&newer(2), &newer(99), true);
        let poison = |cause, at: &str| Why::new(cause, "it ended badly").because(Some(at.into()));
        same(&poison(Cause::Panicked, "at a.rs:1:2"), &poison(Cause::Panicked, "at a.rs:7:2"), false);
        same(&poison(Cause::Killed, "request 01J9"), &poison(Cause::Killed, "request 01JA"), true);
        same(&poison(Cause::Killed, ""), &poison(Cause::Panicked, ""), false);
        assert_eq!(newer(2).fingerprint().len(), 2 * FINGERPRINT_BYTES);
    }

    #[test]
    fn a_chain_tells_its_sources_on_one_line_each() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer\nline")]
        struct Outer(#[source] EnvelopeError);
        let why = Why::of(Cause::Unreadable, &Outer(EnvelopeError::Empty)).because(None);
        assert_eq!(why.chain, ["outer line", "the body is empty"]);
        assert_eq!(why.reason(), "outer line");
    }
}
