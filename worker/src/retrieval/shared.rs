//! PURE: a list and a map whose copies share all that has not changed since, so that a snapshot costs a pointer per block.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Places in one block: a change copies that many at most, and a copy of 100,000 places is 391 pointers.
pub(super) const BLOCK: usize = 256;

/// Parts of a map; 100,000 keys are 400 a part.
const PARTS: usize = 256;

/// A list in blocks.
#[derive(Clone)]
pub(super) struct List<T> {
    blocks: Vec<Arc<Vec<T>>>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<T: Clone + Default> List<T> {
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.blocks.get(at / BLOCK)?.get(at % BLOCK)
    }

    /// Puts a value at a place, and defaults at those before it that did not exist.
    pub(super) fn set(&mut self, at: usize, value: T) {
        while self.blocks.len() <= at / BLOCK {
            self.blocks.push(Arc::new(vec![T::default(); BLOCK]));
        }
        Arc::make_mut(&mut self.blocks[at / BLOCK])[at % BLOCK] = value;
    }

    /// Places in it, a multiple of [`BLOCK`].
    pub(super) fn len(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flat_map(|block| block.iter())
    }
}

/// A map from names to places, in parts.
#[derive(Clone)]
pub(super) struct Places {
    parts: Vec<Arc<HashMap<String, u32>>>,
    hasher: RandomState,
}

impl Default for Places {
    fn default() -> Self {
        Self { parts: vec![Arc::default(); PARTS], hasher: RandomState::new() }
    }
}

impl Places {
    pub(super) fn get(&self, name: &str) -> Option<usize> {
        self.parts[self.part(name)].get(name).map(|place| *place as usize)
    }

    pub(super) fn insert(&mut self, name: &str, place: usize) {
        let part = self.part(name);
        Arc::make_mut(&mut self.parts[part]).insert(name.to_owned(), place as u32);
    }

    /// Takes a name away if it leads to this place.
    pub(super) fn remove(&mut self, name: &str, place: usize) {
        if self.get(name) == Some(place) {
            let part = self.part(name);
            Arc::make_mut(&mut self.parts[part]).remove(name);
        }
    }

    fn part(&self, name: &str) -> usize {
        self.hasher.hash_one(name) as usize % PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_it_was_and_shares_the_rest() {
        let mut list = List::default();
        (0..1000).for_each(|at| list.set(at, at));
        let before = list.clone();
        list.set(300, 7);
        assert_eq!((before.get(300), list.get(300), list.get(299)), (Some(&300), Some(&7), Some(&299)));
        let shared = list.blocks.iter().zip(&before.blocks).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!((shared, list.blocks.len()), (3, 4));
        assert_eq!(list.get(5000), None);

        let mut places = Places::default();
        places.insert("a", 1);
        let before = places.clone();
        places.insert("b", 2);
        places.remove("a", 9);
        assert_eq!((places.get("a"), before.get("b")), (Some(1), None), "another place's name stays");
        places.remove("a", 1);
        assert_eq!((places.get("a"), before.get("a")), (None, Some(1)));
    }
}
