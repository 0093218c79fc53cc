//! A trained model: it classifies, and it lives in a file or an object store as one self-describing artefact.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

use super::calibrate::{Judgement, Validation, Verdict};
use super::features::Vocabulary;
use super::kernel::Kernel;
use super::linear::Linear;
use super::neighbours::Neighbours;
use super::neural::Neural;
use super::train::{Embedded, Head, Parts, three_best};
use super::{Candidate, Classified, Kind};
use crate::encoder::{DIMENSIONS, Scan};

/// First bytes of an artefact.
const MAGIC: &[u8; 4] = b"TFIM";

/// Layout of the artefact. A reader refuses any other: a model is retrained in seconds, so nothing is migrated. Raise it with
/// every change of [`Stored`]; 2 came with the kernel, 3 with the judgement
/// of scope apart from that of the intent.
const VERSION: u16 = 3;

/// An immutable model; share it by `Arc`, and swap the `Arc` for a new one.
pub struct IntentModel {
    pub(super) classes: Vec<Class>,
    pub(super) parts: Parts,
    /// The judgement when there is no embedding, and the one with both classifiers.
    pub(super) judge_words: Judgement,
    pub(super) judge_both: Judgement,
    pub(super) validation: Validation,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) kind: Kind,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtefactError {
    #[error("this is no intent model: train one from the intents file")]
    NotAModel,
    #[error("the intent model has layout {0}, this release reads {VERSION}: train it again with this release")]
    OtherVersion(u16),
    #[error("the intent model is damaged ({0}): fetch it again or train it anew")]
    Damaged(&'static str),
}

impl IntentModel {
    /// Recognises a message. The embedding comes from the encoder that the model was trained with; without one the
    /// n-grams decide alone.
    pub fn classify(&self, text: &str, embedding: Option<&[f32]>) -> Classified {
        let embedding = embedding.filter(|embedding| embedding.len() == DIMENSIONS && self.parts.embedded.is_some());
        let reading = self.parts.read(text, embedding);
        let judge = if embedding.is_some() { &self.judge_both } else { &self.judge_words };
        let Verdict { confidence, in_scope, recognised } = judge.verdict(&reading.signs);
        let best = &self.classes[reading.best];
        let candidates = three_best(&reading.scores).into_iter().map(|class| Candidate {
            name: self.classes[class].name.clone(),
            confidence: confidence * (reading.scores[class] - reading.scores[reading.best]).exp(),
        });
        Classified {
            intent: recognised.then(|| best.name.clone()),
            confidence,
            in_scope,
            candidates: candidates.collect(),
            kind: recognised.then_some(best.kind),
        }
    }

    /// Names of the intents that it tells apart.
    pub fn intents(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.name.as_str())
    }

    /// Whether it makes use of embeddings.
    pub fn uses_embeddings(&self) -> bool {
        self.parts.embedded.is_some()
    }

    /// The artefact: magic, version, SHA-256 of the rest, then MessagePack maps.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArtefactError> {
        let (hashes, idf, idf_unknown) = self.parts.vocabulary.parts();
        let linear = &self.parts.linear;
        let stored = Stored {
            classes: self.classes.clone(),
            hashes: hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect(),
            idf: floats_to_bytes(idf),
            idf_unknown,
            table: signed_to_bytes(&linear.table).into_vec(),
            steps: floats_to_bytes(&linear.steps),
            bias: floats_to_bytes(&linear.bias),
            embedded: self.parts.embedded.as_ref().map(StoredEmbedded::of),
            judge_words: self.judge_words.clone(),
            judge_both: self.judge_both.clone(),
            validation: self.validation,
        };
        let body = rmp_serde::to_vec_named(&stored).map_err(|_| ArtefactError::Damaged("it cannot be written"))?;
        Ok([MAGIC.as_slice(), &VERSION.to_le_bytes(), &Sha256::digest(&body), &body].concat())
    }

    pub fn from_bytes(artefact: &[u8]) -> Result<Self, ArtefactError> {
        let rest = artefact.strip_prefix(MAGIC).ok_or(ArtefactError::NotAModel)?;
        let (version, rest) = rest.split_first_chunk::<2>().ok_or(ArtefactError::Damaged("it ends early"))?;
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            return Err(ArtefactError::OtherVersion(version));
        }
        let (sum, body) = rest.split_first_chunk::<32>().ok_or(ArtefactError::Damaged("it ends early"))?;
        if Sha256::digest(body).as_slice() != sum {
            return Err(ArtefactError::Damaged("its checksum differs"));
        }
        let stored: Stored =
            rmp_serde::from_slice(body).map_err(|_| ArtefactError::Damaged("its layout is unknown"))?;
        stored.open().ok_or(ArtefactError::Damaged("its parts do not fit together"))
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    classes: Vec<Class>,
    #[serde(with = "serde_bytes")]
    hashes: Vec<u8>,
    #[serde(with = "serde_bytes")]
    idf: Vec<u8>,
    idf_unknown: f32,
    #[serde(with = "serde_bytes")]
    table: Vec<u8>,
    #[serde(with = "serde_bytes")]
    steps: Vec<u8>,
    #[serde(with = "serde_bytes")]
    bias: Vec<u8>,
    embedded: Option<StoredEmbedded>,
    judge_words: Judgement,
    judge_both: Judgement,
    validation: Validation,
}

