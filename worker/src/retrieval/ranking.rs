//! A question on its way through an index, and what came of it.

use std::sync::Arc;

use super::answerable::{Signs, answers};
use super::index::Index;
use super::rank::{Candidate, Ranked, Tuning, Worded};
use super::shelf::Found;
use super::{Passage, Question, Tier};
use crate::text::Language;

/// A passage that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub passage: Arc<Passage>,
    /// How likely it answers the question, 0..1; `plan` in the configuration says from where on it does.
    pub score: f32,
    /// BM25.
    pub words_score: f32,
    /// Cosine; 0 without embeddings.
    pub meaning_score: f32,
}

/// A question on its way through the index.
pub(super) struct Search<'a> {
    pub(super) question: &'a Question<'a>,
    pub(super) tier: Tier,
    pub(super) tuning: Tuning,
    /// Whether the base speaks the customer's language.
    pub(super) any_same: bool,
    pub(super) found: Found,
    pub(super) terms: Vec<String>,
}

impl Search<'_> {
    pub(super) fn speaks(&self, language: Language) -> bool {
        self.question.language == Language::Other || self.question.language == language
    }

    /// Whether a passage in that language belongs to those that a score is measured against: the words of another
    /// language match nothing, and the zeros would make every match stand out.
    pub(super) fn counts(&self, language: Language) -> bool {
        !self.any_same || self.speaks(language)
    }
}

/// What a search found, best first.
pub(super) struct Ranking<'a> {
    pub(super) search: Search<'a>,
    pub(super) wordings: Wordings,
    /// Passages that the spreads are taken from.
    pub(super) passages: usize,
    pub(super) ranked: Vec<Ranked>,
}

impl Ranking<'_> {
    pub(super) fn hits(&self, index: &Index, count: usize) -> Vec<Hit> {
        let hit = |at: usize| {
            let Candidate { slot, words, meaning, deep, .. } = self.ranked[at].candidate;
            let entry = index.entry(slot)?;
            let document = entry.card.and_then(|card| self.wordings.documents.get(card));
            let asked = document.is_some_and(|document| document.words > 0.0);
            let meaning_score = meaning.or(deep);
            let matches = words > 0.0 || asked || meaning_score.is_some();
            matches.then(|| Hit {
                passage: entry.passage.clone(),
                score: self.signs(index, at).map_or(0.0, |signs| answers(&signs)),
                words_score: words,
                meaning_score: meaning_score.unwrap_or_default(),
            })
        };
        (0..self.ranked.len().min(count)).filter_map(hit).collect()
    }

    /// What speaks for the passage at a place being an answer.
    pub(super) fn signs(&self, index: &Index, at: usize) -> Option<Signs> {
        let Ranked { candidate, mixed } = self.ranked.get(at)?;
        let entry = index.entry(candidate.slot)?;
        let document = entry.card.and_then(|card| self.wordings.documents.get(card));
        Some(Signs {
            meaning: candidate.meaning,
            wording: document.and_then(|document| document.meaning),
            coverage: self.search.found.coverage(entry.passage.language, candidate.words),
            mixed: *mixed,
            passages: self.passages,
        })
    }
}

/// The documents with wordings, by number: what their wordings say for each.
pub(super) struct Wordings {
    pub(super) documents: Vec<Worded>,
    pub(super) deviations: Vec<f32>,
}

impl Wordings {
    /// The numbers of the best, best last.
    pub(super) fn best(&self, count: usize) -> impl Iterator<Item = usize> {
        let mut numbers: Vec<usize> =
            (0..self.deviations.len()).filter(|number| self.documents[*number].counts).collect();
        numbers.sort_unstable_by(|a, b| self.deviations[*a].total_cmp(&self.deviations[*b]));
        let skipped = numbers.len().saturating_sub(count);
        numbers.into_iter().skip(skipped)
    }
}
