//! PURE: how long each stage took on each side, and whether the candidate's difference is more than the baseline's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use talkfleet_shared::chat::Timings;

pub use crate::page::millis;

use super::{
    compare::{Reading, Turn},
    stats::{percentile, percentile_range},
};

/// Reads one stage's milliseconds.
type Read = fn(&Timings) -> f64;

/// The stages that are timed, as the record names them, with what is read of it.
const TIMED: [(&str, Read); 6] = [
    ("queue", |timings| timings.queue_ms),
    ("recall", |timings| timings.recall_ms),
    ("intent", |timings| timings.intent_ms),
    ("retrieval", |timings| timings.retrieval_ms),
    ("response", |timings| timings.response_ms),
    ("total", |timings| timings.total_ms),
];

/// The percentiles that are shown.
pub const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// A difference below these is nobody's concern: runs one after the other on one machine differ by as much.
const RATIO_MIN: f64 = 1.25;
const APART_MIN_MS: f64 = 2.0;

/// Points of the curve that is drawn of a side's total.
const CURVE_POINTS: usize = 60;

/// One figure for each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Sides<T> {
    pub baseline_a: T,
    pub baseline_b: T,
    pub candidate: T,
}

/// One timed stage.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Latency {
    pub stage: &'static str,
    /// Turns in which it ran on every side.
    pub turns: usize,
    pub percentiles: Vec<Percentile>,
}

/// One percentile of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Percentile {
    pub name: &'static str,
    pub ms: Sides<f64>,
    /// Candidate over the mean of the baseline's two.
    pub ratio: f64,
    /// The baseline's slower run over its faster.
    pub noise_ratio: f64,
    pub judged: Judged,
}

/// How a percentile of the candidate stands to the baseline's two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    WithinNoise,
    Slower,
    Faster,
}

/// The timed stages, `total` last.
pub fn latencies(turns: &[Turn<'_>]) -> Vec<Latency> {
    TIMED.into_iter().map(|(stage, read)| latency(stage, &columns(turns, read))).collect()
}

/// A side's totals at evenly spaced shares, for the curve of who was served within which time.
pub fn curves(turns: &[Turn<'_>]) -> Sides<Vec<f64>> {
    let curve = |values: &Vec<f64>| {
        (1..=CURVE_POINTS).map(|i| percentile(values, (i as f64 - 0.5) / CURVE_POINTS as f64)).collect()
    };
    let [a, b, c] = &columns(turns, TIMED[TIMED.len() - 1].1);
    Sides { baseline_a: curve(a), baseline_b: curve(b), candidate: curve(c) }
}

/// The stages that got slower or faster, as sentences; the total is named when no stage explains it.
pub fn sentences(latencies: &[Latency]) -> Vec<String> {
    let moved = |latency: &Latency| {
        let percentile = latency.percentiles.iter().find(|percentile| percentile.judged != Judged::WithinNoise)?;
        let word = if percentile.judged == Judged::Slower { "slower" } else { "faster" };
        Some(format!(
            "`{}` is {word}: {} {} ms instead of {} (×{:.2}; the baseline's own runs differ by ×{:.2})",
            latency.stage,
            percentile.name,
            millis(percentile.ms.candidate),
            millis((percentile.ms.baseline_a + percentile.ms.baseline_b) / 2.0),
            percentile.ratio,
            percentile.noise_ratio
        ))
    };
    let named = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        latencies.iter().filter(|latency| wanted(latency.stage)).filter_map(moved).collect()
    };
    // Whoever works longer makes others wait: the queue and the total follow from the stages between them.
    [named(&|stage| !matches!(stage, "queue" | "total")), named(&|stage| stage == "queue"), named(&|_| true)]
        .into_iter()
        .find(|sentences| !sentences.is_empty())
        .unwrap_or_default()
}

/// What every side measured in the turns in which the stage ran on all of them, each sorted.
fn columns(turns: &[Turn<'_>], read: Read) -> [Vec<f64>; 3] {
    let of = |reading: &Reading<'_>| {
        let timings = reading.record.filter(|_| reading.ending.is_answered()).map(|record| &record.timings);
        timings.map(read).filter(|ms| ms.is_finite() && *ms > 0.0)
    };
    let mut columns = [Vec::new(), Vec::new(), Vec::new()];
    for turn in turns {
        if let (Some(a), Some(b), Some(c)) = (of(&turn.a), of(&turn.b), of(&turn.c)) {
            columns.iter_mut().zip([a, b, c]).for_each(|(column, ms)| column.push(ms));
        }
    }
    columns.iter_mut().for_each(|column| column.sort_by(f64::total_cmp));
    columns
}

fn latency(stage: &'static str, columns: &[Vec<f64>; 3]) -> Latency {
    let percentiles = SHARES.into_iter().map(|(name, share)| judge(name, share, columns)).collect();
    Latency { stage, turns: columns[0].len(), percentiles }
}

/// Slower or faster only when the candidate's range lies outside both of the baseline's, by more than twice what lies between
/// those, and by enough to matter.
fn judge(name: &'static str, share: f64, columns: &[Vec<f64>; 3]) -> Percentile {
    let [a, b, c] = columns.each_ref().map(|column| percentile(column, share));
    let [in_a, in_b, in_c] = columns.each_ref().map(|column| percentile_range(column, share));
    let base = (a + b) / 2.0;
    let ratio = if base > 0.0 { c / base } else { 1.0 };
    let noise_ratio = if a.min(b) > 0.0 { a.max(b) / a.min(b) } else { 1.0 };
    let matters =
        (c - base).abs() >= APART_MIN_MS && ratio.max(1.0 / ratio) >= RATIO_MIN.max(noise_ratio * noise_ratio);
    let judged = if matters && in_c.0 > in_a.1.max(in_b.1) {
        Judged::Slower
    } else if matters && in_c.1 < in_a.0.min(in_b.0) {
        Judged::Faster
    } else {
        Judged::WithinNoise
    };
    Percentile { name, ms: Sides { baseline_a: a, baseline_b: b, candidate: c }, ratio, noise_ratio, judged }
}
