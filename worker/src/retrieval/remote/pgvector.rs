//! PostgreSQL with pgvector as the place where knowledge is searched: brought up to date by whoever comes first.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use talkfleet_shared::id::TenantId;

use super::fuse::{Found, FoundText, Fused, fuse};
use super::gather::{first_documents, side_by_side, spreads};
use super::outline::Outline;
use super::terms::{Counted, Field, Place, Words, bound, query_weight, term, together, weights};
use super::{
    BATCH_DOCUMENTS, BUSY_LOOK, BackendError, PASSAGES_OF_DOCUMENT_MAX, Piece, QUESTION, Question, TEXT, WHOLE, pieces,
};
use crate::retrieval::{Hit, Passage};
use crate::store::search::{Asked, Entry, Frequencies, MatchedWords, Near, Scored, SearchSync, Sums, SyncStart};
use crate::store::{SnapshotDocument, Store, StoreError};
use crate::text::Language;

/// Entries that may be scored by their words. The rarest words are looked up until they stand in so many; what is more
/// frequent ("the", "的") only counts in what the rare ones found. Scoring and sorting 1,000 took PostgreSQL 1.5 to 2.8 ms
/// of CPU (10,000 made-up entries of 60 terms, 60 searches each, from the system's books).
const MATCHES_MAX: i64 = 2_000;

/// Knowledge in PostgreSQL; cheap to clone by its `Arc`.
pub struct Pgvector {
    store: Store,
    graph_from: i64,
    prepared: tokio::sync::OnceCell<()>,
    words: Mutex<Words>,
}

/// A tenant's base as of a version.
pub struct Base {
    pub version: i64,
    pub outline: Outline,
    by_graph: bool,
}

/// A query's words in every shelf of a base.
struct Sought {
    weights: Vec<(i32, f32)>,
    /// The rarest terms, by which entries are found.
    any: Vec<i32>,
    bounds: HashMap<Language, f32>,
}

impl Pgvector {
    /// `graph_from`: with so many passages in all bases together, meanings are found by a graph instead of one by one.
    pub fn new(store: Store, graph_from: i64) -> Self {
        Self { store, graph_from, prepared: tokio::sync::OnceCell::new(), words: Mutex::default() }
    }

    /// Brings the tenant's base up to date, or waits until another process has.
    pub async fn refresh(&self, tenant: &TenantId) -> Result<Base, BackendError> {
        self.prepared.get_or_try_init(|| self.store.search_prepare()).await?;
        loop {
            match self.store.search_sync(tenant).await? {
                SyncStart::Current => break,
                SyncStart::Busy => tokio::time::sleep(BUSY_LOOK).await,
                SyncStart::Ours(sync) => {
                    self.bring_up_to_date(tenant, sync).await?;
                }
            }
        }
        let version = self.store.knowledge_version(tenant).await?;
        let outline = super::outline(&self.store, tenant).await?;
        let graph = self.store.search_graph(self.graph_from).await?;
        self.store.search_seen().await;
        let by_graph = graph && outline.passages() as i64 >= self.graph_from;
        Ok(Base { version, outline, by_graph })
    }

    async fn bring_up_to_date(&self, tenant: &TenantId, mut sync: Box<SearchSync>) -> Result<(), StoreError> {
        sync.remove_gone().await?;
        let mut after = String::new();
        loop {
            let documents = sync.changed_after(&after, BATCH_DOCUMENTS).await?;
            let Some(last) = documents.last() else { break };
            after.clone_from(&last.id);
            let ids: Vec<String> = documents.iter().map(|document| document.id.clone()).collect();
            let (tenant, shelves) = (tenant.clone(), sync.shelves().await?);
            // Seconds of work for a large base: not on a thread that answers.
            let cut = tokio::task::spawn_blocking(move || entries(&tenant, documents, &shelves)).await;
            let entries = cut.map_err(|error| StoreError::Rejected(error.to_string()))?;
            sync.replace(&ids, &entries).await?;
        }
        sync.finish().await.map(drop)
    }

