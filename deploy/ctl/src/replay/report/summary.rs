//! PURE: the figures over all turns: what each became, each stage's noise and net change, confusions, overlaps, versions.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use talkfleet_shared::chat::{TurnRecord, Versions};

use super::{
    changes::Example,
    compare::{Distance, Turn, answer_of},
    latency::Sides,
    stage::{Class, Relation, Stage},
    stats::{mcnemar, mean, more_than, paired, percentile, wilson},
};

/// Bars of a histogram over 0 to 1; the last holds exactly 1, 'the same'.
const BARS: usize = 21;

/// Examples of each flip.
const EXAMPLES_MAX: usize = 2;

/// What became of the turns: total = unchanged + changed + noise + missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Turns {
    pub total: usize,
    pub unchanged: usize,
    /// The candidate differs where the baseline agrees with itself.
    pub changed: usize,
    /// The baseline differs from itself.
    pub noise: usize,
    /// The baseline has no record of one of its two runs.
    pub missing: usize,
    /// Those of the changed in which the customer sees something else.
    pub seen: usize,
    /// The changed by the first stage that differs; they add up.
    pub by_root: BTreeMap<&'static str, usize>,
}

impl Turns {
    pub fn of(turns: &[Turn<'_>], classes: &[Class]) -> Self {
        let mut counts = Self { total: turns.len(), ..Self::default() };
        for (turn, class) in turns.iter().zip(classes) {
            match class {
                Class::Unchanged => counts.unchanged += 1,
                Class::Noise => counts.noise += 1,
                Class::Missing => counts.missing += 1,
                Class::Changed(root) => {
                    counts.changed += 1;
                    counts.seen += usize::from(turn.is_seen());
                    *counts.by_root.entry(root.name()).or_default() += 1;
                }
            }
        }
        counts
    }

    pub fn compared(&self) -> usize {
        self.total - self.missing
    }
}

/// One stage: how often it differs, how often the baseline differs from itself, and what is left.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StageRow {
    pub stage: Stage,
    /// Turns in which it could be compared.
    pub compared: usize,
    /// The candidate differs from the baseline's first run.
    pub differs: usize,
    /// The baseline's second run differs from its first.
    pub noise: usize,
    /// The candidate differs where the baseline agrees with itself.
    pub changed: usize,
    /// Those of the changed that no earlier stage explains.
    pub root: usize,
    /// The rate of differing with its 95 % interval.
    pub rate: f64,
    pub rate_interval: (f64, f64),
    pub noise_rate: f64,
    /// `rate` less `noise_rate`, with the 95 % interval of a paired difference.
    pub net: f64,
    pub net_interval: (f64, f64),
    /// How likely chance alone sets the two rates this far apart (McNemar, exact, mid-p).
    pub chance: f64,
}

impl StageRow {
    pub fn of(stage: Stage, turns: &[Turn<'_>], classes: &[Class]) -> Self {
        let relations = || {
            let compared = turns.iter().filter(|turn| turn.is_compared()).map(|turn| turn.relation(stage));
            compared.filter(|relation| *relation != Relation::NotCompared)
        };
        let count = |wanted: fn(&Relation) -> bool| relations().filter(wanted).count();
        let compared = relations().count();
        let (differs, noise) = (count(|r| r.differs()), count(|r| r.is_noise()));
        let changed = count(|r| *r == Relation::CandidateOdd);
        let second_odd = count(|r| *r == Relation::SecondOdd);
        let share = |n: usize| n as f64 / compared.max(1) as f64;
        Self {
            stage,
            compared,
            differs,
            noise,
            changed,
            root: classes.iter().filter(|class| **class == Class::Changed(stage)).count(),
            rate: share(differs),
            rate_interval: wilson(differs, compared),
            noise_rate: share(noise),
            net: share(differs) - share(noise),
            net_interval: paired(changed, second_odd, compared),
            chance: mcnemar(changed, second_odd),
        }
    }

    /// Whether the change is more than noise: there is none, or chance would have to be kind.
    pub fn is_told_from_noise(&self) -> bool {
        self.noise == 0 || self.chance < 0.05
    }
}

/// An intent that became another.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Flip {
    pub from: String,
    pub to: String,
    pub turns: usize,
    /// Turns whose baseline has `from`.
    pub of: usize,
    /// Turns in which the baseline's second run flips the same way.
    pub noise: usize,
    /// Whether it is told from noise: the intents have none, or chance would have to be kind.
    pub sure: bool,
    pub examples: Vec<Example>,
}

/// How rarely noise alone may have a flip called sure.
const FLIP_LEVEL: f64 = 0.01;

