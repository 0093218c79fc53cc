//! SentencePiece's own normalisation (`nmt_nfkc`): a double-array trie from byte strings to their replacements.
//!
//! It is not `text::normalise`: the embedding table was trained behind exactly this mapping, case included.

/// U+2581, which stands for a space inside pieces.
const SPACE: &[u8] = "\u{2581}".as_bytes();

/// The precompiled map of a SentencePiece model (darts-clone layout), walked as `Normalizer::NormalizePrefix` does.
pub(super) struct Charsmap {
    units: Vec<u32>,
    /// Replacements, each ended by a zero byte; the trie's values are offsets into it.
    replacements: Vec<u8>,
}

impl Charsmap {
    pub(super) fn parse(blob: &[u8]) -> Option<Self> {
        let (size, rest) = blob.split_first_chunk::<4>()?;
        let (trie, replacements) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let units: Vec<u32> = trie.as_chunks().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect();
        (!units.is_empty()).then(|| Self { units, replacements: replacements.to_vec() })
    }

    /// The normal form: replacements applied, white space single, one space mark in front, none at the end.
    pub(super) fn normalise(&self, text: &str) -> String {
        let mut out = Vec::with_capacity(text.len() + SPACE.len());
        let mut rest = text;
        let mut after_space = true;
        while !rest.is_empty() {
            let (replaced, length) = self.prefix(rest);
            rest = &rest[length..];
            for byte in replaced {
                if *byte != b' ' {
                    if std::mem::take(&mut after_space) {
                        out.extend_from_slice(SPACE);
                    }
                    out.push(*byte);
                }
                after_space |= *byte == b' ';
            }
        }
        // The map holds whole characters only; a foreign one could not, and then the text is read as it came.
        String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
    }

    /// What the longest known prefix becomes, and how many bytes it had; an unknown character stays.
    fn prefix<'a>(&'a self, text: &'a str) -> (&'a [u8], usize) {
        self.longest(text.as_bytes()).filter(|(_, length)| text.is_char_boundary(*length)).unwrap_or_else(|| {
            let length = text.chars().next().map_or(0, char::len_utf8);
            (&text.as_bytes()[..length], length)
        })
    }

    fn longest(&self, bytes: &[u8]) -> Option<(&[u8], usize)> {
        let mut found = None;
        let mut node = offset(*self.units.first()?);
        for (at, byte) in bytes.iter().enumerate() {
            node ^= usize::from(*byte);
            let Some(&unit) = self.units.get(node) else { break };
            if unit & 0x8000_00ff != u32::from(*byte) {
                break;
            }
            node ^= offset(unit);
            if unit & 0x100 != 0 {
                found = self.units.get(node).map(|leaf| ((leaf & 0x7fff_ffff) as usize, at + 1));
            }
        }
        let (start, length) = found?;
        let replacement = self.replacements.get(start..)?;
        Some((replacement.split(|byte| *byte == 0).next()?, length))
    }
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 0x200) >> 6)) as usize
}
