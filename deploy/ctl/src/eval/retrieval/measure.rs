//! Asks every question of every tier, quotes the answers, and asks once more without their documents.

use std::collections::HashSet;

use anyhow::Result;
use talkfleet_worker::{
    retrieval::{Embeddings, Hit},
    text,
};

use super::{
    data::{Document, Question},
    subject::{Base, Library, Tier},
};
use crate::{
    eval::{
        meter::{process_seconds, spread},
        metrics::ranking::DEPTH,
        progress::bar,
    },
    replay::report::stats::percentile,
};

/// Passages that are looked at for ten documents: a long document has several among the best.
const PASSAGES: usize = 60;

/// A tenth of the documents is taken out at a time, to ask their questions of a base without them.
const PARTS: usize = 10;

/// Sentences of a quoted answer that are told apart.
pub const QUOTED_MAX: usize = 3;

/// What came of one question.
#[derive(Debug, Clone)]
pub struct Asked {
    /// By tier, the documents that were found, best first, each once.
    pub documents: Vec<Vec<String>>,
    /// The best passage of the last tier: its document and its text.
    pub first: Option<(String, String)>,
    /// The score that the best passage answers, by the last tier.
    pub score: f64,
    /// Whether the answer is inside the quoted one, two and three sentences; None without an answer to look for.
    pub quoted: Option<[bool; QUOTED_MAX]>,
}

/// CPU time of one question, encoding included.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    pub mean_us: f64,
    pub p99_us: f64,
}

impl Cost {
    fn of(mut each_us: Vec<f64>) -> Self {
        each_us.sort_by(f64::total_cmp);
        Self { mean_us: each_us.iter().sum::<f64>() / each_us.len().max(1) as f64, p99_us: percentile(&each_us, 0.99) }
    }
}

/// What was found of all.
pub struct Measured {
    pub asked: Vec<Asked>,
    /// By tier.
    pub costs: Vec<Cost>,
    /// CPU time of building the index, embeddings apart.
    pub index_seconds: f64,
    /// The desk's thresholds: of a tenant without intents, and for a question that belongs to one of the intents.
    pub answerable_from: f64,
    pub in_scope_from: f64,
    /// Numbers of the questions whose answer is in none of their documents.
    pub unsaid: Vec<usize>,
    pub encode_us: f64,
    pub quote_us: f64,
    /// Scores of questions that nothing in the base answers.
    pub unanswerable: Vec<f64>,
}

pub fn measure(
    library: &Library,
    documents: &[Document],
    questions: &[Question],
    unanswerable: &[Question],
    tiers: &[Tier],
) -> Result<Measured> {
    // Its words are indexed by threads of their own.
    let since = process_seconds();
    let base = library.base(&HashSet::new())?;
    let index_seconds = process_seconds() - since;
    let bar = bar("asking", ((tiers.len() + 4) * questions.len()) as u64);
    let embedded = spread(questions, |_, question| base.embed(&question.text), |n| bar.inc(n));
    let transformed = spread(questions, |_, question| base.transform(&question.text), |n| bar.inc(n));
    let encode_us = embedded.us_each();
    let encoding = (embedded.cpu_us, transformed.cpu_us);
    let both = embedded.results.into_iter().zip(transformed.results);
    let embedded: Vec<Embeddings> =
        both.map(|(multilingual, transformer)| Embeddings { multilingual, transformer }).collect();
    let (mut costs, mut by_tier) = (Vec::new(), Vec::new());
    for tier in tiers {
        let ask = |at: usize, question: &Question| base.search(&question.text, &embedded[at], *tier, PASSAGES);
        let found = spread(questions, ask, |n| bar.inc(n));
        let all = |(at, us): (usize, &f64)| {
            us + if tier.encodes() { encoding.0[at] } else { 0.0 }
                + if tier.transforms() { encoding.1[at] } else { 0.0 }
        };
        costs.push(Cost::of(found.cpu_us.iter().enumerate().map(all).collect()));
        by_tier.push(found.results.into_iter().collect::<Result<Vec<Vec<Hit>>>>()?);
    }
    let own = tiers.last().copied().unwrap_or(Tier::Words);
    let empty = Vec::new();
    let last = by_tier.last().unwrap_or(&empty);
    let quote = |at: usize, question: &Question| {
        let embedding = embedded[at].multilingual.as_deref().filter(|_| own.encodes());
        let hits = last.get(at).map_or(&[][..], Vec::as_slice);
        quoted(&base, question, embedding, &hits[..hits.len().min(library.plan.passages_max as usize)])
    };
    let quotes = spread(questions, quote, |n| bar.inc(n));
    let asked = questions.iter().enumerate().zip(quotes.results.iter());
    let asked = asked.map(|((at, _), quoted)| Asked {
        documents: by_tier.iter().map(|found| ranked(&found[at])).collect(),
        first: last[at].first().map(|hit| (hit.passage.document.clone(), hit.passage.text.clone())),
        score: score(&last[at]),
        quoted: *quoted,
    });
    let asked = asked.collect();
    let scores = match unanswerable.is_empty() {
        true => without_their_documents(library, documents, questions, &embedded, own, &bar)?,
        false => {
            let ask = |_: usize, question: &Question| {
                let (multilingual, transformer) = (base.embed(&question.text), base.transform(&question.text));
                let embeddings = Embeddings { multilingual, transformer };
                base.search(&question.text, &embeddings, own, 1).map(|hits| score(&hits))
            };
            spread(unanswerable, ask, |_| {}).results.into_iter().collect::<Result<_>>()?
        }
    };
    bar.finish_and_clear();
    let quote_us = quotes.us_each() / QUOTED_MAX as f64;
    Ok(Measured {
        asked,
        costs,
        index_seconds,
        answerable_from: library.plan.answerable_min.into(),
        in_scope_from: library.plan.in_scope_answerable_min.into(),
        unsaid: unsaid(library, questions),
        encode_us,
        quote_us,
        unanswerable: scores,
    })
}

