//! The meanings of sentences that were quoted from passages which lie elsewhere: encoded once, kept for a while.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use super::super::Passage;
use crate::encoder::{Encoder, cosine};
use crate::text;

/// Sentences kept of each generation, 2 KiB each: the newer one is being filled, the older one still read.
const GENERATION_MAX: usize = 8_192;

/// By what a sentence says: a passage that changes has others.
#[derive(Default)]
pub struct QuotedSentences(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    newer: HashMap<u64, Arc<[f32]>>,
    older: HashMap<u64, Arc<[f32]>>,
}

impl QuotedSentences {
    /// The cosine of an embedding to the sentence at a place of a passage; None when it has fewer.
    pub fn meaning(&self, passage: &Passage, place: usize, query: &[f32], encoder: &Encoder) -> Option<f32> {
        let sentences = text::sentences(&passage.text);
        let sentence = sentences.get(place)?;
        let mut hasher = DefaultHasher::new();
        sentence.hash(&mut hasher);
        let key = hasher.finish();
        let kept = self.change(|generations| generations.get(key));
        let embedding = kept.unwrap_or_else(|| {
            let embedding: Arc<[f32]> = encoder.encode(sentence).into();
            self.change(|generations| generations.put(key, embedding.clone()));
            embedding
        });
        Some(cosine(&embedding, query))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Generations) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Generations {
    fn get(&mut self, key: u64) -> Option<Arc<[f32]>> {
        if let Some(kept) = self.newer.get(&key) {
            return Some(kept.clone());
        }
        let kept = self.older.remove(&key)?;
        self.put(key, kept.clone());
        Some(kept)
    }

    fn put(&mut self, key: u64, embedding: Arc<[f32]>) {
        if self.newer.len() >= GENERATION_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, embedding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let mut generations = Generations::default();
        let one: Arc<[f32]> = vec![1.0].into();
        for key in 0..3 * GENERATION_MAX as u64 {
            generations.put(key, one.clone());
            assert!(generations.get(0).is_some(), "{key}");
        }
        assert!(generations.newer.len() <= GENERATION_MAX && generations.older.len() <= GENERATION_MAX);
        assert!(generations.get(1).is_none());
    }
}
