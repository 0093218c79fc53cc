//! Says how far to trust the best intent, whether a message belongs to any intent at all, and where the desk draws that
//! line: two logistic judgements over the same signs.
//!
//! They are two because a doubt between two intents is no sign of a strange question: with one judgement for both, the
//! desk declined 14 % of the demo's held-out good questions, with two 6 %, and all of its off-topic ones either way.
//! The softmax maximum is the worst of the usual scores for this; the largest logit (Hendrycks et al. 2022) and the
//! distance to the nearest training example tell unknown questions apart, and are weighed here on held-out examples
//! (Platt 1999).

use serde::{Deserialize, Serialize};

use super::ScopeCost;
use super::parts::SIGNS;

/// Weight of everything out of scope against everything in scope, whatever the file holds of each: the share expected
/// in a desk's traffic.
const OUT_OF_SCOPE_SHARE: f32 = 0.2;

const ROUNDS: usize = 1_500;
const RATE: f32 = 0.5;
/// Keeps the weights of a few dozen held-out examples from running away.
const DECAY: f32 = 0.003;

/// Standard errors by which texts in scope are spread around the held-out ones where the threshold is chosen.
const SMOOTHED_BY: f32 = 2.0;

/// One held-out text.
pub(super) struct Sample {
    pub(super) signs: [f32; SIGNS],
    pub(super) outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Right,
    Wrong,
    OutOfScope,
}

/// Both judgements, fitted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Judgement {
    right: Judge,
    in_scope: Judge,
    /// The probability of being in scope from which a message is taken to be.
    threshold: f32,
}

/// What is said of one message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// How likely the best candidate is right if the message belongs to any intent, 0..1.
    pub(super) confidence: f32,
    /// How likely the message belongs to any intent, 0..1.
    pub(super) in_scope: f32,
    /// Whether that is likely enough.
    pub(super) recognised: bool,
}

/// A logistic curve over standardised signs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Judge {
    mean: [f32; SIGNS],
    spread: [f32; SIGNS],
    weights: [f32; SIGNS],
    bias: f32,
}

/// What the held-out examples say of the finished judgement.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Validation {
    /// Share of in-scope examples whose best candidate is right.
    pub accuracy: f32,
    /// Share of in-scope examples below the threshold.
    pub declined_wrongly: f32,
    /// Share of out-of-scope texts below the threshold.
    pub declined_rightly: f32,
    /// Share of all that the cascade decides rightly: in scope and recognised as what it is, or out of scope and declined.
    pub cascade: f32,
    /// Share of all that the cascade leaves to the transformer.
    pub escalated: f32,
}

impl Judgement {
    pub(super) fn fit(samples: &[Sample], cost: ScopeCost) -> (Self, Validation) {
        // Whether a message belongs to any intent is the other one's to judge: had this one to fear it too, it would be too
        // modest about every good question.
        let right =
            Judge::fit(samples, |outcome| (outcome != Outcome::OutOfScope).then_some(outcome == Outcome::Right));
        let in_scope = Judge::fit(samples, |outcome| Some(outcome != Outcome::OutOfScope));
        let (threshold, validation) = choose_threshold(&in_scope, samples, cost);
        (Self { right, in_scope, threshold }, validation)
    }

    pub(super) fn verdict(&self, signs: &[f32; SIGNS]) -> Verdict {
        let in_scope = self.in_scope.probability(signs);
        Verdict { confidence: self.right.probability(signs), in_scope, recognised: in_scope >= self.threshold }
    }
}

impl Verdict {
    /// How far the decision is from the next one, in log-probability: the best intent's lead over the second, or that of
    /// 'out of scope' over the contrary.
    pub(super) fn margin(&self, lead: f32) -> f32 {
        let outside = (1.0 - self.in_scope).max(f32::MIN_POSITIVE);
        if self.recognised { lead } else { (outside / self.in_scope.max(f32::MIN_POSITIVE)).ln() }
    }
}

/// What one text in scope and one out of scope stand for.
pub(super) fn weights(samples: &[Sample]) -> (f32, f32) {
    let out = samples.iter().filter(|sample| sample.outcome == Outcome::OutOfScope).count() as f32;
    let inside = samples.len() as f32 - out;
    if out > 0.0 { ((1.0 - OUT_OF_SCOPE_SHARE) / inside, OUT_OF_SCOPE_SHARE / out) } else { (1.0 / inside, 0.0) }
}

