//! PURE: what the answers come to: the figures of `--json`, and the lists that the page shows.

use std::collections::BTreeMap;

use serde::Serialize;
use talkfleet_worker::text::{self, Language};

use super::{
    data::{Document, Question},
    measure::{Asked, Measured, QUOTED_MAX},
    subject::Tier,
};
use crate::eval::metrics::{
    classes::share,
    ranking::{Places, Ranking},
    roc,
};

/// The shape of `report.json`.
const SHAPE: u32 = 1;

/// Misses that are listed, and the characters shown of what came instead.
const MISSES_MAX: usize = 60;
const SNIPPET_CHARS: usize = 220;

/// Questions that are named because their documents do not hold their answer.
const UNSAID_MAX: usize = 5;

/// All that a report is made of.
pub struct Evidence<'a> {
    pub documents: &'a [Document],
    pub passages: usize,
    pub questions: &'a [Question],
    pub tiers: &'a [Tier],
    pub measured: &'a Measured,
    /// Whether the unanswerable questions were given; else they are the same ones, asked without their documents.
    pub given: bool,
}

/// The figures, flat, by names that stay. The ranking is that of the last tier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    pub tier: Tier,
    #[serde(flatten)]
    pub ranking: Ranking,
    pub cpu_us_per_query: f64,
    pub cpu_us_p99: f64,
    pub encode_us_per_query: f64,
    pub quote_us_per_query: f64,
    pub documents: usize,
    pub passages: usize,
    /// By one core, embedding them apart.
    pub indexed_per_second: f64,
    /// Share of the questions with an answer whose answer is inside the quoted sentences.
    pub answer_in_1: Option<f64>,
    pub answer_in_2: Option<f64>,
    pub answer_in_3: Option<f64>,
    pub questions_with_answer: usize,
    /// Of those, where no document of the question holds the answer, and the first of their ids.
    pub answers_not_in_document: usize,
    pub answers_not_in_document_ids: Vec<String>,
    pub answerable_auroc: Option<f64>,
    /// At the threshold of a desk without intents.
    pub answerable_from: f64,
    pub answerable_declined: f64,
    pub unanswerable_declined: Option<f64>,
    /// At the threshold for a question that belongs to one of the desk's intents.
    pub in_scope_from: f64,
    pub in_scope_answerable_declined: f64,
    pub in_scope_unanswerable_declined: Option<f64>,
    pub unanswerable: usize,
    pub tiers: Vec<TierFigures>,
    pub languages: BTreeMap<&'static str, Vec<TierFigures>>,
}

/// One tier.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TierFigures {
    pub tier: Tier,
    #[serde(flatten)]
    pub ranking: Ranking,
    pub cpu_us_per_query: f64,
    pub cpu_us_p99: f64,
}

/// A question whose document did not come first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Miss {
    pub id: String,
    pub question: String,
    pub language: &'static str,
    pub wanted: String,
    pub wanted_title: String,
    /// Its place, if it is among ten.
    pub place: Option<usize>,
    pub found: String,
    pub found_title: String,
    pub found_text: String,
    pub score: f64,
}

/// The whole report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub shape: u32,
    #[serde(flatten)]
    pub figures: Figures,
    pub unanswerable_given: bool,
    /// How many questions found their document first, second … tenth, and not at all, by the last tier.
    pub places: Vec<usize>,
    pub answerable_curve: Vec<roc::Point>,
    pub answerable_chosen: roc::Point,
    pub misses_in_all: usize,
    pub misses: Vec<Miss>,
}

/// One line of `questions.jsonl`.
pub fn line(question: &Question, asked: &Asked) -> serde_json::Value {
    serde_json::json!({
        "id": question.id,
        "question": question.text,
        "document": question.documents,
        "found": asked.documents.last(),
        "score": asked.score,
        "answer_in": asked.quoted,
    })
}

impl Figures {
    /// What is to be said of answers that no quote can hold.
    pub fn unsaid(&self) -> Option<String> {
        let more = if self.answers_not_in_document > self.answers_not_in_document_ids.len() { " …" } else { "" };
        (self.answers_not_in_document > 0).then(|| {
            format!(
                "{} of {} answers are not in the document that their question names, word for word, and count as not \
                 quoted: {}{more}",
                self.answers_not_in_document,
                self.questions_with_answer,
                self.answers_not_in_document_ids.join(", ")
            )
        })
    }
}

impl Report {
    pub fn of(evidence: &Evidence<'_>) -> Self {
        let measured = evidence.measured;
        let places: Vec<Vec<Places>> = (0..evidence.tiers.len()).map(|tier| places(evidence, tier)).collect();
        let scores: Vec<f64> = measured.asked.iter().map(|asked| asked.score).collect();
        let last = places.last().map_or(&[][..], Vec::as_slice);
        let misses = misses(evidence, last);
        Self {
            shape: SHAPE,
            figures: figures(evidence, &places, &scores),
            unanswerable_given: evidence.given,
            places: histogram(last),
            answerable_curve: roc::curve(&scores, &measured.unanswerable),
            answerable_chosen: roc::at(&scores, &measured.unanswerable, measured.answerable_from),
            misses_in_all: misses.len(),
            misses: misses.into_iter().take(MISSES_MAX).collect(),
        }
    }
}

fn places(evidence: &Evidence<'_>, tier: usize) -> Vec<Places> {
    let of = |(asked, question): (&Asked, &Question)| {
        let ranked: Vec<&str> = asked.documents[tier].iter().map(String::as_str).collect();
        Places::of(&ranked, &question.documents)
    };
    evidence.measured.asked.iter().zip(evidence.questions).map(of).collect()
}

