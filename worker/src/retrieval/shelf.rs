//! Texts by number, searchable by their words: tantivy's inverted index in memory, one shelf a language, weighed by BM25.
//!
//! Passages and whole documents stand apart, and each language again: a word's rarity and a text's usual length mean
//! nothing across them (Chinese gives two terms a character). Every text that holds a word is scored, into one array by
//! number: a posting costs about a nanosecond so, less than leaving the weak ones out, and the mean over all is exact.

use std::collections::{HashMap, hash_map::Entry};
use std::sync::Arc;

use tantivy::index::SegmentId;
use tantivy::merge_policy::LogMergePolicy;
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, STRING, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{
    IndexReader, IndexWriter, InvertedIndexReader, ReloadPolicy, SegmentReader, TantivyDocument, TantivyError, Term,
    fieldnorm::FieldNormReader,
};

use super::words;
use crate::text::Language;

/// Memory that tantivy's writer may gather before it writes a segment. Fewer segments are fewer dictionaries to look a
/// word up in: 100,000 passages come in a few.
const WRITER_BYTES: usize = 32_000_000;

/// Segments of like size that are merged into one, and the share of removed texts from which one is written anew.
const SEGMENTS_PER_MERGE: usize = 4;
const REMOVED_SHARE_MAX: f32 = 0.3;

/// A query word in the title counts this much more than in the text, where no other document has the same title.
const TITLE_BOOST: f32 = 1.5;

/// BM25's usual constants: how fast further occurrences count less, and how much a long text loses. On the public sets
/// 0.9 and 0.4, 2 and 0.75 or 1.2 and 0.9 are within 0.4 points of nDCG@10 of these, some above and some below.
const SATURATION: f32 = 1.2;
const LENGTH_WEIGHT: f32 = 0.75;

/// Words of a query that are looked up: a pasted e-mail is searched by its first hundred.
const QUERY_TERMS_MAX: usize = 100;

const TOKENIZER: &str = "words";

#[derive(Debug, thiserror::Error)]
#[error("the knowledge index could not be {doing}: {source}")]
pub struct IndexError {
    doing: &'static str,
    source: Box<TantivyError>,
}

/// Where texts of one kind are put and taken away.
#[derive(Default)]
pub(super) struct Shelves(HashMap<Language, Shelf>);

/// What they held at one moment.
pub(super) struct Readings {
    readings: HashMap<Language, Arc<Reading>>,
    analyzer: TextAnalyzer,
}

/// A query's words against every text.
pub(super) struct Found {
    /// BM25 by number.
    pub(super) scores: Vec<f32>,
    /// What the words of the query weigh in each language's texts, by their rarity.
    weights: HashMap<Language, f32>,
}

struct Shelf {
    writer: IndexWriter,
    reader: IndexReader,
    fields: Fields,
    /// What it held when it was last read; none since something was put or taken away.
    read: Option<Arc<Reading>>,
    /// By segment and how many of its texts were removed.
    numbers: HashMap<(SegmentId, u32), Arc<[u32]>>,
}

struct Reading {
    segments: Vec<Segment>,
    fields: Fields,
    texts: f32,
    title: Lengths,
    text: Lengths,
}

struct Segment {
    title: Postings,
    text: Postings,
    /// By tantivy's own number; [`REMOVED`] is nobody's.
    numbers: Arc<[u32]>,
}

struct Postings {
    words: Arc<InvertedIndexReader>,
    lengths: FieldNormReader,
}

/// How much a text of each length (in tantivy's 256 steps) takes from a word's occurrences.
struct Lengths(Box<[f32; 256]>);

#[derive(Clone, Copy)]
struct Fields {
    title: Field,
    text: Field,
    document: Field,
    number: Field,
}

const REMOVED: u32 = u32::MAX;

