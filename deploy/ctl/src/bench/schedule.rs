//! When messages are meant to be sent: an open load follows its curve whatever becomes of what was sent before.

use clap::ValueEnum;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// How long a jump takes at most, in seconds: a promotion opens to everybody at once.
const JUMP_S: f64 = 1.0;

/// A jump takes no more than this share of a short run.
const JUMP_SHARE_MAX: f64 = 0.1;

/// What a load looks like over its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Shape {
    /// The whole rate from the first second to the last
    Steady,
    /// From nothing to the whole rate
    Ramp,
    /// A tenth of the rate, all of it within one second, a tenth again
    Spike,
    /// A quiet night, a busy morning, all of it when the promotion opens, a second peak in the evening
    PromotionDay,
    /// The whole rate for half of the time, then a tenth of it
    Relief,
}

/// How those that are due within a short time lie among one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Spacing {
    /// As customers come who know nothing of one another
    Poisson,
    /// Equally far apart
    Even,
}

/// An open load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Schedule {
    pub(super) shape: Shape,
    pub(super) spacing: Spacing,
    /// Messages a second at the curve's highest point.
    pub(super) rate: f64,
    pub(super) seconds: f64,
}

/// Between two moments the rate changes evenly from one to the other.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from_s: f64,
    lasts_s: f64,
    from_rate: f64,
    to_rate: f64,
}

impl Schedule {
    /// The curve's corners as (share of the time, share of the rate); a jump stands where the rate changes at once.
    fn corners(&self) -> &'static [(f64, f64)] {
        match self.shape {
            Shape::Steady => &[(0.0, 1.0), (1.0, 1.0)],
            Shape::Ramp => &[(0.0, 0.0), (1.0, 1.0)],
            Shape::Spike => &[(0.0, 0.1), (0.3, 0.1), (0.3, 1.0), (0.7, 1.0), (0.7, 0.1), (1.0, 0.1)],
            Shape::Relief => &[(0.0, 1.0), (0.5, 1.0), (0.5, 0.1), (1.0, 0.1)],
            Shape::PromotionDay => &[
                (0.0, 0.1),
                (0.2, 0.05),
                (0.35, 0.3),
                (0.45, 0.3),
                (0.45, 1.0),
                (0.55, 0.6),
                (0.7, 0.5),
                (0.8, 0.9),
                (0.9, 0.4),
                (1.0, 0.1),
            ],
        }
    }

    fn stretches(&self) -> Vec<Stretch> {
        let jump = JUMP_S.min(self.seconds * JUMP_SHARE_MAX);
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (time, rate) in self.corners() {
            let (at, rate) = (time * self.seconds, rate * self.rate);
            let jumps = points.last().is_some_and(|(before, _)| *before >= at);
            points.push((if jumps { at + jump } else { at }, rate));
        }
        let stretch = |pair: &[(f64, f64)]| Stretch {
            from_s: pair[0].0,
            lasts_s: pair[1].0 - pair[0].0,
            from_rate: pair[0].1,
            to_rate: pair[1].1,
        };
        points.windows(2).map(stretch).collect()
    }

    /// Messages a second at a moment.
    pub(super) fn rate_at(&self, at_s: f64) -> f64 {
        let stretches = self.stretches();
        let found = stretches.iter().find(|stretch| at_s < stretch.from_s + stretch.lasts_s).or(stretches.last());
        found.map_or(0.0, |stretch| {
            let along = ((at_s - stretch.from_s) / stretch.lasts_s).clamp(0.0, 1.0);
            stretch.from_rate + along * (stretch.to_rate - stretch.from_rate)
        })
    }

    /// Messages that are meant to be sent in all.
    #[cfg(test)]
    fn messages(&self) -> f64 {
        self.stretches().iter().map(Stretch::messages).sum()
    }

    /// The part of it that one of several senders has, and the place of that sender among them.
    pub(super) fn arrivals<R: Rng>(&self, place: usize, of: usize, rng: R) -> Arrivals<R> {
        let of = of.max(1);
        let own = Self { rate: self.rate / of as f64, ..*self };
        let first = (place as f64 + 0.5) / of as f64;
        Arrivals { stretches: own.stretches(), at: 0, before: 0.0, due: 0.0, first, spacing: self.spacing, rng }
    }
}

