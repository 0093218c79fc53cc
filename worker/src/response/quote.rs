//! The rung below the model: the knowledge quoted, sentence by sentence, with where it stands; what was quoted is kept.

use std::sync::Arc;

use moka::future::Cache;
use sha2::{Digest, Sha256};
use talkfleet_shared::chat::{Citation, Kind, Passage, RetrieveReply, Rung};

use super::{Brief, Spoken, extract, injection, sources};
use crate::{
    retrieval::{self, Hit},
    text::{self, sentences},
    turn::Voice,
};

/// A passage as a model may see it: what speaks to a model is taken out.
pub fn without_instructions(passage: &Passage) -> Passage {
    let [title, text] = [&passage.title, &passage.text].map(|text| injection::cleaned(text).into_owned());
    Passage { title, text, ..passage.clone() }
}

/// Quotations that are kept, about 2 KiB each: what a promotion's customers ask is mostly the same few hundred questions.
const KEPT_MAX: u64 = 10_000;

/// A quotation with all that is told of it.
struct Quoted {
    text: String,
    /// Where its sentences end, in bytes; each leaves by itself.
    ends: Vec<usize>,
    citations: Vec<Citation>,
}

/// Quotations by what they were made from, so that the same question costs its searching for sentences once.
pub struct Quotations(Cache<[u8; 32], Arc<Quoted>>);

impl Quotations {
    pub fn new() -> Self {
        Self(Cache::new(KEPT_MAX))
    }

    /// Quotes the knowledge sentence by sentence.
    pub async fn quote(&self, brief: &Brief<'_>, voice: &mut Voice<'_>) -> Spoken {
        let quoted = match brief.found {
            Some(found) => self.quoted(brief, found).await,
            None => Arc::new(Quoted::new(String::new(), &[])),
        };
        voice.tell_sources(&quoted.citations).await;
        let mut from = 0;
        for end in &quoted.ends {
            voice.say_at_once(&quoted.text[from..*end]).await;
            from = *end;
        }
        Spoken { rung: Rung::Extract, citations: quoted.citations.clone(), ..Spoken::canned(Kind::Answer) }
    }

    async fn quoted(&self, brief: &Brief<'_>, found: &RetrieveReply) -> Arc<Quoted> {
        let make = || Arc::new(Quoted::new(quotation(brief.text, found), &found.passages));
        let Some(key) = key(brief, found) else { return make() };
        if let Some(quoted) = self.0.get(&key).await {
            return quoted;
        }
        let quoted = make();
        self.0.insert(key, quoted.clone()).await;
        quoted
    }
}

/// All that a quotation depends on: what a role found, in which version of the knowledge. A role that names no version could
/// say the same of other texts.
fn key(brief: &Brief<'_>, found: &RetrieveReply) -> Option<[u8; 32]> {
    let extract = found.extract.as_ref().filter(|_| !found.version.is_empty())?;
    let mut key = Sha256::new();
    for part in [brief.tenant.as_str(), &found.version, brief.text, extract] {
        key.update(part.len().to_le_bytes());
        key.update(part);
    }
    for passage in &found.passages {
        key.update(passage.id.len().to_le_bytes());
        key.update(&passage.id);
        key.update(passage.score.to_le_bytes());
    }
    Some(key.finalize().into())
}

impl Quoted {
    fn new(text: String, passages: &[Passage]) -> Self {
        let said = sentences(&text);
        let (ends, citations) = (ends(&text, &said), sources::quotation(&said, passages));
        Self { text, ends, citations }
    }
}

/// The retrieval role's own extract; from a role that brings none, the sentences that share most words with the question.
pub fn quotation(question: &str, found: &RetrieveReply) -> String {
    if let Some(extract) = &found.extract {
        return injection::cleaned(extract).trim().to_owned();
    }
    let hits: Vec<_> = found.passages.iter().map(without_instructions).map(|passage| hit(&passage)).collect();
    let extract = extract::extract(question, None, &hits, None, text::language(question));
    if extract.text.is_empty() {
        found.passages.first().map_or_else(String::new, |best| injection::cleaned(&best.text).trim().to_owned())
    } else {
        extract.text
    }
}

fn hit(passage: &Passage) -> Hit {
    Hit {
        passage: Arc::new(retrieval::Passage {
            id: passage.id.clone(),
            document: passage.document.clone(),
            title: passage.title.clone(),
            url: passage.url.clone(),
            language: text::language(&passage.text),
            text: passage.text.clone(),
        }),
        score: passage.score,
        words_score: passage.score,
        meaning_score: 0.0,
    }
}

/// Where these sentences of a text end, so that the pieces between are the text.
fn ends(text: &str, sentences: &[&str]) -> Vec<usize> {
    let mut ends: Vec<usize> = Vec::with_capacity(sentences.len());
    for sentence in sentences {
        let from = ends.last().copied().unwrap_or(0);
        ends.extend(text[from..].find(sentence).map(|at| from + at + sentence.len()));
    }
    ends
}
