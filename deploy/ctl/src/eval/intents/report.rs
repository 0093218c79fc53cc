//! PURE: what the predictions come to: the figures of `--json`, and the lists that the page shows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    lists::{self, Confidences, Confusion, Handed, Wrong},
    measure::{Held, Measured, Prediction},
    order,
    review::Review,
    scope::{self, Choice, Judged, Truth},
    subject::{Said, Tier},
};
use crate::eval::metrics::{
    calibration::{self, Bin},
    classes::{Class, Counts, share},
    roc,
};
use talkfleet_worker::text;

/// The shape of `report.json`; it grows when a field changes its meaning or goes.
const SHAPE: u32 = 1;

/// Thresholds that are laid side by side.
const CHOICES: usize = 12;

/// All that a report is made of.
pub struct Evidence<'a> {
    pub measured: &'a Measured,
    pub review: &'a Review,
    /// The files, and the day.
    pub source: String,
    /// Lines and intents that were taught.
    pub examples: usize,
    pub intents: usize,
    /// Chosen on validation data; else the model's own counts.
    pub threshold: Option<f64>,
    pub cross_validation: Option<(usize, &'a [Held])>,
    pub learning_curve: &'a [Held],
}

/// The figures, flat, by names that stay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    pub accuracy: f64,
    pub macro_f1: f64,
    pub accuracy_after_threshold: f64,
    pub declined_in_scope: f64,
    pub oos_recall: Option<f64>,
    pub oos_auroc: Option<f64>,
    pub ece: f64,
    pub cpu_us_per_query: f64,
    pub escalated: f64,
    pub tier: &'static str,
    pub train_seconds: f64,
    pub train_cpu_seconds: f64,
    pub examples: usize,
    pub intents: usize,
    pub test_examples: usize,
    pub test_out_of_scope: usize,
    pub threshold: Option<f64>,
    pub leaked: usize,
    pub accuracy_without_leaked: Option<f64>,
    pub conflicts: usize,
    pub duplicates: usize,
    pub tiers: Vec<TierFigures>,
    pub languages: BTreeMap<&'static str, LanguageFigures>,
    pub cross_validation: Option<CrossValidation>,
    pub learning_curve: Vec<Held>,
}

/// One tier alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierFigures {
    pub tier: Tier,
    pub accuracy: f64,
    pub macro_f1: f64,
    pub cpu_us_per_query: f64,
    /// Share of all lines of which it decided.
    pub decided: f64,
}

/// The lines of one language.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LanguageFigures {
    pub test_examples: usize,
    pub accuracy: f64,
    pub macro_f1: f64,
    pub accuracy_after_threshold: f64,
    pub test_out_of_scope: usize,
    pub oos_recall: Option<f64>,
}

/// What every line held out once came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossValidation {
    pub folds: usize,
    pub accuracy: f64,
    /// Standard deviation between the folds.
    pub accuracy_deviation: f64,
    pub macro_f1: f64,
}

/// The whole report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub shape: u32,
    #[serde(flatten)]
    pub figures: Figures,
    /// The files, and the day.
    pub source: String,
    pub warnings: Vec<String>,
    pub cascade: Vec<Handed>,
    pub per_intent: Vec<Class>,
    pub confusions: Vec<Confusion>,
    /// Intents that are confused with one another, in the order of the matrix.
    pub groups: Vec<Vec<String>>,
    pub confidences: Confidences,
    pub reliability: Vec<Bin>,
    pub out_of_scope_curve: Vec<roc::Point>,
    pub out_of_scope_choices: Vec<Choice>,
    /// Where the threshold that counts lies on that curve.
    pub out_of_scope_chosen: Option<roc::Point>,
    pub errors: Vec<Wrong>,
    #[serde(skip)]
    pub counts: Counts,
}

/// Whether a line counts as recognised.
pub fn is_recognised(said: &Said, threshold: Option<f64>) -> bool {
    threshold.map_or(said.recognised, |threshold| said.in_scope >= threshold)
}

/// How a line was judged, for the choice of a threshold.
pub fn judged(prediction: &Prediction) -> Judged {
    let truth = match &prediction.truth {
        None => Truth::OutOfScope,
        Some(_) if prediction.is_right() => Truth::Right,
        Some(_) => Truth::Wrong,
    };
    Judged { in_scope: prediction.said.in_scope, truth }
}

