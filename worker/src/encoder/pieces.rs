//! The SentencePiece unigram tokenizer: a text becomes the likeliest sequence of the model's 128,010 pieces.

use super::charsmap::Charsmap;
use super::protobuf::fields;
use super::trie::{ROOT, Trie};

pub(super) const UNKNOWN: u32 = 0;
pub(super) const BEGIN: u32 = 1;
pub(super) const END: u32 = 2;

/// How far below the rarest piece a character outside the vocabulary is scored (SentencePiece's `kUnkPenalty`).
const UNKNOWN_PENALTY: f32 = 10.0;

pub(super) struct Pieces {
    charsmap: Charsmap,
    trie: Trie,
    scores: Vec<f32>,
    unknown_score: f32,
}

impl Pieces {
    /// Reads the model file: a protobuf whose field 1 repeats the pieces (text, score) and whose field 3 carries the
    /// character map in its field 2 (the older layout; today's tools write other numbers).
    pub(super) fn parse(file: &[u8]) -> Result<Self, String> {
        let mut charsmap = None;
        let mut pieces = Self {
            charsmap: Charsmap::parse(&[4, 0, 0, 0, 0, 0, 0, 0]).ok_or("no character map")?,
            trie: Trie::default(),
            scores: Vec::new(),
            unknown_score: 0.0,
        };
        for field in fields(file) {
            let (number, value) = field?;
            match number {
                1 => pieces.add(value)?,
                3 => {
                    charsmap = fields(value)
                        .flatten()
                        .find(|(number, _)| *number == 2)
                        .and_then(|(_, blob)| Charsmap::parse(blob))
                }
                _ => {}
            }
        }
        if pieces.scores.len() <= END as usize {
            return Err("it holds no pieces".into());
        }
        pieces.charsmap = charsmap.ok_or("it holds no character map")?;
        pieces.unknown_score = pieces.scores.iter().copied().fold(f32::INFINITY, f32::min) - UNKNOWN_PENALTY;
        Ok(pieces)
    }

    pub(super) fn count(&self) -> usize {
        self.scores.len()
    }

    /// Piece ids by Viterbi over the lattice of all pieces: at each end the best start, the earlier one on a tie.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let text: Vec<char> = self.charsmap.normalise(text).chars().collect();
        if text.is_empty() {
            return vec![UNKNOWN];
        }
        let mut best = vec![(f32::NEG_INFINITY, 0, UNKNOWN); text.len() + 1];
        best[0].0 = 0.0;
        for start in 0..text.len() {
            let base = best[start].0;
            let mut offer = |end: usize, score: f32, piece: u32| {
                if score > best[end].0 {
                    best[end] = (score, start, piece);
                }
            };
            let (mut node, mut single) = (ROOT, false);
            for end in start + 1..=text.len() {
                let Some(next) = self.trie.step(node, text[end - 1]) else { break };
                node = next;
                if let Some(piece) = self.trie.piece(node) {
                    offer(end, base + self.scores[piece as usize], piece);
                    single |= end == start + 1;
                }
            }
            if !single {
                offer(start + 1, base + self.unknown_score, UNKNOWN);
            }
        }
        let mut ids = Vec::new();
        let mut end = text.len();
        while end > 0 {
            let (_, start, piece) = best[end];
            ids.push(piece);
            end = start;
        }
        ids.reverse();
        ids
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), String> {
        let (mut text, mut score) = ("", 0.0);
        for field in fields(piece) {
            match field? {
                (1, value) => text = std::str::from_utf8(value).map_err(|error| error.to_string())?,
                (2, value) => score = value.first_chunk().map_or(0.0, |bytes| f32::from_le_bytes(*bytes)),
                _ => {}
            }
        }
        let id = u32::try_from(self.scores.len()).map_err(|error| error.to_string())?;
        self.scores.push(score);
        self.trie.add(text, id)
    }
}
