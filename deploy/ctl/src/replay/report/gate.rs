//! PURE: the verdict: every figure against its limit, noise taken off, and whether there were turns enough to tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Facts, Sides,
    compare::Turn,
    cost::Cost,
    latency::{Judged, Latency},
    stage::{Class, Relation, Stage, classify},
    stats::{mcnemar, paired},
    summary::{Bars, Spread, StageRow, Turns},
    threshold::{Figure, Gauge, Threshold, percent},
};
pub use crate::gate::State;
use crate::gate::{self, Found};

/// Similarities of two runs of one fleet differ by this much without meaning anything.
const SIMILARITY_APART: f64 = 0.02;

/// Below this many turns a rate is known so loosely that the reader is told.
const TURNS_FEW: usize = 200;

/// Whether the candidate may go on.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Verdict {
    pub passed: bool,
    pub checks: Vec<Check>,
    /// What the reader should know before believing it.
    pub notes: Vec<String>,
}

/// One figure against its limit.
pub type Check = gate::Check<Figure>;

/// All that the figures are read from.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    pub turns: &'a Turns,
    pub stages: &'a [StageRow],
    pub outcomes: Paired,
    pub roots: Paired,
    pub similarity: &'a Spread,
    pub overlap: &'a Spread,
    pub latency: &'a [Latency],
    pub cost: &'a Cost,
}

/// Turns on which just the candidate, or just the baseline's second run, stands out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Paired {
    pub candidate: usize,
    pub second: usize,
}

