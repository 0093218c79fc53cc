//! PURE: the methods of searching that one can choose between, from the cheapest to the best.

use super::rank::Tuning;
use crate::encoder::{DIMENSIONS, Encoder, TRANSFORMER_DIMENSIONS};
use crate::text::Language;

/// What is asked, with as much of its meaning as was computed.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub text: &'a str,
    /// The customer's; `Other` means any.
    pub language: Language,
    pub multilingual: Option<&'a [f32]>,
    pub transformer: Option<&'a [f32]>,
    /// For the sentences of the passages that are looked at twice.
    pub encoder: Option<&'a Encoder>,
}

/// A method of searching. One that lacks its embeddings does with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tier {
    /// BM25 alone.
    Words,
    /// The multilingual encoder alone.
    Multilingual,
    /// The transformer alone; the multilingual encoder where it has not read the base.
    Transformer,
    /// Words and the multilingual encoder.
    #[default]
    Fused,
    /// Words and both encoders; without the transformer the same as `Fused`.
    FusedTransformer,
    /// `Fused`, the first twenty put in order by their best sentence too.
    Reranked,
}

impl Tier {
    /// Every tier with the name that a command knows it by.
    pub const ALL: [(&'static str, Self); 6] = [
        ("words", Self::Words),
        ("multilingual", Self::Multilingual),
        ("transformer", Self::Transformer),
        ("fused", Self::Fused),
        ("fused-transformer", Self::FusedTransformer),
        ("reranked", Self::Reranked),
    ];

    /// The question with those embeddings that the tier uses; `read` says whether the transformer has read the base.
    pub(super) fn narrowed<'a>(self, question: &Question<'a>, read: bool) -> Question<'a> {
        // all-MiniLM-L6-v2 reads no Chinese.
        let reads = read && question.language != Language::Chinese;
        let transformer = question.transformer.filter(|embedding| reads && embedding.len() == TRANSFORMER_DIMENSIONS);
        let multilingual = question.multilingual.filter(|embedding| embedding.len() == DIMENSIONS);
        let (multilingual, transformer) = match self {
            Self::Words => (None, None),
            Self::Multilingual | Self::Fused | Self::Reranked => (multilingual, None),
            Self::Transformer => (multilingual.filter(|_| transformer.is_none()), transformer),
            Self::FusedTransformer => (multilingual, transformer),
        };
        Question { multilingual, transformer, ..*question }
    }

    pub(super) fn tuned(self, tuning: Tuning) -> Tuning {
        match self {
            Self::Multilingual | Self::Transformer => {
                Tuning { meaning_weight: 1.0, faq_meaning_weight: 1.0, transformer_weight: 1.0, ..tuning }
            }
            Self::Words | Self::Fused | Self::FusedTransformer | Self::Reranked => tuning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_uses_what_it_says_and_does_with_what_is_there() {
        let (multilingual, transformer) = ([0.0; DIMENSIONS], [0.0; TRANSFORMER_DIMENSIONS]);
        let question = Question {
            text: "",
            language: Language::English,
            multilingual: Some(&multilingual),
            transformer: Some(&transformer),
            encoder: None,
        };
        let uses = |tier: Tier, read| {
            let narrowed = tier.narrowed(&question, read);
            (narrowed.multilingual.is_some(), narrowed.transformer.is_some())
        };
        assert_eq!(uses(Tier::Words, true), (false, false));
        assert_eq!(uses(Tier::Fused, true), (true, false));
        assert_eq!(uses(Tier::Transformer, true), (false, true));
        assert_eq!(uses(Tier::Transformer, false), (true, false));
        assert_eq!(uses(Tier::FusedTransformer, true), (true, true));
        let short = Question { multilingual: Some(&[0.0; 3]), ..question };
        assert!(Tier::Fused.narrowed(&short, true).multilingual.is_none(), "another encoder's");
    }
}
