//! PURE: whether a confidence of 80 % is right four times in five: bins, and the expected calibration error.

use serde::Serialize;

/// Bins of equal width, as in Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
pub const BINS: usize = 15;

/// One bin of confidences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Its lower and upper end.
    pub from: f64,
    pub to: f64,
    pub count: usize,
    /// Share right in it; 0 when it is empty.
    pub accuracy: f64,
    /// Mean confidence in it; 0 when it is empty.
    pub confidence: f64,
}

/// Sorts (confidence, right) into bins of equal width; an edge belongs to the bin below it, 0 to the first.
pub fn bins(judged: &[(f64, bool)]) -> Vec<Bin> {
    let mut sums = [(0usize, 0usize, 0.0f64); BINS];
    for (confidence, right) in judged {
        let at = (confidence * BINS as f64).ceil() as usize;
        let sum = &mut sums[at.clamp(1, BINS) - 1];
        *sum = (sum.0 + 1, sum.1 + usize::from(*right), sum.2 + confidence);
    }
    let bin = |(at, (count, right, confidence)): (usize, (usize, usize, f64))| Bin {
        from: at as f64 / BINS as f64,
        to: (at + 1) as f64 / BINS as f64,
        count,
        accuracy: right as f64 / count.max(1) as f64,
        confidence: confidence / count.max(1) as f64,
    };
    sums.into_iter().enumerate().map(bin).collect()
}

/// The expected calibration error: how far confidence and accuracy are apart in a bin, over bins by their size.
pub fn error(bins: &[Bin]) -> f64 {
    let all: usize = bins.iter().map(|bin| bin.count).sum();
    let apart = bins.iter().map(|bin| bin.count as f64 * (bin.accuracy - bin.confidence).abs());
    apart.sum::<f64>() / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(judged: &[(f64, bool)], expected: f64) {
        let found = error(&bins(judged));
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn figures_calculated_by_hand() {
        check(&[], 0.0);
        check(&[(1.0, true)], 0.0);
        check(&[(1.0, false)], 1.0);
        // One bin holds 0.9 twice, one of them right: |0.5 − 0.9|. Another holds 0.1, wrong: |0 − 0.1|. (2·0.4 + 0.1) / 3.
        check(&[(0.9, true), (0.9, false), (0.1, false)], 0.3);
        // Four fifths right at 0.8: calibrated.
        check(&[(0.8, true), (0.8, true), (0.8, true), (0.8, true), (0.8, false)], 0.0);
    }

    #[test]
    fn the_ends_are_inside() {
        let found = bins(&[(0.0, false), (1.0, true), (0.2, true)]);
        let held: Vec<_> = found.iter().enumerate().filter(|(_, bin)| bin.count > 0).map(|(at, _)| at).collect();
        assert_eq!(held, [0, 2, BINS - 1], "0.2 ends the third of fifteen");
    }

    proptest! {
        #[test]
        fn every_sample_is_in_one_bin(judged in prop::collection::vec((0.0..=1.0f64, any::<bool>()), 0..100)) {
            let found = bins(&judged);
            prop_assert_eq!(found.iter().map(|bin| bin.count).sum::<usize>(), judged.len());
            prop_assert!((0.0..=1.0).contains(&error(&found)));
            for bin in found.iter().filter(|bin| bin.count > 0) {
                prop_assert!(bin.from - 1e-9 <= bin.confidence && bin.confidence <= bin.to + 1e-9);
            }
        }
    }
}
