//! PURE: how well each sentence of the found passages answers: its words and its neighbours', its meaning, its passage, its kind.

use std::collections::{HashMap, HashSet};

use super::{
    Meanings,
    asked::{Wanted, wanted},
    passage_number,
};
use crate::{
    response::injection,
    retrieval::Hit,
    text::{self, Language, Script},
};

/// Sentences whose meaning is compared, chosen by the other signs: to encode one costs 0.6–1 ms the first time. With 8
/// the best three hold the answer as often as with 16, and with 5 for 0.3–0.5 points less (XQuAD, the half tuned on).
const COMPARED_MAX: usize = 8;

/// The same where titles ask, where the other signs say less: nearly all of four passages.
const COMPARED_MAX_ASKED: usize = 24;

/// Headings and labels say what follows and answer nothing.
const CHARS_MIN: usize = 12;
const CHARS_MIN_HAN: usize = 5;

/// A sentence's weight stops growing with its length here.
const CHARS_COUNTED_MAX: usize = 300;

/// A score below this says no more than that it is small.
const SCORE_MIN: f32 = 0.01;

/// What each sign is worth, as a logistic choice between the sentences of four passages; fitted to the XQuAD questions
/// whose paragraph has an even number, in each language by itself.
struct Weights {
    /// Shares of the question's words, weighed by rarity: in the sentence; only in the one before it, in its heading or
    /// in the title; only in the one after it.
    words: f32,
    words_before: f32,
    words_after: f32,
    /// Cosine to the question.
    meaning: f32,
    /// What a sentence loses that cannot hold the kind of answer that is wanted.
    lacks: fn(Wanted) -> f32,
    /// How far its passage is behind the best one: in cosine, in the logarithm of BM25, in the logarithm of its score,
    /// and in being another one.
    passage_meaning: f32,
    passage_words: f32,
    passage_score: f32,
    another_passage: f32,
    length: f32,
    /// The first sentence under a title that asks something, which is its answer; more so the more the question is the
    /// title; and the one after it.
    lead: f32,
    lead_asked: f32,
    second: f32,
}

const ENGLISH: Weights = Weights {
    words: 8.7,
    words_before: 5.7,
    words_after: 3.4,
    meaning: 7.4,
    lacks: |wanted| match wanted {
        Wanted::When => 1.5,
        Wanted::Time | Wanted::Money | Wanted::Number => 2.1,
        Wanted::Who | Wanted::Why | Wanted::How => 1.8,
        Wanted::Where => 2.9,
        Wanted::Other => 0.0,
    },
    passage_meaning: 11.2,
    passage_words: 2.3,
    passage_score: 0.0,
    another_passage: 0.2,
    length: 0.5,
    lead: 0.0,
    lead_asked: 0.0,
    second: 0.0,
};

const CHINESE: Weights = Weights {
    words: 14.8,
    words_before: 11.1,
    words_after: 7.5,
    meaning: 7.7,
    lacks: |wanted| match wanted {
        Wanted::When => 2.2,
        Wanted::Time | Wanted::Money | Wanted::Number => 1.5,
        Wanted::Who => 1.7,
        Wanted::Where => 0.2,
        Wanted::Why | Wanted::How => 1.0,
        Wanted::Other => 0.0,
    },
    passage_meaning: 4.3,
    passage_words: 2.0,
    passage_score: 0.0,
    another_passage: 0.8,
    length: 2.8,
    lead: 0.0,
    lead_asked: 0.0,
    second: 0.0,
};

impl Weights {
    /// The same where titles ask: customers say it in words of their own, and any part of an article is about as near as
    /// another. Fitted to the even lines of the demo's questions (`tests/deciding.jsonl`), both languages together, with
    /// a penalty for leaving the others' weights: 76 questions alone would do without words.
    fn for_questions(&self) -> Self {
        Self {
            words: 0.4 * self.words,
            words_before: 0.4 * self.words_before,
            words_after: 0.4 * self.words_after,
            meaning: 1.45 * self.meaning,
            passage_meaning: 0.5 * self.passage_meaning,
            passage_words: 0.45 * self.passage_words,
            passage_score: 0.5,
            another_passage: 0.5,
            lead: 1.7,
            lead_asked: 2.0,
            second: 1.0,
            ..*self
        }
    }
}

/// A sentence that may be quoted.
#[derive(Debug, Clone, PartialEq)]
pub struct Sentence<'a> {
    /// Which hit it stands in.
    pub hit: usize,
    /// Position among all sentences of its passage.
    pub place: usize,
    pub text: &'a str,
    /// A difference of 1 makes a sentence e times as likely to hold the answer.
    pub score: f32,
}

/// A sentence before it is weighed.
struct Candidate<'a> {
    sentence: Sentence<'a>,
    words: HashSet<String>,
    before: HashSet<String>,
    after: HashSet<String>,
    /// Its place in an article whose title asks something.
    answers: Option<usize>,
}