    /// The passages that answer best, best first.
    pub async fn search(&self, base: &Base, question: Question<'_>) -> Result<Vec<Hit>, BackendError> {
        let (sought, near) = tokio::try_join!(self.sought(base, question), self.near(base, question))?;
        let matched = match sought.any.is_empty() {
            true => MatchedWords::default(),
            false => {
                let tenant = question.tenant;
                self.store.search_words(tenant, &sought.weights, &sought.any, question.candidates()).await?
            }
        };
        let found = self.found(base, question, &sought, &matched, &near).await?;
        let fused = fuse(&found, question.language, question.count, question.embedding.is_some(), question.tuning);
        self.read(question.tenant, &found.texts, fused).await
    }

    /// The query's terms in the shelves of the base, with their rarity.
    async fn sought(&self, base: &Base, question: Question<'_>) -> Result<Sought, BackendError> {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner).of_query(question.text);
        let mut terms = Vec::new();
        for language in base.outline.languages() {
            let totals = [(TEXT, base.outline.passages_in(language)), (WHOLE, base.outline.worded_in(language))];
            for (kind, total) in totals.into_iter().filter(|(_, total)| *total > 0) {
                let place = Place { tenant: question.tenant, kind, language };
                for field in [Field::Text, Field::Title] {
                    terms.extend(words.iter().map(|word| (term(place, field, word), place, field, total as f32)));
                }
            }
        }
        let numbers: Vec<i32> = terms.iter().map(|(term, ..)| *term).collect();
        let frequencies = self.store.search_frequencies(question.tenant, &numbers).await?;
        let in_entries = |term: &i32| frequencies.get(term).copied().unwrap_or_default() as f32;
        let mut bounds: HashMap<Language, f32> = HashMap::new();
        for (term, place, _, total) in
            terms.iter().filter(|(_, place, field, _)| place.kind == TEXT && *field == Field::Text)
        {
            *bounds.entry(place.language).or_default() += bound(*total, in_entries(term));
        }
        let held = terms.iter().filter(|(term, ..)| frequencies.contains_key(term));
        let held = held.map(|(term, _, field, total)| (*term, query_weight(*field, *total, in_entries(term))));
        let weights = together(held.collect(), Vec::new());
        Ok(Sought { weights, any: rarest(&frequencies), bounds })
    }

    /// The nearest passages and wordings.
    async fn near(&self, base: &Base, question: Question<'_>) -> Result<[Vec<Scored>; 2], BackendError> {
        let Some(embedding) = question.embedding else { return Ok([Vec::new(), Vec::new()]) };
        let near = |kind| Near { embedding, kind, count: question.candidates(), by_graph: base.by_graph };
        let texts = self.store.search_near(question.tenant, near(TEXT));
        let has_wordings = base.outline.languages().any(|language| base.outline.worded_in(language) > 0);
        if !has_wordings {
            return Ok([texts.await?, Vec::new()]);
        }
        let (texts, wordings) = tokio::try_join!(texts, self.store.search_near(question.tenant, near(QUESTION)))?;
        Ok([texts, wordings])
    }

    /// Every candidate with all of its scores.
    async fn found(
        &self,
        base: &Base,
        question: Question<'_>,
        sought: &Sought,
        matched: &MatchedWords,
        near: &[Vec<Scored>; 2],
    ) -> Result<Found, BackendError> {
        let texts: Vec<&Scored> = matched.best.iter().filter(|one| one.key.kind == TEXT).chain(&near[0]).collect();
        let mut led = first_documents(matched.best.iter().filter(|one| one.key.kind == WHOLE));
        led.extend(first_documents(near[1].iter()));
        let documents: HashSet<&String> =
            texts.iter().map(|one| &one.key.document).chain(led.iter().copied()).collect();
        let documents: Vec<String> = documents.into_iter().cloned().collect();
        let led: Vec<String> = led.into_iter().cloned().collect();
        let keys = (
            &*texts.iter().map(|one| one.key.document.clone()).collect::<Vec<_>>(),
            &*texts.iter().map(|one| one.key.ordinal).collect::<Vec<_>>(),
        );
        let asked = Asked { documents: &documents, led: &led, ordinal_end: PASSAGES_OF_DOCUMENT_MAX, texts: keys };
        let words = self.store.search_words_of(question.tenant, &sought.weights, &asked);
        let (words, meanings) = match question.embedding {
            Some(embedding) => {
                tokio::try_join!(words, self.store.search_meanings_of(question.tenant, embedding, &asked))?
            }
            None => (words.await?, Vec::new()),
        };
        let spreads = spreads(&base.outline, question.embedding, matched);
        let (texts, documents) = side_by_side(words, meanings);
        Ok(Found { texts, documents, spreads, bounds: sought.bounds.clone() })
    }

