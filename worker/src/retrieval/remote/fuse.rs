//! PURE: candidates of a backend become hits, by the ranking of the index in memory.
//!
//! That ranking takes the mean and the deviation of a score from all passages. Here only the candidates are known one by
//! one; the others stand behind them as a background of as many made-up passages as give mean and deviation of the whole.

use std::collections::HashMap;

use super::super::Tuning;
use super::super::rank::{Candidate, Nearest, Signs, Worded, answers, rank};
use super::outline::Spread;
use crate::text::Language;

/// The most made-up passages. More would only serve a base in which one passage stands out by more than 45 deviations,
/// which wins by 30 as well.
const BACKGROUND_MAX: u64 = 2_048;

/// A passage as a backend scored it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundText {
    pub(super) document: String,
    pub(super) ordinal: i32,
    pub(super) language: Language,
    pub(super) words: f32,
    pub(super) meaning: Option<f32>,
}

/// A document with wordings as a backend scored it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundDocument {
    pub(super) language: Language,
    pub(super) words: f32,
    /// Of each of its wordings.
    pub(super) cosines: Vec<f32>,
}

/// Everything a backend found, and how the scores of the whole base are spread by language.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) texts: Vec<FoundText>,
    pub(super) documents: HashMap<String, FoundDocument>,
    pub(super) spreads: HashMap<Language, Spreads>,
    /// What a text of average length would score with all of the query's words in it.
    pub(super) bounds: HashMap<Language, f32>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spreads {
    pub(super) words: Spread,
    pub(super) meaning: Spread,
    pub(super) whole_words: Spread,
    pub(super) wordings: Spread,
}

/// A hit without what it says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fused {
    /// Index into the texts that were found.
    pub(super) text: usize,
    pub(super) score: f32,
    pub(super) words: f32,
    pub(super) meaning: f32,
}

/// The best `count` of what was found; `language` is the customer's, `Other` means any.
pub(super) fn fuse(found: &Found, language: Language, count: usize, by_meaning: bool, tuning: &Tuning) -> Vec<Fused> {
    let speaks = |own: Language| language == Language::Other || own == language;
    let (numbers, mut worded) = documents(found, speaks);
    let candidate = |(slot, text): (usize, &FoundText)| Candidate {
        slot,
        words: text.words,
        meaning: text.meaning,
        worded: numbers.get(text.document.as_str()).copied(),
        same_language: speaks(text.language),
    };
    let mut candidates: Vec<Candidate> = found.texts.iter().enumerate().map(candidate).collect();
    let nearest: Vec<Worded> = worded.clone();
    stand_behind(found, speaks, &mut candidates, &mut worded);
    let all = candidates.len();
    let ranked = rank(&candidates, &worded, all, tuning).into_iter();
    let hit = |ranked: super::super::rank::Ranked| {
        let Candidate { slot, words, meaning, worded: document, .. } = ranked.candidate;
        let text = found.texts.get(slot)?;
        let wording = document.and_then(|document| nearest[document].meaning);
        let bound = found.bounds.get(&text.language).filter(|bound| **bound > 0.0);
        let coverage = bound.map_or(0.0, |bound| (words / bound).min(1.0));
        let score = answers(&Signs { meaning, wording, coverage, mixed: ranked.mixed });
        let asked = document.is_some_and(|document| nearest[document].words > 0.0);
        let matches = words > 0.0 || asked || by_meaning;
        matches.then(|| Fused { text: slot, score, words, meaning: meaning.unwrap_or_default() })
    };
    ranked.filter_map(hit).take(count).collect()
}

/// Numbers of the documents that bring wordings, and their scores by that number.
fn documents(found: &Found, speaks: impl Fn(Language) -> bool) -> (HashMap<&str, usize>, Vec<Worded>) {
    let (mut numbers, mut worded) = (HashMap::new(), Vec::new());
    for (name, document) in &found.documents {
        let mut near = Nearest::default();
        document.cosines.iter().for_each(|cosine| near.add(*cosine));
        numbers.insert(name.as_str(), worded.len());
        worded.push(Worded {
            words: document.words,
            meaning: near.together(),
            same_language: speaks(document.language),
        });
    }
    (numbers, worded)
}