/// What speaks for a sentence before its meaning is compared.
#[derive(Debug)]
struct Signs {
    words: f32,
    words_before: f32,
    words_after: f32,
    lacks: bool,
    passage_meaning: f32,
    passage_words: f32,
    passage_score: f32,
    another_passage: bool,
    length: f32,
    lead: bool,
    lead_asked: f32,
    second: bool,
}

/// The sentences of these hits that say something, best first.
pub fn ranked<'a>(
    question: &str,
    embedding: Option<&[f32]>,
    hits: &[(usize, &'a Hit)],
    meanings: Option<Meanings<'_>>,
    language: Language,
) -> Vec<Sentence<'a>> {
    let weights = if language == Language::Chinese { CHINESE } else { ENGLISH };
    let asks = hits.first().is_some_and(|(_, hit)| asks(&hit.passage.title));
    let weights = &if asks { weights.for_questions() } else { weights };
    let candidates = candidates(hits);
    let mut sentences = weigh(question, hits, candidates, weights);
    sort(&mut sentences);
    if let (Some(embedding), Some(meanings)) = (embedding, meanings) {
        sentences.truncate(if asks { COMPARED_MAX_ASKED } else { COMPARED_MAX });
        for sentence in &mut sentences {
            let hit = hits.iter().find(|(at, _)| *at == sentence.hit);
            let found = hit.and_then(|(_, hit)| (meanings.sentence)(&hit.passage, sentence.place, embedding));
            sentence.score += weights.meaning * found.unwrap_or_default();
        }
        sort(&mut sentences);
    }
    sentences
}

/// Whether a title is a question, which the article answers.
pub fn asks(title: &str) -> bool {
    title.trim_end().ends_with(['?', '？'])
}

fn sort(sentences: &mut [Sentence<'_>]) {
    sentences.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.hit, a.place).cmp(&(b.hit, b.place))));
}

fn candidates<'a>(hits: &[(usize, &'a Hit)]) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for (at, hit) in hits {
        let passage = &hit.passage;
        let said = text::sentences(&passage.text);
        let words: Vec<HashSet<String>> = said.iter().map(|sentence| terms(sentence)).collect();
        let title = terms(&passage.title.replace('_', " "));
        let opens = passage_number(&passage.id) == 1 && asks(&passage.title);
        let mut heading = HashSet::new();
        for (place, text) in said.iter().enumerate() {
            if !says_something(text) {
                heading.clone_from(&words[place]);
                continue;
            }
            let mut before = place.checked_sub(1).map_or_else(HashSet::new, |before| words[before].clone());
            before.extend(title.iter().chain(&heading).cloned());
            found.push(Candidate {
                sentence: Sentence { hit: *at, place, text, score: 0.0 },
                words: words[place].clone(),
                before,
                after: words.get(place + 1).cloned().unwrap_or_default(),
                answers: opens.then_some(place),
            });
        }
    }
    found
}

fn weigh<'a>(
    question: &str,
    hits: &[(usize, &Hit)],
    candidates: Vec<Candidate<'a>>,
    weights: &Weights,
) -> Vec<Sentence<'a>> {
    let wanted = wanted(question);
    let signs = signs(question, wanted, hits, &candidates);
    let score = |signs: &Signs| {
        let held = |holds: bool, weight: f32| if holds { weight } else { 0.0 };
        weights.words * signs.words
            + weights.words_before * signs.words_before
            + weights.words_after * signs.words_after
            + weights.passage_meaning * signs.passage_meaning
            + weights.passage_words * signs.passage_words
            + weights.passage_score * signs.passage_score
            + weights.length * signs.length
            + weights.lead_asked * signs.lead_asked
            + held(signs.lead, weights.lead)
            + held(signs.second, weights.second)
            - held(signs.lacks, (weights.lacks)(wanted))
            - held(signs.another_passage, weights.another_passage)
    };
    let scores: Vec<f32> = signs.iter().map(score).collect();
    candidates.into_iter().zip(scores).map(|(candidate, score)| Sentence { score, ..candidate.sentence }).collect()
}