    /// What the hits say; a passage that went away meanwhile is left out.
    async fn read(&self, tenant: &TenantId, texts: &[FoundText], fused: Vec<Fused>) -> Result<Vec<Hit>, BackendError> {
        let documents: Vec<String> = fused.iter().map(|hit| texts[hit.text].document.clone()).collect();
        let ordinals: Vec<i32> = fused.iter().map(|hit| texts[hit.text].ordinal).collect();
        if documents.is_empty() {
            return Ok(Vec::new());
        }
        let said = self.store.search_texts(tenant, &documents, &ordinals).await?;
        let mut said: HashMap<(String, i32), _> =
            said.into_iter().map(|text| ((text.document.clone(), text.ordinal), text)).collect();
        let hit = |fused: Fused| {
            let found = &texts[fused.text];
            let text = said.remove(&(found.document.clone(), found.ordinal))?;
            let passage = Passage {
                id: format!("{}-{}-{}", text.document, text.language.tag(), text.ordinal + 1),
                document: text.document,
                title: text.title,
                url: text.url,
                language: text.language,
                text: text.text,
            };
            let (score, words_score, meaning_score) = (fused.score, fused.words, fused.meaning);
            Some(Hit { passage: passage.into(), score, words_score, meaning_score })
        };
        Ok(fused.into_iter().filter_map(hit).collect())
    }
}

/// The rarest terms, until they stand in as many entries as may be scored; at least one.
fn rarest(frequencies: &Frequencies) -> Vec<i32> {
    let mut terms: Vec<(i64, i32)> = frequencies.iter().map(|(term, entries)| (*entries, *term)).collect();
    terms.sort_unstable();
    let mut sum = 0;
    let few = terms.iter().take_while(|(entries, _)| {
        let first = sum == 0;
        sum += entries;
        first || sum <= MATCHES_MAX
    });
    few.map(|(_, term)| *term).collect()
}

type Shelves = std::collections::BTreeMap<(String, &'static str), Sums>;

/// Documents as they are searched. A text's usual length is that of its shelf so far, these documents included.
fn entries(tenant: &TenantId, documents: Vec<SnapshotDocument>, shelves: &Shelves) -> Vec<Entry> {
    let mut words = Words::default();
    let mut counted = |piece: Piece| {
        let by_words = piece.kind != QUESTION;
        let text = if by_words { words.count(&piece.text) } else { Counted::default() };
        let title = if by_words { words.count(&piece.title) } else { Counted::default() };
        (piece, text, title)
    };
    let cut: Vec<(Piece, Counted, Counted)> = documents.into_iter().flat_map(pieces).map(&mut counted).collect();
    let mut shelves = shelves.clone();
    for (piece, text, title) in &cut {
        let sums = shelves.entry((piece.kind.to_owned(), piece.language.tag())).or_default();
        sums.entries += 1;
        sums.text_words += i64::from(text.length);
        sums.title_words += i64::from(title.length);
    }
    let entry = |(piece, text, title): (Piece, Counted, Counted)| {
        let sums = shelves.get(&(piece.kind.to_owned(), piece.language.tag())).copied().unwrap_or_default();
        let average = |words: i64| words as f32 / sums.entries.max(1) as f32;
        let place = Place { tenant, kind: piece.kind, language: piece.language };
        let by_text = weights(place, Field::Text, &text, average(sums.text_words));
        let by_title = weights(place, Field::Title, &title, average(sums.title_words));
        Entry {
            document: piece.document,
            kind: piece.kind,
            ordinal: piece.ordinal,
            language: piece.language,
            text_words: i32::try_from(text.length).unwrap_or(i32::MAX),
            title_words: i32::try_from(title.length).unwrap_or(i32::MAX),
            words: together(by_text, by_title),
            embedding: piece.embedding,
        }
    };
    cut.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarest_terms_are_looked_up_and_at_least_one() {
        let frequencies = Frequencies::from([(1, 9_000), (2, 1_500), (3, 900), (4, 300)]);
        assert_eq!(rarest(&frequencies), [4, 3]);
        assert_eq!(rarest(&Frequencies::from([(1, 9_000)])), [1]);
        assert!(rarest(&Frequencies::new()).is_empty());
    }
}
