//! PURE: how many replicas a metric calls for, by the HorizontalPodAutoscaler's own formulas.
//!
//! As in Kubernetes (`pkg/controller/podautoscaler/replica_calculator.go`): tolerance, ceilings, and what is assumed of pods
//! that say nothing or are not ready.

/// A ratio this near to 1 changes nothing (`--horizontal-pod-autoscaler-tolerance`).
pub(super) const TOLERANCE: f64 = 0.1;

/// What a pod says of its CPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pod {
    /// Cores in use.
    Says(f64),
    /// It starts; what it uses says nothing yet.
    Unready,
    /// Ready, and nothing is known.
    Missing,
}

fn within(ratio: f64) -> bool {
    (ratio - 1.0).abs() <= TOLERANCE
}

fn up(replicas: f64) -> u32 {
    // Figures of figures: 3.0000000004 is three.
    (replicas - 1e-9).ceil().max(0.0) as u32
}

/// An external metric with `averageValue`: so much for each replica. What KEDA asks for unless told otherwise.
pub(super) fn by_average(value: f64, target: f64, current: u32) -> u32 {
    let ratio = value / (target * f64::from(current));
    if current > 0 && within(ratio) { current } else { up(value / target) }
}

/// An external metric with `value`: so much for all of them together.
pub(super) fn by_value(value: f64, target: f64, current: u32, ready: u32) -> u32 {
    let ratio = value / target;
    match current {
        0 => up(ratio),
        _ if within(ratio) => current,
        _ => up(ratio * f64::from(ready)),
    }
}

/// CPU as a part of what was requested; None when no pod says anything.
pub(super) fn by_utilisation(pods: &[Pod], requested: f64, target: f64, current: u32) -> Option<u32> {
    let said: Vec<f64> =
        pods.iter().filter_map(|pod| if let Pod::Says(cores) = pod { Some(*cores) } else { None }).collect();
    if said.is_empty() {
        return None;
    }
    let count = |wanted: Pod| pods.iter().filter(|pod| **pod == wanted).count();
    let (unready, missing) = (count(Pod::Unready), count(Pod::Missing));
    let ratio_of = |used: f64, pods: usize| used / (requested * pods as f64) / target;
    let used: f64 = said.iter().sum();
    let ratio = ratio_of(used, said.len());
    let growing = unready > 0 && ratio > 1.0;
    if !growing && missing == 0 {
        return Some(if within(ratio) { current } else { up(ratio * said.len() as f64) });
    }
    // Whoever says nothing is taken to speak against the change: at its target's full when shrinking, idle when growing.
    let assumed = if missing > 0 && ratio < 1.0 { missing as f64 * requested * target.max(1.0) } else { 0.0 };
    let counted = said.len() + missing + if growing { unready } else { 0 };
    let again = ratio_of(used + assumed, counted);
    if within(again) || (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0) {
        return Some(current);
    }
    let wished = up(again * counted as f64);
    let backwards = (again < 1.0 && wished > current) || (again > 1.0 && wished < current);
    Some(if backwards { current } else { wished })
}

/// Of several metrics the one that calls for most; one that cannot be read lets nothing be taken away.
pub(super) fn together(wishes: &[Option<u32>], current: u32) -> u32 {
    let most = wishes.iter().flatten().max().copied();
    let unknown = wishes.iter().any(Option::is_none);
    match most {
        None => current,
        Some(most) if unknown && most < current => current,
        Some(most) => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `desiredReplicas = ceil(currentReplicas × currentValue / desiredValue)`: the concepts page's own figures.
    #[test]
    fn the_formula_of_the_manual() {
        assert_eq!(by_value(200.0, 100.0, 3, 3), 6);
        assert_eq!(by_value(50.0, 100.0, 4, 4), 2);
        assert_eq!(by_value(109.0, 100.0, 3, 3), 3, "within the tolerance");
        assert_eq!(by_value(112.0, 100.0, 3, 3), 4);
    }

    #[test]
    fn an_average_is_divided_among_the_replicas() {
        // KEDA's lag: 100 messages at 45 each call for three workers, whatever there are now.
        for current in [1, 2, 5, 20] {
            assert_eq!(by_average(100.0, 45.0, current), 3, "{current}");
        }
        assert_eq!(by_average(98.0, 45.0, 2), 2, "98 / 90 is within the tolerance");
        assert_eq!(by_average(100.0, 45.0, 2), 3, "100 / 90 is not");
        assert_eq!(by_average(0.0, 45.0, 4), 0);
    }

    #[track_caller]
    fn cpu(pods: &[Pod], current: u32, expected: u32) {
        // Half a core requested, 70 % of it wanted.
        assert_eq!(by_utilisation(pods, 0.5, 0.7, current), Some(expected), "{pods:?}");
    }

    #[test]
    fn cpu_is_a_part_of_what_was_requested() {
        cpu(&[Pod::Says(0.35), Pod::Says(0.35)], 2, 2);
        cpu(&[Pod::Says(0.5), Pod::Says(0.5)], 2, 3);
        cpu(&[Pod::Says(0.1), Pod::Says(0.1), Pod::Says(0.1)], 3, 1);
        assert_eq!(by_utilisation(&[Pod::Missing, Pod::Unready], 0.5, 0.7, 2), None);
    }

    #[test]
    fn a_pod_that_starts_damps_growth_and_nothing_else() {
        // 0.7 cores on one of two: twice its target, and with an idle one beside it just right.
        cpu(&[Pod::Says(0.7), Pod::Unready], 2, 2);
        cpu(&[Pod::Says(1.4), Pod::Unready], 2, 4);
        cpu(&[Pod::Says(0.1), Pod::Unready], 2, 1);
    }

    #[test]
    fn a_pod_that_says_nothing_speaks_against_the_change() {
        // Shrinking, it counts as full: (0.1 + 0.5) of 0.7 in all is 0.86.
        cpu(&[Pod::Says(0.1), Pod::Missing], 2, 2);
        // Growing, it counts as idle.
        cpu(&[Pod::Says(0.6), Pod::Missing], 2, 2);
        cpu(&[Pod::Says(1.4), Pod::Missing], 2, 4);
    }

    #[test]
    fn the_greediest_metric_counts_and_an_unknown_one_takes_nothing_away() {
        assert_eq!(together(&[Some(3), Some(5), Some(1)], 4), 5);
        assert_eq!(together(&[Some(1), Some(2)], 4), 2);
        assert_eq!(together(&[Some(1), None], 4), 4);
        assert_eq!(together(&[Some(6), None], 4), 6);
        assert_eq!(together(&[None, None], 4), 4);
    }
}
