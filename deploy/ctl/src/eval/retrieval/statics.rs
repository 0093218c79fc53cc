//! A static embedding: words whose vectors were taken from the transformer once, so that a text is read without it.
//!
//! After Model2Vec (MinishLab, 2024): every word is encoded alone, the common ones weigh less (smooth inverse frequency, Arora
//! et al. 2017), and a text is the sum. It is measured beside the encoders and used nowhere.

use std::collections::HashMap;

use talkfleet_worker::{encoder::Transformer, text};

use crate::eval::{meter::spread, progress::bar};

/// Arora's a: a word that makes up this share of the text weighs half.
const COMMON_SHARE: f32 = 1e-3;

pub struct StaticEncoder {
    words: HashMap<String, Vec<f32>>,
    dimensions: usize,
}

impl StaticEncoder {
    /// Knows the words of these texts.
    pub fn distil<'a>(texts: impl Iterator<Item = &'a str>, transformer: &Transformer) -> Self {
        let mut counts: HashMap<String, f32> = HashMap::new();
        for text in texts {
            words(text, |word| *counts.entry(word.to_owned()).or_default() += 1.0);
        }
        let (all, counts): (Vec<String>, Vec<f32>) = counts.into_iter().unzip();
        let total: f32 = counts.iter().sum();
        let bar = bar("reading words", all.len() as u64);
        let mut vectors = spread(&all, |_, word| transformer.encode(word), |n| bar.inc(n)).results;
        bar.finish_and_clear();
        let dimensions = vectors.first().map_or(0, Vec::len);
        let mean: Vec<f32> =
            (0..dimensions).map(|at| vectors.iter().map(|vector| vector[at]).sum::<f32>() / all.len() as f32).collect();
        for (vector, count) in vectors.iter_mut().zip(&counts) {
            let weight = COMMON_SHARE / (COMMON_SHARE + count / total);
            // What all words share says nothing of any of them.
            vector.iter_mut().zip(&mean).for_each(|(value, mean)| *value = (*value - mean) * weight);
        }
        Self { words: all.into_iter().zip(vectors).collect(), dimensions }
    }

    /// Of length one; zeros for a text without a known word.
    pub fn encode(&self, text: &str) -> Vec<f32> {
        let mut sum = vec![0.0; self.dimensions];
        words(text, |word| {
            if let Some(vector) = self.words.get(word) {
                sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
            }
        });
        let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
        if length > 0.0 {
            sum.iter_mut().for_each(|value| *value /= length);
        }
        sum
    }
}

fn words(text: &str, mut each: impl FnMut(&str)) {
    text::runs(&text::normalise(text)).for_each(|run| each(run.text));
}
