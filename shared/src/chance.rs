//! Chance where it decides something: the operating system's, or that of a seed, on a thread that simulates.

use std::cell::RefCell;

use rand::{Rng, SeedableRng, distr::uniform::SampleUniform, rngs::StdRng};

thread_local! {
    /// Per thread, not per process: simulations of several seeds run beside one another.
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// From here on this thread draws what the seed says; until [`unseed`].
pub fn seed(seed: u64) {
    SEEDED.set(Some(StdRng::seed_from_u64(seed)));
}

/// From here on this thread draws from the operating system again.
pub fn unseed() {
    SEEDED.set(None);
}

/// A value from `low` to `high`, both included.
pub fn between<T: SampleUniform + PartialOrd>(low: T, high: T) -> T {
    SEEDED.with_borrow_mut(|seeded| match seeded {
        Some(seeded) => seeded.random_range(low..=high),
        None => rand::rng().random_range(low..=high),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_again() {
        let draw = || {
            seed(7);
            (0..20).map(|_| between(0, 1_000_000)).collect::<Vec<u32>>()
        };
        assert_eq!(draw(), draw());
        unseed();
        assert_ne!(draw(), (0..20).map(|_| between(0, 1_000_000)).collect::<Vec<u32>>());
        unseed();
        assert_ne!(
            (0..20).map(|_| between(0, 1_000_000)).collect::<Vec<u32>>(),
            (0..20).map(|_| between(0, 1_000_000)).collect::<Vec<u32>>()
        );
    }
}
