//! PURE: a model's stream cut into sentences, each with the marks that follow it, so that one can be judged before it is said.

use crate::text::sentences;

/// What has no end by then is judged as it stands; the longest sentence of the demo's articles has 300 characters.
const SENTENCE_CHARS_MAX: usize = 800;

/// Holds words back until they are a sentence.
#[derive(Debug, Default)]
pub struct Cutter {
    held: String,
}

impl Cutter {
    /// More words came in; sentences that are complete come out, with the blanks before them.
    pub fn push(&mut self, words: &str) -> Vec<String> {
        self.held.push_str(words);
        let mut found = Vec::new();
        while let Some(end) = end(&self.held) {
            found.push(self.held.drain(..end).collect());
        }
        found
    }

    /// No more words will come: what is left, cut as far as it can be.
    pub fn finish(&mut self) -> Vec<String> {
        let mut found = self.push("");
        found.extend(Some(std::mem::take(&mut self.held)).filter(|rest| !rest.trim().is_empty()));
        found
    }
}

/// Where the first sentence ends, if that is certain: something that is no mark of it has come after it.
fn end(text: &str) -> Option<usize> {
    let first = *sentences(text).first()?;
    let mut end = first.as_ptr() as usize - text.as_ptr() as usize + first.len();
    loop {
        let rest = &text[end..];
        let after = rest.trim_start_matches(' ');
        // A single blank or nothing: a mark may still follow.
        if after.is_empty() {
            return (text.chars().count() > SENTENCE_CHARS_MAX).then_some(text.len());
        }
        let Some(label) = after.strip_prefix('[') else { return Some(end) };
        let digits = label.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ',' | ' ' | '，' | '、'));
        match digits.strip_prefix(']') {
            Some(behind) => end = text.len() - behind.len(),
            None if digits.is_empty() => return None,
            None => return Some(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        for size in [1, 2, 3, 7, text.len().max(1)] {
            let mut cutter = Cutter::default();
            let chars: Vec<char> = text.chars().collect();
            let mut found: Vec<String> = Vec::new();
            for piece in chars.chunks(size) {
                found.extend(cutter.push(&piece.iter().collect::<String>()));
            }
            found.extend(cutter.finish());
            assert_eq!(found, expected, "{text:?} by {size}");
        }
    }

    #[test]
    fn a_sentence_takes_its_marks_along() {
        check("Two days. [1] Free [2]. Yes", &["Two days. [1]", " Free [2].", " Yes"]);
        check("两天到。[1][3]免费。", &["两天到。[1][3]", "免费。"]);
        check("1. Open\n2. Pay [1]\n", &["1. Open", "\n2. Pay [1]"]);
        check("It costs ¥2.50 e.g. today.", &["It costs ¥2.50 e.g. today."]);
    }

    #[test]
    fn a_sentence_leaves_as_soon_as_the_next_begins() {
        let mut cutter = Cutter::default();
        assert!(cutter.push("Two days. ").is_empty());
        assert_eq!(cutter.push("F"), ["Two days."]);
        assert_eq!(cutter.push(&"x".repeat(SENTENCE_CHARS_MAX)).len(), 1, "nobody waits for ever");
        assert!(cutter.finish().is_empty());
    }

    proptest! {
        #[test]
        fn nothing_readable_is_lost(text in "[a-z .?!\\n\\[\\]12退货。！]{0,60}", size in 1usize..9) {
            let mut cutter = Cutter::default();
            let chars: Vec<char> = text.chars().collect();
            let mut out: String = chars.chunks(size).flat_map(|piece| cutter.push(&piece.iter().collect::<String>())).collect();
            out += &cutter.finish().concat();
            prop_assert_eq!(out.trim_end(), text.trim_end());
        }
    }
}
