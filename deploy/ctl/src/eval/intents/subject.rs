//! What is measured: the worker's intents, trained and asked as the desk trains and asks them. All that this report knows of
//! that crate's intents stands here.

use std::sync::Arc;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use talkfleet_worker::{
    encoder::Encoder,
    intent::{self, IntentModel, IntentSet},
};

use crate::knowledge::load_encoder;

/// Which classifiers may speak, cheapest first; each knows what those before it know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Word and character n-grams alone
    Words,
    /// N-grams and the multilingual sentence encoder
    Multilingual,
}

impl Tier {
    pub fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Multilingual => "multilingual",
        }
    }
}

/// The models that a training starts from.
pub struct Subject {
    encoder: Option<Arc<Encoder>>,
}

/// A trained model.
pub struct Trained {
    model: IntentModel,
    encoder: Option<Arc<Encoder>>,
}

/// What it says of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The likeliest intent, recognised or not.
    pub best: String,
    /// How likely that one is right.
    pub confidence: f64,
    /// How likely the text belongs to any intent.
    pub in_scope: f64,
    /// Whether it was recognised, by the model's own threshold.
    pub recognised: bool,
    /// Who decided.
    pub tier: Tier,
}

impl Subject {
    /// Up to the named tier, or the best that this machine has.
    pub async fn open(tier: Option<Tier>) -> Result<Self> {
        if tier == Some(Tier::Words) {
            return Ok(Self { encoder: None });
        }
        let encoder = load_encoder().await;
        if let (Some(tier), None) = (tier, &encoder) {
            bail!(
                "the tier {} needs the sentence encoder, which is neither in the cache nor could be fetched; let \
                 `talkfleet doctor` say what is missing, or take --tier words",
                tier.name()
            );
        }
        Ok(Self { encoder })
    }

    /// The tiers that can be measured one by one, cheapest first.
    pub fn tiers(&self) -> Vec<Tier> {
        let dearer = self.encoder.is_some().then_some(Tier::Multilingual);
        std::iter::once(Tier::Words).chain(dearer).collect()
    }

    /// `progress` hears the share done.
    pub fn train(&self, set: &IntentSet, progress: &mut dyn FnMut(f32)) -> Result<Trained> {
        let model = intent::train(set, self.encoder.as_deref(), progress)?;
        Ok(Trained { model, encoder: self.encoder.clone() })
    }

    /// Texts as vectors whose cosine says how near they are, if there is an encoder.
    pub fn embed(&self, texts: &[&str]) -> Option<Vec<Vec<f32>>> {
        Some(self.encoder.as_ref()?.encode_many(texts))
    }
}

impl Trained {
    /// Whether the model itself chooses among its tiers: without a choice the dearest one speaks always.
    pub fn chooses(&self) -> bool {
        false
    }

    /// Asks one tier, or, without one, whoever the model chooses.
    pub fn says(&self, text: &str, tier: Option<Tier>) -> Said {
        let wanted = tier.unwrap_or(Tier::Multilingual);
        let encoder = self.encoder.as_ref().filter(|_| wanted >= Tier::Multilingual);
        let embedding = encoder.map(|encoder| encoder.encode(text));
        let found = self.model.classify(text, embedding.as_deref());
        Said {
            best: found.candidates.first().map(|best| best.name.clone()).unwrap_or_default(),
            confidence: f64::from(found.confidence),
            in_scope: f64::from(found.in_scope),
            recognised: found.intent.is_some(),
            tier: if embedding.is_some() { Tier::Multilingual } else { Tier::Words },
        }
    }
}