#[derive(Serialize, Deserialize)]
struct StoredEmbedded {
    head: StoredHead,
    neighbours: Vec<StoredScan>,
}

#[derive(Serialize, Deserialize)]
enum StoredHead {
    Kernel { examples: StoredScan, weights: ByteBuf },
    Network { layers: Vec<ByteBuf> },
}

#[derive(Serialize, Deserialize)]
struct StoredScan {
    rows: ByteBuf,
    steps: ByteBuf,
}

impl Stored {
    fn open(self) -> Option<IntentModel> {
        let intents = self.classes.len();
        let hashes: Vec<u64> = self.hashes.as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect();
        let idf = floats_from_bytes(&self.idf);
        let bias = floats_from_bytes(&self.bias);
        let steps = floats_from_bytes(&self.steps);
        let classes = bias.len();
        let fits = hashes.len() == idf.len()
            && self.table.len() == idf.len() * classes
            && steps.len() == classes
            && (classes == intents || classes == intents + 1)
            && intents > 0;
        let embedded = match self.embedded {
            Some(embedded) => Some(embedded.open(classes, intents)?),
            None => None,
        };
        let table = signed_from_bytes(&self.table);
        fits.then(|| IntentModel {
            classes: self.classes,
            parts: Parts {
                vocabulary: Vocabulary::from_parts(&hashes, idf, self.idf_unknown),
                linear: Linear { classes, table, steps, bias },
                embedded,
                intents,
            },
            judge_words: self.judge_words,
            judge_both: self.judge_both,
            validation: self.validation,
        })
    }
}

impl StoredEmbedded {
    fn of(embedded: &Embedded) -> Self {
        let bytes = |values: &[f32]| ByteBuf::from(floats_to_bytes(values));
        let head = match &embedded.head {
            Head::Kernel(kernel) => {
                StoredHead::Kernel { examples: StoredScan::of(&kernel.examples), weights: bytes(&kernel.weights) }
            }
            Head::Network(network) => StoredHead::Network { layers: network.parts().map(bytes).to_vec() },
        };
        Self { head, neighbours: embedded.neighbours.classes.iter().map(StoredScan::of).collect() }
    }

    fn open(self, classes: usize, intents: usize) -> Option<Embedded> {
        let head = match self.head {
            StoredHead::Kernel { examples, weights } => {
                Head::Kernel(Kernel::from_parts(examples.open()?, floats_from_bytes(&weights), classes)?)
            }
            StoredHead::Network { layers } => {
                let layers: Vec<Vec<f32>> = layers.iter().map(|layer| floats_from_bytes(layer)).collect();
                let layers: [Vec<f32>; 4] = layers.try_into().ok()?;
                Head::Network((layers[3].len() == classes).then(|| Neural::from_parts(layers)).flatten()?)
            }
        };
        let neighbours: Vec<Scan> = self.neighbours.iter().map(StoredScan::open).collect::<Option<_>>()?;
        (neighbours.len() == intents + 1).then_some(Embedded { head, neighbours: Neighbours { classes: neighbours } })
    }
}

