//! Texts by number, searchable by their words: tantivy's BM25 in memory, one shelf a language.
//!
//! Passages and whole documents stand apart, and each language again: a word's rarity and a text's usual length mean
//! nothing across them (Chinese gives two terms a character).

use std::collections::{HashMap, hash_map::Entry};

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::Column;
use tantivy::query::{BooleanQuery, BoostQuery, Occur, Query, TermQuery};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{DocId, IndexWriter, Score, Searcher, SegmentOrdinal, SegmentReader, TantivyDocument, Term};

use super::words;
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

/// Where texts of one kind are put and taken away.
#[derive(Default)]
pub(super) struct Shelves(HashMap<Language, Shelf>);

/// What they held at one moment.
pub(super) struct Readings {
    readings: HashMap<Language, Reading>,
    analyzer: TextAnalyzer,
}

/// A query's words against every text.
pub(super) struct Found {
    /// Slot and BM25 of every text that holds one of the words.
    pub(super) scores: Vec<(usize, f32)>,
    bounds: HashMap<Language, f32>,
}

struct Shelf {
    index: tantivy::Index,
    writer: IndexWriter,
    fields: Fields,
}

struct Reading {
    searcher: Searcher,
    fields: Fields,
}

#[derive(Clone, Copy)]
struct Fields {
    title: Field,
    text: Field,
    document: Field,
    slot: Field,
}

impl Shelves {
    pub(super) fn put(
        &mut self,
        slot: usize,
        language: Language,
        document: &str,
        title: &str,
        text: &str,
    ) -> Result<(), IndexError> {
        let shelf = match self.0.entry(language) {
            Entry::Occupied(shelf) => shelf.into_mut(),
            Entry::Vacant(place) => place.insert(Shelf::new()?),
        };
        shelf.put(slot, document, title, text)
    }

    /// Takes away everything that was put for a document.
    pub(super) fn remove(&mut self, document: &str) {
        self.0.values_mut().for_each(|shelf| shelf.remove(document));
    }

    pub(super) fn read(&mut self) -> Result<Readings, IndexError> {
        let readings = self.0.iter_mut().map(|(language, shelf)| Ok((*language, shelf.read()?)));
        Ok(Readings { readings: readings.collect::<Result<_, _>>()?, analyzer: words::analyzer() })
    }
}

impl Readings {
    /// The distinct terms of a query.
    pub(super) fn terms(&self, query: &str) -> Vec<String> {
        let mut terms = words::terms(&mut self.analyzer.clone(), query);
        terms.truncate(QUERY_TERMS_MAX);
        terms
    }

    pub(super) fn find(&self, terms: &[String]) -> Result<Found, IndexError> {
        let mut found = Found { scores: Vec::new(), bounds: HashMap::new() };
        for (language, reading) in &self.readings {
            found.scores.append(&mut reading.scores(terms)?);
            found.bounds.insert(*language, reading.bound(terms)?);
        }
        Ok(found)
    }
}

impl Found {
    /// Share of the words' weight (by rarity) that a score in a text of that language covers, 0..1.
    pub(super) fn coverage(&self, language: Language, score: f32) -> f32 {
        self.bounds.get(&language).filter(|bound| **bound > 0.0).map_or(0.0, |bound| (score / bound).min(1.0))
    }
}

impl Shelf {
    fn new() -> Result<Self, IndexError> {
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
        Ok(Self { index, writer, fields })
    }

    fn put(&mut self, slot: usize, document: &str, title: &str, text: &str) -> Result<(), IndexError> {
        let mut entry = TantivyDocument::new();
        entry.add_text(self.fields.title, title);
        entry.add_text(self.fields.text, text);
        entry.add_text(self.fields.document, document);
        entry.add_u64(self.fields.slot, slot as u64);
        self.writer.add_document(entry).map_err(failed("written")).map(drop)
    }

    fn remove(&mut self, document: &str) {
        self.writer.delete_term(Term::from_field_text(self.fields.document, document));
    }

    fn read(&mut self) -> Result<Reading, IndexError> {
        self.writer.commit().map_err(failed("committed"))?;
        let reader = self.index.reader_builder().reload_policy(tantivy::ReloadPolicy::Manual);
        let searcher = reader.try_into().map_err(failed("opened"))?.searcher();
        Ok(Reading { searcher, fields: self.fields })
    }
}

impl Reading {
    /// The slot and BM25 of every text that holds one of the terms.
    fn scores(&self, terms: &[String]) -> Result<Vec<(usize, f32)>, IndexError> {
        self.searcher.search(&self.query(terms), &AllScores(self.fields.slot)).map_err(failed("searched"))
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
    found: Vec<(usize, Score)>,
}

impl Collector for AllScores {
    type Fruit = Vec<(usize, Score)>;
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
    type Fruit = Vec<(usize, Score)>;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.found.extend(self.slots.first(doc).map(|slot| (slot as usize, score)));
    }

    fn harvest(self) -> Self::Fruit {
        self.found
    }
}
