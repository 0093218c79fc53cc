//! PURE: releases side by side: which conversations a candidate answers, by one rule that every gateway goes by.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{id::ConversationId, topology};

/// Under which key of the bucket `RELEASE` the rule lies.
pub const RULE: &str = "rule";

/// What a gateway that goes by the rule says of itself, name and value; one that does not would let two messages of a
/// conversation be answered at once.
pub const FOLLOWS: [&str; 2] = ["follows", "releases"];

/// Shares are counted in hundredths of a percent.
const WHOLE: u16 = 10_000;

/// Which of the releases that run side by side a worker belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// What everybody is answered by.
    #[default]
    Stable,
    /// A candidate, beside it.
    Next,
}

/// What part of the conversations the candidate answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u16", into = "u16")]
#[schemars(with = "u16", extend("maximum" = 10_000))]
pub struct Share(u16);

/// Why a text is no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give a percentage from 0% to 100%, in steps of 0.01%, such as 5%")]
pub struct ShareError;

/// Who answers which conversation; one for the whole fleet, followed by every gateway and worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// In hundredths of a percent.
    pub share: Share,
    /// The candidate's version, as its workers call themselves.
    pub version: String,
    /// Unix milliseconds.
    pub set_at_ms: u64,
}

impl Release {
    /// The word for labels, records and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Next => "next",
        }
    }

    /// The durable consumer that its workers take asks from.
    pub fn consumer(self) -> &'static str {
        match self {
            Self::Stable => topology::RESPONSE,
            Self::Next => topology::RESPONSE_NEXT,
        }
    }
}

impl Share {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(WHOLE);

    /// Reads `5%`, `0.25 %` or `100%`.
    pub fn parse(text: &str) -> Result<Self, ShareError> {
        let number = text.trim().strip_suffix('%').ok_or(ShareError)?;
        let hundredths = number.trim().parse::<f64>().map_err(|_| ShareError)? * 100.0;
        if !(0.0..=f64::from(WHOLE)).contains(&hundredths) || (hundredths - hundredths.round()).abs() > 1e-6 {
            return Err(ShareError);
        }
        Ok(Self(hundredths.round() as u16))
    }

    /// From 0 to 1.
    pub fn part(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// Whether this share holds a conversation. A larger share holds all that a smaller one does, so that raising it
    /// moves nobody back; and every shard of the queue gives the same part.
    fn holds(self, conversation: &ConversationId) -> bool {
        // The shard is what the spread leaves by division: its low bits. These are the high ones, well mixed.
        let mixed = conversation.spread().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = (u128::from(mixed) * u128::from(WHOLE)) >> 64;
        place < u128::from(self.0)
    }
}

impl TryFrom<u16> for Share {
    type Error = ShareError;

    fn try_from(hundredths: u16) -> Result<Self, ShareError> {
        if hundredths <= WHOLE { Ok(Self(hundredths)) } else { Err(ShareError) }
    }
}

impl From<Share> for u16 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}

impl Rule {
    /// Who answers a conversation.
    pub fn release_of(&self, conversation: &ConversationId) -> Release {
        if self.share.holds(conversation) { Release::Next } else { Release::Stable }
    }

    /// Whether a candidate is on trial. When none is, what still lies on its queue is the stable workers'.
    pub fn is_on_trial(&self) -> bool {
        self.share > Share::NONE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(share: &str) -> Rule {
        Rule { share: Share::parse(share).unwrap(), version: "2".into(), set_at_ms: 0 }
    }

    fn talks() -> impl Iterator<Item = ConversationId> {
        (0..20_000).map(|n| ConversationId::parse(&format!("c-{n}")).unwrap())
    }

    #[test]
    fn a_share_is_that_part_of_the_conversations_in_every_shard() {
        for (share, part) in [("0%", 0.0), ("0.5%", 0.005), ("5%", 0.05), ("50%", 0.5), ("100%", 1.0)] {
            let rule = rule(share);
            for shard in 0..4 {
                let of_shard: Vec<_> = talks().filter(|talk| talk.spread() % 4 == shard).collect();
                let next = of_shard.iter().filter(|talk| rule.release_of(talk) == Release::Next).count();
                let got = next as f64 / of_shard.len() as f64;
                assert!((got - part).abs() <= 0.012, "{share}: {got} of shard {shard}");
            }
        }
    }

    #[test]
    fn a_larger_share_holds_all_that_a_smaller_one_does() {
        let (few, more) = (rule("5%"), rule("20%"));
        let moved_back =
            |talk: &ConversationId| few.release_of(talk) == Release::Next && more.release_of(talk) == Release::Stable;
        assert!(!talks().any(|talk| moved_back(&talk)));
    }

    #[test]
    fn what_is_no_percentage_is_refused() {
        for text in ["5", "-1%", "101%", "0.001%", "%", "five%", "NaN%"] {
            assert_eq!(Share::parse(text), Err(ShareError), "{text}");
        }
        assert!(serde_json::from_str::<Rule>(r#"{"share":10001,"version":"2","set_at_ms":0}"#).is_err());
    }

    proptest! {
        #[test]
        fn a_share_is_read_back_as_it_is_shown(hundredths in 0u16..=10_000) {
            let share = Share::try_from(hundredths).unwrap();
            prop_assert_eq!(Share::parse(&share.to_string()), Ok(share));
        }
    }
}