/// The signs of each candidate, in their order.
fn signs(question: &str, wanted: Wanted, hits: &[(usize, &Hit)], candidates: &[Candidate<'_>]) -> Vec<Signs> {
    let asked = asked_terms(question);
    let mut counts: HashMap<&str, f32> = HashMap::new();
    for word in candidates.iter().flat_map(|candidate| &candidate.words) {
        *counts.entry(word).or_default() += 1.0;
    }
    let total = candidates.len() as f32;
    let rarity = |word: &String| (1.0 + total / (1.0 + counts.get(word.as_str()).copied().unwrap_or_default())).ln();
    let all: f32 = asked.iter().map(rarity).sum::<f32>().max(f32::MIN_POSITIVE);
    let share = |held: &dyn Fn(&String) -> bool| asked.iter().filter(|word| held(word)).map(rarity).sum::<f32>() / all;
    let best_score = hits.iter().map(|(_, hit)| hit.score).fold(SCORE_MIN, f32::max);
    let sign = |Candidate { sentence, words, before, after, answers }: &Candidate<'_>| {
        let hit = hits.iter().find(|(number, _)| *number == sentence.hit).map(|(_, hit)| *hit)?;
        let (first, best) = *hits.first()?;
        let words_score = |hit: &Hit| (1.0 + hit.words_score.max(0.0)).ln();
        let lead = *answers == Some(0);
        Some(Signs {
            words: share(&|word| words.contains(word)),
            words_before: share(&|word| !words.contains(word) && before.contains(word)),
            words_after: share(&|word| !words.contains(word) && !before.contains(word) && after.contains(word)),
            lacks: !wanted.may_be_in(sentence.text, question),
            passage_meaning: hit.meaning_score - best.meaning_score,
            passage_words: words_score(hit) - words_score(best),
            passage_score: (hit.score.max(SCORE_MIN) / best_score).ln(),
            another_passage: first != sentence.hit,
            length: sentence.text.chars().count().min(CHARS_COUNTED_MAX) as f32 / CHARS_COUNTED_MAX as f32,
            lead,
            lead_asked: if lead { likeness(question, &hit.passage.title) } else { 0.0 },
            second: *answers == Some(1),
        })
    };
    candidates.iter().filter_map(sign).collect()
}

/// What share of the question's words is in these texts.
pub fn coverage(question: &str, texts: &[&str]) -> f32 {
    let asked = asked_terms(question.trim_end_matches(ASKED_AT_END));
    let held: HashSet<String> = texts.iter().flat_map(|text| terms(text)).collect();
    asked.intersection(&held).count() as f32 / (asked.len() as f32).max(1.0)
}

/// How much of two short texts is the same, 0..1, of all their words.
fn likeness(one: &str, other: &str) -> f32 {
    let [one, other] = [one, other].map(|text| pieces(text, |_| true));
    let same = one.intersection(&other).count() as f32;
    2.0 * same / ((one.len() + other.len()) as f32).max(1.0)
}

/// Long enough, no question (a FAQ's own question is the nearest neighbour of the customer's and no answer), no lead-in
/// to what follows, and spoken to customers.
fn says_something(sentence: &str) -> bool {
    let han = sentence.chars().any(text::is_han);
    let least = if han { CHARS_MIN_HAN } else { CHARS_MIN };
    let ended = sentence.ends_with(['.', '!', '。', '！', '；', '”', '"', ')', '）']);
    let unsaid = sentence.ends_with(['?', '？', ':', '：']);
    !unsaid && sentence.chars().count() >= if ended { least } else { 3 * least } && !injection::instructs(sentence)
}

/// What a Chinese question ends in.
const ASKED_AT_END: [char; 7] = ['吗', '呢', '么', '不', '？', '?', '。'];

/// English words that carry no content in a question or its answer.
const STOP: &str = "a an the of in on at to from by with for into onto about as and or but if then than so is are was were be been \
    being am do does did done have has had will would shall should can could may might must it its this that these those he \
    she they his her their them we you i not no what which who whom whose when where why how many much there also such one \
    some any other my me your our us please want need get got just still im i'm don't";

/// The words of a question that its answer may share: without those that only say what kind of answer is wanted, so that
/// "how long" does not find "a longer deadline".
fn asked_terms(question: &str) -> HashSet<String> {
    let mut found = terms(question);
    let lower = question.to_lowercase();
    for kind in ["long", "soon", "fast", "old", "far"] {
        if lower.contains(&format!("how {kind}")) {
            found.remove(kind);
        }
    }
    found
}

/// Latin words cut to their stems, and pairs of Han characters.
fn terms(text: &str) -> HashSet<String> {
    pieces(text, |word| !STOP.split_whitespace().any(|stop| stop == word))
}

fn pieces(text: &str, counts: impl Fn(&str) -> bool) -> HashSet<String> {
    let normal = text::normalise(text);
    let mut found = HashSet::new();
    for run in text::runs(&normal) {
        match run.script {
            Script::Word if !counts(run.text) => {}
            Script::Word => {
                found.insert(stem(run.text));
            }
            Script::Han => {
                let chars: Vec<char> = run.text.chars().collect();
                found.extend(chars.windows(2).map(|pair| pair.iter().collect::<String>()));
                found.extend((chars.len() == 1).then(|| run.text.to_owned()));
            }
        }
    }
    found
}

fn stem(word: &str) -> String {
    let word = word.strip_suffix("'s").unwrap_or(word);
    let ends = [
        "ations", "ation", "ements", "ement", "ments", "ment", "ingly", "ings", "ing", "ies", "ied", "ers", "ed", "es",
        "er", "ly", "s", "y", "e",
    ];
    let cut = ends.iter().find_map(|end| word.strip_suffix(end).filter(|rest| rest.len() > 2)).unwrap_or(word);
    match cut.as_bytes() {
        [.., a, b] if a == b && cut.len() > 3 && a.is_ascii() => cut[..cut.len() - 1].to_owned(),
        _ => cut.to_owned(),
    }
}