fn figures(evidence: &Evidence<'_>, places: &[Vec<Places>], scores: &[f64]) -> Figures {
    let measured = evidence.measured;
    let tier = |wanted: &dyn Fn(&Question) -> bool| -> Vec<TierFigures> {
        let own = |all: &'_ Vec<Places>| -> Vec<Places> {
            let kept = all.iter().zip(evidence.questions).filter(|(_, question)| wanted(question));
            kept.map(|(places, _)| places.clone()).collect()
        };
        let rows = evidence.tiers.iter().zip(places).zip(&measured.costs);
        rows.map(|((tier, all), cost)| TierFigures {
            tier: *tier,
            ranking: Ranking::of(&own(all)),
            cpu_us_per_query: cost.mean_us,
            cpu_us_p99: cost.p99_us,
        })
        .collect()
    };
    let tiers = tier(&|_| true);
    let spoken: std::collections::HashSet<Language> =
        evidence.questions.iter().map(|question| text::language(&question.text)).collect();
    let of_language = |language: Language| {
        let rows = tier(&|question| text::language(&question.text) == language).into_iter();
        (language.tag(), rows.filter(|row| row.tier.serves(language)).collect())
    };
    let languages = spoken.into_iter().map(of_language).collect();
    let quoted: Vec<[bool; QUOTED_MAX]> = measured.asked.iter().filter_map(|asked| asked.quoted).collect();
    let inside = |at: usize| {
        let hits = quoted.iter().filter(|quoted| quoted[at]).count();
        (!quoted.is_empty()).then(|| share(hits, quoted.len()))
    };
    let declined = roc::at(scores, &measured.unanswerable, measured.answerable_from);
    let in_scope = roc::at(scores, &measured.unanswerable, measured.in_scope_from);
    let caught = |point: roc::Point| (!measured.unanswerable.is_empty()).then_some(point.unwanted_caught);
    let unsaid = measured.unsaid.iter().filter_map(|at| evidence.questions.get(*at));
    let cost = measured.costs.last().copied().unwrap_or_default();
    Figures {
        tier: tiers.last().map_or(Tier::Words, |last| last.tier),
        ranking: tiers.last().map(|last| last.ranking).unwrap_or_default(),
        cpu_us_per_query: cost.mean_us,
        cpu_us_p99: cost.p99_us,
        encode_us_per_query: measured.encode_us,
        quote_us_per_query: measured.quote_us,
        documents: evidence.documents.len(),
        passages: evidence.passages,
        indexed_per_second: evidence.passages as f64 / measured.index_seconds.max(1e-6),
        answer_in_1: inside(0),
        answer_in_2: inside(1),
        answer_in_3: inside(2),
        questions_with_answer: quoted.len(),
        answers_not_in_document: measured.unsaid.len(),
        answers_not_in_document_ids: unsaid.take(UNSAID_MAX).map(|question| question.id.clone()).collect(),
        answerable_auroc: roc::area(scores, &measured.unanswerable),
        answerable_from: measured.answerable_from,
        answerable_declined: declined.wanted_lost,
        unanswerable_declined: caught(declined),
        in_scope_from: measured.in_scope_from,
        in_scope_answerable_declined: in_scope.wanted_lost,
        in_scope_unanswerable_declined: caught(in_scope),
        unanswerable: measured.unanswerable.len(),
        tiers,
        languages,
    }
}

fn language(text: &str) -> &'static str {
    text::language(text).tag()
}

fn histogram(places: &[Places]) -> Vec<usize> {
    let mut counts = vec![0; crate::eval::metrics::ranking::DEPTH + 1];
    let not_at_all = counts.len() - 1;
    for own in places {
        counts[own.first_within(not_at_all).map_or(not_at_all, |place| place - 1)] += 1;
    }
    counts
}

/// Questions whose document did not come first; those that were surest of the wrong one first.
fn misses(evidence: &Evidence<'_>, places: &[Places]) -> Vec<Miss> {
    let title = |id: &str| {
        let found = evidence.documents.iter().find(|document| document.id == id);
        found.map(|document| document.title.clone()).unwrap_or_default()
    };
    let rows = evidence.measured.asked.iter().zip(evidence.questions).zip(places);
    let missed = rows.filter(|(_, places)| places.first_within(1).is_none());
    let mut misses: Vec<Miss> = missed
        .map(|((asked, question), places)| {
            let wanted = question.documents.first().cloned().unwrap_or_default();
            let (found, text) = asked.first.clone().unwrap_or_default();
            Miss {
                id: question.id.clone(),
                question: question.text.clone(),
                language: language(&question.text),
                wanted_title: title(&wanted),
                wanted,
                place: places.first_within(crate::eval::metrics::ranking::DEPTH),
                found_title: title(&found),
                found,
                found_text: text.chars().take(SNIPPET_CHARS).collect(),
                score: asked.score,
            }
        })
        .collect();
    misses.sort_by(|a, b| b.score.total_cmp(&a.score));
    misses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_questions_have_no_rows_of_tiers_that_read_none() {
        let serving = |language| {
            [Tier::Words, Tier::Static, Tier::Transformer, Tier::FusedTransformer, Tier::Fused]
                .map(|tier| tier.serves(language))
        };
        assert_eq!(serving(Language::Chinese), [true, false, false, false, true]);
        assert_eq!(serving(Language::English), [true; 5]);
    }
}
