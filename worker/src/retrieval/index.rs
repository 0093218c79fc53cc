//! The passages of one knowledge base, searchable: an immutable index, and the workshop that makes the next one.
//!
//! Embeddings are scanned exactly, which beats any graph up to about 100,000 passages. A search never waits: it holds
//! the index it began with while a new one takes its place.

use std::collections::HashMap;
use std::sync::Arc;

use super::rank::{Candidate, Nearest, Signs, Tuning, Worded, answers, rank};
use super::sentences::Sentences;
use super::shelf::{Found, IndexError, Readings, Shelves};
use super::{Passage, Wording};
use crate::encoder::{DIMENSIONS, Encoder, Scan};
use crate::text::Language;

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
#[derive(Default)]
pub struct Knowledge {
    passages: Shelves,
    /// Documents that bring wordings, each as one text with all of them.
    wholes: Shelves,
    /// By slot; slots of what was removed are filled again by what comes next.
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    documents: HashMap<String, Held>,
}

#[derive(Clone)]
struct Slot {
    entry: Arc<Entry>,
    embedding: Option<Arc<[f32]>>,
}

/// A passage, and what was learned about it since.
struct Entry {
    passage: Arc<Passage>,
    sentences: Sentences,
}

/// What a document holds.
struct Held {
    slots: Vec<usize>,
    language: Language,
    /// Of its wordings; a wording without one still counts by its words.
    embeddings: Vec<Arc<[f32]>>,
    worded: bool,
}

/// An immutable snapshot of the knowledge.
pub struct Index {
    passages: Readings,
    wholes: Readings,
    entries: Vec<Option<Arc<Entry>>>,
    by_id: HashMap<String, usize>,
    scan: Scan,
    /// Which slot each row of `scan` belongs to.
    embedded_slots: Vec<usize>,
    /// By slot, the number of its document among those with wordings.
    worded: Vec<Option<usize>>,
    /// By that number.
    languages: Vec<Language>,
    /// By a document's first slot, that number.
    numbers: HashMap<usize, usize>,
    wordings: Scan,
    /// Which worded document each row of `wordings` belongs to.
    wordings_of: Vec<usize>,
}

impl Knowledge {
    /// Puts a document's passages and its customers' wordings in place of those it had. Wordings lead to the document
    /// and are never found themselves: without a passage they lead nowhere.
    pub fn upsert(
        &mut self,
        document: &str,
        passages: Vec<(Passage, Option<Vec<f32>>)>,
        wordings: Vec<Wording>,
    ) -> Result<(), IndexError> {
        self.remove(document);
        let Some((first, _)) = passages.first() else { return Ok(()) };
        let language = first.language;
        let worded = !wordings.is_empty();
        let texts = passages.iter().map(|(passage, _)| passage.text.as_str());
        let whole: Vec<&str> = texts.chain(wordings.iter().map(|wording| wording.text.as_str())).collect();
        let whole = whole.join("\n");
        let mut slots = Vec::new();
        for (passage, embedding) in passages {
            let slot = self.free.pop().unwrap_or(self.slots.len());
            self.slots.resize(self.slots.len().max(slot + 1), None);
            self.passages.put(slot, passage.language, document, &passage.title, &passage.text)?;
            let sentences = Sentences::of(&passage);
            let entry = Arc::new(Entry { passage: Arc::new(passage), sentences });
            self.slots[slot] = Some(Slot { entry, embedding: embedding.and_then(whole_embedding) });
            slots.push(slot);
        }
        if worded {
            // Without its title: a whole document says what it is about often enough, and a title's "How do I" is said by
            // every customer.
            self.wholes.put(slots[0], language, document, "", &whole)?;
        }
        let embeddings =
            wordings.into_iter().filter_map(|wording| wording.embedding.and_then(whole_embedding)).collect();
        self.documents.insert(document.to_owned(), Held { slots, language, embeddings, worded });
        Ok(())
    }

    pub fn remove(&mut self, document: &str) {
        // Unconditionally: an upsert that failed half-way left entries on a shelf and nothing here.
        self.passages.remove(document);
        self.wholes.remove(document);
        for slot in self.documents.remove(document).into_iter().flat_map(|held| held.slots) {
            self.slots[slot] = None;
            self.free.push(slot);
        }
    }

    /// An index of what is in now. Costs a commit and a copy of the embeddings (20 MB at 10,000 passages).
    pub fn snapshot(&mut self) -> Result<Index, IndexError> {
        let mut index = Index {
            passages: self.passages.read()?,
            wholes: self.wholes.read()?,
            entries: self.slots.iter().map(|slot| slot.as_ref().map(|slot| slot.entry.clone())).collect(),
            by_id: HashMap::new(),
            scan: Scan::default(),
            embedded_slots: Vec::new(),
            worded: vec![None; self.slots.len()],
            languages: Vec::new(),
            numbers: HashMap::new(),
            wordings: Scan::default(),
            wordings_of: Vec::new(),
        };
        for (at, slot) in self.slots.iter().enumerate() {
            let Some(slot) = slot else { continue };
            index.by_id.insert(slot.entry.passage.id.clone(), at);
            if let Some(embedding) = &slot.embedding {
                index.scan.push(embedding);
                index.embedded_slots.push(at);
            }
        }
        for held in self.documents.values().filter(|held| held.worded) {
            let number = index.languages.len();
            index.languages.push(held.language);
            index.numbers.extend(held.slots.first().map(|slot| (*slot, number)));
            held.slots.iter().for_each(|slot| index.worded[*slot] = Some(number));
            for embedding in &held.embeddings {
                index.wordings.push(embedding);
                index.wordings_of.push(number);
            }
        }
        Ok(index)
    }
}

