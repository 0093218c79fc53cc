//! PURE: a circuit breaker: after so many failures in a row something is left alone for a while, then tried by one call.

use std::time::{Duration, Instant};

#[derive(Debug, Clone)]
pub struct Breaker {
    failures_max: u32,
    open_for: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All is well, or was until this many failures ago.
    Closed { failures: u32 },
    /// Left alone until then.
    Open { until: Instant },
    /// One call is trying; should it never report back, another may from then on.
    Trying { until: Instant },
}

impl Breaker {
    pub fn new(failures_max: u32, open_for: Duration) -> Self {
        Self { failures_max, open_for, state: State::Closed { failures: 0 } }
    }

    /// Whether a call would be let through.
    pub fn is_closed(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } | State::Trying { until } => until <= now,
        }
    }

    /// Lets a call through or not; after the pause it is one call that tries.
    pub fn enter(&mut self, now: Instant) -> bool {
        let enters = self.is_closed(now);
        if enters && !matches!(self.state, State::Closed { .. }) {
            self.state = State::Trying { until: now + self.open_for };
        }
        enters
    }

    /// Whether the call that was let in is the one that tries.
    pub fn is_trying(&self) -> bool {
        matches!(self.state, State::Trying { .. })
    }

    pub fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    pub fn failed(&mut self, now: Instant) {
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < self.failures_max => State::Closed { failures: failures + 1 },
            _ => State::Open { until: now + self.open_for },
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    #[test]
    fn it_opens_after_the_last_straw_and_is_closed_by_one_that_tried() {
        let start = Instant::now();
        let mut breaker = Breaker::new(2, PAUSE);
        breaker.failed(start);
        assert!(breaker.enter(start) && !breaker.is_trying());
        breaker.failed(start);
        assert!(!breaker.enter(start));
        let later = start + PAUSE;
        assert!(breaker.enter(later) && breaker.is_trying(), "one may try");
        assert!(!breaker.enter(later), "but only one");
        breaker.succeeded();
        assert!(breaker.enter(later));
    }

    proptest! {
        #[test]
        fn what_fails_without_end_is_called_once_a_pause(calls in prop::collection::vec(0u64..5_000, 1..200)) {
            let mut now = Instant::now();
            let (start, mut breaker, mut let_in) = (now, Breaker::new(3, PAUSE), 0);
            for wait_ms in calls {
                now += Duration::from_millis(wait_ms);
                if breaker.enter(now) {
                    let_in += 1;
                    breaker.failed(now);
                }
            }
            prop_assert!(let_in <= 3 + (now - start).as_secs() / PAUSE.as_secs());
        }
    }
}
