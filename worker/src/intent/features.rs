//! Texts as sparse vectors: hashed n-grams of characters and words, weighted by tf-idf.
//!
//! Latin words give character 2–5-grams (padded at the word's edges, which tells a prefix from a suffix) and word
//! 1–2-grams; Chinese gives character 1–3-grams, which did as well as a word segmenter and need no dictionary
//! (Zhang & LeCun 2017, "Which Encoding is the Best for Text Classification in Chinese, English, Japanese and Korean?").

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::text::{self, Script};

const LATIN_CHARS: std::ops::RangeInclusive<usize> = 2..=5;
const HAN_CHARS: std::ops::RangeInclusive<usize> = 1..=3;

/// Characters of a message that are looked at: an essay says no more about its intent than its first page.
const CHARS_MAX: usize = 1_000;

/// In larger sets an n-gram seen once is noise and two thirds of the table; in a small set every word counts.
const SINGLES_KEPT_BELOW_EXAMPLES: usize = 2_000;

/// (feature, weight), ascending by feature.
pub(super) type Sparse = Vec<(u32, f32)>;

/// A text's vector, and which share of it (by rarity) the training set had ever seen.
pub(super) struct Vector {
    pub(super) entries: Sparse,
    pub(super) known_share: f32,
}

/// Places by hash. The keys are hashes already: they need no second one.
type Index = HashMap<u64, u32, BuildHasherDefault<AsItIs>>;

#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(&[bytes]);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Which n-grams count, and how rare each is.
pub(super) struct Vocabulary {
    index: Index,
    idf: Vec<f32>,
    /// The rarity of what was never seen.
    idf_unknown: f32,
}

impl Vocabulary {
    pub(super) fn build(texts: &[&str]) -> Self {
        let mut seen_in: HashMap<u64, u32> = HashMap::new();
        for text in texts {
            for (gram, _) in grams(text) {
                *seen_in.entry(gram.hash).or_default() += 1;
            }
        }
        let least = if texts.len() < SINGLES_KEPT_BELOW_EXAMPLES { 1 } else { 2 };
        let mut kept: Vec<_> = seen_in.into_iter().filter(|(_, count)| *count >= least).collect();
        kept.sort_unstable();
        let rarity = |count: u32| ((1 + texts.len()) as f32 / (1 + count) as f32).ln() + 1.0;
        let idf = kept.iter().map(|(_, count)| rarity(*count)).collect();
        let index = kept.iter().zip(0..).map(|((hash, _), at)| (*hash, at)).collect();
        Self { index, idf, idf_unknown: rarity(0) }
    }

    pub(super) fn from_parts(hashes: &[u64], idf: Vec<f32>, idf_unknown: f32) -> Self {
        Self { index: hashes.iter().copied().zip(0..).collect(), idf, idf_unknown }
    }

    /// Hashes in the order of their index, rarities, and the rarity of the unknown.
    pub(super) fn parts(&self) -> (Vec<u64>, &[f32], f32) {
        let mut hashes = vec![0; self.index.len()];
        for (hash, at) in &self.index {
            hashes[*at as usize] = *hash;
        }
        (hashes, &self.idf, self.idf_unknown)
    }

    pub(super) fn len(&self) -> usize {
        self.idf.len()
    }

    /// The vector of a text: sub-linear tf-idf, characters and words of unit length each, then together.
    pub(super) fn vector(&self, text: &str) -> Vector {
        let (mut known, mut all) = (0.0, 0.0);
        let mut blocks: [Sparse; 2] = [Vec::new(), Vec::new()];
        for (gram, count) in grams(text) {
            let Some(&at) = self.index.get(&gram.hash) else {
                all += self.idf_unknown;
                continue;
            };
            let idf = self.idf[at as usize];
            known += idf;
            all += idf;
            blocks[usize::from(gram.word)].push((at, (1.0 + (count as f32).ln()) * idf));
        }
        blocks.iter_mut().for_each(unit);
        let mut entries = blocks.concat();
        entries.sort_unstable_by_key(|(at, _)| *at);
        unit(&mut entries);
        Vector { entries, known_share: if all > 0.0 { known / all } else { 0.0 } }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
struct Gram {
    hash: u64,
    word: bool,
}

fn unit(entries: &mut Sparse) {
    let length = entries.iter().map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
    if length > 0.0 {
        entries.iter_mut().for_each(|(_, weight)| *weight /= length);
    }
}

/// All n-grams of a text with their counts. Sorted, because sums of floats depend on their order and a training must
/// repeat itself to the bit.
fn grams(text: &str) -> Vec<(Gram, u32)> {
    let end = text.char_indices().nth(CHARS_MAX).map_or(text.len(), |(at, _)| at);
    let text = text::normalise(&text[..end]);
    let mut found = Vec::with_capacity(4 * text.len());
    let mut previous: Option<&str> = None;
    for run in text::runs(&text) {
        match run.script {
            Script::Han => {
                add_chars(&mut found, run.text, HAN_CHARS);
                previous = None;
            }
            Script::Word => {
                add_chars(&mut found, &format!(" {} ", run.text), LATIN_CHARS);
                found.push(Gram { hash: hash(&[b"w", run.text.as_bytes()]), word: true });
                if let Some(previous) = previous {
                    let hash = hash(&[b"w", previous.as_bytes(), b" ", run.text.as_bytes()]);
                    found.push(Gram { hash, word: true });
                }
                previous = Some(run.text);
            }
        }
    }
    found.sort_unstable();
    found.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)).collect()
}

fn add_chars(found: &mut Vec<Gram>, text: &str, sizes: std::ops::RangeInclusive<usize>) {
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    for size in sizes {
        let windows = starts.windows(size + 1);
        found.extend(
            windows
                .map(|window| &text[window[0]..window[size]])
                .map(|part| Gram { hash: hash(&[b"c", part.as_bytes()]), word: false }),
        );
    }
}

/// FNV-1a, 64 bits: the same on every machine and in every release, because it is part of stored models.
fn hash(parts: &[&[u8]]) -> u64 {
    parts
        .iter()
        .copied()
        .flatten()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_unit_length_and_know_what_is_new() {
        let vocabulary = Vocabulary::build(&["where is my order", "退货运费", "track my order"]);
        let vector = vocabulary.vector("Where is my ORDER?");
        let length: f32 = vector.entries.iter().map(|(_, weight)| weight * weight).sum();
        assert!((length - 1.0).abs() < 1e-5);
        assert_eq!(vector.known_share, 1.0);
        assert!(vector.entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(vocabulary.vector("zzz qqq").known_share < 0.2);
        assert!(vocabulary.vector("退貨").known_share > 0.9, "traditional characters count as simplified ones");
        assert_eq!(vocabulary.vector("?!").known_share, 0.0);
    }

    #[test]
    fn a_vocabulary_survives_being_taken_apart() {
        let vocabulary = Vocabulary::build(&["where is my order", "退货运费"]);
        let (hashes, idf, unknown) = vocabulary.parts();
        let again = Vocabulary::from_parts(&hashes, idf.to_vec(), unknown);
        assert_eq!(again.vector("my 退货").entries, vocabulary.vector("my 退货").entries);
        assert_eq!(again.len(), vocabulary.len());
    }
}
