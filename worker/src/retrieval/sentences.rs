//! The meanings of a passage's sentences, each encoded when it is first asked for and kept as long as the passage.

use std::sync::OnceLock;

use super::Passage;
use crate::encoder::Encoder;
use crate::text;

/// By place in the passage. A byte a number: half a kilobyte a sentence, so that 10,000 passages that were all quoted
/// keep about 30 MB.
pub(super) struct Sentences(Box<[OnceLock<Coarse>]>);

/// An embedding whose numbers are rounded to 255 steps; cosines are within 0.003 of the exact ones.
struct Coarse {
    numbers: Box<[i8]>,
    step: f32,
}

impl Sentences {
    pub(super) fn of(passage: &Passage) -> Self {
        Self(text::sentences(&passage.text).iter().map(|_| OnceLock::new()).collect())
    }

    /// The cosine to the nearest sentence of `text`, which is the passage's.
    pub(super) fn best(&self, text: &str, query: &[f32], encoder: &Encoder) -> Option<f32> {
        let cosines = (0..self.0.len()).filter_map(|place| self.cosine(text, place, query, encoder));
        cosines.max_by(f32::total_cmp)
    }

    /// The cosine to the sentence at `place` of `text`, which is the passage's; None when it has fewer.
    pub(super) fn cosine(&self, text: &str, place: usize, query: &[f32], encoder: &Encoder) -> Option<f32> {
        let kept = self.0.get(place)?;
        let sentence = || text::sentences(text).get(place).map_or_else(Vec::new, |text| encoder.encode(text));
        Some(kept.get_or_init(|| Coarse::of(&sentence())).cosine(query))
    }
}

impl Coarse {
    fn of(embedding: &[f32]) -> Self {
        let largest = embedding.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
        let step = largest / f32::from(i8::MAX);
        Self { numbers: embedding.iter().map(|value| (value / step).round() as i8).collect(), step }
    }

    fn cosine(&self, query: &[f32]) -> f32 {
        self.step * self.numbers.iter().zip(query).map(|(number, value)| f32::from(*number) * value).sum::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::{DIMENSIONS, cosine};

    #[test]
    fn a_rounded_embedding_is_close_to_the_exact_one() {
        let vector = |seed: usize| -> Vec<f32> {
            let raw: Vec<f32> = (0..DIMENSIONS).map(|i| ((i * 31 + seed * 17) % 101) as f32 - 50.0).collect();
            let length = cosine(&raw, &raw).sqrt();
            raw.iter().map(|x| x / length).collect()
        };
        for seed in 0..20 {
            let exact = cosine(&vector(seed), &vector(7));
            assert!((Coarse::of(&vector(seed)).cosine(&vector(7)) - exact).abs() < 0.003);
        }
    }
}
