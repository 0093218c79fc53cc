//! How well the final score tells what the base answers from what it does not, and the fit of its curve: constants from
//! the tuning halves, figures from the others.

use super::super::{Question, Tier, Tuning};
use super::sets::{self, Set};
use crate::encoder::Encoder;
use crate::retrieval::answerable::{Signs, answers};

/// Pull of the fit towards zero.
const RIDGE: f64 = 1e-3;

/// One question asked of one base.
struct Case {
    set: String,
    /// A base of ordinary articles which customers ask in words of their own.
    ordinary: bool,
    worded: bool,
    kind: Kind,
    tuned: bool,
    signs: Signs,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The base answers it and the right document came first.
    Right,
    /// The base answers it and another document came first.
    Wrong,
    /// Its document was taken out.
    Removed,
    /// Asked by somebody who took the base for one that answers it: what a shop might be asked, and more.
    Unanswered,
    /// Asked of another base.
    Foreign,
    /// Nothing to do with any base.
    OffTopic,
}

/// What the curve could look at, by name.
const SIGNS: [&str; 6] = ["one", "meaning", "wording", "coverage", "mixed", "size"];

fn numbers(case: &Case) -> [f64; 6] {
    let signs = case.signs;
    let (meaning, wording) = (signs.meaning.unwrap_or_default(), signs.wording.unwrap_or_default());
    [1.0, meaning, wording, signs.coverage, signs.mixed, signs.size()].map(f64::from)
}

#[test]
#[ignore = "minutes of figures; see mod.rs"]
fn answerable() {
    let encoder = Encoder::load(&crate::encoder::cached()).unwrap();
    let readers = sets::Readers { multilingual: &encoder, transformer: None };
    let mut sets = sets::all(readers);
    sets.extend(sets::ordinary(&sets, readers));
    sets.push(sets::off_topic(readers));
    for words_only in [false, true] {
        let cases = cases(&sets, words_only);
        for worded in [true, false] {
            let own: Vec<&Case> = cases.iter().filter(|case| (case.worded && !words_only) == worded).collect();
            println!(
                "\n== {} base, {}",
                if worded { "worded" } else { "plain" },
                if words_only { "words only" } else { "fused" }
            );
            report("today's curve", &own, |case| f64::from(answers(&case.signs)));
            let choice: &[usize] = match (words_only, worded) {
                (false, true) => &[0, 2, 4],
                (false, false) => &[0, 1, 3, 4, 5],
                (true, _) => &[0, 3, 4, 5],
            };
            if own.is_empty() {
                continue;
            }
            let fitted = fit(&own, choice);
            let terms: Vec<String> =
                choice.iter().zip(&fitted).map(|(at, weight)| format!("{} {weight:.2}", SIGNS[*at])).collect();
            report(&terms.join(", "), &own, |case| curve(&numbers(case), choice, &fitted));
        }
    }
}

/// Every question of every set: of its base, of its base without its document, and of the other bases of its language.
fn cases(sets: &[Set], words_only: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for set in sets {
        let index = set.index();
        for asked in sets {
            let own = asked.name == set.name;
            let part = asked.name.ends_with(" 30") || asked.name.ends_with(" plain");
            if !own && (asked.language != set.language || asked.family == set.family || part) {
                continue;
            }
            // Of a large set every second is enough of its own questions, and every twelfth of another base.
            let every = match (asked.questions.len() > 500, own) {
                (false, _) => 1,
                (true, true) => 2,
                (true, false) => 12,
            };
            for question in asked.questions.iter().step_by(every) {
                let asking = Question {
                    text: &question.text,
                    language: sets::language(&question.text),
                    multilingual: Some(&question.embedding).filter(|_| !words_only).map(Vec::as_slice),
                    transformer: None,
                    encoder: None,
                };
                let mut found = index.find(&asking, Tier::Fused, 100, Tuning::default()).unwrap();
                let document = |slot: usize| index.entry(slot).unwrap().passage.document.clone();
                let mut push = |found: &super::super::ranking::Ranking<'_>, kind| {
                    let Some(signs) = found.signs(&index, 0) else { return };
                    let (set, worded) = (set.name.clone(), signs.wording.is_some());
                    cases.push(Case { ordinary: ordinary(&set), set, worded, kind, tuned: question.tuned, signs });
                };
                if !own || question.documents.is_empty() {
                    let kind = match (own, asked.passages.is_empty()) {
                        (true, _) => Kind::Unanswered,
                        (false, true) => Kind::OffTopic,
                        (false, false) => Kind::Foreign,
                    };
                    push(&found, kind);
                    continue;
                }
                let Some(first) = found.ranked.first() else { continue };
                let right = question.documents.contains(&document(first.candidate.slot));
                push(&found, if right { Kind::Right } else { Kind::Wrong });
                found.ranked.retain(|ranked| !question.documents.contains(&document(ranked.candidate.slot)));
                push(&found, Kind::Removed);
            }
        }
    }
    cases
}

fn ordinary(set: &str) -> bool {
    !["StackFAQ", "XQuAD", "CMRC"].iter().any(|public| set.starts_with(public))
}

fn curve(numbers: &[f64], choice: &[usize], weights: &[f64]) -> f64 {
    let sum: f64 = choice.iter().zip(weights).map(|(at, weight)| weight * numbers[*at]).sum();
    1.0 / (1.0 + (-sum).exp())
}

