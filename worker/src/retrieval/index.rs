//! The passages of one knowledge base, searchable: an immutable snapshot.
//!
//! Words score every passage, signs choose the few hundred whose embeddings are compared: exact search for what it
//! costs, up to several 100,000 passages. A search never waits: it holds the index it began with while a new one takes
//! its place.

use std::collections::HashMap;
use std::sync::Arc;

use super::choose::Scores;
use super::rank::{Candidate, Nearest, Ranked, Spreads, Tuning, Worded, by_wordings, rank};
use super::ranking::{Hit, Ranking, Search, Wordings};
use super::rows::{Rows, Spread};
use super::sentences::Sentences;
use super::shared::{BLOCK, List, Places};
use super::shelf::{IndexError, Readings};
use super::{Embeddings, Passage, Question, Tier};
use crate::encoder::Encoder;
use crate::text::Language;

/// Passages that the words alone may bring among the candidates.
const BY_WORDS: usize = 200;

/// Documents that their wordings alone may bring among the candidates.
const BY_WORDINGS: usize = 50;

/// Up to so many passages each of them is a candidate.
const ALL_PASSAGES_MAX: usize = 1_024;

/// Passages whose sentences are compared when a search is re-ranked, and the weight of the best of them against the
/// passage. Encoding a sentence costs as much as the question, once in the passage's life.
const RERANKED: usize = 20;
const SENTENCE_WEIGHT: f32 = 0.5;

/// A passage, and what was learned about it since.
pub(super) struct Entry {
    pub(super) passage: Arc<Passage>,
    pub(super) sentences: Sentences,
    /// Its document's number among those with wordings.
    pub(super) card: Option<usize>,
}

/// A document with wordings.
#[derive(Clone)]
pub(super) struct Card {
    pub(super) language: Language,
    /// Of its passages.
    pub(super) slots: Arc<[u32]>,
}

/// An immutable snapshot of the knowledge.
pub struct Index {
    pub(super) passages: Readings,
    pub(super) wholes: Readings,
    pub(super) entries: List<Option<Arc<Entry>>>,
    pub(super) places: Places,
    pub(super) multilingual: Rows,
    pub(super) transformer: Rows,
    /// By block of slots.
    pub(super) languages: Vec<Language>,
    /// Passages of each language.
    pub(super) passages_of: HashMap<Language, usize>,
    pub(super) wordings: Rows,
    /// By a wording's place, the number of its document.
    pub(super) owners: List<u32>,
    pub(super) cards: List<Option<Card>>,
    /// Numbers of cards given out so far.
    pub(super) cards_len: usize,
    /// Share of the documents whose title no other has: only such a title says which document it is.
    pub(super) distinct_titles: f32,
    /// Share of the titles that ask something.
    pub(super) question_titles: f32,
}

impl Index {
    /// An index of these passages, for a base that changes as a whole and brings no wordings.
    pub fn build<E: Into<Embeddings>>(passages: Vec<(Passage, E)>) -> Result<Self, IndexError> {
        let mut knowledge = super::Knowledge::default();
        let mut documents: std::collections::BTreeMap<String, Vec<_>> = std::collections::BTreeMap::new();
        for (passage, embedding) in passages {
            documents.entry(passage.document.clone()).or_default().push((passage, embedding));
        }
        for (document, passages) in documents {
            knowledge.upsert(&document, passages, Vec::new())?;
        }
        knowledge.snapshot()
    }

