//! PURE: what the answers come to: each held against its label, the figures of `--json`, and the verdict.

use std::collections::BTreeMap;

use serde::Serialize;
use talkfleet_shared::chat::{Answer, Kind, Passage};
use talkfleet_worker::text;

use super::{
    ask::Asked,
    data::{Expect, Question},
    figures::{Figure, Threshold},
    grounded,
};
use crate::{
    eval::{metrics::classes::share, retrieval::holds},
    gate::{Check, Found, State},
    replay::report::stats::{percentile, wilson},
};

/// The shape of `report.json`.
const SHAPE: u32 = 1;

/// Wrong answers that are listed.
const CASES_MAX: usize = 80;

/// What the model charges for 1,000 tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Prices {
    pub prompt: f64,
    pub completion: f64,
}

/// One answer held against its label; None where the label says nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judged {
    pub kind: Option<bool>,
    pub cited: Option<bool>,
    pub cited_first: Option<bool>,
    pub holds: Option<bool>,
    /// Of answers from the knowledge: sentences that nothing supports.
    pub unsupported: Option<Vec<String>>,
}

/// The figures, flat, by names that stay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    pub questions: usize,
    /// How many came out so.
    pub answered: usize,
    pub refused: usize,
    pub handed_over: usize,
    pub small_talk: usize,
    pub failed: usize,
    /// Shares of what is labelled; null where nothing is.
    pub as_expected: Option<f64>,
    pub citation_right: Option<f64>,
    pub citation_first: Option<f64>,
    pub answer_holds: Option<f64>,
    pub grounded: Option<f64>,
    pub refused_wrongly: Option<f64>,
    pub answered_wrongly: Option<f64>,
    pub latency_p50_ms: f64,
    pub latency_p90_ms: f64,
    pub latency_p99_ms: f64,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub cost: f64,
    /// Expected against what came.
    pub kinds: BTreeMap<&'static str, BTreeMap<&'static str, usize>>,
    pub rungs: BTreeMap<&'static str, usize>,
    pub languages: BTreeMap<&'static str, LanguageFigures>,
    pub passed: bool,
    pub checks: Vec<Check<Figure>>,
}

/// The questions of one language.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LanguageFigures {
    pub questions: usize,
    pub as_expected: Option<f64>,
    pub citation_right: Option<f64>,
    pub answer_holds: Option<f64>,
    pub grounded: Option<f64>,
}

/// One answer that is not as it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Case {
    pub id: String,
    pub question: String,
    pub why: Vec<String>,
    pub expected: String,
    pub kind: String,
    pub intent: String,
    pub text: String,
    pub cited: Vec<String>,
}

/// The whole report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub shape: u32,
    #[serde(flatten)]
    pub figures: Figures,
    pub tenant: String,
    /// What the operator should look at first.
    pub remark: Option<String>,
    pub wrong_in_all: usize,
    pub cases: Vec<Case>,
}

/// Holds one answer against its label.
pub fn judge(question: &Question, asked: &Asked) -> Judged {
    let Some(answer) = &asked.answer else {
        return Judged {
            kind: question.expect.map(|_| false),
            cited: (!question.documents.is_empty()).then_some(false),
            cited_first: (!question.documents.is_empty()).then_some(false),
            holds: (!question.answers.is_empty()).then_some(false),
            unsupported: None,
        };
    };
    let cited = cited(answer, &asked.passages);
    let right = |citation: &Cited<'_>| question.documents.iter().any(|wanted| citation.is(wanted));
    // Whoever asks for a person gets one, and no article.
    let handed = question.expect == Some(Expect::Handover) && answer.kind == Kind::Handover;
    let labelled = !question.documents.is_empty() && !handed;
    let passages: Vec<&str> = cited.iter().flat_map(|citation| citation.texts.iter().copied()).collect();
    Judged {
        kind: question.expect.map(|expect| expect.kind() == answer.kind),
        cited: labelled.then(|| cited.iter().any(right)),
        cited_first: labelled.then(|| cited.first().is_some_and(right)),
        holds: (!question.answers.is_empty()).then(|| holds(&answer.text, &question.answers)),
        unsupported: (answer.kind == Kind::Answer).then(|| grounded::unsupported(&answer.text, &passages)),
    }
}

/// A citation with what the turn saw of its article.
struct Cited<'a> {
    title: &'a str,
    url: &'a str,
    documents: Vec<&'a str>,
    texts: Vec<&'a str>,
}

impl Cited<'_> {
    fn is(&self, wanted: &str) -> bool {
        let last = self.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        // A file's name without its ending is how its article is often called.
        let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
        self.title == wanted || last == wanted || stem == wanted || self.documents.contains(&wanted)
    }
}