/// An embedding that is as long as the encoder's.
fn whole_embedding(embedding: Vec<f32>) -> Option<Arc<[f32]>> {
    (embedding.len() == DIMENSIONS).then(|| embedding.into())
}

impl Index {
    /// An index of these passages, for a base that changes as a whole and brings no wordings.
    pub fn build(passages: Vec<(Passage, Option<Vec<f32>>)>) -> Result<Self, IndexError> {
        let mut knowledge = Knowledge::default();
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
        self.entries.iter().flatten().count()
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
        let embedding = embedding.filter(|embedding| embedding.len() == DIMENSIONS);
        let terms = self.passages.terms(query);
        let found = self.passages.find(&terms)?;
        let candidates = self.candidates(&found, embedding, language);
        let worded = self.worded(&terms, embedding, language)?;
        let hits = rank(&candidates, &worded, count, tuning).into_iter().filter_map(|ranked| {
            let Candidate { slot, words, meaning, worded: document, .. } = ranked.candidate;
            let wording = document.and_then(|document| worded[document].meaning);
            let passage = self.entries[slot].as_ref()?.passage.clone();
            let coverage = found.coverage(passage.language, words);
            let score = answers(&Signs { meaning, wording, coverage, mixed: ranked.mixed });
            let asked = document.is_some_and(|document| worded[document].words > 0.0);
            let matches = words > 0.0 || asked || embedding.is_some();
            matches.then(|| Hit { passage, score, words_score: words, meaning_score: meaning.unwrap_or_default() })
        });
        Ok(hits.collect())
    }

    /// The cosine of an embedding to the sentence at a place of a found passage; each sentence is encoded once, when
    /// it is first asked for.
    pub fn sentence_meaning(&self, passage: &Passage, place: usize, query: &[f32], encoder: &Encoder) -> Option<f32> {
        let entry = self.entries[*self.by_id.get(&passage.id)?].as_ref()?;
        entry.sentences.cosine(&entry.passage.text, place, query, encoder)
    }

    fn candidates(&self, found: &Found, embedding: Option<&[f32]>, language: Language) -> Vec<Candidate> {
        let speaks = |entry: &Option<Arc<Entry>>| {
            language == Language::Other || entry.as_ref().is_some_and(|entry| entry.passage.language == language)
        };
        let candidate = |(slot, entry)| Candidate {
            slot,
            words: 0.0,
            meaning: None,
            worded: self.worded[slot],
            same_language: speaks(entry),
        };
        let mut candidates: Vec<Candidate> = self.entries.iter().enumerate().map(candidate).collect();
        for (slot, score) in &found.scores {
            if let Some(candidate) = candidates.get_mut(*slot) {
                candidate.words = *score;
            }
        }
        if let Some(embedding) = embedding {
            for (slot, cosine) in self.embedded_slots.iter().zip(self.scan.cosines(embedding)) {
                candidates[*slot].meaning = Some(cosine);
            }
        }
        candidates.retain(|candidate| self.entries[candidate.slot].is_some());
        candidates
    }

    /// How near each document that brings wordings comes to the query by them.
    fn worded(
        &self,
        terms: &[String],
        embedding: Option<&[f32]>,
        language: Language,
    ) -> Result<Vec<Worded>, IndexError> {
        let speaks = |own: &Language| language == Language::Other || *own == language;
        let none = |own| Worded { words: 0.0, meaning: None, same_language: speaks(own) };
        let mut worded: Vec<Worded> = self.languages.iter().map(none).collect();
        if worded.is_empty() {
            return Ok(worded);
        }
        for (slot, score) in self.wholes.find(terms)?.scores {
            if let Some(number) = self.numbers.get(&slot) {
                worded[*number].words = score;
            }
        }
        if let Some(embedding) = embedding {
            let mut near = vec![Nearest::default(); worded.len()];
            for (number, cosine) in self.wordings_of.iter().zip(self.wordings.cosines(embedding)) {
                near[*number].add(cosine);
            }
            worded.iter_mut().zip(near).for_each(|(document, near)| document.meaning = near.together());
        }
        Ok(worded)
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
    fn a_document_that_changes_often_takes_no_more_room() {
        let mut knowledge = Knowledge::default();
        for _ in 0..20 {
            knowledge.upsert("returns", shop(), Vec::new()).unwrap();
        }
        assert_eq!(knowledge.slots.len(), shop().len());
        assert_eq!(knowledge.snapshot().unwrap().len(), shop().len());
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
