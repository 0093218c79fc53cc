//! PURE: which of many scores are worth a second look, without sorting them.

use super::rows::Spread;
use super::shared::BLOCK;

/// Steps into which the scores between nothing and the best are divided to find how far down the wanted ones reach.
const STEPS: usize = 1_024;

/// Scores of one array that count, by whole blocks: one block is one language's.
pub(super) struct Scores<'a> {
    scores: &'a [f32],
    blocks: Vec<usize>,
}

impl<'a> Scores<'a> {
    pub(super) fn of(scores: &'a [f32], counts: impl Fn(usize) -> bool) -> Self {
        Self { scores, blocks: (0..scores.len().div_ceil(BLOCK)).filter(|block| counts(*block)).collect() }
    }

    fn parts(&self) -> impl Iterator<Item = (usize, &'a [f32])> {
        let scores = self.scores;
        self.blocks
            .iter()
            .map(move |block| (block * BLOCK, &scores[block * BLOCK..scores.len().min((block + 1) * BLOCK)]))
    }

    /// Mean and deviation over `count` texts, of which those that are not in the array score nothing.
    pub(super) fn spread(&self, count: usize) -> Spread {
        let (mut sum, mut squares) = (0.0_f64, 0.0_f64);
        for (_, part) in self.parts() {
            sum += f64::from(part.iter().sum::<f32>());
            squares += f64::from(part.iter().map(|score| score * score).sum::<f32>());
        }
        Spread::of_sums(count as f64, sum, squares)
    }

    /// The places of the `wanted` best scores above nothing, or a few more, in no order.
    pub(super) fn best(&self, wanted: usize) -> Vec<usize> {
        let best = self.parts().flat_map(|(_, part)| part).fold(0.0_f32, |best, score| best.max(*score));
        if best <= 0.0 {
            return Vec::new();
        }
        let step = |score: f32| ((score / best * STEPS as f32) as usize).min(STEPS - 1);
        let mut counts = [0_usize; STEPS];
        for score in self.parts().flat_map(|(_, part)| part).filter(|score| **score > 0.0) {
            counts[step(*score)] += 1;
        }
        let mut above = 0;
        let lowest = counts.iter().rposition(|count| {
            above += count;
            above >= wanted
        });
        let lowest = lowest.unwrap_or(0);
        let places = self.parts().flat_map(|(start, part)| (start..).zip(part));
        places.filter(|(_, score)| **score > 0.0 && step(**score) >= lowest).map(|(place, _)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_best_are_among_the_chosen(scores in proptest::collection::vec(0.0_f32..9.0, 0..900), wanted in 1_usize..50) {
            let counted = Scores::of(&scores, |block| block != 1);
            let chosen = counted.best(wanted);
            let mut left: Vec<f32> = (0..scores.len()).filter(|at| at / BLOCK != 1).map(|at| scores[at]).collect();
            left.sort_by(|a, b| b.total_cmp(a));
            let mut found: Vec<f32> = chosen.iter().map(|at| scores[*at]).collect();
            found.sort_by(|a, b| b.total_cmp(a));
            let sure = wanted.min(left.iter().filter(|score| **score > 0.0).count());
            proptest::prop_assert!(chosen.iter().all(|at| at / BLOCK != 1));
            proptest::prop_assert_eq!(&found[..sure], &left[..sure]);
            let exact = Spread::of(left.iter().copied());
            let spread = counted.spread(left.len());
            proptest::prop_assert!((spread.mean - exact.mean).abs() < 1e-3 && (spread.deviation - exact.deviation).abs() < 1e-3);
        }
    }
}