fn cited<'a>(answer: &'a Answer, passages: &'a [Passage]) -> Vec<Cited<'a>> {
    let of = |citation: &'a talkfleet_shared::chat::Citation| {
        let own = passages.iter().filter(|one| one.url == citation.url && one.title == citation.title);
        let mut texts: Vec<&str> = own.clone().map(|passage| passage.text.as_str()).collect();
        texts.extend([citation.snippet.as_str(), citation.title.as_str()]);
        Cited {
            title: &citation.title,
            url: &citation.url,
            documents: own.map(|passage| passage.document.as_str()).collect(),
            texts,
        }
    };
    answer.citations.iter().map(of).collect()
}

impl Report {
    pub fn of(tenant: &str, questions: &[Question], asked: &[Asked], prices: Prices, thresholds: &[Threshold]) -> Self {
        let judged: Vec<Judged> = questions.iter().zip(asked).map(|(question, asked)| judge(question, asked)).collect();
        let rows: Vec<Row<'_>> = questions.iter().zip(asked).zip(&judged).map(|((q, a), j)| Row(q, a, j)).collect();
        let cases: Vec<Case> = rows.iter().filter_map(case).collect();
        let figures = figures(&rows, prices, thresholds);
        let empty = (figures.questions > 0 && figures.refused == figures.questions).then(|| {
            format!(
                "every question was refused: `talkfleet knowledge list --tenant {tenant}` tells whether {tenant} knows anything"
            )
        });
        Self {
            shape: SHAPE,
            figures,
            tenant: tenant.to_owned(),
            remark: empty,
            wrong_in_all: cases.len(),
            cases: cases.into_iter().take(CASES_MAX).collect(),
        }
    }
}

/// A question, what came of it, and how that is judged.
struct Row<'a>(&'a Question, &'a Asked, &'a Judged);

impl Row<'_> {
    fn came(&self) -> &'static str {
        self.1.answer.as_ref().map_or("failed", |answer| answer.kind.name())
    }
}

/// Of those that are labelled, how many hold, and how many there are.
fn held<'a>(rows: impl Iterator<Item = &'a Row<'a>>, read: impl Fn(&Row<'_>) -> Option<bool>) -> (usize, usize) {
    rows.filter_map(read).fold((0, 0), |(held, all), one| (held + usize::from(one), all + 1))
}

fn part((held, all): (usize, usize)) -> Option<f64> {
    (all > 0).then(|| share(held, all))
}

fn is_grounded(row: &Row<'_>) -> Option<bool> {
    row.2.unsupported.as_ref().map(Vec::is_empty)
}

fn refused(row: &Row<'_>) -> Option<bool> {
    (row.0.expect == Some(Expect::Answer)).then(|| row.came() == Kind::Refusal.name())
}

fn answered(row: &Row<'_>) -> Option<bool> {
    (row.0.expect == Some(Expect::Refusal)).then(|| row.came() == Kind::Answer.name())
}

