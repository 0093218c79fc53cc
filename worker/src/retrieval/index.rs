//! The passages of one knowledge base, searchable: an immutable index, and the workshop that makes the next one.
//!
//! Words are tantivy's BM25 in memory; embeddings are scanned exactly, which beats any graph up to about 100,000
//! passages. A search never waits: it holds the index it began with while a new one takes its place.

use std::sync::Arc;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::Column;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{DocId, IndexWriter, Score, Searcher, SegmentOrdinal, SegmentReader, TantivyDocument, Term};

use super::rank::{Candidate, Signs, Tuning, answers, rank};
use super::{Passage, words};
use crate::encoder::{DIMENSIONS, Scan};
use crate::text::Language;

/// Memory that tantivy's writer may gather before it writes a segment; its own minimum is 15 MB.
const WRITER_BYTES: usize = 16_000_000;

/// A query word in the title counts this much more than in the text.
const TITLE_BOOST: f32 = 1.5;

/// Words of a query that are looked up: a pasted e-mail is searched by its first hundred.
const QUERY_TERMS_MAX: usize = 100;

const TOKENIZER: &str = "words";

#[derive(Debug, thiserror::Error)]
#[error("the knowledge index could not be {doing}: {source}")]
pub struct IndexError {
    doing: &'static str,
    source: Box<tantivy::TantivyError>,
}

/// A passage that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub passage: Arc<Passage>,
    /// How likely it answers the question, 0..1; see [`Tuning::answerable_from`].
    pub score: f32,
    /// BM25.
    pub words_score: f32,
    /// Cosine; 0 without embeddings.
    pub meaning_score: f32,
}

/// Where an index is built and kept up to date; searches go to the snapshots it hands out.
pub struct Knowledge {
    index: tantivy::Index,
    writer: IndexWriter,
    fields: Fields,
    /// By slot; a removed passage leaves an empty one until the next compaction.
    slots: Vec<Option<Slot>>,
}

#[derive(Clone)]
struct Slot {
    passage: Arc<Passage>,
    embedding: Option<Arc<[f32]>>,
}

#[derive(Clone, Copy)]
struct Fields {
    title: Field,
    text: Field,
    document: Field,
    slot: Field,
}

/// An immutable snapshot of the knowledge.
pub struct Index {
    searcher: Searcher,
    fields: Fields,
    analyzer: TextAnalyzer,
    passages: Vec<Option<Arc<Passage>>>,
    scan: Scan,
    /// Which slot each row of `scan` belongs to.
    embedded_slots: Vec<usize>,
    count: usize,
}

impl Knowledge {
    pub fn new() -> Result<Self, IndexError> {
        let mut schema = Schema::builder();
        let indexing =
            TextFieldIndexing::default().set_tokenizer(TOKENIZER).set_index_option(IndexRecordOption::WithFreqs);
        let options = TextOptions::default().set_indexing_options(indexing);
        let fields = Fields {
            title: schema.add_text_field("title", options.clone()),
            text: schema.add_text_field("text", options),
            document: schema.add_text_field("document", STRING),
            slot: schema.add_u64_field("slot", FAST | INDEXED),
        };
        let index = tantivy::Index::create_in_ram(schema.build());
        index.tokenizers().register(TOKENIZER, words::analyzer());
        let writer = index.writer_with_num_threads(1, WRITER_BYTES).map_err(failed("opened"))?;
        Ok(Self { index, writer, fields, slots: Vec::new() })
    }

    /// Puts a document's passages in place of those it had.
    pub fn upsert(&mut self, document: &str, passages: Vec<(Passage, Option<Vec<f32>>)>) -> Result<(), IndexError> {
        self.remove(document);
        for (passage, embedding) in passages {
            let mut entry = TantivyDocument::new();
            entry.add_text(self.fields.title, &passage.title);
            entry.add_text(self.fields.text, &passage.text);
            entry.add_text(self.fields.document, document);
            entry.add_u64(self.fields.slot, self.slots.len() as u64);
            self.writer.add_document(entry).map_err(failed("written"))?;
            let embedding = embedding.filter(|embedding| embedding.len() == DIMENSIONS).map(Arc::from);
            self.slots.push(Some(Slot { passage: Arc::new(passage), embedding }));
        }
        Ok(())
    }

