//! What is measured: the worker's retrieval, cut, embedded, searched and quoted as the desk does. All that this report knows
//! of that crate's retrieval stands here.

use std::{collections::HashSet, sync::Arc};

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use talkfleet_worker::{
    config::{PlanConfig, WorkerConfig},
    encoder::{Encoder, Encoders, Transformer},
    response::extract::{Meanings, extract_exactly},
    retrieval::{self, Embeddings, Hit, Index, Passage, Tuning, split},
    text::{self, Language},
};

use super::{
    data::{Document, Question},
    measure::holds,
    statics::StaticEncoder,
};
use crate::{
    eval::{meter::spread, progress::bar},
    knowledge::load_encoders,
};

/// English passages up to which the transformer's tiers are measured unasked: it reads a long passage in some 40 ms.
const TRANSFORMER_PASSAGES_MAX: usize = 1_000;

/// Who ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Words alone (BM25)
    Words,
    /// The mean of the words' own vectors, taken from the transformer; English, and measured only: no desk uses it
    Static,
    /// The multilingual sentence encoder alone
    Multilingual,
    /// The transformer alone, which reads English; the multilingual encoder for Chinese
    Transformer,
    /// Words and both encoders
    FusedTransformer,
    /// As `fused`, the first twenty put in order by their best sentence too; no desk uses it
    Reranked,
    /// Words and the multilingual encoder: the desk's own
    Fused,
}

impl Tier {
    /// Cheapest first, the desk's own last.
    const ALL: [Self; 7] = [
        Self::Words,
        Self::Static,
        Self::Multilingual,
        Self::Transformer,
        Self::FusedTransformer,
        Self::Reranked,
        Self::Fused,
    ];

    pub fn name(self) -> &'static str {
        if self == Self::Static {
            return "static";
        }
        let own = self.own();
        retrieval::Tier::ALL.iter().find(|(_, tier)| *tier == own).map_or("", |(name, _)| name)
    }

    fn own(self) -> retrieval::Tier {
        match self {
            Self::Words => retrieval::Tier::Words,
            Self::Multilingual => retrieval::Tier::Multilingual,
            // Another encoder's vectors in the transformer's place.
            Self::Static | Self::Transformer => retrieval::Tier::Transformer,
            Self::FusedTransformer => retrieval::Tier::FusedTransformer,
            Self::Reranked => retrieval::Tier::Reranked,
            Self::Fused => retrieval::Tier::Fused,
        }
    }

    /// Whether the multilingual encoder must read the question for it.
    pub fn encodes(self) -> bool {
        !matches!(self, Self::Words | Self::Static)
    }

    /// Whether the transformer must read the question for it.
    pub fn transforms(self) -> bool {
        matches!(self, Self::Transformer | Self::FusedTransformer)
    }

    /// Whether there must be a transformer.
    fn takes_transformer(self) -> bool {
        self.transforms() || self == Self::Static
    }

    /// Whether it differs from a cheaper one for questions in that language: the transformer reads no Chinese.
    pub fn serves(self, language: Language) -> bool {
        language != Language::Chinese || !self.takes_transformer()
    }
}

/// Documents cut into passages, and embedded once.
pub struct Library {
    passages: Vec<(Passage, Embeddings)>,
    statics: Option<Statics>,
    models: Models,
    /// When the desk answers, and out of how many passages.
    pub plan: PlanConfig,
}

/// The static encoder, and what it made of each passage.
struct Statics {
    encoder: StaticEncoder,
    passages: Vec<Vec<f32>>,
}

/// What is searched.
pub struct Base<'a> {
    index: Index,
    statics: Option<(Index, &'a StaticEncoder)>,
    models: &'a Models,
}

/// The models that retrieval needs.
pub struct Models {
    multilingual: Option<Arc<Encoder>>,
    transformer: Option<Arc<Transformer>>,
}

impl Models {
    pub async fn open(tiers: &[Tier]) -> Result<Self> {
        let wanted = |of: fn(Tier) -> bool| tiers.is_empty() || tiers.iter().any(|tier| of(*tier));
        if !wanted(|tier| tier != Tier::Words) {
            return Ok(Self { multilingual: None, transformer: None });
        }
        let Encoders { multilingual, transformer } = load_encoders().await;
        let missing = |tier: &&Tier| {
            (tier.encodes() && multilingual.is_none()) || (tier.takes_transformer() && transformer.is_none())
        };
        if let Some(tier) = tiers.iter().find(missing) {
            bail!(
                "the tier {} needs a sentence encoder which is neither in the cache nor could be fetched; let \
                 `talkfleet doctor` say what is missing, or take --tier words",
                tier.name()
            );
        }
        Ok(Self { multilingual, transformer: transformer.filter(|_| wanted(Tier::takes_transformer)) })
    }
}