impl Stretch {
    fn messages(&self) -> f64 {
        (self.from_rate + self.to_rate) / 2.0 * self.lasts_s
    }

    /// After which time of the stretch so many messages are due.
    fn after(&self, messages: f64) -> f64 {
        let slope = (self.to_rate - self.from_rate) / self.lasts_s;
        let root = (self.from_rate.powi(2) + 2.0 * slope * messages).max(0.0).sqrt();
        if self.from_rate + root <= 0.0 { 0.0 } else { (2.0 * messages / (self.from_rate + root)).min(self.lasts_s) }
    }
}

/// The moments at which one sender is meant to send, in seconds from the beginning.
#[derive(Debug)]
pub(super) struct Arrivals<R> {
    stretches: Vec<Stretch>,
    at: usize,
    /// Messages that were due before the stretch began.
    before: f64,
    /// How many messages are due once the next one is.
    due: f64,
    first: f64,
    spacing: Spacing,
    rng: R,
}

impl<R: Rng> Iterator for Arrivals<R> {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        self.due += match self.spacing {
            Spacing::Even => std::mem::replace(&mut self.first, 1.0),
            // From (0, 1], whose logarithm is finite.
            Spacing::Poisson => -(1.0 - self.rng.random::<f64>()).ln(),
        };
        while let Some(stretch) = self.stretches.get(self.at) {
            let within = self.due - self.before;
            if within < stretch.messages() {
                return Some(stretch.from_s + stretch.after(within));
            }
            self.before += stretch.messages();
            self.at += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn schedule(shape: Shape, spacing: Spacing, rate: f64, seconds: f64) -> Schedule {
        Schedule { shape, spacing, rate, seconds }
    }

    fn all(schedule: Schedule) -> Vec<f64> {
        schedule.arrivals(0, 1, StdRng::seed_from_u64(7)).collect()
    }

    #[test]
    fn an_even_steady_load_is_equally_far_apart() {
        let at = all(schedule(Shape::Steady, Spacing::Even, 4.0, 1.0));
        assert_eq!(at, [0.125, 0.375, 0.625, 0.875]);
    }

    #[test]
    fn a_spike_is_there_within_a_second() {
        let spike = schedule(Shape::Spike, Spacing::Even, 1_000.0, 30.0);
        assert_eq!(
            [8.9, 9.5, 10.0, 20.9, 22.1].map(|at| spike.rate_at(at).round()),
            [100.0, 550.0, 1_000.0, 1_000.0, 100.0]
        );
        let at = all(spike);
        assert_eq!(at.iter().filter(|at| **at < 9.0).count(), 900);
        assert!(at.iter().filter(|at| (10.0..11.0).contains(*at)).count() >= 999);
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        prop::sample::select(Shape::value_variants())
    }

    proptest! {
        #[test]
        fn moments_are_in_order_inside_the_run_and_as_many_as_meant(
            shape in shapes(), even in any::<bool>(), rate in 1.0..2_000.0f64, seconds in 0.5..20.0f64,
        ) {
            let spacing = if even { Spacing::Even } else { Spacing::Poisson };
            let schedule = schedule(shape, spacing, rate, seconds);
            let at = all(schedule);
            prop_assert!(at.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(at.iter().all(|at| (0.0..=seconds).contains(at)));
            let (meant, seen) = (schedule.messages(), at.len() as f64);
            // Six standard deviations of a Poisson process.
            let off = if even { 1.0 } else { 6.0 * meant.sqrt() + 6.0 };
            prop_assert!((meant - seen).abs() <= off, "meant {meant}, seen {seen}");
        }

        #[test]
        fn several_senders_send_what_one_would(shape in shapes(), rate in 10.0..500.0f64, of in 1usize..6) {
            let schedule = schedule(shape, Spacing::Even, rate, 4.0);
            let sent: usize = (0..of).map(|at| schedule.arrivals(at, of, StdRng::seed_from_u64(1)).count()).sum();
            prop_assert!((sent as f64 - schedule.messages()).abs() <= of as f64);
        }

        #[test]
        fn the_rate_is_never_above_the_highest(shape in shapes(), at in -1.0..40.0f64) {
            let schedule = schedule(shape, Spacing::Even, 100.0, 30.0);
            prop_assert!((0.0..=100.0 + 1e-9).contains(&schedule.rate_at(at)));
        }
    }
}