/// What a case counts in the fit: each kind of each set the same in all, ordinary bases three times. What was removed
/// counts half, for its neighbours often answer a part of it; where another document came first, its quote often answers
/// too, and more so the four that a model is given.
fn weight(case: &Case, cases: &[&Case]) -> f64 {
    let like = cases.iter().filter(|other| other.tuned && (&other.set, other.kind) == (&case.set, case.kind)).count();
    let share = match case.kind {
        Kind::Right | Kind::Foreign => 2.0,
        Kind::Wrong | Kind::Removed => 1.0,
        // What has nothing to do with any base is reported and not tuned on, and what nobody answers is too little.
        Kind::OffTopic | Kind::Unanswered => 0.0,
    };
    let ordinary = if case.ordinary { 3.0 } else { 1.0 };
    ordinary * share / like.max(1) as f64
}

/// Newton's steps on the weighted logistic loss of the tuning half.
fn fit(cases: &[&Case], choice: &[usize]) -> Vec<f64> {
    let tuned: Vec<(Vec<f64>, f64, f64)> = cases
        .iter()
        .filter(|case| case.tuned && case.kind != Kind::OffTopic)
        .map(|case| {
            let all = numbers(case);
            let good = f64::from(u8::from(matches!(case.kind, Kind::Right | Kind::Wrong)));
            (choice.iter().map(|at| all[*at]).collect(), good, weight(case, cases))
        })
        .collect();
    let size = choice.len();
    let mut weights = vec![0.0; size];
    for _ in 0..30 {
        let mut gradient = vec![0.0; size];
        let mut bend = vec![vec![0.0; size]; size];
        for (numbers, good, weight) in &tuned {
            let sum: f64 = numbers.iter().zip(&weights).map(|(a, b)| a * b).sum();
            let likely = 1.0 / (1.0 + (-sum).exp());
            for i in 0..size {
                gradient[i] += weight * (good - likely) * numbers[i];
                for j in 0..size {
                    bend[i][j] += weight * likely * (1.0 - likely) * numbers[i] * numbers[j];
                }
            }
        }
        // A little pull towards zero keeps one sign from standing for all on the demo's few questions.
        (1..size).for_each(|i| {
            bend[i][i] += 2.0 * RIDGE;
            gradient[i] -= 2.0 * RIDGE * weights[i];
        });
        let step = solve(bend, gradient);
        weights.iter_mut().zip(step).for_each(|(weight, step)| *weight += step);
    }
    weights
}

/// Gauss's elimination, for a matrix that is symmetric and positive.
fn solve(mut left: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    for at in 0..right.len() {
        for below in at + 1..right.len() {
            let factor = left[below][at] / left[at][at];
            let (above, under) = left.split_at_mut(below);
            under[0].iter_mut().zip(&above[at]).skip(at).for_each(|(cell, pivot)| *cell -= factor * pivot);
            right[below] -= factor * right[at];
        }
    }
    for at in (0..right.len()).rev() {
        let known: f64 = (at + 1..right.len()).map(|column| left[at][column] * right[column]).sum();
        right[at] = (right[at] - known) / left[at][at];
    }
    right
}

/// By set, on the reported half: AUROC against each kind, and the shares that two thresholds decline.
fn report(title: &str, cases: &[&Case], score: impl Fn(&Case) -> f64) {
    println!("{title}");
    let names: std::collections::BTreeSet<&str> = cases.iter().map(|case| case.set.as_str()).collect();
    for name in names {
        let of = |kinds: &[Kind]| -> Vec<f64> {
            let own = cases.iter().filter(|case| !case.tuned && case.set == name && kinds.contains(&case.kind));
            own.map(|case| score(case)).collect()
        };
        let good = of(&[Kind::Right, Kind::Wrong]);
        let bad = [Kind::Removed, Kind::Unanswered, Kind::Foreign, Kind::OffTopic].map(|kind| of(&[kind]));
        let areas: Vec<String> = bad.iter().map(|scores| format!("{:5.1}", auroc(&good, scores))).collect();
        let declined = |from: f64| {
            let share = |scores: &[f64]| {
                let below = scores.iter().filter(|score| **score < from).count();
                if scores.is_empty() {
                    "  –".into()
                } else {
                    format!("{:3.0}", 100.0 * below as f64 / scores.len() as f64)
                }
            };
            let shares: Vec<String> = bad.iter().map(|scores| share(scores)).collect();
            format!("{from}: {} right {} / {}", share(&good), share(&of(&[Kind::Right])), shares.join(" "))
        };
        let declined: Vec<String> = [0.2, 0.35, 0.8].map(declined).into();
        println!("  {name:16} AUROC {}   declined from {}", areas.join(" "), declined.join("   "));
    }
}

/// How often a good one scores above a bad one, of 100.
fn auroc(good: &[f64], bad: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> =
        good.iter().map(|score| (*score, true)).chain(bad.iter().map(|score| (*score, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut sum) = (0.0, 0.0);
    for (_, good) in all {
        if good { sum += below } else { below += 1.0 }
    }
    100.0 * sum / (good.len().max(1) as f64 * bad.len().max(1) as f64)
}
