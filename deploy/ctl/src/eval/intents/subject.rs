//! What is measured: the worker's intents, trained and asked as the desk trains and asks them. All that this report knows of
//! that crate's intents stands here.

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use talkfleet_worker::{
    encoder::Encoders,
    intent::{self, Choice, IntentModel, IntentSet, Message},
};

use crate::knowledge::load_encoders;

/// Which classifiers may speak, cheapest first; each knows what those before it know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Word and character n-grams alone
    Words,
    /// N-grams and the multilingual sentence encoder
    Multilingual,
    /// Besides, the transformer, which reads English
    Transformer,
}

impl Tier {
    const ALL: [(Self, intent::Tier); 3] = [
        (Self::Words, intent::Tier::Words),
        (Self::Multilingual, intent::Tier::Multilingual),
        (Self::Transformer, intent::Tier::Transformer),
    ];

    pub fn name(self) -> &'static str {
        self.own().name()
    }

    fn own(self) -> intent::Tier {
        Self::ALL.iter().find(|(tier, _)| *tier == self).map_or(intent::Tier::Words, |(_, own)| *own)
    }

    fn of(own: intent::Tier) -> Self {
        Self::ALL.iter().find(|(_, found)| *found == own).map_or(Self::Words, |(tier, _)| *tier)
    }
}

/// The models that a training starts from.
pub struct Subject {
    encoders: Encoders,
}

/// A trained model.
pub struct Trained {
    model: IntentModel,
    encoders: Encoders,
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
        let dearest = tier.unwrap_or(Tier::Transformer);
        if dearest == Tier::Words {
            return Ok(Self { encoders: Encoders::default() });
        }
        let mut encoders = load_encoders().await;
        if dearest < Tier::Transformer {
            encoders.transformer = None;
        }
        let subject = Self { encoders };
        match tier {
            Some(tier) if !subject.tiers().contains(&tier) => bail!(
                "the tier {} needs a sentence encoder which is neither in the cache nor could be fetched; let \
                 `talkfleet doctor` say what is missing, or take --tier words",
                tier.name()
            ),
            _ => Ok(subject),
        }
    }

    /// The tiers that can be measured one by one, cheapest first.
    pub fn tiers(&self) -> Vec<Tier> {
        let Encoders { multilingual, transformer } = &self.encoders;
        let dearer = multilingual.is_some().then_some(Tier::Multilingual);
        let dearest = transformer.is_some().then_some(Tier::Transformer);
        std::iter::once(Tier::Words).chain(dearer).chain(dearest).collect()
    }

    /// `progress` hears the share done.
    pub fn train(&self, set: &IntentSet, progress: &mut dyn FnMut(f32)) -> Result<Trained> {
        let model = intent::train(set, &self.encoders, progress)?;
        Ok(Trained { model, encoders: self.encoders.clone() })
    }

    /// Texts as vectors whose cosine says how near they are, if there is an encoder.
    pub fn embed(&self, texts: &[&str]) -> Option<Vec<Vec<f32>>> {
        Some(self.encoders.multilingual.as_ref()?.encode_many(texts))
    }
}

impl Trained {
    /// Whether the model itself chooses among its tiers.
    pub fn chooses(&self) -> bool {
        self.model.tiers().count() > 1
    }

    /// Asks one tier, or, without one, whoever the model chooses.
    pub fn says(&self, text: &str, tier: Option<Tier>) -> Said {
        let choice = tier.map_or(Choice::Cascade, |tier| Choice::Always(tier.own()));
        let found = self.model.read(&Message::new(text, &self.encoders), choice);
        Said {
            best: found.candidates.first().map(|best| best.name.clone()).unwrap_or_default(),
            confidence: f64::from(found.confidence),
            in_scope: f64::from(found.in_scope),
            recognised: found.intent.is_some(),
            tier: Tier::of(found.tier),
        }
    }
}
