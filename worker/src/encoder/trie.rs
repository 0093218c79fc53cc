//! A trie over characters: which pieces of a vocabulary begin at a place of a text, in one walk.

use std::collections::HashMap;

/// The node that every walk begins at.
pub(super) const ROOT: u32 = 0;

pub(super) struct Trie {
    /// (node, character) to the next node.
    steps: HashMap<u64, u32>,
    /// Per node the piece that ends there.
    ends: Vec<Option<u32>>,
}

impl Default for Trie {
    fn default() -> Self {
        Self { steps: HashMap::new(), ends: vec![None] }
    }
}

impl Trie {
    /// An empty text is no piece.
    pub(super) fn add(&mut self, text: &str, piece: u32) -> Result<(), String> {
        let mut node = ROOT;
        for c in text.chars() {
            let fresh = u32::try_from(self.ends.len()).map_err(|error| error.to_string())?;
            node = *self.steps.entry(key(node, c)).or_insert(fresh);
            if node == fresh {
                self.ends.push(None);
            }
        }
        if node != ROOT {
            self.ends[node as usize] = Some(piece);
        }
        Ok(())
    }

    pub(super) fn step(&self, node: u32, c: char) -> Option<u32> {
        self.steps.get(&key(node, c)).copied()
    }

    /// The piece that ends at a node.
    pub(super) fn piece(&self, node: u32) -> Option<u32> {
        self.ends[node as usize]
    }
}

/// A character fits 21 bits.
fn key(node: u32, c: char) -> u64 {
    u64::from(node) << 21 | u64::from(u32::from(c))
}
