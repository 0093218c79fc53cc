//! A model lives in a file or an object store as one self-describing artefact.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

use super::calibrate::{Judgement, Validation};
use super::cascade::Cascade;
use super::embed::{JOINT_DIMENSIONS, Joint};
use super::features::Vocabulary;
use super::fusion::Fusion;
use super::kernel::Kernel;
use super::linear::Linear;
use super::model::{Class, IntentModel};
use super::neighbours::Neighbours;
use super::neural::Neural;
use super::parts::{Embedded, Head, Parts};
use crate::encoder::{DEEP_DIMENSIONS, DIMENSIONS, Scan, TRANSFORMER_DIMENSIONS};

/// First bytes of an artefact.
const MAGIC: &[u8; 4] = b"TFIM";

/// Layout of the artefact. A reader refuses any other: a model is retrained in seconds, so nothing is migrated. Raise it with
/// every change of [`Stored`]; 2 came with the kernel, 3 with the judgement of scope apart from that of the intent, 4
/// with the transformer's tier, 5 with thresholds of leads.
pub const VERSION: u16 = 5;

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
            multilingual: self.parts.multilingual.as_ref().map(StoredEmbedded::of),
            transformer: self.parts.transformer.as_ref().map(StoredEmbedded::of),
            joint_mean: floats_to_bytes(&self.parts.joint_by.mean),
            fusion: self.fusion.clone(),
            judgements: self.judgements.clone(),
            cascade: self.cascade,
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
    multilingual: Option<StoredEmbedded>,
    transformer: Option<StoredEmbedded>,
    #[serde(with = "serde_bytes")]
    joint_mean: Vec<u8>,
    fusion: Fusion,
    judgements: [Judgement; 3],
    cascade: Cascade,
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
        let open = |stored: Option<StoredEmbedded>, width| match stored {
            Some(stored) => stored.open(width, classes, intents).map(Some),
            None => Some(None),
        };
        let multilingual = open(self.multilingual, DIMENSIONS)?;
        let transformer = open(self.transformer, JOINT_DIMENSIONS)?;
        let joint_mean = floats_from_bytes(&self.joint_mean);
        if transformer.is_some() && joint_mean.len() != DEEP_DIMENSIONS - TRANSFORMER_DIMENSIONS {
            return None;
        }
        let table = signed_from_bytes(&self.table);
        fits.then(|| IntentModel {
            classes: self.classes,
            parts: Parts {
                vocabulary: Vocabulary::from_parts(&hashes, idf, self.idf_unknown),
                linear: Linear { classes, table, steps, bias },
                multilingual,
                transformer,
                joint_by: Joint { mean: joint_mean },
                intents,
            },
            fusion: self.fusion,
            judgements: self.judgements,
            cascade: self.cascade,
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

    fn open(self, width: usize, classes: usize, intents: usize) -> Option<Embedded> {
        let head = match self.head {
            StoredHead::Kernel { examples, weights } => {
                let examples = examples.open().filter(|examples| examples.width() == width)?;
                Head::Kernel(Kernel::from_parts(examples, floats_from_bytes(&weights), classes)?)
            }
            StoredHead::Network { layers } => {
                let layers: Vec<Vec<f32>> = layers.iter().map(|layer| floats_from_bytes(layer)).collect();
                let layers: [Vec<f32>; 4] = layers.try_into().ok()?;
                let network = (layers[3].len() == classes).then(|| Neural::from_parts(layers)).flatten()?;
                Head::Network((network.width() == width).then_some(network)?)
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
