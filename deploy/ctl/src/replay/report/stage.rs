//! PURE: the stages of a turn in the order in which one explains the next, and how three answers stand to one another.

use schemars::JsonSchema;
use serde::Serialize;

/// What may differ in a turn. The order is that of causes: whatever differs at a later stage may follow from an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Whether it was answered at all. First, because a turn that ended early shows no more of its other stages.
    Outcome,
    /// Roles that were away: memory, intent, retrieval.
    Degraded,
    Language,
    Intent,
    /// What retrieval found, in its order.
    Passages,
    /// Answered, small talk, refused, handed over. Before the citations: a refusal has none.
    Kind,
    /// Who spoke: which model, the quoted sentences, a prepared sentence.
    Rung,
    /// What the answer shows as its sources, in their order.
    Citations,
    Text,
}

impl Stage {
    pub const ALL: [Self; 9] = [
        Self::Outcome,
        Self::Degraded,
        Self::Language,
        Self::Intent,
        Self::Passages,
        Self::Kind,
        Self::Rung,
        Self::Citations,
        Self::Text,
    ];

    /// Whether the customer sees it change.
    pub const fn is_seen(self) -> bool {
        matches!(self, Self::Outcome | Self::Kind | Self::Citations | Self::Text)
    }

    /// The word in JSON and in anchors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::Degraded => "degraded",
            Self::Language => "language",
            Self::Intent => "intent",
            Self::Passages => "passages",
            Self::Citations => "citations",
            Self::Kind => "kind",
            Self::Rung => "rung",
            Self::Text => "text",
        }
    }

    /// What a reader is told that it is.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Outcome => "Outcome",
            Self::Degraded => "Roles away",
            Self::Language => "Language",
            Self::Intent => "Intent",
            Self::Passages => "Passages found",
            Self::Citations => "Citations",
            Self::Kind => "Kind of answer",
            Self::Rung => "Who spoke",
            Self::Text => "Text",
        }
    }
}

/// How the baseline's two runs and the candidate stand to one another at one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    AllSame,
    /// The runs agree, the candidate differs: a change.
    CandidateOdd,
    /// The second run alone differs: noise, as large as a change would be if there were none.
    SecondOdd,
    /// The first run alone differs: noise.
    FirstOdd,
    AllDiffer,
    /// One of them did not come this far in the same way, so that there is nothing to compare.
    NotCompared,
}

impl Relation {
    /// The same three with the candidate and the second run in one another's place.
    pub fn swapped(self) -> Self {
        match self {
            Self::CandidateOdd => Self::SecondOdd,
            Self::SecondOdd => Self::CandidateOdd,
            same => same,
        }
    }

    /// Whether the baseline differs from itself.
    pub fn is_noise(self) -> bool {
        matches!(self, Self::SecondOdd | Self::FirstOdd | Self::AllDiffer)
    }

    /// Whether the candidate differs from the first run.
    pub fn differs(self) -> bool {
        matches!(self, Self::CandidateOdd | Self::FirstOdd | Self::AllDiffer)
    }
}

/// The relations of one turn, stage by stage.
pub type Relations = [Relation; Stage::ALL.len()];

/// What became of a turn; every turn is exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// All three are the same.
    Unchanged,
    /// The candidate differs where the baseline agrees with itself; the stage is the first such one, its root.
    Changed(Stage),
    /// The baseline differs from itself, and no change can be told from that.
    Noise,
    /// One of the baseline's runs has no record of it.
    Missing,
}

/// Finds the root. Behind a stage where all three differ, nothing can be laid to the candidate: its own noise explains it.
pub fn classify(relations: &Relations) -> Class {
    let mut class = Class::Unchanged;
    for (stage, relation) in Stage::ALL.into_iter().zip(relations) {
        match relation {
            Relation::CandidateOdd => return Class::Changed(stage),
            Relation::AllDiffer => return Class::Noise,
            Relation::FirstOdd | Relation::SecondOdd => class = Class::Noise,
            Relation::AllSame | Relation::NotCompared => {}
        }
    }
    class
}

#[cfg(test)]
mod tests {
    use Relation::{AllDiffer, AllSame, CandidateOdd, FirstOdd, NotCompared, SecondOdd};

    use super::*;

    #[track_caller]
    fn check(later: &[Relation], expected: Class) {
        let mut relations = [AllSame; Stage::ALL.len()];
        relations[3..3 + later.len()].copy_from_slice(later);
        assert_eq!(classify(&relations), expected, "{later:?}");
    }

    #[test]
    fn a_turn_is_told_by_the_first_stage_that_changed() {
        check(&[], Class::Unchanged);
        check(&[CandidateOdd, CandidateOdd, SecondOdd], Class::Changed(Stage::Intent));
        check(&[AllSame, AllSame, SecondOdd], Class::Noise);
        check(&[SecondOdd, CandidateOdd], Class::Changed(Stage::Passages));
        check(&[FirstOdd, AllSame, CandidateOdd], Class::Changed(Stage::Kind));
        check(&[AllDiffer, CandidateOdd], Class::Noise);
        check(&[NotCompared, NotCompared], Class::Unchanged);
    }

    #[test]
    fn stages_stand_in_their_order() {
        assert!(Stage::ALL.is_sorted());
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
        }
    }
}
