//! PURE: what a look at one place came to.

use std::time::Duration;

use serde::Serialize;

/// Things that are named one by one; of more only the number is told.
const NAMED_MAX: usize = 20;

/// A stream, a table, Redis, a folder: what was looked at there, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) looked_at: u64,
    /// What was theirs.
    pub(super) theirs: u64,
    pub(super) erased: u64,
    /// Turns of others in a conversation of theirs that tell what was said before: they are kept without that.
    pub(super) retold: u64,
    /// What is somebody else's and names them or quotes them.
    pub(super) mentions: u64,
    /// Where these are; nothing of what they say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) mentioned_at: Vec<String>,
    pub(super) per_s: u64,
}

impl Place {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    pub(super) fn mention(&mut self, at: impl Into<String>) {
        self.mentions += 1;
        if self.mentioned_at.len() < NAMED_MAX {
            self.mentioned_at.push(at.into());
        }
    }

    /// Notes how long the look took.
    pub(super) fn took(mut self, took: Duration) -> Self {
        self.per_s = (self.looked_at as f64 / took.as_secs_f64().max(0.001)) as u64;
        self
    }

    /// Nothing of theirs was there.
    pub(super) fn is_clean(&self) -> bool {
        self.theirs == 0 && self.retold == 0 && self.mentions == 0
    }
}