/// Intents that became others, the most frequent first.
pub fn flips(turns: &[Turn<'_>]) -> Vec<Flip> {
    let mut flips: BTreeMap<(&str, &str), Flip> = BTreeMap::new();
    let mut had: BTreeMap<&str, usize> = BTreeMap::new();
    for turn in turns.iter().filter(|turn| turn.is_compared()) {
        *had.entry(turn.a.intent).or_default() += 1;
        if turn.relation(Stage::Intent) == Relation::CandidateOdd {
            let (from, to) = (turn.a.intent, turn.c.intent);
            let (from_name, to_name) = (from.to_owned(), to.to_owned());
            let fresh =
                || Flip { from: from_name, to: to_name, turns: 0, of: 0, noise: 0, sure: true, examples: Vec::new() };
            let flip = flips.entry((from, to)).or_insert_with(fresh);
            flip.turns += 1;
            if flip.examples.len() < EXAMPLES_MAX {
                flip.examples.push(Example::of(turn));
            }
        }
    }
    for turn in turns.iter().filter(|turn| turn.relation(Stage::Intent) == Relation::SecondOdd) {
        if let Some(flip) = flips.get_mut(&(turn.a.intent, turn.b.intent)) {
            flip.noise += 1;
        }
    }
    let mut flips: Vec<Flip> = flips.into_values().collect();
    let steady = !turns.iter().any(|turn| turn.relation(Stage::Intent).is_noise());
    for flip in &mut flips {
        flip.of = had.get(flip.from.as_str()).copied().unwrap_or_default();
        flip.sure = steady || more_than(flip.turns, flip.noise) < FLIP_LEVEL;
    }
    flips.sort_by_key(|flip| std::cmp::Reverse(flip.turns));
    flips
}

/// How a measure from 0 to 1 lies over the turns, for the candidate and for the baseline's second run, each beside the first.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Spread {
    pub candidate: Bars,
    pub noise: Bars,
}

/// The distribution of one measure.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Bars {
    pub turns: usize,
    pub mean: f64,
    pub p10: f64,
    pub p50: f64,
    /// Counts over equal ranges from 0 to 1; one more at the end for exactly 1.
    pub bars: Vec<usize>,
}

impl Spread {
    pub fn of(turns: &[Turn<'_>], read: fn(&Distance) -> f64) -> Self {
        let both = || turns.iter().filter_map(|turn| turn.to_candidate.zip(turn.to_second));
        Self { candidate: Bars::of(both().map(|(c, _)| read(&c))), noise: Bars::of(both().map(|(_, b)| read(&b))) }
    }
}

impl Bars {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let mut bars = vec![0; BARS];
        for value in &values {
            let wide = (value * (BARS - 1) as f64) as usize;
            bars[if *value >= 1.0 { BARS - 1 } else { wide.min(BARS - 2) }] += 1;
        }
        let [p10, p50] = [0.1, 0.5].map(|share| percentile(&values, share));
        Self { turns: values.len(), mean: mean(&values), p10, p50, bars }
    }
}

/// Figures about answers beside their differences.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Shape {
    /// Characters of the candidate's answer over the baseline's, median.
    pub length_ratio: f64,
    /// How far the candidate's confidence in its intent lies from the baseline's, mean of the absolute differences.
    pub confidence_apart: f64,
    pub confidence_noise: f64,
    /// Share of turns in which the baseline has the recorded intent, kind and citations: how faithful the replay is.
    pub faithful: f64,
}

impl Shape {
    pub fn of(turns: &[Turn<'_>]) -> Self {
        let mut lengths: Vec<f64> = turns.iter().filter_map(|turn| Some(turn.to_candidate?.length_ratio)).collect();
        lengths.sort_by(f64::total_cmp);
        let apart = |pick: fn(&Turn<'_>) -> Option<Distance>| {
            mean(&turns.iter().filter_map(pick).map(|distance| distance.confidence.abs()).collect::<Vec<_>>())
        };
        let faithful = turns.iter().filter(|turn| turn.a.record.is_some_and(|a| agrees(&turn.triple.original, a)));
        Self {
            length_ratio: if lengths.is_empty() { 1.0 } else { percentile(&lengths, 0.5) },
            confidence_apart: apart(|turn| turn.to_candidate),
            confidence_noise: apart(|turn| turn.to_second),
            faithful: faithful.count() as f64
                / turns.iter().filter(|turn| turn.a.record.is_some()).count().max(1) as f64,
        }
    }
}

fn agrees(original: &TurnRecord, replayed: &TurnRecord) -> bool {
    let seen = |record: &TurnRecord| {
        let answer = answer_of(record);
        let urls = answer.map(|a| a.citations.iter().map(|citation| citation.url.clone()).collect::<Vec<_>>());
        (record.intent.name.clone(), record.outcome.name(), answer.map(|a| a.kind), urls)
    };
    seen(original) == seen(replayed)
}

/// Reads one of the versions.
type ReadVersion = fn(&Versions) -> &String;

/// The versions that answered, by side; more than one means that a side changed in mid-run.
pub fn versions(turns: &[Turn<'_>]) -> BTreeMap<&'static str, Sides<BTreeSet<String>>> {
    let read: [(&'static str, ReadVersion); 3] =
        [("worker", |v| &v.worker), ("intents", |v| &v.intents), ("knowledge", |v| &v.knowledge)];
    let side = |pick: for<'t> fn(&'t Turn<'_>) -> Option<&'t TurnRecord>, read: fn(&Versions) -> &String| {
        let seen = turns.iter().filter_map(pick).map(|record| read(&record.versions));
        seen.filter(|version| !version.is_empty()).cloned().collect::<BTreeSet<_>>()
    };
    let sides = |read| Sides {
        baseline_a: side(|turn| turn.a.record, read),
        baseline_b: side(|turn| turn.b.record, read),
        candidate: side(|turn| turn.c.record, read),
    };
    read.into_iter().map(|(name, read)| (name, sides(read))).collect()
}