fn figures(rows: &[Row<'_>], prices: Prices, thresholds: &[Threshold]) -> Figures {
    let came = |kind: &str| rows.iter().filter(|row| row.came() == kind).count();
    let mut latencies: Vec<f64> =
        rows.iter().filter(|row| row.1.answer.is_some()).map(|row| row.1.latency_ms).collect();
    latencies.sort_by(f64::total_cmp);
    let tokens = |read: fn(&talkfleet_shared::chat::Usage) -> u32| -> u64 {
        rows.iter().filter_map(|row| row.1.usage.as_ref()).map(|usage| u64::from(read(usage))).sum()
    };
    let (prompt_tokens, completion_tokens) =
        (tokens(|usage| usage.prompt_tokens), tokens(|usage| usage.completion_tokens));
    let (mut kinds, mut rungs) = (BTreeMap::<_, BTreeMap<_, usize>>::new(), BTreeMap::new());
    for row in rows {
        let expected = row.0.expect.map_or("not labelled", Expect::name);
        *kinds.entry(expected).or_default().entry(row.came()).or_default() += 1;
        if let Some(answer) = &row.1.answer {
            *rungs.entry(answer.rung.name()).or_default() += 1;
        }
    }
    let checks: Vec<Check<Figure>> = thresholds
        .iter()
        .filter_map(|threshold| {
            Some(Check::of(threshold.figure, threshold.limit?, found(threshold.figure, rows, &latencies)))
        })
        .collect();
    Figures {
        questions: rows.len(),
        answered: came(Kind::Answer.name()),
        refused: came(Kind::Refusal.name()),
        handed_over: came(Kind::Handover.name()),
        small_talk: came(Kind::SmallTalk.name()),
        failed: came("failed"),
        as_expected: part(held(rows.iter(), |row| row.2.kind)),
        citation_right: part(held(rows.iter(), |row| row.2.cited)),
        citation_first: part(held(rows.iter(), |row| row.2.cited_first)),
        answer_holds: part(held(rows.iter(), |row| row.2.holds)),
        grounded: part(held(rows.iter(), is_grounded)),
        refused_wrongly: part(held(rows.iter(), refused)),
        answered_wrongly: part(held(rows.iter(), answered)),
        latency_p50_ms: percentile(&latencies, 0.5),
        latency_p90_ms: percentile(&latencies, 0.9),
        latency_p99_ms: percentile(&latencies, 0.99),
        prompt_tokens,
        completion_tokens,
        cost: (prompt_tokens as f64 * prices.prompt + completion_tokens as f64 * prices.completion) / 1_000.0,
        kinds,
        rungs,
        languages: languages(rows),
        passed: checks.iter().all(|check| check.state != State::Fail),
        checks,
    }
}

/// A figure for the gate: rates are of what is labelled, with Wilson's interval.
fn found(figure: Figure, rows: &[Row<'_>], latencies: &[f64]) -> Found {
    let not = |(held, all): (usize, usize)| (all - held, all);
    let (hits, all) = match figure {
        Figure::Failures => (rows.iter().filter(|row| row.1.answer.is_none()).count(), rows.len()),
        Figure::WrongKind => not(held(rows.iter(), |row| row.2.kind)),
        Figure::RefusedWrongly => held(rows.iter(), refused),
        Figure::AnsweredWrongly => held(rows.iter(), answered),
        Figure::WrongCitation => not(held(rows.iter(), |row| row.2.cited)),
        Figure::MissingAnswer => not(held(rows.iter(), |row| row.2.holds)),
        Figure::Ungrounded => not(held(rows.iter(), is_grounded)),
        Figure::LatencyP50Ms => return Found::plain(percentile(latencies, 0.5)),
        Figure::LatencyP99Ms => return Found::plain(percentile(latencies, 0.99)),
    };
    Found { interval: (all > 0).then(|| wilson(hits, all)), ..Found::plain(share(hits, all)) }
}

fn languages(rows: &[Row<'_>]) -> BTreeMap<&'static str, LanguageFigures> {
    let tag = |row: &Row<'_>| text::language(row.0.text.as_str()).tag();
    let tags: std::collections::BTreeSet<&'static str> = rows.iter().map(tag).collect();
    let figures = |wanted: &'static str| {
        let own = || rows.iter().filter(move |row| tag(row) == wanted);
        LanguageFigures {
            questions: own().count(),
            as_expected: part(held(own(), |row| row.2.kind)),
            citation_right: part(held(own(), |row| row.2.cited)),
            answer_holds: part(held(own(), |row| row.2.holds)),
            grounded: part(held(own(), is_grounded)),
        }
    };
    tags.into_iter().map(|tag| (tag, figures(tag))).collect()
}

/// What is wrong with an answer, if anything is.
fn case(row: &Row<'_>) -> Option<Case> {
    let Row(question, asked, judged) = row;
    let mut why = Vec::new();
    if !asked.problem.is_empty() {
        why.push(format!("no answer: {}", asked.problem));
    }
    let expected = question.expect.map_or("anything", Expect::name);
    if judged.kind == Some(false) && asked.answer.is_some() {
        why.push(format!("{} instead of {expected}", row.came().replace('_', " ")));
    }
    if judged.cited == Some(false) && asked.answer.is_some() {
        why.push(format!("does not cite {}", question.documents.join(" or ")));
    }
    if judged.holds == Some(false) && asked.answer.is_some() {
        why.push(format!("does not say \"{}\"", question.answers.join("\" or \"")));
    }
    why.extend(judged.unsupported.iter().flatten().map(|sentence| format!("no passage supports \"{sentence}\"")));
    let answer = asked.answer.as_ref();
    (!why.is_empty()).then(|| Case {
        id: question.id.clone(),
        question: question.text.as_str().to_owned(),
        why,
        expected: expected.to_owned(),
        kind: row.came().to_owned(),
        intent: answer.map(|answer| answer.intent.name.clone()).unwrap_or_default(),
        text: answer.map(|answer| answer.text.clone()).unwrap_or_default(),
        cited: answer.map(|answer| answer.citations.iter().map(|one| one.title.clone()).collect()).unwrap_or_default(),
    })
}
