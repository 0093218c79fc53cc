//! PURE: a day of a shop in its shape: a quiet night, a busy noon and evening, a promotion at eight, and a steady hour after.

/// The shape, as (hour, part of the ordinary peak): straight lines between.
const ORDINARY: [(f64, f64); 10] = [
    (0.0, 0.25),
    (3.0, 0.10),
    (6.0, 0.15),
    (9.0, 0.60),
    (12.0, 0.90),
    (14.0, 0.90),
    (17.0, 0.70),
    (20.0, 1.00),
    (22.0, 0.60),
    (24.0, 0.25),
];

/// When the load is the same for a while, in hours: what the count of replicas must stand still for.
pub(super) const CONSTANT: (f64, f64) = (12.0, 14.0);

/// When the promotion begins, and when it is over.
pub(super) const PROMOTION: (f64, f64) = (20.0, 20.75);

/// Hours of a day.
pub(super) const HOURS: f64 = 24.0;

/// A day's load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Day {
    /// Turns a second at the ordinary peak.
    pub(super) peak: f64,
    /// By how much the promotion multiplies it, from one moment to the next.
    pub(super) promotion: f64,
}

impl Day {
    /// Turns a second at an hour.
    pub(super) fn rate(&self, hour: f64) -> f64 {
        let spike = if (PROMOTION.0..PROMOTION.1).contains(&hour) { self.promotion } else { 1.0 };
        self.peak * ordinary(hour) * spike
    }
}

fn ordinary(hour: f64) -> f64 {
    let hour = hour.clamp(0.0, HOURS);
    let pair = ORDINARY.windows(2).find(|pair| hour <= pair[1].0);
    let Some([(from, low), (to, high)]) = pair else { return ORDINARY[0].1 };
    low + (high - low) * (hour - from) / (to - from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promotion_stands_out_of_a_day_that_ends_as_it_began() {
        let day = Day { peak: 10.0, promotion: 3.0 };
        assert_eq!(day.rate(0.0), day.rate(24.0));
        assert_eq!((day.rate(19.99) * 10.0).round(), 100.0);
        assert_eq!(day.rate(20.0), 30.0);
        assert!(day.rate(20.75) < 10.0);
        let most = (0..2_400).map(|n| day.rate(f64::from(n) / 100.0)).fold(0.0, f64::max);
        assert_eq!(most, 30.0);
    }

    #[test]
    fn nothing_changes_while_it_is_constant() {
        let day = Day { peak: 10.0, promotion: 3.0 };
        let noon: Vec<f64> = (1_200..=1_400).map(|n| day.rate(f64::from(n) / 100.0)).collect();
        assert!(noon.iter().all(|rate| (rate - 9.0).abs() < 1e-9));
    }
}
