//! WordPiece as BERT reads: lower case without accents, words and marks apart, each word the longest pieces first.
//!
//! (Devlin et al. 2019.) The words are read from the package's `tokenizer.json`; what it says of normalising is the
//! uncased BERT's and is fixed here.

use std::collections::HashMap;

use regex::Regex;
use serde::Deserialize;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use crate::encoder::trie::{ROOT, Trie};

/// A longer word is unknown as a whole, as it was when the model was trained.
const WORD_CHARS_MAX: usize = 100;

pub(super) struct Words {
    trie: Trie,
    /// Where pieces begin that continue a word; they are written with `##` in front.
    inside: u32,
    begin: u32,
    end: u32,
    unknown: u32,
    classes: Classes,
}

/// The general categories of Unicode that decide; asked for characters beyond ASCII only.
struct Classes {
    dropped: Regex,
    accent: Regex,
    mark: Regex,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow)]
    vocab: HashMap<std::borrow::Cow<'a, str>, u32>,
}

impl Words {
    pub(super) fn parse(file: &[u8]) -> Result<Self, String> {
        let File { model } = serde_json::from_slice(file).map_err(|error| error.to_string())?;
        let id = |word: &str| model.vocab.get(word).copied().ok_or_else(|| format!("it has no {word}"));
        let (begin, end, unknown) = (id("[CLS]")?, id("[SEP]")?, id("[UNK]")?);
        let mut trie = Trie::default();
        for (word, id) in &model.vocab {
            trie.add(word, *id)?;
        }
        let inside = trie.step(ROOT, '#').and_then(|node| trie.step(node, '#')).ok_or("no word goes on")?;
        Ok(Self { trie, inside, begin, end, unknown, classes: Classes::new().map_err(|error| error.to_string())? })
    }

    /// Piece ids of a text between begin and end, at most `pieces_max` with them. What a text spells like a special
    /// piece (`[SEP]`) is text.
    pub(super) fn encode(&self, text: &str, pieces_max: usize) -> Vec<u32> {
        let mut ids = vec![self.begin];
        let mut word = Vec::new();
        let mut end_word = |word: &mut Vec<char>| {
            self.pieces(word, &mut ids);
            word.clear();
            ids.len() >= pieces_max
        };
        let mut full = false;
        for c in self.clean(text).nfd().filter(|c| !self.classes.is_accent(*c)).flat_map(char::to_lowercase) {
            let alone = is_ideograph(c) || self.classes.is_mark(c);
            if alone || c == ' ' {
                full = end_word(&mut word);
            }
            if alone {
                word.push(c);
                full = end_word(&mut word);
            } else if c != ' ' {
                word.push(c);
            }
            if full {
                break;
            }
        }
        if !full {
            end_word(&mut word);
        }
        ids.truncate(pieces_max.saturating_sub(1));
        ids.push(self.end);
        ids
    }

    /// Without control characters, every white space a blank.
    fn clean<'a>(&self, text: &'a str) -> impl Iterator<Item = char> + use<'_, 'a> {
        text.chars().filter_map(|c| match c {
            '\t' | '\n' | '\r' => Some(' '),
            c if self.classes.is_dropped(c) => None,
            c if c.is_whitespace() => Some(' '),
            c => Some(c),
        })
    }

    fn pieces(&self, word: &[char], ids: &mut Vec<u32>) {
        if word.len() > WORD_CHARS_MAX {
            ids.push(self.unknown);
            return;
        }
        let before = ids.len();
        let (mut rest, mut node) = (word, ROOT);
        while !rest.is_empty() {
            let Some((piece, length)) = self.longest(node, rest) else {
                ids.truncate(before);
                ids.push(self.unknown);
                return;
            };
            ids.push(piece);
            rest = &rest[length..];
            node = self.inside;
        }
    }

    fn longest(&self, mut node: u32, word: &[char]) -> Option<(u32, usize)> {
        let mut found = None;
        for (at, c) in word.iter().enumerate() {
            let Some(next) = self.trie.step(node, *c) else { break };
            node = next;
            found = self.trie.piece(node).map(|piece| (piece, at + 1)).or(found);
        }
        found
    }
}

impl Classes {
    fn new() -> Result<Self, regex::Error> {
        Ok(Self {
            dropped: Regex::new(r"^[\p{Cc}\p{Cf}\p{Co}\x{fffd}]")?,
            accent: Regex::new(r"^\p{Mn}")?,
            mark: Regex::new(r"^\p{P}")?,
        })
    }

    fn is_dropped(&self, c: char) -> bool {
        match c.is_ascii() {
            true => c.is_ascii_control(),
            false => !c.is_alphanumeric() && matches(&self.dropped, c),
        }
    }

    fn is_accent(&self, c: char) -> bool {
        is_combining_mark(c) && matches(&self.accent, c)
    }

    fn is_mark(&self, c: char) -> bool {
        match c.is_ascii() {
            true => c.is_ascii_punctuation(),
            false => !c.is_alphanumeric() && matches(&self.mark, c),
        }
    }
}

fn matches(class: &Regex, c: char) -> bool {
    class.is_match(c.encode_utf8(&mut [0; 4]))
}

/// The blocks that BERT sets apart character by character: Chinese and Japanese ideographs, not kana or hangul.
fn is_ideograph(c: char) -> bool {
    matches!(c,
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' | '\u{20000}'..='\u{2a6df}' | '\u{2a700}'..='\u{2b73f}'
        | '\u{2b740}'..='\u{2b81f}' | '\u{2b920}'..='\u{2ceaf}' | '\u{f900}'..='\u{faff}' | '\u{2f800}'..='\u{2fa1f}')
}