impl Paired {
    /// Turns that were not answered, while the two others were.
    pub fn failures(turns: &[Turn<'_>]) -> Self {
        let mut found = Self::default();
        for turn in turns.iter().filter(|turn| turn.is_compared() && turn.a.ending.is_answered()) {
            found.candidate += usize::from(turn.b.ending.is_answered() && !turn.c.ending.is_answered());
            found.second += usize::from(turn.c.ending.is_answered() && !turn.b.ending.is_answered());
        }
        found
    }

    /// Turns that changed at any stage.
    pub fn roots(turns: &[Turn<'_>], classes: &[Class]) -> Self {
        let changed = |class: &Class| matches!(class, Class::Changed(_));
        let second = turns.iter().filter(|turn| turn.is_compared());
        let second = second.filter(|turn| changed(&classify(&turn.relations.map(Relation::swapped))));
        Self { candidate: classes.iter().filter(|class| changed(class)).count(), second: second.count() }
    }
}

impl Verdict {
    pub fn of(thresholds: &[Threshold], evidence: Evidence<'_>) -> Self {
        let checks = thresholds.iter().filter_map(|threshold| Some((threshold.figure, threshold.limit?)));
        let checks: Vec<Check> =
            checks.map(|(figure, limit)| Check::of(figure, limit, find(figure, evidence))).collect();
        let compared = evidence.turns.compared();
        let mut notes = Vec::new();
        if compared == 0 {
            notes.push("nothing was compared: no turn has a record of both of the baseline's runs".into());
        } else if compared < TURNS_FEW {
            // No noise in n turns leaves room for a rate of 3/n (Hanley and Lippman-Hand, JAMA 249, 1983).
            let unseen = percent((3.0 / compared as f64).min(1.0));
            notes.push(format!(
                "only {compared} turns were compared: what was never seen in them may still happen in up to {unseen} of turns"
            ));
        }
        for check in checks.iter().filter(|check| check.state == State::Unsure) {
            notes.push(format!("too few turns to tell {} from noise: {}", check.figure.name(), check.sentence));
        }
        Self { passed: compared > 0 && checks.iter().all(|check| check.state != State::Fail), checks, notes }
    }

    /// For CI: success when it passed.
    pub fn exit_code(&self) -> ExitCode {
        if self.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// What in the run itself may look like a change or like noise.
pub fn caveats(facts: &Facts, versions: &BTreeMap<&'static str, Sides<BTreeSet<String>>>) -> Vec<String> {
    let mut notes = Vec::new();
    let misses = &facts.cassette_misses;
    let sides = [("first run", misses.baseline_a), ("second run", misses.baseline_b), ("candidate", misses.candidate)];
    for (side, n) in sides.into_iter().filter(|(_, n)| *n > 0) {
        notes.push(format!(
            "{n} calls of a model in the {side} had no recorded answer: what came of them is new, not changed"
        ));
    }
    for (name, sides) in versions {
        if sides.baseline_a != sides.baseline_b {
            notes.push(format!(
                "the baseline's two runs had other versions of {name}: what is called noise here may be that"
            ));
        } else if sides.baseline_a.len().max(sides.candidate.len()) > 1 {
            notes.push(format!("a side had more than one version of {name}: it changed in mid-run"));
        }
    }
    notes
}

fn find(figure: Figure, evidence: Evidence<'_>) -> Found {
    let compared = evidence.turns.compared();
    match figure {
        Figure::Failures => rate(evidence.outcomes, compared),
        Figure::Changes => rate(evidence.roots, compared),
        Figure::KindChanges => stage(Stage::Kind, evidence),
        Figure::IntentFlips => stage(Stage::Intent, evidence),
        Figure::CitationChanges => stage(Stage::Citations, evidence),
        Figure::PassageChanges => stage(Stage::Passages, evidence),
        Figure::LanguageChanges => stage(Stage::Language, evidence),
        Figure::RungChanges => stage(Stage::Rung, evidence),
        Figure::DegradedChanges => stage(Stage::Degraded, evidence),
        Figure::TextChanges => stage(Stage::Text, evidence),
        Figure::Uncompared => {
            let value = evidence.turns.missing as f64 / evidence.turns.total.max(1) as f64;
            Found::plain(value)
        }
        Figure::TextSimilarityP10 => least(evidence.similarity, |bars| bars.p10),
        Figure::TextSimilarity => least(evidence.similarity, |bars| bars.mean),
        Figure::PassageOverlap => least(evidence.overlap, |bars| bars.mean),
        Figure::LatencyP50Ratio => latency("p50", evidence.latency),
        Figure::LatencyP90Ratio => latency("p90", evidence.latency),
        Figure::LatencyP99Ratio => latency("p99", evidence.latency),
        Figure::CostRatio => Found {
            value: evidence.cost.ratio,
            interval: None,
            noise: evidence.cost.noise_ratio,
            told_from_noise: evidence.cost.is_told_from_noise(),
        },
    }
}

fn rate(odd: Paired, compared: usize) -> Found {
    let share = |n: usize| n as f64 / compared.max(1) as f64;
    Found {
        value: share(odd.candidate) - share(odd.second),
        interval: Some(paired(odd.candidate, odd.second, compared)).filter(|_| odd.second > 0),
        noise: share(odd.second),
        told_from_noise: odd.second == 0 || mcnemar(odd.candidate, odd.second) < 0.05,
    }
}

fn stage(stage: Stage, evidence: Evidence<'_>) -> Found {
    let row = &evidence.stages[stage as usize];
    Found {
        value: row.net,
        interval: Some(row.net_interval).filter(|_| row.noise > 0),
        noise: row.noise_rate,
        told_from_noise: row.is_told_from_noise(),
    }
}

fn least(spread: &Spread, read: fn(&Bars) -> f64) -> Found {
    // Of no turns nothing is unlike; that nothing was compared is said elsewhere.
    let value = |bars: &Bars| if bars.turns == 0 { 1.0 } else { read(bars) };
    let (value, noise) = (value(&spread.candidate), value(&spread.noise));
    Found { value, interval: None, noise, told_from_noise: value + SIMILARITY_APART < noise }
}

fn latency(name: &str, latencies: &[Latency]) -> Found {
    let total = latencies.last().and_then(|latency| latency.percentiles.iter().find(|p| p.name == name));
    total.map_or(Found { value: 1.0, interval: None, noise: 1.0, told_from_noise: false }, |percentile| Found {
        value: percentile.ratio,
        interval: None,
        noise: percentile.noise_ratio,
        told_from_noise: percentile.judged != Judged::WithinNoise,
    })
}