    pub fn remove(&mut self, document: &str) {
        self.writer.delete_term(Term::from_field_text(self.fields.document, document));
        for slot in &mut self.slots {
            slot.take_if(|slot| slot.passage.document == document);
        }
    }

    /// An index of what is in now. Costs a commit and a copy of the embeddings (20 MB at 10,000 passages).
    pub fn snapshot(&mut self) -> Result<Index, IndexError> {
        self.writer.commit().map_err(failed("committed"))?;
        let reader = self.index.reader_builder().reload_policy(tantivy::ReloadPolicy::Manual);
        let searcher = reader.try_into().map_err(failed("opened"))?.searcher();
        let mut scan = Scan::default();
        let mut embedded_slots = Vec::new();
        for (at, slot) in self.slots.iter().enumerate() {
            if let Some(embedding) = slot.as_ref().and_then(|slot| slot.embedding.as_ref()) {
                scan.push(embedding);
                embedded_slots.push(at);
            }
        }
        let passages: Vec<_> = self.slots.iter().map(|slot| slot.as_ref().map(|slot| slot.passage.clone())).collect();
        let count = passages.iter().flatten().count();
        let analyzer = words::analyzer();
        Ok(Index { searcher, fields: self.fields, analyzer, passages, scan, embedded_slots, count })
    }
}

impl Index {
    /// An index of these passages, for a base that changes as a whole.
    pub fn build(passages: Vec<(Passage, Option<Vec<f32>>)>) -> Result<Self, IndexError> {
        let mut knowledge = Knowledge::new()?;
        let mut documents: std::collections::BTreeMap<String, Vec<_>> = std::collections::BTreeMap::new();
        for (passage, embedding) in passages {
            documents.entry(passage.document.clone()).or_default().push((passage, embedding));
        }
        for (document, passages) in documents {
            knowledge.upsert(&document, passages)?;
        }
        knowledge.snapshot()
    }

    /// Passages in it.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
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
        let terms = self.terms(query);
        let mut candidates: Vec<Candidate> = self
            .passages
            .iter()
            .enumerate()
            .map(|(slot, passage)| Candidate {
                slot,
                words: 0.0,
                meaning: None,
                same_language: language == Language::Other
                    || passage.as_ref().is_some_and(|passage| passage.language == language),
            })
            .collect();
        for (slot, score) in
            self.searcher.search(&self.query(&terms), &AllScores(self.fields.slot)).map_err(failed("searched"))?
        {
            if let Some(candidate) = candidates.get_mut(slot as usize) {
                candidate.words = score;
            }
        }
        if let Some(embedding) = embedding.filter(|embedding| embedding.len() == DIMENSIONS) {
            for (slot, cosine) in self.embedded_slots.iter().zip(self.scan.cosines(embedding)) {
                candidates[*slot].meaning = Some(cosine);
            }
        }
        candidates.retain(|candidate| self.passages[candidate.slot].is_some());
        let bound = self.bound(&terms)?;
        let hits = rank(&candidates, count, tuning).into_iter().filter_map(|ranked| {
            let Candidate { slot, words, meaning, .. } = ranked.candidate;
            let coverage = if bound > 0.0 { (words / bound).min(1.0) } else { 0.0 };
            let score = answers(&Signs { meaning, coverage, mixed: ranked.mixed });
            let passage = self.passages[slot].clone()?;
            Some(Hit { passage, score, words_score: words, meaning_score: meaning.unwrap_or_default() })
        });
        Ok(hits.filter(|hit| hit.words_score > 0.0 || embedding.is_some()).collect())
    }

    fn terms(&self, query: &str) -> Vec<String> {
        let mut terms = words::terms(&mut self.analyzer.clone(), query);
        terms.truncate(QUERY_TERMS_MAX);
        terms
    }

    fn query(&self, terms: &[String]) -> BooleanQuery {
        let term = |field, text: &String| -> Box<dyn Query> {
            Box::new(TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::WithFreqs))
        };
        let clauses = terms.iter().flat_map(|text| {
            let title: Box<dyn Query> = Box::new(BoostQuery::new(term(self.fields.title, text), TITLE_BOOST));
            [(Occur::Should, term(self.fields.text, text)), (Occur::Should, title)]
        });
        BooleanQuery::new(clauses.collect())
    }

    /// What a text of average length would score with every word of the query in it: BM25's idf, summed.
    fn bound(&self, terms: &[String]) -> Result<f32, IndexError> {
        let total = self.searcher.num_docs() as f32;
        let mut sum = 0.0;
        for text in terms {
            let term = Term::from_field_text(self.fields.text, text);
            let found = self.searcher.doc_freq(&term).map_err(failed("searched"))? as f32;
            sum += (1.0 + (total - found).max(0.0) + 0.5).ln() - (found + 0.5).ln().max(-1.0);
        }
        Ok(sum)
    }
}

