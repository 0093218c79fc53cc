//! What a candidate fleet answers differently on recorded traffic: the changes named by their causes, with noise taken off.
//!
//! The baseline runs twice. Where its two runs agree and the candidate differs, the turn changed; where they differ, that is
//! noise. A turn is told under the first stage that changed (its root), and every root under one cause, so that one cause is
//! named once.

/// PURE: what may differ in a turn, in the order of causes.
mod stage;

/// PURE: how alike texts and rankings are.
pub(crate) mod alike;

/// PURE: intervals, tests and percentiles.
pub(crate) mod stats;

/// PURE: a turn as it is compared.
mod compare;

/// PURE: what may stand behind a change.
mod causes;

/// PURE: which causes stand behind all of them.
mod explain;

/// PURE: what changed, in sentences.
mod changes;

/// PURE: the figures over all turns.
mod summary;

/// PURE: how long the stages took.
mod latency;

/// PURE: what the models charged.
mod cost;

/// PURE: where two texts differ.
mod diff;

/// PURE: the turns that changed most.
mod worst;

/// PURE: what a gate may be held to.
mod threshold;

/// PURE: the verdict.
mod gate;

/// PURE: the report in the terminal.
mod text;

/// PURE: the report as a page.
mod html;

/// Turns for tests, English and Chinese, with changes put in on purpose.
#[cfg(test)]
mod sample;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    causes::World,
    compare::Turn,
    explain::explain,
    gate::{Evidence, Paired},
    stage::{Class, classify},
};
pub use self::{
    changes::Change,
    cost::Cost,
    gate::{Check, State, Verdict},
    latency::{Latency, Sides},
    stage::Stage,
    summary::{Flip, Shape, Spread, StageRow, Turns},
    threshold::{Threshold, with_defaults},
    worst::{Case, Shown},
};
use super::Triple;

/// The shape of `report.json`; it grows when a field changes its meaning or goes.
pub const SHAPE: u32 = 1;

/// The files of a written report.
pub const PAGE: &str = "index.html";
pub const JSON: &str = "report.json";

/// What was replayed, by whom and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Facts {
    pub tenant: String,
    pub channel: Option<String>,
    /// The stretch of the journal, as the operator gave it.
    pub range: String,
    /// The names of the two sides.
    pub baseline: String,
    pub candidate: String,
    /// `original`, `10x`, `as fast as it goes`.
    pub speed: String,
    /// Unix milliseconds.
    pub started_at_ms: u64,
    pub ended_at_ms: u64,
    /// Turns that were in the range and not replayed, by why.
    pub skipped: BTreeMap<String, u64>,
    /// Calls of a model that no recorded answer was found for.
    pub cassette_misses: Sides<u64>,
}

/// What the models charge for a thousand tokens; 0 counts tokens only.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prices {
    pub prompt_per_1k: f64,
    pub completion_per_1k: f64,
    /// `USD`, `¥`.
    pub currency: String,
}

/// How a report is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub prices: Prices,
    /// Cases shown side by side.
    pub worst_max: usize,
    pub thresholds: Vec<Threshold>,
}

impl Default for Options {
    fn default() -> Self {
        Self { prices: Prices::default(), worst_max: 50, thresholds: with_defaults(&[]) }
    }
}

/// What a replay found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Report {
    pub shape: u32,
    pub facts: Facts,
    pub verdict: Verdict,
    pub turns: Turns,
    /// What changed, the most seen first.
    pub changes: Vec<Change>,
    /// Changes of what was found that no customer sees.
    pub unseen: Vec<Change>,
    /// What may have changed, too seldom to be told from noise.
    pub doubtful: Vec<Change>,
    /// What became slower, faster, dearer or cheaper, beyond the baseline's own difference.
    pub slower: Vec<String>,
    pub stages: Vec<StageRow>,
    pub flips: Vec<Flip>,
    pub shape_of_answers: Shape,
    pub text_similarity: Spread,
    pub passage_overlap: Spread,
    /// Agreement of the rankings, the top counting more.
    pub passage_ranking: Spread,
    pub latency: Vec<Latency>,
    /// Total latency in milliseconds at evenly spaced shares of the turns.
    pub latency_curve: Sides<Vec<f64>>,
    pub cost: Cost,
    pub versions: BTreeMap<&'static str, Sides<BTreeSet<String>>>,
    pub worst: Vec<Case>,
}

