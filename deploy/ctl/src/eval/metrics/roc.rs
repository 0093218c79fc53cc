//! PURE: how well a score separates what is wanted from what is not: the curve, its area, and what a threshold costs.

use serde::Serialize;

/// Points of a written curve; more are seen by nobody.
const POINTS_MAX: usize = 120;

/// One threshold: from it on upwards a score counts as wanted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    pub threshold: f64,
    /// Share of the wanted below it.
    pub wanted_lost: f64,
    /// Share of the unwanted below it.
    pub unwanted_caught: f64,
}

/// The area under the curve: how likely a wanted one scores higher than an unwanted one, ties counting half
/// (Mann and Whitney, 1947). None when either group is empty.
pub fn area(wanted: &[f64], unwanted: &[f64]) -> Option<f64> {
    if wanted.is_empty() || unwanted.is_empty() {
        return None;
    }
    let sorted = sorted(unwanted);
    let below: f64 = wanted
        .iter()
        .map(|score| {
            let less = sorted.partition_point(|other| other < score);
            let equal = sorted.partition_point(|other| other <= score) - less;
            less as f64 + equal as f64 / 2.0
        })
        .sum();
    Some(below / (wanted.len() as f64 * unwanted.len() as f64))
}

/// What a threshold does to both groups.
pub fn at(wanted: &[f64], unwanted: &[f64], threshold: f64) -> Point {
    let below = |scores: &[f64]| {
        let below = scores.iter().filter(|score| **score < threshold).count();
        below as f64 / scores.len().max(1) as f64
    };
    Point { threshold, wanted_lost: below(wanted), unwanted_caught: below(unwanted) }
}

/// The curve from 'everything is wanted' to 'nothing is', thinned out to what can be drawn.
pub fn curve(wanted: &[f64], unwanted: &[f64]) -> Vec<Point> {
    let mut thresholds = sorted(&[wanted, unwanted].concat());
    thresholds.dedup();
    let every = thresholds.len().div_ceil(POINTS_MAX).max(1);
    let last = thresholds.last().map(|highest| highest.next_up());
    let (wanted, unwanted) = (sorted(wanted), sorted(unwanted));
    let below = |scores: &[f64], threshold: f64| {
        scores.partition_point(|score| *score < threshold) as f64 / scores.len().max(1) as f64
    };
    let point = |threshold: f64| Point {
        threshold,
        wanted_lost: below(&wanted, threshold),
        unwanted_caught: below(&unwanted, threshold),
    };
    thresholds.into_iter().step_by(every).chain(last).map(point).collect()
}

fn sorted(scores: &[f64]) -> Vec<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(wanted: &[f64], unwanted: &[f64], expected: Option<f64>) {
        let found = area(wanted, unwanted);
        let same = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-12,
            (found, expected) => found == expected,
        };
        assert!(same, "{found:?} is not {expected:?}");
    }

    #[test]
    fn areas_calculated_by_hand() {
        check(&[0.9, 0.8], &[0.1, 0.2], Some(1.0));
        check(&[0.1], &[0.9], Some(0.0));
        check(&[0.5, 0.5], &[0.5], Some(0.5));
        // Of six pairs 0.8 wins three, 0.4 wins one and ties one: 4.5 / 6.
        check(&[0.8, 0.4], &[0.4, 0.6, 0.1], Some(4.5 / 6.0));
        check(&[], &[0.4], None);
    }

    #[test]
    fn a_threshold_takes_what_is_below_it() {
        let found = at(&[0.8, 0.4], &[0.4, 0.6, 0.1], 0.5);
        assert_eq!((found.wanted_lost, found.unwanted_caught), (0.5, 2.0 / 3.0));
        let found = at(&[0.8, 0.4], &[0.4, 0.6, 0.1], 0.4);
        assert_eq!((found.wanted_lost, found.unwanted_caught), (0.0, 1.0 / 3.0), "a score at the threshold is kept");
    }

    proptest! {
        #[test]
        fn the_curve_climbs_from_corner_to_corner(
            wanted in prop::collection::vec(0u8..20, 1..60), unwanted in prop::collection::vec(0u8..20, 1..60)
        ) {
            let [wanted, unwanted] = [wanted, unwanted].map(|all| all.into_iter().map(f64::from).collect::<Vec<_>>());
            let points = curve(&wanted, &unwanted);
            let (first, last) = (points[0], points[points.len() - 1]);
            prop_assert_eq!((first.wanted_lost, first.unwanted_caught), (0.0, 0.0));
            prop_assert_eq!((last.wanted_lost, last.unwanted_caught), (1.0, 1.0));
            let climbs = |pair: &[Point]| pair[0].wanted_lost <= pair[1].wanted_lost && pair[0].unwanted_caught <= pair[1].unwanted_caught;
            prop_assert!(points.windows(2).all(climbs));
            prop_assert!(points.iter().all(|point| at(&wanted, &unwanted, point.threshold) == *point));
            // The area by trapezoids under a curve that was not thinned out.
            let under: f64 = points.windows(2)
                .map(|pair| (pair[1].wanted_lost - pair[0].wanted_lost) * (pair[0].unwanted_caught + pair[1].unwanted_caught) / 2.0)
                .sum();
            prop_assert!((under - area(&wanted, &unwanted).unwrap()).abs() < 1e-9);
            prop_assert!((area(&wanted, &unwanted).unwrap() + area(&unwanted, &wanted).unwrap() - 1.0).abs() < 1e-9);
        }
    }
}
