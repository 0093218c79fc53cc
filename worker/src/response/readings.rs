//! Passages as they were read to hold a model to them, kept: the same few hundred lie below nearly all answers.

use std::sync::Arc;

use moka::future::Cache;
use sha2::{Digest, Sha256};
use talkfleet_shared::chat::Passage;

use super::ground::{Ground, Reading, Shown};

/// Readings that are kept: more than the passages of a help centre that customers ask about at the same time.
const KEPT_MAX: u64 = 2_000;

/// Readings by the text that was read.
pub struct Readings(Cache<[u8; 32], Arc<Reading>>);

impl Readings {
    pub fn new() -> Self {
        Self(Cache::new(KEPT_MAX))
    }

    /// The ground of an answer to a question, out of these passages.
    pub async fn ground(&self, passages: &[Passage], question: &str) -> Ground {
        let mut readings = Vec::with_capacity(passages.len());
        for passage in passages {
            readings.push(self.reading(Shown { title: &passage.title, text: &passage.text }).await);
        }
        Ground::new(readings, question)
    }

    async fn reading(&self, shown: Shown<'_>) -> Arc<Reading> {
        let mut key = Sha256::new();
        key.update(shown.title.len().to_le_bytes());
        key.update(shown.title);
        key.update(shown.text);
        let key: [u8; 32] = key.finalize().into();
        if let Some(reading) = self.0.get(&key).await {
            return reading;
        }
        let reading = Arc::new(Reading::of(&shown));
        self.0.insert(key, reading.clone()).await;
        reading
    }
}