    /// Passages in it.
    pub fn len(&self) -> usize {
        self.passages_of.values().sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `count` passages that answer the query best, best first. Without an embedding the words decide alone;
    /// `language` is the customer's, `Other` means any.
    pub fn search(
        &self,
        query: &str,
        embedding: Option<&[f32]>,
        language: Language,
        count: usize,
        tuning: &Tuning,
    ) -> Result<Vec<Hit>, IndexError> {
        let question = Question { text: query, language, multilingual: embedding, transformer: None, encoder: None };
        self.ask(&question, Tier::Fused, count, tuning)
    }

    /// The same, by a method of choice; a tier whose embeddings or encoder are not there does with what is.
    pub fn ask(
        &self,
        question: &Question<'_>,
        tier: Tier,
        count: usize,
        tuning: &Tuning,
    ) -> Result<Vec<Hit>, IndexError> {
        let question = tier.narrowed(question, !self.transformer.is_empty());
        let found = self.find(&question, tier, count, *tuning)?;
        Ok(found.hits(self, count))
    }

    /// The best `count` in order, and those that were looked at twice.
    pub(super) fn find<'a>(
        &'a self,
        question: &'a Question<'a>,
        tier: Tier,
        count: usize,
        tuning: Tuning,
    ) -> Result<Ranking<'a>, IndexError> {
        let tuning = tier.tuned(tuning).for_base(self.question_titles);
        let terms = self.passages.terms(question.text);
        let found = self.passages.find(&terms, self.entries.len(), self.distinct_titles)?;
        let spoken = |(language, count): (&Language, &usize)| {
            *count > 0 && (question.language == Language::Other || question.language == *language)
        };
        let any_same = self.passages_of.iter().any(spoken);
        let search = Search { question, tier, tuning, any_same, found, terms };
        let spreads = self.spreads(&search);
        let wordings = self.worded(&search, &spreads)?;
        let candidates = self.candidates(&search, &wordings);
        let looked = if tier == Tier::Reranked { RERANKED } else { 0 };
        let mut ranked = rank(&candidates, &spreads, count.max(looked), &search.tuning);
        self.look_again(&search, &spreads, &mut ranked);
        let counted = self.passages_of.iter().filter(|(language, _)| search.counts(**language));
        let passages = counted.map(|(_, count)| count).sum();
        Ok(Ranking { search, wordings, passages, ranked })
    }

    /// The cosine of an embedding to the sentence at a place of a found passage; each sentence is encoded once, when
    /// it is first asked for.
    pub fn sentence_meaning(&self, passage: &Passage, place: usize, query: &[f32], encoder: &Encoder) -> Option<f32> {
        let entry = self.entry(self.places.get(&passage.id)?)?;
        entry.sentences.cosine(&entry.passage.text, place, query, encoder)
    }

    pub(super) fn entry(&self, slot: usize) -> Option<&Arc<Entry>> {
        self.entries.get(slot)?.as_ref()
    }

    /// Puts the first few in the order of their best sentence and themselves together.
    fn look_again(&self, search: &Search<'_>, spreads: &Spreads, ranked: &mut [Ranked]) {
        let (Tier::Reranked, Some(encoder), Some(query)) =
            (search.tier, search.question.encoder, search.question.multilingual)
        else {
            return;
        };
        let scale = SENTENCE_WEIGHT * search.tuning.meaning_weight / spreads.meaning.deviation.max(1e-6);
        let again = |ranked: &Ranked| {
            let entry = self.entry(ranked.candidate.slot)?;
            let best = entry.sentences.best(&entry.passage.text, query, encoder)?;
            Some(ranked.mixed + scale * (best - ranked.candidate.meaning?))
        };
        let count = RERANKED.min(ranked.len());
        let first = &mut ranked[..count];
        let mut keyed: Vec<(f32, Ranked)> =
            first.iter().map(|ranked| (again(ranked).unwrap_or(ranked.mixed), *ranked)).collect();
        keyed.sort_by(|a, b| b.0.total_cmp(&a.0));
        first.iter_mut().zip(keyed).for_each(|(place, (_, kept))| *place = kept);
    }

    /// Who may come first: the best by words, by meaning and by wordings; everybody in a small base.
    fn candidates(&self, search: &Search<'_>, worded: &Wordings) -> Vec<Candidate> {
        let mut slots = Vec::new();
        if self.len() <= ALL_PASSAGES_MAX {
            slots.extend(0..self.entries.len());
        } else {
            for group in [true, false] {
                let counts = |block: usize| search.speaks(self.languages[block]) == group;
                slots.append(&mut Scores::of(&search.found.scores, counts).best(BY_WORDS));
                for (rows, query) in self.embedded(search) {
                    // What the customer may not read needs a lead that only the nearest have.
                    let wanted = if group || !search.any_same { rows.enough() } else { rows.enough() / 8 };
                    slots.append(&mut rows.near(query, wanted, counts));
                }
            }
            slots.extend(
                worded
                    .best(BY_WORDINGS)
                    .filter_map(|number| self.card(number))
                    .flat_map(|card| card.slots.iter().map(|slot| *slot as usize)),
            );
            slots.sort_unstable();
            slots.dedup();
        }
        slots.into_iter().filter_map(|slot| self.candidate(search, worded, slot)).collect()
    }

    /// The embeddings of the question that the passages have, too.
    fn embedded<'a>(&'a self, search: &Search<'a>) -> impl Iterator<Item = (&'a Rows, &'a [f32])> {
        let both =
            [(&self.multilingual, search.question.multilingual), (&self.transformer, search.question.transformer)];
        both.into_iter().filter_map(|(rows, query)| Some((rows, query?)))
    }

    fn candidate(&self, search: &Search<'_>, worded: &Wordings, slot: usize) -> Option<Candidate> {
        let card = self.entry(slot)?.card;
        let cosine = |rows: &Rows, query: Option<&[f32]>| rows.cosine(slot, query?);
        Some(Candidate {
            slot,
            words: search.found.scores[slot],
            meaning: cosine(&self.multilingual, search.question.multilingual),
            deep: cosine(&self.transformer, search.question.transformer),
            wordings: card.and_then(|card| worded.deviations.get(card).copied()),
            same_language: search.speaks(self.languages[slot / BLOCK]),
        })
    }

    fn spreads(&self, search: &Search<'_>) -> Spreads {
        let counts = |block: usize| search.counts(self.languages[block]);
        let spoken = self.passages_of.iter().filter(|(language, _)| search.counts(**language));
        let meaning =
            |rows: &Rows, query: Option<&[f32]>| query.map_or_else(Spread::default, |query| rows.spread(query, counts));
        Spreads {
            words: Scores::of(&search.found.scores, counts).spread(spoken.map(|(_, count)| count).sum()),
            meaning: meaning(&self.multilingual, search.question.multilingual),
            deep: meaning(&self.transformer, search.question.transformer),
            any_same: search.any_same,
        }
    }

    fn card(&self, number: usize) -> Option<&Card> {
        self.cards.get(number)?.as_ref()
    }

    /// How near each document that brings wordings comes to the query by them.
    fn worded(&self, search: &Search<'_>, spreads: &Spreads) -> Result<Wordings, IndexError> {
        let mut worded = Wordings { documents: Vec::new(), deviations: Vec::new() };
        if self.cards_len == 0 {
            return Ok(worded);
        }
        let found = self.wholes.find(&search.terms, self.cards_len, 0.0)?;
        let mut near = vec![Nearest::default(); self.cards_len];
        if let Some(query) = search.question.multilingual {
            for (owner, cosine) in self.owners.iter().zip(self.wordings.roughly(query)) {
                if let (Some(near), Some(cosine)) = (near.get_mut(*owner as usize), cosine) {
                    near.add(cosine);
                }
            }
        }
        let document = |number: usize| match self.card(number) {
            Some(card) => Worded {
                words: found.scores[number],
                meaning: near[number].together(),
                counts: search.counts(card.language),
            },
            None => Worded { words: 0.0, meaning: None, counts: false },
        };
        worded.documents = (0..self.cards_len).map(document).collect();
        worded.deviations = by_wordings(&worded.documents, spreads);
        Ok(worded)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Knowledge, Wording};
    use super::*;

    fn passage(document: &str, language: Language, title: &str, text: &str) -> (Passage, Option<Vec<f32>>) {
        let (id, url) = (format!("{document}-{}", language.tag()), format!("/help/{document}"));
        let (document, title, text) = (document.to_owned(), title.to_owned(), text.to_owned());
        (Passage { id, document, title, url, language, text }, None)
    }

    fn shop() -> Vec<(Passage, Option<Vec<f32>>)> {
        vec![
            passage("returns", Language::English, "Return an item", "You can send goods back within thirty days."),
            passage("cost", Language::English, "Delivery costs", "Shipping is free from 99 yuan."),
            passage("cost-zh", Language::Chinese, "运费", "满九十九元免运费，退货运费由商家承担。"),
        ]
    }

    #[track_caller]
    fn first(index: &Index, query: &str, language: Language) -> String {
        let hits = index.search(query, None, language, 3, &Tuning::default()).unwrap();
        assert!(hits.iter().all(|hit| (0.0..=1.0).contains(&hit.score)));
        hits.first().map(|hit| hit.passage.document.clone()).unwrap_or_default()
    }

    #[test]
    fn words_find_in_both_languages() {
        let index = Index::build(shop()).unwrap();
        assert_eq!(index.len(), 3);
        assert_eq!(first(&index, "How do I return an item?", Language::English), "returns");
        assert_eq!(first(&index, "is shipping free", Language::English), "cost");
        assert_eq!(first(&index, "退貨運費誰出", Language::Chinese), "cost-zh", "traditional");
        assert_eq!(first(&index, "ｓｈｉｐｐｉｎｇ　ｉｓ　ｆｒｅｅ？", Language::English), "cost", "full-width");
        assert_eq!(first(&index, "滿９９元免運費嗎？", Language::Chinese), "cost-zh", "both");
        assert_eq!(first(&index, "zebra", Language::English), "", "nothing matches");
        assert_eq!(first(&index, "", Language::English), "");
    }

    #[test]
    fn a_snapshot_stays_while_the_knowledge_moves_on() {
        let mut knowledge = Knowledge::default();
        for (passage, embedding) in shop() {
            knowledge.upsert(&passage.document.clone(), vec![(passage, embedding)], Vec::new()).unwrap();
        }
        let before = knowledge.snapshot().unwrap();
        knowledge.remove("returns");
        let changed = passage("cost", Language::English, "Delivery costs", "Couriers charge ten yuan.");
        knowledge.upsert("cost", vec![changed], Vec::new()).unwrap();
        let after = knowledge.snapshot().unwrap();
        assert_eq!((before.len(), after.len()), (3, 2));
        assert_eq!(first(&before, "send goods back", Language::English), "returns");
        assert_eq!(first(&after, "send goods back", Language::English), "");
        assert_eq!(first(&after, "what do couriers charge", Language::English), "cost");
        assert_eq!(first(&before, "what do couriers charge", Language::English), "");
    }

    #[test]
    fn a_wording_finds_its_document_and_is_never_quoted() {
        let mut knowledge = Knowledge::default();
        for (passage, embedding) in shop() {
            let asked =
                if passage.document == "returns" { "shoes pinch, want my cash" } else { "who pays the postman" };
            let wordings = vec![Wording { text: asked.into(), embedding: None }];
            knowledge.upsert(&passage.document.clone(), vec![(passage, embedding)], wordings).unwrap();
        }
        let index = knowledge.snapshot().unwrap();
        let hits = index.search("my shoes pinch", None, Language::English, 3, &Tuning::default()).unwrap();
        assert_eq!(hits[0].passage.document, "returns");
        assert!(hits.iter().all(|hit| !hit.passage.text.contains("pinch")));
        knowledge.upsert("returns", vec![shop().remove(0)], Vec::new()).unwrap();
        assert_eq!(first(&knowledge.snapshot().unwrap(), "my shoes pinch", Language::English), "");
        assert_eq!(first(&index, "my shoes pinch", Language::English), "returns", "the older snapshot stays");
    }

    #[test]
    fn meaning_finds_what_shares_no_word() {
        let encoder = Encoder::load(&crate::encoder::cached()).unwrap();
        let embedded = shop().into_iter().take(2).map(|(passage, _)| {
            let embedding = encoder.encode(&passage.embedded_text());
            (passage, Some(embedding))
        });
        let index = Index::build(embedded.collect()).unwrap();
        let query = "我想把东西退回去";
        let hits = index.search(query, Some(&encoder.encode(query)), Language::Chinese, 2, &Tuning::default()).unwrap();
        assert_eq!(hits[0].passage.document, "returns");
        assert_eq!(hits.len(), 2);
    }
}
