//! What the customer wants: intents are read from files, trained in process within seconds, and recognised in microseconds.
//!
//! Two classifiers are fused: a linear SVM on character and word n-grams, which knows the company's own words, and one
//! on sentence embeddings (a kernel machine, for large sets a small network), which knows paraphrases. A third, calibrated judgement says
//! how likely the best intent is right, and below a threshold that was chosen by cross-validation nothing is recognised.

mod calibrate;
pub mod entities;
mod features;
mod kernel;
mod linear;
mod model;
mod neighbours;
mod neural;
mod random;
pub mod remote;
pub mod review;
mod source;
mod train;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use calibrate::Validation;
pub use model::{ArtefactError, IntentModel};
pub use review::{Warning, review};
pub use source::{SourceError, parse};
pub use train::{TrainError, train};

/// Everything that a model is trained from, and what the desk says for intents that need no knowledge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IntentSet {
    pub intents: Vec<Intent>,
    pub examples: Vec<Example>,
    /// Texts that belong to no intent. Few suffice; none at all is allowed.
    pub out_of_scope: Vec<String>,
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
    /// How likely the best candidate is right, calibrated on held-out examples, 0..1.
    pub confidence: f32,
    /// How likely the message belongs to any intent, calibrated alike, 0..1.
    pub in_scope: f32,
    /// The three likeliest intents, best first, also when none was recognised.
    pub candidates: Vec<Candidate>,
    /// The recognised intent's kind.
    pub kind: Option<Kind>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub name: String,
    pub confidence: f32,
}