impl StoredScan {
    fn of(scan: &Scan) -> Self {
        let (rows, steps) = scan.parts();
        Self { rows: signed_to_bytes(&rows), steps: ByteBuf::from(floats_to_bytes(steps)) }
    }

    fn open(&self) -> Option<Scan> {
        Scan::from_parts(&signed_from_bytes(&self.rows), floats_from_bytes(&self.steps))
    }
}

fn signed_to_bytes(values: &[i8]) -> ByteBuf {
    ByteBuf::from(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
}

fn signed_from_bytes(bytes: &[u8]) -> Vec<i8> {
    bytes.iter().map(|byte| i8::from_le_bytes([*byte])).collect()
}

fn floats_to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats_from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::{Example, IntentSet, train};

    fn set() -> IntentSet {
        let examples = [
            (
                "refund",
                [
                    "where is my refund",
                    "I want my money back",
                    "refund please",
                    "退款什么时候到",
                    "我要退款",
                    "钱还没退",
                ],
            ),
            ("track", ["where is my parcel", "track my order", "has it shipped", "包裹到哪了", "查快递", "发货了吗"]),
            ("hello", ["hello", "hi there", "good morning", "你好", "您好", "早上好"]),
        ];
        let examples = examples.iter().flat_map(|(intent, texts)| {
            texts.iter().map(|text| Example { text: (*text).to_owned(), intent: (*intent).to_owned() })
        });
        IntentSet { examples: examples.collect(), ..IntentSet::default() }
    }

    #[test]
    fn it_recognises_and_repeats_itself() {
        let model = train(&set(), None, &mut |_| {}).unwrap();
        let found = model.classify("Where is my REFUND?", None);
        assert_eq!(found.candidates[0].name, "refund", "{found:?}");
        assert!(found.candidates.windows(2).all(|pair| pair[0].confidence >= pair[1].confidence));
        assert!((0.0..=1.0).contains(&found.confidence));
        assert_eq!(model.classify("包裹到哪了", None).candidates[0].name, "track");
        let again = train(&set(), None, &mut |_| {}).unwrap();
        assert!(model.to_bytes() == again.to_bytes(), "the same set trains the same model, to the byte");
        assert!(model.classify("", None).confidence.is_finite());
    }

    #[test]
    fn an_artefact_returns_the_same_model_or_says_why_not() {
        let encoder = crate::encoder::Encoder::load(&crate::encoder::cached()).unwrap();
        let model = train(&set(), Some(&encoder), &mut |_| {}).unwrap();
        let bytes = model.to_bytes().unwrap();
        let again = IntentModel::from_bytes(&bytes).unwrap();
        let embedding = encoder.encode("parcel?");
        assert_eq!(again.classify("parcel?", Some(&embedding)), model.classify("parcel?", Some(&embedding)));
        assert!(again.uses_embeddings());
        let error = |bytes: &[u8]| IntentModel::from_bytes(bytes).err();
        assert_eq!(error(b"hello"), Some(ArtefactError::NotAModel));
        assert_eq!(error(&bytes[..5]), Some(ArtefactError::Damaged("it ends early")));
        assert_eq!(error(&bytes[..bytes.len() - 1]), Some(ArtefactError::Damaged("its checksum differs")));
        let mut newer = bytes;
        newer[4] = 9;
        assert_eq!(error(&newer), Some(ArtefactError::OtherVersion(9)));
    }

    #[test]
    fn one_intent_is_no_choice() {
        let mut set = set();
        set.examples.truncate(6);
        assert!(train(&set, None, &mut |_| {}).is_err());
    }
}
