//! Which of the releases that run side by side a worker belongs to, and how its build is called.

use serde::Deserialize;
use talkfleet_shared::release::Release;

/// Which of the releases that run side by side this is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseConfig {
    pub name: Release,
    /// Empty for the program's own.
    pub version: String,
}

impl ReleaseConfig {
    /// What turns that it answers are marked with.
    pub fn version(&self) -> &str {
        if self.version.is_empty() { env!("CARGO_PKG_VERSION") } else { &self.version }
    }
}
