//! How much each classifier's word counts: weights that make held-out examples likeliest.
//!
//! A weighted sum of log-probabilities ("stacking", Wolpert 1992), two numbers or three for each tier. They also bring
//! the scores to a common scale, so that leads mean the same in every tier.

use serde::{Deserialize, Serialize};

use super::parts::log_softmax;
use super::tier::Tier;

/// Weights before anything was held out: the SVM's margins are small numbers, the others' logits are probabilities' own.
const FIRST: [[f32; 3]; 3] = [[4.0, 0.0, 0.0], [2.0, 0.7, 0.0], [2.0, 0.4, 0.7]];

/// Factors by which a weight is tried larger and smaller, coarse to fine.
const STEPS: [f32; 5] = [2.0, 1.5, 1.25, 1.1, 1.04];

/// Held-out texts below which the weights stay as they are.
const HELD_OUT_MIN: usize = 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fusion {
    /// By tier, the weight of each voice up to it.
    weights: [[f32; 3]; 3],
}

/// A held-out text: what each classifier said, and the class that is right.
pub(super) struct Heard<'a> {
    pub(super) said: &'a [Vec<f32>],
    pub(super) truth: usize,
}

impl Default for Fusion {
    fn default() -> Self {
        Self { weights: FIRST }
    }
}

impl Fusion {
    /// Finds the weights of every tier, one weight after another, until no change helps.
    pub(super) fn fit(heard: &[Heard<'_>]) -> Self {
        let mut fusion = Self::default();
        for tier in Tier::ALL {
            let able: Vec<&Heard<'_>> = heard.iter().filter(|heard| heard.said.len() > tier as usize).collect();
            if able.len() < HELD_OUT_MIN {
                continue;
            }
            let mut loss = fusion.loss(tier, &able);
            for step in STEPS {
                while fusion.improve(tier, step, &able, &mut loss) {}
            }
        }
        fusion
    }

    /// The fused log-probability of every class.
    pub(super) fn fuse(&self, tier: Tier, said: &[Vec<f32>]) -> Vec<f32> {
        let mut sum = vec![0.0; said.first().map_or(0, Vec::len)];
        for (weight, voice) in self.weights[tier as usize].iter().zip(said) {
            sum.iter_mut().zip(voice).for_each(|(sum, value)| *sum += weight * value);
        }
        log_softmax(sum)
    }

    /// Whether some weight, made larger or smaller, lowered the loss.
    fn improve(&mut self, tier: Tier, step: f32, heard: &[&Heard<'_>], loss: &mut f32) -> bool {
        let mut better = false;
        for voice in 0..=(tier as usize) {
            for factor in [step, step.recip()] {
                let before = self.weights[tier as usize][voice];
                self.weights[tier as usize][voice] = (before * factor).clamp(0.01, 30.0);
                let found = self.loss(tier, heard);
                if found < *loss * (1.0 - 1e-5) {
                    *loss = found;
                    better = true;
                } else {
                    self.weights[tier as usize][voice] = before;
                }
            }
        }
        better
    }

    /// The mean of what the truth was thought unlikely by.
    fn loss(&self, tier: Tier, heard: &[&Heard<'_>]) -> f32 {
        let surprise = |heard: &&Heard<'_>| -self.fuse(tier, heard.said)[heard.truth];
        heard.iter().map(surprise).sum::<f32>() / heard.len() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::random::Random;

    #[test]
    fn who_knows_more_counts_more() {
        let mut random = Random::new(4);
        let mut voice = |truth: usize, knows: f32| {
            log_softmax((0..4).map(|class| random.unit() + if class == truth { knows } else { 0.0 }).collect())
        };
        let said: Vec<(usize, Vec<Vec<f32>>)> =
            (0..200).map(|at| (at % 4, vec![voice(at % 4, 0.1), voice(at % 4, 1.0)])).collect();
        let heard: Vec<Heard<'_>> = said.iter().map(|(truth, said)| Heard { said, truth: *truth }).collect();
        let fusion = Fusion::fit(&heard);
        let [words, embedding, _] = fusion.weights[Tier::Multilingual as usize];
        assert!(embedding > 2.0 * words, "{fusion:?}");
        let all: Vec<&Heard<'_>> = heard.iter().collect();
        assert!(fusion.loss(Tier::Multilingual, &all) < fusion.loss(Tier::Words, &all));
        assert!(fusion.loss(Tier::Multilingual, &all) < Fusion::default().loss(Tier::Multilingual, &all));
    }

    #[test]
    fn a_handful_of_texts_moves_nothing() {
        assert_eq!(Fusion::fit(&[]), Fusion::default());
    }
}