impl Shelves {
    pub(super) fn put(
        &mut self,
        number: usize,
        language: Language,
        document: &str,
        title: &str,
        text: &str,
    ) -> Result<(), IndexError> {
        let shelf = match self.0.entry(language) {
            Entry::Occupied(shelf) => shelf.into_mut(),
            Entry::Vacant(place) => place.insert(Shelf::new()?),
        };
        shelf.put(number, document, title, text)
    }

    /// Takes away everything that was put for a document in that language.
    pub(super) fn remove(&mut self, language: Language, document: &str) {
        if let Some(shelf) = self.0.get_mut(&language) {
            shelf.remove(document);
        }
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

    /// BM25 of the texts with numbers below `count`; a title counts for `titles` (0..1) of what one can.
    pub(super) fn find(&self, terms: &[String], count: usize, titles: f32) -> Result<Found, IndexError> {
        // One place more than numbers, where what was removed is written.
        let mut scores = vec![0.0; count + 1];
        let mut weights = HashMap::new();
        for (language, reading) in &self.readings {
            let weight = reading.score(terms, titles, &mut scores).map_err(failed("searched"))?;
            weights.insert(*language, weight);
        }
        scores.truncate(count);
        Ok(Found { scores, weights })
    }
}

impl Found {
    /// Share of the words' weight (by rarity) that a score in a text of that language covers, 0..1.
    pub(super) fn coverage(&self, language: Language, score: f32) -> f32 {
        self.weights.get(&language).filter(|weight| **weight > 0.0).map_or(0.0, |weight| (score / weight).min(1.0))
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
            number: schema.add_u64_field("number", FAST | INDEXED),
        };
        let index = tantivy::Index::create_in_ram(schema.build());
        index.tokenizers().register(TOKENIZER, words::analyzer());
        let writer: IndexWriter = index.writer_with_num_threads(1, WRITER_BYTES).map_err(failed("opened"))?;
        let mut merging = LogMergePolicy::default();
        merging.set_min_num_segments(SEGMENTS_PER_MERGE);
        merging.set_del_docs_ratio_before_merge(REMOVED_SHARE_MAX);
        writer.set_merge_policy(Box::new(merging));
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(failed("opened"))?;
        Ok(Self { writer, reader, fields, read: None, numbers: HashMap::new() })
    }

    fn put(&mut self, number: usize, document: &str, title: &str, text: &str) -> Result<(), IndexError> {
        let mut entry = TantivyDocument::new();
        entry.add_text(self.fields.title, title);
        entry.add_text(self.fields.text, text);
        entry.add_text(self.fields.document, document);
        entry.add_u64(self.fields.number, number as u64);
        self.read = None;
        self.writer.add_document(entry).map_err(failed("written")).map(drop)
    }

    fn remove(&mut self, document: &str) {
        self.read = None;
        self.writer.delete_term(Term::from_field_text(self.fields.document, document));
    }

    fn read(&mut self) -> Result<Arc<Reading>, IndexError> {
        if let Some(read) = &self.read {
            return Ok(read.clone());
        }
        self.writer.commit().map_err(failed("committed"))?;
        self.reader.reload().map_err(failed("opened"))?;
        let searcher = self.reader.searcher();
        let mut numbers = HashMap::new();
        let mut segments = Vec::new();
        for segment in searcher.segment_readers() {
            let key = (segment.segment_id(), segment.num_deleted_docs());
            let known = match self.numbers.remove(&key) {
                Some(known) => known,
                None => self.numbers_of(segment).map_err(failed("opened"))?,
            };
            numbers.insert(key, known.clone());
            segments.push(self.segment(segment, known).map_err(failed("opened"))?);
        }
        self.numbers = numbers;
        let texts = searcher.segment_readers().iter().map(|segment| segment.max_doc() as f32).sum();
        let length = |field: fn(&Segment) -> &Postings| {
            let words = segments.iter().map(|segment| field(segment).words.total_num_tokens() as f32);
            Lengths::of(words.sum::<f32>() / f32::max(texts, 1.0))
        };
        let (title, text) = (length(|segment| &segment.title), length(|segment| &segment.text));
        let read = Arc::new(Reading { segments, fields: self.fields, texts, title, text });
        self.read = Some(read.clone());
        Ok(read)
    }

