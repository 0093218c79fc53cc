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
    fieldnorm::FieldNormReader, postings::TermInfo,
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

/// Occurrences of a word in one text that still count; the twelfth adds a hundredth.
const TIMES_MAX: usize = 12;

/// Among so many texts a word that more than this share of them holds is passed over, unless the query has no other: it
/// weighs less than a tenth of a rare one, and such words are most of the postings.
const TEXTS_MANY: f32 = 1_024.0;
const COMMON_SHARE: f32 = 0.4;

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
    places: HashMap<(SegmentId, u32), Arc<[Place]>>,
}

struct Reading {
    segments: Vec<Segment>,
    fields: Fields,
    texts: f32,
    title: Shares,
    text: Shares,
}

struct Segment {
    title: Arc<InvertedIndexReader>,
    text: Arc<InvertedIndexReader>,
    /// By tantivy's own number.
    texts: Arc<[Place]>,
}

/// What a posting needs to know of its text, side by side: it is looked up for every one.
#[derive(Clone, Copy)]
struct Place {
    /// [`REMOVED`] is nobody's.
    number: u32,
    /// In tantivy's 256 steps.
    title_length: u8,
    text_length: u8,
}

/// One of the two fields that are searched.
#[derive(Clone, Copy)]
struct Part<'a> {
    field: Field,
    words: fn(&Segment) -> &InvertedIndexReader,
    length: fn(&Place) -> u8,
    shares: &'a Shares,
}

/// What so many occurrences of a word in a text of each length are worth of its weight.
struct Shares(Box<[[f32; 256]; TIMES_MAX]>);

/// A word that is looked up in one part.
struct Sought<'a> {
    holding: Vec<(&'a Segment, TermInfo)>,
    /// Texts that hold it.
    found: u32,
}

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
        Ok(Self { writer, reader, fields, read: None, places: HashMap::new() })
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
        let mut places = HashMap::new();
        let mut segments = Vec::new();
        for segment in searcher.segment_readers() {
            let key = (segment.segment_id(), segment.num_deleted_docs());
            let known = match self.places.remove(&key) {
                Some(known) => known,
                None => self.places_of(segment).map_err(failed("opened"))?,
            };
            places.insert(key, known.clone());
            segments.push(self.segment(segment, known).map_err(failed("opened"))?);
        }
        self.places = places;
        let texts = segments.iter().map(|segment| segment.texts.len() as f32).sum();
        let usual = |words: fn(&Segment) -> &InvertedIndexReader| {
            let words = segments.iter().map(|segment| words(segment).total_num_tokens() as f32);
            words.sum::<f32>() / f32::max(texts, 1.0)
        };
        let title = Shares::of(usual(|segment| &segment.title));
        let text = Shares::of(usual(|segment| &segment.text));
        let read = Arc::new(Reading { segments, fields: self.fields, texts, title, text });
        self.read = Some(read.clone());
        Ok(read)
    }

    fn segment(&self, reader: &SegmentReader, texts: Arc<[Place]>) -> tantivy::Result<Segment> {
        let Fields { title, text, .. } = self.fields;
        Ok(Segment { title: reader.inverted_index(title)?, text: reader.inverted_index(text)?, texts })
    }

    fn places_of(&self, segment: &SegmentReader) -> tantivy::Result<Arc<[Place]>> {
        let numbers = segment.fast_fields().u64(segment.schema().get_field_name(self.fields.number))?;
        let title = segment.get_fieldnorms_reader(self.fields.title)?;
        let text = segment.get_fieldnorms_reader(self.fields.text)?;
        let place = |doc| {
            let alive = segment.alive_bitset().is_none_or(|alive| alive.is_alive(doc));
            Place {
                number: numbers.first(doc).filter(|_| alive).map_or(REMOVED, |number| number as u32),
                title_length: title.fieldnorm_id(doc),
                text_length: text.fieldnorm_id(doc),
            }
        };
        Ok((0..segment.max_doc()).map(place).collect())
    }
}

impl Reading {
    /// Adds BM25 to every text's score; says what the words weigh together.
    fn score(&self, terms: &[String], titles: f32, scores: &mut [f32]) -> tantivy::Result<f32> {
        let text = Part {
            field: self.fields.text,
            words: |segment| &segment.text,
            length: |place| place.text_length,
            shares: &self.text,
        };
        let title = Part {
            field: self.fields.title,
            words: |segment| &segment.title,
            length: |place| place.title_length,
            shares: &self.title,
        };
        let sought: Vec<Sought<'_>> = terms.iter().map(|term| self.seek(term, text)).collect::<Result<_, _>>()?;
        let common = |sought: &Sought<'_>| self.texts >= TEXTS_MANY && sought.found as f32 > self.texts * COMMON_SHARE;
        let only_common = sought.iter().all(common);
        let mut weight = 0.0;
        for (term, sought) in terms.iter().zip(sought) {
            if common(&sought) && !only_common {
                continue;
            }
            let rarity = self.rarity(sought.found);
            weight += rarity;
            sought.add(text, rarity, scores)?;
            if titles > 0.0 {
                let titled = self.seek(term, title)?;
                let rarity = self.rarity(titled.found);
                titled.add(title, TITLE_BOOST * titles * rarity, scores)?;
            }
        }
        Ok(weight)
    }

    fn seek(&self, term: &str, part: Part<'_>) -> tantivy::Result<Sought<'_>> {
        let term = Term::from_field_text(part.field, term);
        let mut holding = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            if let Some(info) = (part.words)(segment).get_term_info(&term)? {
                holding.push((segment, info));
            }
        }
        let found = holding.iter().map(|(_, info)| info.doc_freq).sum();
        Ok(Sought { holding, found })
    }

    /// BM25's idf.
    fn rarity(&self, found: u32) -> f32 {
        let found = found as f32;
        (1.0 + ((self.texts - found).max(0.0) + 0.5) / (found + 0.5)).ln()
    }
}

impl Sought<'_> {
    /// Adds the word's weight to the texts that hold it.
    fn add(self, part: Part<'_>, weight: f32, scores: &mut [f32]) -> tantivy::Result<()> {
        // The last place is where what was removed is written.
        let last = scores.len() - 1;
        let shares = &part.shares.0;
        for (segment, info) in self.holding {
            let words = (part.words)(segment);
            let mut block = words.read_block_postings_from_terminfo(&info, IndexRecordOption::WithFreqs)?;
            while !block.docs().is_empty() {
                for (doc, times) in block.docs().iter().zip(block.freqs()) {
                    let place = &segment.texts[*doc as usize];
                    let share = shares[(*times as usize).min(TIMES_MAX) - 1][usize::from((part.length)(place))];
                    scores[(place.number as usize).min(last)] += weight * share;
                }
                block.advance();
            }
        }
        Ok(())
    }
}

impl Shares {
    fn of(usual: f32) -> Self {
        let share = |times: usize, step: usize| {
            let length = FieldNormReader::id_to_fieldnorm(step as u8) as f32 / usual.max(1.0);
            let loss = SATURATION * (1.0 - LENGTH_WEIGHT + LENGTH_WEIGHT * length);
            let times = (times + 1) as f32;
            (1.0 + SATURATION) * times / (times + loss)
        };
        Self(Box::new(std::array::from_fn(|times| std::array::from_fn(|step| share(times, step)))))
    }
}

fn failed(doing: &'static str) -> impl Fn(TantivyError) -> IndexError {
    move |source| IndexError { doing, source: Box::new(source) }
}
