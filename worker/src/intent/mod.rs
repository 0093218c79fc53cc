//! What the customer wants: intents are read from files, trained in process within seconds, and recognised in microseconds.
//!
//! Three tiers of classifiers, cheapest first: a linear SVM on character and word n-grams, which knows the company's own
//! words; then one on the multilingual encoder's embeddings (a kernel machine, for large sets a small network), which
//! knows paraphrases; then one on the transformer's besides. Each tier weighs what those before it said. A calibrated
//! judgement on top of each says how likely the best intent is right and whether the message belongs to any; a tier that
//! is sure enough decides, and the next one is never asked. All thresholds are chosen by cross-validation.

mod artefact;
mod background;
mod calibrate;
mod cascade;
mod embed;
pub mod entities;
mod features;
#[cfg(test)]
mod figures;
mod fusion;
mod kernel;
mod linear;
mod model;
mod neighbours;
mod neural;
mod parts;
mod random;
pub mod remote;
pub mod review;
mod source;
mod tier;
mod train;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use artefact::{ArtefactError, VERSION as ARTEFACT_VERSION};
pub use calibrate::Validation;
pub use model::IntentModel;
pub use review::{Warning, review};
pub use source::{SourceError, checked, parse};
pub use tier::{Choice, Message, Tier};
pub use train::{TrainError, train};

/// Everything that a model is trained from, and what the desk says for intents that need no knowledge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IntentSet {
    pub intents: Vec<Intent>,
    pub examples: Vec<Example>,
    /// Texts that belong to no intent. Few suffice; none at all is allowed.
    pub out_of_scope: Vec<String>,
    pub scope: ScopeCost,
}

/// What the two wrong decisions about a message's scope cost, against one another: the threshold is where their sum is
/// least, one message in five being taken to be out of scope.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScopeCost {
    /// A good question is declined.
    pub decline_good: f32,
    /// A strange one is answered as if it were good.
    pub answer_strange: f32,
}

/// A customer who is asked back loses patience; one whose strange question gets an answer that does not fit asks again.
impl Default for ScopeCost {
    fn default() -> Self {
        Self { decline_good: 1.5, answer_strange: 1.0 }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Intent {
    pub name: String,
    pub kind: Kind,
    pub description: String,
    /// Approved answers by language tag ("en", "zh").
    pub replies: BTreeMap<String, Vec<String>>,
}

/// One labelled text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub text: String,
    pub intent: String,
}

/// What the desk does with an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Answered from the knowledge base.
    #[default]
    Question,
    /// Answered with an approved reply: greetings, thanks.
    SmallTalk,
    /// Goes to a human.
    Handover,
}

/// What was recognised.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// `None`: out of scope. A message in scope always has its likeliest intent, however unsure.
    pub intent: Option<String>,
    /// How likely the best candidate is right if the message belongs to any intent, calibrated on held-out examples, 0..1.
    pub confidence: f32,
    /// How likely the message belongs to any intent, calibrated alike, 0..1.
    pub in_scope: f32,
    /// The three likeliest intents, best first, also when none was recognised.
    pub candidates: Vec<Candidate>,
    /// The recognised intent's kind.
    pub kind: Option<Kind>,
    /// Which tier decided.
    pub tier: Tier,
    /// How far the best candidate leads the second, in log-probability.
    pub lead: f32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub name: String,
    pub confidence: f32,
}
