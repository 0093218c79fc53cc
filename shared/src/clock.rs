//! The clock by which code waits: the runtime's, so that a simulation may move it.

use std::time::{Duration, Instant};

/// This moment, as the runtime's timers see it.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long ago a moment was.
pub fn since(moment: Instant) -> Duration {
    now().saturating_duration_since(moment)
}
