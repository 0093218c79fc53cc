//! PURE: how well each sentence of the found passages answers: its words and its neighbours', its meaning, its passage, its kind.

use std::collections::{HashMap, HashSet};

use super::{
    Meanings,
    asked::{Wanted, wanted},
};
use crate::{
    response::injection,
    retrieval::Hit,
    text::{self, Language, Script},
};

/// Sentences whose meaning is compared, chosen by the other signs: to encode one costs 0.6–1 ms the first time. With 8
/// the best three hold the answer as often as with 16, and with 5 for 0.3–0.5 points less (XQuAD, the half tuned on).
const COMPARED_MAX: usize = 8;

/// Headings and labels say what follows and answer nothing.
const CHARS_MIN: usize = 12;
const CHARS_MIN_HAN: usize = 5;

/// A sentence's weight stops growing with its length here.
const CHARS_COUNTED_MAX: usize = 300;

/// What each sign is worth, as a logistic choice between the sentences of four passages; fitted to the XQuAD questions
/// whose paragraph has an even number, in each language by itself.
struct Weights {
    /// Shares of the question's words, weighed by rarity: in the sentence; only in the one before it or in the title;
    /// only in the one after it.
    words: f32,
    words_before: f32,
    words_after: f32,
    /// Cosine to the question.
    meaning: f32,
    /// What a sentence loses that cannot hold the kind of answer that is wanted.
    lacks: fn(Wanted) -> f32,
    /// How far its passage is behind the best one: in cosine, in the logarithm of BM25, and in being another one.
    passage_meaning: f32,
    passage_words: f32,
    another_passage: f32,
    length: f32,
}

const ENGLISH: Weights = Weights {
    words: 8.7,
    words_before: 5.7,
    words_after: 3.4,
    meaning: 7.4,
    lacks: |wanted| match wanted {
        Wanted::When => 1.5,
        Wanted::Number => 2.1,
        Wanted::Who | Wanted::Why => 1.8,
        Wanted::Where => 2.9,
        Wanted::Other => 0.0,
    },
    passage_meaning: 11.2,
    passage_words: 2.3,
    another_passage: 0.2,
    length: 0.5,
};

const CHINESE: Weights = Weights {
    words: 14.8,
    words_before: 11.1,
    words_after: 7.5,
    meaning: 7.7,
    lacks: |wanted| match wanted {
        Wanted::When => 2.2,
        Wanted::Number => 1.5,
        Wanted::Who => 1.7,
        Wanted::Where => 0.2,
        Wanted::Why => 1.0,
        Wanted::Other => 0.0,
    },
    passage_meaning: 4.3,
    passage_words: 2.0,
    another_passage: 0.8,
    length: 2.8,
};

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
}

/// The sentences of these hits that say something, best first.
pub fn ranked<'a>(
    question: &str,
    embedding: Option<&[f32]>,
    hits: &[(usize, &'a Hit)],
    meanings: Option<Meanings<'_>>,
    language: Language,
) -> Vec<Sentence<'a>> {
    let weights = if language == Language::Chinese { &CHINESE } else { &ENGLISH };
    let candidates = candidates(hits);
    let mut sentences = weigh(question, hits, candidates, weights);
    sort(&mut sentences);
    if let (Some(embedding), Some(meanings)) = (embedding, meanings) {
        sentences.truncate(COMPARED_MAX);
        for sentence in &mut sentences {
            let hit = hits.iter().find(|(at, _)| *at == sentence.hit);
            let found = hit.and_then(|(_, hit)| (meanings.sentence)(&hit.passage, sentence.place, embedding));
            sentence.score += weights.meaning * found.unwrap_or_default();
        }
        sort(&mut sentences);
    }
    sentences
}

fn sort(sentences: &mut [Sentence<'_>]) {
    sentences.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.hit, a.place).cmp(&(b.hit, b.place))));
}

fn candidates<'a>(hits: &[(usize, &'a Hit)]) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for (at, hit) in hits {
        let said = text::sentences(&hit.passage.text);
        let words: Vec<HashSet<String>> = said.iter().map(|sentence| terms(sentence)).collect();
        let title = terms(&hit.passage.title.replace('_', " "));
        for (place, text) in said.iter().enumerate().filter(|(_, text)| says_something(text)) {
            let before = place.checked_sub(1).map_or_else(HashSet::new, |before| words[before].clone());
            found.push(Candidate {
                sentence: Sentence { hit: *at, place, text, score: 0.0 },
                words: words[place].clone(),
                before: before.union(&title).cloned().collect(),
                after: words.get(place + 1).cloned().unwrap_or_default(),
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
    let (asked, wanted) = (terms(question), wanted(question));
    let mut counts: HashMap<&str, f32> = HashMap::new();
    for word in candidates.iter().flat_map(|candidate| &candidate.words) {
        *counts.entry(word).or_default() += 1.0;
    }
    let total = candidates.len() as f32;
    let rarity = |word: &String| (1.0 + total / (1.0 + counts.get(word.as_str()).copied().unwrap_or_default())).ln();
    let all: f32 = asked.iter().map(rarity).sum::<f32>().max(f32::MIN_POSITIVE);
    let share = |held: &dyn Fn(&String) -> bool| asked.iter().filter(|word| held(word)).map(rarity).sum::<f32>() / all;
    let weighed = candidates.iter().map(|Candidate { sentence, words, before, after }| {
        let own = share(&|word| words.contains(word));
        let earlier = share(&|word| !words.contains(word) && before.contains(word));
        let later = share(&|word| !words.contains(word) && !before.contains(word) && after.contains(word));
        let lacks = if wanted.may_be_in(sentence.text, question) { 0.0 } else { (weights.lacks)(wanted) };
        let length = sentence.text.chars().count().min(CHARS_COUNTED_MAX) as f32 / CHARS_COUNTED_MAX as f32;
        let score = weights.words * own + weights.words_before * earlier + weights.words_after * later - lacks
            + behind(hits, sentence.hit, weights)
            + weights.length * length;
        Sentence { score, ..sentence.clone() }
    });
    weighed.collect()
}

/// What a sentence loses for its passage not being the best.
fn behind(hits: &[(usize, &Hit)], at: usize, weights: &Weights) -> f32 {
    let (Some((first, best)), Some((_, hit))) = (hits.first(), hits.iter().find(|(number, _)| *number == at)) else {
        return 0.0;
    };
    let words = |hit: &Hit| (1.0 + hit.words_score.max(0.0)).ln();
    let another = if *first == at { 0.0 } else { weights.another_passage };
    weights.passage_meaning * (hit.meaning_score - best.meaning_score)
        + weights.passage_words * (words(hit) - words(best))
        - another
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

/// English words that carry no content in a question or its answer.
const STOP: &str = "a an the of in on at to from by with for into onto about as and or but if then than so is are was were be been \
    being am do does did done have has had will would shall should can could may might must it its this that these those he \
    she they his her their them we you i not no what which who whom whose when where why how many much there also such one \
    some any other";

/// Latin words cut to their stems, and pairs of Han characters.
fn terms(text: &str) -> HashSet<String> {
    let normal = text::normalise(text);
    let mut found = HashSet::new();
    for run in text::runs(&normal) {
        match run.script {
            Script::Word if STOP.split_whitespace().any(|stop| stop == run.text) => {}
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
