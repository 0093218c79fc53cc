//! How well the final score tells what the base answers from what it does not, and the fit of its curve: constants from
//! the tuning halves, figures from the others.

use super::super::{Index, Question, Tier, Tuning};
use super::sets::{self, Set};
use crate::encoder::Encoder;
use crate::retrieval::answerable::{Signs, answers};
use crate::text::Language;

/// Pull of the fit towards zero.
const RIDGE: f64 = 1e-3;

/// One question asked of one base.
struct Case {
    set: &'static str,
    language: Language,
    kind: Kind,
    tuned: bool,
    signs: Signs,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    /// The base answers it and the right document came first.
    Right,
    /// The base answers it and another document came first.
    Wrong,
    /// Its document was taken out.
    Removed,
    /// Asked of another base, or off topic.
    Foreign,
}

/// What the curve could look at, by name.
const SIGNS: [&str; 5] = ["one", "meaning", "wording", "coverage", "mixed"];

fn numbers(case: &Case) -> [f64; 5] {
    let signs = case.signs;
    [1.0, signs.meaning.unwrap_or_default(), signs.wording.unwrap_or_default(), signs.coverage, signs.mixed]
        .map(f64::from)
}

#[test]
#[ignore = "minutes of figures; see mod.rs"]
fn answerable() {
    let encoder = Encoder::load(&crate::encoder::cached()).unwrap();
    let sets = sets::all(sets::Readers { multilingual: &encoder, transformer: None });
    for words_only in [false, true] {
        let cases = cases(&sets, words_only);
        for worded in [true, false] {
            let own: Vec<&Case> = cases.iter().filter(|case| case.set.starts_with("demo") == worded).collect();
            println!(
                "\n== {} base, {}",
                if worded { "worded" } else { "plain" },
                if words_only { "words only" } else { "fused" }
            );
            let today = |case: &Case| f64::from(answers(&case.signs));
            report("today's curve", &own, today);
            let choices: &[&[usize]] = match (words_only, worded) {
                (false, true) => &[&[0, 2, 4], &[0, 1, 2, 3, 4]],
                (false, false) => &[&[0, 1, 3, 4]],
                (true, _) => &[&[0, 3, 4]],
            };
            for choice in choices {
                let fitted = fit(&own, choice);
                let terms: Vec<String> =
                    choice.iter().zip(&fitted).map(|(at, weight)| format!("{} {weight:.2}", SIGNS[*at])).collect();
                let score = |case: &Case| curve(&numbers(case), choice, &fitted);
                report(&terms.join(", "), &own, score);
            }
        }
    }
}

/// Every question of every set: of its base, of its base without its document, and of the other bases of its language.
fn cases(sets: &[Set], words_only: bool) -> Vec<Case> {
    let indexes: Vec<Index> = sets.iter().map(Set::index).collect();
    let mut cases = Vec::new();
    for (set, index) in sets.iter().zip(&indexes) {
        for (asked, question) in
            sets.iter().flat_map(|other| other.questions.iter().map(move |question| (other, question)))
        {
            let own = asked.name == set.name;
            // A CMRC question in five is enough of those; every demo question counts.
            let skip = !own
                && (asked.language != set.language || question.text.len() % 5 != 0 && !asked.name.starts_with("demo"));
            if skip {
                continue;
            }
            let asked = Question {
                text: &question.text,
                language: sets::language(&question.text),
                multilingual: Some(&question.embedding).filter(|_| !words_only).map(Vec::as_slice),
                transformer: None,
                encoder: None,
            };
            let mut found = index.find(&asked, Tier::Fused, 40, Tuning::default()).unwrap();
            let document = |slot: usize| index.entry(slot).unwrap().passage.document.clone();
            let mut push = |found: &super::super::ranking::Ranking<'_>, kind| {
                let Some(signs) = found.signs(index, 0) else { return };
                cases.push(Case { set: set.name, language: set.language, kind, tuned: question.tuned, signs });
            };
            if !own || question.documents.is_empty() {
                push(&found, Kind::Foreign);
                continue;
            }
            let right = question.documents.contains(&document(found.ranked[0].candidate.slot));
            push(&found, if right { Kind::Right } else { Kind::Wrong });
            found.ranked.retain(|ranked| !question.documents.contains(&document(ranked.candidate.slot)));
            push(&found, Kind::Removed);
        }
    }
    cases
}

fn curve(numbers: &[f64], choice: &[usize], weights: &[f64]) -> f64 {
    let sum: f64 = choice.iter().zip(weights).map(|(at, weight)| weight * numbers[*at]).sum();
    1.0 / (1.0 + (-sum).exp())
}

/// What a case counts in the fit: each set and kind the same in all, what was removed a third of what is foreign. Where
/// the wrong document came first, both an answer and a refusal are half right.
fn weight(case: &Case, cases: &[&Case]) -> f64 {
    let like = cases.iter().filter(|other| other.tuned && (other.set, other.kind) == (case.set, case.kind)).count();
    let share = match case.kind {
        Kind::Right => 2.0,
        Kind::Wrong => 0.0,
        Kind::Removed => 0.5,
        Kind::Foreign => 1.5,
    };
    share / like.max(1) as f64
}

/// Newton's steps on the weighted logistic loss of the tuning half.
fn fit(cases: &[&Case], choice: &[usize]) -> Vec<f64> {
    let tuned: Vec<(Vec<f64>, f64, f64)> = cases
        .iter()
        .filter(|case| case.tuned && case.kind != Kind::Wrong)
        .map(|case| {
            let all = numbers(case);
            let good = f64::from(u8::from(case.kind == Kind::Right));
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

/// AUROC and declined shares by language on the reported half.
fn report(title: &str, cases: &[&Case], score: impl Fn(&Case) -> f64) {
    println!("{title}");
    for language in [Language::English, Language::Chinese] {
        let of = |kinds: &[Kind], name: Option<&str>| -> Vec<f64> {
            let own =
                cases.iter().filter(|case| !case.tuned && case.language == language && kinds.contains(&case.kind));
            own.filter(|case| name.is_none_or(|name| case.set == name)).map(|case| score(case)).collect()
        };
        let good = of(&[Kind::Right, Kind::Wrong], None);
        let (removed, foreign) = (of(&[Kind::Removed], None), of(&[Kind::Foreign], None));
        let declined = |scores: &[f64], from: f64| {
            100.0 * scores.iter().filter(|score| **score < from).count() as f64 / scores.len().max(1) as f64
        };
        println!(
            "  {}: AUROC removed {:.1}, foreign {:.1} ({} good, {} removed, {} foreign)",
            language.tag(),
            auroc(&good, &removed),
            auroc(&good, &foreign),
            good.len(),
            removed.len(),
            foreign.len()
        );
        let row = |from: f64| {
            format!(
                "{from}: {:.0}/{:.0}/{:.0}",
                declined(&good, from),
                declined(&removed, from),
                declined(&foreign, from)
            )
        };
        let rows: Vec<String> = [0.1, 0.2, 0.35, 0.5, 0.6, 0.75].map(row).into();
        println!("      declined good/removed/foreign from {}", rows.join("  "));
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
