//! Delivery classes: what is promised of a message once it was accepted, and so what it costs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much care is taken of a channel's messages; told to the client with `accepted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryClass {
    /// It lies on the queue: exactly one outcome will exist, whichever process dies.
    #[default]
    Durable,
    /// It goes to a worker at once, and how it ended is stored after it was told. A worker that dies takes it along.
    Journaled,
    /// It goes to a worker at once, and nothing is kept of it: no record, no memory, no archive.
    Fast,
}

impl DeliveryClass {
    pub const ALL: [Self; 3] = [Self::Durable, Self::Journaled, Self::Fast];

    /// The word in configuration, headers and frames.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Journaled => "journaled",
            Self::Fast => "fast",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    pub fn is_durable(&self) -> bool {
        *self == Self::Durable
    }
}
