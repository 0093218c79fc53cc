//! What is measured: the worker's retrieval, cut, embedded, searched and quoted as the desk does. All that this report knows
//! of that crate's retrieval stands here.

use std::{collections::HashSet, sync::Arc};

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use talkfleet_worker::{
    encoder::Encoder,
    response::extract::{Meanings, extract_at_most},
    retrieval::{self, Hit, Index, Passage, Tuning, split},
    text,
};

use super::data::Document;
use crate::{
    eval::{meter::spread, progress::bar},
    knowledge::load_encoder,
};

/// Who ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Words alone (BM25)
    Words,
    /// The multilingual sentence encoder alone
    Multilingual,
    /// Both, as the desk does
    Fused,
}

impl Tier {
    pub fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Multilingual => "multilingual",
            Self::Fused => "fused",
        }
    }

    /// Whether the question must be encoded for it.
    pub fn encodes(self) -> bool {
        self != Self::Words
    }

    fn tuning(self) -> Tuning {
        let own = Tuning::default();
        match self {
            Self::Words => Tuning { meaning_weight: 0.0, ..own },
            Self::Multilingual => Tuning { meaning_weight: 1.0, ..own },
            Self::Fused => own,
        }
    }
}

/// Documents cut into passages, and embedded once.
pub struct Library {
    passages: Vec<(Passage, Option<Vec<f32>>)>,
    encoder: Option<Arc<Encoder>>,
}

/// What is searched.
pub struct Base<'a> {
    index: Index,
    encoder: Option<&'a Encoder>,
}

/// The models that retrieval needs.
pub struct Models(Option<Arc<Encoder>>);

impl Models {
    pub async fn open(tiers: &[Tier]) -> Result<Self> {
        if !tiers.is_empty() && !tiers.iter().any(|tier| tier.encodes()) {
            return Ok(Self(None));
        }
        let encoder = load_encoder().await;
        if let (Some(tier), None) = (tiers.iter().find(|tier| tier.encodes()), &encoder) {
            bail!(
                "the tier {} needs the sentence encoder, which is neither in the cache nor could be fetched; let \
                 `talkfleet doctor` say what is missing, or take --tier words",
                tier.name()
            );
        }
        Ok(Self(encoder))
    }

    /// All tiers that can be measured, the desk's own last.
    pub fn tiers(&self) -> Vec<Tier> {
        let all = [Tier::Words, Tier::Multilingual, Tier::Fused];
        all.into_iter().filter(|tier| self.0.is_some() || !tier.encodes()).collect()
    }
}

impl Library {
    pub fn make(documents: &[Document], models: Models) -> Self {
        let cut: Vec<Passage> = documents.iter().flat_map(|document| split(&whole(document))).collect();
        let bar = bar("embedding passages", cut.len() as u64);
        let encoder = models.0;
        let embed =
            |_: usize, passage: &Passage| encoder.as_ref().map(|encoder| encoder.encode(&passage.embedded_text()));
        let embeddings = spread(&cut, embed, |n| bar.inc(n)).results;
        bar.finish_and_clear();
        Self { passages: cut.into_iter().zip(embeddings).collect(), encoder }
    }

    pub fn passages(&self) -> usize {
        self.passages.len()
    }

    /// A base of all documents but these.
    pub fn base(&self, without: &HashSet<&str>) -> Result<Base<'_>> {
        let kept = self.passages.iter().filter(|(passage, _)| !without.contains(passage.document.as_str()));
        Ok(Base { index: Index::build(kept.cloned().collect())?, encoder: self.encoder.as_deref() })
    }
}

impl Base<'_> {
    /// A question as a vector, if there is an encoder.
    pub fn embed(&self, question: &str) -> Option<Vec<f32>> {
        self.encoder.map(|encoder| encoder.encode(question))
    }

    /// The best passages, best first.
    pub fn search(&self, question: &str, embedding: Option<&[f32]>, tier: Tier, count: usize) -> Result<Vec<Hit>> {
        let embedding = embedding.filter(|_| tier.encodes());
        Ok(self.index.search(question, embedding, text::language(question), count, &tier.tuning())?)
    }

    /// The quoted answer, at most so many sentences long.
    pub fn quote(&self, question: &str, embedding: Option<&[f32]>, hits: &[Hit], sentences_max: usize) -> String {
        let meanings = self.encoder.map(|encoder| Meanings { index: &self.index, encoder });
        extract_at_most(sentences_max, question, embedding, hits, meanings, text::language(question)).text
    }
}

/// The score from which the desk answers.
pub fn answerable_from() -> f64 {
    f64::from(Tuning::default().answerable_from)
}

/// Passages that the desk takes and quotes from: `plan.passages_max`.
pub const QUOTED_FROM: usize = 4;

fn whole(document: &Document) -> retrieval::Document {
    retrieval::Document {
        id: document.id.clone(),
        title: document.title.clone(),
        url: String::new(),
        language: text::language(&document.text),
        text: document.text.clone(),
    }
}