    fn segment(&self, reader: &SegmentReader, numbers: Arc<[u32]>) -> tantivy::Result<Segment> {
        let postings = |field| -> tantivy::Result<Postings> {
            Ok(Postings { words: reader.inverted_index(field)?, lengths: reader.get_fieldnorms_reader(field)? })
        };
        Ok(Segment { title: postings(self.fields.title)?, text: postings(self.fields.text)?, numbers })
    }

    fn numbers_of(&self, segment: &SegmentReader) -> tantivy::Result<Arc<[u32]>> {
        let numbers = segment.fast_fields().u64(segment.schema().get_field_name(self.fields.number))?;
        let number = |doc| {
            let alive = segment.alive_bitset().is_none_or(|alive| alive.is_alive(doc));
            numbers.first(doc).filter(|_| alive).map_or(REMOVED, |number| number as u32)
        };
        Ok((0..segment.max_doc()).map(number).collect())
    }
}

impl Reading {
    /// Adds BM25 to every text's score; says what the words weigh together.
    fn score(&self, terms: &[String], titles: f32, scores: &mut [f32]) -> tantivy::Result<f32> {
        let mut weight = 0.0;
        let boost = TITLE_BOOST * titles;
        for term in terms {
            let text = Term::from_field_text(self.fields.text, term);
            weight += self.rarity(self.add(&text, |segment| &segment.text, &self.text, 1.0, scores)?);
            if boost > 0.0 {
                let title = Term::from_field_text(self.fields.title, term);
                self.add(&title, |segment| &segment.title, &self.title, boost, scores)?;
            }
        }
        Ok(weight)
    }

    /// Adds a term's weight in one field; says how many texts hold it.
    fn add(
        &self,
        term: &Term,
        field: fn(&Segment) -> &Postings,
        lengths: &Lengths,
        boost: f32,
        scores: &mut [f32],
    ) -> tantivy::Result<u32> {
        let mut holding = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            if let Some(info) = field(segment).words.get_term_info(term)? {
                holding.push((segment, info));
            }
        }
        let found = holding.iter().map(|(_, info)| info.doc_freq).sum();
        let weight = boost * self.rarity(found) * (1.0 + SATURATION);
        for (segment, info) in holding {
            let Postings { words, lengths: own } = field(segment);
            let mut block = words.read_block_postings_from_terminfo(&info, IndexRecordOption::WithFreqs)?;
            while !block.docs().is_empty() {
                for (doc, times) in block.docs().iter().zip(block.freqs()) {
                    let times = *times as f32;
                    let loss = lengths.0[usize::from(own.fieldnorm_id(*doc))];
                    let number = (segment.numbers[*doc as usize] as usize).min(scores.len() - 1);
                    scores[number] += weight * times / (times + loss);
                }
                block.advance();
            }
        }
        Ok(found)
    }

    /// BM25's idf.
    fn rarity(&self, found: u32) -> f32 {
        let found = found as f32;
        (1.0 + ((self.texts - found).max(0.0) + 0.5) / (found + 0.5)).ln()
    }
}

impl Lengths {
    fn of(usual: f32) -> Self {
        let loss = |step: usize| {
            let length = FieldNormReader::id_to_fieldnorm(step as u8) as f32 / usual.max(1.0);
            SATURATION * (1.0 - LENGTH_WEIGHT + LENGTH_WEIGHT * length)
        };
        Self(Box::new(std::array::from_fn(loss)))
    }
}

fn failed(doing: &'static str) -> impl Fn(TantivyError) -> IndexError {
    move |source| IndexError { doing, source: Box::new(source) }
}
