//! How long to wait before trying again: the delay policy alone; loops, deadlines and budgets belong to the callers.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

use crate::chance;

/// Delays that grow from `first` to `longest` by half each time, jittered by half either way, without end.
///
/// The crate behind it is no longer maintained, so it is named in this file only.
pub struct Delays(ExponentialBackoff);

impl Delays {
    pub fn new(first: Duration, longest: Duration) -> Self {
        let policy = ExponentialBackoffBuilder::new()
            .with_initial_interval(first)
            .with_max_interval(longest)
            // Jittered here, so that a simulation's chance decides.
            .with_randomization_factor(0.0)
            .with_multiplier(1.5)
            .with_max_elapsed_time(None)
            .build();
        Self(policy)
    }

    /// How long to wait this time.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.0.next_backoff().unwrap_or(self.0.max_interval);
        chance::between(delay / 2, delay + delay / 2)
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_never_end() {
        let mut delays = Delays::new(Duration::from_millis(10), Duration::from_millis(100));
        let first = delays.next_delay();
        assert!((5..=15).contains(&(first.as_millis() as u64)), "{first:?}");
        let late = (0..200).map(|_| delays.next_delay()).max().unwrap();
        assert!(late >= Duration::from_millis(60) && late <= Duration::from_millis(150), "{late:?}");
        delays.reset();
        assert!(delays.next_delay() <= Duration::from_millis(15));
    }
}