/// One line of `predictions.jsonl`.
pub fn line(one: &Prediction, threshold: Option<f64>) -> serde_json::Value {
    serde_json::json!({
        "text": one.text,
        "intent": one.truth,
        "found": one.said.best,
        "recognised": is_recognised(&one.said, threshold),
        "confidence": one.said.confidence,
        "in_scope": one.said.in_scope,
        "tier": one.said.tier,
    })
}

impl Report {
    pub fn of(evidence: &Evidence<'_>) -> Self {
        let all = &evidence.measured.predictions;
        let inside: Vec<&Prediction> = all.iter().filter(|one| one.truth.is_some()).collect();
        let outside: Vec<&Prediction> = all.iter().filter(|one| one.truth.is_none()).collect();
        let counts = counted(inside.iter().map(|one| (one.truth.as_deref(), &one.said)));
        let judgements: Vec<Judged> = all.iter().map(judged).collect();
        let scores = |lines: &[&Prediction]| lines.iter().map(|one| one.said.in_scope).collect::<Vec<f64>>();
        let (wanted, unwanted) = (scores(&inside), scores(&outside));
        let confidences: Vec<(f64, bool)> = inside.iter().map(|one| (one.said.confidence, one.is_right())).collect();
        let reliability = calibration::bins(&confidences);
        let kept =
            |lines: &[&Prediction]| lines.iter().filter(|one| is_recognised(&one.said, evidence.threshold)).count();
        let has_outside = !outside.is_empty();
        let per_intent = counts.classes();
        let names: Vec<String> = per_intent.iter().map(|class| class.name.clone()).collect();
        Self {
            shape: SHAPE,
            figures: figures(evidence, &inside, &outside, &counts, calibration::error(&reliability)),
            source: evidence.source.clone(),
            warnings: evidence.review.warnings.clone(),
            cascade: lists::cascade(evidence.measured),
            confusions: lists::confusions(&counts, &inside),
            groups: order::groups(&counts, &names),
            confidences: lists::histogram(all),
            reliability,
            out_of_scope_curve: if has_outside { roc::curve(&wanted, &unwanted) } else { Vec::new() },
            out_of_scope_choices: if has_outside { scope::choices(&judgements, CHOICES) } else { Vec::new() },
            out_of_scope_chosen: has_outside.then(|| roc::Point {
                threshold: evidence.threshold.unwrap_or(f64::NAN),
                wanted_lost: 1.0 - share(kept(&inside), inside.len()),
                unwanted_caught: 1.0 - share(kept(&outside), outside.len()),
            }),
            errors: lists::errors(all, &evidence.review.leaked, evidence.threshold),
            per_intent,
            counts,
        }
    }
}

fn counted<'a>(lines: impl Iterator<Item = (Option<&'a str>, &'a Said)>) -> Counts {
    let mut counts = Counts::default();
    lines.filter_map(|(truth, said)| Some((truth?, said))).for_each(|(truth, said)| counts.add(truth, &said.best));
    counts
}