impl Library {
    /// Embedded for these tiers; for none named, for all that this machine has and that are worth their time here. The static
    /// encoder learns the questions' words too, as one that is shipped knows the language's.
    pub fn make(documents: &[Document], questions: &[Question], mut models: Models, tiers: &[Tier]) -> Result<Self> {
        let cut: Vec<Passage> = documents.iter().flat_map(|document| split(&whole(document))).collect();
        let english = cut.iter().filter(|passage| passage.language != Language::Chinese).count();
        let asked = questions.iter().any(|question| Tier::Transformer.serves(text::language(&question.text)));
        if tiers.is_empty() && !(asked && (1..=TRANSFORMER_PASSAGES_MAX).contains(&english)) {
            models.transformer = None;
        }
        let wanted = |of: fn(Tier) -> bool| tiers.is_empty() || tiers.iter().any(|tier| of(*tier));
        let statics = models.transformer.as_ref().filter(|_| wanted(|tier| tier == Tier::Static)).map(|transformer| {
            let texts = cut.iter().map(|passage| passage.text.as_str());
            let asked = questions.iter().map(|question| question.text.as_str());
            let encoder = StaticEncoder::distil(texts.chain(asked), transformer);
            Statics { passages: cut.iter().map(|passage| encoder.encode(&passage.embedded_text())).collect(), encoder }
        });
        let transforms = wanted(Tier::transforms);
        let bar = bar("embedding passages", cut.len() as u64);
        let embed = |_: usize, passage: &Passage| {
            let text = passage.embedded_text();
            let reads = passage.language != Language::Chinese;
            Embeddings {
                multilingual: models.multilingual.as_ref().map(|encoder| encoder.encode(&text)),
                transformer: models
                    .transformer
                    .as_ref()
                    .filter(|_| reads && transforms)
                    .map(|encoder| encoder.encode(&text)),
            }
        };
        let embeddings = spread(&cut, embed, |n| bar.inc(n)).results;
        bar.finish_and_clear();
        let plan = WorkerConfig::load(None, &[])?.plan;
        Ok(Self { passages: cut.into_iter().zip(embeddings).collect(), statics, models, plan })
    }

    /// All tiers that can be measured, the desk's own last.
    pub fn tiers(&self) -> Vec<Tier> {
        let can = |tier: &Tier| {
            (self.models.multilingual.is_some() || !tier.encodes())
                && (self.models.transformer.is_some() || !tier.takes_transformer())
        };
        Tier::ALL.into_iter().filter(can).collect()
    }

    pub fn passages(&self) -> usize {
        self.passages.len()
    }

    /// Whether one of these documents says one of the answers; a document that is long is read passage by passage.
    pub fn says(&self, documents: &[String], answers: &[String]) -> bool {
        let mut own = self.passages.iter().filter(|(passage, _)| documents.contains(&passage.document));
        own.any(|(passage, _)| holds(&passage.text, answers))
    }

    /// A base of all documents but these.
    pub fn base(&self, without: &HashSet<&str>) -> Result<Base<'_>> {
        let stays = |passage: &Passage| !without.contains(passage.document.as_str());
        let kept = self.passages.iter().filter(|(passage, _)| stays(passage));
        let statics = |statics: &'_ Statics| {
            let rows = self.passages.iter().zip(&statics.passages).filter(|((passage, _), _)| stays(passage));
            let rows = rows.map(|((passage, _), vector)| {
                (passage.clone(), Embeddings { multilingual: None, transformer: Some(vector.clone()) })
            });
            Index::build(rows.collect())
        };
        Ok(Base {
            index: Index::build(kept.cloned().collect())?,
            statics: self
                .statics
                .as_ref()
                .map(|own| Ok::<_, retrieval::IndexError>((statics(own)?, &own.encoder)))
                .transpose()?,
            models: &self.models,
        })
    }
}

impl Base<'_> {
    /// A question as a vector, if there is an encoder.
    pub fn embed(&self, question: &str) -> Option<Vec<f32>> {
        self.models.multilingual.as_ref().map(|encoder| encoder.encode(question))
    }

    /// An English question as the transformer's vector, if there is one.
    pub fn transform(&self, question: &str) -> Option<Vec<f32>> {
        let reads = text::language(question) != Language::Chinese;
        self.models.transformer.as_ref().filter(|_| reads).map(|encoder| encoder.encode(question))
    }

    /// The best passages, best first.
    pub fn search(&self, text: &str, embeddings: &Embeddings, tier: Tier, count: usize) -> Result<Vec<Hit>> {
        let question = retrieval::Question {
            text,
            language: text::language(text),
            multilingual: embeddings.multilingual.as_deref(),
            transformer: embeddings.transformer.as_deref(),
            encoder: self.models.multilingual.as_deref(),
        };
        if let (Tier::Static, Some((index, encoder))) = (tier, &self.statics) {
            let vector = encoder.encode(text);
            let question = retrieval::Question { multilingual: None, transformer: Some(&vector), ..question };
            return Ok(index.ask(&question, tier.own(), count, &Tuning::default())?);
        }
        Ok(self.index.ask(&question, tier.own(), count, &Tuning::default())?)
    }

    /// The best sentences of what was found, joined as the desk joins them.
    pub fn quote(&self, question: &str, embedding: Option<&[f32]>, hits: &[Hit], sentences: usize) -> String {
        let encoder = self.models.multilingual.as_deref();
        let meaning = |passage: &Passage, place: usize, query: &[f32]| {
            self.index.sentence_meaning(passage, place, query, encoder?)
        };
        let meanings = Some(Meanings { sentence: &meaning });
        extract_exactly(sentences, question, embedding, hits, meanings, text::language(question)).text
    }
}

fn whole(document: &Document) -> retrieval::Document {
    retrieval::Document {
        id: document.id.clone(),
        title: document.title.clone(),
        url: String::new(),
        language: text::language(&document.text),
        text: document.text.clone(),
    }
}
