//! Figures that can be held to a limit, limits as people write them, and what becomes of a figure beside its limit.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::Serialize;

use crate::page::{micros, millis, percent};

/// In which direction a figure is bad, and how its limit is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A share that may not be exceeded.
    Rate,
    /// The candidate over the baseline, that may not be exceeded.
    Ratio,
    /// Milliseconds that may not be exceeded.
    Millis,
    /// A measure from 0 to 1 that may not fall lower.
    Least,
    /// A number that may not be exceeded.
    Most,
    /// A number that may not fall lower.
    Fewest,
}

/// The figures of one report; see [`gauges`].
pub trait Gauge: Copy + PartialEq + Send + Sync + 'static {
    const ALL: &'static [Self];

    fn name(self) -> &'static str;
    fn sort(self) -> Sort;
    /// What it is held to when nothing is said.
    fn default_limit(self) -> Option<f64>;
    fn what(self) -> &'static str;
}

/// Declares the figures of a report: name, word, sort, default limit, and what it counts.
macro_rules! gauges {
    ($(#[$about:meta])* $all:ident: $($name:ident $word:literal $sort:ident $default:expr, $what:literal;)*) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $all {$(
            #[doc = $what]
            $name,
        )*}

        impl $crate::gate::Gauge for $all {
            const ALL: &'static [Self] = &[$(Self::$name),*];

            fn name(self) -> &'static str {
                match self {$(Self::$name => $word),*}
            }

            fn sort(self) -> $crate::gate::Sort {
                match self {$(Self::$name => $crate::gate::Sort::$sort),*}
            }

            fn default_limit(self) -> Option<f64> {
                match self {$(Self::$name => $default),*}
            }

            fn what(self) -> &'static str {
                match self {$(Self::$name => $what),*}
            }
        }
    };
}
pub(crate) use gauges;

/// A figure with its limit; None lifts it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold<G> {
    pub figure: G,
    pub limit: Option<f64>,
}

/// Why a text is no threshold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    #[error("'{text}' has no limit; write name=limit, for example {example}")]
    NoLimit { text: String, example: String },
    #[error("there is no figure '{name}'; the nearest is '{nearest}', all are {all}")]
    Unknown { name: String, nearest: &'static str, all: String },
    #[error("'{0}' is no limit of {1}; write {2}, or 'off'")]
    BadLimit(String, &'static str, &'static str),
}

impl Sort {
    /// Whether more of it is better.
    fn may_not_fall(self) -> bool {
        matches!(self, Self::Least | Self::Fewest)
    }

    fn takes_shares(self) -> bool {
        matches!(self, Self::Rate | Self::Ratio | Self::Least)
    }

    /// How a limit is written.
    fn shape(self) -> &'static str {
        match self {
            Self::Rate | Self::Least => "a share such as 2% or 0.02",
            Self::Ratio => "a ratio such as 1.5",
            Self::Millis => "milliseconds such as 800 or 800ms",
            Self::Most | Self::Fewest => "a number such as 85 or 12000",
        }
    }
}

impl<G: Gauge> FromStr for Threshold<G> {
    type Err = ThresholdError;

    /// Reads `intent_flips=2%`, `failures=0.001`, `latency_p99_ratio=1.5x`, `latency_p99_ms=800` or `text_similarity=off`.
    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let example = || match G::ALL.first() {
            Some(figure) => Threshold { figure: *figure, limit: Some(0.02) }.to_string().replace(' ', ""),
            None => String::new(),
        };
        let (name, limit) =
            text.split_once('=').ok_or_else(|| ThresholdError::NoLimit { text: text.into(), example: example() })?;
        let (name, limit) = (name.trim(), limit.trim());
        let found = G::ALL.iter().find(|figure| figure.name() == name);
        let figure = *found.ok_or_else(|| ThresholdError::Unknown {
            name: name.into(),
            nearest: nearest::<G>(name),
            all: G::ALL.iter().map(|figure| figure.name()).collect::<Vec<_>>().join(", "),
        })?;
        if limit == "off" {
            return Ok(Self { figure, limit: None });
        }
        let sort = figure.sort();
        let plain = match sort {
            Sort::Ratio => limit.strip_suffix(['x', '×']).unwrap_or(limit),
            Sort::Millis => limit.strip_suffix("ms").unwrap_or(limit),
            Sort::Rate | Sort::Least | Sort::Most | Sort::Fewest => limit,
        };
        let (digits, unit) = match limit.strip_suffix('%').filter(|_| sort.takes_shares()) {
            Some(digits) => (digits, 0.01),
            None => (plain, 1.0),
        };
        let value = digits.trim().parse::<f64>().ok().map(|value| value * unit);
        let most = if matches!(sort, Sort::Rate | Sort::Least) { 1.0 } else { f64::MAX };
        match value.filter(|value| (0.0..=most).contains(value)) {
            Some(value) => Ok(Self { figure, limit: Some(value) }),
            None => Err(ThresholdError::BadLimit(limit.into(), figure.name(), sort.shape())),
        }
    }
}

