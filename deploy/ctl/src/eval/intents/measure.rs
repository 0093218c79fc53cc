//! Trains, and asks every test line of every tier, counting the CPU time of each.

use std::time::Instant;

use anyhow::Result;
use indicatif::ProgressBar;

use super::{
    data::{self, Labelled},
    parts,
    subject::{Said, Subject, Tier, Trained},
};
use crate::eval::{
    meter::{self, spread},
    metrics::classes::Counts,
    progress::{TRAINING_STEPS, bar},
};

/// Shares of the training file that the learning curve is drawn through; the whole file is measured anyway. Together they
/// cost less than one training of all of it.
const SHARES: [f64; 3] = [0.1, 0.25, 0.5];

/// What was said of one test line.
#[derive(Debug, Clone)]
pub struct Prediction {
    pub text: String,
    /// None: out of scope.
    pub truth: Option<String>,
    /// By whoever the model chose.
    pub said: Said,
    /// By each tier alone, cheapest first.
    pub by_tier: Vec<Said>,
}

impl Prediction {
    pub fn is_right(&self) -> bool {
        self.truth.as_deref() == Some(self.said.best.as_str())
    }
}

/// What a training and its test came to.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub predictions: Vec<Prediction>,
    /// CPU time of one query, of whoever the model chose and of each tier alone.
    pub cpu_us: f64,
    pub cpu_us_by_tier: Vec<(Tier, f64)>,
    pub train_seconds: f64,
    pub train_cpu_seconds: f64,
}

/// Accuracy and macro-F1 over the lines in scope, before any threshold.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Held {
    pub examples: usize,
    /// Share of the training file.
    pub share: f64,
    pub accuracy: f64,
    pub macro_f1: f64,
}

/// Trains on some lines and asks others.
pub fn train_and_ask(subject: &Subject, train: &[&Labelled], test: &[Labelled]) -> Result<(Trained, Measured)> {
    let (trained, train_seconds, train_cpu_seconds) = train_on(subject, train, "training")?;
    let measured = ask(subject, &trained, test);
    Ok((trained, Measured { train_seconds, train_cpu_seconds, ..measured }))
}

fn train_on(subject: &Subject, train: &[&Labelled], what: &'static str) -> Result<(Trained, f64, f64)> {
    let (since, cpu_since) = (Instant::now(), meter::process_seconds());
    let bar = bar(what, TRAINING_STEPS);
    let set = data::set(train.iter().copied());
    let trained = subject.train(&set, &mut |share| bar.set_position((share * TRAINING_STEPS as f32) as u64))?;
    bar.finish_and_clear();
    Ok((trained, since.elapsed().as_secs_f64(), meter::process_seconds() - cpu_since))
}

/// Asks every line of every tier.
pub fn ask(subject: &Subject, trained: &Trained, test: &[Labelled]) -> Measured {
    let tiers = subject.tiers();
    let runs = tiers.len() as u64 + u64::from(trained.chooses());
    let bar = bar("asking", runs * test.len() as u64);
    let run = |tier: Option<Tier>| said(trained, test, tier, &bar);
    let by_tier: Vec<_> = tiers.iter().map(|tier| run(Some(*tier))).collect();
    let chosen = if trained.chooses() { Some(run(None)) } else { by_tier.last().cloned() };
    bar.finish_and_clear();
    let Some(chosen) = chosen else { return Measured::default() };
    let prediction = |(at, line): (usize, &Labelled)| Prediction {
        text: line.text.clone(),
        truth: line.intent.clone(),
        said: chosen.results[at].clone(),
        by_tier: by_tier.iter().map(|run| run.results[at].clone()).collect(),
    };
    Measured {
        cpu_us: chosen.us_each(),
        cpu_us_by_tier: tiers.iter().zip(&by_tier).map(|(tier, run)| (*tier, run.us_each())).collect(),
        predictions: test.iter().enumerate().map(prediction).collect(),
        ..Measured::default()
    }
}

