//! PURE: a budget of retries, so that who is in trouble is not called more than who is well.
//!
//! A token bucket as in Finagle's `RetryBudget` and gRPC's retry throttling (A6): each call pays in a share of a retry,
//! each retry takes a whole one. When everything fails, load grows by that share and not by the number of attempts. A
//! trickle of time keeps a quiet desk able to retry, as Finagle's and linkerd's `minRetriesPerSecond` does.

use std::time::{Duration, Instant};

use crate::config::RetriesConfig;

/// Retries that may still be made of one target.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    limits: RetriesConfig,
    saved: f64,
    trickled_at: Instant,
}

impl RetryBudget {
    /// It begins full, so that a failure right after the start is retried.
    pub fn new(limits: RetriesConfig, now: Instant) -> Self {
        Self { limits, saved: limits.saved_max, trickled_at: now }
    }

    /// A call that is no retry was made.
    pub fn called(&mut self, now: Instant) {
        self.trickle(now);
        self.saved = (self.saved + self.limits.share).min(self.limits.saved_max);
    }

    /// Takes a retry, if one is left.
    pub fn retry(&mut self, now: Instant) -> bool {
        self.trickle(now);
        let may = self.saved >= 1.0;
        if may {
            self.saved -= 1.0;
        }
        may
    }

    fn trickle(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.trickled_at);
        self.trickled_at = self.trickled_at.max(now);
        self.saved = (self.saved + passed.as_secs_f64() * self.limits.per_s_min).min(self.limits.saved_max);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: RetriesConfig = RetriesConfig { share: 0.1, per_s_min: 0.5, saved_max: 10.0 };

    #[test]
    fn when_everything_fails_load_grows_by_a_tenth() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(LIMITS, now);
        let mut retries = 0;
        for _ in 0..10_000 {
            budget.called(now);
            retries += u32::from(budget.retry(now));
        }
        assert!((1_000..=1_010).contains(&retries), "{retries}");
    }

    #[test]
    fn a_quiet_desk_may_retry() {
        let mut now = Instant::now();
        let mut budget = RetryBudget::new(RetriesConfig { saved_max: 1.0, ..LIMITS }, now);
        for _ in 0..20 {
            budget.called(now);
            assert!(budget.retry(now), "one call in two seconds");
            assert!(!budget.retry(now), "once");
            now += Duration::from_secs(2);
        }
    }

    proptest! {
        #[test]
        fn retries_never_exceed_their_share(acts in prop::collection::vec((any::<bool>(), 0u64..300), 0..500)) {
            let start = Instant::now();
            let (mut now, mut budget) = (start, RetryBudget::new(LIMITS, start));
            let (mut calls, mut retries) = (0.0, 0.0);
            for (is_call, wait_ms) in acts {
                now += Duration::from_millis(wait_ms);
                if is_call {
                    budget.called(now);
                    calls += 1.0;
                } else if budget.retry(now) {
                    retries += 1.0;
                }
                let trickled = (now - start).as_secs_f64() * LIMITS.per_s_min;
                prop_assert!(retries <= LIMITS.saved_max + calls * LIMITS.share + trickled + 1e-6);
            }
        }
    }
}
