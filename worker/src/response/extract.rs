//! PURE: an answer quoted from the knowledge: the two or three sentences that answer the question, in document order.
//!
//! It never invents. An experiment in Python (QUALITY.md) had the answer among the best three sentences for 86–89 % of
//! XQuAD's questions. Sentences are weighed by the question's words, rarest first, and by meaning.

use std::collections::{HashMap, HashSet};

use crate::retrieval::{Hit, Passage};
use crate::text::{self, Language, Script};

/// More reads as a dump.
const SENTENCES_MAX: usize = 3;

/// Longest answer; a sentence that would pass it is left out unless it is the first.
const ANSWER_CHARS_MAX: usize = 480;

/// Passages that are looked at, best first: the answer stands in the first for most questions.
const PASSAGES_MAX: usize = 2;

/// Sentences whose meaning is compared, chosen by their words: to encode one costs about a millisecond the first time.
const SENTENCES_COMPARED_MAX: usize = 5;

/// A further sentence must reach this share of the best one's score.
const KEEP_SHARE: f32 = 0.62;

/// What a sentence loses for standing in a later passage, and in another article than the best: an answer pieced
/// together from two articles reads as one and is right in half.
const PASSAGE_STEP: f32 = 0.15;
const ARTICLE_STEP: f32 = 0.35;

/// Headings and labels say what follows and answer nothing.
const SENTENCE_CHARS_MIN: usize = 12;
const SENTENCE_CHARS_MIN_HAN: usize = 5;

/// A quoted answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extract {
    /// Empty when no hit holds a sentence.
    pub text: String,
    /// Indices into the hits that were quoted, ascending.
    pub citations: Vec<usize>,
}

/// The cosine of an embedding to the sentence at a place of a passage.
type SentenceMeaning<'a> = &'a dyn Fn(&Passage, usize, &[f32]) -> Option<f32>;

/// Where the meanings of sentences are found: where the hits came from keeps them.
#[derive(Clone, Copy)]
pub struct Meanings<'a> {
    pub sentence: SentenceMeaning<'a>,
}

struct Sentence<'a> {
    hit: usize,
    /// Position among all sentences of its passage.
    place: usize,
    text: &'a str,
    score: f32,
}

/// Quotes the sentences of `hits` that answer the question, preferring passages in the customer's language. Without
/// embedding or meanings the words decide.
pub fn extract(
    question: &str,
    question_embedding: Option<&[f32]>,
    hits: &[Hit],
    meanings: Option<Meanings<'_>>,
    language: Language,
) -> Extract {
    let mut sentences = candidates(hits, language);
    weigh_words(question, hits, &mut sentences);
    sentences.sort_by(|a, b| b.score.total_cmp(&a.score));
    sentences.truncate(SENTENCES_COMPARED_MAX);
    if let (Some(embedding), Some(meanings)) = (question_embedding, meanings) {
        for sentence in &mut sentences {
            let passage = &hits[sentence.hit].passage;
            let found = (meanings.sentence)(passage, sentence.place, embedding);
            sentence.score += found.unwrap_or_default().max(0.0);
        }
        sentences.sort_by(|a, b| b.score.total_cmp(&a.score));
    }
    compose(chosen(sentences), hits)
}

/// The sentences to choose from: of the first passages in the customer's language, or of any when there is none.
fn candidates(hits: &[Hit], language: Language) -> Vec<Sentence<'_>> {
    let spoken = |passage: &Passage| passage.language == language;
    let choice = hits.iter().any(|hit| spoken(&hit.passage));
    let eligible = || hits.iter().enumerate().filter(|(_, hit)| !choice || spoken(&hit.passage)).take(PASSAGES_MAX);
    let best = eligible().next().map(|(_, hit)| hit.passage.document.as_str());
    let loss = |rank: usize, passage: &Passage| match rank {
        0 => 0.0,
        _ if best == Some(passage.document.as_str()) => PASSAGE_STEP,
        _ => ARTICLE_STEP,
    };
    eligible()
        .enumerate()
        .flat_map(|(rank, (at, hit))| {
            let sentences = text::sentences(&hit.passage.text).into_iter().enumerate();
            let score = -loss(rank, &hit.passage);
            let said = sentences.filter(|(_, text)| says_something(text));
            said.map(move |(place, text)| Sentence { hit: at, place, text, score })
        })
        .collect()
}

/// Long enough, and no question: a FAQ's own question is the nearest neighbour of the customer's and no answer.
fn says_something(sentence: &str) -> bool {
    let han = sentence.chars().any(text::is_han);
    let least = if han { SENTENCE_CHARS_MIN_HAN } else { SENTENCE_CHARS_MIN };
    let ended = sentence.ends_with(['.', '!', '。', '！', '；', '”', '"', ')', '）']);
    let question = sentence.ends_with(['?', '？']);
    !question && sentence.chars().count() >= if ended { least } else { 3 * least }
}

