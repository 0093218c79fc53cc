//! Texts as vectors: each is computed once, also when intent and retrieval want it at the same moment.

use std::{sync::Arc, time::Duration};

use moka::future::Cache;

use crate::encoder::Encoder;

/// Embeddings kept, 2 KiB each.
const RECENT_MAX: u64 = 4_096;

/// How long one is kept after its last use: one turn's roles ask within milliseconds, a rush within minutes.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// The sentence encoder, if there is one, and what it said last.
pub struct Embeddings {
    encoder: Option<Arc<Encoder>>,
    recent: Cache<String, Arc<[f32]>>,
}

impl Embeddings {
    pub fn new(encoder: Option<Arc<Encoder>>) -> Self {
        Self { encoder, recent: Cache::builder().max_capacity(RECENT_MAX).time_to_idle(IDLE_MAX).build() }
    }

    /// Drops every text that was kept.
    pub fn forget(&self) {
        self.recent.invalidate_all();
    }

    /// The embedding of a text; None without an encoder.
    pub async fn of(&self, text: &str) -> Option<Arc<[f32]>> {
        let encoder = self.encoder.clone()?;
        let owned = text.to_owned();
        let encode = async {
            let encoded = tokio::task::spawn_blocking(move || encoder.encode(&owned)).await;
            encoded.map(Arc::from).map_err(|error| tracing::error!(%error, "the sentence encoder panicked"))
        };
        self.recent.try_get_with_by_ref(text, encode).await.ok()
    }
}