fn failed(doing: &'static str) -> impl Fn(tantivy::TantivyError) -> IndexError {
    move |source| IndexError { doing, source: Box::new(source) }
}

/// Collects every match: the mean over all passages is part of a score, so a top list would not do.
struct AllScores(Field);

struct SegmentScores {
    slots: Column<u64>,
    found: Vec<(u64, Score)>,
}

impl Collector for AllScores {
    type Fruit = Vec<(u64, Score)>;
    type Child = SegmentScores;

    fn for_segment(&self, _: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentScores> {
        let name = segment.schema().get_field_name(self.0);
        Ok(SegmentScores { slots: segment.fast_fields().u64(name)?, found: Vec::new() })
    }

    fn requires_scoring(&self) -> bool {
        true
    }

    fn merge_fruits(&self, fruits: Vec<Self::Fruit>) -> tantivy::Result<Self::Fruit> {
        Ok(fruits.concat())
    }
}

impl SegmentCollector for SegmentScores {
    type Fruit = Vec<(u64, Score)>;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.found.extend(self.slots.first(doc).map(|slot| (slot, score)));
    }

    fn harvest(self) -> Self::Fruit {
        self.found
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(first(&index, "退貨運費誰出", Language::Chinese), "cost-zh");
        assert_eq!(first(&index, "zebra", Language::English), "", "nothing matches");
        assert_eq!(first(&index, "", Language::English), "");
    }

    #[test]
    fn a_snapshot_stays_while_the_knowledge_moves_on() {
        let mut knowledge = Knowledge::new().unwrap();
        for (passage, embedding) in shop() {
            knowledge.upsert(&passage.document.clone(), vec![(passage, embedding)]).unwrap();
        }
        let before = knowledge.snapshot().unwrap();
        knowledge.remove("returns");
        knowledge
            .upsert("cost", vec![passage("cost", Language::English, "Delivery costs", "Couriers charge ten yuan.")])
            .unwrap();
        let after = knowledge.snapshot().unwrap();
        assert_eq!((before.len(), after.len()), (3, 2));
        assert_eq!(first(&before, "send goods back", Language::English), "returns");
        assert_eq!(first(&after, "send goods back", Language::English), "");
        assert_eq!(first(&after, "what do couriers charge", Language::English), "cost");
        assert_eq!(first(&before, "what do couriers charge", Language::English), "");
    }

    #[test]
    fn meaning_finds_what_shares_no_word() {
        let Some(folder) = crate::encoder::cached() else { return };
        let encoder = crate::encoder::Encoder::load(&folder).unwrap();
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
