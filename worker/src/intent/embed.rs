//! The embeddings of a training set: every text is encoded once, on all cores.

use crate::encoder::{Encoders, TRANSFORMER_DIMENSIONS};

use super::tier::known_to_transformer;

/// Texts that one thread encodes between two words of progress.
const CHUNK: usize = 64;

/// One row a text; empty where there is no such encoder.
#[derive(Default)]
pub(super) struct Embeddings {
    pub(super) multilingual: Vec<Vec<f32>>,
    /// Both encoders' numbers; of texts that the transformer does not know, the multilingual ones alone.
    pub(super) both: Vec<Vec<f32>>,
}

/// What the transformer's classifier reads: both embeddings side by side, of unit length together.
pub(super) fn join(transformer: Option<&[f32]>, multilingual: &[f32]) -> Vec<f32> {
    match transformer {
        Some(transformer) => {
            transformer.iter().chain(multilingual).map(|value| value * std::f32::consts::FRAC_1_SQRT_2).collect()
        }
        None => std::iter::repeat_n(0.0, TRANSFORMER_DIMENSIONS).chain(multilingual.iter().copied()).collect(),
    }
}

impl Embeddings {
    /// `progress` hears the share done.
    pub(super) fn of(texts: &[&str], encoders: &Encoders, progress: &mut dyn FnMut(f32)) -> Self {
        let Some(encoder) = &encoders.multilingual else { return Self::default() };
        let share = if encoders.transformer.is_some() { 0.2 } else { 1.0 };
        let multilingual = on_all_cores(texts, |part| encoder.encode_many(part), &mut |done| progress(share * done));
        let Some(transformer) = &encoders.transformer else { return Self { multilingual, both: Vec::new() } };
        let known: Vec<&str> = texts.iter().copied().filter(|text| known_to_transformer(text)).collect();
        let encode = |part: &[&str]| part.iter().map(|text| transformer.encode(text)).collect();
        let mut found = on_all_cores(&known, encode, &mut |done| progress(share + (1.0 - share) * done)).into_iter();
        let rows = texts.iter().zip(&multilingual);
        let both = rows.map(|(text, row)| {
            let deep = if known_to_transformer(text) { found.next() } else { None };
            join(deep.as_deref(), row)
        });
        Self { both: both.collect(), multilingual }
    }
}

/// Encodes all texts, a thread per core, in the texts' order.
fn on_all_cores(
    texts: &[&str],
    encode: impl Fn(&[&str]) -> Vec<Vec<f32>> + Sync,
    progress: &mut dyn FnMut(f32),
) -> Vec<Vec<f32>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut found = Vec::with_capacity(texts.len());
    for chunk in texts.chunks(CHUNK * threads) {
        std::thread::scope(|scope| {
            let encode = &encode;
            let share = chunk.len().div_ceil(threads);
            let running: Vec<_> = chunk.chunks(share).map(|part| scope.spawn(move || encode(part))).collect();
            for thread in running {
                found.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
        });
        progress(found.len() as f32 / texts.len() as f32);
    }
    found
}
