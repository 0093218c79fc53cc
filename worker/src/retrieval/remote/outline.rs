//! PURE: how the scores of a base that nobody holds as a whole are spread: its numbers, and a sample of its embeddings.

use std::collections::HashMap;

use super::super::rank::Nearest;
use crate::encoder::Scan;
use crate::store::{Count, Sampled};
use crate::text::Language;

/// What is known of a base beside what a search finds.
#[derive(Default)]
pub struct Outline(HashMap<Language, OfLanguage>);

#[derive(Default)]
struct OfLanguage {
    passages: u64,
    embedded: u64,
    /// Documents that bring wordings.
    worded: u64,
    sample: Scan,
    wordings: Scan,
    /// Which sampled document each wording belongs to.
    wordings_of: Vec<usize>,
    worded_sampled: usize,
}

/// Number, mean and deviation of a score.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Spread {
    pub(super) count: u64,
    pub(super) mean: f64,
    pub(super) deviation: f64,
}

impl Spread {
    /// Of scores whose sum and sum of squares are known; those that are not in the sums are 0.
    pub(super) fn of_sums(count: u64, sum: f64, squares: f64) -> Self {
        let (n, mean) = (count.max(1) as f64, sum / count.max(1) as f64);
        Self { count, mean, deviation: (squares / n - mean * mean).max(0.0).sqrt() }
    }

    /// As if `count` scores were spread like these.
    fn of_sample(count: u64, sample: &[f32]) -> Self {
        let sums = sample.iter().map(|score| f64::from(*score)).fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
        Self { count, ..Self::of_sums(sample.len() as u64, sums.0, sums.1) }
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        let sums = |spread: Self| {
            let n = spread.count as f64;
            (n * spread.mean, n * (spread.deviation.powi(2) + spread.mean.powi(2)))
        };
        let ((s, q), (t, r)) = (sums(self), sums(other));
        Self::of_sums(self.count + other.count, s + t, q + r)
    }
}

impl Outline {
    pub(super) fn new(counts: &[Count], passages: &[Sampled], wordings: &[Sampled]) -> Self {
        let mut outline = Self::default();
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        for counted in counts {
            let own = outline.0.entry(counted.language).or_default();
            (own.passages, own.embedded) = (count(counted.passages), count(counted.embedded));
            own.worded = count(counted.worded);
        }
        for passage in passages {
            outline.0.entry(passage.language).or_default().sample.push(&passage.embedding);
        }
        let mut last: HashMap<Language, &str> = HashMap::new();
        for wording in wordings {
            let own = outline.0.entry(wording.language).or_default();
            if last.insert(wording.language, &wording.document) != Some(&wording.document) {
                own.worded_sampled += 1;
            }
            own.wordings.push(&wording.embedding);
            own.wordings_of.push(own.worded_sampled - 1);
        }
        outline
    }

    /// Passages in the base.
    pub fn passages(&self) -> usize {
        self.0.values().map(|own| own.passages).sum::<u64>() as usize
    }

    pub(super) fn languages(&self) -> impl Iterator<Item = Language> {
        self.0.keys().copied()
    }

    pub(super) fn passages_in(&self, language: Language) -> u64 {
        self.0.get(&language).map_or(0, |own| own.passages)
    }

    pub(super) fn worded_in(&self, language: Language) -> u64 {
        self.0.get(&language).map_or(0, |own| own.worded)
    }

    /// How the cosines of all passages of a language to this embedding are spread.
    pub(super) fn meanings(&self, language: Language, embedding: &[f32]) -> Spread {
        let own = |own: &OfLanguage| Spread::of_sample(own.embedded, &own.sample.cosines(embedding));
        self.0.get(&language).map(own).unwrap_or_default()
    }

    /// The same of the documents' nearest wordings.
    pub(super) fn wordings(&self, language: Language, embedding: &[f32]) -> Spread {
        let own = |own: &OfLanguage| {
            let mut near = vec![Nearest::default(); own.worded_sampled];
            for (document, cosine) in own.wordings_of.iter().zip(own.wordings.cosines(embedding)) {
                near[*document].add(cosine);
            }
            let near: Vec<f32> = near.into_iter().filter_map(Nearest::together).collect();
            Spread::of_sample(own.worded, &near)
        };
        self.0.get(&language).map(own).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spreads_together_are_the_spread_of_all() {
        let spread = |scores: &[f32]| Spread::of_sample(scores.len() as u64, scores);
        let both = spread(&[1.0, 2.0, 6.0]).and(spread(&[0.0, 1.0]));
        let all = spread(&[1.0, 2.0, 6.0, 0.0, 1.0]);
        assert_eq!(both.count, 5);
        assert!((both.mean - all.mean).abs() < 1e-9 && (both.deviation - all.deviation).abs() < 1e-9);
        assert_eq!(Spread::of_sums(0, 0.0, 0.0), Spread::default());
    }
}
