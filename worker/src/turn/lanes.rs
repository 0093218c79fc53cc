//! Redelivered asks run apart from those that come for the first time.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Redelivered asks are kept apart: one of them may be why its last worker died.
///
/// A second attempt is mostly an innocent neighbour, and there may be a worker's worth of them, so it gets a quarter of
/// the places; whatever has failed twice goes alone.
pub(super) struct Lanes {
    second: Semaphore,
    later: Semaphore,
}

impl Lanes {
    pub(super) fn new(concurrency: usize) -> Self {
        Self { second: Semaphore::new((concurrency / 4).max(1)), later: Semaphore::new(1) }
    }

    pub(super) async fn enter(&self, attempt: u32) -> Option<SemaphorePermit<'_>> {
        match attempt {
            0 | 1 => None,
            2 => self.second.acquire().await.ok(),
            _ => self.later.acquire().await.ok(),
        }
    }
}