fn unsaid(library: &Library, questions: &[Question]) -> Vec<usize> {
    let says =
        |question: &Question| question.answers.is_empty() || library.says(&question.documents, &question.answers);
    (0..questions.len()).filter(|at| !says(&questions[*at])).collect()
}

/// Each document once, at the place of its best passage.
fn ranked(hits: &[Hit]) -> Vec<String> {
    let mut seen = HashSet::new();
    let documents = hits.iter().map(|hit| &hit.passage.document).filter(|id| seen.insert(*id));
    documents.take(DEPTH).cloned().collect()
}

fn score(hits: &[Hit]) -> f64 {
    hits.first().map_or(0.0, |hit| f64::from(hit.score))
}

fn quoted(base: &Base<'_>, question: &Question, embedding: Option<&[f32]>, hits: &[Hit]) -> Option<[bool; QUOTED_MAX]> {
    if question.answers.is_empty() {
        return None;
    }
    let mut found = [false; QUOTED_MAX];
    for (at, found) in found.iter_mut().enumerate() {
        *found = holds(&base.quote(&question.text, embedding, hits, at + 1), &question.answers);
    }
    Some(found)
}

/// Whether a text says one of the answers, up to case, width and spacing.
pub fn holds(said: &str, answers: &[String]) -> bool {
    let said = text::normalise(said);
    answers.iter().any(|answer| said.contains(&text::normalise(answer)))
}

fn without_their_documents(
    library: &Library,
    documents: &[Document],
    questions: &[Question],
    embedded: &[Embeddings],
    tier: Tier,
    bar: &indicatif::ProgressBar,
) -> Result<Vec<f64>> {
    let mut scores = Vec::new();
    // With fewer documents than parts each is taken out alone.
    let parts = PARTS.min(documents.len());
    for part in 0..parts {
        let gone: HashSet<&str> =
            documents.iter().skip(part).step_by(parts).map(|document| document.id.as_str()).collect();
        let own =
            |question: &&(usize, &Question)| question.1.documents.first().is_some_and(|id| gone.contains(id.as_str()));
        let numbered: Vec<(usize, &Question)> = questions.iter().enumerate().collect();
        let asked: Vec<&(usize, &Question)> = numbered.iter().filter(own).collect();
        let all: HashSet<&str> = gone
            .iter()
            .copied()
            .chain(asked.iter().flat_map(|(_, q)| q.documents.iter().map(String::as_str)))
            .collect();
        if asked.is_empty() {
            continue;
        }
        let base = library.base(&all)?;
        let ask = |_: usize, (at, question): &&(usize, &Question)| {
            base.search(&question.text, &embedded[*at], tier, 1).map(|hits| score(&hits))
        };
        let found = spread(&asked, ask, |n| bar.inc(n)).results;
        scores.extend(found.into_iter().collect::<Result<Vec<f64>>>()?);
    }
    Ok(scores)
}