impl Judge {
    /// Of samples that are not to be judged `wanted` gives none.
    fn fit(samples: &[Sample], wanted: impl Fn(Outcome) -> Option<bool>) -> Self {
        let mut judge = Self::standardise(samples);
        let (inside, outside) = weights(samples);
        let standard: Vec<[f32; SIGNS]> = samples.iter().map(|sample| judge.standard(&sample.signs)).collect();
        for _ in 0..ROUNDS {
            let (mut slope, mut bias) = ([0.0; SIGNS], 0.0);
            for (sample, signs) in samples.iter().zip(&standard) {
                let Some(wanted) = wanted(sample.outcome) else { continue };
                let target = if wanted { 1.0 } else { 0.0 };
                let weight = if sample.outcome == Outcome::OutOfScope { outside } else { inside };
                let error = (judge.curve(signs) - target) * weight;
                slope.iter_mut().zip(signs).for_each(|(slope, sign)| *slope += error * sign);
                bias += error;
            }
            for (weight, slope) in judge.weights.iter_mut().zip(slope) {
                *weight -= RATE * (slope + DECAY * *weight);
            }
            judge.bias -= RATE * bias;
        }
        judge
    }

    fn probability(&self, signs: &[f32; SIGNS]) -> f32 {
        self.curve(&self.standard(signs))
    }

    fn curve(&self, standard: &[f32; SIGNS]) -> f32 {
        let sum: f32 = standard.iter().zip(&self.weights).map(|(sign, weight)| sign * weight).sum();
        1.0 / (1.0 + (-(sum + self.bias)).exp())
    }

    fn standardise(samples: &[Sample]) -> Self {
        let count = samples.len().max(1) as f32;
        let average = |of: &dyn Fn(&Sample) -> f32| samples.iter().map(of).sum::<f32>() / count;
        let mean = std::array::from_fn(|sign| average(&|sample| sample.signs[sign]));
        let spread = std::array::from_fn(|sign| {
            let variance = average(&|sample| (sample.signs[sign] - mean[sign]).powi(2));
            if variance > 1e-9 { variance.sqrt() } else { f32::INFINITY }
        });
        // A sign that never varies tells nothing: an infinite spread makes it zero for ever.
        let spread = spread.map(|spread: f32| if spread.is_finite() { spread } else { f32::MAX });
        Self { mean, spread, weights: [0.0; SIGNS], bias: 0.0 }
    }

    /// In spreads from the mean, bounded: one wild sign must not outvote the others.
    fn standard(&self, signs: &[f32; SIGNS]) -> [f32; SIGNS] {
        std::array::from_fn(|sign| ((signs[sign] - self.mean[sign]) / self.spread[sign]).clamp(-4.0, 4.0))
    }
}

/// The threshold at which wrong decisions about scope cost least, by the tenant's own prices.
fn choose_threshold(in_scope: &Judge, samples: &[Sample], cost: ScopeCost) -> (f32, Validation) {
    let of = |wanted: bool| {
        let chosen = samples.iter().filter(move |sample| (sample.outcome != Outcome::OutOfScope) == wanted);
        let mut found: Vec<f32> = chosen.map(|sample| in_scope.probability(&sample.signs)).collect();
        found.sort_unstable_by(f32::total_cmp);
        found
    };
    let (inside, outside) = (of(true), of(false));
    let below = |sorted: &[f32], threshold: f32| {
        sorted.partition_point(|probability| *probability < threshold) as f32 / sorted.len().max(1) as f32
    };
    let smoothed = Smoothed::of(&inside);
    let price = |threshold: f32| {
        let declined = (1.0 - OUT_OF_SCOPE_SHARE) * cost.decline_good * smoothed.below(threshold);
        declined + OUT_OF_SCOPE_SHARE * cost.answer_strange * (1.0 - below(&outside, threshold))
    };
    let candidates = inside.iter().chain(&outside).copied().chain([0.0]);
    let threshold = candidates.min_by(|a, b| price(*a).total_cmp(&price(*b))).unwrap_or_default();
    let right = samples.iter().filter(|sample| sample.outcome == Outcome::Right).count();
    let validation = Validation {
        accuracy: right as f32 / inside.len().max(1) as f32,
        declined_wrongly: below(&inside, threshold),
        declined_rightly: below(&outside, threshold),
        ..Validation::default()
    };
    (threshold, validation)
}

