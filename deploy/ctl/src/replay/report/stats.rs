//! PURE: how sure a figure is: intervals and tests for paired turns, percentiles with the range that chance leaves them.

/// Two-sided 95 % of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// The 95 % interval of a rate: Wilson's score interval (E. B. Wilson, JASA 22, 1927).
pub fn wilson(hits: usize, of: usize) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (of as f64, hits as f64 / of as f64);
    let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At the ends the formula is exactly 0 and 1; floating point is not.
    let low = if hits == 0 { 0.0 } else { (middle - half).max(0.0) };
    let high = if hits == of { 1.0 } else { (middle + half).min(1.0) };
    (low, high)
}

/// The 95 % interval of the difference of two rates over the same turns, of which `more` differ on the one side only and
/// `fewer` on the other only: the adjusted Wald interval (Bonett and Price, J. Educ. Behav. Stat. 37, 2012).
pub fn paired(more: usize, fewer: usize, of: usize) -> (f64, f64) {
    let n = of as f64 + 2.0;
    let (p, q) = ((more as f64 + 1.0) / n, (fewer as f64 + 1.0) / n);
    let half = Z * ((p + q - (p - q).powi(2)).max(0.0) / n).sqrt();
    ((p - q - half).max(-1.0), (p - q + half).min(1.0))
}

/// How likely chance alone sets two paired rates this far apart: McNemar's test (Psychometrika 12, 1947) as its exact
/// mid-p version, which keeps its level with few turns too (Fagerland, Lydersen and Laake, BMC Med. Res. Methodol. 13, 2013).
pub fn mcnemar(more: usize, fewer: usize) -> f64 {
    let (n, k) = (more + fewer, more.max(fewer));
    if n == 0 || more == fewer {
        return 1.0;
    }
    (2.0 * (at_least(k, n) - 0.5 * exactly(k, n))).clamp(0.0, 1.0)
}

/// How likely chance alone gives the one side at least `more` of the turns on which just one side stands out (the exact
/// one-sided form of the same test).
pub fn more_than(more: usize, fewer: usize) -> f64 {
    at_least(more, more + fewer)
}

/// P(X ≥ k) of n fair coins.
fn at_least(k: usize, n: usize) -> f64 {
    if k == 0 {
        return 1.0;
    }
    let mut term = exactly(k, n);
    let mut sum = term;
    for i in k..n {
        term *= (n - i) as f64 / (i + 1) as f64;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum.min(1.0)
}

/// P(X = k) of n fair coins.
fn exactly(k: usize, n: usize) -> f64 {
    let choose: f64 = (1..=k.min(n - k)).map(|i| ((n - k.min(n - k) + i) as f64 / i as f64).ln()).sum();
    (choose - n as f64 * std::f64::consts::LN_2).exp()
}

/// Which of several findings stand at a level when all are asked at once (S. Holm, Scand. J. Stat. 6, 1979).
pub fn holm(p_values: &[f64], level: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut stands = vec![false; p_values.len()];
    for (rank, index) in order.into_iter().enumerate() {
        if p_values[index] > level / (p_values.len() - rank) as f64 {
            break;
        }
        stands[index] = true;
    }
    stands
}

/// A percentile by nearest rank: the smallest value that at least this share of them does not exceed; 0 of nothing.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or_default()
}

/// Between which values a percentile lies with 95 %, whatever the distribution: the order statistics that the binomial
/// leaves (Hahn and Meeker, Statistical Intervals, 1991, section 5.2). Too few values leave the range open at the top.
pub fn percentile_range(sorted: &[f64], share: f64) -> (f64, f64) {
    let n = sorted.len() as f64;
    let half = Z * (n * share * (1.0 - share)).sqrt();
    let at = |rank: f64| if rank < 1.0 { Some(0.0) } else { sorted.get(rank as usize - 1).copied() };
    let low = at((n * share - half).floor()).unwrap_or_default();
    (low, at((n * share + half).ceil() + 1.0).unwrap_or(f64::INFINITY))
}

/// The mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-4, "{found} is not {expected}");
    }

    #[test]
    fn published_examples_come_out() {
        // Newcombe 1998 (Stat. Med. 17, 857), table I: 81 of 263.
        near(wilson(81, 263).0, 0.2553);
        near(wilson(81, 263).1, 0.3662);
        // Fagerland et al. 2013, table 1: 1 against 7 pairs, exact conditional 0.070, mid-p 0.039.
        near(mcnemar(1, 7), 0.0391);
        near(2.0 * more_than(7, 1), 0.0703);
        // Bonett and Price's formula by hand: 7 and 1 of 21.
        near(paired(7, 1, 21).0, 0.0134);
        near(paired(7, 1, 21).1, 0.5083);
    }

    #[test]
    fn nothing_is_sure_about_nothing() {
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        near(mcnemar(0, 0), 1.0);
        near(more_than(0, 0), 1.0);
        near(percentile(&[], 0.5), 0.0);
        near(more_than(9_000, 1_000), 0.0);
        near(more_than(5_000, 5_000), 0.504);
    }

    #[test]
    fn findings_are_held_to_a_stricter_level_when_many_are_asked() {
        assert_eq!(holm(&[0.02, 0.001, 0.04], 0.05), [true, true, true]);
        assert_eq!(holm(&[0.03, 0.001, 0.04], 0.05), [false, true, false]);
        assert_eq!(holm(&[], 0.05), [false; 0]);
    }

    proptest! {
        #[test]
        fn a_percentile_is_what_counting_finds(mut values in prop::collection::vec(0.0..1e6f64, 1..200), share in 0.01..1.0f64) {
            values.sort_by(f64::total_cmp);
            let found = percentile(&values, share);
            let covers = |v: f64| values.iter().filter(|x| **x <= v).count() as f64 >= share * values.len() as f64;
            let naive = values.iter().copied().find(|v| covers(*v)).unwrap();
            prop_assert_eq!(found, naive);
            let (low, high) = percentile_range(&values, share);
            prop_assert!(low <= found && found <= high);
        }

        #[test]
        fn an_interval_holds_its_figure(hits in 0usize..500, rest in 0usize..500, both in 0usize..500) {
            let of = hits + rest + both;
            let (low, high) = wilson(hits, of);
            if of > 0 {
                let rate = hits as f64 / of as f64;
                prop_assert!(0.0 <= low && low <= rate && rate <= high && high <= 1.0);
            }
            let (low, high) = paired(hits, rest, of);
            let net = (hits as f64 - rest as f64) / of.max(1) as f64;
            prop_assert!(low <= net + 1e-9 && net <= high + 1e-9, "{low} {net} {high}");
            prop_assert!((0.0..=1.0).contains(&mcnemar(hits, rest)));
        }
    }
}