/// Adds the background to both lists.
fn stand_behind(
    found: &Found,
    speaks: impl Fn(Language) -> bool,
    candidates: &mut Vec<Candidate>,
    worded: &mut Vec<Worded>,
) {
    // As the ranking does: the customer's language counts, or all when the base holds nothing in it.
    let whole = |pick: fn(&Spreads) -> Spread, same: bool| {
        let of = found.spreads.iter().filter(|(language, _)| !same || speaks(**language));
        of.map(|(_, own)| pick(own)).fold(Spread::default(), Spread::and)
    };
    let same = whole(|own| own.words, true).count > 0 || candidates.iter().any(|one| one.same_language);
    let known = |pick: fn(&Candidate) -> Option<f32>| -> Vec<f32> {
        candidates.iter().filter(|one| one.same_language || !same).filter_map(pick).collect()
    };
    let words = Background::of(&known(|one| Some(one.words)), whole(|own| own.words, same));
    let meaning = Background::of(&known(|one| one.meaning), whole(|own| own.meaning, same));
    for at in 0..words.count.max(meaning.count) {
        let meaning = (at < meaning.count).then(|| meaning.at(at));
        let words = words.at(at);
        candidates.push(Candidate { slot: usize::MAX, words, meaning, worded: None, same_language: same });
    }
    let same = whole(|own| own.whole_words, true).count > 0 || worded.iter().any(|one| one.same_language);
    let known = |pick: fn(&Worded) -> Option<f32>| -> Vec<f32> {
        worded.iter().filter(|one| one.same_language || !same).filter_map(pick).collect()
    };
    let words = Background::of(&known(|one| Some(one.words)), whole(|own| own.whole_words, same));
    let meaning = Background::of(&known(|one| one.meaning), whole(|own| own.wordings, same));
    for at in 0..words.count.max(meaning.count) {
        let meaning = (at < meaning.count).then(|| meaning.at(at));
        worded.push(Worded { words: words.at(at), meaning, same_language: same });
    }
}

/// Made-up scores: half of them below, half above.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Background {
    count: u64,
    mean: f64,
    deviation: f64,
}

impl Background {
    /// Such that `known` and these together have the number, mean and deviation of the whole.
    fn of(known: &[f32], whole: Spread) -> Self {
        let count = whole.count.saturating_sub(known.len() as u64).min(BACKGROUND_MAX);
        if count == 0 {
            return Self { count: 0, mean: whole.mean, deviation: 0.0 };
        }
        let (mut sum, mut squares) = (0.0, 0.0);
        for score in known.iter().map(|score| f64::from(*score)) {
            sum += score;
            squares += score * score;
        }
        let total = (count + known.len() as u64) as f64;
        let mean = (total * whole.mean - sum) / count as f64;
        let square = (total * (whole.deviation.powi(2) + whole.mean.powi(2)) - squares) / count as f64;
        Self { count, mean, deviation: (square - mean * mean).max(0.0).sqrt() }
    }

    fn at(&self, at: u64) -> f32 {
        let side = if at.is_multiple_of(2) { -1.0 } else { 1.0 };
        // An odd one out stands in the middle.
        let side = if at + 1 == self.count && self.count % 2 == 1 { 0.0 } else { side };
        (self.mean + side * self.deviation) as f32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spread(scores: &[f32]) -> Spread {
        let sums = scores.iter().fold((0.0, 0.0), |(s, q), x| (s + f64::from(*x), q + f64::from(*x) * f64::from(*x)));
        Spread::of_sums(scores.len() as u64, sums.0, sums.1)
    }

    proptest! {
        #[test]
        fn candidates_and_background_are_spread_like_the_whole(
            mut scores in prop::collection::vec(0.0_f32..5.0, 20..200), kept in 1usize..15,
        ) {
            scores.sort_by(|a, b| b.total_cmp(a));
            let whole = spread(&scores);
            let background = Background::of(&scores[..kept], whole);
            let mut all = scores[..kept].to_vec();
            all.extend((0..background.count).map(|at| background.at(at)));
            let again = spread(&all);
            prop_assert_eq!(again.count, whole.count);
            prop_assert!((again.mean - whole.mean).abs() < 0.02, "{again:?} for {whole:?}");
            prop_assert!((again.deviation - whole.deviation).abs() < 0.05, "{again:?} for {whole:?}");
        }
    }

    fn text(document: &str, words: f32, meaning: f32) -> FoundText {
        FoundText { document: document.into(), ordinal: 0, language: Language::English, words, meaning: Some(meaning) }
    }

    #[test]
    fn few_candidates_score_as_they_would_among_all() {
        let all: Vec<FoundText> = (0..100)
            .map(|n| text(&format!("d{n}"), if n < 5 { 9.0 - n as f32 } else { 0.0 }, 0.5 - n as f32 / 200.0))
            .collect();
        let column = |pick: fn(&FoundText) -> f32| spread(&all.iter().map(pick).collect::<Vec<_>>());
        let spreads = Spreads {
            words: column(|text| text.words),
            meaning: column(|text| text.meaning.unwrap_or_default()),
            ..Spreads::default()
        };
        let bounds = HashMap::from([(Language::English, 12.0)]);
        let hits = |texts: Vec<FoundText>, spreads| {
            let spreads = HashMap::from([(Language::English, spreads)]);
            let found = Found { texts, documents: HashMap::new(), spreads, bounds: bounds.clone() };
            fuse(&found, Language::English, 4, true, &Tuning::default())
        };
        let whole = hits(all.clone(), Spreads::default());
        let few = hits(all[..8].to_vec(), spreads);
        for (a, b) in whole.iter().zip(&few) {
            assert_eq!(a.text, b.text);
            assert!((a.score - b.score).abs() < 0.01, "{} for {}", b.score, a.score);
        }
        assert_eq!((whole.len(), few.len()), (4, 4));
    }

    #[test]
    fn nothing_found_is_nothing() {
        assert!(fuse(&Found::default(), Language::Other, 4, true, &Tuning::default()).is_empty());
    }
}
