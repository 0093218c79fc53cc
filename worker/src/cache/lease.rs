//! The right of one process to make a copy for all; given back however the making ends.

use std::time::Duration;

use super::Key;
use crate::keeper::{Redis, RedisError};

/// Held until [`Lease::fill`]; dropped before, as when a customer hangs up in mid-answer, it is given back by a task.
pub struct Lease {
    redis: Redis,
    key: Key,
    token: String,
    is_held: bool,
}

impl Lease {
    /// For whoever has put `token` there.
    pub fn new(redis: Redis, key: Key, token: String) -> Self {
        Self { redis, key, token, is_held: true }
    }

    /// Keeps what was made in Redis and ends; false when it is old already and was not kept.
    pub async fn fill(mut self, bytes: &[u8], keep_for: Duration) -> Result<bool, RedisError> {
        self.is_held = false;
        self.redis.fill(self.key.place(), &self.token, bytes, keep_for).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_held {
            return;
        }
        // Without a runtime the process is ending; the lease runs out by itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (redis, key, token) = (self.redis.clone(), self.key.clone(), std::mem::take(&mut self.token));
        runtime.spawn(async move {
            let _ = redis.fill(key.place(), &token, &[], Duration::ZERO).await;
        });
    }
}
