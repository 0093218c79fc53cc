//! Elasticsearch or OpenSearch as the place where knowledge is searched: an index for each tenant, behind an alias.
//!
//! A search is three requests: candidates by words and by meaning, all scores of those, and what the best of them say.

/// The one door to the server.
mod door;

/// PURE: what is asked in either dialect, and how answers are read.
mod query;

/// Bringing an index up to date, by one worker of all.
mod write;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use talkfleet_shared::id::TenantId;

pub use self::door::ElasticError;
use self::door::{Body, Door};
use self::query::{Candidates, Hits, alias, by_words, hits, nearest};
use super::fuse::{Found, FoundText, Fused, fuse};
use super::gather::{first_documents, side_by_side, spreads};
use super::outline::Outline;
use super::terms::{Words, bound};
use super::{BackendError, QUESTION, Question, TEXT, WHOLE};
use crate::config::{Dialect, ElasticsearchConfig};
use crate::guard::Guard;
use crate::retrieval::{Hit, Passage};
use crate::store::Store;
use crate::store::search::{MatchedWords, Scored};
use crate::text::Language;

/// The layout of entries; an index of another one is made anew.
const LAYOUT: i64 = 1;

/// What the server is told of our indices.
const TEMPLATES: [(Dialect, &str); 2] = [
    (Dialect::Elasticsearch, include_str!("../../../../../schemas/search/elasticsearch.json")),
    (Dialect::Opensearch, include_str!("../../../../../schemas/search/opensearch.json")),
];

/// Knowledge in a search server.
pub struct Elastic {
    door: Door,
    /// Searches enter by it where they are called; what is written takes its retries from it.
    guard: Guard,
    dialect: Dialect,
    prefix: String,
    replicas: u32,
    /// By what its scores are multiplied to be those of the index in memory, once it has said what it is.
    factor: tokio::sync::OnceCell<f32>,
    words: Mutex<Words>,
}

/// A tenant's base as of a version.
pub struct Base {
    pub version: i64,
    pub outline: Outline,
}

/// A query's words, and in which languages they are looked for.
struct Sought {
    words: Vec<String>,
    languages: Vec<Language>,
    has_wordings: bool,
}

/// What the first request found.
struct FirstFound {
    texts: Hits,
    wholes: Hits,
    near_texts: Hits,
    near_wordings: Hits,
}

impl Elastic {
    pub fn new(config: &ElasticsearchConfig, guard: Guard) -> Result<Self, ElasticError> {
        Ok(Self {
            door: Door::new(config)?,
            guard,
            dialect: config.dialect,
            prefix: config.prefix.clone(),
            replicas: config.replicas,
            factor: tokio::sync::OnceCell::new(),
            words: Mutex::default(),
        })
    }

    /// Brings the tenant's index up to date, or waits until another worker has.
    pub async fn refresh(&self, store: &Store, tenant: &TenantId) -> Result<Base, BackendError> {
        self.factor.get_or_try_init(|| self.prepare()).await?;
        let version = self.bring_up_to_date(store, tenant).await?;
        Ok(Base { version, outline: super::outline(store, tenant).await? })
    }

    /// Looks who answers, and tells it of our indices.
    async fn prepare(&self) -> Result<f32, BackendError> {
        let factor = query::factor(&self.door.get("/").await?, self.dialect)?;
        self.put_template().await?;
        Ok(factor)
    }

    async fn put_template(&self) -> Result<(), BackendError> {
        let (_, text) = TEMPLATES.iter().find(|(dialect, _)| *dialect == self.dialect).unwrap_or(&TEMPLATES[0]);
        let mut template: Value = serde_json::from_str(text).map_err(|_| ElasticError::Garbage)?;
        template["index_patterns"] = json!([format!("{}-knowledge-*", self.prefix)]);
        template["template"]["settings"]["index"]["number_of_replicas"] = json!(self.replicas);
        self.door.put(&format!("/_index_template/{}-knowledge", self.prefix), template).await?;
        Ok(())
    }