fn said(trained: &Trained, test: &[Labelled], tier: Option<Tier>, bar: &ProgressBar) -> meter::Metered<Said> {
    // The first query pays for what is made when it is first needed; that is nobody's cost per query.
    test.first().map(|line| trained.says(&line.text, tier));
    spread(test, |_, line| trained.says(&line.text, tier), |n| bar.inc(n))
}

/// Trains on growing shares of the file and asks the same lines each time.
pub fn learning_curve(subject: &Subject, train: &[Labelled], test: &[Labelled], whole: &Measured) -> Result<Vec<Held>> {
    let mut curve = Vec::new();
    for share in SHARES {
        let chosen: Vec<&Labelled> = parts::first(train, share).into_iter().map(|at| &train[at]).collect();
        // Of a handful of lines a share may be all of them, or what was measured just before.
        if curve.last().is_some_and(|last: &Held| last.examples == chosen.len()) || chosen.len() == train.len() {
            continue;
        }
        let (trained, ..) = train_on(subject, &chosen, "training on a part, for the learning curve")?;
        let bar = bar("asking", test.len() as u64);
        let found = said(&trained, test, None, &bar).results;
        bar.finish_and_clear();
        let best = test.iter().zip(&found).map(|(line, said)| (line.intent.as_deref(), said.best.as_str()));
        curve.push(held(best, chosen.len(), share));
    }
    let best = whole.predictions.iter().map(|one| (one.truth.as_deref(), one.said.best.as_str()));
    curve.push(held(best, train.len(), 1.0));
    Ok(curve)
}

/// Every line judged by a model that has not seen it.
pub fn cross_validate(subject: &Subject, train: &[Labelled], folds: usize) -> Result<(Measured, Vec<Held>)> {
    let parts = parts::folds(train, folds);
    let (mut all, mut held_out) = (Measured::default(), Vec::new());
    let mut by_line: Vec<Option<Prediction>> = vec![None; train.len()];
    for fold in 0..folds {
        let (asked, taught): (Vec<usize>, Vec<usize>) = (0..train.len()).partition(|at| parts[*at] == fold);
        let taught: Vec<&Labelled> = taught.into_iter().map(|at| &train[at]).collect();
        let test: Vec<Labelled> = asked.iter().map(|at| train[*at].clone()).collect();
        let (_, measured) = train_and_ask(subject, &taught, &test)?;
        let best = measured.predictions.iter().map(|one| (one.truth.as_deref(), one.said.best.as_str()));
        held_out.push(held(best, taught.len(), 1.0 - 1.0 / folds as f64));
        asked.into_iter().zip(measured.predictions).for_each(|(at, one)| by_line[at] = Some(one));
        // Costs are means over the folds.
        let mean = |sum: f64, one: f64| sum + one / folds as f64;
        all.cpu_us = mean(all.cpu_us, measured.cpu_us);
        all.train_seconds = mean(all.train_seconds, measured.train_seconds);
        all.train_cpu_seconds = mean(all.train_cpu_seconds, measured.train_cpu_seconds);
        if all.cpu_us_by_tier.is_empty() {
            all.cpu_us_by_tier = measured.cpu_us_by_tier.iter().map(|(tier, _)| (*tier, 0.0)).collect();
        }
        for ((_, sum), (_, one)) in all.cpu_us_by_tier.iter_mut().zip(measured.cpu_us_by_tier) {
            *sum = mean(*sum, one);
        }
    }
    all.predictions = by_line.into_iter().flatten().collect();
    Ok((all, held_out))
}

fn held<'a>(best: impl Iterator<Item = (Option<&'a str>, &'a str)>, examples: usize, share: f64) -> Held {
    let mut counts = Counts::default();
    best.filter_map(|(truth, best)| Some((truth?, best))).for_each(|(truth, best)| counts.add(truth, best));
    Held { examples, share, accuracy: counts.accuracy(), macro_f1: counts.macro_f1() }
}