impl<G: Gauge> fmt::Display for Threshold<G> {
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
        Sort::Millis => format!("{} ms", millis(value)),
        Sort::Least => format!("{value:.2}"),
        Sort::Most | Sort::Fewest => micros(value),
    }
}

/// The default limits with these in the place of theirs; the last of a name wins.
pub fn with_defaults<G: Gauge>(given: &[Threshold<G>]) -> Vec<Threshold<G>> {
    let limit = |figure: &G| {
        let own = given.iter().rev().find(|threshold| threshold.figure == *figure);
        Threshold { figure: *figure, limit: own.map_or(figure.default_limit(), |threshold| threshold.limit) }
    };
    G::ALL.iter().map(limit).filter(|threshold| threshold.limit.is_some()).collect()
}

/// One figure against its limit.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Check<G> {
    pub figure: G,
    pub what: &'static str,
    pub limit: f64,
    /// The figure; a rate's noise is taken off.
    pub found: f64,
    /// The 95 % interval, where there is one.
    pub interval: Option<(f64, f64)>,
    /// The same figure where nothing changed: between a baseline's two runs.
    pub noise: f64,
    pub state: State,
    /// Figure and limit as people read them.
    pub sentence: String,
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Pass,
    Fail,
    /// Over its limit, but not by more than noise explains: it lets pass, and more turns would tell.
    Unsure,
}

/// A figure with what it takes to judge it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    pub value: f64,
    pub interval: Option<(f64, f64)>,
    pub noise: f64,
    pub told_from_noise: bool,
}

impl Found {
    /// A figure that has no noise to be told from.
    pub fn plain(value: f64) -> Self {
        Self { value, interval: None, noise: 0.0, told_from_noise: true }
    }
}

impl<G: Gauge> Check<G> {
    pub fn of(figure: G, limit: f64, found: Found) -> Self {
        let over = if figure.sort().may_not_fall() { found.value < limit } else { found.value > limit };
        let state = match (over, found.told_from_noise) {
            (false, _) => State::Pass,
            (true, true) => State::Fail,
            (true, false) => State::Unsure,
        };
        let write = |value| written(figure.sort(), value);
        let interval =
            found.interval.map_or(String::new(), |(low, high)| format!(" ({} to {})", write(low), write(high)));
        let bound = if figure.sort().may_not_fall() { "at least" } else { "at most" };
        let sentence = format!("{}{interval}, {bound} {}", write(found.value), write(limit));
        let (interval, noise) = (found.interval, found.noise);
        Self { figure, what: figure.what(), limit, found: found.value, interval, noise, state, sentence }
    }
}

fn nearest<G: Gauge>(name: &str) -> &'static str {
    let near = G::ALL.iter().map(|figure| figure.name()).min_by_key(|known| edits(name, known));
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

    gauges! {
        /// Of this test.
        Sample:
        Misses "misses" Rate Some(0.05), "what was missed";
        Slow "slow_ms" Millis None, "how slow";
        Rate "turns" Fewest None, "how many";
    }

    #[test]
    fn limits_of_every_sort_are_read_and_written() {
        let found = |text: &str| text.parse::<Threshold<Sample>>().map_or_else(|e| e.to_string(), |t| t.to_string());
        assert_eq!(found("slow_ms=800ms"), "slow_ms=800 ms");
        assert_eq!(found("turns=12000"), "turns=12,000");
        assert_eq!(Check::of(Sample::Rate, 10.0, Found::plain(9.0)).state, State::Fail);
        assert!(found("turns=5%").contains("a number such as"), "{}", found("turns=5%"));
        assert_eq!(found("slow_ms = 12.5"), "slow_ms=12.5 ms");
        assert_eq!(found("misses"), "'misses' has no limit; write name=limit, for example misses=2.0%");
        assert!(found("slow_ms=8%").contains("write milliseconds such as 800"), "{}", found("slow_ms=8%"));
        assert_eq!(with_defaults::<Sample>(&[]).len(), 1, "without a default a figure holds nobody");
    }

    #[test]
    fn what_noise_explains_lets_pass() {
        let found = Found { told_from_noise: false, ..Found::plain(0.06) };
        assert_eq!(Check::of(Sample::Misses, 0.05, found).state, State::Unsure);
        assert_eq!(Check::of(Sample::Misses, 0.05, Found::plain(0.06)).state, State::Fail);
        assert_eq!(Check::of(Sample::Misses, 0.06, Found::plain(0.06)).state, State::Pass);
    }
}