    /// The passages that answer best, best first.
    pub async fn search(&self, base: &Base, question: Question<'_>) -> Result<Vec<Hit>, BackendError> {
        let languages: Vec<Language> =
            base.outline.languages().filter(|language| base.outline.passages_in(*language) > 0).collect();
        if languages.is_empty() {
            return Ok(Vec::new());
        }
        let sought = Sought {
            words: self.words.lock().unwrap_or_else(PoisonError::into_inner).of_query(question.text),
            has_wordings: languages.iter().any(|language| base.outline.worded_in(*language) > 0),
            languages,
        };
        let factor = *self.factor.get_or_try_init(|| self.prepare()).await?;
        let mut first = self.first(question, &sought).await?;
        first.texts.times(factor);
        first.wholes.times(factor);
        let matched = matched(&first);
        let (texts, documents) = self.scores(question, &sought, &first, &matched, factor).await?;
        let bounds = bounds(&base.outline, &first.texts.frequencies);
        let spreads = spreads(&base.outline, question.embedding, &matched);
        let found = Found { texts, documents, spreads, bounds };
        let fused = fuse(&found, question.language, question.count, question.embedding.is_some(), question.tuning);
        self.read(question.tenant, &found.texts, fused).await
    }

    /// Candidates by words and by meaning, in one request.
    async fn first(&self, question: Question<'_>, sought: &Sought) -> Result<FirstFound, BackendError> {
        let mut searches = vec![by_words(TEXT, &sought.words, &sought.languages)];
        if sought.has_wordings {
            searches.push(by_words(WHOLE, &sought.words, &sought.languages));
        }
        if let Some(embedding) = question.embedding {
            searches.push(nearest(self.dialect, TEXT, embedding, question.candidates()));
            if sought.has_wordings {
                searches.push(nearest(self.dialect, QUESTION, embedding, question.candidates()));
            }
        }
        let mut found = self.searched(question.tenant, &searches, sought.words.len()).await?.into_iter();
        let mut next = |asked: bool| if asked { found.next().unwrap_or_default() } else { Hits::default() };
        let by_meaning = question.embedding.is_some();
        let (texts, wholes) = (next(true), next(sought.has_wordings));
        let (near_texts, near_wordings) = (next(by_meaning), next(by_meaning && sought.has_wordings));
        Ok(FirstFound { texts, wholes, near_texts, near_wordings })
    }

    /// Every candidate with all of its scores.
    async fn scores(
        &self,
        question: Question<'_>,
        sought: &Sought,
        first: &FirstFound,
        matched: &MatchedWords,
        factor: f32,
    ) -> Result<(Vec<FoundText>, HashMap<String, super::fuse::FoundDocument>), BackendError> {
        let best = matched.best.iter().filter(|one| one.key.kind == TEXT).take(question.candidates() as usize);
        let texts: Vec<&Scored> = best.chain(&first.near_texts.scored).collect();
        let mut led: HashSet<&String> = first_documents(first.wholes.scored.iter());
        led.extend(first_documents(first.near_wordings.scored.iter()));
        let led: HashSet<String> = led.into_iter().cloned().collect();
        let mut documents: HashSet<String> = texts.iter().map(|one| one.key.document.clone()).collect();
        documents.extend(led.iter().cloned());
        if documents.is_empty() {
            return Ok((Vec::new(), HashMap::new()));
        }
        let ids: Vec<String> = texts.iter().map(|one| write::id(TEXT, one.key.ordinal, &one.key.document)).collect();
        let candidates = Candidates { ids: &ids, documents: &documents, led: &led };
        let mut searches = vec![candidates.by_words(TEXT, &sought.words, &sought.languages)];
        if sought.has_wordings {
            searches.push(candidates.by_words(WHOLE, &sought.words, &sought.languages));
        }
        let by_words = searches.len();
        searches.extend(question.embedding.map(|embedding| candidates.by_meaning(self.dialect, embedding)));
        let mut found = self.searched(question.tenant, &searches, 0).await?;
        let meanings = found.split_off(by_words).into_iter().flat_map(|hits| hits.scored);
        // One was added, because no score may be below 0.
        let meanings = meanings.map(|one| Scored { score: one.score - 1.0, ..one });
        found.iter_mut().for_each(|hits| hits.times(factor));
        Ok(side_by_side(found.into_iter().flat_map(|hits| hits.scored).collect(), meanings.collect()))
    }

