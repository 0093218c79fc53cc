//! PURE: candidates of a backend become hits, by the ranking of the index in memory.
//!
//! That ranking takes the mean and the deviation of a score from all passages; here they come with the candidates.

use std::collections::HashMap;

use super::super::Tuning;
use super::super::answerable::{Signs, answers};
use super::super::rank::{self, Candidate, Nearest, Ranked, WORDED_MIN, Worded, rank};
use super::outline::Spread;
use crate::text::Language;

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
    let held = found.spreads.iter().any(|(own, spreads)| speaks(*own) && spreads.words.count > 0);
    let any_same = held || found.texts.iter().any(|text| speaks(text.language));
    // As in memory: the customer's language counts, or all when the base holds nothing in it.
    let spread = |pick: fn(&Spreads) -> Spread| {
        let counted = found.spreads.iter().filter(|(own, _)| !any_same || speaks(**own));
        let whole = counted.map(|(_, spreads)| pick(spreads)).fold(Spread::default(), Spread::and);
        rank::Spread { mean: whole.mean as f32, deviation: whole.deviation as f32 }
    };
    let counted = found.spreads.iter().filter(|(own, _)| !any_same || speaks(**own));
    let worded_count: u64 = counted.map(|(_, spreads)| spreads.whole_words.count).sum();
    let (whole_words, wordings) = if worded_count < WORDED_MIN as u64 {
        (spread(|own| own.words), spread(|own| own.meaning))
    } else {
        (spread(|own| own.whole_words), spread(|own| own.wordings))
    };
    let candidate = |(slot, text): (usize, &FoundText)| Candidate {
        slot,
        words: text.words,
        meaning: text.meaning,
        deep: None,
        wordings: found
            .documents
            .get(&text.document)
            .map(|document| worded(document).deviations(whole_words, wordings)),
        same_language: speaks(text.language),
    };
    let candidates: Vec<Candidate> = found.texts.iter().enumerate().map(candidate).collect();
    let spreads = rank::Spreads {
        words: spread(|own| own.words),
        meaning: spread(|own| own.meaning),
        deep: rank::Spread::default(),
        any_same,
    };
    let counted = found.spreads.iter().filter(|(own, _)| !any_same || speaks(**own));
    let passages = counted.map(|(_, spreads)| spreads.words.count).sum::<u64>() as usize;
    let hit = |ranked: Ranked| {
        let Candidate { slot, words, meaning, .. } = ranked.candidate;
        let text = found.texts.get(slot)?;
        let document = found.documents.get(&text.document).map(worded);
        let bound = found.bounds.get(&text.language).filter(|bound| **bound > 0.0);
        let coverage = bound.map_or(0.0, |bound| (words / bound).min(1.0));
        let wording = document.and_then(|document| document.meaning);
        let score = answers(&Signs { meaning, wording, coverage, mixed: ranked.mixed, passages });
        let asked = document.is_some_and(|document| document.words > 0.0);
        let matches = words > 0.0 || asked || by_meaning;
        matches.then(|| Fused { text: slot, score, words, meaning: meaning.unwrap_or_default() })
    };
    rank(&candidates, &spreads, candidates.len(), tuning).into_iter().filter_map(hit).take(count).collect()
}

fn worded(document: &FoundDocument) -> Worded {
    let mut near = Nearest::default();
    document.cosines.iter().for_each(|cosine| near.add(*cosine));
    Worded { words: document.words, meaning: near.together(), counts: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(scores: &[f32]) -> Spread {
        let sums = scores.iter().fold((0.0, 0.0), |(s, q), x| (s + f64::from(*x), q + f64::from(*x) * f64::from(*x)));
        Spread::of_sums(scores.len() as u64, sums.0, sums.1)
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
        let whole = hits(all.clone(), spreads);
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
