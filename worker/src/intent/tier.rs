//! The classifiers of a model by what they cost, and the message that they are asked about.

use std::{borrow::Cow, cell::OnceCell};

use serde::{Deserialize, Serialize};

use crate::{
    encoder::{DIMENSIONS, Encoders},
    text::{self, Language},
};

/// Cheapest first; each weighs what those before it say besides its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// N-grams of characters and words.
    #[default]
    Words,
    /// Besides, the multilingual encoder.
    Multilingual,
    /// Besides, the transformer, which knows English only.
    Transformer,
}

impl Tier {
    pub const ALL: [Self; 3] = [Self::Words, Self::Multilingual, Self::Transformer];

    pub fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Multilingual => "multilingual",
            Self::Transformer => "transformer",
        }
    }
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The cheapest tier that is sure enough.
    #[default]
    Cascade,
    /// This tier, or the best before it that the message can be read by.
    Always(Tier),
}

/// A message, with its embeddings as far as they were wanted.
pub struct Message<'a> {
    text: &'a str,
    encoders: Option<&'a Encoders>,
    multilingual: OnceCell<Option<Cow<'a, [f32]>>>,
    transformer: OnceCell<Option<Vec<f32>>>,
}

impl<'a> Message<'a> {
    /// A message that is encoded when, and if, a tier asks for it.
    pub fn new(text: &'a str, encoders: &'a Encoders) -> Self {
        Self { encoders: Some(encoders), ..Self::bare(text) }
    }

    /// A message of which no more is known than its words.
    pub fn bare(text: &'a str) -> Self {
        Self { text, encoders: None, multilingual: OnceCell::new(), transformer: OnceCell::new() }
    }

    /// With the multilingual encoder's embedding, which somebody has made already.
    pub fn with_embedding(mut self, embedding: &'a [f32]) -> Self {
        if embedding.len() == DIMENSIONS {
            self.multilingual = OnceCell::from(Some(Cow::Borrowed(embedding)));
        }
        self
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// What the tier's encoder makes of it; `None` for words, and where no encoder knows the message.
    pub(super) fn embedding(&self, tier: Tier) -> Option<&[f32]> {
        match tier {
            Tier::Words => None,
            Tier::Multilingual => self.multilingual(),
            Tier::Transformer => self.transformer.get_or_init(|| self.deep()).as_deref(),
        }
    }

    fn multilingual(&self) -> Option<&[f32]> {
        let encode = || Some(Cow::Owned(self.encoders?.multilingual.as_ref()?.encode(self.text)));
        self.multilingual.get_or_init(encode).as_deref()
    }

    fn deep(&self) -> Option<Vec<f32>> {
        let transformer = self.encoders?.transformer.as_ref()?;
        known_to_transformer(self.text).then(|| transformer.encode_deep(self.text))
    }
}

/// Whether the transformer has learnt the language of a text.
pub(super) fn known_to_transformer(text: &str) -> bool {
    text::language(text) == Language::English
}