fn figures(
    evidence: &Evidence<'_>,
    inside: &[&Prediction],
    outside: &[&Prediction],
    counts: &Counts,
    ece: f64,
) -> Figures {
    let (measured, review) = (evidence.measured, evidence.review);
    let recognised = |one: &&&Prediction| is_recognised(&one.said, evidence.threshold);
    let kept_right = inside.iter().filter(recognised).filter(|one| one.is_right()).count();
    let in_scope = |one: &&Prediction| one.said.in_scope;
    let fresh = measured.predictions.iter().zip(&review.leaked).filter(|(_, leaked)| !**leaked).map(|(one, _)| one);
    let fresh = counted(fresh.map(|one| (one.truth.as_deref(), &one.said)));
    let leaked = review.leaked.iter().filter(|leaked| **leaked).count();
    let dearest = measured.cpu_us_by_tier.last().map(|(tier, _)| *tier);
    let has_choice = measured.cpu_us_by_tier.len() > 1;
    let escalated = measured.predictions.iter().filter(|one| has_choice && Some(one.said.tier) == dearest).count();
    let dearest = dearest.map_or("", Tier::name);
    Figures {
        accuracy: counts.accuracy(),
        macro_f1: counts.macro_f1(),
        accuracy_after_threshold: share(kept_right, inside.len()),
        declined_in_scope: 1.0 - share(inside.iter().filter(recognised).count(), inside.len()),
        oos_recall: oos_recall(evidence, outside),
        oos_auroc: roc::area(
            &inside.iter().map(in_scope).collect::<Vec<_>>(),
            &outside.iter().map(in_scope).collect::<Vec<_>>(),
        ),
        ece,
        cpu_us_per_query: measured.cpu_us,
        escalated: share(escalated, measured.predictions.len()),
        tier: dearest,
        train_seconds: measured.train_seconds,
        train_cpu_seconds: measured.train_cpu_seconds,
        examples: evidence.examples,
        intents: evidence.intents,
        test_examples: inside.len(),
        test_out_of_scope: outside.len(),
        threshold: evidence.threshold,
        leaked,
        accuracy_without_leaked: (leaked > 0 && fresh.total() > 0).then(|| fresh.accuracy()),
        conflicts: review.conflicts,
        duplicates: review.duplicates,
        tiers: tiers(measured),
        languages: languages(evidence),
        cross_validation: evidence.cross_validation.map(cross_validation),
        learning_curve: evidence.learning_curve.to_vec(),
    }
}

fn oos_recall(evidence: &Evidence<'_>, outside: &[&Prediction]) -> Option<f64> {
    let declined = outside.iter().filter(|one| !is_recognised(&one.said, evidence.threshold)).count();
    (!outside.is_empty()).then(|| share(declined, outside.len()))
}

fn tiers(measured: &Measured) -> Vec<TierFigures> {
    let tier = |(at, (tier, cpu_us)): (usize, &(Tier, f64))| {
        let counts = counted(measured.predictions.iter().map(|one| (one.truth.as_deref(), &one.by_tier[at])));
        let decided = measured.predictions.iter().filter(|one| one.said.tier == *tier).count();
        TierFigures {
            tier: *tier,
            accuracy: counts.accuracy(),
            macro_f1: counts.macro_f1(),
            cpu_us_per_query: *cpu_us,
            decided: share(decided, measured.predictions.len()),
        }
    };
    measured.cpu_us_by_tier.iter().enumerate().map(tier).collect()
}

fn languages(evidence: &Evidence<'_>) -> BTreeMap<&'static str, LanguageFigures> {
    let mut split: BTreeMap<&'static str, Vec<&Prediction>> = BTreeMap::new();
    for one in &evidence.measured.predictions {
        split.entry(text::language(&one.text).tag()).or_default().push(one);
    }
    let figures = |lines: Vec<&Prediction>| {
        let (inside, outside): (Vec<&Prediction>, Vec<&Prediction>) =
            lines.into_iter().partition(|one| one.truth.is_some());
        let counts = counted(inside.iter().map(|one| (one.truth.as_deref(), &one.said)));
        let kept = inside.iter().filter(|one| one.is_right() && is_recognised(&one.said, evidence.threshold)).count();
        LanguageFigures {
            test_examples: inside.len(),
            accuracy: counts.accuracy(),
            macro_f1: counts.macro_f1(),
            accuracy_after_threshold: share(kept, inside.len()),
            test_out_of_scope: outside.len(),
            oos_recall: oos_recall(evidence, &outside),
        }
    };
    split.into_iter().map(|(tag, lines)| (tag, figures(lines))).collect()
}

fn cross_validation((folds, held): (usize, &[Held])) -> CrossValidation {
    let mean = |read: fn(&Held) -> f64| held.iter().map(read).sum::<f64>() / held.len().max(1) as f64;
    let accuracy = mean(|held| held.accuracy);
    let squares: f64 = held.iter().map(|one| (one.accuracy - accuracy).powi(2)).sum();
    CrossValidation {
        folds,
        accuracy,
        accuracy_deviation: (squares / held.len().saturating_sub(1).max(1) as f64).sqrt(),
        macro_f1: mean(|held| held.macro_f1),
    }
}
