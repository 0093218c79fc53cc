//! PURE: what a gate may be held to: figures by name, their default limits, and limits as people write them.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// In which direction a figure is bad, and how its limit is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A share of turns, less the noise, that may not be exceeded.
    Rate,
    /// The candidate over the baseline, that may not be exceeded.
    Ratio,
    /// A measure from 0 to 1 that may not fall lower.
    Least,
}

macro_rules! figures {
    ($($name:ident $word:literal $sort:ident $default:expr, $what:literal;)*) => {
        /// A figure that can be held to a limit.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Figure {$(
            #[doc = $what]
            $name,
        )*}

        impl Figure {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub const fn name(self) -> &'static str {
                match self {$(Self::$name => $word),*}
            }

            pub const fn sort(self) -> Sort {
                match self {$(Self::$name => Sort::$sort),*}
            }

            /// What it is held to when nothing is said.
            pub const fn default_limit(self) -> Option<f64> {
                match self {$(Self::$name => $default),*}
            }

            pub const fn what(self) -> &'static str {
                match self {$(Self::$name => $what),*}
            }
        }
    };
}

// Defaults are for a gate before a release that should change little; whoever means a change raises its limit.
figures! {
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

/// A figure with its limit; None lifts it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    pub figure: Figure,
    pub limit: Option<f64>,
}

/// Why a text is no threshold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    #[error("'{0}' has no limit; write name=limit, for example intent_flips=2%")]
    NoLimit(String),
    #[error("there is no figure '{0}'; the nearest is '{1}', all are {all}", all = names())]
    Unknown(String, &'static str),
    #[error("'{0}' is no limit of {1}; write {2}, or 'off'")]
    BadLimit(String, &'static str, &'static str),
}

fn names() -> String {
    Figure::ALL.iter().map(|figure| figure.name()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    /// Reads `intent_flips=2%`, `failures=0.001`, `latency_p99_ratio=1.5x` or `text_similarity=off`.
    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let (name, limit) = text.split_once('=').ok_or_else(|| ThresholdError::NoLimit(text.into()))?;
        let (name, limit) = (name.trim(), limit.trim());
        let found = Figure::ALL.iter().find(|figure| figure.name() == name);
        let figure = *found.ok_or_else(|| ThresholdError::Unknown(name.into(), nearest(name)))?;
        if limit == "off" {
            return Ok(Self { figure, limit: None });
        }
        let (digits, unit) = match limit.strip_suffix('%') {
            Some(digits) => (digits, 0.01),
            None => (limit.strip_suffix(['x', '×']).filter(|_| figure.sort() == Sort::Ratio).unwrap_or(limit), 1.0),
        };
        let value = digits.trim().parse::<f64>().ok().map(|value| value * unit);
        let most = if figure.sort() == Sort::Ratio { f64::MAX } else { 1.0 };
        let shape = if figure.sort() == Sort::Ratio { "a ratio such as 1.5" } else { "a share such as 2% or 0.02" };
        match value.filter(|value| (0.0..=most).contains(value)) {
            Some(value) => Ok(Self { figure, limit: Some(value) }),
            None => Err(ThresholdError::BadLimit(limit.into(), figure.name(), shape)),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            None => write!(f, "{}=off", self.figure.name()),
            Some(limit) => write!(f, "{}={}", self.figure.name(), written(self.figure.sort(), limit)),
        }
    }
}

/// A figure as people read it.
pub fn written(sort: Sort, value: f64) -> String {
    match sort {
        Sort::Rate => percent(value),
        Sort::Ratio if value > 1e6 => "from none".into(),
        Sort::Ratio => format!("×{value:.2}"),
        Sort::Least => format!("{value:.2}"),
    }
}

/// A share in percent, with as many digits as it takes to tell it from 0.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 {
        "0 %".into()
    } else if percent.abs() < 0.095 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.1} %")
    }
}

/// The default limits with these in the place of theirs; the last of a name wins.
pub fn with_defaults(given: &[Threshold]) -> Vec<Threshold> {
    let limit = |figure: &Figure| {
        let own = given.iter().rev().find(|threshold| threshold.figure == *figure);
        Threshold { figure: *figure, limit: own.map_or(figure.default_limit(), |threshold| threshold.limit) }
    };
    Figure::ALL.iter().map(limit).filter(|threshold| threshold.limit.is_some()).collect()
}

fn nearest(name: &str) -> &'static str {
    let near = Figure::ALL.iter().map(|figure| figure.name()).min_by_key(|known| edits(name, known));
    near.unwrap_or_default()
}

/// How many letters must be added, dropped or replaced (Levenshtein).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
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
        let given = ["intent_flips=off", "rung_changes=1%", "rung_changes=3%"].map(|text| text.parse().unwrap());
        let all = with_defaults(&given);
        assert!(!all.iter().any(|threshold| threshold.figure == Figure::IntentFlips));
        assert_eq!(all.iter().find(|t| t.figure == Figure::RungChanges).unwrap().limit, Some(0.03));
        assert_eq!(all.iter().find(|t| t.figure == Figure::Failures).unwrap().limit, Some(0.005));
    }
}
