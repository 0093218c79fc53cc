//! PURE: may a request come in? Token buckets in their arrival-time form (GCRA): one time stamp says how full a bucket is.

use std::time::Duration;

/// How many requests a minute, and how many of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_minute: u32,
    pub burst: u32,
}

impl Rate {
    /// None when there is no limit.
    pub fn new(per_minute: u32, burst: u32) -> Option<Self> {
        (per_minute > 0).then_some(Self { per_minute, burst: burst.max(1) })
    }

    /// The time that one request costs.
    fn interval(self) -> Duration {
        Duration::from_secs(60) / self.per_minute
    }
}

/// What is left after a request was let in; it becomes the `RateLimit-*` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests a minute.
    pub limit: u32,
    /// Requests that could come right now.
    pub remaining: u32,
    /// When the bucket is full again.
    pub reset: Duration,
}

/// A bucket; the default is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// When it is full again, on the clock of `now`.
    full_at: Duration,
}

impl Bucket {
    /// Takes one request, or says how long to wait for it; a refusal takes nothing.
    pub fn take(&mut self, rate: Rate, now: Duration) -> Result<Allowance, Duration> {
        let interval = rate.interval();
        let full_at = self.full_at.max(now) + interval;
        let tolerated = now + interval * rate.burst;
        if full_at > tolerated {
            return Err(full_at - tolerated);
        }
        self.full_at = full_at;
        let remaining = ((tolerated - full_at).as_nanos() / interval.as_nanos().max(1)) as u32;
        Ok(Allowance { limit: rate.per_minute, remaining, reset: full_at - now })
    }

    /// A full bucket says nothing and need not be kept.
    pub fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { per_minute: 60, burst: 3 };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_is_let_in_then_one_a_second() {
        let mut bucket = Bucket::default();
        let taken: Vec<_> = (0..3).map(|_| bucket.take(RATE, at(0)).unwrap().remaining).collect();
        assert_eq!(taken, [2, 1, 0]);
        assert_eq!(bucket.take(RATE, at(0)), Err(at(1_000)));
        assert_eq!(bucket.take(RATE, at(400)), Err(at(600)));
        assert!(bucket.take(RATE, at(1_000)).is_ok());
        assert!(!bucket.is_full(at(3_999)) && bucket.is_full(at(4_000)));
        assert_eq!(Rate::new(0, 5), None);
    }

    proptest! {
        #[test]
        fn no_bucket_lets_in_more_than_its_rate_and_burst(
            waits_ms in prop::collection::vec(0u64..3_000, 1..200),
            per_minute in 1u32..6_000,
            burst in 1u32..50,
        ) {
            let rate = Rate { per_minute, burst };
            let (mut bucket, mut now, mut let_in) = (Bucket::default(), Duration::ZERO, 0u64);
            for wait in waits_ms {
                now += at(wait);
                let_in += u64::from(bucket.take(rate, now).is_ok());
                let most = u64::from(burst) + now.as_millis() as u64 * u64::from(per_minute) / 60_000 + 1;
                prop_assert!(let_in <= most, "{let_in} of {most}");
            }
        }

        #[test]
        fn whoever_waits_as_told_is_let_in(before in 1usize..100, per_minute in 1u32..6_000, burst in 1u32..50) {
            let rate = Rate { per_minute, burst };
            let mut bucket = Bucket::default();
            let refusals = (0..before).filter_map(|_| bucket.take(rate, at(0)).err()).last();
            if let Some(wait) = refusals {
                prop_assert!(bucket.take(rate, wait).is_ok());
            }
        }
    }
}
