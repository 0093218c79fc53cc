//! PURE: where to draw the line between what belongs to an intent and what does not, by what mistakes cost.

use serde::Serialize;

use crate::eval::metrics::roc;

/// What share of a desk's traffic is out of scope, unless the validation data is to say otherwise: the training's own
/// calibration expects the same.
pub const OUT_OF_SCOPE_SHARE: f64 = 0.2;

/// A judged line of the validation data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    pub in_scope: f64,
    pub truth: Truth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// In scope, its likeliest intent being right or wrong.
    Right,
    Wrong,
    OutOfScope,
}

/// The threshold with the fewest mistakes, every mistake costing the same: a right intent declined, a wrong one kept, and a
/// text out of scope kept, which is a fifth of the traffic. None of nothing.
pub fn choose(judged: &[Judged]) -> Option<f64> {
    let outside = judged.iter().filter(|one| one.truth == Truth::OutOfScope).count();
    let inside = judged.len() - outside;
    let share = if outside == 0 { 0.0 } else { OUT_OF_SCOPE_SHARE };
    let weight = |truth: Truth| match truth {
        Truth::OutOfScope => share / outside as f64,
        _ => (1.0 - share) / inside as f64,
    };
    let mut sorted = judged.to_vec();
    sorted.sort_by(|a, b| a.in_scope.total_cmp(&b.in_scope));
    // Everything kept, to begin with; then the threshold passes one line after another.
    let mut cost: f64 = sorted.iter().filter(|one| one.truth != Truth::Right).map(|one| weight(one.truth)).sum();
    let mut best = (cost, sorted.first()?.in_scope);
    for pair in sorted.windows(2) {
        cost += match pair[0].truth {
            Truth::Right => weight(Truth::Right),
            other => -weight(other),
        };
        if pair[0].in_scope < pair[1].in_scope && cost < best.0 - 1e-12 {
            best = (cost, pair[1].in_scope);
        }
    }
    Some(best.1)
}

/// What a threshold would come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Choice {
    pub threshold: f64,
    /// Share of all lines in scope that are right and kept.
    pub accuracy: f64,
    pub oos_recall: f64,
}

/// Thresholds across the span, from 'keep everything' on: what one pays in scope for declining more out of scope.
pub fn choices(judged: &[Judged], count: usize) -> Vec<Choice> {
    let scores = |wanted: fn(Truth) -> bool| {
        judged.iter().filter(|one| wanted(one.truth)).map(|one| one.in_scope).collect::<Vec<f64>>()
    };
    let (inside, outside) = (scores(|truth| truth != Truth::OutOfScope), scores(|truth| truth == Truth::OutOfScope));
    let right = scores(|truth| truth == Truth::Right);
    let curve = roc::curve(&inside, &outside);
    let choice = |point: &roc::Point| Choice {
        threshold: point.threshold,
        accuracy: right.iter().filter(|score| **score >= point.threshold).count() as f64 / inside.len().max(1) as f64,
        oos_recall: point.unwanted_caught,
    };
    // Evenly by what is declined, since that is what is chosen.
    let mut chosen: Vec<Choice> = Vec::new();
    for step in 0..count {
        let wanted = 0.5 + 0.5 * step as f64 / count.max(1) as f64;
        let Some(point) = curve.iter().find(|point| point.unwanted_caught >= wanted) else { continue };
        let choice = choice(point);
        if chosen.last().is_none_or(|last| last.threshold < choice.threshold) {
            chosen.push(choice);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(all: &[(f64, Truth)]) -> Vec<Judged> {
        all.iter().map(|(in_scope, truth)| Judged { in_scope: *in_scope, truth: *truth }).collect()
    }

    #[test]
    fn the_fewest_mistakes() {
        use Truth::{OutOfScope, Right, Wrong};
        let all =
            judged(&[(0.9, Right), (0.8, Right), (0.5, Right), (0.4, OutOfScope), (0.3, Wrong), (0.2, OutOfScope)]);
        assert_eq!(choose(&all), Some(0.5));
        assert_eq!(choose(&judged(&[(0.4, Right), (0.6, Right)])), Some(0.4), "nothing to decline: everything is kept");
        assert_eq!(choose(&[]), None);
        // Declining the one right line costs 0.8, keeping the one out of scope 0.2.
        assert_eq!(choose(&judged(&[(0.3, Right), (0.6, OutOfScope)])), Some(0.3));
    }

    proptest! {
        #[test]
        fn no_threshold_costs_less(all in prop::collection::vec((0u8..12, 0u8..3), 1..60)) {
            let truths = [Truth::Right, Truth::Wrong, Truth::OutOfScope];
            let all: Vec<_> = all.into_iter().map(|(score, truth)| (f64::from(score), truths[truth as usize])).collect();
            let all = judged(&all);
            let outside = all.iter().filter(|one| one.truth == Truth::OutOfScope).count();
            let inside = all.len() - outside;
            let share = if outside == 0 { 0.0 } else { OUT_OF_SCOPE_SHARE };
            let cost = |threshold: f64| -> f64 {
                all.iter().map(|one| match (one.truth, one.in_scope >= threshold) {
                    (Truth::Right, false) | (Truth::Wrong, true) => (1.0 - share) / inside as f64,
                    (Truth::OutOfScope, true) => share / outside as f64,
                    _ => 0.0,
                }).sum()
            };
            let found = cost(choose(&all).unwrap());
            prop_assert!(all.iter().all(|one| found <= cost(one.in_scope) + 1e-9));
        }
    }
}