/// Compares.
pub fn compare(triples: &[Triple], facts: &Facts, options: &Options) -> Report {
    let turns: Vec<Turn<'_>> = triples.iter().map(Turn::of).collect();
    let class = |turn: &Turn<'_>| if turn.is_compared() { classify(&turn.relations) } else { Class::Missing };
    let classes: Vec<Class> = turns.iter().map(class).collect();
    let counts = Turns::of(&turns, &classes);
    let stages: Vec<StageRow> = Stage::ALL.iter().map(|stage| StageRow::of(*stage, &turns, &classes)).collect();
    let told = Told::of(&turns, &classes);
    let (similarity, overlap) = (Spread::of(&turns, |d| d.similarity), Spread::of(&turns, |d| d.jaccard));
    let (latency, cost) = (latency::latencies(&turns), Cost::of(&turns, &options.prices));
    let evidence = Evidence {
        turns: &counts,
        stages: &stages,
        outcomes: Paired::failures(&turns),
        roots: Paired::roots(&turns, &classes),
        similarity: &similarity,
        overlap: &overlap,
        latency: &latency,
        cost: &cost,
    };
    let versions = summary::versions(&turns);
    let mut verdict = Verdict::of(&options.thresholds, evidence);
    verdict.notes.extend(gate::caveats(facts, &versions));
    Report {
        shape: SHAPE,
        facts: facts.clone(),
        verdict,
        slower: latency::sentences(&latency).into_iter().chain(cost.sentence()).collect(),
        flips: summary::flips(&turns),
        shape_of_answers: Shape::of(&turns),
        passage_ranking: Spread::of(&turns, |distance| distance.rank_biased_overlap),
        latency_curve: latency::curves(&turns),
        versions,
        worst: worst::worst(&turns, &classes, &told.by_turn, options.worst_max),
        turns: counts,
        changes: told.changes,
        unseen: told.unseen,
        doubtful: told.doubtful,
        stages,
        text_similarity: similarity,
        passage_overlap: overlap,
        latency,
        cost,
    }
}

/// The findings, sorted into what is said aloud and what is not.
#[derive(Default)]
struct Told {
    changes: Vec<Change>,
    unseen: Vec<Change>,
    doubtful: Vec<Change>,
    /// Under which of `changes` a turn is told.
    by_turn: HashMap<usize, usize>,
}

impl Told {
    fn of(turns: &[Turn<'_>], classes: &[Class]) -> Self {
        let findings = explain(turns, classes, &World::of(turns));
        let mut told: Vec<_> = findings.iter().map(|finding| (Change::of(finding, turns), Some(finding))).collect();
        told.extend(changes::drift(turns).map(|change| (change, None)));
        told.sort_by_key(|(change, _)| std::cmp::Reverse((change.seen, change.turns)));
        let mut sorted = Self::default();
        for (change, finding) in told {
            let aloud = finding.is_none_or(|finding| finding.sure);
            if !aloud {
                sorted.doubtful.push(change);
            } else if change.stage == Stage::Passages && change.seen == 0 {
                sorted.unseen.push(change);
            } else {
                let own = finding.into_iter().flat_map(|finding| &finding.turns);
                sorted.by_turn.extend(own.map(|turn| (*turn, sorted.changes.len())));
                sorted.changes.push(change);
            }
        }
        sorted
    }
}

impl Report {
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// A short account for the terminal.
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// The whole report as one page that needs nothing from anywhere else.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Writes the page and the JSON into a folder, which is made when it is not there.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let cannot = |path: &Path| format!("cannot write {}; choose a folder that you may write to", path.display());
        fs::create_dir_all(folder).with_context(|| cannot(folder))?;
        for (name, bytes) in [(PAGE, self.html().into_bytes()), (JSON, serde_json::to_vec_pretty(self)?)] {
            let path = folder.join(name);
            fs::write(&path, bytes).with_context(|| cannot(&path))?;
        }
        Ok(())
    }
}
