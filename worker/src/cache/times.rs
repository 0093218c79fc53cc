//! PURE: how long a copy is kept; what was written together does not expire together.

use std::time::Duration;

/// A life is longer or shorter than it should be by up to this part of it.
pub const JITTER: f64 = 0.2;

/// How long copies are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// In this process.
    pub local: Duration,
    /// In Redis.
    pub shared: Duration,
    /// That there is nothing, in both.
    pub nothing: Duration,
}

impl Times {
    /// How long a copy, or that there is nothing, is kept in Redis; `draw` is chance's, from -1 to 1.
    pub fn in_redis(&self, is_there: bool, draw: f64) -> Duration {
        jittered(if is_there { self.shared } else { self.nothing }, draw)
    }

    /// The same in this process; of one that came from Redis, no longer than it is kept there.
    pub fn in_process(&self, is_there: bool, left: Option<Duration>, draw: f64) -> Duration {
        let life = jittered(if is_there { self.local } else { self.nothing }, draw);
        left.map_or(life, |left| life.min(left))
    }
}

fn jittered(life: Duration, draw: f64) -> Duration {
    life.mul_f64(1.0 + JITTER * draw.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMES: Times =
        Times { local: Duration::from_secs(30), shared: Duration::from_secs(300), nothing: Duration::from_secs(5) };

    proptest! {
        #[test]
        fn a_life_is_a_fifth_longer_or_shorter_at_most(ms in 0_u64..100_000_000, draw in -2.0..2.0_f64) {
            let (life, times) = (Duration::from_millis(ms), jittered(Duration::from_millis(ms), draw));
            prop_assert!(times >= life.mul_f64(0.799_999) && times <= life.mul_f64(1.200_001));
        }

        #[test]
        fn what_redis_forgets_this_process_forgets(left_ms in 0_u64..400_000, is_there: bool, draw in -1.0..1.0_f64) {
            let left = Duration::from_millis(left_ms);
            prop_assert!(TIMES.in_process(is_there, Some(left), draw) <= left);
            prop_assert!(TIMES.in_process(is_there, None, draw) <= TIMES.in_redis(is_there, draw));
        }
    }

    #[test]
    fn lives_that_began_together_end_apart() {
        let ends: Vec<u64> =
            (0..=100).map(|n| TIMES.in_redis(true, f64::from(n) / 50.0 - 1.0).as_millis() as u64).collect();
        assert_eq!((ends[0], ends[50], ends[100]), (240_000, 300_000, 360_000));
        assert!(ends.windows(2).all(|pair| pair[1] - pair[0] == 1_200));
    }

    #[test]
    fn nothing_is_forgotten_sooner_than_something() {
        assert_eq!(TIMES.in_redis(false, 0.0), Duration::from_secs(5));
        assert_eq!(TIMES.in_process(false, None, 1.0), Duration::from_secs(6));
    }
}
