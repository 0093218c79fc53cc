//! The rung below the model: the knowledge quoted, sentence by sentence, with where it stands.

use std::sync::Arc;

use talkfleet_shared::chat::{Kind, Passage, RetrieveReply, Rung};

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

/// Quotes the knowledge sentence by sentence.
pub async fn quote(brief: &Brief<'_>, voice: &mut Voice<'_>) -> Spoken {
    let passages = brief.found.map_or(&[][..], |found| &found.passages);
    let quotation = brief.found.map_or_else(String::new, |found| quotation(brief.text, found));
    let said = sentences(&quotation);
    let citations = sources::quotation(&said, passages);
    voice.tell_sources(&citations).await;
    for piece in pieces(&quotation, &said) {
        voice.say_at_once(piece).await;
    }
    Spoken { rung: Rung::Extract, citations, ..Spoken::canned(Kind::Answer) }
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

/// A text cut after each of these sentences of it, so that the pieces together are the text.
fn pieces<'a>(text: &'a str, sentences: &[&str]) -> impl Iterator<Item = &'a str> {
    let mut ends: Vec<usize> = Vec::with_capacity(sentences.len());
    for sentence in sentences {
        let from = ends.last().copied().unwrap_or(0);
        ends.extend(text[from..].find(sentence).map(|at| from + at + sentence.len()));
    }
    let starts: Vec<usize> = std::iter::once(0).chain(ends.iter().copied()).collect();
    starts.into_iter().zip(ends).map(|(from, to)| &text[from..to])
}