/// Adds the share of the question's words that a sentence holds, rare words weighing more.
fn weigh_words(question: &str, hits: &[Hit], sentences: &mut [Sentence<'_>]) {
    let asked = words(question);
    let held: Vec<HashSet<String>> = sentences.iter().map(|sentence| words(sentence.text)).collect();
    let mut counts: HashMap<&str, f32> = HashMap::new();
    for word in held.iter().flatten() {
        *counts.entry(word).or_default() += 1.0;
    }
    let total = held.len() as f32;
    let weight = |word: &String| (1.0 + total / (1.0 + counts.get(word.as_str()).copied().unwrap_or_default())).ln();
    // What the title says already is no reason to prefer one of its sentences.
    let titles: HashSet<String> = hits.first().map(|hit| words(&hit.passage.title)).unwrap_or_default();
    let worth = |word: &String| weight(word) * if titles.contains(word) { 0.5 } else { 1.0 };
    let all: f32 = asked.iter().map(&worth).sum();
    for (sentence, held) in sentences.iter_mut().zip(&held) {
        let shared: f32 = asked.intersection(held).map(&worth).sum();
        sentence.score += if all > 0.0 { shared / all } else { 0.0 };
        // Articles open with their answer; this decides between equals only.
        sentence.score += if sentence.place <= 1 { 0.1 } else { 0.0 };
    }
}

/// Latin words, roughly stemmed, and pairs of Han characters.
fn words(text: &str) -> HashSet<String> {
    let normal = text::normalise(text);
    let mut found = HashSet::new();
    for run in text::runs(&normal) {
        match run.script {
            Script::Word => {
                let stem = run.text.trim_end_matches("'s");
                let stem = ["ing", "ed", "es", "s"]
                    .iter()
                    .find_map(|end| stem.strip_suffix(end).filter(|rest| rest.len() > 2));
                found.insert(stem.unwrap_or(run.text).to_owned());
            }
            Script::Han => {
                let chars: Vec<char> = run.text.chars().collect();
                found.extend(chars.windows(2).map(|pair| pair.iter().collect::<String>()));
            }
        }
    }
    found
}

/// The best sentences, of at most two passages, as far as they reach the best one's score and fit.
fn chosen(ranked: Vec<Sentence<'_>>) -> Vec<Sentence<'_>> {
    let best = ranked.first().map_or(0.0, |sentence| sentence.score);
    let mut kept: Vec<Sentence<'_>> = Vec::new();
    let mut chars = 0;
    for sentence in ranked {
        let length = sentence.text.chars().count();
        let repeats = kept.iter().any(|other| other.text == sentence.text);
        let fits = kept.is_empty() || (chars + length <= ANSWER_CHARS_MAX && sentence.score >= KEEP_SHARE * best);
        if fits && !repeats {
            chars += length;
            kept.push(sentence);
        }
        if kept.len() == SENTENCES_MAX {
            break;
        }
    }
    kept.sort_by_key(|sentence| (sentence.hit, sentence.place));
    kept
}

fn compose(sentences: Vec<Sentence<'_>>, hits: &[Hit]) -> Extract {
    let mut answer = Extract::default();
    for sentence in sentences {
        let part = plain(sentence.text);
        let chinese = hits.get(sentence.hit).is_some_and(|hit| hit.passage.language == Language::Chinese);
        if !answer.text.is_empty() && !chinese {
            answer.text.push(' ');
        }
        answer.text.push_str(part);
        if !answer.text.ends_with(['.', '!', '?', '。', '！', '？', '”', '"', ')', '）', '；']) {
            answer.text.push(if chinese { '。' } else { '.' });
        }
        if !answer.citations.contains(&sentence.hit) {
            answer.citations.push(sentence.hit);
        }
    }
    answer
}

/// Without a list's mark or number in front.
fn plain(sentence: &str) -> &str {
    let rest = sentence.trim_start_matches(['-', '*', '•', ' ']);
    match rest.split_once(". ") {
        Some((number, after)) if !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()) => after,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn hit(language: Language, title: &str, text: &str) -> Hit {
        let passage = Passage {
            id: title.to_owned(),
            document: title.to_owned(),
            title: title.to_owned(),
            url: String::new(),
            language,
            text: text.to_owned(),
        };
        Hit { passage: Arc::new(passage), score: 0.9, words_score: 1.0, meaning_score: 0.0 }
    }

    #[test]
    fn the_sentence_that_answers_and_not_the_rest() {
        let hits = [hit(
            Language::English,
            "Returns",
            "How to return\nGoods may be sent back within 30 days. The courier collects them at your door. \
             Gift cards are sold in three designs. Refunds of the purchase price arrive within five working days.",
        )];
        let found = extract("how many days do I have to send goods back", None, &hits, None, Language::English);
        assert!(found.text.starts_with("Goods may be sent back within 30 days."), "{}", found.text);
        assert!(!found.text.contains("three designs") && !found.text.contains("How to return"), "{}", found.text);
        assert_eq!(found.citations, [0]);
    }

    #[test]
    fn chinese_is_joined_without_spaces_and_preferred_by_a_chinese_customer() {
        let hits = [
            hit(Language::English, "Shipping", "Shipping is free from 99 yuan."),
            hit(Language::Chinese, "运费", "运费\n满99元免运费。不满99元收运费10元。门店在上海。"),
        ];
        let found = extract("满多少免运费，不满收运费多少元", None, &hits, None, Language::Chinese);
        assert_eq!(found.text, "满99元免运费。不满99元收运费10元。");
        assert_eq!(found.citations, [1]);
        let only = extract("运费要多少元", None, &hits[..1], None, Language::Chinese);
        assert_eq!(only.text, "Shipping is free from 99 yuan.");
    }

    #[test]
    fn the_best_article_speaks_alone_unless_another_says_it_clearly_better() {
        let hits = [
            hit(Language::English, "Refunds", "Refunds take five working days."),
            hit(Language::English, "Vouchers", "Refunds take ten days when paid with a gift card."),
        ];
        let citations = |question: &str| extract(question, None, &hits, None, Language::English).citations;
        assert_eq!(citations("how long do refunds take"), [0]);
        assert_eq!(citations("I paid with a gift card, ten days?"), [1]);
    }

    #[test]
    fn nothing_in_is_nothing_out() {
        assert_eq!(extract("hi", None, &[], None, Language::English), Extract::default());
        let heading = [hit(Language::English, "A", "Heading")];
        assert_eq!(extract("hi", None, &heading, None, Language::English).text, "");
    }
}