/// Where the probabilities of texts in scope lie, each held-out one standing for its surroundings: new texts are not the
/// held-out ones again, and the fewer these are, the further from them.
struct Smoothed {
    odds: Vec<f32>,
    width: f32,
}

impl Smoothed {
    fn of(probabilities: &[f32]) -> Self {
        let odds: Vec<f32> = probabilities.iter().map(|probability| log_odds(*probability)).collect();
        let count = odds.len().max(1) as f32;
        let mean = odds.iter().sum::<f32>() / count;
        let spread = (odds.iter().map(|odds| (odds - mean).powi(2)).sum::<f32>() / count).sqrt();
        Self { odds, width: (SMOOTHED_BY * spread / count.sqrt()).max(1e-3) }
    }

    /// The share that is expected below.
    fn below(&self, probability: f32) -> f32 {
        let at = log_odds(probability);
        let share = |odds: &f32| 1.0 / (1.0 + ((odds - at) / self.width).exp());
        self.odds.iter().map(share).sum::<f32>() / self.odds.len().max(1) as f32
    }
}

fn log_odds(probability: f32) -> f32 {
    let probability = probability.clamp(1e-6, 1.0 - 1e-6);
    (probability / (1.0 - probability)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::random::Random;

    /// The first two and the fourth of the signs.
    fn signs(first: f32, second: f32, fourth: f32) -> [f32; SIGNS] {
        let mut signs = [0.0; SIGNS];
        (signs[0], signs[1], signs[3]) = (first, second, fourth);
        signs
    }

    fn samples() -> Vec<Sample> {
        let mut random = Random::new(5);
        let mut sample = |outcome, level: f32| {
            let mut signs = [0.0; SIGNS];
            signs[0] = level + random.unit();
            signs[1] = random.unit();
            Sample { signs, outcome }
        };
        let mut all: Vec<_> = (0..300).map(|_| sample(Outcome::Right, 2.0)).collect();
        all.extend((0..15).map(|_| sample(Outcome::Wrong, 1.2)));
        all.extend((0..40).map(|_| sample(Outcome::OutOfScope, 0.5)));
        all
    }

    #[test]
    fn the_threshold_keeps_what_it_may_and_declines_the_rest() {
        let (judgement, validation) = Judgement::fit(&samples(), ScopeCost::default());
        assert!(validation.declined_wrongly <= 0.03, "{validation:?}");
        assert!(validation.declined_rightly > 0.95, "{validation:?}");
        assert!((validation.accuracy - 300.0 / 315.0).abs() < 1e-6);
        let verdict = |level: f32| judgement.verdict(&signs(level, 0.5, 0.0));
        assert!(verdict(2.5).confidence > 0.9 && verdict(2.5).recognised, "{:?}", verdict(2.5));
        assert!(verdict(0.8).confidence < 0.3 && !verdict(0.8).recognised, "{:?}", verdict(0.8));
    }

    #[test]
    fn a_doubt_between_two_intents_is_no_sign_of_a_strange_question() {
        let mut random = Random::new(6);
        let mut sample = |outcome, lead: f32, near: f32| {
            let mut signs = [0.0; SIGNS];
            (signs[0], signs[3]) = (lead + random.unit(), near + random.unit());
            Sample { signs, outcome }
        };
        let mut all: Vec<_> = (0..200).map(|_| sample(Outcome::Right, 3.0, 2.0)).collect();
        all.extend((0..60).map(|_| sample(Outcome::Wrong, 0.0, 2.0)));
        all.extend((0..40).map(|_| sample(Outcome::OutOfScope, 1.5, 0.0)));
        let (judgement, _) = Judgement::fit(&all, ScopeCost::default());
        let doubtful = judgement.verdict(&signs(0.5, 0.0, 2.5));
        assert!(doubtful.confidence < 0.5 && doubtful.recognised, "{doubtful:?}");
        let strange = judgement.verdict(&signs(2.0, 0.0, 0.5));
        assert!(!strange.recognised, "{strange:?}");
    }

    #[test]
    fn nothing_held_out_is_no_reason_to_fail() {
        let (judgement, validation) = Judgement::fit(&[], ScopeCost::default());
        assert!(judgement.verdict(&[1.0; SIGNS]).confidence.is_finite());
        assert_eq!(validation, Validation::default());
    }
}
