//! The SentencePiece unigram tokenizer: a text becomes the likeliest sequence of the model's 128,010 pieces.

use std::collections::HashMap;

use super::charsmap::Charsmap;

pub(super) const UNKNOWN: u32 = 0;
pub(super) const BEGIN: u32 = 1;
pub(super) const END: u32 = 2;

/// How far below the rarest piece a character outside the vocabulary is scored (SentencePiece's `kUnkPenalty`).
const UNKNOWN_PENALTY: f32 = 10.0;

pub(super) struct Pieces {
    charsmap: Charsmap,
    /// A trie over characters: (node, character) to the next node. Node 0 is the root.
    steps: HashMap<u64, u32>,
    /// Per node the piece that ends there.
    ends: Vec<Option<u32>>,
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
            steps: HashMap::new(),
            ends: vec![None],
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
            let (mut node, mut single) = (0, false);
            for end in start + 1..=text.len() {
                let Some(&next) = self.steps.get(&key(node, text[end - 1])) else { break };
                node = next;
                if let Some(piece) = self.ends[node as usize] {
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
        let mut node = 0;
        for c in text.chars() {
            let fresh = u32::try_from(self.ends.len()).map_err(|error| error.to_string())?;
            node = *self.steps.entry(key(node, c)).or_insert(fresh);
            if node == fresh {
                self.ends.push(None);
            }
        }
        if node != 0 {
            self.ends[node as usize] = Some(id);
        }
        Ok(())
    }
}

/// A character fits 21 bits.
fn key(node: u32, c: char) -> u64 {
    u64::from(node) << 21 | u64::from(u32::from(c))
}

/// The fields of a protobuf message that carry bytes or a fixed 32-bit number; others are passed over.
fn fields(mut message: &[u8]) -> impl Iterator<Item = Result<(u64, &[u8]), String>> {
    std::iter::from_fn(move || {
        while !message.is_empty() {
            match field(&mut message) {
                Some((_, None)) => {}
                Some((number, Some(value))) => return Some(Ok((number, value))),
                None => {
                    message = &[];
                    return Some(Err("not a SentencePiece model".into()));
                }
            }
        }
        None
    })
}

fn field<'a>(message: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let tag = varint(message)?;
    let length = match tag & 7 {
        0 => return varint(message).map(|_| (tag >> 3, None)),
        1 => 8,
        2 => usize::try_from(varint(message)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (value, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some((tag >> 3, Some(value)))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
