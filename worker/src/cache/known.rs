//! Which keys may exist at all: a Bloom filter, so that what never existed is not looked for.
//!
//! It says 'perhaps' to everything until it is filled. While a fresh one is being filled the one before goes on serving,
//! and what is heard meanwhile goes into both.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fastbloom::AtomicBloomFilter;

use super::Key;

/// Of so many strange keys one is taken for known: 19 bits a key.
const FALSE_POSITIVES: f64 = 0.0001;

/// The keys that may exist.
#[derive(Default)]
pub struct Known(RwLock<Filters>);

#[derive(Default)]
struct Filters {
    serving: Option<Arc<AtomicBloomFilter>>,
    filling: Option<Arc<AtomicBloomFilter>>,
}

/// A filter that is being filled; it serves once [`Known::serve`] is given it.
pub struct Filling {
    filter: Arc<AtomicBloomFilter>,
    keys: usize,
    keys_max: usize,
}

impl Known {
    /// Whether a key certainly does not exist.
    pub fn lacks(&self, key: &Key) -> bool {
        self.read().serving.as_ref().is_some_and(|filter| !filter.contains(key.as_str()))
    }

    /// A key exists from now on.
    pub fn add(&self, key: &Key) {
        let filters = self.read();
        for filter in [&filters.serving, &filters.filling].into_iter().flatten() {
            filter.insert(key.as_str());
        }
    }

    /// Begins a fresh filter for so many keys; list what exists only after this, so that nothing falls in between.
    pub fn fill(&self, keys_max: usize) -> Filling {
        let filter = Arc::new(AtomicBloomFilter::with_false_pos(FALSE_POSITIVES).expected_items(keys_max.max(1)));
        self.write().filling = Some(filter.clone());
        Filling { filter, keys: 0, keys_max }
    }

    /// From here on what is not in this filter does not exist.
    pub fn serve(&self, filled: Filling) {
        let mut filters = self.write();
        filters.serving = Some(filled.filter);
        filters.filling = None;
    }

    /// Something may have been missed: everything is perhaps there.
    pub fn forget(&self) {
        self.write().serving = None;
    }

    fn read(&self) -> RwLockReadGuard<'_, Filters> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Filters> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filling {
    pub fn add(&mut self, key: &Key) {
        self.filter.insert(key.as_str());
        self.keys += 1;
    }

    pub fn keys(&self) -> usize {
        self.keys
    }

    /// Whether it holds more keys than it was made for, and takes ever more strange ones for known.
    pub fn is_crowded(&self) -> bool {
        self.keys > self.keys_max
    }
}

#[cfg(test)]
mod tests {
    use talkfleet_shared::id::{ConversationId, TenantId};

    use super::*;

    fn key(n: usize) -> Key {
        Key::history(&TenantId::parse("t").unwrap(), &ConversationId::parse(&format!("c{n}")).unwrap())
    }

    #[test]
    fn until_it_is_filled_everything_is_perhaps_there() {
        let known = Known::default();
        assert!(!known.lacks(&key(1)));
        let mut filling = known.fill(10);
        filling.add(&key(1));
        assert!(!known.lacks(&key(2)));
        known.add(&key(3));
        known.serve(filling);
        assert_eq!([1, 2, 3].map(|n| known.lacks(&key(n))), [false, true, false]);
        known.add(&key(2));
        assert!(!known.lacks(&key(2)));
        known.forget();
        assert!(!known.lacks(&key(4)));
    }

    #[test]
    fn a_fresh_one_takes_over_with_what_was_heard_meanwhile() {
        let known = Known::default();
        known.serve(known.fill(10));
        let filling = known.fill(10);
        known.add(&key(5));
        assert!(!known.lacks(&key(5)) && known.lacks(&key(6)), "the one before serves meanwhile");
        known.serve(filling);
        assert!(!known.lacks(&key(5)) && known.lacks(&key(6)));
    }

    #[test]
    fn strange_keys_are_told_and_known_ones_never_lost() {
        let known = Known::default();
        let mut filling = known.fill(10_000);
        (0..10_000).for_each(|n| filling.add(&key(n)));
        assert!(!filling.is_crowded());
        known.serve(filling);
        assert!((0..10_000).all(|n| !known.lacks(&key(n))));
        let taken_for_known = (10_000..110_000).filter(|n| !known.lacks(&key(*n))).count();
        assert!(taken_for_known < 50, "{taken_for_known} of 100000, where 10 are to be expected");
    }
}
