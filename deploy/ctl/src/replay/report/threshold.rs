//! PURE: what a replay's gate may be held to: figures by name with their default limits.

use crate::gate::{self, gauges};
pub use crate::{
    gate::{Gauge, Sort, with_defaults, written},
    page::percent,
};

/// A replay's figure with its limit.
pub type Threshold = gate::Threshold<Figure>;

// Defaults are for a gate before a release that should change little; whoever means a change raises its limit.
gauges! {
    /// A figure of a replay that can be held to a limit.
    Figure:
    Failures          "failures"            Rate  Some(0.005), "turns that the baseline answered and the candidate did not";
    KindChanges       "kind_changes"        Rate  Some(0.01),  "turns whose kind of answer changed: answered, small talk, refused, handed over";
    IntentFlips       "intent_flips"        Rate  Some(0.02),  "turns with another intent";
    CitationChanges   "citation_changes"    Rate  Some(0.05),  "turns that cite other articles, or in another order";
    PassageChanges    "passage_changes"     Rate  None,        "turns for which other passages were found, or in another order";
    LanguageChanges   "language_changes"    Rate  Some(0.005), "turns taken for another language";
    RungChanges       "rung_changes"        Rate  None,        "turns in which another rung or model spoke";
    DegradedChanges   "degraded_changes"    Rate  Some(0.01),  "turns with other roles away";
    TextChanges       "text_changes"        Rate  None,        "turns with another text, however little of it differs";
    Changes           "changes"             Rate  None,        "turns that changed at any stage";
    Uncompared        "uncompared"          Rate  Some(0.05),  "turns of which the baseline has no record in both runs";
    TextSimilarityP10 "text_similarity_p10" Least None,        "similarity that nine of ten answers reach, unless the baseline's own runs are as far apart";
    TextSimilarity    "text_similarity"     Least Some(0.8),   "mean similarity of answers, unless the baseline's own runs are as far apart";
    PassageOverlap    "passage_overlap"     Least None,        "mean share of passages in common, unless the baseline's own runs are as far apart";
    LatencyP50Ratio   "latency_p50_ratio"   Ratio Some(1.5),   "median of the total latency over the baseline's, when it differs by more than noise";
    LatencyP90Ratio   "latency_p90_ratio"   Ratio None,        "90th percentile of the total latency over the baseline's, when it differs by more than noise";
    LatencyP99Ratio   "latency_p99_ratio"   Ratio Some(2.0),   "99th percentile of the total latency over the baseline's, when it differs by more than noise";
    CostRatio         "cost_ratio"          Ratio Some(1.25),  "tokens (money, when prices are given) over the baseline's, when they differ by more than noise";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = text.parse::<Threshold>().map_or_else(|error| error.to_string(), |threshold| threshold.to_string());
        assert!(found.starts_with(expected), "{text}: {found}");
    }

    #[test]
    fn limits_are_read_as_people_write_them() {
        check("intent_flips=2%", "intent_flips=2.0 %");
        check("failures = 0.0005", "failures=0.05 %");
        check("latency_p99_ratio=1.5x", "latency_p99_ratio=×1.50");
        check("cost_ratio=150%", "cost_ratio=×1.50");
        check("text_similarity=off", "text_similarity=off");
        check("intent_flips", "'intent_flips' has no limit; write name=limit");
        check("intent_flip=2%", "there is no figure 'intent_flip'; the nearest is 'intent_flips', all are failures,");
        check("latency_p99=2", "there is no figure 'latency_p99'; the nearest is 'latency_p99_ratio'");
        check("intent_flips=200%", "'200%' is no limit of intent_flips; write a share such as 2% or 0.02, or 'off'");
        check("intent_flips=-1", "'-1' is no limit");
        check("intent_flips=NaN", "'NaN' is no limit");
        check("cost_ratio=cheap", "'cheap' is no limit of cost_ratio; write a ratio such as 1.5");
    }

    #[test]
    fn what_is_given_takes_the_place_of_the_default() {
        let given: [Threshold; 3] =
            ["intent_flips=off", "rung_changes=1%", "rung_changes=3%"].map(|text| text.parse().unwrap());
        let all = with_defaults(&given);
        assert!(!all.iter().any(|threshold| threshold.figure == Figure::IntentFlips));
        assert_eq!(all.iter().find(|t| t.figure == Figure::RungChanges).unwrap().limit, Some(0.03));
        assert_eq!(all.iter().find(|t| t.figure == Figure::Failures).unwrap().limit, Some(0.005));
    }
}
