//! Words and Han runs of a normalised text: what n-grams and the word index are cut from.

/// A stretch of one script, as a slice of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    pub text: &'a str,
    pub script: Script,
    /// Byte offset in the text.
    pub start: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Letters and digits of any alphabet; an apostrophe inside stays ("don't").
    Word,
    /// Chinese characters, which no space separates.
    Han,
}

/// The runs of a text, in order; punctuation, spaces and symbols are left out.
pub fn runs(text: &str) -> impl Iterator<Item = Run<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..)?;
        let start = at + rest.find(|c: char| c.is_alphanumeric())?;
        let rest = &text[start..];
        let han = rest.starts_with(is_han);
        let end = rest.char_indices().find(|(i, c)| !continues(rest, *i, *c, han)).map_or(rest.len(), |(i, _)| i);
        at = start + end;
        Some(Run { text: &rest[..end], script: if han { Script::Han } else { Script::Word }, start })
    })
}

fn continues(rest: &str, at: usize, c: char, han: bool) -> bool {
    if han {
        return is_han(c);
    }
    if c == '\'' {
        return rest[at + 1..].starts_with(|next: char| next.is_alphanumeric() && !is_han(next));
    }
    c.is_alphanumeric() && !is_han(c)
}

/// Han: the unified ideographs, extension A, the compatibility block and the supplementary planes.
pub fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}' | '々' | '〇')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_split_at_script_and_punctuation() {
        let found: Vec<_> = runs("don't pay ¥99元, 退货ok!").map(|run| (run.text, run.script, run.start)).collect();
        assert_eq!(
            found,
            [
                ("don't", Script::Word, 0),
                ("pay", Script::Word, 6),
                ("99", Script::Word, 12),
                ("元", Script::Han, 14),
                ("退货", Script::Han, 19),
                ("ok", Script::Word, 25),
            ]
        );
        assert_eq!(runs(" …!").count(), 0);
        assert_eq!(runs("dogs' '").map(|run| run.text).collect::<Vec<_>>(), ["dogs"]);
    }
}
