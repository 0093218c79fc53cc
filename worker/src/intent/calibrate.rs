//! Says how far to trust the best intent: a logistic judgement over several signs, and the threshold below which the
//! desk does not act.
//!
//! The softmax maximum is the worst of the usual scores for this; the largest logit (Hendrycks et al. 2022) and the
//! distance to the nearest training example tell unknown questions apart, and are weighed here on held-out examples
//! (Platt 1999).

use serde::{Deserialize, Serialize};

/// Signs that are weighed; see `train::Reading`.
pub(super) const SIGNS: usize = 8;

/// Held-out good questions that may fall below the threshold: asking back too often costs more than a rare wrong guess.
const DECLINED_WRONGLY_MAX: f32 = 0.03;

/// Weight of everything out of scope against everything in scope, whatever the file holds of each: the share expected
/// in a desk's traffic.
const OUT_OF_SCOPE_SHARE: f32 = 0.2;

const ROUNDS: usize = 1_500;
const RATE: f32 = 0.5;
/// Keeps the weights of a few dozen held-out examples from running away.
const DECAY: f32 = 0.003;

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

/// The judgement, fitted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Judge {
    mean: [f32; SIGNS],
    spread: [f32; SIGNS],
    weights: [f32; SIGNS],
    bias: f32,
    pub(super) threshold: f32,
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
}

impl Judge {
    pub(super) fn fit(samples: &[Sample]) -> (Self, Validation) {
        let mut judge = Self::standardise(samples);
        let out = samples.iter().filter(|sample| sample.outcome == Outcome::OutOfScope).count() as f32;
        let inside = samples.len() as f32 - out;
        let weight = |outcome| match outcome {
            Outcome::OutOfScope => OUT_OF_SCOPE_SHARE / out,
            _ if out > 0.0 => (1.0 - OUT_OF_SCOPE_SHARE) / inside,
            _ => 1.0 / inside,
        };
        for _ in 0..ROUNDS {
            let (mut slope, mut bias) = ([0.0; SIGNS], 0.0);
            for sample in samples {
                let target = if sample.outcome == Outcome::Right { 1.0 } else { 0.0 };
                let error = (judge.confidence(&sample.signs) - target) * weight(sample.outcome);
                let signs = judge.standard(&sample.signs);
                slope.iter_mut().zip(signs).for_each(|(slope, sign)| *slope += error * sign);
                bias += error;
            }
            for (weight, slope) in judge.weights.iter_mut().zip(slope) {
                *weight -= RATE * (slope + DECAY * *weight);
            }
            judge.bias -= RATE * bias;
        }
        let validation = judge.choose_threshold(samples);
        (judge, validation)
    }

    /// How likely the best candidate is right, 0..1.
    pub(super) fn confidence(&self, signs: &[f32; SIGNS]) -> f32 {
        let sum: f32 = self.standard(signs).iter().zip(&self.weights).map(|(sign, weight)| sign * weight).sum();
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
        Self { mean, spread, weights: [0.0; SIGNS], bias: 0.0, threshold: 0.0 }
    }

    /// In spreads from the mean, bounded: one wild sign must not outvote the others.
    fn standard(&self, signs: &[f32; SIGNS]) -> [f32; SIGNS] {
        std::array::from_fn(|sign| ((signs[sign] - self.mean[sign]) / self.spread[sign]).clamp(-4.0, 4.0))
    }

    /// The threshold with the most kept and declined rightly together, within what may be declined wrongly.
    fn choose_threshold(&mut self, samples: &[Sample]) -> Validation {
        let of = |wanted: bool| {
            let inside = samples.iter().filter(move |sample| (sample.outcome != Outcome::OutOfScope) == wanted);
            let mut found: Vec<f32> = inside.map(|sample| self.confidence(&sample.signs)).collect();
            found.sort_unstable_by(f32::total_cmp);
            found
        };
        let (inside, outside) = (of(true), of(false));
        let below = |sorted: &[f32], threshold: f32| {
            sorted.partition_point(|confidence| *confidence < threshold) as f32 / sorted.len().max(1) as f32
        };
        let affordable = (inside.len() as f32 * DECLINED_WRONGLY_MAX) as usize;
        let candidates = inside.iter().take(affordable + 1);
        let gain = |threshold: f32| below(&outside, threshold) - below(&inside, threshold);
        self.threshold = candidates.copied().max_by(|a, b| gain(*a).total_cmp(&gain(*b))).unwrap_or_default();
        let right = samples.iter().filter(|sample| sample.outcome == Outcome::Right).count();
        Validation {
            accuracy: right as f32 / inside.len().max(1) as f32,
            declined_wrongly: below(&inside, self.threshold),
            declined_rightly: below(&outside, self.threshold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::random::Random;

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
        let (judge, validation) = Judge::fit(&samples());
        assert!(validation.declined_wrongly <= DECLINED_WRONGLY_MAX, "{validation:?}");
        assert!(validation.declined_rightly > 0.95, "{validation:?}");
        assert!((validation.accuracy - 300.0 / 315.0).abs() < 1e-6);
        let confidence = |level: f32| judge.confidence(&[level, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(confidence(2.5) > 0.9 && confidence(0.8) < 0.3, "{} {}", confidence(2.5), confidence(0.8));
    }

    #[test]
    fn nothing_held_out_is_no_reason_to_fail() {
        let (judge, validation) = Judge::fit(&[]);
        assert!(judge.confidence(&[1.0; SIGNS]).is_finite());
        assert_eq!(validation, Validation::default());
    }
}