    async fn searched(&self, tenant: &TenantId, searches: &[Value], words: usize) -> Result<Vec<Hits>, BackendError> {
        let lines: String = searches.iter().map(|search| format!("{{}}\n{search}\n")).collect();
        let path = format!("/{}/_msearch", alias(&self.prefix, tenant));
        let answer = self.door.post(&path, Body::Lines(lines)).await?;
        let answers = answer["responses"].as_array().filter(|all| all.len() == searches.len());
        let read = |answer: &Value| match answer["error"].is_object() {
            true => {
                let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok());
                Err(door::of_error(status.unwrap_or(500), &answer["error"]))
            }
            false => hits(answer, words).ok_or(ElasticError::Garbage),
        };
        Ok(answers.ok_or(ElasticError::Garbage)?.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// What the hits say; a passage that went away meanwhile is left out.
    async fn read(&self, tenant: &TenantId, texts: &[FoundText], fused: Vec<Fused>) -> Result<Vec<Hit>, BackendError> {
        if fused.is_empty() {
            return Ok(Vec::new());
        }
        let id = |fused: &Fused| write::id(TEXT, texts[fused.text].ordinal, &texts[fused.text].document);
        let ids: Vec<String> = fused.iter().map(id).collect();
        let path = format!("/{}/_mget?_source_includes=title,url,text", alias(&self.prefix, tenant));
        let answer = self.door.post(&path, Body::Json(json!({ "ids": ids }))).await?;
        let said = answer["docs"].as_array().filter(|docs| docs.len() == ids.len()).ok_or(ElasticError::Garbage)?;
        let hit = |(fused, said): (Fused, &Value)| {
            let (found, source) = (&texts[fused.text], &said["_source"]);
            let text = |name: &str| source[name].as_str().map(str::to_owned);
            let passage = Passage {
                id: format!("{}-{}-{}", found.document, found.language.tag(), found.ordinal + 1),
                document: found.document.clone(),
                title: text("title")?,
                url: text("url")?,
                language: found.language,
                text: text("text")?,
            };
            let (score, words_score, meaning_score) = (fused.score, fused.words, fused.meaning);
            Some(Hit { passage: passage.into(), score, words_score, meaning_score })
        };
        Ok(fused.into_iter().zip(said).filter_map(hit).collect())
    }
}

/// The matches by words with their sums; what was not read of them is counted as no match.
fn matched(first: &FirstFound) -> MatchedWords {
    let mut matched = MatchedWords::default();
    for one in first.texts.scored.iter().chain(&first.wholes.scored) {
        let shelf = matched.shelves.entry((one.key.kind.clone(), one.language)).or_default();
        shelf.sum += f64::from(one.score);
        shelf.squares += f64::from(one.score) * f64::from(one.score);
        matched.best.push(one.clone());
    }
    matched
}

/// What a text of average length would score in each language with all of the query's words in it.
fn bounds(outline: &Outline, frequencies: &HashMap<String, Vec<f32>>) -> HashMap<Language, f32> {
    let of = |(tag, found): (&String, &Vec<f32>)| {
        let language = query::language(tag);
        let total = outline.passages_in(language) as f32;
        (language, found.iter().map(|found| bound(total, *found)).sum())
    };
    frequencies.iter().map(of).collect()
}
