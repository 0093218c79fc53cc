//! PURE: the lists of the report: the cascade's curve, confused pairs, lines by confidence, and what went wrong.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    measure::{Measured, Prediction},
    report::{is_recognised, judged},
    review::NONE,
    scope::Truth,
};
use crate::eval::metrics::classes::{self, Counts};

/// Bars of the histograms of confidence.
const BARS: usize = 20;

/// Examples of a confused pair, and wrong lines that are listed.
const EXAMPLES_MAX: usize = 3;
const ERRORS_MAX: usize = 60;

/// Shares that the cascade's curve is drawn through.
const CASCADE: [f64; 10] = [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0];

/// A share of the lines, the least sure first, handed from the cheapest tier to the dearest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Handed {
    pub share: f64,
    pub accuracy: f64,
    pub cpu_us_per_query: f64,
}

/// Two intents that are confused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confusion {
    pub intent: String,
    pub taken_for: String,
    pub count: usize,
    /// How many there are of the intent.
    pub of: usize,
    pub examples: Vec<String>,
}

/// One wrong line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wrong {
    pub text: String,
    pub intent: String,
    pub found: String,
    pub confidence: f64,
    pub in_scope: f64,
    pub leaked: bool,
    /// The nearest examples of the found intent and of the right one.
    pub neighbours: Vec<Neighbour>,
}

/// A training line near a wrong one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Neighbour {
    pub text: String,
    pub intent: String,
    pub near: f64,
}

/// Lines by confidence.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Confidences {
    pub right: Vec<usize>,
    pub wrong: Vec<usize>,
    pub out_of_scope: Vec<usize>,
}

/// The least sure lines of the cheapest tier, handed to the dearest.
pub fn cascade(measured: &Measured) -> Vec<Handed> {
    let [(_, cheap), .., (_, dear)] = measured.cpu_us_by_tier.as_slice() else { return Vec::new() };
    let mut order: Vec<&Prediction> = measured.predictions.iter().collect();
    order.sort_by(|a, b| a.by_tier[0].confidence.total_cmp(&b.by_tier[0].confidence));
    let handed = |share: f64| {
        let count = (order.len() as f64 * share).round() as usize;
        let pick = |(at, one): (usize, &&Prediction)| {
            let last = one.by_tier.len() - 1;
            one.by_tier[if at < count { last } else { 0 }].best == one.truth.clone().unwrap_or_default()
        };
        let right = order.iter().enumerate().filter(|(_, one)| one.truth.is_some()).filter(|pair| pick(*pair)).count();
        let inside = order.iter().filter(|one| one.truth.is_some()).count();
        Handed { share, accuracy: classes::share(right, inside), cpu_us_per_query: cheap + share * dear }
    };
    CASCADE.map(handed).to_vec()
}

pub fn confusions(counts: &Counts, inside: &[&Prediction]) -> Vec<Confusion> {
    let supports: BTreeMap<String, usize> =
        counts.classes().into_iter().map(|class| (class.name, class.support)).collect();
    let confusion = |(truth, found, count): (&str, &str, usize)| {
        let mut own: Vec<&&Prediction> =
            inside.iter().filter(|one| one.truth.as_deref() == Some(truth) && one.said.best == found).collect();
        own.sort_by(|a, b| b.said.confidence.total_cmp(&a.said.confidence));
        Confusion {
            intent: truth.to_owned(),
            taken_for: found.to_owned(),
            count,
            of: supports.get(truth).copied().unwrap_or_default(),
            examples: own.iter().take(EXAMPLES_MAX).map(|one| one.text.clone()).collect(),
        }
    };
    counts.confusions().into_iter().map(confusion).collect()
}

pub fn histogram(all: &[Prediction]) -> Confidences {
    let mut found = Confidences { right: vec![0; BARS], wrong: vec![0; BARS], out_of_scope: vec![0; BARS] };
    for one in all {
        let bar = ((one.said.confidence * BARS as f64) as usize).min(BARS - 1);
        let bars = match judged(one).truth {
            Truth::Right => &mut found.right,
            Truth::Wrong => &mut found.wrong,
            Truth::OutOfScope => &mut found.out_of_scope,
        };
        bars[bar] += 1;
    }
    found
}

/// What is wrong and sure of itself comes first; a text out of scope is wrong when it was recognised.
pub fn errors(all: &[Prediction], leaked: &[bool], threshold: Option<f64>) -> Vec<Wrong> {
    let wrong = |one: &&(usize, &Prediction)| match one.1.truth {
        Some(_) => !one.1.is_right(),
        None => is_recognised(&one.1.said, threshold),
    };
    let numbered: Vec<(usize, &Prediction)> = all.iter().enumerate().collect();
    let mut wrong: Vec<&(usize, &Prediction)> = numbered.iter().filter(wrong).collect();
    wrong.sort_by(|a, b| b.1.said.confidence.total_cmp(&a.1.said.confidence));
    let told = |(at, one): &&(usize, &Prediction)| Wrong {
        text: one.text.clone(),
        intent: one.truth.clone().unwrap_or_else(|| NONE.to_owned()),
        found: one.said.best.clone(),
        confidence: one.said.confidence,
        in_scope: one.said.in_scope,
        leaked: leaked.get(*at).copied().unwrap_or_default(),
        neighbours: Vec::new(),
    };
    wrong.iter().take(ERRORS_MAX).map(told).collect()
}
